"""ARCADE (Popov et al. 2024, Scientific Data 11:20): COCO files of a split each, polygons, no patients.

::

    arcade/stenosis/{train,val,test}/{images/*.png, annotations/<split>.json}     boxes
    arcade/syntax/{train,val,test}/{images/*.png, annotations/<split>.json}       vessel segments

Both have the same 26 categories: 25 segments of the SYNTAX score, and ``stenosis``. The splits number their pictures
from 1 each, so an id is split and number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection import coco
from fieldsight.data.detection.checks import Labelled, Marks, examine
from fieldsight.data.detection.letterbox import Photo, photo_size
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.errors import DataError
from fieldsight.systems.vessel.datasets.common import (
    SPLITS,
    STENOSIS,
    UNKNOWN,
    AngiogramSet,
    files_in,
    subfolders,
    summary,
    tags_of,
)  # fmt: skip
from fieldsight.systems.vessel.datasets.masks import MaskSample

#: The polygons of one annotation, each ``(n, 2)`` float64 in px.
Polygons = tuple[NDArray[np.float64], ...]

#: Where a box differs by more from its polygon, the polygon counts, px: it is what experts drew.
APART = 1.0


def is_arcade(folder: Path) -> bool:
    """Whether a folder, or the one ``arcade`` in it, holds ``stenosis/<split>/annotations/*.json``."""
    return _home(folder, "stenosis") is not None


def has_arcade_masks(folder: Path) -> bool:
    """Whether a folder, or the one ``arcade`` in it, holds ``syntax/<split>/annotations/*.json``."""
    return _home(folder, "syntax") is not None


def read_arcade(folder: Path) -> AngiogramSet:
    """Boxes of the stenosis task in the data set's own splits; group is the picture, since patients are not told.

    A box is the hull of its polygon. Facts hold ``polygons`` of each box.

    Raises:
        DataError: no such layout, no category ``stenosis``, or what the COCO reader and the checks refuse.
    """
    home = _wanted(folder, "stenosis")
    reading = coco.read_coco(_parts(home), home)
    names = [name.strip().casefold() for name in reading.names]
    if STENOSIS[0] not in names:
        raise DataError(
            f"'{home}' has no category named 'stenosis' among {', '.join(reading.names[:30])}. Give ARCADE's own files."
        )
    label = names.index(STENOSIS[0])
    drawn = {part.file: _polygons(part.file) for part in _parts(home)}
    photos, known, others, apart = list[Labelled](), dict[Path, tuple[Any, ...]](), 0, 0
    for one in reading.photos:
        kept = one.marks.labels == label
        others += int((~kept).sum())
        marks = Marks(*(column[kept] for column in one.marks))
        own = [drawn[Path(one.source)].get(int(line)) for line in marks.lines]
        boxes, moved = _hulls(marks.boxes, own)
        apart += moved
        photos.append(replace(one, marks=marks._replace(boxes=boxes, labels=np.zeros_like(marks.labels))))
        known[one.photo] = (boxes, marks.ignore, own, one.size)
    reading.photos, reading.names, reading.keys = photos, STENOSIS, (reading.keys[label],)
    samples = tuple(sorted((_named(s, known) for s in examine(reading)), key=lambda s: s.id))
    more = [f"{others} annotations of vessel segments left out"] if others else []
    more += [f"{apart} boxes differ from their polygons by over {APART:g} px: the polygons count"] if apart else []
    views = {s.id: UNKNOWN for s in samples}
    note = summary("arcade", home, samples, views, False, True, reading.findings, more)
    return AngiogramSet(samples, STENOSIS, views, note, "arcade", True, False, reading.findings)


def read_arcade_masks(folder: Path) -> list[MaskSample]:
    """Vessel masks of the SYNTAX task: all segments of a picture filled, in the data set's own splits.

    Raises:
        DataError: no such layout, pictures that can't be read, or what the COCO reader refuses.
    """
    home = _wanted(folder, "syntax")
    reading = coco.read_coco(_parts(home), home)
    names = [name.strip().casefold() for name in reading.names]
    stenosis = names.index(STENOSIS[0]) if STENOSIS[0] in names else -1
    drawn = {part.file: _polygons(part.file) for part in _parts(home)}
    found = []
    for one in reading.photos:
        lines = one.marks.lines[one.marks.labels != stenosis]
        own = [p for line in lines for p in drawn[Path(one.source)].get(int(line)) or ()]
        size = photo_size(one.photo)[0]
        if one.size is not None and one.size != size:
            raise DataError(
                f"'{one.source}' says {one.size[1]} x {one.size[0]} px, but '{one.photo}' has {size[1]} x {size[0]}."
            )
        id = f"{one.split}-{one.photo.stem}"
        found.append(MaskSample(id, one.split, size, Photo(one.photo), _Filled(tuple(own), size)))
    return sorted(found, key=lambda s: s.id)


@dataclass(frozen=True)
class _Filled:
    """A mask made of polygons when it is asked for."""

    polygons: Polygons
    size: tuple[int, int]

    def __call__(self) -> NDArray[np.bool_]:
        import cv2

        mask = np.zeros(self.size, np.uint8)
        limit = 16.0 * max(self.size)  # what is far outside would overflow OpenCV's whole numbers
        for polygon in self.polygons:
            # continuous coordinates: the centre of the first pixel is 0.5, OpenCV's is 0
            points = np.round(np.clip(polygon, -limit, limit) - 0.5).astype(np.int32)
            cv2.fillPoly(mask, [points], 1)
        return mask.astype(np.bool_)


def _home(folder: Path, task: str) -> Path | None:
    if not folder.is_dir():
        return None
    below = subfolders(folder)
    inner = subfolders(below["arcade"]) if "arcade" in below else {}
    places = [below.get(task), inner.get(task), folder if folder.name.lower() == task else None]
    return next((p for p in places if p is not None and _parts(p)), None)


def _wanted(folder: Path, task: str) -> Path:
    home = _home(folder, task)
    if home is None:
        raise DataError(f"'{folder}' has no {task}/{{train,val,test}}/annotations/*.json. Give the folder 'arcade'.")
    return home


def _parts(home: Path) -> list[coco.Part]:
    below = subfolders(home)
    parts = []
    for split in SPLITS:
        inner = subfolders(below[split]) if split in below else {}
        files = files_in(inner.get("annotations", home / "annotations"), (".json",)) if inner else []
        if files and "images" in inner:
            if len(files) > 1:
                both = " and ".join(f.name for f in files)
                raise DataError(f"'{files[0].parent}' holds {both}: which one counts? Keep one.")
            parts.append(coco.Part(split, files[0], inner["images"]))
    return parts


def _polygons(file: Path) -> dict[int, Polygons]:
    """Polygons by number of the annotation in its file; what is no polygon is left out."""
    found: dict[int, Polygons] = {}
    for number, (_, value) in enumerate(coco.stream_json(file, ("annotations",))):
        polygons = tuple(p for p in map(_polygon, _listed(value)) if p is not None)
        if polygons:
            found[number] = polygons
    return found


def _listed(value: Any) -> list[Any]:
    segments = value.get("segmentation") if isinstance(value, dict) else None
    return segments if isinstance(segments, list) else []  # run lengths of crowds are a mapping


def _polygon(values: Any) -> NDArray[np.float64] | None:
    """``(n, 2)`` of a flat list x, y, x, y, ...; None where it is no polygon."""
    if not isinstance(values, list) or len(values) < 6 or len(values) % 2:
        return None
    if not all(isinstance(v, (int, float)) and abs(v) < 1e9 for v in values):  # NaN compares false
        return None
    return np.array(values, np.float64).reshape(-1, 2)


def _hulls(boxes: NDArray[np.float64], polygons: Sequence[Polygons | None]) -> tuple[NDArray[np.float64], int]:
    """Boxes, or hulls of their polygons where these are known and differ; how many do."""
    out, moved = boxes.copy(), 0
    for k, own in enumerate(polygons):
        if own is None:
            continue
        points = np.concatenate(own)
        hull = np.concatenate([points.min(axis=0), points.max(axis=0)])
        if not np.abs(hull - boxes[k]).max() <= APART:
            out[k], moved = hull, moved + 1
    return out, moved


def _named(sample: DetectionSample, known: dict[Path, tuple[Any, ...]]) -> DetectionSample:
    """With split and number as id and group, and the polygons of its boxes."""
    assert isinstance(sample.image, Photo)
    boxes, ignore, own, size = known[sample.image.path]
    facts = dict(sample.facts)
    if size is None or size == sample.size:
        facts["polygons"] = tags_of(sample, boxes, ignore, own)
    id = f"{sample.split}-{sample.image.path.stem}"
    return replace(sample, id=id, group=id, facts=facts)
