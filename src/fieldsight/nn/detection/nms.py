"""Non-maximum suppression: greedy and exact, in numpy after a network or in the network's own ONNX graph.

Both take what a deployed v8 detector gives, ``(N, 4 + nc, A)`` with ``cx, cy, w, h`` in pixels of the input and scores
0 to 1, and both give rows ``x1, y1, x2, y2, score, class``, best first. They agree to the last bit: float32 arithmetic
in the order ONNX Runtime has it, strict comparisons, and among equal scores the lower class, then the lower anchor.

A candidate is an anchor together with a class whose score is above ``conf`` (so an anchor may give boxes of several
classes), its coordinates finite. It is dropped if a better kept one of its class overlaps it by an IoU above ``iou``.
Empty boxes overlap nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.errors import ConfigError, DataError, ExportError
from fieldsight.nn.detection.boxes import box_area, to_corners

Floats = NDArray[np.float32]

#: Candidates that are compared with each other, and with those kept before them, in one go.
BLOCK = 128


@dataclass(frozen=True)
class Suppression:
    """What is kept.

    Attributes:
        conf: scores must be above it; 0.001 for average precision, 0.25 for people, 0.5 in the paper.
        iou: two boxes of a class overlap by at most this.
        limit: boxes a picture, at most.
        best_class: an anchor is a candidate for its best class only.
        agnostic: a box is held against those of all classes; an anchor has its best class.

    Raises:
        ConfigError: a value out of its range.
    """

    conf: float
    iou: float = 0.7
    limit: int = 300
    best_class: bool = False
    agnostic: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} of the suppression is {value}; allowed: 0 to 1."
            for name, value in (("conf", self.conf), ("iou", self.iou))
            if not 0 <= value <= 1
        ]
        if self.limit < 1:
            problems.append(f"limit of the suppression is {self.limit}; allowed: 1 or more boxes.")
        if problems:
            raise ConfigError(problems)


def greedy_nms(
    boxes: Floats, scores: Floats, labels: NDArray[np.int64] | None = None, iou: float = 0.7, limit: int = 300
) -> NDArray[np.int64]:
    """Indices of the boxes kept, best first; exact, whatever the number of candidates.

    Args:
        boxes: ``(K, 4)`` finite corners in any unit.
        scores: ``(K,)``; equal ones in the order given.
        labels: ``(K,)``, boxes of different labels do not meet; without, all do.
        iou: largest overlap allowed.
        limit: stop after so many.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = np.ascontiguousarray(boxes[order], np.float32)
    classes = np.zeros(len(order), np.int64) if labels is None else labels[order]
    area = box_area(boxes)
    kept: list[np.int64] = []
    for start in range(0, len(order), BLOCK):
        rest = np.arange(start, min(start + BLOCK, len(order)))
        if kept:
            rest = rest[~_meets(boxes, area, classes, np.array(kept), rest, iou).any(0)]
        meets = _meets(boxes, area, classes, rest, rest, iou)
        dropped = np.zeros(len(rest), np.bool_)
        for place, candidate in enumerate(rest):
            if not dropped[place]:
                kept.append(candidate)
                if len(kept) == limit:
                    return order[kept]
                dropped |= meets[place]
    return order[np.array(kept, np.int64)]


def _meets(
    boxes: Floats,
    area: Floats,
    classes: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    iou: float,
) -> NDArray[np.bool_]:
    """``(K, M)``: the boxes at two lists of indices have one class and an IoU above ``iou``."""
    a, b = boxes[first].T[:, :, None], boxes[second].T[:, None]
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = width.clip(0) * height.clip(0)
    union = area[first][:, None] + area[second] - shared
    quotient = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    found: NDArray[np.bool_] = (quotient > np.float32(iou)) & (classes[first][:, None] == classes[second])
    return found


def suppress(output: Floats, options: Suppression) -> list[Floats]:
    """Boxes of each picture out of a v8 detector's output.

    Args:
        output: ``(N, 4 + nc, A)``, ``cx, cy, w, h`` in pixels of the input and scores 0 to 1.
        options: what is kept.

    Returns:
        For each picture ``(K, 6)`` float32, ``x1, y1, x2, y2`` in pixels of the input, score and class, best first; K
        is at most ``options.limit``, and may be 0.

    Raises:
        DataError: the output is not of that shape.
    """
    _check_shape(output.shape)
    return [_suppress_one(one.astype(np.float32, copy=False), options) for one in output]


def _suppress_one(output: Floats, options: Suppression) -> Floats:
    scores = output[4:]
    if options.best_class or options.agnostic:
        best = scores.argmax(0)
        anchor = np.nonzero(scores.max(0) > np.float32(options.conf))[0]
        label = best[anchor]
        order = np.argsort(label, kind="stable")
        label, anchor = (label, anchor) if options.agnostic else (label[order], anchor[order])
    else:
        label, anchor = np.nonzero(scores > np.float32(options.conf))
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = to_corners(output[:4, anchor].T)
        finite = np.abs(boxes).sum(1) < np.inf
    boxes, label, anchor = boxes[finite], label[finite], anchor[finite]
    score = scores[label, anchor]
    kept = greedy_nms(boxes, score, None if options.agnostic else label, options.iou, options.limit)
    return np.concatenate((boxes[kept], score[kept, None], label[kept, None].astype(np.float32)), 1)


class Suppress(nn.Module):
    """The end of a detector that is exported with its suppression inside.

    ``Sequential(detector, Suppress(options))`` is exported like any network: the graph holds the standard operator
    NonMaxSuppression, takes any number of pictures and anchors, and needs no code after it. On one and the same
    output it gives the rows of :func:`suppress` exactly. Two runtimes of the detector do not give one output: where
    scores differ by less than their rounding, the order of rows and who suppresses whom may change, so compare
    runtimes on the detector without this, or by average precision. In eager torch the module
    computes the same with :func:`suppress` on the CPU; it has no gradient.
    """

    def __init__(self, options: Suppression) -> None:
        super().__init__()
        self.options = options

    def forward(self, output: Tensor) -> Tensor:
        """``(N, 4 + nc, A)``, as for :func:`suppress`, to ``(N, limit, 6)``: its rows, then rows of zeros.

        Raises:
            DataError: the output is not of that shape.
            ExportError: traced by something else than ``torch.onnx.export(..., dynamo=True)`` of torch 2.8 or newer.
        """
        _check_shape(output.shape)
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # the older exporter
        if torch.onnx.is_in_onnx_export() and not tracing:
            return self._graph(output.float())
        if tracing or torch.compiler.is_exporting():
            raise ExportError(
                "The suppression can only be exported to ONNX, by torch.onnx.export(..., dynamo=True). "
                "For any other format, export the detector without it and call suppress() on its output."
            )
        rows = output.new_zeros(len(output), self.options.limit, 6, dtype=torch.float32)
        for place, found in zip(rows, suppress(output.detach().float().cpu().numpy(), self.options), strict=True):
            place[: len(found)] = torch.from_numpy(found)
        return rows

    def _graph(self, output: Tensor) -> Tensor:
        """The same in operators of ONNX; only the exporter runs this."""
        options = self.options
        # a tensor: the exporter has no remainder by a number that it does not know
        anchors = torch.full((1,), output.shape[2], dtype=torch.int64, device=output.device)
        boxes = to_corners(output[:, :4].transpose(1, 2))
        finite = boxes.abs().sum(-1) < torch.inf
        scores = output[:, 4:] * finite[:, None]
        best = scores.argmax(1, keepdim=True)
        if options.agnostic:
            scores = scores.amax(1, keepdim=True)
        elif options.best_class:
            scores = scores * (torch.arange(scores.shape[1], device=scores.device)[:, None] == best)
        kept = _kept_scores(boxes, scores, options)
        # padded, so that fewer candidates than rows are no special case
        spare = kept.new_zeros(kept.shape[0], options.limit)
        score, place = torch.cat((kept.flatten(1), spare), 1).topk(options.limit)
        anchor = place % anchors
        label = best[:, 0].gather(1, anchor) if options.agnostic else place // anchors
        box = boxes.gather(1, anchor[..., None].expand(-1, -1, 4))
        rows = torch.cat((box, score[..., None], label[..., None].float()), -1)
        return torch.where(score[..., None] > 0, rows, 0.0)


def _kept_scores(boxes: Tensor, scores: Tensor, options: Suppression) -> Tensor:
    """``(N, C, A)`` scores, 0 where suppressed, by nodes of ONNX: boxes ``(N, A, 4)``, scores ``(N, C, A)``."""
    if not hasattr(torch.onnx, "ops"):
        raise ExportError(
            f"An export with the suppression inside needs torch 2.8; this is {torch.__version__}. Update torch, or "
            "export the detector without it and call suppress() on its output."
        )
    symbolic = torch.onnx.ops.symbolic
    limits = (torch.tensor([options.limit]), torch.tensor([options.iou]), torch.tensor([options.conf]))
    # The number of boxes is known when the graph runs. Any number read from a tensor tells the exporter so; what
    # computes it here is used by nothing, and does not reach the file.
    count: Any = (scores > options.conf).sum().item()
    chosen = symbolic("NonMaxSuppression", (boxes, scores, *limits), dtype=torch.int64, shape=(count, 3))
    values = symbolic("GatherND", (scores, chosen), dtype=torch.float32, shape=(count,))
    empty = torch.zeros_like(scores)
    return symbolic("ScatterND", (empty, chosen, values), dtype=torch.float32, shape=scores.shape)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[1] < 5:
        raise DataError(f"The detector's output is {tuple(shape)}; allowed: (N, 4 + classes, anchors).")
