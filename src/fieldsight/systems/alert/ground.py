"""Where the ground is: from the pose, or from the picture itself.

For a plane ``n . P = h`` below a pinhole camera the inverse depth is linear in the normalised image coordinates,
``1 / Z = (n_x x + n_y y + n_z) / h``: a linear fit gives tilt and height together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fieldsight.systems.alert.recording import Array


@dataclass(frozen=True, slots=True)
class Level:
    """Camera against the ground.

    Attributes:
        right, forward, up: rows that take camera coordinates (x right, y down, z along the axis) to a level frame
            whose forward axis lies under the optical axis; ``(3,)`` each.
        height: metres of the camera above the ground.
        fitted: True where it was read from the picture.
    """

    right: Array
    forward: Array
    up: Array
    height: float
    fitted: bool = False


def nominal(height: float, pitch: float = 0.0) -> Level:
    """A camera without roll that looks ``pitch`` radians below the horizon."""
    c, s = math.cos(pitch), math.sin(pitch)
    return Level(np.array([1.0, 0.0, 0.0]), np.array([0.0, -s, c]), np.array([0.0, -c, -s]), height)


def of_up(up: Array, height: float, fitted: bool = False) -> Level:
    """A level frame from the direction of up in camera coordinates."""
    up = up / np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    size = float(np.linalg.norm(forward))
    if size < 0.2:  # the camera looks at its feet or the sky: forward is where the picture's top or bottom points
        forward = np.array([0.0, 1.0, 0.0]) - up[1] * up
        forward, size = -forward * np.sign(up[2]), float(np.linalg.norm(forward))
    forward = forward / size
    return Level(np.cross(forward, up), forward, up, height, fitted)


def of_pose(pose: Array, height: float) -> Level:
    """A level frame from ``T_world_cam``; the world's z is up. The height is given: not every world has it at 0."""
    return of_up(pose[2, :3], height)


def fit(x: Array, y: Array, z: Array, before: Level, tolerance: float = 0.12) -> Level | None:
    """Fit the ground in a picture without a pose.

    Args:
        x, y: normalised image coordinates of pixels, ``(n,)``.
        z: their plane depth in metres, ``(n,)``, positive.
        before: where the ground was, or is supposed to be.
        tolerance: relative error of inverse depth that still counts as ground.

    Returns:
        The level frame, or None where too little ground is in sight, or what was found is no ground.
    """
    inverse = 1.0 / z
    normal = -before.up / before.height  # 1/Z = normal . (x, y, 1) for points on the ground
    for spread in (3.0, 2.0, 1.0):
        expected = normal[0] * x + normal[1] * y + normal[2]
        here = (expected > 0.05) & (np.abs(inverse - expected) < spread * tolerance * expected)
        if np.count_nonzero(here) < 60:
            return None
        rows = np.stack([x[here], y[here], np.ones(int(here.sum()), x.dtype)], axis=1).astype(np.float64)
        normal, *_ = np.linalg.lstsq(rows.T @ rows, rows.T @ inverse[here].astype(np.float64), rcond=1e-9)
    size = float(np.linalg.norm(normal))
    height = 1.0 / size if size > 0 else math.inf
    level = of_up(-normal, height, fitted=True)
    # a chest or a hand carries it, and nobody tilts it by more than 35 degrees
    return level if 0.5 < height < 2.5 and -level.up[1] > math.cos(math.radians(35)) else None
