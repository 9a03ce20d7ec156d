"""What a metrologist reads off a picture: contours, edge placement, critical dimension, roughness, uncertain places.

Contours are drawn where intensity crosses a level with sub-pixel precision. The level is halfway between the dark
ground and the bright plateau, found by Otsu's method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[Any]


def level_of(picture: Array) -> float:
    """Intensity halfway between ground and features; NaN for a picture without contrast."""
    from skimage.filters import threshold_otsu

    values = np.asarray(picture, dtype=np.float32)
    if float(values.max() - values.min()) < 0.05:
        return math.nan
    split = float(threshold_otsu(values))
    dark, bright = values[values <= split], values[values > split]
    return 0.5 * (float(np.median(dark)) + float(np.median(bright)))


def contours(picture: Array, level: float) -> list[NDArray[np.float64]]:
    """Sub-pixel contour lines as ``(n, 2)`` row, column; empty where the level is NaN or never crossed."""
    from skimage.measure import find_contours

    if math.isnan(level):
        return []
    return [line for line in find_contours(np.asarray(picture, dtype=np.float64), level) if len(line) >= 8]


@dataclass(frozen=True)
class EdgeErrors:
    """Differences between the edges of a picture and of a prediction, in nm; NaN where one has no edge.

    Attributes:
        epe: mean distance from a point of the true contour to the predicted contour.
        cd: mean signed change of a feature's width: twice the mean signed edge shift, positive where predicted wider.
        ler: roughness of the true contour, three sigma about its own smooth course.
        ler_predicted: the same of the predicted contour.
        band: mean width of the band between the contours of the lower and the upper picture.
    """

    epe: float
    cd: float
    ler: float
    ler_predicted: float
    band: float

    def to_dict(self) -> dict[str, float]:
        """By the names used in metrics."""
        return {
            "epe_nm": self.epe, "cd_error_nm": self.cd, "ler_nm": self.ler, "ler_predicted_nm": self.ler_predicted,
            "cd_band_nm": self.band,
        }  # fmt: skip


def edge_errors(target: Array, lo: Array, mid: Array, hi: Array, pixel: float) -> EdgeErrors:
    """Measure edges of a true picture and of a prediction ``(H, W)``; ``pixel`` in nm.

    The true picture is smoothed by one pixel first: its noise would cut the contour into crumbs.
    """
    smooth = ndi.gaussian_filter(np.asarray(target, dtype=np.float32), 1.0)
    level = level_of(smooth)
    true, predicted = contours(smooth, level), contours(mid, level)
    if not true or not predicted:
        return EdgeErrors(math.nan, math.nan, roughness(true, pixel), roughness(predicted, pixel), math.nan)
    points = np.concatenate(true)
    distance, _ = cKDTree(np.concatenate(predicted)).query(points)
    inside = ndi.map_coordinates(np.asarray(mid, dtype=np.float64), points.T, order=1, mode="nearest") > level
    signed = np.where(inside, distance, -distance)  # the prediction reaches beyond the true edge: wider
    return EdgeErrors(
        epe=float(distance.mean() * pixel),
        cd=float(2.0 * signed.mean() * pixel),
        ler=roughness(true, pixel),
        ler_predicted=roughness(predicted, pixel),
        band=guard_band(lo, hi, level, pixel),
    )


def guard_band(lo: Array, hi: Array, level: float, pixel: float) -> float:
    """Mean distance in nm between the contours of the lower and the upper picture at one level; NaN without edges."""
    inner, outer = contours(lo, level), contours(hi, level)
    if not inner or not outer:
        return math.nan
    distance, _ = cKDTree(np.concatenate(outer)).query(np.concatenate(inner))
    return float(distance.mean() * pixel)


#: A straight part of a contour turns by less than this (radians) over :data:`STRAIGHT_WINDOW` nm, and is at least
#: twice as long.
STRAIGHT_TURN, STRAIGHT_WINDOW = math.radians(15.0), 75.0


def roughness(lines: Sequence[NDArray[np.float64]], pixel: float) -> float:
    """Line-edge roughness in nm, three sigma, of the straight parts of contours; NaN where there are none.

    A part's offsets are taken from its own parabola, so that a slight bend of the design is no roughness. Corners and
    ends of lines are left out; waves longer than a part are not seen.
    """
    window = max(9, 2 * round(0.5 * STRAIGHT_WINDOW / pixel) + 1)
    offsets = [offset for line in lines for part in straight_parts(line, window) for offset in _offsets(part)]
    return float(3.0 * np.std(offsets) * pixel) if offsets else math.nan


def straight_parts(line: NDArray[np.float64], window: int) -> list[NDArray[np.float64]]:
    """The straight parts of a contour ``(n, 2)``, in order; ``window`` is an odd number of points, about pixels."""
    if len(line) < 2 * window:
        return []
    closed = bool(np.allclose(line[0], line[-1]))
    smooth = ndi.uniform_filter1d(line, window, axis=0, mode="wrap" if closed else "nearest")
    along = np.gradient(smooth, axis=0)
    heading = np.unwrap(np.arctan2(along[:, 0], along[:, 1]))
    half = window // 2
    padded = np.pad(heading, half, mode="edge")
    turn = np.abs(padded[2 * half :] - padded[: len(heading)])
    labels, _ = ndi.label(turn < STRAIGHT_TURN)
    parts = [line[where] for where in ndi.find_objects(labels) if where is not None]
    return [part for part in parts if len(part) >= 2 * window]


def _offsets(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances of a nearly straight part from its own parabola, in pixels."""
    centred = part - part.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    along, across = centred @ axes[0], centred @ axes[1]
    return np.asarray(across - np.polyval(np.polyfit(along, across, 2), along))


# -------------------------------------------------------------------------------------------------- regions


def edge_band(surface: Array, reach: int = 3, level: float | None = None) -> NDArray[np.bool_]:
    """Pixels within ``reach`` of the contour where ``surface`` crosses ``level`` (halfway by default).

    For simulated pairs the surface is the height map; for real pairs the predicted picture. It is not the mask: the
    etch displaces edges.
    """
    values = np.asarray(surface, dtype=np.float32)
    halfway = 0.5 * (float(values.min()) + float(values.max())) if level is None else level
    high = values > halfway
    if high.all() or not high.any():
        return np.zeros(values.shape, dtype=bool)
    distance = np.where(high, ndi.distance_transform_edt(high), ndi.distance_transform_edt(~high))
    return np.asarray(distance <= reach)


def density_bins(mask: Array, pixel: float, reach: float = 100.0) -> NDArray[np.int64]:
    """Local density of the mask in four equal steps, 0 (open field) to 3 (dense), averaged over ``reach`` nm."""
    density = ndi.gaussian_filter(np.asarray(mask, dtype=np.float32), reach / pixel, mode="reflect")
    return np.clip((density * 4.0).astype(np.int64), 0, 3)


def features(mask: Array, pixel: float) -> NDArray[np.float64]:
    """What a layout looks like to the exchangeability check; see :data:`FEATURES` for the names."""
    written = np.asarray(mask, dtype=bool)
    edges = (written[:, 1:] != written[:, :-1]).sum() + (written[1:] != written[:-1]).sum()
    widths = []
    for region in (written, ~written):
        inside = ndi.distance_transform_edt(region) if region.any() and not region.all() else np.zeros(mask.shape)
        ridge = inside[(inside > 0) & (inside == ndi.maximum_filter(inside, 3))]
        widths.append(math.log(2.0 * pixel * float(np.median(ridge)) + 1.0) if ridge.size else 0.0)
    return np.array([written.mean(), edges / written.size / pixel * 100.0, *widths])


#: Names of :func:`features`: density, edge length per area (1/100 nm), log median width and space (nm).
FEATURES = ("density", "edge density", "log width", "log space")


# -------------------------------------------------------------------------------------------------- hotspots


@dataclass(frozen=True)
class Hotspot:
    """An uncertain place: its pixel and its score."""

    row: int
    column: int
    score: float


def hotspots(score: Array, count: int, distance: int = 12, offset: tuple[int, int] = (0, 0)) -> list[Hotspot]:
    """The ``count`` highest local maxima of a map ``(H, W)``, smoothed by two pixels, at least ``distance`` apart."""
    from skimage.feature import peak_local_max

    smooth = ndi.gaussian_filter(np.asarray(score, dtype=np.float32), 2.0)
    found = peak_local_max(smooth, min_distance=distance, num_peaks=count, exclude_border=False)
    return [Hotspot(int(r) + offset[0], int(c) + offset[1], float(smooth[r, c])) for r, c in found]


def strongest(found: Sequence[Hotspot], count: int, distance: int = 12) -> list[Hotspot]:
    """The highest of many hotspots, at least ``distance`` pixels apart: joins the lists of tiles."""
    chosen: list[Hotspot] = []
    for spot in sorted(found, key=lambda s: (-s.score, s.row, s.column)):
        if all(max(abs(spot.row - c.row), abs(spot.column - c.column)) >= distance for c in chosen):
            chosen.append(spot)
        if len(chosen) == count:
            break
    return chosen


def outlier_overlay(outside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The paper's colours: red where a pixel broke its interval, green elsewhere, ``(H, W, 3)``."""
    picture = np.empty((*outside.shape, 3), np.uint8)
    picture[:] = (46, 139, 87)
    picture[outside] = (214, 39, 40)
    return picture


def summarize(values: Mapping[str, float]) -> dict[str, float]:
    """Drop NaN entries, for facts that JSON can hold."""
    return {k: round(v, 4) for k, v in values.items() if not math.isnan(v)}
