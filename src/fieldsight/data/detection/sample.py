"""One photo with its boxes, not yet read; and what a detector says of a photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The annotated boxes of a photo.

    Attributes:
        boxes: ``(K, 4)`` float32, ``x1, y1, x2, y2`` in pixels of the photo; inside it, of positive width and height.
        labels: ``(K,)`` int64, indices of classes.
        ignore: ``(K,)`` bool, True for crowds and ignored regions: neither hit nor miss.
        area: ``(K,)`` float64 in pixels, of the object where the file tells it (COCO), else of the box.
    """

    boxes: Boxes
    labels: Labels
    ignore: NDArray[np.bool_]
    area: NDArray[np.float64]

    @classmethod
    def of(cls, boxes: object, labels: object, ignore: object = None, area: object = None) -> Truth:
        """From anything array-like; no box at all is fine."""
        found = np.asarray(boxes, np.float32).reshape(-1, 4)
        sides = (found[:, 2:] - found[:, :2]).astype(np.float64)
        return cls(
            found,
            np.asarray(labels, np.int64).reshape(-1),
            np.zeros(len(found), np.bool_) if ignore is None else np.asarray(ignore, np.bool_).reshape(-1),
            sides.prod(axis=1) if area is None else np.asarray(area, np.float64).reshape(-1),
        )

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Detections:
    """What a detector found in a photo.

    Attributes:
        boxes: ``(K, 4)`` float32, ``x1, y1, x2, y2`` in pixels of the photo.
        scores: ``(K,)`` float32 in 0-1.
        labels: ``(K,)`` int64.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: Labels

    @classmethod
    def of(cls, boxes: object, scores: object, labels: object) -> Detections:
        """From anything array-like; none at all is fine."""
        return cls(
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32).reshape(-1),
            np.asarray(labels, np.int64).reshape(-1),
        )

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class DetectionSample:
    """A photo and its boxes.

    Attributes:
        id: unique within its data set.
        group: what it was taken from (a flight, a video, a place, a patient); groups never straddle splits.
        split: ``train``, ``val`` or ``test``.
        size: height and width in pixels.
        image: gives the photo, ``(H, W, 3)`` uint8 RGB.
        truth: gives its boxes.
        facts: what else is known of it (domain, angle, altitude), plain values.
    """

    id: str
    group: str
    split: str
    size: tuple[int, int]
    image: Callable[[], Picture]
    truth: Callable[[], Truth]
    facts: dict[str, object] = field(default_factory=dict)
