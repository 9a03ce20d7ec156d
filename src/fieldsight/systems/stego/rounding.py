"""Rounding a stego picture to whole grey levels so that the secret suffers least.

Rounding each pixel to its nearest level adds noise of 1/12 squared level to every component of a block, and revealing
magnifies it. But a block of 8 x 8 has 192 values to round and 96 components that carry: which of two levels a pixel
takes is a choice, and a good choice moves the noise to where nothing is carried. That is a search for a near lattice
point (Babai 1986); coordinate descent from plain rounding finds one in a few passes, at next to no cost for the cover.
What it is worth is in the study ``shipped``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Passes over the pixels of a block; more than four gain a tenth of a decibel.
PASSES = 4


def round_blocks(
    target: Tensor, cover: Tensor, rows: Tensor, beta: float, top: float = 255.0, passes: int = PASSES
) -> Tensor:
    """Round a stego to multiples of ``1 / top`` for the least ``|rows (x - target)|^2 + beta |x - cover|^2`` a block.

    Args:
        target: ``(N, C, H, W)`` in about 0-1, what the network gave; sides of whole blocks.
        cover: the same, what it should look like.
        rows: ``(k, C b b)`` of a block in the order colour, row, column: how an error shows in the secret.
        beta: weight of the cover's error.
        top: number of levels less one.
        passes: most passes over a block; it stops when nothing moves.

    Returns:
        ``(N, C, H, W)`` in 0-1, multiples of ``1 / top``; float32.
    """
    channels = target.shape[1]
    side = round((rows.shape[1] / channels) ** 0.5)
    wanted, own = (_blocks(x, side) * np.float32(top) for x in (target, cover))
    levels = np.round(np.clip(wanted, 0, top)).astype(np.float32)
    columns = np.ascontiguousarray(rows.detach().cpu().numpy().astype(np.float32).T)
    _kernel()(levels, wanted, own, columns, np.float32(beta), np.float32(top), passes)
    return _pictures(levels / np.float32(top), target.shape, side)


def _blocks(x: Tensor, side: int) -> NDArray[np.float32]:
    n, c, h, w = x.shape
    cut = x.detach().cpu().to(torch.float32).reshape(n, c, h // side, side, w // side, side)
    found: NDArray[np.float32] = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, c * side * side).numpy()
    return np.ascontiguousarray(found)


def _pictures(blocks: NDArray[np.float32], shape: torch.Size, side: int) -> Tensor:
    n, c, h, w = shape
    cut = torch.from_numpy(blocks).reshape(n, h // side, w // side, c, side, side)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


@cache
def _kernel() -> Any:
    """Compiled at first use: importing numba costs more than most commands."""
    import numba

    def descend(
        x: Any, wanted: Any, cover: Any, columns: Any, beta: float, top: float, passes: int
    ) -> None:  # pragma: no cover
        count, pixels = x.shape
        size = columns.shape[1]
        curve = np.empty(pixels, np.float32)
        for j in range(pixels):
            total = np.float32(0)
            for k in range(size):
                total += columns[j, k] * columns[j, k]
            curve[j] = total + beta
        error = np.empty(size, np.float32)
        for b in range(count):
            error[:] = 0
            for j in range(pixels):
                gap = x[b, j] - wanted[b, j]
                for k in range(size):
                    error[k] += columns[j, k] * gap
            for _ in range(passes):
                moved = False
                for j in range(pixels):
                    slope = beta * (x[b, j] - cover[b, j])
                    for k in range(size):
                        slope += columns[j, k] * error[k]
                    level = np.float32(np.round(x[b, j] - slope / curve[j]))
                    level = min(max(level, np.float32(0)), np.float32(top))
                    step = level - x[b, j]
                    if step != 0:
                        x[b, j] = level
                        moved = True
                        for k in range(size):
                            error[k] += columns[j, k] * step
                if not moved:
                    break

    def compiled(cached: bool) -> Any:
        return numba.njit(fastmath=True, nogil=True, cache=cached)(descend)

    try:
        return compiled(True)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return compiled(False)
