"""What comes out of measuring a detector: :mod:`~fieldsight.metrics.detection` makes these."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.errors import DataError
from fieldsight.metrics.stats import Estimate
from fieldsight.predictions import Table

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

#: IoUs at which boxes are matched.
IOUS = np.linspace(0.5, 0.95, 10)
#: Recalls at which precision is read.
RECALLS = np.linspace(0.0, 1.0, 101)
#: Ranges of object area in square pixels, both ends included.
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class APScores:
    """What :meth:`AveragePrecision.compute` found. A sizes, K classes, T IoUs, R recalls, M limits of boxes.

    Attributes:
        names: of the classes.
        ious: ``(T,)``.
        limits: most boxes of a class and photo that recall counts, rising; precision is at the last.
        conf: boxes below this score were left out.
        photos: how many were measured.
        truths: ``(K,)`` true boxes that count.
        precision: ``(A, K, T, R)`` highest precision at or beyond each recall; NaN for a class without truth.
        recall: ``(A, K, T)`` at the last limit.
        recall_at: ``(M, K, T)`` for objects of all sizes.
    """

    names: tuple[str, ...]
    ious: Floats
    limits: tuple[int, ...]
    conf: float
    photos: int
    truths: Counts
    precision: Floats
    recall: Floats
    recall_at: Floats

    @property
    def ap(self) -> Floats:
        """Average precision ``(K, T)`` for objects of all sizes; NaN for a class without truth."""
        return np.asarray(self.precision[0].mean(axis=-1))

    def numbers(self) -> dict[str, float]:
        """The COCO numbers in 0-1: means over classes and IoUs, NaN where nothing defines them."""
        ap = self.precision.mean(axis=-1)
        found = {"mAP50-95": _mean(ap[0]), "mAP50": self._at(ap[0], 0.5), "mAP75": self._at(ap[0], 0.75)}
        found |= {f"mAP-{size}": _mean(ap[a]) for a, size in enumerate(SIZES) if a}
        found |= {f"AR{limit}": _mean(self.recall_at[m]) for m, limit in enumerate(self.limits)}
        return found | {f"AR-{size}": _mean(self.recall[a]) for a, size in enumerate(SIZES) if a}

    def per_class(self) -> Table:
        """The classes as rows: true boxes, AP50-95, AP50, AP75, AR at the last limit."""
        rows = [
            {
                "class": name, "truths": int(self.truths[k]), "AP50-95": _plain(_mean(self.ap[k])),
                "AP50": _plain(self._at(self.ap[k : k + 1], 0.5)), "AP75": _plain(self._at(self.ap[k : k + 1], 0.75)),
                "AR": _plain(_mean(self.recall[0, k])),
            }
            for k, name in enumerate(self.names)
        ]  # fmt: skip
        columns = dict.fromkeys(("class", "truths", "AP50-95", "AP50", "AP75", "AR"), "")
        return Table(columns, rows, f"average precision by class, confidence from {self.conf:g}")

    def _at(self, values: Floats, iou: float) -> float:
        """Mean over classes of ``(K, T)`` at one IoU; NaN where it was not measured."""
        return _mean(values[:, np.isclose(self.ious, iou)])


@dataclass(frozen=True)
class Operating:
    """Hits and misses at one confidence and IoU.

    Attributes:
        names: of the classes.
        conf: boxes from this score on count.
        iou: from which a box is a hit.
        tp, fp, fn: ``(K,)`` hits, false boxes, missed boxes.
    """

    names: tuple[str, ...]
    conf: float
    iou: float
    tp: Counts
    fp: Counts
    fn: Counts

    @property
    def precision(self) -> Floats:
        """``(K,)``; 0 where nothing was found, NaN for a class without truth."""
        return self._share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """``(K,)``; NaN for a class without truth."""
        return self._share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> Floats:
        """``(K,)``; NaN for a class without truth."""
        return self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def numbers(self) -> dict[str, float]:
        """P, R and F1: means over the classes that have truth (F1 is the mean of their F1)."""
        return {"P": _mean(self.precision), "R": _mean(self.recall), "F1": _mean(self.f1)}

    def pooled(self) -> dict[str, float]:
        """P, R and F1 of all boxes together, false boxes of classes without truth included; NaN without any truth."""
        whole = Operating(("all",), self.conf, self.iou, *(x.sum(keepdims=True) for x in (self.tp, self.fp, self.fn)))
        return whole.numbers()

    def _share(self, part: Counts, whole: Counts) -> Floats:
        found = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
        return np.asarray(np.where(self.tp + self.fn > 0, found, np.nan))


@dataclass(frozen=True)
class Curve:
    """Precision against recall of one class; boxes of equal score enter together.

    Attributes:
        name: of the class.
        iou: from which a box is a hit.
        scores: ``(P,)`` distinct, falling.
        precision, recall: ``(P,)`` of the boxes from this score on; recall is NaN for a class without truth.
    """

    name: str
    iou: float
    scores: Floats
    precision: Floats
    recall: Floats

    @property
    def f1(self) -> Floats:
        """``(P,)``, the harmonic mean of precision and recall; 0 where both are 0."""
        total = self.precision + self.recall
        return np.asarray(2 * self.precision * self.recall / np.where(total == 0, 1.0, total))


@dataclass(frozen=True)
class MatchTable:
    """All boxes of all photos after matching, class after class, within a class by falling score.

    Attributes:
        groups: of the photos, which are ordered by id.
        score, rank, photo: ``(N,)``; rank within class and photo.
        hit, ignored: ``(N, A)`` bits, one for every IoU.
        starts: ``(K + 1,)``, where the boxes of a class begin.
        truth_photo, truth_label: ``(M,)``, photos and classes that have true boxes.
        truth_count: ``(M, A)``, how many count.
    """

    groups: tuple[str, ...]
    score: NDArray[np.float32]
    rank: NDArray[np.int32]
    photo: Counts
    hit: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    starts: Counts
    truth_photo: Counts
    truth_label: Counts
    truth_count: Counts

    def ends(self, conf: float) -> Counts:
        """Where the boxes of each class fall below a score, ``(K,)``."""
        kept = np.concatenate([[0], np.cumsum(self.score >= np.float32(conf))])
        return np.asarray(self.starts[:-1] + kept[self.starts[1:]] - kept[self.starts[:-1]])

    def truths(self, size: int = 0, weights: Floats | None = None) -> Floats:
        """True boxes of each class ``(K,)``, each photo counted ``weights`` times."""
        counts = self.truth_count[:, size] * (1.0 if weights is None else weights[self.truth_photo])
        return np.bincount(self.truth_label, counts, len(self.starts) - 1).astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Two detectors on the same photos.

    Attributes:
        a, b: mean average precision of each with its interval.
        difference: of ``b - a``, both on the same resampled photos.
        p: two-sided, from the share of resamples on either side of no difference; at least ``1 / (draws + 1)``.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float


def check_names(names: Sequence[str]) -> list[str]:
    """What is wrong with the names of classes."""
    if not names or len(set(names)) < len(names):
        return [f"Classes need names of their own, at least one, got {list(names)}."]
    return []


def check_strangers(ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Refuse to merge shards that share photos.

    Raises:
        DataError: a photo is in both.
    """
    twice = sorted(set(ours) & set(theirs))
    if twice:
        raise DataError(f"The photo '{twice[0]}' was measured twice ({len(twice)} photos in both shards).")


def check_photo(measured: Container[str], id: str, detections: Detections, truth: Truth, classes: int) -> None:
    """Refuse what can't be measured.

    Raises:
        DataError: the photo was measured before, lengths differ, a number is not finite, a box ends before it begins,
            or a label is no class.
    """
    if id in measured:
        raise DataError(f"The photo '{id}' was measured twice.")
    for what, boxes, labels, others in (
        ("found", detections.boxes, detections.labels, (detections.scores,)),
        ("true", truth.boxes, truth.labels, (truth.ignore, truth.area)),
    ):
        n = len(boxes)
        if boxes.shape != (n, 4) or labels.shape != (n,) or any(x.shape != (n,) for x in others):
            shapes = ", ".join(str(x.shape) for x in (labels, *others))
            raise DataError(
                f"Photo '{id}': {n} {what} boxes of shape {boxes.shape} need as many labels and numbers, got {shapes}."
            )
        if not n:
            continue
        if not (np.isfinite(boxes).all() and all(np.isfinite(x).all() for x in others)):
            raise DataError(f"Photo '{id}': {what} boxes hold numbers that are not finite.")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise DataError(f"Photo '{id}': {what} boxes must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2.")
        if labels.min() < 0 or labels.max() >= classes:
            got = f"{labels.min()} to {labels.max()}"
            raise DataError(f"Photo '{id}': labels of {what} boxes must be 0 to {classes - 1}, got {got}.")


def _mean(values: Floats) -> float:
    """Mean of what is defined."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
