"""How well a gate routes: does it name the best expert, what does a wrong choice cost, do its weights mean anything.

Everything takes gate weights ``(N, M)`` and true scores ``(N, M)``, usually the test IoU of each expert alone. Where
several experts tie for the best score of a photo, naming any of them is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import DataError
from fieldsight.predictions import Table

Array = NDArray[np.float64]


def is_best(scores: ArrayLike) -> NDArray[np.bool_]:
    """``(N, M)``: True where an expert has the best score of its photo; several where they tie."""
    values = _matrix(scores, "Scores")
    return values == values.max(axis=1, keepdims=True)


def top_recall(weights: ArrayLike, scores: ArrayLike, k: int = 2) -> float:
    """Share of the photos for which a best expert is among the k of largest weight; ``k=1`` is top-1 accuracy."""
    w, best = _matrix(weights, "Weights"), is_best(scores)
    _match(w, best)
    chosen = np.argsort(-w, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(best, chosen, axis=1).any(axis=1).mean())


def chance_recall(scores: ArrayLike, k: int = 2) -> float:
    """What :func:`top_recall` is on average for k experts drawn at random; above ``k / M`` only by ties."""
    best = is_best(scores)
    m = best.shape[1]
    k = min(k, m)
    missed = [math.comb(m - int(b), k) / math.comb(m, k) for b in best.sum(axis=1)]
    return 1.0 - math.fsum(missed) / len(missed)


def mean_regret(scores: ArrayLike, routed: ArrayLike) -> float:
    """Mean of ``max_j score_j - routed`` over photos; negative where mixing beats every expert alone.

    Args:
        scores: ``(N, M)``.
        routed: ``(N,)``, score of the mask that the system gave.
    """
    values, own = _matrix(scores, "Scores"), np.asarray(routed, dtype=np.float64)
    if own.shape != (len(values),):
        raise DataError(f"There are {len(values)} photos but routed scores of shape {own.shape}.")
    return float((values.max(axis=1) - own).mean())


def entropy(weights: ArrayLike) -> Array:
    """Entropy of each photo's weights in nats ``(N,)``: 0 for one expert, ``log M`` for none preferred."""
    w = _matrix(weights, "Weights")
    return -np.where(w > 0, w * np.log(np.where(w > 0, w, 1.0)), 0.0).sum(axis=1) + 0.0


def spearman(weights: ArrayLike, scores: ArrayLike) -> Array:
    """Rank correlation of weights and scores over the experts, photo by photo ``(N,)``; NaN if one is constant."""
    a, b = _matrix(weights, "Weights"), _matrix(scores, "Scores")
    _match(a, b)
    x, y = _centred_ranks(a), _centred_ranks(b)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), size, out=np.full(len(a), math.nan), where=size > 0)


def confusion(weights: ArrayLike, scores: ArrayLike) -> Array:
    """``(M, M)``: photos whose best expert is the row and whose largest weight is the column.

    A photo with several best experts counts in equal parts in their rows, or wholly on the diagonal where the gate
    named one of them.
    """
    w, best = _matrix(weights, "Weights"), is_best(scores)
    _match(w, best)
    named = w.argmax(axis=1)
    share = best / best.sum(axis=1, keepdims=True)
    right = best[np.arange(len(w)), named]
    share[right] = np.eye(w.shape[1])[named[right]]
    return share.T @ np.eye(w.shape[1])[named]


@dataclass(frozen=True)
class Bin:
    """Weights that lie between two edges: their mean, the mean share they should have had, how many."""

    low: float
    high: float
    weight: float
    share: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Calibration of weights against shares, over all photos and experts.

    Attributes:
        bins: occupied bins, ascending.
        error: mean over all weights of the distance of bin means (expected calibration error).
    """

    bins: tuple[Bin, ...]
    error: float


def reliability(weights: ArrayLike, shares: ArrayLike, bins: int = 10) -> Reliability:
    """Hold weights against shares ``(N, M)``, e.g. Eq. 3 of the scores, in bins of equally many weights.

    Bins of equal width would be no use: the shares of Eq. 3 crowd around ``1 / M``.
    """
    w, t = _matrix(weights, "Weights"), _matrix(shares, "Shares")
    _match(w, t)
    order = np.argsort(w.ravel(), kind="stable")
    flat, target = w.ravel()[order], t.ravel()[order]
    found = []
    for part in np.array_split(np.arange(flat.size), min(bins, flat.size)):
        own, wanted = flat[part], target[part]
        found.append(Bin(float(own[0]), float(own[-1]), float(own.mean()), float(wanted.mean()), part.size))
    error = math.fsum(b.n * abs(b.weight - b.share) for b in found) / flat.size
    return Reliability(tuple(found), error)


def oof_shift(oof: ArrayLike, deployed: ArrayLike) -> float:
    """Rank correlation of two means a expert ``(M,)``: out-of-fold copies on training photos, deployed on validation.

    The copies are trained for less time than the deployed experts, so their order may differ. NaN for constant means.

    Raises:
        DataError: different numbers of experts.
    """
    return float(spearman([np.ravel(oof)], [np.ravel(deployed)])[0])


def report(
    weights: ArrayLike,
    scores: ArrayLike,
    routed: ArrayLike | None = None,
    run: ArrayLike | None = None,
    shares: ArrayLike | None = None,
) -> dict[str, float]:
    """All routing numbers by name.

    ``top1_accuracy``, ``top2_recall`` and what chance gives; ``spearman`` (mean over the ``spearman_n`` photos that
    have one); ``entropy`` in nats and of its largest value; ``regret_top1``, and ``regret`` where ``routed`` ``(N,)``
    is given; ``calibration_error`` where ``shares`` ``(N, M)`` are given.

    Args:
        weights: ``(N, M)``, before any choice.
        scores: ``(N, M)``, IoU of every expert alone.
        routed: ``(N,)``, IoU of the mask that the system gave.
        run: ``(N, M)`` bool, which experts ran; adds ``experts_run``.
        shares: ``(N, M)``, what the weights are calibrated against.
    """
    w, values = _matrix(weights, "Weights"), _matrix(scores, "Scores")
    _match(w, values)
    ranks = spearman(w, values)
    known = ranks[~np.isnan(ranks)]
    bits = entropy(w)
    result = {
        "top1_accuracy": top_recall(w, values, 1),
        "top1_chance": chance_recall(values, 1),
        "top2_recall": top_recall(w, values, 2),
        "top2_chance": chance_recall(values, 2),
        "spearman": float(known.mean()) if known.size else math.nan,
        "spearman_n": float(known.size),
        "entropy": float(bits.mean()),
        "entropy_share": float(bits.mean() / math.log(w.shape[1])) if w.shape[1] > 1 else 0.0,
        "regret_top1": mean_regret(values, values[np.arange(len(w)), w.argmax(axis=1)]),
    }
    if routed is not None:
        result["regret"] = mean_regret(values, routed)
    if run is not None:
        result["experts_run"] = float(np.asarray(run, dtype=bool).sum(axis=1).mean())
    if shares is not None:
        result["calibration_error"] = reliability(w, shares).error
    return result


def expert_table(
    names: Sequence[str],
    weights: ArrayLike,
    scores: ArrayLike,
    run: ArrayLike,
    title: str = "Routing, expert by expert",
) -> Table:
    """One row an expert: how often it is best, named and run, its mean weight, its mean score overall and where named.

    Raises:
        DataError: shapes that do not fit.
    """
    w, values, ran = _matrix(weights, "Weights"), _matrix(scores, "Scores"), np.asarray(run, dtype=bool)
    _match(w, values)
    if ran.shape != w.shape or len(names) != w.shape[1]:
        raise DataError(f"{len(names)} names and 'run' {ran.shape} do not fit weights {w.shape}.")
    best, named = is_best(values), w.argmax(axis=1)
    share = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    rows: list[Mapping[str, Any]] = []
    for j, name in enumerate(names):
        own = values[named == j, j]
        rows.append({
            "expert": name, "best": float(share[j]), "named": float((named == j).mean()),
            "run": float(ran[:, j].mean()), "mean_weight": float(w[:, j].mean()),
            "iou": float(values[:, j].mean()), "iou_where_named": float(own.mean()) if own.size else None,
        })  # fmt: skip
    return Table(dict.fromkeys(rows[0], ""), rows, title)


def _centred_ranks(values: Array) -> Array:
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=1)
    centred: Array = ranks - ranks.mean(axis=1, keepdims=True)
    return centred


def _matrix(values: ArrayLike, what: str) -> Array:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be numbers (N, M): {error}.") from None
    if found.ndim != 2 or found.size == 0 or not np.isfinite(found).all():
        raise DataError(f"{what} must be finite numbers (N, M), one row a photo; got shape {found.shape}.")
    return found


def _match(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise DataError(f"Weights {a.shape} and scores {b.shape} must be of the same photos and experts.")
