"""Options of the common verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.options import DetectOptions
from fieldsight.systems.vessel.config import Data, Enhance
from fieldsight.systems.vessel.constants import BETA, SHARES, SIGMAS, C


@dataclass(frozen=True)
class PredictOptions(DetectOptions):
    """Options of ``predict``."""

    artery: Literal["file", "LCA", "RCA", "unknown"] = setting("file", "which artery, where the file does not say")
    lumen: bool = setting(True, "of single frames, measure how narrow the found stenoses are")


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
class MeasureOptions(Config):
    """Options of ``measure``."""

    between: tuple[float, ...] = setting(
        (), "x,y,x,y of points on the healthy vessel before and after the narrowing", unit="px", ge=0
    )
    box: tuple[float, ...] = setting((), "x1,y1,x2,y2 around the narrowing, where no points are given", unit="px", ge=0)
    frame: int | None = setting(None, "of a run, which frame, from 0; by default that of fullest contrast", ge=0)
    spacing: float | None = setting(None, "size of a pixel, where the file does not say", unit="mm", gt=0)

    rules = (
        (
            lambda o: {len(o.between), len(o.box)} == {0, 4},
            "measure: give either --between x,y,x,y (a point on the healthy vessel before and one after the "
            "narrowing) or --box x1,y1,x2,y2, four numbers in pixels",
        ),
    )


@dataclass(frozen=True)
class MakeDataOptions(Data):
    """Options of ``make-data``."""

    layout: Literal["yolo", "coco", "voc"] = setting("yolo", "format of the labels")


@dataclass(frozen=True)
class Drawn(Config):
    """Patients that are drawn where no data set is given."""

    patients: int = setting(40, "drawn patients", ge=1, le=100_000)
    each: int = setting(10, "frames of each", ge=1, le=1000)
    side: int = setting(512, "side of a drawn frame", unit="px", ge=64, le=1024)
    look: Literal["mixed", "low", "high"] = setting("mixed", "contrast of drawn frames")


@dataclass(frozen=True)
class PrepareOptions(Config):
    """Options of ``prepare``."""

    shares: tuple[float, float, float] = setting(SHARES, "shares of train, val and test", ge=0)
    by: Literal["patient", "random"] = setting(
        "patient", "what is split: patients, or single pictures as in the paper, which leaks"
    )
    splits: Literal["keep", "new"] = setting("keep", "splits of the data set, where it has some: kept or made anew")
    leaks: Literal["report", "drop", "ignore"] = setting(
        "report", "near-duplicates across splits where patients are not told; drop: out of the earlier split"
    )
    mode: Literal["ihs", "blend", "average", "stack", "substitute", "vesselness", "clahe", "unsharp"] = setting(
        "ihs", "what fused/ holds"
    )
    sigmas: tuple[float, ...] = setting(SIGMAS, "scales of the filter", unit="px", gt=0, min_items=1)
    beta: float = setting(BETA, "tolerance of round structures", gt=0)
    c: float = setting(C, "strength that counts as a vessel, in grey levels", gt=0)
    polarity: Literal["dark", "bright"] = setting("dark", "vessels are darker or brighter than their surroundings")
    scaled: bool = setting(True, "divide vesselness by its 99.5th percentile in each frame")
    offline: bool = setting(False, "write 19 rotations and 2 flips of every training picture")
    rule: Literal["ellipse", "hull", "polygon"] = setting("ellipse", "how boxes follow a rotation")
    layout: Literal["yolo", "coco", "voc"] = setting("yolo", "format of the labels")
    seed: int = setting(0, "of splits and drawn patients", ge=0)
    threads: int = setting(1, "threads of the filter", ge=1, le=64)
    drawn: Drawn = setting(Drawn(), "drawn patients, where no data set is given")

    rules = ((lambda o: sum(o.shares) > 0, "shares: one of them must be above 0"),)


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """``reproduce`` has no options."""
