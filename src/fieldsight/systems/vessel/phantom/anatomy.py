"""Where the coronary arteries run: left (LM, LAD, LCx) and right (RCA) with their named branches.

Polar and azimuth are degrees on the heart, see :meth:`~fieldsight.systems.vessel.phantom.heart.Heart.place`. The
atrioventricular groove is near polar 105, the anterior and posterior interventricular grooves at azimuth 0 and 180.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.heart import Heart
from fieldsight.systems.vessel.phantom.tree import STEP, Grower, Shoot, Tree, meander, spline

Doubles = NDArray[np.float64]
Rng = np.random.Generator


def grow(artery: str, heart: Heart, diameters: tuple[float, float], rng: Rng) -> Tree:
    """The tree of ``LCA`` or ``RCA`` on a heart; ``diameters`` (mm) bound the side branches' starts."""
    grower = Grower(heart, diameters, rng)
    if artery == "LCA":
        _left(grower, heart, rng)
    else:
        _right(grower, heart, rng)
    return grower.tree()


def _course(heart: Heart, stations: list[tuple[float, float, float]], wander: float, bend: float, rng: Rng) -> Doubles:
    """A main vessel through stations (polar, azimuth, lift), each moved by up to ``wander`` degrees."""
    moved = [
        heart.place(p + rng.uniform(-wander, wander), a + rng.uniform(-wander, wander), lift) for p, a, lift in stations
    ]
    return meander(spline(np.array(moved)), heart, bend, rng)


def _kept(plans: list[tuple[float, Shoot]], rng: Rng) -> list[Shoot]:
    """The shoots that this patient has, each by its chance, moved along the parent and on the heart."""
    found = []
    for chance, s in plans:
        if rng.random() >= chance:
            continue
        at = float(np.clip(s.at + rng.uniform(-0.04, 0.04), 0.04, 0.9))
        polar, azimuth = s.polar + rng.uniform(-9, 9), s.azimuth + rng.uniform(-9, 9)
        found.append(Shoot(s.name, at, polar, azimuth, s.lift, s.share, s.twigs))
    return found


def _left(grower: Grower, heart: Heart, rng: Rng) -> None:
    front = _course(
        heart,
        [(122, -24, 0.72), (113, -8, 0.93), (103, 2, 1.0), (82, -3, 1.0), (58, 2, 1.0), (33, -3, 1.0), (8, 1, 1.0),
         (-9, 0, 1.0)],
        2.5, float(rng.uniform(0.5, 1.0)), rng,
    )  # fmt: skip
    cut = round(float(rng.uniform(9.0, 16.0)) / STEP)
    radius = float(rng.uniform(1.8, 2.25))
    trunk = grower.limb("LM", front[: cut + 1], radius, [], main=True, taper=0.001, ends=False)
    divides = grower.tree().branches[trunk]
    before = float(divides.radii[-1])
    share = float(rng.uniform(0.78, 0.98))
    lad = before / float(np.cbrt(1 + share**3))
    joins = divides.length
    grower.limb("LAD", front[cut:], lad, _of_lad(rng), parent=trunk, joins=joins, main=True)
    start = front[cut]
    onward = (front[cut] - front[cut - 8]) / np.linalg.norm(front[cut] - front[cut - 8])
    away = start + 4.0 * onward + 4.0 * np.array([-0.1, 1.0, -0.2])
    stations = [(111, 30), (109, 58), (106, 90), (103, 120)] + ([(100, 148)] if rng.random() < 0.4 else [])
    knots = [start, away] + [heart.place(p + rng.uniform(-3, 3), a + rng.uniform(-4, 4)) for p, a in stations]
    around = meander(spline(np.array(knots)), heart, float(rng.uniform(0.6, 1.15)), rng)
    second = grower.limb("LCx", around, share * lad, _of_lcx(rng), parent=trunk, joins=joins, main=True)
    grower.junction(trunk, second, joins, (before, lad, share * lad))


def _of_lad(rng: Rng) -> list[Shoot]:
    small, septal = (0.0, 0.45), (0.0, 0.3)
    return _kept(
        [
            (0.95, Shoot("D1", 0.17, 42, 48, 1.0, (0.35, 1.0), (1, 2))),
            (0.85, Shoot("D2", 0.36, 26, 50, 1.0, (0.15, 0.8), (0, 2))),
            (0.50, Shoot("D3", 0.55, 12, 70, 1.0, small, (0, 1))),
            (0.95, Shoot("S1", 0.24, 62, 165, 0.35, septal, (0, 1))),
            (0.80, Shoot("S2", 0.42, 45, 172, 0.35, septal, (0, 1))),
            (0.45, Shoot("S3", 0.58, 30, 178, 0.40, septal, (0, 0))),
            (0.50, Shoot("RV", 0.30, 62, -34, 1.0, small, (0, 1))),
            (0.60, Shoot("AP", 0.80, 12, -120, 1.0, small, (0, 0))),
        ],
        rng,
    )


def _of_lcx(rng: Rng) -> list[Shoot]:
    return _kept(
        [
            (0.35, Shoot("RI", 0.05, 46, 62, 1.0, (0.2, 0.7), (0, 1))),
            (0.95, Shoot("OM1", 0.33, 40, 84, 1.0, (0.35, 1.0), (1, 2))),
            (0.80, Shoot("OM2", 0.58, 38, 112, 1.0, (0.2, 0.9), (0, 2))),
            (0.55, Shoot("PL", 0.82, 52, 142, 1.0, (0.0, 0.5), (0, 1))),
            (0.55, Shoot("LA", 0.22, 140, 75, 1.0, (0.0, 0.3), (0, 1))),
        ],
        rng,
    )


def _right(grower: Grower, heart: Heart, rng: Rng) -> None:
    around = _course(
        heart,
        [(122, -42, 0.72), (116, -56, 0.95), (109, -82, 1.02), (104, -112, 1.03), (102, -142, 1.0), (103, -170, 1.0),
         (104, -192, 1.0), (92, -212, 1.0), (70, -225, 1.0)],
        3.0, float(rng.uniform(0.8, 1.3)), rng,
    )  # fmt: skip
    shoots = _kept(
        [
            (0.80, Shoot("CB", 0.06, 84, -34, 1.0, (0.0, 0.4), (0, 1))),
            (0.75, Shoot("SN", 0.10, 142, -70, 0.95, (0.0, 0.4), (0, 1))),
            (0.90, Shoot("RV1", 0.26, 66, -62, 1.0, (0.0, 0.6), (0, 2))),
            (0.60, Shoot("RV2", 0.36, 56, -84, 1.0, (0.0, 0.6), (0, 1))),
            (0.95, Shoot("AM", 0.46, 34, -106, 1.0, (0.2, 0.9), (1, 2))),
            (1.00, Shoot("PDA", 0.66, 26, -178, 1.0, (0.5, 1.0), (1, 2))),
            (0.50, Shoot("AVN", 0.70, 120, 170, 0.55, (0.0, 0.2), (0, 0))),
            (0.90, Shoot("PL1", 0.77, 46, 158, 1.0, (0.2, 0.8), (0, 2))),
            (0.60, Shoot("PL2", 0.86, 62, 120, 1.0, (0.0, 0.5), (0, 1))),
        ],
        rng,
    )
    grower.limb("RCA", around, float(rng.uniform(1.6, 2.05)), shoots, main=True, taper=0.003)
