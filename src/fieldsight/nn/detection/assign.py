"""Task-aligned assignment: which anchors learn which box, and how strongly (Feng et al. 2021, TOOD; Y1).

The boxes of a batch stand in one list with the index of their picture, so a picture without boxes costs nothing and
one with many pads no other. All sums are over (box, anchor inside it) pairs, made for a bounded number of boxes at a
time: neither many boxes nor large ones need much memory.

What has no anchor:

- a box with no anchor point inside, such as one smaller than a stride that falls between points: TOOD's rule leaves it
  out, and so does this. It is neither learnt nor held against the network; :func:`task_aligned` says how many;
- a box whose every candidate has an alignment of 0, i.e. whose predictions all have CIoU 0 or less: its soft targets
  would be 0, which is what background has;
- the later of two equal boxes: every anchor goes to one of them. With different classes it keeps the anchors that only
  its class selected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldsight.errors import ConfigError, DataError
from fieldsight.nn.detection.boxes import ciou

#: Cells of the table box by anchor that are looked at in one go (about 150 bytes each at worst).
CELLS = 1_000_000


@dataclass(frozen=True)
class Targets:
    """The boxes of a batch of pictures.

    Attributes:
        boxes: ``(R, 4)`` float32, corners in pixels of the network's input.
        labels: ``(R,)`` int64, classes from 0; 0 of what is ignored.
        image: ``(R,)`` int64, index of the picture in the batch.
        ignore: ``(R,)`` bool, regions that are neither object nor background: they get no anchor, and what is
            predicted at anchors inside them costs nothing.
    """

    boxes: Tensor
    labels: Tensor
    image: Tensor
    ignore: Tensor

    @classmethod
    def of(cls, pictures: Iterable[tuple[object, object] | tuple[object, object, object]]) -> Targets:
        """From ``(boxes, labels)`` or ``(boxes, labels, ignore)`` of each picture, arrays or tensors, empty or not.

        Raises:
            DataError: numbers of boxes and labels differ, or a box is not finite.
        """
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        for number, picture in enumerate(pictures):
            boxes, labels = _tensor(picture[0], torch.float32).reshape(-1, 4), _tensor(picture[1], torch.int64)
            ignore = _tensor(picture[2], torch.bool) if len(picture) > 2 else torch.zeros(len(boxes), dtype=torch.bool)
            if not len(boxes) == labels.numel() == ignore.numel():
                counts = f"{len(boxes)} boxes, {labels.numel()} labels and {ignore.numel()} marks"
                raise DataError(f"Picture {number} of the batch has {counts} to ignore; give one of each a box.")
            if not bool(boxes.isfinite().all()):
                raise DataError(f"Picture {number} of the batch has a box that is not finite; leave it out.")
            ignore = ignore.reshape(-1)
            rows.append((boxes, labels.reshape(-1).masked_fill(ignore, 0), ignore))
        image = torch.repeat_interleave(torch.tensor([len(row[0]) for row in rows], dtype=torch.int64))
        empty = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
        found = [torch.cat(column) for column in zip(empty, *rows, strict=True)]
        return cls(found[0], found[1], image, found[2])

    @classmethod
    def from_padded(cls, boxes: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Targets:
        """From ``(N, G, 4)`` corners and ``(N, G)`` labels, -1 where a row is only padding; see :meth:`padded`.

        Raises:
            DataError: the shapes do not fit together.
        """
        if (
            boxes.shape != (*labels.shape, 4)
            or labels.ndim != 2
            or (ignore is not None and ignore.shape != labels.shape)
        ):
            shapes = f"{tuple(boxes.shape)} and {tuple(labels.shape)}"
            raise DataError(f"Padded boxes and labels are {shapes}; allowed: (N, G, 4) and (N, G).")
        image, row = (labels >= 0).nonzero(as_tuple=True)
        marks = torch.zeros_like(labels, dtype=torch.bool) if ignore is None else ignore
        return cls(boxes[image, row].float(), labels[image, row], image, marks[image, row])

    def padded(self, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
        """``(N, G, 4)`` corners, ``(N, G)`` labels and ``(N, G)`` ignore; G is the most boxes of a picture, -1 pads."""
        counts = torch.bincount(self.image, minlength=pictures)
        order = torch.argsort(self.image, stable=True)
        image = self.image[order]
        row = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[image]
        most = int(counts.max()) if pictures else 0
        boxes, labels = self.boxes.new_zeros(pictures, most, 4), self.labels.new_full((pictures, most), -1)
        ignore = self.ignore.new_zeros(pictures, most)
        boxes[image, row], labels[image, row], ignore[image, row] = (
            values[order] for values in (self.boxes, self.labels, self.ignore)
        )
        return boxes, labels, ignore

    def to(self, device: torch.device | str) -> Targets:
        """The same on another device."""
        return Targets(*(values.to(device) for values in (self.boxes, self.labels, self.image, self.ignore)))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Assignment:
    """What the anchors of a batch learn; P anchors got a box, in the order of picture and anchor.

    Attributes:
        image: ``(P,)`` int64, index of the picture.
        anchor: ``(P,)`` int64, index of the anchor.
        row: ``(P,)`` int64, the box, an index into the targets.
        weight: ``(P,)`` float32 above 0, at most 1: the soft target of the box's class.
        ignored: ``(N, A)`` bool, anchors without a box whose point lies inside an ignored region.
        unreached: how many boxes have no anchor, but for ignored ones.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    weight: Tensor
    ignored: Tensor
    unreached: int


@torch.no_grad()
def task_aligned(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Targets,
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> Assignment:
    """Assign anchors to boxes by task alignment ``t = s^alpha u^beta`` (TOOD, Eq. 3; Y1).

    ``s`` is the predicted score of the box's class, ``u`` the CIoU of prediction and box, clipped at 0. Candidates are
    the anchors whose point lies strictly inside the box, and the ``topk`` of largest ``t`` are taken (equal ones: lower
    anchor first). An anchor taken by several boxes goes to the one of larger CIoU (equal: the earlier box). The soft
    target is ``t``, scaled for each box so that its largest equals the box's largest CIoU over its anchors.

    With ``topk=1`` it is the one-to-one branch of YOLOv10 (Wang et al. 2024), whose consistent metric has the same
    ``alpha`` and ``beta``: a box has one anchor, or none if a box that fits better wanted the same.

    Args:
        scores: ``(N, nc, A)`` predicted scores, 0 to 1.
        boxes: ``(N, A, 4)`` predicted corners in pixels of the input.
        points: ``(A, 2)`` anchor points in pixels of the input.
        targets: the boxes of the N pictures, on the same device.
        topk: anchors a box, at most.
        alpha: exponent of the score.
        beta: exponent of the CIoU.

    Raises:
        ConfigError: ``topk`` below 1, or a negative exponent.
        DataError: a target of a class or picture that does not exist.
    """
    if topk < 1 or alpha < 0 or beta < 0:
        got = f"topk={topk}, alpha={alpha}, beta={beta}"
        raise ConfigError(f"The assignment got {got}; allowed: topk of at least 1, exponents of at least 0.")
    _check_targets(targets, scores)
    rows = (~targets.ignore).nonzero()[:, 0]
    step = max(1, CELLS // max(1, len(points)))
    parts = [_select(scores, boxes, points, targets, part, topk, alpha, beta) for part in torch.split(rows, step)]
    row, anchor = (torch.cat([part[column] for part in parts]) for column in (0, 1))
    overlap, aligned = (torch.cat([part[column] for part in parts]) for column in (2, 3))

    image = targets.image[row]
    won = _winners(image * len(points) + anchor, overlap, row)
    image, anchor, row, overlap, aligned = (column[won] for column in (image, anchor, row, overlap, aligned))
    largest = aligned.new_zeros(2, len(targets))
    largest[0].scatter_reduce_(0, row, aligned, "amax")
    largest[1].scatter_reduce_(0, row, overlap, "amax")
    weight = aligned / largest[0][row] * largest[1][row]
    ignored = _inside_any(points, targets, scores.shape[0])
    ignored[image, anchor] = False
    return Assignment(image, anchor, row, weight, ignored, len(rows) - len(torch.unique(row)))


def _select(
    scores: Tensor, boxes: Tensor, points: Tensor, targets: Targets, rows: Tensor, topk: int, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Box, anchor, CIoU and alignment of the ``topk`` candidates of some boxes; those of alignment 0 left out."""
    local, anchor = _inside(points, targets.boxes[rows]).nonzero(as_tuple=True)
    row = rows[local]
    image = targets.image[row]
    overlap = ciou(boxes[image, anchor].float(), targets.boxes[row]).clamp(min=0)
    aligned = scores[image, targets.labels[row], anchor].float().pow(alpha) * overlap.pow(beta)
    order = torch.argsort(aligned, descending=True, stable=True)
    order = order[torch.argsort(local[order], stable=True)]  # by box, then by alignment, then by anchor
    counts = torch.bincount(local, minlength=len(rows))
    place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[local[order]]
    taken = order[(place < topk) & (aligned[order] > 0)]
    return row[taken], anchor[taken], overlap[taken], aligned[taken]


def _winners(place: Tensor, overlap: Tensor, row: Tensor) -> Tensor:
    """Indices of one claim for each place, in the order of places: largest overlap, then the earliest row."""
    order = torch.argsort(row, stable=True)
    order = order[torch.argsort(overlap[order], descending=True, stable=True)]
    order = order[torch.argsort(place[order], stable=True)]
    sorted_place = place[order]
    first = torch.ones_like(sorted_place, dtype=torch.bool)
    first[1:] = sorted_place[1:] != sorted_place[:-1]
    return order[first]


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """``(R, A)`` bool: point strictly inside box."""
    return ((points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])).all(-1)


def _inside_any(points: Tensor, targets: Targets, pictures: int) -> Tensor:
    """``(N, A)`` bool: point inside an ignored region of the picture."""
    found = torch.zeros(pictures, len(points), dtype=torch.bool, device=points.device)
    for row in targets.ignore.nonzero()[:, 0]:
        found[targets.image[row]] |= _inside(points, targets.boxes[row, None])[0]
    return found


def _check_targets(targets: Targets, scores: Tensor) -> None:
    for what, values, axis in (("class", targets.labels, 1), ("picture", targets.image, 0)):
        bad = (values < 0) | (values >= scores.shape[axis])
        if bool(bad.any()):
            raise DataError(f"A target is of {what} {int(values[bad][0])}; allowed: 0 to {scores.shape[axis] - 1}.")


def _tensor(values: object, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values)).to(dtype)
