"""Losses of the experts; the gate's are in :mod:`fieldsight.systems.crack.mixing`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldsight.systems.crack.config import ExpertTraining

#: Keeps the Dice loss of a picture without crack finite (the authors' public configuration).
SMOOTH = 1e-5


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss of each picture, mean over pictures; logits and truth ``(N, 1, H, W)``, truth in {0, 1}."""
    found = torch.sigmoid(logits).flatten(1)
    wanted = truth.flatten(1)
    overlap = (found * wanted).sum(1)
    return (1.0 - (2.0 * overlap + SMOOTH) / (found.sum(1) + wanted.sum(1) + SMOOTH)).mean()


def mask_loss(logits: Tensor, truth: Tensor, settings: ExpertTraining) -> Tensor:
    """Weighted sum of binary cross-entropy and Dice loss."""
    loss = settings.bce * F.binary_cross_entropy_with_logits(logits, truth)
    return loss + settings.dice * dice_loss(logits, truth) if settings.dice else loss


def expert_loss(
    outputs: Mapping[str, Tensor], truth: Tensor, image: Tensor, settings: ExpertTraining
) -> dict[str, Tensor]:
    """Loss of an expert's outputs: its mask, a first stage's mask (``aux``), a reconstruction of the picture."""
    loss = mask_loss(outputs["logits"], truth, settings)
    values = {"mask": loss}
    if "aux" in outputs:
        loss = loss + settings.aux * mask_loss(outputs["aux"], truth, settings)
    if "reconstruction" in outputs:
        values["reconstruction"] = F.l1_loss(outputs["reconstruction"], image)
        loss = loss + settings.reconstruction * values["reconstruction"]
    return {"loss": loss, **values}
