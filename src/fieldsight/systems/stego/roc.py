"""How well scores tell stego from cover: ROC curve, area under it with DeLong's interval, minimal average error.

Everywhere a larger score means "more likely stego". Infinite scores are allowed, they only have an order; NaN is not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import DataError
from fieldsight.metrics.stats import Estimate, wilson

Floats = NDArray[np.float64]


def roc(scores_cover: ArrayLike, scores_stego: ArrayLike) -> tuple[Floats, Floats]:
    """Draw the ROC curve: one point a distinct threshold, "stego" where the score is at least the threshold.

    Args:
        scores_cover, scores_stego: one score a picture; the numbers of pictures may differ.

    Returns:
        ``(fpr, tpr)``, both ``(k,)``, never falling, from (0, 0) to (1, 1). Tied scores make a slanted step, so the
        trapezoid rule gives :func:`auc`.

    Raises:
        DataError: no scores of one kind, or NaN.
    """
    cover, stego = _checked(scores_cover, scores_stego)
    thresholds = np.unique(np.concatenate([cover, stego]))[::-1]
    cover.sort()
    stego.sort()
    false = (cover.size - np.searchsorted(cover, thresholds, side="left")) / cover.size
    true = (stego.size - np.searchsorted(stego, thresholds, side="left")) / stego.size
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def auc(scores_cover: ArrayLike, scores_stego: ArrayLike) -> float:
    """Area under the ROC curve: the share of (cover, stego) pairs in which stego scores higher, ties count half.

    This is the Mann-Whitney statistic divided by the number of pairs. 0.5 is chance, below 0.5 an inverted score.

    Raises:
        DataError: no scores of one kind, or NaN.
    """
    below, _ = _placements(*_checked(scores_cover, scores_stego))
    return float(below.mean())


def auc_interval(
    scores_cover: ArrayLike, scores_stego: ArrayLike, level: float = 0.95, paired: bool = False
) -> Estimate:
    """Area under the ROC curve with DeLong's confidence interval.

    DeLong, DeLong & Clarke-Pearson 1988, by the ranks of Sun & Xu 2014: O(n log n). The interval is normal and cut to
    0-1. It would have no width where the samples are perfectly separated; there its inner end is Wilson's for as many
    successes as the smaller sample has scores (disjoint pairs are independent trials).

    Args:
        scores_cover, scores_stego: one score a picture, at least two of each. Several crops of one photo are not
            independent: average their scores first.
        level: confidence.
        paired: the i-th stego picture was made from the i-th cover. The covariance of the pair then enters
            (Obuchowski 1997), which usually narrows the interval.

    Returns:
        The area and its interval; ``n`` counts the independent units: all scores, or the pairs where ``paired``.

    Raises:
        DataError: fewer than two scores of one kind, NaN, unequal numbers where ``paired``, or a level outside 0-1.
    """
    from scipy.stats import norm

    cover, stego = _checked(scores_cover, scores_stego, least=2)
    if paired and cover.size != stego.size:
        raise DataError(f"Paired scores must match: {cover.size} of covers and {stego.size} of stego pictures.")
    if not 0.0 < level < 1.0:
        raise DataError(f"A confidence level lies between 0 and 1, got {level}. Use 0.95.")
    below, above = _placements(cover, stego)
    value = float(below.mean())
    units = cover.size if paired else cover.size + stego.size
    if value in (0.0, 1.0):
        fewest = min(cover.size, stego.size)
        bound = wilson(round(value) * fewest, fewest, level)
        return Estimate(value, bound.low if value else 0.0, 1.0 if value else bound.high, level, units)
    if paired:
        variance = float(np.var(below + above, ddof=1)) / cover.size
    else:
        variance = float(np.var(below, ddof=1)) / stego.size + float(np.var(above, ddof=1)) / cover.size
    half = float(norm.ppf(0.5 + level / 2.0)) * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), level, units)


def pe(scores_cover: ArrayLike, scores_stego: ArrayLike) -> float:
    """Minimal average error P_E = min over thresholds of (P_FA + P_MD) / 2, with equal priors.

    Fridrich & Kodovsky 2012. 0 is perfect detection, 0.5 chance; an inverted score is not turned round. The threshold
    is chosen on these very scores, so on few pictures P_E is too low.

    Raises:
        DataError: no scores of one kind, or NaN.
    """
    false, true = roc(scores_cover, scores_stego)
    return float((false + 1.0 - true).min() / 2.0)


def _checked(scores_cover: ArrayLike, scores_stego: ArrayLike, least: int = 1) -> tuple[Floats, Floats]:
    """Both score lists as fresh float64 ``(n,)``."""
    found = []
    for kind, scores in (("cover", scores_cover), ("stego", scores_stego)):
        try:
            values = np.array(scores, dtype=np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise DataError(f"The scores of {kind} pictures are not numbers: {error}.") from error
        if values.size < least:
            raise DataError(f"Got {values.size} scores of {kind} pictures, at least {least} needed. Add pictures.")
        if np.isnan(values).any():
            raise DataError(
                f"{int(np.isnan(values).sum())} of {values.size} scores of {kind} pictures are NaN. "
                "Leave those pictures out of both lists, or give them a score."
            )
        found.append(values)
    return found[0], found[1]


def _placements(cover: Floats, stego: Floats) -> tuple[Floats, Floats]:
    """For each stego score the share of covers below it, for each cover the share of stego above it; ties half."""
    from scipy.stats import rankdata

    joint = rankdata(np.concatenate([cover, stego]))
    below = (joint[cover.size :] - rankdata(stego)) / cover.size
    above = 1.0 - (joint[: cover.size] - rankdata(cover)) / stego.size
    return below, above
