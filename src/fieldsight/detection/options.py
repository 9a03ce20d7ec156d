"""Options of finding boxes that every detector has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting


@dataclass(frozen=True)
class DetectOptions(Config):
    """Options of ``predict`` of a detector."""

    conf: float | None = setting(None, "least score of a box that is told; the model's own by default", gt=0, lt=1)
    iou: float | None = setting(
        None, "overlap from which the weaker of two boxes of a class is dropped; the model's own by default", gt=0, le=1
    )
    most: int | None = setting(None, "boxes a picture has at the most", ge=1, le=100_000)
    track: bool = setting(False, "of a video, follow objects from frame to frame and number them")
    every: int = setting(1, "of a video, every so many frames", ge=1, le=100_000)
    labels: Literal["none", "yolo"] = setting("none", "also write boxes as label files, to correct and train with")
