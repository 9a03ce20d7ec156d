"""How sure a number is: bootstrap intervals, paired tests, several tests at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError

Statistic = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval.

    Attributes:
        value: the statistic on the data.
        low, high: ends of the interval.
        level: its confidence, e.g. 0.95.
        n: independent units behind it.
    """

    value: float
    low: float
    high: float
    level: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap(
    values: ArrayLike,
    groups: Sequence[Any] | None = None,
    statistic: Statistic | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of a statistic of per-item values, resampling whole groups.

    Args:
        values: one number an item; NaN items are left out.
        groups: unit of each item (layout, patient, clip); None makes every item its own.
        statistic: function of the resampled values; the mean by default.
        level: confidence.
        draws: bootstrap samples.
        seed: the result depends on it and the data only.

    Raises:
        DataError: no values, or groups of another length.
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    labels = np.arange(data.size) if groups is None else np.asarray(groups)
    if labels.shape != data.shape:
        raise DataError(f"There are {data.size} values but {labels.size} group labels.")
    keep = ~np.isnan(data)
    data, labels = data[keep], labels[keep]
    if data.size == 0:
        raise DataError("A bootstrap needs at least one value.")
    names, inverse = np.unique(labels, return_inverse=True)
    rng = rng_for(seed, "bootstrap", data.size, draws)
    chosen = rng.integers(len(names), size=(draws, len(names)))
    if statistic is None:
        sums = np.bincount(inverse, weights=data)
        counts = np.bincount(inverse)
        samples = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
        value = float(data.mean())
    else:
        members = [data[inverse == i] for i in range(len(names))]
        samples = np.array([statistic(np.concatenate([members[i] for i in row])) for row in chosen])
        value = float(statistic(data))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(samples, [tail, 100.0 - tail])
    return Estimate(value, float(low), float(high), level, len(names))


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval of a share of independent trials; NaN throughout for no trial.

    Raises:
        DataError: more successes than trials, or negative counts.
    """
    from scipy.stats import norm

    if not 0 <= successes <= n:
        raise DataError(f"A share needs 0 <= successes <= trials, got {successes} of {n}.")
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, level, 0)
    z = float(norm.ppf(0.5 + level / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half), level, n)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test, from the cases that only one of two methods got right."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


@dataclass(frozen=True)
class Paired:
    """A paired comparison of two methods on the same units.

    Attributes:
        difference: mean of ``b - a`` with its bootstrap interval.
        p: two-sided p-value of Wilcoxon's signed-rank test.
        effect: matched-pairs rank-biserial correlation, -1 to 1; positive where b is larger.
        smallest_p: the least p this many units can give: the test's power at a glance.
    """

    difference: Estimate
    p: float
    effect: float
    smallest_p: float


def paired(a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0) -> Paired:
    """Compare two methods unit by unit (one value a layout, patient or seed, not one an image of it).

    Raises:
        DataError: different lengths, or no pair without NaN.
    """
    from scipy.stats import wilcoxon

    first, second = (np.asarray(x, dtype=np.float64).ravel() for x in (a, b))
    if first.shape != second.shape:
        raise DataError(f"Paired values must match: {first.size} and {second.size}.")
    difference = second - first
    difference = difference[~np.isnan(difference)]
    estimate = bootstrap(difference, level=level, seed=seed)
    moved = difference[difference != 0]
    if moved.size == 0:
        return Paired(estimate, 1.0, 0.0, 1.0)
    ranks = _ranks(np.abs(moved))
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    p = float(wilcoxon(difference, zero_method="wilcox").pvalue)
    return Paired(estimate, p, effect, min(1.0, 2.0 ** (1 - moved.size)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment of several p-values; names are kept."""
    order = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def spread(values: ArrayLike) -> dict[str, float]:
    """Median, quartiles, and whiskers by the 1.5 IQR rule, as a box plot draws them."""
    data = np.asarray(values, dtype=np.float64).ravel()
    data = data[~np.isnan(data)]
    if data.size == 0:
        return dict.fromkeys(("median", "q1", "q3", "low", "high"), math.nan)
    q1, median, q3 = np.percentile(data, [25, 50, 75])
    reach = 1.5 * (q3 - q1)
    inside = data[(data >= q1 - reach) & (data <= q3 + reach)]
    return {
        "median": float(median), "q1": float(q1), "q3": float(q3),
        "low": float(inside.min()), "high": float(inside.max()),
    }  # fmt: skip


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return rankdata(values)
