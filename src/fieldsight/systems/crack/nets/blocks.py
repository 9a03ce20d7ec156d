"""Parts that several crack networks share, and the interface of an expert."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.systems.crack.nets.context import Windowed, window_mean


class Expert(nn.Module):
    """A crack segmenter: normalised picture ``(N, 3, H, W)`` in, logits ``(N, 1, H, W)`` out, H and W multiples of 32.

    A subclass writes :meth:`outputs` and names its encoder in :meth:`backbone_modules`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the mask, ``(N, 1, H, W)``."""
        return self.outputs(x)["logits"]

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` and what else is supervised: ``aux`` (N, 1, H, W), ``reconstruction`` (N, 3, H, W)."""
        raise NotImplementedError

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The encoder: what a frozen backbone keeps, weights and running statistics."""
        raise NotImplementedError

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the encoder."""
        return [p for module in self.backbone_modules() for p in module.parameters()]

    def head_parameters(self) -> list[nn.Parameter]:
        """All parameters but the encoder's."""
        backbone = {id(p) for p in self.backbone_parameters()}
        return [p for p in self.parameters() if id(p) not in backbone]


def pixels_first(x: Tensor) -> Tensor:
    """The same picture with each pixel's channels side by side in memory, on a CPU; the layers after it keep that.

    Convolutions and normalisations of few channels take about half the time so.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return x
    return x.contiguous(memory_format=torch.channels_last)


def up(x: Tensor, factor: int) -> Tensor:
    """Enlarge a map by an integer factor, bilinear."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, *, bias: bool = False, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size, and batch normalisation."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=bias),
        nn.BatchNorm2d(outputs),
    )


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, *, bias: bool = False, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    return nn.Sequential(*conv_bn(inputs, outputs, kernel, bias=bias, dilation=dilation), nn.ReLU(inplace=True))


def double_conv(inputs: int, outputs: int, bias: bool = False) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        *conv_bn_relu(inputs, outputs, bias=bias),
        *conv_bn_relu(outputs, outputs, bias=bias),
    )


def separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution without normalisation between (Chen et al., ECCV 2018), BN, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class PooledNorm(nn.BatchNorm2d):
    """Batch normalisation after global pooling: a batch of one picture uses the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class SqueezeExcite(Windowed):
    """Channel weights 0-1 from the mean of a map (Hu et al., CVPR 2018); the caller multiplies.

    Args:
        channels: of the map.
        hidden: of the layer between.
        cells: side of the window, see :mod:`fieldsight.systems.crack.nets.context`.
    """

    def __init__(self, channels: int, hidden: int, cells: int | None) -> None:
        super().__init__(cells)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weights that broadcast over ``(N, C, H, W)``."""
        return self.excite(F.relu(self.squeeze(window_mean(x, self.reach)))).sigmoid()


def init_kaiming(modules: Sequence[nn.Module]) -> None:
    """Draw convolutions for ReLU (He et al., ICCV 2015), biases 0."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
