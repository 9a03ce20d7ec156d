"""MultiScan exports: all depth frames in one packed stream, with Apple's poses."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build, scaled_lens
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import from_arkit, is_rigid
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.text import json_of
from fieldsight.systems.alert.recording import Array, Recording
from fieldsight.systems.alert.store import ARRAY_LIMIT, TABLE_LIMIT, Store


def open_zlib(store: Store, name: str, file: str, options: SourceOptions) -> Recording:
    """A ``.depth.zlib`` stream: float16 metres (or uint16 millimetres) of 192 x 256, all frames in one deflate stream.

    Beside it, of the same name: ``.json`` (resolution of the streams, ``depth_unit``), ``.jsonl`` (a line a frame:
    ``timestamp``, ``transform`` and ``intrinsics`` by columns, ARKit's camera), ``.confidence.zlib``.

    Raises:
        DataError: not packed so, a size that is no whole number of frames, wrong lines.
    """
    stem = file.removesuffix(".depth.zlib")
    meta = json_of(store, f"{stem}.json") if f"{stem}.json" in store.names() else {}
    sizes = _streams(meta)
    shape = sizes.get("depth", (192, 256))
    kind = np.dtype("<u2") if meta.get("depth_unit") == "mm" else np.dtype("<f2")
    data = inflate(store.read(file, ARRAY_LIMIT), f"'{store.name}': '{file}'")
    size = shape[0] * shape[1]
    count, rest = divmod(len(data), size * kind.itemsize)
    if count == 0 or rest:
        raise DataError(
            f"'{store.name}': '{file}' unpacks to {len(data)} bytes, no whole number of {shape[1]} x {shape[0]} frames."
        )
    depth = np.frombuffer(data, dtype=kind).reshape(count, *shape)
    cameras = _cameras(store, f"{stem}.jsonl", count)
    sure, other = f"{stem}.confidence.zlib", None
    if sure in store.names():
        found = np.frombuffer(inflate(store.read(sure, ARRAY_LIMIT), f"'{store.name}': '{sure}'"), dtype=np.uint8)
        other = found[: count * size].reshape(count, *shape) if found.size >= count * size else None
    colour = sizes.get("color", (1440, 1920))
    stamps = np.array([camera.get("timestamp", np.nan) for camera in cameras], dtype=np.float64)
    whole = len(stamps) == count and bool(np.isfinite(stamps).all())
    poses: list[Array | None] = []
    lenses: list[Array | None] = []
    for camera in cameras:
        pose, K = _by_columns(camera, "transform", 4), _by_columns(camera, "intrinsics", 3)
        poses.append(from_arkit(pose) if pose is not None and is_rigid(pose) else None)
        lenses.append(None if K is None else scaled_lens(K, (colour[1], colour[0]), (shape[1], shape[0])))
    raw = Raw(
        name,
        seconds(stamps, store.name) if whole else np.arange(count) / options.fps,
        lambda i: depth[i],
        (lambda i: lenses[i]) if lenses else None,
        poses,
        None if other is None else lambda i: other[i],
        1e-3 if kind.kind == "u" else 1.0,
    )
    return build(raw, options)


def inflate(data: bytes, where: str, limit: int = ARRAY_LIMIT) -> bytes:
    """Unpack zlib or raw deflate.

    Raises:
        DataError: neither, cut short, or more than ``limit`` bytes.
    """
    for bits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        worker = zlib.decompressobj(bits)
        try:
            found = worker.decompress(data, limit)
        except zlib.error:
            continue
        if worker.unconsumed_tail:
            raise DataError(f"{where} unpacks to more than {limit / 2**20:.0f} MB. It is not read.")
        if not worker.eof:
            raise DataError(f"{where} is cut short: its packed data has no end.")
        return found
    raise DataError(f"{where} is not packed by zlib.")


def _streams(meta: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Rows and columns of the depth and the colour stream, where the metadata name them."""
    found: dict[str, tuple[int, int]] = {}
    streams = meta.get("streams")
    for stream in streams if isinstance(streams, list) else []:
        size = stream.get("resolution") if isinstance(stream, dict) else None
        if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n < 65536 for n in size):
            continue
        words = f"{stream.get('id')} {stream.get('type')} {stream.get('encoding')}".lower()
        found.setdefault("depth" if "depth" in words or "lidar" in words else "color", (size[0], size[1]))
    return found


def _cameras(store: Store, name: str, count: int) -> list[dict[str, Any]]:
    if name not in store.names():
        return []
    found: list[dict[str, Any]] = []
    lines = store.read(name, TABLE_LIMIT).decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{store.name}': {name} line {number} is no JSON: {error}.") from None
        found.append(value if isinstance(value, dict) else {})
    if len(found) < count:
        found += [{}] * (count - len(found))
    return found[:count]


def _by_columns(camera: dict[str, Any], name: str, side: int) -> Array | None:
    value = camera.get(name)
    if not isinstance(value, list):
        return None
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return None
    return array.reshape(side, side).T if array.size == side * side and np.isfinite(array).all() else None
