"""How good the picture and its interval are: per image, by region, by family, against a second model.

Every picture is measured in its four rotations; the layout is the independent unit of every interval and test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import conformal
from fieldsight.conformal import Calibration
from fieldsight.data.images import to_uint8
from fieldsight.errors import DataError
from fieldsight.metrics import image
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.model import load
from fieldsight.predictions import Table, beside, grey, heat
from fieldsight.report import plots
from fieldsight.report.card import Card
from fieldsight.report.evaluation import Evaluation
from fieldsight.report.training_card import training_card
from fieldsight.run import Run
from fieldsight.systems.sem.calibrate import Predicted, law_table, predict_pairs
from fieldsight.systems.sem.data import Pair, draw_pairs, read_pairs
from fieldsight.systems.sem.metrology import density_bins, edge_band, edge_errors, outlier_overlay
from fieldsight.systems.sem.options import EvaluateOptions
from fieldsight.systems.sem.predict import SemModel

Array = NDArray[Any]

#: Metrics compared between two models, by layout.
COMPARED = ("mae", "coverage", "width", "interval_score")


def measure(
    target: Array,
    lo: Array,
    mid: Array,
    hi: Array,
    alpha: float,
    *,
    surface: Array | None = None,
    mask: Array | None = None,
    pixel: float = 1.0,
    edges: bool = True,
) -> dict[str, float]:
    """All numbers of one picture; bounds are the calibrated ones. Empty regions give NaN.

    Args:
        target, lo, mid, hi: ``(H, W)``.
        alpha: nominal miscoverage, for the interval score.
        surface: what the edge band is drawn on: the height map where it is known, else ``mid``.
        mask: the layout, to tell features from background; ``target`` above its level without it.
        pixel: nm.
        edges: also trace contours (edge placement, critical dimension, roughness).
    """
    inside = conformal.covered(target, lo, hi)
    band = edge_band(mid if surface is None else surface)
    written = np.asarray(mask, dtype=bool) if mask is not None else np.zeros(target.shape, dtype=bool)
    error = np.abs(np.asarray(mid, dtype=np.float64) - target)
    regions = {"edge": band, "interior": written & ~band, "background": ~written & ~band}
    values = {
        "mae": float(error.mean()),
        "coverage": float(inside.mean()),
        "width": float((np.asarray(hi, dtype=np.float64) - lo).mean()),
        "interval_score": float(conformal.interval_score(target, lo, hi, alpha).mean()),
        "psnr": min(image.psnr(target, mid), 99.0),
        "ssim": image.ssim(target, mid) if min(target.shape) >= 11 else math.nan,
    }
    for name, region in regions.items():
        values[f"coverage_{name}"] = float(inside[region].mean()) if region.any() else math.nan
    values["mae_edge"] = float(error[band].mean()) if band.any() else math.nan
    if edges:
        values.update(edge_errors(target, lo, mid, hi, pixel).to_dict())
    return values


def evaluate_pairs(
    model: SemModel, pairs: Sequence[Pair], calibration: Calibration | None = None, edges: bool = True
) -> tuple[PerItem, list[Predicted]]:
    """Measure pairs in all rotations; returns the numbers and the raw predictions behind them."""
    used = calibration or model.calibration
    if used is None:
        raise DataError("The model has no calibration. Make one: fieldsight sem calibrate")
    items, found = PerItem(), []
    for one in predict_pairs(model, pairs):
        low, high = model.calibrated(one.lo, one.mid, one.hi, one.mask, used)
        turned = None if one.pair.height is None else np.rot90(one.pair.height, one.position)
        values = measure(
            one.target, low, one.mid, high, used.alpha, surface=turned, mask=one.mask,
            pixel=one.pair.pixel or model.config.data.pixel, edges=edges and one.position == 0,
        )  # fmt: skip
        values["raw_coverage"] = float(conformal.covered(one.target, one.lo, one.hi).mean())
        values["raw_width"] = float((one.hi - one.lo).mean())
        items.add(f"{one.pair.id}-r{one.position}", values, one.pair.layout)
        found.append(one)
    return items, found


def evaluate(model: SemModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """The verb: measure on a data folder, or on the held-out drawn layouts of the model's own config.

    Raises:
        DataError: no pairs in the split, or no calibration.
    """
    pairs, on = _choose(model, data, options)
    items, found = evaluate_pairs(model, pairs)
    calibration = model.calibration
    assert calibration is not None
    metrics = items.compute()
    metrics["crossing"] = crossing_rate(model, found)
    warnings = []
    if calibration.n_layouts < 20:
        warnings.append(_few_layouts(calibration))
    if options.split in ("calibration", "train"):
        warnings.append(f"the {options.split} split was used to make this model: these numbers flatter it")
    if calibration.q_from != "own":
        warnings.append(f"the threshold is the {calibration.q_from}'s, as in the paper: no guarantee for this model")
    tables = [stratified(model, found, calibration), _by_family(items, pairs), law_table(calibration)]
    if options.against:
        tables.insert(0, comparison(model, load("sem", options.against), pairs))
    return Evaluation(
        spec=model.spec,
        metrics={m.name: metrics[m.name] for m in model.spec.metrics if m.name in metrics},
        items=items,
        on=on,
        tables=tuple(tables),
        plots=_plots(model, items, found, calibration),
        pictures=_pictures(model, found, calibration, options.pictures),
        facts={
            "q": round(calibration.q, 6),
            "alpha": calibration.alpha,
            "layouts": len({p.layout for p in pairs}),
            "edge_ratio_of_errors": edge_concentration(found),
            "edge_ratio_of_outliers": outlier_ratio(found, calibration),
        },
        warnings=tuple(warnings),
    )


def _few_layouts(calibration: Calibration) -> str:
    few = f"only {calibration.n_layouts} independent layouts calibrate"
    try:
        law = calibration.law()
    except DataError:
        return f"{few}: that says nothing about the coverage of new layouts"
    return f"{few}: the coverage of new layouts may lie anywhere from {law.low:.2f} to {law.high:.2f}"


def _choose(model: SemModel, data: Path | None, options: EvaluateOptions) -> tuple[list[Pair], str]:
    if data is not None:
        pairs = [p for p in read_pairs(data, model.config.data.shares) if options.shift or p.split == options.split]
        where = f"the {options.split} split of '{data.name}'"
    else:
        drawn = draw_pairs(model.config.data, options.shift)
        pairs = [p for p in drawn if p.split == ("test" if options.shift else options.split)]
        where = "drawn layouts of another process corner" if options.shift else f"the {options.split} split, drawn data"
    if not pairs:
        raise DataError(f"There are no pairs in the split '{options.split}'. See manifest.csv.")
    return pairs, f"{where} ({_count(pairs)})"


def _count(pairs: Sequence[Pair]) -> str:
    layouts = len({p.layout for p in pairs})
    pictures = f"{layouts} layouts" if layouts == len(pairs) else f"{len(pairs)} pictures of {layouts} layouts"
    return f"{pictures}, in 4 rotations each"


# ------------------------------------------------------------------------------------------- closer looks


def crossing_rate(model: SemModel, found: Sequence[Predicted]) -> float:
    """Share of pixels whose raw quantiles cross (lower above upper), before they are swapped."""
    import torch

    if model.config.net.head not in ("quantile", "median3") or len(model.networks) > 1:
        return 0.0
    network = model.networks["net"]
    crossed, total = 0, 0
    with torch.inference_mode():
        for one in found:
            if one.mask.shape[0] % model.stride or one.mask.shape[1] % model.stride:
                continue
            mask = torch.from_numpy(np.ascontiguousarray(one.mask, dtype=np.float32))[None, None]
            raw = network(mask.to(model.device))
            crossed += int((raw[:, 0] > raw[:, -1]).sum())
            total += raw[:, 0].numel()
    return crossed / total if total else math.nan


def edge_concentration(found: Sequence[Predicted]) -> float | None:
    """How much more often the absolute error exceeds its 90th percentile near edges than elsewhere."""
    errors = [np.abs(one.mid - one.target) for one in found]
    limit = float(np.percentile(np.concatenate([e.ravel() for e in errors]), 90.0))
    return _edge_ratio(found, [e > limit for e in errors])


def outlier_ratio(found: Sequence[Predicted], calibration: Calibration) -> float | None:
    """How much more often the conformal error exceeds q* near edges than elsewhere; no bound is claimed."""
    return _edge_ratio(found, [conformal.cqr_score(o.target, o.lo, o.hi) > calibration.q for o in found])


def _edge_ratio(found: Sequence[Predicted], flags: Sequence[NDArray[np.bool_]]) -> float | None:
    near: list[int] = [0, 0]
    far: list[int] = [0, 0]
    for one, flagged in zip(found, flags, strict=True):
        surface = one.mid if one.pair.height is None else np.rot90(one.pair.height, one.position)
        band = edge_band(surface)
        near = [near[0] + int(flagged[band].sum()), near[1] + int(band.sum())]
        far = [far[0] + int(flagged[~band].sum()), far[1] + int((~band).sum())]
    if not near[1] or not far[1] or not far[0]:
        return None
    return round((near[0] / near[1]) / (far[0] / far[1]), 3)


def stratified(model: SemModel, found: Sequence[Predicted], calibration: Calibration) -> Table:
    """Coverage and width where it matters: by region, by local density, by rotation. Pooled 0.90 can hide 0.6."""
    groups: dict[tuple[str, str], list[float]] = {}

    def add(kind: str, name: str, chosen: NDArray[np.bool_], inside: Array, width: Array) -> None:
        if chosen.any():
            row = groups.setdefault((kind, name), [0.0, 0.0, 0.0])
            row[0] += float(chosen.sum())
            row[1] += float(inside[chosen].sum())
            row[2] += float(width[chosen].sum(dtype=np.float64))

    for one in found:
        low, high = model.calibrated(one.lo, one.mid, one.hi, one.mask, calibration)
        inside, width = conformal.covered(one.target, low, high), high - low
        surface = one.mid if one.pair.height is None else np.rot90(one.pair.height, one.position)
        band, written = edge_band(surface), np.asarray(one.mask, dtype=bool)
        for name, chosen in (("edge", band), ("interior", written & ~band), ("background", ~written & ~band)):
            add("region", name, chosen, inside, width)
        density = density_bins(one.mask, one.pair.pixel or model.config.data.pixel)
        for step in range(4):
            add("local density", f"{25 * step}-{25 * step + 25} %", density == step, inside, width)
        add("rotation", f"{90 * one.position} deg", np.ones_like(band), inside, width)
    rows = [
        {"by": kind, "group": name, "pixels": int(n), "coverage": c / n, "width": w / n}
        for (kind, name), (n, c, w) in sorted(groups.items())
    ]
    return Table(dict.fromkeys(("by", "group", "pixels", "coverage", "width"), ""), rows, "Coverage by group of pixels")


def _by_family(items: PerItem, pairs: Sequence[Pair]) -> Table:
    family = {p.layout: p.family or "unknown" for p in pairs}
    rows = []
    layouts = items.by_group()
    for name in sorted(set(family.values())):
        chosen = np.array([family[g] == name for g in layouts.groups()])
        row: dict[str, Any] = {"family": name, "layouts": int(chosen.sum())}
        for metric in COMPARED:
            row[metric] = float(np.nanmean(layouts.column(metric)[chosen]))
        rows.append(row)
    return Table(dict.fromkeys(("family", "layouts", *COMPARED), ""), rows, "By family of layouts")


def comparison(a: SemModel, b: SemModel, pairs: Sequence[Pair]) -> Table:
    """Two models on the same layouts: mean difference ``b - a`` with interval, Wilcoxon p adjusted by Holm."""
    layouts = [evaluate_pairs(m, pairs, edges=False)[0].by_group() for m in (a, b)]
    found = {name: paired(layouts[0].column(name), layouts[1].column(name)) for name in COMPARED}
    adjusted = holm({name: p.p for name, p in found.items()})
    rows = [
        {
            "metric": name,
            "a": float(np.nanmean(layouts[0].column(name))),
            "b": float(np.nanmean(layouts[1].column(name))),
            "difference": p.difference.value,
            "low": p.difference.low,
            "high": p.difference.high,
            "p_holm": adjusted[name],
            "smallest_p": p.smallest_p,
        }
        for name, p in found.items()
    ]
    columns = dict.fromkeys(("metric", "a", "b", "difference", "low", "high", "p_holm", "smallest_p"), "")
    return Table(columns, rows, f"This model (a) against {b.source} (b), {len(layouts[0])} layouts")


# ------------------------------------------------------------------------------------------------ drawing


def _plots(model: SemModel, items: PerItem, found: Sequence[Predicted], calibration: Calibration) -> dict[str, str]:
    errors = items.column("mae")
    marks = {"mean": float(errors.mean()), "90th percentile": float(np.percentile(errors, 90))}
    one = found[min(2, len(found) - 1)]
    low, high = model.calibrated(one.lo, one.mid, one.hi, one.mask, calibration)
    flat = {name: np.ravel(a) for name, a in (("y", one.target), ("m", one.mid), ("l", one.lo), ("h", one.hi))}
    start = int(0.4 * flat["y"].size)
    part = slice(start, start + min(500, flat["y"].size))
    return {
        "Mean absolute error of each picture (the paper's Figs. 10 and 11)": plots.histogram(errors, "MAE", marks),
        "Along 500 pixels before calibration (Fig. 7)": plots.band(
            flat["y"][part], flat["m"][part], flat["l"][part], flat["h"][part], "pixel", "intensity"
        ),
        "The same after calibration (Fig. 9)": plots.band(
            flat["y"][part], flat["m"][part], np.ravel(low)[part], np.ravel(high)[part], "pixel", "intensity"
        ),
        "MAE of each picture (Fig. 17)": plots.boxes({"this model": errors}, "MAE"),
        "Coverage of each picture (Fig. 16)": plots.boxes({"this model": items.column("coverage")}, "coverage"),
    }


def _pictures(model: SemModel, found: Sequence[Predicted], calibration: Calibration, count: int) -> dict[str, Array]:
    drawn: dict[str, Array] = {}
    upright = [one for one in found if one.position == 0][:count]
    for one in upright:
        low, high = model.calibrated(one.lo, one.mid, one.hi, one.mask, calibration)
        outside = ~conformal.covered(one.target, low, high)
        row = [
            grey(one.mask.astype(np.float32)), grey(one.target), grey(low), grey(one.mid), grey(high),
            heat(high - low), heat(np.abs(one.mid - one.target), 0.0, 0.25), outlier_overlay(outside),
        ]  # fmt: skip
        caption = f"{one.pair.id}: mask, truth, lower, middle, upper, width, error, outliers (red)"
        drawn[caption] = to_uint8(beside(row))
    return drawn


# --------------------------------------------------------------------------------------------------- card


def card_of(model: SemModel, pairs: Sequence[Pair], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on its test layouts."""
    items, found = evaluate_pairs(model, pairs)
    metrics: dict[str, float] = dict(items.compute())
    metrics["crossing"] = crossing_rate(model, found)
    data = model.config.data
    layouts = f"{data.layouts} drawn layouts" if drawn else "a user's pairs"
    if drawn and data.cells:
        layouts += f" and {data.cells} crops of SKY130 standard cells"
    calibration = model.calibration
    limits = [
        f"Only for pixels of {data.pixel:g} nm and the process it was trained on.",
        "Simulated pictures are no real microscope's; calibrate on own pairs before relying on the interval.",
    ]
    if calibration is not None and calibration.n_layouts >= 10:
        law = calibration.law()
        limits.append(
            f"Coverage of a new set of layouts: {law.low:.2f} to {law.high:.2f} "
            f"({calibration.n_layouts} calibration layouts)."
        )
    return training_card(
        model,
        run,
        metrics,
        title="Layout to SEM picture",
        data=f"{layouts} through a simulated process (drawn data)" if drawn else layouts,
        measured_on=f"{_count(pairs)}, held out",
        limits=tuple(limits),
    )


def interval_of(items: PerItem, name: str) -> Mapping[str, float]:
    """A metric's mean over layouts with its bootstrap interval, for studies."""
    found = bootstrap(items.column(name), items.groups())
    return {"value": found.value, "low": found.low, "high": found.high, "layouts": found.n}
