"""Folders of 16-bit depth pictures, and what the readers of data sets share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build, nearest_index
from fieldsight.systems.alert.frames import PNG, png_size, read_png
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import is_rigid, pose_of
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.text import lens_in, matrix_of, table_of
from fieldsight.systems.alert.recording import Array, Recording
from fieldsight.systems.alert.store import FRAME_LIMIT, TABLE_LIMIT, Store, numbered
from fieldsight.systems.alert.tables import from_csv, is_number, numbers

#: What a depth picture may end in.
ENDINGS = (".png", ".tif", ".tiff", ".pgm")

#: Metres per unit of TUM RGB-D pictures.
TUM_SCALE = 1 / 5000

#: Farthest in time that a pose may lie from its frame, seconds.
POSE_GAP = 0.1


class Pictures:
    """Depth pictures by name; what can be told from their first and last bytes is told at once."""

    def __init__(self, store: Store, files: Sequence[str]) -> None:
        self.store, self.files = store, list(files)
        self.sizes: list[tuple[int, int]] = []
        self.bad: list[int] = []
        for i, name in enumerate(self.files):
            head = store.part(name, 24)
            size = png_size(head)
            if size is not None:
                self.sizes.append((size[1], size[0]))
            whole = not head.startswith(PNG) or store.part(name, 12, tail=True)[4:8] == b"IEND"
            if not head or not whole:
                self.bad.append(i)

    def __call__(self, i: int) -> Array:
        """The picture of frame ``i`` as it is stored.

        Raises:
            DataError: it can't be read.
        """
        name = self.files[i]
        return read_png(self.store.read(name, FRAME_LIMIT), f"'{self.store.name}': '{name}'")


def open_folder(store: Store, name: str, options: SourceOptions) -> Recording:
    """A folder of depth pictures (or with them in ``depth/``), in the order of their numbers.

    Times come from ``times.txt`` (one a line, or name and time) or the column ``t`` of ``frames.csv``, else from the
    rate. ``confidence/`` with pictures of the same names, ``K.txt`` or ``intrinsics.txt`` (3 x 3, or four numbers
    fx fy cx cy) and ``poses.txt`` (16 or 7 numbers a line) are taken where they are there.

    Raises:
        DataError: no picture, none that can be read, times that are not one a picture.
    """
    names = store.names()
    folder = next((f for f in ("depth", "") if any(numbered(names, f, ENDINGS))), None)
    if folder is None:
        raise DataError(f"'{store.name}' holds no depth picture ending in {', '.join(ENDINGS)}.")
    files = list(numbered(names, folder, ENDINGS))
    pictures = Pictures(store, files)
    times = _times(store, files, options)
    raw = Raw(
        name,
        times,
        pictures,
        lens=lens_of(store),
        poses=_poses(store, len(files)),
        confidence=confidence_of(store, files),
        sizes=pictures.sizes,
        bad=pictures.bad,
    )
    return build(raw, options)


# ---------------------------------------------------------------------------------------------- internals


def matched(times: Array, known_at: Array, known: Sequence[Array | None]) -> list[Array | None]:
    """For each time the pose that lies nearest in time, or None where none lies within :data:`POSE_GAP`."""
    if len(known) == 0:
        return [None] * len(times)
    index, gap = nearest_index(known_at, times)
    return [known[k] if g <= POSE_GAP else None for k, g in zip(index, gap, strict=True)]


def _times(store: Store, files: Sequence[str], options: SourceOptions) -> Array:
    if "times.txt" in store.names():
        where = f"{store.name}: times.txt"
        rows = table_of(store, "times.txt", 1)
        cells = [next((c for c in row if is_number(c)), row[0]) for _, row in rows]
        times = numbers(cells, [line for line, _ in rows], "time", where)
    elif "frames.csv" in store.names():
        times = from_csv(store.read("frames.csv", TABLE_LIMIT), f"{store.name}: frames.csv", needed=("t",))["t"]
    else:
        return np.arange(len(files)) / options.fps
    if len(times) != len(files):
        raise DataError(f"'{store.name}' has {len(files)} pictures but {len(times)} times; one each is wanted.")
    if times.dtype.kind not in "fi":
        raise DataError(f"'{store.name}': frames.csv: t holds words, numbers are wanted.")
    return seconds(times.astype(np.float64), store.name)


def lens_of(store: Store) -> Any:
    """Intrinsics of a text file in the root, as a function of the frame; None without one.

    Raises:
        DataError: a file of another size, or focal lengths that are not above 0.
    """
    file = next(
        (f for f in ("K.txt", "intrinsics.txt", "intrinsic.txt", "camera_matrix.txt") if f in store.names()), None
    )
    if file is None:
        return None
    K = lens_in(store, file)
    return lambda i: K


def _poses(store: Store, count: int) -> Sequence[Array | None]:
    if "poses.txt" not in store.names():
        return ()
    rows = table_of(store, "poses.txt", 7)
    width = len(rows[0][1])
    if len(rows) != count or width not in (7, 16):
        raise DataError(
            f"'{store.name}': poses.txt has {len(rows)} rows of {width} numbers; {count} rows of 16 (a matrix) or 7 "
            "(x y z qx qy qz qw) are wanted."
        )
    values = matrix_of(rows, width, f"{store.name}: poses.txt")
    if width == 16:
        return [p if is_rigid(p) else None for p in values.reshape(-1, 4, 4)]
    return [pose_of(v[[6, 3, 4, 5]], v[:3]) for v in values]


def confidence_of(store: Store, files: Sequence[str]) -> Any:
    """Pictures in ``confidence/`` of the same names, as a function of the frame; None without that folder."""
    names = store.names()
    if not any(name.startswith("confidence/") for name in names):
        return None

    def load(i: int) -> Array | None:
        name = f"confidence/{PurePosixPath(files[i]).name}"
        return read_png(store.read(name, FRAME_LIMIT), f"{store.name}: {name}") if name in names else None

    return load
