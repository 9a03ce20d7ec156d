"""Drawn layouts: the pattern families a test chip would hold, as polygons in nm.

A family is a function ``(field, rules, rng) -> polygons`` that covers a square field of ``field`` nm. Widths and
spaces follow :class:`~fieldsight.systems.sem.config.Rules`; spaces stay wide enough that the etch, which widens every
feature, does not close them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.data.raster import Polygon, rasterize
from fieldsight.errors import DataError, unknown
from fieldsight.systems.sem.config import Rules

Mask = NDArray[np.bool_]
Family = Callable[[float, Rules, np.random.Generator], list[Polygon]]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """An axis-parallel rectangle as ``(4, 2)`` corners (x, y) in nm."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def _turned(polygons: list[Polygon], field: float, rng: np.random.Generator) -> list[Polygon]:
    """Turn the whole field by a random multiple of 90 degrees, so that no family prefers a direction."""
    for _ in range(int(rng.integers(4))):
        polygons = [np.stack([field - p[:, 1], p[:, 0]], axis=1) for p in polygons]
    return polygons


def gratings(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """Lines and spaces of one width and pitch; sometimes with a missing line."""
    width, space = rules.width(rng), rules.space(rng)
    pitch = width + space
    start = -rng.uniform(0.0, pitch)
    lines = [rectangle(x, -field, x + width, 2 * field) for x in np.arange(start, field + pitch, pitch)]
    if len(lines) > 4 and rng.random() < 0.3:
        lines.pop(int(rng.integers(1, len(lines) - 1)))
    return _turned(lines, field, rng)


def contacts(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """A square or staggered array of contact holes."""
    side = float(np.clip(rules.width(rng) * 1.3, rules.min_width, rules.max_width))
    pitch_x, pitch_y = side + rules.space(rng), side + rules.space(rng)
    stagger = 0.5 * pitch_x if rng.random() < 0.5 and pitch_y - side >= rules.min_space else 0.0
    holes = []
    for row, y in enumerate(np.arange(-rng.uniform(0, pitch_y), field + side, pitch_y)):
        for x in np.arange(-pitch_x + stagger * (row % 2), field + side, pitch_x):
            holes.append(rectangle(x, y, x + side, y + side))
    return _turned(holes, field, rng)


def bends(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """L, T and U shapes and jogs on a loose grid."""
    width = rules.width(rng)
    cell = max(4.0 * width + rules.min_space, 3.0 * width + rules.space(rng))
    gap = rules.min_space
    shapes = []
    for y in np.arange(-rng.uniform(0, cell), field, cell):
        for x in np.arange(-rng.uniform(0, cell), field, cell):
            shapes.append(_bend(x, y, cell - gap, width, int(rng.integers(4)), rng))
    return _turned([p for group in shapes for p in group], field, rng)


def _bend(x: float, y: float, size: float, w: float, kind: int, rng: np.random.Generator) -> list[Polygon]:
    across = rectangle(x, y, x + size, y + w)
    left = rectangle(x, y, x + w, y + size)
    right = rectangle(x + size - w, y, x + size, y + size)
    middle = rectangle(x + size / 2 - w / 2, y, x + size / 2 + w / 2, y + size)
    if kind == 0:
        return [across, left]
    if kind == 1:
        return [across, middle]
    if kind == 2:
        return [across, left, right] if size - 2 * w >= 50.0 else [across, right]
    step = rng.uniform(0.5, 1.5) * w
    half = x + size / 2
    return [
        rectangle(x, y, half, y + w),
        rectangle(half - w / 2, y, half + w / 2, y + w + step),
        rectangle(half - w / 2, y + step, x + size, y + step + w),
    ]


def bars(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """Elongated bars with ends, in columns, ends facing each other."""
    width, space = rules.width(rng), rules.space(rng)
    polygons = []
    for x in np.arange(-rng.uniform(0, width + space), field, width + space):
        y = -rng.uniform(0, field / 2)
        while y < field:
            length = rng.uniform(3.0, 12.0) * width
            polygons.append(rectangle(x, y, x + width, y + length))
            y += length + rules.space(rng)
    return _turned(polygons, field, rng)


def sram(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """A cell of two mirrored L shapes and a contact, mirrored in turn across the field, as in a memory array."""
    width = rules.width(rng)
    gap = max(rules.min_space, 0.5 * rules.space(rng))
    wide, high = 4.0 * width + 3.0 * gap, 3.0 * width + 3.0 * gap
    cell = [
        rectangle(0, 0, width, high - gap),
        rectangle(0, 0, 2.0 * width + gap, width),
        rectangle(wide - gap - width, 0, wide - gap, high - gap),
        rectangle(width + gap, high - gap - width, 2.0 * width + gap, high - gap),
    ]
    polygons = []
    for row, y in enumerate(np.arange(-rng.uniform(0, high), field, high)):
        for column, x in enumerate(np.arange(-rng.uniform(0, wide), field, wide)):
            for shape in cell:
                px, py = shape[:, 0], shape[:, 1]
                px = wide - gap - px if column % 2 else px
                py = high - gap - py if row % 2 else py
                polygons.append(np.stack([px + x, py + y], axis=1))
    return _turned(polygons, field, rng)


def manhattan(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """Random axis-parallel polygons: filled cells of a coarse grid whose neighbours join or keep their distance."""
    width, space = rules.width(rng), rules.space(rng)
    pitch = width + space
    count = int(np.ceil(field / pitch)) + 2
    filled = rng.random((count, count)) < 0.6
    right = filled[:, :-1] & filled[:, 1:] & (rng.random((count, count - 1)) < 0.45)
    below = filled[:-1] & filled[1:] & (rng.random((count - 1, count)) < 0.45)
    x0, y0 = -rng.uniform(0, pitch, size=2)
    polygons = []
    for r, c in zip(*np.nonzero(filled), strict=True):
        x, y = x0 + c * pitch, y0 + r * pitch
        polygons.append(rectangle(x, y, x + width, y + width))
        if c + 1 < count and right[r, c]:
            polygons.append(rectangle(x, y, x + pitch + width, y + width))
        if r + 1 < count and below[r, c]:
            polygons.append(rectangle(x, y, x + width, y + pitch + width))
    return _turned(polygons, field, rng)


def rings(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """Concentric rings and arcs around a point near the middle."""
    width = rules.width(rng)
    space = max(rules.space(rng), 1.45 * rules.min_space)  # a square of min_space must fit at 45 degrees too
    centre = field * rng.uniform(0.3, 0.7, size=2)
    polygons = []
    radius = rng.uniform(0.8, 1.6) * rules.min_space + width
    while radius < field:
        angles = np.linspace(0.0, 2.0 * np.pi if rng.random() < 0.6 else rng.uniform(2.0, 4.2), 96)
        angles = angles + rng.uniform(0.0, 2.0 * np.pi)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        inner, outer = centre + (radius - width) * circle, centre + radius * circle[::-1]
        polygons.append(np.concatenate([inner, outer]))
        radius += width + space
    return polygons


def pairs(field: float, rules: Rules, rng: np.random.Generator) -> list[Polygon]:
    """An isolated line beside a dense group: the proximity effect at its plainest."""
    width = rules.width(rng)
    dense = rules.min_space * rng.uniform(1.0, 1.4)
    lines, x = [], field * rng.uniform(0.02, 0.1)
    while x < 0.5 * field:
        lines.append(rectangle(x, -field, x + width, 2 * field))
        x += width + dense
    alone = max(0.72 * field, x - dense + rules.min_space)
    lines.append(rectangle(alone, field * rng.uniform(-0.5, 0.2), alone + width, 2 * field))
    return _turned(lines, field, rng)


#: Every family by name. ``rings`` and ``pairs`` are the ones `shift` holds back as new patterns.
FAMILIES: dict[str, Family] = {
    "gratings": gratings,
    "contacts": contacts,
    "bends": bends,
    "bars": bars,
    "sram": sram,
    "manhattan": manhattan,
    "rings": rings,
    "pairs": pairs,
}


def draw(family: str, size: int, pixel: float, rules: Rules, rng: np.random.Generator, tries: int = 40) -> Mask:
    """Draw a mask ``(size, size)`` of a family, neither nearly blank nor nearly full, all spaces open.

    Args:
        family: a key of :data:`FAMILIES`.
        size: pixels a side.
        pixel: nm a pixel.
        rules: widths and spaces.
        rng: source of chance.
        tries: how often a rejected drawing is repeated.

    Raises:
        DataError: unknown family, or rules that no drawing of this field meets.
    """
    if family not in FAMILIES:
        raise DataError(unknown("layout family", family, FAMILIES))
    field = size * pixel
    for _ in range(tries):
        polygons = FAMILIES[family](field, rules, rng)
        mask = rasterize(polygons, (size, size), pixel) >= 0.5
        if 0.04 <= mask.mean() <= 0.8 and spaces_stay_open(mask, pixel, rules.min_space):
            return mask
    raise DataError(
        f"No '{family}' layout of {field:g} nm meets the rules {rules.to_dict()} in {tries} tries. "
        "Enlarge the field or lower max_width and max_space."
    )


def spaces_stay_open(mask: NDArray[Any], pixel: float, space: float) -> bool:
    """True when no straight space of the mask ``(H, W)`` is narrower than ``space`` nm, one pixel of slack.

    A narrow space is one that a square closing fills; inner corners, which a closing leaves alone, do not count.
    """
    side = 2 * int((space / pixel - 2) // 2) + 1  # odd, so that the closing is symmetric
    if side < 3:
        return True
    padded = np.pad(mask.astype(np.uint8), side, mode="edge")
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    inside = closed[side:-side, side:-side] > 0
    return float((inside & ~np.asarray(mask, dtype=bool)).mean()) <= 0.002
