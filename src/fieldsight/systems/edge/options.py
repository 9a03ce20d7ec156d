"""Options of the common verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.options import DetectOptions
from fieldsight.systems.edge.config import Data


@dataclass(frozen=True)
class PredictOptions(DetectOptions):
    """Options of ``predict``."""

    only: tuple[str, ...] = setting((), "classes that are told; all without any")
    tile: int = setting(0, "cut large pictures into tiles of so many pixels a side, for small objects; 0: don't", ge=0)
    overlap: float = setting(0.2, "share of a tile that the next one repeats", ge=0, lt=0.9)

    rules = ((lambda o: o.tile == 0 or o.tile >= 64, "tile: must be 0, or 64 and more"),)


@dataclass(frozen=True)
class WatchOptions(PredictOptions):
    """Options of ``watch``: those of ``predict``, and the stream."""

    # the server's own cameras and network are no web client's business
    source: str = setting("", "address (rtsp://, http://, udp://) or number of a camera", web=False)
    seconds: float = setting(0.0, "ends after so many seconds; 0: with the stream or Ctrl-C", ge=0)
    timeout: float = setting(10.0, "seconds without a frame after which the stream counts as broken off", gt=0, le=600)
    retries: int = setting(3, "how often a stream that broke off is opened again", ge=0, le=1000)


@dataclass(frozen=True)
class MakeDataOptions(Data):
    """Options of ``make-data``."""

    layout: Literal["yolo", "coco", "voc"] = setting("yolo", "format of the labels")

    @property
    def data(self) -> Data:
        """What is drawn."""
        return Data(**{field.name: getattr(self, field.name) for field in fields(Data)})


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "val", "train"] = setting("test", "split to measure on")
    shift: bool = setting(False, "drawn frames of other light, textures and altitudes than in training")
    conf: float = setting(0.5, "confidence of the paper's second setting, beside 0.001", gt=0, lt=1)
    pictures: int = setting(6, "pictures to draw", ge=0, le=100)


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """``reproduce`` has no options."""
