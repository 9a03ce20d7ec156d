"""Options of the verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.systems.sem.config import FamilyName, Recipe, Rules, Stage


@dataclass(frozen=True)
class PredictOptions(Config):
    """Options of ``predict``."""

    pixel: float | None = setting(None, "size of a pixel; the model's own by default", unit="nm", gt=0, le=1000)
    layer: str | None = setting(None, "layer of a GDS or OASIS file: 67/20, 67, or a name such as li1")
    cell: str | None = setting(None, "cell of a GDS or OASIS file; the top cell by default")
    window: tuple[float, ...] = setting(
        (), "x0,y0,x1,y1 of a GDS or OASIS file; all of the layer by default", unit="nm"
    )
    layer_names: Path | None = setting(None, "KLayout .lyp or TOML file that names layers")
    tile: int = setting(512, "pixels a side computed at once; a multiple of 4", ge=64, le=8192)
    halo: int = setting(32, "pixels around a tile that are computed and thrown away; a multiple of 4", ge=0, le=512)
    hotspots: int = setting(20, "number of uncertain places to list", ge=0, le=100_000)
    calibration: Path | None = setting(None, "calibration file to use instead of the model's")
    allow_mismatch: bool = setting(False, "go on although pixel size or calibration belong to another model")

    rules = (
        (lambda o: o.tile % 4 == 0, "tile: must be a multiple of 4"),
        (lambda o: o.halo % 4 == 0, "halo: must be a multiple of 4"),
        (lambda o: len(o.window) in (0, 4), "window: give x0,y0,x1,y1"),
        (
            lambda o: not o.window or (o.window[0] < o.window[2] and o.window[1] < o.window[3]),
            "window: x0 must be below x1 and y0 below y1",
        ),
    )


@dataclass(frozen=True)
class SimulateOptions(Config):
    """Options of ``simulate``."""

    pattern: FamilyName | None = setting(None, "draw a layout of this family instead of reading one")
    count: int = setting(1, "number of drawn layouts or of repeated noise", ge=1, le=100_000)
    size: int = setting(256, "pixels a side of a drawn layout", ge=16, le=8192)
    pixel: float = setting(2.0, "size of a pixel", unit="nm", gt=0, le=100)
    layer: str | None = setting(None, "layer of a GDS or OASIS file: 67/20, 67, or a name such as li1")
    cell: str | None = setting(None, "cell of a GDS or OASIS file; the top cell by default")
    window: tuple[float, ...] = setting(
        (), "x0,y0,x1,y1 of a GDS or OASIS file; all of the layer by default", unit="nm"
    )
    layer_names: Path | None = setting(None, "KLayout .lyp or TOML file that names layers")
    opc: Literal["none", "bias"] = setting("none", "shrink the mask by the etch's bias first")
    sample: bool = setting(False, "draw beam width, resist and threshold as for training data")
    seed: int = setting(0, "seed of chance", ge=0)
    design: Rules = setting(Rules(), "design rules of drawn layouts")
    recipe: Recipe = setting(Recipe(), "process")


@dataclass(frozen=True)
class MakeDataOptions(Config):
    """Options of ``make-data``."""

    preset: Literal["tiny", "small", "base", "paper"] = setting("small", "data of this training preset")
    layouts: int | None = setting(None, "number of layouts instead of the preset's", ge=8, le=100_000)
    seed: int = setting(0, "seed of layouts and split", ge=0)
    shift: bool = setting(False, "another process corner and new families, for testing only")


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "calibration", "val", "train"] = setting("test", "split to measure on")
    shift: bool = setting(False, "drawn data of another process corner and new families")
    against: str | None = setting(None, "second model, compared pair by pair")
    pictures: int = setting(4, "layouts to draw", ge=0, le=100)


@dataclass(frozen=True)
class CalibrateOptions(Config):
    """Options of ``calibrate``."""

    alpha: float | None = setting(None, "share that may fall outside; the model's by default", gt=0, lt=1)
    split: Literal["calibration", "val", "test", "all"] = setting("calibration", "split to calibrate on")
    groups: Literal["none", "edge", "family", "density"] = setting("none", "a threshold for each group of pixels")
    score: Literal["cqr", "printed"] = setting("cqr", "printed is the paper's Eq. 3 as printed, for comparison only")


@dataclass(frozen=True)
class FinetuneOptions(Config):
    """Options of ``finetune``."""

    second: Stage = setting(Stage(), "the stage")
    seed: int = setting(0, "seed of the order", ge=0)
    recalibrate: Literal["none", "val", "split"] = setting("split", "where the new threshold comes from")


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""
