"""A photo of any size: read block by block where it is a large TIFF, with its place on the map where it has one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fieldsight.data.blocks import BlockReader, Blocks, open_large
from fieldsight.data.detection.sample import Picture
from fieldsight.data.georeference import Georeference, read_georeference
from fieldsight.data.images import read_image, to_uint8
from fieldsight.errors import DataError
from fieldsight.systems.edge.tiled import shrunk

#: Pixels from which a photo is large: a TIFF is read block by block, and small objects want tiles.
LARGE = 30_000_000

#: Longest side of the picture that is kept of a photo that is read block by block.
PREVIEW = 2048


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that is more than its pixels.

    Attributes:
        source: its pixels ``(H, W, 3)`` uint8 RGB, or a reader of their blocks.
        georeference: where it lies on a map, or None.
    """

    source: Picture | Blocks
    georeference: Georeference | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.source.shape[0], self.source.shape[1]

    def picture(self) -> Picture:
        """The photo to show: as it is, or shrunk to :data:`PREVIEW` pixels where it is read block by block."""
        return self.source if isinstance(self.source, np.ndarray) else shrunk(self.source, PREVIEW)

    def close(self) -> None:
        """Close the file, where it is open."""
        if isinstance(self.source, BlockReader):
            self.source.close()


def open_photo(path: Path) -> Picture | Photo:
    """The pixels of a photo, or a :class:`Photo` where it is a large TIFF or has a place on the map.

    Raises:
        DataError: absent, or no picture that can be read.
    """
    reader = open_large(path, LARGE)
    source = reader if reader is not None else np.ascontiguousarray(to_uint8(read_image(path, "rgb")))
    where = Georeference() if reader is None else reader.georeference
    if reader is None:
        with contextlib.suppress(DataError):  # a picture whose ending lies
            where = read_georeference(path)
    placed = None if where.transform is None else where
    return source if isinstance(source, np.ndarray) and placed is None else Photo(source, placed)
