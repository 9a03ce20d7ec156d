"""What a score is worth: how often boxes of a score are right, and scores corrected to say so.

A box is right where it hits a true box of its class at IoU 0.5, matched as COCO matches; boxes on ignored regions are
left out. Correction is by temperature (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), on request
with an offset (Platt 1999; Kueppers et al., "Multivariate Confidence Calibration for Object Detection", 2020):

    p = sigmoid(logit(score) / T + b)

It keeps the order of scores, and with it every curve of precision and recall; only thresholds move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.errors import ConfigError, DataError
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.predictions import Table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Scores are kept this far from 0 and 1, where a logit is infinite.
EDGE = 1e-6

#: Temperatures that are looked for.
COLDEST, HOTTEST = 0.05, 20.0

#: Boxes of a photo and class that are matched, the best ones.
MOST = 1000


@dataclass(frozen=True)
class Scored:
    """Boxes of many photos after matching.

    Attributes:
        scores: ``(N,)`` in 0-1.
        right: ``(N,)``, whether each hit a true box.
    """

    scores: Floats
    right: Bools

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Reliability:
    """Scores against how often they were right.

    Attributes:
        ece: expected calibration error, mean of ``|share right - mean score|`` over boxes; None without boxes.
        worst: the largest such gap of a bin; None without boxes.
        boxes: how many there were.
        right: how many of them hit.
        rows: the bins, empty ones too: ``from``, ``to``, ``boxes``, ``score`` and ``right`` (None in an empty bin).
        note: why there is no number, or "".
    """

    ece: float | None
    worst: float | None
    boxes: int
    right: int
    rows: tuple[Mapping[str, Any], ...]
    note: str = ""

    def table(self) -> Table:
        """The bins as rows."""
        title = self.note or f"scores against hits, expected calibration error {self.ece:.4f}"
        return Table(dict.fromkeys(("from", "to", "boxes", "score", "right"), ""), self.rows, title)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        told = {"ece": self.ece, "worst": self.worst, "boxes": self.boxes, "right": self.right, "bins": len(self.rows)}
        return {**told, **({"note": self.note} if self.note else {})}


@dataclass(frozen=True)
class Temperature:
    """A correction of scores.

    Attributes:
        temperature: logits are divided by it; above 1 scores were too sure of themselves.
        offset: added to the logits after.
        boxes: that it was fitted on.
        note: why nothing was fitted, or ""; scores then stay as they are.

    Raises:
        ConfigError: a temperature that is not positive and finite, or an offset that is not finite.
    """

    temperature: float = 1.0
    offset: float = 0.0
    boxes: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0 and math.isfinite(self.offset)):
            got = f"{self.temperature} and {self.offset}"
            raise ConfigError(f"A correction of scores needs a temperature above 0 and a finite offset, got {got}.")

    def __call__(self, scores: ArrayLike) -> Floats:
        """Scores 0-1 of any shape, corrected, float64; the same ones where nothing was fitted."""
        given = np.asarray(scores, np.float64)
        if self.temperature == 1.0 and self.offset == 0.0:
            return given
        return _sigmoid(_logit(given) / self.temperature + self.offset)

    def apply(self, detections: Detections) -> Detections:
        """The same boxes with corrected scores, in the same order."""
        return Detections.of(detections.boxes, self(detections.scores), detections.labels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file beside a model."""
        return {"temperature": self.temperature, "offset": self.offset, "boxes": self.boxes, "note": self.note}

    @classmethod
    def from_dict(cls, values: Any) -> Temperature:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: no such values.
        """
        try:
            numbers = float(values["temperature"]), float(values.get("offset", 0.0)), int(values.get("boxes", 0))
            return cls(*numbers, str(values.get("note", "")))
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError, ConfigError) as error:
            raise DataError(f"This is no correction of scores: {error}. Fit it anew.") from None


def scored(pairs: Iterable[tuple[Detections, Truth]], iou: float = 0.5) -> Scored:
    """Match boxes of photos to true ones.

    Args:
        pairs: what was found in each photo, and what is there.
        iou: least overlap of a hit, above 0.

    Raises:
        ConfigError: an IoU out of its range.
        DataError: boxes, scores or labels that make no sense.
    """
    given = list(pairs)
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.labels for pair in given for part in pair)]))
    if len(known) and known[0] < 0:
        raise DataError(f"Labels of boxes count from 0, got {known[0]}.")
    pool = AveragePrecision([str(k) for k in known] or ["none"], ious=[iou], limits=(MOST,))
    for k, (found, truth) in enumerate(given):
        if len(found) and not ((found.scores >= 0) & (found.scores <= 1)).all():
            raise DataError(f"Photo {k}: scores of found boxes must be 0 to 1.")
        labels = [np.searchsorted(known, part.labels) for part in (found, truth)]  # few, whatever their numbers
        pool.add(f"{k:09d}", replace(found, labels=labels[0]), replace(truth, labels=labels[1]))
    table = pool.table()
    counts = table.ignored[:, 0] & 1 == 0
    return Scored(table.score[counts].astype(np.float64), (table.hit[counts, 0] & 1) != 0)


def reliability(boxes: Scored, bins: int = 15) -> Reliability:
    """Expected calibration error over bins of equal width; a score on an edge belongs to the lower bin.

    Args:
        boxes: scores, and which were right.
        bins: how many, 1 or more.

    Raises:
        ConfigError: no bin.
    """
    if bins < 1:
        raise ConfigError(f"bins is {bins}; allowed: 1 or more.")
    place = np.clip(np.ceil(boxes.scores * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = np.bincount(place, boxes.scores, bins), np.bincount(place, boxes.right.astype(np.float64), bins)
    rows, gaps = [], np.zeros(bins)
    for k in range(bins):
        row: dict[str, Any] = {"from": round(k / bins, 6), "to": round((k + 1) / bins, 6), "boxes": int(count[k])}
        row |= {"score": None, "right": None}
        if count[k]:
            mean, share = (float(s[k] / count[k]) for s in sums)
            gaps[k] = abs(share - mean)
            row |= {"score": round(mean, 6), "right": round(share, 6)}
        rows.append(row)
    if not len(boxes):
        note = "There is no box that counts: a calibration error is undefined."
        return Reliability(None, None, 0, 0, tuple(rows), note)
    ece = float((gaps * count).sum() / len(boxes))
    return Reliability(ece, float(gaps.max()), len(boxes), int(boxes.right.sum()), tuple(rows))


def fit(pairs: Iterable[tuple[Detections, Truth]], offset: bool = False, iou: float = 0.5) -> Temperature:
    """Fit a correction of scores on held-out photos; see :func:`fitted` and :func:`scored`."""
    return fitted(scored(pairs, iou), offset)


def evaluate(
    pairs: Iterable[tuple[Detections, Truth]], temperature: Temperature | None = None, iou: float = 0.5, bins: int = 15
) -> Reliability:
    """Calibration error of boxes on photos, of corrected scores where one is given; see :func:`reliability`."""
    boxes = scored(pairs, iou)
    return reliability(boxes if temperature is None else corrected(boxes, temperature), bins)


def fitted(boxes: Scored, offset: bool = False, least: int = 20) -> Temperature:
    """The temperature, and on request the offset, under which the outcomes are most likely.

    The negative logarithm of their likelihood is convex in 1 / T and in the offset, so there is one minimum.

    Args:
        boxes: scores, and which were right; held out from training.
        offset: fit an offset too; without it a score of 0.5 stays 0.5.
        least: with fewer boxes nothing is fitted.

    Returns:
        With a note, and without effect, where nothing can be fitted: too few boxes, all right or all wrong.
    """
    n, hits = len(boxes), int(boxes.right.sum())
    if n < least:
        return Temperature(boxes=n, note=f"Only {n} boxes; at least {least} are needed to fit a temperature.")
    if hits in (0, n):
        return Temperature(boxes=n, note=f"All {n} boxes are {'right' if hits else 'wrong'}: nothing can be fitted.")
    from scipy.optimize import minimize

    logits, signs = _logit(boxes.scores), np.where(boxes.right, 1.0, -1.0)

    def loss(x: Floats) -> tuple[float, Floats]:
        margin = signs * (x[0] * logits + (x[1] if offset else 0.0))
        slope = -signs * _sigmoid(-margin)
        gradient = [float((slope * logits).mean()), float(slope.mean()) if offset else 0.0]
        return float(np.logaddexp(0.0, -margin).mean()), np.array(gradient)

    limits = [(1 / HOTTEST, 1 / COLDEST), (-20.0, 20.0) if offset else (0.0, 0.0)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-12})
    steep, shift = (float(v) for v in found.x)
    at_limit = not limits[0][0] * 1.001 < steep < limits[0][1] * 0.999
    note = f"The temperature is at its limit ({COLDEST:g} to {HOTTEST:g}): scores hardly tell what is right."
    return Temperature(1.0 / steep, shift if offset else 0.0, n, note if at_limit else "")


def corrected(boxes: Scored, temperature: Temperature) -> Scored:
    """The same boxes with corrected scores."""
    return Scored(temperature(boxes.scores), boxes.right)


def likelihood(boxes: Scored) -> float | None:
    """Mean negative logarithm of the likelihood of the outcomes, in nats; None without boxes."""
    if not len(boxes):
        return None
    margin = np.where(boxes.right, 1.0, -1.0) * _logit(boxes.scores)
    return float(np.logaddexp(0.0, -margin).mean())


def _logit(scores: Floats) -> Floats:
    p = np.clip(scores, EDGE, 1 - EDGE)
    return np.asarray(np.log(p) - np.log1p(-p))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
