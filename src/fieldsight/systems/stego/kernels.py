"""Wavelet transforms compiled for the processor; :mod:`~fieldsight.systems.stego.wavelet` decides when they run.

They add in the same order as the torch code there and never fuse a product with a sum, so that both give the same
bits. A row of pixels and what becomes of it stay in the first cache: one pass over memory a transform.

Import this module only where it is worth a second: numba has to start, and compiles once for every processor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Array = NDArray[np.float32]


@compiled
def haar(x: Array, out: Array) -> None:
    """Pixels ``(N, C, H, W)`` to bands ``(N, 4, C, H/2, W/2)``; ``out`` is written."""
    n, c, height, width = x.shape
    half = np.float32(0.5)
    total, difference = np.empty(width, np.float32), np.empty(width, np.float32)
    for a in range(n):
        for b in range(c):
            for i in range(height // 2):
                upper, lower = x[a, b, 2 * i], x[a, b, 2 * i + 1]
                for j in range(width):
                    total[j] = upper[j] + lower[j]
                    difference[j] = upper[j] - lower[j]
                # few arrays in a loop, so that the compiler can rule out that they overlap and vectorises
                ll, lh, hl, hh = out[a, 0, b, i], out[a, 1, b, i], out[a, 2, b, i], out[a, 3, b, i]
                for j in range(width // 2):
                    ll[j] = (total[2 * j] + total[2 * j + 1]) * half
                    hl[j] = (total[2 * j] - total[2 * j + 1]) * half
                for j in range(width // 2):
                    lh[j] = (difference[2 * j] + difference[2 * j + 1]) * half
                    hh[j] = (difference[2 * j] - difference[2 * j + 1]) * half


@compiled
def unhaar(bands: Array, out: Array) -> None:
    """Bands ``(N, 4, C, h, w)`` to pixels ``(N, C, 2h, 2w)``; ``out`` is written."""
    n, _, c, height, width = bands.shape
    half = np.float32(0.5)
    for a in range(n):
        for b in range(c):
            for i in range(height):
                ll, lh, hl, hh = bands[a, 0, b, i], bands[a, 1, b, i], bands[a, 2, b, i], bands[a, 3, b, i]
                upper, lower = out[a, b, 2 * i], out[a, b, 2 * i + 1]
                for j in range(width):
                    upper[2 * j] = ((ll[j] + hl[j]) + (lh[j] + hh[j])) * half
                    upper[2 * j + 1] = ((ll[j] - hl[j]) + (lh[j] - hh[j])) * half
                for j in range(width):
                    lower[2 * j] = ((ll[j] + hl[j]) - (lh[j] + hh[j])) * half
                    lower[2 * j + 1] = ((ll[j] - hl[j]) - (lh[j] - hh[j])) * half


@compiled
def analyse(x: Array, low: Array, high: Array, out: Array) -> None:
    """Pixels ``(N, C, H, W)`` to bands ``(N, 4, C, H/2, W/2)`` by the filters ``low`` and ``high``, ``(L,)`` each.

    Down the columns, then along the rows, indices modulo the size: ``out[i] = sum_m f[m] x[2i + m - (L/2 - 1)]``.
    ``out`` is written.
    """
    n, c, height, width = x.shape
    taps = len(low)
    before, pairs, w = taps // 2 - 1, taps // 2, width // 2
    rows = np.empty((2, width + taps), np.float32)  # with a rim of what comes round from the other end
    even, odd = np.empty(w + pairs, np.float32), np.empty(w + pairs, np.float32)
    for a in range(n):
        for b in range(c):
            for i in range(height // 2):
                rows[:] = 0
                smooth, detail = rows[0, before : before + width], rows[1, before : before + width]
                for m in range(0, taps, 2):
                    upper, lower = x[a, b, (2 * i + m - before) % height], x[a, b, (2 * i + m + 1 - before) % height]
                    f, g, r, s = low[m], low[m + 1], high[m], high[m + 1]
                    for j in range(width):
                        smooth[j] = (smooth[j] + f * upper[j]) + g * lower[j]
                        detail[j] = (detail[j] + r * upper[j]) + s * lower[j]
                out[a, :, b, i] = 0
                for k in range(2):
                    row = rows[k]
                    for j in range(before):
                        row[j] = row[before + (j - before) % width]
                    for j in range(before + width, width + taps):
                        row[j] = row[before + (j - before) % width]
                    for j in range(w + pairs):
                        even[j] = row[2 * j]
                        odd[j] = row[2 * j + 1]
                    smooth, detail = out[a, k, b, i], out[a, k + 2, b, i]
                    for p in range(pairs):
                        left, right = even[p : p + w], odd[p : p + w]
                        f, g, r, s = low[2 * p], low[2 * p + 1], high[2 * p], high[2 * p + 1]
                        for j in range(w):
                            smooth[j] = (smooth[j] + f * left[j]) + g * right[j]
                            detail[j] = (detail[j] + r * left[j]) + s * right[j]


@compiled
def synthesise(bands: Array, low: Array, high: Array, first: NDArray[np.int64], out: Array) -> None:
    """Bands ``(N, 4, C, h, w)`` to pixels ``(N, C, 2h, 2w)``; ``out`` is written.

    Args:
        bands: as :func:`analyse` gives them.
        low, high: ``(2, L/2)``, the taps of even and of odd pixels.
        first: ``(2,)``: tap t of pixel ``2k + parity`` takes coefficient ``k - first[parity] - t``, modulo the size.
        out: pixels.
    """
    n, _, c, height, w = bands.shape
    taps = low.shape[1]
    rows = np.empty((2, w + 2 * taps), np.float32)  # with a rim of what comes round from the other end
    halves = np.empty((2, w), np.float32)
    for a in range(n):
        for b in range(c):
            for y in range(2 * height):
                i, parity = y // 2, y % 2
                rows[:] = 0
                for k in range(2):
                    row = rows[k, taps : taps + w]
                    for t in range(taps):
                        spot = (i - first[parity] - t) % height
                        smooth, detail = bands[a, 2 * k, b, spot], bands[a, 2 * k + 1, b, spot]
                        f, g = low[parity, t], high[parity, t]
                        for j in range(w):
                            row[j] = (row[j] + f * smooth[j]) + g * detail[j]
                    for j in range(taps):
                        rows[k, j] = row[(j - taps) % w]
                        rows[k, taps + w + j] = row[j % w]
                halves[:] = 0
                for side in range(2):
                    half = halves[side]
                    for t in range(taps):
                        start = taps - first[side] - t
                        smooth, detail = rows[0, start : start + w], rows[1, start : start + w]
                        f, g = low[side, t], high[side, t]
                        for j in range(w):
                            half[j] = (half[j] + f * smooth[j]) + g * detail[j]
                line, even, odd = out[a, b, y], halves[0], halves[1]
                for j in range(w):
                    line[2 * j] = even[j]
                    line[2 * j + 1] = odd[j]
