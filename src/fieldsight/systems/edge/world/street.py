"""``street``: a road between houses or trees, seen from a drone above it; people and vehicles are looked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.edge.world import traffic
from fieldsight.systems.edge.world.flight import Flight, street_flight
from fieldsight.systems.edge.world.mesh import Model
from fieldsight.systems.edge.world.roadside import LANE, Road, beside, houses, surface
from fieldsight.systems.edge.world.scene import Actor, Scene
from fieldsight.systems.edge.world.sensor import draw_sensor
from fieldsight.systems.edge.world.shadows import Ground
from fieldsight.systems.edge.world.textures import Rng, Textures

Doubles = NDArray[np.float64]

CLASSES = traffic.CLASSES

PERSON, CAR, VAN, TRUCK, BUS, BICYCLE = range(6)

#: How likely a vehicle in a lane is a car, van, truck or bus.
MIX = (0.68, 0.13, 0.11, 0.08)


def plan(rng: Rng, shift: bool) -> tuple[Flight, Road]:
    """The flight and the road below it."""
    left, right = rng.random(2) < 0.65
    road = Road(
        int(rng.integers(1, 3)), bool(rng.random() < 0.6), float(rng.uniform(2.2, 4.0)), 0.0, (bool(left), bool(right))
    )
    flight = street_flight(rng, road.free - 2.0, shift)
    crossing = flight.goal[1] + float(rng.uniform(-15.0, 15.0))
    return flight, Road(road.lanes, road.parking, road.walk, crossing, road.houses)


def _line(x: float, y: float, yaw: float, pace: float, count: int) -> Doubles:
    """Straight on at ``pace`` m a frame: ``(count, 4)``, at x, y in the middle."""
    t = np.arange(count) - count / 2
    return np.stack([x + pace * t * np.cos(yaw), y + pace * t * np.sin(yaw), 0 * t, np.full(count, yaw)], axis=1)


class _Library:
    """A few models of each class, made once a street and used many times."""

    def __init__(self, rng: Rng) -> None:
        self._made: dict[tuple[int, bool], list[Model]] = {}
        self._rng = rng

    def one(self, kind: int, seated: bool = False) -> Model:
        """A model of a class; the first few asked for are new."""
        known = self._made.setdefault((kind, seated), [])
        if len(known) < (14 if kind in (PERSON, CAR) else 4):
            made = traffic.person(self._rng, True) if seated else traffic.MAKERS[kind](self._rng)
            known.append(Model([made.mesh()], made.casters))
            return known[-1]
        return known[int(self._rng.integers(len(known)))]


def _vehicles(road: Road, middle: float, reach: float, count: int, library: _Library, rng: Rng) -> list[Actor]:
    """Traffic in the lanes and cars along the kerbs."""
    found = []
    thick = rng.uniform(0.3, 1.0)
    for lane in range(2 * road.lanes):
        side = -1.0 if lane < road.lanes else 1.0
        yaw = side * np.pi / 2
        x = side * (lane % road.lanes + 0.5) * LANE
        pace = float(rng.uniform(0.12, 0.55)) if rng.random() < 0.8 else 0.0
        y = middle - reach
        while y < middle + reach:
            kind = 1 + int(rng.choice(4, p=MIX))
            model = library.one(kind)
            long = float(np.ptp(model.mesh().corners[..., 0]))
            if y > middle - reach or rng.random() < 0.5:
                found.append(Actor.of(model, kind, _line(x + rng.normal(0, 0.12), y + long / 2, yaw, pace, count)))
            y += long + 2.0 + float(rng.exponential(9.0 / thick))
    if road.parking:
        for side in (-1.0, 1.0):
            for y in np.arange(middle - reach, middle + reach, 5.8):
                if rng.random() < 0.55 and abs(y + 2.9 - road.crossing) > 5.5:
                    kind = CAR if rng.random() < 0.85 else VAN
                    yaw = np.pi / 2 if rng.random() < 0.5 else -np.pi / 2
                    at = side * (road.half - 1.0) + rng.normal(0, 0.08)
                    model = library.one(kind)
                    found.append(Actor.of(model, kind, _line(at, float(y) + 2.9, yaw, 0.0, count)))
    return found


def _people(road: Road, middle: float, reach: float, count: int, library: _Library, rng: Rng) -> list[Actor]:
    """Walkers on the pavements and on the crossing, riders, bicycles that lean somewhere."""
    found = []
    for _ in range(int(rng.integers(8, 30))):
        side = rng.choice([-1.0, 1.0])
        x, y = side * (road.half + rng.uniform(0.5, road.walk + 0.5)), middle + rng.uniform(-0.7, 0.7) * reach
        yaw = rng.choice([-1.0, 1.0]) * np.pi / 2 + rng.normal(0, 0.15)
        pace = 0.0 if rng.random() < 0.25 else rng.uniform(0.04, 0.09)
        found.append(
            Actor.of(library.one(PERSON), PERSON, _line(x, y, yaw if pace else rng.uniform(0, 6.3), pace, count))
        )
        if rng.random() < 0.25:
            x, y = x + rng.uniform(0.6, 0.8), y + rng.uniform(-0.3, 0.3)
            found.append(Actor.of(library.one(PERSON), PERSON, _line(x, y, yaw, pace, count)))
    for _ in range(int(rng.integers(0, 6))):
        yaw = 0.0 if rng.random() < 0.5 else np.pi
        way = _line(
            rng.uniform(-1, 1) * road.half, road.crossing + rng.uniform(-1.4, 1.4), yaw, rng.uniform(0.05, 0.08), count
        )
        found.append(Actor.of(library.one(PERSON), PERSON, way))
    for _ in range(int(rng.integers(2, 9))):
        side = rng.choice([-1.0, 1.0])
        y, yaw = middle + rng.uniform(-0.6, 0.6) * reach, side * np.pi / 2
        if rng.random() < 0.6:
            way = _line(side * (road.lanes * LANE + 0.35), y, yaw, rng.uniform(0.15, 0.3), count)
            found.append(Actor.of(library.one(PERSON, True), PERSON, way))
            found.append(Actor.of(library.one(BICYCLE), BICYCLE, way))
        else:
            x = side * (road.half + road.walk - rng.uniform(0.2, 0.8))
            found.append(Actor.of(library.one(BICYCLE), BICYCLE, _line(x, y, rng.uniform(0, 6.3), 0.0, count)))
    return found


def _light(rng: Rng, shift: bool) -> tuple[Doubles, Doubles, Doubles]:
    """Sun ``(1, 8)``, ambient light ``(2, 3)`` and air ``(3, 3)``."""
    angle = rng.uniform(0, 2 * np.pi)
    cloudy = rng.random() < 0.3
    if shift:
        lift, sun, haze = (
            rng.uniform(0.18, 0.4),
            np.array([1.1, 0.65, 0.35]) * rng.uniform(0.6, 1.2),
            rng.uniform(120, 320),
        )
        sky = np.array([0.26, 0.26, 0.36]) * rng.uniform(0.9, 1.6)
        air = np.array([[0.75, 0.55, 0.42], [0.35, 0.38, 0.55], [haze, 0, 0]])
    else:
        lift, haze = rng.uniform(0.5, 1.6), rng.uniform(250, 700)
        sun = np.array([1.0, 0.94, 0.84]) * (rng.uniform(0.15, 0.4) if cloudy else rng.uniform(0.8, 1.3))
        sky = np.array([0.36, 0.40, 0.46]) * (1.4 if cloudy else 0.8)
        air = np.array([[0.72, 0.76, 0.80], [0.30, 0.45, 0.70], [haze, 0, 0]])
    lamps = np.array([[np.cos(angle), np.sin(angle), lift, *sun, 0.0, 1.0]])
    lamps[:, :3] /= np.linalg.norm(lamps[:, :3])
    return lamps, np.stack([sky, 0.45 * sky * (1.05, 1.0, 0.85)]), air


def build(flight: Flight, road: Road, rng: Rng, shift: bool) -> Scene:
    """The street of a flight."""
    tx = Textures()
    middle, reach = flight.goal[1], 70.0 + 20.0 * shift
    span = (middle - reach - 30.0, middle + reach + 30.0)
    count = len(flight) + 2
    light = _light(rng, shift)
    parts = surface(tx, road, span, rng, shift)
    things = houses(tx, road, span, rng, shift) + beside(tx, road, span, rng, shift)
    wide = road.free + 8.0
    ground = Ground(-wide, span[0], 10.0, (round(10 * (span[1] - span[0])), round(20 * wide)), 0.05, 0.06, 0.85)
    library = _Library(rng)
    actors = _vehicles(road, middle, reach, count, library, rng)
    actors += _people(road, middle, 0.7 * reach, count, library, rng)
    return Scene.of(flight, parts, things, ground, actors, tx, light, draw_sensor(rng, shift))
