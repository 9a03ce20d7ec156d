"""What a mixture of experts could reach at best, and what simple mixtures reach.

An oracle sees the truth of the photo it mixes: no gate can be better, per photo, than the oracle over the same
choices. Pooled numbers are not bounded so: the choice that is best photo by photo need not be best for the sum.

Everything counts pixels without making any mixed map. Where all experts lie on one side of the threshold, every convex
mixture lies there too; only the contested pixels are mixed, for all weightings at once by one matrix product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.scores import Counts, pooled_scores

Weights = NDArray[np.float64]
Tally = NDArray[np.int64]

#: Weightings mixed at most; 20 steps give 1,771 for four experts and 53,130 for six.
LARGEST_GRID = 60_000


def weight_grid(experts: int, steps: int = 20) -> Weights:
    """All convex weights ``(K, M)`` on a grid of ``1 / steps``, and the uniform point.

    They are sorted by distance from the uniform point: of equally good weightings, the first is the most even one.

    Raises:
        ConfigError: no expert, no step, or more than :data:`LARGEST_GRID` weightings.
    """
    if experts < 1 or steps < 1:
        raise ConfigError(f"A grid needs at least 1 expert and 1 step, got {experts} and {steps}.")
    if math.comb(steps + experts - 1, experts - 1) > LARGEST_GRID:
        raise ConfigError(
            f"A grid of {steps} steps over {experts} experts has over {LARGEST_GRID:,} weightings. Use fewer steps."
        )
    bars = np.array(list(itertools.combinations(range(steps + experts - 1), experts - 1)), dtype=np.int64)
    bars = bars.reshape(-1 if experts > 1 else 1, experts - 1)
    ends = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, steps + experts - 1)))
    grid = (np.diff(ends, axis=1) - 1) / steps
    if steps % experts:
        grid = np.vstack([grid, np.full((1, experts), 1 / experts)])
    return grid[np.argsort(np.round(((grid - 1 / experts) ** 2).sum(axis=1), 9), kind="stable")]


class Cases:
    """Photos with the probability maps of all experts, reduced to what mixing can change.

    Args:
        maps: one ``(M, H, W)`` a photo, floating point 0 to 1 (taken as float32), or uint8 0 to 255.
        truths: one bool ``(H, W)`` a photo.
        threshold: probability from which a pixel is crack.

    Raises:
        ConfigError: a threshold that is not between 0 and 1.
        DataError: no photos, different numbers of them or of experts, shapes or types that do not fit, NaN.
    """

    def __init__(
        self, maps: Iterable[NDArray[Any]], truths: Iterable[NDArray[np.bool_]], threshold: float = 0.5
    ) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must be between 0 and 1, got {threshold}. The paper's is 0.5.")
        self.threshold = threshold
        self._cases: list[_Case] = []
        for i, (stack, truth) in enumerate(itertools.zip_longest(maps, truths)):
            if stack is None or truth is None:
                raise DataError(f"Every photo needs maps and a truth; photo {i} lacks one of them.")
            self._cases.append(_Case.of(stack, truth, threshold, i))
        if not self._cases:
            raise DataError("Oracles need at least one photo, got none.")
        if len(found := {case.p.shape[0] for case in self._cases}) > 1:
            raise DataError(f"All photos need maps of the same experts, got {sorted(found)} of them.")
        self.experts = self._cases[0].p.shape[0]

    def __len__(self) -> int:
        return len(self._cases)

    @property
    def contested(self) -> float:
        """Share of the pixels for which not all experts are on one side of the threshold."""
        return sum(case.p.shape[1] for case in self._cases) / sum(case.pixels for case in self._cases)

    def grid(self, i: int, weights: Weights) -> Tally:
        """Counts ``(K, 4)`` (tp, fp, fn, tn) of photo i under each weighting of ``(K, M)``."""
        return self._cases[i].tally(weights)

    def counts(self, weights: ArrayLike) -> Tally:
        """Counts ``(N, 4)`` where photo i is mixed by row i of ``(N, M)``, or all by the one weighting ``(M,)``.

        Raises:
            DataError: another shape.
        """
        rows = np.asarray(weights, dtype=np.float64)
        if rows.shape not in ((self.experts,), (len(self), self.experts)):
            raise DataError(f"Weights must be ({len(self)}, {self.experts}) or ({self.experts},), got {rows.shape}.")
        rows = np.broadcast_to(rows, (len(self), self.experts))
        return np.concatenate([case.tally(row[None]) for case, row in zip(self._cases, rows, strict=True)])

    def majority(self) -> Tally:
        """Counts ``(N, 4)`` of the vote of all experts; a tie is decided by their mean probability."""
        return np.stack([case.majority() for case in self._cases])

    def single(self) -> Tally:
        """Counts ``(N, M, 4)`` of every expert alone."""
        return np.stack([case.tally(np.eye(self.experts)) for case in self._cases])


@dataclass(frozen=True)
class _Case:
    """Contested values ``(M, n)``, those of true crack first; the value that makes a crack; counts of the rest."""

    p: NDArray[Any]
    limit: float
    true: int
    agreed_tp: int
    agreed_fp: int
    positives: int
    pixels: int

    @classmethod
    def of(cls, maps: NDArray[Any], truth: NDArray[np.bool_], threshold: float, i: int) -> _Case:
        if np.ndim(maps) != 3 or len(maps) == 0 or np.shape(truth) != np.shape(maps)[1:] or truth.dtype != np.bool_:
            raise DataError(
                f"Photo {i} needs maps (M, H, W) and a bool truth (H, W), got {np.shape(maps)} and {np.shape(truth)}."
            )
        if maps.dtype != np.uint8 and not np.issubdtype(maps.dtype, np.floating):
            raise DataError(f"Maps must be floating point or uint8, got {maps.dtype} for photo {i}.")
        top, limit = (255.0, threshold * 255.0) if maps.dtype == np.uint8 else (1.0, float(np.float32(threshold)))
        low, high = float(maps.min()), float(maps.max())
        if not 0 <= low <= high <= top:
            raise DataError(f"Maps must lie in 0 to {top:g}, those of photo {i} go from {low:.4g} to {high:.4g}.")
        values = maps if maps.dtype == np.uint8 else maps.astype(np.float32, copy=False)
        above = values >= values.dtype.type(math.ceil(limit - 1e-6) if maps.dtype == np.uint8 else limit)
        everyone, anyone = above.all(axis=0), above.any(axis=0)
        open_ = anyone & ~everyone
        yes, no = open_ & truth, open_ & ~truth
        p = np.concatenate([values[:, yes], values[:, no]], axis=1)
        agreed = int(np.count_nonzero(everyone & truth))
        return cls(
            p,
            limit,
            int(np.count_nonzero(yes)),
            agreed,
            int(np.count_nonzero(everyone)) - agreed,
            int(np.count_nonzero(truth)),
            truth.size,
        )

    def tally(self, weights: Weights) -> Tally:
        tp = np.full(len(weights), self.agreed_tp, dtype=np.int64)
        fp = np.full(len(weights), self.agreed_fp, dtype=np.int64)
        # pieces that stay in a core's cache
        step = max(64, 500_000 // len(weights))
        for out, start, stop in ((tp, 0, self.true), (fp, self.true, self.p.shape[1])):
            for a in range(start, stop, step):
                mixed = weights @ self.p[:, a : min(a + step, stop)].astype(np.float64)
                out += np.count_nonzero(mixed >= self._least, axis=1)
        return self._four(tp, fp)

    def majority(self) -> Tally:
        votes = (self.p >= self._least).sum(axis=0) * 2 - len(self.p)
        crack = (votes > 0) | ((votes == 0) & (self.p.mean(axis=0, dtype=np.float64) >= self._least))
        true = int(np.count_nonzero(crack[: self.true]))
        false = int(np.count_nonzero(crack)) - true
        return self._four(np.array([self.agreed_tp + true]), np.array([self.agreed_fp + false]))[0]

    @property
    def _least(self) -> float:
        """The limit less what a sum in float64 may lose; float32 numbers lie further apart."""
        return self.limit * (1.0 - 1e-9)

    def _four(self, tp: Tally, fp: Tally) -> Tally:
        negatives = self.pixels - self.positives
        return np.stack([tp, fp, self.positives - tp, negatives - fp], axis=1)


@dataclass(frozen=True)
class Mixture:
    """A way of mixing, photo by photo.

    Attributes:
        name: what it is called in tables.
        weights: ``(N, M)``, or None where no weights exist (a vote).
        counts: ``(N, 4)``: tp, fp, fn, tn.
    """

    name: str
    weights: Weights | None
    counts: Tally

    @property
    def iou(self) -> Weights:
        """IoU of each photo ``(N,)``; 1 where neither truth nor prediction has crack."""
        return iou_of(self.counts)

    def summary(self) -> dict[str, float]:
        """Pooled numbers, and the mean of the IoU over photos as ``iou``."""
        total = Counts(*(int(value) for value in self.counts.sum(axis=0)))
        return {**total.pooled(), "iou": float(self.iou.mean())}


def iou_of(counts: Tally) -> Weights:
    """IoU of counts ``(..., 4)``; 1 where neither truth nor prediction has crack."""
    values = counts.astype(np.float64)
    return np.where(values[..., :3].sum(axis=-1) == 0, 1.0, pooled_scores(values)["pooled_iou"])


def mixture(cases: Cases, weights: ArrayLike, name: str) -> Mixture:
    """Any weighting, ``(N, M)`` or one ``(M,)`` for all: how a gate's Hard, Soft and Top-K are counted cheaply.

    Raises:
        DataError: another shape.
    """
    counts = cases.counts(weights)
    return Mixture(name, np.broadcast_to(np.asarray(weights, dtype=np.float64), (len(cases), cases.experts)), counts)


def uniform(cases: Cases) -> Mixture:
    """The mean of all experts."""
    return mixture(cases, np.full(cases.experts, 1 / cases.experts), "uniform mean")


def majority_vote(cases: Cases) -> Mixture:
    """The vote of all experts."""
    return Mixture("majority vote", None, cases.majority())


def random_two(cases: Cases, seed: int = 0) -> Mixture:
    """Two experts drawn for each photo, equal weights; the only one of a pool of one."""
    rng = rng_for(seed, "crack", "random-two", len(cases), cases.experts)
    order = np.argsort(rng.random((len(cases), cases.experts)), axis=1)
    chosen = order < 2
    return mixture(cases, chosen / chosen.sum(axis=1, keepdims=True), "random two")


def best_single(cases: Cases, chosen_on: Cases | None = None) -> Mixture:
    """The expert with the best pooled IoU on ``chosen_on`` (validation photos; the same photos where left out)."""
    return _fixed(cases, chosen_on, np.eye(cases.experts), "best single")


def best_pair(cases: Cases, chosen_on: Cases | None = None, steps: int = 20) -> Mixture:
    """One pair with one weighting for all photos: the best pooled IoU on ``chosen_on`` over the grid of every pair."""
    return _fixed(cases, chosen_on, _pairs(cases.experts, steps), "best fixed pair")


def fixed_weights(cases: Cases, chosen_on: Cases | None = None, steps: int = 20) -> Mixture:
    """One weighting of all experts for all photos: the best pooled IoU on ``chosen_on`` over the whole grid."""
    return _fixed(cases, chosen_on, weight_grid(cases.experts, steps), "fixed learned weights")


def oracle_one(cases: Cases) -> Mixture:
    """The best expert of each photo; of equals the first."""
    return _oracle(cases, np.eye(cases.experts), "oracle expert")


def oracle_pair(cases: Cases, steps: int = 20) -> Mixture:
    """The best pair of each photo with its best weights on the grid; the grid holds every expert alone too."""
    return _oracle(cases, _pairs(cases.experts, steps), "oracle pair")


def oracle_equal_pair(cases: Cases) -> Mixture:
    """The best pair of each photo with the fixed weights 1/2 and 1/2."""
    grid = _pairs(cases.experts, 2)
    return _oracle(cases, grid[grid.max(axis=1) < 1] if cases.experts > 1 else grid, "oracle pair, equal weights")


def oracle_weights(cases: Cases, steps: int = 20) -> Mixture:
    """The best convex weights of each photo on the grid; of equally good ones the most even."""
    return _oracle(cases, weight_grid(cases.experts, steps), "oracle weights")


def baselines(cases: Cases, val: Cases | None = None, steps: int = 20, seed: int = 0) -> list[Mixture]:
    """All rows of this module, simple mixtures first; what is fixed for all photos is chosen on ``val``."""
    return [
        best_single(cases, val),
        uniform(cases),
        majority_vote(cases),
        random_two(cases, seed),
        best_pair(cases, val, steps),
        fixed_weights(cases, val, steps),
        oracle_one(cases),
        oracle_equal_pair(cases),
        oracle_pair(cases, steps),
        oracle_weights(cases, steps),
    ]


def _pairs(experts: int, steps: int) -> Weights:
    grid = weight_grid(experts, steps)
    pairs = grid[(grid > 0).sum(axis=1) <= 2]
    return pairs if experts != 1 else grid


def _oracle(cases: Cases, grid: Weights, name: str) -> Mixture:
    weights, counts = np.empty((len(cases), cases.experts)), np.empty((len(cases), 4), dtype=np.int64)
    for i in range(len(cases)):
        found = cases.grid(i, grid)
        best = int(np.argmax(iou_of(found)))
        weights[i], counts[i] = grid[best], found[best]
    return Mixture(name, weights, counts)


def _fixed(cases: Cases, chosen_on: Cases | None, grid: Weights, name: str) -> Mixture:
    source = cases if chosen_on is None else chosen_on
    if source.experts != cases.experts:
        raise DataError(f"The weights are chosen on {source.experts} experts and used for {cases.experts}.")
    total = sum((source.grid(i, grid) for i in range(len(source))), np.zeros((len(grid), 4), dtype=np.int64))
    best = int(np.argmax(pooled_scores(total.astype(np.float64))["pooled_iou"]))
    return mixture(cases, grid[best], f"{name} (chosen on these photos)" if chosen_on is None else name)
