"""``looming``: time to impact from the growth of the nearest silhouette (Lee 1976); depth need not be metric.

``tti = s / (ds/dt)`` with ``s`` the square root of the silhouette's area in pixels.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.decision import theil_sen
from fieldsight.systems.alert.differencing import region
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.state import Estimate

#: The silhouette reaches from the nearest depth to this much farther.
DEEP = 1.25
#: Share of the silhouette that must be the same piece as before.
OVERLAP = 0.3
#: Fewest returns in the middle rows that a silhouette can be looked for among.
LEAST_PIXELS = 60


class Looming:
    """The estimator of the mode ``looming``."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self._past: deque[tuple[float, float]] = deque(maxlen=40)
        self._piece: Array | None = None

    def update(self, frame: Frame) -> Estimate:
        """One processed frame; only ratios of depths are used, and the distance is in the depth's own unit."""
        if frame.depth.size == 1:
            return Estimate(judged=False, reason="one range has no silhouette: use nearest")
        whole = np.asarray(frame.depth, dtype=np.float32)
        crop = whole[:, region(whole.shape, self.config)[1]]  # full height: a silhouette must be seen whole
        seen = crop > 0
        n_valid = int(np.count_nonzero(seen))
        common: dict[str, Any] = {"n_roi": crop.size, "n_valid": n_valid, "confidence": n_valid / crop.size}
        piece, near = _silhouette(crop, seen, region(whole.shape, self.config)[0])
        if piece is None:
            self.reset()
            few = "too little came back in the part that is looked at"
            return Estimate(judged=not math.isnan(near), reason=few if math.isnan(near) else "no silhouette", **common)
        if self._piece is None or np.count_nonzero(piece & self._piece) < OVERLAP * np.count_nonzero(self._piece):
            self._past.clear()
        self._piece = piece
        area = int(np.count_nonzero(piece))
        self._past.append((frame.t, math.sqrt(area)))
        while frame.t - self._past[0][0] > self.config.window + 1e-6:
            self._past.popleft()
        if len(self._past) < 3:
            return Estimate(near, ready=False, reason="a new silhouette", n_close=area, **common)
        past = np.array(self._past)
        growth = theil_sen(past[:, 0], past[:, 1])
        tti = math.sqrt(area) / growth if growth > 1e-9 else math.inf
        speed = -near / tti if math.isfinite(tti) else 0.0
        cut = bool(piece[:, 0].any() or piece[:, -1].any())
        words = "the silhouette leaves the picture: it can't grow as it should" if cut else "growth of a silhouette"
        return Estimate(near, speed, tti, reason=words, n_close=area, **common)


def _silhouette(crop: Array, seen: Array, rows: slice) -> tuple[Array | None, float]:
    """The largest connected piece at the nearest depths of the middle rows, and its depth: NaN where too little came
    back, and no piece where none is large enough."""
    from scipy import ndimage

    depths = crop[rows][seen[rows]]
    if depths.size < LEAST_PIXELS:
        return None, math.nan
    near = float(np.partition(depths, depths.size // 20)[depths.size // 20])
    labels, count = ndimage.label(seen & (crop <= DEEP * near) & (crop >= near / DEEP))
    sizes = np.bincount(labels[rows].ravel(), minlength=count + 1)
    sizes[0] = 0
    best = int(np.argmax(sizes))
    return (labels == best if sizes[best] >= 20 else None), near
