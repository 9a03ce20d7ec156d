"""Whether an export finds what the original finds: boxes after suppression, on pictures that calibrated nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fieldsight.errors import ConfigError, ExportError
from fieldsight.export.calibration import Inputs
from fieldsight.model import Runner
from fieldsight.nn.detection.boxes import iou_matrix
from fieldsight.nn.detection.nms import Suppress, Suppression, suppress
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.predict import EdgeModel

Floats = NDArray[np.float32]

#: Two boxes of a class are one from this IoU on.
SAME = 0.5

#: A box is looked for among those of at least this share of the score: one at the threshold may fall on either side.
SLACK = 0.5


@dataclass(frozen=True)
class BoxParity:
    """Boxes of an export against the original's.

    Attributes:
        pictures: compared.
        boxes: that the original found on them.
        conf: score from which a box counts; below the model's own where it finds nothing at that.
        matched: share of the boxes of both that the other one has too; NaN without any.
        mean_iou: of the boxes that the original found and the export too.
        largest_score_difference: of these.
    """

    pictures: int
    boxes: int
    conf: float
    matched: float
    mean_iou: float
    largest_score_difference: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to tell."""
        numbers = {"matched": self.matched, "mean_iou": self.mean_iou, "largest_score": self.largest_score_difference}
        plain = {name: None if math.isnan(value) else round(value, 6) for name, value in numbers.items()}
        return {"pictures": self.pictures, "boxes": self.boxes, "conf": self.conf, **plain}

    def line(self) -> str:
        """One line for people."""
        if not self.boxes:
            return f"no boxes to compare on {self.pictures} pictures"
        return (
            f"{self.boxes} boxes on {self.pictures} pictures: {self.matched:.1%} matched, mean IoU "
            f"{self.mean_iou:.4f}, scores off by {self.largest_score_difference:.2g} at the most"
        )


def compare_boxes(expected: Sequence[Floats], found: Sequence[Floats], conf: float) -> BoxParity:
    """Compare boxes picture by picture.

    Args:
        expected, found: rows ``x1, y1, x2, y2, score, class`` ``(K, 6)`` of each picture, suppressed at a score of
            ``SLACK * conf`` or below.
        conf: score from which a box has to be found again.
    """
    hits, total, ious, gaps, boxes = 0, 0, list[float](), list[float](), 0
    for ours, theirs in zip(expected, found, strict=True):
        strict = ours[ours[:, 4] >= conf]
        overlap, score = _best(strict, theirs)
        same = overlap >= SAME
        boxes, total, hits = boxes + len(strict), total + len(strict), hits + int(same.sum())
        ious += overlap[same].tolist()
        gaps += np.abs(score - strict[:, 4])[same].tolist()
        new = theirs[theirs[:, 4] >= conf]
        total, hits = total + len(new), hits + int((_best(new, ours)[0] >= SAME).sum())
    return BoxParity(
        len(expected), boxes, conf, hits / total if total else math.nan,
        float(np.mean(ious)) if ious else math.nan, max(gaps, default=math.nan),
    )  # fmt: skip


def _best(rows: Floats, others: Floats) -> tuple[Floats, Floats]:
    """For each row the largest IoU with a box of its class among others, and that box's score."""
    if not len(rows) or not len(others):
        return np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
    overlap = np.where(rows[:, 5:6] == others[None, :, 5], iou_matrix(rows[:, :4], others[:, :4]), 0.0)
    # of boxes that overlap alike, the one with the nearest score
    order = np.lexsort((np.abs(rows[:, 4:5] - others[None, :, 4]), -overlap), axis=1)[:, 0]
    return overlap[np.arange(len(rows)), order].astype(np.float32), others[order, 4]


def check_boxes(
    model: EdgeModel, runner: Runner, pictures: Iterable[Floats], allowed: float, suppressed: bool = False
) -> BoxParity:
    """Compare the boxes of an export with eager torch's.

    Args:
        model: the original.
        runner: the export.
        pictures: network inputs ``(1, 3, S, S)``.
        allowed: largest share of boxes lost or new.
        suppressed: the export suppresses by itself and gives rows ``(1, K, 6)``.

    Raises:
        ExportError: more boxes are lost or new, or its output is not finite.
    """
    eager, kept = model._eager(), list(pictures)
    own = model.suppression(PredictOptions())
    (given,), name = model.input_names, model.output_names[0]
    expected, found = list[Floats](), list[Floats]()
    for picture in kept:
        batch = {given: torch.from_numpy(picture)}
        expected.append(eager(batch)[name].numpy())
        found.append(next(iter(runner(batch).values())).numpy())
        if not np.isfinite(found[-1]).all():
            raise ExportError("The export gives numbers that are not finite. Keep more of it in FP32.")
    conf = own.conf if suppressed else _useful_conf(expected, own.conf)
    loose = replace(own, conf=SLACK * conf)
    ours = [suppress(output, loose)[0] for output in expected]
    theirs = [_rows(output) if suppressed else suppress(output, loose)[0] for output in found]
    told = compare_boxes(ours, theirs, conf)
    if suppressed:  # it has no boxes below the score to look among
        told = compare_boxes([suppress(o, own)[0] for o in expected], theirs, conf)
    if not math.isnan(told.matched) and 1 - told.matched > allowed:
        raise ExportError(
            f"The export finds other boxes than the original: {told.line()}; at most {allowed:.1%} may be lost or new. "
            "For INT8, calibrate with more pictures of the training split; else keep FP32."
        )
    return told


def _useful_conf(outputs: Sequence[Floats], conf: float) -> float:
    """The model's own, or half of its highest score where it finds nothing."""
    highest = max((float(output[:, 4:].max()) for output in outputs if output.size), default=0.0)
    return conf if highest >= conf or not highest > 0 else 0.5 * highest


def _rows(output: Floats) -> Floats:
    """Rows of a file with its own suppression, without those that fill up."""
    rows = output[0]
    return rows[rows[:, 4] > 0]


def unseen_pictures(model: EdgeModel, count: int, spare: Inputs | None = None) -> list[Floats]:
    """Network inputs ``(1, 3, S, S)`` that calibrated nothing: held-out drawn frames, inputs left out, or the example.

    Args:
        model: drawn frames are taken where it was trained on such.
        count: at the most.
        spare: inputs left out of the calibration, for a model trained on a user's photos.
    """
    from fieldsight.data.detection.letterbox import preprocess
    from fieldsight.systems.edge.data import heldout

    if not count:
        return []
    if model.artefacts.get("training", {}).get("drawn", True):
        samples = heldout(model.config.data)
        step = max(1, len(samples) // count)
        return [preprocess(s.image(), model.config.input)[0] for s in samples[::step][:count]]
    name = model.input_names[0]
    if spare:
        return [arrays[name] for arrays in islice(spare, count)]
    return [picture[None].numpy() for picture in model.example()[name][:count]]


class Suppressed(nn.Module):
    """A deployed detector and its suppression; its weights have the same names as without, as scales know them by."""

    def __init__(self, graph: nn.Module, rules: Suppression) -> None:
        super().__init__()
        for name, child in graph.named_children():
            self.add_module(name, child)
        self.end = Suppress(rules)
        self._whole = [graph]  # in a list, so that its weights are not registered a second time

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, 3, H, W)`` in 0-1 to ``(N, limit, 6)``; see :class:`fieldsight.nn.detection.nms.Suppress`."""
        rows: torch.Tensor = self.end(self._whole[0](image))
        return rows


def with_suppression(model: EdgeModel, rules: Suppression) -> EdgeModel:
    """The model with the suppression at the end of its graph; its output is ``boxes`` ``(N, limit, 6)``.

    Raises:
        ConfigError: a detector that needs none.
    """
    if model.config.family == "rtdetr":
        raise ConfigError("nms: RT-DETR says each object once and needs none. Export it without.")
    joined, plain = copy.copy(model), model.graph
    joined.graph = lambda: Suppressed(plain(), rules)  # type: ignore[method-assign]
    joined.output_names = ("boxes",)  # type: ignore[misc]
    return joined
