"""Masks, comparisons and measurements drawn over the photo.

All functions take and give uint8 ``(H, W, 3)`` RGB; with ``longest`` the result is shrunk first, so that a preview of a
100-megapixel picture costs no second picture of that size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.measure import Crack

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

#: Longer side of a small preview.
PREVIEW = 2000
#: Colours of the paper's figure 6: true positives blue, false positives red, false negatives green.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (0, 90, 255), (230, 30, 30), (0, 180, 60)
#: Width heat from narrow to wide (points of the viridis scale, dark to light).
HEAT = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64)


def overlay(
    photo: Picture, mask: Mask, colour: Colour = (255, 40, 40), alpha: float = 0.5, longest: int | None = None
) -> Picture:
    """The photo with the mask laid over it.

    Args:
        photo: uint8 ``(H, W, 3)`` RGB.
        mask: ``(H, W)`` bool. In a preview a pixel counts as crack as soon as any of its pixels does.
        colour: RGB.
        alpha: opacity, 0 to 1.
        longest: longer side of the result in pixels (:data:`PREVIEW` for small ones), or None for full size.

    Raises:
        DataError: shapes that do not fit.
        ConfigError: alpha or longest out of range.
    """
    base, shown = _shrunk(photo, longest, alpha), _shrunk_mask(_fitting(photo, mask), longest)
    base[shown] = _mixed(base[shown], colour, alpha)
    return base


def layer(
    mask: Mask, colour: Colour = (255, 40, 40), alpha: float = 0.5, longest: int | None = None
) -> NDArray[np.uint8]:
    """The mask alone as RGBA ``(H, W, 4)``, clear where there is no crack, to lay over the photo elsewhere.

    Raises:
        DataError: the mask is not two-dimensional.
        ConfigError: alpha or longest out of range.
    """
    _check(longest, alpha)
    if mask.ndim != 2 or 0 in mask.shape:
        raise DataError(f"A mask is (H, W) with pixels; got {mask.shape}.")
    shown = _shrunk_mask(mask, longest)
    out = np.zeros((*shown.shape, 4), np.uint8)
    out[shown] = (*colour, round(255 * alpha))
    return out


def comparison(photo: Picture, mask: Mask, truth: Mask, alpha: float = 0.8, longest: int | None = None) -> Picture:
    """The photo with true positives in blue, false positives in red and false negatives in green (the paper's fig. 6).

    In a preview an error is drawn over what is right, since it is what one looks for.

    Raises:
        DataError: shapes that do not fit.
        ConfigError: alpha or longest out of range.
    """
    mask, truth = _fitting(photo, mask), _fitting(photo, truth)
    base = _shrunk(photo, longest, alpha)
    drawn = base.copy()
    for part, colour in (
        (mask & truth, TRUE_POSITIVE),
        (mask & ~truth, FALSE_POSITIVE),
        (truth & ~mask, FALSE_NEGATIVE),
    ):
        shown = _shrunk_mask(part, longest)
        drawn[shown] = _mixed(base[shown], colour, alpha)
    return drawn


def width_heat(
    photo: Picture, cracks: Sequence[Crack], longest: int | None = None, widest: float | None = None
) -> Picture:
    """The photo with every centreline drawn in the colour of its width, from dark (narrow) to yellow (wide).

    Args:
        photo: uint8 ``(H, W, 3)`` RGB.
        cracks: measured in this photo at full size.
        longest: longer side of the result in pixels, or None for full size.
        widest: width in pixels of the last colour; the widest of these cracks by default.

    Raises:
        DataError: the photo is no RGB picture.
        ConfigError: longest or widest out of range.
    """
    import cv2

    if widest is not None and not (math.isfinite(widest) and widest > 0):
        raise ConfigError(f"widest is {widest}; wanted a width above 0 px.")
    base, scale = _shrunk(photo, longest), _scale(photo.shape, longest)
    top = widest or max((crack.max_width_px for crack in cracks), default=1.0)
    thick = _thickness(base)
    for crack in cracks:
        for line, widths in zip(crack.polylines, crack.widths, strict=True):
            arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
            at = np.union1d(arc, np.arange(0.0, arc[-1], 4.0 / scale))  # a long piece may change its width
            ends = _placed(np.stack([np.interp(at, arc, line[:, k]) for k in (0, 1)], axis=1), scale)
            middles = np.interp(0.5 * (at[1:] + at[:-1]), arc, widths)
            for start, stop, width in zip(ends[:-1], ends[1:], middles.tolist(), strict=True):
                cv2.line(base, start, stop, _heat(width / top), thick, cv2.LINE_AA, _SHIFT)
    return base


def labels(photo: Picture, cracks: Sequence[Crack], longest: int | None = None) -> Picture:
    """The photo with the number of every crack beside its widest place, and a ring around that place.

    Raises:
        DataError: the photo is no RGB picture.
        ConfigError: longest out of range.
    """
    import cv2

    base, scale = _shrunk(photo, longest), _scale(photo.shape, longest)
    height, width = base.shape[:2]
    thick = _thickness(base)
    size = max(0.4, 0.45 * thick)
    for crack in cracks:
        x, y = crack.max_width_at[0] * scale, crack.max_width_at[1] * scale
        radius = max(4.0 * thick, 0.75 * crack.max_width_px * scale)
        centre = _placed(np.array([crack.max_width_at]), scale)[0]
        cv2.circle(base, centre, round(radius * 2**_SHIFT), (255, 220, 0), thick, cv2.LINE_AA, _SHIFT)
        text = str(crack.id)
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        left = x + radius + 2 if x + radius + 2 + wide <= width else x - radius - 2 - wide
        corner = (round(min(max(left, 0), max(width - wide, 0))), round(min(max(y + high / 2, high), height - below)))
        for colour, weight in (((0, 0, 0), thick + 2), ((255, 255, 255), thick)):
            cv2.putText(base, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, weight, cv2.LINE_AA)
    return base


# ---------------------------------------------------------------------------------------------------- internals

_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws at


def _placed(points: NDArray[np.float64], scale: float) -> list[tuple[int, int]]:
    """Corner coordinates as OpenCV's fixed-point ones, which count from pixel centres."""
    fixed = np.round((points * scale - 0.5) * 2**_SHIFT).astype(int)
    return [(int(x), int(y)) for x, y in fixed]


def _heat(share: float) -> Colour:
    at = min(max(share, 0.0), 1.0) * (len(HEAT) - 1)
    low = min(int(at), len(HEAT) - 2)
    red, green, blue = np.round(HEAT[low] + (at - low) * (HEAT[low + 1] - HEAT[low])).astype(int).tolist()
    return red, green, blue


def _thickness(picture: Picture) -> int:
    return max(1, round(max(picture.shape[:2]) / 1000))


def _mixed(pixels: NDArray[Any], colour: Colour, alpha: float) -> NDArray[np.uint8]:
    mixed = (1.0 - alpha) * pixels.astype(np.float32) + alpha * np.array(colour, np.float32)
    return np.round(mixed).astype(np.uint8)


def _check(longest: int | None, alpha: float = 1.0) -> None:
    if not (0.0 <= alpha <= 1.0) or (longest is not None and longest < 1):
        raise ConfigError(f"alpha is {alpha} and longest {longest}; wanted 0 to 1, and at least 1 pixel or None.")


def _scale(shape: tuple[int, ...], longest: int | None) -> float:
    return 1.0 if longest is None else min(1.0, longest / max(shape[:2]))


def _shrunk(photo: Picture, longest: int | None, alpha: float = 1.0) -> Picture:
    """A copy of the photo, shrunk by area."""
    import cv2

    _check(longest, alpha)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or 0 in photo.shape:
        raise DataError(f"The photo is {photo.shape} of {photo.dtype}; wanted uint8 (H, W, 3) RGB.")
    size = _size(photo.shape, longest)
    if size == photo.shape[:2]:
        return np.array(photo)
    return np.asarray(cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA))


def _shrunk_mask(mask: Mask, longest: int | None) -> Mask:
    """A mask shrunk so that a pixel is set where any of its pixels is: hairlines stay."""
    height, width = _size(mask.shape, longest)
    if (height, width) == mask.shape:
        return np.asarray(mask, dtype=np.bool_)
    rows = (np.arange(height) * mask.shape[0]) // height
    columns = (np.arange(width) * mask.shape[1]) // width
    return np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)


def _size(shape: tuple[int, ...], longest: int | None) -> tuple[int, int]:
    scale = _scale(shape, longest)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _fitting(photo: Picture, mask: Mask) -> Mask:
    if mask.ndim != 2 or mask.shape != photo.shape[:2]:
        raise DataError(f"The mask is {mask.shape} and the photo {photo.shape}; wanted the same height and width.")
    return np.asarray(mask) != 0
