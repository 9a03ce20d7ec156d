"""What moved by itself: today's points looked up in earlier frames, through the poses.

A point whose place an earlier frame saw *through* (its pixel lay farther away, and none around it showed the point)
has arrived since: it moves. A point that lay there already stands. What was hidden, or did not come back, is unknown.
So a wearer who walks and turns among walls and parked cars does not make them move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.recording import Array

#: How far back is looked, s: the nearest frame shows what is fast, the farthest what is slow.
LOOKS = (0.2, 0.4, 0.8)
#: Least step that counts as motion, m, and bounds of what noise may add to it, as shares of the depth.
LEAST_STEP, LEAST_SHARE, MOST_SHARE = 0.2, 0.02, 0.15
#: The least share where depth was guessed (confidence 0): a network that fills in drifts by itself.
GUESSED_SHARE = 0.05
#: A sensor's scale may drift from frame to frame by so much (depth that a network fills in does).
DRIFT = 0.1
#: Depths that part the ranges in which noise is measured, m.
_EDGES = np.array([4.0, 8.0, 14.0], np.float32)

UNKNOWN, STANDS, MOVES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Seen:
    """An earlier frame: time, its pose's inverse, depth with a border of nothing (flat; 0 where nothing came back),
    its size."""

    t: float
    back: Array
    depth: Array
    inside: tuple[int, int]


class Past:
    """The last second of frames."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=64)
        self._sigma = np.array([0.03, 0.06, 0.15, 0.3], np.float32)

    def keep(self, t: float, pose: Array, depth: Array) -> None:
        """Remember a frame.

        Args:
            t: seconds.
            pose: ``(4, 4)`` ``T_world_cam``.
            depth: ``(H, W)`` float32, NaN or <= 0 where nothing came back.
        """
        bordered = np.zeros((depth.shape[0] + 2, depth.shape[1] + 2), np.float32)
        bordered[1:-1, 1:-1] = np.where(depth > 0, depth, np.float32(0))
        self._seen.append(Seen(t, np.linalg.inv(pose), bordered.ravel(), (depth.shape[0], depth.shape[1])))
        while self._seen and t - self._seen[0].t > LOOKS[-1] + 0.2:
            self._seen.popleft()

    def sigma(self, distance: Array | float) -> Array:
        """Noise of one pixel's depth at a distance, as measured between frames, m."""
        return np.interp(distance, (2.0, 6.0, 11.0, 18.0), self._sigma / np.sqrt(2.0))

    def looks(self, t: float) -> list[Seen]:
        """Frames about :data:`LOOKS` seconds before ``t``, as many as there are."""
        return [earlier for back in LOOKS if (earlier := self._look(t - back)) is not None]

    def classify(
        self, looks: Sequence[Seen], pose: Array, K: Array, points: Array, guessed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int8]:
        """Say of each point whether it moves.

        Args:
            looks: the earlier frames, see :meth:`looks`.
            pose: ``(4, 4)`` now.
            K: ``(3, 3)`` of the pictures that were kept.
            points: ``(3, n)`` float32 in camera coordinates.
            guessed: ``(n,)``, depth that no sensor measured; all was measured by default.

        Returns:
            ``(n,)`` of :data:`UNKNOWN`, :data:`STANDS`, :data:`MOVES`.
        """
        found = np.zeros(points.shape[1], np.int8)
        blank = np.zeros(points.shape[1], np.int8)
        for earlier in looks:
            one, empty = self._against(earlier, pose, K, points, guessed)
            # what any look saw arrive moves; what no look saw arrive and one saw standing stands
            found = np.maximum(found, one)
            blank += empty
        if len(looks) > 1:
            # nothing came back from there in any look, and now something does: it came out of the distance
            found[(found == UNKNOWN) & (blank == len(looks))] = MOVES
        return found

    def _look(self, t: float) -> Seen | None:
        """The frame nearest to a time, where one is within a third of the way."""
        if not self._seen:
            return None
        best = min(self._seen, key=lambda s: abs(s.t - t))
        return best if abs(best.t - t) <= 0.08 else None

    def _against(
        self, earlier: Seen, pose: Array, K: Array, points: Array, guessed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """What one earlier frame says of the points, and where nothing came back around their pixels."""
        between = earlier.back @ pose
        R, shift = between[:3, :3].astype(np.float32), between[:3, 3].astype(np.float32)
        there = R @ points
        there += shift[:, None]
        z = there[2]
        height, width = earlier.inside
        scale = 1.0 / np.maximum(z, np.float32(0.05))
        u = _pixel(there[0], scale, K[0, 0], K[0, 2] + 1)
        v = _pixel(there[1], scale, K[1, 1], K[1, 2] + 1)
        inside = (z > 0.1) & (u >= 1) & (v >= 1) & (u <= width) & (v <= height)
        v *= width + 2
        v += u
        place = np.where(inside, v, width + 3)
        depth = earlier.depth
        same = depth.take(place)
        seen = inside & (same > 0)
        residual = same - z
        drift, room = self._noise(residual, z, seen)
        if guessed is not None:
            room = np.where(guessed, np.maximum(room, LEAST_STEP + GUESSED_SHARE * z), room)
        z = z + drift
        np.subtract(same, z, out=residual)
        stands = np.abs(residual) <= room
        stands &= seen
        found = stands.astype(np.int8)  # STANDS is 1, UNKNOWN 0
        # what its own pixel does not show may lie in a neighbour: a step of one pixel is no motion
        open_ = np.flatnonzero(inside & ~stands)
        same, z, room = same[open_], z[open_], room[open_]
        steps = np.array((-width - 3, -width - 2, -width - 1, -1, 1, width + 1, width + 2, width + 3), place.dtype)
        others = depth.take(place[open_] + steps[:, None])
        came_back = others > 0
        match = ((np.abs(others - z) <= room) & came_back).any(axis=0)
        through = (same > z + room) & ~match
        found[open_[match]] = STANDS
        found[open_[through]] = MOVES
        blank = np.zeros(found.shape, bool)
        blank[open_[(same == 0) & ~came_back.any(axis=0)]] = True
        return found, blank

    def _noise(self, residual: Array, z: Array, valid: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Drift of the scale and three sigmas of noise at each point's depth, from all points together, m."""
        bins = (z > _EDGES[0]).astype(np.int8)
        bins += z > _EDGES[1]
        bins += z > _EDGES[2]
        drift = np.zeros(4, np.float32)
        middle = np.array([2.0, 6.0, 11.0, 18.0], np.float32)
        known, ranges = residual[valid], bins[valid]
        for n in range(4):
            some = known[ranges == n][::4]
            if some.size < 40:
                continue
            drift[n] = np.clip(_median(some), -DRIFT * middle[n], DRIFT * middle[n])
            spread = 1.4826 * float(_median(np.abs(some - drift[n])))
            self._sigma[n] += 0.3 * (spread - self._sigma[n])
        share = np.clip(3.0 * self._sigma / middle, LEAST_SHARE, MOST_SHARE)
        return drift.take(bins) * (z > middle[0]), LEAST_STEP + share.take(bins) * z


def _pixel(across: Array, scale: Array, focal: float, centre: float) -> NDArray[np.int32]:
    """Column or row of points in a bordered picture."""
    found = across * scale
    found *= np.float32(focal)
    found += np.float32(centre)
    return np.rint(found, out=found).astype(np.int32)


def _median(values: Array) -> np.float32:
    """``np.median`` of values without NaN, by the same arithmetic and without its overhead."""
    half = values.size // 2
    parted = np.partition(values, half)
    upper = np.float32(parted[half])
    return upper if values.size % 2 else np.float32((parted[:half].max() + upper) / np.float32(2))
