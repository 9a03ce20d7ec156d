"""Every number of a training: the filter and the fusion before the detector, the detector, the drawn patients.

The paper states no schedule ("corresponding repositories"); the defaults are those of the family's own tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.config import DetectorConfig
from fieldsight.systems.vessel.constants import ALPHA, BETA, KAPPA, SIGMAS, C

Mode = Literal["raw", "vesselness", "ihs", "blend", "average", "stack", "substitute", "clahe", "unsharp"]

#: Modes that look at the frame alone.
UNFILTERED = ("raw", "clahe", "unsharp")


@dataclass(frozen=True)
class Enhance(Config):
    """What is done to a frame before a detector sees it; a model keeps it with its weights."""

    mode: Mode = setting("ihs", "fusion of frame and vesselness; vesselness alone; or raw, clahe, unsharp: no filter")
    filter: Literal["frangi", "sato", "meijering", "jerman"] = setting("frangi", "measure of vesselness")
    sigmas: tuple[float, ...] = setting(SIGMAS, "scales of the filter", unit="px", gt=0, min_items=1)
    beta: float = setting(BETA, "tolerance of round structures", gt=0)
    c: float = setting(C, "strength that counts as a vessel, in grey levels; 0: half of the frame's largest", ge=0)
    polarity: Literal["dark", "bright"] = setting("dark", "vessels are darker or brighter than their surroundings")
    scaled: bool = setting(True, "divide vesselness by its 99.5th percentile in each frame; false for steady videos")
    kappa: float = setting(KAPPA, "how much darker a vessel becomes", ge=0, le=1)
    alpha: float = setting(ALPHA, "share of the frame in mode average", ge=0, le=1)


@dataclass(frozen=True)
class Data(Config):
    """Drawn patients, where no data set is given."""

    train: int = setting(200, "training frames", ge=8, le=1_000_000)
    val: int = setting(40, "validation frames", ge=2, le=1_000_000)
    test: int = setting(120, "test frames", ge=2, le=1_000_000)
    each: int = setting(4, "frames of each patient", ge=1, le=1000)
    look: Literal["low", "mixed", "high"] = setting("mixed", "contrast of the vessels")
    side: int = setting(512, "side of a drawn frame", unit="px", ge=64, le=1024)
    seed: int = setting(0, "seed of the drawn patients", ge=0)


@dataclass(frozen=True)
class VesselConfig(DetectorConfig):
    """Training of one detector of stenoses."""

    classes: tuple[str, ...] = setting(("stenosis",), "names of the classes", min_items=1)
    input: int = setting(512, "pixels a side of what filter and network see; a multiple of 32", ge=128, le=4096)
    enhance: Enhance = setting(Enhance(), "filter and fusion")
    data: Data = setting(Data(), "drawn patients")


# ------------------------------------------------------------------------------------------------- presets

#: Turns and flips as in the paper (-45 to 45 degrees), drawn anew each time; no change of hue: colour is vesselness.
_AUGMENT = {
    "mosaic": 0.0, "close_mosaic": 0, "hue": 0.0, "saturation": 0.0, "value": 0.2, "translate": 0.1, "scale": 0.2,
    "rotate": 45.0, "flip": 0.5, "flip_ud": 0.5,
}  # fmt: skip

_BASE = VesselConfig(conf=0.25, iou=0.7, patience=100)

#: Minutes on two cores: the specification's stand-in (200 frames, low contrast), for studies.
_SMALL = _BASE.replace(
    size="p", input=256, nominal=16, steps=600, lr=0.006, warmup=0.1, ema=0.99, ema_ramp=0.085, augment=_AUGMENT,
    data={"look": "low"},
)  # fmt: skip

#: ``base``: what ships. ``tiny``: seconds on one core, for tests. ``small``: minutes, for studies. ``paper``: the
#: detector of the best results (YOLOv10-X from nothing at 640 px) with its tool's own schedule; ``paper-raw``: the same
#: without filter and fusion. The first one is the default.
PRESETS: dict[str, VesselConfig] = {
    "base": _SMALL.replace(
        input=384, steps=2200, data={"look": "mixed", "train": 2000, "val": 80, "test": 200, "each": 2}
    ),
    "tiny": _SMALL.replace(
        input=128, steps=50, batch=4, nominal=4, lr=0.01, warmup=0.05, ema=0.8,
        enhance={"sigmas": (1.0, 2.0)}, augment={"rotate": 0.0, "scale": 0.0, "translate": 0.0},
        data={"look": "high", "train": 16, "val": 4, "test": 6, "each": 2, "side": 128},
    ),
    "small": _SMALL,
    "paper": _BASE.replace(
        family="yolov10", size="x", input=640, epochs=500, patience=100, nominal=64, augment=_AUGMENT,
        data={"train": 280, "val": 60, "test": 60, "each": 10},
    ),
    "paper-raw": _BASE.replace(
        family="yolov10", size="x", input=640, epochs=500, patience=100, nominal=64, augment=_AUGMENT,
        enhance={"mode": "raw"}, data={"train": 280, "val": 60, "test": 60, "each": 10},
    ),
}  # fmt: skip
