"""Visibility by z-buffer, four samples a pixel; :mod:`~fieldsight.systems.edge.world.shading` colours what is seen.

Triangles are set up in homogeneous form (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates",
1997): with the corners as columns of a matrix, its inverse times a ray gives barycentric weights over depth. So
nothing needs to be clipped, and textures are perspective-correct.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

#: Samples along each side of a pixel.
SAMPLES = 2

#: Nothing nearer is drawn, in metres.
NEAR = 0.03


@compiled
def to_camera(corners: Doubles, moves: Doubles, pose: Doubles, rate: Doubles, lens: Doubles, readout: float) -> Doubles:
    """Corners in camera coordinates at the time when the shutter reads their row.

    Args:
        corners: ``(T, 3, 3)`` world coordinates in the middle of the exposure, m.
        moves: ``(T, 3)`` their own movement, m per frame interval.
        pose: ``(3, 4)`` world to camera (x right, y down, z ahead).
        rate: ``(3, 4)`` its change per frame interval.
        lens: focal length, principal column, principal row, width, height, all in samples.
        readout: time from the first to the last row, in frame intervals.
    """
    found = np.empty_like(corners)
    for t in range(corners.shape[0]):
        for k in range(3):
            x, y, z = corners[t, k, 0], corners[t, k, 1], corners[t, k, 2]
            for r in range(3):
                found[t, k, r] = pose[r, 0] * x + pose[r, 1] * y + pose[r, 2] * z + pose[r, 3]
            ahead = max(found[t, k, 2], 0.2)
            row = (lens[0] * found[t, k, 1] / ahead + lens[2]) / lens[4]
            late = (min(max(row, -0.5), 1.5) - 0.5) * readout
            for r in range(3):
                drift = rate[r, 0] * x + rate[r, 1] * y + rate[r, 2] * z + rate[r, 3]
                for c in range(3):
                    drift += pose[r, c] * moves[t, c]
                found[t, k, r] += late * drift
    return found


@compiled
def set_up(seen: Doubles, lens: Doubles) -> tuple[Doubles, Ints]:
    """Edge functions and screen rectangles of triangles in camera coordinates.

    Args:
        seen: ``(T, 3, 3)`` corners, m.
        lens: focal length, principal column, principal row, width, height, in samples.

    Returns:
        ``(T, 3, 3)`` coefficients of column, row and 1 for the three barycentric weights over depth at a sample's
        centre; and ``(T, 4)`` first and last column and row, empty (first > last) for what faces away or lies outside.
    """
    count = seen.shape[0]
    weights = np.zeros((count, 3, 3))
    area = np.zeros((count, 4), np.int32)
    f, cx, cy, width, height = lens[0], lens[1], lens[2], lens[3], lens[4]
    for t in range(count):
        area[t, 1] = -1
        a, b, c = seen[t, 0], seen[t, 1], seen[t, 2]
        if a[2] < NEAR and b[2] < NEAR and c[2] < NEAR:
            continue
        p0, p1, p2 = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
        det = a[0] * p0 + a[1] * p1 + a[2] * p2
        if det >= -1e-14:
            continue
        low_u, high_u, low_v, high_v = 1e9, -1e9, 1e9, -1e9
        for k in range(3):
            p, q = seen[t, k], seen[t, (k + 1) % 3]
            for part in range(2):
                x, y, z = p[0], p[1], p[2]
                if part == 1:
                    if (p[2] < NEAR) == (q[2] < NEAR):
                        continue
                    share = (NEAR - p[2]) / (q[2] - p[2])
                    x, y, z = p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1]), NEAR
                elif z < NEAR:
                    continue
                u, v = cx + f * x / z, cy + f * y / z
                low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
        if high_u < 0 or high_v < 0 or low_u > width or low_v > height:
            continue
        area[t, 0] = max(0, int(np.floor(max(low_u, 0.0) - 0.5)))
        area[t, 1] = min(width - 1, int(np.ceil(min(high_u, width) - 0.5)))
        area[t, 2] = max(0, int(np.floor(max(low_v, 0.0) - 0.5)))
        area[t, 3] = min(height - 1, int(np.ceil(min(high_v, height) - 0.5)))
        for k in range(3):
            q, r = seen[t, (k + 1) % 3], seen[t, (k + 2) % 3]
            p0, p1, p2 = q[1] * r[2] - q[2] * r[1], q[2] * r[0] - q[0] * r[2], q[0] * r[1] - q[1] * r[0]
            weights[t, k, 0] = p0 / (det * f)
            weights[t, k, 1] = p1 / (det * f)
            weights[t, k, 2] = (p2 + p0 * (0.5 - cx) / f + p1 * (0.5 - cy) / f) / det
    return weights, area


@compiled
def visible(weights: Doubles, area: Ints, height: int, width: int) -> tuple[Ints, Floats]:
    """Which triangle each sample sees: ``(height, width)`` int32 (-1 for none) and one over its depth, 1/m."""
    nearest = np.zeros((height, width), np.float32)
    owner = np.full((height, width), -1, np.int32)
    for t in range(weights.shape[0]):
        first, last = area[t, 0], area[t, 1]
        if first > last:
            continue
        w = weights[t]
        step = w[0, 0] + w[1, 0] + w[2, 0]
        for row in range(area[t, 2], area[t, 3] + 1):
            begin, end = float(first), float(last)
            total = 0.0
            for k in range(3):
                start = w[k, 1] * row + w[k, 2]
                total += start
                slope = w[k, 0]
                if slope > 1e-18:
                    begin = max(begin, -start / slope)
                elif slope < -1e-18:
                    end = min(end, -start / slope)
                elif start < 0:
                    end = -1.0
            i0, i1 = int(np.ceil(begin - 1e-9)), int(np.floor(end + 1e-9))
            for column in range(i0, i1 + 1):
                inverse = np.float32(total + step * column)
                if inverse > nearest[row, column] and inverse < 1.0 / NEAR:
                    nearest[row, column] = inverse
                    owner[row, column] = t
    return owner, nearest
