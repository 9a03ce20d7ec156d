"""Pinball loss and its weighted form (Eqs. 1, 2 and 9, with the sign that the paper's print lost)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldsight.systems.sem.model import Head


def pinball(target: Tensor, predicted: Tensor, q: float, weight: Tensor | None = None) -> Tensor:
    """Mean pinball loss of a predicted ``q`` quantile, Eq. 1: ``max(q (y - p), (q - 1)(y - p))``.

    The paper prints ``(1 - q)(y - p)`` in the second term, which is negative for ``p > y`` and unbounded below; the
    form here is Koenker and Bassett's (1978). With ``weight``, Eq. 9: weights inside the sum, divided by the number
    of pixels, not by the sum of weights.

    Args:
        target, predicted: tensors of one shape.
        q: level, 0 to 1.
        weight: non-negative, same shape.
    """
    error = target - predicted
    loss = torch.maximum(q * error, (q - 1.0) * error)
    return (loss if weight is None else loss * weight).mean()


def interval_loss(raw: Tensor, target: Tensor, head: Head, low: float, high: float, weight: Tensor | None) -> Tensor:
    """The loss that fits a head's channels, Eq. 2 for quantiles: the unweighted sum over levels.

    Args:
        raw: ``(N, C, H, W)`` from the network.
        target: ``(N, H, W)`` picture, 0 to 1.
        head: kind of the channels.
        low, high: quantile levels.
        weight: ``(N, H, W)`` weights, or None.
    """
    if head == "mean":
        return pinball(target, raw[:, 0], 0.5, weight) * 2.0  # the absolute error: fits the median
    if head == "gaussian":
        nll = 0.5 * (raw[:, 1] + (target - raw[:, 0]) ** 2 * torch.exp(-raw[:, 1]))
        return (nll if weight is None else nll * weight).mean()
    if head == "ordered":
        upper = raw[:, 0] + torch.nn.functional.softplus(raw[:, 1])
        return pinball(target, raw[:, 0], low, weight) + pinball(target, upper, high, weight)
    loss = pinball(target, raw[:, 0], low, weight) + pinball(target, raw[:, -1], high, weight)
    return loss + pinball(target, raw[:, 1], 0.5, weight) if head == "median3" else loss
