"""E4, CrackRefineNet: ConvNeXt, adaptive refinement of two deep maps, crack attention on two shallow ones, fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.nn.backbones import Encoder
from fieldsight.systems.crack.nets.blocks import Expert, SqueezeExcite, pixels_first, up
from fieldsight.systems.crack.nets.context import Windowed, WindowedGroupNorm, cells_of, window_moments

_EPS = 1e-6


class AFR(nn.Module):
    """Refinement of a deep map: two depthwise scales, group normalisation, a gate and channel weights; no residual.

    215,568 parameters at 256 channels.

    Args:
        channels: of the map, a multiple of 4.
        reduction: squeeze-and-excitation's.
        dropout: channel dropout of the result.
        cells: side of the window of the statistics.
    """

    def __init__(self, channels: int, reduction: int, dropout: float, cells: int | None) -> None:
        super().__init__()
        self.fine, self.coarse = self._scale(channels, 3), self._scale(channels, 5)
        self.norm = WindowedGroupNorm(4, channels, cells)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.channel = SqueezeExcite(channels, channels // reduction, cells)
        self.dropout = nn.Dropout2d(dropout)

    @staticmethod
    def _scale(channels: int, kernel: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        gate = self.gate(self.norm(self.fine(x) + self.coarse(x))).sigmoid()
        return self.dropout(x * gate * self.channel(x))


class CAM(Windowed):
    """Crack attention: where channels differ most, by their standard deviation and mean; no residual.

    4,894,096 parameters at 256 channels.

    Args:
        channels: of the map.
        hidden: channels of the first convolution.
        reduction: squeeze-and-excitation's.
        cells: side of the window of the z-scores.
    """

    def __init__(self, channels: int, hidden: int, reduction: int, cells: int | None) -> None:
        super().__init__(cells)
        self.spread = nn.Sequential(
            nn.Conv2d(2, hidden, 3, padding=1), nn.Conv2d(hidden, channels, 1), nn.ReLU(inplace=True)
        )
        self.fine = nn.Conv2d(channels, channels, 5, padding=2)
        self.coarse = nn.Conv2d(channels, channels, 7, padding=3)
        self.channel = SqueezeExcite(channels, channels // reduction, cells)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        mean = x.mean(1, keepdim=True)
        # the square root has no slope at 0: pixels whose channels agree
        deviation = (x - mean).square().mean(1, keepdim=True).clamp_min(_EPS**2).sqrt()
        maps = torch.cat([deviation, mean], 1)
        centre, variance = window_moments(maps, self.reach)
        maps = self.spread((maps - centre) / (variance.clamp_min(_EPS**2).sqrt() + _EPS))
        return x * (self.fine(maps) + self.coarse(maps)).sigmoid() * self.channel(x)


class Enlarge(nn.Sequential):
    """Transposed 2x2/2 convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )


class CrackRefineNet(Expert):
    """E4: 99,660,997 parameters with ConvNeXt-B (one LayerNorm a stage) and the defaults, 12,092,741 in the head.

    Args:
        encoder: four stages with output normalisation.
        width: channels of the head, a multiple of 4.
        hidden: channels inside :class:`CAM`.
        reduction: squeeze-and-excitation's.
        dropout: channel dropout.
        window: side of the training crops in pixels, None for global statistics.
    """

    def __init__(
        self,
        encoder: Encoder,
        width: int = 256,
        hidden: int = 128,
        reduction: int = 16,
        dropout: float = 0.3,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        cells = [cells_of(window, stride) for stride in encoder.strides]
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in encoder.widths)
        self.refine = nn.ModuleList(
            [
                CAM(width, hidden, reduction, cells[0]),
                CAM(width, hidden, reduction, cells[1]),
                AFR(width, reduction, dropout, cells[2]),
                AFR(width, reduction, dropout, cells[3]),
            ]
        )
        self.enlarge = nn.ModuleList(Enlarge(width) for _ in range(3))
        doublings = encoder.strides[0].bit_length() - 1
        self.finish = nn.Sequential(*(Enlarge(width) for _ in range(doublings)), nn.Dropout2d(dropout))
        self.factor = encoder.strides[0]
        self.scales = nn.Parameter(torch.ones(4))
        self.fuse = nn.Sequential(nn.Conv2d(width, width, 1), nn.Dropout2d(dropout))
        self.out = nn.Conv2d(2 * width, 1, 1)

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W)."""
        laterals = [conv(stage) for conv, stage in zip(self.lateral, self.encoder(pixels_first(x)), strict=True)]
        refined = [self.refine[3](laterals[3])]
        for level in (2, 1, 0):
            previous = self.enlarge[level](refined[-1])
            refined.append(self.refine[level](laterals[level] + previous))
        fused = self.scales[0] * refined[3]
        for level in (1, 2, 3):
            fused = fused + self.scales[level] * up(refined[3 - level], 2**level)
        # a 1x1 convolution of both maps side by side; a 1x1 commutes with enlarging, one channel is cheaper to enlarge
        detail, coarse = self.out.weight.chunk(2, 1)
        logits = F.conv2d(self.finish(refined[3]), detail, self.out.bias)
        return {"logits": logits + up(F.conv2d(self.fuse(fused), coarse), self.factor)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The ConvNeXt encoder."""
        return (self.encoder,)
