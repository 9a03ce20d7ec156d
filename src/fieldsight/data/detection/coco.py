"""COCO's JSON: ``images``, ``annotations`` with ``bbox`` x, y, width, height in pixels, ``categories`` with any ids.

Files are read as a stream: of the polygons in them, which are most of their bytes, only those of one annotation are in
memory at a time.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Findings, Labelled, Marks, Reading
from fieldsight.data.detection.sample import Detections, DetectionSample
from fieldsight.data.files import write_json
from fieldsight.data.images import write_image
from fieldsight.data.splits import Row, write_manifest
from fieldsight.errors import DataError

#: Characters read at once.
CHUNK = 1 << 20

_ENDS = (" ", "\t", "\n", "\r", ",", ":", "]", "}")


@dataclass(frozen=True)
class Part:
    """One JSON file: the split it is of, or an empty text; and the folder of its photos, None to look around it."""

    split: str
    file: Path
    photos: Path | None = None


@dataclass
class _Content:
    """What one file holds; marks are 6 numbers each: x1, y1, x2, y2, ignore, area."""

    images: dict[int | str, dict[str, Any]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    owners: list[int | str] = field(default_factory=list)
    classes: array[int] = field(default_factory=lambda: array("q"))
    marks: array[float] = field(default_factory=lambda: array("d"))


# -------------------------------------------------------------------------------------------------- reading


def read_coco(parts: Sequence[Part], root: Path) -> Reading:
    """Read the files of a data set; classes are its categories by rising id.

    ``iscrowd`` (or ``ignore``) makes a box ignored; ``area`` is kept; segmentations are passed over. Images whose photo
    is not there, and annotations of unknown images, are left out and counted.

    Raises:
        DataError: no JSON, doubled ids, files whose categories differ, an annotation without a box or of an unknown
            category, or none of the photos is there.
    """
    found, findings = list[Labelled](), Findings()
    first: dict[int, str] | None = None
    for part in parts:
        content = _read(part.file)
        if first is not None and content.categories != first:
            raise DataError(f"'{part.file}' has other categories than '{parts[0].file}'. Give them the same.")
        first = content.categories
        with checks.refusing(part.file):
            found += _photos(part, content, findings)
    categories = dict(sorted((first or {}).items()))
    names = checks.check_names(categories.values(), f"'{root}'")
    return Reading("coco", root, names, tuple(categories), found, findings)


def _read(file: Path) -> _Content:
    content = _Content()
    takers = {"images": _image, "annotations": _annotation, "categories": _category}
    counts = dict.fromkeys(takers, 0)
    seen: set[int | str] = set()
    for key, value in progress.track(stream_json(file, takers), f"reading {file.name}"):
        try:
            if not isinstance(value, dict):
                raise _UnfitError(f"is {value!r:.40}, no object")
            if key == "annotations" and value.get("id") is not None:
                one = _id(value, "id")
                if one in seen:
                    raise _UnfitError(f"has the id {one} again")
                seen.add(one)
            takers[key](value, content)
        except _UnfitError as error:
            raise DataError(f"'{file}': {key}[{counts[key]}] {error}.") from None
        counts[key] += 1
    missing = [key for key in ("images", "categories") if not counts[key]]
    if missing:
        raise DataError(f"'{file}' has no {' and no '.join(missing)}. COCO's JSON has images, annotations, categories.")
    order = {category: label for label, category in enumerate(sorted(content.categories))}
    for n, category in enumerate(content.classes):
        if category not in order:
            known = ", ".join(map(str, list(order)[:20]))
            raise DataError(f"'{file}': annotations[{n}] has the category_id {category}; known are {known}.")
        content.classes[n] = order[category]
    return content


class _UnfitError(Exception):
    """What is wrong with one entry; it never leaves this module."""


def _image(value: dict[str, Any], content: _Content) -> None:
    one = _id(value, "id")
    if one in content.images:
        raise _UnfitError(f"has the id {one} again")
    if not isinstance(value.get("file_name"), str) or not value["file_name"] or "\0" in value["file_name"]:
        raise _UnfitError(f"has the file_name {value.get('file_name')!r:.40}")
    sides = [_float(value.get(key) or 0.0, key) for key in ("height", "width")]
    if not all(0 <= side < 1e6 and side.is_integer() for side in sides):
        raise _UnfitError(f"is {sides[1]:g} x {sides[0]:g} pixels large")
    content.images[one] = {"file_name": value["file_name"], "size": (int(sides[0]), int(sides[1]))}


def _category(value: dict[str, Any], content: _Content) -> None:
    one = value.get("id")
    if not isinstance(one, int) or isinstance(one, bool) or abs(one) >= 2**62:
        raise _UnfitError(f"has the id {one!r:.40}; a whole number is wanted")
    if one in content.categories:
        raise _UnfitError(f"has the id {one} again")
    if not isinstance(value.get("name"), str):
        raise _UnfitError(f"has the name {value.get('name')!r:.40}")
    content.categories[one] = value["name"]


def _annotation(value: dict[str, Any], content: _Content) -> None:
    box = value.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise _UnfitError(f"has the bbox {box!r:.60}; four numbers are wanted")
    x, y, w, h = (_float(v, "bbox") for v in box)
    category = value.get("category_id")
    if not isinstance(category, int) or isinstance(category, bool) or abs(category) >= 2**62:
        raise _UnfitError(f"has the category_id {category!r:.40}; a whole number is wanted")
    ignore = any(_float(value.get(key) or 0, key) != 0 for key in ("iscrowd", "ignore"))
    area = value.get("area")
    told = _float(area, "area") if area is not None else float("nan")
    content.owners.append(_id(value, "image_id"))
    content.classes.append(category)
    content.marks.extend((x, y, x + w, y + h, float(ignore), told))


def _id(value: dict[str, Any], key: str) -> int | str:
    one = value.get(key)
    if isinstance(one, bool) or not isinstance(one, (int, str)):
        raise _UnfitError(f"has the {key} {one!r:.40}; a whole number or a text is wanted")
    return one


def _float(value: Any, key: str) -> float:
    if not isinstance(value, (int, float)):
        raise _UnfitError(f"has the {key} {value!r:.40}; a number is wanted")
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _photos(part: Part, content: _Content, findings: Findings) -> Iterator[Labelled]:
    """The images of a file with their marks."""
    folder = part.photos or _folder(part, content)
    number = {one: n for n, one in enumerate(content.images)}
    owners = np.array([number.get(one, -1) for one in content.owners], np.int64)
    order = np.argsort(owners, kind="stable")
    marks = np.array(content.marks, np.float64).reshape(-1, 6)[order]
    labels = np.array(content.classes, np.int64)[order]
    edges = np.searchsorted(owners[order], np.arange(len(number) + 1))
    if edges[0]:
        lost = content.owners[int(order[0])]
        findings.add("orphans", f"'{part.file}' annotations of image_id {lost!r} and others", int(edges[0]))
    for n, (one, image) in enumerate(progress.track(content.images.items(), "looking for photos")):
        photo = folder / image["file_name"]
        if not photo.is_file():
            findings.add("orphans", str(photo))
            continue
        own = slice(edges[n], edges[n + 1])
        box, rest = marks[own, :4], marks[own, 4:]
        found = Marks(box, labels[own], rest[:, 0] != 0, rest[:, 1], order[own])
        size = image["size"] if all(image["size"]) else None
        facts: dict[str, object] = {"image_id": one}
        yield Labelled(photo, part.split, found, str(part.file), "annotations[{}]", size, facts=facts)


def _folder(part: Part, content: _Content) -> Path:
    """Where the photos of a file lie, by looking for the first of them."""
    names = [image["file_name"] for image in list(content.images.values())[:10]]
    split, home = part.split or "train", part.file.parent
    below = ("", "images", split, f"{split}2017", f"images/{split}", f"{split}/images", f"images/{split}2017")
    places = [root / name for root in (home, home.parent) for name in below]
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    raise DataError(f"'{part.file}': there is no photo '{names[0]}' beside it, in images/ or in {split}/.")


def stream_json(file: Path, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The entries of the top-level lists named ``lists`` of a JSON object, one by one, with the name of their list.

    Raises:
        DataError: the file is absent, no text, or not a JSON object.
    """
    if not file.is_file():
        raise DataError(f"There is no file '{file}'.")
    try:
        with file.open(encoding="utf-8-sig") as opened:
            yield from _Stream(opened).entries(lists)
    except (OSError, ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"Can't read '{file}' as COCO's JSON: {said:.200}.") from None


class _Stream:
    """A JSON text of which only a window is in memory."""

    def __init__(self, file: Any) -> None:
        self.file, self.text, self.at, self.done = file, "", 0, False
        self.decoder = json.JSONDecoder()

    def entries(self, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
        self.take("{")
        while self.next() != "}":
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"{key!r:.40} is no key of an object")
            self.take(":")
            if self.next() == "[" and key in lists:
                self.at += 1
                while self.next() != "]":
                    yield key, self.value()
                    self.comma("]")
                self.at += 1
            else:
                self.value()
            self.comma("}")
        self.at += 1
        if self.next():
            raise ValueError(f"it goes on after its end: {self.text[self.at : self.at + 40]!r}")

    def comma(self, closing: str) -> None:
        if self.next() != closing:
            self.take(",")
            if self.next() == closing:
                raise ValueError(f"a comma stands before {closing!r}")

    def take(self, mark: str) -> None:
        if self.next() != mark:
            raise ValueError(f"{mark!r} is wanted where it says {self.text[self.at : self.at + 40]!r}")
        self.at += 1

    def next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in " \t\n\r":
                    return self.text[self.at]
                self.at += 1
            if self.done:
                return ""
            self.more(CHUNK)

    def value(self) -> Any:
        """The next value, of any length."""
        self.next()
        while True:
            try:
                value, stop = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError:
                if self.done:
                    raise
            else:
                if self.done or self.text[stop : stop + 1] in _ENDS:  # else a number may go on
                    self.at = stop
                    return value
            self.more(max(CHUNK, len(self.text) - self.at))

    def more(self, count: int) -> None:
        part = self.file.read(count)
        self.done = not part
        self.text, self.at = self.text[self.at :] + part, 0


# -------------------------------------------------------------------------------------------------- writing


def write_coco(samples: Sequence[DetectionSample], names: Sequence[str], out: str | Path, suffix: str = ".png") -> Path:
    """Write ``images/{split}/``, ``manifest.csv`` and ``annotations/instances_{split}.json``; category ids begin at 1.

    Ignored boxes are written as crowds.

    Raises:
        DataError: ids or names that can't be written, or the folder can't be.
    """
    root, files = Path(out), checks.file_names(samples)
    classes = checks.check_names(names, "The data set")
    categories = [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(classes, 1)]
    texts: dict[str, dict[str, Any]] = {}
    for number, (sample, name) in enumerate(
        progress.track(list(zip(samples, files, strict=True)), "writing photos"), 1
    ):
        write_image(root / "images" / sample.split / f"{name}{suffix}", sample.image())
        empty: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
        text = texts.setdefault(sample.split, empty)
        size = {"height": sample.size[0], "width": sample.size[1]}
        text["images"].append({"id": number, "file_name": f"{name}{suffix}", **size})
        truth = sample.truth()
        for box, label, ignore, area in zip(truth.boxes, truth.labels, truth.ignore, truth.area, strict=True):
            text["annotations"].append(
                {
                    "id": len(text["annotations"]) + 1, "image_id": number, "category_id": int(label) + 1,
                    "bbox": _xywh(box), "area": round(float(area), 4), "iscrowd": int(ignore),
                }
            )  # fmt: skip
    write_manifest(root / "manifest.csv", [Row(n, s.group, s.split, {}) for n, s in zip(files, samples, strict=True)])
    for split, text in texts.items():
        write_json(root / "annotations" / f"instances_{split}.json", text)
    return root


def write_results(
    path: str | Path, samples: Sequence[DetectionSample], found: Sequence[Detections], keys: Sequence[int | str]
) -> Path:
    """Write detections as COCO's results: a list of image_id, category_id, bbox and score.

    Args:
        path: of the file.
        samples: the photos; an ``image_id`` among their facts is kept, else their id is it.
        found: of each photo.
        keys: what the data set calls each class, see :class:`fieldsight.data.detection.checks.Reading`.
    """
    rows = [
        {
            "image_id": sample.facts.get("image_id", sample.id), "category_id": keys[int(label)], "bbox": _xywh(box),
            "score": round(float(score), 6),
        }
        for sample, one in zip(samples, found, strict=True)
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]  # fmt: skip
    return write_json(path, rows)


def _xywh(box: Any) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return [round(v, 4) for v in (x1, y1, x2 - x1, y2 - y1)]
