"""What phones with a LiDAR export: Stray Scanner, Record3D, MultiScan. Their pictures are as the sensor lies."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fieldsight.errors import DataError, FieldsightError, MissingExtraError
from fieldsight.systems.alert.building import Raw, build, scaled_lens
from fieldsight.systems.alert.frames import check_size
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import from_arkit, from_y_up, is_rigid, pose_of
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.pictures import Pictures, confidence_of
from fieldsight.systems.alert.readers.text import values_of
from fieldsight.systems.alert.recording import Array, Manifest, Recording
from fieldsight.systems.alert.store import ARRAY_LIMIT, FRAME_LIMIT, TABLE_LIMIT, Store, numbered
from fieldsight.systems.alert.tables import from_csv, is_number


def open_stray(store: Store, name: str, options: SourceOptions) -> Recording:
    """A Stray Scanner export: landscape pictures in millimetres, poses with our camera in a world with y up.

    ``camera_matrix.csv`` belongs to the 1920 x 1440 colour picture and is scaled to the depth.

    Raises:
        DataError: no picture that can be read, a wrong cell with its line.
    """
    files = list(numbered(store.names(), "depth", (".png",)))
    table = _stray_odometry(store)
    frame_of = {int(number): k for k, number in enumerate(table["frame"]) if np.isfinite(number)}
    rows = [frame_of.get(int(PurePosixPath(f).stem), -1) if PurePosixPath(f).stem.isdigit() else -1 for f in files]
    kept = [(file, row) for file, row in zip(files, rows, strict=True) if row >= 0]
    if not kept:
        raise DataError(f"'{store.name}': no number of a picture in depth/ stands in odometry.csv.")
    files = [file for file, _ in kept]
    order = [row for _, row in kept]
    places = np.stack([table[c][order] for c in ("qw", "qx", "qy", "qz", "x", "y", "z")], axis=1)
    world = [pose_of(v[:4], v[4:]) for v in places]
    pictures = Pictures(store, files)
    lens = None
    if "camera_matrix.csv" in store.names():
        K = values_of(store, "camera_matrix.csv", 9).reshape(3, 3)
        height, width = pictures.sizes[0] if pictures.sizes else (192, 256)
        colour = (1920.0, 1440.0) if K[0, 2] > 640 else (float(width), float(height))
        scaled = scaled_lens(K, colour, (width, height))
        lens = lambda i: scaled  # noqa: E731
    dropped = len(rows) - len(kept)
    raw = Raw(
        name,
        seconds(table["timestamp"][order], store.name),
        pictures,
        lens,
        [None if p is None else from_y_up(p) for p in world],
        confidence_of(store, files),
        1e-3,
        sizes=pictures.sizes,
        bad=pictures.bad,
        manifest=Manifest(source=f"Stray Scanner: {name}"),
        notes=(f"{dropped} pictures have no row in odometry.csv and are left out",) if dropped else (),
    )
    return build(raw, options)


def _stray_odometry(store: Store) -> dict[str, Array]:
    where = f"{store.name}: odometry.csv"
    needed = ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw")
    table = from_csv(store.read("odometry.csv", TABLE_LIMIT), where, needed=needed)
    for column in needed:
        if table[column].dtype.kind not in "fi":
            bad = next(k for k, text in enumerate(table[column]) if not is_number(str(text)))
            raise DataError(f"'{where}' line {bad + 2}: {column} is '{table[column][bad]}', a number is wanted.")
    return {column: table[column].astype(np.float64) for column in needed}


# ----------------------------------------------------------------------------------------------- Record3D


def open_record3d(store: Store, name: str, options: SourceOptions) -> Recording:
    """A Record3D export: ``metadata`` (JSON) and ``rgbd/N.depth``, ``rgbd/N.conf``, packed by LZFSE or plain.

    Depth is float32 metres of ``dh x dw``; ``K`` is by columns and belongs to ``h x w``; poses are ARKit's as
    ``qx qy qz qw px py pz``.

    Raises:
        MissingExtraError: the members are packed and no LZFSE decoder is installed.
        DataError: no frame, or metadata that make no sense.
    """
    where = f"'{store.name}': metadata"
    meta = _json(store, "metadata" if "metadata" in store.names() else "metadata.json")
    files = list(numbered(store.names(), "rgbd", (".depth",)))
    if not files:
        raise DataError(f"'{store.name}' holds no rgbd/N.depth.")
    width, height = (_side(meta, side, where) for side in ("w", "h"))
    first = _unpack(store, files[0], 4)
    shape = _shape(meta, len(first) // 4, (height, width), where)
    numbers_of = [int(PurePosixPath(f).stem) if PurePosixPath(f).stem.isdigit() else k for k, f in enumerate(files)]
    stamps = meta.get("frameTimestamps")
    if isinstance(stamps, list) and stamps and max(numbers_of) < len(stamps):
        times = seconds(_numbers(stamps, f"{where}: frameTimestamps")[numbers_of], store.name)
    else:
        fps = meta.get("fps", options.fps)
        if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < 1e5:
            raise DataError(f"{where}: fps is {fps!r:.40}, a number above 0 is wanted.")
        times = np.array(numbers_of) / fps
    lenses = _record3d_lenses(meta, where)

    def lens(i: int) -> Array | None:
        if not lenses:
            return None
        return scaled_lens(lenses[min(numbers_of[i], len(lenses) - 1)], (width, height), (shape[1], shape[0]))

    def depth(i: int) -> Array:
        data = _unpack(store, files[i], 4)
        if len(data) != shape[0] * shape[1] * 4:
            raise DataError(
                f"'{store.name}': '{files[i]}' has {len(data)} bytes, {shape[0] * shape[1] * 4} are wanted."
            )
        return np.frombuffer(data, dtype="<f4").reshape(shape)

    def confidence(i: int) -> Array | None:
        file = files[i].removesuffix(".depth") + ".conf"
        if file not in store.names():
            return None
        data = _unpack(store, file, 1)
        return np.frombuffer(data, dtype=np.uint8).reshape(shape) if len(data) == shape[0] * shape[1] else None

    raw = Raw(
        name, times, depth, lens, _record3d_poses(meta, numbers_of, where), confidence, 1.0, sizes=[shape],
        manifest=Manifest(source=f"Record3D: {name}"),
    )  # fmt: skip
    return build(raw, options)


def _record3d_lenses(meta: dict[str, Any], where: str) -> list[Array]:
    rows = meta.get("perFrameIntrinsicCoeffs")
    if isinstance(rows, list) and rows:
        values = [_numbers(row, f"{where}: perFrameIntrinsicCoeffs") for row in rows]
        if all(len(v) >= 4 for v in values):
            return [np.array([[v[0], 0, v[2]], [0, v[1], v[3]], [0, 0, 1.0]]) for v in values]
    if "K" not in meta:
        return []
    K = _numbers(meta["K"], f"{where}: K")
    if K.size != 9 or K[0] <= 0 or K[4] <= 0:
        raise DataError(f"{where}: K is 9 numbers by columns with focal lengths above 0, got {meta['K']!r:.60}.")
    return [K.reshape(3, 3).T]


def _record3d_poses(meta: dict[str, Any], numbers_of: list[int], where: str) -> list[Array | None]:
    rows = meta.get("poses")
    if not isinstance(rows, list):
        return []
    poses: list[Array | None] = []
    for number in numbers_of:
        v = _numbers(rows[number], f"{where}: poses") if number < len(rows) else np.empty(0)
        pose = pose_of(v[[3, 0, 1, 2]], v[4:7]) if len(v) == 7 else None
        poses.append(None if pose is None else from_arkit(pose))
    return poses


def _shape(meta: dict[str, Any], count: int, picture: tuple[int, int], where: str) -> tuple[int, int]:
    """Rows and columns of ``count`` depth values: as the metadata say, else the picture's shape made smaller."""
    if "dw" in meta and "dh" in meta:
        shape = (_side(meta, "dh", where), _side(meta, "dw", where))
    else:
        rows = round((count * picture[0] / picture[1]) ** 0.5)
        shape = (rows, count // max(1, rows))
    if shape[0] * shape[1] != count:
        raise DataError(f"{where}: {count} depth values do not fill {shape[1]} x {shape[0]}.")
    check_size((shape[1], shape[0]), where)
    return shape


def _side(meta: dict[str, Any], name: str, where: str) -> int:
    value = meta.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 65535:
        raise DataError(f"{where}: {name} is {value!r:.40}, pixels are wanted.")
    return int(value)


def _unpack(store: Store, name: str, item: int) -> bytes:
    data = store.read(name, FRAME_LIMIT)
    if data[:3] != b"bvx":  # every LZFSE block begins so; as float32 it would be 1.7e-10 m or no number
        return data
    decode = lzfse()
    try:
        return decode(data)
    except Exception as error:  # the decoders raise kinds of their own
        raise DataError(f"'{store.name}': '{name}' is damaged: {error}.") from None


def lzfse() -> Callable[[bytes], bytes]:
    """The function of an installed package that unpacks LZFSE.

    Raises:
        MissingExtraError: none is installed.
    """
    import importlib

    for package in ("liblzfse", "lzfse"):
        try:
            return importlib.import_module(package).decompress
        except (ImportError, AttributeError):
            continue
    raise MissingLzfseError


class MissingLzfseError(MissingExtraError):
    """No decoder of LZFSE is installed."""

    def __init__(self) -> None:
        self.package, self.extra = "pyliblzfse", ""
        FieldsightError.__init__(
            self,
            "Record3D packs its depth by LZFSE, which needs the package 'pyliblzfse', which is not installed. "
            "Install it with: pip install pyliblzfse",
        )


# ----------------------------------------------------------------------------------------------- MultiScan


def open_zlib(store: Store, name: str, file: str, options: SourceOptions) -> Recording:
    """A ``.depth.zlib`` stream: float16 metres (or uint16 millimetres) of 192 x 256, all frames in one deflate stream.

    Beside it, of the same name: ``.json`` (resolution of the streams, ``depth_unit``), ``.jsonl`` (a line a frame:
    ``timestamp``, ``transform`` and ``intrinsics`` by columns, ARKit's camera), ``.confidence.zlib``.

    Raises:
        DataError: not packed so, a size that is no whole number of frames, wrong lines.
    """
    stem = file.removesuffix(".depth.zlib")
    meta = _json(store, f"{stem}.json") if f"{stem}.json" in store.names() else {}
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


def _json(store: Store, name: str) -> dict[str, Any]:
    where = f"'{store.name}': {name}"
    try:
        found = json.loads(store.read(name, 64 * 2**20))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise DataError(f"{where} holds no JSON object.")
    return found


def _numbers(value: Any, where: str) -> Array:
    try:
        found = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where} holds {value!r:.60}, numbers are wanted.") from None
    return found
