"""Networks between camera and computer: delays as distributions, bandwidth and loss, and what is sent over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import ConfigError, DataError, unknown

Times = NDArray[np.float64]

#: Side of the networks' square input in pixels.
SIDE = 640


@dataclass(frozen=True)
class Delay:
    """A random time: a constant, a lognormal by its mean and sd, or measured values drawn with replacement.

    Attributes:
        mean: in ms.
        sd: standard deviation in ms; 0 for a constant.
        samples: measured times in ms, where they are known one by one.

    Raises:
        ConfigError: a time that is negative or no number, or a spread about a mean of zero.
    """

    mean: float
    sd: float = 0.0
    samples: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v >= 0 for v in (self.mean, self.sd)):
            raise ConfigError(f"A delay needs a mean and an sd >= 0 in ms, got {self.mean} and {self.sd}.")
        if self.sd > 0 and self.mean == 0:
            raise ConfigError(f"A delay of 0 ms can't have an sd of {self.sd} ms. Give a mean above 0.")

    @classmethod
    def measured(cls, values: ArrayLike) -> Delay:
        """From measured times ``(N,)`` in ms.

        Raises:
            DataError: none at all, or one that is negative or no number.
        """
        try:
            found = np.asarray(values, np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise DataError(f"Measured times must be numbers in ms: {error}.") from None
        if not found.size or not np.isfinite(found).all() or (found < 0).any():
            raise DataError(
                f"Measured times must be one or more numbers >= 0 in ms; got {found.size} values, not all so."
            )
        return cls(float(found.mean()), float(found.std()), tuple(map(float, found)))

    def lognormal(self) -> tuple[float, float]:
        """Mean and sd of the logarithm (of ms) of the lognormal with this mean and sd; the mean must be above 0."""
        if self.mean <= 0:
            raise ConfigError("A lognormal needs a mean above 0 ms.")
        log_variance = math.log1p((self.sd / self.mean) ** 2)
        return math.log(self.mean) - log_variance / 2, math.sqrt(log_variance)

    def fixed(self) -> Delay:
        """The mean alone."""
        return Delay(self.mean)

    def parts(self, shares: Sequence[float]) -> tuple[Delay, ...]:
        """Independent delays that add up to this mean and sd; mean and variance are shared in the same proportion."""
        total = sum(shares)
        if total <= 0:
            return tuple(Delay(0.0) for _ in shares)
        return tuple(Delay(self.mean * s / total, self.sd * math.sqrt(s / total) if s else 0.0) for s in shares)

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """``(n,)`` times in ms."""
        if self.samples:
            return rng.choice(np.asarray(self.samples), n)
        if self.sd == 0:
            return np.full(n, self.mean)
        return rng.lognormal(*self.lognormal(), n)


NO_DELAY = Delay(0.0)


@dataclass(frozen=True)
class Network:
    """A link there and back.

    Attributes:
        name: for tables.
        up, down: one-way delays in ms, the time on the wire excluded where a bandwidth is given.
        up_mbit_s, down_mbit_s: bandwidths; None where the delay holds the time on the wire too.
        loss: share of messages that get lost, each way.
        retry_ms: after which a lost message is sent again, as TCP does; None: it stays lost, as with UDP.

    Raises:
        ConfigError: a bandwidth or retry time that is not above 0, or a loss outside 0 to 1.
    """

    name: str
    up: Delay
    down: Delay
    up_mbit_s: float | None = None
    down_mbit_s: float | None = None
    loss: float = 0.0
    retry_ms: float | None = 200.0

    def __post_init__(self) -> None:
        for what in ("up_mbit_s", "down_mbit_s", "retry_ms"):
            value = getattr(self, what)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{what} must be above 0, got {value}. Leave it out where it does not matter.")
        if not 0 <= self.loss < 1:
            raise ConfigError(f"loss must be at least 0 and below 1, got {self.loss}.")

    @classmethod
    def round_trip(
        cls, name: str, mean: float, sd: float = 0.0, mbit_s: float | None = None, loss: float = 0.0
    ) -> Network:
        """From mean and sd of the round trip in ms, half each way and independent."""
        up, down = Delay(mean, sd).parts((1, 1))
        return cls(name, up, down, mbit_s, mbit_s, loss)

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the delay to the computer."""
        return self.up.sd

    def fixed(self) -> Network:
        """The mean delays alone, nothing lost."""
        return replace(self, up=self.up.fixed(), down=self.down.fixed(), loss=0.0)

    def mean_ms(self, up_bytes: float, down_bytes: float) -> float:
        """Mean communication time of one frame and its answer in ms, with what retries add; no queue."""
        again = 2 * self.loss / (1 - self.loss) * (self.retry_ms or 0.0)
        return (
            self.up.mean
            + self.down.mean
            + wire_ms(up_bytes, self.up_mbit_s)
            + wire_ms(down_bytes, self.down_mbit_s)
            + again
        )

    def retries(self, rng: np.random.Generator, n: int) -> Times:
        """``(n,)`` times in ms that losses add to one way; infinite where a message stays lost."""
        if self.loss == 0:
            return np.zeros(n)
        failures = (rng.geometric(1 - self.loss, n) - 1).astype(np.float64)
        if self.retry_ms is None:
            return np.where(failures > 0, np.inf, 0.0)
        return failures * self.retry_ms


def wire_ms(size: float, mbit_s: float | None) -> float:
    """Time on the wire of ``size`` bytes in ms; 0 without a bandwidth."""
    return 0.0 if mbit_s is None else size * 8e-3 / mbit_s


def needed_mbit_s(size: float, ms: float) -> float:
    """Bandwidth that moves ``size`` bytes in ``ms`` milliseconds.

    Raises:
        ConfigError: no time at all.
    """
    if ms <= 0:
        raise ConfigError(f"The time must be above 0 ms, got {ms}.")
    return size * 8e-3 / ms


@dataclass(frozen=True)
class Payload:
    """What goes up for a frame, and what comes back.

    Attributes:
        name: for tables.
        low, high: bytes of a frame, uniform between.
        answer: bytes of the predictions.
    """

    name: str
    low: float
    high: float
    answer: float = 1000.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < math.inf or not 0 <= self.answer < math.inf:
            raise ConfigError(f"A payload needs 0 <= low <= high bytes and an answer >= 0, got {self}.")

    @property
    def mean(self) -> float:
        """Mean size of a frame in bytes."""
        return (self.low + self.high) / 2

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """``(n,)`` sizes in bytes."""
        return rng.uniform(self.low, self.high, n) if self.high > self.low else np.full(n, self.low)


PayloadName = Literal["jpeg", "raw", "float32"]

#: A 640 x 640 RGB frame as JPEG of usual quality, as bytes, and as the network's input.
PAYLOADS: dict[str, Payload] = {
    "jpeg": Payload("jpeg", 60e3, 120e3),
    "raw": Payload("raw", 3.0 * SIDE**2, 3.0 * SIDE**2),
    "float32": Payload("float32", 12.0 * SIDE**2, 12.0 * SIDE**2),
}


def payload(name: str) -> Payload:
    """One of :data:`PAYLOADS`.

    Raises:
        ConfigError: no such payload.
    """
    if name not in PAYLOADS:
        raise ConfigError(unknown("payload", name, PAYLOADS))
    return PAYLOADS[name]
