"""How good a detector is while it learns: boxes of the eager network, and the fitness that chooses an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from fieldsight.data.detection.letterbox import letterbox, place, to_input
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.detection.config import DetectorConfig
from fieldsight.detection.network import Detector, Exported, free_of_nms
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.nn.detection.boxes import iou_matrix
from fieldsight.nn.detection.nms import Suppression, suppress

#: Weight of the overlap in ``val_best``: less than any difference of fitness that means anything.
TIE = 1e-6


def detect(
    detector: Detector, samples: Sequence[DetectionSample], config: DetectorConfig, conf: float, batch: int = 16
) -> list[Detections]:
    """Boxes of photos in their own pixels, from the eager network in evaluation mode."""
    graph = Exported(detector).eval()
    device = next(detector.parameters()).device
    wanted = Suppression(conf=conf, iou=1.0 if free_of_nms(detector) else config.iou, limit=config.most)
    found = []
    for begin in range(0, len(samples), batch):
        part = samples[begin : begin + batch]
        where = [place(s.size, config.input) for s in part]
        pictures = to_input([letterbox(s.image(), w) for s, w in zip(part, where, strict=True)])
        with torch.inference_mode():
            output = graph(torch.from_numpy(pictures).to(device)).float().cpu().numpy()
        for boxes, w in zip(suppress(output, wanted), where, strict=True):
            found.append(Detections.of(w.back(boxes[:, :4]), boxes[:, 4], boxes[:, 5].astype(np.int64)))
    return found


def fitness(detector: Detector, samples: Sequence[DetectionSample], config: DetectorConfig) -> dict[str, float]:
    """Average precision on the validation split, and the fitness 0.1 mAP50 + 0.9 mAP50-95.

    ``val_best`` is the fitness, where the mean best overlap decides among equals: early epochs find nothing at all.
    """
    pool, overlaps = AveragePrecision(config.classes), []
    for sample, found in zip(samples, detect(detector, samples, config, conf=0.001), strict=True):
        pool.add(sample.id, found, sample.truth(), sample.group)
        overlaps.append(best_overlap(found, sample.truth()))
    told = pool.compute().numbers()
    half, mean = (float(np.nan_to_num(told[k])) for k in ("mAP50", "mAP50-95"))
    known = [v for v in overlaps if not math.isnan(v)]
    near, fit = sum(known) / max(len(known), 1), 0.1 * half + 0.9 * mean
    return {"val_map50": half, "val_map": mean, "val_overlap": near, "val_fitness": fit, "val_best": fit + TIE * near}


def best_overlap(found: Detections, truth: Truth) -> float:
    """Mean over true boxes of the highest IoU of a found box of their class; NaN without true boxes."""
    true = truth.boxes[~truth.ignore]
    if not len(true):
        return math.nan
    if not len(found):
        return 0.0
    same = truth.labels[~truth.ignore][:, None] == found.labels
    return float((iou_matrix(true, found.boxes) * same).max(axis=1).mean())
