"""Options of the common verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.options import DetectOptions


@dataclass(frozen=True)
class PredictOptions(DetectOptions):
    """Options of ``predict``."""

    artery: Literal["file", "LCA", "RCA", "unknown"] = setting("file", "which artery, where the file does not say")
    percent: bool = setting(True, "measure the narrowing in every box")
    threads: int = setting(2, "threads of the filter", ge=1, le=64)


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "val", "train"] = setting("test", "split to measure on")
    pictures: int = setting(6, "pictures to draw", ge=0, le=100)
