"""The paper's family: pixels that are close and have moved (Algorithms 2 and 3), as printed and as shipped.

One estimator serves the modes ``paper``, ``paper_dt``, ``authors_app``, ``quartile``, ``distance_only`` and
``always_closer``; what differs is in :class:`~fieldsight.systems.alert.config.AlertConfig`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.state import Estimate, time_to_impact

#: Modes that compare one number of each frame, not pixels.
BASELINES = ("quartile", "distance_only", "always_closer")


def region(shape: tuple[int, int], config: AlertConfig) -> tuple[slice, slice]:
    """Rows and columns of the region of interest (Algorithm 2), half-open.

    ``paper`` takes the floor of the product: 213 x 64 of 256 x 192. ``authors`` multiplies after an integer division,
    as the app does: 210 x 64. A single range is its own region.
    """
    height, width = shape
    if height * width == 1:
        return slice(0, 1), slice(0, 1)
    left, right, top, bottom = config.roi
    across, down = ((top, bottom), (left, right)) if config.roi_axes == "sensor" else ((left, right), (top, bottom))
    cut = _authors if config.roi_rounding == "authors" else _floor
    return slice(*(cut(height, share) for share in down)), slice(*(cut(width, share) for share in across))


def _floor(size: int, share: float) -> int:
    return math.floor(size * share + 1e-9)  # 1/3 of 192 must be 64, not 63.99...


def _authors(size: int, share: float) -> int:
    parts = 12 if abs(share * 3 - round(share * 3)) > 1e-9 else 3
    return round(share * parts) * (size // parts)


@dataclass(frozen=True, slots=True)
class Moved:
    """What Algorithm 3 reads from two regions.

    Attributes:
        distance: mean depth of the close pixels that moved, or NaN.
        difference: their mean change of depth in metres; negative while they come nearer.
        n_valid, n_close, n_moving: pixels.
        median: the depth that parts close from far.
    """

    distance: float
    difference: float
    n_valid: int
    n_close: int
    n_moving: int
    median: float


def moved(
    now: Array, before: Array, quantile: float = 0.5, step: float = 0.2, strict: bool = False, least: int = 1
) -> Moved:
    """Close pixels that moved (Algorithm 3, equations 1 to 6 but for the division by time).

    Args:
        now, before: ``(H, W)`` float32 metres of the same region; NaN where nothing came back.
        quantile: share that counts as close; 0.5 is the median.
        step: metres a pixel must have moved.
        strict: ``<`` the quantile, taken as the element at ``n * quantile``, and ``>`` the step: the released app.
        least: fewer moved pixels give no estimate.

    Returns:
        Sums are taken in float64. With no moved pixel the distance is NaN and the difference 0.
    """
    seen = now > 0  # False for NaN
    n_valid = int(np.count_nonzero(seen))
    if n_valid == 0:
        return Moved(math.nan, 0.0, 0, 0, 0, math.nan)
    depths = now.ravel() if n_valid == now.size else now[seen]
    border = _border(depths, quantile, strict)
    close = now < border if strict else now <= border
    close &= seen
    change = now - before  # NaN wherever either is missing: no comparison below is true then
    size = np.abs(change)
    here = (size > step if strict else size >= step) & close & (before > 0)
    count = int(np.count_nonzero(here))
    n_close = int(np.count_nonzero(close))
    if count < least:
        return Moved(math.nan, 0.0, n_valid, n_close, count, border)
    distance = float(np.sum(now[here], dtype=np.float64)) / count
    return Moved(distance, float(np.sum(change[here], dtype=np.float64)) / count, n_valid, n_close, count, border)


def _border(depths: Array, quantile: float, strict: bool) -> float:
    """The quantile of depths without NaN by partial sorting, O(n): the mean of the middle two for the median."""
    size = depths.size
    if strict:
        return float(np.partition(depths, min(int(size * quantile), size - 1))[min(int(size * quantile), size - 1)])
    place = quantile * (size - 1)
    low = math.floor(place)
    high = min(low + 1, size - 1)
    parted = np.partition(depths, high)  # one place only: for two of them numpy is slower than a full sort
    upper = float(parted[high])
    lower = float(parted[:high].max()) if low < high else upper
    return lower + (place - low) * (upper - lower)


class Differencing:
    """The modes that compare a frame with an earlier one, pixel by pixel or by one number."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self._past: deque[tuple[Array, float, float, int]] = deque(maxlen=self.config.lag)

    def update(self, frame: Frame) -> Estimate:
        """One processed frame; NaN and saturated pixels are normal."""
        config = self.config
        crop = np.asarray(frame.depth[region(frame.depth.shape, config)], dtype=np.float32)
        seen = crop > 0
        n_valid = int(np.count_nonzero(seen))
        one = self._one_number(crop[seen]) if n_valid and config.mode in BASELINES else math.nan
        past = self._past[0] if len(self._past) == config.lag else None
        self._past.append((crop.copy(), frame.t, one, n_valid))
        if not n_valid:
            words = "nothing came back in the part that is looked at"
            return Estimate(judged=False, reason=words, n_roi=crop.size)
        if past is None or not past[3]:
            words = "first frames" if past is None else "nothing came back in the earlier frame"
            return Estimate(ready=False, reason=words, n_roi=crop.size, n_valid=n_valid)
        dt = config.fixed_dt if config.dt == "fixed" else frame.t - past[1]
        if config.mode in BASELINES:
            return self._baseline(one, past[2], dt, crop.size, n_valid)
        found = moved(crop, past[0], config.quantile, config.move_threshold, config.strictly, config.min_moving)
        speed = found.difference / dt
        return Estimate(
            found.distance, speed, time_to_impact(found.distance, speed), reason=self._words(found), dt=dt,
            n_roi=crop.size, n_valid=found.n_valid, n_close=found.n_close, n_moving=found.n_moving,
            median=found.median, confidence=found.n_valid / crop.size,
        )  # fmt: skip

    def _words(self, found: Moved) -> str:
        if found.n_moving < self.config.min_moving:
            return "no close pixel moved"
        return f"{found.n_moving} close pixels moved"

    def _one_number(self, depths: Array) -> float:
        """What a baseline compares: the nearest depth, or the mean of what is nearer than the lower quartile and a
        little (the app's revision of 2024)."""
        if self.config.mode != "quartile":
            return float(depths.min())
        lower = _border(depths, self.config.quantile, strict=False)
        near = depths[depths <= lower + min(0.5, 0.1 * lower)]
        return float(np.mean(near, dtype=np.float64))

    def _baseline(self, now: float, before: float, dt: float, n_roi: int, n_valid: int) -> Estimate:
        speed = (now - before) / dt
        forced = None
        if self.config.mode == "distance_only":
            forced = now < self.config.near
        elif self.config.mode == "always_closer":
            forced = now < before
        return Estimate(
            now, speed, time_to_impact(now, speed), forced=forced, dt=dt, n_roi=n_roi, n_valid=n_valid,
            confidence=n_valid / n_roi, reason="nearest of the part looked at",
        )  # fmt: skip
