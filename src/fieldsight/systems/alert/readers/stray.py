"""What phones with a LiDAR export: Stray Scanner. Its pictures are as the sensor lies."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build, scaled_lens
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import from_y_up, pose_of
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.pictures import Pictures, confidence_of
from fieldsight.systems.alert.readers.text import lens_in
from fieldsight.systems.alert.recording import Array, Manifest, Recording
from fieldsight.systems.alert.store import TABLE_LIMIT, Store, numbered
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
        K = lens_in(store, "camera_matrix.csv")
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
