"""The engine: one depth frame and its time in, one :class:`AlertState` out. It never raises on bad frames.

An estimator reads distance and closing speed from frames (what the modes differ in); the decision holds them against
the thresholds (what the sliders move). Whatever forbids a judgement (no picture, clock running backwards, wrong unit,
a lens that is covered, a picture that stands still) gives the state ``no judgement`` with its reason, never
``clear``: silence must not look like safety.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fieldsight.systems.alert.checks import Watch, picture_problem
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.corridor import Corridor
from fieldsight.systems.alert.decision import Decision, level_of
from fieldsight.systems.alert.differencing import Differencing
from fieldsight.systems.alert.looming import Looming
from fieldsight.systems.alert.poses import is_lens, is_rigid
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.state import AlertState, Candidate, Estimate
from fieldsight.systems.alert.track import Tracker


class Estimator(Protocol):
    """Reads distance and closing speed from frames."""

    def reset(self) -> None:
        """Forget earlier frames."""

    def update(self, frame: Frame) -> Estimate:
        """One processed frame."""
        ...


def estimator(config: AlertConfig) -> Estimator:
    """The estimator of a mode."""
    if config.mode == "nearest":
        return Corridor(config)
    if config.mode == "track":
        return Tracker(config)
    if config.mode == "looming":
        return Looming(config)
    return Differencing(config)


class AlertEngine:
    """States from frames.

    Args:
        config: mode, thresholds and constants.

    ::

        engine = AlertEngine(AlertConfig(mode="paper", period=0.5))
        state = engine.step(depth, t)       # (H, W) metres, seconds; None between two processed frames
    """

    def __init__(self, config: AlertConfig | None = None) -> None:
        self.config = config or AlertConfig()
        self._estimator = estimator(self.config)
        self._decision = Decision(self.config)
        self.start()

    def start(self) -> None:
        """Forget everything: the next frame is the first."""
        self._watch = Watch(self.config)
        self._forget()

    def thresholds(self, speed: float, tti: float) -> None:
        """Move the sliders without forgetting what was seen.

        Args:
            speed: m/s, 0 or below.
            tti: seconds.
        """
        self.config = self.config.replace(speed_threshold=speed, tti_threshold=tti)
        self._decision.config = self.config

    def _forget(self) -> None:
        self._estimator.reset()
        self._decision.reset()
        self._last: float | None = None
        self._before: float | None = None
        self._skipped = 0

    def step(
        self,
        depth: Any,
        t: float,
        confidence: Array | None = None,
        K: Array | None = None,
        pose: Array | None = None,
    ) -> AlertState | None:
        """Take one frame.

        Args:
            depth: ``(H, W)`` plane depth in metres, NaN or <= 0 where nothing came back; a range is ``(1, 1)``.
            t: the frame's time in seconds. It must grow; other frames are refused by their state.
            confidence: ``(H, W)`` uint8, 0 guessed to 2 good.
            K: ``(3, 3)`` intrinsics in pixels; what is no lens counts as none.
            pose: ``(4, 4)`` ``T_world_cam``, metres; what is no turn and step counts as none.

        Returns:
            The state, or None where the frame was not due (``period``, ``every_n``).
        """
        stamp = _number(t)
        picture, problem = _picture(depth)
        lens = _matrix(K, is_lens)
        problem = problem or self._watch.clock(stamp)
        if problem:
            return self._refuse(stamp, problem)
        news = self._watch.news(picture.shape, stamp, lens)
        if news:
            self._forget()
        due = self._due(stamp)
        self._before = stamp
        if not due:
            return None
        self._last = stamp
        problem = picture_problem(picture, self.config) or self._watch.frozen(picture, stamp)
        if problem:
            return self._refuse(stamp, problem)
        frame = Frame(picture, stamp, _confidence(confidence, picture), lens, _matrix(pose, is_rigid))
        estimate = self._estimator.update(frame)
        return self._judge(stamp, estimate, news)

    def _due(self, t: float) -> bool:
        """Every n-th frame, or the one nearest to a period after the last: clocks jitter."""
        if self._last is None:
            self._skipped = 0
            return True
        if self.config.every_n:
            self._skipped += 1
            if self._skipped < self.config.every_n:
                return False
            self._skipped = 0
            return True
        between = self.config.period if self._before is None else min(t - self._before, self.config.period)
        return t >= self._last + self.config.period - between / 2

    def _judge(self, t: float, estimate: Estimate, news: str) -> AlertState:
        if not estimate.judged:
            self._decision.pause()
            return _state(t, "no judgement", False, estimate, estimate.reason)
        long = self._watch.waiting(t, estimate.ready)
        if not estimate.ready:
            self._decision.pause()
            words = news or estimate.reason
            if long:
                return _state(t, "no judgement", False, estimate, f"{long}: {words}")
            return _state(t, "warming up", False, estimate, words)
        alert, chosen = self._decision.step(estimate)
        if alert and chosen is not None and chosen.limit < self.config.speed_threshold <= chosen.speed:
            estimate = dataclasses.replace(estimate, reason=f"{estimate.reason}; it may close faster than it seems")
        return _state(t, "alarm" if alert else "clear", alert, estimate, news or estimate.reason, chosen)

    def _refuse(self, t: float, problem: str) -> AlertState:
        self._decision.pause()
        return AlertState(t, "no judgement", reason=problem)


def _state(
    t: float, state: Any, alert: bool, estimate: Estimate, reason: str, chosen: Candidate | None = None
) -> AlertState:
    distance, speed, tti = estimate.distance, estimate.speed, estimate.tti
    bearing, ground, track = math.nan, math.nan, -1
    if chosen is not None:
        distance, speed, tti = chosen.distance, chosen.speed, chosen.tti
        bearing, ground, track = chosen.bearing, chosen.ground_speed, chosen.id
    return AlertState(
        t, state, alert, level_of(tti) if alert else 0, distance, speed, tti, estimate.confidence, reason, bearing,
        ground, track, estimate.candidates, estimate.forced, dt=estimate.dt, n_roi=estimate.n_roi,
        n_valid=estimate.n_valid, n_close=estimate.n_close, n_moving=estimate.n_moving, median=estimate.median,
    )  # fmt: skip


def _number(t: Any) -> float:
    try:
        return float(t)
    except (TypeError, ValueError):
        return math.nan


def _picture(depth: Any) -> tuple[Array, str]:
    """The depth as a float32 picture, or why it is none."""
    try:
        picture = np.asarray(depth)
        if picture.dtype.kind not in "fiu":
            return np.empty((0, 0), np.float32), f"the frame holds {picture.dtype}, not metres"
        picture = picture.astype(np.float32, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        return np.empty((0, 0), np.float32), f"the frame is no picture: {error}"
    if not np.isfinite(picture).all():
        picture = np.where(np.isinf(picture), np.float32(math.nan), picture)  # how some sensors say that it is far
    if picture.ndim == 0:
        picture = picture.reshape(1, 1)
    if picture.ndim != 2 or picture.size == 0:
        return picture, f"a depth frame is (height, width), got {picture.shape}"
    if picture.size > 1 and (picture.shape[0] < 6 or picture.shape[1] < 12):
        return picture, f"a depth frame has at least 12 x 6 pixels, got {picture.shape[1]} x {picture.shape[0]}"
    return picture, ""


def _confidence(confidence: Any, picture: Array) -> Array | None:
    found = _array(confidence)
    return found if found is not None and found.shape == picture.shape else None


def _matrix(values: Any, known: Callable[[Array], bool]) -> Array | None:
    """A matrix that is what it should be, or None: a broken pose is no pose, a broken lens no lens."""
    found = _array(values)
    return found.astype(np.float64) if found is not None and known(found) else None


def _array(values: Any) -> Array | None:
    """Real numbers as an array; None where there are none, or something else."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.dtype.kind in "biuf" else None
