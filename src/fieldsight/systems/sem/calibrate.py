"""Conformal calibration of pictures (Eqs. 3 to 5) and the outlier weights drawn from it (Eq. 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight import conformal, progress
from fieldsight.conformal import Calibration
from fieldsight.errors import DataError
from fieldsight.predictions import Table
from fieldsight.systems.sem.data import Pair, draw_pairs, place, read_pairs
from fieldsight.systems.sem.metrology import level_of
from fieldsight.systems.sem.options import CalibrateOptions
from fieldsight.systems.sem.predict import SemModel, novelty_of, pixel_groups

Array = NDArray[Any]

FORMULAS = {"cqr": "max(lo-y,y-hi)", "printed": "max(hi-y,y-lo)", "scaled": "2|y-mid|/(hi-lo)"}


@dataclass(frozen=True)
class Predicted:
    """Raw bounds of a pair in one position, with the truth there; all ``(H, W)`` float32."""

    pair: Pair
    number: int
    position: int
    mask: Array
    target: Array
    lo: Array
    mid: Array
    hi: Array


def predict_pairs(model: SemModel, pairs: Sequence[Pair], positions: int = 4) -> Iterator[Predicted]:
    """Raw bounds of every pair in its rotations; rotations of a square picture go through the network together."""
    for number, pair in enumerate(progress.track(pairs, "predicting pairs")):
        masks = [place(pair.mask, k) for k in range(positions)]
        square = pair.mask.shape[0] == pair.mask.shape[1]
        chunks = [list(range(positions))] if square else [[k] for k in range(positions)]
        for chunk in chunks:
            lo, mid, hi = model.run(np.stack([masks[k] for k in chunk]))
            for i, k in enumerate(chunk):
                yield Predicted(pair, number, k, masks[k], place(pair.target, k), lo[i], mid[i], hi[i])


def score(found: Predicted, kind: str) -> Array:
    """Conformal score of every pixel; see :data:`FORMULAS`."""
    if kind == "printed":
        return conformal.printed_score(found.target, found.lo, found.hi)
    if kind == "scaled":
        return conformal.residual_score(found.target, found.mid, np.maximum(0.5 * (found.hi - found.lo), 1e-6))
    return conformal.cqr_score(found.target, found.lo, found.hi)


def calibrate_model(
    model: SemModel,
    pairs: Sequence[Pair],
    alpha: float,
    groups: Literal["none", "edge", "family", "density"] = "none",
    kind: Literal["cqr", "printed", "scaled"] = "cqr",
) -> Calibration:
    """The threshold q* of Eq. 4 over all pixels of all pictures and rotations, exact, with its provenance.

    Raises:
        DataError: no pairs, or too few scores in a group for this alpha.
    """
    if not pairs:
        raise DataError("There are no calibration pairs. Check the manifest's split column, or choose --split.")
    scores, labels, levels = [], [], []
    digest = hashlib.sha256()
    found = list(predict_pairs(model, pairs))
    for one in found:
        levels.append(level_of(one.mid))
        if one.position == 0:
            digest.update(one.mask.tobytes() + one.target.tobytes())
    if groups == "edge" and np.isnan(levels).all():
        raise DataError("The predicted pictures have no edges to group by. Train longer, or use other groups.")
    params = {"level": float(np.nanmedian(levels))} if groups == "edge" else {}
    for one in found:
        scores.append(score(one, kind).ravel())
        if groups == "family":
            labels.append(np.full(one.target.size, one.pair.family or "unknown", dtype=object))
        elif groups != "none":
            labels.append(pixel_groups(groups, one.mid, one.mask, model.config.data.pixel, params).ravel())
    pooled = np.concatenate(scores)
    by_group = {}
    if labels:
        joined = np.concatenate(labels)
        by_group = conformal.group_quantiles(pooled, joined.astype(str), alpha)
    method = "scaled-pooled" if kind == "scaled" else f"cqr-{'pooled' if groups == 'none' else groups}"
    return Calibration(
        alpha=alpha,
        q=conformal.quantile(pooled, alpha),
        method=method,
        score=FORMULAS[kind],
        n_pixels=int(pooled.size),
        n_images=len(found),
        n_layouts=len({p.layout for p in pairs}),
        model_sha256=model.fingerprint(),
        data_sha256=digest.hexdigest(),
        groups=by_group,
        params=params,
        novelty=novelty_of([p.mask for p in pairs], model.config.data.pixel),
    )


def outlier_weights(
    model: SemModel, pairs: Sequence[Pair], q: float, gamma: float, positions: int
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Weight maps by (pair, position): gamma where the conformal error exceeds q*, else 1 (Eq. 6, strict)."""
    return {
        (one.number, one.position): np.where(score(one, "cqr") > q, np.float32(gamma), np.float32(1.0))
        for one in predict_pairs(model, pairs, positions)
    }


# ---------------------------------------------------------------------------------------------------- verb


@dataclass(frozen=True)
class Calibrated:
    """A new calibration, and the model that carries it."""

    model: SemModel
    calibration: Calibration
    coverage: float
    raw_coverage: float
    raw_width: float

    def to_dict(self) -> dict[str, Any]:
        """The file's content with the uncalibrated coverage and width beside it."""
        values = {k: v for k, v in self.calibration.to_dict().items() if k != "novelty"}
        try:
            law = self.calibration.law()
            values["coverage_of_new_layouts"] = {"mean": law.mean, "std": law.std, "low": law.low, "high": law.high}
        except DataError as error:
            values["coverage_of_new_layouts"] = str(error)
        return {**values, "raw_coverage": self.raw_coverage, "raw_width": self.raw_width, "coverage": self.coverage}

    def lines(self) -> list[str]:
        """What a person wants to know."""
        c = self.calibration
        lines = [
            f"q* {c.q:.6g} at alpha {c.alpha:g}, from {c.n_pixels:,} pixels of {c.n_images} pictures of "
            f"{c.n_layouts} layouts",
            f"coverage {self.raw_coverage:.4f} before, {self.coverage:.4f} after; raw width {self.raw_width:.4f}",
        ]
        try:
            law = c.law()
            lines.append(
                f"coverage of a new set of layouts: {law.mean:.3f} on average, {law.low:.3f} to {law.high:.3f} "
                f"in 95 of 100 calibrations ({c.n_layouts} independent layouts)"
            )
        except DataError as error:
            lines.append(str(error))
        return lines + [f"q* of {name}: {q:.6g}" for name, q in c.groups.items()]

    def save(self, out: str | Path) -> list[Path]:
        """``calibration.json``, and the model with it as a model folder."""
        folder = Path(out)
        return [self.calibration.save(folder / "calibration.json"), self.model.save(folder / "model")]


def calibrate(model: SemModel, data: Path | None, options: CalibrateOptions) -> Calibrated:
    """Calibrate a model on a data folder, or on its own drawn data.

    Raises:
        DataError: the data can't be used, or holds too little for this alpha.
    """
    pairs = read_pairs(data, model.config.data.shares) if data else draw_pairs(model.config.data)
    chosen = [p for p in pairs if options.split == "all" or p.split == options.split]
    alpha = options.alpha or model.config.alpha
    kind = "scaled" if model.config.method == "scaled" else options.score
    made = calibrate_model(model, chosen, alpha, options.groups, kind)
    inside, raw, width = [], [], []
    for one in predict_pairs(model, chosen):
        low, high = model.calibrated(one.lo, one.mid, one.hi, one.mask, made)
        inside.append(conformal.covered(one.target, low, high).mean())
        raw.append(conformal.covered(one.target, one.lo, one.hi).mean())
        width.append((one.hi - one.lo).mean())
    return Calibrated(
        model.with_calibration(made), made, float(np.mean(inside)), float(np.mean(raw)), float(np.mean(width))
    )


def law_table(calibration: Calibration) -> Table:
    """How the coverage of new layouts spreads with the number of calibration layouts."""
    rows = []
    for n in sorted({calibration.n_layouts, 12, 24, 48, 100}):
        try:
            law = conformal.coverage_law(n, calibration.alpha)
        except DataError:
            continue
        rows.append({"layouts": n, "mean": law.mean, "std": law.std, "low": law.low, "high": law.high})
    columns = dict.fromkeys(("layouts", "mean", "std", "low", "high"), "")
    return Table(columns, rows, "Coverage of new layouts by number of calibration layouts (Beta law, 95 %)")
