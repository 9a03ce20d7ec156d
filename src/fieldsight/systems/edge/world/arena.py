"""``arena``: a room with furniture and clutter, seen by a small drone that looks for a TurtleBot-like robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.edge.world import camera, furniture, robots, textures
from fieldsight.systems.edge.world.flight import Flight, arena_flight
from fieldsight.systems.edge.world.mesh import Colour, Material, Mesh, Model, fan, quad, sheet
from fieldsight.systems.edge.world.scene import Actor, Scene
from fieldsight.systems.edge.world.sensor import draw_sensor
from fieldsight.systems.edge.world.shadows import Ground
from fieldsight.systems.edge.world.textures import Rng, Texture, Textures, near, pick

Doubles = NDArray[np.float64]

CLASSES = ("turtlebot",)

WALLS: list[Colour] = [
    (0.90, 0.89, 0.86),
    (0.86, 0.86, 0.88),
    (0.92, 0.88, 0.78),
    (0.78, 0.82, 0.86),
    (0.80, 0.85, 0.78),
]
SHIFTED_WALLS: list[Colour] = [
    (0.35, 0.45, 0.55),
    (0.62, 0.35, 0.28),
    (0.40, 0.42, 0.40),
    (0.75, 0.66, 0.30),
    (0.5, 0.5, 0.52),
]


def plan(rng: Rng, shift: bool) -> tuple[Flight, tuple[float, float]]:
    """The flight, and the width and depth of the room in m."""
    room = (float(rng.uniform(5.0, 8.5)), float(rng.uniform(5.0, 8.5)))
    return arena_flight(rng, room, shift), room


@dataclass
class _Room:
    """What has been put where: discs ``x, y, radius, height`` on the floor."""

    flight: Flight
    width: float
    depth: float
    height: float
    eyes: Doubles
    targets: list[Doubles] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def free(self, x: float, y: float, radius: float, height: float) -> bool:
        """Whether a thing of that size fits: within the walls, beside others, off the flight, not before the robot."""
        if abs(x) > self.width / 2 - radius or abs(y) > self.depth / 2 - radius:
            return False
        if any(np.hypot(x - a, y - b) < radius + r for a, b, r in self.taken):
            return False
        apart = np.hypot(self.eyes[:, 0] - x, self.eyes[:, 1] - y)
        if (apart < radius + 0.25 + 0.35 * (height > self.eyes[:, 2] - 0.3)).any():
            return False
        return all(self.hidden(x, y, radius, height, target) < 0.06 for target in self.targets[:1])

    def hidden(self, x: float, y: float, radius: float, height: float, target: Doubles) -> float:
        """Share of frames in which that thing covers the middle of a robot at ``target`` ``(N, 2)``."""
        eye, line = self.eyes[:, :2], target - self.eyes[:, :2]
        along = ((np.array([x, y]) - eye) * line).sum(axis=1) / np.maximum(np.square(line).sum(axis=1), 1e-9)
        inside = (along > 0) & (along < 1)
        gap = np.linalg.norm(eye + np.clip(along, 0, 1)[:, None] * line - (x, y), axis=1)
        sight = self.eyes[:, 2] + along * (0.1 - self.eyes[:, 2])
        return float((inside & (gap < radius - 0.03) & (sight < height)).mean())


def _robot_paths(flight: Flight, eyes: Doubles, rng: Rng, size: Doubles) -> list[Doubles]:
    """One or two robots' ways ``(N + 2, 4)``; the first is in the picture in nearly every frame."""
    found: list[Doubles] = []
    count = len(flight) + 2
    poses = flight.poses()
    lens = camera.lens((480, 640))
    for n in range(1 + int(rng.random() < 0.4)):
        best, most = None, -1.0
        for _ in range(60):
            at = np.asarray(flight.goal) + rng.uniform(-1.1, 1.1, 2)
            yaw = rng.uniform(0, 2 * np.pi)
            drive = rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 0.0
            t = np.linspace(-0.5, 0.5, count)
            turn = yaw + rng.uniform(-0.8, 0.8) * t * (drive > 0)
            way = np.stack([at[0] + drive * t * np.cos(yaw), at[1] + drive * t * np.sin(yaw), 0 * t, turn], axis=1)
            if (np.abs(way[:, :2]) > size / 2 - 0.25).any():
                continue
            if any(np.hypot(*(way[:, :2] - other[:, :2]).T).min() < 0.3 for other in found):
                continue
            middle = way[:, :3] + (0, 0, 0.09)
            if np.linalg.norm(middle - eyes, axis=1).min() < 0.62:
                continue
            seen = np.array([camera.projected(p, pose, lens) for p, pose in zip(middle, poses, strict=True)])
            inside = (seen[:, 2] > 0.2) & (np.abs(seen[:, 0] - 320) < 312) & (np.abs(seen[:, 1] - 240) < 232)
            share = float(inside.mean())
            if share > most:
                best, most = way, share
            if share >= (0.985 if n == 0 else 0.4):
                break
        if best is not None:
            found.append(best)
    return found


def _floor(tx: Textures, rng: Rng, shift: bool) -> Material:
    kind = int(rng.integers(3))
    joint = near((0.45, 0.44, 0.42), 0.12, rng)
    if shift:
        made: list[Texture] = [
            textures.stone(
                512, rng, pick([(0.55, 0.55, 0.54), (0.70, 0.66, 0.60)], rng), chips=0.12 * (rng.random() < 0.6)
            ),
            textures.tiles(512, rng, pick([(0.85, 0.83, 0.78), (0.60, 0.25, 0.20)], rng), joint, 4, 0.02, check=0.7),
            textures.bricks(512, rng, pick([(0.60, 0.36, 0.28), (0.55, 0.53, 0.50)], rng), joint),
        ]
        period = (1.5, 1.2, 1.0)[kind]
        return Material((1, 1, 1), tx.add(made[kind]), period, rng.uniform(0.0, 0.3))
    if kind == 0:
        tone = pick([(0.78, 0.75, 0.70), (0.62, 0.60, 0.58), (0.86, 0.85, 0.83), (0.70, 0.55, 0.42)], rng)
        return Material(
            (1, 1, 1), tx.add(textures.tiles(512, rng, tone, joint)), rng.uniform(1.2, 2.0), rng.uniform(0.05, 0.35)
        )
    if kind == 1:
        tone = pick(furniture.WOODS[:4], rng)
        return Material(
            (1, 1, 1), tx.add(textures.wood(512, rng, tone)), rng.uniform(1.2, 1.8), rng.uniform(0.05, 0.35)
        )
    tone = pick([(0.42, 0.44, 0.48), (0.55, 0.50, 0.44), (0.35, 0.28, 0.26), (0.45, 0.52, 0.46)], rng)
    return Material((1, 1, 1), tx.add(textures.carpet(512, rng, tone)), 1.0, 0.0)


def _walls(tx: Textures, room: _Room, rng: Rng, shift: bool) -> list[Mesh]:
    """Four walls with skirting, a ceiling with panels of light, and what hangs there."""
    tone = pick(SHIFTED_WALLS if shift else WALLS, rng)
    if shift and rng.random() < 0.4:
        paint = Material(
            (1, 1, 1), tx.add(textures.bricks(256, rng, tone, near((0.7, 0.7, 0.68), 0.1, rng), 8, 2)), 0.8, 0.0
        )
    else:
        paint = Material((1, 1, 1), tx.add(textures.plaster(256, rng, tone)), 2.0, 0.0)
    skirting = Material(near((0.9, 0.9, 0.9) if rng.random() < 0.5 else (0.3, 0.22, 0.16), 0.05, rng), gloss=0.2)
    door = Material(near(pick(furniture.WOODS, rng), 0.05, rng), gloss=0.2)
    w, d, h = room.width / 2, room.depth / 2, room.height
    corners = [(-w, -d), (w, -d), (w, d), (-w, d)]
    parts: list[Mesh] = []
    has_door = int(rng.integers(4))
    for n in range(4):
        # seen from inside, a wall runs from its left to its right end
        a, b = np.array(corners[(n + 1) % 4]), np.array(corners[n])
        along = (b - a) / np.linalg.norm(b - a)
        inward = np.array([-along[1], along[0]]) * (1 if np.dot([-along[1], along[0]], a) < 0 else -1)
        long = float(np.linalg.norm(b - a))

        def panel(left: float, low: float, wide: float, high: float, off: float, material: Material) -> Mesh:
            at = np.array([*(a + along * left + inward * off), low])  # noqa: B023
            u = np.array([*along * wide, 0.0])  # noqa: B023
            v = np.array([0.0, 0.0, high])
            return quad(at, at + u, at + u + v, at + v, material)

        parts.append(sheet((*a, 0.0), (*along * long, 0.0), (0, 0, h), (5, 3), paint))
        parts.append(panel(0, 0, long, 0.09, 0.008, skirting))
        if n == has_door:
            at = rng.uniform(0.3, long - 1.3)
            parts.append(panel(at - 0.06, 0, 1.02, 2.08, 0.010, skirting))
            parts.append(panel(at, 0, 0.9, 2.02, 0.014, door))
            parts.append(panel(at + 0.78, 1.0, 0.1, 0.03, 0.03, Material((0.75, 0.75, 0.75), gloss=0.6)))
        elif rng.random() < 0.35:
            light = Material((1.25, 1.25, 1.25), tx.add(textures.window(128, rng)), 0.0, 0.0, 1.0)
            wide = rng.uniform(1.0, 2.0)
            parts.append(panel(rng.uniform(0.3, long - wide - 0.3), 0.85, wide, 1.3, 0.012, light))
        for _ in range(int(rng.integers(0, 3))):
            wide, high = rng.uniform(0.3, 0.9), rng.uniform(0.4, 0.9)
            face = Material((1, 1, 1), tx.add(textures.poster(128, rng)), 0.0, 0.1)
            parts.append(panel(rng.uniform(0.2, long - wide - 0.2), rng.uniform(0.3, 1.3), wide, high, 0.018, face))
    white = Material(near((0.88, 0.88, 0.88), 0.05, rng), gloss=0.0)
    parts.append(sheet((-w, d, h), (2 * w, 0, 0), (0, -2 * d, 0), (3, 3), white))
    return parts


def _lay(tx: Textures, room: _Room, rng: Rng) -> list[Mesh]:
    """Rugs, tapes, markers and cables on the floor."""
    parts: list[Mesh] = []
    size = np.array([room.width, room.depth])

    def flat(wide: float, long: float, level: float, material: Material, at: Doubles | None = None) -> Mesh:
        x, y = (rng.uniform(-0.4, 0.4, 2) * size) if at is None else at
        ring = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]) * (wide / 2, long / 2, 1.0)
        return fan(ring, material).placed(x, y, level, rng.uniform(0, 2 * np.pi))

    if rng.random() < 0.4:
        second = pick([(0.75, 0.70, 0.60), (0.25, 0.30, 0.40), (0.60, 0.25, 0.20)], rng, 0.1)
        rug = tx.add(textures.carpet(256, rng, pick(furniture.CLOTHS, rng, 0.1), second))
        parts.append(flat(rng.uniform(1.0, 2.2), rng.uniform(1.2, 2.6), 0.003, Material((1, 1, 1), rug, 0.0, 0.0)))
    goal = np.asarray(room.flight.goal)
    for _ in range(int(rng.integers(0, 4))):
        sign = Material((1, 1, 1), tx.add(textures.marker(64, rng)), 0.0, 0.1)
        side = rng.uniform(0.10, 0.30)
        parts.append(flat(side, side, 0.005, sign, goal + rng.uniform(-1.5, 1.5, 2)))
    for _ in range(int(rng.integers(0, 3))):
        tape = Material(pick([(0.85, 0.75, 0.2), (0.1, 0.1, 0.1), (0.8, 0.2, 0.2), (0.9, 0.9, 0.9)], rng), gloss=0.2)
        parts.append(flat(0.05, rng.uniform(0.8, 3.0), 0.004, tape, goal + rng.uniform(-1.5, 1.5, 2)))
    for _ in range(int(rng.integers(0, 4))):
        x, y = goal + rng.uniform(-1.6, 1.6, 2)
        parts.append(
            furniture.cable(rng, (x, y), rng.uniform(0, 6.3), rng.uniform(0.6, 2.5), rng.uniform(0.008, 0.016))
        )
    return parts


def _furnish(tx: Textures, room: _Room, rng: Rng) -> list[Model]:
    """5 to 20 pieces, then things on the floor that look a little like the robot."""
    kit = furniture.Kit(
        tx.add(textures.wood(128, rng, (0.8, 0.8, 0.8), 1)),
        tx.add(textures.carpet(128, rng, (0.9, 0.9, 0.9))),
        tx.add(textures.cardboard(128, rng)),
        tx.add(textures.books(128, rng)),
    )
    found: list[Model] = []
    goal = np.asarray(room.flight.goal)

    def put(model: Model, places: Sequence[tuple[float, float, float]]) -> bool:
        corners = model.mesh().corners.reshape(-1, 3)
        radius, height = float(np.hypot(corners[:, 0], corners[:, 1]).max()), float(corners[:, 2].max())
        for x, y, yaw in places:
            if room.free(x, y, radius, height):
                room.taken.append((x, y, radius))
                found.append(model.placed(x, y, 0.0, yaw))
                return True
        return False

    if rng.random() < 0.4 and room.targets:
        # something to hide behind
        spots = [tuple(room.targets[0][len(room.eyes) // 2] + rng.uniform(-0.45, 0.45, 2)) for _ in range(20)]
        put(
            (furniture.carton if rng.random() < 0.5 else furniture.crate)(kit, rng),
            [(x, y, rng.uniform(0, 6.3)) for x, y in spots],
        )
    for _ in range(int(rng.integers(2, 6))):
        spots = [tuple(goal + rng.normal(0.0, 0.9, 2)) for _ in range(8)]
        make = robots.DISTRACTORS[int(rng.integers(len(robots.DISTRACTORS)))]
        put(make(rng), [(x, y, rng.uniform(0, 6.3)) for x, y in spots])
    wanted = int(rng.integers(5, 21))
    for n in range(wanted):
        if n % 2:
            made = furniture.ANYWHERE[int(rng.integers(len(furniture.ANYWHERE)))](kit, rng)
            box = rng.uniform(-0.45, 0.45, (10, 2)) * (room.width, room.depth)
            put(made, [(x, y, rng.uniform(0, 6.3)) for x, y in box])
            continue
        made = furniture.AT_WALLS[int(rng.integers(len(furniture.AT_WALLS)))](kit, rng)
        corners = made.mesh().corners.reshape(-1, 3)
        radius = float(np.hypot(corners[:, 0], corners[:, 1]).max()) + 0.01
        places = []
        for _ in range(8):
            side, share = int(rng.integers(4)), rng.uniform(-0.45, 0.45)
            half = np.array([room.width, room.depth]) / 2 - radius
            at = [(half[0], share * room.depth), (share * room.width, half[1])][side % 2]
            sign = 1.0 if side < 2 else -1.0
            places.append((sign * at[0], sign * at[1], (np.pi, -np.pi / 2, 0.0, np.pi / 2)[side]))
        put(made, places)
    return found


def _lights(room: _Room, rng: Rng, shift: bool) -> tuple[Doubles, Doubles, list[Mesh]]:
    """Lamps ``(L, 8)``, ambient light ``(2, 3)`` and the lamps' own panels."""
    lamps, panels = [], []
    if shift and rng.random() < 0.5:
        # low light from one side
        angle = rng.uniform(0, 2 * np.pi)
        warm = np.array([1.0, rng.uniform(0.65, 0.85), rng.uniform(0.35, 0.7)])
        lamps.append([np.cos(angle), np.sin(angle), rng.uniform(0.35, 0.9), *(rng.uniform(0.9, 1.6) * warm), 0.0, 1.0])
        ambient = rng.uniform(0.12, 0.28)
        tint = np.array([rng.uniform(0.75, 1.0), 0.9, rng.uniform(0.9, 1.3)])
    else:
        warm = np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.68, 1.0)])
        if shift:
            warm = rng.uniform(0.4, 1.0, 3)
        for _ in range(1 if shift else int(rng.integers(1, 4))):
            x, y = rng.uniform(-0.35, 0.35, 2) * (room.width, room.depth)
            lamps.append([x, y, room.height - 0.06, *(rng.uniform(0.7, 1.6) * warm), 1.0, rng.uniform(1.6, 3.0)])
            glow = Material((1.4, 1.38, 1.3), glow=1.0)
            a, b = rng.uniform(0.15, 0.6, 2)
            at = room.height - 0.01
            panels.append(quad((x - a, y + b, at), (x + a, y + b, at), (x + a, y - b, at), (x - a, y - b, at), glow))
        ambient = rng.uniform(0.12, 0.25) if shift else rng.uniform(0.22, 0.5)
        tint = 0.5 * (1 + warm)
    above = ambient * tint
    return np.array(lamps), np.stack([above, 0.55 * above * (1.0, 0.95, 0.88)]), panels


def build(flight: Flight, size: tuple[float, float], rng: Rng, shift: bool) -> Scene:
    """The room of a flight: ``size`` is its width and depth in m."""
    tx = Textures()
    eyes = flight.places[1:-1]
    room = _Room(flight, size[0], size[1], float(rng.uniform(2.5, 3.0)), eyes)
    ways = _robot_paths(flight, flight.places, rng, np.array(size))
    room.targets = [way[1:-1, :2] for way in ways]
    for way in ways:
        reach = float(np.abs(way[:, :2] - way[len(way) // 2, :2]).max()) + 0.13
        room.taken.append((float(way[len(way) // 2, 0]), float(way[len(way) // 2, 1]), reach))
    actors = [Actor.of(robots.turtlebot(rng), 0, way) for way in ways]
    lamps, ambient, panels = _lights(room, rng, shift)
    ground_material = _floor(tx, rng, shift)
    w, d = size
    floor = sheet((-w / 2, -d / 2, 0), (w, 0, 0), (0, d, 0), (8, 8), ground_material)
    parts = [floor, *_walls(tx, room, rng, shift), *panels, *_lay(tx, room, rng)]
    things = _furnish(tx, room, rng)
    ground = Ground(-w / 2, -d / 2, 40.0, (round(40 * d), round(40 * w)), 0.012, 0.03, 0.75)
    air = np.array([[0.6, 0.6, 0.6], [0.6, 0.6, 0.6], [0.0, 0.0, 0.0]])
    return Scene.of(flight, parts, things, ground, actors, tx, (lamps, ambient, air), draw_sensor(rng, shift))
