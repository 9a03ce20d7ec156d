"""``nearest``: the nearest surface in each lane of the way ahead, and a robust slope over its last half second.

Points above the ground fall into lanes along the walking direction: the corridor that is walked, and lanes beside it
from which a vehicle may swerve. In each lane the nearest surface is the first half metre that holds enough visible
area; a jump starts a new surface; its speed is a Theil-Sen slope. With poses the wearer's own motion is taken out, so
that a parked car is told from one that drives.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.decision import theil_sen
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.scene import Points, Scene
from fieldsight.systems.alert.state import Candidate, Estimate, time_to_impact

#: Depth of a histogram cell, m.
CELL = 0.1
#: Least visible area of a surface, m2, and least pixels.
LEAST_AREA, LEAST_POINTS = 0.08, 5
#: Widths of the lanes beside the corridor, m.
BESIDE = (1.5, 1.5, 2.0, 3.0)
#: What drives, or rides: faster over the ground than people walk, m/s.
DRIVES = 2.4
#: Own speed that is supposed where no pose tells it, m/s.
WALKING = 1.4
#: Faster than anything in a street, m/s: a greater step is another surface.
FASTEST = 14.0
#: Fewest samples for a speed.
LEAST_SAMPLES = 3


@dataclass(slots=True)
class Lane:
    """The nearest surface of one lane and its recent past: ``(t, distance, distance + own way)``."""

    left: float
    right: float
    past: deque[tuple[float, float, float]]
    missed: int = 0

    @property
    def gap(self) -> float:
        """Metres beside the wearer's body where the lane begins; 0 in the corridor."""
        inner = min(abs(self.left), abs(self.right)) if self.left * self.right > 0 else 0.0
        return max(0.0, inner - 0.25)


class Corridor:
    """The estimator of the mode ``nearest``."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self._scene = Scene(config)
        edges = [config.corridor]
        for width in BESIDE:
            edges.append(edges[-1] + width)
        edges = [-e for e in reversed(edges)] + edges
        self._edges = np.array(edges, np.float32)
        self._cells = math.ceil(config.reach / CELL) + 1
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self._scene.reset()
        self._forget()

    def _forget(self) -> None:
        edges = self._edges.tolist()
        self._lanes = [Lane(a, b, deque(maxlen=40)) for a, b in pairwise(edges)]

    def update(self, frame: Frame) -> Estimate:
        """One processed frame."""
        points = self._scene.points(frame)
        if points.problem:
            return Estimate(judged=False, reason=points.problem)
        if points.turned:
            self._forget()
        ranges = self._nearest(points, frame.depth.size == 1)
        own = 0.0 if math.isnan(points.camera[0]) else points.camera[0]
        for lane, distance in zip(self._lanes, ranges, strict=True):
            self._take(lane, frame.t, distance, own)
        candidates = [c for lane in self._lanes if (c := self._candidate(lane, frame.t, frame.pose is not None))]
        ready = any(len(lane.past) >= LEAST_SAMPLES for lane in self._lanes) or not any(
            lane.past for lane in self._lanes
        )
        return self._estimate(points, candidates, ready)

    def _nearest(self, points: Points, single: bool) -> list[float]:
        """Metres to the nearest surface of every lane, NaN where there is none."""
        lanes = len(self._lanes)
        lane = np.searchsorted(self._edges, points.side) - 1
        inside = (lane >= 0) & (lane < lanes)
        cell = (points.forward * np.float32(1 / CELL)).astype(np.int32)
        key = (lane * self._cells + np.minimum(cell, self._cells - 1))[inside]
        size = lanes * self._cells
        count = np.bincount(key, minlength=size).reshape(lanes, self._cells)
        area = np.bincount(key, weights=points.area[inside], minlength=size).reshape(lanes, self._cells)
        far = np.bincount(key, weights=points.forward[inside], minlength=size).reshape(lanes, self._cells)
        if single:
            return [float(f.sum() / c.sum()) if c.any() else math.nan for c, f in zip(count, far, strict=True)]
        return [_first_surface(c, a, f) for c, a, f in zip(count, area, far, strict=True)]

    def _take(self, lane: Lane, t: float, distance: float, own: float) -> None:
        if math.isnan(distance):
            lane.missed += 1
            if lane.missed > 2:  # a burst of drop-outs must not end a surface
                lane.past.clear()
            return
        lane.missed = 0
        if lane.past:
            before, last, _ = lane.past[-1]
            expected = last + self._slopes(lane)[0] * (t - before)
            if abs(distance - expected) > max(FASTEST * (t - before) * 0.7, 0.08 * distance):
                lane.past.clear()
        lane.past.append((t, distance, distance + own))
        while t - lane.past[0][0] > self.config.window + 1e-6:
            lane.past.popleft()

    def _slopes(self, lane: Lane, ground: bool = False) -> tuple[float, float]:
        """Closing speed and, where wanted, ground speed of a lane's surface, m/s; zeros while it is too young."""
        if len(lane.past) < LEAST_SAMPLES:
            return 0.0, 0.0
        past = np.array(lane.past)
        return theil_sen(past[:, 0], past[:, 1]), theil_sen(past[:, 0], past[:, 2]) if ground else 0.0

    def _candidate(self, lane: Lane, t: float, posed: bool) -> Candidate | None:
        if len(lane.past) < LEAST_SAMPLES or lane.missed:
            return None
        distance = lane.past[-1][1]
        speed, ground = self._slopes(lane, ground=posed)
        tti = time_to_impact(distance, speed)
        drives = -ground > DRIVES if posed else -speed > DRIVES + WALKING
        reachable = lane.gap <= 0.5 * self.config.swerve * min(tti, 10.0) ** 2
        passes = lane.gap == 0.0 or (drives and reachable)
        middle = 0.5 * (lane.left + lane.right)
        bearing = math.atan2(middle, distance) if lane.gap else 0.0
        return Candidate(distance, speed, tti, passes, bearing, ground if posed else math.nan)

    def _estimate(self, points: Points, candidates: list[Candidate], ready: bool) -> Estimate:
        seen = points.n_valid / max(points.n_pixels, 1)
        common: dict[str, Any] = {
            "ready": ready,
            "n_roi": points.n_pixels,
            "n_valid": points.n_valid,
            "confidence": seen,
        }
        if not candidates:
            return Estimate(reason="nothing stands in the way" if ready else "first frames", **common)
        candidates.sort(key=lambda c: (not c.passes, c.tti, c.distance))
        first = candidates[0]
        words = "nearest surface in the way" if first.bearing == 0.0 else "nearest surface beside the way"
        return Estimate(first.distance, first.speed, first.tti, reason=words, candidates=tuple(candidates), **common)


def _first_surface(count: Array, area: Array, far: Array) -> float:
    """Distance of the first half metre (more, farther out) that holds enough points and visible area.

    Args:
        count, area, far: points, square metres and sum of distances by cell of :data:`CELL` metres.
    """
    filled = np.flatnonzero(count)
    if not filled.size:
        return math.nan
    counts, areas, fars = (np.concatenate([[0.0], np.cumsum(v)]) for v in (count, area, far))
    deep = np.minimum(filled + 4 + filled * 6 // 100, count.size)
    enough = (counts[deep] - counts[filled] >= LEAST_POINTS) & (areas[deep] - areas[filled] >= LEAST_AREA)
    if not enough.any():
        return math.nan
    begin = int(filled[np.argmax(enough)])
    end = int(deep[np.argmax(enough)])
    return float((fars[end] - fars[begin]) / (counts[end] - counts[begin]))


def first_surface(forward: Array, area: Array, reach: float) -> float:
    """Distance of the first surface among points, or NaN.

    Args:
        forward: metres ahead of each point, ``(n,)``.
        area: square metres each one's pixel covers, ``(n,)``.
        reach: metres; nothing lies farther.
    """
    cells = math.ceil(reach / CELL) + 1
    cell = np.minimum((forward * np.float32(1 / CELL)).astype(np.int32), cells - 1)
    count = np.bincount(cell, minlength=cells)
    return _first_surface(
        count, np.bincount(cell, weights=area, minlength=cells), np.bincount(cell, weights=forward, minlength=cells)
    )
