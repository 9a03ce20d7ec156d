"""Anybody's own angiograms in YOLO, COCO or VOC, with two files beside that those formats have no word for.

::

    views.csv        image,patient,view        image: file name with or without ending; view as in 'LCA LAO'
    ignored.json     {"ignored": {image: [[x1, y1, x2, y2], ...]}}        px; neither right nor wrong (for YOLO)
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.checks import Findings, Known, listed, read_text
from fieldsight.data.detection.folders import DetectionSet, read_detection
from fieldsight.data.detection.letterbox import Photo
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.files import read_json, write_json, write_text
from fieldsight.errors import DataError
from fieldsight.systems.vessel.datasets.common import (
    GRADES,
    SLIGHT,
    STENOSIS,
    UNKNOWN,
    AngiogramSet,
    subfolders,
    summary,
    view_named,
    with_ignored,
)  # fmt: skip

VIEWS_FILE, IGNORED_FILE = "views.csv", "ignored.json"


@dataclass(frozen=True)
class ViewRow:
    """What a line of ``views.csv`` says; an empty text where it does not say it."""

    image: str
    patient: str
    view: str


def read_plain(path: Path, seed: int = 0) -> AngiogramSet:
    """A folder in YOLO, COCO or VOC, or its ``data.yaml`` or JSON file; group is the patient of ``views.csv``.

    A set of one class is taken as stenoses whatever its name; of several, the one named stenosis counts, and classes
    named as CADICA's grades are told apart as there. Splits count as the data set's own where there is a test split.

    Raises:
        DataError: as :func:`fieldsight.data.detection.folders.read_detection`; classes without a stenosis; a
            ``views.csv`` or ``ignored.json`` that can't be understood or names pictures twice.
    """
    # all of it as train: what has no splits of its own is split later, by patient
    found = read_detection(path, seed, shares=(100.0, 0.0, 0.0))
    home = _home(path)
    samples, more = _one_class(found)
    index = _index(samples)
    ignored, lost = _ignored(home / IGNORED_FILE, index, samples, found.findings)
    samples = [with_ignored(s, ignored[s.id]) if s.id in ignored else s for s in samples]
    rows, absent = _by_sample(home / VIEWS_FILE, index)
    views = {s.id: rows[s.id].view if s.id in rows else UNKNOWN for s in samples}
    told = bool(rows) and all(s.id in rows and rows[s.id].patient for s in samples)
    known = [rows[s.id].patient if s.id in rows else "" for s in samples]
    samples = [replace(s, group=patient or s.group) for s, patient in zip(samples, known, strict=True)]
    if rows and not told and any(known):
        more.append(f"views.csv tells the patient of {sum(map(bool, known))} pictures only")
    more += [f"{VIEWS_FILE} names {absent} pictures that are not there"] if absent else []
    more += [f"{IGNORED_FILE} names {lost} pictures that are not there"] if lost else []
    # without a test split the core may have made a val split of its own, and not by these patients
    settled = any(s.split == "test" for s in samples)
    samples = samples if settled else [replace(s, split="train") for s in samples]
    note = summary(found.layout, Path(path), samples, views, told, settled, found.findings, more)
    return AngiogramSet(tuple(samples), STENOSIS, views, note, found.layout, settled, told, found.findings)


def parse_views(text: str, where: str) -> list[ViewRow]:
    """The lines of a ``views.csv``; columns in any order and case, others are passed over.

    Raises:
        DataError: no column ``image``, neither ``patient`` nor ``view``, an empty or doubled image, or an unknown view.
    """
    rows: dict[str, ViewRow] = {}
    try:
        reader = csv.reader(io.StringIO(text), strict=True)
        head = [name.strip().lower() for name in next(reader, [])]
        if "image" not in head or not {"patient", "view"} & set(head):
            raise DataError(f"'{where}' begins with '{','.join(head)[:60]}'; wanted is image,patient,view.")
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            line = f"'{where}' line {reader.line_num}"
            named = dict(zip(head, (value.strip() for value in values), strict=False))
            image = named.get("image", "")
            if not image or image in rows:
                raise DataError(f"{line}: {f'{image:.60} is there twice' if image else 'no image is named'}.")
            rows[image] = ViewRow(image, named.get("patient", ""), view_named(named.get("view", ""), line))
    except csv.Error as error:
        raise DataError(f"Can't read '{where}' as CSV: {error}.") from None
    return list(rows.values())


def write_views(path: Path, rows: Sequence[ViewRow]) -> Path:
    """Write a ``views.csv``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "patient", "view"])
    writer.writerows([row.image, row.patient, row.view] for row in rows)
    return write_text(path, buffer.getvalue())


def write_ignored(path: Path, regions: Mapping[str, NDArray[np.float32]]) -> Path:
    """Write an ``ignored.json``: image to regions ``(M, 4)`` px; pictures without any are left out."""
    rows = {image: np.round(boxes.astype(np.float64), 4).tolist() for image, boxes in regions.items() if len(boxes)}
    return write_json(path, {"ignored": rows}, compact=True)


def parse_ignored(value: Any, where: str) -> dict[str, NDArray[np.float64]]:
    """What an ``ignored.json`` holds: image to regions ``(M, 4)``, not yet checked against the picture.

    Raises:
        DataError: names the image.
    """
    known = value.get("ignored") if isinstance(value, dict) else None
    if not isinstance(known, dict):
        raise DataError(f"'{where}' is not {{\"ignored\": {{image: [[x1, y1, x2, y2], ...]}}}}.")
    found = {}
    for image, boxes in known.items():
        rows: list[Any] = boxes if isinstance(boxes, list) else [None]
        for box in rows:
            fits = isinstance(box, list) and len(box) == 4
            if not fits or not all(type(v) in (int, float) for v in box):
                raise DataError(f"'{where}', {image:.60}: {box!r:.60} is no region; wanted are x1, y1, x2, y2 in px.")
            if not all(abs(v) < 1e9 for v in box):
                raise DataError(f"'{where}', {image:.60}: {box!r:.60} is outside of every picture.")
        found[image] = np.array(rows, np.float64).reshape(-1, 4)
    return found


def _home(path: Path) -> Path:
    """The folder that the two files lie in."""
    if path.is_file():
        return path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
    below = subfolders(path)
    while len(below) == 1 and not any((path / name).is_file() for name in (VIEWS_FILE, IGNORED_FILE)):
        path = next(iter(below.values()))  # the one folder of an unpacked archive
        below = subfolders(path)
    return path


def _one_class(found: DetectionSet) -> tuple[list[DetectionSample], list[str]]:
    """Samples with stenoses only, and what was done."""
    names = [name.casefold() for name in found.names]
    if set(names) <= set(GRADES):
        kept, slight = list(range(len(names))), [n for n, name in enumerate(names) if name in SLIGHT]
        more = ["classes are CADICA's grades: below 50 % is ignored"]
    elif len(names) == 1 or STENOSIS[0] in names:
        kept, slight = [names.index(STENOSIS[0]) if STENOSIS[0] in names else 0], []
        others = [name for n, name in enumerate(found.names) if n not in kept]
        more = [f"classes other than stenosis are left out: {', '.join(others)[:100]}"] if others else []
        if STENOSIS[0] not in names:
            more.append(f"the one class '{found.names[0]}' is taken as stenosis")
    else:
        raise DataError(
            f"'{found.root}' has the classes {', '.join(found.names)[:200]}, none named stenosis. Name it so, or "
            f"give a set of one class or of CADICA's grades ({', '.join(GRADES)})."
        )
    samples = []
    for sample in found.samples:
        truth = sample.truth()
        rows = np.isin(truth.labels, kept)
        ignore = truth.ignore | np.isin(truth.labels, slight)
        one = Truth.of(truth.boxes[rows], np.zeros(int(rows.sum())), ignore[rows], truth.area[rows])
        samples.append(replace(sample, truth=Known(one)))
    return samples, more


def _index(samples: Sequence[DetectionSample]) -> dict[str, list[str]]:
    """Ids by every name that a picture may be called: id, path, file name, and stem."""
    found: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        path = sample.image.path if isinstance(sample.image, Photo) else Path(sample.id)
        for name in dict.fromkeys((sample.id, sample.id + path.suffix, path.name, path.stem)):
            found[name].append(sample.id)
    return found


def _resolve(name: str, index: Mapping[str, list[str]], where: str) -> str | None:
    ids = index.get(name.replace("\\", "/").removeprefix("./"), [])
    if len(ids) > 1:
        raise DataError(listed(f"'{where}': '{name:.60}' may be any of these pictures; write the path:", ids))
    return ids[0] if ids else None


def _by_sample(file: Path, index: Mapping[str, list[str]]) -> tuple[dict[str, ViewRow], int]:
    """Rows of ``views.csv`` by id, and how many name no picture."""
    if not file.is_file():
        return {}, 0
    found: dict[str, ViewRow] = {}
    absent = 0
    for row in parse_views(read_text(file), str(file)):
        id = _resolve(row.image, index, str(file))
        if id is not None and id in found:
            raise DataError(f"'{file}' names the picture '{id}' twice: as {found[id].image:.60} and {row.image:.60}.")
        if id is None:
            absent += 1
        else:
            found[id] = row
    return found, absent


def _ignored(
    file: Path, index: Mapping[str, list[str]], samples: Sequence[DetectionSample], findings: Findings
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Regions by id, clipped to their picture, and how many names have no picture."""
    if not file.is_file():
        return {}, 0
    sizes = {s.id: s.size for s in samples}
    found: dict[str, NDArray[np.float32]] = {}
    absent = 0
    for image, boxes in parse_ignored(read_json(file), str(file)).items():
        id = _resolve(image, index, str(file))
        if id is None:
            absent += 1
            continue
        high, wide = sizes[id]
        inside = np.clip(boxes, 0.0, np.array([wide, high, wide, high], np.float64)).astype(np.float32)
        good = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        if not good.all():
            findings.add("dropped", f"{file} {image:.60}", int((~good).sum()))
        found[id] = inside[good]
    return found, absent
