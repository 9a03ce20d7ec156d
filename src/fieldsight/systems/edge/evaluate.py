"""How good the boxes are on held-out photos: average precision as COCO counts it, at two settings of confidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress, registry
from fieldsight.data.detection.folders import read_detection
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.detection.drawing import draw_boxes
from fieldsight.detection.validate import best_overlap
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.metrics.items import PerItem
from fieldsight.predictions import Table, beside
from fieldsight.report import plots
from fieldsight.report.card import Card
from fieldsight.report.energy import energy_line
from fieldsight.report.evaluation import Evaluation
from fieldsight.run import Run, command_line, commit, now, versions
from fieldsight.systems.edge.data import heldout
from fieldsight.systems.edge.external import OnnxDetector
from fieldsight.systems.edge.options import EvaluateOptions, PredictOptions
from fieldsight.systems.edge.predict import EdgeModel

#: The usual confidence of average precision, and the paper's.
LOW, PAPER = 0.001, 0.5


def evaluate(model: EdgeModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """Measure a model; without ``data`` on drawn frames that no training ever sees.

    Raises:
        DataError: the folder can't be used, its classes are others, or the split is empty.
    """
    samples, on = choose(model, data, options)
    found = gather(model, samples)
    low, high = found.pool.compute(LOW), found.pool.compute(options.conf)
    best = found.pool.best()
    warnings = () if any(len(s.truth()) for s in samples) else ("No photo has a box: average precision is undefined.",)
    return Evaluation(
        registry.get("edge"),
        metrics_of(found, options.conf),
        found.items,
        on,
        (both_settings(found.pool, options.conf), low.per_class(), high.per_class()),
        _plots(found.pool, model.classes),
        dict(_pictures(model, samples, options.pictures)),
        {"confidence of the best F1": round(best.conf, 4), **_kind(model)},
        warnings,
    )


def _kind(model: EdgeModel) -> dict[str, str]:
    if isinstance(model, OnnxDetector):
        return {"file": model.file.path.name}
    return {"families": model.config.family, "size": model.config.size}


def choose(model: EdgeModel, data: Path | None, options: EvaluateOptions) -> tuple[list[DetectionSample], str]:
    """What to measure on, and what to call it.

    Raises:
        DataError: the folder can't be used, its classes are others, or the split is empty; none, and nothing is drawn
            with the model's classes.
    """
    if data is None:
        if isinstance(model, OnnxDetector):
            model.needs_world()
        samples = heldout(model.config.data, options.shift)
        light = "other light, textures and altitudes, " if options.shift else ""
        return samples, f"{len(samples)} held-out drawn frames ({light}world {model.config.data.world})"
    found = read_detection(data, model.config.seed, names=model.classes)
    if found.names != model.classes:
        raise DataError(
            f"'{data}' has the classes {', '.join(found.names)}; the model knows {', '.join(model.classes)}. Measure "
            "on data with the same classes in the same order."
        )
    samples = found.split(options.split)
    if not samples:
        raise DataError(f"'{data}' has no photos in the split '{options.split}'.")
    return samples, f"{len(samples)} photos of '{data}' ({options.split})"


# ---------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Gathered:
    """What is kept of measured photos.

    Attributes:
        pool: every box after matching.
        items: hits, false boxes and misses of each photo at the model's own confidence.
    """

    pool: AveragePrecision
    items: PerItem


def detect_all(model: EdgeModel, samples: Sequence[DetectionSample], conf: float = LOW) -> Iterator[Detections]:
    """Boxes of photos, one after the other, in the runtime in use."""
    options = PredictOptions(conf=conf)
    for sample in progress.track(samples, "finding boxes"):
        yield model.find(sample.image(), options)


def average_precision(model: EdgeModel, samples: Sequence[DetectionSample], conf: float = LOW) -> AveragePrecision:
    """Average precision over photos, in the runtime in use; boxes below ``conf`` are left out."""
    pool = AveragePrecision(model.classes)
    for sample, found in zip(samples, detect_all(model, samples, conf), strict=True):
        pool.add(sample.id, found, sample.truth(), sample.group)
    return pool


def gather(model: EdgeModel, samples: Sequence[DetectionSample]) -> Gathered:
    """Measure photos.

    Raises:
        DataError: a photo can't be read.
    """
    return gather_found(model, samples, detect_all(model, samples))


def gather_found(
    model: EdgeModel, samples: Sequence[DetectionSample], boxes: Iterator[Detections] | Sequence[Detections]
) -> Gathered:
    """The same of boxes that were found already."""
    pool, items = AveragePrecision(model.classes), PerItem()
    for sample, found in zip(samples, boxes, strict=True):
        truth = sample.truth()
        pool.add(sample.id, found, truth, sample.group)
        items.add(sample.id, _counts(model, found, truth), sample.group)
    return Gathered(pool, items)


def _counts(model: EdgeModel, found: Detections, truth: Truth) -> dict[str, float]:
    """Numbers of one photo at the model's own confidence."""
    one = AveragePrecision(model.classes)
    one.add("one", found, truth)
    told = one.operating(model.config.conf)
    tp, fp, fn = (float(v.sum()) for v in (told.tp, told.fp, told.fn))
    return {
        "hits": tp, "false": fp, "missed": fn, "photo_f1": told.pooled()["F1"], "mabo": best_overlap(found, truth)
    }  # fmt: skip


def metrics_of(found: Gathered, conf: float = PAPER) -> dict[str, float]:
    """The metrics of the spec."""
    pool = found.pool
    low, high = (pool.compute(c).numbers() for c in (LOW, conf))
    best = pool.best().pooled()
    return {
        "map50_95": low["mAP50-95"], "map50": low["mAP50"], "map75": low["mAP75"],
        "map50_95_conf50": high["mAP50-95"], "map50_conf50": high["mAP50"],
        "map_small": low["mAP-small"], "map_medium": low["mAP-medium"], "map_large": low["mAP-large"],
        "precision": best["P"], "recall": best["R"], "f1": best["F1"],
        "mabo": found.items.summary("mabo").mean,
    }  # fmt: skip


def both_settings(pool: AveragePrecision, conf: float = PAPER) -> Table:
    """Average precision at the usual confidence and at the paper's, which cuts the curve off."""
    rows = []
    for at in (LOW, conf):
        told, point = pool.compute(at).numbers(), pool.operating(at).pooled()
        row = {"confidence": at, "mAP50-95": told["mAP50-95"], "mAP50": told["mAP50"]}
        row |= {"precision": point["P"], "recall": point["R"]}
        rows.append({k: None if math.isnan(v) else round(v, 4) for k, v in row.items()})
    columns = dict.fromkeys(("confidence", "mAP50-95", "mAP50", "precision", "recall"), "")
    return Table(columns, rows, "Two settings of confidence: the usual one, and the paper's, which cuts the curve off")


# ------------------------------------------------------------------------------------------------ drawing


def _plots(pool: AveragePrecision, classes: Sequence[str]) -> dict[str, str]:
    curves = {name: pool.curve(name) for name in classes}
    drawn: Mapping[str, Any] = {
        name: (c.recall.tolist(), c.precision.tolist()) for name, c in curves.items() if np.isfinite(c.recall).any()
    }
    return {"precision against recall at IoU 0.5": plots.curves(drawn, "recall", "precision")} if drawn else {}


def _pictures(
    model: EdgeModel, samples: Sequence[DetectionSample], count: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    order = rng_for(0, "edge", "pictures", len(samples)).permutation(len(samples))[:count]
    for k in sorted(int(i) for i in order):
        picture, truth = samples[k].image(), samples[k].truth()
        true = Detections.of(truth.boxes, np.ones(len(truth)), truth.labels)
        found = draw_boxes(picture, model.find(picture), model.classes)
        yield f"{samples[k].id}: found, and true", beside([found, draw_boxes(picture, true, model.classes)])


# --------------------------------------------------------------------------------------------------- card


def card_of(model: EdgeModel, samples: Sequence[DetectionSample], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on held-out drawn frames, or on a user's test split."""
    data = model.config.data
    chosen = heldout(data) if drawn else list(samples)
    metrics = metrics_of(gather(model, chosen))
    spec = registry.get("edge")
    where = f"held-out drawn frames of {data.size} pixels" if drawn else "photos of the user's test split"
    return Card(
        title=f"Detector {model.config.family}-{model.config.size} for {', '.join(model.classes)}",
        system="edge",
        preset=str(run.info.get("preset", "")) if run is not None else "",
        data=f"{data.train} drawn frames (world {data.world})" if drawn else "a user's photos",
        command=run.info["command"] if run is not None else command_line(),
        commit=commit(),
        date=now(),
        metrics={m.name: _finite(metrics.get(m.name)) for m in spec.metrics},
        protocols={m.name: f"[{m.unit}] {m.protocol}" for m in spec.metrics},
        measured_on=f"{len(chosen)} {where}",
        parameters=sum(p.numel() for p in model.detector.parameters()),
        energy=energy_line(model),
        limits=(
            "Trained on drawn scenes; no real drone data set was within reach. Train on your own photos for real use.",
            "Boxes below about 8 of 640 pixels a side were left out of training.",
        )
        if drawn
        else (),
        notice=spec.notice,
        versions=versions(),
        fingerprint=model.fingerprint(),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 5)
