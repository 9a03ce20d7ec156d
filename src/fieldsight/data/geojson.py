"""GeoJSON of what was found in pictures, in pixels or in the coordinates of their map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError

#: Points ``(n, 2)`` as x, y.
Points = NDArray[np.float64]


def placing(transform: Sequence[float] | None) -> Callable[[Points], Points]:
    """A function that brings pixels ``(n, 2)`` to the map, rounded to about a thousandth of a pixel.

    Args:
        transform: (a, b, c, d, e, f) with X = a x + b y + c, Y = d x + e y + f from pixels to the map, (0, 0) the outer
            corner of the first pixel; None keeps pixels, y down.

    Raises:
        ConfigError: a transform that is not six finite numbers or flattens the plane.
    """
    matrix = np.array([1.0, 0, 0, 0, 1, 0] if transform is None else list(transform), dtype=np.float64)
    if matrix.shape != (6,) or not np.isfinite(matrix).all() or not np.linalg.det(matrix.reshape(2, 3)[:, :2]):
        raise ConfigError(f"transform is {transform}; wanted six finite numbers (a, b, c, d, e, f), a e - b d not 0.")
    side = float(np.hypot(matrix[0], matrix[3]))
    digits = max(2, int(np.ceil(-np.log10(side))) + 3)
    return lambda points: np.round(points @ matrix.reshape(2, 3)[:, :2].T + matrix[[2, 5]], digits)


def ring(points: Points, exterior: bool = True) -> list[list[float]]:
    """A closed ring of a polygon, from its corners ``(n, 2)`` in the numbers that are written.

    Exterior rings are counter-clockwise and holes clockwise (RFC 7946, 3.1.6).
    """
    if (ring_area(points) > 0) != exterior:
        points = np.concatenate([points[:1], points[:0:-1]])
    return [*points.tolist(), points[0].tolist()]


def ring_area(ring: Points) -> float:
    """Area of a ring ``(n, 2)`` in px² by the shoelace formula; positive where it goes clockwise on the screen."""
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def feature(kind: str, coordinates: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    """A feature: ``Polygon`` with its rings, or ``LineString`` with its points, and what is known of it."""
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def collection(features: Iterable[dict[str, Any]], transform: object, epsg: int | None) -> dict[str, Any]:
    """Features with the coordinate system that they are in.

    RFC 7946 knows only longitude and latitude on WGS 84. Other coordinates are common all the same: the member
    ``coordinate_system`` says what they are, and the legacy ``crs`` member (GeoJSON 2008, read by QGIS and GDAL) names
    the EPSG code where it is known.

    Args:
        features: in the coordinates of ``transform``.
        transform: None where they are in pixels.
        epsg: the map's EPSG code, or None.
    """
    found: dict[str, Any] = {"type": "FeatureCollection"}
    if transform is None:
        found["coordinate_system"] = "pixels: x right, y down, (0, 0) the outer corner of the first pixel"
    elif epsg is None:
        found["coordinate_system"] = "the map coordinates of the picture's georeference, system unknown"
    else:
        found["coordinate_system"] = f"EPSG:{epsg}, x (east) before y (north)"
        name = "urn:ogc:def:crs:OGC:1.3:CRS84" if epsg == 4326 else f"urn:ogc:def:crs:EPSG::{epsg}"
        found["crs"] = {"type": "name", "properties": {"name": name}}
    return {**found, "features": list(features)}
