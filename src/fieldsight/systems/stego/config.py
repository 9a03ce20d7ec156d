"""Every number of training: which network, what it learns from, how it is weighed.

The defaults are the paper's, where it gives any; the presets at the end say where they depart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting

#: Ways to hide: the paper's network, the same as a change to the cover, Baluja's in pixels, the invertible one.
Arch = Literal["dwf2", "residual", "baluja", "inn"]

#: Classes of drawn pictures; see :mod:`fieldsight.systems.stego.textures`.
KindName = Literal["cloud", "leaves", "gradient", "stained", "stripes", "text", "objects", "grain"]
KINDS: tuple[KindName, ...] = ("cloud", "leaves", "gradient", "stained", "stripes", "text", "objects", "grain")


@dataclass(frozen=True)
class Data(Config):
    """What a model learns from where no folder is given: drawn pictures, and photos out of packages where they are."""

    drawn: int = setting(1200, "number of drawn pictures", ge=0, le=1_000_000)
    size: int = setting(64, "pixels a side of a drawn picture", ge=16, le=2048)
    kinds: tuple[KindName, ...] = setting(KINDS, "classes of drawn pictures", min_items=1)
    photos: bool = setting(False, "learn from packaged photos too, as far as they are here")
    longest: int = setting(1024, "photos are shrunk to at most so many pixels", ge=64, le=16384)
    validation: int = setting(32, "pairs that watch the training", ge=0, le=100_000)
    seed: int = setting(0, "seed of the drawn pictures and of the split", ge=0)


@dataclass(frozen=True)
class Network(Config):
    """The paper's networks (Fig. 3) and their readings."""

    width: int = setting(50, "filters of each convolution", ge=1, le=512)
    axes: Literal["spatial", "literal", "banded"] = setting(
        "spatial", "axes the kernels run over: rows and columns, columns and bands as Keras would, or bands as channels"
    )
    reveal_inputs: Literal["3", "6"] = setting(
        "3", "channels of the revealing network; 6 feeds the stego twice and gives the paper's number of weights"
    )
    wavelet: Literal["haar", "db2", "db4", "cdf97", "legall53"] = setting("haar", "wavelet of the paper's networks")


@dataclass(frozen=True)
class Invertible(Config):
    """The invertible network."""

    levels: int = setting(3, "levels of the Haar packet", ge=1, le=4)
    width: int = setting(48, "channels inside the couplings", ge=1, le=512)
    before: int = setting(1, "couplings before the swap", ge=0, le=16)
    after: int = setting(2, "couplings after the swap", ge=0, le=16)
    balance: float = setting(0.5, "weight of the cover's error in the linear start and in rounding", gt=0, le=1000)
    sent: int = setting(64, "components of the secret that are swapped in", ge=1, le=3 * 4**4)
    settling: int = setting(4, "rounds that fit the stego into the range of a file", ge=0, le=64)
    start: bool = setting(True, "begin with the best linear swap for the training pictures")

    rules = (
        (lambda i: i.sent < 3 * 4**i.levels, "sent: must be below the 3 * 4**levels components of a packet"),
        (lambda i: i.before + i.after > 0, "after: at least one coupling is needed"),
    )


@dataclass(frozen=True)
class Loss(Config):
    """Eq. (5) and what stands beside it."""

    beta: float = setting(0.95, "weight of the cover's error", ge=0, le=1000)
    domain: Literal["dwt", "pixel", "psnr", "gain"] = setting(
        "dwt", "squared errors of coefficients, of pixels, their logarithm pair by pair, or the predecessor's gain"
    )
    bands: tuple[float, ...] = setting((1.0, 1.0, 1.0, 1.0), "weights of LL, LH, HL, HH in the dwt domain", ge=0)
    rounding: Literal["none", "8bit"] = setting(
        "none", "round the stego to 8 bits before it is revealed, gradients passing through"
    )
    noise: tuple[Literal["jpeg", "blur", "resize", "gaussian"], ...] = setting(
        (), "what may happen to the stego on its way in training, one at random a batch"
    )

    rules = ((lambda v: len(v.bands) == 4, "bands: four weights are wanted: LL, LH, HL, HH"),)


@dataclass(frozen=True)
class StegoConfig(Config):
    """Training of a pair of hiding and revealing networks."""

    seed: int = setting(0, "seed of weights and order", ge=0)
    arch: Arch = setting("dwf2", "network")
    steps: int = setting(96_700, "optimiser steps", ge=1, le=100_000_000)
    batch: int = setting(16, "pairs per optimiser step", ge=1, le=4096)
    crop: int = setting(256, "pixels a side of a training pair", ge=16, le=4096)
    lr: float = setting(2e-4, "learning rate of Adam", gt=0, le=1)
    schedule: Literal["constant", "cosine"] = setting("constant", "course of the learning rate")
    clip: float = setting(0.0, "largest norm of the gradient; 0 does not clip", ge=0)
    augment: bool = setting(False, "random crops and flips")
    workers: int = setting(0, "loader processes", ge=0, le=64)
    data: Data = setting(Data(), "training pictures")
    net: Network = setting(Network(), "the paper's networks")
    inn: Invertible = setting(Invertible(), "the invertible network")
    loss: Loss = setting(Loss(), "loss")

    rules = (
        (lambda c: c.crop % c.stride == 0, "crop: must be a multiple of 2, and of 2**inn.levels for arch 'inn'"),
        (lambda c: c.data.drawn >= 2 or c.data.photos, "data.drawn: give at least two pictures, or data.photos"),
    )

    @property
    def stride(self) -> int:
        """Height and width of what the networks see must be multiples of this."""
        return int(2**self.inn.levels) if self.arch == "inn" else 1 if self.arch == "baluja" else 2


# ------------------------------------------------------------------------------------------------- presets

_PAPER = StegoConfig()

#: The specification's CPU preset.
_SMALL = _PAPER.replace(steps=400, crop=32, lr=2e-3, augment=True, net={"width": 8}, data={"size": 64, "drawn": 1200})

#: ``base``: what ships. ``tiny``: seconds on one core, for tests. ``small`` and ``long``: the specification's CPU
#: presets of the paper's network. ``paper``: every number as published, a GPU's work. The first one is the default.
PRESETS: dict[str, StegoConfig] = {
    "base": _PAPER.replace(
        arch="inn", steps=4500, batch=8, crop=128, lr=1e-3, schedule="cosine", clip=1.0, augment=True,
        data={"drawn": 400, "size": 256, "photos": True},
        inn={"width": 32, "sent": 96, "balance": 4.0},
        loss={"beta": 1.0, "domain": "psnr", "rounding": "8bit"},
    ),
    "tiny": _PAPER.replace(
        arch="inn", steps=40, batch=4, crop=32, lr=2e-3, clip=1.0, augment=True,
        data={"drawn": 24, "size": 32, "validation": 4},
        inn={"levels": 2, "width": 8, "before": 1, "after": 1, "sent": 16},
        loss={"beta": 1.0, "domain": "psnr", "rounding": "8bit"},
    ),
    "small": _SMALL,
    "long": _SMALL.replace(steps=4000, net={"width": 16}),
    "paper": _PAPER,
}  # fmt: skip
