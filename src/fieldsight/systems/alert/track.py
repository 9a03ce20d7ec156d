"""``track``: objects on a bird's-eye grid, followed by Kalman filters, judged by their closest approach.

Points above the ground fall into cells of 0.2 m; connected cells are objects; objects meet tracks by the Hungarian
method on gated Mahalanobis distances; each track is a constant-velocity filter ``[x, y, vx, vy]`` in the world. For
every track the closest point of approach gives ``P(hit)``. Only points that move by themselves make objects; what
stands in the way comes at the wearer's own speed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.corridor import DRIVES, Corridor, first_surface
from fieldsight.systems.alert.motion import MOVES
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.scene import Points, Scene
from fieldsight.systems.alert.state import Candidate, Estimate, time_to_impact

#: Cell of the bird's-eye grid, m; cells that touch, or nearly touch, belong together.
CELL = 0.25
#: Half width of the grid, m.
HALF = 20.0
#: Least visible area, m2, and points of an object.
LEAST_AREA, LEAST_POINTS = 0.06, 4
#: Standard deviation of an object's acceleration, m/s2.
ACCELERATION = 2.0
#: Gate on the squared Mahalanobis distance, two dimensions (99.7 %).
GATE = 11.8
#: Frames that a track outlives without being seen, and hits before it is believed.
PATIENCE, BELIEVED = 7, 2
#: What moves into sight comes nearer or crosses (what recedes uncovers nothing): speed of a new track towards the
#: wearer and its standard deviation, m/s.
BORN_SPEED, BORN_SPREAD = 3.0, 6.0
#: Standard deviations of speed that the wearer is given the benefit of, and the largest one that counts, m/s.
DOUBT, MOST_SPREAD = 1.5, 1.0
#: Half width of the wearer and the margin around, m.
BODY, MARGIN = 0.25, 0.3
#: Seconds over which the wearer's own velocity is taken.
OWN_WINDOW = 0.5


@dataclass(slots=True)
class Blob:
    """One object in one frame: middle of its face, its near end and its width along the walking axes, metres."""

    side: float
    forward: float
    width: float


@dataclass(slots=True)
class Track:
    """A followed object.

    Attributes:
        id: number, never used twice.
        x: ``[x, y, vx, vy]`` of its near face in the world.
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


class Tracker:
    """The estimator of the mode ``track``."""

    def __init__(self, config: AlertConfig) -> None:
        from scipy.optimize import linear_sum_assignment  # a second to import: when an engine is made, not before

        self._assign = linear_sum_assignment
        self.config = config
        self._scene = Scene(config)
        self._lanes = Corridor(config)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scene.reset()
        self._lanes.reset()
        self._tracks: list[Track] = []
        self._next = 0
        self._t = math.nan
        self._own: deque[tuple[float, float, float]] = deque(maxlen=64)
        self._looked = 0

    def update(self, frame: Frame) -> Estimate:
        """One processed frame. Without a pose nobody knows what moves, and one range has no shape: then the lanes of
        ``nearest`` judge."""
        if frame.pose is None or frame.depth.size == 1:
            return self._lanes.update(frame)
        points = self._scene.points(frame)
        if points.problem:
            return Estimate(judged=False, reason=points.problem)
        here = frame.pose[:2, 3]
        own = self._own_velocity(frame.t, here)
        self._advance(frame.t)
        self._meet(blobs(points, points.motion == MOVES), here, points.axes)
        self._looked = self._looked + 1 if points.looked else 0
        # nothing is known to move before two frames were held against earlier ones, unless it was followed before
        ready = self._looked >= BELIEVED or any(track.seen >= BELIEVED for track in self._tracks)
        candidates = [c for track in self._tracks if (c := self._candidate(track, here, own, points))]
        if (wall := self._standing(points, own)) is not None:
            candidates.append(wall)
        candidates.sort(key=lambda c: (not c.passes, c.tti, c.distance))
        seen = points.n_valid / max(points.n_pixels, 1)
        first = candidates[0] if candidates else Candidate(math.nan, 0.0, math.inf)
        words = f"{len(self._tracks)} objects followed" if self._tracks else "nothing moves"
        words = words if ready else "no earlier frame tells yet what moves"
        return Estimate(
            first.distance, first.speed, first.tti, reason=words, ready=ready,
            candidates=tuple(candidates), confidence=seen, n_roi=points.n_pixels, n_valid=points.n_valid,
            n_moving=int(np.count_nonzero(points.motion == MOVES)),
        )  # fmt: skip

    def _standing(self, points: Points, own: Array) -> Candidate | None:
        """What stands in the way that is walked: it comes at the wearer's own speed."""
        here = (points.motion != MOVES) & (np.abs(points.side) < self.config.corridor)
        distance = first_surface(points.forward[here], points.area[here], self.config.reach)
        if math.isnan(distance):
            return None
        speed = -float(own @ np.array([math.sin(points.axes), math.cos(points.axes)]))
        return Candidate(distance, speed, time_to_impact(distance, speed), True, -points.heading, 0.0)

    def _own_velocity(self, t: float, here: Array) -> Array:
        """The wearer's velocity over the last half second (a step, so that gait falls out), ``(2,)`` m/s."""
        self._own.append((t, float(here[0]), float(here[1])))
        while t - self._own[0][0] > OWN_WINDOW:
            self._own.popleft()
        first = self._own[0]
        dt = t - first[0]
        return np.array([here[0] - first[1], here[1] - first[2]]) / dt if dt > 0.05 else np.zeros(2)

    def _advance(self, t: float) -> None:
        dt = t - self._t if not math.isnan(self._t) else 0.0
        self._t = t
        if dt <= 0 or not self._tracks:
            return
        F = np.eye(4)
        F[0, 2] = F[1, 3] = dt
        Q = np.zeros((4, 4))
        Q[0, 0] = Q[1, 1] = dt**4 / 4 * ACCELERATION**2
        Q[0, 2] = Q[2, 0] = Q[1, 3] = Q[3, 1] = dt**3 / 2 * ACCELERATION**2
        Q[2, 2] = Q[3, 3] = dt**2 * ACCELERATION**2
        for track in self._tracks:
            track.x = F @ track.x
            track.P = F @ track.P @ F.T + Q

    def _spread(self, blob: Blob, axes: float) -> Array:
        """Covariance ``(2, 2)`` of a blob's place: the sensor's noise along the line of sight, a pixel across."""
        distance = math.hypot(blob.side, blob.forward)
        along = 0.05 + 0.015 * distance + 0.5 * float(self._scene.sigma(distance))
        across = 0.1 + 0.01 * distance + 0.1 * blob.width
        angle = math.atan2(blob.side, blob.forward) + axes
        ray, cross = np.array([math.sin(angle), math.cos(angle)]), np.array([math.cos(angle), -math.sin(angle)])
        return along**2 * np.outer(ray, ray) + across**2 * np.outer(cross, cross)

    def _meet(self, found: list[Blob], here: Array, axes: float) -> None:
        """Give blobs to tracks, begin new tracks, drop those that were not seen for long."""
        c, s = math.cos(axes), math.sin(axes)
        places = (
            np.array([[c * b.side + s * b.forward, -s * b.side + c * b.forward] for b in found]).reshape(-1, 2) + here
        )
        spreads = np.array([self._spread(b, axes) for b in found]).reshape(-1, 2, 2)
        taken: set[int] = set()
        met: set[int] = set()
        if self._tracks and found:
            means = np.array([t.x[:2] for t in self._tracks])
            S = np.array([t.P[:2, :2] for t in self._tracks])[:, None] + spreads[None]
            gap = places[None] - means[:, None]
            cost = np.einsum("tbi,tbij,tbj->tb", gap, np.linalg.inv(S), gap)
            for row, column in zip(*self._assign(np.minimum(cost, 1e3)), strict=True):
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
                P = np.zeros((4, 4))
                P[:2, :2], P[2:, 2:] = spreads[n], BORN_SPREAD**2 * np.eye(2)
                ray = (places[n] - here) / max(float(np.hypot(*(places[n] - here))), 0.1)
                self._tracks.append(Track(self._next, np.array([*places[n], *(-BORN_SPEED * ray)]), P, blob.width))
                self._next += 1

    def _correct(self, track: Track, place: Array, spread: Array, blob: Blob) -> None:
        gain = track.P[:, :2] @ np.linalg.inv(track.P[:2, :2] + spread)
        track.x = track.x + gain @ (place - track.x[:2])
        track.P = track.P - gain @ track.P[:2]
        track.P = 0.5 * (track.P + track.P.T)
        track.width += 0.3 * (blob.width - track.width)
        track.seen += 1
        track.missed = 0

    def _candidate(self, track: Track, here: Array, own: Array, points: Points) -> Candidate | None:
        if track.seen < BELIEVED:
            return None
        r, v = track.x[:2] - here, track.x[2:] - own
        distance = float(np.hypot(*r))
        if distance < 0.05:
            return None
        speed = float(r @ v) / distance
        pace = float(np.hypot(*v))
        # to the closest approach, not distance / speed: what passes beside the wearer, or swerves, is there sooner
        tti = float(-(r @ v)) / pace**2 if speed < 0 else math.inf
        ground = float(np.hypot(*track.x[2:]))
        # what is left between the bodies when it passes on this course
        gap = max(0.0, abs(float(r[0] * v[1] - r[1] * v[0])) / max(pace, 1e-6) - 0.5 * track.width - BODY)
        # a track that coasts supports an alarm the longer, the longer it was followed
        fresh = track.missed <= max(1, track.seen // 4)
        swerves = ground > DRIVES and gap <= 0.5 * self.config.swerve * min(tti, 10.0) ** 2
        passes = fresh and (swerves or hit_probability(r, v, track.P, track.width) > self.config.hit_probability)
        bearing = math.atan2(r[0], r[1]) - points.axes - points.heading
        return Candidate(
            distance, speed, tti, passes, _wrap(bearing), ground, track.id, _fastest(r / distance, speed, pace, track.P)
        )


def _fastest(ray: Array, speed: float, pace: float, P: Array) -> float:
    """How fast a track may close: its speed along its course (what turns in will bring all of it to bear), and
    :data:`DOUBT` standard deviations of the filter."""
    if speed >= 0:
        return speed
    spread = math.sqrt(max(float(ray @ P[2:, 2:] @ ray), 0.0))
    return -pace - DOUBT * min(spread, MOST_SPREAD)


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


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
    return _normal((room - size) / spread) - _normal((-room - size) / spread)


def _normal(z: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def blobs(points: Points, chosen: NDArray[np.bool_]) -> list[Blob]:
    """Objects of a frame: connected cells of the bird's-eye grid with enough points and area.

    Args:
        points: of the frame.
        chosen: which of them count, ``(n,)``.
    """
    side, forward, area = points.side[chosen], points.forward[chosen], points.area[chosen]
    columns = round(2 * HALF / CELL)
    column = ((side + np.float32(HALF)) * np.float32(1 / CELL)).astype(np.int32)
    row = (forward * np.float32(1 / CELL)).astype(np.int32)
    inside = (column >= 0) & (column < columns)
    column, row = column[inside], row[inside]
    rows = int(row.max(initial=0)) + 1
    key = row * columns + column
    count = np.bincount(key, minlength=rows * columns)
    filled = (count > 0).astype(np.uint8).reshape(rows, columns)
    number, labels = cv2.connectedComponents(cv2.dilate(filled, np.ones((3, 3), np.uint8)), connectivity=8)
    number -= 1
    if not number:
        return []
    owner = labels.ravel()[key]
    side, forward, area = side[inside], forward[inside], area[inside]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, number + 2))
    found = []
    for begin, end in pairwise(starts.tolist()):
        members = order[begin:end]
        covered = float(area[members].sum())
        if len(members) < LEAST_POINTS or covered < LEAST_AREA:
            continue
        s, f = side[members], forward[members]
        near = np.partition(f, len(f) // 10)[len(f) // 10]  # a tenth in: single mixed pixels lie before the face
        face = s[f <= near + 0.5]
        left, right = float(face.min()), float(face.max())
        found.append(Blob(0.5 * (left + right), float(near), right - left))
    return found
