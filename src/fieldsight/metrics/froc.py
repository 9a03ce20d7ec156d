"""Free-response ROC of detectors: sensitivity against false boxes a photo (Bunch et al. 1978; Chakraborty 1989).

A true box (lesion) is found at the score of the best found box of its class that hits it. A found box that hits no true
box is false; one that hits only ignored ones, or a true box that a better one hits, is neither. The order of boxes and
photos does not matter. Photos without true boxes count as photos. The mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8
false boxes a photo is the score of LUNA16 (Setio et al. 2017) and, from 1/4 on, of CAMELYON16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.metrics._detection import check_names, check_photo, check_strangers
from fieldsight.metrics.stats import Estimate

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

#: False boxes a photo at which sensitivity is read.
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CRITERIA = ("iou", "centre")


@dataclass(frozen=True)
class FROCCurve:
    """Sensitivity against false boxes a photo; boxes of equal score enter together.

    Attributes:
        scores: ``(P,)`` distinct, falling.
        false: ``(P,)`` false boxes a photo from this score on.
        sensitivity: ``(P,)`` share of the true boxes found from this score on; NaN without any.
    """

    scores: Floats
    false: Floats
    sensitivity: Floats


@dataclass(frozen=True)
class FROCScores:
    """Sensitivities with intervals.

    Attributes:
        rates: false boxes a photo.
        sensitivity: one estimate a rate.
        mean: of the sensitivities at all rates.
        photos, lesions: how many were measured.
    """

    rates: tuple[float, ...]
    sensitivity: tuple[Estimate, ...]
    mean: Estimate
    photos: int
    lesions: int

    def numbers(self) -> dict[str, float]:
        """The values without intervals: ``sensitivity@0.125`` and so on, ``mean sensitivity``."""
        found = {f"sensitivity@{r:g}": e.value for r, e in zip(self.rates, self.sensitivity, strict=True)}
        return found | {"mean sensitivity": self.mean.value}


@dataclass(frozen=True)
class _Photo:
    """What is kept of a photo: labels and scores of lesions (-inf for a missed one) and of false boxes."""

    group: str
    lesion_labels: Counts
    lesion_scores: Floats
    false_labels: Counts
    false_scores: Floats


class FROC:
    """Accumulate photo by photo, merge shards, compute; the result does not depend on order or shards."""

    def __init__(self, names: Sequence[str], criterion: str = "iou", iou: float = 0.5) -> None:
        """Prepare for the classes ``names``.

        Args:
            names: of the classes; a box hits boxes of its own class only.
            criterion: ``iou``, or ``centre``: the centre of the found box lies in the true one, border included.
            iou: least overlap of a hit; over the found area where the true box is an ignored region.

        Raises:
            ConfigError: no class, no such criterion, or an IoU outside (0, 1].
        """
        self.names, self.criterion, self.iou = tuple(names), criterion, float(iou)
        problems = check_names(self.names)
        if criterion not in CRITERIA:
            problems.append(unknown("criterion of a hit", criterion, CRITERIA))
        if not 0 < iou <= 1:
            problems.append(f"The IoU of a hit must be above 0 and at most 1, got {iou:g}.")
        if problems:
            raise ConfigError(problems)
        self._photos: dict[str, _Photo] = {}

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, id: str, detections: Detections, truth: Truth, group: str = "") -> None:
        """Take the boxes of one photo; it belongs to ``group`` (a patient), or stands for itself.

        Raises:
            DataError: the photo was measured before, or its boxes, scores or labels make no sense.
        """
        check_photo(self._photos, id, detections, truth, len(self.names))
        hits = self._hits(detections, truth) & (detections.labels[:, None] == truth.labels)
        scores = detections.scores.astype(np.float64)
        found = np.where(hits, scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
        lesion, false = ~truth.ignore, ~hits.any(axis=1)
        self._photos[id] = _Photo(
            group or id, truth.labels[lesion], found[lesion], detections.labels[false], scores[false]
        )

    def _hits(self, detections: Detections, truth: Truth) -> NDArray[np.bool_]:
        """Which found boxes hit which true ones, ``(D, G)``, whatever their classes."""
        found, boxes = detections.boxes.astype(np.float64)[:, None], truth.boxes.astype(np.float64)
        if self.criterion == "centre":
            centre = (found[..., :2] + found[..., 2:]) / 2
            return np.asarray(((centre >= boxes[:, :2]) & (centre <= boxes[:, 2:])).all(axis=-1))
        sides = np.minimum(found[..., 2:], boxes[:, 2:]) - np.maximum(found[..., :2], boxes[:, :2])
        shared = np.maximum(sides, 0.0).prod(axis=-1)
        own, other = ((x[..., 2:] - x[..., :2]).prod(axis=-1) for x in (found, boxes))
        whole = np.where(truth.ignore, own, own + other - shared)
        return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0) >= self.iou)

    def merge(self, other: FROC) -> FROC:
        """Take over another shard's photos; returns itself.

        Raises:
            DataError: it has other classes or another criterion, or a photo was measured in both.
        """
        if (self.names, self.criterion, self.iou) != (other.names, other.criterion, other.iou):
            raise DataError("Only measurements with the same classes and criterion can be merged.")
        check_strangers(self._photos, other._photos)
        self._photos |= other._photos
        return self

    def curve(self, name: str | None = None) -> FROCCurve:
        """The curve of one class, or of all together.

        Raises:
            ConfigError: no such class.
        """
        scores, false, sensitivity = self._pooled(name).points(np.ones(len(self)))
        return FROCCurve(scores, false, sensitivity)

    def compute(
        self, name: str | None = None, rates: Sequence[float] = RATES, interpolate: bool = False, by: str = "group",
        level: float = 0.95, draws: int = 1000, seed: int = 0,
    ) -> FROCScores:  # fmt: skip
        """Sensitivities at rates of false boxes, with percentile intervals from resampled groups or photos.

        Args:
            name: a class; all together by default.
            rates: false boxes a photo.
            interpolate: read between the points of the curve, as LUNA16 and CAMELYON16 do; else the highest
                sensitivity that a confidence reaches with at most so many false boxes.
            by: ``group`` or ``photo``, the unit drawn.
            level: confidence of the intervals.
            draws: bootstrap samples; 0 for no intervals (NaN).
            seed: the result depends on it and the data only.

        Raises:
            ConfigError: no such class or unit, rates that are not positive, negative draws or an impossible level.
        """
        if by not in ("group", "photo"):
            raise ConfigError(unknown("unit of the bootstrap", by, ("group", "photo")))
        if not rates or not all(r > 0 and math.isfinite(r) for r in rates) or draws < 0 or not 0 < level < 1:
            raise ConfigError(f"Rates must be above 0, draws at least 0, level in (0, 1): {rates}, {draws}, {level}.")
        pooled, at = self._pooled(name), np.asarray(rates, np.float64)
        ids = sorted(self._photos)
        units = [self._photos[id].group if by == "group" else id for id in ids]
        names, member = np.unique(np.array(units, dtype=str), return_inverse=True)
        value = pooled.read(at, np.ones(len(ids)), interpolate)
        rng = rng_for(seed, "bootstrap", len(names), draws)
        samples = []
        for _ in range(draws if len(names) else 0):
            times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            samples.append(pooled.read(at, times[member].astype(np.float64), interpolate))
        drawn = np.array(samples).reshape(-1, len(at))
        drawn = drawn[~np.isnan(drawn[:, 0])]
        ends = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]

        def estimate(point: float, sample: Floats) -> Estimate:
            low, high = np.percentile(sample, ends) if sample.size else (math.nan, math.nan)
            return Estimate(point, float(low), float(high), level, len(names))

        each = tuple(estimate(float(v), drawn[:, n]) for n, v in enumerate(value))
        mean = estimate(float(value.mean()), drawn.mean(axis=1))
        return FROCScores(tuple(float(r) for r in rates), each, mean, len(ids), len(pooled.lesions))

    def _pooled(self, name: str | None) -> _Pooled:
        if name is not None and name not in self.names:
            raise ConfigError(unknown("class", name, self.names))
        photos = [self._photos[id] for id in sorted(self._photos)]
        place = None if name is None else self.names.index(name)
        return _Pooled(
            *_together([(p.lesion_labels, p.lesion_scores) for p in photos], place),
            *_together([(p.false_labels, p.false_scores) for p in photos], place),
        )


def _together(parts: list[tuple[Counts, Floats]], label: int | None) -> tuple[Floats, Counts]:
    """Scores of all photos, falling, and the photo of each."""
    labels = np.concatenate([np.empty(0, np.int64), *(p[0] for p in parts)])
    scores = np.concatenate([np.empty(0), *(p[1] for p in parts)])
    photo = np.repeat(np.arange(len(parts)), np.array([len(p[1]) for p in parts], np.int64))
    kept = np.arange(len(scores)) if label is None else np.flatnonzero(labels == label)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return scores[order], photo[order]


@dataclass(frozen=True)
class _Pooled:
    """Scores of lesions and false boxes, falling, with the photo of each."""

    lesions: Floats
    lesion_photo: Counts
    falses: Floats
    false_photo: Counts

    def points(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Distinct scores, false boxes a photo and sensitivity from each on, photos counted ``weights`` times."""
        scores = np.unique(np.concatenate([self.lesions[np.isfinite(self.lesions)], self.falses]))[::-1]
        false = self._from(self.falses, weights[self.false_photo], scores) / max(weights.sum(), 1.0)
        return scores, false, self._share(weights, self._from(self.lesions, weights[self.lesion_photo], scores))

    def read(self, rates: Floats, weights: Floats, interpolate: bool) -> Floats:
        """Sensitivity at rates of false boxes a photo; NaN without lesions."""
        if interpolate and weights[self.lesion_photo].any():
            _, false, sensitivity = self.points(weights)
            return np.interp(rates, np.concatenate([[0.0], false]), np.concatenate([[0.0], sensitivity]))
        total = np.cumsum(weights[self.false_photo])
        first = np.searchsorted(total, rates * weights.sum(), side="right")  # the false box that would be too many
        limit = np.append(self.falses, -np.inf)[first]
        above = np.searchsorted(-self.lesions, -limit, side="left")
        return self._share(weights, np.append(0.0, np.cumsum(weights[self.lesion_photo]))[above])

    def _share(self, weights: Floats, found: Floats) -> Floats:
        lesions = weights[self.lesion_photo].sum()
        return found / lesions if lesions else np.full(found.shape, np.nan)

    @staticmethod
    def _from(falling: Floats, weights: Floats, scores: Floats) -> Floats:
        """Weight of what scores at least so much."""
        return np.append(0.0, np.cumsum(weights))[np.searchsorted(-falling, -scores, side="right")]
