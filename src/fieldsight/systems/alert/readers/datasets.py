"""Depth of data sets in their own layouts: TUM RGB-D, EuRoC, ScanNet, ARKitScenes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fieldsight.systems.alert.building import Raw, build
from fieldsight.systems.alert.calibration import parse_flat
from fieldsight.systems.alert.frames import read_png
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import is_rigid, pose_of
from fieldsight.systems.alert.readers.pictures import ENDINGS, Pictures, lens_of, matched
from fieldsight.systems.alert.readers.text import check_there, lens_in, matrix_of, table_of, values_of
from fieldsight.systems.alert.recording import Array, Recording
from fieldsight.systems.alert.store import FRAME_LIMIT, Store, numbered
from fieldsight.systems.alert.tables import is_number, numbers

#: Metres per unit of TUM RGB-D pictures.
TUM_SCALE = 1 / 5000


def open_tum(store: Store, name: str, options: SourceOptions) -> Recording:
    """TUM RGB-D: ``depth.txt`` (time, file), 5000 units a metre, poses of ``groundtruth.txt`` (world z up).

    Raises:
        DataError: no row, a wrong cell with its line, a picture missing.
    """
    rows = table_of(store, "depth.txt", 2)
    where = f"{store.name}: depth.txt"
    times = numbers([row[0] for _, row in rows], [line for line, _ in rows], "timestamp", where)
    files = [row[1] for _, row in rows]
    check_there(store, files, where)
    poses: Sequence[Array | None] = ()
    if "groundtruth.txt" in store.names():
        truth = matrix_of(table_of(store, "groundtruth.txt", 8), 8, f"{store.name}: groundtruth.txt")
        known = [pose_of(v[[7, 4, 5, 6]], v[1:4]) for v in truth]
        poses = matched(times, truth[:, 0], known)
    pictures = Pictures(store, files)
    raw = Raw(
        name, times, pictures, lens_of(store), poses, scale=TUM_SCALE, sizes=pictures.sizes, bad=pictures.bad,
        notes=("TUM RGB-D: 5000 units a metre",),
    )  # fmt: skip
    return build(raw, options)


def open_euroc(store: Store, name: str, folder: str, options: SourceOptions) -> Recording:
    """Depth pictures in EuRoC's layout: ``folder/data.csv`` (nanoseconds, file) and ``folder/data/``.

    Intrinsics come from ``folder/sensor.yaml``, poses from ``state_groundtruth_estimate0/data.csv`` (world z up)
    through the sensor's place on the body.

    Raises:
        DataError: no row, a wrong cell with its line, a picture missing.
    """
    times, files = euroc_files(store, folder)
    sensor = read_sensor(store, folder)
    pictures = Pictures(store, files)
    K = sensor.get("K")
    raw = Raw(
        name,
        times,
        pictures,
        None if K is None else lambda i: K,
        euroc_poses(store, folder, times, sensor.get("T")),
        sizes=pictures.sizes,
        bad=pictures.bad,
    )
    return build(raw, options)


def euroc_files(store: Store, folder: str) -> tuple[Array, list[str]]:
    """Times in seconds and files of one camera in EuRoC's layout.

    Raises:
        DataError: no row, a wrong cell with its line, a picture missing.
    """
    prefix = f"{folder}/" if folder else ""
    rows = table_of(store, f"{prefix}data.csv", 2)
    where = f"{store.name}: {prefix}data.csv"
    times = numbers([row[0] for _, row in rows], [line for line, _ in rows], "timestamp", where)
    files = [f"{prefix}data/{row[1]}" for _, row in rows]
    check_there(store, files, where)
    return times / 1e9, files


def euroc_poses(store: Store, folder: str, times: Array, on_body: Array | None) -> Sequence[Array | None]:
    """Camera poses for ``times`` from EuRoC's ground truth of the body, or nothing."""
    root = folder.rsplit("/", 1)[0] + "/" if "/" in folder else ""
    file = f"{root}state_groundtruth_estimate0/data.csv"
    if file not in store.names():
        return ()
    truth = matrix_of(table_of(store, file, 8), 8, f"{store.name}: {file}")
    place = np.eye(4) if on_body is None else on_body
    known = [pose_of(v[4:8], v[1:4]) for v in truth]
    return matched(times, truth[:, 0] / 1e9, [None if p is None else p @ place for p in known])


def read_sensor(store: Store, folder: str) -> dict[str, Any]:
    """``K (3, 3)``, ``T (4, 4)`` camera on body, ``D`` distortion and ``size`` (width, height) of a ``sensor.yaml``."""
    file = f"{folder}/sensor.yaml" if folder else "sensor.yaml"
    if file not in store.names():
        return {}
    values = parse_flat(store.read(file, 2**20), f"{store.name}: {file}")
    found: dict[str, Any] = {}
    lists = {name: np.asarray(v) for name, v in values.items() if isinstance(v, list) and _finite(v)}
    lens, place = lists.get("intrinsics", np.empty(0)), lists.get("data", np.empty(0))
    if lens.size == 4:
        found["K"] = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])
    if place.size == 16 and is_rigid(place.reshape(4, 4)):
        found["T"] = place.reshape(4, 4)
    for key, name in (("D", "distortion_coefficients"), ("size", "resolution")):
        if lists.get(name, np.empty(0)).size >= 2:
            found[key] = lists[name]
    return found


def _finite(values: list[Any]) -> bool:
    return all(isinstance(v, float) and math.isfinite(v) for v in values)


def open_scannet(store: Store, name: str, options: SourceOptions) -> Recording:
    """ScanNet's export: ``depth/N.png`` in millimetres, ``pose/N.txt`` (camera to world, z up), ``intrinsic/``.

    Raises:
        DataError: no picture that can be read, a pose with a wrong cell.
    """
    files = list(numbered(store.names(), "depth", ENDINGS))
    poses: list[Array | None] = []
    for file in files:
        pose = f"pose/{PurePosixPath(file).stem}.txt"
        found = values_of(store, pose, 16).reshape(4, 4) if pose in store.names() else np.full((4, 4), np.nan)
        poses.append(found if is_rigid(found) else None)
    pictures = Pictures(store, files)
    lens = next((f for f in ("intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt") if f in store.names()), None)
    K = None if lens is None else lens_in(store, lens)
    raw = Raw(
        name, np.arange(len(files)) / options.fps, pictures, None if K is None else lambda i: K, poses, scale=1e-3,
        sizes=pictures.sizes, bad=pictures.bad,
    )  # fmt: skip
    return build(raw, options)


def open_arkitscenes(store: Store, name: str, options: SourceOptions) -> Recording:
    """ARKitScenes raw: ``lowres_depth/VIDEO_SECONDS.png`` in millimetres, ``lowres_wide.traj``, intrinsics a frame.

    The trajectory's lines are time, rotation vector and shift from world (z up) to camera.

    Raises:
        DataError: no picture that can be read, a wrong cell with its line.
    """
    files = sorted(numbered(store.names(), "lowres_depth", ENDINGS), key=_stamp)
    times = np.array([_stamp(file) for file in files])
    poses: Sequence[Array | None] = ()
    if "lowres_wide.traj" in store.names():
        import cv2

        rows = matrix_of(table_of(store, "lowres_wide.traj", 7), 7, f"{store.name}: lowres_wide.traj")
        known: list[Array | None] = []
        for row in rows:
            inverse = np.eye(4)
            inverse[:3, :3], inverse[:3, 3] = cv2.Rodrigues(row[1:4])[0], row[4:7]
            known.append(np.linalg.inv(inverse))
        poses = matched(times, rows[:, 0], known)
    lenses = [f for f in store.names() if f.startswith("lowres_wide_intrinsics/") and f.endswith(".pincam")]
    by_stem = {PurePosixPath(f).stem: f for f in lenses}

    def lens(i: int) -> Array | None:
        file = by_stem.get(PurePosixPath(files[i]).stem) or (sorted(lenses)[0] if lenses else None)
        if file is None:
            return None
        v = values_of(store, file, 6).ravel()
        return np.array([[v[2], 0, v[4]], [0, v[3], v[5]], [0, 0, 1.0]])

    same = {PurePosixPath(f).name for f in numbered(store.names(), "confidence", (".png",))}

    def confidence(i: int) -> Array | None:
        file = PurePosixPath(files[i]).name
        if file not in same:
            return None
        return read_png(store.read(f"confidence/{file}", FRAME_LIMIT), f"{store.name}: confidence/{file}")

    pictures = Pictures(store, files)
    raw = Raw(name, times, pictures, lens, poses, confidence, 1e-3, sizes=pictures.sizes, bad=pictures.bad)
    return build(raw, options)


def _stamp(file: str) -> float:
    text = PurePosixPath(file).stem.rsplit("_", 1)[-1]
    return float(text) if is_number(text) else -1.0
