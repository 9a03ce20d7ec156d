"""Angiograms with vessel masks, to tune vesselness by.

::

    dca1     <n>.pgm and <n>_gt.pgm in one folder (Cervantes-Sanchez et al. 2019, 134 pairs)
    xcad     {train,val,test}/{images,masks}/ with files of the same names (Ma et al. 2021, 126 pairs in test)
    plain    images/ and masks/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.checks import listed
from fieldsight.data.detection.letterbox import Photo, photo_size
from fieldsight.data.images import read_image
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError
from fieldsight.systems.vessel.datasets.common import SPLITS, files_in, subfolders

_IMAGES = ("images", "image", "img", "imgs")
_MASKS = ("masks", "mask", "gt", "labels", "ground_truth", "groundtruth")
_ENDINGS = ("_gt", "_mask")


@dataclass(frozen=True)
class MaskSample:
    """An angiogram with its vessels.

    Attributes:
        id: unique within its data set.
        split: ``train``, ``val``, ``test``, or empty where the layout does not say.
        size: height and width in pixels.
        image: gives the picture, ``(H, W, 3)`` uint8 RGB.
        mask: gives the vessels, ``(H, W)`` bool.
    """

    id: str
    split: str
    size: tuple[int, int]
    image: Callable[[], NDArray[np.uint8]]
    mask: Callable[[], NDArray[np.bool_]]


@dataclass(frozen=True)
class MaskFile:
    """A mask's file as the function that a sample wants.

    A pixel is vessel where it is over half of the file's largest value: files hold 0 and 1, 0 and 255, or smooth edges.
    """

    path: Path

    def __call__(self) -> NDArray[np.bool_]:
        """Read it, ``(H, W)`` bool.

        Raises:
            DataError: it can't be read.
        """
        grey = read_image(self.path, "grey")
        return np.asarray(grey > grey.max() / 2, np.bool_)


def read_masks(folder: Path) -> list[MaskSample]:
    """Pictures with masks, by id. Headers are read now, pixels when a sample is asked for them.

    Raises:
        DataError: no such layout, pictures or masks without a partner, files that can't be read, or a mask of another
            size than its picture; each is named.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'. Give the folder that holds angiograms and masks.")
    pairs, alone = _pairs(folder)
    if not pairs:
        raise DataError(
            f"'{folder}' holds no angiograms with masks. Allowed: <n>.pgm with <n>_gt.pgm (DCA1), "
            "{train,val,test}/{images,masks}/ (XCAD), or images/ and masks/ with files of the same names."
        )
    problems = [f"'{path}' has no partner" for path in alone]
    found = []
    for id, split, photo, mask in pairs:
        try:
            size, other = photo_size(photo)[0], photo_size(mask)[0]
        except DataError as error:
            problems.append(str(error))
            continue
        if size != other:
            problems.append(f"'{photo}' has {size[1]} x {size[0]} px, its mask '{mask}' {other[1]} x {other[0]}")
        found.append(MaskSample(id, split, size, Photo(photo), MaskFile(mask)))
    if problems:
        raise DataError(listed(f"'{folder}': {len(problems)} files can't be used:", problems))
    return sorted(found, key=lambda s: s.id)


def _pairs(folder: Path) -> tuple[list[tuple[str, str, Path, Path]], list[Path]]:
    """Id, split, picture and mask of each pair; and files without a partner."""
    below = subfolders(folder)
    places = [("", below)] + [(split, subfolders(below[split])) for split in SPLITS if split in below]
    pairs, alone = [], list[Path]()
    for split, inner in places:
        photos, masks = (next((inner[n] for n in names if n in inner), None) for names in (_IMAGES, _MASKS))
        if photos is not None and masks is not None:
            found, lone = _matched(_by_stem(photos), _by_stem(masks))
            pairs += [(f"{split}-{stem}" if split else stem, split, p, m) for stem, p, m in found]
            alone += lone
    if pairs:
        return pairs, alone
    files = _by_stem(folder)
    masks_of = {stem: p for stem, p in files.items() if any(stem.endswith(e) for e in _ENDINGS)}
    if masks_of:
        found, lone = _matched({k: p for k, p in files.items() if k not in masks_of}, masks_of)
        return [(stem, "", p, m) for stem, p, m in found], lone
    if len(below) == 1:
        return _pairs(next(iter(below.values())))  # the one folder of an unpacked archive
    return [], []


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_in(folder, IMAGE_SUFFIXES):
        if path.stem in found:
            raise DataError(f"'{folder}' holds {found[path.stem].name} and {path.name}: which one counts? Keep one.")
        found[path.stem] = path
    return found


def _matched(photos: dict[str, Path], masks: dict[str, Path]) -> tuple[list[tuple[str, Path, Path]], list[Path]]:
    partner: dict[str, Path] = {}
    alone = []
    for stem, path in masks.items():
        bare = next((stem.removesuffix(e) for e in _ENDINGS if stem.endswith(e)), stem)
        own = next((s for s in (stem, bare) if s in photos and s not in partner), None)
        if own is None:
            alone.append(path)
        else:
            partner[own] = path
    found = [(stem, path, partner[stem]) for stem, path in photos.items() if stem in partner]
    return found, alone + [path for stem, path in photos.items() if stem not in partner]
