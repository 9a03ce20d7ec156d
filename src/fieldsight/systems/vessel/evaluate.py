"""How good the boxes are on held-out frames: average precision, sensitivity against false boxes, by view and vessel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import registry
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.detection.measure import Gathered, detect_all, found_and_true, gather_found, precision_recall
from fieldsight.errors import DataError
from fieldsight.metrics.detection import AveragePrecision, compare
from fieldsight.metrics.froc import FROC
from fieldsight.predictions import Table
from fieldsight.report.card import Card
from fieldsight.report.evaluation import Evaluation
from fieldsight.report.training_card import training_card
from fieldsight.run import Run
from fieldsight.systems.vessel.config import VesselConfig
from fieldsight.systems.vessel.data import angiogram, heldout
from fieldsight.systems.vessel.options import EvaluateOptions
from fieldsight.systems.vessel.predict import VesselModel

#: Views of the paper's Table 5, in its order; what else there is follows.
VIEWS = ("LCA zero", "LCA LAO", "LCA RAO", "RCA zero", "RCA LAO", "RCA RAO")

#: False boxes a frame at which sensitivity is told.
RATES = (0.25, 0.5, 1.0)

#: A frame's lesions are on main vessels or on side branches; known of drawn frames only.
KINDS = ("main", "branch")


@dataclass(frozen=True)
class Measured:
    """What is kept of measured frames.

    Attributes:
        gathered: all boxes after matching, and numbers of each frame.
        froc: sensitivity against false boxes.
        views: boxes by view.
        kinds: sensitivity to lesions of main vessels and of branches alone; empty where that is not known.
    """

    gathered: Gathered
    froc: FROC
    views: dict[str, AveragePrecision] = field(default_factory=dict)
    kinds: dict[str, FROC] = field(default_factory=dict)


def evaluate(model: VesselModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """Measure a model; without ``data`` on drawn patients that no training ever sees.

    Raises:
        DataError: the folder can't be used, or the split is empty.
    """
    samples, on = choose(model, data, options)
    found = measured(model, samples)
    pool = found.gathered.pool
    some = any((~s.truth().ignore).any() for s in samples)
    return Evaluation(
        registry.get("vessel"),
        metrics_of(found),
        found.gathered.items,
        on,
        (by_view(found), by_kind(found)),
        precision_recall(pool, model.classes),
        dict(found_and_true(model, samples, options.pictures)),
        {"confidence of the best F1": round(pool.best().conf, 4), "enhancement": model.config.enhance.mode},
        () if some else ("No frame has a box: average precision is undefined.",),
    )


def choose(model: VesselModel, data: Path | None, options: EvaluateOptions) -> tuple[list[DetectionSample], str]:
    """What to measure on, and what to call it.

    Raises:
        DataError: the folder can't be used, or the split is empty.
    """
    if data is None:
        samples = heldout(model.config.data)
        return samples, f"{len(samples)} held-out drawn frames (contrast {model.config.data.look})"
    from fieldsight.systems.vessel.datasets import read_angiograms

    found = read_angiograms(data, model.config.seed)
    chosen = list(found.split(options.split))
    if not chosen:
        raise DataError(f"'{data}' has no pictures in the split '{options.split}'.")
    return [_viewed(s, found.views.get(s.id, "unknown")) for s in chosen], f"{len(chosen)} frames of '{data}'"


def _viewed(sample: DetectionSample, view: str) -> DetectionSample:
    return replace(sample, facts={**sample.facts, "view": view})


# ---------------------------------------------------------------------------------------------- measuring


def measured(model: VesselModel, samples: Sequence[DetectionSample]) -> Measured:
    """Find boxes in frames and hold them against the truth."""
    return measured_found(model, samples, list(detect_all(model, samples)))


def measured_found(model: VesselModel, samples: Sequence[DetectionSample], boxes: Sequence[Detections]) -> Measured:
    """The same of boxes that were found already."""
    out = Measured(gather_found(model, samples, boxes), FROC(model.classes))
    for sample, found in zip(samples, boxes, strict=True):
        truth, view = sample.truth(), str(sample.facts.get("view", "unknown"))
        out.froc.add(sample.id, found, truth, sample.group)
        pool = out.views.setdefault(view, AveragePrecision(model.classes))
        pool.add(sample.id, found, truth, sample.group)
        branch = branches(sample)
        if branch is None:
            continue
        for kind, wanted in (("main", ~branch), ("branch", branch)):
            froc = out.kinds.setdefault(kind, FROC(model.classes))
            froc.add(sample.id, found, only(truth, wanted), sample.group)
    return out


def branches(sample: DetectionSample) -> NDArray[np.bool_] | None:
    """Which of a drawn frame's boxes, ignored ones included, lie on side branches; None of other frames."""
    made = sample.facts.get("drawn")
    if not isinstance(made, list):
        return None
    one = angiogram(*made)
    return np.concatenate([one.branch, np.zeros(len(one.ignored), np.bool_)])


def only(truth: Truth, wanted: NDArray[np.bool_]) -> Truth:
    """The truth with all boxes but some ignored: hits of them are neither right nor wrong."""
    return Truth.of(truth.boxes, truth.labels, truth.ignore | ~wanted, truth.area)


def metrics_of(found: Measured) -> dict[str, float]:
    """The metrics of the spec."""
    pool = found.gathered.pool
    told, best = pool.compute().numbers(), pool.best().pooled()
    froc = found.froc.compute(rates=RATES, draws=0)
    sensitivity = {
        f"sensitivity_{r:g}".replace(".", "_"): e.value for r, e in zip(RATES, froc.sensitivity, strict=True)
    }
    kinds = {kind: found.kinds[kind].compute(rates=(1.0,), draws=0).mean.value for kind in KINDS if kind in found.kinds}
    return {
        "ap50": told["mAP50"], "ap50_95": told["mAP50-95"], **sensitivity,
        "precision": best["P"], "recall": best["R"], "f1": best["F1"],
        "sensitivity_main": kinds.get("main", math.nan), "sensitivity_branch": kinds.get("branch", math.nan),
        "mabo": found.gathered.items.summary("mabo").mean,
    }  # fmt: skip


def by_view(found: Measured) -> Table:
    """Average precision of each view with its interval from resampled patients, as the paper's Table 5 without one."""
    rows = []
    for view in [*[v for v in VIEWS if v in found.views], *sorted(set(found.views) - set(VIEWS))]:
        pool = found.views[view]
        row: dict[str, Any] = {"view": view, "frames": len(pool)}
        try:
            half = compare(pool, pool, iou=0.5, draws=500).a
        except DataError:  # no true box in this view
            rows.append({**row, "AP50": None, "low": None, "high": None, "AP50-95": None})
            continue
        whole = pool.compute().numbers()["mAP50-95"]
        row |= {"AP50": half.value, "low": half.low, "high": half.high, "AP50-95": whole}
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    columns = dict.fromkeys(("view", "frames", "AP50", "low", "high", "AP50-95"), "")
    return Table(columns, rows, "By view, with 95 % intervals from resampled patients; no ranking beyond them")


def by_kind(found: Measured) -> Table:
    """Sensitivity at one false box a frame, of all lesions and of those on main vessels and side branches."""
    rows = []
    for name, froc in _kinds(found):
        told = froc.compute(rates=RATES, draws=500)
        for rate, one in zip(told.rates, told.sensitivity, strict=True):
            row = {"lesions": name, "count": told.lesions, "false boxes a frame": rate, "sensitivity": one.value}
            row |= {"low": one.low, "high": one.high}
            rows.append({k: None if v != v else round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    columns = dict.fromkeys(("lesions", "count", "false boxes a frame", "sensitivity", "low", "high"), "")
    return Table(columns, rows, "Sensitivity against false boxes, with 95 % intervals from resampled patients")


def _kinds(found: Measured) -> Iterable[tuple[str, FROC]]:
    yield "all", found.froc
    for kind in KINDS:
        if kind in found.kinds:
            yield f"on {kind} vessels" if kind == "main" else "on side branches", found.kinds[kind]


# --------------------------------------------------------------------------------------------------- card


def card_of(model: VesselModel, samples: Sequence[DetectionSample], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on held-out drawn patients, or on a user's test split."""
    own: VesselConfig = model.config
    chosen = heldout(own.data) if drawn else list(samples)
    metrics = metrics_of(measured(model, chosen))
    where = f"held-out drawn frames (contrast {own.data.look})" if drawn else "frames of the user's test split"
    return training_card(
        model,
        run,
        metrics,
        title=f"Detector {own.family}-{own.size} for {', '.join(model.classes)} on {own.enhance.mode} frames",
        data=f"{own.data.train} drawn angiograms" if drawn else "a user's angiograms",
        measured_on=f"{len(chosen)} {where}",
        limits=(
            "Trained on drawn angiograms only: no clinical pictures were within reach, and nothing is known of how it "
            "does on them. Train on your own annotated frames before any use.",
            "Lesions below 50 % were background in training.",
        )
        if drawn
        else (),
    )
