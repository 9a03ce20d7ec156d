"""Photos with boxes: read from a folder in any layout, or drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.checks import check_photos
from fieldsight.data.detection.folders import read_detection, write_detection
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.detection.splits import Splits
from fieldsight.errors import DataError
from fieldsight.systems.edge import world
from fieldsight.systems.edge.config import Data, EdgeConfig
from fieldsight.systems.edge.options import MakeDataOptions
from fieldsight.verbs import Written

#: What each drawn world adds to the mixed one, and its share of the frames.
MIXTURE = {"arena": 0.3, "street": 0.5, "cutouts": 0.2}

#: Frames of one trajectory, so that a set shows many rooms and streets.
PER_TRAJECTORY = 12


def load_splits(config: EdgeConfig, data: Path | None) -> Splits:
    """Samples by split, from a folder or drawn.

    Raises:
        DataError: the folder can't be used, or a split is empty.
    """
    if data is None:
        return drawn_splits(config.data)
    found = read_detection(data, config.seed, names=config.classes or None)
    check_photos(found.samples)
    return Splits.of(found.samples, found.names).usable(data, "Name splits in its data.yaml.")


def class_names(name: str) -> tuple[str, ...]:
    """Names of a drawn world's classes, in the order of their labels."""
    return world.CLASSES["cutouts" if name == "mixed" else name]


def drawn_splits(data: Data) -> Splits:
    """The drawn frames of a config; each is drawn when it is asked for."""
    counts = {"train": data.train, "val": data.val, "test": data.test}
    return Splits.of(draw(data.world, counts, data.size, data.seed), class_names(data.world))


def draw(name: str, counts: dict[str, int], size: int, seed: int) -> list[DetectionSample]:
    """Frames of a drawn world, or of all of them together with labels in common (``mixed``)."""
    if name != "mixed":
        return world.draw_set(name, counts, size, seed, per_trajectory=PER_TRAJECTORY)
    wanted = world.CLASSES["cutouts"]
    found: list[DetectionSample] = []
    for own, share in MIXTURE.items():
        labels = np.array([wanted.index(n) for n in world.CLASSES[own]])
        part = {split: max(1, round(share * count)) for split, count in counts.items()}
        for sample in world.draw_set(own, part, size, seed, per_trajectory=PER_TRAJECTORY):
            found.append(replace(sample, truth=partial(_relabelled, sample, labels)))
    return found


def heldout(data: Data, shift: bool = False) -> list[DetectionSample]:
    """Held-out drawn test frames like those of a training, or of the shifted domain; no training ever sees them."""
    split = "domain-shift" if shift else "test"
    return draw(data.world, {split: data.test}, data.size, world.HELD_OUT_SEED + data.seed)


def _relabelled(sample: DetectionSample, labels: NDArray[np.int64]) -> Truth:
    truth = sample.truth()
    return replace(truth, labels=labels[truth.labels])


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write drawn frames with their boxes in a layout that ``train`` reads.

    Raises:
        DataError: no folder to write to.
    """
    if out is None:
        raise DataError("make-data writes a folder: name it with --out.")
    splits = drawn_splits(options.data)
    samples = [*splits.train, *splits.val, *splits.test]
    folder = write_detection(keep(samples, "drawing frames"), splits.classes, out, options.layout)
    progress.note(f"{len(samples)} drawn frames in {folder}")
    return Written(folder, {"photos": len(samples), "classes": list(splits.classes), "data": "drawn"})
