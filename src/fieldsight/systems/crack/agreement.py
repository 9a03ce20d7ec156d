"""How far the experts that ran agree, summed over tiles; see :func:`fieldsight.systems.crack.review.disagreement`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.crack.review import LEAST_AREA, NEAR


class Agreement:
    """Mean of ``|p_i - p_j|`` over pairs of experts and over pixels to which any of them gives ``NEAR`` or more."""

    def __init__(self) -> None:
        self.total, self.pixels, self.pairs = 0.0, 0, False

    def add(self, maps: Mapping[int, NDArray[Any]]) -> None:
        """Take in the maps ``(H, W)`` of one tile by expert."""
        own = np.stack(list(maps.values()))
        near = np.sort(own[:, own.max(axis=0) >= NEAR].astype(np.float64), axis=0)
        self.pixels += near.shape[1]
        k = len(near)
        if k > 1:
            self.pairs = True
            # the sum of all pairwise distances of sorted numbers, without the pairs
            self.total += float(((2.0 * np.arange(k) - (k - 1)) @ near).sum()) / (k * (k - 1) / 2)

    @property
    def disagreement(self) -> float:
        """0 to 1; NaN where nowhere two experts ran."""
        return self.total / max(self.pixels, LEAST_AREA) if self.pairs else math.nan
