"""The detector's network: which one a config names, its loss, and the graph that is exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldsight.detection.config import DetectorConfig
from fieldsight.errors import ConfigError
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.loss import Gains, detection_loss, dual_loss
from fieldsight.nn.detection.rfcn import RFCN, rfcn
from fieldsight.nn.detection.rtdetr import RTDetr, rtdetr
from fieldsight.nn.detection.yolo import Yolo, yolo
from fieldsight.nn.detection.yolov9 import Yolov9, yolov9

Detector = Yolo | RTDetr | RFCN

#: What each family calls our scales.
SCALES: dict[str, dict[str, str]] = {
    "yolov8": {name: name for name in "pnsmlx"},
    "yolov9": {"p": "p", "n": "t", "l": "c", "x": "e"},
    "yolov10": {name: name for name in "pnsmlx"},
    "rtdetr": {"p": "tiny", "n": "tiny", "s": "r18", "m": "r50", "l": "r50", "x": "r101"},
    "rfcn": {"p": "tiny", "s": "r18", "m": "r50", "l": "r101", "x": "inception_resnet_v2"},
}


def build_detector(config: DetectorConfig, classes: int) -> Detector:
    """The network of a config with random weights from torch's random numbers.

    Raises:
        ConfigError: a scale that the family does not have.
    """
    names = SCALES[config.family]
    if config.size not in names:
        raise ConfigError(f"size: {config.family} has the scales {', '.join(names)}; got '{config.size}'.")
    name = names[config.size]
    if config.family == "rtdetr":
        return rtdetr(name, classes)
    if config.family == "rfcn":
        return rfcn(name, classes)
    if config.family == "yolov9":
        return yolov9(name, classes, prior_size=config.input)
    return yolo(name, classes, "v10" if config.family == "yolov10" else "v8", prior_size=config.input)


class Exported(nn.Module):
    """A picture ``(N, 3, H, W)`` in 0-1 to ``(N, 4 + nc, A)``: ``cx, cy, w, h`` in pixels of it, then scores in 0-1."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.deployed = detector.deployed()
        self.transposed = isinstance(detector, RTDetr)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.deployed(image)
        return found.transpose(1, 2) if self.transposed else found


class Losing(nn.Module):
    """A detector whose ``forward`` is its loss, since Fabric wraps ``forward`` alone.

    Args:
        detector: the network that learns.
        config: weights of the loss, assignment.
    """

    def __init__(self, detector: Detector, config: DetectorConfig) -> None:
        super().__init__()
        self.detector, self.config = detector, config

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """``image`` ``(N, 3, S, S)``, ``boxes`` ``(N, K, 4)`` xyxy and ``labels`` ``(N, K)`` with -1 for padding."""
        own = self.config.loss
        images = batch["image"]
        targets = Targets.from_padded(batch["boxes"], batch["labels"])
        if isinstance(self.detector, RTDetr | RFCN):
            return self.detector.loss(images, targets)
        gains = Gains(own.box, own.cls, own.dfl)
        if isinstance(self.detector, Yolov9):
            return self.detector.loss(images, targets, gains, own.topk, own.alpha, own.beta)
        raw = self.detector(images)
        if len(raw) == 2:
            return dual_loss(raw[0], raw[1], targets, gains, own.topk, own.alpha, own.beta)
        return detection_loss(raw[0], targets, gains, own.topk, own.alpha, own.beta)


def free_of_nms(detector: Detector) -> bool:
    """Whether its boxes need no suppression."""
    return bool(getattr(detector, "nms_free", True))


def decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameters for AdamW: weight decay on weights alone, none on biases and normalisation."""
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def soft_pictures(side: int, count: int = 2) -> Tensor:
    """Pictures ``(count, 3, side, side)`` in 0-1 with soft waves and a dark square, always the same."""
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    waves = [torch.stack([torch.sin(9 * k * x + 5 * y + c) for c in range(3)]) for k in range(1, count + 1)]
    pictures = 0.5 + 0.25 * torch.stack(waves)
    pictures[:, :, side // 4 : side // 2, side // 4 : side // 2] *= 0.3
    return pictures
