"""Swin transformer with the UPerNet decoder, one of the external experts of the paper's Table 6."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.nn.backbones import Encoder
from fieldsight.systems.crack.nets.blocks import Expert, PooledNorm, conv_bn_relu, init_kaiming, pixels_first, up


class PyramidPooling(nn.Module):
    """Pyramid pooling (Zhao et al., CVPR 2017): means over grids of 1, 2, 3 and 6 cells a side, beside the map.

    Args:
        inputs: channels of the map.
        width: channels of each grid's branch and of the result.
        bins: sides of the grids.
    """

    def __init__(self, inputs: int, width: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), PooledNorm(width), nn.ReLU(inplace=True))
            for _ in bins
        )
        self.join = conv_bn_relu(inputs + len(self.bins) * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, width, H, W)``."""
        maps = [x]
        for side, branch in zip(self.bins, self.branches, strict=True):
            pooled = branch(F.adaptive_avg_pool2d(x, side))
            maps.append(F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False))
        return self.join(torch.cat(maps, 1))


class SwinUPerNet(Expert):
    """Swin with UPerNet (Xiao et al., ECCV 2018): 58.94 M parameters with Swin-T and the default width.

    Attention windows and pooling grids are laid out from the corner of the input, so that a tile never gives exactly
    what the whole picture gives; large pictures are computed in tiles of the training size.

    Args:
        encoder: four stages with output normalisation.
        width: channels of the decoder.
    """

    def __init__(self, encoder: Encoder, width: int = 512) -> None:
        super().__init__()
        self.encoder = encoder
        *shallow, deep = encoder.widths
        self.factor = encoder.strides[0]
        self.pyramid = PyramidPooling(deep, width)
        self.lateral = nn.ModuleList(conv_bn_relu(c, width, 1) for c in shallow)
        self.smooth = nn.ModuleList(conv_bn_relu(width, width) for _ in shallow)
        self.join = conv_bn_relu(len(encoder.widths) * width, width)
        self.out = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(width, 1, 1))
        init_kaiming([self.pyramid, self.lateral, self.smooth, self.join])

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W)."""
        *shallow, deep = self.encoder(pixels_first(x))
        falling = [self.pyramid(deep)]
        for stage, lateral in zip(shallow[::-1], list(self.lateral)[::-1], strict=True):
            falling.append(lateral(stage) + up(falling[-1], 2))
        levels = [up(falling[0], 2 ** len(shallow))]
        for level, smooth in enumerate(self.smooth):
            levels.append(up(smooth(falling[-1 - level]), 2**level) if level else smooth(falling[-1]))
        return {"logits": up(self.out(self.join(torch.cat(levels, 1))), self.factor)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The Swin encoder."""
        return (self.encoder,)
