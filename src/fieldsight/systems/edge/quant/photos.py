"""Which pictures ``quantize`` calibrates with, trains with, searches with and measures on.

======================= ================================== =============================================
role                    drawn                              a data folder
======================= ================================== =============================================
calibration             training frames                    training split
training (QAT)          training frames                    training split
search, choice of epoch validation frames                  validation split (half of it where it measures)
measuring               held-out frames                    the named split
======================= ================================== =============================================

What is measured on does nothing else. A folder of calibration pictures takes the first role in both columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fieldsight.data.detection.folders import read_detection
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample, Picture
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge.data import drawn_splits, heldout
from fieldsight.systems.edge.options_quantize import QuantizeOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.calibrate import PictureStatistics, choose_pictures, judge, read_picture

#: Training frames whose statistics are drawn where a model does not tell its own.
DRAWN_STATISTICS = 60


@dataclass(frozen=True)
class Photos:
    """Pictures by role.

    Attributes:
        calibration: functions that give a picture ``(H, W, 3)`` uint8 RGB each.
        calibration_name: where they are from.
        statistics: of the calibration pictures.
        warnings: what is wrong with them, and what could not be had.
        train: to train with; empty where nothing is trained.
        search: to judge epochs and searches on; empty where neither is asked for.
        held: to measure on; empty where nothing can be measured.
        held_name: what they are.
    """

    calibration: tuple[Callable[[], Picture], ...]
    calibration_name: str
    statistics: PictureStatistics
    warnings: tuple[str, ...]
    train: tuple[DetectionSample, ...]
    search: tuple[DetectionSample, ...]
    held: tuple[DetectionSample, ...]
    held_name: str


@dataclass(frozen=True)
class _Sets:
    """Samples by role, before any is drawn or read."""

    train: list[DetectionSample]
    search: list[DetectionSample]
    held: list[DetectionSample]
    train_name: str
    held_name: str
    warnings: tuple[str, ...] = ()


def gather_photos(model: EdgeModel, options: QuantizeOptions, data: Path | None) -> Photos:
    """Find pictures for every role that the options ask for; drawn ones are drawn here, once.

    Raises:
        ConfigError: a model of a user's own photos without any to calibrate, train or search with.
        DataError: a folder that can't be used, of other classes, or a split that is empty.
    """
    sets = _drawn(model, options) if data is None else _read(model, options, data)
    learn = bool(options.qat_steps)
    if (learn and not sets.train) or (options.judges and not sets.search):
        raise ConfigError("qat_steps and keep_within need photos with boxes: name your data folder.")
    train = keep(sets.train, "training pictures") if learn else []
    if options.calibration is not None:
        told = _told(model, sets.train)
        chosen = choose_pictures(options.calibration, options.pictures, told, options.seed)
        sources: tuple[Callable[[], Picture], ...] = tuple(partial(read_picture, item) for item in chosen.items)
        found, warnings, name = chosen.statistics, chosen.warnings, f"'{options.calibration}'"
    else:
        if not sets.train:
            raise ConfigError("This model was trained on your own photos: name them with --calibration FOLDER.")
        samples = at_most(train or sets.train, options.pictures, options.seed, "calibration pictures")
        kept = samples if learn else keep(samples, "calibration pictures")
        sources, name = tuple(sample.image for sample in kept), sets.train_name
        found = PictureStatistics.of(source() for source in sources)
        warnings = tuple(judge(found, _told(model, [])))
    held = at_most(sets.held, options.frames, options.seed, "held-out pictures") if options.frames else []
    if held and not any(len(sample.truth()) for sample in held):
        raise DataError(f"There is no box in {sets.held_name}: nothing can be measured. Check the labels.")
    return Photos(
        sources, name, found, (*sets.warnings, *warnings), tuple(train),
        tuple(keep(sets.search, "validation pictures") if options.judges else ()),
        tuple(keep(held, "held-out pictures") if held else ()), f"{len(held)} {sets.held_name}",
    )  # fmt: skip


def _drawn(model: EdgeModel, options: QuantizeOptions) -> _Sets:
    own = model.config.data
    if not model.artefacts.get("training", {}).get("drawn", True):
        note = "Nothing is measured: this model was trained on photos of your own. Name their data folder to measure."
        return _Sets([], [], [], "", "", (note,) if options.frames else ())
    splits = drawn_splits(own)
    return _Sets(
        splits.train, splits.val, heldout(own), f"drawn training frames (world {own.world})",
        f"held-out drawn frames (world {own.world})",
    )  # fmt: skip


def _read(model: EdgeModel, options: QuantizeOptions, data: Path) -> _Sets:
    found = read_detection(data, model.config.seed, names=model.classes)
    if found.names != model.classes:
        raise DataError(
            f"'{data}' has the classes {', '.join(found.names)}; the model knows {', '.join(model.classes)}. "
            "Quantise with data of the same classes in the same order."
        )
    train, held = found.split("train"), found.split(options.split)
    search = found.split("val") if options.split == "test" else []
    for split, samples in (("train", train), (options.split, held)):
        if not samples and not (split == "train" and options.calibration is not None and not options.qat_steps):
            raise DataError(f"'{data}' has no photos in the split '{split}'.")
    if not search and options.judges:
        search, held = halves(held, options.seed)
    return _Sets(train, search, held, f"'{data}' (train)", f"photos of '{data}' ({options.split})")


def halves(samples: Sequence[DetectionSample], seed: int) -> tuple[list[DetectionSample], list[DetectionSample]]:
    """Two halves that share no group.

    Raises:
        DataError: fewer than two groups.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < 2:
        raise DataError(
            "A search or a training needs photos of its own beside those that measure: at least two groups (flights, "
            "videos, places) in that split. Give more, or measure on the test split."
        )
    order = rng_for(seed, "edge", "halves").permutation(len(groups))
    first = {groups[k] for k in order[: len(groups) // 2].tolist()}
    return [s for s in samples if s.group in first], [s for s in samples if s.group not in first]


def at_most(samples: Sequence[DetectionSample], count: int, seed: int, label: str) -> list[DetectionSample]:
    """So many samples at the most, drawn by the seed, in their order."""
    order = rng_for(seed, label).permutation(len(samples))[:count]
    return [samples[k] for k in sorted(order.tolist())]


def _told(model: EdgeModel, train: Sequence[DetectionSample]) -> PictureStatistics | None:
    """What the training pictures looked like: by the model, else by those at hand; None where nobody knows."""
    known = model.artefacts.get("training", {}).get("statistics")
    if known is not None:
        return PictureStatistics.from_dict(known)
    if not train:
        return None
    return PictureStatistics.of(sample.image() for sample in at_most(train, DRAWN_STATISTICS, 0, "statistics"))
