"""What a person should look at first, and thresholds that come with a guarantee.

Three signs of doubt need no truth: the experts that ran disagree, the gate cannot decide, and the set of experts that
may be the best one is large. The last comes from conformal prediction: on photos like those of the calibration, the
set holds a best expert with probability ``1 - alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.conformal import control_risk, quantile
from fieldsight.errors import DataError
from fieldsight.systems.crack.routing import entropy, is_best

Array = NDArray[np.float64]

#: Probability from which one expert's doubt about a pixel counts, and the least area (pixels) that doubt is spread on.
NEAR, LEAST_AREA = 0.25, 16


# ---------------------------------------------------------------------------------------------------- signs


def disagreement(maps: NDArray[Any], run: ArrayLike | None = None) -> float:
    """How far the experts that ran contradict each other about the crack of one photo, 0 to 1.

    The mean of ``|p_i - p_j|`` over all pairs of experts and all pixels that matter: those to which at least one expert
    gives :data:`NEAR` or more. That area is crack or nearly crack, so that the result is relative to the crack and not
    to the photo; specks smaller than :data:`LEAST_AREA` count as that large. 0: they agree, or all see nothing.
    NaN where fewer than two experts ran.

    Args:
        maps: ``(M, H, W)`` float 0 to 1; those that did not run are not read.
        run: ``(M,)`` bool; all where left out.

    Raises:
        DataError: another shape or type.
    """
    chosen = np.ones(len(maps), dtype=bool) if run is None else np.asarray(run, dtype=bool)
    if maps.ndim != 3 or chosen.shape != (len(maps),) or not np.issubdtype(maps.dtype, np.floating):
        raise DataError(f"Maps must be float (M, H, W) and 'run' (M,), got {maps.dtype} {maps.shape}, {chosen.shape}.")
    own = maps[chosen]
    if len(own) < 2:
        return math.nan
    total, pixels = contradiction(own)
    return total / max(pixels, LEAST_AREA)


def contradiction(maps: NDArray[Any], run: NDArray[np.bool_] | None = None) -> tuple[float, int]:
    """What :func:`disagreement` is made of, for a part of a photo: parts add up.

    Args:
        maps: ``(M, H, W)`` float 0 to 1, no NaN.
        run: ``(M, H, W)`` bool, or of a shape that broadcasts to it: which experts count at which pixel; all where
            left out.

    Returns:
        The sum, over pixels that matter, of the mean of ``|p_i - p_j|`` over pairs; and the number of such pixels.
        Pixels at which fewer than two experts count do not matter.
    """
    used = np.ones(maps.shape, np.bool_) if run is None else np.broadcast_to(run, maps.shape)
    near = (np.where(used, maps, 0.0).max(axis=0) >= NEAR) & (used.sum(axis=0, dtype=np.uint8) > 1)
    own, here = maps[:, near].astype(np.float64), used[:, near]
    apart, pairs = np.zeros(own.shape[1]), np.zeros(own.shape[1])
    for i in range(len(own)):
        for j in range(i):
            both = here[i] & here[j]
            apart += np.where(both, np.abs(own[i] - own[j]), 0.0)
            pairs += both
    return float((apart / pairs).sum()), own.shape[1]


def gate_doubt(weights: ArrayLike) -> Array:
    """Entropy of each photo's weights ``(N, M)`` over its largest possible value, 0 to 1 ``(N,)``; 0 for one expert."""
    bits = entropy(weights)
    experts = np.shape(weights)[1]
    return np.clip(bits / math.log(experts), 0.0, 1.0) if experts > 1 else np.zeros(len(bits))


@dataclass(frozen=True)
class ExpertSets:
    """Sets of experts that hold a best one with probability ``1 - alpha`` (adaptive prediction sets, not randomised;
    Romano et al. 2020).

    Attributes:
        q: cumulative weight up to which experts belong to the set; infinite where too few photos calibrated it.
        alpha: chance of missing the best expert.
        n: photos, or groups of them, that calibrated it.
    """

    q: float
    alpha: float
    n: int

    @classmethod
    def calibrate(
        cls, weights: ArrayLike, scores: ArrayLike, alpha: float = 0.1, groups: Sequence[str] | None = None
    ) -> ExpertSets:
        """Calibrate on validation photos with gate weights and true scores ``(N, M)``.

        Crops of one photo are not independent: with ``groups`` ``(N,)``, the worst crop of each group counts, which
        gives sets that hold for all crops of a new photo at once.

        Raises:
            DataError: no photos, or shapes that do not fit.
        """
        w, best = np.asarray(weights, dtype=np.float64), is_best(scores)
        if w.shape != best.shape:
            raise DataError(f"Weights {w.shape} and scores {best.shape} must be of the same photos and experts.")
        reached = np.where(best, _cumulative(w), math.inf).min(axis=1)
        units = _by_group(reached, groups, np.max)
        return cls(quantile(units, alpha), alpha, units.size)

    def members(self, weights: ArrayLike) -> NDArray[np.bool_]:
        """The set of each photo ``(N, M)``; never empty: the largest weight always belongs to it."""
        w = np.asarray(weights, dtype=np.float64)
        inside = _cumulative(w) <= self.q + 1e-12
        inside[np.arange(len(w)), w.argmax(axis=1)] = True
        return inside

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite threshold is the string ``"inf"``."""
        return {"q": self.q if math.isfinite(self.q) else "inf", "alpha": self.alpha, "n": self.n}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ExpertSets:
        """Rebuild from :meth:`to_dict`.

        Raises:
            DataError: a value is missing or of the wrong kind.
        """
        try:
            found = cls(float(values["q"]), float(values["alpha"]), int(values["n"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"These are no calibrated expert sets: {error}. Train the gate again.") from None
        if math.isnan(found.q):
            raise DataError("The threshold of the expert sets is NaN. Train the gate again.")
        return found

    def facts(self, names: Sequence[str], gate: ArrayLike) -> dict[str, Any]:
        """The set of a photo in words for people, by the gate's weights ``(cells, M)``.

        Of several places the experts that belong to the set in half of them or more; ``set_size`` is the mean over
        places.
        """
        inside = self.members(gate)
        kept = inside.mean(axis=0) >= 0.5
        return {
            "expert_set": [n for n, held in zip(names, kept, strict=True) if held],
            "set_size": round(float(inside.sum(axis=1).mean()), 2),
            "set_level": round(1 - self.alpha, 4),
        }


def _cumulative(w: Array) -> Array:
    """For each expert, the weight of all that come before it (largest first) and its own ``(N, M)``."""
    order = np.argsort(-w, axis=1, kind="stable")
    result = np.empty_like(w)
    np.put_along_axis(result, order, np.cumsum(np.take_along_axis(w, order, axis=1), axis=1), axis=1)
    return result


# ---------------------------------------------------------------------------------------------------- the list


@dataclass(frozen=True)
class Signs:
    """The signs of doubt of N photos, each ``(N,)``; NaN where a sign has no value.

    Attributes:
        disagreement: see :func:`disagreement`.
        doubt: see :func:`gate_doubt`.
        set_size: experts in the conformal set, 1 to ``experts``.
        experts: size of the pool.
    """

    disagreement: Array
    doubt: Array
    set_size: Array
    experts: int


@dataclass(frozen=True)
class Review:
    """One photo of the list: its place counts from 1, its score lies in 0 to 1, and the reason is a sentence."""

    place: int
    id: str
    score: float
    reason: str


#: How much each sign weighs: the experts' maps say more about the mask than the gate, which never saw them.
SHARES = {"disagreement": 0.5, "doubt": 0.25, "set_size": 0.25}


def review_list(ids: Sequence[str], signs: Signs, reference: Signs | None = None) -> list[Review]:
    """Sort photos, the most doubtful first, with the reason in words.

    The score is the weighted mean (:data:`SHARES`) of the rank of each sign among the photos of ``reference``
    (validation photos; the listed ones where left out), so that signs of different scales add up. A sign without a
    value is left out.

    Raises:
        DataError: numbers of ids and signs differ.
    """
    columns = {name: np.asarray(getattr(signs, name), dtype=np.float64) for name in SHARES}
    if any(column.shape != (len(ids),) for column in columns.values()):
        raise DataError(f"There are {len(ids)} ids but signs of {[c.shape for c in columns.values()]}.")
    base = signs if reference is None else reference
    ranks = {name: _rank_among(column, getattr(base, name)) for name, column in columns.items()}
    weight = np.stack([np.where(np.isnan(ranks[name]), 0.0, share) for name, share in SHARES.items()])
    filled = np.nan_to_num(np.stack([ranks[name] for name in SHARES]))
    total = weight.sum(axis=0)
    score = np.divide((weight * filled).sum(axis=0), total, out=np.zeros(len(ids)), where=total > 0)
    order = sorted(range(len(ids)), key=lambda i: (-score[i], ids[i]))
    return [
        Review(place, ids[i], float(score[i]), _reason({n: float(c[i]) for n, c in columns.items()},
                                                       {n: float(r[i]) for n, r in ranks.items()}, signs.experts))
        for place, i in enumerate(order, start=1)
    ]  # fmt: skip


def _reason(values: Mapping[str, float], ranks: Mapping[str, float], experts: int) -> str:
    words = {
        "disagreement": f"the experts that ran differ by {values['disagreement']:.2f} on average where one sees crack",
        "doubt": f"the gate is undecided (entropy {values['doubt']:.2f} of 1)",
        "set_size": f"any of {values['set_size']:.0f} of {experts} experts may be the best",
    }
    telling = {n: r for n, r in ranks.items() if r >= 0.75 and (n != "set_size" or values[n] > 1) and values[n] > 0}
    if not telling:
        return "Nothing unusual."
    parts = [words[name] for name in sorted(telling, key=lambda n: (-SHARES[n] * telling[n], n))]
    sentence = "; ".join(parts) + f". More than in {max(telling.values()):.0%} of the photos."
    return sentence[0].upper() + sentence[1:]


def _rank_among(values: Array, reference: ArrayLike) -> Array:
    """Share of the reference below each value, ties by half; NaN where the value or all of the reference is NaN."""
    known = np.asarray(reference, dtype=np.float64)
    known = np.sort(known[~np.isnan(known)])
    if not known.size:
        return np.full(values.shape, math.nan)
    below, up_to = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    return np.where(np.isnan(values), math.nan, 0.5 * (below + up_to) / known.size)


# --------------------------------------------------------------------------------------------------- recall


@dataclass(frozen=True)
class RecallThreshold:
    """A probability threshold that keeps the expected miss rate below alpha.

    Attributes:
        threshold: a pixel is crack from this probability on.
        alpha: the mean share of the true crack that a new photo with crack may miss.
        miss_rate: what was missed on the calibration photos at this threshold.
        false_rate: share of the background that was called crack there: the price.
        n: photos with crack, or groups of them, that calibrated it.
    """

    threshold: float
    alpha: float
    miss_rate: float
    false_rate: float
    n: int


def recall_threshold(
    maps: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[np.bool_]],
    alpha: float = 0.1,
    groups: Sequence[str] | None = None,
    steps: int = 1000,
) -> RecallThreshold:
    """Largest threshold whose conformal risk of missing crack is at most alpha (Angelopoulos et al. 2022).

    The loss of a photo is ``1 - recall``; photos without crack have none and are left out: the guarantee is about
    photos with crack, on average, and only as long as new photos are like these. ``groups`` ``(N,)`` averages the
    crops of one photo first.

    Args:
        maps: fused probability maps, each ``(H, W)`` float 0 to 1.
        truths: bool ``(H, W)`` each.
        alpha: largest mean miss rate.
        groups: what each photo was cut from.
        steps: thresholds tried are multiples of ``1 / steps``, from 1 down to 0.

    Raises:
        DataError: lists that do not fit, no photo with crack, or too few of them for this alpha.
    """
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha must be between 0 and 1, got {alpha}.")
    if not len(maps) == len(truths) == (len(maps) if groups is None else len(groups)):
        raise DataError(f"There are {len(maps)} maps, {len(truths)} truths; each photo needs one of each, and a group.")
    if any(np.shape(p) != np.shape(t) or np.asarray(t).dtype != np.bool_ for p, t in zip(maps, truths, strict=True)):
        raise DataError("Every map (H, W) needs a bool truth of its own shape.")
    kept = [i for i, truth in enumerate(truths) if truth.any()]
    own = None if groups is None else [groups[i] for i in kept]
    units = len(kept) if own is None else len(set(own))
    if units == 0 or 1.0 / (units + 1) > alpha:
        raise DataError(
            f"A miss rate of {alpha} needs at least {math.ceil(1 / alpha) - 1} photos with crack, of different sites, "
            f"got {units}. Give more photos or raise alpha."
        )

    thresholds = np.arange(steps, -1, -1) / steps  # level 0 is threshold 1; whole numbers keep the ends exact
    missed = np.empty((steps + 1, len(kept)))
    for column, i in enumerate(kept):
        values = np.sort(maps[i][truths[i]].astype(np.float64))
        missed[:, column] = np.searchsorted(values, thresholds, "left") / values.size

    def losses(level: float) -> Array:
        return _by_group(missed[round(level)], own, np.mean)

    level = round(control_risk(losses, np.arange(steps + 1), alpha))
    threshold = float(thresholds[level])
    background = sum(int(np.count_nonzero(~t)) for t in truths)
    false = sum(int(np.count_nonzero((p >= threshold) & ~t)) for p, t in zip(maps, truths, strict=True))
    risk = float(losses(level).mean())
    return RecallThreshold(threshold, alpha, risk, false / background if background else 0.0, units)


def _by_group(values: Array, groups: Sequence[str] | None, reduce: Any) -> Array:
    if groups is None:
        return values
    if len(groups) != len(values):
        raise DataError(f"There are {len(values)} photos but {len(groups)} groups.")
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    return np.array([reduce(values[inverse == i]) for i in range(len(names))])
