"""Depth as arrays: ``.npy``, ``.npz`` (RealSense and ZED exports among them), and arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build
from fieldsight.systems.alert.npz import Npz
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import is_rigid
from fieldsight.systems.alert.recording import Array, Manifest, Recording

#: Names under which exports keep things, most usual first.
NAMES = {
    "depth": ("depth", "depths", "d", "arr_0", "depth_m", "depth_mm", "range_m", "ranges"),
    "times": ("t", "times", "time", "timestamps", "timestamp", "stamps"),
    "K": ("K", "intrinsics", "camera_matrix"),
    "confidence": ("confidence", "conf"),
    "poses": ("poses", "pose", "T_world_cam"),
    "fps": ("fps",),
    "scale": ("depth_scale", "scale"),
}


def open_npy(path: Path, options: SourceOptions) -> Recording:
    """A ``.npy`` of ``(N, H, W)`` depth or ``(N,)`` ranges, mapped.

    Raises:
        DataError: no such array.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"Can't read '{path}' as an array: {error}.") from None
    return open_arrays({"depth": array}, path.stem, options)


def open_npz(path: Path, options: SourceOptions) -> Recording:
    """An ``.npz`` with depth ``(N, H, W)`` and, where they are known, times, K, confidence, poses, fps, scale.

    Raises:
        DataError: no array of depth, or a damaged one.
    """
    with Npz(path, f"'{path}'") as arrays:
        wanted = {alias for aliases in NAMES.values() for alias in aliases}
        found = {name: arrays.get(name) for name in arrays.names if name in wanted}
        if not found and len(arrays.names) == 1:
            found = {"depth": arrays.get(arrays.names[0])}
    return open_arrays(found, path.stem, options)


def open_arrays(arrays: Mapping[str, Any], name: str, options: SourceOptions) -> Recording:
    """Arrays in memory by their names: depth ``(N, H, W)`` or ``(N,)``, and what else is known.

    Raises:
        DataError: no depth, shapes that do not go together, times that are not finite.
    """
    parts = {}
    for part, aliases in NAMES.items():
        alias = next((a for a in aliases if arrays.get(a) is not None), None)
        parts[part] = None if alias is None else np.asarray(arrays[alias])
    depth = parts["depth"]
    if depth is None:
        raise DataError(f"'{name}' holds no depth: name the array depth. It holds: {', '.join(arrays) or 'nothing'}.")
    depth = depth[:, None, None] if depth.ndim == 1 else depth[None] if depth.ndim == 2 else depth
    if depth.ndim != 3 or 0 in depth.shape or depth.dtype.kind not in "fiu":
        raise DataError(f"'{name}': depth is {depth.dtype} {depth.shape}; numbers (frames, height, width) are wanted.")
    count = len(depth)
    fps = _number(parts["fps"], options.fps, name)
    times = np.arange(count) / fps if parts["times"] is None else _times(parts["times"], count, name)
    K, confidence, poses = parts["K"], parts["confidence"], parts["poses"]
    if K is not None and K.shape not in ((3, 3), (count, 3, 3)):
        raise DataError(f"'{name}': K is {K.shape}; (3, 3) or ({count}, 3, 3) is wanted.")
    if confidence is not None and confidence.shape != depth.shape:
        raise DataError(f"'{name}': confidence is {confidence.shape}, the depth {depth.shape}.")
    if poses is not None and poses.shape != (count, 4, 4):
        raise DataError(f"'{name}': poses are {poses.shape}; ({count}, 4, 4) is wanted.")
    kind = "range" if depth.shape[1:] == (1, 1) else "lidar"
    raw = Raw(
        name=name,
        times=times,
        depth=lambda i: depth[i],
        lens=None if K is None else lambda i: (K if K.ndim == 2 else K[i]).astype(np.float64),
        poses=[] if poses is None else [p.astype(np.float64) if is_rigid(p) else None for p in poses],
        confidence=None if confidence is None else lambda i: confidence[i],
        scale=_number(parts["scale"], 0.0, name),
        manifest=Manifest(kind=kind),  # type: ignore[arg-type]
    )
    return build(raw, options)


def _number(array: Array | None, fallback: float, name: str) -> float:
    if array is None:
        return fallback
    if array.size != 1 or array.dtype.kind not in "fiu" or not 0 < float(array.flat[0]) < 1e9:
        raise DataError(f"'{name}': fps and depth_scale are single numbers above 0, got {array!r:.60}.")
    return float(array.flat[0])


def _times(array: Array, count: int, name: str) -> Array:
    times = array.ravel()
    if times.dtype.kind not in "fiu" or len(times) != count:
        raise DataError(f"'{name}': {times.dtype} times {array.shape}; {count} numbers are wanted.")
    return seconds(times.astype(np.float64), name)


def seconds(times: Array, name: str) -> Array:
    """Stamps ``(N,)`` in seconds, milliseconds, microseconds or nanoseconds since 1970 or since a start, as seconds.

    Only stamps that can't be seconds are divided: those of today in smaller units lie above 1e11.

    Raises:
        DataError: a stamp that is not finite.
    """
    if not np.isfinite(times).all():
        bad = int(np.flatnonzero(~np.isfinite(times))[0])
        raise DataError(f"'{name}': the time of frame {bad} is {times[bad]}, a finite number is wanted.")
    largest = float(np.abs(times).max()) if times.size else 0.0
    for unit, limit in ((1e9, 1e17), (1e6, 1e14), (1e3, 1e11)):
        if largest > limit:
            return times / unit
    return times
