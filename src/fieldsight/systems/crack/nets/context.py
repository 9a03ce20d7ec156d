"""Statistics over a whole picture that stay local, so that a large picture can be computed in tiles.

Squeeze-and-excitation, z-scores, group normalisation and the like look at all of their input. A network trained on
crops then meets other statistics on a large picture, and a tile gives something else than the whole. The remedy is the
test-time local converter (Chu et al., ECCV 2022): in evaluation every such statistic is taken over a window as large as
the training crops, centred on each cell and moved inward at the borders. Where the map is not larger than the window
along an axis, that is the statistic of the whole axis.

``cells`` is always the window's side in cells of the map at hand, None for the whole map. Windows are separable, and
grow by doubling: no running sums, whose rounding would depend on where a tile starts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Combine = Callable[[Tensor, Tensor], Tensor]


def cells_of(window: int | None, stride: int) -> int | None:
    """Side of a window of ``window`` pixels in cells of a map whose cells are ``stride`` pixels; at least 1."""
    return None if window is None else max(1, window // stride)


def sliding(x: Tensor, length: int, dim: int, combine: Combine) -> Tensor:
    """Combine every ``length`` neighbours along an axis; it gets ``length - 1`` shorter. ``log2(length)`` steps."""
    result: Tensor | None = None
    done, power, size = 0, x, 1
    while True:
        if length & size:
            if result is None:
                result = power
            else:
                count = x.shape[dim] - (done + size) + 1
                result = combine(result.narrow(dim, 0, count), power.narrow(dim, done, count))
            done += size
        if 2 * size > length:
            assert result is not None
            return result
        count = x.shape[dim] - 2 * size + 1
        power = combine(power.narrow(dim, 0, count), power.narrow(dim, size, count))
        size *= 2


def window_mean(x: Tensor, cells: int | None, dims: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Mean over the window around each cell; an axis that the window covers shrinks to 1.

    Args:
        x: ``(N, C, H, W)``.
        cells: side of the window, None for the whole map.
        dims: axes that the window extends over.
    """
    for dim in dims:
        x = _along(x, cells, dim, torch.add, 0.0)
    return x


def window_max(x: Tensor, cells: int | None, dims: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Maximum over the window around each cell; see :func:`window_mean`."""
    for dim in dims:
        x = _along(x, cells, dim, torch.maximum, -torch.inf)
    return x


def window_moments(x: Tensor, cells: int | None) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of ``(N, C, H, W)`` over the window around each cell."""
    if not torch.compiler.is_compiling() and (cells is None or max(x.shape[-2:]) <= cells):
        mean = x.mean((2, 3), keepdim=True)
        return mean, (x - mean).square().mean((2, 3), keepdim=True)
    return _moments(torch.cat([x, x.square()], 1), cells)


def _moments(both: Tensor, cells: int | None) -> tuple[Tensor, Tensor]:
    mean, power = window_mean(both, cells).chunk(2, 1)
    return mean, (power - mean.square()).clamp_min(0.0)


def _along(x: Tensor, cells: int | None, dim: int, combine: Combine, neutral: float) -> Tensor:
    size = x.shape[dim]
    average = combine is torch.add
    if cells is None:
        return x.mean(dim, keepdim=True) if average else x.amax(dim, keepdim=True)
    if torch.compiler.is_compiling():
        return _along_any(x, cells, dim, combine, neutral)
    if size <= cells:
        return x.mean(dim, keepdim=True) if average else x.amax(dim, keepdim=True)
    valid = sliding(x, cells, dim, combine)
    before = (cells - 1) // 2
    after = size - valid.shape[dim] - before
    parts = [_repeat(valid, dim, 0, before), valid, _repeat(valid, dim, -1, after)]
    valid = torch.cat(parts, dim)
    return valid / cells if average else valid


def _repeat(x: Tensor, dim: int, index: int, count: int) -> Tensor:
    shape = list(x.shape)
    shape[dim] = count
    start = index % x.shape[dim]
    return x.narrow(dim, start, 1).expand(shape)


def _along_any(x: Tensor, cells: int, dim: int, combine: Combine, neutral: float) -> Tensor:
    """The same without a branch on the map's size, for exported graphs: the axis keeps its size."""
    size = x.shape[dim]
    pad = [0, 0] * (-dim if dim < 0 else x.ndim - dim)
    pad[-1] = cells - 1
    valid = sliding(F.pad(x, pad, value=neutral), cells, dim, combine)
    place = torch.arange(size, device=x.device)
    # beyond the last full window come windows that reach into the padding: read only where the map is too small
    index = (place - (cells - 1) // 2).clamp(max=size - cells).clamp(min=0)
    valid = valid.index_select(dim, index)
    if combine is not torch.add:
        return valid
    return valid / (place + 1).clamp(max=cells).amax(0).to(x.dtype)


class Windowed(nn.Module):
    """A module with statistics over a window.

    Args:
        cells: side of the window in evaluation. In training the whole map counts: it is a crop of the window's size.
    """

    def __init__(self, cells: int | None) -> None:
        super().__init__()
        self.cells = cells

    @property
    def reach(self) -> int | None:
        """The side in force."""
        return None if self.training else self.cells


class WindowedMean(Windowed):
    """Global average pooling, local in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same or, along axes that the window covers, to 1."""
        return window_mean(x, self.reach)


class WindowedGroupNorm(nn.GroupNorm):
    """Group normalisation whose mean and variance are those of a window in evaluation."""

    def __init__(self, groups: int, channels: int, cells: int | None) -> None:
        super().__init__(groups, channels)
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        whole = self.training or self.cells is None
        if whole or (not torch.compiler.is_compiling() and max(x.shape[-2:]) <= (self.cells or 0)):
            return super().forward(x)
        n, c, h, w = x.shape
        groups = x.reshape(n, self.num_groups, c // self.num_groups, h, w)
        mean, variance = _moments(torch.cat([groups.mean(2), groups.square().mean(2)], 1), self.cells)
        groups = (groups - mean.unsqueeze(2)) * torch.rsqrt(variance + self.eps).unsqueeze(2)
        return groups.flatten(1, 2) * self.weight[:, None, None] + self.bias[:, None, None]
