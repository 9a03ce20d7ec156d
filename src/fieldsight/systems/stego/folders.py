"""Data folders of pictures: which layout one has, what is in which split, and what is wrong with it.

Layouts, recognised by themselves::

    train|val|test/<class>/*            Imagenette (classes by WordNet id), and what ``make-data`` writes
    Linnaeus 5 256X256/train|test/...   Linnaeus 5, in the folder itself or in one around it, any of its four sizes
    DIV2K_train_HR/*, DIV2K_valid_HR/*  DIV2K; low-resolution folders are left out
    anything else                       all pictures in it, split here

A manifest.csv with the columns id, group and split wins over all of them.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import sha256
from fieldsight.data.images import read_image, resize, to_uint8
from fieldsight.data.splits import Row, check_leakage, read_manifest, split_groups
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import ConfigError, DataError, unknown

Colours = NDArray[np.uint8]

SPLITS = ("train", "val", "test")

#: Shares of train, val and test where a folder says nothing about its splits.
SHARES = (80.0, 10.0, 10.0)

#: Pictures with a side below this are refused: the networks' smallest input.
SMALLEST = 16

#: The ten classes of Imagenette by WordNet id.
IMAGENETTE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip

_DIV2K = {"DIV2K_train_HR": "train", "DIV2K_valid_HR": "val"}


@dataclass(frozen=True)
class Picture:
    """A picture of a data folder.

    Attributes:
        id: path below the folder, without its ending.
        path: the file.
        split: ``train``, ``val`` or ``test``.
        group: the independent unit of a split; the id itself where nothing says otherwise.
        kind: class, empty where unknown.
    """

    id: str
    path: Path
    split: str
    group: str
    kind: str = ""

    def read(self, longest: int | None = None) -> Colours:
        """The picture, ``(H, W, 3)`` uint8 RGB, its longer side at most ``longest`` pixels.

        Raises:
            DataError: the file is gone or broken, or narrower than 16 pixels once it is shrunk.
        """
        picture = to_uint8(read_image(self.path, "rgb"))
        picture = picture if longest is None else cast("Colours", resize(picture, longest))
        if min(picture.shape[:2]) < SMALLEST:
            raise _too_small(self.path, picture.shape[1], picture.shape[0])
        return picture


def read_pictures(root: Path, split: str, seed: int = 0) -> list[Picture]:
    """The pictures of one split of a data folder, in order of their ids; see :func:`list_pictures`.

    Imagenette and DIV2K have no ``test`` and Linnaeus 5 has no ``val``: there both words mean what is held out.

    Raises:
        ConfigError: unknown split.
        DataError: as :func:`list_pictures`, or nothing in that split.
    """
    if split not in SPLITS:
        raise ConfigError(unknown("split", split, SPLITS))
    pictures = list_pictures(root, seed)
    for name in (split, {"val": "test", "test": "val"}.get(split, split)):
        chosen = [picture for picture in pictures if picture.split == name]
        if chosen:
            return chosen
    there = ", ".join(sorted({p.split for p in pictures}))
    raise DataError(f"'{root}' has no pictures in the split '{split}', only in {there}. Add some, or a manifest.csv.")


def list_pictures(root: Path, seed: int = 0) -> list[Picture]:
    """All pictures of a data folder, its layout recognised, in order of their ids.

    Args:
        root: the folder.
        seed: decides the splits of a folder that says nothing about them.

    Raises:
        DataError: no folder, no pictures, files that are truncated, too small or missing (all are named), two files
            of one id, or the same content in two splits.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"There is no folder '{root}'. Give a folder of pictures.")
    pictures = _from_manifest(root) or _recognised(root) or _plain(root, seed)
    if not pictures:
        raise DataError(f"'{root}' holds no pictures. Allowed endings: {', '.join(IMAGE_SUFFIXES)}.")
    pictures.sort(key=lambda p: p.id)
    checked = progress.track([p.path for p in pictures], "checking pictures")
    problems = [problem for problem in map(_problem, checked) if problem]
    if problems:
        raise _several(root, problems)
    _check_leakage(pictures)
    return pictures


def load_pictures(pictures: Sequence[Picture], longest: int | None = None) -> list[Colours]:
    """Read pictures into memory, each ``(H, W, 3)`` uint8 with its longer side at most ``longest``.

    Raises:
        DataError: names every file that can't be read.
    """
    loaded, problems = [], []
    for picture in progress.track(pictures, "reading pictures"):
        try:
            loaded.append(picture.read(longest))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"{len(problems)} pictures can't be used:\n" + "\n".join(problems[:20]))
    return loaded


def _files(folder: Path) -> list[Path]:
    """Pictures anywhere below a folder; hidden files, and the copies macOS puts into archives, are no pictures."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    hidden = re.compile(r"^(\.|__MACOSX$)")
    return sorted(p for p in found if not any(hidden.match(part) for part in p.relative_to(folder).parts))


def _by_id(root: Path, files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        id = path.relative_to(root).with_suffix("").as_posix()
        if id in found:
            raise DataError(f"'{found[id]}' and '{path}' differ in their ending only. Rename one.")
        found[id] = path
    return found


def _from_manifest(root: Path) -> list[Picture]:
    if not (root / "manifest.csv").is_file():
        return []
    rows, files = read_manifest(root / "manifest.csv"), _by_id(root, _files(root))
    listed = {row.id: row for row in rows}
    for what, names in (
        ("lists pictures that are not there", [i for i in listed if i not in files]),
        ("does not list", [i for i in files if i not in listed]),
        ("has splits other than train, val and test for", [r.id for r in rows if r.split not in SPLITS]),
    ):
        if names:
            raise DataError(f"'{root / 'manifest.csv'}' {what}: {_some(names)}. Correct the manifest, or remove it.")
    return [Picture(r.id, files[r.id], r.split, r.group or r.id, r.extra.get("class", "")) for r in rows]


def _recognised(root: Path) -> list[Picture]:
    """Pictures of a known layout in a folder, or else in the folders of it; nothing where there is none."""
    pictures = _known(root)
    if pictures:
        return pictures
    children = sorted(p for p in root.iterdir() if p.is_dir())
    chosen: dict[str, Path] = {}
    for child in sorted(children, key=_sharpness, reverse=True):
        family = re.split(r"[\s\d-]", child.name)[0].lower()
        if family not in ("linnaeus", "imagenette"):
            continue
        if family in chosen:
            progress.note(f"'{child.name}' is left out: '{chosen[family].name}' holds the same pictures.")
        elif _tree(child):
            chosen[family] = child
    return [
        replace(p, id=f"{child.name}/{p.id}", group=f"{child.name}/{p.group}")
        for child in chosen.values()
        for p in _known(child)
    ]


def _sharpness(folder: Path) -> int:
    """Size that the name of a variant tells; the variant without one is the full one."""
    size = re.search(r"(?:-| )(\d+)(?:X\d+)?$", folder.name)
    return int(size[1]) if size else 1 << 30


def _known(root: Path) -> list[Picture]:
    return _tree(root) or _div2k(root)


def _tree(root: Path) -> list[Picture]:
    """``train|val|test/<class>/*``; nothing unless there are two splits with class folders."""
    splits = [s for s in SPLITS if (root / s).is_dir() and any(p.is_dir() for p in (root / s).iterdir())]
    if len(splits) < 2:
        return []
    found = []
    for split in splits:
        for id, path in _by_id(root, _files(root / split)).items():
            name = path.relative_to(root).parts[1]
            found.append(Picture(id, path, split, id, IMAGENETTE.get(name, name)))
    _check_listed(root)
    return found


def _check_listed(root: Path) -> None:
    """Imagenette's table of labels names every file: tell which are missing."""
    table = root / "noisy_imagenette.csv"
    if not table.is_file():
        return
    try:
        with open(table, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or []):
                raise DataError(f"'{table}' has no column 'path'. It is not needed: remove it or get it again.")
            missing = [line["path"] for line in reader if not (root / (line["path"] or "")).is_file()]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(f"Can't read '{table}': {error}. It is not needed: remove it or get it again.") from None
    if missing:
        raise DataError(
            f"'{root}' lacks {len(missing)} pictures that noisy_imagenette.csv lists: {_some(missing)}. "
            "Unpack the data set again, or remove the table to use what is there."
        )


def _div2k(root: Path) -> list[Picture]:
    found = []
    for folder, split in _DIV2K.items():
        if (root / folder).is_dir():
            found += [Picture(i, p, split, i) for i, p in _by_id(root, _files(root / folder)).items()]
    low = sorted(p.name for p in root.glob("DIV2K_*_LR_*"))
    if found and low:
        progress.note(f"Left out: {', '.join(low)}. Only the HR pictures are used.")
    return found


def _plain(root: Path, seed: int) -> list[Picture]:
    """Every picture is a group of its own, copies of one file are one group."""
    files = _by_id(root, _files(root))
    if not files:
        return []
    twins = _digests(files)
    first: dict[str, str] = {}
    group_of = {id: first.setdefault(twins.get(id, id), id) for id in files}
    split_of = split_groups(list(group_of.values()), dict(zip(SPLITS, SHARES, strict=True)), seed)
    return [Picture(id, path, split_of[group_of[id]], group_of[id]) for id, path in files.items()]


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Hashes of the files that could be equal to another: those that share their number of bytes."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for id, path in files.items():
        by_size[path.stat().st_size].append(id)
    return {id: sha256(files[id]) for ids in by_size.values() if len(ids) > 1 for id in ids}


def _check_leakage(pictures: Sequence[Picture]) -> None:
    contents = {id: digest.encode() for id, digest in _digests({p.id: p.path for p in pictures}).items()}
    check_leakage([Row(p.id, p.group, p.split, {}) for p in pictures], contents)


def _problem(path: Path) -> str | None:
    """What is wrong with a file, or None. Complete JPEG and PNG files are not decoded: their end is looked for."""
    try:
        width, height = _size(path)
    except DataError as error:
        return str(error)
    return str(_too_small(path, width, height)) if min(width, height) < SMALLEST else None


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    end = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}.get(path.suffix.lower())
    if end is not None:
        try:
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - 4096))
                if end in file.read():
                    with Image.open(path) as image:
                        return image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            pass  # the reader below says what it is
    shape = read_image(path).shape
    return shape[1], shape[0]


def _too_small(path: Path, width: int, height: int) -> DataError:
    return DataError(f"'{path}' has {width} x {height} pixels; a side needs {SMALLEST} or more. Remove it.")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _several(root: Path, problems: Sequence[str]) -> DataError:
    return DataError(f"'{root}': {len(problems)} pictures can't be used:\n" + "\n".join(problems[:20]))
