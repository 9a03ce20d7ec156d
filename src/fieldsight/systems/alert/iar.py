"""The recording format: a folder or a zip (``.iar``) of plain PNG, CSV and JSON files.

::

    rec/
    ├── manifest.json          version, sensor, user, city, weather, seed, source, licence
    ├── frames.csv             i,t,depth_file,conf_file,rgb_file,qw,qx,qy,qz,px,py,pz[,fx,fy,cx,cy]
    ├── depth/000000.png       uint16 millimetres, 0 is invalid    (or depth.npz with 'd', or depth.npy: float16 metres)
    ├── confidence/000000.png  uint8 0-2                           optional
    ├── range.csv              t,range_m[,id]                      instead of depth for a range series
    ├── objects.csv            one row a frame and object          optional
    ├── labels.csv             one row a frame                     optional
    └── truth.csv              one row a frame and object          optional

The same recording gives the same bytes. Frames are read when they are asked for.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fieldsight.data.files import atomic, atomic_folder
from fieldsight.errors import DataError
from fieldsight.systems.alert.frames import millimetres, png
from fieldsight.systems.alert.iar_read import read
from fieldsight.systems.alert.poses import is_rigid, quaternion_of
from fieldsight.systems.alert.recording import FORMAT, Array, Frame, Manifest, Recording
from fieldsight.systems.alert.store import FolderWriter, Writer, ZipWriter
from fieldsight.systems.alert.tables import to_csv

__all__ = ["SUFFIX", "manifest_of", "read", "write"]

SUFFIX = ".iar"

#: How depth is stored: whole millimetres a picture each, or all frames in one float16 array.
Storage = Literal["png", "npz", "npy"]


def write(recording: Recording, path: str | Path, storage: Storage = "png") -> Path:
    """Write a recording; ``path`` ending in ``.iar`` or ``.zip`` is a zip, without an ending a folder.

    Args:
        recording: its frames are read one by one.
        path: replaced as a whole when all is written, else untouched.
        storage: ``png`` keeps whole millimetres up to 65 m; ``npz`` and ``npy`` keep float16 metres (16 mm at 20 m)
            of frames of one size.

    Returns:
        The path.

    Raises:
        DataError: another ending, no frame, a frame that is no ``(H, W)``, frames of different sizes for an array, or
            the disk is full.
    """
    target = Path(path)
    if target.suffix.lower() not in ("", SUFFIX, ".zip"):
        raise DataError(f"'{target}': a recording ends in {SUFFIX}, or has no ending for a folder.")
    if len(recording) == 0:
        raise DataError("A recording without a frame is not written.")
    with _writer(target) as writer:
        _write_frames(recording, writer, storage)
        writer.add("manifest.json", (json.dumps(manifest_of(recording), indent=1) + "\n").encode())
        for name in ("objects", "labels", "truth"):
            columns = getattr(recording, name)
            if columns is not None:
                writer.add(f"{name}.csv", to_csv(columns))
    return target


@contextlib.contextmanager
def _writer(target: Path) -> Iterator[Writer]:
    if target.suffix:
        with atomic(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            yield ZipWriter(archive)
    else:
        with atomic_folder(target) as folder:
            yield FolderWriter(folder)


def manifest_of(recording: Recording) -> dict[str, Any]:
    """What ``manifest.json`` holds: plain values; frames are plane depth and upright always.

    Raises:
        DataError: ``extra`` holds what JSON can't.
    """
    m = recording.manifest
    sensor = {
        "kind": m.kind, "width": m.width, "height": m.height, "fps": m.fps,
        "K": None if m.K is None else [list(row) for row in m.K],
        "depth": "plane", "max_range": m.max_range, "upright": True,
    }  # fmt: skip
    known: dict[str, Any] = {
        "version": FORMAT,
        "sensor": sensor,
        "user": {"height": m.user_height, "camera_height": m.camera_height, "pitch": m.pitch},
        "city": m.city, "weather": m.weather, "seed": m.seed, "source": m.source, "licence": m.licence,
        "notes": list(recording.notes),
    }  # fmt: skip
    values = {**known, **{key: value for key, value in m.extra.items() if key not in known}}
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(f"The manifest can't be written as JSON: {error}. Put plain finite values into it.") from None


def _write_frames(recording: Recording, writer: Writer, storage: Storage) -> None:
    series = recording.manifest.kind == "range" and (recording.manifest.height, recording.manifest.width) == (1, 1)
    table = _Table(recording.manifest)
    stack: Array | None = None
    ranges = []
    for i in range(len(recording)):
        frame = recording.load(i)
        depth = np.asarray(frame.depth)
        if depth.ndim != 2 or depth.size == 0:
            raise DataError(f"Frame {i} has shape {depth.shape}, (height, width) is wanted.")
        depth_file = ""
        if series:
            ranges.append(float(depth.flat[0]) if depth.flat[0] > 0 else float("nan"))
        elif storage == "png":
            depth_file = f"depth/{i:06d}.png"
            writer.add(depth_file, png(millimetres(depth)), packed=True)
        else:
            stack = np.empty((len(recording), *depth.shape), dtype=np.float16) if stack is None else stack
            if depth.shape != stack.shape[1:]:
                raise DataError(f"Frame {i} is {depth.shape}, the first {stack.shape[1:]}: storage='png' takes both.")
            with np.errstate(over="ignore", invalid="ignore"):
                stack[i] = np.where(depth > 0, depth, np.nan)
        conf_file = ""
        if frame.confidence is not None and not series:
            conf_file = f"confidence/{i:06d}.png"
            writer.add(conf_file, png(np.ascontiguousarray(frame.confidence, dtype=np.uint8)), packed=True)
        table.add(i, frame, float(recording.times[i]), depth_file, conf_file)
    if series:
        writer.add("range.csv", to_csv({"t": np.asarray(recording.times, dtype=np.float64), "range_m": ranges}))  # type: ignore[dict-item]
    if stack is not None:
        _write_stack(stack, writer, storage)
    writer.add("frames.csv", to_csv(table.columns()))


def _write_stack(stack: Array, writer: Writer, storage: Storage) -> None:
    buffer = io.BytesIO()
    np.save(buffer, stack, allow_pickle=False)
    if storage == "npy":
        writer.add("depth.npy", buffer.getvalue())
        return
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # numpy's own savez stamps the time of day
        ZipWriter(archive).add("d.npy", buffer.getvalue())
    writer.add("depth.npz", packed.getvalue(), packed=True)


class _Table:
    """Collects ``frames.csv``; intrinsics get columns only where some frame's differ from the manifest's."""

    def __init__(self, manifest: Manifest) -> None:
        self.known = manifest.intrinsics
        self.rows: list[list[Any]] = []
        self.lenses: list[list[float | None]] = []
        self.differ = False

    def add(self, i: int, frame: Frame, t: float, depth_file: str, conf_file: str) -> None:
        """Add the row of one frame."""
        place: list[Any] = [None] * 7
        if frame.pose is not None and is_rigid(frame.pose):
            place = [*quaternion_of(frame.pose[:3, :3]), *(float(v) for v in frame.pose[:3, 3])]
        self.rows.append([i, t, depth_file, conf_file, None, *place])
        K = frame.K
        if K is not None and (self.known is None or not np.array_equal(K, self.known)):
            self.differ = True
        self.lenses.append([None] * 4 if K is None else [float(K[a]) for a in ((0, 0), (1, 1), (0, 2), (1, 2))])

    def columns(self) -> dict[str, Any]:
        """The table as columns."""
        names = ["i", "t", "depth_file", "conf_file", "rgb_file", "qw", "qx", "qy", "qz", "px", "py", "pz"]
        rows = self.rows
        if self.differ:
            names += ["fx", "fy", "cx", "cy"]
            rows = [row + lens for row, lens in zip(self.rows, self.lenses, strict=True)]
        return {name: [row[k] for row in rows] for k, name in enumerate(names)}
