"""Rotations, quaternions, and the conventions of others turned into ours (camera y down, world z up)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: ARKit's camera looks along -z with y up; ours looks along +z with y down.
CAMERA_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])

#: ARKit's world has y up and looks along -z; ours has z up and looks along +y.
WORLD_FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])


def pose_of(quaternion: Any, position: Any) -> Array | None:
    """``(4, 4)`` of a quaternion ``w, x, y, z`` (any length but 0) and a position; None where one is not finite."""
    q, p = np.asarray(quaternion, dtype=np.float64), np.asarray(position, dtype=np.float64)
    length = float(np.linalg.norm(q))
    if not (np.isfinite(q).all() and np.isfinite(p).all()) or length < 1e-9:
        return None
    w, x, y, z = q / length
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = p
    return pose


def quaternion_of(rotation: Any) -> Array:
    """``w, x, y, z`` with w >= 0 of a rotation ``(3, 3)``, by the largest of its four squares."""
    r = np.asarray(rotation, dtype=np.float64)
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = np.array([trace, r[0, 0], r[1, 1], r[2, 2]])
    k = int(np.argmax(squares))
    if k == 0:
        q = np.array([1 + trace, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    else:
        i, j, m = k - 1, k % 3, (k + 1) % 3
        q = np.empty(4)
        q[0] = r[m, j] - r[j, m]
        q[k] = 1 + 2 * r[i, i] - trace
        q[1 + j], q[1 + m] = r[j, i] + r[i, j], r[m, i] + r[i, m]
    q = q / np.linalg.norm(q)
    return -q if q[0] < 0 else q


def is_rigid(pose: Any) -> bool:
    """True for a ``(4, 4)`` of a rotation (no mirror, no scale) and a finite position."""
    p = np.asarray(pose, dtype=np.float64)
    if p.shape != (4, 4) or not np.isfinite(p).all():
        return False
    r = p[:3, :3]
    return bool(np.allclose(r @ r.T, np.eye(3), atol=1e-3) and np.linalg.det(r) > 0)


def from_arkit(pose: Array) -> Array:
    """A camera pose of ARKit (camera x right, y up, looking along -z; world y up) in our convention."""
    return WORLD_FROM_Y_UP @ pose @ CAMERA_FROM_GL


def from_y_up(pose: Array) -> Array:
    """A pose whose camera is ours already (y down, looking along +z) but whose world has y up."""
    return WORLD_FROM_Y_UP @ pose


def is_lens(K: Array) -> bool:
    """True for ``(3, 3)`` of finite numbers with focal lengths above 0."""
    return K.shape == (3, 3) and bool(np.isfinite(K).all()) and K[0, 0] > 0 and K[1, 1] > 0
