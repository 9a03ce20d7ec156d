"""Changes of a photo and its boxes in training; all chance comes from the generator given.

Coordinates are continuous, as in :mod:`fieldsight.data.detection.letterbox`. Boxes are moved with the picture, clipped
to it, and dropped where too little of the object is left to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.letterbox import GREY
from fieldsight.data.detection.sample import Boxes, Labels, Picture
from fieldsight.errors import ConfigError, DataError

#: A box is dropped where less than this share of its area is still in the picture,
VISIBLE = 0.1

#: or where a side of what is left is shorter, in pixels.
SMALLEST = 2.0

#: A box of which a larger share than this is erased is dropped.
ERASED = 0.5

#: Area of what is erased, as shares of the picture's, and its aspect ratio (Zhong et al. 2020, Random Erasing).
ERASED_AREA = (0.02, 0.2)
ERASED_ASPECT = (0.3, 1.0 / 0.3)


@dataclass(frozen=True)
class Example:
    """A picture with its boxes, as it is changed.

    Attributes:
        picture: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(K, 4)`` float32, x1, y1, x2, y2 in pixels of the picture.
        labels: ``(K,)`` int64.
        ignore: ``(K,)`` bool.
    """

    picture: Picture
    boxes: Boxes
    labels: Labels
    ignore: NDArray[np.bool_]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.picture.shape[0], self.picture.shape[1]


@dataclass(frozen=True)
class Recipe:
    """How strongly :func:`train_view` changes pictures; the defaults are the usual ones of this family of detectors.

    Attributes:
        mosaic: chance that an item is a mosaic of four pictures.
        translate: the centre is moved by up to this share of the side.
        scale: the picture is scaled by 1 - scale to 1 + scale.
        flip_lr, flip_ud: chances of mirroring.
        hue: the hue is turned by up to this share of the circle.
        saturation, value: are multiplied by 1 - x to 1 + x.
        erasing: chance that a rectangle is erased.
        rotate: the picture is turned by up to so many degrees.
    """

    mosaic: float = 1.0
    translate: float = 0.1
    scale: float = 0.5
    flip_lr: float = 0.5
    flip_ud: float = 0.0
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4
    erasing: float = 0.0
    rotate: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be from 0 to {'below 1' if name == 'scale' else '1'}, got {value}"
            for name, value in vars(self).items()
            if name != "rotate" and (not 0.0 <= value <= 1.0 or (name == "scale" and value == 1.0))
        ]
        if not 0.0 <= self.rotate <= 180.0:
            problems.append(f"rotate must be from 0 to 180 degrees, got {self.rotate}")
        if problems:
            raise ConfigError(problems)


def train_view(examples: Sequence[Example], rng: np.random.Generator, side: int, recipe: Recipe) -> Example:
    """One training picture ``(side, side, 3)`` from one example, or as a mosaic from four.

    Raises:
        DataError: neither one example nor four.
    """
    if len(examples) not in (1, 4):
        raise DataError(f"A training picture is made of one example or of four, got {len(examples)}.")
    example = mosaic(examples, rng, side) if len(examples) == 4 else examples[0]
    example = shift_scale(example, rng, side, recipe.translate, recipe.scale, recipe.rotate)
    example = recolour(example, rng, recipe.hue, recipe.saturation, recipe.value)
    example = flip(example, rng, recipe.flip_lr, recipe.flip_ud)
    return erase(example, rng, recipe.erasing)


def mosaic(examples: Sequence[Example], rng: np.random.Generator, side: int) -> Example:
    """Four pictures around one point of a grey canvas ``(2 side, 2 side, 3)`` (Bochkovskiy et al. 2020, YOLOv4).

    The point is drawn from the inner half of the canvas; each picture has a corner there, and what reaches out is cut.

    Raises:
        DataError: not four examples.
    """
    if len(examples) != 4:
        raise DataError(f"A mosaic is made of four pictures, got {len(examples)}.")
    whole = 2 * side
    canvas = np.full((whole, whole, 3), GREY, np.uint8)
    x, y = (int(v) for v in rng.integers(side // 2, whole - side // 2, 2, endpoint=True))
    parts = []
    for k, one in enumerate(examples):
        high, wide = one.size
        left, top = (x - wide, x)[k % 2], (y - high, y)[k // 2]
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + wide, whole), min(top + high, whole)
        canvas[y1:y2, x1:x2] = one.picture[y1 - top : y2 - top, x1 - left : x2 - left]
        parts.append(_moved(one, one.boxes + np.array([left, top, left, top], np.float32), (whole, whole)))
    boxes = np.concatenate([p.boxes for p in parts])
    labels, ignore = np.concatenate([p.labels for p in parts]), np.concatenate([p.ignore for p in parts])
    return Example(canvas, boxes, labels, ignore)


def shift_scale(
    example: Example, rng: np.random.Generator, side: int, translate: float = 0.1, scale: float = 0.5,
    rotate: float = 0.0,
) -> Example:  # fmt: skip
    """The picture scaled by 1 ± ``scale`` and turned by up to ``rotate`` degrees on a grey square ``(side, side, 3)``,
    its centre within ± ``translate`` sides of the square's centre.

    A box is turned with :func:`turned`. What was outside of the picture is grey: mirrored borders would show objects
    that have no box.
    """
    import cv2

    by = float(rng.uniform(1.0 - scale, 1.0 + scale))
    at = (0.5 + rng.uniform(-translate, translate, 2)) * side
    angle = float(np.radians(rng.uniform(-rotate, rotate))) if rotate else 0.0
    high, wide = example.size
    turn = by * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = at - turn @ (np.array([wide, high]) / 2.0)
    # OpenCV counts from the centre of the first pixel, boxes from its corner
    middle = shift + turn @ np.array([0.5, 0.5]) - 0.5
    picture = cv2.warpAffine(
        example.picture, np.column_stack([turn, middle]), (side, side), flags=cv2.INTER_LINEAR,
        borderValue=(GREY, GREY, GREY),
    )  # fmt: skip
    boxes = (
        example.boxes.astype(np.float64) * by + np.tile(shift, 2) if not angle else turned(example.boxes, turn, shift)
    )
    return _moved(replace(example, picture=picture), boxes.astype(np.float32), (side, side))


def turned(
    boxes: NDArray[Any], matrix: NDArray[np.float64], shift: NDArray[np.float64] | tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """Boxes ``(K, 4)`` of the ellipses inside them, after ``x -> matrix x + shift``.

    The hull of the turned corners grows a square box by 1.5, 1.87 and 2.0 at 15, 30 and 45 degrees, and empty corners
    with it; that of the inscribed ellipse keeps a square one. (Half sides are the norms of the rows of ``matrix D``,
    with D the half axes.)
    """
    exact = boxes.astype(np.float64)
    centres = (exact[:, :2] + exact[:, 2:]) / 2 @ matrix.T + np.asarray(shift)
    half = (exact[:, 2:] - exact[:, :2]) / 2
    reach = np.sqrt((half**2) @ (matrix**2).T)
    return np.concatenate([centres - reach, centres + reach], axis=1)


def flip(example: Example, rng: np.random.Generator, left_right: float = 0.5, up_down: float = 0.0) -> Example:
    """Mirrored left to right, and upside down, each by its own chance."""
    high, wide = example.size
    picture, boxes = example.picture, example.boxes
    drawn = rng.random(2)
    if drawn[0] < left_right:
        picture = picture[:, ::-1]
        boxes = np.stack([wide - boxes[:, 2], boxes[:, 1], wide - boxes[:, 0], boxes[:, 3]], axis=1)
    if drawn[1] < up_down:
        picture = picture[::-1]
        boxes = np.stack([boxes[:, 0], high - boxes[:, 3], boxes[:, 2], high - boxes[:, 1]], axis=1)
    return replace(example, picture=np.ascontiguousarray(picture), boxes=boxes.astype(np.float32))


def recolour(
    example: Example, rng: np.random.Generator, hue: float = 0.015, saturation: float = 0.7, value: float = 0.4
) -> Example:
    """Hue turned by up to ``hue`` of the circle, saturation and value multiplied by 1 ± theirs; boxes stay."""
    import cv2

    drawn = rng.uniform(-1.0, 1.0, 3)
    if not (hue or saturation or value):
        return example
    levels = np.arange(256, dtype=np.float64)
    tables = np.empty((256, 3))
    tables[:, 0] = (levels + 180.0 * hue * drawn[0]) % 180.0  # OpenCV's hue has 180 levels
    tables[:, 1] = levels * (1.0 + saturation * drawn[1])
    tables[:, 2] = levels * (1.0 + value * drawn[2])
    eight = np.clip(np.round(tables), 0, 255).astype(np.uint8)
    eight[:, 0] %= 180
    hsv = cv2.cvtColor(example.picture, cv2.COLOR_RGB2HSV)
    return replace(example, picture=cv2.cvtColor(cv2.LUT(hsv, eight[None]), cv2.COLOR_HSV2RGB))


def erase(example: Example, rng: np.random.Generator, chance: float = 0.4) -> Example:
    """A rectangle filled with noise, by ``chance`` (Zhong et al. 2020); boxes that it mostly covers are dropped.

    Of the object of a dropped box less than half is left to see; the others keep their whole box.
    """
    if rng.random() >= chance:
        return example
    high, wide = example.size
    area = float(rng.uniform(*ERASED_AREA)) * high * wide
    aspect = float(np.exp(rng.uniform(*np.log(ERASED_ASPECT))))
    tall = min(max(1, round((area * aspect) ** 0.5)), high)
    broad = min(max(1, round((area / aspect) ** 0.5)), wide)
    top, left = int(rng.integers(high - tall + 1)), int(rng.integers(wide - broad + 1))
    picture = example.picture.copy()
    picture[top : top + tall, left : left + broad] = rng.integers(0, 256, (tall, broad, 3), np.uint8)
    kept = covered(example.boxes, (left, top, left + broad, top + tall)) <= ERASED
    return Example(picture, example.boxes[kept], example.labels[kept], example.ignore[kept])


def covered(boxes: Boxes, window: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Share of each box's area ``(K,)`` that lies inside a window x1, y1, x2, y2; 0 for a box without area."""
    exact = boxes.astype(np.float64)
    inner = np.minimum(exact[:, 2:], window[2:]) - np.maximum(exact[:, :2], window[:2])
    own = (exact[:, 2:] - exact[:, :2]).prod(axis=1)
    return np.where(own > 0, np.maximum(inner, 0.0).prod(axis=1) / np.where(own > 0, own, 1.0), 0.0)


def hide_ignored(example: Example) -> Example:
    """Ignored boxes painted grey and taken away, so that nothing is learnt from what is in them.

    Pixels that are in another box too stay as they are.
    """
    if not example.ignore.any():
        return example
    hidden = np.zeros(example.size, np.bool_)
    for ignored in (True, False):  # what is annotated is uncovered again
        for x1, y1, x2, y2 in np.round(example.boxes[example.ignore == ignored]).astype(np.int64):
            hidden[y1:y2, x1:x2] = ignored
    picture = np.where(hidden[..., None], np.uint8(GREY), example.picture)
    seen = ~example.ignore
    return Example(picture, example.boxes[seen], example.labels[seen], example.ignore[seen])


def _moved(example: Example, boxes: Boxes, size: tuple[int, int]) -> Example:
    """The example with its boxes at new places of a picture of ``size``: clipped, or dropped."""
    high, wide = size
    inside = np.clip(boxes, 0.0, np.array([wide, high, wide, high], np.float32))
    sides = inside[:, 2:] - inside[:, :2]
    kept = (sides >= SMALLEST).all(axis=1) & (covered(boxes, (0.0, 0.0, wide, high)) >= VISIBLE)
    return Example(example.picture, inside[kept], example.labels[kept], example.ignore[kept])
