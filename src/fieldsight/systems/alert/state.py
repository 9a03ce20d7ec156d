"""What the engine says after a step, and what an estimator says to the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: ``no judgement`` means that nobody watches: it is neither safe nor dangerous, and must be told apart from both.
State = Literal["alarm", "clear", "warming up", "no judgement"]

#: How "no impact" is written in the paper's files.
NEVER = 9999.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One surface or object that might hit.

    Attributes:
        distance: metres to its near face.
        speed: m/s along the way to the wearer; negative while it closes.
        tti: seconds to impact; infinite while it does not close.
        passes: False where an estimator's own test (corridor, hit probability) rules it out whatever the thresholds.
        fastest: closing speed that the readings still allow, m/s; the speed threshold is held against it. NaN where
            the estimator knows no uncertainty: then against ``speed``.
        bearing: radians, positive to the right.
        ground_speed: m/s over the ground where the wearer's motion is known, else NaN.
        id: of its track, or -1.
    """

    distance: float
    speed: float
    tti: float
    passes: bool = True
    bearing: float = math.nan
    ground_speed: float = math.nan
    id: int = -1
    fastest: float = math.nan

    @property
    def limit(self) -> float:
        """What the speed threshold is held against, m/s."""
        return self.speed if math.isnan(self.fastest) else self.fastest


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the numbers of a frame rest on.

    Attributes:
        dt: seconds between the frames that were compared.
        n_roi, n_valid, n_close, n_moving: pixels looked at, with a return, close, and moved.
        median: metres, the quantile that parts close from far.
    """

    dt: float = math.nan
    n_roi: int = 0
    n_valid: int = 0
    n_close: int = 0
    n_moving: int = 0
    median: float = math.nan


@dataclass(frozen=True, slots=True)
class Estimate(Counts):
    """What an estimator read from one frame; :class:`Counts` besides.

    Attributes:
        distance, speed, tti: of what it would warn of first; NaN, 0 and infinity where there is nothing.
        judged: False where the frame allows no judgement; ``reason`` says why.
        reason: in words.
        ready: False while more frames are needed.
        candidates: everything that might hit, most urgent first; empty for estimators that know one number only.
        forced: the alert itself, for baselines that use no thresholds; else None.
        confidence: 0 to 1.
    """

    distance: float = math.nan
    speed: float = 0.0
    tti: float = math.inf
    judged: bool = True
    reason: str = ""
    ready: bool = True
    candidates: tuple[Candidate, ...] = ()
    forced: bool | None = None
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class AlertState(Counts):
    """The engine's word on one processed frame; :class:`Counts` besides.

    Attributes:
        t: seconds, the frame's own time.
        state: ``alarm``, ``clear``, ``warming up`` or ``no judgement``.
        alert: True exactly in the state ``alarm``.
        level: 0 none, 1 alarm, 2 impact within 2 s, 3 within 1 s.
        distance: metres to the threat, or NaN (the paper's *threatDistance*).
        speed: closing speed in m/s, negative while it closes.
        tti: seconds to impact, or infinity.
        confidence: 0 to 1.
        reason: why, in words.
        bearing: radians to the right, or NaN.
        ground_speed: m/s of the threat over the ground, or NaN.
        track: number of the tracked object, or -1.
        candidates: everything the thresholds were held against.
        forced: as in :class:`Estimate`.
    """

    t: float
    state: State
    alert: bool = False
    level: int = 0
    distance: float = math.nan
    speed: float = 0.0
    tti: float = math.inf
    confidence: float = 0.0
    reason: str = ""
    bearing: float = math.nan
    ground_speed: float = math.nan
    track: int = -1
    candidates: tuple[Candidate, ...] = ()
    forced: bool | None = None

    @property
    def judged(self) -> bool:
        """True where somebody watches: ``alarm`` or ``clear``."""
        return self.state in ("alarm", "clear")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None, infinity the paper's 9999; the core's word for ``t`` is ``time``."""
        found: dict[str, Any] = {"time": self.t, "state": self.state}
        for name in FIELDS:
            value = getattr(self, name)
            if isinstance(value, float):
                value = None if math.isnan(value) else NEVER if math.isinf(value) else value
            found[name] = value
        return found

    def message(self) -> Mapping[str, Any]:
        """The short form for a cane handle or a watch: level, TTI, speed, bearing in degrees; 255 is no judgement."""
        return {
            "l": self.level if self.judged else 255,
            "tti": None if math.isinf(self.tti) else round(self.tti, 2),
            "v": round(self.speed, 2),
            "b": None if math.isnan(self.bearing) else round(math.degrees(self.bearing)),
        }


#: Fields of :class:`AlertState` that are written, in order, after ``time`` and ``state``.
FIELDS = (
    "alert", "level", "distance", "speed", "tti", "confidence", "reason", "bearing", "ground_speed", "track", "dt",
    "n_roi", "n_valid", "n_close", "n_moving", "median",
)  # fmt: skip


def time_to_impact(distance: float, speed: float) -> float:
    """``distance / |speed|`` while it closes (equation 7), else infinity."""
    return distance / -speed if speed < 0 and not math.isnan(distance) else math.inf
