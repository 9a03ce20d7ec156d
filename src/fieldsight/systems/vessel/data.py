"""Frames with boxes of stenoses: drawn patients, or a user's data set in any layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.checks import check_photos
from fieldsight.data.detection.letterbox import Placement, place
from fieldsight.data.detection.sample import DetectionSample, Picture, Truth
from fieldsight.data.detection.splits import Splits
from fieldsight.data.images import read_image
from fieldsight.systems.vessel import fusing
from fieldsight.systems.vessel.config import Data, Enhance, VesselConfig
from fieldsight.systems.vessel.enhance import fused
from fieldsight.systems.vessel.phantom import Angiogram, Patient, render

#: Seeds of patients that no training, tuning or choice of settings may look at; see studies/vessel/heldout.toml.
HELD_OUT_SEED = 900_000


def load_splits(config: VesselConfig, data: Path | None) -> Splits:
    """Samples by split, from a folder or drawn; a folder without splits of its own is split by patient.

    Raises:
        DataError: the folder can't be used, or a split is empty.
    """
    if data is None:
        return drawn_splits(config.data)
    from fieldsight.systems.vessel.datasets import read_angiograms
    from fieldsight.systems.vessel.leakage import split_angiograms

    found = read_angiograms(data, config.seed)
    check_photos(found.samples)
    samples = list(found.samples) if found.settled else split_angiograms(found.samples, found.views, seed=config.seed)
    return Splits.of(samples, found.names).usable(data, "Split it: fieldsight vessel prepare")


# ------------------------------------------------------------------------------------------- drawn patients


def drawn_splits(data: Data) -> Splits:
    """The drawn frames of a config; each is drawn when it is asked for."""
    train, val = some("train", data.train, data, data.seed), some("val", data.val, data, data.seed)
    return Splits(train, val, some("test", data.test, data, data.seed), ("stenosis",))


def heldout(data: Data) -> list[DetectionSample]:
    """Held-out drawn test frames like those of a training; no training ever sees these patients."""
    return some("test", data.test, data, HELD_OUT_SEED + data.seed)


def some(split: str, count: int, data: Data, seed: int) -> list[DetectionSample]:
    """So many frames of drawn patients of a split, ``data.each`` of a patient."""
    return drawn(split, math.ceil(count / data.each), data.each, seed, data.look, data.side)[:count]


def drawn(split: str, patients: int, each: int, seed: int, look: str, side: int) -> list[DetectionSample]:
    """Frames of drawn patients; ``facts`` holds the ``view`` and the seed numbers that draw it again."""
    samples = []
    for number in range(patients):
        patient = Patient.draw(split, number, seed, look)
        for shot in range(each):
            make = partial(angiogram, split, number, seed, look, shot, side)
            facts: dict[str, object] = {
                "view": f"{patient.artery} {patient.view(None, shot).name}",
                "drawn": [split, number, seed, look, shot, side],
            }
            id, size = f"{patient.id}-{shot:02d}", (side, side)
            samples.append(
                DetectionSample(id, patient.id, split, size, partial(_frame, make), partial(_truth, make), facts)
            )
    return samples


@lru_cache(maxsize=1)
def angiogram(split: str, number: int, seed: int, look: str, shot: int, side: int) -> Angiogram:
    """One drawn frame; the last is kept, since picture and boxes are asked for one after the other."""
    return render(Patient.draw(split, number, seed, look), side=side, shot=shot)


def _frame(make: Callable[[], Angiogram]) -> Picture:
    return fusing.grey(make().image)


def _truth(make: Callable[[], Angiogram]) -> Truth:
    one = make()
    boxes = np.concatenate([one.boxes, one.ignored])
    return Truth.of(boxes, np.zeros(len(boxes)), np.arange(len(boxes)) >= len(one.boxes))


# ----------------------------------------------------------------------------------- what a detector is shown


def squared(frame: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], Placement]:
    """A frame ``(H, W)`` as large as fits a square ``(side, side)``, its borders mirrored, and where it lies.

    A border of one grey level, as letterboxes have it, would be an edge to the filter.
    """
    where = place((frame.shape[0], frame.shape[1]), side)
    high, wide = where.inner
    if frame.shape != where.inner:
        frame = np.asarray(cv2.resize(frame, (wide, high), interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)
    below, right = side - high - where.top, side - wide - where.left
    margins = ((where.top, below), (where.left, right))
    return np.ascontiguousarray(np.pad(frame, margins, mode="symmetric")), where


def seen(sample: DetectionSample, side: int, settings: Enhance, learn: bool = False) -> DetectionSample:
    """A sample as the detector sees it: squared, filtered, fused.

    Args:
        sample: picture and boxes.
        side: of the square.
        settings: filter and fusion.
        learn: for training: ignored boxes are left out, so that mild narrowings count as background.
    """
    where = place(sample.size, side)
    return replace(
        sample, size=(side, side), image=partial(_seen, sample, side, settings),
        truth=partial(_placed, sample, where, learn),
    )  # fmt: skip


def _seen(sample: DetectionSample, side: int, settings: Enhance) -> Picture:
    frame = np.asarray(read_image(sample.image(), "grey"), np.uint8)
    return fused(squared(frame, side)[0], settings)


def _placed(sample: DetectionSample, where: Placement, learn: bool) -> Truth:
    truth = sample.truth()
    kept = ~truth.ignore if learn else np.ones(len(truth), np.bool_)
    scale = float(np.prod(where.scale))
    return Truth.of(where.into(truth.boxes)[kept], truth.labels[kept], truth.ignore[kept], truth.area[kept] * scale)
