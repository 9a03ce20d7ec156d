"""What stands in a room: tables, chairs, shelves, boxes, plants. On z = 0 around the origin, facing +x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldsight.systems.edge.world.mesh import Colour, Material, Mesh, Model, ball, box, fan, frustum, joined, quad, rod
from fieldsight.systems.edge.world.textures import Rng, near, pick

WOODS: list[Colour] = [
    (0.72, 0.55, 0.38),
    (0.50, 0.35, 0.22),
    (0.82, 0.72, 0.56),
    (0.30, 0.21, 0.15),
    (0.88, 0.87, 0.84),
]
CLOTHS: list[Colour] = [
    (0.25, 0.30, 0.42),
    (0.45, 0.22, 0.20),
    (0.35, 0.38, 0.33),
    (0.18, 0.18, 0.20),
    (0.62, 0.58, 0.50),
]
PAINTS: list[Colour] = [
    (0.75, 0.76, 0.76),
    (0.30, 0.32, 0.35),
    (0.60, 0.20, 0.16),
    (0.20, 0.36, 0.55),
    (0.85, 0.80, 0.30),
    (0.16, 0.16, 0.17),
]


@dataclass(frozen=True)
class Kit:
    """Indices of the textures that furniture may wear."""

    wood: int
    cloth: int
    card: int
    books: int


def _wood(kit: Kit, rng: Rng) -> Material:
    colour = pick(WOODS, rng)
    # the texture is light wood: a tint is divided by it
    r, g, b = (min(1.0, c / 0.8) for c in colour)
    return Material((r, g, b), kit.wood, 0.8, rng.uniform(0.05, 0.3))


def _cloth(kit: Kit, rng: Rng) -> Material:
    return Material(pick(CLOTHS, rng, 0.08), kit.cloth, 0.4, 0.0)


def _metal(rng: Rng) -> Material:
    value = 0.15 if rng.random() < 0.5 else 0.65
    return Material(near((value, value, value), 0.06, rng), gloss=0.6)


def _legs(model: Model, size: tuple[float, float], height: float, thick: float, material: Material) -> None:
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (size[0] / 2 - thick), y * (size[1] / 2 - thick), height / 2)
            model.add(box((thick, thick, height), at, material))


def table(kit: Kit, rng: Rng) -> Model:
    """A table or a desk, now and then with a screen on it."""
    size, height = (rng.uniform(0.6, 0.9), rng.uniform(0.8, 1.6)), rng.uniform(0.45, 0.76)
    top = _wood(kit, rng)
    model = Model().add(box((*size, 0.03), (0, 0, height), top))
    _legs(model, size, height - 0.015, 0.04, _metal(rng) if rng.random() < 0.6 else top)
    if rng.random() < 0.5:
        dark = Material(near((0.08, 0.08, 0.09), 0.03, rng), gloss=0.6)
        model.add(box((0.03, 0.5, 0.30), (0.1, 0, height + 0.27), dark), casts=False)
        model.add(box((0.15, 0.2, 0.015), (0.1, 0, height + 0.022), dark), casts=False)
        model.add(box((0.03, 0.04, 0.12), (0.1, 0, height + 0.07), dark), casts=False)
    return model


def chair(kit: Kit, rng: Rng) -> Model:
    """Four legs, a seat, a back of bars or a panel."""
    frame = _wood(kit, rng) if rng.random() < 0.6 else _metal(rng)
    seat = _cloth(kit, rng) if rng.random() < 0.5 else frame
    wide, high = rng.uniform(0.38, 0.46), rng.uniform(0.42, 0.48)
    model = Model().add(box((wide, wide, 0.04), (0, 0, high), seat))
    _legs(model, (wide, wide), high - 0.02, 0.03, frame)
    back = rng.uniform(0.35, 0.5)
    for y in (-1, 1):
        model.add(
            box((0.03, 0.03, back), (-wide / 2 + 0.03, y * (wide / 2 - 0.03), high + back / 2), frame), casts=False
        )
    model.add(box((0.025, wide - 0.02, back * 0.5), (-wide / 2 + 0.03, 0, high + back * 0.72), seat))
    return model


def stool(kit: Kit, rng: Rng) -> Model:
    """A round seat on a column and a foot."""
    metal, high = _metal(rng), rng.uniform(0.42, 0.65)
    model = Model().add(frustum((0.16, 0.17), 0.05, (0, 0, high), _cloth(kit, rng), 16))
    model.add(frustum((0.025, 0.025), high, (0, 0, 0), metal, 8, base=False))
    return model.add(frustum((0.2, 0.05), 0.03, (0, 0, 0), metal, 16, base=False))


def cabinet(kit: Kit, rng: Rng) -> Model:
    """A cupboard with doors or drawers."""
    size = rng.uniform((0.35, 0.5, 0.5), (0.5, 1.3, 1.3))
    body = _wood(kit, rng) if rng.random() < 0.6 else Material(pick(PAINTS, rng), gloss=0.3)
    model = Model().add(box(size, (0, 0, size[2] / 2), body))
    line, knob = Material((0.12, 0.11, 0.10)), _metal(rng)
    front = size[0] / 2
    for n in range(1, int(rng.integers(2, 5))):
        model.add(box((0.004, size[1] * 0.96, 0.008), (front, 0, size[2] * n / 4), line), casts=False)
        model.add(box((0.03, 0.10, 0.012), (front, 0, size[2] * (n / 4 - 0.1)), knob), casts=False)
    return model


def shelf(kit: Kit, rng: Rng) -> Model:
    """Books from floor to head height."""
    size = (0.28, rng.uniform(0.7, 1.2), rng.uniform(1.2, 2.0))
    body = _wood(kit, rng)
    model = Model().add(box(size, (0, 0, size[2] / 2), body))
    x, y = size[0] / 2 + 0.002, size[1] / 2 - 0.03
    face = quad(
        (x, -y, 0.04),
        (x, y, 0.04),
        (x, y, size[2] - 0.04),
        (x, -y, size[2] - 0.04),
        Material((1, 1, 1), kit.books, 0.0, 0.02),
    )
    return model.add(face, casts=False)


def carton(kit: Kit, rng: Rng) -> Model:
    """One or two cardboard boxes."""
    size = rng.uniform((0.2, 0.25, 0.15), (0.45, 0.6, 0.45))
    card = Material(near((1.0, 1.0, 1.0), 0.1, rng), kit.card, 0.0, 0.0)
    model = Model().add(box(size, (0, 0, size[2] / 2), card))
    if rng.random() < 0.35:
        less = size * rng.uniform(0.5, 0.9)
        model.add(box(less, (0, 0, less[2] / 2), card).placed(0, 0, size[2], rng.uniform(-0.5, 0.5)))
    return model


def crate(kit: Kit, rng: Rng) -> Model:
    """A painted box or a plinth."""
    size = rng.uniform((0.2, 0.2, 0.15), (0.6, 0.6, 0.7))
    return Model().add(box(size, (0, 0, size[2] / 2), Material(pick(PAINTS, rng, 0.1), gloss=0.2)))


def sofa(kit: Kit, rng: Rng) -> Model:
    """Base, back and arms in cloth."""
    cloth, long = _cloth(kit, rng), rng.uniform(0.9, 1.9)
    model = (
        Model().add(box((0.75, long, 0.30), (0, 0, 0.24), cloth)).add(box((0.2, long, 0.75), (-0.35, 0, 0.42), cloth))
    )
    for y in (-1, 1):
        model.add(box((0.75, 0.16, 0.5), (0, y * (long / 2 - 0.08), 0.3), cloth))
    return model


def bin_(kit: Kit, rng: Rng) -> Model:
    """A waste bin, a drum or a column of a table."""
    radius, high = rng.uniform(0.12, 0.28), rng.uniform(0.3, 0.8)
    shell = Material(pick(PAINTS, rng, 0.1), gloss=0.3)
    return Model().add(
        frustum((radius * rng.uniform(0.75, 1.0), radius), high, (0, 0, 0), shell, 18, Material((0.12, 0.12, 0.12)))
    )


def plant(kit: Kit, rng: Rng) -> Model:
    """A pot with leaves."""
    pot, leaf = Material(near((0.62, 0.36, 0.25), 0.15, rng)), near((0.20, 0.42, 0.18), 0.08, rng)
    high = rng.uniform(0.2, 0.35)
    model = Model().add(frustum((0.11, 0.15), high, (0, 0, 0), pot, 14, Material((0.15, 0.10, 0.07))))
    for n in range(int(rng.integers(8, 15))):
        angle, out, up = n * 2.4, rng.uniform(0.12, 0.32), high + rng.uniform(0.15, 0.6)
        tip = np.array([out * np.cos(angle), out * np.sin(angle), up])
        root = np.array([0.0, 0.0, high])
        side = 0.05 * np.array([-np.sin(angle), np.cos(angle), 0.0])
        middle = root + (tip - root) * 0.6 + np.array([0, 0, 0.06])
        ring = np.array([root, middle - side, tip])
        other = np.array([root, tip, middle + side])
        green = Material(near(leaf, 0.05, rng), gloss=0.1)
        for face in (ring, ring[::-1], other, other[::-1]):
            model.add(fan(face, green), casts=False)
    model.casters.append(frustum((0.12, 0.2), 0.4, (0, 0, high), pot, 8).corners.reshape(-1, 3))
    return model


def lamp(kit: Kit, rng: Rng) -> Model:
    """A standard lamp."""
    metal, high = _metal(rng), rng.uniform(1.2, 1.6)
    model = Model().add(frustum((0.15, 0.15), 0.02, (0, 0, 0), metal, 16, base=False))
    model.add(rod((0, 0, 0), (0, 0, high), 0.012, metal, 6))
    return model.add(frustum((0.2, 0.12), 0.25, (0, 0, high - 0.1), Material((0.95, 0.88, 0.72), glow=0.5), 14))


def balloon(kit: Kit, rng: Rng) -> Model:
    """A ball on the floor."""
    radius = rng.uniform(0.09, 0.3)
    return Model().add(ball((radius,) * 3, (0, 0, radius), Material(pick(PAINTS, rng, 0.15), gloss=0.4), 8, 14))


Make = Callable[[Kit, Rng], Model]

#: Tall things that stand along walls, and what stands anywhere.
AT_WALLS: tuple[Make, ...] = (cabinet, shelf, sofa, table, plant, lamp, cabinet, carton)
ANYWHERE: tuple[Make, ...] = (chair, chair, stool, carton, carton, crate, bin_, table, plant, balloon)


def cable(rng: Rng, start: tuple[float, float], heading: float, length: float, width: float) -> Mesh:
    """A cable lying on the floor: a winding ribbon a few millimetres high."""
    steps = max(4, int(length / 0.08))
    turns = heading + np.cumsum(rng.normal(0.0, 0.25, steps)) * 0.6
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / steps), axis=0) + np.asarray(start)
    side = np.stack([-np.sin(turns), np.cos(turns)], axis=1) * width / 2
    value = 0.08 if rng.random() < 0.6 else 0.8
    material = Material(near((value, value, value), 0.07, rng), gloss=0.3)
    level = np.full((steps, 1), 0.006)
    left, right = np.hstack([path + side, level]), np.hstack([path - side, level])
    return joined([fan(np.array([right[n], right[n + 1], left[n + 1], left[n]]), material) for n in range(steps - 1)])
