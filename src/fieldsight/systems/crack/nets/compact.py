"""Two compact baselines: DeepCrack and MobileNetV3 with LRASPP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.systems.crack.nets.blocks import Expert, conv_bn_relu, init_kaiming, pixels_first, up
from fieldsight.systems.crack.nets.context import Windowed, WindowedMean, cells_of, window_mean


class DeepCrack(Expert):
    """DeepCrack (Liu et al., Neurocomputing 2019): a VGG-16 body, a side output at each of five scales, fused.

    3,683,019 parameters at the default widths, half of VGG-16's: they give both numbers of the paper's Table 10, 3.68 M
    and 0.020 T multiply-accumulates.

    Args:
        widths: channels of the five scales.
        depths: convolutions of the five scales.
    """

    def __init__(
        self, widths: Sequence[int] = (32, 64, 128, 256, 256), depths: Sequence[int] = (2, 2, 3, 3, 3)
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*(conv_bn_relu(o if k else i, o) for k in range(depth)))
            for i, o, depth in zip((3, *widths[:-1]), widths, depths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths)
        self.out = nn.Conv2d(len(widths), 1, 1)
        init_kaiming([self.stages])
        nn.init.constant_(self.out.weight, 1.0 / len(widths))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` of the fused map and ``aux``, the mean of the side outputs' logits; both (N, 1, H, W)."""
        x = pixels_first(x)
        found = []
        for level, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            x = stage(self.pool(x) if level else x)
            found.append(up(side(x), 2**level) if level else side(x))
        sides = torch.cat(found, 1)
        return {"logits": self.out(sides), "aux": sides.mean(1, keepdim=True)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The VGG body."""
        return (self.stages,)


class Row(NamedTuple):
    """A row of MobileNetV3's table: kernel, expanded and output channels, attention, hard swish, stride, dilation."""

    kernel: int
    expand: int
    out: int
    attention: bool
    swish: bool
    stride: int = 1
    dilation: int = 1


#: MobileNetV3-Large (Howard et al., ICCV 2019, table 1), dilated from 1/8 on so that the deepest map stays there.
LARGE = (
    Row(3, 16, 16, False, False),
    Row(3, 64, 24, False, False, 2), Row(3, 72, 24, False, False),
    Row(5, 72, 40, True, False, 2), Row(5, 120, 40, True, False), Row(5, 120, 40, True, False),
    Row(3, 240, 80, False, True), Row(3, 200, 80, False, True, 1, 2), Row(3, 184, 80, False, True, 1, 2),
    Row(3, 184, 80, False, True, 1, 2), Row(3, 480, 112, True, True, 1, 2), Row(3, 672, 112, True, True, 1, 2),
    Row(5, 672, 160, True, True, 1, 2), Row(5, 960, 160, True, True, 1, 4), Row(5, 960, 160, True, True, 1, 4),
)  # fmt: skip


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of ``by``, at most 10 % below ``channels``."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


class HardGate(Windowed):
    """Squeeze-and-excitation with a hard sigmoid; multiplies."""

    def __init__(self, channels: int, cells: int | None) -> None:
        super().__init__(cells)
        hidden = divisible(channels / 4)
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(window_mean(x, self.reach)))))


def _conv(inputs: int, outputs: int, kernel: int, stride: int, dilation: int, groups: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=1e-3)]


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand 1x1, depthwise, attention, project 1x1; added to the input where shapes allow."""

    def __init__(self, inputs: int, row: Row, cells: int | None) -> None:
        super().__init__()
        activation = nn.Hardswish if row.swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.expand != inputs:
            layers += [*_conv(inputs, row.expand, 1, 1, 1, 1), activation()]
        layers += [*_conv(row.expand, row.expand, row.kernel, row.stride, row.dilation, row.expand), activation()]
        if row.attention:
            layers.append(HardGate(row.expand, cells))
        self.body = nn.Sequential(*layers, *_conv(row.expand, row.out, 1, 1, 1, 1))
        self.residual = row.stride == 1 and inputs == row.out

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, out, H / stride, W / stride)``."""
        return x + self.body(x) if self.residual else self.body(x)


class MobileLRASPP(Expert):
    """MobileNetV3 with lite reduced atrous pooling (Howard et al., ICCV 2019) and skips at 1/2 and 1/4.

    3.28 M parameters at full width, as in the paper's Table 10.

    Args:
        rows: the table of blocks; the map halves in the stem and where a row says so, and must do so three times.
        scale: factor of all channels, each rounded to a multiple of 8.
        width: channels of the head.
        branches: channels that the skips at 1/4 and 1/2 are reduced to.
        window: side of the training crops in pixels, None for global statistics.
    """

    def __init__(
        self,
        rows: Sequence[Row] = LARGE,
        scale: float = 1.0,
        width: int = 128,
        branches: tuple[int, int] = (64, 32),
        window: int | None = None,
    ) -> None:
        super().__init__()
        rows = [row._replace(expand=divisible(row.expand * scale), out=divisible(row.out * scale)) for row in rows]
        channels, stride = divisible(16 * scale), 2
        self.stem = nn.Sequential(*_conv(3, channels, 3, 2, 1, 1), nn.Hardswish())
        blocks, self.taps, skips = [], [], []
        for index, row in enumerate(rows):
            if row.stride == 2:
                self.taps.append(index)  # the map before this block is the last of its size
                skips.append(channels)
                stride *= 2
            blocks.append(InvertedResidual(channels, row, cells_of(window, stride)))
            channels = row.out
        self.blocks = nn.ModuleList(blocks)
        deep = divisible(960 * scale)
        self.last = nn.Sequential(*_conv(channels, deep, 1, 1, 1, 1), nn.Hardswish())
        cells = cells_of(window, stride)
        self.reduce = conv_bn_relu(deep, width, 1)
        self.attend = nn.Sequential(WindowedMean(cells), nn.Conv2d(deep, width, 1), nn.Sigmoid())
        self.mix = nn.Conv2d(width, width, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(c, b, 1, bias=False) for c, b in zip(skips[::-1], branches, strict=True)
        )
        self.ups = nn.ModuleList(conv_bn_relu(width + b, width, 1) for b in branches)
        self.out = nn.Conv2d(width, 1, 1)
        init_kaiming([self.stem, self.blocks, self.last, self.reduce, self.ups])

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W)."""
        x = self.stem(pixels_first(x))
        skips: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if index in self.taps:
                skips.append(x)
            x = block(x)
        x = self.last(x)
        x = self.mix(self.reduce(x) * self.attend(x))
        for skip, branch, enlarge in zip(skips[::-1], self.branches, self.ups, strict=True):
            x = enlarge(torch.cat([up(x, 2), branch(skip)], 1))
        return {"logits": up(self.out(x), 2)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """MobileNetV3 up to its last convolution before pooling."""
        return (self.stem, self.blocks, self.last)
