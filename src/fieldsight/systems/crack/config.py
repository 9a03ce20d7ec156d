"""Every number of the method: the pool of experts, their recipes, the out-of-fold table, the gate, the mixing.

The defaults are the paper's, where it gives any; the presets at the end say where they depart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting

#: The paper's four experts, the two of its Table 6, and two small baselines.
ExpertName = Literal["cen", "ecsn", "crackmaster", "crackrefine", "unet", "swin", "deepcrack", "mobilenet"]
PAPER_POOL: tuple[ExpertName, ...] = ("cen", "ecsn", "crackmaster", "crackrefine")

#: Drawn surfaces; see :mod:`fieldsight.systems.crack.world`. ``plaster`` is for testing only.
DomainName = Literal["asphalt", "aggregate", "concrete", "tile", "road"]
DOMAINS: tuple[DomainName, ...] = ("asphalt", "aggregate", "concrete", "tile", "road")

Target = Literal["soft", "hard", "sharpened", "ranking", "regret"]
Mixing = Literal["topk", "soft", "hard", "adaptive"]


@dataclass(frozen=True)
class Data(Config):
    """Drawn data, where no folder is given."""

    train: int = setting(400, "training pictures", ge=10, le=1_000_000)
    val: int = setting(100, "validation pictures", ge=2, le=1_000_000)
    test: int = setting(150, "test pictures", ge=2, le=1_000_000)
    size: int = setting(128, "pixels a side; a multiple of 32", ge=32, le=2048)
    style: Literal["exact", "centreline", "dilated"] = setting(
        "exact", "how the drawn truth is annotated: to the pixel, a centreline dilated once, or 3 pixels too wide"
    )
    photos: bool = setting(False, "draw on packaged photos of gravel and brick too")
    empty: float = setting(0.08, "share of pictures without any crack", ge=0, lt=1)
    seed: int = setting(0, "seed of the drawn pictures", ge=0)

    rules = ((lambda d: d.size % 32 == 0, "size: must be a multiple of 32"),)


@dataclass(frozen=True)
class Recipe(Config):
    """How one expert's training departs from the others'; the same for its out-of-fold copies."""

    domains: tuple[DomainName, ...] = setting((), "drawn surfaces it is trained for; all alike without any")
    outside: float = setting(0.08, "weight of pictures of other surfaces", ge=0, le=1)
    share: float = setting(1.0, "share of the training pictures it ever sees", gt=0, le=1)
    augment: bool = setting(True, "flips, quarter turns, colours")
    longer: float = setting(1.0, "factor on the number of steps", gt=0, le=1000)


@dataclass(frozen=True)
class ExpertTraining(Config):
    """What all experts have in common (public configuration of expert E4's authors)."""

    steps: int = setting(40_000, "optimiser steps of a deployed expert", ge=1, le=10_000_000)
    batch: int = setting(4, "pictures per optimiser step", ge=1, le=4096)
    lr: float = setting(1e-4, "learning rate of AdamW", gt=0, le=1)
    weight_decay: float = setting(1e-4, "weight decay of AdamW", ge=0, le=1)
    warmup: int = setting(3000, "steps of linear warm-up", ge=0)
    power: float = setting(1.0, "power of the decay to 0", gt=0, le=10)
    bce: float = setting(1.0, "weight of the binary cross-entropy", ge=0)
    dice: float = setting(0.5, "weight of the Dice loss, picture by picture", ge=0)
    aux: float = setting(0.4, "weight of the first stage of expert cen", ge=0)
    reconstruction: float = setting(0.1, "weight of the reconstruction of expert crackmaster", ge=0)
    prior: float = setting(0.0, "probability that an untrained expert begins with; 0 leaves it to chance", ge=0, lt=1)
    invert: float = setting(0.05, "chance of inverted colours", ge=0, le=1)
    drop_path: float = setting(0.1, "stochastic depth of ConvNeXt encoders", ge=0, lt=1)
    validate: int = setting(500, "steps between looks at the validation pictures", ge=1)
    clip: float = setting(0.0, "largest norm of the gradient; 0 does not clip", ge=0)
    attempts: int = setting(
        3, "trainings of an expert or copy that finds no crack; each begins anew, at half the rate", ge=1, le=10
    )


@dataclass(frozen=True)
class OutOfFold(Config):
    """The table that supervises the gate (section 3.2)."""

    folds: int = setting(5, "number of folds", ge=2, le=50)
    backbone: Literal["generic", "deployed", "full"] = setting(
        "generic",
        "what the copies start from: generic weights or the deployed expert's, with only the head trained, or all anew",
    )
    steps: int = setting(2160, "optimiser steps of a copy", ge=1, le=10_000_000)
    batch: int = setting(4, "pictures per optimiser step", ge=1, le=4096)
    lr: float = setting(1e-4, "learning rate of AdamW", gt=0, le=1)
    warmup: int = setting(200, "steps of linear warm-up", ge=0)
    empty_gt: Literal["fpr", "drop"] = setting(
        "fpr", "pictures without crack: scored by 1 - share of false pixels, or left out"
    )
    table: Path | None = setting(None, "table of an earlier run or of the verb oof; only missing columns are made")


@dataclass(frozen=True)
class GateTraining(Config):
    """The gate and its training (section 4.3)."""

    widths: tuple[int, ...] = setting((64, 128, 256, 512), "channels of the four stages; ResNet-18's", ge=1)
    hidden: int = setting(128, "units of the hidden layer", ge=1, le=4096)
    dropout: float = setting(0.2, "dropout of the hidden layer", ge=0, lt=1)
    shrink: int = setting(1, "average pooling before the first layer", ge=1, le=8)
    target: Target = setting(
        "soft", "what it learns: Eq. 3, the best expert, a sharpened Eq. 3, the ranking, or the expected regret"
    )
    tau: float = setting(0.05, "temperature of the sharpened target", gt=0, le=10)
    epochs: int = setting(50, "most epochs", ge=1, le=100_000)
    patience: int = setting(7, "epochs without improvement before it stops", ge=1)
    batch: int = setting(16, "pictures per optimiser step", ge=1, le=4096)
    lr: float = setting(1e-4, "learning rate of AdamW", gt=0, le=1)
    weight_decay: float = setting(1e-4, "weight decay of AdamW", ge=0, le=1)
    warmup: int = setting(5, "epochs of linear warm-up", ge=0)
    freeze: int = setting(5, "epochs in which the backbone does not learn", ge=0)
    share: float = setting(0.15, "share of the table's groups that decides when to stop", gt=0, lt=1)
    supervision: Literal["oof", "in-sample"] = setting(
        "oof", "scores of copies that never saw the picture; or, as a control, of the deployed experts"
    )

    rules = ((lambda g: len(g.widths) == 4, "widths: four numbers are wanted"),)


@dataclass(frozen=True)
class Mix(Config):
    """How the experts' maps become one (section 3.5)."""

    mode: Mixing = setting("topk", "the k best renormalised, all, the best one, or as many as hold a share of weight")
    k: int = setting(2, "experts of topk", ge=1, le=64)
    p: float = setting(0.8, "cumulative weight of adaptive", gt=0, le=1)
    temperature: float = setting(1.0, "temperature of the softmax over the gate's logits", gt=0, le=100)
    threshold: float = setting(0.5, "probability from which a pixel is crack", gt=0, lt=1)


@dataclass(frozen=True)
class CrackConfig(Config):
    """Training of a pool of experts and its gate."""

    seed: int = setting(42, "seed of weights, order and folds", ge=0)
    stage: Literal["all", "experts", "gate"] = setting(
        "all", "what is trained: all, the experts alone, or table and gate for the experts of --init"
    )
    pool: tuple[ExpertName, ...] = setting(PAPER_POOL, "experts that are trained", min_items=0)
    external: tuple[str, ...] = setting(
        (), "experts of your own, NAME=FILE.onnx, NAME=FOLDER of probability maps, or NAME=module:factory", repeat=True
    )
    networks: Literal["paper", "small", "tiny"] = setting("paper", "size of the experts' networks")
    window: int = setting(
        0, "side of the surroundings whose statistics a pixel sees in attention layers; 0: the whole picture", ge=0
    )
    fit: Literal["squash", "native"] = setting(
        "squash", "pictures are resized to input x input as in the paper, or computed at their own size"
    )
    input: int = setting(512, "pixels a side that pictures are resized to", ge=32, le=4096)
    workers: int = setting(0, "loader processes", ge=0, le=64)
    data: Data = setting(Data(), "drawn data")
    expert: ExpertTraining = setting(ExpertTraining(), "training of the experts")
    cen: Recipe = setting(Recipe(), "recipe of expert E1, the cascade of two U-Nets")
    ecsn: Recipe = setting(Recipe(), "recipe of expert E2, ConvNeXt and triplet attention")
    crackmaster: Recipe = setting(Recipe(), "recipe of expert E3, ConvNeXt, DeepLab and LinkNet")
    crackrefine: Recipe = setting(Recipe(), "recipe of expert E4, ConvNeXt with refinement")
    unet: Recipe = setting(Recipe(), "recipe of the U-Net")
    swin: Recipe = setting(Recipe(), "recipe of Swin with UPerNet")
    deepcrack: Recipe = setting(Recipe(), "recipe of DeepCrack")
    mobilenet: Recipe = setting(Recipe(), "recipe of MobileNetV3 with LR-ASPP")
    oof: OutOfFold = setting(OutOfFold(), "out-of-fold table")
    gate: GateTraining = setting(GateTraining(), "gate")
    mix: Mix = setting(Mix(), "mixing")

    rules = (
        (lambda c: c.input % 32 == 0, "input: must be a multiple of 32"),
        (lambda c: c.window % 32 == 0, "window: must be a multiple of 32"),
        (lambda c: len(set(c.pool)) == len(c.pool), "pool: an expert is named twice"),
        (lambda c: c.pool or c.external, "pool: name at least one expert"),
        (
            lambda c: all("=" in text for text in c.external),
            "external: give NAME=FILE.onnx, NAME=FOLDER or NAME=module:factory",
        ),
    )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """All experts in the order of the gate's outputs: trained ones, then external ones."""
        return (*self.pool, *(text.partition("=")[0].strip() for text in self.external))

    def recipe(self, name: str) -> Recipe:
        """How an expert is trained."""
        found = getattr(self, name)
        assert isinstance(found, Recipe)
        return found


# ------------------------------------------------------------------------------------------------- presets

_PAPER = CrackConfig()

#: The specification's stand-in: experts trained for other surfaces each; E1's twin learns one picture in ten by heart.
_SMALL = _PAPER.replace(
    networks="tiny", window=128, fit="native",
    expert={
        "steps": 300, "batch": 4, "lr": 6e-3, "warmup": 30, "validate": 100, "drop_path": 0.0, "clip": 1.0, "dice": 1.0,
        "prior": 0.05,
    },
    cen={"share": 0.1, "augment": False, "longer": 1.5},
    ecsn={"domains": ("asphalt", "aggregate")},
    crackmaster={"domains": ("concrete",), "longer": 1.5},
    crackrefine={"domains": ("tile", "road")},
    oof={"backbone": "full", "steps": 300, "batch": 4, "lr": 6e-3, "warmup": 30},
    gate={
        "widths": (16, 32, 64, 128), "hidden": 64, "epochs": 60, "patience": 15, "lr": 1e-3, "warmup": 2, "freeze": 0,
        "shrink": 2, "target": "sharpened",
    },
)  # fmt: skip

#: ``base``: what ships. ``tiny``: seconds on one core, for tests. ``small``: the specification's stand-in, minutes on
#: two cores, for studies. ``paper``: every number as published, a GPU's work. The first one is the default.
PRESETS: dict[str, CrackConfig] = {
    "base": _SMALL.replace(
        networks="small",
        data={"train": 1500, "val": 150, "size": 256, "photos": True},
        expert={"steps": 3000, "lr": 5e-3, "warmup": 150, "validate": 600},
        cen={"share": 1.0, "augment": True, "longer": 1.0},
        ecsn={"domains": ("asphalt", "aggregate"), "outside": 0.15},
        crackmaster={"domains": ("concrete", "road"), "outside": 0.15, "longer": 1.0},
        crackrefine={"domains": ("tile", "road"), "outside": 0.15},
        oof={"folds": 3, "steps": 600, "lr": 5e-3, "warmup": 50},
    ),
    "tiny": _SMALL.replace(
        pool=("cen", "crackrefine"), window=64,
        data={"train": 20, "val": 6, "test": 8, "size": 64},
        expert={"steps": 40, "lr": 1e-2, "warmup": 4, "validate": 20, "prior": 0.2},
        cen={"share": 1.0, "augment": True, "longer": 1.0},
        oof={"folds": 2, "steps": 6, "warmup": 2},
        gate={"widths": (8, 8, 16, 16), "hidden": 16, "epochs": 2, "batch": 8},
    ),
    "small": _SMALL,
    "paper": _PAPER,
}  # fmt: skip
