"""Connected pieces of a mask and their outlines; COCO and GeoJSON.

Coordinates, here and in :mod:`~fieldsight.systems.crack.measure`: x to the right, y down, in pixels, with (0, 0) the
outer corner of the first pixel. A pixel in column i and row j covers [i, i+1] x [j, j+1]; its centre is
(i + 0.5, j + 0.5). That is COCO's convention and GeoTIFF's ``PixelIsArea``.

An outline joins the midpoints of the pixel edges between crack and ground (the 0.5 contour of marching squares, crack
joined over corners). It never touches itself, and passes half a pixel from every pixel centre: any rasteriser that asks
whether a pixel's centre lies inside gives the very mask back. Its area is smaller than the pixel count by 1/8 a corner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled
from fieldsight.data import geojson
from fieldsight.data.geojson import ring_area
from fieldsight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fieldsight.systems.crack.measure import Crack

Points = NDArray[np.float64]
#: Exterior ring first, then the holes; each ``(n, 2)`` x, y, not closed (the first vertex is not repeated).
Outline = tuple[Points, ...]

#: Rows of a mask that are read at a time.
BAND = 256


# --------------------------------------------------------------------------------------------- pieces of a mask


@dataclass(frozen=True, eq=False)
class Region:
    """One 8-connected piece of a mask.

    Attributes:
        bbox: x, y, width, height in pixels.
        area: pixels.
        runs: ``(n, 3)`` int32: row, first column, column after the last; by rows.
        probability: mean of the probability map over the piece, NaN left out; None without a map or where all is NaN.
    """

    bbox: tuple[int, int, int, int]
    area: int
    runs: NDArray[np.int32]
    probability: float | None = None

    def crop(self) -> NDArray[np.uint8]:
        """This piece alone, 1 on 0, ``(height + 2, width + 2)``: with one pixel of ground around."""
        x, y, width, height = self.bbox
        found = np.zeros((height + 2, width + 2), np.uint8)
        _paint(found, self.runs, y - 1, x - 1)
        return found


def regions(mask: NDArray[Any], probability: NDArray[Any] | None = None, min_area: int = 1) -> Iterator[Region]:
    """The 8-connected pieces of a mask, by their first pixel in reading order.

    The mask is read in bands of :data:`BAND` rows (it may be memory-mapped); what is held is the list of runs.

    Args:
        mask: ``(H, W)`` bool or integers, not 0 = crack.
        probability: ``(H, W)`` float, same shape, or None.
        min_area: smaller pieces are left out.

    Raises:
        DataError: the mask is not two-dimensional or holds floats; the map has another shape.
    """
    check_mask(mask, probability)
    runs, sums = _all_runs(mask, probability)
    if not len(runs):
        return
    labels = _join(runs)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(int(labels.max()) + 2))
    for start, stop in pairwise(bounds.tolist()):
        own = order[start:stop]
        piece = runs[own]
        area = int((piece[:, 2] - piece[:, 1]).sum())
        if area < min_area:
            continue
        x, y = int(piece[:, 1].min()), int(piece[0, 0])
        bbox = (x, y, int(piece[:, 2].max()) - x, int(piece[-1, 0]) - y + 1)
        total, count = sums[own].sum(axis=0)
        yield Region(bbox, area, piece, float(total / count) if count else None)


def check_mask(mask: NDArray[Any], probability: NDArray[Any] | None = None) -> None:
    """Refuse what is no mask.

    Raises:
        DataError: the mask is not ``(H, W)`` of bool or integers, or the probability map does not fit it.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise DataError(
            f"A mask is (H, W) of bool or integers, not 0 = crack; got {mask.shape} of {mask.dtype}. "
            "Compare a probability map with a threshold first, e.g. p >= 0.5."
        )
    if probability is not None and (probability.shape != mask.shape or probability.dtype.kind != "f"):
        raise DataError(
            f"The probability map is {probability.shape} of {probability.dtype}; wanted floats of the mask's shape "
            f"{mask.shape}. Resize it to the mask first."
        )


def _all_runs(mask: NDArray[Any], probability: NDArray[Any] | None) -> tuple[NDArray[np.int32], Points]:
    """Runs of the whole mask ``(n, 3)``; sum and number of finite probabilities of each ``(n, 2)``."""
    found: list[NDArray[np.int32]] = []
    sums: list[Points] = []
    for top in range(0, mask.shape[0], BAND):
        band = np.array(mask[top : top + BAND] != 0, dtype=np.uint8)
        runs = np.empty((_count_runs(band), 3), np.int32)
        if len(runs):
            _fill_runs(band, top, runs)
            chances = np.empty((0, 0), np.float32)
            if probability is not None:
                chances = np.array(probability[top : top + BAND], dtype=np.float32)
            found.append(runs)
            sums.append(_run_sums(chances, runs, top))
    if not found:
        return np.empty((0, 3), np.int32), np.empty((0, 2))
    return np.concatenate(found), np.concatenate(sums)


@compiled
def _count_runs(band: NDArray[np.uint8]) -> int:
    count = 0
    for y in range(band.shape[0]):
        last = 0
        for x in range(band.shape[1]):
            count += band[y, x] > last
            last = band[y, x]
    return count


@compiled
def _fill_runs(band: NDArray[np.uint8], top: int, runs: NDArray[np.int32]) -> None:
    n = 0
    for y in range(band.shape[0]):
        last = 0
        for x in range(band.shape[1]):
            here = band[y, x]
            if here and not last:
                runs[n, 0], runs[n, 1] = top + y, x
            elif last and not here:
                runs[n, 2] = x
                n += 1
            last = here
        if last:
            runs[n, 2] = band.shape[1]
            n += 1


@compiled
def _run_sums(chances: NDArray[np.float32], runs: NDArray[np.int32], top: int) -> Points:
    sums = np.zeros((len(runs), 2))
    if chances.size:
        for n in range(len(runs)):
            for x in range(runs[n, 1], runs[n, 2]):
                value = chances[runs[n, 0] - top, x]
                if np.isfinite(value):
                    sums[n, 0] += value
                    sums[n, 1] += 1
    return sums


@compiled
def _join(runs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Labels 0, 1, ... of 8-connected runs, by first appearance (union-find; the smaller index is the root)."""
    n = len(runs)
    parent = np.arange(n).astype(np.int32)
    above = 0
    for i in range(n):
        y, start, stop = runs[i]
        while above < i and (runs[above, 0] < y - 1 or (runs[above, 0] == y - 1 and runs[above, 2] < start)):
            above += 1
        j = above
        while j < i and runs[j, 0] == y - 1 and runs[j, 1] <= stop:
            a, b = i, j
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            parent[max(a, b)] = min(a, b)
            j += 1
    labels = np.empty(n, np.int32)
    count = 0
    for i in range(n):
        if parent[i] == i:
            labels[i] = count
            count += 1
        else:
            labels[i] = labels[parent[i]]  # the parent is smaller, hence done
    return labels


@compiled
def _paint(out: NDArray[np.uint8], runs: NDArray[np.int32], top: int, left: int) -> None:
    for n in range(len(runs)):
        out[runs[n, 0] - top, runs[n, 1] - left : runs[n, 2] - left] = 1


# ----------------------------------------------------------------------------------------------------- outlines


def outlines(mask: NDArray[Any], tolerance: float = 0.0, min_area: int = 1) -> list[Outline]:
    """Outlines with holes of all pieces of a mask ``(H, W)``, by reading order; see the module for coordinates.

    Args:
        mask: bool or integers, not 0 = crack.
        tolerance: pixels that a simplified outline may leave the true one by (Douglas and Peucker 1973); 0 keeps it.
        min_area: smaller pieces are left out.

    Raises:
        DataError: no mask.
        ConfigError: a negative tolerance.
    """
    found = [
        outline_of(region.crop(), region.bbox[0] - 1, region.bbox[1] - 1) for region in regions(mask, None, min_area)
    ]
    return [simplify_outline(outline, tolerance) for outline in found]


def outline_of(crop: NDArray[np.uint8], left: int = 0, top: int = 0) -> Outline:
    """Outline of one 8-connected piece, with ground all around, in the crop's coordinates plus (left, top)."""
    vertices, begins = _borders(crop)
    corner = np.array([left, top])
    return tuple(_without_collinear(vertices[a:b]) + corner for a, b in pairwise(begins.tolist()))


def fill_specks(crop: NDArray[np.uint8], outline: Outline, largest: float = 4.0) -> None:
    """Fill the holes of a crop, in place, whose ring has at most this area (px²): noise, not meshes of a network."""
    for ring in outline[1:]:
        low, high = np.floor(ring.min(axis=0)).astype(int), np.ceil(ring.max(axis=0)).astype(int)
        if (high - low).max() <= 2 * largest and abs(ring_area(ring)) <= largest:
            window = crop[low[1] : high[1], low[0] : high[0]]
            window |= rasterize([ring], window.shape, low[0], low[1]).astype(np.uint8)


@compiled
def _borders(crop: NDArray[np.uint8]) -> tuple[Points, NDArray[np.int64]]:
    """Vertices of all borders of a crop, one after the other, and where each begins (and the last ends)."""
    seen = np.zeros(crop.shape, np.uint8)
    vertices = np.empty((64, 2))
    begins, used = [0], 0
    for y in range(1, crop.shape[0]):
        for x in range(crop.shape[1]):
            if crop[y, x] and not crop[y - 1, x] and not seen[y, x] & 1:
                vertices, used = _follow(crop, seen, y, x, vertices, used)
                begins.append(used)
    return vertices[:used], np.array(begins)


@compiled
def _follow(
    crop: NDArray[np.uint8], seen: NDArray[np.uint8], y: int, x: int, vertices: Points, used: int
) -> tuple[Points, int]:
    """Add the midpoints of the pixel edges of one border; exteriors go clockwise on the screen, holes the other way.

    The border is a chain of (pixel, side): sides are north, east, south, west, and across the side lies ground. The
    next side is that of the pixel over the corner, of the one beside, or the same pixel's next, as they are crack.
    """
    dy, dx = np.array([-1, 0, 1, 0]), np.array([0, 1, 0, -1])
    side = 0
    while not seen[y, x] & (1 << side):
        seen[y, x] |= 1 << side
        if used == len(vertices):
            larger = np.empty((2 * used, 2))
            larger[:used] = vertices
            vertices = larger
        vertices[used, 0], vertices[used, 1] = x + 0.5 + 0.5 * dx[side], y + 0.5 + 0.5 * dy[side]
        used += 1
        turn = (side + 1) % 4
        if crop[y + dy[side] + dy[turn], x + dx[side] + dx[turn]]:
            y, x = y + dy[side] + dy[turn], x + dx[side] + dx[turn]
            side = (side + 3) % 4
        elif crop[y + dy[turn], x + dx[turn]]:
            y, x = y + dy[turn], x + dx[turn]
        else:
            side = turn
    return vertices, used


def _without_collinear(ring: Points) -> Points:
    """Drop vertices where the ring goes straight on; coordinates are multiples of one half, so this is exact."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return ring[turns]


def simplify(points: Points, tolerance: float) -> NDArray[np.intp]:
    """Indices of the vertices that Douglas and Peucker (1973) keep of a line ``(n, d)``; first and last always.

    Two columns are x and y; further ones (a width, say) are kept to the same tolerance.
    """
    if len(points) <= 2 or tolerance <= 0:
        return np.arange(len(points))
    return np.flatnonzero(_kept(np.ascontiguousarray(points, dtype=np.float64), float(tolerance)))


@compiled
def _kept(points: Points, tolerance: float) -> NDArray[np.bool_]:
    n, dimensions = points.shape
    keep = np.zeros(n, np.bool_)
    keep[0] = keep[n - 1] = True
    stack = [(0, n - 1)]
    while stack:
        first, last = stack.pop()
        square = 0.0
        for d in range(dimensions):
            square += (points[last, d] - points[first, d]) ** 2
        worst, at = tolerance * tolerance, -1
        for i in range(first + 1, last):
            along, away = 0.0, 0.0
            for d in range(dimensions):
                along += (points[i, d] - points[first, d]) * (points[last, d] - points[first, d])
            t = min(1.0, max(0.0, along / square)) if square > 0 else 0.0
            for d in range(dimensions):
                away += (points[i, d] - points[first, d] - t * (points[last, d] - points[first, d])) ** 2
            if away > worst:
                worst, at = away, i
        if at >= 0:
            keep[at] = True
            stack.append((first, at))
            stack.append((at, last))
    return keep


def simplify_outline(outline: Outline, tolerance: float) -> Outline:
    """Simplify every ring; a hole that falls under three vertices is dropped, the exterior never.

    Raises:
        ConfigError: a tolerance that is negative or not finite.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"tolerance is {tolerance}; it is a distance in pixels, 0 or more.")
    if tolerance == 0:
        return outline
    found = []
    for ring in outline:
        far = int(np.argmax(((ring - ring[0]) ** 2).sum(axis=1)))
        closed = np.concatenate([ring, ring[:1]])
        kept = np.concatenate([simplify(closed[: far + 1], tolerance), far + simplify(closed[far:], tolerance)[1:-1]])
        if len(kept) >= 3:
            found.append(ring[kept])
        elif not found:
            found.append(ring)
    return tuple(found)


def rasterize(outline: Sequence[Points], shape: tuple[int, int], left: int = 0, top: int = 0) -> NDArray[np.bool_]:
    """Fill rings by the even-odd rule: ``(H, W)``, True where a pixel's centre is inside; (left, top) is its corner."""
    out = np.zeros(shape, np.int8)
    for ring in outline:
        start = np.asarray(ring, np.float64) - (left, top)
        _toggle(out, np.ascontiguousarray(start))
    return np.asarray(np.bitwise_xor.accumulate(out, axis=1), dtype=np.bool_)


@compiled
def _toggle(out: NDArray[np.int8], ring: Points) -> None:
    """Mark where each row of pixel centres crosses the ring; pixels right of an odd number of marks are inside."""
    height, width = out.shape
    for i in range(len(ring)):
        ax, ay = ring[i]
        bx, by = ring[(i + 1) % len(ring)]
        if ay > by:
            ax, ay, bx, by = bx, by, ax, ay
        for y in range(max(0, int(np.ceil(ay - 0.5))), min(height, int(np.ceil(by - 0.5)))):
            x = int(np.ceil(ax + (y + 0.5 - ay) / (by - ay) * (bx - ax) - 0.5))
            if x < width:
                out[y, max(x, 0)] ^= 1


# ------------------------------------------------------------------------------------------------------- formats


def to_coco(
    images: Iterable[tuple[str, tuple[int, int], Sequence[Crack]]], tolerance: float = 0.0
) -> dict[str, list[dict[str, Any]]]:
    """COCO instance format of ``(file name, (H, W), cracks)`` a picture; ids count from 1 in the order given.

    A crack without holes is a polygon ``[x1, y1, x2, y2, ...]`` (the picture's corner is (0, 0), as in pycocotools),
    one with holes an uncompressed run-length code ``{"counts", "size"}``: column by column, ground first. ``area`` is
    in pixels of the mask. Measurements stand in ``attributes``, the mean probability in ``score``.

    Raises:
        ConfigError: a negative tolerance.
    """
    found: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "crack", "supercategory": "damage"}],
    }
    for number, (name, shape, cracks) in enumerate(images, start=1):
        height, width = int(shape[0]), int(shape[1])
        found["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for crack in cracks:
            outline = simplify_outline(crack.outline, tolerance)
            row: dict[str, Any] = {
                "id": len(found["annotations"]) + 1,
                "image_id": number,
                "category_id": 1,
                "segmentation": [outline[0].ravel().tolist()] if len(outline) == 1 else run_lengths(outline, shape),
                "area": crack.area_px,
                "bbox": list(crack.bbox),
                "iscrowd": 0,
                "attributes": crack.to_dict(),
            }
            if crack.probability is not None:
                row["score"] = crack.probability
            found["annotations"].append(row)
    return found


def run_lengths(outline: Outline, shape: tuple[int, int]) -> dict[str, list[int]]:
    """COCO's uncompressed run-length code of an outline in a picture ``(H, W)``."""
    height, width = int(shape[0]), int(shape[1])
    low = np.maximum(np.floor(outline[0].min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(outline[0].max(axis=0)), (width, height)).astype(int)
    crop = rasterize(outline, (high[1] - low[1], high[0] - low[0]), low[0], low[1])
    change = np.diff(np.pad(crop, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    (column, start), (_, stop) = np.nonzero(change > 0), np.nonzero(change < 0)
    offset = (column + low[0]) * height + low[1]
    edges = np.stack([offset + start, offset + stop], axis=1).ravel()
    inner = edges[1:-1].reshape(-1, 2)
    apart = np.repeat(inner[:, 0] != inner[:, 1], 2)  # a run to the foot of a column goes on at the next one's head
    edges = np.concatenate([edges[:1], inner.ravel()[apart], edges[-1:]])
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return {"counts": [int(c) for c in (counts if counts[-1] else counts[:-1])], "size": [height, width]}


def to_geojson(
    cracks: Sequence[Crack],
    transform: Sequence[float] | None = None,
    epsg: int | None = None,
    tolerance: float = 0.0,
) -> dict[str, Any]:
    """GeoJSON: an outline (Polygon) and its centrelines (LineString) for every crack, measurements as properties.

    Rings are closed, exterior ones counter-clockwise and holes clockwise in the numbers as written. How other
    coordinates than those of RFC 7946 are named, tells :func:`fieldsight.data.geojson.collection`.

    Args:
        cracks: measured cracks.
        transform: (a, b, c, d, e, f) with X = a x + b y + c, Y = d x + e y + f from pixels to the map, (0, 0) the outer
            corner of the first pixel; None writes pixels, y down.
        epsg: the map's EPSG code, or None.
        tolerance: see :func:`outlines`, in pixels.

    Raises:
        ConfigError: a transform that is not six finite numbers or flattens the plane, or a negative tolerance.
    """
    placed = geojson.placing(transform)
    features: list[dict[str, Any]] = []
    for crack in cracks:
        outline = simplify_outline(crack.outline, tolerance)
        rings = [geojson.ring(placed(points), index == 0) for index, points in enumerate(outline)]
        features.append(geojson.feature("Polygon", rings, {"part": "outline", **crack.to_dict()}))
        for line, widths in zip(crack.polylines, crack.widths, strict=True):
            properties = {"part": "centreline", "id": crack.id, "widths_px": np.round(widths, 3).tolist()}
            features.append(geojson.feature("LineString", placed(line).tolist(), properties))
    return geojson.collection(features, transform, epsg)
