"""Encoders out of transformers behind small functions: ConvNeXt, ResNet and Swin, random weights, no download.

Each gives an :class:`Encoder`: a picture in, one feature map a stage out. ``transformers`` is imported when a function
is called. Only its layers are used, not its model classes' forward, so that graphs export and hooks stay out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.errors import ConfigError


class Encoder(nn.Module):
    """A stem, stages, and optionally a normalisation of each stage's output.

    Attributes:
        widths: channels of each stage's map.
        strides: pixels of the input a cell of each stage's map.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Iterable[nn.Module],
        widths: Sequence[int],
        first_stride: int,
        norms: Iterable[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(widths)
        self.strides = tuple(first_stride * 2**level for level in range(len(self.widths)))
        self.norms = nn.ModuleList(norms) if norms is not None else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` to one map ``(N, widths[i], H / strides[i], W / strides[i])`` a stage.

        H and W are multiples of the last stride.
        """
        x = self.stem(x)
        maps = []
        for level, stage in enumerate(self.stages):
            x = stage(x)
            maps.append(self.norms[level](x) if self.norms is not None else x)
        return maps


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``(N, C, H, W)``, each pixel by itself."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def convnext(
    widths: Sequence[int] = (128, 256, 512, 1024),
    depths: Sequence[int] = (3, 3, 27, 3),
    *,
    patch: int = 4,
    drop_path: float = 0.0,
    norms: bool = False,
    layer_scale: float = 1e-6,
    init_std: float | None = 0.02,
) -> Encoder:
    """ConvNeXt (Liu et al., CVPR 2022); the defaults are ConvNeXt-B.

    Parameters without classifier and output normalisation: 87,564,416 for the defaults, 49,453,152 for ConvNeXt-S
    (widths 96/192/384/768); ``norms`` adds one LayerNorm a stage (3,840 for ConvNeXt-B).

    Args:
        widths: channels of the stages.
        depths: blocks of the stages.
        patch: stride of the first stage; each later one halves the map again.
        drop_path: stochastic depth of the last block, growing linearly from 0.
        norms: normalise each stage's output.
        layer_scale: initial value of the residual branches' factors. The published 1e-6 is for long trainings of deep
            networks; a shallow network that trains for minutes needs one near 1.
        init_std: standard deviation of the random weights; None scales each layer's by its inputs (narrow networks).

    Raises:
        ConfigError: widths and depths differ in number, or there is none.
    """
    from transformers import ConvNextConfig, ConvNextModel

    _check(widths, depths)
    config = ConvNextConfig(
        hidden_sizes=list(widths), depths=list(depths), num_stages=len(widths), patch_size=patch,
        drop_path_rate=drop_path, layer_scale_init_value=layer_scale, initializer_range=init_std or 0.02,
    )  # fmt: skip
    model: Any = ConvNextModel(config)
    made = [ChannelNorm(width) for width in widths] if norms else None
    encoder = Encoder(model.embeddings, model.encoder.stages, widths, patch, made)
    if init_std is None:
        scale_by_inputs(encoder)
    return encoder


def resnet(widths: Sequence[int] = (64, 128, 256, 512), depths: Sequence[int] = (2, 2, 2, 2)) -> Encoder:
    """ResNet of basic blocks (He et al., CVPR 2016); the defaults are ResNet-18, 11,176,512 parameters.

    Raises:
        ConfigError: widths and depths differ in number, or there is none.
    """
    from transformers import ResNetConfig, ResNetModel

    _check(widths, depths)
    config = ResNetConfig(embedding_size=widths[0], hidden_sizes=list(widths), depths=list(depths), layer_type="basic")
    model: Any = ResNetModel(config)
    return Encoder(model.embedder, model.encoder.stages, widths, 4)


class _Swin(nn.Module):
    """transformers' Swin backbone with the interface of :class:`Encoder`."""

    def __init__(self, backbone: Any, widths: Sequence[int], patch: int) -> None:
        super().__init__()
        backbone.swin.layernorm = nn.Identity()  # it normalises an output that nobody reads
        self.backbone = backbone
        self.widths = tuple(widths)
        self.strides = tuple(patch * 2**level for level in range(len(self.widths)))

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.backbone(x).feature_maps)


def swin(
    width: int = 96,
    depths: Sequence[int] = (2, 2, 6, 2),
    heads: Sequence[int] = (3, 6, 12, 24),
    *,
    window: int = 7,
    patch: int = 4,
    drop_path: float = 0.0,
) -> Encoder:
    """Swin transformer (Liu et al., ICCV 2021) with a LayerNorm a stage; the defaults are Swin-T.

    Args:
        width: channels of the first stage; they double at each.
        depths: blocks of the stages.
        heads: attention heads of the stages.
        window: side of an attention window in cells.
        patch: stride of the first stage.
        drop_path: stochastic depth of the last block, growing linearly from 0.

    Raises:
        ConfigError: depths and heads differ in number, or a width is no multiple of its heads.
    """
    from transformers import SwinBackbone, SwinConfig

    _check(heads, depths)
    widths = [width * 2**level for level in range(len(depths))]
    for channels, count in zip(widths, heads, strict=True):
        if channels % count:
            raise ConfigError(f"A Swin stage has {channels} channels, no multiple of its {count} heads; change either.")
    config = SwinConfig(
        image_size=32 * patch, patch_size=patch, embed_dim=width, depths=list(depths), num_heads=list(heads),
        window_size=window, drop_path_rate=drop_path, attn_implementation="eager",
        out_features=[f"stage{level + 1}" for level in range(len(depths))],
    )  # fmt: skip
    return cast(Encoder, _Swin(SwinBackbone(config), widths, patch))


def scale_by_inputs(module: nn.Module) -> None:
    """Draw the weights of all convolutions and linear layers anew with variance 1 / inputs; biases become 0.

    A fixed standard deviation of 0.02 suits layers of hundreds of inputs; in a network of 16 channels it leaves the
    residual branches almost silent.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _check(widths: Sequence[int], depths: Sequence[int]) -> None:
    if not widths or len(widths) != len(depths):
        raise ConfigError(
            f"An encoder needs a width (or heads) and a depth for each stage: got {len(widths)} and {len(depths)}."
        )
