"""E3, CrackMaster: ConvNeXt, a DeepLabV3+ branch joined with a LinkNet decoder, and reconstruction in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from fieldsight.nn.backbones import Encoder
from fieldsight.systems.crack.nets.blocks import (
    Expert,
    PooledNorm,
    conv_bn_relu,
    init_kaiming,
    pixels_first,
    separable,
    up,
)
from fieldsight.systems.crack.nets.context import Windowed, WindowedMean, cells_of


class ASPP(Windowed):
    """Atrous spatial pyramid pooling of separable convolutions (Chen et al., ECCV 2018).

    Args:
        inputs: channels of the map.
        width: channels of each branch and of the result.
        rates: dilation of the three separable branches.
        cells: side of the window of the pooled branch.
    """

    def __init__(self, inputs: int, width: int, rates: Sequence[int], cells: int | None) -> None:
        super().__init__(cells)
        self.point = conv_bn_relu(inputs, width, 1)
        self.atrous = nn.ModuleList(separable(inputs, width, rate) for rate in rates)
        self.pool = nn.Sequential(
            WindowedMean(cells), nn.Conv2d(inputs, width, 1, bias=False), PooledNorm(width), nn.ReLU(inplace=True)
        )
        self.project = conv_bn_relu((2 + len(rates)) * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, width, H, W)``."""
        maps = [self.point(x), *(branch(x) for branch in self.atrous)]
        maps.append(self.pool(x).expand_as(maps[0]))
        return self.project(torch.cat(maps, 1))


class LinkBlock(nn.Sequential):
    """LinkNet's decoder block (Chaurasia & Culurciello, VCIP 2017): 1x1 to a quarter, transposed 4x4/2, 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        middle = inputs // 4
        super().__init__(
            *conv_bn_relu(inputs, middle, 1),
            nn.ConvTranspose2d(middle, middle, 4, stride=2, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            *conv_bn_relu(middle, outputs, 1),
        )


class Reconstruction(nn.Module):
    """The self-supervised decoder: the picture from the deepest map; used in training only."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.point = conv_bn_relu(inputs, widths[0], 1)
        self.blocks = nn.ModuleList(conv_bn_relu(i, o) for i, o in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Deepest map to the normalised picture ``(N, 3, H, W)``."""
        x = self.point(x)
        for block in self.blocks:
            x = block(up(x, 2))
        return self.out(x)


class CrackMaster(Expert):
    """E3: 92,273,873 parameters with ConvNeXt-B and the defaults, 93,626,020 with the reconstruction decoder.

    Args:
        encoder: four stages.
        width: channels of the pyramid pooling.
        low: channels that the first stage is reduced to for the DeepLab branch.
        branch: channels of the DeepLab branch before its last reduction.
        last: channels where the two branches are added.
        rates: dilation rates of the pyramid pooling.
        reconstruct: widths of the reconstruction decoder, one more than it has doublings.
        dropout: channel dropout before the last layer.
        window: side of the training crops in pixels, None for global statistics.
    """

    def __init__(
        self,
        encoder: Encoder,
        width: int = 256,
        low: int = 48,
        branch: int = 128,
        last: int = 32,
        rates: Sequence[int] = (12, 24, 36),
        reconstruct: Sequence[int] = (288, 256, 128, 64, 32, 16),
        dropout: float = 0.2,
        window: int | None = None,
    ) -> None:
        super().__init__()
        first, second, third, fourth = encoder.widths
        self.encoder = encoder
        self.factor = encoder.strides[0] // 2  # from half the first stage's stride to full size
        self.aspp = nn.Sequential(
            ASPP(fourth, width, rates, cells_of(window, encoder.strides[-1])), *separable(width, width)
        )
        self.project = nn.ModuleList(conv_bn_relu(width, c, 1) for c in (third, second, first))
        self.link = nn.ModuleList(
            LinkBlock(i, o) for i, o in ((fourth + width, third), (third, second), (second, first), (first, last))
        )
        self.low = conv_bn_relu(first, low, 1)
        self.deeplab = nn.Sequential(*separable(width + low, branch), *conv_bn_relu(branch, last, 1))
        self.out = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(last, 1, 1))
        self.reconstruction = Reconstruction(fourth, reconstruct)
        init_kaiming([self.aspp, self.project, self.link, self.low, self.deeplab, self.reconstruction])

    def _segment(self, stages: list[Tensor]) -> Tensor:
        aspp = self.aspp(stages[3])
        skips = [
            s + up(p(aspp), 2 ** (i + 1)) for i, (s, p) in enumerate(zip(stages[2::-1], self.project, strict=True))
        ]
        x = self.link[0](torch.cat([stages[3], aspp], 1))
        for block, skip in zip(list(self.link)[1:], skips, strict=True):
            x = block(x + skip)
        branch = self.deeplab(torch.cat([up(aspp, 8), self.low(stages[0])], 1))
        logits: Tensor = self.out(x + up(branch, 2))
        return up(logits, self.factor) if self.factor > 1 else logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the mask, ``(N, 1, H, W)``; the reconstruction is not computed."""
        return self._segment(self.encoder(pixels_first(x)))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W) and, in training, ``reconstruction`` (N, 3, H, W) of the normalised picture."""
        stages = self.encoder(pixels_first(x))
        found = {"logits": self._segment(stages)}
        if self.training:
            found["reconstruction"] = self.reconstruction(stages[-1])
        return found

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The ConvNeXt encoder."""
        return (self.encoder,)
