"""Depth pictures of boxes and cylinders by closed-form ray casting, in numpy.

A ray of camera direction ``((u-cx)/fx, (v-cy)/fy, 1)`` is at plane depth ``s`` after ``s`` of its lengths, so the
nearest ``s`` that hits something *is* the plane depth. Directions are a sum of a row and a column of the picture,
and each object is tried only inside the rectangle that its corners cover on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.world import Solids

Array = NDArray[Any]

#: Nothing nearer than this is drawn, in metres: a lens does not see into what touches it.
NEAR = 0.05

#: Ids of what is no object.
GROUND, SKY = 0, -1

_CORNERS = np.array([(i, j, k) for k in (0, 1) for j in (-1, 1) for i in (-1, 1)], dtype=np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


@dataclass(frozen=True)
class View:
    """What a perfect camera sees.

    Attributes:
        depth: ``(H, W)`` float32 plane depth in metres; infinite where there is sky.
        ids: ``(H, W)`` int32: object, 0 ground, -1 sky.
        incidence: ``(H, W)`` float32 cosine between the ray and the surface's normal, 0 to 1.
    """

    depth: Array
    ids: Array
    incidence: Array


def render(solids: Solids, pose: Array, K: Array, size: tuple[int, int], far: float = 80.0) -> View:
    """Draw the world from a camera.

    Args:
        solids: the objects.
        pose: ``(4, 4)`` ``T_world_cam``.
        K: ``(3, 3)`` intrinsics in pixels.
        size: width and height in pixels.
        far: objects beyond this many metres are not drawn.

    Raises:
        DataError: a size below one pixel.
    """
    width, height = size
    if min(size) < 1:
        raise DataError(f"A picture has at least 1 x 1 pixels, got {width} x {height}.")
    camera = np.asarray(pose, dtype=np.float64)
    across = ((np.arange(width) - K[0, 2]) / K[0, 0])[None, :]
    down = ((np.arange(height) - K[1, 2]) / K[1, 1])[:, None]
    turn, eye = camera[:3, :3], camera[:3, 3]
    # direction of every ray in the world, as row part + column part
    rows = turn[:, 1, None, None] * down + turn[:, 2, None, None]
    cols = turn[:, 0, None, None] * across
    depth, incidence, ids = _ground(rows[2] + cols[2], float(eye[2]))
    boxes = screen(solids, camera, K, size, far)
    for n in np.argsort(np.hypot(solids.x - eye[0], solids.y - eye[1])):
        u0, u1, v0, v1, nearest = boxes[n]
        if u0 >= u1 or v0 >= v1:
            continue
        window = np.s_[int(v0) : int(v1), int(u0) : int(u1)]
        best = depth[window]
        if nearest > best.max():
            continue  # all of it is hidden
        beside, above = cols[:, :, int(u0) : int(u1)], rows[:, int(v0) : int(v1), :]
        hit, facing = (_cylinder if solids.round[n] else _box)(solids, int(n), eye, beside, above)
        seen = hit < best
        np.copyto(best, hit, where=seen)
        np.copyto(incidence[window], facing, where=seen)
        ids[window][seen] = solids.ids[n]
    incidence /= np.sqrt(1.0 + across**2 + down**2)
    return View(depth, ids, np.minimum(incidence, 1.0).astype(np.float32))


def _ground(falling: Array, height: float) -> tuple[Array, Array, Array]:
    """Depth, unnormalised cosine and ids of a flat ground ``height`` below the eye."""
    below = falling < -1e-6
    depth = np.full(falling.shape, np.inf, dtype=np.float32)
    np.divide(-height, falling, out=depth, where=below, casting="same_kind")
    return depth, np.abs(falling).astype(np.float32), np.where(below, GROUND, SKY).astype(np.int32)


def screen(solids: Solids, pose: Array, K: Array, size: tuple[int, int], far: float) -> Array:
    """Rectangles ``(n, 5)`` on the screen that hold each object: u0, u1, v0, v1 (half-open) and its nearest depth.

    The edges of its bounding box are cut at the near plane first; empty where nothing of it can be seen.
    """
    count = len(solids.ids)
    if not count:
        return np.zeros((0, 5))
    half = np.stack([solids.length / 2, np.where(solids.round, solids.length, solids.width) / 2, solids.height], axis=1)
    local = _CORNERS * half[:, None, :]
    c, s = np.cos(solids.yaw)[:, None], np.sin(solids.yaw)[:, None]
    x = solids.x[:, None] + c * local[..., 0] - s * local[..., 1]
    y = solids.y[:, None] + s * local[..., 0] + c * local[..., 1]
    seen = (np.stack([x, y, local[..., 2]], axis=-1) - pose[:3, 3]) @ pose[:3, :3]
    a, b = seen[:, _EDGES[:, 0]], seen[:, _EDGES[:, 1]]
    points = np.concatenate([_cut(a, b), _cut(b, a)], axis=1)
    front = points[..., 2] >= NEAR * 0.99
    z = np.where(front, points[..., 2], 1.0)
    u = K[0, 2] + K[0, 0] * points[..., 0] / z
    v = K[1, 2] + K[1, 1] * points[..., 1] / z
    none = ~front.any(axis=1) | (np.where(front, points[..., 2], np.inf).min(axis=1) > far)
    found = np.empty((count, 5))
    for column, values, limit in ((0, u, size[0]), (2, v, size[1])):
        low = np.where(front, values, np.inf).min(axis=1)
        high = np.where(front, values, -np.inf).max(axis=1)
        found[:, column] = np.clip(np.floor(np.where(none, 0.0, low)), 0, limit)
        found[:, column + 1] = np.clip(np.ceil(np.where(none, 0.0, high)) + 1, 0, limit)
    found[none, 1] = found[none, 0]
    found[:, 4] = np.where(front, points[..., 2], np.inf).min(axis=1)
    return found


def _cut(a: Array, b: Array) -> Array:
    """Points ``a``, moved along the edge to ``b`` onto the near plane where they lie behind it and ``b`` does not."""
    need = (a[..., 2] < NEAR) & (b[..., 2] > NEAR)
    rise = np.where(need, b[..., 2] - a[..., 2], 1.0)
    share = np.where(need, (NEAR - a[..., 2]) / rise, 0.0)[..., None]
    return a + (b - a) * share


def _span(low: float, high: float, direction: Array) -> tuple[Array, Array]:
    """Where rays enter and leave a slab: ``(near, far)`` in ray lengths."""
    safe = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    one, two = low / safe, high / safe
    return np.minimum(one, two), np.maximum(one, two)


def _box(solids: Solids, n: int, eye: Array, cols: Array, rows: Array) -> tuple[Array, Array]:
    """Depth (infinite where it misses) and unnormalised cosine of a yawed box."""
    c, s = np.cos(solids.yaw[n]), np.sin(solids.yaw[n])
    dx = (c * cols[0] + s * cols[1]) + (c * rows[0] + s * rows[1])
    dy = (c * cols[1] - s * cols[0]) + (c * rows[1] - s * rows[0])
    dz = cols[2] + rows[2]
    px, py = eye[0] - solids.x[n], eye[1] - solids.y[n]
    ox, oy = c * px + s * py, c * py - s * px
    half, side = solids.length[n] / 2, solids.width[n] / 2
    x_in, x_out = _span(-half - ox, half - ox, dx)
    y_in, y_out = _span(-side - oy, side - oy, dy)
    z_in, z_out = _span(-eye[2], solids.height[n] - eye[2], dz)
    enter = np.maximum(np.maximum(x_in, y_in), z_in)
    leave = np.minimum(np.minimum(x_out, y_out), z_out)
    facing = np.abs(np.where(enter == x_in, dx, np.where(enter == y_in, dy, dz)))
    return np.where((enter < leave) & (enter > NEAR), enter, np.inf).astype(np.float32), facing.astype(np.float32)


def _cylinder(solids: Solids, n: int, eye: Array, cols: Array, rows: Array) -> tuple[Array, Array]:
    """Depth (infinite where it misses) and unnormalised cosine of an upright cylinder with its lid."""
    radius = solids.length[n] / 2
    dx, dy, dz = cols[0] + rows[0], cols[1] + rows[1], cols[2] + rows[2]
    ox, oy = eye[0] - solids.x[n], eye[1] - solids.y[n]
    a = np.maximum(dx * dx + dy * dy, 1e-12)
    b = ox * dx + oy * dy
    inside = b * b - a * (ox * ox + oy * oy - radius * radius)
    root = np.sqrt(np.maximum(inside, 0.0))
    z_in, z_out = _span(-eye[2], solids.height[n] - eye[2], dz)
    mantle = (-b - root) / a
    enter = np.maximum(mantle, z_in)
    leave = np.minimum((-b + root) / a, z_out)
    # on the mantle the normal is (p - centre) / radius
    facing = np.where(enter == mantle, root / radius, np.abs(dz))
    hit = (inside > 0) & (enter < leave) & (enter > NEAR)
    return np.where(hit, enter, np.inf).astype(np.float32), facing.astype(np.float32)
