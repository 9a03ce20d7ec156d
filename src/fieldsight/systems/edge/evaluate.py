"""How good the boxes are on held-out photos: average precision as COCO counts it, at two settings of confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fieldsight import registry
from fieldsight.data.detection.folders import read_detection
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.detection.measure import LOW, Gathered, found_and_true, gather, precision_recall
from fieldsight.errors import DataError
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.predictions import Table
from fieldsight.report.card import Card
from fieldsight.report.evaluation import Evaluation
from fieldsight.report.training_card import training_card
from fieldsight.run import Run
from fieldsight.systems.edge.data import heldout
from fieldsight.systems.edge.external import OnnxDetector
from fieldsight.systems.edge.options import EvaluateOptions
from fieldsight.systems.edge.predict import EdgeModel

#: The paper's confidence, beside the usual one.
PAPER = 0.5


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
        precision_recall(found.pool, model.classes),
        dict(found_and_true(model, samples, options.pictures)),
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


# --------------------------------------------------------------------------------------------------- card


def card_of(model: EdgeModel, samples: Sequence[DetectionSample], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on held-out drawn frames, or on a user's test split."""
    data = model.config.data
    chosen = heldout(data) if drawn else list(samples)
    metrics = metrics_of(gather(model, chosen))
    where = f"held-out drawn frames of {data.size} pixels" if drawn else "photos of the user's test split"
    return training_card(
        model,
        run,
        metrics,
        title=f"Detector {model.config.family}-{model.config.size} for {', '.join(model.classes)}",
        data=f"{data.train} drawn frames (world {data.world})" if drawn else "a user's photos",
        measured_on=f"{len(chosen)} {where}",
        limits=(
            "Trained on drawn scenes; no real drone data set was within reach. Train on your own photos for real use.",
            "Boxes below about 8 of 640 pixels a side were left out of training.",
        )
        if drawn
        else (),
    )
