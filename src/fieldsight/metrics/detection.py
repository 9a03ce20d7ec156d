"""Average precision of detectors, as the COCO evaluation counts it (Lin et al. 2014), gathered photo by photo.

Per class, found boxes are matched by falling score to the free true box of highest IoU, at ten IoUs from 0.50 to 0.95;
precision is made monotone and read at 101 recalls. A class without true boxes is undefined (NaN) and left out of means,
one without found boxes scores 0, and photos without true boxes are sources of false alarms only. The twelve COCO
numbers equal those of pycocotools on the same boxes.

A cut by confidence removes the tail of the curve, so average precision at a confidence of 0.5 never exceeds that at
0.001; both settings come out of one :class:`AveragePrecision`, by ``compute(conf)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.metrics._detection import (
    RECALLS,
    SIZES,
    APScores,
    Comparison,
    Counts,
    Curve,
    Floats,
    MatchTable,
    Operating,
    check_names,
    check_photo,
    check_strangers,
)  # fmt: skip
from fieldsight.metrics.stats import Estimate

#: IoUs at which boxes are matched.
IOUS = np.linspace(0.5, 0.95, 10)

__all__ = [
    "IOUS", "RECALLS", "SIZES", "APScores", "AveragePrecision", "Comparison", "Curve", "MatchTable", "Operating",
    "compare",
]  # fmt: skip

_HIT = np.dtype(
    [
        ("score", np.float32), ("label", np.int32), ("rank", np.int32),
        ("hit", np.uint16, (len(SIZES),)), ("ignored", np.uint16, (len(SIZES),)),
    ]
)  # fmt: skip


class AveragePrecision:
    """Accumulate photo by photo, merge shards, compute; the result does not depend on order or shards.

    Boxes are matched when they are added, and only the outcome is kept: 28 bytes a found box (at most ``limits[-1]`` a
    class and photo), no boxes and no photos. Among equal scores, photos are ordered by id and boxes as given.
    """

    def __init__(
        self, names: Sequence[str], ious: Sequence[float] | Floats = IOUS, limits: Sequence[int] = (1, 10, 100)
    ) -> None:
        """Prepare for the classes ``names``.

        Raises:
            ConfigError: no class, a name twice, IoUs not rising in (0, 1] or over 16, limits not rising from 1.
        """
        self.names = tuple(names)
        self.ious = np.asarray(ious, np.float64).reshape(-1)
        self.limits = tuple(int(n) for n in limits)
        problems = check_names(self.names)
        if not 1 <= self.ious.size <= 16 or not (np.diff(self.ious, prepend=0.0, append=1.0 + 1e-9) > 0).all():
            problems.append(f"IoUs must rise within (0, 1], 1 to 16 of them, got {self.ious.tolist()}.")
        if not self.limits or not (np.diff(self.limits, prepend=0) > 0).all():
            problems.append(f"Limits of boxes a photo must rise from 1, got {list(self.limits)}.")
        if problems:
            raise ConfigError(problems)
        self._photos: dict[str, tuple[str, NDArray[Any], Counts]] = {}
        self._table: MatchTable | None = None

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, id: str, detections: Detections, truth: Truth, group: str = "") -> None:
        """Match the boxes of one photo; it belongs to ``group``, or stands for itself.

        Raises:
            DataError: the photo was measured before, or its boxes, scores or labels make no sense.
        """
        from fieldsight.metrics import _matching

        check_photo(self._photos, id, detections, truth, len(self.names))
        order = np.lexsort((-detections.scores, detections.labels))
        labels = detections.labels[order]
        rank = np.arange(len(order)) - np.searchsorted(labels, labels)
        if len(order) > self.limits[-1]:
            kept = rank < self.limits[-1]
            order, labels, rank = order[kept], labels[kept], rank[kept]
        hits = np.zeros(len(order), _HIT)
        hits["score"], hits["label"], hits["rank"] = detections.scores[order], labels, rank
        given = np.argsort(truth.labels, kind="stable")
        area = truth.area[given].astype(np.float64)
        bits = np.zeros((2, len(order), len(SIZES)), np.uint16)
        _matching.match(
            detections.boxes[order].astype(np.float64), labels.astype(np.int64),
            truth.boxes[given].astype(np.float64), truth.labels[given].astype(np.int64), truth.ignore[given], area,
            _RANGES, self.ious, bits[0], bits[1],
        )  # fmt: skip
        hits["hit"], hits["ignored"] = bits
        self._photos[id] = (group or id, hits, _count(truth.labels[given], area, truth.ignore[given]))
        self._table = None

    def merge(self, other: AveragePrecision) -> AveragePrecision:
        """Take over another shard's photos; returns itself.

        Raises:
            DataError: it has other classes, IoUs or limits, or a photo was measured in both.
        """
        if (self.names, self.ious.tolist(), self.limits) != (other.names, other.ious.tolist(), other.limits):
            raise DataError("Only measurements with the same classes, IoUs and limits can be merged.")
        check_strangers(self._photos, other._photos)
        self._photos |= other._photos
        self._table = None
        return self

    def ids(self) -> list[str]:
        """Photos, ordered."""
        return sorted(self._photos)

    def table(self) -> MatchTable:
        """Every box after matching, photos ordered by id."""
        if self._table is None:
            rows = [self._photos[id] for id in self.ids()]
            hits = np.concatenate([np.empty(0, _HIT), *(r[1] for r in rows)])
            truths = np.concatenate([np.empty((0, 1 + len(SIZES)), np.int64), *(r[2] for r in rows)])
            photo = np.repeat(np.arange(len(rows)), np.array([len(r[1]) for r in rows], np.int64))
            order = np.lexsort((-hits["score"], hits["label"]))
            starts = np.searchsorted(hits["label"][order], np.arange(len(self.names) + 1))
            truth_photo = np.repeat(np.arange(len(rows)), np.array([len(r[2]) for r in rows], np.int64))
            self._table = MatchTable(
                tuple(r[0] for r in rows), hits["score"][order], hits["rank"][order], photo[order],
                hits["hit"][order], hits["ignored"][order], starts.astype(np.int64),
                truth_photo, truths[:, 0], truths[:, 1:],
            )  # fmt: skip
        return self._table

    def compute(self, conf: float = 0.0) -> APScores:
        """Average precision and recall of the boxes that score at least ``conf``."""
        table, ends = self.table(), self.table().ends(conf)
        shape = (len(self.names), len(self.ious))
        precision = np.full((len(SIZES), *shape, len(RECALLS)), np.nan)
        recall = np.full((len(SIZES), *shape), np.nan)
        recall_at = np.full((len(self.limits), *shape), np.nan)
        for size in range(len(SIZES)):
            _curves(table, ends, size, self.limits[-1], precision[size], recall[size])
        spare = np.empty((*shape, len(RECALLS)))
        for m, limit in enumerate(self.limits[:-1]):
            _curves(table, ends, 0, limit, spare, recall_at[m])
        recall_at[-1] = recall[0]
        truths = table.truths().astype(np.int64)
        return APScores(
            self.names, self.ious, self.limits, conf, len(self), truths, precision, recall, recall_at
        )  # fmt: skip

    def operating(self, conf: float, iou: float = 0.5) -> Operating:
        """Hits, false boxes and misses of the boxes that score at least ``conf``.

        Raises:
            ConfigError: no such IoU was measured.
        """
        table, ends = self.table(), self.table().ends(conf)
        hit, counts = self._outcomes(table, iou)
        sums = np.concatenate([[[0, 0]], np.cumsum(np.stack([hit, counts], axis=1), axis=0, dtype=np.int64)])
        tp, found = (sums[ends] - sums[table.starts[:-1]]).T
        return Operating(self.names, conf, iou, tp, found - tp, table.truths().astype(np.int64) - tp)

    def best(self, iou: float = 0.5) -> Operating:
        """The confidence with the highest F1, mean over classes; of equal ones the highest, 1 where nothing was found.

        Raises:
            ConfigError: no such IoU was measured.
        """
        table = self.table()
        hit, counts = self._outcomes(table, iou)
        truths = table.truths()
        steps = []
        for k, (start, end) in enumerate(zip(table.starts[:-1], table.starts[1:], strict=True)):
            f1 = 2 * np.cumsum(hit[start:end]) / np.maximum(np.cumsum(counts[start:end]) + truths[k], 1)
            steps.append(np.diff(f1, prepend=0.0) * (truths[k] > 0))
        order = np.argsort(-table.score, kind="stable")
        if not order.size:
            return self.operating(1.0, iou)
        scores, total = table.score[order], np.cumsum(np.concatenate(steps)[order])
        last = np.flatnonzero(np.diff(scores, append=-np.inf))
        place = last[np.flatnonzero(total[last] >= total[last].max() - 1e-12)[0]]
        return self.operating(float(scores[place]), iou)

    def curve(self, name: str, iou: float = 0.5) -> Curve:
        """Precision against recall of a class.

        Raises:
            ConfigError: no such class or IoU was measured.
        """
        if name not in self.names:
            raise ConfigError(unknown("class", name, self.names))
        table, k = self.table(), self.names.index(name)
        part = slice(table.starts[k], table.starts[k + 1])
        hit, counts = (x[part] for x in self._outcomes(table, iou))
        last = np.flatnonzero(np.diff(table.score[part], append=-np.inf))
        tp, found = np.cumsum(hit)[last], np.cumsum(counts)[last]
        truths = float(table.truths()[k])
        recall = tp / truths if truths else np.full(len(tp), np.nan)
        return Curve(name, iou, table.score[part][last].astype(np.float64), tp / np.maximum(found, 1), recall)

    def place(self, iou: float) -> int:
        """Which of the IoUs this is.

        Raises:
            ConfigError: it was not measured.
        """
        found = np.flatnonzero(np.isclose(self.ious, iou))
        if not found.size:
            raise ConfigError(f"IoU {iou:g} was not measured. Allowed: {', '.join(f'{x:g}' for x in self.ious)}.")
        return int(found[0])

    def _outcomes(self, table: MatchTable, iou: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of every box, whether it is a hit, and whether it counts at all, ``(N,)`` each."""
        bit = np.uint16(1 << self.place(iou))
        counts = (table.ignored[:, 0] & bit) == 0
        return ((table.hit[:, 0] & bit) != 0) & counts, counts


def _curves(table: MatchTable, ends: Counts, size: int, limit: int, precision: Floats, recall: Floats) -> None:
    """Fill ``(K, T, R)`` and ``(K, T)`` for the classes that have truth of this size."""
    from fieldsight.metrics import _matching

    weights = np.ones(len(table.groups))
    truths = table.truths(size)
    for k in np.flatnonzero(truths):
        part = np.arange(table.starts[k], ends[k])
        part = part[table.rank[part] < limit]
        _matching.envelope(
            table.hit[part, size], table.ignored[part, size], table.photo[part], weights, truths[k], RECALLS,
            precision[k], recall[k],
        )  # fmt: skip


def compare(
    a: AveragePrecision | Sequence[AveragePrecision], b: AveragePrecision | Sequence[AveragePrecision],
    iou: float | None = None, conf: float = 0.0, by: str = "group", level: float = 0.95, draws: int = 1000,
    seed: int = 0,
) -> Comparison:  # fmt: skip
    """Paired bootstrap of the difference of mean average precision, ``b - a``.

    Whole groups (or single photos) are drawn with replacement, the same ones for both detectors, and average precision
    is computed anew from the boxes as they were matched: a photo drawn twice counts its boxes twice. A class that has
    no true box in a draw is left out of that draw. Precision is read at its best to come, which resampling raises a
    little, so that the interval of a detector leans upward; that of a difference does so less where both lean alike.
    Of detectors that were trained several times, the mean over trainings is compared, and trainings are drawn with
    replacement too, pairs of them together.

    Args:
        a, b: measured on the same photos; or lists of them, a training (a seed) each, pair by pair.
        iou: one of the IoUs that were measured; None for the mean over all.
        conf: boxes below this score are left out.
        by: ``group`` or ``photo``, the unit drawn.
        level: confidence of the percentile intervals.
        draws: bootstrap samples.
        seed: the result depends on it and the data only.

    Raises:
        DataError: the photos, their groups or true boxes differ, or there is no true box.
        ConfigError: no such IoU or unit, classes or IoUs differ, lists of different lengths, or no draws.
    """
    first, second = ([m] if isinstance(m, AveragePrecision) else list(m) for m in (a, b))
    if not first or len(first) != len(second):
        raise ConfigError(f"Give as many trainings of one as of the other, got {len(first)} and {len(second)}.")
    for other in (*first, *second):
        _check_pair(first[0], other, by, level, draws)
    tables = [[_Resampled(m, iou, conf) for m in pair] for pair in zip(first, second, strict=True)]
    groups = first[0].table().groups if by == "group" else tuple(first[0].ids())
    names, member = np.unique(np.array(groups), return_inverse=True)
    values = _means(tables, np.ones(len(groups)), range(len(tables)))
    if math.isnan(values[0]):
        raise DataError("A comparison needs at least one true box that counts.")
    rng = rng_for(seed, "bootstrap", len(names), draws)
    samples = np.full((draws, 2), np.nan)
    for n in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        runs = rng.integers(len(tables), size=len(tables)) if len(tables) > 1 else [0]
        samples[n] = _means(tables, times[member].astype(np.float64), runs)
    samples = samples[~np.isnan(samples[:, 0])]
    gap = samples[:, 1] - samples[:, 0]
    tail = 50.0 * (1.0 - level)

    def estimate(value: float, drawn: Floats) -> Estimate:
        low, high = np.percentile(drawn, [tail, 100.0 - tail]) if drawn.size else (math.nan, math.nan)
        return Estimate(value, float(low), float(high), level, len(names))

    p = min(1.0, 2.0 * (1 + min(int((gap <= 0).sum()), int((gap >= 0).sum()))) / (1 + len(gap)))
    return Comparison(
        estimate(values[0], samples[:, 0]), estimate(values[1], samples[:, 1]), estimate(values[1] - values[0], gap), p
    )


def _means(pairs: Sequence[Sequence[_Resampled]], weights: Floats, runs: Iterable[int]) -> tuple[float, float]:
    """Mean over trainings of both detectors."""
    chosen = [pairs[n] for n in runs]
    first, second = (float(np.mean([pair[k].value(weights) for pair in chosen])) for k in (0, 1))
    return first, second


class _Resampled:
    """Mean average precision of a detector where photos count any number of times."""

    def __init__(self, measured: AveragePrecision, iou: float | None, conf: float) -> None:
        self.table = table = measured.table()
        hit, ignored = table.hit[:, 0], table.ignored[:, 0]
        if iou is not None:
            place = np.uint16(measured.place(iou))
            hit, ignored = hit >> place, ignored >> place
        self.bits = np.ascontiguousarray(hit), np.ascontiguousarray(ignored)
        self.ends = table.ends(conf)
        self.out = np.empty((len(measured.names), len(measured.ious) if iou is None else 1))

    def value(self, weights: Floats) -> float:
        """NaN where no true box is left."""
        from fieldsight.metrics import _matching

        table = self.table
        _matching.mean_precision(
            *self.bits, table.photo, table.starts[:-1], self.ends, weights, table.truths(weights=weights), RECALLS,
            self.out,
        )  # fmt: skip
        defined = self.out[~np.isnan(self.out[:, 0])]
        return float(defined.mean()) if defined.size else math.nan


def _check_pair(a: AveragePrecision, b: AveragePrecision, by: str, level: float, draws: int) -> None:
    if by not in ("group", "photo"):
        raise ConfigError(unknown("unit of the bootstrap", by, ("group", "photo")))
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(f"A bootstrap needs draws >= 1 and 0 < level < 1, got {draws} and {level:g}.")
    if (a.names, a.ious.tolist()) != (b.names, b.ious.tolist()):
        raise ConfigError("Two detectors can be compared where both were measured with the same classes and IoUs.")
    if a.ids() != b.ids():
        strangers = sorted(set(a.ids()) ^ set(b.ids()))
        raise DataError(f"Two detectors must be measured on the same photos; only one has '{strangers[0]}'.")
    first, second = a.table(), b.table()
    same = ("groups", "truth_photo", "truth_label", "truth_count")
    if any(not np.array_equal(getattr(first, name), getattr(second, name)) for name in same):
        raise DataError("Two detectors must be measured against the same true boxes, in the same groups.")


_RANGES = np.array(list(SIZES.values()))


def _count(labels: Counts, area: Floats, ignore: NDArray[np.bool_]) -> Counts:
    """Ordered labels to rows of a label and its true boxes that count in each range of areas, ``(n, 1 + A)``."""
    first = np.flatnonzero(np.diff(labels, prepend=-1))
    if not first.size:
        return np.empty((0, 1 + len(SIZES)), np.int64)
    counted = ~ignore[:, None] & (area[:, None] >= _RANGES[:, 0]) & (area[:, None] <= _RANGES[:, 1])
    return np.column_stack([labels[first], np.add.reduceat(counted, first, axis=0, dtype=np.int64)])
