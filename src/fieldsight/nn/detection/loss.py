"""What a v8 or v10 detector minimises: soft class targets, CIoU and the distribution of distances (Y2 to Y5).

The class loss is plain binary cross-entropy against soft targets. It is no focal loss: there is no ``|t - s|^gamma``
in front (that would be the quality focal loss of GFL), no class weights and no label smoothing. An anchor without a
box has the target 0 for every class, one with a box has its weight for the box's class and 0 for the others, and the
sum over all anchors and classes is divided by the sum of the targets. With ``t = 0`` nearly everywhere, the
initial bias of the class logits keeps that sum small at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldsight.errors import DataError
from fieldsight.nn.detection.assign import Assignment, Targets, task_aligned
from fieldsight.nn.detection.boxes import ciou
from fieldsight.nn.detection.decode import BINS, Raw, anchors, boxes, corners, distances, reaches

#: A true distance in strides is clipped just below the last bin.
FARTHEST = BINS - 1 - 0.01


@dataclass(frozen=True)
class Gains:
    """Weights of the parts (Y5)."""

    box: float = 7.5
    cls: float = 0.5
    dfl: float = 1.5


def detection_loss(
    head: Raw | Sequence[Tensor],
    targets: Targets,
    gains: Gains = Gains(),
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> dict[str, Tensor]:
    """Loss of a v8 head (Y2 to Y5), in float32 whatever the head gives.

    The sum of all soft targets that divides each part is taken as at least 1: a batch without boxes has the class part
    only, and a few faint targets early in training do not blow up the rest.

    Args:
        head: what a branch gives in training, or its maps, see :func:`from_maps`.
        targets: boxes in pixels of the input, on the head's device.
        gains: weights of the parts.
        topk: anchors a box, see :func:`~fieldsight.nn.detection.assign.task_aligned`.
        alpha: exponent of the score in the assignment.
        beta: exponent of the CIoU in the assignment.

    Returns:
        Scalars. ``loss``: weighted sum of the parts times N (Y5), to be minimised. ``cls`` (Y2), ``box`` (Y3) and
        ``dfl`` (Y4) before weights and without gradient. ``positives``: anchors with a box. ``unreached``: boxes that
        have no anchor.

    Raises:
        DataError: maps of a wrong shape, or targets of a class or picture that does not exist.
        ConfigError: options of the assignment that can't be used.
    """
    raw = head if isinstance(head, Raw) else from_maps(head)
    logits = raw.classes.float()
    with torch.no_grad():
        points = raw.points * raw.strides[:, None]
        found = task_aligned(logits.sigmoid(), boxes(raw), points, targets, topk, alpha, beta)
    total = found.weight.sum().clamp(min=1)
    box, dfl = _box_parts(raw, targets, found)
    parts = {"cls": _class_part(logits, targets, found) / total, "box": box / total, "dfl": dfl / total}
    loss = gains.cls * parts["cls"] + gains.box * parts["box"] + gains.dfl * parts["dfl"]
    counts = {"positives": float(len(found.row)), "unreached": float(found.unreached)}
    return {
        "loss": loss * logits.shape[0],
        **{name: part.detach() for name, part in parts.items()},
        **{name: torch.tensor(count) for name, count in counts.items()},
    }


def dual_loss(
    many: Raw | Sequence[Tensor],
    one: Raw | Sequence[Tensor],
    targets: Targets,
    gains: Gains = Gains(),
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> dict[str, Tensor]:
    """Loss of a v10 head (Wang et al. 2024, consistent dual assignments): both branches' losses, added.

    Args:
        many: the one-to-many branch, as for :func:`detection_loss`; its boxes get ``topk`` anchors.
        one: the one-to-one branch; a box gets one anchor. Whether its gradient reaches the backbone is the network's
            affair: the paper detaches its features.
        targets: boxes in pixels of the input.
        gains: weights of the parts, the same in both branches.
        topk: anchors a box in the one-to-many branch.
        alpha: exponent of the score, the same in both assignments.
        beta: exponent of the CIoU, the same in both assignments.

    Returns:
        ``loss``, and the parts of :func:`detection_loss` with ``many_`` and ``one_`` in front of their names.

    Raises:
        DataError: as :func:`detection_loss`.
        ConfigError: as :func:`detection_loss`.
    """
    branches = {
        "many": detection_loss(many, targets, gains, topk, alpha, beta),
        "one": detection_loss(one, targets, gains, 1, alpha, beta),
    }
    loss = branches["many"].pop("loss") + branches["one"].pop("loss")
    return {"loss": loss, **{f"{b}_{name}": v for b, parts in branches.items() for name, v in parts.items()}}


def distribution_focal(logits: Tensor, distance: Tensor) -> Tensor:
    """Distribution focal loss (Li et al. 2020, GFL, Eq. 6; the bracket of Y4).

    Args:
        logits: ``(..., 16)`` of the bins 0 to 15.
        distance: ``(...)`` in strides, clipped here to 0 to 14.99.

    Returns:
        ``(...)``, at least 0; smallest where the two bins around the distance share the probability so that the
        expectation is the distance.
    """
    y = distance.clamp(0, FARTHEST)
    low = y.floor()
    log_p = F.log_softmax(logits, -1)
    bins = torch.stack((low, low + 1), -1).long()
    weights = torch.stack((low + 1 - y, y - low), -1)
    return -(log_p.gather(-1, bins) * weights).sum(-1)


def from_maps(maps: Sequence[Tensor], strides: Sequence[int] = (8, 16, 32)) -> Raw:
    """A branch's maps, one a stride, as one list of anchors.

    Args:
        maps: ``(N, 64 + nc, h, w)`` each: 16 logits for left, top, right and bottom, then those of the classes.
        strides: pixels of the input a cell of each map.

    Raises:
        DataError: not one map a stride, or maps of different depth or of too few channels for one class.
    """
    shapes = [tuple(m.shape) for m in maps]
    if len(maps) != len(strides) or len({s[:2] for s in shapes}) != 1 or shapes[0][1] <= 4 * BINS:
        allowed = f"one (N, {4 * BINS} + classes, h, w) for each of the strides {tuple(strides)}"
        raise DataError(f"The maps of the detector are {shapes}; allowed: {allowed}.")
    flat = torch.cat([m.flatten(2) for m in maps], 2)
    bins = torch.arange(BINS, dtype=torch.float32, device=flat.device)
    return Raw(flat[:, : 4 * BINS], flat[:, 4 * BINS :], *anchors(maps, strides), bins)


def _class_part(logits: Tensor, targets: Targets, found: Assignment) -> Tensor:
    """Sum of BCE(logit, target) = softplus(logit) - target * logit: Y2 without its denominator."""
    background = F.softplus(logits).masked_fill(found.ignored[:, None], 0.0)
    positive = logits[found.image, targets.labels[found.row], found.anchor]
    return background.sum() - (found.weight * positive).sum()


def _box_parts(raw: Raw, targets: Targets, found: Assignment) -> tuple[Tensor, Tensor]:
    """Numerators of Y3 and Y4, over the P anchors that have a box, in strides."""
    points = raw.points[found.anchor]
    truth = targets.boxes[found.row] / raw.strides[found.anchor, None]
    sides = raw.sides[found.image, :, found.anchor].float()
    predicted = corners(distances(sides.T[None], raw.bins), points)[0]
    dfl = distribution_focal(sides.reshape(-1, 4, BINS), reaches(truth, points)).mean(-1)
    return (found.weight * (1 - ciou(predicted, truth))).sum(), (found.weight * dfl).sum()
