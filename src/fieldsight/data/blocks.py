"""Pictures read block by block: orthomosaics larger than memory, from the strips and tiles of a TIFF."""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.georeference import TIFFS, open_tiff, read_georeference
from fieldsight.data.images import MAX_PIXELS, read_image, to_uint8
from fieldsight.errors import DataError

Array = NDArray[Any]
Picture = NDArray[np.uint8]

_LZW, _JPEG = 5, 7
#: Decoded strips and tiles kept for the next read, and the largest that is decoded at all, in bytes.
CACHE, LARGEST = 96 << 20, 2 << 30


class Blocks(Protocol):
    """A picture that is read in parts.

    Attributes:
        shape: height and width in pixels; more numbers may follow.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """See the class."""
        ...

    def __call__(self, rows: slice, columns: slice) -> Picture:
        """``(h, w, 3)`` uint8 RGB of these rows and columns."""
        ...


class BlockReader:
    """A picture read piece by piece: ``reader(rows, columns)`` gives uint8 ``(h, w, 3)`` RGB; close it after use.

    Args:
        path: the file.
        over_white: lay transparent pixels over white, as ``read_image`` does; else their hidden colours are given.

    Attributes:
        shape: (H, W).
        georeference: see :func:`~fieldsight.data.georeference.read_georeference`.
        lazy: False where the whole picture had to be read.
    """

    def __init__(self, path: Path, over_white: bool = False) -> None:
        self.path, self.over_white = path, over_white
        self.georeference = read_georeference(path)
        self.shape: tuple[int, int] = (0, 0)
        self._tiff: Any = None
        pieces, self._mask = None, None
        if path.suffix.lower() in TIFFS:
            self._tiff = open_tiff(path)
            try:
                pieces, self._mask = _pieces(self._tiff.pages, path)
            except DataError:
                self.close()
                raise
            except Exception as error:  # damaged tags
                self.close()
                raise DataError(f"'{path}' is damaged: {error}.") from None
        self._pieces, self.lazy = pieces, pieces is not None
        if pieces is not None:
            self.shape = pieces.shape
            return
        self.close()
        picture = read_image(path)
        self._alpha = picture[..., 3] > 0 if picture.ndim == 3 and picture.shape[2] == 4 else None
        self._picture = to_uint8(read_image(picture, "rgb"))
        self.shape = (int(picture.shape[0]), int(picture.shape[1]))

    def __call__(self, rows: slice, columns: slice = slice(None)) -> NDArray[np.uint8]:
        """Pixels of these rows and columns (steps of 1), uint8 ``(h, w, 3)`` RGB."""
        return self.read(rows, columns)[0]

    def read(self, rows: slice, columns: slice = slice(None)) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels ``(h, w, 3)`` and where they are valid ``(h, w)``: opaque, not nodata, and present in the file.

        Raises:
            DataError: a piece of the file is damaged, or packed in a way that can't be read here.
        """
        rows, columns = slice(*rows.indices(self.shape[0])[:2]), slice(*columns.indices(self.shape[1])[:2])
        if self._pieces is None:
            picture = self._picture[rows, columns]
            alpha = self._alpha
            return picture, np.ones(picture.shape[:2], np.bool_) if alpha is None else alpha[rows, columns]
        samples, valid = self._pieces.read(rows, columns)
        colours = self._pieces.colours
        alpha = samples[..., colours] if samples.shape[2] > colours and self._pieces.has_alpha else None
        if alpha is not None:
            valid &= alpha > 0
        samples = samples[..., :colours]
        nodata = self.georeference.nodata
        if samples.dtype.kind == "f":
            valid &= np.isfinite(samples).all(axis=2)
        if nodata is not None and math.isfinite(nodata):
            valid &= (samples != nodata).any(axis=2)
        if self._mask is not None:
            valid &= self._mask.read(rows, columns)[0][..., 0] > 0
        pixels = self._pieces.rgb(samples)
        if alpha is not None and self.over_white:
            pixels = read_image(np.dstack([pixels, to_uint8(alpha)]), "rgb") if pixels.size else pixels
        return pixels, valid

    def close(self) -> None:
        """Close the file."""
        if self._tiff is not None:
            self._tiff.close()

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_blocks(path: str | Path, over_white: bool = False) -> BlockReader:
    """Open a picture for reading piece by piece; TIFF without reading it whole, other files through ``read_image``.

    Args:
        path: the file.
        over_white: see :class:`BlockReader`.

    Raises:
        DataError: absent, no picture, or of a kind that can't be read.
    """
    return BlockReader(Path(path), over_white)


def open_large(path: Path, pixels: int) -> BlockReader | None:
    """A reader of a TIFF of more than so many pixels, transparency over white; None for what is better read whole.

    Raises:
        DataError: a TIFF that is too large to be read whole, and packed in a way that can't be read in pieces.
    """
    if path.suffix.lower() not in TIFFS:
        return None
    size = 0
    try:
        with open_tiff(path) as tiff:
            size = int(tiff.pages[0].imagelength) * int(tiff.pages[0].imagewidth)
        return open_blocks(path, over_white=True) if size > pixels else None
    except DataError:
        if size > MAX_PIXELS:
            raise
        return None  # read whole, or said what is wrong with it, by ``read_image``


def shrunk_by_bands(
    block: Callable[[slice, slice], Picture], shape: tuple[int, int], longest: int, rows: float = 512
) -> Picture:
    """A picture, or anything else of bytes that is read in parts, shrunk by area.

    Args:
        block: gives ``(h, w, 3)`` or ``(h, w)`` uint8 of rows and columns.
        shape: height and width of all of it.
        longest: pixels a side at the most.
        rows: that are read at a time, about.

    Returns:
        ``(h, w, 3)`` or ``(h, w)`` uint8.
    """
    import cv2

    height, width = shape
    factor = min(1.0, longest / max(height, width))
    if factor == 1.0:
        return block(slice(0, height), slice(0, width))
    columns, total = max(1, round(width * factor)), max(1, round(height * factor))
    step = max(1, round(rows * factor))
    edges = [round(k * height / total) for k in range(total + 1)]
    parts = []
    for start in range(0, total, step):  # whole rows of the small picture at a time
        stop = min(total, start + step)
        band = block(slice(edges[start], edges[stop]), slice(0, width))
        parts.append(cv2.resize(band, (columns, stop - start), interpolation=cv2.INTER_AREA))
    return np.concatenate(parts)


def _pieces(pages: Any, path: Path) -> tuple[_Pieces | None, _Pieces | None]:
    """The picture, and the transparency mask beside it (GDAL writes one with JPEG); None for a turned picture."""
    if pages[0].tags.valueof(274, 1) != 1:
        return None, None  # is read whole, and turned
    picture, mask = _Pieces(pages[0], path), None
    for other in pages[1:]:
        if (other.imagelength, other.imagewidth) == picture.shape and int(other.subfiletype) & 4:
            mask = _Pieces(other, path)
    return picture, mask


class _Pieces:
    """Strips or tiles of one TIFF page, decoded when needed and kept up to :data:`CACHE` bytes."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.shape = (int(page.imagelength), int(page.imagewidth))
        if page.dtype is None or page.dtype.kind not in "buf" or page.imagedepth != 1:
            raise DataError(f"'{path}' holds {page.dtype}; a picture holds uint8, uint16, bool or float.")
        if int(page.photometric) not in (0, 1, 2, 3, 4) and int(page.compression) != _JPEG:
            raise DataError(f"'{path}' has the colour space {page.photometric!s}; save it as RGB.")
        self.has_alpha = any(int(extra) in (1, 2) for extra in page.extrasamples)
        self.samples = int(page.samplesperpixel)
        self.colours = 3 if self.samples - len(page.extrasamples) >= 3 else 1
        self.tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, self.shape[1])
        self.tile = (min(int(self.tile[0]), self.shape[0] if not page.is_tiled else 1 << 31), int(self.tile[1]))
        if min(*self.shape, *self.tile, self.samples) < 1 or len(page.dataoffsets) != len(page.databytecounts):
            raise DataError(f"'{path}' is damaged: {self.shape} pixels in pieces of {self.tile}.")
        self.apart = int(page.planarconfig) == 2 and self.samples > 1
        self.size = self.tile[0] * self.tile[1] * (1 if self.apart else self.samples) * page.dtype.itemsize
        self.kept: OrderedDict[int, Array | None] = OrderedDict()
        self.mapped = self._map()
        if self.mapped is None and self.size > LARGEST:
            raise DataError(
                f"'{path}' is packed in pieces of {self.size / 1e9:.1f} GB; save it with tiles of 512 x 512."
            )

    def _map(self) -> Array | None:
        """The page memory-mapped as ``(H, W, samples)``, where it lies in the file unpacked and in one piece."""
        page = self.page
        if not page.is_memmappable or page.dtype.kind == "b" or page.fillorder == 2:
            return None
        plain = (self.samples, *self.shape) if self.apart else (*self.shape, self.samples)
        if page.dataoffsets[0] + math.prod(plain) * page.dtype.itemsize > self.path.stat().st_size:
            raise DataError(f"'{self.path}' is truncated.")
        kind = page.dtype.newbyteorder(page.parent.byteorder)
        mapped = np.memmap(self.path, kind, "r", page.dataoffsets[0], plain)
        return np.moveaxis(mapped, 0, -1) if self.apart else mapped

    def read(self, rows: slice, columns: slice) -> tuple[Array, NDArray[np.bool_]]:
        """Samples ``(h, w, samples)`` and where the file holds any ``(h, w)``."""
        shape = (max(0, rows.stop - rows.start), max(0, columns.stop - columns.start))
        valid = np.ones(shape, np.bool_)
        if self.mapped is not None:
            return np.ascontiguousarray(self.mapped[rows, columns], self.page.dtype), valid
        out = np.zeros((*shape, self.samples), self.page.dtype)
        down, across = self.tile
        wide = -(-self.shape[1] // across)
        high = -(-self.shape[0] // down)
        for sample in range(self.samples if self.apart else 1):
            for j in range(rows.start // down, -(-rows.stop // down) if shape[0] else 0):
                for i in range(columns.start // across, -(-columns.stop // across) if shape[1] else 0):
                    piece = self._piece((sample * high + j) * wide + i)
                    y0, x0 = max(rows.start, j * down), max(columns.start, i * across)
                    y1, x1 = min(rows.stop, (j + 1) * down), min(columns.stop, (i + 1) * across)
                    where = (slice(y0 - rows.start, y1 - rows.start), slice(x0 - columns.start, x1 - columns.start))
                    if piece is None:
                        valid[where] = False
                        continue
                    found = piece[y0 - j * down : y1 - j * down, x0 - i * across : x1 - i * across]
                    if self.apart:
                        out[where][..., sample] = found[..., 0]
                    else:
                        out[where] = found
        return out, valid

    def _piece(self, index: int) -> Array | None:
        if index in self.kept:
            self.kept.move_to_end(index)
            return self.kept[index]
        try:
            found = self._decode(index)
        except DataError:
            raise
        except Exception as error:  # the decoders raise many kinds on damaged data
            raise DataError(f"'{self.path}': strip or tile {index} is damaged or can't be decoded: {error}.") from None
        self.kept[index] = found
        while len(self.kept) > 1 and len(self.kept) * self.size > CACHE:
            self.kept.popitem(last=False)
        return found

    def _decode(self, index: int) -> Array | None:
        """One strip or tile ``(rows, columns, samples)``; None where the file leaves it out."""
        page = self.page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:
            return None
        handle = page.parent.filehandle
        handle.seek(offset)
        data = handle.read(count)
        if len(data) < count:
            raise DataError(f"'{self.path}' is truncated: strip or tile {index} is not all there.")
        compression = int(page.compression)
        if compression == _JPEG:
            return self._jpeg(data)
        if compression == _LZW:
            return self._lzw(data, index)
        found, _, shape = page.decode(data, index)
        return None if found is None else np.asarray(found).reshape(shape[1:])

    def _lzw(self, data: bytes, index: int) -> Array:
        from fieldsight.data.lzw import unlzw

        page, high = self.page, -(-self.shape[0] // self.tile[0])
        rows = self.tile[0]
        if not page.is_tiled and index % high == high - 1:
            rows = self.shape[0] - (high - 1) * self.tile[0]
        shape = (rows, self.tile[1], 1 if self.apart else self.samples)
        if page.bitspersample not in (8, 16, 32) or page.fillorder == 2 or page.predictor not in (1, 2):
            raise DataError(
                f"'{self.path}': LZW of {page.bitspersample} bit, predictor {page.predictor}, can't be read."
            )
        raw = np.zeros(math.prod(shape) * page.dtype.itemsize, np.uint8)
        if not unlzw(np.frombuffer(data, np.uint8).copy(), raw):
            raise DataError(f"'{self.path}': strip or tile {index} is damaged (LZW).")
        found = raw.view(page.dtype.newbyteorder(page.parent.byteorder)).reshape(shape).astype(page.dtype)
        return np.cumsum(found, axis=1, dtype=page.dtype) if page.predictor == 2 else found

    def _jpeg(self, data: bytes) -> Array:
        """JPEG in TIFF: the tables stand in a tag; RGB is marked as such, else a decoder would take it for YCbCr."""
        from PIL import Image

        tables = self.page.jpegtables
        if tables:
            data = tables[:-2] + data[2:]
        if int(self.page.photometric) == 2 and b"Adobe" not in data[:256]:
            data = data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + data[2:]
        with Image.open(io.BytesIO(data)) as image:
            found = np.asarray(image)
        found = found[..., None] if found.ndim == 2 else found
        if found.shape[2] != (1 if self.apart else self.samples):
            raise DataError(
                f"'{self.path}': JPEG of {found.shape[2]} samples can't be read here; save it with Deflate."
            )
        return found

    def rgb(self, samples: Array) -> NDArray[np.uint8]:
        """Colour samples ``(h, w, 1 or 3)`` as uint8 RGB; palettes looked up, white-is-zero turned round."""
        photometric = int(self.page.photometric)
        if photometric == 3:
            palette = (np.asarray(self.page.colormap) >> 8).astype(np.uint8)
            return np.moveaxis(palette[:, samples[..., 0]], 0, -1)
        if samples.dtype == np.bool_ or photometric == 4:
            samples = (samples > 0).astype(np.uint8) * np.uint8(255)
        elif samples.dtype.kind == "u" and samples.dtype.itemsize > 2:
            raise DataError(f"'{self.path}' holds {samples.dtype}; a picture holds uint8, uint16, bool or float.")
        found = to_uint8(samples)
        found = np.uint8(255) - found if photometric == 0 else found
        return np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found
