"""What every model with one detector has: its network, the graph that is exported, suppression, boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from fieldsight.data.detection.letterbox import Placement
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.detection.config import DetectorConfig
from fieldsight.detection.found import write_together
from fieldsight.detection.network import Detector, Exported, build_detector, free_of_nms, soft_pictures
from fieldsight.detection.options import DetectOptions
from fieldsight.engine.seed import torch_seed
from fieldsight.model import Model
from fieldsight.nn.detection.nms import Suppression, suppress
from fieldsight.predicting import Outcome

M = TypeVar("M", bound="DetectorModel")


class DetectorModel(Model):
    """A model with one network, ``detector``. Abstract: a system says its default classes and how photos are read."""

    input_names: ClassVar[tuple[str, ...]] = ("image",)
    output_names: ClassVar[tuple[str, ...]] = ("output",)
    config: DetectorConfig

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """Names of a config's classes where it names none itself."""
        return ()

    @classmethod
    def build(cls, config: Any) -> dict[str, nn.Module]:
        """The detector for the config's classes."""
        return {"detector": build_detector(config, len(config.classes or cls.classes_of(config)))}

    @classmethod
    def create(cls: type[M], config: Any) -> M:
        """An untrained model; its weights depend on the config's seed only."""
        named = config if config.classes else config.replace(classes=cls.classes_of(config))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.seed, "init", "detector"))
            return cls(named, cls.build(named))

    def options(self, **given: Any) -> DetectOptions:
        """Options of its ``predict`` verb."""
        made: DetectOptions = self.spec.load(self.spec.main.options)(**given)
        return made

    @property
    def detector(self) -> Detector:
        """The network."""
        return cast(Detector, self.networks["detector"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.config.classes or self.classes_of(self.config)

    def graph(self) -> nn.Module:
        """Photos in 0-1 to decoded boxes and scores; suppression comes after it."""
        return Exported(self.detector)

    def example(self) -> dict[str, Tensor]:
        """Two pictures of soft waves with a dark square."""
        return {"image": soft_pictures(self.config.input)}

    def typical(self) -> dict[str, Tensor]:
        """One grey picture of the input's size."""
        return {"image": torch.full((1, 3, self.config.input, self.config.input), 0.5)}

    def find(self, picture: Picture, options: Any = None) -> Detections:
        """Boxes of a photo ``(H, W, 3)`` uint8 RGB, in its pixels."""
        raise NotImplementedError

    def boxes(self, output: np.ndarray[Any, Any], where: Placement, options: Any) -> Detections:
        """Boxes in pixels of the photo, from the graph's output ``(1, 4 + nc, A)``."""
        (rows,) = suppress(output, self.suppression(options))
        labels = rows[:, 5].astype(np.int64)
        return self.wanted(Detections.of(where.back(rows[:, :4]), rows[:, 4], labels), options)

    def suppression(self, options: Any) -> Suppression:
        """What is kept: the model's own settings where the options (:class:`DetectOptions`) say nothing."""
        own, asked = self.config, cast(DetectOptions, options)
        iou = 1.0 if free_of_nms(self.detector) and asked.iou is None else asked.iou or own.iou
        return Suppression(conf=asked.conf or own.conf, iou=iou, limit=asked.most or own.most)

    def wanted(self, found: Detections, options: Any) -> Detections:
        """Boxes without those that have no pixel in the photo."""
        kept = (found.boxes[:, 2] > found.boxes[:, 0]) & (found.boxes[:, 3] > found.boxes[:, 1])
        return Detections.of(found.boxes[kept], found.scores[kept], found.labels[kept])

    def conclude(self, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
        """For several photos: all boxes as one file in COCO's result format."""
        return write_together([o for o in outcomes if not o.error], self.classes, out)
