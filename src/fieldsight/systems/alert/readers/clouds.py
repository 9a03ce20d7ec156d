"""Point clouds as depth pictures: projected to a pinhole, the nearest point wins a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build
from fieldsight.systems.alert.options import CloudOptions, SourceOptions
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.cloud_files import read_cloud
from fieldsight.systems.alert.readers.text import matrix_of, table_of
from fieldsight.systems.alert.recording import Array, Manifest, Recording, field_of_view
from fieldsight.systems.alert.store import Folder


def project(points: Array, K: Array, shape: tuple[int, int], options: CloudOptions) -> NDArray[np.float32]:
    """Plane depth ``(H, W)`` float32 of points ``(N, 3)`` in metres; NaN where none falls.

    What is written is the distance along the optical axis, not the point's Euclidean distance. A point covers a
    square of ``2 * grow + 1`` pixels; the nearest wins.

    Raises:
        DataError: points of another shape.
    """
    p = np.asarray(points, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != 3:
        raise DataError(f"Points are (N, 3), got {p.shape}.")
    if options.yaw:
        a = np.radians(options.yaw)  # the picture looks to the left: the points turn to the right
        up = {"lidar": (0, 1), "camera": (2, 0)}[options.axes]
        forward, left = p[:, up[0]], p[:, up[1]] * (1 if options.axes == "lidar" else -1)
        turned = np.cos(a) * forward + np.sin(a) * left, np.cos(a) * left - np.sin(a) * forward
        p = p.copy()
        p[:, up[0]], p[:, up[1]] = turned[0], turned[1] * (1 if options.axes == "lidar" else -1)
    x, y, z = (-p[:, 1], -p[:, 2], p[:, 0]) if options.axes == "lidar" else (p[:, 0], p[:, 1], p[:, 2])
    ahead = z > 0.05
    x, y, z = x[ahead], y[ahead], z[ahead]
    u = np.round(K[0, 0] * x / z + K[0, 2])
    v = np.round(K[1, 1] * y / z + K[1, 2])
    height, width = shape
    grow = options.grow
    near = (u >= -grow) & (u < width + grow) & (v >= -grow) & (v < height + grow)
    u, v, z = u[near].astype(np.int64), v[near].astype(np.int64), z[near]
    # a frame of grow pixels around the picture spares looking at the edges one by one
    wide = width + 4 * grow
    canvas = np.full((height + 4 * grow) * wide, np.inf)
    for dv in range(-grow, grow + 1):
        for du in range(-grow, grow + 1):
            np.minimum.at(canvas, (v + 2 * grow + dv) * wide + u + 2 * grow + du, z)
    picture = canvas.reshape(-1, wide)[2 * grow : 2 * grow + height, 2 * grow : 2 * grow + width]
    return np.where(np.isfinite(picture), picture, np.nan).astype(np.float32)


def open_clouds(files: Sequence[Path], name: str, options: SourceOptions) -> Recording:
    """Cloud files, one a frame, as plane depth.

    Times come from ``times.txt`` or ``timestamps.txt`` beside them (one a line), else from the rate.

    Raises:
        DataError: no file, none that can be read, times that are not one a file.
    """
    o = options.cloud
    K = field_of_view(o.width, o.height, o.fov)
    if o.height > o.width:  # fov goes from the left to the right edge
        K[0, 0] = K[1, 1] = o.width / 2 / np.tan(np.radians(o.fov) / 2)
    if options.intrinsics:
        fx, fy, cx, cy = options.intrinsics
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    factor = {"auto": 1.0, "m": 1.0, "mm": 1e-3, "cm": 1e-2}[options.unit] if options.scale is None else options.scale

    def depth(i: int) -> Array:
        return project(read_cloud(files[i]) * factor, K, (o.height, o.width), o)

    raw = Raw(
        name, _times(files, options), depth, lambda i: K, scale=1.0, sizes=[(o.height, o.width)],
        manifest=Manifest(kind="lidar"), notes=(f"points projected to {o.width} x {o.height} pixels",),
    )  # fmt: skip
    # the unit is that of the points; the picture is in metres already
    return build(raw, options.replace(unit="auto", scale=None))


def _times(files: Sequence[Path], options: SourceOptions) -> Array:
    for folder in dict.fromkeys((files[0].parent, files[0].parent.parent)) if len(files) > 1 else ():
        for name in ("times.txt", "timestamps.txt"):
            if (folder / name).is_file():
                where = f"{folder}: {name}"
                times = matrix_of(table_of(Folder(folder), name, 1), 1, where)[:, 0]
                if len(times) != len(files):
                    raise DataError(f"'{where}' has {len(times)} times for {len(files)} clouds.")
                return seconds(times, where)
    return np.arange(len(files)) / options.fps
