"""What stands behind the vessels: soft tissue, heart shadow, spine, ribs, diaphragm, lung markings.

All of it is in mm of the patient, so a picture of another size shows the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.camera import Camera
from fieldsight.systems.vessel.phantom.heart import Heart
from fieldsight.systems.vessel.phantom.project import window_of
from fieldsight.systems.vessel.phantom.raster import tube

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

#: Side of the grid for lung markings: they are soft, so it need not be finer.
_MARKINGS = 256


@dataclass(frozen=True)
class Body:
    """A patient's chest as one run shows it; amounts are attenuation (the logarithm of the loss).

    Attributes:
        spine: x and y (mm, patient coordinates) of the vertebrae.
        vertebra: height of one with its disc, mm.
        rib: distance of the ribs (mm), their slope, and where one is (mm).
        dome: height (mm, up in the picture) of the diaphragm and x of its top.
        amounts: of tissue, heart, spine, ribs, diaphragm and lung markings.
        spread: standard deviation of the whole: what exposure control and harmonisation leave of it.
    """

    spine: tuple[float, float]
    vertebra: float
    rib: tuple[float, float, float]
    dome: tuple[float, float]
    amounts: tuple[float, float, float, float, float, float]
    spread: float


def draw_body(rng: np.random.Generator) -> Body:
    """A chest: spine 20 mm right of and 75 mm behind the heart, ribs every 30 mm, diaphragm near the lower border."""
    amounts = rng.uniform([0.022, 0.03, 0.04, 0.015, 0.05, 0.012], [0.040, 0.07, 0.09, 0.04, 0.13, 0.022])
    return Body(
        spine=(float(rng.normal(-20.0, 4.0)), float(rng.normal(76.0, 4.0))),
        vertebra=float(rng.uniform(23.0, 28.0)),
        rib=(float(rng.uniform(27.0, 33.0)), float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.0, 30.0))),
        dome=(float(rng.normal(-52.0, 7.0)), float(rng.normal(0.0, 25.0))),
        amounts=(
            float(amounts[0]),
            float(amounts[1]),
            float(amounts[2]),
            float(amounts[3]),
            float(amounts[4]),
            float(amounts[5]),
        ),
        spread=float(rng.uniform(0.031, 0.039)),
    )


def cast_body(body: Body, heart: Heart, camera: Camera, rng: np.random.Generator) -> Floats:
    """Attenuation ``(H, W)`` float32 of all that is not vessel or device, around a mean of zero."""
    x, y = camera.grid()
    tissue, shadow, spine, ribs, dome, marks = body.amounts
    out = tissue * _tissue(x, y, rng) + shadow * _heart(heart, camera, x, y)
    middle = float(camera.axes[0] @ np.array([*body.spine, 0.0]))
    out += spine * _spine(x, y, middle, body.vertebra, rng)
    out += ribs * _ribs(x, y, middle, body.rib)
    out += dome * _dome(x, y, body.dome)
    out += marks * _markings(camera.side, rng)
    out -= out.mean()
    return np.asarray(out * (body.spread / out.std()), np.float32)


def clouds(x: Doubles, y: Doubles, scale: float, rng: np.random.Generator) -> Doubles:
    """Smooth noise ``(H, W)`` of unit variance with features of ``scale`` mm at x ``(1, W)`` and y ``(H, 1)``, mm."""
    knots = np.arange(-110.0, 110.0 + scale, scale)
    weights = rng.standard_normal((len(knots), len(knots)))
    down, across = (np.exp(-0.5 * np.square((v.reshape(-1, 1) - knots) / (0.7 * scale))) for v in (y, x))
    down, across = (m / np.sqrt(np.square(m).sum(axis=1, keepdims=True)) for m in (down, across))
    return np.asarray(down @ weights @ across.T)


def _tissue(x: Doubles, y: Doubles, rng: np.random.Generator) -> Doubles:
    parts = [
        weight * clouds(x, y, scale, rng)
        for scale, weight in ((55.0, 0.8), (26.0, 0.5), (12.0, 0.3), (6.0, 0.15), (3.0, 0.07))
    ]
    return np.asarray(sum(parts))


def _heart(heart: Heart, camera: Camera, x: Doubles, y: Doubles) -> Doubles:
    """Chord through the ellipsoid, 1 at its longest: (1 - q)^½ with q the quadratic form of its outline."""
    shape = camera.axes @ heart.axes.T @ np.diag(np.square(heart.half)) @ heart.axes @ camera.axes.T
    inverse = np.linalg.inv(shape[:2, :2])
    q = inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    return np.asarray(np.power(np.clip(1 - q, 0.0, 1.0), 0.7))


def _soft(distance: Doubles, width: float) -> Doubles:
    """0 to 1 across an edge: 1 where ``distance`` (mm) is well above zero."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / width))


def _spine(x: Doubles, y: Doubles, middle: float, height: float, rng: np.random.Generator) -> Doubles:
    """A column of vertebral bodies, 38 mm wide, with light discs and dense end plates."""
    sway = 2.0 * np.sin(y / 40.0 + rng.uniform(0, 6.28))
    within = (y + rng.uniform(0, height)) / height % 1.0
    waist = 19.0 - 1.6 * np.sin(np.pi * within)
    body = _soft(waist - np.abs(x - middle - sway), 1.6)
    disc = _soft(0.1 - np.minimum(within, 1 - within), 0.04)
    plate = np.exp(-0.5 * np.square((np.minimum(within, 1 - within) - 0.12) / 0.035))
    return np.asarray(body * (1 - 0.35 * disc + 0.22 * plate))


def _ribs(x: Doubles, y: Doubles, middle: float, rib: tuple[float, float, float]) -> Doubles:
    """Flat bones that leave the spine to both sides and sink, denser at their edges."""
    away = np.abs(x - middle)
    arched = y + rib[1] * away + 0.0022 * away * away - 0.25 * np.minimum(away, 30.0) + rib[2]
    across = np.abs((arched / rib[0] + 0.5) % 1.0 - 0.5) * rib[0]
    plate = _soft(5.2 - across, 0.9)
    edge = np.exp(-0.5 * np.square((across - 4.3) / 0.9))
    return np.asarray((0.7 * plate + 0.45 * edge) * _soft(away - 20.0, 4.0))


def _dome(x: Doubles, y: Doubles, dome: tuple[float, float]) -> Doubles:
    """The liver or stomach below the diaphragm: dense from the dome's edge down."""
    top = dome[0] - 0.0045 * np.square(x - dome[1])
    return np.asarray(_soft(top - y, 2.2) * (0.55 + 0.45 * (1 - np.exp(-np.clip(top - y, 0, None) / 18.0))))


def _markings(side: int, rng: np.random.Generator) -> Floats:
    """Faint, soft vessels of the lung: what a vesselness filter may take for coronary arteries."""
    field = np.zeros((_MARKINGS, _MARKINGS), np.float32)
    for _ in range(int(rng.integers(14, 22))):
        count = 60
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0.0, 0.05, count))
        pace = rng.uniform(0.7, 2.2)
        xy = (
            rng.uniform(-20, _MARKINGS + 20, 2)
            + np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), axis=0) * pace
        )
        radius = np.linspace(rng.uniform(1.5, 4.0), 0.8, count)
        axis = np.column_stack([xy, np.zeros(count), radius, np.zeros(count)])
        window = window_of(axis, _MARKINGS)
        if window is not None:
            row, column, height, width = window
            chord = tube(axis, column, row, height, width)[0]
            field[row : row + height, column : column + width] += chord / np.float32(4.0)
    field = cv2.GaussianBlur(field, (0, 0), 1.8)
    return np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
