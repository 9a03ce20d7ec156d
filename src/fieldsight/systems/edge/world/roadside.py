"""What a street is made of: carriageway, paint, houses, trees. The street runs along y, its middle at x = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldsight.systems.edge.world import textures
from fieldsight.systems.edge.world.mesh import Colour, Material, Mesh, Model, ball, box, fan, frustum, quad, rod, sheet
from fieldsight.systems.edge.world.textures import Rng, Textures, near, pick

#: Width of a lane in m.
LANE = 3.2

WALLS: list[Colour] = [
    (0.78, 0.70, 0.58),
    (0.70, 0.45, 0.36),
    (0.80, 0.78, 0.74),
    (0.62, 0.62, 0.60),
    (0.72, 0.60, 0.45),
]


@dataclass(frozen=True)
class Road:
    """A street along y.

    Attributes:
        lanes: in each direction; ``parking`` whether cars may stand along the kerbs.
        walk: width of a pavement, m; ``half`` half the width of the carriageway; ``free`` half of that between houses.
        crossing: y of a zebra crossing.
        houses: houses on the left and right side; trees and grass where not.
    """

    lanes: int
    parking: bool
    walk: float
    crossing: float
    houses: tuple[bool, bool]

    @property
    def half(self) -> float:
        """Half the width of the carriageway in m."""
        return self.lanes * LANE + (2.9 if self.parking else 1.0)

    @property
    def free(self) -> float:
        """Half the width of the air between the houses in m."""
        return self.half + self.walk + 2.5


def surface(tx: Textures, road: Road, span: tuple[float, float], rng: Rng, shift: bool) -> list[Mesh]:
    """Carriageway, kerbs, pavements, verges and paint."""
    low, high = span
    long = high - low
    cells = (2, max(8, round(long / 12)))
    tar = pick(
        [(0.62, 0.58, 0.52), (0.30, 0.28, 0.30)]
        if shift
        else [(0.42, 0.42, 0.43), (0.34, 0.35, 0.37), (0.48, 0.47, 0.46)],
        rng,
        0.03,
    )
    asphalt = Material((1, 1, 1), tx.add(textures.stone(256, rng, tar)), 4.0, 0.05)
    paving = Material(
        (1, 1, 1),
        tx.add(textures.tiles(128, rng, near((0.64, 0.62, 0.59), 0.06, rng), (0.45, 0.44, 0.42), 4, 0.04)),
        1.6,
        0.02,
    )
    if shift:
        meadow = near((0.85, 0.86, 0.90), 0.05, rng) if rng.random() < 0.5 else near((0.60, 0.52, 0.30), 0.05, rng)
    else:
        meadow = near((0.32, 0.42, 0.20), 0.05, rng)
    grass = Material((1, 1, 1), tx.add(textures.lawn(256, rng, meadow)), 5.0, 0.0)
    kerb = Material(near((0.68, 0.67, 0.65), 0.04, rng))
    white = Material((0.86, 0.86, 0.84) if not shift else (0.85, 0.75, 0.35), gloss=0.05)
    parts = [sheet((-road.half, low, 0), (2 * road.half, 0, 0), (0, long, 0), cells, asphalt)]
    wide = 60.0
    for side in (-1.0, 1.0):
        edge, outer = side * road.half, side * (road.half + road.walk)
        a, b = sorted((edge, outer))
        parts.append(sheet((a, low, 0), (b - a, 0, 0), (0, long, 0), (1, cells[1]), paving))
        c, d = sorted((outer, side * (road.half + road.walk + wide)))
        parts.append(sheet((c, low, 0), (d - c, 0, 0), (0, long, 0), (2, cells[1]), grass))
        parts.append(box((0.14, long, 0.02), (edge, (low + high) / 2, 0.01), kerb, base=False))
    return parts + _paint(road, span, white, rng)


def _paint(road: Road, span: tuple[float, float], white: Material, rng: Rng) -> list[Mesh]:
    """Lines between lanes and a zebra crossing."""
    parts: list[Mesh] = []

    def strip(x: float, y: float, wide: float, long: float) -> None:
        z = 0.012
        parts.append(quad((x, y, z), (x + wide, y, z), (x + wide, y + long, z), (x, y + long, z), white))

    for n in range(-road.lanes + 1, road.lanes):
        solid = n == 0 and road.lanes > 1
        for y in np.arange(span[0], span[1], 3.0 if solid else 6.0):
            if abs(y - road.crossing) > 5.0:
                strip(n * LANE - 0.07, float(y), 0.14, 3.0)
    for x in np.arange(-road.half + 0.4, road.half - 0.5, 1.0):
        strip(float(x), road.crossing - 1.8, 0.5, 3.6)
    if road.parking:
        for side in (-1.0, 1.0):
            for y in np.arange(span[0], span[1], 5.8):
                strip(side * (road.half - 1.0) - 1.0, float(y), 2.0, 0.1)
    return parts


def _house(x: float, y: float, size: tuple[float, float], storeys: int, wall: Material, rng: Rng) -> Model:
    """Walls, a flat roof, a chimney; ``size`` is depth and length in m."""
    deep, wide = size
    high = 3.1 * storeys
    roof = Material(near((0.42, 0.40, 0.38) if rng.random() < 0.6 else (0.55, 0.30, 0.22), 0.06, rng))
    model = Model()
    for face in _walls(x, y, deep, wide, high, storeys, wall):
        model.add(face, casts=False)
    model.add(box((deep + 0.4, wide, 0.4), (x, y, high + 0.2), roof))
    model.add(box((1.5, 2.0, 1.2), (x, y + rng.uniform(-0.2, 0.2) * wide, high + 0.9), roof), casts=False)
    model.casters.append(box((deep, wide, high), (x, y, high / 2), roof).corners.reshape(-1, 3))
    return model


def houses(tx: Textures, road: Road, span: tuple[float, float], rng: Rng, shift: bool) -> list[Model]:
    """Rows of houses with windows, each under its own roof."""
    fronts = []
    for _ in range(4):
        tone = pick(WALLS, rng, 0.08)
        if rng.random() < 0.4:
            face = textures.bricks(128, rng, tone, near((0.7, 0.68, 0.64), 0.05, rng), 16, 6)
        else:
            face = textures.plaster(128, rng, tone)
        fronts.append(tx.add(textures.facade(128, rng, face)))
    found = []
    for side, there in zip((-1.0, 1.0), road.houses, strict=True):
        y = span[0]
        while there and y < span[1]:
            wide, deep, storeys = rng.uniform(8.0, 20.0), rng.uniform(8.0, 14.0), int(rng.integers(2, 6))
            if rng.random() < 0.9:
                wall = Material((1, 1, 1), fronts[int(rng.integers(4))], 0.0, 0.05)
                x = side * (road.free + deep / 2 + rng.uniform(0.0, 1.5))
                found.append(_house(x, y + wide / 2, (deep, wide), storeys, wall, rng))
            y += wide + (0.0 if rng.random() < 0.7 else rng.uniform(2.0, 8.0))
    return found


def _walls(x: float, y: float, deep: float, wide: float, high: float, storeys: int, wall: Material) -> list[Mesh]:
    """The four sides of a house; a texture is one storey high and 13 m long."""
    half = np.array([deep, wide]) / 2
    ring = [
        (x - half[0], y - half[1]),
        (x + half[0], y - half[1]),
        (x + half[0], y + half[1]),
        (x - half[0], y + half[1]),
    ]
    parts = []
    for n in range(4):
        a, b = np.array(ring[n]), np.array(ring[(n + 1) % 4])
        bays = max(0.5, round(float(np.linalg.norm(b - a)) / 6.5) / 2)
        corners = np.array([(*a, 0.0), (*b, 0.0), (*b, high), (*a, high)])
        uv = np.array([(0, 0), (bays, 0), (bays, storeys), (0, storeys)], np.float64)
        parts.append(fan(corners, wall, uv))
    return parts


def _tree(rng: Rng, leaf: int, shift: bool) -> Model:
    """A trunk and a crown of a few balls."""
    high, wide = rng.uniform(3.0, 5.5), rng.uniform(1.1, 2.0)
    bark = Material(near((0.34, 0.26, 0.19), 0.04, rng), gloss=0.0)
    model = Model().add(frustum((0.18, 0.12), high, (0, 0, 0), bark, 7, base=False))
    tone = near((0.95, 0.62, 0.25) if shift else (0.75, 0.95, 0.55), 0.12, rng)
    green = Material(tone, leaf, 0.34, 0.0)
    for _ in range(4):
        at = (*(rng.uniform(-0.5, 0.5, 2) * wide), high + rng.uniform(-0.4, 0.8) * wide)
        size = wide * rng.uniform(0.6, 0.95)
        model.add(ball((size, size, size * 0.85), at, green, 5, 9))
    return model


def beside(tx: Textures, road: Road, span: tuple[float, float], rng: Rng, shift: bool) -> list[Model]:
    """Trees, lamp posts, bins and benches."""
    leaf = tx.add(textures.foliage(128, rng, (0.42, 0.50, 0.30)))
    metal = Material(near((0.35, 0.37, 0.38), 0.08, rng), gloss=0.4)
    found: list[Model] = []
    trees = [_tree(rng, leaf, shift) for _ in range(6)]
    for side, built in zip((-1.0, 1.0), road.houses, strict=True):
        if rng.random() < (0.55 if built else 0.95):
            step = rng.uniform(7.0, 14.0)
            for y in np.arange(span[0], span[1], step):
                if abs(y - road.crossing) > 5.0 and rng.random() < 0.85:
                    found.append(
                        trees[int(rng.integers(6))].placed(side * (road.half + 0.9), y + rng.uniform(-0.5, 0.5))
                    )
        if not built:
            for _ in range(14):
                at = (side * (road.free + rng.uniform(1.0, 22.0)), rng.uniform(*span))
                found.append(trees[int(rng.integers(6))].placed(*at))
        for y in np.arange(span[0] + 4.0, span[1], 24.0):
            post = Model().add(frustum((0.09, 0.06), 6.0, (0, 0, 0), metal, 7, base=False))
            post.add(rod((0, 0, 6.0), (-1.4 * side, 0, 6.2), 0.05, metal, 5), casts=False)
            found.append(post.placed(side * (road.half + 0.45), float(y) + rng.uniform(-2.0, 2.0)))
        for _ in range(4):
            kind = (
                frustum((0.25, 0.28), 0.9, (0, 0, 0), metal, 9)
                if rng.random() < 0.5
                else box((0.5, 1.6, 0.45), (0, 0, 0.25), metal)
            )
            found.append(Model().add(kind).placed(side * (road.half + road.walk - 0.4), rng.uniform(*span)))
    return found
