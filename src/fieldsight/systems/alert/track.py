"""``track``: objects on a bird's-eye grid, followed by Kalman filters, judged by their closest approach.

Points above the ground fall into cells of 0.2 m; connected cells are objects; objects meet tracks by the Hungarian
method on gated Mahalanobis distances; each track is a constant-velocity filter ``[x, y, vx, vy]`` in the world (or,
without poses, relative to the wearer). For every track the closest point of approach gives ``P(hit)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtr

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.scene import Points, Scene
from fieldsight.systems.alert.state import Candidate, Estimate, time_to_impact

#: Cell of the bird's-eye grid, m.
CELL = 0.2
#: Half width of the grid, m.
HALF = 14.0
#: Least visible area, m2, and points of an object.
LEAST_AREA, LEAST_POINTS = 0.06, 4
#: Standard deviation of an object's acceleration, m/s2.
ACCELERATION = 2.0
#: Gate on the squared Mahalanobis distance, two dimensions (99.7 %).
GATE = 11.8
#: Frames that a track outlives without being seen, and hits before it is believed.
PATIENCE, BELIEVED = 4, 3
#: Half width of the wearer and the margin around, m.
BODY, MARGIN = 0.25, 0.3
#: Over the ground faster than people walk, m/s.
DRIVES = 2.4


@dataclass(slots=True)
class Blob:
    """One object in one frame: nearest point, middle and extent along the walking axes, metres."""

    side: float
    forward: float
    width: float
    depth: float
    points: int
    area: float


@dataclass(slots=True)
class Track:
    """A followed object.

    Attributes:
        id: number, never used twice.
        x: ``[side, forward, v_side, v_forward]`` of its near face in the world's or the wearer's frame.
        P: its covariance ``(4, 4)``.
        width: metres across, smoothed.
        seen: frames in which it was found.
        missed: frames in a row in which it was not.
    """

    id: int
    x: Array
    P: Array
    width: float
    seen: int = 1
    missed: int = 0
    speeds: list[float] = field(default_factory=list)


def sigma(distance: float) -> float:
    """Standard deviation of a blob's place at a distance, m: the sensor's and the blob's own (0.05 + 0.02 z)."""
    return 0.05 + 0.02 * distance


class Tracker:
    """The estimator of the mode ``track``."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self._scene = Scene(config)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scene.reset()
        self._tracks: list[Track] = []
        self._next = 0
        self._t = math.nan
        self._axes = (math.nan, math.nan)
        self._cameras: list[tuple[float, float, float]] = []

    def update(self, frame: Frame) -> Estimate:
        """One processed frame."""
        points = self._scene.points(frame)
        if points.problem:
            return Estimate(judged=False, reason=points.problem)
        if points.turned:
            self._tracks.clear()
            self._cameras.clear()
        posed = not math.isnan(points.camera[0])
        ahead, aside = points.camera if posed else (0.0, 0.0)
        own = self._own_speed(frame.t, ahead, aside)
        self._advance(frame.t)
        self._meet(blobs(points), ahead, aside)
        candidates = [c for track in self._tracks if (c := self._candidate(track, ahead, aside, own, posed))]
        candidates.sort(key=lambda c: (not c.passes, c.tti, c.distance))
        ready = any(t.seen >= BELIEVED for t in self._tracks) or not self._tracks
        seen = points.n_valid / max(points.n_pixels, 1)
        first = candidates[0] if candidates else Candidate(math.nan, 0.0, math.inf)
        words = f"{len(candidates)} objects followed" if candidates else "nothing stands in the way"
        return Estimate(
            first.distance, first.speed, first.tti, ready=ready, reason=words if ready else "first frames",
            candidates=tuple(candidates), confidence=seen, n_roi=points.n_pixels, n_valid=points.n_valid,
        )  # fmt: skip

    def _own_speed(self, t: float, ahead: float, aside: float) -> tuple[float, float]:
        """The wearer's velocity along the axes over the last half second, m/s."""
        self._cameras = [c for c in self._cameras if t - c[0] <= 0.5] + [(t, ahead, aside)]
        first = self._cameras[0]
        dt = t - first[0]
        return ((ahead - first[1]) / dt, (aside - first[2]) / dt) if dt > 0.05 else (0.0, 0.0)

    def _advance(self, t: float) -> None:
        dt = t - self._t if not math.isnan(self._t) else 0.0
        self._t = t
        if dt <= 0:
            return
        F = np.eye(4)
        F[0, 2] = F[1, 3] = dt
        q = ACCELERATION**2
        Q = q * np.array(
            [
                [dt**4 / 4, 0, dt**3 / 2, 0],
                [0, dt**4 / 4, 0, dt**3 / 2],
                [dt**3 / 2, 0, dt**2, 0],
                [0, dt**3 / 2, 0, dt**2],
            ]
        )
        for track in self._tracks:
            track.x = F @ track.x
            track.P = F @ track.P @ F.T + Q

    def _meet(self, found: list[Blob], ahead: float, aside: float) -> None:
        """Give blobs to tracks, begin new tracks, drop those that were not seen for long."""
        places = np.array([[b.side + aside, b.forward + ahead] for b in found]).reshape(-1, 2)
        spreads = np.array([sigma(math.hypot(b.side, b.forward)) for b in found])
        taken: set[int] = set()
        met: set[int] = set()
        if self._tracks and found:
            means = np.array([t.x[:2] for t in self._tracks])
            S = np.array([t.P[:2, :2] for t in self._tracks])[:, None] + (spreads**2)[None, :, None, None] * np.eye(2)
            gap = places[None] - means[:, None]
            cost = np.einsum("tbi,tbij,tbj->tb", gap, np.linalg.inv(S), gap)
            for row, column in zip(*linear_sum_assignment(np.minimum(cost, 1e3)), strict=True):
                if cost[row, column] <= GATE:
                    self._correct(self._tracks[row], places[column], spreads[column], found[column])
                    taken.add(int(column))
                    met.add(int(row))
        for n, track in enumerate(self._tracks):
            if n not in met:
                track.missed += 1
        self._tracks = [t for t in self._tracks if t.missed <= (PATIENCE if t.seen >= BELIEVED else 1)]
        for n, blob in enumerate(found):
            if n not in taken:
                P = np.diag([spreads[n] ** 2, spreads[n] ** 2, 36.0, 36.0])
                self._tracks.append(Track(self._next, np.array([*places[n], 0.0, 0.0]), P, blob.width))
                self._next += 1

    def _correct(self, track: Track, place: Array, spread: float, blob: Blob) -> None:
        S = track.P[:2, :2] + spread**2 * np.eye(2)
        gain = track.P[:, :2] @ np.linalg.inv(S)
        track.x = track.x + gain @ (place - track.x[:2])
        track.P = track.P - gain @ track.P[:2]
        track.P = 0.5 * (track.P + track.P.T)
        track.width += 0.3 * (blob.width - track.width)
        track.seen += 1
        track.missed = 0

    def _candidate(
        self, track: Track, ahead: float, aside: float, own: tuple[float, float], posed: bool
    ) -> Candidate | None:
        if track.seen < BELIEVED:
            return None
        r = np.array([track.x[0] - aside, track.x[1] - ahead])
        v = track.x[2:] - (np.array([own[1], own[0]]) if posed else 0.0)
        distance = float(np.hypot(*r))
        if distance < 0.05 or r[1] < -0.5:
            return None
        speed = float(r @ v) / distance
        tti = time_to_impact(distance, speed)
        ground = float(np.hypot(*track.x[2:])) if posed else math.nan
        likely = hit_probability(r, v, track.P, track.width)
        drives = (ground > DRIVES) if posed else (-speed > DRIVES + 1.4)
        gap = max(0.0, abs(float(r[0])) - 0.5 * track.width - BODY)
        swerves = drives and gap <= 0.5 * self.config.swerve * min(tti, 10.0) ** 2
        passes = likely > self.config.hit_probability or swerves
        return Candidate(distance, speed, tti, passes, math.atan2(r[0], r[1]), ground, track.id)


def hit_probability(r: Array, v: Array, P: Array, width: float) -> float:
    """Probability that a track passes within :data:`MARGIN` of the wearer's body.

    Args:
        r, v: place and velocity relative to the wearer, ``(2,)``, m and m/s.
        P: covariance of both, ``(4, 4)``.
        width: metres across.
    """
    speed = float(v @ v)
    t = float(-(r @ v) / speed) if speed > 1e-6 else 0.0
    if t <= 0:
        return 0.0
    miss = r + v * t
    size = float(np.hypot(*miss))
    across = np.array([-v[1], v[0]]) / math.sqrt(speed)
    J = np.concatenate([across, across * t])
    spread = math.sqrt(max(float(J @ P @ J), 1e-6))
    room = 0.5 * width + BODY + MARGIN
    return float(ndtr((room - size) / spread) - ndtr((-room - size) / spread))


def blobs(points: Points) -> list[Blob]:
    """Objects of a frame: connected cells of the bird's-eye grid with enough points and area."""
    columns = round(2 * HALF / CELL)
    column = ((points.side + np.float32(HALF)) * np.float32(1 / CELL)).astype(np.int32)
    row = (points.forward * np.float32(1 / CELL)).astype(np.int32)
    inside = (column >= 0) & (column < columns)
    column, row = column[inside], row[inside]
    rows = int(row.max(initial=0)) + 1
    key = row * columns + column
    count = np.bincount(key, minlength=rows * columns)
    labels, number = ndimage.label((count >= 2).reshape(rows, columns), np.ones((3, 3)))
    if not number:
        return []
    owner = labels.ravel()[key]
    side, forward, area = points.side[inside], points.forward[inside], points.area[inside]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, number + 2))
    found = []
    for begin, end in zip(starts[:-1], starts[1:], strict=True):
        members = order[begin:end]
        covered = float(area[members].sum())
        if len(members) < LEAST_POINTS or covered < LEAST_AREA:
            continue
        s, f = side[members], forward[members]
        near = np.partition(f, len(f) // 10)[len(f) // 10]  # a tenth in: single mixed pixels lie before the face
        face = s[f <= near + 0.5]
        left, right = float(face.min()), float(face.max())
        found.append(
            Blob(0.5 * (left + right), float(near), right - left, float(f.max()) - float(near), len(f), covered)
        )
    return found
