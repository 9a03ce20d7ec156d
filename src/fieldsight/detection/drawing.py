"""Boxes drawn over a photo: outlines that show on any ground, labels that can be read and do not hide each other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Boxes, Detections, Picture
from fieldsight.data.images import resize
from fieldsight.errors import DataError
from fieldsight.progress import label_of
from fieldsight.report.plots import COLOURS

Colour = tuple[int, int, int]

#: Smallest longer side of a drawing, in pixels: smaller photos are enlarged so that text fits.
LEAST = 320

#: Height of text in pixels: share of the longer side, and the least.
TEXT_SHARE, LEAST_TEXT = 1 / 70, 11

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def class_colour(label: int) -> Colour:
    """RGB of a class: seven colours that are told apart without red-green vision (Okabe and Ito), then again."""
    text = COLOURS[label % len(COLOURS)].lstrip("#")
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


def draw_boxes(
    picture: Picture,
    detections: Detections,
    classes: Sequence[str],
    ids: Sequence[int] | NDArray[np.int64] | None = None,
    limit_width: int = 2000,
    least: int = LEAST,
    size: tuple[int, int] | None = None,
    words: Sequence[str] = (),
) -> Picture:
    """A photo with its boxes, each with its class and score, and its number where it has one.

    Outlines are of the class's colour between black lines, so that one of them shows on any ground. Labels are placed
    best box first, where they cover no other label; a box without room for one keeps its outline alone. What is not
    finite, or lies outside of the photo, is not drawn.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        detections: boxes in its pixels, or those of ``size``.
        classes: names by label; a label beyond them is written as a number.
        ids: ``(K,)`` numbers of tracks; 0 and below stand for none.
        limit_width: longer side of the drawing at the most, in pixels; a larger photo is shrunk before it is drawn on.
        least: longer side at the least; a smaller photo is enlarged by a whole factor. 0 keeps its size.
        size: height and width of the photo that the boxes are in, where ``picture`` is a shrunk one of it.
        words: written after the score of each box; none by default.

    Returns:
        ``(h, w, 3)`` uint8 RGB, a new array.

    Raises:
        DataError: no such photo, or as many ids or words as boxes are not there.
    """
    from PIL import Image, ImageDraw

    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise DataError(f"A photo is (H, W, 3) uint8; got {picture.shape} {picture.dtype}.")
    numbers = None if ids is None else np.asarray(ids, np.int64).reshape(-1)
    if numbers is not None and len(numbers) != len(detections):
        raise DataError(f"{len(detections)} boxes need as many ids, got {len(numbers)}.")
    if words and len(words) != len(detections):
        raise DataError(f"{len(detections)} boxes need as many words, got {len(words)}.")
    base = _sized(picture, limit_width, least)
    boxes, shown = _placed(detections.boxes, size or picture.shape, base.shape)
    order = [int(k) for k in np.argsort(-detections.scores, kind="stable") if shown[k]]
    image = Image.fromarray(base)
    draw = ImageDraw.Draw(image)
    longest = max(base.shape[:2])
    line = max(2, round(longest / 500))
    for k in reversed(order):  # the best on top
        _outline(draw, boxes[k], class_colour(int(detections.labels[k])), line)
    letters = max(LEAST_TEXT, round(longest * TEXT_SHARE))
    taken = np.zeros((0, 4), np.float64)
    for k in order:
        label = int(detections.labels[k])
        name = label_of(" ".join(classes[label].split())) if 0 <= label < len(classes) else str(label)
        number = "" if numbers is None or numbers[k] <= 0 else f"#{numbers[k]} "
        more = f" {words[k]}" if words and words[k] else ""
        text = f"{number}{name} {detections.scores[k]:.2f}{more}"
        taken = _label(draw, text, boxes[k], class_colour(label), letters, taken, base.shape)
    return np.array(image)


def _sized(picture: Picture, limit: int, least: int) -> Picture:
    """A copy whose longer side lies between ``least`` and ``limit``."""
    longest = max(picture.shape[:2])
    if longest < least:
        factor = -(-least // longest)
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return resize(picture, limit)


def _placed(boxes: Boxes, old: tuple[int, ...], new: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Boxes ``(K, 4)`` in pixels of the drawing, cut to it, and which can be drawn ``(K,)``."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = boxes.astype(np.float64) * np.array([new[1] / old[1], new[0] / old[0]] * 2)
        fine = np.isfinite(found).all(axis=1)
        found = np.where(fine[:, None], found, 0.0)
    top = np.array([new[1] - 1, new[0] - 1] * 2, np.float64)
    inside = (found[:, 2:] >= 0).all(axis=1) & (found[:, :2] <= top[:2]).all(axis=1)
    forward = (found[:, 2:] >= found[:, :2]).all(axis=1)
    return np.clip(np.round(found), 0, top), fine & inside & forward


def _outline(draw: Any, box: NDArray[np.float64], colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = (int(v) for v in box)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_BLACK, width=line + 2)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)


def _label(
    draw: Any,
    text: str,
    box: NDArray[np.float64],
    colour: Colour,
    size: int,
    taken: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Write a label where there is room; returns the places of all labels so far, ``(n, 4)``."""
    font = _font(size)
    pad = max(2, size // 5)
    left, _, right, _ = draw.textbbox((0, 0), text, font=font)
    ascent, descent = font.getmetrics()
    wide, high = right - left + 2 * pad, ascent + descent + pad
    for x, y in _corners(box, wide, high):
        x0 = int(min(max(x, 0), max(0, shape[1] - wide)))
        y0 = int(y)
        if not 0 <= y0 <= max(0, shape[0] - high):
            continue
        place = np.array([x0, y0, x0 + wide, y0 + high], np.float64)
        apart = (place[2:] <= taken[:, :2]) | (place[:2] >= taken[:, 2:])
        if not apart.any(axis=1).all():
            continue
        draw.rectangle((x0, y0, x0 + wide - 1, y0 + high - 1), fill=colour, outline=_BLACK)
        draw.text((x0 + pad - left, y0 + pad // 2), text, font=font, fill=text_colour(colour))
        return np.concatenate([taken, place[None]])
    return taken


def _corners(box: NDArray[np.float64], wide: int, high: int) -> list[tuple[float, float]]:
    """Where a label may begin: above the box, below it, and inside at its top and bottom; left edge, then right."""
    x1, y1, x2, y2 = box
    rows = (y1 - high, y2 + 1, y1, y2 - high)
    return [*((x1, y) for y in rows), *((x2 - wide + 1, y) for y in rows)]


def text_colour(ground: Colour) -> Colour:
    """Black or white, whichever contrasts more (relative luminance of WCAG 2)."""
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in ground)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _BLACK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else _WHITE


@functools.lru_cache(maxsize=8)
def _font(size: int) -> Any:
    """DejaVu Sans out of matplotlib's folder, which has Latin, Greek and Cyrillic letters; else Pillow's own."""
    from PIL import ImageFont

    found = find_spec("matplotlib")  # not imported: only its folder is wanted
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
