"""Polygons to pixels by exact area coverage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Corners ``(n, 2)`` as x, y.
Polygon = NDArray[np.float64]


def rasterize(
    polygons: Iterable[Polygon],
    shape: tuple[int, int],
    pixel: float,
    origin: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    """Share of each pixel that the polygons cover, exact for a single polygon.

    The signed-area method of font rasterisers: every edge is cut at pixel borders, each piece adds its height and
    the area to its right, and a running sum along the rows fills the inside. Coverage of several polygons is added
    and cut at 1, so abutting shapes join without a seam; where two overlap inside one border pixel it is an upper
    bound.

    Args:
        polygons: corners ``(n, 2)`` as x, y in the unit of ``pixel``; x goes right, y goes down the rows.
        shape: ``(H, W)`` of the picture.
        pixel: size of a pixel.
        origin: coordinates of the outer corner of pixel (0, 0).

    Returns:
        float32 ``(H, W)``, 0 to 1.
    """
    height, width = shape
    starts, ends = _edges(polygons, pixel, origin, (width, height))
    if not len(starts):
        return np.zeros(shape, dtype=np.float32)
    x0, y0, x1, y1 = _cut(starts, ends, width, height)
    rise = y1 - y0
    middle = np.clip(0.5 * (x0 + x1), 0.0, width)
    column = np.minimum(middle.astype(np.int64), width - 1)
    row = np.minimum((0.5 * (y0 + y1)).astype(np.int64), height - 1)
    cell = row * (width + 1) + column
    right = np.clip(column + 1.0 - middle, 0.0, 1.0)  # share of the pixel that lies right of the piece
    size = height * (width + 1)
    cover = np.bincount(cell, weights=rise * right, minlength=size)
    cover += np.bincount(cell + 1, weights=rise * (1.0 - right), minlength=size)
    filled = np.cumsum(cover.reshape(height, width + 1)[:, :width], axis=1)
    return np.clip(filled, 0.0, 1.0).astype(np.float32)


def _edges(
    polygons: Iterable[Polygon], pixel: float, origin: tuple[float, float], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All edges in pixels as ``(M, 2)`` starts and ends, polygons turned the same way, those outside left out."""
    starts, ends = [], []
    for polygon in polygons:
        corners = (np.asarray(polygon, dtype=np.float64) - origin) / pixel
        low, high = corners.min(axis=0), corners.max(axis=0)
        if high[0] <= 0 or high[1] <= 0 or low[0] >= size[0] or low[1] >= size[1]:
            continue
        following = np.roll(corners, -1, axis=0)
        area = np.dot(corners[:, 0], following[:, 1]) - np.dot(following[:, 0], corners[:, 1])
        starts.append(corners if area > 0 else following)
        ends.append(following if area > 0 else corners)
    if not starts:
        return np.zeros((0, 2)), np.zeros((0, 2))
    # upward edges (in y) open the inside for a polygon turned this way, so the rise counts with opposite sign
    first, last = np.concatenate(ends), np.concatenate(starts)
    level = first[:, 1] == last[:, 1]
    return first[~level], last[~level]


def _cut(
    starts: NDArray[np.float64], ends: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.float64], ...]:
    """Cut edges at pixel borders and at the picture's top and bottom; return x0, y0, x1, y1 of the pieces."""
    span = ends - starts
    at_y = np.sort(np.stack([-starts[:, 1], height - starts[:, 1]], axis=1) / span[:, 1:2], axis=1)
    first, last = np.clip(at_y, 0.0, 1.0).T
    keep = last > first
    starts, span, first, last = starts[keep], span[keep], first[keep], last[keep]
    number = np.arange(len(starts))
    edges, places = [number, number], [first, last]
    for axis, limit in ((0, width), (1, height)):
        moving = np.abs(span[:, axis]) > 1e-12
        begin = starts[:, axis] + first * span[:, axis]
        finish = starts[:, axis] + last * span[:, axis]
        low = np.clip(np.ceil(np.minimum(begin, finish)), 0, limit + 1).astype(np.int64)
        high = np.clip(np.floor(np.maximum(begin, finish)), -1, limit).astype(np.int64)
        count = np.where(moving, np.maximum(high - low + 1, 0), 0)
        edge = np.repeat(number, count)
        line = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        edges.append(edge)
        places.append((line - starts[edge, axis]) / span[edge, axis])
    edge, place = np.concatenate(edges), np.concatenate(places)
    place = np.clip(place, first[edge], last[edge])
    order = np.lexsort((place, edge))
    edge, place = edge[order], place[order]
    inner = edge[:-1] == edge[1:]
    a, b = place[:-1][inner], place[1:][inner]
    e = edge[:-1][inner]
    return (
        starts[e, 0] + a * span[e, 0],
        starts[e, 1] + a * span[e, 1],
        starts[e, 0] + b * span[e, 0],
        starts[e, 1] + b * span[e, 1],
    )
