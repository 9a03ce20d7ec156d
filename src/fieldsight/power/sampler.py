"""Readings of a sensor while something runs, and the joules that they make."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import ConfigError, DataError
from fieldsight.power.sensors import Sensor

#: The least rate that a brief inference needs, in samples a second.
LEAST_HZ = 10.0


@dataclass(frozen=True)
class Trace:
    """Power over a time.

    Attributes:
        seconds: ``(N,)`` float64, when it was read.
        watts: ``(N,)`` float64; of a counter the mean power since the reading before.
        joules: energy from the first to the last reading.
        method: the sensor and how joules came of it.
        missed: readings that failed.
    """

    seconds: NDArray[np.float64]
    watts: NDArray[np.float64]
    joules: float
    method: str
    missed: int = 0

    @property
    def length(self) -> float:
        """From the first to the last reading in s."""
        return float(self.seconds[-1] - self.seconds[0])

    @property
    def hz(self) -> float:
        """Readings a second."""
        return (len(self.seconds) - 1) / self.length


def integrate(seconds: ArrayLike, watts: ArrayLike) -> float:
    """Joules of power readings ``(N,)`` by the trapezoid rule.

    Raises:
        DataError: fewer than two readings, times that do not grow, or values that are no numbers.
    """
    at, power = np.asarray(seconds, np.float64).reshape(-1), np.asarray(watts, np.float64).reshape(-1)
    if len(at) < 2 or len(at) != len(power) or not (np.isfinite(at).all() and np.isfinite(power).all()):
        raise DataError(f"Energy needs two readings or more, a time and a power each; got {len(at)} and {len(power)}.")
    if (np.diff(at) < 0).any() or at[-1] == at[0]:
        raise DataError("The times of power readings must grow.")
    return float(((power[1:] + power[:-1]) / 2 * np.diff(at)).sum())


class Sampler:
    """Reads a sensor by a thread of its own.

    ::

        with Sampler(sensor) as sampler:
            work()
        energy(sampler.trace(), inferences=600)

    Args:
        sensor: what to read; it is not closed.
        hz: readings a second, at least 10.
        clock: seconds that grow.

    Raises:
        ConfigError: a rate below 10 Hz or above 1000 Hz.
    """

    def __init__(
        self, sensor: Sensor, hz: float = 2 * LEAST_HZ, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not LEAST_HZ <= hz <= 1000:
            raise ConfigError(f"Power is read 10 to 1000 times a second, got {hz:g}.")
        self._sensor, self._period, self._clock = sensor, 1.0 / hz, clock
        self._readings: list[tuple[float, float]] = []
        self._missed, self._done, self._thread = 0, threading.Event(), threading.Thread(target=self._run, daemon=True)

    def tick(self) -> None:
        """Take one reading; one that fails is counted."""
        try:
            value = self._sensor.read()
        except DataError:
            self._missed += 1
        else:
            self._readings.append((self._clock(), value))

    def start(self) -> Sampler:
        """Take the first reading and begin; once only."""
        self.tick()
        self._thread.start()
        return self

    def __enter__(self) -> Sampler:
        return self.start()

    def _run(self) -> None:
        due = time.perf_counter() + self._period
        while not self._done.wait(max(due - time.perf_counter(), 0.0)):
            self.tick()
            due = max(due + self._period, time.perf_counter())

    def stop(self) -> None:
        """Take the last reading and end."""
        self._done.set()
        self._thread.join()
        self.tick()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def trace(self) -> Trace:
        """All readings so far.

        Raises:
            DataError: fewer than two of them.
        """
        seconds, values = np.array(self._readings, np.float64).reshape(-1, 2).T
        if not self._sensor.counts:
            return Trace(
                seconds, values, integrate(seconds, values), f"{self._sensor.name}; trapezoid rule", self._missed
            )
        if len(seconds) < 2 or seconds[-1] <= seconds[0]:
            raise DataError("Energy needs two readings of the counter or more.")
        watts = np.diff(values) / np.maximum(np.diff(seconds), 1e-9)
        joules = float(values[-1] - values[0])
        return Trace(seconds, np.r_[watts[:1], watts], joules, f"{self._sensor.name}; counter", self._missed)


def idle_watts(sensor: Sensor, seconds: float = 5.0, hz: float = 2 * LEAST_HZ) -> float:
    """Mean power in W while nothing runs; run it before the work.

    Raises:
        DataError: the sensor can't be read.
    """
    with Sampler(sensor, hz) as sampler:
        time.sleep(seconds)
    trace = sampler.trace()
    return trace.joules / trace.length
