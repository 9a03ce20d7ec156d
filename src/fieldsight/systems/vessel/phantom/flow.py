"""Contrast medium on its way: it fills a vessel in the order of the path from the ostium and leaves the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

#: Frames a second of a coronary run.
FPS = 15.0


@dataclass(frozen=True)
class Flow:
    """One injection; all times in seconds after it began.

    Attributes:
        speed: of the front, mm/s.
        delay: until the front leaves the catheter.
        rise: from nothing to full concentration at one place.
        full: all vessels are filled from here ...
        ends: ... until here, when blood without contrast enters the ostium.
        fade: from full concentration to nothing at one place.
    """

    speed: float
    delay: float
    rise: float
    full: float
    ends: float
    fade: float

    def concentration(self, path: Doubles, time: float) -> Doubles:
        """Concentration, 0 to 1, at ways ``(n,)`` from the ostium (mm) at a time (s)."""
        late = time - path / self.speed
        entered = np.clip((late - self.delay) / self.rise, 0.0, 1.0)
        left = np.clip((late - self.ends) / self.fade, 0.0, 1.0)
        return np.asarray(_smooth(entered) * (1 - _smooth(left)))

    def is_mid_phase(self, time: float) -> bool:
        """All vessels are full and none has begun to empty."""
        return self.full <= time <= self.ends


def draw_flow(reach: float, rng: np.random.Generator) -> Flow:
    """An injection into a tree whose longest way from the ostium is ``reach`` mm."""
    speed, delay, rise = float(rng.uniform(210.0, 320.0)), float(rng.uniform(0.0, 0.12)), float(rng.uniform(0.15, 0.25))
    full = delay + reach / speed + rise
    return Flow(speed, delay, rise, full, full + float(rng.uniform(1.0, 1.6)), float(rng.uniform(0.5, 0.9)))


def _smooth(x: Doubles) -> Doubles:
    return np.asarray(x * x * (3 - 2 * x))
