"""Inception-ResNet-v2 (Szegedy, Ioffe, Vanhoucke, Alemi, AAAI 2017, arXiv 1602.07261), for detectors.

Layers and channels are those of the network that the authors released: its stem is shorter than the paper's figures
show, and its maps have 320, 1088 and 2080 channels. All convolutions but the residual projections have no bias and a
batch normalisation, then ReLU. Padding keeps ``H / stride`` everywhere (the classifier's stem had none), so that a
cell's place in the picture is known.

=============  ==================================================================  ========  ======
part           branches, concatenated                                              channels  stride
=============  ==================================================================  ========  ======
stem           3x3/2 32, 3x3 32, 3x3 64, pool/2, 1x1 80, 3x3 192, pool/2           192       8
mixed          1x1 96; 1x1 48, 5x5 64; 1x1 64, 3x3 96, 3x3 96; mean, 1x1 64        320       8
10 of A        1x1 32; 1x1 32, 3x3 32; 1x1 32, 3x3 48, 3x3 64; project, x 0.17     320       8
reduction A    3x3/2 384; 1x1 256, 3x3 256, 3x3/2 384; pool/2                      1088      16
20 of B        1x1 192; 1x1 128, 1x7 160, 7x1 192; project, x 0.10                 1088      16
reduction B    1x1 256, 3x3/2 384; 1x1 256, 3x3/2 288;                             2080      32
               1x1 256, 3x3 288, 3x3/2 320; pool/2
9 of C         1x1 192; 1x1 192, 1x3 224, 3x1 256; project, x 0.20                 2080      32
last C         the same, x 1, no ReLU                                              2080      32
exit           1x1 1536                                                            1536      32
=============  ==================================================================  ========  ======

"x 0.17" is the factor of the residual, without which training is unstable (section 3.3 of the paper). With ``atrous``
reduction B keeps stride 16 and the convolutions after it read every second cell (the "hole algorithm", as in R-FCN).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fieldsight.errors import ConfigError

#: Blocks A, B and C but the last.
REPEATS = (10, 20, 9)
SCALES = (0.17, 0.10, 0.20)

Kernel = int | tuple[int, int]


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; the padding keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel = 1, stride: int = 1, dilation: int = 1) -> None:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (sides[0] // 2), dilation * (sides[1] // 2))
        conv = nn.Conv2d(inputs, outputs, sides, stride, padding, dilation, bias=False)
        # momentum as torch has it: the authors' 0.0003 is for trainings of many thousand steps
        super().__init__(conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU(inplace=True))


class Branches(nn.Module):
    """Several ways from one map, concatenated.

    Attributes:
        ways: each a module ``(N, C, H, W)`` to ``(N, C_i, H', W')``.
    """

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, sum C_i, H', W')``."""
        return torch.cat([way(x) for way in self.ways], 1)


class Residual(nn.Module):
    """``act(x + scale * project(branches(x)))``.

    Attributes:
        project: 1x1 convolution with a bias and no normalisation.
    """

    def __init__(self, channels: int, branches: Branches, width: int, scale: float, act: bool = True) -> None:
        super().__init__()
        self.branches = branches
        self.project = nn.Conv2d(width, channels, 1)
        self.scale = scale
        self.act: nn.Module = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return self.act(x + self.scale * self.project(self.branches(x)))


class InceptionResNetV2(nn.Module):
    """The network without its classifier; 54,306,464 parameters.

    Attributes:
        middle: stem to the last block B.
        last: reduction B to the 1x1 convolution.
        widths: channels of both maps, 1088 and 1536.
        strides: pixels of the input a cell of both, 16 and 16 (32 without ``atrous``).
    """

    def __init__(self, atrous: bool = True, repeats: Sequence[int] = REPEATS) -> None:
        """See the class.

        Args:
            atrous: keep stride 16 to the end.
            repeats: blocks A, B and C but the last; fewer for tests.

        Raises:
            ConfigError: not three numbers of at least 0.
        """
        super().__init__()
        if len(repeats) != 3 or min(repeats) < 0:
            raise ConfigError(f"Inception-ResNet-v2 takes three numbers of blocks, at least 0; got {list(repeats)}.")
        a, b, c = repeats
        step, hole = (1, 2) if atrous else (2, 1)
        self.middle = nn.Sequential(
            *_stem(), _mixed(), *(_block_a() for _ in range(a)), _reduction_a(), *(_block_b() for _ in range(b))
        )
        self.last = nn.Sequential(
            _reduction_b(step),
            *(_block_c(SCALES[2], hole) for _ in range(c)),
            _block_c(1.0, hole, act=False),
            ConvNorm(2080, 1536),
        )
        self.widths = (1088, 1536)
        self.strides = (16, 16 if atrous else 32)
        _start(self.modules())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 3, H, W)`` to the maps ``(N, 1088, H / 16, W / 16)`` and ``(N, 1536, H / s, W / s)``.

        ``s`` is 16, or 32 without ``atrous``; sizes are rounded up.
        """
        middle = self.middle(images)
        return middle, self.last(middle)


def _stem() -> Iterable[nn.Module]:
    yield from (ConvNorm(3, 32, 3, 2), ConvNorm(32, 32, 3), ConvNorm(32, 64, 3), nn.MaxPool2d(3, 2, 1))
    yield from (ConvNorm(64, 80), ConvNorm(80, 192, 3), nn.MaxPool2d(3, 2, 1))


def _mixed() -> Branches:
    return Branches(
        ConvNorm(192, 96),
        nn.Sequential(ConvNorm(192, 48), ConvNorm(48, 64, 5)),
        nn.Sequential(ConvNorm(192, 64), ConvNorm(64, 96, 3), ConvNorm(96, 96, 3)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvNorm(192, 64)),
    )


def _block_a() -> Residual:
    branches = Branches(
        ConvNorm(320, 32),
        nn.Sequential(ConvNorm(320, 32), ConvNorm(32, 32, 3)),
        nn.Sequential(ConvNorm(320, 32), ConvNorm(32, 48, 3), ConvNorm(48, 64, 3)),
    )
    return Residual(320, branches, 128, SCALES[0])


def _reduction_a() -> Branches:
    return Branches(
        ConvNorm(320, 384, 3, 2),
        nn.Sequential(ConvNorm(320, 256), ConvNorm(256, 256, 3), ConvNorm(256, 384, 3, 2)),
        nn.MaxPool2d(3, 2, 1),
    )


def _block_b() -> Residual:
    branches = Branches(
        ConvNorm(1088, 192),
        nn.Sequential(ConvNorm(1088, 128), ConvNorm(128, 160, (1, 7)), ConvNorm(160, 192, (7, 1))),
    )
    return Residual(1088, branches, 384, SCALES[1])


def _reduction_b(stride: int) -> Branches:
    return Branches(
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 384, 3, stride)),
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 288, 3, stride)),
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 288, 3), ConvNorm(288, 320, 3, stride)),
        nn.MaxPool2d(3, stride, 1),
    )


def _block_c(scale: float, dilation: int, act: bool = True) -> Residual:
    chain = ConvNorm(2080, 192), ConvNorm(192, 224, (1, 3), 1, dilation), ConvNorm(224, 256, (3, 1), 1, dilation)
    return Residual(2080, Branches(ConvNorm(2080, 192), nn.Sequential(*chain)), 448, scale, act)


def _start(modules: Iterable[nn.Module]) -> None:
    """Random weights by He et al. (2015)."""
    for layer in modules:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
