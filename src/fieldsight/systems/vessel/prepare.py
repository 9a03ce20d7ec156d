"""``prepare``: one data set as two, raw frames and fused ones, with the same pictures, boxes and splits.

Any data set that :func:`.datasets.read_angiograms` knows, or drawn patients. Split by patient, the training pictures
augmented where asked for. Enhancement comes before augmentation, so that the filter sees no reflected corner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.checks import Findings, Known, check_photos, file_names, refusing
from fieldsight.data.detection.folders import write_detection
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample, Picture, Truth
from fieldsight.data.files import atomic_folder, write_json
from fieldsight.data.images import read_image
from fieldsight.data.splits import split_groups
from fieldsight.errors import DataError
from fieldsight.systems.vessel import leakage, rotated
from fieldsight.systems.vessel.config import Enhance
from fieldsight.systems.vessel.data import drawn, drawn_splits
from fieldsight.systems.vessel.datasets import STENOSIS, UNKNOWN, AngiogramSet, read_angiograms
from fieldsight.systems.vessel.datasets.common import SPLITS, summary
from fieldsight.systems.vessel.datasets.plain import IGNORED_FILE, VIEWS_FILE, ViewRow, write_ignored, write_views
from fieldsight.systems.vessel.enhance import fused
from fieldsight.systems.vessel.options import MakeDataOptions, PrepareOptions
from fieldsight.verbs import Written

#: What tells a folder that ``prepare`` wrote.
RECORD = "prepare.json"

#: What stands in for a data set: drawn patients.
DRAWN = "drawn"


def prepare(data: Path | None, out: Path | None, options: PrepareOptions) -> Written:
    """Write ``raw/`` and ``fused/``, each a data set of its own with a ``views.csv``, and ``prepare.json``.

    Both hold the same names, boxes and splits. Ignored regions are crowds in COCO, difficult in VOC, and in an
    ``ignored.json`` for YOLO, which has no word for them.

    Args:
        data: a data set with boxes of stenoses; None draws patients.
        out: the folder; one that an earlier ``prepare`` wrote is replaced, no other.
        options: see there.

    Raises:
        DataError: no folder to write to or a foreign one, a data set that can't be used, fewer patients than splits.
        ConfigError: impossible scales.
    """
    target = _target(data, out)
    found = draw(options) if data is None else read_angiograms(data, options.seed)
    if data is not None:
        check_photos(found.samples)
    samples, facts = _split(found, options)
    # an empty patient is one that nobody told: groups by name are in the manifest
    patients = {s.id: s.group if found.patients else "" for s in samples}
    with atomic_folder(target) as folder:
        for variant, mode in (("raw", "raw"), ("fused", options.mode)):
            pictures = list(_pictures(samples, mode, options))
            _write(folder / variant, pictures, found.views, patients, options)
        record = {"data": found.layout, "drawn": data is None, "note": found.note, **facts}
        write_json(folder / RECORD, {**record, "options": options.to_dict()})
    told = ", ".join(f"{facts['written'].get(name, 0)} {name}" for name in SPLITS)
    progress.note(f"{told} pictures in '{target / 'raw'}' and '{target / 'fused'}'")
    return Written(target, {"layout": options.layout, "data": found.layout, **facts})


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write drawn patients as a data set: pictures, boxes, ignored regions, ``views.csv``.

    Raises:
        DataError: no folder to write to, or a foreign one.
    """
    target = _target(None, out)
    splits = drawn_splits(options)
    samples = keep([*splits.train, *splits.val, *splits.test], "drawing frames")
    views, patients = {s.id: str(s.facts["view"]) for s in samples}, {s.id: s.group for s in samples}
    counts = dict(Counter(s.split for s in samples))
    with atomic_folder(target) as folder:
        layout = PrepareOptions(layout=options.layout)
        _write(folder, [(s, s.id) for s in samples], views, patients, layout)
        write_json(folder / RECORD, {"data": DRAWN, "drawn": True, "written": counts, "options": options.to_dict()})
    progress.note(f"{len(samples)} drawn frames of {len(set(patients.values()))} patients in {target}")
    return Written(target, {"frames": len(samples), **counts, "data": "drawn"})


def fused_frame(frame: NDArray[np.uint8], mode: str, options: PrepareOptions) -> Picture:
    """What a detector sees of a frame ``(H, W)`` uint8: ``(H, W, 3)`` uint8 RGB.

    Args:
        frame: the frame.
        mode: ``raw``, a fusion, or a control.
        options: scales and constants of the filter.
    """
    names = ("sigmas", "beta", "c", "polarity", "scaled")
    settings = Enhance().replace(mode=mode, **{name: getattr(options, name) for name in names})
    return fused(frame, settings, options.threads)


# ----------------------------------------------------------------------------------------------- drawn patients


def draw(options: PrepareOptions) -> AngiogramSet:
    """Drawn patients in splits of their own, kept in a file until the set is forgotten.

    Raises:
        DataError: fewer patients than splits.
    """
    knobs = options.drawn
    names = [f"{n:06d}" for n in range(knobs.patients)]
    try:
        split = split_groups(names, dict(zip(SPLITS, options.shares, strict=True)), options.seed)
    except DataError as error:
        raise DataError(f"{error} Draw more patients (drawn.patients), or set shares to 0.") from None
    counts = Counter(split.values())
    samples = [
        s for name in SPLITS for s in drawn(name, counts[name], knobs.each, options.seed, knobs.look, knobs.side)
    ]
    views = {s.id: str(s.facts["view"]) for s in samples}
    kept = sorted(keep(samples, "drawing frames"), key=lambda s: s.id)
    note = summary(DRAWN, Path("phantom"), kept, views, True, True, Findings())
    progress.note(note)
    return AngiogramSet(tuple(kept), STENOSIS, views, note, DRAWN, True, True)


# ------------------------------------------------------------------------------------------------------ splits


def _split(found: AngiogramSet, options: PrepareOptions) -> tuple[list[DetectionSample], dict[str, Any]]:
    """Samples with their final splits, and what is to be told about them."""
    samples, clusters = list(found.samples), list[list[str]]()
    if not found.patients and options.leaks != "ignore":
        clusters = leakage.near_duplicates(samples)
        samples = leakage.regrouped(samples, clusters)
    anew = not found.settled or options.splits == "new" or options.by == "random"
    if anew:
        samples = leakage.split_angiograms(samples, found.views, options.shares, options.seed, options.by)
    dropped = 0
    if options.leaks == "drop" and not found.patients:
        before = len(samples)
        samples = _without_leaks(samples, clusters)
        dropped = before - len(samples)
    torn = leakage.straddling(samples)
    facts = {
        "split": dict(Counter(s.split for s in samples)),
        "written": _written(samples, options),
        "patients": {name: len({s.group for s in samples if s.split == name}) for name in SPLITS},
        "patients_told": found.patients,
        "patients_in_two_splits": len(torn),
        "near_duplicates": len(clusters),
        "near_duplicates_across_splits": _across(samples, clusters),
        "dropped": dropped,
        "views": _views(samples, found),
    }
    _tell(facts, torn, found, options)
    return samples, facts


def _without_leaks(samples: Sequence[DetectionSample], clusters: Sequence[Sequence[str]]) -> list[DetectionSample]:
    """Without pictures of train that have a near-duplicate in val or test, and of val that have one in test."""
    rank = {s.id: SPLITS.index(s.split) for s in samples}
    last = {id: max(rank[other] for other in ids) for ids in clusters for id in ids}
    return [s for s in samples if rank[s.id] == last.get(s.id, rank[s.id])]


def _across(samples: Sequence[DetectionSample], clusters: Sequence[Sequence[str]]) -> int:
    """Clusters of near-duplicates that are in several splits."""
    split = {s.id: s.split for s in samples}
    return sum(len({split[id] for id in ids if id in split}) > 1 for ids in clusters)


def _written(samples: Sequence[DetectionSample], options: PrepareOptions) -> dict[str, int]:
    counts = Counter(s.split for s in samples)
    if options.offline:
        counts["train"] *= len(rotated.changes())
    return dict(counts)


def _views(samples: Sequence[DetectionSample], found: AngiogramSet) -> dict[str, dict[str, int]]:
    """Pictures by view and split, as the paper's Table 1."""
    table: dict[str, dict[str, int]] = {}
    for sample in samples:
        row = table.setdefault(found.views.get(sample.id, UNKNOWN), dict.fromkeys(SPLITS, 0))
        row[sample.split] += 1
    return dict(sorted(table.items()))


def _tell(
    facts: dict[str, Any], torn: dict[str, tuple[str, ...]], found: AngiogramSet, options: PrepareOptions
) -> None:
    if torn:
        whose = "patients" if found.patients else "groups of pictures"
        cause = "split at random, as the paper did" if options.by == "random" else "the data set's own splits"
        progress.note(
            f"Warning: {len(torn)} {whose} are in several splits ({', '.join(list(torn)[:3])}): {cause}. "
            "Scores will be too good. Use --by patient --splits new."
        )
    if not found.patients:
        near, across = facts["near_duplicates"], facts["near_duplicates_across_splits"]
        looked = "not looked for" if options.leaks == "ignore" else f"{near} sets, {across} of them across splits"
        progress.note(f"Patients are not told, so that one may be in two splits. Near-duplicates: {looked}.")


# ----------------------------------------------------------------------------------------------------- writing


def _target(data: Path | None, out: Path | None) -> Path:
    if out is None:
        raise DataError("prepare writes a folder: name it with --out.")
    target = Path(out)
    if data is not None and Path(data).resolve().is_relative_to(target.resolve()):
        raise DataError(f"'{target}' holds the data set itself, '{data}'. Name another folder with --out.")
    if target.exists() and not target.is_dir():
        raise DataError(f"'{target}' is a file. Name a folder with --out.")
    with refusing(target):
        foreign = target.is_dir() and any(target.iterdir()) and not (target / RECORD).is_file()
    if foreign:
        raise DataError(f"'{target}' is not empty and no folder of prepare. Name another with --out, or empty it.")
    return target


class _Enhanced:
    """Enhanced pictures, the last one kept: the copies of a picture follow one another."""

    def __init__(self, mode: str, options: PrepareOptions) -> None:
        self.mode, self.options = mode, options
        self.last: tuple[str, Picture] | None = None

    def __call__(self, sample: DetectionSample) -> Picture:
        if self.last is None or self.last[0] != sample.id:
            frame = np.asarray(read_image(sample.image(), "grey"), np.uint8)
            self.last = (sample.id, fused_frame(frame, self.mode, self.options))
        return self.last[1]


def _pictures(
    samples: Sequence[DetectionSample], mode: str, options: PrepareOptions
) -> Iterator[tuple[DetectionSample, str]]:
    """Samples of a variant, each with the id of the sample it comes from; training ones 21 times if wanted."""
    enhanced = _Enhanced(mode, options)
    for sample in samples:
        one = replace(sample, image=partial(enhanced, sample))
        copies = rotated.offline(one, options.rule) if options.offline and sample.split == "train" else (one,)
        for copy in copies:
            yield copy, sample.id


def _write(
    folder: Path, pictures: Sequence[tuple[DetectionSample, str]], views: Any, patients: dict[str, str],
    options: PrepareOptions,
) -> None:  # fmt: skip
    """One variant in its layout, with ``views.csv`` and, for YOLO, ``ignored.json``."""
    samples = [sample for sample, _ in pictures]
    names = file_names(samples)
    if options.by == "random":  # a manifest's groups never straddle; the patients are in views.csv
        samples = [replace(s, group=of) for s, (_, of) in zip(samples, pictures, strict=True)]
    else:
        torn = leakage.straddling(samples)
        samples = [replace(s, group=f"{s.group} ({s.split})") if s.group in torn else s for s in samples]
    if options.layout == "yolo":
        hidden = {}
        for k, (sample, name) in enumerate(zip(samples, names, strict=True)):
            truth = sample.truth()
            hidden[name] = truth.boxes[truth.ignore]
            seen = ~truth.ignore
            rest = Truth(truth.boxes[seen], truth.labels[seen], truth.ignore[seen], truth.area[seen])
            samples[k] = replace(sample, truth=Known(rest))
        write_ignored(folder / IGNORED_FILE, hidden)
    write_detection(samples, STENOSIS, folder, options.layout)
    rows = [ViewRow(name, patients[of], views.get(of, UNKNOWN)) for name, (_, of) in zip(names, pictures, strict=True)]
    write_views(folder / VIEWS_FILE, rows)
