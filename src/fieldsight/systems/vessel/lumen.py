"""How narrow a stenosis is: the lumen along its vessel, and what it loses against its healthy width.

Videodensitometry (law of Beer and Lambert): what contrast medium absorbs, summed across a vessel, is proportional to
the area of its lumen, whatever the blur. The diameter of a round lumen goes with the root of that sum, so that the loss
of diameter needs neither the strength of the contrast nor a width that can be seen: lumina below a pixel are measured.

From a box alone the vessel is looked for, and often there is reason for doubt (overlap, forks, faint contrast): then
there is no number, and the reason is told. With two points on the healthy vessel before and after the narrowing, as
people mark them in quantitative coronary analysis, more can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Picture
from fieldsight.errors import DataError
from fieldsight.predictions import Table
from fieldsight.systems.vessel import course, fast, profile
from fieldsight.systems.vessel.profile import Dip, Lumens

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Scales of the filter that finds the way (px), and the strength that counts there: a throat is faint.
SIGMAS, STRENGTH = (1.0, 1.5, 2.2, 3.2, 4.5), 6.0

#: Sides of a box, and distances between two points, that can be measured, px.
SIDES = (5.0, 400.0)
POINTS = (16.0, 400.0)

#: Room around a box, px: share of its longer side, least and most; around two points the least.
_ROOM = (0.9, 18.0, 60.0)

#: Healthy vessel is looked at so far beyond the box, px; between two points in the outer fifths of the way.
_NEAR, _OUTER = 22, 0.2

#: Diameters on the two sides may differ by this factor.
_APART = 1.6

#: Beyond the box: median residual, share of points that are off by more than a third.
_UNEVEN, _OFF = 0.12, 0.2

#: Share of the narrowed part that may have a neighbour on one side.
_BESIDE = 0.35

#: Turn within 8 px that no vessel makes, degrees.
_TURN = 50.0

#: Mean residual and standard error of the depth that are too much in a box, and between marked points.
_LEFT, _LEFT_MARKED = 0.04, 0.1
_SPREAD, _SPREAD_MARKED = 0.06, 0.04

#: The narrowest part may look wider than what absorbs there allows by so many px.
_EXCESS = 0.5

#: Least depth that is told: a box is a stenosis, so that less means another vessel; between points overlap hides less.
_LEAST, _LEAST_MARKED = 0.5, 0.4

#: Beyond this depth nothing is left to measure.
_MOST = 0.94

#: Boxes of a frame that are measured: each takes a tenth of a second.
MOST = 20

#: Loss of diameter in % from which words change: a stenosis from 50, a severe one from 70.
GRADES = ((99.0, "occlusion"), (70.0, "severe"), (50.0, "moderate"), (0.0, "mild"))
UNMEASURED = "not measured"


@dataclass(frozen=True, eq=False)
class Lumen:
    """The lumen along a vessel through a narrowing.

    Attributes:
        percent: loss of diameter at the narrowest point, 0 to 100; NaN where it was not measured.
        error: standard error of the fit in points of percent; what the picture hides is not in it.
        minimal, reference: diameter there, and what it would be without the narrowing, px.
        length: of the part narrower than halfway between the two, px.
        centreline: ``(P, 2)`` x, y in px of the frame; a pixel covers [column, column + 1].
        diameters, references: ``(P,)`` px, as fitted.
        read: ``(P,)`` px, diameters as they were read, before the fit.
        at: index of the narrowest point; -1 without one.
        spacing: mm of a pixel, or None.
        note: why there is no number.
    """

    percent: float = math.nan
    error: float = math.nan
    minimal: float = math.nan
    reference: float = math.nan
    length: float = math.nan
    centreline: Doubles = field(default_factory=lambda: np.zeros((0, 2)))
    diameters: Doubles = field(default_factory=lambda: np.zeros(0))
    references: Doubles = field(default_factory=lambda: np.zeros(0))
    read: Doubles = field(default_factory=lambda: np.zeros(0))
    at: int = -1
    spacing: float | None = None
    note: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.percent)

    @property
    def grade(self) -> str:
        """``mild``, ``moderate``, ``severe``, ``occlusion``, or ``not measured``."""
        return next(word for least, word in GRADES if self.percent >= least) if self.measured else UNMEASURED

    @property
    def words(self) -> str:
        """As in ``72 %``; empty without a number."""
        return f"{self.percent:.0f} %" if self.measured else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; lengths in mm where the size of a pixel is known, else in px."""
        unit, by = ("mm", self.spacing) if self.spacing else ("px", 1.0)
        lengths = {name: getattr(self, name) * by for name in ("minimal", "reference", "length")}
        return {
            "percent": round(self.percent, 1) if self.measured else None,
            "error": round(self.error, 1) if self.measured else None,
            "grade": self.grade,
            **{name: round(v, 2) if math.isfinite(v) else None for name, v in lengths.items()},
            "unit": unit,
            "note": self.note,
        }


def measure(
    frame: NDArray[Any],
    box: Sequence[float] | NDArray[Any],
    between: Sequence[float] | NDArray[Any] | None = None,
    spacing: float | None = None,
) -> Lumen:
    """Measure the narrowing in a box.

    Args:
        frame: ``(H, W)`` grey levels 0-255, vessels dark.
        box: x1, y1, x2, y2 in px around the narrowing.
        between: x, y, x, y of a point on the healthy vessel before, and one after the narrowing, in px; the box is not
            looked at then.
        spacing: mm of a pixel.

    Returns:
        The measure, or one without a number whose note says why.

    Raises:
        DataError: no frame, no four finite numbers, a size of pixels that is none.
    """
    levels = np.asarray(frame)
    if levels.ndim != 2 or 0 in levels.shape or not np.isfinite(levels).all():
        raise DataError(f"A frame (H, W) of finite grey levels is wanted, got {levels.shape}. Give one channel.")
    if spacing is not None and not (math.isfinite(spacing) and spacing > 0):
        raise DataError(f"spacing is {spacing!r}; give mm of a pixel above 0, or None where they are unknown.")
    if between is not None:
        return replace(_between(levels, _four(between, "between")), spacing=spacing)
    return replace(_in_box(levels, _four(box, "box")), spacing=spacing)


def measure_all(frame: NDArray[Any], boxes: NDArray[Any], spacing: float | None = None) -> tuple[Lumen, ...]:
    """:func:`measure` of boxes ``(K, 4)``, best first; those beyond the first :data:`MOST` are not measured."""
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    measured = [measure(frame, box, spacing=spacing) for box in given[:MOST]]
    rest = Lumen(spacing=spacing, note=f"only the best {MOST} boxes are measured")
    return (*measured, *[rest] * (len(given) - len(measured)))


def drawn(picture: Picture, found: Sequence[Lumen]) -> Picture:
    """A frame ``(H, W, 3)`` uint8 with the ways that were measured (yellow) and the narrowest points (red)."""
    out = picture.copy()
    for one in found:
        if one.measured:
            way = np.rint((one.centreline - 0.5) * 16).astype(np.int32)
            cv2.polylines(out, [way], False, (240, 228, 66), 1, cv2.LINE_AA, 4)
            at = way[one.at] / 16
            cv2.circle(out, (round(at[0]), round(at[1])), 3, (213, 94, 0), 1, cv2.LINE_AA)
    return out


def table(found: Sequence[Lumen]) -> Table:
    """A row a narrowing."""
    columns = dict.fromkeys(("percent", "error", "grade", "minimal", "reference", "length", "unit", "note"), "")
    return Table({**columns, "percent": "%", "error": "%"}, [f.to_dict() for f in found], "Lumen, by what it absorbs")


def _four(given: Sequence[float] | NDArray[Any], name: str) -> Doubles:
    try:
        values = np.asarray(given, np.float64).reshape(-1)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise DataError(f"{name} is {given!r}; give four finite numbers in px: x1, y1, x2, y2.")
    return values


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a frame around what is measured: vesselness, attenuation, and its corner (x, y)."""

    value: NDArray[np.float32]
    absorbed: Doubles
    corner: Doubles


def _part(levels: NDArray[Any], box: Doubles, room: float) -> _Part:
    left, top = (int(max(0, v - room)) for v in box[:2])
    part = np.asarray(levels[top : math.ceil(box[3] + room), left : math.ceil(box[2] + room)], np.float64)
    value = fast.vesselness(part, SIGMAS, "dark", 0.5, STRENGTH, detail=False).value
    return _Part(value, -np.log(np.maximum(part, 1.0) / 255), np.array([left, top], np.float64))


def _in_box(levels: NDArray[Any], given: Doubles) -> Lumen:
    high, wide = levels.shape
    x1, y1, x2, y2 = box = np.clip(given, 0, [wide, high, wide, high])
    if min(x2 - x1, y2 - y1) < SIDES[0] or max(x2 - x1, y2 - y1) > SIDES[1]:
        return Lumen(note=f"a box of {SIDES[0]:g} to {SIDES[1]:g} px inside the frame is wanted")
    part = _part(levels, box, float(np.clip(_ROOM[0] * max(x2 - x1, y2 - y1), _ROOM[1], _ROOM[2])))
    inner = box - np.tile(part.corner, 2)
    found = []
    for way in course.through(part.value, inner):
        points = course.even(way)
        inside: Bools = np.all((points + 0.5 >= inner[:2]) & (points + 0.5 <= inner[2:]), axis=1)
        if len(points) < 2 * course.SHORTEST or inside.sum() < 4 or (~inside).sum() < course.SHORTEST:
            continue
        reach = inside.sum() / 2 + _NEAR
        beyond = ~inside & (np.abs(np.arange(len(points)) - np.flatnonzero(inside).mean()) <= reach)
        if beyond.sum() >= course.SHORTEST:
            found.append(_followed(part, points, inside, beyond, inner))
    if not found:
        return Lumen(note="no vessel runs through the box")
    return max(found, key=lambda f: f.score).told(part.corner)


def _between(levels: NDArray[Any], ends: Doubles) -> Lumen:
    high, wide = levels.shape
    (x1, y1), (x2, y2) = ends[:2], ends[2:]
    far = math.hypot(x2 - x1, y2 - y1)
    if (ends < 0).any() or max(x1, x2) > wide or max(y1, y2) > high or not POINTS[0] <= far <= POINTS[1]:
        return Lumen(note=f"two points inside the frame, {POINTS[0]:g} to {POINTS[1]:g} px apart, are wanted")
    box = np.array([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)])
    part = _part(levels, box, max(_ROOM[1], far / 3))
    points = course.even(course.between(part.value, ends[:2] - part.corner, ends[2:] - part.corner))
    where = np.linspace(0.0, 1.0, len(points))
    inside: Bools = np.asarray(np.abs(where - 0.5) <= 0.5 - _OUTER, np.bool_)
    beyond: Bools = np.asarray(~inside, np.bool_)
    return _followed(part, points, inside, beyond, None).told(part.corner)


@dataclass(frozen=True, eq=False)
class _Followed:
    """One way with what was read and fitted, what speaks against it, and how good it is among others."""

    lumens: Lumens
    dip: Dip
    doubt: str
    score: float

    def told(self, corner: Doubles) -> Lumen:
        """As users see it."""
        centreline = self.lumens.points + 0.5 + corner
        if self.doubt:
            return Lumen(centreline=centreline, note=self.doubt)
        scale = self.lumens.width / max(float(np.median(self.dip.reference)), 1e-9)
        diameters, references = self.dip.root * scale, self.dip.reference * scale
        at = int(np.clip(round(self.dip.at), 0, len(diameters) - 1))
        halfway = 2 * math.sqrt(2 * math.log(2)) * self.dip.wide
        return Lumen(
            100 * self.dip.depth, 100 * self.dip.spread, float(references[at] * (1 - self.dip.depth)),
            float(references[at]), halfway, centreline, diameters, references, self.lumens.root * scale, at,
        )  # fmt: skip


def _followed(part: _Part, points: Doubles, inside: Bools, beyond: Bools, box: Doubles | None) -> _Followed:
    lumens = profile.read(part.absorbed, points, inside)
    dip = profile.fit(lumens.root, inside, beyond, free=box is None)
    doubt = _doubt(lumens, dip, inside, beyond, marked=box is None)
    score = -dip.left + 0.2 * min(dip.depth, 0.6) - 0.2 * bool(doubt)
    if box is not None:
        place = lumens.points[int(np.clip(round(dip.at), 0, len(points) - 1))] + 0.5
        score -= 0.3 * float((np.abs(place - (box[:2] + box[2:]) / 2) / (box[2:] - box[:2])).max())
    return _Followed(lumens, dip, doubt, score)


def _doubt(lumens: Lumens, dip: Dip, inside: Bools, beyond: Bools, marked: bool) -> str:
    """What speaks against a number, in words; empty where nothing does. Where people marked the ends, less does."""
    share, index = lumens.root / np.maximum(dip.root, 1e-9), np.arange(len(lumens.root))
    before, after = (lumens.root[beyond & side] for side in (index < dip.at, index > dip.at))
    if min(len(before), len(after)) < (3 if marked else course.SHORTEST / 2):
        return "the healthy vessel is seen on one side only"
    ends = sorted((float(np.median(before)), float(np.median(after))))
    off = np.abs(share[beyond] - 1)
    least, spread, left = (_LEAST_MARKED, _SPREAD_MARKED, _LEFT_MARKED) if marked else (_LEAST, _SPREAD, _LEFT)
    checks = (
        (not marked and ends[1] > _APART * max(ends[0], 1e-9),
         "the vessel is much wider on one side: a fork, or another vessel"),
        (float(np.median(off)) > _UNEVEN or float((off > 0.35).mean()) > _OFF,
         "what absorbs beyond the narrowing is uneven: other vessels cross"),
        (float(lumens.beside[inside].mean()) > _BESIDE, "another vessel runs beside it"),
        (dip.left > left, "what absorbs along it is no smooth narrowing"),
        (dip.spread > spread, "too little absorbs here to tell"),
        (dip.depth < least, f"no narrowing of {100 * least:.0f} % or more is seen on the vessel that was followed"),
        (lumens.excess(dip) > _EXCESS, "the narrowest part looks wide: wires of a stent, or a vessel crosses there"),
        (dip.depth > _MOST, "nothing is left to measure: an occlusion, or the way is lost"),
        (not marked and _bent(lumens.points, dip.at), "the way turns sharply: a fork or a crossing"),
    )  # fmt: skip
    return next((words for wrong, words in checks if wrong), "")


def _bent(points: Doubles, at: float) -> bool:
    """Whether the way turns as no vessel does near the narrowest point."""
    near = profile.tangents(points, 1.5)[max(0, round(at) - 16) : round(at) + 16]
    a, b = near[:-8], near[8:]
    return len(a) > 0 and float((a * b).sum(1).min()) < math.cos(math.radians(_TURN))
