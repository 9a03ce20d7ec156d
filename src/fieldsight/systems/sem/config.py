"""Every number of the method: the process, the drawn layouts, the network, the stages.

Lengths are nm. The defaults are the paper's, where it gives any; the presets at the end say where they depart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fieldsight.config import Config, setting

if TYPE_CHECKING:
    from numpy.random import Generator

#: Families of drawn layouts; see :mod:`fieldsight.systems.sem.layouts`.
FamilyName = Literal["gratings", "contacts", "bends", "bars", "sram", "manhattan", "rings", "pairs", "cells"]

#: Families a model is trained on by default. `rings` and `pairs` are held back: `shift` tests on them.
TRAINED_FAMILIES: tuple[FamilyName, ...] = ("gratings", "contacts", "bends", "bars", "sram", "manhattan")
SHIFTED_FAMILIES: tuple[FamilyName, ...] = ("rings", "pairs")


@dataclass(frozen=True)
class Rules(Config):
    """Design rules of the drawn layouts, in nm."""

    min_width: float = setting(20.0, "narrowest drawn line", unit="nm", gt=0)
    max_width: float = setting(80.0, "widest drawn line", unit="nm", gt=0)
    min_space: float = setting(50.0, "narrowest drawn space", unit="nm", gt=0)
    max_space: float = setting(240.0, "widest drawn space", unit="nm", gt=0)

    rules = (
        (lambda r: r.min_width <= r.max_width, "max_width: must not be below min_width"),
        (lambda r: r.min_space <= r.max_space, "max_space: must not be below min_space"),
    )

    def width(self, rng: Generator) -> float:
        """Draw a line width, small ones as often as large ones (log-uniform)."""
        return math.exp(rng.uniform(math.log(self.min_width), math.log(self.max_width)))

    def space(self, rng: Generator) -> float:
        """Draw a space, log-uniform."""
        return math.exp(rng.uniform(math.log(self.min_space), math.log(self.max_space)))


@dataclass(frozen=True)
class Exposure(Config):
    """Electron-beam writing and development of the resist on the template."""

    fwhm: float = setting(12.5, "width of the beam at half maximum", unit="nm", gt=0, le=200)
    backscatter: float = setting(0.2, "share of the dose that scatters back", ge=0, lt=1)
    beta: float = setting(60.0, "range of the backscattered electrons", unit="nm", gt=0)
    pec_steps: int = setting(5, "steps of the proximity-effect correction; 0 switches it off", ge=0, le=50)
    threshold: float = setting(0.45, "relative dose at which half the resist is gone", gt=0, lt=1)
    threshold_jitter: float = setting(0.01, "random change of the threshold from layout to layout", ge=0, lt=0.4)
    softness: float = setting(0.04, "dose range over which the resist opens", gt=0)
    thickness: float = setting(190.0, "thickness of the resist; the etch must not eat through it", unit="nm", gt=0)


@dataclass(frozen=True)
class Etch(Config):
    """SF6/O2 reactive-ion etch, 10 mTorr, 100 W, as a height-field level set."""

    rate: float = setting(50.0, "vertical etch rate in nm per minute", gt=0)
    anisotropy: float = setting(0.85, "share of the etch that only ions do, straight down", ge=0, le=1)
    depth: float = setting(100.0, "depth to etch", unit="nm", gt=0)
    lag: float = setting(0.1, "loss of rate per unit of depth over width", ge=0, lt=1)
    selectivity: float = setting(1.5, "nm of template etched per nm of resist lost", gt=0)


@dataclass(frozen=True)
class Imprint(Config):
    """Filling of the template by an Oldroyd-B liquid under a step of stress, cure and release."""

    stress: float = setting(1.0e6, "stress on the resist", unit="Pa", gt=0)
    viscosity: float = setting(5000.0, "zero-shear viscosity in Pa s", gt=0)
    relaxation: float = setting(0.02, "relaxation time", unit="s", gt=0)
    retardation: float = setting(0.002, "retardation time; 0 is the Maxwell limit", unit="s", ge=0)
    time: float = setting(0.1, "time under stress", unit="s", gt=0)
    resistance: float = setting(3.0, "strain that fills a wide cavity to 1 - 1/e", gt=0)
    narrowness: float = setting(0.5, "growth of that strain per unit of depth over width", ge=0)
    residual: float = setting(15.0, "residual layer under an empty field", unit="nm", ge=0)
    drain: float = setting(-10.0, "change of the residual layer where all is cavity", unit="nm")
    rounding: float = setting(3.0, "largest loss of height at a rim on release", unit="nm", ge=0)
    ler: float = setting(1.5, "line-edge roughness, one sigma", unit="nm", ge=0)
    ler_length: float = setting(20.0, "correlation length of the roughness", unit="nm", gt=0)
    ler_hurst: float = setting(0.6, "Hurst exponent of the roughness", gt=0, lt=1)


@dataclass(frozen=True)
class Microscope(Config):
    """Secondary-electron picture of a height map, after Seeger and Haussecker (2005)."""

    offset: float = setting(0.15, "intensity of the substrate", ge=0)
    height: float = setting(0.45, "intensity gained over the full height", ge=0)
    slope: float = setting(0.08, "intensity per sqrt(1 + slope^2) - 1", ge=0)
    curvature: float = setting(0.05, "intensity per negative curvature in nm", ge=0)
    blur: float = setting(0.8, "blur of the beam, one sigma in pixels", ge=0)
    noise: float = setting(0.025, "additive Gaussian noise, one sigma", ge=0, lt=1)
    electrons: float = setting(0.0, "electrons per pixel at intensity 1 for shot noise; 0 is none", ge=0)
    charging: float = setting(0.0, "amplitude of horizontal charging streaks", ge=0)
    drift: float = setting(0.0, "drift of the stage from first to last line", unit="nm", ge=0)


@dataclass(frozen=True)
class Recipe(Config):
    """All parameters from mask to picture. The defaults are the paper's values, where it gives any."""

    exposure: Exposure = setting(Exposure(), "electron-beam exposure")
    etch: Etch = setting(Etch(), "reactive-ion etch")
    imprint: Imprint = setting(Imprint(), "imprint and release")
    microscope: Microscope = setting(Microscope(), "microscope")

    rules = (
        (
            lambda r: r.exposure.thickness * r.etch.selectivity >= r.etch.depth,
            "etch.depth: the resist would be gone before the etch ends. "
            "Lower the depth or raise exposure.thickness or etch.selectivity.",
        ),
    )

    def sample(self, rng: Generator) -> Recipe:
        """Draw one layout's recipe: beam width within ±20 % (10-15 nm by default), resist 180-200 nm, threshold."""
        exposure = self.exposure
        return self.replace(
            exposure={
                "fwhm": exposure.fwhm * rng.uniform(0.8, 1.2),
                "thickness": exposure.thickness + rng.uniform(-10.0, 10.0),
                "threshold": exposure.threshold + rng.normal(0.0, 1.0) * exposure.threshold_jitter,
            }
        )


@dataclass(frozen=True)
class Data(Config):
    """Drawn data: how many layouts of which kind, on which grid, and how they are split."""

    layouts: int = setting(100, "number of drawn layouts", ge=8, le=100_000)
    size: int = setting(256, "pixels a side; a multiple of 4", ge=16, le=4096)
    pixel: float = setting(2.0, "size of a pixel", unit="nm", gt=0, le=100)
    families: tuple[FamilyName, ...] = setting(TRAINED_FAMILIES, "families of drawn layouts", min_items=1)
    cells: int = setting(0, "crops of SKY130 standard cells beside the drawn ones; needs the asset sky130", ge=0)
    shares: tuple[float, ...] = setting((60.0, 18.0, 12.0, 10.0), "train, validation, calibration, test", ge=0)
    seed: int = setting(0, "seed of the drawn layouts and of the split", ge=0)
    design: Rules = setting(Rules(), "design rules")
    recipe: Recipe = setting(Recipe(), "process")
    sample: bool = setting(True, "draw beam width, resist and threshold anew for every layout")


@dataclass(frozen=True)
class Network(Config):
    """The shallow U-Net (Table A2) and its head."""

    base: int = setting(16, "channels of the first block", ge=1, le=256)
    depth: int = setting(2, "number of poolings", ge=1, le=5)
    head: Literal["quantile", "ordered", "median3", "gaussian", "mean"] = setting("quantile", "what the network gives")
    dropout: float = setting(0.0, "channel dropout, for Monte-Carlo dropout", ge=0, lt=1)
    passes: int = setting(1, "forward passes with dropout; more than one gives Monte-Carlo intervals", ge=1, le=1000)
    members: int = setting(1, "networks of a deep ensemble", ge=1, le=100)
    init: Literal["glorot", "he"] = setting("glorot", "initial weights; glorot is Keras' default")


@dataclass(frozen=True)
class Stage(Config):
    """The second stage: what is trained on, which part learns, how outliers weigh."""

    kind: Literal["none", "finetune"] = setting("finetune", "whether there is a second stage")
    split: Literal["calibration", "train", "both"] = setting("calibration", "pictures it trains on")
    frozen: Literal["encoder+bottleneck", "encoder", "none"] = setting("encoder+bottleneck", "parts that do not learn")
    gamma: float = setting(1.3, "weight of pixels outside the calibrated interval (Eq. 6)", ge=1, le=100)
    refresh: int = setting(0, "epochs after which the weights are computed anew; 0 keeps the baseline's", ge=0)
    epochs: int = setting(50, "most epochs", ge=1, le=10_000)
    steps: int = setting(0, "number of steps instead of epochs, without early stopping; 0 leaves it to epochs", ge=0)
    patience: int = setting(5, "epochs without improvement before it stops", ge=1)
    min_delta: float = setting(1e-4, "least improvement of the monitored loss", ge=0)
    monitor: Literal["train", "heldout"] = setting("train", "loss that is watched; heldout keeps a sixth aside")
    lr: float = setting(1e-3, "learning rate of Adam", gt=0, le=1)


@dataclass(frozen=True)
class SemConfig(Config):
    """Training of the layout-to-SEM model."""

    seed: int = setting(0, "seed of weights and order", ge=0)
    epochs: int = setting(50, "epochs of the baseline", ge=0, le=100_000)
    batch: int = setting(1, "pictures per optimiser step", ge=1, le=4096)
    lr: float = setting(1e-3, "learning rate of Adam", gt=0, le=1)
    schedule: Literal["constant", "cosine"] = setting("constant", "course of the learning rate")
    fit_on: Literal["train", "train+calibration"] = setting(
        "train", "layouts of the first stage; with calibration layouts among them the threshold comes from validation"
    )
    augment: Literal["rotations", "rotations+flips"] = setting("rotations", "each picture in these positions")
    workers: int = setting(0, "loader processes", ge=0, le=64)
    q_low: float = setting(0.05, "lower quantile", gt=0, lt=1)
    q_high: float = setting(0.95, "upper quantile", gt=0, lt=1)
    alpha: float = setting(0.1, "share of pixels that may fall outside the interval", gt=0, lt=1)
    method: Literal["cqr", "scaled"] = setting("cqr", "calibration: add a threshold, or scale the half-width")
    recalibrate: Literal["none", "val", "split"] = setting(
        "val", "threshold of the fine-tuned model: the baseline's, from validation, or from half the calibration split"
    )
    data: Data = setting(Data(), "drawn data")
    net: Network = setting(Network(), "network")
    second: Stage = setting(Stage(), "second stage")

    rules = (
        (
            lambda c: c.fit_on == "train" or c.second.kind == "none",
            "fit_on: 'train+calibration' leaves no calibration layouts for a second stage; set second.kind to none",
        ),
        (lambda c: c.q_low < c.q_high, "q_low: must be below q_high"),
        (
            lambda c: len(c.data.shares) == 4,
            "data.shares: four shares are wanted: train, validation, calibration, test",
        ),
        (lambda c: all(s > 0 for s in c.data.shares), "data.shares: every split needs a positive share"),
        (
            lambda c: c.data.size % 2**c.net.depth == 0,
            "data.size: must be a multiple of 2**net.depth, since the network pools that often",
        ),
        (
            lambda c: c.net.passes == 1 or c.net.dropout > 0,
            "net.passes: several passes differ only with net.dropout above 0",
        ),
    )


# ------------------------------------------------------------------------------------------------- presets

_PAPER = SemConfig(recalibrate="none")

#: ``paper``: every number as published. ``small``: the specification's CPU mode, minutes on two cores.
#: ``tiny``: seconds on one core, for tests. ``base``: what ships: the recipe that won in studies/sem, for the pixel
#: of standard cells. The first one is the default.
PRESETS: dict[str, SemConfig] = {
    "base": _PAPER.replace(
        epochs=8,
        schedule="cosine",
        augment="rotations+flips",
        recalibrate="val",
        data={
            "pixel": 5.0,
            "layouts": 200,
            "cells": 100,
            "design": {"min_width": 30.0, "max_width": 400.0, "max_space": 600.0},
        },
        second={"kind": "none"},
    ),
    "tiny": _PAPER.replace(
        epochs=8,
        batch=2,
        lr=2e-3,
        data={"size": 32, "pixel": 6.0, "layouts": 16, "shares": (50.0, 12.5, 25.0, 12.5)},
        net={"base": 8},
        second={"epochs": 2},
        recalibrate="val",
    ),
    "small": _PAPER.replace(epochs=15, data={"size": 64, "pixel": 4.0, "layouts": 100}),
    "paper": _PAPER,
}
