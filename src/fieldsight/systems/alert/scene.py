"""Points above the ground in a frame that does not turn with every step: what ``nearest`` and ``track`` look at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert import ground
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.motion import Past
from fieldsight.systems.alert.recording import Array, Frame

#: Metres above the ground that count as in the way.
LOWEST, HIGHEST = 0.25, 2.2
#: Pixels of a frame that are looked at; larger frames are thinned out evenly.
MOST_PIXELS = 25_000
#: The walking direction is taken anew once the camera's heading has left it by so much (gait swings it by 5 degrees).
TURN = math.radians(15)
#: Time constant of the heading, s.
HEADING_MEMORY = 0.5


@dataclass(frozen=True, slots=True)
class Points:
    """What is in the way.

    Attributes:
        forward, side: metres along and right of the walking direction, from the camera, ``(n,)`` float32.
        area: square metres that each point's pixel covers, ``(n,)``.
        motion: :data:`~fieldsight.systems.alert.motion.UNKNOWN`, ``STANDS`` or ``MOVES`` of each, ``(n,)``.
        camera: camera position ``(forward, side)`` over the ground along the same axes; NaN without a pose.
        heading: radians from the walking direction to where the camera looks, positive to the right.
        axes: radians from the world's y axis to the walking direction, towards its x; 0 without a pose.
        looked: True where an earlier frame could be looked at for what moves.
        turned: True where the walking direction was just taken anew: the past has other axes.
        n_valid, n_pixels: pixels with a return, and pixels looked at.
        problem: why there are no points, or nothing.
    """

    forward: Array
    side: Array
    area: Array
    motion: Array
    camera: tuple[float, float]
    heading: float
    axes: float
    turned: bool
    n_valid: int
    n_pixels: int
    looked: bool = False
    problem: str = ""


class Scene:
    """Turns frames into :class:`Points`; remembers the walking direction and, without poses, the ground."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget the walking direction and the ground."""
        self._grid: tuple[tuple[int, int], bytes, Array, Array, float] | None = None
        self._anchor = math.nan
        self._yaw = math.nan
        self._t = math.nan
        self._level = ground.nominal(self.config.camera_height)
        self._past = Past()

    def points(self, frame: Frame) -> Points:
        """Everything between :data:`LOWEST` and :data:`HIGHEST` above the ground, within reach."""
        if frame.depth.size == 1:
            return self._range(frame)
        if frame.K is None:
            return _nothing("the lens is unknown: give its intrinsics K, or use a mode of the paper's family")
        x, y, pixel, step = self._rays(frame)
        thin = np.ascontiguousarray(frame.depth[::step, ::step])
        z = thin.ravel()
        keep = (z > 0.1) & (z < self.config.reach)
        if self.config.min_confidence and frame.confidence is not None:
            keep &= np.ascontiguousarray(frame.confidence[::step, ::step]).ravel() >= self.config.min_confidence
        n_valid = int(np.count_nonzero(keep))
        here = np.flatnonzero(keep & supported(thin).ravel())
        x, y, z = x[here], y[here], z[here]
        level = self._ground(frame, x, y, z)
        ahead, swing, turned = self._heading(frame)
        axes = 0.0 if frame.pose is None else self._anchor
        c, s = math.cos(swing), math.sin(swing)
        f, r, u = level.forward, level.right, level.up
        # forward and side of a walking direction that lies `swing` left of the optical axis
        along = _row(c * f - s * r, x, y) * z
        across = _row(s * f + c * r, x, y) * z
        up = _row(u, x, y) * z
        up += np.float32(level.height)
        tall = (up > LOWEST) & (up < HIGHEST)
        chosen = np.flatnonzero(tall & (along > 0.1))
        z = z[chosen]
        guessed = None
        if frame.confidence is not None:
            guessed = np.ascontiguousarray(frame.confidence[::step, ::step]).ravel()[here[chosen]] == 0
        motion, looked = self._motion(frame, thin, step, np.stack([x[chosen] * z, y[chosen] * z, z]), guessed)
        area = z * z * np.float32(pixel)
        return Points(
            along[chosen], across[chosen], area, motion, ahead, swing, axes, turned, n_valid, keep.size, looked
        )

    def sigma(self, distance: Array | float) -> Array:
        """Noise of one pixel's depth at a distance, m, as measured from frame to frame."""
        return self._past.sigma(distance)

    def _motion(
        self, frame: Frame, thin: Array, step: int, points: Array, guessed: NDArray[np.bool_] | None
    ) -> tuple[Array, bool]:
        """What of the points moves, and whether any earlier frame could tell; nobody knows without poses."""
        if frame.pose is None or frame.K is None:
            return np.zeros(points.shape[1], np.int8), False
        K = frame.K.copy()
        K[:2] /= step
        looks = self._past.looks(frame.t)
        found = self._past.classify(looks, frame.pose, K, points, guessed)
        self._past.keep(frame.t, frame.pose, thin)
        return found, bool(looks)

    def _range(self, frame: Frame) -> Points:
        z = frame.depth.ravel()
        keep = z[(z > 0.1) & (z < self.config.reach)].astype(np.float32)
        one = np.ones_like(keep)
        return Points(
            keep, 0 * keep, one, np.zeros(keep.size, np.int8), (math.nan, math.nan), 0.0, 0.0, False, keep.size, 1
        )

    def _rays(self, frame: Frame) -> tuple[Array, Array, float, int]:
        assert frame.K is not None
        key = frame.K.tobytes()
        shape = (frame.depth.shape[0], frame.depth.shape[1])
        step = max(1, math.ceil(math.sqrt(frame.depth.size / MOST_PIXELS)))
        if self._grid is None or self._grid[:2] != (shape, key):
            fx, fy, cx, cy = frame.K[0, 0], frame.K[1, 1], frame.K[0, 2], frame.K[1, 2]
            u = (np.arange(0, shape[1], step) - cx) / fx
            v = (np.arange(0, shape[0], step) - cy) / fy
            x, y = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
            self._grid = (shape, key, x.ravel(), y.ravel(), float(step * step / (fx * fy)))
        return (*self._grid[2:], step)

    def _ground(self, frame: Frame, x: Array, y: Array, z: Array) -> ground.Level:
        if frame.pose is not None:
            return ground.of_pose(frame.pose, self.config.camera_height)
        low = np.flatnonzero(y > 0.02)[::4]
        found = ground.fit(x[low], y[low], z[low], self._level)
        if found is not None:
            self._level = found
        return self._level

    def _heading(self, frame: Frame) -> tuple[tuple[float, float], float, bool]:
        """Camera position along the walking axes, angle from the walking direction to the camera's, and news."""
        if frame.pose is None:
            return (math.nan, math.nan), 0.0, False
        yaw = math.atan2(frame.pose[0, 2], frame.pose[1, 2])  # of the optical axis, from the world's y to its x
        if math.isnan(self._anchor):
            self._yaw = self._anchor = yaw
            turned = False
        else:
            share = 1.0 - math.exp(-max(frame.t - self._t, 0.0) / HEADING_MEMORY)
            self._yaw += share * _wrap(yaw - self._yaw)
            turned = abs(_wrap(self._yaw - self._anchor)) > TURN
            if turned:
                self._anchor = self._yaw = yaw
        self._t = frame.t
        c, s = math.cos(self._anchor), math.sin(self._anchor)
        px, py = float(frame.pose[0, 3]), float(frame.pose[1, 3])
        return (s * px + c * py, c * px - s * py), _wrap(yaw - self._anchor), turned


def supported(depth: Array) -> NDArray[np.bool_]:
    """Pixels that lie at the depth of half of their neighbours that came back: what an edge mixes floats alone.

    Args:
        depth: ``(H, W)`` metres, NaN where nothing came back.

    Returns:
        ``(H, W)``; a pixel without neighbours is kept, since drop-outs thin out what is far.
    """
    seen = depth > 0
    room = 0.1 + 0.04 * depth
    near = np.zeros(depth.shape, np.uint8)
    there = np.zeros(depth.shape, np.uint8)
    for here, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        both = seen[here] & seen[other]
        step = depth[here] - depth[other]
        close = np.abs(step, out=step) < room[here]
        close &= both
        for side in (here, other):
            near[side] += close.view(np.uint8)
            there[side] += both.view(np.uint8)
    near += near
    return near >= there


def _row(weights: Array, x: Array, y: Array) -> Array:
    a, b, c = (np.float32(w) for w in weights)
    found = x * a
    found += y * b
    found += c
    return found


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _nothing(problem: str) -> Points:
    empty = np.empty(0, np.float32)
    return Points(
        empty, empty, empty, np.empty(0, np.int8), (math.nan, math.nan), 0.0, 0.0, False, 0, 0, problem=problem
    )
