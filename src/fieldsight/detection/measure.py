"""Found boxes against true ones, photo by photo; what every detector's ``evaluate`` and card are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.detection.drawing import draw_boxes
from fieldsight.detection.model import DetectorModel
from fieldsight.detection.validate import best_overlap
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.metrics.items import PerItem
from fieldsight.predictions import beside
from fieldsight.report import plots

#: The usual confidence of average precision.
LOW = 0.001


@dataclass(frozen=True)
class Gathered:
    """What is kept of measured photos.

    Attributes:
        pool: every box after matching.
        items: hits, false boxes and misses of each photo at the model's own confidence.
    """

    pool: AveragePrecision
    items: PerItem


def detect_all(model: DetectorModel, samples: Sequence[DetectionSample], conf: float = LOW) -> Iterator[Detections]:
    """Boxes of photos, one after the other, in the runtime in use."""
    options = model.options(conf=conf)
    for sample in progress.track(samples, "finding boxes"):
        yield model.find(sample.image(), options)


def average_precision(model: DetectorModel, samples: Sequence[DetectionSample], conf: float = LOW) -> AveragePrecision:
    """Average precision over photos, in the runtime in use; boxes below ``conf`` are left out."""
    pool = AveragePrecision(model.classes)
    for sample, found in zip(samples, detect_all(model, samples, conf), strict=True):
        pool.add(sample.id, found, sample.truth(), sample.group)
    return pool


def gather(model: DetectorModel, samples: Sequence[DetectionSample]) -> Gathered:
    """Measure photos.

    Raises:
        DataError: a photo can't be read.
    """
    return gather_found(model, samples, detect_all(model, samples))


def gather_found(
    model: DetectorModel, samples: Sequence[DetectionSample], boxes: Iterator[Detections] | Sequence[Detections]
) -> Gathered:
    """The same of boxes that were found already."""
    pool, items = AveragePrecision(model.classes), PerItem()
    for sample, found in zip(samples, boxes, strict=True):
        truth = sample.truth()
        pool.add(sample.id, found, truth, sample.group)
        items.add(sample.id, _counts(model, found, truth), sample.group)
    return Gathered(pool, items)


def _counts(model: DetectorModel, found: Detections, truth: Truth) -> dict[str, float]:
    """Numbers of one photo at the model's own confidence."""
    one = AveragePrecision(model.classes)
    one.add("one", found, truth)
    told = one.operating(model.config.conf)
    tp, fp, fn = (float(v.sum()) for v in (told.tp, told.fp, told.fn))
    return {
        "hits": tp, "false": fp, "missed": fn, "photo_f1": told.pooled()["F1"], "mabo": best_overlap(found, truth)
    }  # fmt: skip


def precision_recall(pool: AveragePrecision, classes: Sequence[str]) -> dict[str, str]:
    """Curves of precision against recall, a class each, as an SVG by its title; none without true boxes."""
    curves = {name: pool.curve(name) for name in classes}
    drawn: Mapping[str, Any] = {
        name: (c.recall.tolist(), c.precision.tolist()) for name, c in curves.items() if np.isfinite(c.recall).any()
    }
    return {"precision against recall at IoU 0.5": plots.curves(drawn, "recall", "precision")} if drawn else {}


def found_and_true(
    model: DetectorModel, samples: Sequence[DetectionSample], count: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Some photos with found boxes beside true ones, always the same of a set."""
    order = rng_for(0, model.system, "pictures", len(samples)).permutation(len(samples))[:count]
    for k in sorted(int(i) for i in order):
        picture, truth = samples[k].image(), samples[k].truth()
        true = Detections.of(truth.boxes, np.ones(len(truth)), truth.labels)
        found = draw_boxes(picture, model.find(picture), model.classes)
        yield f"{samples[k].id}: found, and true", beside([found, draw_boxes(picture, true, model.classes)])
