"""The target of the arena, and the small things on a floor that are easily taken for it.

All stand on z = 0 around the origin and face +x.
"""

from __future__ import annotations

import itertools

import numpy as np

from fieldsight.systems.edge.world.mesh import Colour, Material, Model, about_x, box, frustum
from fieldsight.systems.edge.world.textures import Rng, near

#: Length, width and height of the TurtleBot-like target in metres.
TURTLEBOT = (0.138, 0.178, 0.192)


def _grey(value: float, spread: float, rng: Rng) -> Colour:
    return near((value, value, value), spread, rng)


def turtlebot(rng: Rng, sides: int = 16) -> Model:
    """Stacked dark discs on two wheels, four posts, a circuit board, a lidar on top: exactly ``TURTLEBOT`` large."""
    length, width, height = TURTLEBOT
    radius, wheel = length / 2, 0.033
    plate = Material(_grey(0.13, 0.04, rng), gloss=0.25)
    metal = Material(near((0.62, 0.60, 0.55), 0.10, rng), gloss=0.6)
    tyre, hub = Material(_grey(0.09, 0.03, rng), gloss=0.05), Material(_grey(0.55, 0.2, rng), gloss=0.3)
    model = Model()
    decks = (0.022, 0.070, 0.112, 0.150)
    thick = 0.007
    for level in decks:
        model.add(frustum((radius, radius), thick, (0, 0, level), plate, sides), casts=False)
    for low, high in itertools.pairwise(decks):
        for angle in (0.6, 2.3, -0.6, -2.3):
            at = (0.054 * np.cos(angle), 0.054 * np.sin(angle), low + thick)
            model.add(frustum((0.0045, 0.0045), high - low - thick, at, metal, 6, base=False), casts=False)
    board = Material(near((0.12, 0.36, 0.20), 0.06, rng), gloss=0.3)
    cells = Material(near((0.20, 0.34, 0.55), 0.08, rng), gloss=0.3)
    model.add(box((0.080, 0.052, 0.022), (0, 0, decks[0] + thick + 0.011), cells), casts=False)
    model.add(box((0.082, 0.056, 0.012), (0, 0, decks[1] + thick + 0.010), board), casts=False)
    model.add(box((0.070, 0.050, 0.010), (0, 0, decks[2] + thick + 0.008), board), casts=False)
    top = decks[-1] + thick
    cap = Material(_grey(0.10, 0.03, rng), gloss=0.5)
    model.add(frustum((0.036, 0.034), 0.013, (-0.012, 0, top), cap, 12, base=False), casts=False)
    lid = Material(_grey(0.22, 0.08, rng), gloss=0.5)
    model.add(frustum((0.031, 0.031), height - top - 0.013, (-0.012, 0, top + 0.013), cap, 12, lid, False), casts=False)
    for side in (-1.0, 1.0):
        disc = frustum((wheel, wheel), 0.018, (0, 0, 0), tyre, 16, hub).turned(about_x(-side * np.pi / 2))
        inner = side * (width / 2 - 0.018)
        model.add(disc.placed(radius - wheel, inner, wheel), casts=False)
    solid = frustum((radius, radius), height - 0.03, (0, 0, 0.015), plate, 10)
    model.casters.append(solid.corners.reshape(-1, 3))
    return model


def vacuum(rng: Rng) -> Model:
    """A robot vacuum: one low disc with a bumper, a button and now and then a turret."""
    dark = rng.random() < 0.6
    body = Material(_grey(0.12 if dark else 0.85, 0.05, rng), gloss=0.5)
    rim = Material(_grey(0.06 if dark else 0.4, 0.03, rng), gloss=0.3)
    radius, height = rng.uniform(0.15, 0.18), rng.uniform(0.07, 0.09)
    model = Model().add(frustum((radius, radius), height - 0.012, (0, 0, 0.01), rim, 22))
    model.add(frustum((radius * 0.985, radius * 0.93), 0.012, (0, 0, height - 0.002), body, 22, base=False))
    knob = Material(near((0.7, 0.72, 0.75), 0.1, rng), gloss=0.6)
    model.add(frustum((0.022, 0.022), 0.004, (0.4 * radius, 0, height + 0.01), knob, 10, base=False), casts=False)
    if rng.random() < 0.5:
        model.add(frustum((0.05, 0.048), 0.022, (-0.02, 0, height + 0.01), rim, 14, base=False), casts=False)
    return model


def dark_box(rng: Rng) -> Model:
    """A black case, speaker or battery pack about as large as the target."""
    size = rng.uniform((0.09, 0.09, 0.06), (0.26, 0.26, 0.26))
    shell = Material(_grey(0.11, 0.05, rng), gloss=rng.uniform(0.05, 0.5))
    model = Model().add(box(size, (0, 0, size[2] / 2), shell, Material(_grey(0.14, 0.05, rng), gloss=0.3)))
    if rng.random() < 0.5:
        face = Material(_grey(0.35, 0.2, rng))
        model.add(box((0.004, 0.6 * size[1], 0.5 * size[2]), (size[0] / 2, 0, size[2] / 2), face), casts=False)
    return model


def dark_can(rng: Rng) -> Model:
    """A black bucket, wastebasket or thermos."""
    radius, height = rng.uniform(0.05, 0.13), rng.uniform(0.10, 0.30)
    shell = Material(near((0.13, 0.13, 0.14), 0.06, rng), gloss=0.3)
    hole = Material(_grey(0.04 if rng.random() < 0.6 else 0.4, 0.02, rng), gloss=0.02)
    return Model().add(frustum((radius * rng.uniform(0.7, 1.0), radius), height, (0, 0, 0), shell, 16, hole))


def stack(rng: Rng) -> Model:
    """Two or three dark slabs on each other: books, routers, hard disks."""
    model, at = Model(), 0.0
    for _ in range(int(rng.integers(2, 4))):
        size = rng.uniform((0.12, 0.10, 0.02), (0.24, 0.20, 0.06))
        shell = Material(near((0.15, 0.14, 0.16), 0.08, rng), gloss=0.3)
        model.add(box(size, (0, 0, at + size[2] / 2), shell).placed(0, 0, 0, rng.uniform(-0.4, 0.4)))
        at += size[2]
    return model


def toy(rng: Rng) -> Model:
    """A small model car on four dark wheels."""
    paint = Material(near((0.5, 0.3, 0.3), 0.3, rng), gloss=0.5)
    black = Material(_grey(0.08, 0.03, rng))
    model = Model().add(box((0.24, 0.10, 0.05), (0, 0, 0.06), paint))
    model.add(box((0.11, 0.085, 0.045), (-0.02, 0, 0.105), black, paint))
    for x in (-0.08, 0.08):
        for y in (-0.05, 0.05):
            wheel = frustum((0.028, 0.028), 0.03, (0, 0, -0.015), black, 10).turned(about_x(np.pi / 2))
            model.add(wheel.placed(x, y, 0.028), casts=False)
    return model


DISTRACTORS = (vacuum, vacuum, dark_box, dark_box, dark_can, stack, toy)
