"""A coronary tree in three dimensions: smooth tortuous branches, radii by Murray's law.

At a junction r0³ = r1³ + r2³ (C. D. Murray, "The physiological principle of minimum work", PNAS 1926).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.heart import Heart

Doubles = NDArray[np.float64]

#: Distance of the points along a branch, mm.
STEP = 0.25


@dataclass(frozen=True)
class Branch:
    """One vessel from where it starts to its end, at even steps.

    Attributes:
        name: as cardiologists say it: LM, LAD, LCx, RCA, D1, OM2, S1, PDA; a twig of D1 is ``D1a``.
        parent: index of the branch that it leaves, -1 for the trunk.
        joins: where on the parent, mm of the parent's arc.
        points: ``(n, 3)`` axis in heart coordinates, mm.
        radii: ``(n,)`` healthy radius, mm.
        arc: ``(n,)`` length from the start, mm.
        path: way of the blood from the ostium to the start, mm.
        main: trunk, LAD, LCx or RCA.
    """

    name: str
    parent: int
    joins: float
    points: Doubles
    radii: Doubles
    arc: Doubles
    path: float
    main: bool

    @property
    def length(self) -> float:
        """Length of the axis, mm."""
        return float(self.arc[-1])


@dataclass(frozen=True)
class Junction:
    """Where a vessel divides: radii (mm) before it, of the vessel that goes on and of the one that leaves."""

    parent: int
    child: int
    arc: float
    before: float
    after: float
    side: float


@dataclass(frozen=True)
class Tree:
    """All branches, parents before children, and their junctions."""

    branches: tuple[Branch, ...]
    junctions: tuple[Junction, ...]

    @property
    def reach(self) -> float:
        """The longest way from the ostium to an end, mm."""
        return max(branch.path + branch.length for branch in self.branches)


@dataclass(frozen=True)
class Shoot:
    """A plan for a branch that leaves another.

    Attributes:
        name: of the new branch.
        at: where it leaves, share of the parent's length.
        polar, azimuth: degrees on the heart where it ends, see :meth:`Heart.place`.
        lift: how far out it ends; septal branches end inside.
        share: smallest and largest diameter, as a share of the range for side branches.
        twigs: smallest and largest number of smaller branches of its own.
    """

    name: str
    at: float
    polar: float
    azimuth: float
    lift: float = 1.0
    share: tuple[float, float] = (0.0, 1.0)
    twigs: tuple[int, int] = (0, 2)


def even(points: Doubles, step: float = STEP) -> Doubles:
    """A polyline ``(n, 3)`` resampled at even arc length near ``step``."""
    arc = arc_of(points)
    places = np.linspace(0.0, arc[-1], max(round(float(arc[-1]) / step), 8) + 1)
    return np.column_stack([np.interp(places, arc, points[:, k]) for k in range(3)])


def arc_of(points: Doubles) -> Doubles:
    """Arc length ``(n,)`` along a polyline ``(n, 3)``."""
    return np.asarray(np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def spline(knots: Doubles) -> Doubles:
    """A smooth curve ``(n, 3)`` through knots ``(k, 3)`` at even steps."""
    from scipy.interpolate import CubicSpline

    way = np.r_[0.0, np.cumsum(np.sqrt(np.linalg.norm(np.diff(knots, axis=0), axis=1)))]  # centripetal: no overshoot
    fine = CubicSpline(way, knots, axis=0)(np.linspace(0.0, way[-1], 60 * len(knots)))
    return even(np.asarray(fine))


def meander(points: Doubles, heart: Heart, amount: float, rng: np.random.Generator) -> Doubles:
    """Make a curve on the heart tortuous: waves of 12 to 60 mm, mostly along the surface; the start stays in place."""
    arc = arc_of(points)
    ahead = np.gradient(points, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    out = heart.outward(points)
    across = np.cross(out, ahead)
    sideways, upward = np.zeros_like(arc), np.zeros_like(arc)
    for low, high in ((12.0, 18.0), (18.0, 32.0), (32.0, 60.0)):
        length = rng.uniform(low, high)
        turn = 2 * np.pi * arc / length
        height = 0.035 * amount * length
        sideways += height * rng.uniform(0.4, 1.0) * np.sin(turn + rng.uniform(0, 2 * np.pi))
        upward += 0.35 * height * rng.uniform(0.4, 1.0) * np.sin(turn + rng.uniform(0, 2 * np.pi))
    window = np.square(np.sin(0.5 * np.pi * np.clip(arc / 14.0, 0.0, 1.0)))
    return even(points + (window * sideways)[:, None] * across + (window * upward)[:, None] * out)


def irregular(arc: Doubles, amount: float, rng: np.random.Generator) -> Doubles:
    """Slow unevenness ``(n,)`` of a wall, around 1, relative standard deviation ``amount``."""
    total = np.zeros_like(arc)
    for low, high in ((5.0, 9.0), (9.0, 16.0), (16.0, 40.0)):
        total += np.sin(2 * np.pi * (arc / rng.uniform(low, high) + rng.random()))
    return np.asarray(1 + amount * total * np.sqrt(2 / 3))


class Grower:
    """Adds branch to branch; what has grown is :meth:`tree`.

    Args:
        heart: the branches run on it.
        diameters: smallest and largest diameter of a side branch at its start, mm.
        rng: all chance.
    """

    def __init__(self, heart: Heart, diameters: tuple[float, float], rng: np.random.Generator) -> None:
        self.heart, self.diameters, self.rng = heart, diameters, rng
        self._branches: list[Branch] = []
        self._junctions: list[Junction] = []

    def tree(self) -> Tree:
        """What has grown."""
        return Tree(tuple(self._branches), tuple(self._junctions))

    def junction(self, parent: int, child: int, arc: float, radii: tuple[float, float, float]) -> None:
        """Note a junction with radii before, after and of the child, mm."""
        self._junctions.append(Junction(parent, child, arc, *radii))

    def limb(
        self,
        name: str,
        points: Doubles,
        radius: float,
        shoots: list[Shoot],
        *,
        parent: int = -1,
        joins: float = 0.0,
        main: bool = False,
        taper: float = 0.004,
        ends: bool = True,
    ) -> int:
        """Add a branch along ``points`` with the radius (mm) at its start, and all that leaves it; gives its index.

        ``taper`` is the relative loss of radius in a mm; a branch that ``ends`` grows thin beyond its last junction.
        """
        arc = arc_of(points)
        radii, joints = self._radii(arc, radius, sorted(shoots, key=lambda s: s.at), taper, ends)
        path = self._branches[parent].path + joins if parent >= 0 else 0.0
        index = len(self._branches)
        self._branches.append(Branch(name, parent, joins, points, radii, arc, path, main))
        for shoot, place, before, after, side in joints:
            child = self._shoot(shoot, index, place, side)
            self.junction(index, child, float(arc[place]), (before, after, side))
        return index

    def _radii(
        self, arc: Doubles, radius: float, shoots: list[Shoot], taper: float, ends: bool
    ) -> tuple[Doubles, list[tuple[Shoot, int, float, float, float]]]:
        """Radii along an arc with a Murray step at each junction: shoot, place, radii before, after and of the side."""
        radii = radius * np.exp(-taper * arc)
        joints = []
        for shoot in shoots:
            place = int(np.searchsorted(arc, shoot.at * arc[-1]))
            before = float(radii[place])
            side = min(self._side_radius(shoot), 0.85 * before)
            after = float(np.cbrt(before**3 - side**3))
            radii[place:] *= after / before
            joints.append((shoot, place, before, after, side))
        if ends:
            last = max([0.6] + [shoot.at for shoot in shoots]) * arc[-1]
            gone = np.clip((arc - last) / max(arc[-1] - last, STEP), 0.0, 1.0)
            radii = radii * (1 - 0.4 * gone**1.5)
        return radii * irregular(arc, 0.015, self.rng), joints

    def _side_radius(self, shoot: Shoot) -> float:
        low, high = self.diameters
        share = self.rng.uniform(*shoot.share)
        return 0.5 * (low + share * (high - low))

    def _shoot(self, shoot: Shoot, parent: int, place: int, radius: float) -> int:
        """Grow a side branch, with twigs of its own, from a point of its parent."""
        stem = self._branches[parent]
        points = self._course(stem.points, place, self.heart.place(shoot.polar, shoot.azimuth, shoot.lift))
        twigs = [self._twig(shoot.name, k, points) for k in range(int(self.rng.integers(*shoot.twigs, endpoint=True)))]
        joins = float(stem.arc[place])
        return self.limb(shoot.name, points, radius, twigs, parent=parent, joins=joins, taper=0.003)

    def _twig(self, name: str, number: int, points: Doubles) -> Shoot:
        """A smaller branch beside the far half of a side branch."""
        at = float(self.rng.uniform(0.28, 0.42) + 0.22 * number)
        last = len(points) - 1
        end = points[int(min(at + self.rng.uniform(0.3, 0.6), 1.0) * last)]
        out = self.heart.outward(end[None])[0]
        aside = np.cross(out, points[last] - points[0])
        reach = self.rng.uniform(0.35, 0.6) * float(np.linalg.norm(end - points[int(at * last)]))
        aside *= self.rng.choice([-1.0, 1.0]) * reach / max(float(np.linalg.norm(aside)), 1e-9)
        polar, azimuth, lift = self._angles(end + aside)
        return Shoot(f"{name}{'abc'[number]}", at, polar, azimuth, lift, (0.0, 0.25), (0, 0))

    def _angles(self, point: Doubles) -> tuple[float, float, float]:
        lift = float(self.heart.lift(point))
        ball = point / self.heart.half / max(lift, 1e-9)
        polar = float(np.degrees(np.arccos(np.clip(ball[2], -1, 1))))
        return polar, float(np.degrees(np.arctan2(ball[1], ball[0]))), min(lift, 1.0)

    def _course(self, stem: Doubles, place: int, end: Doubles) -> Doubles:
        """A curve from a point of the parent, leaving it at an acute angle, over the surface to ``end``."""
        start = stem[place]
        ahead = stem[min(place + 4, len(stem) - 1)] - stem[max(place - 4, 0)]
        ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
        way = end - start
        far = float(np.linalg.norm(way))
        leave = 0.75 * ahead + way / max(far, 1e-9)
        leave /= max(float(np.linalg.norm(leave)), 1e-9)
        knots = [start, start + min(0.14 * far, 5.0) * leave]
        bow = np.cross(self.heart.outward(start[None])[0], way) * self.rng.uniform(-0.14, 0.14)
        lifts = float(self.heart.lift(start)), float(self.heart.lift(end))
        for share in (0.4, 0.7):
            point = start + share * way + 4 * share * (1 - share) * bow + (1 - share) ** 3 * 0.2 * far * leave
            wanted = lifts[0] + share * (lifts[1] - lifts[0])
            knots.append(point * wanted / max(float(self.heart.lift(point)), 1e-9))
        knots.append(end)
        return meander(spline(np.array(knots)), self.heart, float(self.rng.uniform(0.5, 1.0)), self.rng)
