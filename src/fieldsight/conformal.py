"""Conformal calibration of any regressor: arrays in, a number and its guarantee out. NumPy only.

Split conformal prediction turns scores of held-out data into a threshold ``q`` such that a new score stays below
it with probability at least ``1 - alpha``, as long as old and new data are exchangeable. Everything here is one of
three steps: a **score** of how far a prediction missed, an exact **order statistic** of scores, and the interval
that it gives.

Sources: Romano, Patterson, Candès 2019 (conformalised quantile regression); Vovk 2012 (Mondrian, the Beta law of
coverage); Tibshirani et al. 2019 (weights under covariate shift); Gibbs, Candès 2021 (adaptive level);
Angelopoulos et al. 2022 (risk control).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import DataError

Array = NDArray[Any]

FORMAT = 1

# ------------------------------------------------------------------------------------------------- scores


def cqr_score(y: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> Array:
    """``max(lo - y, y - hi)``: negative inside the interval, positive outside (Romano et al. 2019, Eq. 6)."""
    y, lo, hi = np.asarray(y), np.asarray(lo), np.asarray(hi)
    below = np.subtract(lo, y)
    return np.maximum(below, np.subtract(y, hi), out=below) if below.ndim else np.maximum(below, y - hi)


def printed_score(y: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> Array:
    """``max(hi - y, y - lo)``, as paper 05 prints its Eq. 3. At least half the width: it over-covers grossly."""
    y, lo, hi = np.asarray(y), np.asarray(lo), np.asarray(hi)
    return np.maximum(hi - y, y - lo)


def residual_score(y: ArrayLike, mid: ArrayLike, scale: ArrayLike | None = None) -> Array:
    """``|y - mid|``, or divided by a positive ``scale`` for locally weighted intervals."""
    error = np.abs(np.asarray(y) - np.asarray(mid))
    return error if scale is None else error / np.asarray(scale)


# --------------------------------------------------------------------------------------- order statistics


def rank(n: int, alpha: float) -> int:
    """``ceil((n + 1)(1 - alpha))`` without rounding error: the rank that makes ``1 - alpha`` hold for finite n."""
    _check_alpha(alpha)
    return math.ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def quantile(scores: ArrayLike, alpha: float) -> float:
    """The ``rank(n, alpha)``-th smallest score, exactly; ``inf`` where there are too few scores for this alpha.

    No interpolation: it would break the finite-sample guarantee. NaN is refused. Of many scores, a sample brackets
    the wanted rank, one pass counts what lies below the bracket and keeps what lies inside (about one in fifty), and
    only that is sorted; should the sample mislead, everything is.

    Raises:
        DataError: no scores, or a NaN among them.
    """
    flat = np.asarray(scores).ravel()
    if flat.size == 0:
        raise DataError("Calibration needs at least one score, got none. Give a calibration set.")
    k = rank(flat.size, alpha)
    if flat.size >= 2**19 and k <= flat.size:
        found = _bracketed(flat, k)
        if found is not None:
            return found
    own = flat.copy()
    own.partition([min(k, own.size) - 1, own.size - 1])  # NaN sorts last: the largest value tells
    if np.isnan(own[-1]):
        raise DataError("A calibration score is NaN. Drop those values first.")
    return float(own[k - 1]) if k <= own.size else math.inf


def _bracketed(scores: Array, k: int) -> float | None:
    """The k-th smallest of many scores by way of a bracket, or None where the sample misled."""
    n = scores.size
    sample = np.sort(scores[:: n // 2**16])
    # six standard deviations of a sample quantile on either side
    place, reach = k / n * sample.size, 6.0 * math.sqrt(k / n * (1 - k / n) * sample.size) + 1.0
    floor, ceiling = (sample[int(np.clip(place + s * reach, 0, sample.size - 1))] for s in (-1, 1))
    below, above, kept = 0, 0, []
    for start in range(0, n, 2**16):  # pieces that stay in a core's cache
        piece = scores[start : start + 2**16]
        at_least = piece >= floor
        inside = piece[at_least & (piece <= ceiling)]
        below += int(np.count_nonzero(piece < floor))
        above += int(np.count_nonzero(at_least)) - inside.size
        kept.append(inside)
    candidates = np.concatenate(kept)
    if below + above + candidates.size != n or not below < k <= below + candidates.size:
        return None  # a NaN, which is on no side of anything, or a sample that misled
    candidates.partition(k - below - 1)
    return float(candidates[k - below - 1])


def streamed_quantile(batches: Callable[[], Iterable[ArrayLike]], alpha: float, keep: int = 2**22) -> float:
    """:func:`quantile` over more scores than fit in memory, still exact.

    Passes over ``batches()`` count scores into bins and zoom into the bin that holds the wanted rank, until at most
    ``keep`` scores are left to sort.

    Args:
        batches: gives the same arrays of scores each time it is called.
        alpha: miscoverage.
        keep: most scores held at once beside a batch.
    """
    n, low, high = 0, math.inf, -math.inf
    for batch in batches():
        values = np.asarray(batch).ravel()
        if np.isnan(values).any():
            raise DataError("A calibration score is NaN. Drop those values first.")
        if values.size:
            n, low, high = n + values.size, min(low, float(values.min())), max(high, float(values.max()))
    if n == 0:
        raise DataError("Calibration needs at least one score, got none. Give a calibration set.")
    k = rank(n, alpha)
    if k > n:
        return math.inf
    bins = 4096
    while True:
        # wanted: the k-th smallest of the values in [low, high]; values below low are already counted out of k
        edges = np.linspace(low, high, bins + 1)
        counts = np.zeros(bins, dtype=np.int64)
        for batch in batches():
            values = np.asarray(batch, dtype=np.float64).ravel()
            inside = values[(values >= low) & (values <= high)]
            place = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, bins - 1)
            counts += np.bincount(place, minlength=bins)
        chosen = int(np.searchsorted(np.cumsum(counts), k))
        k -= int(counts[:chosen].sum())
        last = chosen == bins - 1
        new_low, new_high = float(edges[chosen]), high if last else float(np.nextafter(edges[chosen + 1], -np.inf))
        narrowed = (new_low, new_high) != (low, high)
        low, high = new_low, new_high
        if counts[chosen] <= keep or not narrowed or low >= high:
            break
    rest = [v[(v >= low) & (v <= high)] for v in (np.asarray(b, dtype=np.float64).ravel() for b in batches())]
    return float(np.partition(np.concatenate(rest), k - 1)[k - 1])


def group_quantiles(scores: ArrayLike, groups: ArrayLike, alpha: float) -> dict[Any, float]:
    """One threshold per group (Mondrian conformal): ``1 - alpha`` then holds inside every group.

    Raises:
        DataError: a group with too few scores for this alpha, named with the number it needs.
    """
    scores, groups = np.asarray(scores).ravel(), np.asarray(groups).ravel()
    needed = math.ceil(1 / Fraction(repr(float(alpha)))) - 1
    found = {}
    for name in np.unique(groups):
        members = scores[groups == name]
        if rank(members.size, alpha) > members.size:
            raise DataError(
                f"Group '{name}' has {members.size} calibration scores; alpha {alpha} needs at least {needed}. "
                "Join it with another group or give more data."
            )
        found[name.item()] = quantile(members, alpha)
    return found


def weighted_quantile(scores: ArrayLike, weights: ArrayLike, new_weight: float, alpha: float) -> float:
    """Threshold under covariate shift: scores weighted by the likelihood ratio new/old (Tibshirani et al. 2019).

    ``new_weight`` is the ratio at the new point; its mass sits at infinity, so ``inf`` means: no guarantee here.
    """
    _check_alpha(alpha)
    flat, mass = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(weights, dtype=np.float64).ravel()
    if flat.shape != mass.shape or (mass < 0).any() or new_weight < 0:
        raise DataError(f"Weights must be >= 0, one per score; got {mass.size} for {flat.size} scores.")
    order = np.argsort(flat, kind="stable")
    total = np.cumsum(mass[order])
    wanted = (1.0 - alpha) * (total[-1] + new_weight)
    place = int(np.searchsorted(total, wanted * (1.0 - 1e-12)))
    return float(flat[order][place]) if place < flat.size else math.inf


# ------------------------------------------------------------------------------------------------ intervals


def ordered(lo: ArrayLike, hi: ArrayLike) -> tuple[Array, Array]:
    """Swap crossed bounds, so that ``lo <= hi`` everywhere."""
    return np.minimum(lo, hi), np.maximum(lo, hi)


def widen(lo: ArrayLike, hi: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    """``[lo - q, hi + q]`` for ordered bounds. A negative q shrinks, at most until both meet at the midpoint."""
    lo, hi = np.asarray(lo), np.asarray(hi)
    if np.ndim(q) == 0 and float(np.asarray(q)) >= 0:
        step = lo.dtype.type(q) if np.issubdtype(lo.dtype, np.floating) else q
        return lo - step, hi + step
    mid = 0.5 * (lo + hi)
    return np.minimum(lo - q, mid), np.maximum(hi + q, mid)


def covered(y: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> NDArray[np.bool_]:
    """True where ``lo <= y <= hi``."""
    return (np.asarray(lo) <= y) & (y <= np.asarray(hi))


def interval_score(y: ArrayLike, lo: ArrayLike, hi: ArrayLike, alpha: float) -> Array:
    """Winkler's score: width plus ``2/alpha`` times the distance by which y falls outside. Smaller is better."""
    y, lo, hi = np.asarray(y), np.asarray(lo), np.asarray(hi)
    return (hi - lo) + (2.0 / alpha) * (np.maximum(lo - y, 0.0) + np.maximum(y - hi, 0.0))


# ------------------------------------------------------------------------------------ guarantee and its limits


@dataclass(frozen=True)
class CoverageLaw:
    """How the coverage of new data spreads around its target when ``n`` independent units calibrate.

    With n exchangeable units the true coverage is Beta(k, n + 1 - k). For pictures, n is the number of
    *independent* layouts or patients; pixels and rotations of one are not independent.
    """

    n: int
    k: int
    mean: float
    std: float
    low: float
    high: float


def coverage_law(n: int, alpha: float, level: float = 0.95) -> CoverageLaw:
    """The Beta law of coverage for ``n`` independent calibration units, with its central ``level`` interval.

    Raises:
        DataError: too few units for this alpha.
    """
    from scipy.stats import beta

    k = rank(n, alpha)
    if k > n:
        needed = math.ceil(1 / Fraction(repr(float(alpha)))) - 1
        raise DataError(f"{n} calibration units are too few for alpha {alpha}: at least {needed} are needed.")
    law = beta(k, n + 1 - k)
    tail = 0.5 * (1.0 - level)
    return CoverageLaw(n, k, float(law.mean()), float(law.std()), float(law.ppf(tail)), float(law.ppf(1 - tail)))


class AdaptiveLevel:
    """Adaptive conformal inference: moves alpha after each new truth, so that coverage holds under drift.

    ``alpha_t+1 = alpha_t + gamma (alpha - miss_t)`` (Gibbs and Candès 2021).
    """

    def __init__(self, alpha: float, gamma: float = 0.02) -> None:
        _check_alpha(alpha)
        self.target, self.gamma, self.alpha = alpha, gamma, alpha

    def threshold(self, scores: ArrayLike) -> float:
        """The threshold at the present level; ``-inf`` and ``inf`` at its ends."""
        if self.alpha <= 0:
            return math.inf
        return -math.inf if self.alpha >= 1 else quantile(scores, self.alpha)

    def update(self, missed: float) -> float:
        """Tell the share of new values that fell outside, 0 to 1; returns the new level."""
        self.alpha += self.gamma * (self.target - missed)
        return self.alpha


def control_risk(losses: Callable[[float], ArrayLike], grid: ArrayLike, alpha: float, bound: float = 1.0) -> float:
    """Smallest lambda of a growing grid whose conformal risk is at most alpha (Angelopoulos et al. 2022, Eq. 4).

    Args:
        losses: maps lambda to one loss per calibration unit, 0 to ``bound``, not increasing in lambda.
        grid: candidate lambdas, ascending.
        alpha: the mean loss that a new unit may have.
        bound: largest possible loss.

    Raises:
        DataError: no candidate is safe.
    """
    for candidate in np.asarray(grid, dtype=np.float64):
        loss = np.asarray(losses(float(candidate)), dtype=np.float64).ravel()
        if (loss.sum() + bound) / (loss.size + 1) <= alpha:
            return float(candidate)
    raise DataError(f"No value of the grid keeps the risk below {alpha}. Extend the grid upwards or raise alpha.")


@dataclass(frozen=True)
class Novelty:
    """Are new units exchangeable with the calibration units? A conformal test on a few features of each.

    The score of a unit is its distance to the ``k`` nearest calibration units, features scaled to unit spread; its
    p-value is the share of calibration units that lie as far from the others. Small p: the guarantee may not hold.
    """

    features: Array
    k: int = 3
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.shape[0] <= self.k:
            raise DataError(f"Novelty needs (n, d) features with n > {self.k}, got {self.features.shape}.")

    def p_value(self, feature: ArrayLike) -> float:
        """Chance of a distance this large if the unit were like the calibration units; at least 1/(n+1)."""
        centre = np.median(self.features, axis=0)
        spread = np.std(self.features, axis=0)
        spread = np.where(spread > 1e-12, spread, 1.0)
        known = (self.features - centre) / spread
        new = (np.asarray(feature, dtype=np.float64) - centre) / spread
        among = np.sort(np.linalg.norm(known[:, None] - known[None], axis=2), axis=1)[:, 1 : self.k + 1].mean(axis=1)
        distance = np.sort(np.linalg.norm(known - new, axis=1))[: self.k].mean()
        return float((1 + (among >= distance).sum()) / (len(known) + 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"features": self.features.tolist(), "k": self.k, "names": list(self.names)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Novelty:
        """Rebuild from :meth:`to_dict`."""
        return cls(np.asarray(values["features"], dtype=np.float64), int(values["k"]), tuple(values["names"]))


# -------------------------------------------------------------------------------------------- the artefact


@dataclass(frozen=True)
class Calibration:
    """A calibration as a file: the threshold and all that says whether it may be used.

    Attributes:
        alpha: miscoverage it was made for.
        q: pooled threshold in the unit of the scores.
        method: e.g. ``cqr-pooled``, ``cqr-group``, ``residual``, ``scaled-residual``.
        score: formula of the score.
        n_pixels, n_images, n_layouts: how much data stood behind it; ``n_layouts`` counts independent units.
        model_sha256: weights it belongs to.
        data_sha256: calibration data.
        ties: ``upper``, the order statistic itself.
        groups: thresholds by group name where they differ.
        params: numbers that say how a group is told, e.g. the intensity level of an edge.
        novelty: features of the calibration units for :class:`Novelty`.
        q_from: ``own``, or the name of the model whose threshold is used on purpose.
        version: format of the file.
    """

    alpha: float
    q: float
    method: str
    score: str
    n_pixels: int
    n_images: int
    n_layouts: int
    model_sha256: str
    data_sha256: str
    ties: str = "upper"
    groups: dict[str, float] = field(default_factory=dict)
    params: dict[str, float] = field(default_factory=dict)
    novelty: dict[str, Any] = field(default_factory=dict)
    q_from: str = "own"
    version: int = FORMAT

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if math.isnan(self.q):
            raise DataError("A calibration threshold is NaN.")

    def law(self) -> CoverageLaw:
        """Spread of the coverage of a new layout set, from the number of independent layouts."""
        return coverage_law(self.n_layouts, self.alpha)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; an infinite threshold is the string ``"inf"``, since JSON has no infinity."""
        values = dataclasses.asdict(self)
        values["q"] = _to_json(self.q)
        values["groups"] = {name: _to_json(q) for name, q in self.groups.items()}
        return values

    def save(self, path: str | Path) -> Path:
        """Write as JSON, beside the target and renamed."""
        from fieldsight.data.files import write_json

        return write_json(path, self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "calibration") -> Calibration:
        """Rebuild from :meth:`to_dict`.

        Raises:
            DataError: a field is missing or of the wrong kind, or the file is of a newer format.
        """
        if int(values.get("version", 0)) > FORMAT:
            raise DataError(f"{where} has format {values['version']}, this fieldsight reads {FORMAT}. Upgrade it.")
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            plain = {name: value for name, value in values.items() if name in known}
            plain["q"] = float(plain["q"])
            plain["groups"] = {str(name): float(q) for name, q in dict(plain.get("groups", {})).items()}
            return cls(**plain)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{where} is not a calibration file: {error}. Make one with `calibrate`.") from None

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file that :meth:`save` wrote.

        Raises:
            DataError: absent, not JSON, incomplete, or newer than this fieldsight.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"Can't read the calibration file '{path}': {error}.") from None
        if not isinstance(values, dict):
            raise DataError(f"'{path}' is not a calibration file.")
        return cls.from_dict(values, where=f"'{path}'")


def _to_json(q: float) -> float | str:
    return q if math.isfinite(q) else str(q)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha must be between 0 and 1, got {alpha}.")
