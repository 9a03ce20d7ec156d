"""Record3D exports: depth packed by LZFSE, with Apple's poses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fieldsight.errors import DataError, FieldsightError, MissingExtraError
from fieldsight.systems.alert.building import Raw, build, scaled_lens
from fieldsight.systems.alert.frames import check_size
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import from_arkit, pose_of
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.text import json_of
from fieldsight.systems.alert.recording import Array, Manifest, Recording
from fieldsight.systems.alert.store import FRAME_LIMIT, Store, numbered


def open_record3d(store: Store, name: str, options: SourceOptions) -> Recording:
    """A Record3D export: ``metadata`` (JSON) and ``rgbd/N.depth``, ``rgbd/N.conf``, packed by LZFSE or plain.

    Depth is float32 metres of ``dh x dw``; ``K`` is by columns and belongs to ``h x w``; poses are ARKit's as
    ``qx qy qz qw px py pz``.

    Raises:
        MissingExtraError: the members are packed and no LZFSE decoder is installed.
        DataError: no frame, or metadata that make no sense.
    """
    where = f"'{store.name}': metadata"
    meta = json_of(store, "metadata" if "metadata" in store.names() else "metadata.json")
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


def _numbers(value: Any, where: str) -> Array:
    try:
        found = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where} holds {value!r:.60}, numbers are wanted.") from None
    return found
