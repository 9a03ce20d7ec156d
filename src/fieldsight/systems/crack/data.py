"""Photos with masks: read from a folder or drawn, and as the loaders of experts and gate want them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.crack import augment, world
from fieldsight.systems.crack.config import DOMAINS, CrackConfig, Data, Recipe
from fieldsight.systems.crack.folders import check, read_folder, write_folder
from fieldsight.systems.crack.options import MakeDataOptions
from fieldsight.systems.crack.sample import MaskArray, Picture, Sample
from fieldsight.verbs import Written

#: ImageNet's mean and standard deviation, by which every network's input is normalised.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

#: Largest side of what the gate sees of a photo at once, in pixels.
GATE_SIDE = 512

Splits = dict[str, list[Sample]]


def load_splits(config: CrackConfig, data: Path | None) -> Splits:
    """Samples by split, from a folder or drawn.

    Raises:
        DataError: the folder can't be used, or a split is empty.
    """
    if data is None:
        samples = draw(config.data)
    else:
        samples = read_folder(data, config.seed)
        check(samples)
    splits = {name: [s for s in samples if s.split == name] for name in ("train", "val", "test")}
    empty = [name for name, found in splits.items() if not found]
    if empty:
        raise DataError(f"The data holds no photos of the split {' and '.join(empty)}. See manifest.csv.")
    return splits


def draw(data: Data, domains: Sequence[str] = DOMAINS) -> list[Sample]:
    """The drawn world of a config."""
    counts = {"train": data.train, "val": data.val, "test": data.test}
    return world.draw_set(counts, tuple(domains), data.size, data.seed, data.style, data.photos, data.empty)


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write drawn photos with their masks: ``train/images``, ``train/masks`` and so on, with ``manifest.csv``.

    Raises:
        DataError: no folder to write to.
    """
    if out is None:
        raise DataError("make-data writes a folder: name it with --out.")
    samples = draw(options.data, options.domains or DOMAINS)
    folder = write_folder(samples, out)
    progress.note(f"{len(samples)} drawn photos in {folder}")
    return Written(folder, {"photos": len(samples), "data": "drawn"})


# ------------------------------------------------------------------------------------------------ as tensors


def normalise(picture: Picture) -> Tensor:
    """``(H, W, 3)`` uint8 to a normalised ``(1, 3, H, W)`` float32 tensor."""
    values = (picture.astype(np.float32) / np.float32(255.0) - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def squash(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Resize to ``side x side`` without keeping the aspect: photos bilinear, bool masks nearest."""
    import cv2

    if picture.shape[:2] == (side, side):
        return picture
    if picture.dtype == np.bool_:
        return cv2.resize(picture.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).astype(bool)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)


def crop_side(config: CrackConfig) -> int:
    """Pixels a side of a training crop: the whole squashed picture, or a window of it."""
    return config.input if config.fit == "squash" else config.window or config.input


class ExpertItems:
    """Training crops of one expert, drawn by its recipe's weights.

    Args:
        samples: the training split, or a fold's part of it.
        config: crop, augmentation.
        recipe: which surfaces and what share it sees.
        count: items an epoch.
        name: of the expert, for the share that it sees.
    """

    def __init__(self, samples: Sequence[Sample], config: CrackConfig, recipe: Recipe, count: int, name: str) -> None:
        kept = list(samples)
        if recipe.share < 1.0:
            order = rng_for(config.seed, "share", name).permutation(len(kept))
            kept = [kept[i] for i in sorted(order[: max(1, round(recipe.share * len(kept)))])]
        weights = np.array([weight(s, recipe) for s in kept])
        if not weights.sum() > 0:
            raise DataError(f"Expert '{name}' would see no picture: none is of {', '.join(recipe.domains)}.")
        self.samples, self.config, self.recipe, self.count = kept, config, recipe, count
        self.edges = np.cumsum(weights) / weights.sum()

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` ``(3, S, S)`` normalised and ``mask`` ``(1, S, S)`` in {0, 1}."""
        chosen = self.samples[min(int(np.searchsorted(self.edges, rng.random())), len(self.samples) - 1)]
        picture, mask = fitted(chosen.image(), chosen.mask(), self.config, rng)
        if self.recipe.augment:
            picture, mask = augment.turn(picture, mask, rng)
            picture = augment.recolour(picture, rng)
            if rng.random() < self.config.expert.invert:
                picture = np.uint8(255) - picture
        return {"image": normalise(picture)[0], "mask": torch.from_numpy(mask.astype(np.float32))[None]}


def weight(sample: Sample, recipe: Recipe) -> float:
    """How much a sample counts in training by a recipe; samples of unknown surface count fully."""
    inside = not recipe.domains or not sample.domain or sample.domain in recipe.domains
    return 1.0 if inside else recipe.outside


def fitted(
    picture: Picture, mask: MaskArray, config: CrackConfig, rng: np.random.Generator
) -> tuple[Picture, MaskArray]:
    """A square of the training size: the squashed whole, or a random crop (smaller pictures are mirrored)."""
    side = crop_side(config)
    if config.fit == "squash":
        return squash(picture, side), squash(mask, side)
    missing = [max(0, side - n) for n in mask.shape]
    if any(missing):
        pads = [(0, m) for m in missing]
        picture, mask = np.pad(picture, [*pads, (0, 0)], mode="symmetric"), np.pad(mask, pads, mode="symmetric")
    top, left = (int(rng.integers(n - side + 1)) for n in mask.shape)
    return picture[top : top + side, left : left + side], mask[top : top + side, left : left + side]


class GateItems:
    """Photos with their row of the gate's target.

    Args:
        pictures: gives each photo.
        targets: ``(N, M)`` scores of the experts, one row a photo; augmentation does not change them.
        config: whether photos are squashed into the square, or cut at their own scale.
        side: of the square, see :func:`gate_side`.
        augmented: change them as in section 4.2.
    """

    def __init__(
        self,
        pictures: Sequence[Callable[[], Picture]],
        targets: NDArray[np.float32],
        config: CrackConfig,
        side: int,
        augmented: bool,
    ) -> None:
        self.pictures, self.targets, self.config = pictures, targets, config
        self.side, self.augmented = side, augmented

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` ``(3, S, S)`` normalised and ``scores`` ``(M,)``."""
        picture = square(self.pictures[index](), self.side, self.config, rng)
        if self.augmented:
            picture = augment.gate_view(picture, rng)
        return {"image": normalise(picture)[0], "scores": torch.from_numpy(self.targets[index])}


def gate_side(samples: Sequence[Sample], config: CrackConfig) -> int:
    """Side of the square that the gate sees: the input's, or that of the photos up to :data:`GATE_SIDE`."""
    if config.fit == "squash":
        return config.input
    largest = max(max(s.mask().shape) for s in samples[:: max(1, len(samples) // 50)])
    return int(min(GATE_SIDE, -(-largest // 32) * 32))


def square(picture: Picture, side: int, config: CrackConfig, rng: np.random.Generator) -> Picture:
    """A square for the gate: the squashed whole; or at the photo's own scale a random window, as prediction looks at a
    large photo window by window. What is smaller is mirrored.
    """
    if config.fit == "squash":
        return squash(picture, side)
    pads = [(0, max(0, side - n)) for n in picture.shape[:2]]
    filled = np.pad(picture, [*pads, (0, 0)], mode="symmetric") if any(p[1] for p in pads) else picture
    # no chance where there is no choice: photos of the square's size are as they are
    top, left = (int(rng.integers(n - side + 1)) if n > side else 0 for n in filled.shape[:2])
    return filled[top : top + side, left : left + side]
