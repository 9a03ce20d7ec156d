"""Reading the recording format: the manifest and the tables now, the frames when they are asked for."""

from __future__ import annotations

import io
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.frames import check_size, metres, plane_depth, read_png, turned, turns_by_gravity
from fieldsight.systems.alert.npz import Npz, read_npy
from fieldsight.systems.alert.poses import pose_of
from fieldsight.systems.alert.recording import FORMAT, Array, Frame, Manifest, Recording
from fieldsight.systems.alert.store import ARRAY_LIMIT, FRAME_LIMIT, TABLE_LIMIT, Folder, Store, check_name, open_store
from fieldsight.systems.alert.tables import from_csv

_KINDS = ("lidar", "stereo", "mono", "range", "sim")

#: Columns that a table can't do without; who labels by hand writes no more.
_NEEDED: dict[str, tuple[str, ...]] = {"objects": (), "labels": ("t", "danger"), "truth": ()}


def read(path: str | Path) -> Recording:
    """Open a recording folder or zip. Frames are read when they are asked for.

    Raises:
        DataError: absent, no recording, written by a newer version, a hostile name, an absurd size, a missing file, a
            wrong cell (with its line). ``Recording.load`` raises it for a damaged picture. The file inside is named.
    """
    target = Path(path)
    store = open_store(target)
    manifest, notes, name = _manifest(store), [], target.stem if target.suffix else target.name
    rows = _frames_table(store)
    times = rows["t"]
    poses, lenses = _poses(rows), _lenses(rows)
    load_depth = _depths(store, manifest, rows)
    confidences = _files(rows, "conf_file", store)
    known_lens = manifest.intrinsics
    euclidean = manifest.depth == "range" and manifest.kind != "range"
    if euclidean and known_lens is None and not lenses:
        raise DataError(f"'{store.name}': its depth is Euclidean range, which needs the intrinsics K in manifest.json.")
    turns = 0 if manifest.upright else turns_by_gravity(poses)
    if turns:
        notes.append(f"turned by {90 * turns} degrees to be upright, by the poses")

    def load(i: int) -> Frame:
        K = (lenses[i] if lenses else None) if known_lens is None or (lenses and lenses[i] is not None) else known_lens
        depth = load_depth(i)
        if euclidean and K is not None:
            depth = plane_depth(depth, K)
        confidence = None
        if confidences[i]:
            confidence = read_png(store.read(confidences[i], FRAME_LIMIT), f"'{store.name}': '{confidences[i]}'")
            if confidence.shape != depth.shape:
                raise DataError(f"'{store.name}': '{confidences[i]}' is {confidence.shape}, its depth {depth.shape}.")
            confidence = confidence.astype(np.uint8)
        return turned(Frame(depth, float(times[i]), confidence, K, poses[i]), turns)

    tables = {
        part: from_csv(store.read(f"{part}.csv", TABLE_LIMIT), f"{store.name}: {part}.csv", needed)
        if f"{part}.csv" in store.names()
        else None
        for part, needed in _NEEDED.items()
    }
    if turns % 2:
        manifest = manifest.replace(width=manifest.height, height=manifest.width)
    if turns and known_lens is not None:
        manifest = manifest.replace(K=_rows(load(0).K))
    stored = manifest.extra.get("notes", ())
    manifest = manifest.replace(
        upright=True, extra={key: value for key, value in manifest.extra.items() if key != "notes"}
    )
    if isinstance(stored, list):
        notes = [*(str(note) for note in stored), *notes]
    return Recording(manifest, times, load, name, notes=tuple(notes), **tables)


def _rows(K: Array | None) -> Any:
    return None if K is None else tuple(tuple(float(v) for v in row) for row in K)


# ------------------------------------------------------------------------------------------------ manifest


def _manifest(store: Store) -> Manifest:
    where = f"'{store.name}': manifest.json"
    if "manifest.json" not in store.names():
        if "range.csv" in store.names():
            return Manifest(kind="range", width=1, height=1)
        raise DataError(f"'{store.name}' is no recording: it lacks manifest.json.")
    try:
        found = json.loads(store.read("manifest.json", 16 * 2**20))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise DataError(f"{where} holds a {type(found).__name__}, an object is wanted.")
    version = found.get("version", 1)
    if not isinstance(version, int) or version < 1:
        raise DataError(f"{where} has the version {version!r}, a whole number from 1 is wanted.")
    if version > FORMAT:
        raise DataError(
            f"{where} has version {version}; this fieldsight reads up to {FORMAT}. Get a newer fieldsight "
            "(pip install -U fieldsight), or write the recording anew with the older format."
        )
    return _parse(found, where)


def _parse(found: dict[str, Any], where: str) -> Manifest:
    sensor, user = found.get("sensor", {}), found.get("user", {})
    if not isinstance(sensor, dict) or not isinstance(user, dict):
        raise DataError(f"{where}: sensor and user are objects.")

    def number(group: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
        value = group.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise DataError(f"{where}: {name} is {value!r}, allowed is {low:g} to {high:g}.")
        return value

    kind, depth = sensor.get("kind", "lidar"), sensor.get("depth", "plane")
    if kind not in _KINDS:
        raise DataError(f"{where}: sensor.kind is {kind!r}, allowed are {', '.join(_KINDS)}.")
    if depth not in ("plane", "range"):
        raise DataError(f"{where}: sensor.depth is {depth!r}, allowed are plane and range.")
    width, height = (int(number(sensor, name, 0, 0, 65535)) for name in ("width", "height"))
    if width * height:
        check_size((width, height), where)
    seed = found.get("seed")
    words = {name: str(found.get(name) or "") for name in ("city", "weather", "source", "licence")}
    taken = {"version", "sensor", "user", "seed", *words}
    return Manifest(
        kind=kind,
        width=width,
        height=height,
        fps=float(number(sensor, "fps", 10.0, 1e-3, 1e5)),
        K=_lens(sensor.get("K"), where),
        depth=depth,
        max_range=None if sensor.get("max_range") is None else float(number(sensor, "max_range", 0, 0, 1e5)),
        upright=sensor.get("upright", True) is not False,
        camera_height=float(number(user, "camera_height", 1.30, 0, 100)),
        pitch=float(number(user, "pitch", 0.0, -math.pi, math.pi)),
        user_height=float(number(user, "height", 1.75, 0, 100)),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        extra={key: value for key, value in found.items() if key not in taken},
        **words,
    )


def _lens(value: Any, where: str) -> Any:
    if value is None:
        return None
    try:
        K = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        K = np.empty(0)
    if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise DataError(f"{where}: sensor.K is 3 x 3 with focal lengths above 0, got {value!r}.")
    return _rows(K)


# -------------------------------------------------------------------------------------------------- tables


def _frames_table(store: Store) -> dict[str, Array]:
    names = store.names()
    if "frames.csv" in names:
        rows = from_csv(store.read("frames.csv", TABLE_LIMIT), f"{store.name}: frames.csv", needed=("t",))
    elif "range.csv" in names:
        rows = from_csv(store.read("range.csv", TABLE_LIMIT), f"{store.name}: range.csv", needed=("t", "range_m"))
    else:
        raise DataError(f"'{store.name}' lacks frames.csv.")
    times = np.asarray(rows["t"], dtype=np.float64)
    if len(times) == 0:
        raise DataError(f"'{store.name}' holds no frame: its frames.csv has no row.")
    if not np.isfinite(times).all():
        bad = int(np.flatnonzero(~np.isfinite(times))[0])
        raise DataError(f"'{store.name}': frames.csv line {bad + 2}: t is empty or not finite.")
    return {**rows, "t": times}


def _poses(rows: dict[str, Array]) -> list[Array | None]:
    names = ("qw", "qx", "qy", "qz", "px", "py", "pz")
    if not all(name in rows for name in names):
        return [None] * len(rows["t"])
    values = np.stack([np.asarray(rows[name], dtype=np.float64) for name in names], axis=1)
    return [pose_of(v[:4], v[4:]) for v in values]


def _lenses(rows: dict[str, Array]) -> list[Array | None]:
    if not all(name in rows for name in ("fx", "fy", "cx", "cy")):
        return []
    values = np.stack([np.asarray(rows[name], dtype=np.float64) for name in ("fx", "fy", "cx", "cy")], axis=1)
    return [
        np.array([[v[0], 0, v[2]], [0, v[1], v[3]], [0, 0, 1.0]]) if np.isfinite(v).all() and v[0] > 0 else None
        for v in values
    ]


def _files(rows: dict[str, Array], column: str, store: Store) -> list[str]:
    """The names in a column, each there; empty where a frame has none."""
    if column not in rows:
        return [""] * len(rows["t"])
    names, there = [str(name) for name in rows[column]], store.names()
    for line, name in enumerate(names, 2):
        if name and check_name(name, f"{store.name}: frames.csv line {line}") not in there:
            raise DataError(f"'{store.name}' lacks '{name}', which frames.csv names in line {line}.")
    return names


# --------------------------------------------------------------------------------------------------- depth


def _depths(store: Store, manifest: Manifest, rows: dict[str, Array]) -> Callable[[int], Array]:
    names, count = store.names(), len(rows["t"])
    for name in ("depth.npy", "depth.npz"):
        if name in names:
            return _Stack(store, name, count)
    if "range.csv" in names:
        return _ranges(store, rows)
    files = _files(rows, "depth_file", store)
    if not any(files):
        raise DataError(f"'{store.name}' has no depth: frames.csv names no depth_file.")
    shape = (manifest.height or 1, manifest.width or 1)

    def load(i: int) -> Array:
        if not files[i]:
            return np.full(shape, np.nan, dtype=np.float32)
        picture = read_png(store.read(files[i], FRAME_LIMIT), f"'{store.name}': '{files[i]}'")
        return metres(picture, 1e-3)

    return load


def _ranges(store: Store, rows: dict[str, Array]) -> Callable[[int], Array]:
    table = rows
    if "range_m" not in rows:
        table = from_csv(store.read("range.csv", TABLE_LIMIT), f"{store.name}: range.csv", needed=("t", "range_m"))
    ranges = metres(np.asarray(table["range_m"], dtype=np.float64), 1.0)
    if len(ranges) != len(rows["t"]):
        raise DataError(f"'{store.name}': range.csv has {len(ranges)} rows, frames.csv {len(rows['t'])}.")
    return lambda i: ranges[i].reshape(1, 1)


class _Stack:
    """All frames in one array: mapped where it is a file of its own, else read once at the first frame."""

    def __init__(self, store: Store, name: str, count: int) -> None:
        self.store, self.name, self.count = store, name, count
        self.where = f"'{store.name}': '{name}'"
        self.lock = threading.Lock()
        self.found: Array | None = None

    def __call__(self, i: int) -> Array:
        with self.lock:
            if self.found is None:
                self.found = self._open()
        return metres(self.found[i], 1.0)

    def _open(self) -> Array:
        try:
            array = self._read()
        except (OSError, ValueError) as error:
            raise DataError(f"{self.where} is damaged: {error}.") from None
        if array.ndim != 3 or array.dtype.kind != "f" or len(array) != self.count:
            raise DataError(
                f"{self.where} holds {array.dtype} {array.shape}; float (frames, height, width) with "
                f"{self.count} frames is wanted."
            )
        check_size((array.shape[2], array.shape[1]), self.where)
        return array

    def _read(self) -> Array:
        if self.name.endswith(".npy") and isinstance(self.store, Folder):
            return np.load(self.store.path / self.name, mmap_mode="r", allow_pickle=False)
        data = self.store.read(self.name, ARRAY_LIMIT)
        if self.name.endswith(".npy"):
            return read_npy(io.BytesIO(data), len(data), self.where)
        with Npz(io.BytesIO(data), self.where) as arrays:
            return arrays.get("d")
