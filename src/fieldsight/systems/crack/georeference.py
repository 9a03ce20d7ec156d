"""Where on the map a picture lies, and orthomosaics larger than memory: GeoTIFF by its tags, without GDAL.

Tags follow OGC GeoTIFF 1.1 (OGC 19-008r4): ModelPixelScale 33550, ModelTiepoint 33922, ModelTransformation 34264,
GeoKeyDirectory 34735 with its doubles 34736 and texts 34737, and GDAL's nodata 42113. Codes are read, never looked up:
there is no projection library here.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled
from fieldsight.data.files import atomic
from fieldsight.data.images import read_image, to_uint8
from fieldsight.errors import ConfigError, DataError

Array = NDArray[Any]
Transform = tuple[float, float, float, float, float, float]

PIXEL_SCALE, TIEPOINT, TRANSFORMATION = 33550, 33922, 34264
KEYS, DOUBLES, TEXTS, NODATA = 34735, 34736, 34737, 42113
#: The geo tags and their TIFF types: 12 double, 3 short, 2 text.
_TYPES = {PIXEL_SCALE: 12, TIEPOINT: 12, TRANSFORMATION: 12, KEYS: 3, DOUBLES: 12, TEXTS: 2, NODATA: 2}
_MODEL, _RASTER, _GEOGRAPHIC, _PROJECTED, _LINEAR = 1024, 1025, 2048, 3072, 3076
_USER_DEFINED, _METRE, _LZW, _JPEG = 32767, 9001, 5, 7
#: Decoded strips and tiles kept for the next read, and the largest that is decoded at all, in bytes.
CACHE, LARGEST = 96 << 20, 2 << 30


@dataclass(frozen=True)
class Georeference:
    """A picture's place on the map.

    Attributes:
        transform: (a, b, c, d, e, f), X = a x + b y + c, Y = d x + e y + f, from pixels to the map; (0, 0) is the outer
            corner of the first pixel, whether the file counts from corners or from centres. None where unknown.
        epsg: code of the coordinate system, or None.
        raster_type: ``area`` or ``point``, as the file says; None where it does not.
        pixel_size_mm: side of a pixel where the map's unit is known to be the metre and pixels are square within 1 %,
            else None. Known: ProjLinearUnits 9001, or an EPSG code of UTM on WGS 84, ETRS89 or NAD83. Never for Web
            Mercator (3857), whose metres stretch with the latitude.
        tags: (code, TIFF type, count, value) of the geo tags as read; texts are bytes.
        nodata: GDAL's nodata value, or None; no part of the comparison.
        notes: what is odd or missing; no part of the comparison.
    """

    transform: Transform | None = None
    epsg: int | None = None
    raster_type: str | None = None
    pixel_size_mm: float | None = None
    tags: tuple[tuple[int, int, int, Any], ...] = ()
    nodata: float | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


def read_georeference(path: str | Path) -> Georeference:
    """Georeference of a file: by its TIFF tags, else by a world file beside it (.tfw, .jgw, .pgw, .wld).

    Broken or partial tags are a note, not an error; a picture without any gives an empty georeference.

    Raises:
        DataError: the file is absent, or claims to be a TIFF and can't be opened.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    found = Georeference()
    if path.suffix.lower() in (".tif", ".tiff"):
        with _opened(path) as tiff:
            found = _from_page(tiff.pages[0])
    return found if found.transform else _with_world_file(path, found)


def _opened(path: Path) -> Any:
    import tifffile

    try:
        tiff = tifffile.TiffFile(path)
        if not len(tiff.pages):
            raise ValueError("it holds no picture")
        return tiff
    except Exception as error:  # tifffile raises many kinds on damaged files
        raise DataError(f"'{path}' is no TIFF that can be read: {error}.") from None


def _from_page(page: Any) -> Georeference:
    tags: list[tuple[int, int, int, Any]] = []
    values: dict[int, Any] = {}
    notes: list[str] = []
    for code, kind in _TYPES.items():
        if code in page.tags:
            try:
                values[code] = value = _value(page.tags[code], kind)
                if code != NODATA:
                    tags.append((code, kind, len(value) + (kind == 2), value))
            except Exception as error:  # a damaged tag is a note
                notes.append(f"Tag {code} can't be read and was left out: {error}.")
    keys = _geo_keys(values.get(KEYS), notes)
    raster = {1: "area", 2: "point"}.get(keys.get(_RASTER, 0))
    transform = _transform(values, raster == "point", notes)
    epsg = keys.get(_PROJECTED) if keys.get(_MODEL) != 2 and keys.get(_PROJECTED) else keys.get(_GEOGRAPHIC)
    if epsg is not None and not 1024 <= epsg < _USER_DEFINED:
        notes.append("The coordinate system is defined by the user, no EPSG code." if epsg else "No EPSG code.")
        epsg = None
    size = _pixel_size(transform, epsg, keys, notes)
    nodata: float | None = None
    with contextlib.suppress(ValueError):
        nodata = float(values[NODATA].decode("ascii")) if NODATA in values else None
    return Georeference(transform, epsg, raster, size, tuple(tags), nodata, tuple(notes))


def _value(tag: Any, kind: int) -> Any:
    """A tag's value as tuple of numbers, or of type 2 as bytes (texts may be in any encoding)."""
    if int(tag.dtype) != kind:
        raise ValueError(f"type {int(tag.dtype)} where {kind} belongs")
    if kind == 2:
        handle = tag.parent.filehandle
        handle.seek(tag.valueoffset)
        return handle.read(min(int(tag.count), 1 << 20)).rstrip(b"\0")
    value = tag.value if isinstance(tag.value, tuple) else (tag.value,)
    if len(value) != tag.count or not all(isinstance(v, (int, float)) for v in value):
        raise ValueError(f"{len(value)} numbers where {tag.count} belong")
    return value


def _geo_keys(directory: Any, notes: list[str]) -> dict[int, int]:
    """Keys whose value stands in the directory itself; the others hold doubles and texts, kept but not needed here."""
    if directory is None:
        return {}
    try:
        numbers = [int(n) for n in directory]
        if len(numbers) < 4 or numbers[0] != 1:
            raise ValueError
        count = numbers[3]
        rows = [numbers[i : i + 4] for i in range(4, min(4 + 4 * count, len(numbers) - 3), 4)]
    except (TypeError, ValueError):
        notes.append("The GeoKeyDirectory is damaged and was left out.")
        return {}
    if len(rows) < count:
        notes.append(f"The GeoKeyDirectory names {count} keys and holds {len(rows)}.")
    return {key: value for key, place, _, value in rows if place == 0}


def _transform(values: dict[int, Any], point: bool, notes: list[str]) -> Transform | None:
    found: list[float] | None = None
    try:
        if TRANSFORMATION in values:
            m = [float(v) for v in values[TRANSFORMATION]]
            found = [m[0], m[1], m[3], m[4], m[5], m[7]]
        elif PIXEL_SCALE in values and TIEPOINT in values:
            sx, sy = (float(v) for v in values[PIXEL_SCALE][:2])
            i, j, _, x, y, _ = (float(v) for v in values[TIEPOINT][:6])
            found = [sx, 0.0, x - i * sx, 0.0, -sy, y + j * sy]
        elif PIXEL_SCALE in values or TIEPOINT in values:
            notes.append("Of pixel scale and tie point one is missing: the place on the map is not known.")
    except (IndexError, TypeError, ValueError):
        notes.append("The tags of the place on the map are damaged and were left out.")
    if found is None:
        return None
    if not all(map(math.isfinite, found)) or found[0] * found[4] == found[1] * found[3]:
        notes.append("The tags of the place on the map give no usable transform and were left out.")
        return None
    return _from_centres(found) if point else _six(found)


def _six(values: list[float]) -> Transform:
    a, b, c, d, e, f = values
    return (a, b, c, d, e, f)


def _from_centres(values: list[float]) -> Transform:
    """From a transform that counts from the centre of the first pixel to one that counts from its corner."""
    a, b, c, d, e, f = values
    return (a, b, c - 0.5 * (a + b), d, e, f - 0.5 * (d + e))


def _pixel_size(transform: Transform | None, epsg: int | None, keys: dict[int, int], notes: list[str]) -> float | None:
    if transform is None:
        return None
    utm = epsg is not None and (32601 <= epsg <= 32660 or 32701 <= epsg <= 32760 or 25828 <= epsg <= 25838)
    utm = utm or (epsg is not None and 26901 <= epsg <= 26923)
    unit = keys.get(_LINEAR, _METRE if utm else 0)
    if unit != _METRE or epsg == 3857 or keys.get(_MODEL, 1) != 1:
        notes.append("The map's unit is not known to be the metre: no pixel size in mm.")
        return None
    a, b, _, d, e, _ = transform
    across, down = math.hypot(a, d), math.hypot(b, e)
    if abs(across - down) > 0.01 * max(across, down):
        notes.append(f"Pixels are not square ({across:g} x {down:g}): no pixel size in mm.")
        return None
    return 1000.0 * math.sqrt(abs(a * e - b * d))


def _with_world_file(path: Path, found: Georeference) -> Georeference:
    suffix = path.suffix
    short = f".{suffix[1:2]}{suffix[-1:]}w" if len(suffix) > 2 else ".wld"
    for ending in (short, f"{suffix}w", ".wld"):
        for name in (path.with_suffix(ending), path.with_suffix(ending.upper())):
            if name.is_file():
                return _world_file(name, found)
    return found


def _world_file(name: Path, found: Georeference) -> Georeference:
    """Six lines a, d, b, e, c, f; c and f are the centre of the first pixel."""
    try:
        a, d, b, e, c, f = (float(line.replace(",", ".")) for line in name.read_text(encoding="ascii").split())
        if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e == b * d:
            raise ValueError
    except (OSError, ValueError, UnicodeDecodeError):
        note = f"The world file '{name.name}' does not hold six usable numbers and was left out."
        return Georeference(
            found.transform, found.epsg, found.raster_type, None, found.tags, found.nodata, (*found.notes, note)
        )
    transform = _from_centres([a, b, c, d, e, f])
    notes = [*found.notes, f"The place on the map is from the world file '{name.name}'."]
    size = _pixel_size(transform, found.epsg, {}, notes)
    return Georeference(transform, found.epsg, found.raster_type, size, found.tags, found.nodata, tuple(notes))


# ------------------------------------------------------------------------------------------------------ writing


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
    if target.suffix.lower() not in (".tif", ".tiff") or tile < 16 or tile % 16:
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
            keys = [(_RASTER, 0, 1, 2 if georeference.raster_type == "point" else 1)]
            rows.append((KEYS, 3, 4 + 4 * len(keys), (1, 1, 0, len(keys), *keys[0]), True))
    if nodata is not None:
        rows.append((NODATA, 2, 0, f"{nodata:g}", True))
    return rows


# ------------------------------------------------------------------------------------------------------ reading


class Raster:
    """A picture read piece by piece: ``raster(rows, columns)`` gives uint8 ``(h, w, 3)`` RGB; close it after use.

    Attributes:
        shape: (H, W).
        georeference: see :func:`read_georeference`.
        lazy: False where the whole picture had to be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.georeference = read_georeference(path)
        self.shape = (0, 0)
        self._tiff: Any = None
        pieces, self._mask = None, None
        if path.suffix.lower() in (".tif", ".tiff"):
            self._tiff = _opened(path)
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
        if samples.shape[2] > colours and self._pieces.has_alpha:
            valid &= samples[..., colours] > 0
        samples = samples[..., :colours]
        nodata = self.georeference.nodata
        if samples.dtype.kind == "f":
            valid &= np.isfinite(samples).all(axis=2)
        if nodata is not None and math.isfinite(nodata):
            valid &= (samples != nodata).any(axis=2)
        if self._mask is not None:
            valid &= self._mask.read(rows, columns)[0][..., 0] > 0
        return self._pieces.rgb(samples), valid

    def close(self) -> None:
        """Close the file."""
        if self._tiff is not None:
            self._tiff.close()

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_rows(path: str | Path) -> Raster:
    """Open a picture for reading piece by piece; TIFF without reading it whole, other files through ``read_image``.

    Raises:
        DataError: absent, no picture, or of a kind that can't be read.
    """
    return Raster(Path(path))


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
        if not _unlzw(np.frombuffer(data, np.uint8).copy(), raw):
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


@compiled
def _unlzw(data: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    """LZW as in TIFF 6.0, section 13 (codes of 9 to 12 bits, high bit first); False if the data is damaged."""
    start, length = np.zeros(4097, np.int64), np.zeros(4097, np.int64)  # of each code's string in the output
    at, bits, used, size, following = 0, 0, 0, 9, 258
    held, last = 0, -1
    while used < len(out):
        while bits < size:
            if at == len(data):
                return False
            held = ((held << 8) | data[at]) & 0xFFFFFF
            at += 1
            bits += 8
        code = (held >> (bits - size)) & ((1 << size) - 1)
        bits -= size
        if code == 257:
            return False  # the end, too early
        if code == 256:
            size, following, last = 9, 258, -1
            continue
        begin = used
        if code < 256:
            out[used] = code
            used += 1
        elif last < 0 or code > following:
            return False
        else:
            first, count = (start[code], length[code]) if code < following else (last, begin - last + 1)
            for k in range(min(count, len(out) - used)):
                out[used] = out[first + k]
                used += 1
        if last >= 0 and following < 4096:
            start[following], length[following] = last, begin - last + 1
            following += 1
        if following >= (1 << size) - 1 and size < 12:
            size += 1
        last = begin
    return True
