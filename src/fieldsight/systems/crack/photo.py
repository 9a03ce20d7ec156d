"""A photo of any size, read block by block where it is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.images import read_image, to_uint8
from fieldsight.errors import DataError
from fieldsight.systems.crack.georeference import Georeference, read_rows
from fieldsight.systems.crack.sample import MaskArray, Picture

#: Least side of a photo in pixels.
SMALLEST = 8


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
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], Picture]
    id: str = ""
    georeference: Georeference | None = None
    scale_mm: float | None = None
    notes: tuple[str, ...] = ()
    valid: Callable[[slice, slice], MaskArray] | None = None

    def small(self, longest: int = 1024) -> Picture:
        """The whole photo with at most about ``longest`` pixels a side, read band by band."""
        import cv2

        height, width = self.shape
        factor = min(1.0, longest / max(height, width))
        if factor == 1.0:
            return self.block(slice(0, height), slice(0, width))
        columns = max(1, round(width * factor))
        total = max(1, round(height * factor))
        step = max(1, round(64 / factor))
        parts, start = [], 0
        edges = [round(k * height / total) for k in range(total + 1)]
        while start < total:  # whole rows of the small picture at a time, so that bands leave no trace
            stop = min(total, start + max(1, round(step * factor)))
            band = self.block(slice(edges[start], edges[stop]), slice(0, width))
            parts.append(cv2.resize(band, (columns, stop - start), interpolation=cv2.INTER_AREA))
            start = stop
        return np.concatenate(parts)

    def small_for(self, shape: tuple[int, int]) -> Picture:
        """The photo as the gate saw it: at most as large as ``shape``."""
        from fieldsight.data.images import resize

        picture = resize(self.small(), max(shape))
        return picture[: shape[0], : shape[1]]


def open_photo(item: Any, factor: float = 1.0, scale_mm: float | None = None) -> Photo:
    """Open a file, or take an array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.

    Args:
        item: path or array.
        factor: shrink by it first.
        scale_mm: millimetres a pixel of the photo as it is; a georeference in metres tells it where this is None.

    Raises:
        DataError: no picture, or smaller than :data:`SMALLEST`.
    """
    if isinstance(item, Photo):
        return item
    photo = _from_file(Path(item), scale_mm) if isinstance(item, (str, Path)) else _from_array(item, scale_mm)
    photo = photo if factor == 1.0 else shrunk(photo, factor)
    if min(photo.shape) < SMALLEST:
        raise DataError(
            f"{item if isinstance(item, (str, Path)) else 'The array'} has {photo.shape[1]} x {photo.shape[0]} pixels; "
            f"at least {SMALLEST} x {SMALLEST} are needed."
        )
    return photo


def _from_file(path: Path, scale_mm: float | None) -> Photo:
    raster = read_rows(path)
    where = raster.georeference
    placed = where if where.transform is not None else None
    return Photo(
        raster.shape, raster, path.stem, placed, scale_mm or where.pixel_size_mm, tuple(where.notes),
        lambda rows, columns: raster.read(rows, columns)[1],
    )  # fmt: skip


def _from_array(array: Any, scale_mm: float | None) -> Photo:
    picture = to_uint8(read_image(array, "rgb"))
    return Photo((picture.shape[0], picture.shape[1]), lambda rows, columns: picture[rows, columns], scale_mm=scale_mm)


def shrunk(photo: Photo, factor: float) -> Photo:
    """A photo with its sides multiplied by ``factor``; its place on the map and its scale follow."""
    small = photo.small(max(1, round(max(photo.shape) * factor)))
    shape = (small.shape[0], small.shape[1])
    down, across = photo.shape[0] / shape[0], photo.shape[1] / shape[1]
    placed = photo.georeference
    if placed is not None and placed.transform is not None:
        a, b, c, d, e, f = placed.transform
        # the tags of the file count its own pixels: only the transform is kept
        placed = Georeference((a * across, b * down, c, d * across, e * down, f), placed.epsg, placed.raster_type)
    return Photo(
        shape,
        lambda rows, columns: small[rows, columns],
        photo.id,
        placed,
        None if photo.scale_mm is None else photo.scale_mm * across,
        (*photo.notes, f"shrunk to {shape[1]} x {shape[0]} pixels"),
    )
