"""Every number of training: the detector, the data it is drawn from, its schedule and augmentation.

The defaults are the paper's where it gives any (section 3.1.2), else what its tool-chain uses when nothing is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.detection.config import DetectorConfig

WorldName = Literal["arena", "street", "cutouts", "mixed"]


@dataclass(frozen=True)
class Data(Config):
    """Drawn data, where no folder is given."""

    world: WorldName = setting("arena", "what is drawn: a room, a street, objects over pictures, or all of these")
    train: int = setting(2400, "training frames", ge=8, le=1_000_000)
    val: int = setting(300, "validation frames", ge=2, le=1_000_000)
    test: int = setting(300, "test frames", ge=2, le=1_000_000)
    size: int = setting(640, "pixels a side; a multiple of 32", ge=32, le=4096)
    seed: int = setting(0, "seed of the drawn frames", ge=0)

    rules = ((lambda d: d.size % 32 == 0, "size: must be a multiple of 32"),)


@dataclass(frozen=True)
class EdgeConfig(DetectorConfig):
    """Training of one detector."""

    family: Literal["yolov8", "yolov10", "rtdetr"] = setting("yolov8", "kind of detector")
    data: Data = setting(Data(), "drawn data")


# ------------------------------------------------------------------------------------------------- presets

#: What the paper's training really did (its "random erasing" acts in classification only, in the tool it used).
_PAPER = EdgeConfig()

#: The specification's stand-in: minutes on two cores. Its trial had simpler scenes and 600 steps; these flights through
#: furnished rooms want 3,000 (study "effects").
_SMALL = _PAPER.replace(
    size="p", input=160, nominal=16, epochs=100, steps=3000, warmup=0.1, ema=0.99, ema_ramp=0.085, patience=100,
    data={"train": 2400, "val": 120, "test": 200, "size": 160},
    augment={"mosaic": 0.0, "close_mosaic": 0, "translate": 0.1, "scale": 0.3},
)  # fmt: skip

#: ``base``: what ships. ``tiny``: seconds on one core, for tests. ``small``: the specification's stand-in, minutes on
#: two cores, for studies. ``paper``: as published, with erasing off as it was in effect; ``paper-text``: erasing on, as
#: it is written. The first one is the default.
PRESETS: dict[str, EdgeConfig] = {
    "base": _SMALL.replace(
        size="n", input=320, steps=3500, data={"world": "mixed", "train": 3200, "val": 160, "test": 300, "size": 320},
        augment={"mosaic": 0.5, "close_mosaic": 3, "translate": 0.1, "scale": 0.3},
    ),
    "tiny": _SMALL.replace(
        input=64, steps=60, batch=4, nominal=4, lr=0.01, warmup=0.05, ema=0.8,
        data={"world": "cutouts", "train": 32, "val": 4, "test": 6, "size": 64},
        augment={"translate": 0.0, "scale": 0.0},
    ),
    "small": _SMALL,
    "paper": _PAPER,
    "paper-text": _PAPER.replace(augment={"erase": 0.4}),
}  # fmt: skip
