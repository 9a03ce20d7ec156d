"""The out-of-fold table (section 3.2, Eq. 1): how good each expert is on photos that its copy never saw."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import write_text
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.sample import MaskArray, Sample

#: ``fit(expert, training samples, fold) -> predictor``: what trains a copy without a fold.
FitCopy = Callable[[str, list[Sample], int], Callable[[Sample], NDArray[np.float32]]]

#: Columns of one expert beside its IoU.
SIDE = ("prec", "rec", "f1", "n_pred_pixels")


@dataclass(frozen=True)
class Row:
    """One training photo.

    Attributes:
        id, group, domain: of the sample.
        fold: the fold that it was held out in.
        crack_pixels: of the truth.
        scores: Eq. 1 by expert; NaN where the photo is left out (no crack, ``empty_gt: drop``).
        side: precision, recall, F1 and predicted pixels by column name, as in ``prec_cen``.
    """

    id: str
    group: str
    domain: str
    fold: int
    crack_pixels: int
    scores: Mapping[str, float]
    side: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """All training photos, each once."""

    experts: tuple[str, ...]
    rows: tuple[Row, ...]

    def matrix(self) -> NDArray[np.float64]:
        """Scores ``(N, M)``."""
        return np.array([[row.scores[e] for e in self.experts] for row in self.rows])

    def means(self) -> dict[str, float]:
        """Mean score of each expert."""
        found = self.matrix()
        return {e: float(np.nanmean(found[:, k])) for k, e in enumerate(self.experts)}

    def chosen(self, experts: Sequence[str]) -> Table:
        """The table with some columns, in this order.

        Raises:
            ConfigError: a column is missing.
        """
        missing = [e for e in experts if e not in self.experts]
        if missing:
            raise ConfigError(
                f"The out-of-fold table has no column for {', '.join(missing)}; it has {', '.join(self.experts)}. "
                f"Make it: fieldsight crack oof DATA --experts {','.join(missing)} --table TABLE --out FOLDER"
            )
        return Table(tuple(experts), self.rows)

    def joined(self, other: Table) -> Table:
        """This table with the other's columns; both must hold the same photos in the same folds.

        Raises:
            DataError: they do not.
        """
        if [(r.id, r.fold) for r in self.rows] != [(r.id, r.fold) for r in other.rows]:
            raise DataError(
                "The two out-of-fold tables hold other photos or folds. Make them of the same data and seed."
            )
        rows = tuple(
            Row(a.id, a.group, a.domain, a.fold, a.crack_pixels, {**a.scores, **b.scores}, {**a.side, **b.side})
            for a, b in zip(self.rows, other.rows, strict=True)
        )
        return Table(tuple(dict.fromkeys((*self.experts, *other.experts))), rows)

    def to_csv(self) -> str:
        """As text: ``image_id, fold, group, domain, n_gt_pixels``, then ``iou_``, ``prec_``, ``rec_`` ... by expert."""
        sides = [f"{s}_{e}" for s in SIDE for e in self.experts]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(
            ["image_id", "fold", "group", "domain", "n_gt_pixels", *(f"iou_{e}" for e in self.experts), *sides]
        )
        for r in self.rows:
            scores = [_text(r.scores[e]) for e in self.experts]
            writer.writerow(
                [
                    r.id,
                    r.fold,
                    r.group,
                    r.domain,
                    r.crack_pixels,
                    *scores,
                    *(_text(r.side.get(s, math.nan)) for s in sides),
                ]
            )
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write as CSV."""
        return write_text(path, self.to_csv())


def load_table(path: str | Path) -> Table:
    """Read a table that :meth:`Table.save` wrote.

    Raises:
        DataError: absent, no table, or a score outside 0-1.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            experts = tuple(n.removeprefix("iou_") for n in names if n.startswith("iou_"))
            missing = [n for n in ("image_id", "fold", "group", "n_gt_pixels") if n not in names]
            if missing or not experts:
                raise DataError(
                    f"'{path}' is no out-of-fold table: it lacks {', '.join(missing) or 'columns iou_...'}."
                )
            if len(set(names)) < len(names):
                raise DataError(f"'{path}' has a column twice. Each expert has one column iou_NAME.")
            rows = tuple(_row(values, experts) for values in reader)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise DataError(f"Can't read the out-of-fold table '{path}': {error}.") from None
    ids = [row.id for row in rows]
    doubled = next((i for i in ids if ids.count(i) > 1), None) if len(set(ids)) < len(ids) else None
    if doubled is not None:
        raise DataError(f"'{path}' lists the photo '{doubled}' twice.")
    for row in rows:
        bad = [e for e, v in row.scores.items() if not (math.isnan(v) or 0 <= v <= 1)]
        if bad:
            raise DataError(
                f"'{path}': the score of '{bad[0]}' on '{row.id}' is {row.scores[bad[0]]}; 0 to 1 is allowed."
            )
    return Table(experts, rows)


def assign_folds(samples: Sequence[Sample], count: int, seed: int, crack: Sequence[int]) -> list[int]:
    """A fold for each sample: groups stay together, folds are alike in size and in crack (stratified by quartile).

    Args:
        samples: the training split.
        count: number of folds.
        seed: decides the order of groups.
        crack: crack pixels of each sample.

    Raises:
        DataError: fewer groups than folds.
    """
    groups = sorted({s.group for s in samples})
    if len(groups) < count:
        raise DataError(
            f"{len(groups)} groups of photos can't make {count} folds. "
            f"Use --set oof.folds={max(2, len(groups))}, or more data."
        )
    amount = dict.fromkeys(groups, 0.0)
    for sample, pixels in zip(samples, crack, strict=True):
        amount[sample.group] += pixels
    order = [groups[i] for i in rng_for(seed, "folds").permutation(len(groups))]
    edges = np.quantile(list(amount.values()), [0.25, 0.5, 0.75])
    # deal group by group within each quartile, so that every fold gets its part of it
    order.sort(key=lambda g: int(np.searchsorted(edges, amount[g], side="right")))
    place = {g: k % count for k, g in enumerate(order)}
    return [place[s.group] for s in samples]


def out_of_fold(
    samples: Sequence[Sample], experts: Sequence[str], folds: int, seed: int, empty_gt: str, fit_copy: FitCopy
) -> Table:
    """Train each expert without each fold in turn, and score it there (threshold 0.5).

    Args:
        samples: the training split.
        experts: names of the columns.
        folds: number of folds.
        seed: decides the folds.
        empty_gt: ``fpr`` scores photos without crack by 1 - share of false pixels, ``drop`` leaves them out.
        fit_copy: trains a copy on the samples it gets and returns its predictor.

    Raises:
        DataError: fewer groups than folds; a fold whose other photos hold no crack at all.
    """
    crack = [int(np.count_nonzero(s.mask())) for s in samples]
    places = assign_folds(samples, folds, seed, crack)
    scores: list[dict[str, float]] = [{} for _ in samples]
    sides: list[dict[str, float]] = [{} for _ in samples]
    for fold in range(folds):
        outside = [k for k, p in enumerate(places) if p != fold]
        if not any(crack[k] for k in outside):
            raise DataError(f"The photos outside fold {fold} hold no crack at all: nothing can be learned from them.")
        inside = [k for k, p in enumerate(places) if p == fold]
        if not any(crack[k] for k in inside):
            progress.note(f"fold {fold} holds no crack at all: its photos are scored by their false pixels only")
        for name in experts:
            predictor = fit_copy(name, [samples[k] for k in outside], fold)
            for k in inside:
                truth = samples[k].mask()
                scores[k][name], side = score(predictor(samples[k]) >= 0.5, truth, empty_gt)
                sides[k].update({f"{s}_{name}": v for s, v in side.items()})
    rows = tuple(Row(s.id, s.group, s.domain, places[k], crack[k], scores[k], sides[k]) for k, s in enumerate(samples))
    return Table(tuple(experts), rows)


def score(prediction: MaskArray, truth: MaskArray, empty_gt: str) -> tuple[float, dict[str, float]]:
    """Eq. 1 of one photo, and what stands beside it in the table.

    A truth without crack gives 1 - share of false pixels (``fpr``) or NaN (``drop``).
    """
    tp = int(np.count_nonzero(prediction & truth))
    found, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    union = found + wanted - tp
    if wanted == 0:
        value = 1.0 - found / truth.size if empty_gt == "fpr" else math.nan
        return value, {"prec": math.nan, "rec": math.nan, "f1": math.nan, "n_pred_pixels": found}
    precision, recall = tp / found if found else 0.0, tp / wanted
    f1 = 2 * tp / (found + wanted)
    return tp / union, {"prec": precision, "rec": recall, "f1": f1, "n_pred_pixels": found}


def _row(values: Mapping[str, str], experts: Sequence[str]) -> Row:
    if None in values or None in values.values():
        raise ValueError("a line has fewer or more cells than the header")
    side = {k: _number(v) for k, v in values.items() if k.startswith(tuple(f"{s}_" for s in SIDE))}
    return Row(
        values["image_id"], values["group"], values.get("domain") or "", int(values["fold"]),
        int(values["n_gt_pixels"]), {e: _number(values[f"iou_{e}"]) for e in experts}, side,
    )  # fmt: skip


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
