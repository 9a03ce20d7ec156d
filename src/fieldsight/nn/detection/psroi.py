"""Position-sensitive RoI pooling (Dai, Li, He, Sun, R-FCN, NIPS 2016, arXiv 1605.06409, Equations 1 to 3).

A region is cut into k x k bins. Bin (i, j) of class c averages the cells under it of one map alone, the one that was
trained to score the part (i, j) of an object of class c. The mean over a bin is a product of three: an indicator of its
rows, the map, an indicator of its columns. So it is two matrix products here: exact, differentiable with respect to the
maps, and of operators that every runtime has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldsight.errors import DataError

#: The least side of a region in cells of the map, as in the authors' code: a region without area still has bins.
LEAST = 0.1


def ps_roi_pool(maps: Tensor, regions: Tensor, stride: int, k: int) -> Tensor:
    """Means of position-sensitive maps over the bins of regions (Equation 1).

    Bin (i, j) of a region of w x h cells whose corner is (x0, y0) holds the cells with ``floor(x0 + j w / k) <= x <
    ceil(x0 + (j + 1) w / k)`` and likewise y: neighbouring bins may share a cell. What lies outside the map does not
    count; a bin that lies outside as a whole gives 0.

    Args:
        maps: ``(N, C k k, H, W)``, the k x k maps of a class one after the other, row by row.
        regions: ``(N, P, 4)`` corners in pixels of the input. They get no gradient.
        stride: pixels of the input a cell of the maps.
        k: bins a side.

    Returns:
        ``(N, P, C, k, k)`` float32.

    Raises:
        DataError: channels that are no multiple of k k, or regions of another shape.
    """
    n, channels, height, width = maps.shape
    if channels % (k * k) or regions.ndim != 3 or regions.shape[-1] != 4:
        got = f"{channels} channels, regions {tuple(regions.shape)}"
        raise DataError(f"Position-sensitive pooling got {got}; allowed: a multiple of {k * k}, (N, P, 4).")
    corners = regions.detach().float() / stride
    columns = bins(corners[..., 0], corners[..., 2], width, k)
    rows = bins(corners[..., 1], corners[..., 3], height, k)
    parts = maps.float().reshape(n, channels // (k * k), k, k, height, width)
    sums = torch.einsum("ncijhw,npjw->npcijh", parts, columns)
    sums = torch.einsum("npcijh,npih->npcij", sums, rows)
    cells = rows.sum(-1)[..., :, None] * columns.sum(-1)[..., None, :]
    return sums / cells.clamp(min=1)[:, :, None]


def bins(low: Tensor, high: Tensor, size: int, k: int) -> Tensor:
    """Which cells of a row lie under each of k bins.

    Args:
        low, high: ``(N, P)`` ends of the regions in cells.
        size: cells of the row.
        k: bins.

    Returns:
        ``(N, P, k, size)`` float32, 0 or 1.
    """
    high = torch.maximum(high, low + LEAST)
    steps = torch.arange(k + 1, device=low.device, dtype=low.dtype)
    # this order of operations is exact where an edge is a whole number, so that no bin gains a cell by rounding
    edges = (low[..., None] * (k - steps) + high[..., None] * steps) / k
    first, behind = edges[..., :-1].floor()[..., None], edges[..., 1:].ceil()[..., None]
    cell = torch.arange(size, device=low.device, dtype=low.dtype)
    return ((cell >= first) & (cell < behind)).float()


def vote(pooled: Tensor) -> Tensor:
    """Mean over the bins: ``(N, P, C, k, k)`` to ``(N, P, C)`` (the average vote of section 2 of the paper)."""
    return pooled.mean((-2, -1))
