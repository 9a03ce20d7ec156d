"""Options of the common verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.options import DetectOptions
from fieldsight.systems.vessel.config import Data, Enhance


@dataclass(frozen=True)
class PredictOptions(DetectOptions):
    """Options of ``predict``."""

    artery: Literal["file", "LCA", "RCA", "unknown"] = setting("file", "which artery, where the file does not say")


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "val", "train"] = setting("test", "split to measure on")
    pictures: int = setting(6, "pictures to draw", ge=0, le=100)


@dataclass(frozen=True)
class FrameOptions(Enhance):
    """How frames are read, and the filter."""

    channel: Literal["grey", "red", "green", "blue"] = setting(
        "grey", "of a colour picture; green shows the vessels of a retina best"
    )
    flat: bool = setting(False, "even out the brightness first: strength c is in grey levels")
    threads: int = setting(2, "threads of the filter", ge=1, le=64)

    rules = ((lambda o: o.mode != "raw", "mode: raw is the frame itself; name a fusion, vesselness, clahe or unsharp"),)


@dataclass(frozen=True)
class EnhanceOptions(FrameOptions):
    """Options of ``enhance``."""

    maps: bool = setting(False, "also write vesselness, scale and direction as float TIFF")
    every: int = setting(1, "of a run of frames, every so many", ge=1, le=100_000)


@dataclass(frozen=True)
class FuseOptions(FrameOptions):
    """Options of ``fuse``."""

    vesselness: Path | None = setting(None, "picture of vesselness to fuse, 0 to white; by default it is computed")


@dataclass(frozen=True)
class MakeDataOptions(Data):
    """Options of ``make-data``."""

    layout: Literal["yolo", "coco", "voc"] = setting("yolo", "format of the labels")
