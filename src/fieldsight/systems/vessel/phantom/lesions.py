"""Stenoses, decoys below half a diameter, and stents on a coronary tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.look import MM_PER_PX
from fieldsight.systems.vessel.phantom.tree import Branch, Tree

Doubles = NDArray[np.float64]

#: From this loss of diameter a narrowing is a stenosis; below, it is a decoy that never gets a box.
SIGNIFICANT = 0.5

#: A lesion reaches from -REACH·l to REACH·l along its vessel.
REACH = 1.5

#: Shares of patients without a stenosis, with a stent, and of stents that are narrowed again.
_HEALTHY, _STENTED, _RESTENOSED = 0.15, 0.15, 0.5

#: Loss of diameter of a decoy. The flanks of a neighbour may add to it; it stays below SIGNIFICANT even so.
_DECOY = (0.15, 0.42)

#: No two lesions of a vessel come nearer than this many l to each other, so that their flanks hardly add up.
_APART = 2.0

#: Residual lumen of a stenosis on a side branch, px at side 512: what the raw picture hides.
_RESIDUAL = (1.0, 3.0)

#: Side branches that cardiologists treat; septal and atrial branches and twigs are left alone.
_TREATED = ("D1", "D2", "D3", "RI", "OM1", "OM2", "PL", "RV1", "AM", "PDA", "PL1", "PL2")

#: Vessels thinner than this (px at side 512) get no lesion: nobody could see it.
_THINNEST = 2.4


@dataclass(frozen=True)
class Lesion:
    """A narrowing: radius times 1 - s·exp(-u²/2l²) at a distance u along the vessel.

    Attributes:
        branch: index in the tree.
        at: place of the narrowest point, mm of the branch's arc.
        severity: s, the loss of diameter, 0 to 1.
        length: l, mm.
    """

    branch: int
    at: float
    severity: float
    length: float

    @property
    def significant(self) -> bool:
        """A stenosis, not a decoy."""
        return self.severity >= SIGNIFICANT

    @property
    def span(self) -> tuple[float, float]:
        """First and last arc (mm) of the narrowing."""
        return self.at - REACH * self.length, self.at + REACH * self.length


@dataclass(frozen=True)
class Stent:
    """A wire mesh in a main vessel: index of the branch, first and last arc (mm)."""

    branch: int
    first: float
    last: float


def narrowed(branch: Branch, index: int, lesions: tuple[Lesion, ...]) -> Doubles:
    """Radii ``(n,)`` in mm of branch ``index`` with its lesions: r·Π(1 - s·exp(-u²/2l²))."""
    radii = branch.radii
    for lesion in lesions:
        if lesion.branch == index:
            u = (branch.arc - lesion.at) / lesion.length
            radii = radii * (1 - lesion.severity * np.exp(-0.5 * u * u))
    return radii


class _Places:
    """Free places on the vessels of a tree."""

    def __init__(self, tree: Tree, rng: np.random.Generator) -> None:
        self.tree, self.rng = tree, rng
        self.taken: list[tuple[int, float, float]] = []
        self.main = [i for i, b in enumerate(tree.branches) if (b.main and b.parent >= 0) or b.name == "RCA"]
        self.side = [i for i, b in enumerate(tree.branches) if b.name in _TREATED]

    def fits(self, branch: int, first: float, last: float) -> bool:
        """Within the vessel and out of its parent's lumen."""
        return first > 2.5 and last < 0.88 * self.tree.branches[branch].length

    def free(self, branch: int, first: float, last: float) -> bool:
        """Not where something else is."""
        return all(b != branch or last < f or t < first for b, f, t in self.taken)

    def lesion(self, main: bool, significant: bool) -> Lesion | None:
        """A lesion at a free place of a main vessel or side branch; None if none was found."""
        among = self.main if main else self.side
        for _ in range(60 if among else 0):
            branch = int(self.rng.choice(among))
            vessel = self.tree.branches[branch]
            place = int(self.rng.uniform(0.05, 0.85 if main else 0.65) * (len(vessel.arc) - 1))
            diameter = 2 * float(vessel.radii[place])
            if diameter < _THINNEST * MM_PER_PX:
                continue
            severity = self._severity(diameter, main, significant)
            found = Lesion(branch, float(vessel.arc[place]), severity, diameter * float(self.rng.uniform(1.0, 3.0)))
            room = _APART * found.length
            if self.fits(branch, *found.span) and self.free(branch, found.at - room, found.at + room):
                self.taken.append((branch, found.at - room, found.at + room))
                return found
        return None

    def _severity(self, diameter: float, main: bool, significant: bool) -> float:
        if not significant:
            return float(self.rng.uniform(*_DECOY))
        low, high = SIGNIFICANT, 0.95
        if not main:
            wide = diameter / MM_PER_PX
            low, high = max(low, 1 - _RESIDUAL[1] / wide), min(high, 1 - _RESIDUAL[0] / wide)
        return float(self.rng.uniform(low, max(low, high)))

    def stent(self) -> Stent | None:
        """A stent at a free place of a main vessel."""
        for _ in range(60):
            branch = int(self.rng.choice(self.main))
            vessel = self.tree.branches[branch]
            first = float(self.rng.uniform(0.05, 0.5)) * vessel.length
            last = first + float(self.rng.uniform(14.0, 26.0))
            if self.fits(branch, first, last) and self.free(branch, first, last):
                self.taken.append((branch, first, last))
                return Stent(branch, first, last)
        return None

    def restenosis(self, stent: Stent) -> Lesion:
        """A stenosis within a stent."""
        vessel = self.tree.branches[stent.branch]
        at = stent.first + float(self.rng.uniform(0.35, 0.65)) * (stent.last - stent.first)
        place = int(np.argmin(np.abs(vessel.arc - at)))
        longest = 0.8 * (stent.last - stent.first) / (2 * REACH)
        length = min(2 * float(vessel.radii[place]) * float(self.rng.uniform(1.0, 2.0)), longest)
        return Lesion(stent.branch, float(vessel.arc[place]), float(self.rng.uniform(SIGNIFICANT, 0.95)), length)


def draw_lesions(tree: Tree, rng: np.random.Generator) -> tuple[tuple[Lesion, ...], tuple[Stent, ...]]:
    """Stenoses, decoys and stents of one patient.

    Each patient has decoys on main vessels and side branches; most have one to four stenoses, some none.
    """
    places = _Places(tree, rng)
    healthy = rng.random() < _HEALTHY
    stents, found = [], []
    if rng.random() < _STENTED:
        stent = places.stent()
        if stent is not None:
            stents.append(stent)
            if not healthy and rng.random() < _RESTENOSED:
                found.append(places.restenosis(stent))
    wanted = []
    if not healthy:
        main = int(rng.choice([0, 1, 2], p=[0.25, 0.5, 0.25]))
        side = int(rng.choice([0, 1, 2], p=[0.2, 0.5, 0.3]))
        wanted += [(True, True)] * main + [(False, True)] * max(side, 1 - main)
    wanted += [(True, False)] * int(rng.integers(1, 3)) + [(False, False)] * int(rng.integers(1, 3))
    found += [lesion for kind in wanted if (lesion := places.lesion(*kind)) is not None]
    return tuple(found), tuple(stents)
