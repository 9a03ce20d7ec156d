"""Blocks of YOLOv8 and YOLOv10, each a map ``(N, C, H, W)`` to ``(N, C', H / stride, W / stride)``.

YOLOv8: Conv, Bottleneck, C2f, SPPF. YOLOv10 (Wang et al., NeurIPS 2024, arXiv 2405.14458): spatial-channel decoupled
downsampling, the compact inverted block with its large kernel, partial self-attention.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Batch normalisation of all blocks.
EPS, MOMENTUM = 1e-3, 0.03


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with a bias that gives what ``norm(conv(x))`` gives in evaluation mode.

    ``W' = W g / sqrt(var + eps)``, ``b' = beta + (b - mean) g / sqrt(var + eps)``, computed in float64.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = 0.0 if conv.bias is None else conv.bias.double()
    made = copy.deepcopy(conv)
    with torch.no_grad():
        made.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
        made.bias = nn.Parameter((norm.bias.double() + (bias - norm.running_mean.double()) * scale).to(conv.weight))
    return made


class Conv(nn.Module):
    """Convolution without bias, batch normalisation, SiLU; the padding keeps the size at stride 1.

    Attributes:
        conv: with a bias once fused.
        norm: batch normalisation, or the identity once fused.
        act: SiLU, or the identity.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=EPS, momentum=MOMENTUM)
        self.act: nn.Module = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, ceil(H / stride), ceil(W / stride))``."""
        return self.act(self.norm(self.conv(x)))

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, in place."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = folded(self.conv, self.norm)
            self.norm = nn.Identity()


class Bottleneck(nn.Module):
    """Two 3x3 Convs of equal width, with or without the input added."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        y = self.second(self.first(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """1x1 Conv, split into halves, blocks chained from the second half, everything concatenated, 1x1 Conv.

    Attributes:
        blocks: Bottleneck, or CIB in YOLOv10's ``C2fCIB``.
    """

    def __init__(self, inputs: int, outputs: int, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.enter = Conv(inputs, outputs)
        self.exit = Conv((2 + len(self.blocks)) * (outputs // 2), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        maps = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return self.exit(torch.cat(maps, 1))


def c2f(inputs: int, outputs: int, repeats: int, shortcut: bool) -> C2f:
    """C2f of ``repeats`` bottlenecks of ``outputs / 2`` channels."""
    return C2f(inputs, outputs, [Bottleneck(outputs // 2, shortcut) for _ in range(repeats)])


def c2f_cib(inputs: int, outputs: int, repeats: int, shortcut: bool, large: bool) -> C2f:
    """C2f of ``repeats`` compact inverted blocks of ``outputs / 2`` channels (YOLOv10, section 3.3)."""
    return C2f(inputs, outputs, [CIB(outputs // 2, shortcut, large) for _ in range(repeats)])


class SPPF(nn.Module):
    """1x1 Conv to half, three 5x5 max-pools in series, all four concatenated, 1x1 Conv."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 5) -> None:
        super().__init__()
        self.enter = Conv(inputs, inputs // 2)
        self.exit = Conv(inputs // 2 * 4, outputs)
        self.pool = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.exit(torch.cat(maps, 1))


class Upsample(nn.Module):
    """Nearest neighbour, twice the size."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Concat(nn.Module):
    """Maps of one size, put behind each other; a module so that hooks and quantisers see it."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Several ``(N, C_i, H, W)`` to ``(N, sum C_i, H, W)``."""
        return torch.cat(maps, 1)


class SCDown(nn.Module):
    """Downsampling that changes channels by a 1x1 Conv first, then the size by a depthwise one (YOLOv10, 3.3)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.channels = Conv(inputs, outputs)
        self.space = Conv(outputs, outputs, kernel, stride, groups=outputs, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""
        return self.space(self.channels(x))


class LargeDepthwise(nn.Module):
    """Depthwise 7x7 and 3x3 side by side, then SiLU; fused they are one 7x7 (structural reparameterisation).

    Attributes:
        small: None once fused.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.large = Conv(channels, channels, 7, groups=channels, act=False)
        self.small: Conv | None = Conv(channels, channels, 3, groups=channels, act=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        y = self.large(x)
        return self.act(y if self.small is None else y + self.small(x))

    def fuse(self) -> None:
        """Fold both normalisations and add the 3x3 into the 7x7, in place."""
        self.large.fuse()
        if self.small is None:
            return
        self.small.fuse()
        large, small = self.large.conv, self.small.conv
        assert large.bias is not None
        assert small.bias is not None
        with torch.no_grad():
            large.weight += F.pad(small.weight, [2, 2, 2, 2])
            large.bias += small.bias
        self.small = None


class CIB(nn.Module):
    """Compact inverted block: depthwise 3x3, 1x1 to twice the width, depthwise, 1x1 back, depthwise 3x3.

    ``large`` makes the middle depthwise one 7x7, as YOLOv10 does in its deepest stages of small models.
    """

    def __init__(self, channels: int, shortcut: bool, large: bool) -> None:
        super().__init__()
        wide = 2 * channels
        self.steps = nn.Sequential(
            Conv(channels, channels, 3, groups=channels),
            Conv(channels, wide),
            LargeDepthwise(wide) if large else Conv(wide, wide, 3, groups=wide),
            Conv(wide, channels),
            Conv(channels, channels, 3, groups=channels),
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        y = self.steps(x)
        return x + y if self.shortcut else y


class Attention(nn.Module):
    """Multi-head self-attention over the cells of a map; a depthwise 3x3 of the values tells the position.

    Queries and keys have half the values' width. All layers are 1x1 convolutions with batch normalisation.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.value_width = channels // heads
        self.key_width = self.value_width // 2
        self.qkv = Conv(channels, channels + 2 * heads * self.key_width, act=False)
        self.project = Conv(channels, channels, act=False)
        self.position = Conv(channels, channels, 3, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        n, c, h, w = x.shape
        split = [self.key_width, self.key_width, self.value_width]
        query, key, value = self.qkv(x).view(n, self.heads, sum(split), h * w).split(split, 2)
        weights = (query.transpose(2, 3) @ key * self.key_width**-0.5).softmax(-1)
        mixed = (value @ weights.transpose(2, 3)).reshape(n, c, h, w)
        return self.project(mixed + self.position(value.reshape(n, c, h, w)))


class PSA(nn.Module):
    """Partial self-attention: half of the channels pass an attention and a two-layer network (YOLOv10, section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = Conv(channels, 2 * half)
        self.exit = Conv(2 * half, channels)
        self.attention = Attention(half, max(half // 64, 1))
        self.mlp = nn.Sequential(Conv(half, 2 * half), Conv(2 * half, half, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        kept, mixed = self.enter(x).chunk(2, 1)
        mixed = mixed + self.attention(mixed)
        mixed = mixed + self.mlp(mixed)
        return self.exit(torch.cat((kept, mixed), 1))
