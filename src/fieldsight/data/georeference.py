"""Where on the map a picture lies: GeoTIFF by its tags, and world files, without GDAL.

Tags follow OGC GeoTIFF 1.1 (OGC 19-008r4): ModelPixelScale 33550, ModelTiepoint 33922, ModelTransformation 34264,
GeoKeyDirectory 34735 with its doubles 34736 and texts 34737, and GDAL's nodata 42113. Codes are read, never looked up:
there is no projection library here.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError

#: Endings of TIFF files.
TIFFS = (".tif", ".tiff")

Transform = tuple[float, float, float, float, float, float]

PIXEL_SCALE, TIEPOINT, TRANSFORMATION = 33550, 33922, 34264
KEYS, DOUBLES, TEXTS, NODATA = 34735, 34736, 34737, 42113
#: The geo tags and their TIFF types: 12 double, 3 short, 2 text.
_TYPES = {PIXEL_SCALE: 12, TIEPOINT: 12, TRANSFORMATION: 12, KEYS: 3, DOUBLES: 12, TEXTS: 2, NODATA: 2}
_MODEL, _RASTER, _GEOGRAPHIC, _PROJECTED, _LINEAR = 1024, 1025, 2048, 3072, 3076
_USER_DEFINED, _METRE = 32767, 9001


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
    if path.suffix.lower() in TIFFS:
        with open_tiff(path) as tiff:
            found = _from_page(tiff.pages[0])
    return found if found.transform else _with_world_file(path, found)


def open_tiff(path: Path) -> Any:
    """A ``tifffile.TiffFile`` with at least one page; close it after use.

    Raises:
        DataError: it can't be opened.
    """
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
