"""Who is on a street: people, cars, vans, trucks, buses, bicycles; simple solids of real size.

All stand on z = 0 around the origin and face +x.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from fieldsight.systems.edge.world.mesh import (
    Colour,
    Material,
    Model,
    about_x,
    about_y,
    ball,
    box,
    frustum,
    prism,
    rod,
)
from fieldsight.systems.edge.world.textures import Rng, near, pick

CLASSES = ("person", "car", "van", "truck", "bus", "bicycle")

PAINTS: list[Colour] = [
    (0.90, 0.90, 0.90), (0.10, 0.10, 0.11), (0.55, 0.56, 0.58), (0.30, 0.31, 0.33), (0.65, 0.12, 0.10),
    (0.12, 0.22, 0.48),    (0.80, 0.78, 0.70), (0.15, 0.32, 0.22), (0.75, 0.55, 0.15), (0.35, 0.50, 0.62),
]  # fmt: skip
CLOTHES: list[Colour] = [
    (0.15, 0.17, 0.22), (0.60, 0.15, 0.15), (0.85, 0.84, 0.80), (0.25, 0.35, 0.55), (0.20, 0.20, 0.20),
    (0.70, 0.60, 0.25),    (0.30, 0.42, 0.30), (0.75, 0.45, 0.55),
]  # fmt: skip
SKINS: list[Colour] = [(0.85, 0.66, 0.55), (0.62, 0.45, 0.34), (0.36, 0.25, 0.19)]
HAIRS: list[Colour] = [(0.12, 0.09, 0.07), (0.35, 0.24, 0.14), (0.65, 0.52, 0.32), (0.6, 0.6, 0.6)]

_GLASS = Material((0.10, 0.12, 0.15), gloss=0.8)
_RUBBER = Material((0.07, 0.07, 0.07), gloss=0.02)
_HUB = Material((0.55, 0.55, 0.57), gloss=0.5)
_FRONT = Material((1.0, 0.98, 0.9), gloss=0.8, glow=0.5)
_REAR = Material((0.7, 0.06, 0.05), gloss=0.5, glow=0.2)


def _wheels(model: Model, places: tuple[float, ...], half: float, radius: float, wide: float = 0.2) -> None:
    for side in (-1.0, 1.0):
        disc = frustum((radius, radius), wide, (0, 0, 0), _RUBBER, 12, _HUB).turned(about_x(-side * np.pi / 2))
        for x in places:
            model.add(disc.placed(x, side * (half - wide + 0.02), radius), casts=False)


def _lights(model: Model, length: float, half: float, level: float) -> None:
    for y in (-half + 0.25, half - 0.25):
        model.add(box((0.04, 0.3, 0.14), (length / 2, y, level), _FRONT, base=False), casts=False)
        model.add(box((0.04, 0.26, 0.14), (-length / 2, y, level), _REAR, base=False), casts=False)


def car(rng: Rng) -> Model:
    """A saloon, hatchback or estate: lower body, glass house, roof."""
    length, width, height = rng.uniform(3.7, 4.8), rng.uniform(1.65, 1.85), rng.uniform(1.40, 1.62)
    paint = Material(pick(PAINTS, rng, 0.06), gloss=0.7)
    belt, half = 0.55 * height + 0.08, length / 2
    low = 0.20
    body = np.array(
        [
            (-half + 0.08, low),
            (half - 0.06, low),
            (half, 0.45),
            (half - 0.1, belt - 0.17),
            (0.18 * length, belt),
            (-half + 0.05, belt),
            (-half, 0.6),
        ]
    )
    model = Model().add(prism(body, width, paint))
    tail = rng.choice([0.08, 0.25, 0.75]) if length > 4 else 0.12
    house = np.array(
        [
            (-half + tail * 0.7, belt),
            (0.20 * length, belt),
            (0.03 * length, height - 0.03),
            (-half + tail + 0.25, height - 0.03),
        ]
    )
    model.add(prism(house, width - 0.18, _GLASS, [_GLASS, _GLASS, paint, _GLASS]))
    roof = (house[2, 0] + house[3, 0]) / 2, house[2, 0] - house[3, 0]
    model.add(box((roof[1], width - 0.2, 0.035), (roof[0], 0, height - 0.0175), paint), casts=False)
    for x in (house[3, 0] + 0.04, roof[0] + 0.1, house[2, 0] - 0.04):
        model.add(box((0.07, width - 0.165, height - belt), (x, 0, (height + belt) / 2 - 0.015), paint), casts=False)
    _wheels(model, (-0.29 * length, 0.30 * length), width / 2, 0.31)
    _lights(model, length, width / 2, 0.62)
    return model


def van(rng: Rng) -> Model:
    """A delivery van: a tall body with a short sloping nose."""
    length, width, height = rng.uniform(4.9, 6.2), rng.uniform(1.9, 2.1), rng.uniform(2.0, 2.6)
    tone = PAINTS[0] if rng.random() < 0.55 else PAINTS[int(rng.integers(len(PAINTS)))]
    paint, half = Material(near(tone, 0.05, rng), gloss=0.5), length / 2
    body = np.array(
        [(-half, 0.25), (half, 0.25), (half, 0.9), (half - 0.7, 1.2), (half - 1.35, height), (-half, height)]
    )
    model = Model().add(prism(body, width, paint, [paint, paint, paint, _GLASS, paint, paint]))
    for side in (-1, 1):
        model.add(box((0.85, 0.02, 0.55), (half - 1.45, side * width / 2, height - 0.55), _GLASS), casts=False)
        if rng.random() < 0.4:
            sign = Material(near((0.5, 0.4, 0.3), 0.3, rng), gloss=0.3)
            model.add(
                box((0.45 * length, 0.02, 0.5), (-0.15 * length, side * width / 2, 0.55 * height), sign), casts=False
            )
    _wheels(model, (-0.30 * length, 0.30 * length), width / 2, 0.35)
    _lights(model, length, width / 2, 0.75)
    return model


def truck(rng: Rng) -> Model:
    """A lorry: a cab, a gap, a cargo box or an open bed with a load."""
    length, width, height = rng.uniform(6.5, 10.5), rng.uniform(2.25, 2.5), rng.uniform(2.9, 3.6)
    cab = Material(pick(PAINTS, rng, 0.06), gloss=0.6)
    load = Material(near((0.85, 0.85, 0.83), 0.1, rng) if rng.random() < 0.5 else pick(PAINTS, rng, 0.1), gloss=0.2)
    frame, half = Material((0.12, 0.12, 0.13)), length / 2
    model = Model().add(box((length - 0.3, width - 0.5, 0.3), (-0.1, 0, 0.7), frame))
    cabin = np.array([(half - 1.9, 0.55), (half, 0.55), (half, 1.5), (half - 0.25, 2.65), (half - 1.9, 2.75)])
    model.add(prism(cabin, width - 0.1, cab, [cab, cab, _GLASS, cab, cab]))
    for side in (-1, 1):
        model.add(box((0.8, 0.02, 0.6), (half - 0.8, side * (width - 0.1) / 2, 2.05), _GLASS), casts=False)
    long = length - 2.2
    centre = -half + long / 2
    if rng.random() < 0.7:
        model.add(box((long, width, height - 0.85), (centre, 0, (height + 0.85) / 2), load))
    else:
        model.add(box((long, width, 0.7), (centre, 0, 1.2), load))
        heap = Material(near((0.45, 0.36, 0.26), 0.12, rng), gloss=0.0)
        model.add(ball((long * 0.42, width * 0.42, 0.7), (centre, 0, 1.45), heap))
    _wheels(model, (-half + 0.9, -half + 2.0, half - 1.1), width / 2, 0.48, 0.28)
    _lights(model, length, width / 2, 0.85)
    return model


def bus(rng: Rng) -> Model:
    """A city bus: one long box with a band of windows and a pale roof."""
    length, width, height = rng.uniform(9.5, 12.5), 2.55, rng.uniform(2.95, 3.2)
    tone = pick(
        [(0.75, 0.15, 0.12), (0.15, 0.35, 0.62), (0.85, 0.65, 0.15), (0.25, 0.50, 0.30), (0.88, 0.88, 0.86)], rng
    )
    paint = Material(tone, gloss=0.5)
    roof = Material(near((0.82, 0.82, 0.80), 0.08, rng), gloss=0.2)
    model = Model().add(box((length, width, height - 0.35), (0, 0, 0.35 + (height - 0.35) / 2), paint, roof))
    for side in (-1, 1):
        for n in range(7):
            wide = (length - 1.2) / 7
            x = -length / 2 + 0.6 + (n + 0.5) * wide
            model.add(box((wide - 0.12, 0.03, 0.95), (x, side * width / 2, 1.95), _GLASS, base=False), casts=False)
    model.add(box((0.03, width - 0.2, 1.4), (length / 2, 0, 1.8), _GLASS, base=False), casts=False)
    model.add(box((0.03, width - 0.4, 0.8), (-length / 2, 0, 2.1), _GLASS, base=False), casts=False)
    grey = Material((0.6, 0.6, 0.6))
    for x in (-0.28 * length, 0.2 * length):
        model.add(box((1.8, 1.5, 0.22), (x, 0, height + 0.11), grey), casts=False)
    _wheels(model, (-0.27 * length, 0.32 * length), width / 2, 0.48, 0.28)
    _lights(model, length, width / 2, 0.7)
    return model


def person(rng: Rng, seated: bool = False) -> Model:
    """Somebody who walks, stands, or sits on a saddle: legs, trunk, arms, head."""
    tall = rng.uniform(1.55, 1.9)
    scale = tall / 1.75
    shirt, trousers = Material(pick(CLOTHES, rng, 0.06), gloss=0.0), Material(pick(CLOTHES[:5], rng, 0.05), gloss=0.0)
    skin, hair = Material(pick(SKINS, rng, 0.04), gloss=0.1), Material(pick(HAIRS, rng, 0.04), gloss=0.1)
    lean, hip = (0.28, 0.95) if seated else (0.04, 0.86)
    stride = 0.0 if rng.random() < 0.25 else rng.uniform(0.12, 0.32)
    model = Model()
    for side in (-1, 1):
        foot = (
            (0.10 + 0.08 * side, 0.09 * side, 0.12 + 0.10 * (side + 1))
            if seated
            else (side * stride, 0.09 * side, 0.05)
        )
        knee = (0.28, 0.10 * side, 0.62 + 0.05 * side) if seated else (0.5 * side * stride + 0.05, 0.09 * side, 0.46)
        model.add(rod((0, 0.09 * side, hip), knee, 0.085, trousers, 6), casts=False)
        model.add(rod(knee, foot, 0.065, trousers, 6), casts=False)
        shoe = Material((0.12, 0.10, 0.09))
        model.add(box((0.25, 0.09, 0.08), (foot[0] + 0.06, foot[1], foot[2] - 0.01), shoe), casts=False)
        hand = (0.55, 0.22 * side, 1.05) if seated else (-side * stride * 0.8 + 0.05, 0.25 * side, hip - 0.04)
        model.add(rod((lean, 0.22 * side, hip + 0.53), hand, 0.05, shirt, 5), casts=False)
        model.add(ball((0.05, 0.05, 0.05), hand, skin, 3, 6), casts=False)
    trunk = frustum((0.16, 0.215), 0.58, (0, 0, 0), shirt, 9).turned(about_y(np.arctan2(lean, 0.58)), (0, 0, hip))
    model.add(trunk, casts=False)
    model.add(ball((0.10, 0.09, 0.13), (lean + 0.02, 0, hip + 0.75), skin, 5, 8), casts=False)
    model.add(ball((0.115, 0.105, 0.11), (lean - 0.005, 0, hip + 0.80), hair, 4, 8), casts=False)
    sized = Model([m.turned(np.eye(3) * scale) for m in model.meshes])
    solid = frustum((0.18, 0.14), (hip + 0.85) * scale, (lean / 2, 0, 0.02), shirt, 8)
    sized.casters.append(solid.corners.reshape(-1, 3))
    return sized


def bicycle(rng: Rng) -> Model:
    """Two thin wheels, a frame, a saddle and a bar."""
    paint = Material(pick(PAINTS, rng, 0.1), gloss=0.6)
    model, radius, base = Model(), 0.34, 0.52
    for x in (-base, base):
        angle = np.linspace(0, 2 * np.pi, 13)
        ring = np.stack([x + radius * np.cos(angle), 0 * angle, radius + radius * np.sin(angle)], axis=1)
        for a, b in itertools.pairwise(ring):
            model.add(rod(a, b, 0.022, _RUBBER, 4), casts=False)
        for n in range(0, 12, 3):
            model.add(rod((x, 0, radius), ring[n], 0.006, _HUB, 3), casts=False)
    crank, saddle, head = (-0.05, 0, 0.30), (-0.20, 0, 0.92), (0.38, 0, 0.88)
    for a, b in (
        (crank, saddle),
        (crank, head),
        ((-0.18, 0, 0.82), head),
        ((-base, 0, radius), crank),
        ((-base, 0, radius), (-0.18, 0, 0.78)),
        (head, (base, 0, radius)),
        (head, (0.36, 0, 1.02)),
    ):
        model.add(rod(a, b, 0.022, paint, 5), casts=False)
    model.add(rod((0.36, -0.27, 1.02), (0.36, 0.27, 1.02), 0.018, _HUB, 5), casts=False)
    model.add(box((0.26, 0.14, 0.06), (-0.22, 0, 0.95), Material((0.08, 0.08, 0.08))), casts=False)
    model.casters.append(box((1.6, 0.06, 0.7), (0, 0, 0.4), paint).corners.reshape(-1, 3))
    return model


Make = Callable[[Rng], Model]

#: A maker for each class, in the order of ``CLASSES``.
MAKERS: tuple[Make, ...] = (person, car, van, truck, bus, bicycle)
