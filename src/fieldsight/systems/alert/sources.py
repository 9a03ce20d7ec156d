"""One door for everything depth comes from: :func:`open_recording` looks at what it is given.

============== ===========================================================================================
``format``     what it is
============== ===========================================================================================
``iar``        our own recording, a folder or a zip
``array``      ``.npy``, ``.npz``, arrays in memory
``series``     CSV ``t,range_m[,id]``, or ROS Range as ``rostopic echo -p`` writes it
``scan``       ROS LaserScan likewise
``cloud``      ``.pcd``, ``.ply``, KITTI ``.bin``, ``.xyz``, CSV ``x,y,z``, or a folder of them
``stray``      Stray Scanner
``record3d``   Record3D ``.r3d``
``zlib``       MultiScan ``.depth.zlib``
``tum``        TUM RGB-D
``euroc``      EuRoC with depth pictures, or its two cameras
``scannet``    ScanNet's export
``arkitscenes`` ARKitScenes raw
``stereo``     rectified pairs
``mono``       a video or colour pictures, with ``mono.model``
``pictures``   a folder of 16-bit depth pictures
============== ===========================================================================================
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fieldsight.data.folders import Item
from fieldsight.errors import DataError
from fieldsight.systems.alert import iar
from fieldsight.systems.alert.building import times_notes
from fieldsight.systems.alert.options import SourceFormat, SourceOptions
from fieldsight.systems.alert.readers import (
    arrays,
    clouds,
    datasets,
    multiscan,
    pairs,
    pictures,
    ranges,
    record3d,
    stray,
    video,
)
from fieldsight.systems.alert.readers.cloud_files import ENDINGS as CLOUDS
from fieldsight.systems.alert.recording import Recording
from fieldsight.systems.alert.store import Folder, numbered, open_store

#: Endings of files that are a recording by themselves; a search through folders takes them.
SUFFIXES = (iar.SUFFIX, ".r3d", ".npz", ".npy", ".csv")

FORMATS = tuple(name for name in get_args(SourceFormat) if name != "auto")


def open_recording(source: Any, options: SourceOptions | None = None) -> Recording:
    """Any source as a recording of upright plane depth in metres.

    Args:
        source: a path of a file or folder; an array ``(N, H, W)`` or ``(N,)``; a mapping of arrays (``depth``,
            ``times``, ``K``, ``confidence``, ``poses``); or a recording, which is given back.
        options: what the source does not say of itself.

    Raises:
        DataError: absent, of no known kind, damaged, or not in the unit that was said; the file is named.
        MissingExtraError: the source needs a package that is not installed.
    """
    o = options or SourceOptions()
    if isinstance(source, Recording):
        return source
    if isinstance(source, Mapping):
        return arrays.open_arrays(source, "arrays", o)
    if not isinstance(source, (str, Path)):
        return arrays.open_arrays({"depth": np.asarray(source)}, "array", o)
    path = Path(source)
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.")
    kind = kind_of(path, o) if o.format == "auto" else o.format
    if not kind:
        raise DataError(
            f"'{path}' is no source that is known: a {'folder' if path.is_dir() else 'file'} of none of the kinds "
            f"{', '.join(FORMATS)}. Name it by format=KIND if it is one."
        )
    return _file(path, kind, o) if path.is_file() else _folder(path, kind, o)


def kind_of(path: Path, options: SourceOptions | None = None) -> str:
    """The ``format`` of a file or folder by its name and its first bytes; empty where it is none.

    Raises:
        DataError: it can't be read.
    """
    try:
        return _kind_of_folder(path) if path.is_dir() else _kind_of_file(path, options or SourceOptions())
    except OSError as error:
        raise DataError(f"Can't read '{path}': {error.strerror or error}.") from None


def find_sources(root: str | Path) -> list[Path]:
    """Everything below a folder that is a source: the folder itself, else folders and files in it, sorted.

    A folder that is one recording is not looked into.

    Raises:
        DataError: no such folder.
    """
    top = Path(root)
    if not top.exists():
        raise DataError(f"There is no file or folder '{top}'.")
    if top.is_file() or kind_of(top):
        return [top]
    found: list[Path] = []
    for entry in sorted(top.iterdir()):
        if entry.name.startswith(".") or (entry.is_symlink() and entry.is_dir()):  # a link may lead round in a circle
            continue
        if entry.is_dir():
            found += find_sources(entry)
        elif entry.suffix.lower() in SUFFIXES:
            found.append(entry)
    return found


def gather_recordings(
    inputs: Any, gather: Callable[[Any, Sequence[str]], list[Item]], suffixes: Sequence[str]
) -> list[Item]:
    """Inputs as items, like ``gather``, but a folder gives its sources: itself where it is one.

    Args:
        inputs: a path, a pattern, an array or mapping, a recording, or a list of those.
        gather: the house's own, for everything that is no folder.
        suffixes: endings of files that patterns take.

    Raises:
        DataError: a path that does not exist, a folder without a source, or nothing at all.
    """
    items: list[Item] = []
    many = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    for one in many:
        if not isinstance(one, (str, Path)) or not str(one).strip() or not Path(one).is_dir():
            items += gather([one], suffixes)
            continue
        root, found = Path(one), find_sources(one)
        if not found:
            raise DataError(f"The folder '{root}' holds no source that is known: {', '.join(FORMATS)}.")
        for path in found:
            stem = Path(path.resolve().name) if path == root else path.relative_to(root)
            items.append(Item(path, str(path), stem if path.is_dir() else stem.with_suffix("")))
    if not items:
        return gather(inputs, suffixes)  # says that there is nothing
    return _told_apart(items)


def _told_apart(items: list[Item]) -> list[Item]:
    taken: set[str] = set()
    found = []
    for number, item in enumerate(items):
        stem, count = item.stem, 1
        if not isinstance(item.value, (str, Path)):
            stem = Path(f"input-{number:04d}")
        while str(stem).lower() in taken:
            count += 1
            stem = item.stem.with_name(f"{item.stem.name}-{count}")
        taken.add(str(stem).lower())
        found.append(Item(item.value, item.name, stem))
    return found


def _kind_of_file(path: Path, options: SourceOptions) -> str:
    suffix = path.suffix.lower()
    if suffix in (iar.SUFFIX, ".r3d"):
        return {iar.SUFFIX: "iar"}.get(suffix, "record3d")
    if suffix == ".zip" or (not suffix and zipfile.is_zipfile(path)):
        names = open_store(path).names()
        return "iar" if "manifest.json" in names else "record3d" if "metadata" in names else ""
    if suffix in (".npy", ".npz"):
        return "array"
    if suffix in CLOUDS:
        return "cloud"
    if path.name.lower().endswith(".depth.zlib"):
        return "zlib"
    if suffix in video.VIDEOS:
        return "mono"
    if suffix in (".csv", ".txt"):
        rows = ranges.read_rows(path)
        kind = ranges.kind_of(rows[0][1])
        return kind or ("series" if len(rows[0][1]) in (2, 3) and suffix == ".csv" else "")
    if suffix in pairs.ENDINGS:
        return "stereo" if options.stereo.right is not None else ""
    return ""


def _kind_of_folder(path: Path) -> str:
    store = Folder(path, deep=3)
    top = {p.name for p in path.iterdir()}
    if "manifest.json" in top or ("range.csv" in top and "depth" not in top):
        return "iar"
    if "odometry.csv" in top and "depth" in top:
        return "stray"
    if "rgbd" in top and top & {"metadata", "metadata.json"}:
        return "record3d"
    if any(name.endswith(".depth.zlib") for name in top):
        return "zlib"
    if "depth.txt" in top:
        return "tum"
    if "lowres_depth" in top:
        return "arkitscenes"
    if _euroc_folders(store, top):
        return "euroc"
    if "depth" in top and "pose" in top and "intrinsic" in top:
        return "scannet"
    if any(pairs.sides_of(store)):
        return "stereo"
    return _kind_of_pictures(store)


def _kind_of_pictures(store: Folder) -> str:
    names = store.names()
    depth = next((f for f in ("depth", "") if any(numbered(names, f, pictures.ENDINGS))), None)
    if depth is not None:
        # one picture tells: depth is grey of 16 bits; a damaged one says nothing, so a few are looked at
        for _, file in zip(range(16), numbered(names, depth, pictures.ENDINGS), strict=False):
            if pairs.is_deep(store, file) or not file.lower().endswith(".png") or depth == "depth":
                return "pictures"
    if any(numbered(names, "", CLOUDS)) or any(name.startswith("velodyne") for name in names):
        return "cloud"
    if any(any(numbered(names, f, video.COLOURS)) for f in ("", "rgb", "images", "color")):
        return "mono"
    return ""


def _euroc_folders(store: Folder, top: set[str]) -> list[str]:
    """Folders with ``data.csv`` and ``data/``, depth before cameras; the root is an empty text."""
    base = "mav0/" if "mav0" in top else ""
    tried = ["depth0", "cam0", ""] if base else ["depth0", "cam0", *([""] if "data.csv" in top else [])]
    found = [f"{base}{f}".rstrip("/") for f in tried]
    return [f for f in found if (store.path / f / "data.csv").is_file() and (store.path / f / "data").is_dir()]


def _file(path: Path, kind: str, options: SourceOptions) -> Recording:
    if kind == "iar":
        return _ours(path)
    if kind == "record3d":
        return record3d.open_record3d(open_store(path), path.stem, options)
    if kind == "array":
        return (arrays.open_npy if path.suffix.lower() == ".npy" else arrays.open_npz)(path, options)
    if kind == "series":
        return ranges.open_series(path, options)
    if kind == "scan":
        return ranges.open_scan(path, options)
    if kind == "cloud":
        return clouds.open_clouds([path], path.stem, options)
    if kind == "zlib":
        return multiscan.open_zlib(Folder(path.parent), path.name.split(".")[0], path.name, options)
    if kind == "mono":
        return video.open_video(path, options)
    if kind == "stereo" and options.stereo.right is not None:
        return pairs.open_pair(path, options)
    hint = " Give stereo.right=FILE." if kind == "stereo" else ""
    raise DataError(f"'{path}' is a file; the format '{kind}' wants a folder.{hint}")


def _folder(path: Path, kind: str, options: SourceOptions) -> Recording:
    store, name = Folder(path), path.resolve().name
    if kind == "iar":
        return _ours(path)
    if kind == "stereo":
        return pairs.open_pairs(store, name, options)
    if kind == "mono":
        return video.open_colours(store, name, options)
    if kind == "euroc":
        return _euroc(store, name, options)
    if kind == "zlib":
        file = next(n for n in sorted(store.names()) if n.endswith(".depth.zlib"))
        return multiscan.open_zlib(store, name, file, options)
    if kind == "cloud":
        names = store.names()
        folder = next((f for f in ("", "velodyne_points/data", "velodyne") if any(numbered(names, f, CLOUDS))), "")
        files = [path / f for f in numbered(names, folder, CLOUDS)]
        if not files:
            raise DataError(f"'{path}' holds no cloud ending in {', '.join(CLOUDS)}.")
        return clouds.open_clouds(files, name, options)
    readers = {
        "stray": stray.open_stray, "record3d": record3d.open_record3d, "tum": datasets.open_tum,
        "scannet": datasets.open_scannet, "arkitscenes": datasets.open_arkitscenes, "pictures": pictures.open_folder,
    }  # fmt: skip
    if kind not in readers:
        raise DataError(f"'{path}' is a folder; the format '{kind}' wants a file.")
    return readers[kind](store, name, options)


def _euroc(store: Folder, name: str, options: SourceOptions) -> Recording:
    folders = _euroc_folders(store, {p.name for p in store.path.iterdir()})
    if not folders:
        raise DataError(f"'{store.name}' holds no data.csv with a folder data/ beside it.")
    folder = folders[0]
    first = next(numbered(store.names(), f"{folder}/data" if folder else "data", pictures.ENDINGS), "")
    root = folder[: -len("cam0")]
    if folder.endswith("cam0") and not pairs.is_deep(store, first):
        if (store.path / f"{root}cam1" / "data.csv").is_file():
            return pairs.open_euroc_pairs(store, name, root, options)
        return video.open_colours(Folder(store.path / folder / "data"), name, options)
    return datasets.open_euroc(store, name, folder, options)


def _ours(path: Path) -> Recording:
    found = iar.read(path)
    fresh = [note for note in times_notes(found.times) if note not in found.notes]
    return found.replace(notes=(*found.notes, *fresh)) if fresh else found
