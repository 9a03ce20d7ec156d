"""From light to the file: exposure, white balance, vignetting, noise, and what a video link does to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.edge.world.textures import Rng

Picture = NDArray[np.uint8]
Light = NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """How a drone's camera was set for a flight.

    Attributes:
        exposure: factor on the metered light, 1 is right.
        balance: gains of red, green and blue.
        noise: standard deviation in the middle tones, share of full scale.
        quality: of JPEG, 30 to 90.
        losing: chance that a frame has blocks lost to the link.
        vignette: light lost in the corners, 0 to 1.
        shutter: share of a frame interval that it is open.
        readout: share of a frame interval from first to last row (rolling shutter).
    """

    exposure: float
    balance: tuple[float, float, float]
    noise: float
    quality: int
    losing: float
    vignette: float
    shutter: float
    readout: float


def draw_sensor(rng: Rng, shift: bool) -> Sensor:
    """A camera's settings; ``shift`` draws darker, noisier and more coloured ones."""
    warm = rng.uniform(-0.22, 0.22) if shift else rng.uniform(-0.10, 0.10)
    return Sensor(
        exposure=float(rng.uniform(0.6, 1.45) if shift else rng.uniform(0.75, 1.3)),
        balance=(1 + warm, 1.0, 1 - warm),
        noise=float(rng.uniform(0.008, 0.035) if shift else rng.uniform(0.004, 0.025)),
        quality=int(rng.integers(30, 91)),
        losing=float(rng.choice([0.0, 0.0, 0.05, 0.15])),
        vignette=float(rng.uniform(0.0, 0.35)),
        shutter=float(rng.uniform(0.1, 0.6)),
        readout=float(rng.uniform(0.2, 0.7)),
    )


def metered(light: Light) -> float:
    """The gain that an automatic exposure sets: brings the mean most of the way to a middle tone."""
    return float(np.clip((0.20 / max(float(light.mean()), 1e-4)) ** 0.85, 0.2, 6.0))


def develop(light: Light, sensor: Sensor, rng: Rng) -> Picture:
    """Radiance ``(H, W, 3)`` as the photo ``(H, W, 3)`` uint8 RGB that arrives."""
    high, wide = light.shape[:2]
    gains = np.asarray(sensor.balance, np.float32) * np.float32(
        metered(light) * sensor.exposure * rng.uniform(0.97, 1.03)
    )
    value = light * gains
    if sensor.vignette > 0:
        r = np.square(np.linspace(-1, 1, high, dtype=np.float32))[:, None] + np.square(
            np.linspace(-1, 1, wide, dtype=np.float32)
        )
        value *= (1 - np.float32(sensor.vignette * 0.5) * r)[..., None]
    # a shoulder instead of hard clipping
    value = np.sqrt(value / (1 + 0.35 * np.maximum(value - 0.6, 0.0)))
    spread = np.float32(sensor.noise * min(1.0, 0.4 + wide / 800.0))
    speckle = rng.standard_normal((high, wide), dtype=np.float32)
    colour = rng.standard_normal((max(1, high // 2), max(1, wide // 2), 3), dtype=np.float32)
    value += spread * (speckle[..., None] + 0.7 * cv2.resize(colour, (wide, high), interpolation=cv2.INTER_NEAREST))
    picture = np.asarray(np.clip(value * 255.0 + 0.5, 0, 255), np.uint8)
    if rng.random() < sensor.losing:
        picture = lost_blocks(picture, rng)
    return jpeg(picture, int(np.clip(sensor.quality + rng.integers(-5, 6), 30, 90)))


def lost_blocks(picture: Picture, rng: Rng) -> Picture:
    """Some bands of blocks of a 40th of the width, flattened to their mean as in a starved video stream."""
    high, wide = picture.shape[:2]
    side = max(2, wide // 40)
    coarse = cv2.resize(picture, (max(1, wide // side), max(1, high // side)), interpolation=cv2.INTER_AREA)
    flat = cv2.resize(coarse, (wide, high), interpolation=cv2.INTER_LINEAR)
    mask = np.zeros((high, wide), np.bool_)
    for _ in range(int(rng.integers(1, 5))):
        row, column = int(rng.integers(high)) // side * side, int(rng.integers(wide)) // side * side
        mask[row : row + side * int(rng.integers(1, 4)), column : column + side * int(rng.integers(2, 14))] = True
    return np.where(mask[..., None], flat, picture)


def jpeg(picture: Picture, quality: int) -> Picture:
    """``(H, W, 3)`` RGB through JPEG."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        return picture
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
