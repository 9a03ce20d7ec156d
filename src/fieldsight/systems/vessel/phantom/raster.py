"""X-ray paths through tubes: chords with exact coverage across the axis, so that thin vessels keep their density."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: A tube that runs along the rays has a long chord; it is cut off at this many times the chord of one across them.
_SLANT = 3.0


@compiled
def _primitive(u: float, r: float) -> float:
    """∫ 2·√(r² - u²) du."""
    if u <= -r:
        return -0.5 * math.pi * r * r
    if u >= r:
        return 0.5 * math.pi * r * r
    return u * math.sqrt(r * r - u * u) + r * r * math.asin(u / r)


@compiled
def tube(axis: Doubles, column: int, row: int, height: int, width: int) -> Floats:
    """Path of the rays through one tube.

    A pixel takes the nearest point of the projected axis: chord 2·√(r² - d²) over the cosine of the axis' slant,
    averaged over one px across the axis; the tube's ends are half balls.

    Args:
        axis: ``(n, 5)`` x, y, depth and radius (px) and a value that is carried along (concentration).
        column, row: of the window's top left pixel.
        height, width: of the window, px.

    Returns:
        ``(4, height, width)``: chord (px), depth of its middle (px), carried value, silhouette (1 where the ray
        through the pixel's middle meets the tube).
    """
    nearest = np.full((height, width), np.inf, np.float32)
    found = np.zeros((4, height, width), np.float32)  # slant, depth, value, radius; later what is returned
    last = axis.shape[0] - 2
    for i in range(last + 1):
        x, y = axis[i, 0] - column, axis[i, 1] - row
        dx, dy, dz = axis[i + 1, 0] - axis[i, 0], axis[i + 1, 1] - axis[i, 1], axis[i + 1, 2] - axis[i, 2]
        flat = dx * dx + dy * dy
        slant = min(math.sqrt((flat + dz * dz) / max(flat, 1e-12)), _SLANT)
        reach = max(axis[i, 3], axis[i + 1, 3]) + 1.0
        top, bottom = max(int(min(y, y + dy) - reach), 0), min(int(max(y, y + dy) + reach) + 1, height)
        left, right = max(int(min(x, x + dx) - reach), 0), min(int(max(x, x + dx) + reach) + 1, width)
        for r in range(top, bottom):
            for c in range(left, right):
                across, along = c + 0.5 - x, r + 0.5 - y
                u = (across * dx + along * dy) / max(flat, 1e-12)
                ends = (i == 0 and u <= 0.0) or (i == last and u >= 1.0)
                u = min(max(u, 0.0), 1.0)
                d2 = (across - u * dx) ** 2 + (along - u * dy) ** 2
                if d2 < nearest[r, c]:
                    nearest[r, c] = d2
                    found[0, r, c] = 1.0 if ends else slant
                    found[1, r, c] = axis[i, 2] + u * dz
                    found[2, r, c] = axis[i, 4] + u * (axis[i + 1, 4] - axis[i, 4])
                    found[3, r, c] = axis[i, 3] + u * (axis[i + 1, 3] - axis[i, 3])
    for r in range(height):
        for c in range(width):
            d, radius = math.sqrt(nearest[r, c]), float(found[3, r, c])
            if d >= radius + 0.5:
                found[0, r, c] = 0.0
                found[3, r, c] = 0.0
                continue
            mean = _primitive(d + 0.5, radius) - _primitive(d - 0.5, radius)
            found[0, r, c] *= mean
            found[3, r, c] = 1.0 if d <= radius else 0.0
    return found


@compiled
def covered(chord: Floats, depth: Floats, chords: Floats, depths: Floats) -> Floats:
    """How much of each chord ``(H, W)`` lies within the union of other chords ``(K, H, W)`` of the same pixel, px."""
    height, width = chord.shape
    count = chords.shape[0]
    out = np.zeros((height, width), np.float32)
    low, high = np.zeros(count), np.zeros(count)
    for r in range(height):
        for c in range(width):
            half = 0.5 * chord[r, c]
            if half <= 0.0:
                continue
            known = 0
            for k in range(count):
                h = 0.5 * chords[k, r, c]
                a, b = max(depths[k, r, c] - h, depth[r, c] - half), min(depths[k, r, c] + h, depth[r, c] + half)
                if h <= 0.0 or b <= a:
                    continue
                place = known
                while place > 0 and low[place - 1] > a:  # sorted by their beginnings
                    low[place], high[place] = low[place - 1], high[place - 1]
                    place -= 1
                low[place], high[place] = a, b
                known += 1
            total, end = 0.0, -np.inf
            for k in range(known):
                total += max(high[k] - max(low[k], end), 0.0)
                end = max(end, high[k])
            out[r, c] = total
    return out
