"""Region proposal network (Ren, He, Girshick, Sun, Faster R-CNN, NIPS 2015, arXiv 1506.01497, section 3.1).

Anchors of several sizes and shapes stand on each cell of a map; the network says whether an object is at each and how
its box differs, and the best boxes after suppression are the regions that R-FCN looks at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.errors import ConfigError
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.boxes import box_area, clip_boxes, iou_matrix, to_centres, to_corners
from fieldsight.nn.detection.nms import Suppress, Suppression

#: Sides of the anchors in pixels of the input. Faster R-CNN's 128, 256 and 512 are for objects that fill half a photo.
SIZES = (32.0, 64.0, 128.0)
#: Height over width.
RATIOS = (0.5, 1.0, 2.0)
#: Boxes grow and shrink by at most this factor, so that no exponential overflows.
GROWTH = math.log(1000 / 16)
#: Share of a box's area inside an ignored region from which on the box is neither object nor background.
IGNORED = 0.5


@dataclass(frozen=True)
class Proposals:
    """Which boxes become regions.

    Attributes:
        before: best boxes of a photo that suppression looks at.
        after: regions a photo, at most; fewer are padded with boxes of zeros.
        iou: two regions overlap by at most this.
        least: shortest side of a region in pixels.

    Raises:
        ConfigError: a value out of its range.
    """

    before: int = 2000
    after: int = 300
    iou: float = 0.7
    least: float = 1.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} of the proposals is {value}; allowed: 1 or more."
            for name, value in (("before", self.before), ("after", self.after))
            if value < 1
        ]
        if not 0 <= self.iou <= 1:
            problems.append(f"iou of the proposals is {self.iou}; allowed: 0 to 1.")
        if self.least < 0:
            problems.append(f"least side of the proposals is {self.least}; allowed: 0 or more pixels.")
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True)
class Matching:
    """Which boxes learn which truth, and how many do.

    Attributes:
        high: an IoU from which on a box is an object.
        low: an IoU below which it is background; between both it is neither.
        best: whether the best box of each truth is an object too, however small the IoU.
        count: boxes a photo that are learned from.
        share: of them objects, at most.
    """

    high: float
    low: float
    best: bool
    count: int
    share: float


#: Regions as the paper takes them.
PROPOSALS = Proposals()
#: Faster R-CNN, section 3.1.2 and 3.1.3.
OBJECTNESS = Matching(0.7, 0.3, True, 256, 0.5)


def anchor_boxes(
    height: int, width: int, stride: int, sizes: Sequence[float] = SIZES, ratios: Sequence[float] = RATIOS
) -> Tensor:
    """Anchors of a map, cell by cell, in the order sizes by ratios.

    Args:
        height, width: cells of the map.
        stride: pixels of the input a cell.
        sizes: square roots of the areas in pixels.
        ratios: heights over widths.

    Returns:
        ``(height width len(sizes) len(ratios), 4)`` corners in pixels around the cells' centres.
    """
    shapes = torch.tensor([[s / math.sqrt(r), s * math.sqrt(r)] for s in sizes for r in ratios])
    x = (torch.arange(width, dtype=torch.float32) + 0.5) * stride
    y = (torch.arange(height, dtype=torch.float32) + 0.5) * stride
    centres = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)[:, :, None]
    half = shapes / 2
    return torch.cat((centres - half, centres + half), -1).reshape(-1, 4)


def encode(boxes: Tensor, bases: Tensor, variances: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes relative to others: ``(x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a)``, over variances.

    Args:
        boxes, bases: ``(..., 4)`` corners in pixels, all with an area.
        variances: what the four numbers are divided by, so that they are of the order of 1.

    Returns:
        ``(..., 4)``.
    """
    place, size = to_centres(boxes).chunk(2, -1)
    base_place, base_size = to_centres(bases).chunk(2, -1)
    deltas = torch.cat(((place - base_place) / base_size, (size / base_size).log()), -1)
    return deltas / deltas.new_tensor(variances)


def decode(deltas: Tensor, bases: Tensor, variances: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The inverse of :func:`encode`, in float32; sides grow by at most 62.5.

    Args:
        deltas: ``(..., 4)``.
        bases: ``(..., 4)`` corners in pixels.
        variances: as when encoding.

    Returns:
        ``(..., 4)`` corners in pixels.
    """
    deltas = deltas.float()
    shift, growth = (deltas * deltas.new_tensor(variances)).chunk(2, -1)
    base_place, base_size = to_centres(bases).chunk(2, -1)
    sizes = base_size * growth.clamp(max=GROWTH).exp()
    return to_corners(torch.cat((base_place + shift * base_size, sizes), -1))


def begin(hidden: nn.Conv2d, *last: nn.Conv2d) -> None:
    """Random weights of a hidden layer by He et al. (2015), of last layers with a deviation of 0.01; biases 0.

    The authors take 0.01 for all. Hidden layers of their widths get 0.015 and 0.03 by He's rule; narrow ones would be
    silent with 0.01.
    """
    nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
    for layer in last:
        nn.init.normal_(layer.weight, std=0.01)
    for layer in (hidden, *last):
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


class RegionProposals(nn.Module):
    """3x3 convolution and ReLU, then 1x1 convolutions: per anchor a logit of being an object, and four differences.

    Attributes:
        stride: pixels of the input a cell of the map.
        sizes, ratios: of the anchors.
        options: which boxes become regions.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int = 16,
        sizes: Sequence[float] = SIZES,
        ratios: Sequence[float] = RATIOS,
        options: Proposals = PROPOSALS,
    ) -> None:
        super().__init__()
        self.stride, self.sizes, self.ratios = stride, tuple(sizes), tuple(ratios)
        self.options = options
        count = len(self.sizes) * len(self.ratios)
        self.shared = nn.Conv2d(inputs, width, 3, padding=1)
        self.object = nn.Conv2d(width, count, 1)
        self.box = nn.Conv2d(width, 4 * count, 1)
        self.suppress = Suppress(Suppression(conf=0.0, iou=options.iou, limit=options.after))
        begin(self.shared, self.object, self.box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(N, C, h, w)`` to logits ``(N, A)``, differences ``(N, A, 4)`` and anchors ``(A, 4)``, cell by cell."""
        n, _, height, width = x.shape
        shared = self.shared(x).relu()
        logits = self.object(shared).permute(0, 2, 3, 1).reshape(n, -1)
        deltas = self.box(shared).permute(0, 2, 3, 1).reshape(n, -1, 4)
        return logits, deltas, anchor_boxes(height, width, self.stride, self.sizes, self.ratios).to(x.device)

    @torch.no_grad()
    def regions(self, logits: Tensor, deltas: Tensor, anchors: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The best boxes after suppression, cut to the photo; suppression runs on the CPU.

        Args:
            logits, deltas, anchors: see :meth:`forward`.
            size: height and width of the input in pixels.

        Returns:
            Corners ``(N, P, 4)`` in pixels and whether each is a region ``(N, P)``, best first; P is ``options.after``.
        """
        scores, best = logits.float().sigmoid().topk(_fewer(self.options.before, logits.shape[1]), 1)
        boxes = decode(deltas.gather(1, best[..., None].expand(-1, -1, 4)), anchors[best])
        boxes = clip_boxes(boxes, size)
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = scores * (sides.amin(-1) >= self.options.least)
        rows = self.suppress(torch.cat((to_centres(boxes), scores[..., None]), -1).transpose(1, 2))
        return rows[..., :4], rows[..., 4] > 0

    def loss(self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Objectness and box losses (Equation 1 of the paper), each a mean over the sampled anchors of all photos.

        Anchors that cross the border of a photo take part, where the paper leaves them out: photos here are small
        beside their anchors. Samples are drawn from torch's global generator.

        Args:
            logits, deltas, anchors: see :meth:`forward`.
            targets: boxes in pixels of the input.

        Returns:
            Two scalars: binary cross-entropy; smooth L1, quadratic below 1 / 9, summed over the four differences.
        """
        objects, boxes, total = [], [], 0
        for n in range(len(logits)):
            kept = targets.image == n
            truth, ignored = targets.boxes[kept & ~targets.ignore], targets.boxes[kept & targets.ignore]
            label, row = match(anchors, truth, ignored, OBJECTNESS)
            chosen = sample(label, OBJECTNESS)
            objects.append(_cross_entropy(logits[n, chosen], (label[chosen] > 0).float()))
            positive = chosen[label[chosen] > 0]
            wanted = encode(truth[row[positive]], anchors[positive])
            boxes.append(F.smooth_l1_loss(deltas[n, positive].float(), wanted, reduction="sum", beta=1 / 9))
            total += len(chosen)
        count = max(total, 1)
        return torch.stack(objects).sum() / count, torch.stack(boxes).sum() / count


def match(boxes: Tensor, truth: Tensor, ignored: Tensor, rule: Matching) -> tuple[Tensor, Tensor]:
    """Which boxes are objects, which background.

    Args:
        boxes: ``(A, 4)`` corners.
        truth: ``(G, 4)`` corners, perhaps none.
        ignored: ``(I, 4)`` corners of regions that are neither.
        rule: the thresholds.

    Returns:
        ``(A,)`` 1 an object, 0 background, -1 neither; ``(A,)`` the truth of largest IoU (0 without any).
    """
    label = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    row = torch.zeros_like(label)
    if len(ignored):
        low = torch.maximum(boxes[:, None, :2], ignored[:, :2])
        high = torch.minimum(boxes[:, None, 2:], ignored[:, 2:])
        inside = box_area(torch.cat((low, high), -1)).amax(1)
        label[(inside >= IGNORED * box_area(boxes)) & (inside > 0)] = -1
    if not len(truth):
        return label, row
    overlap = iou_matrix(boxes, truth)
    largest, row = overlap.max(1)
    label[(largest >= rule.low) & (largest < rule.high)] = -1
    label[largest >= rule.high] = 1
    if rule.best:
        best = overlap.amax(0)
        box, of = ((overlap == best) & (best > 0)).nonzero(as_tuple=True)
        label[box] = 1
        row[box] = of
    return label, row


def sample(label: Tensor, rule: Matching) -> Tensor:
    """Indices of ``rule.count`` boxes drawn at random, of which at most ``rule.share`` are objects."""
    positive, negative = (label == 1).nonzero()[:, 0], (label == 0).nonzero()[:, 0]
    positive = positive[torch.randperm(len(positive), device=label.device)[: int(rule.count * rule.share)]]
    spare = rule.count - len(positive)
    negative = negative[torch.randperm(len(negative), device=label.device)[:spare]]
    return torch.cat((positive, negative))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")


def _fewer(wanted: int, there: int) -> Any:
    """The smaller number; in an export ``there`` is a symbol, whose comparison would fix the size of the photos."""
    if torch.compiler.is_exporting():
        return torch.sym_min(wanted, there)  # type: ignore[no-untyped-call]
    return min(wanted, there)
