"""How far the experts that ran agree, summed over tiles; see :func:`fieldsight.systems.crack.review.disagreement`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.crack.review import LEAST_AREA, contradiction


class Agreement:
    """Mean of ``|p_i - p_j|`` over pairs of experts and over pixels to which one of them gives ``NEAR`` or more.

    At each pixel those experts count that have weight there: the number does not depend on how a photo was cut.
    """

    def __init__(self) -> None:
        self.total, self.pixels, self.pairs = 0.0, 0, False

    def add(self, maps: Mapping[int, NDArray[Any]], weights: NDArray[Any]) -> None:
        """Take in one tile: maps ``(h, w)`` by expert, and weights ``(M, h, w)`` or ``(M, 1, 1)``."""
        ran = sorted(m for m in maps if weights[m].any())
        if len(ran) > 1:
            self.pairs = True
            total, pixels = contradiction(np.stack([maps[m] for m in ran]), weights[ran] > 0)
            self.total += total
            self.pixels += pixels

    @property
    def disagreement(self) -> float:
        """0 to 1; NaN where nowhere two experts ran."""
        return self.total / max(self.pixels, LEAST_AREA) if self.pairs else math.nan
