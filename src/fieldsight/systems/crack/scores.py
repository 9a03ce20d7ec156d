"""How well a crack mask fits the truth: pixels, pixels with tolerance, centrelines, boundaries, length and width.

Two conventions are kept apart by name. A **pooled** number adds up the pixels of all photos first (Eqs. 10 to 13 of
Okran et al. 2026; what its tables of experts hold) and begins with ``pooled_``. A plain name is a number of one
photo, or its mean over photos.

Empty cases of one photo: without crack in truth and prediction, IoU, F1 and all scores of agreement are 1, precision,
recall, length and width have no value (NaN, left out of means). With crack in only one of both, all are 0, the
error of the length is 1 where the truth has crack and has no value otherwise, and the width has none. Pooled 0/0
is 0, and :meth:`Counts.notes` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError

Mask = NDArray[np.bool_]
Distance = NDArray[np.float32]

#: Order of the counts in arrays ``(..., 4)``.
COUNTS = ("tp", "fp", "fn", "tn")

#: Pixels: tolerance of ``iou_tol2`` and ``f1_tol2``, of the centreline IoU (Benz and Rodehorst 2024), of boundaries.
TOLERANCE, CENTRELINE_TOLERANCE, BOUNDARY_TOLERANCE = 2.0, 4.0, 2.0


@dataclass(frozen=True)
class Counts:
    """Pixels of crack found, invented, missed, and of background left alone; they add up over photos."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @classmethod
    def of(cls, prediction: Mask, truth: Mask) -> Counts:
        """Count two bool masks ``(H, W)``.

        Raises:
            DataError: not bool, or of different shapes.
        """
        _check(prediction, truth)
        both, one, other = (int(np.count_nonzero(m)) for m in (prediction & truth, prediction, truth))
        return cls(both, one - both, other - both, truth.size - one - other + both)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    def values(self) -> dict[str, float]:
        """The four counts by name."""
        return {"tp": float(self.tp), "fp": float(self.fp), "fn": float(self.fn), "tn": float(self.tn)}

    def image(self) -> dict[str, float]:
        """``iou, f1, precision, recall, miou`` of one photo, with the empty cases of this module."""
        background = _ratio(self.tn, self.tn + self.fp + self.fn, empty=1.0)
        if self.tp + self.fp + self.fn == 0:
            return {"iou": 1.0, "f1": 1.0, "precision": math.nan, "recall": math.nan, "miou": 0.5 + 0.5 * background}
        iou = self.tp / (self.tp + self.fp + self.fn)
        return {
            "iou": iou,
            "f1": 2 * self.tp / (2 * self.tp + self.fp + self.fn),
            "precision": _ratio(self.tp, self.tp + self.fp),
            "recall": _ratio(self.tp, self.tp + self.fn),
            "miou": 0.5 * (iou + background),
        }

    def pooled(self) -> dict[str, float]:
        """``pooled_iou, pooled_f1, pooled_precision, pooled_recall, pooled_miou`` of summed counts; 0/0 is 0."""
        found = pooled_scores(np.array([[self.tp, self.fp, self.fn, self.tn]], dtype=np.float64))
        return {name: float(column[0]) for name, column in found.items()}

    def notes(self) -> list[str]:
        """What to tell beside pooled numbers: every 0/0 that was counted as 0."""
        found = []
        if self.tp + self.fp == 0:
            found.append("No pixel was predicted as crack: the pooled precision is 0/0 and counts as 0.")
        if self.tp + self.fn == 0:
            found.append("The truth has no crack at all: the pooled recall is 0/0 and counts as 0.")
        if self.tp + self.fp + self.fn == 0:
            found.append("Neither truth nor prediction has any crack: the pooled IoU and F1 are 0/0 and count as 0.")
        return found


def pooled_scores(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Eqs. 10 to 13 of summed counts ``(..., 4)`` in the order tp, fp, fn, tn; 0/0 is 0.

    ``pooled_f1`` is ``2 TP / (2 TP + FP + FN)``, which equals Eq. 12 and ``2 IoU / (1 + IoU)``.
    """
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)

    def over(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)

    iou = over(tp, tp + fp + fn)
    return {
        "pooled_iou": iou,
        "pooled_f1": over(2 * tp, 2 * tp + fp + fn),
        "pooled_precision": over(tp, tp + fp),
        "pooled_recall": over(tp, tp + fn),
        "pooled_miou": 0.5 * (iou + over(tn, tn + fp + fn)),
    }


# ------------------------------------------------------------------------------------------------ one photo


def measure_image(prediction: Mask, truth: Mask) -> dict[str, float]:
    """All numbers of one photo from two bool masks ``(H, W)``; about 2 ms at 128 x 128.

    ========================= =========================================================================================
    ``iou f1 precision recall miou`` of pixels; ``tp fp fn tn`` their counts
    ``iou_tol2 f1_tol2``      the same with :data:`TOLERANCE` pixels of tolerance, see :class:`Matched`
    ``centreline_iou``        :class:`Matched` IoU of both skeletons with :data:`CENTRELINE_TOLERANCE`
    ``cldice``                harmonic mean of the share of each skeleton inside the other mask (Shit et al. 2021)
    ``boundary_f1``           :class:`Matched` F1 of both outlines with :data:`BOUNDARY_TOLERANCE` (Csurka et al. 2013)
    ``length_error``          difference of the lengths over the true length, see :func:`skeleton_length`
    ``width_error``           difference of the mean widths (area over length) in pixels
    ========================= =========================================================================================

    Raises:
        DataError: not bool, or of different shapes.
    """
    counts = Counts.of(prediction, truth)
    result = {**counts.values(), **counts.image()}
    found, wanted = counts.tp + counts.fp, counts.tp + counts.fn
    if not found or not wanted:
        same = float(found == wanted)
        result |= dict.fromkeys(("iou_tol2", "f1_tol2", "centreline_iou", "cldice", "boundary_f1"), same)
        return result | {"length_error": 1.0 if wanted else math.nan, "width_error": math.nan}
    area = matched(prediction, truth, TOLERANCE)
    thin, thin_truth = skeleton(prediction), skeleton(truth)
    length, length_truth = skeleton_length(thin), skeleton_length(thin_truth)
    return result | {
        "iou_tol2": area.iou,
        "f1_tol2": area.f1,
        "centreline_iou": matched(thin, thin_truth, CENTRELINE_TOLERANCE).iou,
        "cldice": _harmonic(_share_inside(thin, truth), _share_inside(thin_truth, prediction)),
        "boundary_f1": matched(outline(prediction), outline(truth), BOUNDARY_TOLERANCE).f1,
        "length_error": abs(length - length_truth) / length_truth,
        "width_error": abs(found / length - wanted / length_truth),
    }


@dataclass(frozen=True)
class Matched:
    """Agreement of two masks with a tolerance of t pixels (Euclidean, centre to centre).

    A predicted pixel is right if a true pixel lies within t, a true pixel is found if a predicted one lies within t;
    each side is held against the *dilated* other side, which itself is never scored.

    Attributes:
        right, wrong: predicted pixels within t of the truth, and beyond.
        found, missed: true pixels within t of the prediction, and beyond.
    """

    right: int
    wrong: int
    found: int
    missed: int

    @property
    def precision(self) -> float:
        """``right / (right + wrong)``; 0 without prediction."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """``found / (found + missed)``; 0 without truth."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where both masks are empty."""
        return _harmonic(self.precision, self.recall) if self.right + self.wrong + self.found + self.missed else 1.0

    @property
    def iou(self) -> float:
        """``found / (found + missed + wrong)``, as OmniCrack30k computes it; 1 where both masks are empty."""
        return _ratio(self.found, self.found + self.missed + self.wrong, empty=1.0)


def matched(prediction: Mask, truth: Mask, tolerance: float) -> Matched:
    """Count :class:`Matched` pixels of two bool masks ``(H, W)``."""
    return tolerance_sweep(prediction, truth, (tolerance,))[tolerance]


def tolerance_sweep(
    prediction: Mask, truth: Mask, tolerances: Iterable[float] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
) -> dict[float, Matched]:
    """:class:`Matched` pixels at several tolerances from one pair of distance transforms.

    At 0 it equals the plain counts; precision, recall, F1 and IoU never fall as the tolerance grows.

    Raises:
        DataError: not bool, of different shapes, or a negative tolerance.
    """
    _check(prediction, truth)
    off, away = distance_to(truth)[prediction], distance_to(prediction)[truth]
    result = {}
    for t in tolerances:
        if not t >= 0:
            raise DataError(f"A tolerance must be 0 pixels or more, got {t}.")
        # distances are roots of whole numbers: the slack is for their float32 rounding only
        right, found = (int(np.count_nonzero(d <= t + 1e-3)) for d in (off, away))
        result[t] = Matched(right, off.size - right, found, away.size - found)
    return result


def distance_to(mask: Mask) -> Distance:
    """Euclidean distance in pixels from every pixel to the nearest True one ``(H, W)``; huge without any."""
    found: Distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return found


def skeleton(mask: Mask) -> Mask:
    """Centreline of one pixel width ``(H, W)`` (Zhang and Suen 1984); the mask itself where thinning erases all."""
    from skimage.morphology import skeletonize

    thin: Mask = skeletonize(mask)
    return thin if thin.any() else mask


def skeleton_length(thin: Mask) -> float:
    """Length in pixels of a skeleton ``(H, W)``: steps to neighbours, diagonal ones count root 2.

    A diagonal step beside a straight way round a corner does not count. Every piece that is no loop gets one pixel
    more, since a straight run of n pixels covers n and has n - 1 steps; a single pixel has length 1.
    """
    right, down = thin[:, :-1] & thin[:, 1:], thin[:-1] & thin[1:]
    straight = int(np.count_nonzero(right)) + int(np.count_nonzero(down))
    a, b, c, d = thin[:-1, :-1], thin[:-1, 1:], thin[1:, :-1], thin[1:, 1:]
    diagonal = int(np.count_nonzero((a & d & ~(b | c)) | (b & c & ~(a | d))))
    pieces = max(int(np.count_nonzero(thin)) - straight - diagonal, 0)
    return straight + math.sqrt(2) * diagonal + pieces


def outline(mask: Mask) -> Mask:
    """Pixels of a mask ``(H, W)`` with a straight neighbour outside it; the edge of the picture is no outline."""
    inner = np.ones_like(mask)
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def _share_inside(thin: Mask, area: Mask) -> float:
    return int(np.count_nonzero(thin & area)) / int(np.count_nonzero(thin))


def _ratio(top: float, bottom: float, empty: float = 0.0) -> float:
    return top / bottom if bottom else empty


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


def _check(prediction: Mask, truth: Mask) -> None:
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if getattr(mask, "dtype", None) != np.bool_ or mask.ndim != 2:
            raise DataError(
                f"The {name} must be a bool mask (H, W), got {getattr(mask, 'dtype', type(mask).__name__)} "
                f"{np.shape(mask)}. Compare a map with the threshold first."
            )
    if prediction.shape != truth.shape:
        raise DataError(f"Prediction {prediction.shape} and truth {truth.shape} differ in size. Resize the prediction.")
