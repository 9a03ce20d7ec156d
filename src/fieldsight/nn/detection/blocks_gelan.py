"""Blocks of YOLOv9 (Wang, Yeh, Liao, arXiv 2402.13616), each a map ``(N, C, H, W)`` to another.

GELAN, the generalised efficient layer aggregation network, chains blocks and keeps every link's output (section 4.2).
``CBLinear`` and ``CBFuse`` carry features of one branch into another, as in CBNet (Liang et al., 2022); YOLOv9's
reversible branch is made of them (section 4.1). Written from the paper and the published layer tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.errors import ConfigError
from fieldsight.nn.detection.blocks import Conv


class RepConv(nn.Module):
    """3x3 and 1x1 side by side, added, then SiLU; fused they are one 3x3 (RepVGG, Ding et al., 2021).

    Attributes:
        wide: the 3x3, with a bias once fused.
        narrow: the 1x1, None once fused.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = Conv(channels, channels, 3, act=False)
        self.narrow: Conv | None = Conv(channels, channels, act=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        y = self.wide(x)
        return self.act(y if self.narrow is None else y + self.narrow(x))

    def fuse(self) -> None:
        """Fold both normalisations and add the 1x1 to the middle of the 3x3, in place."""
        self.wide.fuse()
        if self.narrow is None:
            return
        self.narrow.fuse()
        wide, narrow = self.wide.conv, self.narrow.conv
        assert wide.bias is not None
        assert narrow.bias is not None
        with torch.no_grad():
            wide.weight += F.pad(narrow.weight, [1, 1, 1, 1])
            wide.bias += narrow.bias
        self.narrow = None


class RepBottleneck(nn.Module):
    """RepConv and a 3x3 Conv of equal width, with the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = RepConv(channels)
        self.second = Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return x + self.second(self.first(x))


class RepCSP(nn.Module):
    """Cross-stage partial block: bottlenecks on one half of the width, a 1x1 Conv on the other, concatenated, 1x1.

    Attributes:
        enter, skip: 1x1 Convs to half of the outputs.
        blocks: ``repeats`` of :class:`RepBottleneck`.
        exit: 1x1 Conv over both halves.
    """

    def __init__(self, inputs: int, outputs: int, repeats: int) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = Conv(inputs, half)
        self.skip = Conv(inputs, half)
        self.blocks = nn.Sequential(*(RepBottleneck(half) for _ in range(repeats)))
        self.exit = Conv(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        return self.exit(torch.cat((self.blocks(self.enter(x)), self.skip(x)), 1))


class Elan(nn.Module):
    """1x1 Conv, split into halves, two stages chained from the second half, all four concatenated, 1x1 Conv.

    With stages of :class:`RepCSP` and a 3x3 Conv it is GELAN's block (Figure 4c of the paper), with a 3x3 Conv alone
    the plain ELAN of the smallest model's first block.
    """

    def __init__(self, inputs: int, outputs: int, width: int, inner: int, repeats: int | None) -> None:
        """See the class.

        Args:
            inputs, outputs: channels of the maps.
            width: channels that are split into halves.
            inner: channels that each stage gives.
            repeats: bottlenecks in each RepCSP; None for stages without one.
        """
        super().__init__()
        self.enter = Conv(inputs, width)
        self.first = _stage(width // 2, inner, repeats)
        self.second = _stage(inner, inner, repeats)
        self.exit = Conv(width + 2 * inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        kept, chained = self.enter(x).chunk(2, 1)
        first = self.first(chained)
        return self.exit(torch.cat((kept, chained, first, self.second(first)), 1))


def _stage(inputs: int, outputs: int, repeats: int | None) -> nn.Module:
    if repeats is None:
        return Conv(inputs, outputs, 3)
    return nn.Sequential(RepCSP(inputs, outputs, repeats), Conv(outputs, outputs, 3))


class SPPElan(nn.Module):
    """1x1 Conv, three 5x5 max-pools in series, all four concatenated, 1x1 Conv."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.enter = Conv(inputs, width)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.exit = Conv(4 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.exit(torch.cat(maps, 1))


class AvgConv(nn.Module):
    """Downsampling of the small models (AConv): 2x2 mean at stride 1, then a 3x3 Conv at stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)``, H and W even, to ``(N, outputs, H / 2, W / 2)``."""
        return self.conv(F.avg_pool2d(x, 2, 1))


class AvgDown(nn.Module):
    """Downsampling of the large models (ADown): 2x2 mean at stride 1, then one half of the channels a way.

    The first half passes a 3x3 Conv at stride 2, the second a 3x3 max-pool at stride 2 and a 1x1 Conv.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs // 2, outputs // 2, 3, 2)
        self.project = Conv(inputs // 2, outputs // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)``, H and W even, to ``(N, outputs, H / 2, W / 2)``."""
        first, second = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return torch.cat((self.conv(first), self.project(F.max_pool2d(second, 3, 2, 1))), 1)


class CBLinear(nn.Module):
    """One 1x1 convolution with a bias, whose outputs are split: features for several levels of another branch.

    Attributes:
        widths: channels of each part.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.conv = nn.Conv2d(inputs, sum(self.widths), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(N, inputs, H, W)`` to one ``(N, widths[i], H, W)`` a part."""
        return self.conv(x).split(self.widths, 1)


class CBFuse(nn.Module):
    """Parts of several :class:`CBLinear`, brought to the size of a branch's own map (nearest) and added to it.

    Attributes:
        picks: which part of each CBLinear.
    """

    def __init__(self, picks: Sequence[int]) -> None:
        super().__init__()
        self.picks = tuple(picks)

    def forward(self, *inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Parts of one CBLinear each, then the map ``(N, C, H, W)`` itself; to ``(N, C, H, W)``.

        Raises:
            ConfigError: not one input a pick and a map.
        """
        if len(inputs) != len(self.picks) + 1:
            raise ConfigError(f"CBFuse takes {len(self.picks)} lists of parts and a map; got {len(inputs)} inputs.")
        total = inputs[-1]
        assert isinstance(total, Tensor)
        size = total.shape[-2:]
        for parts, pick in zip(inputs, self.picks, strict=False):
            total = total + F.interpolate(parts[pick], size=size, mode="nearest")
        return total
