"""Scores of many photos: pooled and mean numbers, their intervals, and methods compared on the same photos.

What is kept are the numbers of each photo; pooled ones are made of its counts, so that any resample of photos has
its pooled numbers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError, unknown
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import Estimate, Paired, holm, paired
from fieldsight.systems.crack.scores import COUNTS, Counts, Mask, measure_image, pooled_scores

By = Literal["image", "group"]


class Pool:
    """Numbers of many photos, gathered in any order and merged from any shards; ids must be unique."""

    def __init__(self) -> None:
        self.items = PerItem()
        self._ids: list[str] = []

    def add(self, id: str, prediction: Mask, truth: Mask, group: str = "") -> None:
        """Measure one photo, see :func:`measure_image`; ``group`` is what it was cut from."""
        self.add_values(id, measure_image(prediction, truth), group)

    def add_counts(self, id: str, counts: Counts, group: str = "") -> None:
        """Record one photo of which only the pixels are counted."""
        self.add_values(id, {**counts.values(), **counts.image()}, group)

    def add_values(self, id: str, values: Mapping[str, float], group: str = "") -> None:
        """Record what :func:`measure_image` gave; ``tp fp fn tn`` must be among it.

        Raises:
            DataError: a count is missing, or the id was recorded before.
        """
        if missing := [name for name in COUNTS if name not in values]:
            raise DataError(f"The numbers of '{id}' lack {', '.join(missing)}, which pooled numbers need.")
        self.items.add(id, values, group)
        self._ids.append(id)

    def merge(self, other: Pool) -> Pool:
        """Take over another shard's photos; returns itself."""
        self.items.merge(other.items)
        self._ids += other._ids
        return self

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[str]:
        """Ids in the order of all columns."""
        return sorted(self._ids)

    def counts(self) -> NDArray[np.float64]:
        """``(N, 4)``: tp, fp, fn, tn of every photo, ordered by id."""
        return np.stack([self.items.column(name) for name in COUNTS], axis=1)

    def total(self) -> Counts:
        """Pixels of all photos together."""
        return Counts(*(int(value) for value in self.counts().sum(axis=0))) if self._ids else Counts()

    def compute(self) -> dict[str, float]:
        """Pooled numbers, then the mean over photos of every plain one (photos without a value left out)."""
        means = {name: value for name, value in self.items.compute().items() if name not in COUNTS}
        return {**self.total().pooled(), **means}

    def notes(self) -> list[str]:
        """What to tell beside the numbers: empty cases and every 0/0."""
        found = self.total().notes()
        if self._ids:
            tp, fp, fn, _ = self.counts().T
            both, false, missed = (tp + fp + fn == 0), (tp + fn == 0) & (fp > 0), (tp + fp == 0) & (fn > 0)
            for cases, text in (
                (both, "without crack in truth and prediction count as IoU and F1 1, outside precision and recall"),
                (false, "without true crack have predicted crack and count as 0"),
                (missed, "with true crack have none predicted and count as 0"),
            ):
                if cases.any():
                    found.append(f"{int(cases.sum())} of {len(self)} photos {text}.")
        return found

    def interval(self, name: str = "pooled_iou", by: By = "image", draws: int = 10_000, seed: int = 0) -> Estimate:
        """A pooled number with its 95 % bootstrap interval, resampling photos or whole groups.

        Raises:
            DataError: no photos, or not the name of a pooled number.
        """
        units = _units([self], by)
        value = _pooled(units[0].sum(axis=0), name)
        samples = np.concatenate([_pooled(times @ units[0], name) for times in _resamples(len(units[0]), draws, seed)])
        low, high = np.percentile(samples, [2.5, 97.5])
        return Estimate(float(value), float(low), float(high), 0.95, len(units[0]))


@dataclass(frozen=True)
class Comparison:
    """One method against a reference on the same photos.

    Attributes:
        name: the method.
        pooled: differences of pooled numbers (method - reference) with paired bootstrap intervals, by name.
        images: Wilcoxon's test on the differences of the IoU, photo by photo or group mean by group mean.
        p_holm: its p-value after Holm's correction for all methods compared.
    """

    name: str
    pooled: dict[str, Estimate]
    images: Paired
    p_holm: float


def compare(
    reference: Pool,
    others: Mapping[str, Pool],
    names: Sequence[str] = ("pooled_iou", "pooled_f1"),
    by: By = "image",
    draws: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare methods with a reference: paired bootstrap of pooled numbers, Wilcoxon and Holm on the IoU of photos.

    Every method sees the same resamples. ``by="group"`` resamples and tests whole groups, which crops of one photo
    need to count as one.

    Raises:
        DataError: different photos or groups, none at all, or not the name of a pooled number.
    """
    pools = [reference, *others.values()]
    units = _units(pools, by)
    samples: list[list[NDArray[np.float64]]] = [[] for _ in pools]
    for times in _resamples(len(units[0]), draws, seed):
        for found, own in zip(samples, units, strict=True):
            summed = times @ own
            found.append(np.stack([_pooled(summed, name) for name in names]))
    drawn = [np.concatenate(found, axis=1) for found in samples]
    points = [np.array([_pooled(own.sum(axis=0), name) for name in names]) for own in units]
    tables = [pool.items.by_group() if by == "group" else pool.items for pool in pools]
    tests = {
        name: paired(tables[0].column("iou"), table.column("iou"), seed=seed)
        for name, table in zip(others, tables[1:], strict=True)
    }
    adjusted = holm({name: test.p for name, test in tests.items()})
    result = []
    for i, name in enumerate(others, start=1):
        low, high = np.percentile(drawn[i] - drawn[0], [2.5, 97.5], axis=1)
        value = points[i] - points[0]
        estimates = {
            metric: Estimate(float(value[j]), float(low[j]), float(high[j]), 0.95, len(units[0]))
            for j, metric in enumerate(names)
        }
        result.append(Comparison(name, estimates, tests[name], adjusted[name]))
    return result


def _units(pools: Sequence[Pool], by: By) -> list[NDArray[np.float64]]:
    """Counts ``(U, 4)`` of each pool's independent units, in one order."""
    first = pools[0]
    if not len(first):
        raise DataError("There are no photos to compare. Add some first.")
    groups = first.items.groups()
    for pool in pools[1:]:
        if pool.ids != first.ids or pool.items.groups() != groups:
            raise DataError("The methods were measured on different photos or groups. Measure all on the same ones.")
    if by == "image":
        return [pool.counts() for pool in pools]
    names, inverse = np.unique(groups, return_inverse=True)
    member = (inverse[None] == np.arange(len(names))[:, None]).astype(np.float64)
    return [member @ pool.counts() for pool in pools]


def _resamples(n: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of n units is drawn, ``(some draws, n)`` at a time; the same for the same n, draws and seed."""
    rng = rng_for(seed, "crack", "bootstrap", n, draws)
    step = max(1, min(draws, 2_000_000 // n))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        places = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _pooled(counts: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    found = pooled_scores(counts)
    if name not in found:
        raise DataError(unknown("pooled number", name, found))
    return found[name]
