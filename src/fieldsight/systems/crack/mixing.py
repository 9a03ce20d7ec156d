"""From out-of-fold scores to targets, from gate weights to the experts that run, from their maps to one.

Equations are those of Okran et al. 2026 (Electronics 15(2), 407). ``N`` counts photos, ``M`` experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fieldsight.errors import ConfigError, DataError, unknown

Weights = NDArray[np.float64]
Mode = Literal["hard", "soft", "topk", "adaptive"]
Maps = TypeVar("Maps", NDArray[Any], Tensor)

# -------------------------------------------------------------------------------------------------- targets


def soft_labels(table: ArrayLike) -> Weights:
    """Eq. 3: every row of out-of-fold IoUs ``(N, M)`` divided by its sum; a row of zeros becomes uniform.

    These targets are nearly uniform: those of the paper's Table 1 lie 0.00147 and 0.00018 nats from it.

    Raises:
        DataError: not ``(N, M)``, or a score outside 0 to 1.
    """
    scores = _scores(table)
    total = scores.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, scores / total, 1.0 / scores.shape[1])


def hard_labels(table: ArrayLike) -> tuple[NDArray[np.int64], Weights]:
    """Eq. 2: index of the best expert of each row ``(N,)`` (the lowest of equals) and the row's weight ``(N,)``.

    A row of zeros names no best expert: its weight is 0, all others have 1.

    Raises:
        DataError: as :func:`soft_labels`.
    """
    scores = _scores(table)
    return scores.argmax(axis=1).astype(np.int64), (scores.max(axis=1) > 0).astype(np.float64)


def sharpened(table: ArrayLike, tau: float = 0.05) -> Weights:
    """Softmax of the scores over ``tau``, ``(N, M)``: a target that says which expert is better.

    A difference of ``tau`` in IoU is a factor e between two targets. A row of equal scores becomes uniform.

    Raises:
        ConfigError: ``tau`` is not positive.
        DataError: as :func:`soft_labels`.
    """
    if not tau > 0:
        raise ConfigError(f"tau must be above 0, got {tau}. The default is 0.05.")
    return softmax(_scores(table), tau)


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Weights:
    """Eq. 4: weights ``(N, M)`` from logits ``(N, M)``, in float64; rows sum to 1.

    Raises:
        ConfigError: the temperature is not positive.
        DataError: not ``(N, M)``, or a logit that is not finite.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, got {temperature}. The default is 1.")
    values = _table(logits, "Logits")
    raised = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
    return raised / raised.sum(axis=1, keepdims=True)


# --------------------------------------------------------------------------------------------------- mixing


@dataclass(frozen=True)
class Selection:
    """What the gate decided for each of N photos.

    Attributes:
        weights: ``(N, M)`` float64, 0 for an expert that is left out; rows sum to 1.
        run: ``(N, M)`` bool, the experts that must be executed.
    """

    weights: Weights
    run: NDArray[np.bool_]

    @property
    def usage(self) -> Weights:
        """Share of the photos for which each expert runs, ``(M,)``."""
        return self.run.mean(axis=0)


def select(weights: ArrayLike, mode: Mode = "topk", k: int = 2, p: float = 0.8) -> Selection:
    """Choose experts by gate weights ``(N, M)`` and renormalise over the chosen.

    ``hard`` is Eq. 5, ``soft`` Eq. 6, ``topk`` Eq. 7; ``adaptive`` takes the fewest experts whose weights add up to
    at least ``p``. Of equal weights the lowest index comes first. Where all experts are chosen, the weights stay as
    they are, so that ``topk`` with ``k = M`` gives the same bits as ``soft``. A ``k`` beyond M means all.

    Raises:
        ConfigError: unknown mode, ``k`` below 1, or ``p`` outside (0, 1].
        DataError: not ``(N, M)``, a negative weight, or a row whose sum is not 1 (within 0.001).
    """
    if mode not in get_args(Mode):
        raise ConfigError(unknown("way of mixing", mode, get_args(Mode)))
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}. The paper's is 2.")
    if not 0 < p <= 1:
        raise ConfigError(f"p must be above 0 and at most 1, got {p}.")
    full = _table(weights, "Gate weights")
    if (full < 0).any() or (np.abs(full.sum(axis=1) - 1) > 1e-3).any():
        raise DataError("Gate weights must be 0 or more and add up to 1 in every row. Apply softmax first.")
    n, m = full.shape
    order = np.argsort(-full, axis=1, kind="stable")
    if mode == "adaptive":
        reached = np.cumsum(np.take_along_axis(full, order, axis=1), axis=1)
        # rounding of a sum must not call for one more expert
        wanted = np.minimum(1 + (reached < p - 1e-9).sum(axis=1), m)
    else:
        wanted = np.full(n, {"hard": 1, "soft": m, "topk": min(k, m)}[mode])
    run = np.zeros((n, m), dtype=bool)
    np.put_along_axis(run, order, np.arange(m)[None] < wanted[:, None], axis=1)
    sparse = np.where(run, full, 0.0)
    renormalised = sparse / sparse.sum(axis=1, keepdims=True)
    return Selection(np.where((wanted == m)[:, None] & (m > 1), full, renormalised), run)


def mix(maps: Maps, weights: ArrayLike | Tensor) -> Maps:
    """Eqs. 5 to 7: weighted sum ``(N, H, W)`` of probability maps ``(N, M, H, W)`` float, as array or tensor.

    Maps of weight 0 are never read: they may hold anything. Experts are added in their order, whatever their number,
    so that computing only the chosen ones gives the same bits as computing all.

    Raises:
        DataError: shapes that do not fit, or maps that are not floating point.
    """
    if maps.ndim != 4 or tuple(np.shape(weights)) != tuple(maps.shape[:2]):
        raise DataError(
            f"Maps must be (N, M, H, W) and weights (N, M), got {tuple(maps.shape)} and {tuple(np.shape(weights))}."
        )
    if isinstance(maps, Tensor):
        return _mix_tensor(maps, torch.as_tensor(weights))
    if not np.issubdtype(maps.dtype, np.floating):
        raise DataError(f"Maps must be floating point from 0 to 1, got {maps.dtype}. Divide 8-bit maps by 255.")
    share = np.asarray(weights).astype(maps.dtype)
    out = np.zeros((maps.shape[0], *maps.shape[2:]), maps.dtype)
    for j in range(maps.shape[1]):
        rows = np.flatnonzero(share[:, j])
        out[rows] += share[rows, j, None, None] * maps[rows, j]
    return out


def _mix_tensor(maps: Tensor, weights: Tensor) -> Tensor:
    if not maps.is_floating_point():
        raise DataError(f"Maps must be floating point from 0 to 1, got {maps.dtype}. Divide 8-bit maps by 255.")
    share = weights.to(device=maps.device, dtype=maps.dtype)
    out = maps.new_zeros((maps.shape[0], *maps.shape[2:]))
    for j in range(maps.shape[1]):
        part = share[:, j, None, None]
        out = out + torch.where(part != 0, part * maps[:, j], torch.zeros_like(out))
    return out


# --------------------------------------------------------------------------------------------------- losses


def hard_loss(logits: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. 8: cross-entropy with the best expert, a weighted mean over photos; 0 where all weights are 0.

    Args:
        logits: ``(N, M)``.
        index: ``(N,)`` int64, see :func:`hard_labels`.
        weight: ``(N,)``; all 1 where left out.
    """
    return _mean(F.cross_entropy(logits, index, reduction="none"), weight)


def soft_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. 9: KL(t || w) in nats, w the softmax of the logits; a mean over photos.

    A target of 0 adds 0. The gradient of one photo's loss with respect to its logits is ``w - t``.

    Args:
        logits: ``(N, M)``.
        target: ``(N, M)``, rows sum to 1.
        weight: ``(N,)``; all 1 where left out.
    """
    log_w = torch.log_softmax(logits, dim=1)
    return _mean((torch.xlogy(target, target) - target * log_w).sum(dim=1), weight)


def ranking_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Pairwise logistic loss on differences of out-of-fold scores ``(N, M)`` (RankNet, Burges et al. 2005).

    Each pair of experts of a photo adds ``log(1 + exp(-(z_better - z_worse)))``, weighted by the difference of their
    scores; the sum is divided by all the weights of the batch. Photos whose experts are alike hardly count. 0 where
    no two scores differ.
    """
    margin = (scores[:, :, None] - scores[:, None, :]).clamp_min(0)
    gap = logits[:, :, None] - logits[:, None, :]
    return (margin * F.softplus(-gap)).sum() / margin.sum().clamp_min(1e-12)


def regret_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Mean over photos of ``sum_j w_j (max_m s_m - s_j)``: the IoU lost if one expert were drawn by the weights.

    Args:
        logits: ``(N, M)``; w is their softmax.
        scores: ``(N, M)``, out-of-fold IoUs.
    """
    regret = scores.max(dim=1, keepdim=True).values - scores
    return (torch.softmax(logits, dim=1) * regret).sum(dim=1).mean()


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    share = weight.to(values.dtype)
    return (values * share).sum() / share.sum().clamp_min(1e-12)


# --------------------------------------------------------------------------------------------------- checks


def _table(values: ArrayLike, what: str) -> Weights:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be numbers (N, M): {error}.") from None
    if found.ndim != 2 or found.shape[1] == 0:
        raise DataError(f"{what} must be (N, M), one row a photo and one column an expert; got shape {found.shape}.")
    if not np.isfinite(found).all():
        raise DataError(f"{what} must be finite; row {int(np.argmin(np.isfinite(found).all(axis=1)))} is not.")
    return found


def _scores(table: ArrayLike) -> Weights:
    found = _table(table, "Out-of-fold scores")
    if found.size and not 0 <= found.min() <= found.max() <= 1:
        raise DataError(f"Out-of-fold scores must lie in 0 to 1, got {found.min():.4g} to {found.max():.4g}.")
    return found
