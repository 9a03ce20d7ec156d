"""The YOLO layout: ``data.yaml``, ``images/`` and beside it ``labels/`` with ``class cx cy w h`` in shares of a photo.

Reading ``data.yaml`` needs no YAML library: :func:`parse_yaml` reads the part of YAML that these files use, and
refuses the rest. All values are texts, so that a class named ``no`` or ``1e3`` stays what it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Findings, Labelled, Marks, Reading, read_text
from fieldsight.data.detection.letterbox import photos_below
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import write_text
from fieldsight.data.images import write_image
from fieldsight.data.splits import Row, write_manifest
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError

#: Texts beside labels that are no labels.
NO_LABELS = ("classes", "train", "val", "valid", "test", "obj", "notes", "predefined_classes", "readme")

#: A coordinate beyond this many photos is a pixel count, not a share.
LARGEST_SHARE = 10.0

_DEEPEST = 8
_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[A-Za-z0-9_][A-Za-z0-9_.\-]*)[ ]*:(?=[ ]|$)""")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_BLANKS = re.compile(r"[ ]*((?:(?<=[ ])|^)#.*)?")
_FIRST = r"""(?!---|\.\.\.)(?:[^\s,\[\]{}#&*!|>'"%@`?:=<-]|[-=<](?=[^\s,\[\]{}?:#=<-]))"""
_PLAIN = re.compile(_FIRST + r"(?:[^\t:#]|:(?=\S)|(?<=[^ ])#)*")
_PLAIN_INSIDE = re.compile(_FIRST + r"(?:[^\t,\[\]{}?:#]|:(?=[^\s,\[\]{}])|(?<=[^ ])#)*")
_UNPRINTABLE = re.compile("[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_ABSENT = ("", "~", "null", "Null", "NULL")


def read_yolo(file: Path) -> Reading:
    """Read what a ``data.yaml`` names.

    ``path`` is relative to the YAML's folder, ``train``, ``val`` and ``test`` to ``path``: folders, lists of folders,
    or ``.txt`` files with a photo a line. Labels lie where the last ``images`` of a photo's path is ``labels``, else
    beside the photo. A missing or empty label file means background; a line of class, x, y, x, y, ... is the box
    around that polygon.

    Raises:
        DataError: the YAML, a list or a label file can't be understood, names files that are not there, or no photo has
            a label file.
    """
    known = parse_yaml(read_text(file), f"'{file}'")
    names = _names(known, f"'{file}'")
    home = Path(os.path.abspath(file)).parent
    with checks.refusing(file):
        below = known.get("path", "")
        if not isinstance(below, str):
            raise DataError(f"'{file}': path must be one folder, got {below!r}.")
        base = Path(os.path.normpath(home / ("" if below in _ABSENT else below)))
        if not base.is_dir():
            progress.note(f"'{file}': path '{base}' is no folder here; its own folder is taken")
            base = home
        photos = {}
        for split, keys in {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}.items():
            key = next((k for k in keys if known.get(k, "") not in _ABSENT), None)
            if key is not None:
                photos[split] = _photos(known[key], base, f"'{file}', {key}")
        if not any(photos.values()):
            raise DataError(f"'{file}' names no photos. It needs train, val or test: folders or .txt lists.")
        return read_labels(base, photos, names, pose="kpt_shape" in known)


def read_labels(root: Path, photos: Mapping[str, Sequence[Path]], names: Sequence[str], pose: bool = False) -> Reading:
    """Photos, by split or an empty text, with the labels that lie beside them.

    Where ``pose`` is true, lines hold key points after the box; they are left out.

    Raises:
        DataError: a label that can't be understood; or no label file at all.
    """
    findings, found, labelled = Findings(), list[Labelled](), 0
    with checks.refusing(root):
        folders = {p.parent: label_folder(p.parent) for of in photos.values() for p in of}
        for split, of in photos.items():
            for photo in progress.track(of, "reading labels"):
                path = folders[photo.parent] / f"{photo.stem}.txt"
                if path.is_file():
                    marks = parse_labels(read_text(path), str(path), pose)
                    found.append(Labelled(photo, split, marks, str(path), normalised=True))
                    labelled += 1
                else:
                    found.append(Labelled(photo, split, Marks.of([]), normalised=True))
        for folder, labels in folders.items():
            known = {p.stem for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES}.union(NO_LABELS)
            for path in sorted(p for p in labels.glob("*.txt") if p.stem not in known):
                findings.add("orphans", str(path))
    if found and not labelled:
        looked = ", ".join(sorted({f"'{labels}'" for labels in folders.values()})[:3])
        raise DataError(f"None of {len(found)} photos has a label file. Looked in {looked} for <photo>.txt.")
    return Reading("yolo", root, tuple(names), tuple(range(len(names))), found, findings)


def label_folder(folder: Path) -> Path:
    """Where the labels of a folder's photos lie: ``images`` of its path replaced by ``labels``, else the folder."""
    parts = folder.parts
    for n in reversed(range(len(parts))):
        if parts[n].lower() == "images":
            place = Path(*parts[:n], "labels", *parts[n + 1 :])
            if place.is_dir():
                return place
    return folder


def parse_labels(text: str, where: str, pose: bool = False) -> Marks:
    """Lines ``class cx cy w h`` or ``class x y x y x y ...``, in shares of width and height.

    Raises:
        DataError: names file and line.
    """
    rows = []
    for line, words in enumerate((line.split() for line in text.splitlines()), 1):
        if not words:
            continue
        try:
            values = [checks.number(word) for word in words]
        except ValueError as error:
            raise DataError(f"'{where}' line {line}: {error}. A line is: class cx cy w h.") from None
        label = values[0]
        if not (label.is_integer() and abs(label) < 2**31):
            raise DataError(f"'{where}' line {line}: class {words[0]} is no whole number.")
        polygon = len(values) >= 7 and len(values) % 2 == 1
        if pose and len(values) > 5:
            values, polygon = values[:5], False
        if len(values) != 5 and not polygon:
            raise DataError(
                f"'{where}' line {line} has {len(values)} values. Allowed: class cx cy w h (5), or class and the x y "
                "of three points or more."
            )
        wrong = next((v for v in values[1:] if LARGEST_SHARE < abs(v) < float("inf")), None)
        if wrong is not None:
            raise DataError(
                f"'{where}' line {line}: {wrong:g} is no share of width or height, 0 to 1. Are these pixels?"
            )
        rows.append([*_box(values[1:], polygon), label, 0.0, float("nan"), line])
    return Marks.of(rows)


def _box(values: Sequence[float], polygon: bool) -> tuple[float, float, float, float]:
    if polygon:
        if any(v != v for v in values):  # min and max would overlook a NaN
            return (float("nan"),) * 4
        return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    cx, cy, w, h = values
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def _names(known: Mapping[str, Any], where: str) -> tuple[str, ...]:
    given = known.get("names", "")
    if isinstance(given, Mapping):
        by_number = {int(k): v for k, v in given.items() if re.fullmatch(r"\d{1,6}", k)}
        if sorted(by_number) != list(range(len(given))):
            raise DataError(f"{where}: names have the numbers {', '.join(given)}; wanted are 0 to {len(given) - 1}.")
        given = [by_number[n] for n in range(len(given))]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise DataError(f"{where} has no names of classes. Write them as 'names: [robot, person]'.")
    names = checks.check_names(given, where)
    count = known.get("nc", str(len(names)))
    if count != str(len(names)):
        raise DataError(f"{where} says nc: {count}, but has {len(names)} names. Give one name a class.")
    return names


def _photos(value: Any, base: Path, where: str) -> list[Path]:
    """The photos that a folder, a list file, or several of those hold."""
    many = value if isinstance(value, list) else [value]
    found: dict[Path, None] = {}
    for one in many:
        if not isinstance(one, str) or one in _ABSENT:
            raise DataError(f"{where}: {one!r} is neither a folder nor a .txt list.")
        path = _resolved(one, base, where)
        found.update(dict.fromkeys(_listed_photos(path, base) if path.is_file() else photos_below(path)))
    return list(found)


def _resolved(text: str, base: Path, where: str) -> Path:
    path = Path(os.path.normpath(base / text))
    if not path.exists() and text.startswith("../") and (base / text[3:]).exists():
        # exports of labelling services say ../train/images and put the file beside train/
        progress.note(f"{where}: there is no '{path}'; '{text[3:]}' beside the file is taken")
        path = base / text[3:]
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".txt"):
        raise DataError(f"{where}: there is no folder and no .txt list '{path}'.")
    return path


def _listed_photos(file: Path, base: Path) -> Iterable[Path]:
    for line, text in enumerate(read_text(file).splitlines(), 1):
        if name := text.strip():
            photo = next((p for p in (file.parent / name, base / name) if p.is_file()), None)
            if photo is None or photo.suffix.lower() not in IMAGE_SUFFIXES:
                raise DataError(f"'{file}', line {line}: there is no photo '{name}'.")
            yield Path(os.path.normpath(photo))


# -------------------------------------------------------------------------------------------------- writing


def write_yolo(samples: Sequence[DetectionSample], names: Sequence[str], out: str | Path, suffix: str = ".png") -> Path:
    """Write ``images/{split}/``, ``labels/{split}/``, ``manifest.csv`` and at last ``data.yaml``, whose path is given.

    Ignored boxes are left out with a note: the format has no word for them.

    Raises:
        DataError: ids or names that can't be written, or the folder can't be.
    """
    root, files = Path(out), checks.file_names(samples)
    classes = checks.check_names(names, "The data set")
    lost, rows = 0, []
    for sample, name in progress.track(list(zip(samples, files, strict=True)), "writing photos"):
        write_image(root / "images" / sample.split / f"{name}{suffix}", sample.image())
        truth, (high, wide) = sample.truth(), sample.size
        lines = []
        for (x1, y1, x2, y2), label, ignore in zip(truth.boxes.tolist(), truth.labels, truth.ignore, strict=True):
            if not ignore:
                shares = ((x1 + x2) / 2 / wide, (y1 + y2) / 2 / high, (x2 - x1) / wide, (y2 - y1) / high)
                lines.append(f"{label} " + " ".join(f"{v:.8f}" for v in shares) + "\n")
        lost += len(truth) - len(lines)
        write_text(root / "labels" / sample.split / f"{name}.txt", "".join(lines))
        rows.append(Row(name, sample.group, sample.split, {}))
    if lost:
        progress.note(f"{lost} ignored boxes were left out: YOLO's format has no word for them")
    write_manifest(root / "manifest.csv", rows)
    splits = [s for s in ("train", "val", "test") if any(sample.split == s for sample in samples)]
    named = [f"  {n}: {json.dumps(name, ensure_ascii=False)}" for n, name in enumerate(classes)]
    lines = ["path: .", *(f"{split}: images/{split}" for split in splits), "names:", *named, ""]
    return write_text(root / "data.yaml", "\n".join(lines))


# ----------------------------------------------------------------------------------------------------- YAML


def parse_yaml(text: str, where: str = "The text") -> dict[str, Any]:
    """Read a YAML mapping of texts, lists and mappings; every scalar is a text, one that is left out is empty.

    Known are lists and mappings, by indentation or in brackets, plain and quoted texts of one line, and comments. A
    text of several lines after ``|`` is passed over. The rest (anchors, tags, several documents, doubled keys) is
    refused.

    Raises:
        DataError: names the line.
    """
    return _Yaml(text.removeprefix("\ufeff"), where).document()


class _Yaml:
    """A parser at line ``n``, column ``c``, counted from 0."""

    def __init__(self, text: str, where: str) -> None:
        self.where, self.n, self.c = where, 0, 0
        self.lines = re.split(r"\r\n|\r|\n", text)

    def error(self, problem: str) -> DataError:
        allowed = "'key: value', lists as [a, b] or '- a' lines, names as '0: a' lines"
        return DataError(f"{self.where}, line {self.n + 1} {problem}. Only plain YAML is read here: {allowed}.")

    def document(self) -> dict[str, Any]:
        if self.ahead() is not None and re.fullmatch(r"---([ ]+#.*|[ ]*)", self.lines[self.n]):
            self.n += 1
        found = self.block(0, 1) if self.ahead() is not None else {}
        if not isinstance(found, dict) or self.ahead() is not None:
            raise self.error("does not belong to a mapping")
        return found

    def ahead(self) -> int | None:
        """Go to the next line that says something; its indentation, or None at the end."""
        while self.n < len(self.lines):
            content = self.lines[self.n].lstrip(" ")
            if _UNPRINTABLE.search(content):
                raise self.error("holds a character that can't be printed")
            if content and content[0] != "#":
                return len(self.lines[self.n]) - len(content)
            self.n += 1
        return None

    def is_item(self) -> bool:
        return re.match(r"[ ]*-([ ]|$)", self.lines[self.n]) is not None

    def block(self, indent: int, depth: int) -> Any:
        """A list or mapping of lines that are indented alike."""
        items, pairs, listing = list[Any](), dict[str, Any](), self.is_item()
        while (ahead := self.ahead()) is not None and ahead >= indent and (ahead > indent or self.is_item() == listing):
            if ahead > indent or depth > _DEEPEST:
                raise self.error(
                    "is indented more than the line it follows" if ahead > indent else "is nested too deeply"
                )
            if listing:
                self.c = indent + 1
                items.append(self.value(indent, depth, False))
            else:
                self.c = indent
                key = self.key(pairs)
                pairs[key] = self.value(indent, depth, True)
        return items if listing else pairs

    def key(self, pairs: dict[str, Any]) -> str:
        """A key and its colon."""
        match = _KEY.match(self.lines[self.n], self.c)
        if match is None or len(match[0]) > 200:
            raise self.error("is no 'key: value'")
        key = self.quoted() if match[1][0] in "\"'" else match[1]
        if key in pairs:
            raise self.error(f"has the key '{key}' again")
        self.c = match.end()
        return key

    def value(self, indent: int, depth: int, nested: bool) -> Any:
        """What stands after a key or a dash; goes to the line after it."""
        head = self.mark()
        if not head or (head == "|" and nested):
            if head and not re.fullmatch(r"\|[+-]?([ ]+#.*|[ ]*)", self.lines[self.n][self.c :]):
                raise self.error("has a '|' text of a kind that is not understood")
            self.n += 1
            if head:
                while self.n < len(self.lines) and re.match(rf"[ ]{{{indent + 1}}}|[ ]*$", self.lines[self.n]):
                    self.n += 1
                return ""
            ahead = self.ahead() if nested else None
            below = ahead is not None and (ahead > indent or (ahead == indent and self.is_item()))
            return self.block(ahead or 0, depth + 1) if below else ""
        found = self.node(depth, False)
        if self.mark():
            raise self.error(f"goes on after its value: {self.lines[self.n][self.c :][:40]!r}")
        self.n += 1
        return found

    def mark(self) -> str:
        """The next character that is neither blank nor comment; empty at the end of the line."""
        match = _BLANKS.match(self.lines[self.n], self.c)
        self.c = match.end() if match else self.c
        return self.lines[self.n][self.c : self.c + 1]

    def node(self, depth: int, inside: bool) -> Any:
        """A list or mapping in brackets, or a text; ``inside`` of brackets a plain one ends with a comma."""
        line = self.lines[self.n]
        if line[self.c] in "[{":
            return self.flow(depth + 1)
        if line[self.c] in "\"'":
            return self.quoted()
        match = (_PLAIN_INSIDE if inside else _PLAIN).match(line, self.c)
        if match is None:
            raise self.error(f"has a value that is not understood: {line[self.c :][:40]!r}; put it in quotes")
        self.c = match.end()
        return match[0].rstrip(" ")

    def quoted(self) -> str:
        match = _QUOTED.match(self.lines[self.n], self.c)
        if match is None:
            raise self.error("has a quoted text that does not end on the line")
        self.c = match.end()
        if match[0][0] == "'":
            return match[0][1:-1].replace("''", "'")
        try:
            return str(json.loads(match[0], strict=False))
        except ValueError:
            raise self.error(f"has a backslash that is not understood in {match[0]}; single quotes know none") from None

    def flow(self, depth: int) -> Any:
        """``[a, b]`` or ``{a: b}``, over several lines if it must."""
        if depth > _DEEPEST:
            raise self.error("is nested too deeply")
        items, pairs = list[Any](), dict[str, Any]()
        listing = self.lines[self.n][self.c] == "["
        closing = "]" if listing else "}"
        self.c += 1
        while self.inside() != closing:
            if listing:
                items.append(self.node(depth, True))
            else:
                key = self.key(pairs)
                pairs[key] = "" if self.inside() in ",}" else self.node(depth, True)
            mark = self.inside()
            if mark not in (",", closing):
                raise self.error(f"has {mark!r} where ',' or '{closing}' is wanted")
            self.c += mark == ","
        self.c += 1
        return items if listing else pairs

    def inside(self) -> str:
        """The next character inside brackets, past blanks, comments and ends of lines."""
        while not self.mark():
            self.n, self.c = self.n + 1, 0
            if self.n >= len(self.lines) or self.lines[self.n][:3] in ("---", "..."):
                self.n -= 1
                raise self.error("ends inside of brackets")
        return self.mark()
