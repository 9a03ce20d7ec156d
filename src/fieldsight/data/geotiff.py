"""Masks, maps and pictures as tiled GeoTIFF that lies where its source does, written tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic
from fieldsight.data.georeference import KEYS, NODATA, PIXEL_SCALE, TIFFS, TRANSFORMATION, Georeference
from fieldsight.errors import ConfigError, DataError

Array = NDArray[Any]

_RASTER_TYPE = 1025


def write_geotiff(
    path: str | Path,
    array: Array,
    georeference: Georeference | None = None,
    tile: int = 512,
    nodata: float | None = None,
) -> Path:
    """Write a mask, probability map or picture as a tiled Deflate TIFF with the very geo tags that were read.

    Tiles are read from ``array`` and written one after the other: it may be memory-mapped and larger than memory. A
    place that came from a world file is written as ModelTransformation. The nodata value of the source is *not*
    carried over, since 0 or 255 mean something else in a mask; give ``nodata`` to write one.

    Args:
        path: ends in ``.tif`` or ``.tiff``.
        array: ``(H, W)`` bool (written as 0 and 255), uint8, uint16 or float32; or ``(H, W, 3)`` uint8.
        georeference: of the source; None writes a plain TIFF.
        tile: side of a tile in pixels, a multiple of 16.
        nodata: value that marks pixels without data, or None.

    Raises:
        DataError: an array of another kind, or the file can't be written.
        ConfigError: a wrong tile size or file ending.
    """
    import tifffile

    target = Path(path)
    if target.suffix.lower() not in TIFFS or tile < 16 or tile % 16:
        raise ConfigError(f"Got '{target.name}' and tile {tile}; wanted a name in .tif or .tiff and a multiple of 16.")
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not colour and (array.ndim != 2 or array.dtype not in (np.bool_, np.uint8, np.uint16, np.float32)):
        raise DataError(f"Can't write {array.shape} of {array.dtype}; wanted (H, W) of bool, uint8, uint16 or float32.")
    if 0 in array.shape:
        raise DataError(f"Can't write a picture without pixels: {array.shape}.")
    kind = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype
    with atomic(target) as temporary, tifffile.TiffWriter(temporary, bigtiff=array.nbytes > 3_900_000_000) as writer:
        writer.write(
            _tiles(array, kind, tile),
            shape=array.shape, dtype=kind, photometric="rgb" if colour else "minisblack", tile=(tile, tile),
            compression="zlib", metadata=None, software="fieldsight", maxworkers=1,
            extratags=_tags(georeference, nodata),
        )  # fmt: skip
    return target


def _tiles(array: Array, kind: np.dtype[Any], tile: int) -> Iterator[Array]:
    for top in range(0, array.shape[0], tile):
        for left in range(0, array.shape[1], tile):
            piece = np.asarray(array[top : top + tile, left : left + tile])
            piece = piece.astype(np.uint8) * np.uint8(255) if piece.dtype == np.bool_ else piece
            out = np.zeros((tile, tile, *array.shape[2:]), kind)
            out[: piece.shape[0], : piece.shape[1]] = piece
            yield out


def _tags(georeference: Georeference | None, nodata: float | None) -> list[tuple[int, int, int, Any, bool]]:
    rows = [(code, kind, count, value, True) for code, kind, count, value in georeference.tags] if georeference else []
    placed = {row[0] for row in rows} & {TRANSFORMATION, PIXEL_SCALE}
    if georeference and georeference.transform and not placed:
        a, b, c, d, e, f = georeference.transform
        if georeference.raster_type == "point":
            c, f = c + 0.5 * (a + b), f + 0.5 * (d + e)
        rows.append((TRANSFORMATION, 12, 16, (a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1), True))
        if KEYS not in {row[0] for row in rows}:
            keys = [(_RASTER_TYPE, 0, 1, 2 if georeference.raster_type == "point" else 1)]
            rows.append((KEYS, 3, 4 + 4 * len(keys), (1, 1, 0, len(keys), *keys[0]), True))
    if nodata is not None:
        rows.append((NODATA, 2, 0, f"{nodata:g}", True))
    return rows
