"""A street by formula, for tests of what looks at streams."""

from __future__ import annotations

import math

import numpy as np

from fieldsight.systems.alert.recording import field_of_view

HEIGHT, WIDTH = 72, 96
K = field_of_view(WIDTH, HEIGHT)
RNG = np.random.default_rng(0)


def street(pitch: float = 0.0, wall: float = 18.0, side: float = 3.0) -> np.ndarray:
    """Ground 1.3 m below a camera that looks ``pitch`` down, a wall ahead, houses ``side`` to both sides."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    down = math.cos(pitch) * y + math.sin(pitch)
    with np.errstate(divide="ignore"):
        ground = np.where(down > 0, 1.3 / down, np.inf)
        houses = side / np.abs(x)
    return np.minimum(np.minimum(ground, houses), wall).astype(np.float32)


def noisy(depth: np.ndarray) -> np.ndarray:
    return (depth * (1 + RNG.normal(0, 0.004, depth.shape))).astype(np.float32)


def approach(distance: float) -> np.ndarray:
    """The street with something 1.6 m wide and 1.7 m tall in the way."""
    depth = street()
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (u - K[0, 2]) / K[0, 0] * distance, (v - K[1, 2]) / K[1, 1] * distance
    body = (np.abs(x) < 0.8) & (y < 1.3) & (y > -0.4)
    depth[body] = np.minimum(depth[body], distance)
    return depth
