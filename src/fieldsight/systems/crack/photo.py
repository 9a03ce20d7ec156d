"""A photo of any size, read block by block where it is large."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.blocks import open_blocks, shrunk_by_bands
from fieldsight.data.georeference import Georeference
from fieldsight.data.images import read_image, to_uint8
from fieldsight.data.video import Video
from fieldsight.errors import DataError
from fieldsight.systems.crack import VIDEO_SUFFIXES
from fieldsight.systems.crack.sample import MaskArray, Picture

#: Least side of a photo in pixels.
SMALLEST = 8

#: Pictures of a video that are tried before it is given up.
TRIES = 10


@dataclass(frozen=True)
class Photo:
    """A photo to look for cracks in.

    Attributes:
        shape: ``(H, W)`` pixels.
        block: gives ``(h, w, 3)`` uint8 RGB of rows and columns.
        id: name without ending, by which folders of maps find it.
        georeference: where it lies on a map, or None.
        scale_mm: millimetres a pixel, or None where nobody said.
        notes: what was done to it in reading.
        valid: gives where a part holds a picture, ``(h, w)`` bool; None where it does everywhere.
        name: file name, or empty.
        video: the video of which this is the first picture that can be read, or None.
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], Picture]
    id: str = ""
    georeference: Georeference | None = None
    scale_mm: float | None = None
    notes: tuple[str, ...] = ()
    valid: Callable[[slice, slice], MaskArray] | None = None
    name: str = ""
    video: Path | None = None

    def small(self, longest: int = 1024) -> Picture:
        """The whole photo with at most about ``longest`` pixels a side, read band by band."""
        return shrunk_by_bands(self.block, self.shape, longest)

    def small_valid(self, longest: int = 1024) -> MaskArray | None:
        """Where :meth:`small` holds a picture, ``(h, w)`` bool: where more than half of the pixels do."""
        if self.valid is None:
            return None
        valid = self.valid
        shares = shrunk_by_bands(lambda r, c: valid(r, c).astype(np.uint8) * np.uint8(255), self.shape, longest)
        return shares > 127


def open_photo(item: Any, factor: float = 1.0, scale_mm: float | None = None) -> Photo:
    """Open a file, or take an array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.

    Args:
        item: path of a picture or video, or array.
        factor: shrink by it first.
        scale_mm: millimetres a pixel of the photo as it is; a georeference in metres tells it where this is None.

    Raises:
        DataError: no picture, or smaller than :data:`SMALLEST`.
    """
    if isinstance(item, Photo):
        return item
    file = isinstance(item, (str, Path))
    photo = _from_file(Path(item), scale_mm) if file else _from_array(item, scale_mm)
    photo = photo if factor == 1.0 else shrunk(photo, factor)
    if min(photo.shape) < SMALLEST:
        what = f"'{item}'" if file else "The array"
        when = "" if factor == 1.0 else f" after resize {factor:g}"
        raise DataError(
            f"{what} has {photo.shape[1]} x {photo.shape[0]} pixels{when}; at least {SMALLEST} x {SMALLEST} are needed."
        )
    return photo


def _from_file(path: Path, scale_mm: float | None) -> Photo:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _from_video(path, scale_mm)
    reader = open_blocks(path)
    where = reader.georeference
    placed = where if where.transform is not None else None
    return Photo(
        reader.shape, reader, path.stem, placed, scale_mm or where.pixel_size_mm, tuple(where.notes),
        lambda rows, columns: reader.read(rows, columns)[1], path.name,
    )  # fmt: skip


def _from_video(path: Path, scale_mm: float | None) -> Photo:
    """The first picture of a video that can be read."""
    video = Video(path)
    try:
        for i in range(min(TRIES, video.count)):
            with contextlib.suppress(DataError):
                return replace(_from_array(video(i), scale_mm), id=path.stem, name=path.name, video=path)
    finally:
        video.close()
    raise DataError(f"'{path}': none of its first {min(TRIES, video.count)} pictures can be read.")


def _from_array(array: Any, scale_mm: float | None) -> Photo:
    found = read_image(array)
    clear = found[..., 3] > 0 if found.ndim == 3 and found.shape[2] == 4 else None
    picture = to_uint8(read_image(found, "rgb"))
    return Photo(
        (picture.shape[0], picture.shape[1]),
        lambda rows, columns: picture[rows, columns],
        scale_mm=scale_mm,
        valid=None if clear is None else lambda rows, columns: clear[rows, columns],
    )


def shrunk(photo: Photo, factor: float) -> Photo:
    """A photo with its sides multiplied by ``factor``; its place on the map and its scale follow."""
    longest = max(1, round(max(photo.shape) * factor))
    small, inside = photo.small(longest), photo.small_valid(longest)
    shape = (small.shape[0], small.shape[1])
    down, across = photo.shape[0] / shape[0], photo.shape[1] / shape[1]
    placed = photo.georeference
    if placed is not None and placed.transform is not None:
        a, b, c, d, e, f = placed.transform
        # the tags of the file count its own pixels: only the transform is kept
        placed = Georeference((a * across, b * down, c, d * across, e * down, f), placed.epsg, placed.raster_type)
    return replace(
        photo,
        shape=shape,
        block=lambda rows, columns: small[rows, columns],
        georeference=placed,
        scale_mm=None if photo.scale_mm is None else photo.scale_mm * math.sqrt(across * down),
        notes=(*photo.notes, f"shrunk to {shape[1]} x {shape[0]} pixels"),
        valid=None if inside is None else lambda rows, columns: inside[rows, columns],
    )
