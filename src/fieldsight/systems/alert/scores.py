"""Counting alarms against dangers, sample by sample, as the paper does; ratios, intervals, sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.metrics.stats import Estimate, wilson

#: The settings of the paper's Table 2, in its order, and the pair its text praises without testing it.
TABLE2 = ((-5.0, 3.0), (-3.0, 3.0), (-2.2, 1.0), (-2.2, 3.0), (-2.2, 5.0), (-1.0, 3.0))
UNTESTED = (-1.0, 5.0)


@dataclass(frozen=True)
class Counts:
    """Samples by alarm and danger. A ratio without cases is NaN; F1 is 0 when nothing was found but something was
    there or said."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        """All samples."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """``TP / (TP + FN)``."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """``TN / (TN + FP)``."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> float:
        """``(TP + TN) / n``."""
        return _ratio(self.tp + self.tn, self.n)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity."""
        return 0.5 * (self.recall + self.specificity)

    @property
    def f1(self) -> float:
        """``2 P R / (P + R)``."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> float:
        """Matthews correlation; NaN where a row or column is empty."""
        product = (
            (self.tp + self.fp) * (self.tp + self.fn) * (self.tn + self.fp) * (self.tn + self.fn)
        )  # integers: no overflow, no rounding
        return _ratio(self.tp * self.tn - self.fp * self.fn, math.sqrt(product))

    def ratios(self) -> dict[str, float]:
        """All of them by name."""
        names = ("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy", "mcc")
        return {name: getattr(self, name) for name in names}

    def intervals(self) -> dict[str, Estimate]:
        """Wilson intervals of precision, recall and accuracy, as if samples were independent."""
        return {
            "precision": wilson(self.tp, self.tp + self.fp),
            "recall": wilson(self.tp, self.tp + self.fn),
            "accuracy": wilson(self.tp + self.tn, self.n),
        }


def count(alert: ArrayLike, danger: ArrayLike) -> Counts:
    """Count samples.

    Args:
        alert, danger: ``(n,)`` booleans.

    Raises:
        DataError: different lengths.
    """
    a, d = np.asarray(alert, dtype=bool), np.asarray(danger, dtype=bool)
    if a.shape != d.shape:
        raise DataError(f"There are {a.size} alarms and {d.size} labels.")
    return Counts(int((a & d).sum()), int((a & ~d).sum()), int((~a & d).sum()), int((~a & ~d).sum()))


@dataclass(frozen=True)
class Samples:
    """Readings with labels: what a sweep needs, and all that Table A1 holds.

    Attributes:
        clip: ``(n,)`` words; rows of one clip are not independent.
        kind: ``(n,)`` words: the class of the threat.
        t: ``(n,)`` s.
        speed, tti: ``(n,)`` m/s and s; 9999 and infinity both mean no impact.
        danger: ``(n,)`` booleans.
    """

    clip: NDArray[np.str_]
    kind: NDArray[np.str_]
    t: NDArray[np.float64]
    speed: NDArray[np.float64]
    tti: NDArray[np.float64]
    danger: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.speed)

    def alerts(self, speed: float, tti: float, inclusive: bool = False) -> NDArray[np.bool_]:
        """Equation 8 at two thresholds; ``inclusive`` is the reading that the paper does not mean."""
        if inclusive:
            return (self.speed <= speed) & (self.tti <= tti)
        return (self.speed < speed) & (self.tti < tti)

    def select(self, keep: NDArray[np.bool_]) -> Samples:
        """Some of the rows."""
        return Samples(*(getattr(self, f)[keep] for f in ("clip", "kind", "t", "speed", "tti", "danger")))


def sweep(samples: Samples, pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float, Counts]]:
    """Counts at several pairs of thresholds; looser ones never lose an alarm."""
    return [(v, t, count(samples.alerts(v, t), samples.danger)) for v, t in pairs]


def by_group(alert: ArrayLike, danger: ArrayLike, groups: Sequence[str]) -> dict[str, Counts]:
    """Counts by class, city or clip, in alphabetical order."""
    a, d, g = np.asarray(alert, dtype=bool), np.asarray(danger, dtype=bool), np.asarray(groups)
    return {str(name): count(a[g == name], d[g == name]) for name in np.unique(g)}


def clustered(
    alert: ArrayLike, danger: ArrayLike, clips: Sequence[str], level: float = 0.95, draws: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Percentile intervals of the ratios over resampled clips: samples of one clip are not independent.

    Resamples in which a ratio has no case are left out of its interval.
    """
    whole = count(alert, danger)
    groups = by_group(alert, danger, clips)
    table = np.array([[c.tp, c.fp, c.fn, c.tn] for c in groups.values()], dtype=np.int64)
    rng = rng_for(seed, "clips", len(table), draws)
    sums = table[rng.integers(len(table), size=(draws, len(table)))].sum(axis=1)
    tp, fp, fn, tn = sums.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn: Mapping[str, NDArray[np.float64]] = {
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
        }
    tail = 50 * (1 - level)
    found = {}
    for name, values in drawn.items():
        kept = values[np.isfinite(values)]
        low, high = np.percentile(kept, [tail, 100 - tail]) if kept.size else (math.nan, math.nan)
        found[name] = Estimate(getattr(whole, name), float(low), float(high), level, len(table))
    return found


def tolerant_recall(samples: Samples, alert: NDArray[np.bool_], within: float = 0.4) -> tuple[int, int]:
    """Danger rows with an alarm of the same clip within so many seconds, and all danger rows."""
    covered, total = 0, 0
    for name in np.unique(samples.clip):
        here = samples.clip == name
        t, a = samples.t[here], alert[here]
        for moment in t[samples.danger[here]]:
            total += 1
            covered += bool((np.abs(t[a] - moment) <= within + 1e-9).any())
    return covered, total


def auc(score: ArrayLike, danger: ArrayLike) -> float:
    """Probability that a dangerous row scores higher than a harmless one, ties half; NaN where one kind is missing."""
    from scipy.stats import rankdata

    s, d = np.asarray(score, dtype=np.float64), np.asarray(danger, dtype=bool)
    positive, negative = int(d.sum()), int((~d).sum())
    if not positive or not negative:
        return math.nan
    return float((rankdata(s)[d].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
