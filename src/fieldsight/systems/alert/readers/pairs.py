"""Stereo pairs as depth: folders ``left/`` and ``right/``, Middlebury scenes, single pairs, EuRoC's two cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fieldsight.data.images import read_image
from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build, nearest_index
from fieldsight.systems.alert.calibration import Calibration, parse_calibration, read_calibration
from fieldsight.systems.alert.frames import MAX_PIXELS
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.readers.datasets import euroc_files, euroc_poses, read_sensor
from fieldsight.systems.alert.readers.text import matrix_of, table_of
from fieldsight.systems.alert.recording import Array, Manifest, Recording
from fieldsight.systems.alert.stereo import stereo_depth
from fieldsight.systems.alert.store import Folder, Store, numbered

#: Endings of the two pictures.
ENDINGS = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff")

#: Names of calibrations that are looked for beside the pictures.
CALIBRATIONS = ("calib.txt", "calibration.json", "calibration.yaml", "calibration.yml", "calib.json", "calib.yaml")

#: Names of the two sides, as folders or as pictures without their ending.
SIDES = (("left", "right"), ("im0", "im1"), ("image_0", "image_1"), ("image_2", "image_3"))

#: Farthest in time that two pictures of a pair may lie apart, seconds.
PAIR_GAP = 0.005


def sides_of(store: Store) -> tuple[list[str], list[str]]:
    """The left and the right pictures of a folder in their order; empty where it holds no pairs."""
    names = store.names()
    for a, b in SIDES:
        left, right = (list(numbered(names, side, ENDINGS)) for side in (a, b))
        if left and right:
            return left, right
        for ending in ENDINGS:
            if f"{a}{ending}" in names and f"{b}{ending}" in names:
                return [f"{a}{ending}"], [f"{b}{ending}"]
    root = list(numbered(names, "", ENDINGS))
    pairs = [(n, n.replace("left", "right")) for n in root if "left" in n and n.replace("left", "right") in names]
    return [a for a, _ in pairs], [b for _, b in pairs]


def open_pairs(store: Folder, name: str, options: SourceOptions) -> Recording:
    """A folder of rectified pairs; times from ``times.txt``, calibration from a file beside them or the options.

    Raises:
        DataError: sides of different counts, no calibration, none that can be read.
    """
    left, right = sides_of(store)
    if len(left) != len(right):
        raise DataError(f"'{store.name}' has {len(left)} left and {len(right)} right pictures; one each is wanted.")
    times = np.arange(len(left)) / options.fps
    if "times.txt" in store.names():
        times = seconds(matrix_of(table_of(store, "times.txt", 1), 1, f"{store.name}: times.txt")[:, 0], store.name)
        if len(times) != len(left):
            raise DataError(f"'{store.name}' has {len(left)} pairs but {len(times)} times; one each is wanted.")
    calibration = calibration_of(options, store)
    files = [(store.path / a, store.path / b) for a, b in zip(left, right, strict=True)]
    return _record(files, name, times, calibration, options)


def open_pair(left: Path, options: SourceOptions) -> Recording:
    """One pair of picture files: the source is the left one, ``stereo.right`` the other.

    Raises:
        DataError: no calibration, or a picture that can't be read.
    """
    assert options.stereo.right is not None
    calibration = calibration_of(options, Folder(left.parent))
    return _record([(left, options.stereo.right)], left.stem, np.zeros(1), calibration, options)


def calibration_of(options: SourceOptions, store: Store) -> Calibration:
    """The calibration that the options name or hold, else that of a file beside the pictures.

    Raises:
        DataError: none, or one that can't be read.
    """
    o = options.stereo
    if o.calibration is not None:
        return read_calibration(o.calibration)
    if o.focal is not None and o.baseline is not None:
        return Calibration(o.focal, o.baseline, doffs=o.doffs)
    beside = next((n for n in CALIBRATIONS if n in store.names()), None)
    if beside is None:
        raise DataError(
            f"'{store.name}': depth of a pair needs its calibration. Give stereo.calibration=FILE, or stereo.focal "
            f"(pixels) and stereo.baseline (metres), or put {CALIBRATIONS[0]} beside the pictures."
        )
    return parse_calibration(store.read(beside, 2**20), f"{store.name}: {beside}")


def _record(
    files: Sequence[tuple[Path, Path]],
    name: str,
    times: Array,
    calibration: Calibration,
    options: SourceOptions,
    poses: Sequence[Array | None] = (),
    prepare: Callable[[Array, int], Array] | None = None,
) -> Recording:
    shape: list[tuple[int, int]] = []

    def depth(i: int) -> Array:
        pictures = [read_image(file, "grey", MAX_PIXELS) for file in files[i]]
        pictures = [p if p.dtype == np.uint8 else (p / 256).astype(np.uint8) for p in pictures]
        if prepare is not None:
            pictures = [prepare(p, side) for side, p in enumerate(pictures)]
        shape[:1] = [pictures[0].shape]
        return stereo_depth(pictures[0], pictures[1], calibration, options.stereo)

    def lens(i: int) -> Array | None:
        if not shape:
            return None
        height, width = shape[0]
        cx = (width - 1) / 2 if np.isnan(calibration.cx) else calibration.cx
        cy = (height - 1) / 2 if np.isnan(calibration.cy) else calibration.cy
        return np.array([[calibration.focal, 0, cx], [0, calibration.focal, cy], [0, 0, 1.0]])

    bad = [i for i, pair in enumerate(files) if not all(file.is_file() and file.stat().st_size for file in pair)]
    raw = Raw(name, times, depth, lens, poses, scale=1.0, bad=bad, manifest=Manifest(kind="stereo"))
    return build(raw, options)


def open_euroc_pairs(store: Folder, name: str, root: str, options: SourceOptions) -> Recording:
    """EuRoC's ``cam0`` and ``cam1``: matched by time, rectified by their ``sensor.yaml``, then matched for depth.

    Raises:
        DataError: no common times, or no intrinsics and places of both cameras.
    """
    import cv2

    folders = [f"{root}cam0", f"{root}cam1"]
    (times, left), (others, right) = (euroc_files(store, folder) for folder in folders)
    index, gap = nearest_index(others, times)
    kept = [k for k in range(len(left)) if gap[k] <= PAIR_GAP]
    if not kept:
        raise DataError(f"'{store.name}': no picture of cam0 has one of cam1 within {PAIR_GAP * 1000:g} ms.")
    sensors = [read_sensor(store, folder) for folder in folders]
    lacking = [f for f, s in zip(folders, sensors, strict=True) if not {"K", "T", "size"} <= set(s)]
    if lacking:
        raise DataError(f"'{store.name}': {lacking[0]}/sensor.yaml lacks intrinsics, resolution or T_BS.")
    between = np.linalg.inv(sensors[1]["T"]) @ sensors[0]["T"]
    size = (int(sensors[0]["size"][0]), int(sensors[0]["size"][1]))
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise DataError(f"'{store.name}': cam0/sensor.yaml names {size[0]} x {size[1]} pixels.")
    lenses = [s["K"] for s in sensors]
    bends = [s.get("D", np.zeros(4)) for s in sensors]
    turns = cv2.stereoRectify(
        lenses[0], bends[0], lenses[1], bends[1], size, between[:3, :3], between[:3, 3],
        flags=cv2.CALIB_ZERO_DISPARITY, alpha=0,
    )  # fmt: skip
    maps = [
        cv2.initUndistortRectifyMap(lenses[k], bends[k], turns[k], turns[2 + k][:, :3], size, cv2.CV_32FC1)
        for k in range(2)
    ]
    P = turns[2]
    calibration = Calibration(float(P[0, 0]), float(np.linalg.norm(between[:3, 3])), float(P[0, 2]), float(P[1, 2]))

    def rectified(picture: Array, side: int) -> Array:
        return cv2.remap(picture, maps[side][0], maps[side][1], cv2.INTER_LINEAR)

    place = sensors[0]["T"].copy()
    back = np.eye(4)
    back[:3, :3] = turns[0].T  # from the rectified camera to the camera as built
    files = [(store.path / left[k], store.path / right[int(index[k])]) for k in kept]
    poses = euroc_poses(store, folders[0], times[kept], place @ back)
    return _record(files, name, times[kept], calibration, options, poses, rectified)


def is_deep(store: Store, file: str) -> bool:
    """True for a PNG of 16 bits, by its header; a picture of colours or of 8 bits is no depth."""
    head = store.part(file, 26)
    return len(head) == 26 and head[24] == 16 and head[25] == 0 and PurePosixPath(file).suffix.lower() == ".png"
