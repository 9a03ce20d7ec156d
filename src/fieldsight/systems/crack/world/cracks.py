"""Cracks as polylines with a width.

Cracks walk with a heading that wanders (an Ornstein-Uhlenbeck process), fork, or follow the edges of a Voronoi
tessellation (alligator cracking) or the joints of a paving. Lengths and widths are in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.crack.world.surfaces import Lattice, Shape

Line = NDArray[np.float64]
_MARGIN = 10.0


@dataclass(frozen=True)
class Habit:
    """How cracks are in one domain.

    Attributes:
        kinds: chance of each kind of crack.
        width: smallest and largest width of a trunk, px.
        contrast: how much darker than the surface, smallest and largest share.
        wander: standard deviation of the heading, radians.
        rough: sideways jitter, px.
        fork: chance of a fork in 100 px.
        gaps, fill, spall, halo: chances that a crack has gaps, debris in it, light chipped edges, a dark fringe.
        count: cracks on a field of 280 x 280 px, smallest and largest.
    """

    kinds: dict[str, float]
    width: tuple[float, float]
    contrast: tuple[float, float]
    wander: float
    rough: float
    fork: float
    gaps: float = 0.2
    fill: float = 0.2
    spall: float = 0.15
    halo: float = 0.1
    count: tuple[int, int] = (1, 3)


HABITS: dict[str, Habit] = {
    "asphalt": Habit(
        {"alligator": 0.34, "lengthwise": 0.26, "across": 0.18, "branching": 0.22},
        (1.6, 4.6),
        (0.28, 0.60),
        0.45,
        0.9,
        1.0,
    ),
    "aggregate": Habit(
        {"branching": 0.5, "lengthwise": 0.35, "across": 0.15},
        (3.2, 7.0),
        (0.45, 0.65),
        0.55,
        2.0,
        0.5,
        fill=0.3,
        halo=0.3,
    ),
    "concrete": Habit(
        {"across": 0.45, "hairline": 0.35, "branching": 0.2},
        (1.2, 3.4),
        (0.15, 0.50),
        0.20,
        0.6,
        0.35,
        spall=0.3,
        halo=0.35,
    ),
    "tile": Habit(
        {"stepped": 0.35, "branching": 0.35, "lengthwise": 0.30},
        (1.5, 3.8),
        (0.35, 0.60),
        0.35,
        0.6,
        0.4,
        gaps=0.35,
        halo=0.0,
    ),
    "road": Habit(
        {"lengthwise": 0.4, "across": 0.3, "alligator": 0.15, "branching": 0.15},
        (1.6, 6.0),
        (0.25, 0.60),
        0.35,
        1.0,
        0.7,
    ),
    "plaster": Habit(
        {"hairline": 0.6, "map": 0.2, "branching": 0.2}, (1.1, 2.4), (0.18, 0.50), 0.50, 0.5, 0.9, fill=0.0, halo=0.1
    ),
}


@dataclass
class Crack:
    """One crack.

    Attributes:
        points: ``(n, 3)``: row, column, width in px.
        depth: ``(n,)`` share by which the surface is darker there; 0 where the crack has a gap.
        fill: ``(n,)`` share of debris in it, 0 to 1.
    """

    points: Line
    depth: Line
    fill: Line


def _wander(count: int, spread: float, length: float, rng: np.random.Generator) -> Line:
    """An Ornstein-Uhlenbeck path: ``count`` values of deviation ``spread``, correlated over ``length`` steps."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / max(length, 1e-3)))
    kicks = rng.normal(0.0, spread * np.sqrt(1 - keep**2), count)
    return np.asarray(lfilter([1.0], [1.0, -keep], kicks), dtype=np.float64)


def _smooth_line(count: int, every: float, rng: np.random.Generator) -> Line:
    knots = rng.standard_normal(int(count / every) + 3)
    return np.asarray(np.interp(np.arange(count) / every, np.arange(len(knots)), knots), dtype=np.float64)


def walk(
    start: tuple[float, float], heading: float, length: float, width: float, habit: Habit, rng: np.random.Generator
) -> Line:
    """A crack that walks from ``start`` for ``length`` px, tapering to its end; ``(n, 3)`` row, column, width."""
    stride = 2.0
    count = max(int(length / stride), 4)
    angle = heading + _wander(count, habit.wander, 14.0, rng)
    rows = start[0] + stride * np.cumsum(np.sin(angle))
    columns = start[1] + stride * np.cumsum(np.cos(angle))
    side = habit.rough * (_smooth_line(count, 3.0, rng) + 0.35 * rng.standard_normal(count))
    side *= np.minimum(np.arange(count) / 6.0, 1.0)
    rows, columns = rows + side * np.cos(angle), columns - side * np.sin(angle)
    return np.stack([rows, columns, width * _profile(count, rng)], axis=1)


def _profile(count: int, rng: np.random.Generator) -> Line:
    swell = np.exp(0.28 * _smooth_line(count, 5.0, rng))
    taper = np.minimum(1.0, (np.arange(count)[::-1] + 1) / max(0.45 * count, 4.0)) ** 0.6
    return np.asarray(swell * taper, dtype=np.float64)


def _forks(trunk: Line, depth: int, habit: Habit, rng: np.random.Generator) -> list[Line]:
    """A line with the lines that fork off it, and those that fork off these."""
    lines = [trunk]
    if depth == 0 or len(trunk) < 12:
        return lines
    for _ in range(int(rng.poisson(habit.fork * len(trunk) * 2.0 / 100.0))):
        at = int(rng.integers(4, len(trunk) - 4))
        step_ = trunk[at + 3, :2] - trunk[at - 3, :2]
        turn = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.2))
        heading = float(np.arctan2(step_[0], step_[1])) + turn
        width = max(float(trunk[at, 2]) * rng.uniform(0.5, 0.85), 1.05)
        length = float(rng.uniform(15.0, 90.0))
        child = walk((float(trunk[at, 0]), float(trunk[at, 1])), heading, length, width, habit, rng)
        lines += _forks(child, depth - 1, habit, rng)
    return lines


def _crossing(
    shape: Shape, heading: float, width: float, habit: Habit, rng: np.random.Generator, reach: float
) -> list[Line]:
    """A crack through a random point of the field, walked both ways, with forks."""
    start = (float(rng.uniform(0.12, 0.88) * shape[0]), float(rng.uniform(0.12, 0.88) * shape[1]))
    lines = []
    for side in (0.0, np.pi):
        lines += _forks(walk(start, heading + side, reach * rng.uniform(0.5, 1.0), width, habit, rng), 2, habit, rng)
    return lines


def _lengthwise(
    shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None
) -> list[Line]:
    return _crossing(shape, np.pi / 2 + rng.normal(0.0, 0.2), width, habit, rng, 0.9 * max(shape) + 60.0)


def _across(shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None) -> list[Line]:
    return _crossing(shape, rng.normal(0.0, 0.2), width, habit, rng, 0.9 * max(shape) + 60.0)


def _branching(
    shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None
) -> list[Line]:
    free = Habit(**{**habit.__dict__, "fork": 1.6 * habit.fork + 0.6, "wander": habit.wander + 0.15})
    return _crossing(shape, rng.uniform(0, 2 * np.pi), width, free, rng, rng.uniform(70.0, 260.0))


def _hairline(
    shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None
) -> list[Line]:
    free = Habit(**{**habit.__dict__, "wander": habit.wander + 0.25})
    return _crossing(shape, rng.uniform(0, 2 * np.pi), rng.uniform(1.1, 1.6), free, rng, rng.uniform(80.0, 300.0))


def _network(
    shape: Shape, cell: float, size: float, width: float, habit: Habit, rng: np.random.Generator
) -> list[Line]:
    """Edges of a Voronoi tessellation inside an oval patch, thicker in its middle, each bent a little."""
    from scipy.spatial import Voronoi

    centre = np.array([rng.uniform(0.2, 0.8) * shape[0], rng.uniform(0.2, 0.8) * shape[1]])
    axes = np.array([size, size * rng.uniform(0.4, 0.9)])
    turn = rng.uniform(0, np.pi)
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid = np.mgrid[-axes[0] - 2 * cell : axes[0] + 2 * cell : cell, -axes[1] - 2 * cell : axes[1] + 2 * cell : cell]
    seeds = grid.reshape(2, -1).T + rng.uniform(-0.45 * cell, 0.45 * cell, (grid[0].size, 2))
    if len(seeds) < 5:
        return []
    cells = Voronoi(seeds)
    lines = []
    for a, b in cells.ridge_vertices:
        if a < 0 or b < 0 or rng.random() < 0.14:
            continue
        ends = cells.vertices[[a, b]]
        out = float(np.max(np.hypot(*(ends / axes).T)))
        if out > 1.0 + rng.normal(0.0, 0.12):
            continue
        lines.append(_bent(ends @ frame.T + centre, max(width * (1.15 - 0.6 * out), 1.05), habit, rng))
    return lines


def _bent(ends: NDArray[np.float64], width: float, habit: Habit, rng: np.random.Generator) -> Line:
    """A line between two points with sideways jitter that vanishes at both."""
    length = float(np.hypot(*(ends[1] - ends[0])))
    count = max(int(length / 2.0), 3)
    t = np.linspace(0.0, 1.0, count)
    across = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) / max(length, 1e-6)
    side = (0.08 * length * rng.normal() * np.sin(np.pi * t)) + habit.rough * 0.7 * _smooth_line(count, 3.0, rng)
    side *= np.minimum(1.0, 8.0 * t * (1 - t))
    points = ends[0] + t[:, None] * (ends[1] - ends[0]) + side[:, None] * across
    swell = width * np.exp(0.25 * _smooth_line(count, 5.0, rng))
    return np.column_stack([points, swell])


def _alligator(
    shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None
) -> list[Line]:
    cell = rng.uniform(15.0, 30.0)
    return _network(shape, cell, rng.uniform(3.0, 6.0) * cell, min(width, 3.5), habit, rng)


def _map(shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None) -> list[Line]:
    cell = rng.uniform(22.0, 45.0)
    return _network(shape, cell, rng.uniform(2.5, 4.5) * cell, rng.uniform(1.1, 1.5), habit, rng)


def _stepped(shape: Shape, width: float, habit: Habit, rng: np.random.Generator, lattice: Lattice | None) -> list[Line]:
    """A crack down the joints like a flight of stairs, cutting through a stone now and then."""
    if lattice is None:
        return _branching(shape, width, habit, rng, lattice)
    goal = np.array([rng.uniform(0.2, 0.8) * shape[0], rng.uniform(0.2, 0.8) * shape[1]])
    c, s = np.cos(lattice.angle), np.sin(lattice.angle)
    d_r, d_c = goal[0] - lattice.row, goal[1] - lattice.column
    course = int(np.round((d_r * c - d_c * s) / lattice.high))
    steps = int(rng.integers(4, 6 + int(max(shape) / lattice.high)))
    course -= steps // 2
    along = lattice.wide * np.round((d_r * s + d_c * c) / lattice.wide)
    width = max(width, 2.2)
    lean = float(rng.choice([-1.0, 1.0]))
    along -= lean * 0.25 * steps * lattice.wide
    nodes = [(along, course * lattice.high)]
    for _ in range(steps):
        offset = lattice.shift if course % 2 == 1 else 0.0
        nearest = offset + lattice.wide * np.round(
            (along - offset) / lattice.wide + lean * (0.26 if lattice.shift else 0.0)
        )
        if lattice.shift == 0.0 and rng.random() < 0.6:
            nearest += lean * lattice.wide
        if rng.random() < 0.2:
            nearest = 0.5 * (along + nearest)
        nodes += [(nearest, course * lattice.high), (nearest, (course + 1) * lattice.high)]
        along, course = nearest, course + 1
    corners = lattice.to_picture(*np.array(nodes).T)
    pieces = [_bent(corners[i : i + 2], width, habit, rng) for i in range(len(corners) - 1)]
    pieces = [p for p in pieces if np.hypot(*(p[-1, :2] - p[0, :2])) > 2.0]
    if not pieces:
        return []
    line = np.concatenate(pieces)
    line[:, 2] = width * np.clip(line[:, 2] / width, 0.6, 1.4)
    return [line]


Kind = Callable[[Shape, float, Habit, np.random.Generator, "Lattice | None"], list[Line]]
KINDS: dict[str, Kind] = {
    "lengthwise": _lengthwise,
    "across": _across,
    "branching": _branching,
    "hairline": _hairline,
    "alligator": _alligator,
    "map": _map,
    "stepped": _stepped,
}


def inside(line: Line, shape: Shape) -> list[Line]:
    """The parts of a line that run within the field or just beside it."""
    near = np.all((line[:, :2] > -_MARGIN) & (line[:, :2] < np.array(shape) + _MARGIN), axis=1)
    cuts = np.flatnonzero(np.diff(near.astype(np.int8))) + 1
    return [
        part for part, keep in zip(np.split(line, cuts), near[np.r_[0, cuts]], strict=True) if keep and len(part) > 1
    ]


def draw_cracks(shape: Shape, domain: str, lattice: Lattice | None, rng: np.random.Generator) -> list[list[Crack]]:
    """The cracks of a field in a domain's habit: a list of families (a trunk with its forks, a network)."""
    habit = HABITS[domain]
    area = shape[0] * shape[1] / 280.0**2
    low, high = habit.count
    wanted = max(1, round(int(rng.integers(low, high + 1)) * min(max(area, 0.4) ** 0.6, 12.0)))
    names, chances = list(habit.kinds), np.array(list(habit.kinds.values()))
    families: list[list[Crack]] = []
    for _ in range(wanted):
        kind = names[int(rng.choice(len(names), p=chances / chances.sum()))]
        width = float(rng.uniform(*habit.width))
        lines = KINDS[kind](shape, width, habit, rng, lattice)
        contrast = float(rng.uniform(*habit.contrast))
        if kind == "stepped":  # in a joint that is dark itself only a deep crack can be seen
            contrast = max(contrast, 0.55)
        filled = rng.random() < habit.fill
        gappy = rng.random() < habit.gaps
        family = [_finish(part, contrast, filled, gappy, rng) for line in lines for part in inside(line, shape)]
        if family:
            families.append(family)
    return families


def _finish(line: Line, contrast: float, filled: bool, gappy: bool, rng: np.random.Generator) -> Crack:
    count = len(line)
    depth = contrast * np.clip(1 + 0.22 * _smooth_line(count, 8.0, rng), 0.5, 1.4)
    depth = np.clip(depth, 0.1, 0.7)
    if gappy:
        depth[_smooth_line(count, 7.0, rng) > 1.15] = 0.0
    fill = np.zeros(count)
    if filled:
        fill = np.clip(0.6 + 0.9 * _smooth_line(count, 9.0, rng), 0.0, 1.0)
    line = line.copy()
    line[:, 2] = np.clip(line[:, 2], 0.5, 8.0)
    return Crack(line, depth, fill)
