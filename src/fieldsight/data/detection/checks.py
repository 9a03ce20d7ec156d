"""What can be wrong with photos and their boxes, and what is done about it: the same for every format.

Readers give what the files say (:class:`Reading`); :func:`examine` makes samples of it. What can be mended is mended,
counted and named in :class:`Findings`; what can't be is refused with one error that names every file.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.letterbox import Photo, photo_size, turned
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.folders import safe_name
from fieldsight.errors import DataError

Floats = NDArray[np.float64]

#: A box may reach this far out of its photo before it counts as a fault: what rounding to 6 digits makes.
SLACK = (0.01, 1e-6)  # pixels, and a share of the longer side

#: Aspect ratios may differ by this much, relatively, where a label file was made for another size of the photo.
ASPECT_TOLERANCE = 0.01

#: Files named of each kind of fault.
NAMED = 20

#: What is found and mended.
KINDS = {
    "background": "photos without a box, taken as background",
    "straddling": "groups by name with photos in several splits; if they are videos, scores will be too good",
    "clipped": "boxes clipped, since they reach out of their photo",
    "dropped": "boxes dropped, since they have no area inside their photo or are not finite",
    "doubled": "boxes dropped, since they are there twice",
    "orphans": "labels left out, since they have no photo",
    "resized": "label files whose boxes were scaled, since they were made for another size of the photo",
    "turned": "photos whose boxes were turned, since only the photo is turned by its EXIF tag",
    "leaks": "photos that are in several splits; scores will be too good",
}

#: Kinds that strict checks let pass: files without boxes are how formats say "background", and a name is no proof.
NO_FAULTS = ("background", "straddling")


class Marks(NamedTuple):
    """What a label file says of one photo, K rows; nothing is checked yet.

    Attributes:
        boxes: ``(K, 4)`` float64, x1, y1, x2, y2.
        labels: ``(K,)`` int64.
        ignore: ``(K,)`` bool.
        area: ``(K,)`` float64, NaN where the file does not tell it.
        lines: ``(K,)`` int64, where in the file it stands.
    """

    boxes: Floats
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    area: Floats
    lines: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]] | Floats) -> Marks:
        """From rows x1, y1, x2, y2, label, ignore, area, line."""
        table = np.asarray(rows, np.float64).reshape(-1, 8)
        whole = table[:, [4, 7]].astype(np.int64)
        return cls(table[:, :4], whole[:, 0], table[:, 5] != 0, table[:, 6], whole[:, 1])


@dataclass(frozen=True)
class Labelled:
    """A photo and its marks.

    Attributes:
        photo: its file.
        split: ``train``, ``val``, ``test``, or empty where the layout does not say.
        marks: as the file has them.
        source: the label file, for messages; empty where there is none.
        place: how a line is named in messages, ``{}`` stands for its number.
        size: height and width of the photo that the marks were made for; None where the file does not tell it.
        normalised: boxes are shares of width and height, not pixels.
        facts: what else is known.
    """

    photo: Path
    split: str
    marks: Marks
    source: str = ""
    place: str = "line {}"
    size: tuple[int, int] | None = None
    normalised: bool = False
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class Findings:
    """Faults found, by kind of :data:`KINDS`: how many, and the names of the first."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count ``count`` more of a kind, all under one name."""
        self.counts[kind] += count
        kept = self.names.setdefault(kind, [])
        if len(kept) < NAMED:
            kept.append(name)

    @property
    def faults(self) -> int:
        """How many were found, :data:`NO_FAULTS` aside."""
        return sum(count for kind, count in self.counts.items() if kind not in NO_FAULTS)

    def lines(self, limit: int = 3) -> list[str]:
        """One line a kind: count, what it is, and the first ``limit`` names."""
        found = []
        for kind, text in KINDS.items():
            if self.counts[kind]:
                shown = self.names[kind][:limit]
                more = ", ..." if len(self.names[kind]) > limit else ""
                found.append(f"{text}: {self.counts[kind]} ({', '.join(shown)}{more})")
        return found

    def refuse(self, where: str) -> None:
        """The strict mode.

        Raises:
            DataError: there are faults; it names the first :data:`NAMED` of each kind.
        """
        if self.faults:
            raise DataError("\n".join([f"'{where}' is refused, since checks are strict:", *self.lines(NAMED)]))


@dataclass
class Reading:
    """What the reader of a format found.

    Attributes:
        layout: the format's name.
        root: the folder or file that was read.
        names: of the classes.
        keys: what the files call each class: indices (YOLO), category ids (COCO, VisDrone), names (VOC).
        photos: in any order, unchecked.
        findings: orphans so far.
    """

    layout: str
    root: Path
    names: tuple[str, ...]
    keys: tuple[int | str, ...]
    photos: list[Labelled]
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True)
class Known:
    """A truth that is known already, as the function that a sample wants; it can be sent to other processes."""

    truth: Truth

    def __call__(self) -> Truth:
        """The truth."""
        return self.truth


def examine(reading: Reading) -> list[DetectionSample]:
    """Samples of what was read, in the order of their ids; the group of each is its id.

    Boxes that reach out are clipped; boxes without area and doubled boxes are dropped; all into ``reading.findings``.
    An id is the photo's stem where stems are unique, else its path below the root.

    Raises:
        DataError: two photos of one id, classes out of range, photos that can't be read, or labels for a photo of
            another aspect ratio; every one is named.
    """
    ids = _ids(reading)
    problems: list[str] = []
    samples = []
    for id, one in progress.track(list(zip(ids, reading.photos, strict=True)), "looking at photos and labels"):
        bad = (one.marks.labels < 0) | (one.marks.labels >= len(reading.names))
        problems += [
            f"'{one.source}' {one.place.format(one.marks.lines[k])}: class {one.marks.labels[k]} is out of range; "
            f"there are {len(reading.names)} classes, 0 to {len(reading.names) - 1}"
            for k in np.flatnonzero(bad)
        ]
        try:
            size, turn = photo_size(one.photo)
            boxes, scale = _in_photo(one, size, turn, reading.findings)
        except DataError as error:
            problems.append(str(error))
            continue
        if not bad.any():
            truth = _truth(one, boxes, scale, size, reading.findings)
            samples.append(DetectionSample(id, id, one.split, size, Photo(one.photo), Known(truth), one.facts))
            if not len(truth):
                reading.findings.add("background", str(one.photo))
    if problems:
        raise DataError(listed(f"'{reading.root}': {len(problems)} faults that can't be mended:", problems))
    return sorted(samples, key=lambda s: s.id)


def check_photos(samples: Iterable[DetectionSample]) -> None:
    """Read every photo once, before a training finds a broken one hours later.

    Raises:
        DataError: names every photo that can't be read, or has not the size its header said.
    """
    problems = []
    for sample in progress.track(list(samples), "reading photos"):
        try:
            shape = sample.image().shape
        except DataError as error:
            problems.append(str(error))
            continue
        if shape != (*sample.size, 3):
            problems.append(f"photo '{sample.id}' has shape {shape}, its header says {sample.size}")
    if problems:
        raise DataError(listed(f"{len(problems)} photos can't be used:", problems))


def check_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Names of classes that every format can hold.

    Raises:
        DataError: none at all, an empty or doubled name, or one with blanks around it or control characters inside.
    """
    found = tuple(names)
    if not found:
        raise DataError(f"{where} names no class. At least one is needed.")
    for name in found:
        if not name or name != name.strip() or any(unicodedata.category(c)[0] in "CZ" and c != " " for c in name):
            raise DataError(f"{where}: {name!r} is no name for a class. Use printable text without blanks around it.")
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise DataError(f"{where} names the class '{twice[0]}' twice. Every class has its own name.")
    return found


# ----------------------------------------------------------------------------------------------- one photo


def _in_photo(
    one: Labelled, size: tuple[int, int], turn: int, findings: Findings
) -> tuple[Floats, tuple[float, float]]:
    """Boxes in pixels of the photo as it is read, and by how much they were scaled in x and y."""
    high, wide = size
    boxes = one.marks.boxes
    if one.normalised:
        with np.errstate(over="ignore"):  # what becomes infinite is dropped later
            return boxes * np.array([wide, high, wide, high], np.float64), (1.0, 1.0)
    if one.size is None or one.size == size or not all(one.size):
        return boxes, (1.0, 1.0)
    if turn >= 5 and one.size == (wide, high):
        findings.add("turned", str(one.photo))
        return turned(boxes, one.size, turn), (1.0, 1.0)
    by = (wide / one.size[1], high / one.size[0])
    if abs(by[0] / by[1] - 1.0) > ASPECT_TOLERANCE:
        raise DataError(
            f"'{one.source}' was made for a photo of {one.size[1]} x {one.size[0]}, but '{one.photo}' is "
            f"{wide} x {high} (width x height): another aspect ratio. Give the photo that was labelled."
        )
    findings.add("resized", one.source)
    with np.errstate(over="ignore"):
        return boxes * np.array([*by, *by]), by


def _truth(
    one: Labelled, boxes: Floats, scale: tuple[float, float], size: tuple[int, int], findings: Findings
) -> Truth:
    marks, name = one.marks, one.source or str(one.photo)
    if not len(boxes):
        return Truth.of([], [])

    def report(kind: str, rows: Any) -> None:
        for k in np.flatnonzero(rows):
            findings.add(kind, f"{name} {one.place.format(marks.lines[k])}")

    corners = np.array([size[1], size[0], size[1], size[0]], np.float64)
    finite: Any = np.isfinite(boxes).all(axis=1)
    safe = np.where(finite[:, None], boxes, 0.0)
    inside = np.clip(safe, 0.0, corners).astype(np.float32)
    good = finite & (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    report("dropped", ~good)
    slack = SLACK[0] + SLACK[1] * max(size)
    report("clipped", good & (np.abs(safe - inside) > slack + np.spacing(inside)).any(axis=1))
    rows = np.column_stack([inside, marks.labels, marks.ignore])
    first = np.zeros(len(rows), np.bool_)
    first[np.unique(rows, axis=0, return_index=True)[1]] = True
    # equal rows are dropped above together or not at all
    report("doubled", good & ~first)
    kept = good & first
    own = (inside[:, 2] - inside[:, 0]).astype(np.float64) * (inside[:, 3] - inside[:, 1])
    with np.errstate(invalid="ignore", over="ignore"):
        told = marks.area * scale[0] * scale[1]
        area = np.where(np.isfinite(told) & (told > 0), told, own)
    return Truth.of(inside[kept], marks.labels[kept], marks.ignore[kept], area[kept])


# ----------------------------------------------------------------------------------------------- for readers


def _ids(reading: Reading) -> list[str]:
    seen: dict[Path, str] = {}
    for one in reading.photos:
        if one.photo in seen:
            splits = " and ".join(dict.fromkeys(s or "no split" for s in (seen[one.photo], one.split)))
            raise DataError(f"'{reading.root}' lists the photo '{one.photo}' twice (in {splits}). Once is enough.")
        seen[one.photo] = one.split
    stems = [one.photo.stem for one in reading.photos]
    if len(set(stems)) == len(stems):
        return stems
    root = reading.root if reading.root.is_dir() else reading.root.parent
    ids = []
    for path in (one.photo for one in reading.photos):
        below = path.relative_to(root) if path.is_relative_to(root) else path
        ids.append(below.with_suffix("").as_posix())
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        files = [p.photo.name for p, id in zip(reading.photos, ids, strict=True) if id == twice[0]]
        raise DataError(f"The id '{twice[0]}' stands for {' and '.join(files)}: which one counts? Keep one.")
    return ids


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: absent, no regular file, or not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Can't read '{path}' as text: {error}.") from None


def number(text: str) -> float:
    """A number as label files have it; NaN and inf are numbers here, and are dropped later.

    Raises:
        ValueError: anything else, also what only Python takes for a number (``1_0``).
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"'{text}' is no number")
    return float(text)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what the file system raises in the block into an error about ``path``."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise DataError(f"Can't read '{path}': {error}.") from None


def listed(head: str, items: Sequence[str]) -> str:
    """A message with an item a line, the first :data:`NAMED` of them."""
    rest = len(items) - NAMED
    return "\n".join([head, *items[:NAMED]] + ([f"... and {rest} more"] if rest > 0 else []))


def file_names(samples: Sequence[DetectionSample]) -> list[str]:
    """Names of the files that samples are written as.

    Raises:
        DataError: two ids that give one name, or a split that is none of train, val, test.
    """
    for sample in samples:
        if sample.split not in ("train", "val", "test"):
            raise DataError(f"The split of '{sample.id}' is '{sample.split}'. Allowed: train, val, test.")
    names = [safe_name(sample.id) for sample in samples]
    twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    if twice:
        raise DataError(f"Several samples would be written as '{twice[0]}'. Give them other ids.")
    return names
