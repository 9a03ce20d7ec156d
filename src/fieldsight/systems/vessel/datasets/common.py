"""What all readers of angiograms give, and what they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.checks import Findings, Known
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.errors import DataError, unknown

#: The one class: a narrowing of more than half of the diameter.
STENOSIS = ("stenosis",)

#: The paper's six views.
VIEWS = ("LCA zero", "LCA LAO", "LCA RAO", "RCA zero", "RCA LAO", "RCA RAO")

#: The view where a data set does not tell it; it is never guessed.
UNKNOWN = "unknown"

SPLITS = ("train", "val", "test")

#: CADICA's grades by diameter stenosis in %, and which of them are no stenosis by the paper's limit of 50 %.
GRADES = ("p0_20", "p20_50", "p50_70", "p70_90", "p90_98", "p99", "p100")
SLIGHT = ("p0_20", "p20_50")


@dataclass(frozen=True)
class AngiogramSet:
    """Angiograms with boxes of stenoses.

    Attributes:
        samples: by id; ``group`` is the patient where the data set tells him, else what belongs together by name, else
            the picture. Facts may hold, one entry a box: ``grades`` (CADICA's words) and ``polygons`` (a tuple of
            ``(n, 2)`` arrays in px, or None).
        names: of the classes: ``("stenosis",)``.
        views: id to one of :data:`VIEWS`, or :data:`UNKNOWN`.
        note: what was found, in a sentence or two.
        layout: ``arcade``, ``cadica``, ``danilov``, ``yolo``, ``coco``, ``voc`` or ``drawn``.
        settled: the data set has splits of its own, test among them; otherwise every sample says ``train``.
        patients: the data set tells the patients.
        findings: what was mended.
    """

    samples: tuple[DetectionSample, ...]
    names: tuple[str, ...]
    views: Mapping[str, str]
    note: str
    layout: str
    settled: bool
    patients: bool
    findings: Findings = field(default_factory=Findings)

    def split(self, name: str) -> list[DetectionSample]:
        """The samples of ``train``, ``val`` or ``test``."""
        return [sample for sample in self.samples if sample.split == name]


def view_named(text: str, where: str) -> str:
    """One of the six views as people write them (``lca_LAO``), or unknown where a half of it is.

    Raises:
        DataError: anything else; ``where`` names the place.
    """
    words = re.split(r"[\s_/-]+", text.strip().casefold())
    known = {view.casefold(): view for view in VIEWS}
    if text.strip() == "" or UNKNOWN in words:
        return UNKNOWN
    if " ".join(words) not in known:
        raise DataError(f"{where}: {unknown('view', text.strip()[:40], (*VIEWS, UNKNOWN))}")
    return known[" ".join(words)]


def subfolders(folder: Path) -> dict[str, Path]:
    """Folders in a folder, hidden ones aside, by name in lower case.

    Raises:
        DataError: it can't be looked into.
    """
    try:
        found = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        raise DataError(f"Can't read the folder '{folder}': {error.strerror or error}.") from None
    return {p.name.lower(): p for p in found}


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of a folder with one of the suffixes (lower case), hidden ones aside; none where there is no folder."""
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes and not p.name.startswith(".")]


def tags_of(
    sample: DetectionSample, boxes: NDArray[np.float64], ignore: NDArray[np.bool_], tags: Sequence[Any]
) -> tuple[Any, ...]:
    """What belongs to each box of a checked sample, or None.

    Checking clips and drops boxes, so they are found again by their clipped corners.

    Args:
        sample: after :func:`fieldsight.data.detection.checks.examine`.
        boxes: ``(K, 4)`` x1, y1, x2, y2 in px as the file has them.
        ignore: ``(K,)``.
        tags: one a row of ``boxes``; of equal rows the first counts.
    """
    high, wide = sample.size
    corners = np.array([wide, high, wide, high], np.float64)
    inside = np.clip(np.where(np.isfinite(boxes), boxes, -1.0), 0.0, corners).astype(np.float32)
    known: dict[tuple[bytes, bool], Any] = {}
    for box, hidden, tag in zip(inside, ignore.tolist(), tags, strict=True):
        known.setdefault((box.tobytes(), hidden), tag)
    truth = sample.truth()
    rows = zip(truth.boxes, truth.ignore.tolist(), strict=True)
    return tuple(known.get((box.tobytes(), hidden)) for box, hidden in rows)


def with_ignored(sample: DetectionSample, boxes: NDArray[np.float32]) -> DetectionSample:
    """The sample with more regions ``(M, 4)`` that are neither right nor wrong."""
    truth = sample.truth()
    none = np.zeros(len(boxes), np.int64)
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    more = Truth(
        np.concatenate([truth.boxes, boxes]),
        np.concatenate([truth.labels, none]),
        np.concatenate([truth.ignore, np.ones(len(boxes), np.bool_)]),
        np.concatenate([truth.area, sides]),
    )
    facts = dict(sample.facts)
    for key in ("grades", "polygons"):
        tags = facts.get(key)
        if isinstance(tags, tuple):
            facts[key] = (*tags, *[None] * len(boxes))
    return replace(sample, truth=Known(more), facts=facts)


def summary(
    layout: str, root: Path, samples: Sequence[DetectionSample], views: Mapping[str, str], patients: bool,
    settled: bool, findings: Findings, more: Sequence[str] = (),
) -> str:  # fmt: skip
    """A note of what was found."""
    boxes = Counter[bool]()
    for sample in samples:
        boxes.update(sample.truth().ignore.tolist())
    groups = len({s.group for s in samples})
    told = sum(view != UNKNOWN for view in views.values())
    whose = f"{groups} patients" if patients else f"patients are not told ({groups} groups by file or folder)"
    splits = Counter(s.split for s in samples)
    how = ", ".join(f"{splits[name]} {name}" for name in SPLITS) if settled else "no test split of its own"
    seen = f"view known of {told}" if told else "views are not told"
    head = f"'{root}' ({layout}): {len(samples)} angiograms, {boxes[False]} stenoses, {boxes[True]} ignored regions"
    return "; ".join([head, whose, how, seen, *more, *findings.lines()])
