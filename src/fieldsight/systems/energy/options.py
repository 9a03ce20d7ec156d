"""Options of the verbs beside ``estimate``, whose options are the settings themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.systems.energy.config import EnergyConfig, Profile

Part = Literal["weight", "mac", "activation", "kv"]
Precision = Literal["int4", "int8", "fp16", "bf16", "fp32"]


@dataclass(frozen=True)
class SweepOptions(EnergyConfig):
    """Options of ``sweep``: the settings, and what moves."""

    over: Literal["scale", "context", "bits", "format"] = setting(
        "scale", "scale one part (Table 2), or move context, weight bits or number format"
    )
    part: Part = setting("weight", "part that is scaled")
    factors: tuple[float, ...] = setting(
        (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0), "scale factors", ge=0, le=1000, min_items=1
    )
    batches: tuple[int, ...] = setting((1, 4, 8, 16), "batches", ge=1, le=1_000_000, min_items=1)
    contexts: tuple[int, ...] = setting((512, 1024, 2048), "contexts", ge=1, le=100_000_000, min_items=1)
    bits: tuple[float, ...] = setting((16.0, 8.0, 4.0), "bits of a weight", gt=0, le=64, min_items=1)
    formats: tuple[Precision, ...] = setting(("fp16", "int8", "int4"), "number formats", min_items=1)


@dataclass(frozen=True)
class CompareOptions(EnergyConfig):
    """Options of ``compare``: the settings, and the batches on the axis."""

    batches: tuple[int, ...] = setting((1, 4, 8, 16), "batches of the savings", ge=1, le=1_000_000, min_items=1)
    factor: float = setting(1 / 16, "factor whose saving is shown for each part", ge=0, le=1)
    axis: tuple[int, ...] = setting(
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), "batches of the plot of regions", ge=1, le=1_000_000, min_items=2
    )


@dataclass(frozen=True)
class PageOptions(EnergyConfig):
    """Options of ``page``: the settings on which its sliders stand first."""


@dataclass(frozen=True)
class CalibrateOptions(Config):
    """Options of ``calibrate``."""

    name: str = setting("measured", "name of the profile that is written")
    precision: Precision = setting("fp32", "number format that was measured")
    base: Profile = setting("paper-45nm-lpddr5", "profile for what is not fitted")
    draws: int = setting(1000, "bootstrap samples of the intervals", ge=0, le=100_000)
    seed: int = setting(0, "seed of the bootstrap", ge=0)


@dataclass(frozen=True)
class MeasureOptions(EnergyConfig):
    """Options of ``measure``: the settings that say what runs and what it is compared with, and how it is timed.

    ``batch`` stands for the first size of every shape that is given.
    """

    budget: float = setting(2.0, "time to spend on timed calls", unit="s", ge=0, le=3600)
    warmup: int = setting(2, "calls before the clock starts", ge=0, le=1000)
    threads: int = setting(1, "threads to compute with", ge=1, le=1024)
    append: Path | None = setting(None, "CSV file to add the row to, as calibrate reads it")


@dataclass(frozen=True)
class MakeDataOptions(Config):
    """Options of ``make-data``."""

    rows: int = setting(25, "measurements of the make-believe meter", ge=1, le=100_000)
    idle: int = setting(5, "idle rows", ge=0, le=100_000)
    noise: float = setting(0.03, "relative standard deviation of a reading", ge=0, lt=1)
    static: float = setting(0.02, "static power", unit="W", ge=0, le=1000)
    seed: int = setting(0, "seed of the readings", ge=0)


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""
