"""The camera of a small drone, and how it flies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Rng = np.random.Generator

#: Focal length in pixels of a frame 640 px wide (82.6 degrees over the diagonal of 640 x 480).
FOCAL = 455.0


def focal(width: int) -> float:
    """Focal length in pixels of a frame ``width`` px wide."""
    return FOCAL * width / 640.0


def lens(size: tuple[int, int], samples: int = 1) -> Doubles:
    """Focal length, principal column and row, width and height of a frame (height, width), in samples."""
    height, width = size
    return np.array([focal(width), width / 2, height / 2, width, height], np.float64) * samples


def poses(places: Doubles, yaw: Doubles, pitch: Doubles, roll: Doubles) -> Doubles:
    """World to camera ``(N, 3, 4)`` of places ``(N, 3)`` and angles ``(N,)`` in radians.

    Yaw turns left from +y, pitch lifts the view (-pi/2 looks straight down), roll turns the picture clockwise. The
    camera's x points right, y down, z ahead.
    """
    ahead = np.stack([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)], axis=1)
    right = np.stack([np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)], axis=1)
    down = np.cross(ahead, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    turn = np.stack([c * right - s * down, s * right + c * down, ahead], axis=1)
    return np.concatenate([turn, -np.einsum("nij,nj->ni", turn, places)[..., None]], axis=2)


def projected(points: Doubles, pose: Doubles, lens_: Doubles) -> Doubles:
    """Column, row and depth ``(..., 3)`` of world points ``(..., 3)``; meaningless where depth is not positive."""
    seen = points @ pose[:, :3].T + pose[:, 3]
    ahead = np.where(np.abs(seen[..., 2]) < 1e-9, 1e-9, seen[..., 2])
    return np.stack(
        [lens_[1] + lens_[0] * seen[..., 0] / ahead, lens_[2] + lens_[0] * seen[..., 1] / ahead, seen[..., 2]], axis=-1
    )


def sway(count: int, strength: float, rng: Rng) -> Doubles:
    """A smooth wander ``(count,)`` with spread ``strength``: a few slow waves, frame to frame at most about a fifth."""
    t = np.arange(count)
    total = np.zeros(count)
    for _ in range(4):
        period = rng.uniform(25.0, 90.0)
        total += rng.normal(0.0, 0.5) * np.sin(2 * np.pi * (t / period + rng.random()))
    return strength * total


def shake(count: int, strength: float, rng: Rng) -> Doubles:
    """Vibration ``(count,)``, new in every frame."""
    return strength * rng.standard_normal(count)


def eased(count: int) -> Doubles:
    """0 to 1 over ``count`` frames, slower at both ends."""
    t = np.linspace(0.0, 1.0, count)
    return 0.5 * t + 0.5 * t * t * (3 - 2 * t)


def rates(path: Doubles) -> Doubles:
    """Central differences of ``(N + 2, ...)``: the change per frame interval at the inner ``N``."""
    return np.asarray((path[2:] - path[:-2]) / 2)
