"""Boxes and pictures under rotation and flips, and the paper's augmented set.

A box of sides w, h turned by t, three rules for its new sides:

- ``hull`` of the turned corners: ``w |cos t| + h |sin t|`` by ``w |sin t| + h |cos t|``. A square grows in area by
  ``1 + |sin 2t|``: 1.5, 1.866 and 2.0 at 15, 30 and 45 degrees, and what it gained is empty corners.
- ``ellipse``: hull of the turned ellipse inside the box, ``sqrt(w² cos² t + h² sin² t)`` by
  ``sqrt(w² sin² t + h² cos² t)``. A square box of side a keeps side a at every angle, since its ellipse is a circle.
- ``polygon``: hull of the turned outline where it is known (ARCADE), else as ``ellipse``.

Positive angles turn counter-clockwise as seen. Coordinates are continuous: the centre of the first pixel is 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.augment import covered, turned
from fieldsight.data.detection.sample import DetectionSample, Picture, Truth
from fieldsight.errors import ConfigError, DataError, unknown

Rule = Literal["hull", "ellipse", "polygon"]
RULES: tuple[str, ...] = ("hull", "ellipse", "polygon")

#: The paper's angles, in degrees.
ANGLES = tuple(range(-45, 46, 5))

#: A box is dropped where less than this share of its area is still in the picture,
VISIBLE = 0.5

#: or where a side of what is left is shorter, in pixels.
SMALLEST = 2.0

Doubles = NDArray[np.float64]
Outline = tuple[Doubles, ...] | None


# ---------------------------------------------------------------------------------------------------- boxes


def matrix(degrees: float) -> Doubles:
    """``(2, 2)`` rotation of x to the right and y downwards, counter-clockwise as seen.

    Raises:
        ConfigError: an angle that is no number.
    """
    if not np.isfinite(degrees):
        raise ConfigError(f"An angle is {degrees}; a number of degrees is wanted.")
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def hull(boxes: NDArray[Any], degrees: float, centre: tuple[float, float] = (0.0, 0.0)) -> Doubles:
    """Hulls of the corners of boxes ``(K, 4)`` turned around a centre (x, y); they may reach out of the picture."""
    exact = np.asarray(boxes, np.float64).reshape(-1, 4)
    turn, middle = matrix(degrees), np.asarray(centre)
    at = ((exact[:, :2] + exact[:, 2:]) / 2 - middle) @ turn.T + middle
    half = (exact[:, 2:] - exact[:, :2]) / 2 @ np.abs(turn).T
    return np.concatenate([at - half, at + half], axis=1)


def ellipse(boxes: NDArray[Any], degrees: float, centre: tuple[float, float] = (0.0, 0.0)) -> Doubles:
    """Hulls of the ellipses inside boxes ``(K, 4)`` turned around a centre (x, y)."""
    turn, middle = matrix(degrees), np.asarray(centre)
    return turned(np.asarray(boxes, np.float64).reshape(-1, 4), turn, middle - turn @ middle)


def polygon(
    boxes: NDArray[Any], outlines: Sequence[Outline], degrees: float, centre: tuple[float, float] = (0.0, 0.0)
) -> Doubles:
    """Hulls of turned outlines (each one or more arrays ``(n, 2)``); of the ellipse where a box has none.

    Raises:
        DataError: not one outline, or None, a box.
    """
    found = ellipse(boxes, degrees, centre)
    if len(outlines) != len(found):
        raise DataError(f"{len(found)} boxes have {len(outlines)} outlines. Give one, or None, a box.")
    turn, middle = matrix(degrees), np.asarray(centre)
    for k, parts in enumerate(outlines):
        if parts:
            points = (np.concatenate(parts) - middle) @ turn.T + middle
            found[k] = *points.min(axis=0), *points.max(axis=0)
    return found


def flipped_lr(boxes: NDArray[Any], wide: float) -> Doubles:
    """Boxes ``(K, 4)`` of a picture that is mirrored left to right; twice gives the same boxes."""
    exact = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.stack([wide - exact[:, 2], exact[:, 1], wide - exact[:, 0], exact[:, 3]], axis=1)


def flipped_ud(boxes: NDArray[Any], high: float) -> Doubles:
    """Boxes ``(K, 4)`` of a picture that is mirrored upside down; twice gives the same boxes."""
    exact = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.stack([exact[:, 0], high - exact[:, 3], exact[:, 2], high - exact[:, 1]], axis=1)


# ------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Change:
    """A rotation or a flip of a whole picture with its boxes.

    Attributes:
        degrees: of the rotation around the middle; the picture keeps its size.
        flip: ``h`` left to right, ``v`` upside down; only where the angle is 0.
        rule: for boxes, of :data:`RULES`.
        ignore_rest: what is left of a dropped box, and what a reflected corner shows of a stenosis, becomes an ignored
            region: it is no background.

    Raises:
        ConfigError: an unknown rule, an angle that is no number, or both angle and flip.
    """

    degrees: float = 0.0
    flip: Literal["", "h", "v"] = ""
    rule: Rule = "ellipse"
    ignore_rest: bool = True

    def __post_init__(self) -> None:
        matrix(self.degrees)
        if self.rule not in RULES:
            raise ConfigError(unknown("rule", self.rule, RULES))
        if self.flip not in ("", "h", "v") or (self.flip and self.degrees):
            raise ConfigError(
                f"A change is a rotation or the flip h or v; got {self.degrees:g} degrees and '{self.flip}'."
            )

    @property
    def name(self) -> str:
        """A word for file names: ``r-45`` to ``r45``, ``fh``, ``fv``."""
        return f"f{self.flip}" if self.flip else f"r{self.degrees:g}"

    def picture(self, picture: Picture) -> Picture:
        """The picture ``(H, W, 3)`` uint8 after the change; corners are filled by reflection."""
        import cv2

        if self.flip:
            return np.ascontiguousarray(picture[:, ::-1] if self.flip == "h" else picture[::-1])
        if not self.degrees:
            return picture
        high, wide = picture.shape[:2]
        turn = matrix(self.degrees)
        middle = np.array([wide, high]) / 2 - 0.5  # OpenCV counts from the centre of the first pixel
        affine = np.column_stack([turn, middle - turn @ middle])
        out = cv2.warpAffine(picture, affine, (wide, high), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(out, np.uint8)

    def truth(self, truth: Truth, size: tuple[int, int], outlines: Sequence[Outline] = ()) -> Truth:
        """Boxes after the change, clipped to the picture.

        Boxes of which less than half is left are dropped; of ignored regions all that is left stays.

        Args:
            truth: of the picture.
            size: its height and width.
            outlines: one, or None, a box, for the rule ``polygon``; without any it is as ``ellipse``.
        """
        high, wide = size
        if self.flip:
            moved = flipped_lr(truth.boxes, wide) if self.flip == "h" else flipped_ud(truth.boxes, high)
            return Truth.of(moved, truth.labels, truth.ignore, truth.area)
        if not self.degrees:
            return truth
        boxes = self._turned(truth.boxes, size, outlines)
        kept = _left(boxes, size, np.where(truth.ignore, 0.0, VISIBLE))
        inside, labels, ignore = _clipped(boxes, size)[kept], truth.labels[kept], truth.ignore[kept]
        if self.ignore_rest:
            lost = _clipped(boxes, size)[~kept & _left(boxes, size, np.zeros(len(boxes)))]
            rest = np.concatenate([lost, self._copies(truth, size)])
            none = np.zeros(len(rest), np.int64)
            inside = np.concatenate([inside, rest])
            labels, ignore = np.concatenate([labels, none]), np.concatenate([ignore, none == 0])
        return Truth.of(inside, labels, ignore)

    def _turned(self, boxes: NDArray[Any], size: tuple[int, int], outlines: Sequence[Outline]) -> Doubles:
        centre = (size[1] / 2, size[0] / 2)
        if self.rule == "hull":
            return hull(boxes, self.degrees, centre)
        if self.rule == "polygon" and outlines:
            return polygon(boxes, outlines, self.degrees, centre)
        return ellipse(boxes, self.degrees, centre)

    def _copies(self, truth: Truth, size: tuple[int, int]) -> Doubles:
        """What the reflected surroundings of the picture show of its stenoses, ``(M, 4)``, clipped."""
        high, wide = size
        own = truth.boxes[~truth.ignore]
        across = [flipped_lr(own, 0.0), np.asarray(own, np.float64), flipped_lr(own, 2.0 * wide)]
        around = [box for one in across for box in (flipped_ud(one, 0.0), one, flipped_ud(one, 2.0 * high))]
        del around[4]  # the picture itself
        boxes = hull(np.concatenate(around), self.degrees, (wide / 2, high / 2))
        return _clipped(boxes, size)[_left(boxes, size, np.zeros(len(boxes)))]


def _clipped(boxes: Doubles, size: tuple[int, int]) -> Doubles:
    return np.clip(boxes, 0.0, np.array([size[1], size[0], size[1], size[0]], np.float64))


def _left(boxes: Doubles, size: tuple[int, int], share: Doubles) -> NDArray[np.bool_]:
    """Which boxes have at least a share of their area, and sides long enough, in the picture."""
    sides = np.diff(_clipped(boxes, size).reshape(-1, 2, 2), axis=1)[:, 0]
    seen = covered(boxes.astype(np.float32), (0.0, 0.0, float(size[1]), float(size[0])))
    return np.asarray((sides >= SMALLEST).all(axis=1) & (seen >= share) & (seen > 0), np.bool_)


# ---------------------------------------------------------------------------------------- the augmented set


@dataclass(frozen=True)
class _Changed:
    """The picture of a sample after a change, as the function that a sample wants."""

    image: Callable[[], Picture]
    change: Change

    def __call__(self) -> Picture:
        return self.change.picture(self.image())


@dataclass(frozen=True)
class _ChangedTruth:
    """The boxes of a sample after a change, as the function that a sample wants."""

    sample: DetectionSample
    change: Change

    def __call__(self) -> Truth:
        outlines: Any = self.sample.facts.get("polygons", ())
        return self.change.truth(self.sample.truth(), self.sample.size, outlines)


def changes(rule: Rule = "ellipse", ignore_rest: bool = True) -> list[Change]:
    """The paper's 19 rotations, -45 to 45 degrees in steps of 5 with the picture itself among them, and both flips."""
    turns = [Change(float(degrees), "", rule, ignore_rest) for degrees in ANGLES]
    return [*turns, Change(flip="h", rule=rule), Change(flip="v", rule=rule)]


def offline(sample: DetectionSample, rule: Rule = "ellipse", ignore_rest: bool = True) -> Iterator[DetectionSample]:
    """A sample as 21: its 19 rotations and two flips, made when they are asked for.

    Ids end in the name of the change (``_r-45``, ``_fh``); group and split stay. Give a sample whose picture is
    already enhanced: a filter would see the edges of reflected corners.

    Raises:
        ConfigError: an unknown rule.
    """
    for change in changes(rule, ignore_rest):
        facts = {key: value for key, value in sample.facts.items() if key not in ("polygons", "grades")}
        yield DetectionSample(
            f"{sample.id}_{change.name}", sample.group, sample.split, sample.size, _Changed(sample.image, change),
            _ChangedTruth(sample, change), {**facts, "change": change.name},
        )  # fmt: skip


@dataclass(frozen=True)
class Count:
    """What the paper's augmentation can come to.

    Attributes:
        images: training pictures.
        rotated: of them with 19 rotations, 0 degrees among these.
        flipped: with both flips besides.
        printed: training pictures that the paper says it had.
        each: printed by images: no whole number, so that the recipe can't be found out.
    """

    images: int
    rotated: int
    flipped: int
    printed: int
    each: float


def count(images: int = 280, printed: int = 7320) -> Count:
    """The paper's numbers: 280 pictures give 5,320 or 5,880, but 7,320 are printed, 26.14 for each.

    Raises:
        ConfigError: no picture.
    """
    if images < 1:
        raise ConfigError(f"images is {images}; at least 1 is needed.")
    return Count(images, images * len(ANGLES), images * (len(ANGLES) + 2), printed, printed / images)
