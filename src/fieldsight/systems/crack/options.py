"""Options of the verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.export.options import BenchOptions, ExportOptions
from fieldsight.systems.crack.config import Data, ExpertName


@dataclass(frozen=True)
class PredictOptions(Config):
    """Options of ``predict``."""

    mix: Literal["model", "topk", "soft", "hard", "adaptive"] = setting(
        "model",
        "the k best experts, all, the best one, or as many as hold a share of weight; the model's own by default",
    )
    k: int | None = setting(None, "experts of topk; the model's own number by default", ge=1, le=64)
    p: float | None = setting(None, "share of weight of adaptive", gt=0, le=1)
    threshold: float | None = setting(None, "probability from which a pixel is crack", gt=0, lt=1)
    route: Literal["auto", "image", "tile"] = setting(
        "auto", "choose experts once a photo, or place by place in a large one; auto looks at its size"
    )
    scale: float | None = setting(None, "millimetres a pixel, for lengths and widths in mm", gt=0, le=1e6)
    resize: float = setting(1.0, "shrink the photo by this factor first; for photos from very near", gt=0, le=1)
    min_length: float = setting(12.0, "cracks shorter than so many pixels are left out of tables", ge=0)
    tile: int = setting(768, "pixels a side computed at once; a multiple of 32", ge=64, le=8192)
    halo: int = setting(256, "pixels around a tile computed and thrown away; a multiple of 32", ge=0, le=2048)
    every: int = setting(1, "of a video, every so many frames", ge=1, le=100_000)
    exports: Path | None = setting(None, "folder of `export --part all`, to compute with instead of torch", web=False)
    allow_code: bool = setting(False, "run Python code that the model names as an expert of its own", web=False)

    rules = (
        (lambda o: o.tile % 32 == 0, "tile: must be a multiple of 32"),
        (lambda o: o.halo % 32 == 0, "halo: must be a multiple of 32"),
    )


@dataclass(frozen=True)
class OofOptions(Config):
    """Options of ``oof``."""

    experts: tuple[str, ...] = setting((), "columns to make; all of the model's experts without any")
    table: Path | None = setting(None, "earlier table to add these columns to")
    check: bool = setting(True, "read every picture first")


@dataclass(frozen=True)
class ExplainOptions(Config):
    """Options of ``explain``."""

    neighbours: int = setting(5, "training pictures that look most alike to the gate", ge=0, le=100)


@dataclass(frozen=True)
class MakeDataOptions(Data):
    """Options of ``make-data``."""

    domains: tuple[str, ...] = setting((), "surfaces; those of training without any, plaster is for testing only")

    @property
    def data(self) -> Data:
        """What is drawn."""
        return Data(**{field.name: getattr(self, field.name) for field in fields(Data)})


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "val", "train"] = setting("test", "split to measure on")
    unseen: bool = setting(False, "drawn pictures of a surface that is not in training")
    ablate: bool = setting(False, "also every expert alone, every way of mixing, leave-one-out, and the oracles")
    pictures: int = setting(6, "pictures to draw", ge=0, le=100)
    draws: int = setting(10_000, "bootstrap samples of a comparison", ge=100, le=1_000_000)


@dataclass(frozen=True)
class CrackExportOptions(ExportOptions):
    """Options of ``export``."""

    part: str = setting(
        "pool",
        "pool: gate and experts in one file; all: each alone in a folder, for predict --exports; or one's name",
    )


@dataclass(frozen=True)
class CrackBenchOptions(BenchOptions):
    """Options of ``bench``."""

    size: int = setting(512, "pixels a side", ge=32, le=8192)
    parts: bool = setting(False, "time the gate, every expert, and the routed whole")


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""

    expert: ExpertName | None = setting(None, "only rows of this expert")
