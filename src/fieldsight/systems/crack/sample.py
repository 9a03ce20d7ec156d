"""One photo with its mask, not yet read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
MaskArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """A photo and its mask.

    Attributes:
        id: unique within its data set.
        group: what it was cut from (a photo, a site); groups never straddle folds or splits.
        split: ``train``, ``val`` or ``test``.
        domain: the kind of surface where it is known, else empty.
        image: gives the photo, ``(H, W, 3)`` uint8 RGB.
        mask: gives the truth, ``(H, W)`` bool, True where there is crack.
    """

    id: str
    group: str
    split: str
    domain: str
    image: Callable[[], Picture]
    mask: Callable[[], MaskArray]
