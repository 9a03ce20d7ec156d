"""Light that falls on a surface: flat, with a hard shadow, at night, on wet ground, or raking along a wall."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.crack.world.surfaces import Field, Shape, grain, mottle, step, turned_grid

LIGHTS: dict[str, dict[str, float]] = {
    "asphalt": {"flat": 0.45, "shadow": 0.35, "night": 0.10, "wet": 0.10},
    "aggregate": {"flat": 0.40, "shadow": 0.15, "night": 0.05, "wet": 0.40},
    "concrete": {"flat": 0.60, "shadow": 0.25, "night": 0.10, "wet": 0.05},
    "tile": {"flat": 0.45, "shadow": 0.20, "night": 0.20, "wet": 0.15},
    "road": {"flat": 0.25, "shadow": 0.30, "night": 0.30, "wet": 0.15},
    "plaster": {"flat": 0.25, "shadow": 0.10, "night": 0.05, "raking": 0.60},
}


def pick(domain: str, rng: np.random.Generator) -> str:
    """A light by the domain's own chances."""
    names, chances = list(LIGHTS[domain]), np.array(list(LIGHTS[domain].values()))
    return names[int(rng.choice(len(names), p=chances / chances.sum()))]


def _ramp(shape: Shape, low: float, high: float, rng: np.random.Generator) -> Field:
    along, _ = turned_grid(shape, float(rng.uniform(0, 2 * np.pi)), shape[0] / 2, shape[1] / 2)
    reach = float(np.hypot(*shape)) / 2
    return np.asarray(low + (high - low) * (0.5 + 0.5 * along / reach), dtype=np.float32)


def flat(image: Field, rng: np.random.Generator) -> Field:
    """Overcast: nearly even, a faint ramp."""
    ramp = _ramp((image.shape[0], image.shape[1]), rng.uniform(0.88, 1.0), rng.uniform(1.0, 1.12), rng)
    return np.asarray(image * ramp[..., None], np.float32)


def _caster(shape: Shape, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Outline of what throws the shadow, 1 inside: a pole, a wall's edge, or the crown of a tree."""
    canvas = np.zeros(shape, np.uint8)
    height, width = shape
    kind = rng.random()
    if kind < 0.35:
        angle, half = rng.uniform(0, np.pi), rng.uniform(4.0, 16.0)
        _, across = turned_grid(shape, float(angle), rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * width)
        return (np.abs(across) < half).astype(np.uint8)
    if kind < 0.65:
        row, column = rng.uniform(0.3, 0.7, 2) * shape
        _, across = turned_grid(shape, float(rng.uniform(0, 2 * np.pi)), row, column)
        return (across > 0).astype(np.uint8)
    for _ in range(1 + int(rng.poisson(1.0 + height * width / 280.0**2))):
        centre = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        reach = rng.uniform(25.0, 80.0)
        for _ in range(int(rng.integers(25, 70))):
            leaf = centre + rng.normal(0.0, 0.5 * reach, 2)
            axes = (int(rng.uniform(4.0, 16.0)), int(rng.uniform(3.0, 9.0)))
            cv2.ellipse(canvas, (int(leaf[0]), int(leaf[1])), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return canvas


def shadow(image: Field, rng: np.random.Generator) -> Field:
    """Sun with a hard shadow edge; the shade is bluish."""
    shape = (image.shape[0], image.shape[1])
    shade = cv2.GaussianBlur(_caster(shape, rng).astype(np.float32), (0, 0), rng.uniform(0.5, 2.0))
    deep = np.float32(rng.uniform(0.35, 0.62))
    colour = deep * np.asarray((0.94, 1.0, 1.10), np.float32)
    sunny = np.asarray((1.10, 1.08, 1.0), np.float32) * np.float32(rng.uniform(1.0, 1.1))
    return np.asarray(image * (sunny + shade[..., None] * (colour - sunny)), np.float32)


def night(image: Field, rng: np.random.Generator) -> Field:
    """A lamp or a flash: bright in one place, dark around, warm or cold, with noise."""
    shape = (image.shape[0], image.shape[1])
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(rng.uniform(0.25, 0.75) * shape[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(rng.uniform(0.25, 0.75) * shape[1])
    reach = np.float32(rng.uniform(0.55, 0.95) * max(shape))
    fall = np.exp(-(rows**2 + columns**2) / (2 * reach**2) * 2.2)
    gain = np.float32(rng.uniform(0.25, 0.42)) + np.float32(rng.uniform(0.5, 0.9)) * fall
    colour = np.asarray((1.12, 0.98, 0.78) if rng.random() < 0.6 else (0.92, 1.0, 1.1), np.float32)
    noise = np.float32(rng.uniform(0.012, 0.035)) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(image * gain[..., None] * colour + noise, np.float32)


def wet(image: Field, rng: np.random.Generator) -> Field:
    """Wet patches: darker where the water stands, with patches of glare."""
    shape = (image.shape[0], image.shape[1])
    pool = mottle(shape, 90.0, 20.0, rng, 0.5)
    water = step(pool, rng.uniform(-0.6, 0.5), 0.25)
    image = image * (1 - np.float32(rng.uniform(0.28, 0.48)) * water)[..., None]
    bumps = 0.35 * grain(shape, 0.6, 2.0, rng) + mottle(shape, 50.0, 8.0, rng, 0.6)
    along, _ = turned_grid(shape, float(rng.uniform(0, 2 * np.pi)), shape[0] / 2, shape[1] / 2)
    toward = along / np.float32(max(shape))
    glare = water * step(np.asarray(bumps + 1.5 * toward, np.float32), rng.uniform(1.1, 1.7), 1.4)
    sky = np.asarray((0.84, 0.87, 0.90), np.float32) * np.float32(rng.uniform(0.75, 1.05))
    return np.asarray(image + np.float32(rng.uniform(0.3, 0.7)) * glare[..., None] * (sky - image), np.float32)


def raking(image: Field, rng: np.random.Generator) -> Field:
    """A lamp close to the wall: a strong ramp, warm, which lets every unevenness stand out."""
    shape = (image.shape[0], image.shape[1])
    low = image.mean(axis=2)
    relief = cv2.GaussianBlur(low, (0, 0), 1.0) - cv2.GaussianBlur(np.roll(low, (2, 2), (0, 1)), (0, 0), 1.0)
    ramp = _ramp(shape, rng.uniform(0.35, 0.6), rng.uniform(1.0, 1.2), rng)
    warm = np.asarray((1.06, 1.0, 0.90), np.float32)
    return np.asarray(
        (image + np.float32(rng.uniform(0.3, 0.9)) * relief[..., None]) * ramp[..., None] * warm, np.float32
    )


SHINE: dict[str, Callable[[Field, np.random.Generator], Field]] = {
    "flat": flat,
    "shadow": shadow,
    "night": night,
    "wet": wet,
    "raking": raking,
}
