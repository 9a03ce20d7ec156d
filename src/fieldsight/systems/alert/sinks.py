"""What a person hears and feels: beeps, vibration, and the cane handle.

At an alarm a tone of 880 Hz sounds for 60 ms, again and again, the faster the sooner the impact. When nobody watches
two falling tones say so, every few seconds: silence must never look like safety.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import socket
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.alert.state import AlertState

#: The beep: hertz and seconds.
TONE, LENGTH = 880.0, 0.06
#: The signal that nobody watches: two falling tones, seconds of each, and seconds until it comes again.
LOST_TONES, LOST_LENGTH, LOST_EVERY = (587.0, 392.0), 0.16, 4.0
#: Samples a second of a written WAV.
RATE = 22_050
#: Longest replay that is written as sound.
LONGEST = 6 * 3600.0
#: Loudest sample, of 1.
LOUD = 0.5

#: Seconds without a line after which a cane handle has lost contact.
LOST_CONTACT = 1.0
#: Seconds between two lines to the handle while nothing changes.
HEARTBEAT = 0.25
#: Seconds before a handle that could not be reached is tried again.
AGAIN = 1.0
#: Longest line of the protocol.
LINE = 256
#: Level of a line that says that nobody watches.
UNWATCHED = 255

Sound = NDArray[np.float32]


def beep_period(tti: float) -> float:
    """Seconds from beep to beep: ``0.15 * tti``, from 0.08 to 0.5."""
    return 0.5 if math.isnan(tti) else min(max(0.15 * tti, 0.08), 0.5)


def haptic(tti: float, seconds: float = 1.0) -> list[tuple[int, int]]:
    """Vibration for some seconds as ``(on, off)`` milliseconds: the beeps' period, on for half of it."""
    period = beep_period(tti)
    half = round(500 * period)
    return [(half, half)] * max(1, round(seconds / period))


def pan(bearing: float) -> tuple[float, float]:
    """Loudness left and right of a bearing in radians (positive to the right): constant power; the middle for NaN."""
    side = 0.0 if math.isnan(bearing) else min(max(bearing / (math.pi / 4), -1.0), 1.0)
    angle = (side + 1) * math.pi / 4
    return math.cos(angle), math.sin(angle)


def tone(hertz: float, seconds: float, rate: int = RATE) -> Sound:
    """A tone whose ends are faded in and out over 5 ms, so that it does not click."""
    t = np.arange(round(seconds * rate)) / rate
    fade = np.clip(np.minimum(t, seconds - t) / 0.005, 0, 1)
    return np.asarray(LOUD * fade * np.sin(2 * math.pi * hertz * t), dtype=np.float32)


def beep(bearing: float = math.nan, rate: int = RATE) -> Sound:
    """The beep ``(samples, 2)`` from a bearing."""
    return np.outer(tone(TONE, LENGTH, rate), pan(bearing)).astype(np.float32)


def lost(rate: int = RATE) -> Sound:
    """The signal ``(samples, 2)`` that nobody watches."""
    both = np.concatenate([tone(hertz, LOST_LENGTH, rate) for hertz in LOST_TONES])
    return np.repeat(both[:, None], 2, axis=1) / np.float32(math.sqrt(2))


# --------------------------------------------------------------------------------------------- a replay as sound


@dataclass(frozen=True)
class Cue:
    """Something to be heard.

    Attributes:
        t: seconds after the first state.
        kind: ``beep`` or ``lost``.
        bearing: radians, or NaN.
    """

    t: float
    kind: str
    bearing: float = math.nan


def cues(states: Iterable[AlertState]) -> list[Cue]:
    """When what sounds in a replay. A state holds until the next one; the last for half a second.

    Raises:
        DataError: times that reach over more than six hours.
    """
    timed = [s for s in states if math.isfinite(s.t)]
    found: list[Cue] = []
    if not timed:
        return found
    start, now, due = timed[0].t, 0.0, {"beep": 0.0, "lost": 0.0}
    for number, state in enumerate(timed):
        now = max(now, state.t - start)  # a clock that runs backwards does not take the sound back
        after = timed[number + 1].t - start if number + 1 < len(timed) else now + 0.5
        if after > LONGEST:
            raise DataError(f"The states reach over {after / 3600:.1f} hours; sound is written for up to six.")
        kind = "beep" if state.alert else "lost" if state.state == "no judgement" else ""
        every = beep_period(state.tti) if kind == "beep" else LOST_EVERY
        for other in due:
            if other != kind:
                due[other] = 0.0  # when it begins anew it sounds at once
        while kind and max(due[kind], now) < after:
            at = max(due[kind], now)
            found.append(Cue(at, kind, state.bearing))
            due[kind] = at + every
    return found


def wav_bytes(states: Iterable[AlertState], rate: int = RATE) -> bytes:
    """The alarms of a replay as a stereo WAV, as long as the replay."""
    buffer = io.BytesIO()
    _write(buffer, list(states), rate)
    return buffer.getvalue()


def write_wav(path: str | Path, states: Iterable[AlertState], rate: int = RATE) -> Path:
    """Write the alarms of a replay as a stereo WAV, whole or not at all."""
    target = Path(path)
    with atomic(target) as temporary, temporary.open("wb") as file:
        _write(file, list(states), rate)
    return target


def _write(file: Any, states: list[AlertState], rate: int) -> None:
    told = cues(states)
    times = [s.t for s in states if math.isfinite(s.t)]
    seconds = max(times) - times[0] + 0.5 if times else 0.5
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        for part in _parts(told, round(seconds * rate), rate):
            sound.writeframes((part * 32767).astype("<i2").tobytes())


def _parts(told: list[Cue], samples: int, rate: int) -> Iterator[Sound]:
    """The sound ten seconds at a time; a cue that reaches over the edge goes on in the next part."""
    size, over, at = 10 * rate, np.zeros((0, 2), np.float32), 0
    for begin in range(0, samples, size):
        part = np.zeros((size + rate, 2), np.float32)
        part[: len(over)] += over
        while at < len(told) and round(told[at].t * rate) < begin + size:
            cue = told[at]
            piece = beep(cue.bearing, rate) if cue.kind == "beep" else lost(rate)
            first = round(cue.t * rate) - begin
            part[first : first + len(piece)] += piece
            at += 1
        over = part[size:]
        yield np.clip(part[: min(size, samples - begin)], -1, 1)


# ------------------------------------------------------------------------------------------------ the cane handle


class CaneSink:
    """Tells a cane handle what to do: newline JSON, at each change and four times a second.

    It has a thread of its own, so that a handle that stalls stops nothing else. What it says grows old: when it was
    told nothing for a second it tells the handle that nobody watches.

    Args:
        target: a serial port (``/dev/ttyACM0``, ``COM5``), ``tcp://HOST:PORT``, ``-`` for stdout, or a binary stream.
        clock: seconds, for tests.
    """

    def __init__(self, target: str | BinaryIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.target, self._clock = target, clock
        self.problem = ""
        if isinstance(target, str) and target.startswith("tcp://"):
            host_and_port(target, "cane")
        self._message: dict[str, Any] = dict(AlertState(0.0, "no judgement").message())
        self._told = -math.inf
        self._changed, self._end = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> CaneSink:
        self._thread = threading.Thread(target=self._work, name="cane", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def send(self, state: AlertState) -> None:
        """Say what holds now; returns at once."""
        message = dict(state.message())
        news = message["l"] != self._message["l"]
        self._message, self._told = message, self._clock()
        if news:
            self._changed.set()

    def line(self) -> bytes:
        """What the handle is told now."""
        old = self._clock() - self._told > LOST_CONTACT
        message = dict(AlertState(0.0, "no judgement").message()) if old else self._message
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                with _open(self.target) as stream:
                    self.problem = ""
                    self._talk(stream)
            except (OSError, ValueError) as error:
                self.problem = f"the cane handle can't be reached: {error}"
                self._end.wait(AGAIN)

    def _talk(self, stream: BinaryIO) -> None:
        while not self._end.is_set():
            self._changed.clear()
            stream.write(self.line())
            stream.flush()
            self._changed.wait(HEARTBEAT)


def host_and_port(address: str, what: str) -> tuple[str, int]:
    """The parts of ``tcp://HOST:PORT``.

    Raises:
        ConfigError: it is no such address.
    """
    host, colon, port = address.removeprefix("tcp://").rstrip("/").rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{what}: an address is tcp://HOST:PORT, got '{address}'.")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def _open(target: str | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(target, str):
        yield target
    elif target == "-":
        yield sys.stdout.buffer
    elif target.startswith("tcp://"):
        address = host_and_port(target, "cane")
        with socket.create_connection(address, timeout=2.0) as connection, connection.makefile("wb") as stream:
            yield stream
    else:  # it must be there: a port that is not plugged in must not become a file
        with open(target, "r+b", buffering=0) as port:
            _raw(port.fileno())
            yield port


def _raw(number: int) -> None:
    """Set a serial port to 115,200 baud and bytes as they are; other files need nothing."""
    if not os.isatty(number):
        return
    try:
        import termios
        import tty
    except ImportError:  # Windows: the port's own settings hold
        return
    tty.setraw(number)
    settings = termios.tcgetattr(number)
    settings[4] = settings[5] = termios.B115200
    termios.tcsetattr(number, termios.TCSANOW, settings)


class SimulatedCane:
    """A cane handle without a cane: reads the protocol and says what its motor does.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = -math.inf
        self._rest = b""
        self._message: dict[str, Any] = {"l": UNWATCHED, "tti": None}
        self.garbage = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they come, in any pieces; lines that are none are counted and left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LINE:]
        for line in lines:
            try:
                message = json.loads(line[:LINE])
                level, tti = int(message["l"]), message.get("tti")
                tti = None if tti is None else float(tti)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.garbage += 1
                continue
            if level not in (0, 1, 2, 3, UNWATCHED):
                self.garbage += 1
                continue
            self._message, self._heard = {**message, "l": level, "tti": tti}, self._clock()

    @property
    def state(self) -> str:
        """``quiet``, ``alarm``, ``not watching`` or ``lost contact``."""
        if self._clock() - self._heard > LOST_CONTACT:
            return "lost contact"
        level = self._message["l"]
        return "not watching" if level == UNWATCHED else "alarm" if level else "quiet"

    def motor(self) -> tuple[int, int]:
        """What the motor does now, as ``(on, off)`` milliseconds; ``(0, 0)`` is still."""
        state = self.state
        if state == "quiet":
            return 0, 0
        if state == "alarm":
            tti = self._message["tti"]
            return haptic(math.inf if tti is None else tti)[0]
        return 400, 1600  # a long, slow buzz: nobody watches
