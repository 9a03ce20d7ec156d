"""What depth sensors make of the truth: drop-out, noise, mixed pixels, sparse dots, clipping, timing; in that order.

All numbers are design values of the specification, or are marked as ours. A sensor has a memory (slow biases, bursts),
so one object serves one recording, frame by frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError
from fieldsight.systems.alert.recording import SensorKind
from fieldsight.systems.alert.render import SKY, View

Array = NDArray[Any]

#: Decibels that daylight costs an active sensor.
SUN = {"night": 0.0, "cloud": 3.0, "sun": 6.0}


@dataclass(frozen=True)
class Weather:
    """Light and air.

    Attributes:
        sun: decibels lost to daylight.
        alpha: extinction in 1/m.
        visibility: metres; infinite when it is clear.
        rain: mm/h.
    """

    sun: float = 3.0
    alpha: float = 0.0
    visibility: float = np.inf
    rain: float = 0.0


def weather_of(text: str) -> Weather:
    """``night``, ``cloud``, ``sun``, ``fog`` or ``fogV`` (visibility in metres, 50), ``rain`` or ``rainR`` (mm/h, 10).

    Raises:
        ConfigError: another word.
    """
    if text in SUN:
        return Weather(SUN[text])
    found = re.fullmatch(r"(fog|rain)(\d+(?:\.\d+)?)?", text)
    value = float(found[2]) if found and found[2] else None
    if not found or value == 0:
        raise ConfigError(
            f"weather: {text!r} is unknown. Give night, cloud, sun, fog50 (metres of visibility) or rain10 (mm/h)."
        )
    if found[1] == "fog":
        metres = value or 50.0
        return Weather(3.0, 3.912 / metres, metres)
    rate = value or 10.0
    return Weather(3.0, 0.01 * rate**0.6, np.inf, rate)


@dataclass(frozen=True)
class Profile:
    """A sensor.

    Attributes:
        kind: word of the recording format.
        max_range: metres; nothing beyond comes back.
        strength: signal in dB of a white wall at 1 m (S0), or None for a sensor without drop-out.
        sigma: spread in metres of the range noise at ``z`` metres.
        sunlight: daylight costs signal.
        mixed: chance of a mixed pixel at an edge of depth.
        filled: dropped pixels are filled by the phone's network, with confidence 0.
        dots: measures on a grid of so many dots a side and interpolates; 0 measures every pixel.
        disparity: focal length times baseline in px m, for stereo; 0 otherwise.
        drift: spread and memory (per 0.1 s) of a slow scale error; from ``drift_from`` metres on.
        field: spread of a smooth field of scale errors over the picture.
        outliers: share of returns from anywhere.
        lost, burst: chance a frame that it is lost; chance that a burst of 3 to 8 empty frames begins.
        dead: chance of a column that it is dead.
        beam: half width in radians of a sensor with a single beam; 0 for a picture.
        jitter: spread in seconds of the times at which frames are taken.
    """

    kind: SensorKind
    max_range: float
    strength: float | None = None
    sigma: Callable[[Array], Array] = lambda z: 0.0 * z
    sunlight: bool = True
    mixed: float = 0.0
    filled: bool = False
    dots: int = 0
    disparity: float = 0.0
    drift: tuple[float, float] = (0.0, 0.0)
    drift_from: float = 0.0
    field: float = 0.0
    outliers: float = 0.0
    lost: float = 0.0
    burst: float = 0.0
    dead: float = 0.0
    beam: float = 0.0
    jitter: float = 0.002


def _phone(z: Array) -> Array:
    return 0.01 + 0.005 * z + 0.0015 * z * z


def _time_of_flight(z: Array) -> Array:
    return 0.02 + 0.001 * z


#: Spread of the disparity in px, and its step (ours): a sixteenth of a pixel.
DISPARITY_NOISE, DISPARITY_STEP = 0.25, 1 / 16

_PHONE = Profile(
    "lidar", 25.0, 20.0, _phone, mixed=0.5, filled=True, drift=(0.06, 0.9), drift_from=5.0, lost=0.01, burst=0.001
)

#: Sensors by name. Ranges beyond the phone's, the noise of the automotive LiDAR, and all of stereo's drop-out are ours.
PROFILES: dict[str, Profile] = {
    "phone_lidar": _PHONE,
    "phone_dots": Profile(
        "lidar", 25.0, 20.0, _phone, mixed=0.0, filled=True, dots=24, drift=(0.06, 0.9), drift_from=5.0, lost=0.01,
        burst=0.001,
    ),
    "stereo": Profile("stereo", 20.0, 42.0, sunlight=False, mixed=0.5, disparity=48.0, lost=0.01, burst=0.001),
    "automotive": Profile("lidar", 60.0, 38.0, _time_of_flight, mixed=0.5, lost=0.01, burst=0.001, dead=0.002),
    "mono": Profile("mono", 25.0, drift=(0.08, 0.95), field=0.05, lost=0.01),
    "range": Profile("range", 60.0, 38.0, _time_of_flight, outliers=0.02, lost=0.01, beam=np.radians(8.0)),
    "perfect": Profile("sim", 60.0, jitter=0.0),
}  # fmt: skip


def signal(
    z: Array, incidence: Array, albedo: Array, strength: float, weather: Weather, sunlight: bool = True
) -> Array:
    """Signal-to-noise ratio in dB: ``S0 + 10 log10(rho cos) - 20 log10 z - A_sun - 8.7 alpha z``."""
    bright = np.maximum(albedo * incidence, 1e-6)
    reach = np.maximum(z, 0.05)
    sun = weather.sun if sunlight else 0.0
    return strength + 10 * np.log10(bright) - 20 * np.log10(reach) - sun - 8.7 * weather.alpha * reach


def dropout(snr: Array) -> Array:
    """Chance that nothing comes back at a signal in dB: ``1 / (1 + exp(snr / 1.5))``."""
    return 1.0 / (1.0 + np.exp(np.clip(snr / 1.5, -60.0, 60.0)))


def box_mean(values: Array, weight: Array, radius: int) -> tuple[Array, Array]:
    """Weighted mean over a square window, and the sum of weights; ``(H, W)``, borders have smaller windows."""
    sums = []
    for array in (values * weight, weight):
        for axis in (0, 1):
            total = np.cumsum(np.insert(array, 0, 0.0, axis=axis), axis=axis, dtype=np.float64)
            n = array.shape[axis]
            high, low = np.minimum(np.arange(n) + radius + 1, n), np.maximum(np.arange(n) - radius, 0)
            array = np.take(total, high, axis=axis) - np.take(total, low, axis=axis)
        sums.append(array)
    return sums[0] / np.maximum(sums[1], 1e-9), sums[1]


@dataclass(frozen=True)
class Reading:
    """What one frame of a sensor holds.

    Attributes:
        depth: ``(H, W)`` float32 metres, NaN where nothing came back.
        confidence: ``(H, W)`` uint8.
        returned: ``(H, W)`` bool: the pixel's own surface was measured, not guessed.
    """

    depth: Array
    confidence: Array
    returned: Array


class Sensor:
    """One sensor through one recording; ``rng`` is its only source of chance."""

    def __init__(self, profile: Profile, weather: Weather, rng: np.random.Generator) -> None:
        self.profile, self.weather, self.rng = profile, weather, rng
        self._drift = rng.standard_normal() * profile.drift[0]
        self._last: float | None = None
        self._burst = 0
        self._dead: Array = np.zeros(0, dtype=bool)
        self._field: Array | None = None

    def read(self, view: View, albedo: Array, t: float) -> Reading:
        """Measure a view at time ``t`` in seconds; ``albedo`` is by id, the sky's last."""
        p, rng = self.profile, self.rng
        shape = view.depth.shape
        sky = view.ids == SKY
        truth = np.where(sky, np.nan, view.depth).astype(np.float64)
        z = np.where(sky, 1e3, view.depth).astype(np.float64)
        self._wander(t)
        lost = sky | (z > p.max_range)
        good = np.full(shape, 99.0)
        if p.strength is not None:
            good = signal(z, view.incidence, albedo[view.ids], p.strength, self.weather, p.sunlight)
            lost |= rng.random(shape) < dropout(good)
        depth = self._noise(truth, z)
        if p.filled:
            depth = self._fill(depth, z, ~lost)
        elif p.strength is not None or p.kind == "sim":
            depth[lost] = np.nan
        depth *= self._scale(z, shape)
        if p.mixed:
            depth = mixed_pixels(depth, p.mixed, rng)
        if p.dots:
            depth, lost = sparse_dots(depth, p.dots), lost | ~_dotted(shape, p.dots)
        if p.filled or p.kind == "mono":
            depth = np.minimum(np.nan_to_num(depth, nan=p.max_range), min(p.max_range, self.weather.visibility))
        depth[~(depth <= p.max_range) | (depth <= 0)] = np.nan
        returned = ~lost & np.isfinite(depth)
        confidence = np.where(returned, np.where(good > 6.0, 2, 1), 0).astype(np.uint8)
        self._empty(depth, confidence, returned)
        return Reading(depth.astype(np.float32), confidence, returned)

    def beam(self, view: View, albedo: Array, K: Array, t: float) -> tuple[float, int]:
        """Range in metres to the nearest surface in the beam (NaN where nothing came back), and the id it is from.

        The road is left out, as a radar leaves out what does not stand up.
        """
        inside = in_beam(view.depth.shape, K, self.profile.beam)
        z = np.where(inside & (view.ids > 0), view.depth, np.inf)
        at = np.unravel_index(int(np.argmin(z)), z.shape)
        found = float(z[at])
        (chance, outlier, where), noise = self.rng.random(3), self.rng.standard_normal()
        if not found <= self.profile.max_range or self.profile.strength is None:
            return np.nan, SKY
        id_ = int(view.ids[at])
        good = signal(
            np.array(found), view.incidence[at], albedo[id_], self.profile.strength, self.weather, self.profile.sunlight
        )
        if chance < dropout(good):
            return np.nan, SKY
        if outlier < self.profile.outliers:
            return float(0.5 + where * (self.profile.max_range - 0.5)), SKY
        spread = float(self.profile.sigma(np.array(found))) + self._rain_sigma(found)
        return max(found + spread * noise, 0.05), id_

    def _rain_sigma(self, z: Any) -> Any:
        return 0.02 * z * (1.0 - np.exp(-self.weather.rain)) ** 2

    def _noise(self, truth: Array, z: Array) -> Array:
        p, rng = self.profile, self.rng
        if p.kind == "sim":
            return truth.copy()
        if p.disparity:
            shift = p.disparity / z + rng.standard_normal(z.shape) * DISPARITY_NOISE
            steps = np.round(shift / DISPARITY_STEP) * DISPARITY_STEP
            return np.where(np.isnan(truth) | (steps <= 0), np.nan, p.disparity / np.maximum(steps, 1e-3))
        spread = np.hypot(p.sigma(z), self._rain_sigma(z))
        return truth + spread * rng.standard_normal(z.shape) if spread.any() else truth.copy()

    def _fill(self, depth: Array, z: Array, measured: Array) -> Array:
        """The phone's dense map: near survivors' mean where there are some, else the network's blurred guess."""
        sure = measured & np.isfinite(depth)
        around, number = box_mean(np.where(sure, depth, 0.0), sure.astype(np.float64), 2)
        # the network thinks in disparity: far and sky do not leak into what is near
        guess, _ = box_mean(1.0 / np.minimum(z, self.profile.max_range), np.ones_like(z), 1)
        return np.where(sure, depth, np.where(number >= 6, around, 1.0 / guess))

    def _wander(self, t: float) -> None:
        spread, memory = self.profile.drift
        if self._last is not None and spread:
            keep = memory ** (max(t - self._last, 0.0) / 0.1)
            self._drift = self._drift * keep + self.rng.standard_normal() * spread * np.sqrt(1 - keep**2)
        self._last = t

    def _scale(self, z: Array, shape: tuple[int, ...]) -> Array:
        p = self.profile
        scale = np.ones(shape)
        if p.drift[0]:
            # fades in over a metre: a step in the map would be an edge that is not there
            share = np.clip(z - p.drift_from, 0.0, 1.0) if p.drift_from else 1.0
            scale = scale * (1.0 + self._drift * share) if p.drift_from else scale * np.exp(self._drift)
        if p.field:
            if self._field is None:
                coarse = self.rng.standard_normal((4, 5)) * p.field
                self._field = np.exp(stretch(coarse, shape))
            scale = scale * self._field
        return scale

    def _empty(self, depth: Array, confidence: Array, returned: Array) -> None:
        """Bursts without any return, and dead columns."""
        p, rng = self.profile, self.rng
        if not len(self._dead):
            self._dead = np.asarray(rng.random(depth.shape[1]) < p.dead)
        if p.burst and self._burst == 0 and rng.random() < p.burst:
            self._burst = int(rng.integers(3, 9))
        gone = np.broadcast_to(self._dead | (self._burst > 0), depth.shape)
        self._burst = max(self._burst - 1, 0)
        depth[gone], confidence[gone], returned[gone] = np.nan, 0, False


def in_beam(shape: tuple[int, ...], K: Array, half: float) -> Array:
    """Pixels ``(H, W)`` within ``half`` radians of the optical axis."""
    u = (np.arange(shape[1]) - K[0, 2]) / K[0, 0]
    v = (np.arange(shape[0]) - K[1, 2]) / K[1, 1]
    return np.hypot(u[None, :], v[:, None]) <= np.tan(half)


def mixed_pixels(depth: Array, chance: float, rng: np.random.Generator) -> Array:
    """At edges of depth, replace by a random mix of both sides with a chance; ``(H, W)`` in and out."""
    padded = np.pad(depth, 1, mode="edge")
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    step = np.where(np.isfinite(around), np.abs(around - depth), -1.0)
    which = step.argmax(axis=0)[None]
    other, jump = np.take_along_axis(around, which, 0)[0], np.take_along_axis(step, which, 0)[0]
    edge = (jump > 0.3 + 0.05 * np.nan_to_num(depth)) & (rng.random(depth.shape) < chance)
    share = rng.random(depth.shape)
    return np.where(edge, share * depth + (1.0 - share) * other, depth)


def _places(n: int, dots: int) -> Array:
    """Pixels on which ``dots`` dots fall along a side of ``n`` pixels."""
    count = min(dots, n)
    return np.unique(np.round((np.arange(count) + 0.5) * n / count - 0.5).astype(int))


def _dotted(shape: tuple[int, ...], dots: int) -> Array:
    mask = np.zeros(shape, dtype=bool)
    mask[np.ix_(_places(shape[0], dots), _places(shape[1], dots))] = True
    return mask


def sparse_dots(depth: Array, dots: int) -> Array:
    """Sample on ``dots x dots`` places and interpolate bilinearly: edges blur, small objects shrink or vanish."""
    rows, cols = _places(depth.shape[0], dots), _places(depth.shape[1], dots)
    return _bilinear(depth[np.ix_(rows, cols)], rows, cols, depth.shape)


def stretch(coarse: Array, shape: tuple[int, ...]) -> Array:
    """A small array interpolated bilinearly to ``shape``, corner to corner."""
    rows, cols = (np.linspace(0, n - 1, k) for n, k in zip(shape, coarse.shape, strict=True))
    return _bilinear(coarse, rows, cols, shape)


def _bilinear(values: Array, rows: Array, cols: Array, shape: tuple[int, ...]) -> Array:
    across = np.stack([np.interp(np.arange(shape[1]), cols, line) for line in values])
    return np.stack([np.interp(np.arange(shape[0]), rows, line) for line in across.T], axis=1)
