"""What forbids a judgement: clocks, units, covered lenses, pictures that stand still."""

from __future__ import annotations

import math

import numpy as np

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Array

#: A stream of the same picture for so many seconds stands still; sensors are never that quiet.
FROZEN_AFTER = 1.0
#: Half of a picture nearer than this: something covers the lens, m.
COVERED = 0.15
#: Frames that could not be judged yet for so many seconds will never be: they come too seldom, or change too much.
PATIENCE = 3.0
#: A clock that ran backwards by more than this was set anew.
RESTART = 1.0


class Watch:
    """Looks at times and sizes from frame to frame."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self._t = math.nan
        self._shape: tuple[int, ...] | None = None
        self._K: bytes = b""
        self._print: bytes = b""
        self._same_since = math.nan
        self._judged = math.nan
        self._waited = 0

    def clock(self, t: float) -> str:
        """What is wrong with a frame's time, or nothing."""
        if not math.isfinite(t):
            return "the frame has no time"
        if math.isnan(self._t) or t > self._t:
            return ""
        if t == self._t:
            return f"two frames carry the same time, {t:.3f} s"
        if self._t - t > RESTART:
            before, self._t = self._t, math.nan  # the next frame begins anew
            self._shape = None
            return f"the clock went back from {before:.3f} to {t:.3f} s: it was set anew"
        return f"frame out of order: {t:.3f} s after {self._t:.3f} s"

    def news(self, shape: tuple[int, ...], t: float, K: Array | None) -> str:
        """Why the past says nothing any more, or nothing: first frame, a pause, another size or lens."""
        matrix = b"" if K is None else K.tobytes()
        before, size, lens = self._t, self._shape, self._K
        self._t, self._shape, self._K = t, shape, matrix
        if size is None:
            return "first frame"
        longest = self.config.max_gap * self.config.period
        if t - before > longest:
            return f"no frame for {t - before:.2f} s"
        if shape != size:
            return f"the size changed from {size[1]} x {size[0]} to {shape[1]} x {shape[0]}"
        return "the intrinsics changed" if matrix != lens else ""

    def frozen(self, picture: Array, t: float) -> str:
        """Whether the very same picture came again and again; one range may repeat, a picture may not."""
        if picture.size == 1:
            return ""
        mark = picture[:: max(1, picture.shape[0] // 24), :: max(1, picture.shape[1] // 32)].tobytes()
        if mark != self._print:
            self._print, self._same_since = mark, t
        if t - self._same_since >= FROZEN_AFTER:
            return f"the picture has stood still for {t - self._same_since:.1f} s"
        return ""

    def waiting(self, t: float, ready: bool) -> str:
        """Whether frame after frame could not be judged yet, or nothing."""
        self._waited = 0 if ready else self._waited + 1
        if ready or math.isnan(self._judged) or t < self._judged:
            self._judged = t
        if self._waited > 2 and t - self._judged > PATIENCE:  # one long pause is no rule
            return f"nothing could be judged for {t - self._judged:.1f} s"
        return ""


def picture_problem(picture: Array, config: AlertConfig) -> str:
    """Why a picture ``(H, W)`` can't be judged, or nothing."""
    step = max(1, math.isqrt(picture.size // 3072))  # some thousand pixels are enough to see it
    some = picture[::step, ::step]
    seen = some[some > 0]
    if seen.size == 0 and not bool((picture > 0).any()):
        return "nothing came back: the lens is covered, the sensor is off, or it is too far to anything"
    if picture.size == 1:
        return ""
    if seen.size < max(config.min_valid * some.size, 2):
        return f"only {seen.size / some.size:.1%} of the picture came back, {config.min_valid:.1%} are needed"
    middle = float(np.median(seen)) if seen.size else math.nan
    from fieldsight.systems.alert.units import unit_problem

    problem = unit_problem(seen)
    if problem:
        return problem
    if middle < COVERED:
        return f"half of what came back is nearer than {middle:.2f} m: the lens is covered"
    return ""
