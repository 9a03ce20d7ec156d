"""Who watches now: senders of frames, each with an engine of its own, and what may be told to those who look.

Everything here answers one question at any moment: is somebody watching, and what do they see? A sender that stalls,
ends, sends garbage or comes late is *no judgement* with its reason, and recovers by itself when good frames come.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fieldsight.errors import FieldsightError
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.decision import Decision, level_of
from fieldsight.systems.alert.engine import AlertEngine
from fieldsight.systems.alert.recording import Frame
from fieldsight.systems.alert.selftest import Report, SelfTest
from fieldsight.systems.alert.state import AlertState, Estimate

#: Seconds without a frame after which nobody watches.
STALL = 0.8
#: Seconds that a frame may be older than the freshest ones were.
LATE = 0.8
#: Senders at once.
MOST = 16
#: Seconds for which a sender that went away still counts as missing.
MISSED = 30.0

Clock = Callable[[], float]


class FullError(FieldsightError):
    """There are as many senders as are taken."""


def unwatched(reason: str, t: float = 0.0) -> AlertState:
    """The state of a place where nobody watches."""
    return AlertState(t, "no judgement", reason=reason)


@dataclass(frozen=True)
class Seen:
    """A frame that was judged.

    Attributes:
        number: counts up.
        frame: the frame.
        state: the engine's word.
        previous: distance in the state before, or NaN.
        at: when it was judged, by the clock of this machine.
    """

    number: int
    frame: Frame
    state: AlertState
    previous: float
    at: float


class Lateness:
    """How much older a frame is than the freshest were, without a common clock: their least delay of late."""

    span = 15.0

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._before = self._now = math.inf
        self._began = self._t = -math.inf

    def add(self, t: float, arrived: float) -> float:
        """Seconds that a frame with its time comes late."""
        offset = arrived - t
        if not math.isfinite(t):
            return 0.0
        if t < self._t:  # its clock was set anew
            self._reset()
        if arrived - self._began > self.span:
            self._before, self._now, self._began = self._now, math.inf, arrived
        self._now, self._t = min(self._now, offset), t
        return offset - min(self._before, self._now)


class Feed:
    """One sender.

    Args:
        name: for people.
        config: of its engine.
        clock: seconds, for tests.
    """

    def __init__(self, name: str, config: AlertConfig, clock: Clock = time.monotonic) -> None:
        self.name, self.config, self._clock = name, config, clock
        self.born = clock()
        self.known: dict[str, Any] = {}
        self.ended = ""
        self.ended_at = math.inf
        self.frames = self.bad = self.dropped = 0
        self.seen: Seen | None = None
        self.recent: deque[tuple[int, AlertState]] = deque(maxlen=64)  # without frames: they may be large
        self.latency: deque[float] = deque(maxlen=300)
        self.report: Report = SelfTest(config).report()
        self._lock = threading.Lock()
        self._wire = ""
        self._picture: tuple[int, bytes] = (0, b"")
        self._begin()

    def _begin(self) -> None:
        self._engine = AlertEngine(self.config)
        self._test = SelfTest(self.config, self.known.get("max_range"), self.known.get("camera_height"))
        self._lateness = Lateness()
        self._arrived = self._good = self._clock()
        self._behind = 0.0
        self._reported = -math.inf
        self._began = False

    def know(self, **facts: float) -> None:
        """Take what a sender says of its sensor: ``max_range``, ``camera_height``."""
        with self._lock:
            self.known.update(facts)
            if "camera_height" in facts:
                self.config = self.config.replace(camera_height=facts["camera_height"])
            self._begin()

    def again(self) -> None:
        """Forget the past: a recording begins anew, a sender came back."""
        with self._lock:
            self.ended, self.ended_at = "", math.inf
            self._begin()

    def take(self, frame: Frame, arrived: float | None = None) -> AlertState | None:
        """Judge a frame; None where it was not due or came too late to be judged. It never raises for bad frames."""
        with self._lock:
            now = self._clock() if arrived is None else arrived
            self.frames += 1
            self._wire = ""
            self._arrived, self._began = now, True
            self._behind = self._lateness.add(frame.t, now)
            if self._behind > LATE:  # a queue somewhere: the faster it is emptied the sooner frames are fresh again
                self.dropped += 1
                return None
            state = self._judge(frame)
            done = self._clock()
            if state is not None:
                self._good = done
                self.latency.append(1000 * (done - now))
                self._keep(frame, state, done)
            return state

    def _judge(self, frame: Frame) -> AlertState | None:
        try:
            self._test.add(frame)
            state = self._engine.step(frame.depth, frame.t, frame.confidence, frame.K, frame.pose)
        except Exception as error:  # the engine is not to raise; if it does, nobody watches, and that is said
            self.bad += 1
            return unwatched(f"the engine failed on a frame: {error}", frame.t)
        if frame.t - self._reported >= 0.5 or frame.t < self._reported:
            self.report, self._reported = self._test.report(), frame.t
        return state

    def _keep(self, frame: Frame, state: AlertState, now: float) -> None:
        before = self.seen
        previous = before.state.distance if before is not None else math.nan
        self.seen = Seen(before.number + 1 if before else 1, frame, state, previous, now)
        self.recent.append((self.seen.number, state))

    def trouble(self, words: str) -> None:
        """Something came that is no frame."""
        with self._lock:
            self.bad += 1
            self._wire = words

    def waits(self, words: str) -> None:
        """Say why no frame has come yet."""
        self._wire = words

    def drop(self, count: int = 1) -> None:
        """Frames were left out since newer ones were there."""
        self.dropped += count

    def end(self, words: str) -> None:
        """The sender went away."""
        self.ended, self.ended_at = words, self._clock()

    def problem(self) -> str:
        """Why nobody watches here at this moment, whatever the last state was; empty where somebody does."""
        now = self._clock()
        if self.ended:
            return self.ended
        silent = now - self._arrived
        because = f": {self._wire}" if self._wire else ""
        if not self._began:
            return because[2:] or "no frame has come yet"
        if silent > STALL:
            return f"no frame for {silent:.1f} s{because}"
        if self._behind > LATE:
            return f"the frames come {self._behind:.1f} s late"
        if now - self._good > self._patience():
            return f"no frame could be judged for {now - self._good:.1f} s{because}"
        return ""

    def _patience(self) -> float:
        """Seconds between two judgements that are no cause for worry."""
        if self.config.every_n:
            return max(3.0, STALL)
        return max(STALL, 2.5 * self.config.period)

    def now(self, state: AlertState | None) -> AlertState:
        """What holds at this moment, when ``state`` was the last word: alarms stand, ``clear`` must be earned."""
        problem = self.problem()
        t = state.t if state is not None else 0.0
        if problem or state is None:
            return unwatched(problem or "no frame was judged yet", t)
        if state.state != "clear":
            return state
        if self.report.verdict == "not protected":
            return unwatched(self.report.reason, t)
        if self.report.verdict == "checking":
            return dataclasses.replace(state, state="warming up", reason="the self-test is running")
        return state

    def status(self) -> AlertState:
        """What holds at this moment, at the engine's own thresholds."""
        return self.now(self.seen.state if self.seen is not None else None)

    def picture(self) -> bytes:
        """The last judged frame in false colours, as JPEG; empty before the first."""
        from fieldsight.systems.alert.live_view import jpeg

        seen = self.seen
        if seen is None:
            return b""
        if self._picture[0] != seen.number:
            self._picture = (seen.number, jpeg(seen.frame.depth, self.config.reach))
        return self._picture[1]


class View:
    """Somebody who looks at a feed, with thresholds of their own.

    Args:
        speed: m/s.
        tti: seconds.
    """

    def __init__(self, speed: float, tti: float) -> None:
        self.speed, self.tti = speed, tti
        self._feed: Feed | None = None
        self._decision: Decision | None = None
        self._number = 0
        self._state: AlertState | None = None

    def thresholds(self, speed: float, tti: float) -> None:
        """Move the sliders; what was seen is not forgotten."""
        self.speed, self.tti = speed, tti
        if self._decision is not None:
            self._decision.config = self._decision.config.replace(speed_threshold=speed, tti_threshold=tti)

    def look(self, feed: Feed | None) -> AlertState:
        """What holds at this moment."""
        if feed is None:
            return unwatched("nothing is connected")
        if feed is not self._feed or self._decision is None:
            self._feed, self._number, self._state = feed, 0, None
            self._decision = Decision(feed.config.replace(speed_threshold=self.speed, tti_threshold=self.tti))
        for number, state in list(feed.recent):
            if number > self._number:
                self._number, self._state = number, self._decide(state, self._decision)
        return feed.now(self._state)

    @staticmethod
    def _decide(state: AlertState, decision: Decision) -> AlertState:
        """A state at these thresholds: the engine's own where they are the engine's."""
        if not state.judged:
            decision.pause()
            return state
        alert, chosen = decision.step(
            Estimate(state.distance, state.speed, state.tti, candidates=state.candidates, forced=state.forced)
        )
        if chosen is not None:
            state = dataclasses.replace(
                state, distance=chosen.distance, speed=chosen.speed, tti=chosen.tti, bearing=chosen.bearing,
                ground_speed=chosen.ground_speed, track=chosen.id,
            )  # fmt: skip
        level = level_of(state.tti) if alert else 0
        return dataclasses.replace(state, state="alarm" if alert else "clear", alert=alert, level=level)


class Hub:
    """All senders of a server.

    Args:
        config: settings of every engine.
        surface: what was measured of thresholds, see :func:`fieldsight.systems.alert.live_view.expected`; or None.
        clock: seconds, for tests.
    """

    def __init__(
        self, config: AlertConfig, surface: Mapping[str, Any] | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.config, self.surface, self.clock = config, surface, clock
        self.feeds: dict[str, Feed] = {}
        self._lock = threading.Lock()
        self._count = 0

    def open(self, name: str = "sender", config: AlertConfig | None = None) -> Feed:
        """A new sender.

        Raises:
            FullError: there are :data:`MOST` already.
        """
        with self._lock:
            self._sweep()
            if sum(not f.ended for f in self.feeds.values()) >= MOST:
                raise FullError(f"{MOST} senders are connected; that is as many as this server takes.")
            self._count += 1
            kept = "".join(c for c in name if c.isalnum() or c in " -_")[:32].strip() or "sender"
            if kept in self.feeds and not self.feeds[kept].ended:
                kept = f"{kept} {self._count}"
            self.feeds.pop(kept, None)  # so that it comes last again
            self.feeds[kept] = Feed(kept, config or self.config, self.clock)
            return self.feeds[kept]

    def _sweep(self) -> None:
        now = self.clock()
        for name in [n for n, f in self.feeds.items() if now - f.ended_at > MISSED]:
            del self.feeds[name]

    def find(self, name: str | None = None) -> Feed | None:
        """The feed of a name; without one the newest that sends, else the newest that has gone, else None."""
        with self._lock:
            self._sweep()
            if name is not None:
                return self.feeds.get(name)
            listed = list(self.feeds.values())
        sending = [f for f in listed if not f.ended]
        return sending[-1] if sending else listed[-1] if listed else None

    def status(self) -> AlertState:
        """All senders together: the worst alarm; clear only where every one of them watches and is clear."""
        with self._lock:
            self._sweep()
            states = [f.status() for f in self.feeds.values()]
        if not states:
            return unwatched("nothing is connected")
        alarms = [s for s in states if s.alert]
        if alarms:
            return min(alarms, key=lambda s: s.tti)
        return next((s for s in states if s.state != "clear"), states[-1])
