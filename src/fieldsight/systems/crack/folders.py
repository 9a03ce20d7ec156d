"""Folders of photos with masks as samples: groups, splits, and everything that can be wrong with them.

A ``manifest.csv`` (id, group, split) beside any layout decides groups and splits; the split ``ignore`` leaves a photo
out. In cfd, plain and beside, lists ``train.txt``, ``val.txt``, ``test.txt`` decide likewise. Layouts are described in
:mod:`fieldsight.systems.crack.layouts`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fieldsight import progress
from fieldsight.data.files import sha256
from fieldsight.data.folders import safe_name
from fieldsight.data.images import write_image
from fieldsight.data.splits import Row, check_leakage, read_manifest, split_groups, write_manifest
from fieldsight.errors import DataError, unknown
from fieldsight.systems.crack.formats import LOSSY_SUFFIXES, Header, fits, read_header, sizes_differ
from fieldsight.systems.crack.formats import read_mask as read_mask
from fieldsight.systems.crack.formats import read_photo as read_photo
from fieldsight.systems.crack.layouts import SPLIT_NAMES, SPLITS, Pair, find_pairs, listed, read_lines
from fieldsight.systems.crack.sample import Sample

#: Shares of groups that go to train, val and test where nothing says it.
SHARES = (70.0, 10.0, 20.0)

#: Train and test photos of CFD: the "standard split" is not published, this one is by seed (118 photos: 100 and 18).
CFD_SHARES = {"train": 100.0, "test": 18.0}

#: Share of the train groups that is held out for selection where there is no val split; the test split never is.
HELD_OUT = 0.1

#: Photos smaller than this are refused.
MIN_SIDE = 16

_CROP = re.compile(r"^(\d{8}_\d{6})_\d+_\d+$")  # Crack500: date, time, offset of the crop
_IGNORED = ("", "ignore")


def read_folder(path: str | Path, seed: int = 0, shares: Sequence[float] = SHARES) -> list[Sample]:
    """Find the photos and masks of a folder; they are read when a sample is asked for them.

    Only headers are looked at here; :func:`check` reads everything. Groups are the photo that a crop of Crack500 was
    cut from, else each photo is its own. Where there is a train split but no val split, 10 % of the train groups
    become val.

    Args:
        path: a folder of one of the layouts above.
        seed: of splits that the folder does not give.
        shares: of train, val and test groups where nothing gives splits; 0 leaves a split out.

    Returns:
        Samples by id; their functions can be sent to other processes.

    Raises:
        DataError: no known layout, photos without masks or the reverse, unreadable headers, masks of another aspect
            ratio, a manifest or list that does not fit, splits that share a group or a file's contents.
    """
    if len(shares) != len(SPLITS) or not min(shares) >= 0 or not sum(shares) > 0:
        raise DataError(f"shares are {list(shares)}; three numbers are wanted, of {', '.join(SPLITS)}, none below 0.")
    layout, root, pairs = find_pairs(Path(path))
    rows, pairs = _rows(root, layout, pairs, seed, shares)
    headers = _headers(root, pairs)
    rows = _hold_out(rows, seed)
    _refuse_leaks(rows, pairs)
    lossy = sum(p.mask.suffix.lower() in LOSSY_SUFFIXES for p in pairs)
    if lossy:
        progress.note(f"{lossy} masks in '{root}' were saved with loss (JPEG); values above 127 are taken as crack")
    samples = []
    for pair, row, header in zip(pairs, rows, headers, strict=True):
        mask = partial(read_mask, pair.mask, header.size, pair.photo)
        samples.append(
            Sample(row.id, row.group, row.split, row.extra.get("domain", ""), partial(read_photo, pair.photo), mask)
        )
    return sorted(samples, key=lambda s: s.id)


def check(samples: Sequence[Sample]) -> dict[str, float]:
    """Read every photo and mask once, before a training finds a broken one hours later.

    Returns:
        Split to the share of its pixels that is crack, for splits that hold photos.

    Raises:
        DataError: names the files that can't be read; or no crack at all in the training split.
    """
    problems: list[str] = []
    crack: dict[str, int] = defaultdict(int)
    pixels: dict[str, int] = defaultdict(int)
    for sample in progress.track(samples, "reading photos and masks"):
        try:
            photo, mask = sample.image(), sample.mask()
        except DataError as error:
            problems.append(str(error))
            continue
        if photo.shape[:2] != mask.shape:
            problems.append(str(sizes_differ(f"The mask of '{sample.id}'", mask.shape, "its photo", photo.shape[:2])))
        crack[sample.split] += int(np.count_nonzero(mask))
        pixels[sample.split] += mask.size
    if problems:
        raise DataError(listed(f"{len(problems)} photos can't be used:", problems))
    found = {split: crack[split] / pixels[split] for split in SPLITS if pixels[split]}
    if found.get("train") == 0.0:
        count = sum(s.split == "train" for s in samples)
        raise DataError(
            f"There is no crack in the whole training split: all {count} masks are empty. "
            "Check that the masks belong to the photos, and that crack is white (255) or 1."
        )
    for split, share in found.items():
        if share > 0.5:
            progress.note(f"{share:.0%} of the pixels of split '{split}' are crack: are its masks inverted?")
    return found


def write_folder(samples: Sequence[Sample], out: str | Path) -> Path:
    """Write ``{split}/images/<id>.png``, ``{split}/masks/<id>.png`` (0 and 255) and ``manifest.csv``.

    Raises:
        DataError: two ids that give one file name, an unknown split, or the folder can't be written.
    """
    root = Path(out)
    names = [safe_name(s.id) for s in samples]
    twice = [name for name, count in Counter(n.lower() for n in names).items() if count > 1]
    if twice:
        raise DataError(f"Several samples would be written as '{twice[0]}.png'. Give them different ids.")
    for sample in samples:
        _known_split(sample.split, f"of sample '{sample.id}'")
    rows = []
    for sample, name in progress.track(list(zip(samples, names, strict=True)), "writing photos"):
        write_image(root / sample.split / "images" / f"{name}.png", sample.image())
        write_image(root / sample.split / "masks" / f"{name}.png", sample.mask().astype(np.uint8) * np.uint8(255))
        rows.append(Row(name, sample.group, sample.split, {"domain": sample.domain}))
    write_manifest(root / "manifest.csv", rows)
    return root


# ----------------------------------------------------------------------------------------------------- splits


def group_of(stem: str) -> str:
    """The photo that a file was cut from: date and time of a name of Crack500, else the name itself."""
    match = _CROP.match(stem)
    return match[1] if match else stem


def _rows(
    root: Path, layout: str, pairs: list[Pair], seed: int, shares: Sequence[float]
) -> tuple[list[Row], list[Pair]]:
    """Group and split of every pair that is used."""
    if (root / "manifest.csv").is_file():
        rows = _manifest(root / "manifest.csv", [p.id for p in pairs])
    else:
        rows = [Row(p.id, group_of(p.photo.stem), p.split, {}) for p in pairs]
        lists = {s: root / f"{s}.txt" for s in SPLITS if (root / f"{s}.txt").is_file()}
        if lists and layout in ("cfd", "plain", "beside"):
            rows = _from_lists(lists, rows)
        elif not all(p.split for p in pairs):
            wanted = CFD_SHARES if layout == "cfd" else dict(zip(SPLITS, shares, strict=True))
            split_of = split_groups([r.group for r in rows], wanted, seed)
            rows = [replace(r, split=split_of[r.group]) for r in rows]
    kept = [n for n, row in enumerate(rows) if row.split not in _IGNORED]
    if not kept:
        raise DataError(f"'{root}': the manifest or lists leave every photo out.")
    if len(kept) < len(rows):
        progress.note(f"{len(rows) - len(kept)} photos in '{root}' are left out, as its manifest or lists say")
    return [rows[n] for n in kept], [pairs[n] for n in kept]


def _manifest(file: Path, ids: Sequence[str]) -> list[Row]:
    known = {row.id: row for row in read_manifest(file)}
    problems = [f"{i} is not listed" for i in ids if i not in known]
    problems += [f"{i} has no files" for i in sorted(set(known) - set(ids))]
    if problems:
        raise DataError(listed(f"'{file}' does not fit the folder:", problems, 10))
    rows = []
    for row in (known[i] for i in ids):
        split = row.split.strip().lower()
        split = split if split in _IGNORED else _known_split(split, f"of '{row.id}' in '{file}'")
        rows.append(replace(row, split=split, group=row.group or row.id))
    return rows


def _from_lists(lists: Mapping[str, Path], rows: Sequence[Row]) -> list[Row]:
    """Splits by list files: the first word of a line is an id or a file's name.

    With a list of train or of test alone, all other photos are the other's.
    """
    known, split_of = {row.id for row in rows}, dict[str, str]()
    for split, file in lists.items():
        for number, line in read_lines(file):
            name = Path(line.split()[0])
            id = next((i for i in (str(name), name.name, name.stem) if i in known), None)
            if id is None:
                raise DataError(f"'{file}', line {number}: there is no photo '{name}' with a mask.")
            if split_of.setdefault(id, split) != split:
                raise DataError(f"'{id}' is in {split_of[id]}.txt and in {split}.txt. A photo is in one split only.")
    rest = "" if "train" in lists and "test" in lists else "train" if "train" not in lists else "test"
    return [replace(row, split=split_of.get(row.id, rest)) for row in rows]


def _known_split(name: str, where: str) -> str:
    if name not in SPLIT_NAMES:
        raise DataError(unknown(f"split {where}:", name, (*SPLITS, "ignore")))
    return SPLIT_NAMES[name]


def _hold_out(rows: list[Row], seed: int) -> list[Row]:
    """Turn a tenth of the train groups into val where there is no val; the test split is never touched."""
    groups = [row.group for row in rows if row.split == "train"]
    if any(row.split == "val" for row in rows) or len(set(groups)) < 2:
        return rows
    moved = split_groups(groups, {"train": 1.0 - HELD_OUT, "val": HELD_OUT}, seed)
    held = sum(split == "val" for split in moved.values())
    progress.note(f"There is no val split: {held} of {len(moved)} train groups are held out for selection")
    return [replace(row, split=moved[row.group]) if row.split == "train" else row for row in rows]


def _refuse_leaks(rows: Sequence[Row], pairs: Sequence[Pair]) -> None:
    """No group and no file's contents in two splits; only files of equal length are read."""
    lengths: dict[int, list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        lengths[pair.photo.stat().st_size].append(number)
    alike = [n for same in lengths.values() if len({rows[i].split for i in same}) > 1 for n in same]
    try:
        check_leakage(rows, {rows[n].id: sha256(pairs[n].photo).encode() for n in alike})
    except DataError as error:
        raise DataError(f"{error} A manifest.csv (id, group, split) decides; the split 'ignore' leaves out.") from None


# ---------------------------------------------------------------------------------------------------- headers


def _headers(root: Path, pairs: Sequence[Pair]) -> list[Header]:
    """Headers of all photos; every file that can't be read, or does not fit its partner, is named."""
    headers, problems, others = [], [], Counter[int]()
    for pair in progress.track(pairs, "looking at headers"):
        try:
            photo, mask = read_header(pair.photo), read_header(pair.mask)
        except DataError as error:
            problems.append(str(error))
            continue
        headers.append(photo)
        others.update(mask.others)
        if min(photo.size) < MIN_SIDE:
            problems.append(f"'{pair.photo}' is {photo.size[1]} x {photo.size[0]}; {MIN_SIDE} a side is the least.")
        elif not fits(mask, photo):
            problems.append(str(sizes_differ(f"'{pair.mask}'", mask.size, f"'{pair.photo}'", photo.size)))
    if problems:
        raise DataError(listed(f"'{root}': {len(problems)} photos can't be used:", problems))
    if others:
        named = ", ".join(f"{label} in {count} files" for label, count in sorted(others.items()))
        progress.note(f"Labels beside background and crack are taken as background: {named}")
    return headers
