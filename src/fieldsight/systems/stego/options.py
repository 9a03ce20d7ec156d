"""Options of the verbs. Apart from the training config, whose change makes recorded studies stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.export.options import ExportOptions
from fieldsight.systems.stego.config import KINDS, KindName


@dataclass(frozen=True)
class KeyOptions(Config):
    """A passphrase, given or in a file."""

    key: str | None = setting(
        None, "passphrase; others see it in the list of processes, so a file is safer", secret=True
    )
    key_file: Path | None = setting(None, "text file whose first line is the passphrase")
    tile: int = setting(0, "pixels a side computed at once; 0 chooses by network", ge=0, le=8192)

    rules = (
        (lambda o: o.key is None or o.key_file is None, "key_file: give key or key_file, not both"),
        (lambda o: o.tile % 16 == 0, "tile: must be a multiple of 16"),
    )


@dataclass(frozen=True)
class HideOptions(KeyOptions):
    """Options of ``hide``."""

    as_file: bool = setting(False, "hide the bytes of the secret exactly, even where it is a picture")
    robustness: Literal["auto", "dense", "normal", "strong"] = setting(
        "auto", "size of the cells that carry a file: dense holds most, strong survives most; auto takes what fits"
    )
    mark: bool = setting(True, "hide a mark with it, by which reveal knows that there is something, and how large")
    check: bool = setting(True, "reveal from the finished picture at once, to say how well it came through")
    details: bool = setting(False, "also write what was measured, and a comparison, beside each picture")
    allow_lossy: bool = setting(False, "write a lossy format although it damages the secret")


@dataclass(frozen=True)
class RevealOptions(KeyOptions):
    """Options of ``reveal``."""

    force: bool = setting(False, "reveal although no mark is found; what comes out may be nothing")


@dataclass(frozen=True)
class MakeDataOptions(Config):
    """Options of ``make-data``."""

    count: int = setting(200, "number of drawn pictures", ge=2, le=1_000_000)
    size: int = setting(256, "pixels a side", ge=16, le=4096)
    kinds: tuple[KindName, ...] = setting(KINDS, "classes of drawn pictures", min_items=1)
    val: float = setting(0.2, "share of the validation split", gt=0, lt=1)
    seed: int = setting(0, "seed of the drawn pictures", ge=0)


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    split: Literal["test", "val", "train"] = setting("test", "split of a data folder to measure on")
    pairs: int = setting(0, "number of pairs; 0 takes all", ge=0, le=1_000_000)
    size: int = setting(256, "pixels a side of the squares that are measured", ge=32, le=4096)
    drawn: bool = setting(False, "measure on drawn pictures although photos are here")
    baselines: bool = setting(False, "measure the classical ways on the same pairs")
    against: str | None = setting(None, "second model, compared pair by pair")
    pictures: int = setting(6, "pairs to draw", ge=0, le=100)


@dataclass(frozen=True)
class AttackOptions(Config):
    """Options of ``attack``."""

    attacks: tuple[str, ...] = setting(
        ("all",), "what happens to the stego pictures: families such as jpeg, single ones such as jpeg-90, or all",
        min_items=1,
    )  # fmt: skip
    pairs: int = setting(12, "number of pairs", ge=1, le=100_000)
    size: int = setting(256, "pixels a side of these pairs", ge=32, le=4096)
    seed: int = setting(0, "seed of noise", ge=0)
    pictures: int = setting(4, "pairs to draw", ge=0, le=100)


@dataclass(frozen=True)
class DetectOptions(Config):
    """Options of ``detect``."""

    stego: Path | None = setting(None, "folder of stego pictures, to compare with the first folder's plain ones")
    method: Literal["classical", "trained"] = setting("classical", "statistics alone, or a network trained here too")
    steps: int = setting(300, "training steps of the network", ge=1, le=1_000_000)
    crop: int = setting(64, "pixels a side of what the network is trained on", ge=32, le=1024)
    pairs: int = setting(40, "held-out pairs where no folders are given", ge=4, le=100_000)
    size: int = setting(256, "pixels a side of these pairs", ge=32, le=4096)
    learn: int = setting(160, "pairs the network learns from where no folders are given", ge=2, le=100_000)
    seed: int = setting(0, "seed of the split and of the network", ge=0)


@dataclass(frozen=True)
class StegoExportOptions(ExportOptions):
    """Options of ``export``."""

    part: Literal["pair", "hide", "reveal"] = setting("pair", "both networks in a row, or one alone")


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""
