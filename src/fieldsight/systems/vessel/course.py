"""The way of a vessel: through a box around a narrowing, or between two points that somebody marked.

A way is a path of least cost through vesselness (Dijkstra's, with lengths of steps in px).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

#: What a px of way costs where there is no vessel at all is one over this.
FLOOR = 0.03

#: Vesselness below this is none.
FAINT = 0.05

#: The two halves of a way leave the middle at an angle of at least so many degrees.
_APART = math.cos(math.radians(100))

#: Points beyond the middle that a half must have.
SHORTEST = 8

#: Points that are tried as the middle of a way, and halves that are followed from each.
_SEEDS, _HALVES = 4, 4

#: The middle of a box counts more: standard deviation of the weight, share of the sides.
_MIDDLE = 0.3

#: A half whose mean cost is higher than this follows nothing.
_DEAREST = 12.0

#: Two halves are one where their ends are nearer than this, px; two seeds where they are this near.
_ONE_END, _ONE_SEED = 6, 3

#: Standard deviation of the smoothing of a way's points.
_SMOOTH = 2.0


@dataclass(frozen=True, eq=False)
class _Half:
    heading: Doubles
    points: Indices


def through(value: NDArray[Any], box: Doubles) -> list[Doubles]:
    """Ways of vessels through a box, from points in its middle to both sides beyond it.

    Args:
        value: ``(h, w)`` vesselness around the box, 0 to 1.
        box: ``(4,)`` xyxy in its pixels.

    Returns:
        Ways ``(P, 2)``, x and y as indices of pixels.
    """
    from skimage.graph import MCP_Geometric

    cost = _cost(value)
    seeds = _seeds(value, box)
    found: list[Doubles] = []
    for _ in range(_SEEDS):
        if not len(seeds):
            break
        graph = MCP_Geometric(cost)
        total, _ = graph.find_costs([tuple(int(v) for v in seeds[0])])
        halves = _halves(graph, total, value, seeds[0])
        pairs = [
            np.concatenate([a.points[::-1], b.points[1:]])
            for i, a in enumerate(halves)
            for b in halves[:i]
            if float(a.heading @ b.heading) < _APART
        ]
        seen = np.concatenate([seeds[:1], *pairs])
        seeds = seeds[np.abs(seeds[:, None] - seen[None]).max(-1).min(1) > _ONE_SEED]
        found += [_smoothed(way) for way in pairs]
    return found


def between(value: NDArray[Any], first: Doubles, last: Doubles) -> Doubles:
    """The way from one point (x, y in px) to another, as in :func:`through`."""
    from skimage.graph import route_through_array

    high, wide = value.shape
    ends = [(int(np.clip(y, 0, high - 1)), int(np.clip(x, 0, wide - 1))) for x, y in (first, last)]
    way, _ = route_through_array(_cost(value), ends[0], ends[1], fully_connected=True, geometric=True)
    return _smoothed(np.array(way, np.intp))


def even(way: Doubles) -> Doubles:
    """Points a px apart along a way."""
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    wanted = np.arange(0.0, steps[-1], 1.0)
    return np.stack([np.interp(wanted, steps, way[:, k]) for k in (0, 1)], axis=1)


def _cost(value: NDArray[Any]) -> Doubles:
    return np.asarray(1.0 / (FLOOR + np.asarray(value, np.float64)))


def _smoothed(way: Indices) -> Doubles:
    return np.asarray(gaussian_filter1d(way[:, ::-1].astype(np.float64), _SMOOTH, axis=0, mode="nearest"))


def _seeds(value: NDArray[Any], box: Doubles) -> Indices:
    """Points ``(K, 2)`` row, column of vessels in the middle of the box, best first."""
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)]
    rows, columns = np.minimum(rows, value.shape[0] - 1), np.minimum(columns, value.shape[1] - 1)
    away = np.hypot((columns + 0.5 - (x1 + x2) / 2) / (x2 - x1), (rows + 0.5 - (y1 + y2) / 2) / (y2 - y1))
    worth = value[rows, columns] * np.exp(-((away / _MIDDLE) ** 2) / 2)
    order = np.argsort(-worth, axis=None)
    points = np.stack([rows.ravel()[order], columns.ravel()[order]], axis=1)
    return np.asarray(points[value[points[:, 0], points[:, 1]] > FAINT], np.intp)


def _halves(graph: Any, total: Doubles, value: NDArray[Any], seed: Indices) -> list[_Half]:
    """The cheapest ways from a point to the border that end apart."""
    high, wide = total.shape
    ring = [(r, c) for r in (0, high - 1) for c in range(wide)] + [(r, c) for c in (0, wide - 1) for r in range(high)]
    away = np.array([math.hypot(r - seed[0], c - seed[1]) for r, c in ring])
    price = np.array([total[p] for p in ring]) / np.maximum(away, 1.0)
    found: list[_Half] = []
    for k in np.argsort(price):
        if price[k] > _DEAREST or len(found) == _HALVES:
            break
        way = np.array(graph.traceback(ring[k]), np.intp)
        way = way[: _end(value, way)]
        step = way[min(len(way) - 1, 10)] - seed if len(way) else np.zeros(2)
        if len(way) < SHORTEST or not step.any():
            continue
        if any(np.abs(other.points - way[-1]).max(1).min() < _ONE_END for other in found):
            continue
        found.append(_Half(step / np.linalg.norm(step), way))
    return found


def _end(value: NDArray[Any], way: Indices) -> int:
    """Points of a way up to where the vessel ends for good."""
    strong = np.flatnonzero(value[way[:, 0], way[:, 1]] > FAINT)
    return int(strong[-1]) + 1 if len(strong) else 0
