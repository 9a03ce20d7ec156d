"""Exact labels: who is dangerous, judged on the world and never on an estimate.

Everything is relative to the wearer, a disc of 0.25 m at the origin. *Closing* is positive here while something comes
nearer (the engine's *speed* is its negative). The relative velocity gives the course; along it lies ``near``, the
distance to the object's near face, and across it ``gap``, what is left between the two bodies when they pass:

    gap = |offset across the course| - (half the extent across it + 0.25)        ttc = near / closing

For a car that comes straight along the street this is the specification's ``|x| - (w/2 + 0.25)``; measured across the
course it also holds for what crosses, and for a wearer who looks elsewhere.

Rules (``horizon`` 3 s, ``least`` 1.5 m/s are parameters of the label, not of the user's alarm):

* ``hit_cv``: at constant velocity the bodies touch within the horizon.
* ``swerve`` (vehicles): ``gap <= a_lat ttc^2 / 2``, closing faster than ``least``, within the horizon.
* ``frontal`` (people): they walk towards the wearer within 20 degrees, ``gap <= 0.5``, closing and horizon as above.
* Static things and parked vehicles: ``hit_cv`` and closing faster than ``least``. A wearer at 1.35 m/s never gets
  there: with the specification's 1.5 m/s, walking into a wall is no danger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.world import BODY, Solids, World

Array = NDArray[Any]

#: Seconds that a label looks ahead, and the least closing speed in m/s of a danger.
HORIZON, LEAST = 3.0, 1.5

#: People: cone of the heading in radians, and the widest gap in metres.
CONE, FRONTAL_GAP = np.radians(20.0), 0.5

#: Half width in metres of the way that is walked.
CORRIDOR = 1.0


@dataclass(frozen=True)
class Judgement:
    """What holds of n objects at one moment; all ``(n,)``.

    Attributes:
        range: metres from the wearer's axis to the nearest point of the footprint.
        closing: m/s at which that falls; positive while it comes nearer.
        near: metres along the course to the near face; negative when it is abreast or past.
        speed: m/s along the course: the length of the relative velocity.
        ttc: seconds, ``near / speed`` for vehicles and people, ``range / closing`` for static things; infinite where
            nothing closes.
        gap: metres left between the bodies across the course.
        d_cpa: least metres between the bodies at constant velocity; negative when they touch.
        hit_cv, swerve, frontal: the rules' outcomes, whatever the class.
        danger: by the rule of its class.
        in_corridor: at constant velocity it comes within 1 m of the wearer's side within the horizon.
        rule: name of the rule that made the danger, or an empty string.
    """

    range: Array
    closing: Array
    near: Array
    speed: Array
    ttc: Array
    gap: Array
    d_cpa: Array
    hit_cv: Array
    swerve: Array
    frontal: Array
    danger: Array
    in_corridor: Array
    rule: Array


def judge(
    x: Any,
    y: Any,
    vx: Any,
    vy: Any,
    *,
    yaw: Any,
    length: Any,
    width: Any,
    rule: Any,
    sideways: Any = 4.0,
    heading: Any = None,
    horizon: float = HORIZON,
    least: float = LEAST,
) -> Judgement:
    """Judge objects at ``(x, y)`` with relative velocity ``(vx, vy)``; numbers or arrays of one length.

    Args:
        x, y: metres from the wearer to the object's centre.
        vx, vy: m/s relative to the wearer.
        yaw: radians, direction of the object's length.
        length, width: metres.
        rule: ``vehicle``, ``person``, ``static`` or ``none`` for each.
        sideways: greatest lateral acceleration in m/s2.
        heading: radians, where a person walks to; ``yaw`` without.
        horizon: seconds.
        least: m/s.

    Raises:
        DataError: arrays of different lengths.
    """
    try:
        x, y, vx, vy, yaw, length, width, sideways, rules, heading = np.broadcast_arrays(
            *map(np.atleast_1d, (x, y, vx, vy, yaw, length, width, sideways, rule, yaw if heading is None else heading))
        )
    except ValueError:
        raise DataError("judge: every argument must be a number or have one value an object.") from None
    here = footprint(-x, -y, yaw, length, width)
    distance = np.hypot(*here)
    c, s = np.cos(yaw), np.sin(yaw)
    towards = (here[0] * (c * vx + s * vy) + here[1] * (c * vy - s * vx)) / np.maximum(distance, 1e-9)
    closing = np.where(distance > 1e-9, towards, 0.0)

    speed = np.hypot(vx, vy)
    moves = speed > 1e-6
    safe = np.where(moves, speed, 1.0)
    ex, ey = np.where(moves, vx / safe, 0.0), np.where(moves, vy / safe, -1.0)
    along, across = -(x * ex + y * ey), np.abs(x * ey - y * ex)
    ahead, aside = np.abs(c * ex + s * ey), np.abs(c * ey - s * ex)
    near = along - (length * ahead + width * aside) / 2
    gap = across - (length * aside + width * ahead) / 2 - BODY

    static = (rules == "static") | (rules == "none")
    with np.errstate(divide="ignore", invalid="ignore"):
        coming = np.where((near > 0) & moves, near / safe, np.inf)
        ttc = np.where(static, np.where(closing > 1e-6, distance / closing, np.inf), coming)
    soon = (ttc <= horizon) & (np.where(static, closing, np.where(near > 0, speed, 0.0)) > least)
    first = sweep(x, y, vx, vy, yaw, length, width, horizon)
    ever = sweep(x, y, vx, vy, yaw, length, width, 60.0)
    hit = first <= BODY
    swerve = soon & (rules == "vehicle") & (gap <= 0.5 * sideways * np.where(np.isfinite(ttc), ttc, 0.0) ** 2)
    cone = np.abs((heading - np.arctan2(-y, -x) + np.pi) % (2 * np.pi) - np.pi) <= CONE
    frontal = soon & (rules == "person") & cone & (gap <= FRONTAL_GAP)
    fixed = hit & (rules == "static") & (closing > least)
    name = np.where(swerve, "swerve", np.where(frontal, "frontal", np.where(fixed, "hit_cv", "")))
    return Judgement(
        distance, closing, near, speed, ttc, gap, ever - BODY, hit, swerve, frontal, name != "", first <= CORRIDOR, name
    )


def footprint(x: Array, y: Array, yaw: Array, length: Array, width: Array) -> tuple[Array, Array]:
    """Vector, in the object's own axes, from the nearest point of a footprint at the origin to points ``(x, y)``."""
    c, s = np.cos(yaw), np.sin(yaw)
    along, across = c * x + s * y, c * y - s * x
    return (
        along - np.clip(along, -length / 2, length / 2),
        across - np.clip(across, -width / 2, width / 2),
    )


def sweep(x: Array, y: Array, vx: Array, vy: Array, yaw: Array, length: Array, width: Array, seconds: float) -> Array:
    """Least distance ``(n,)`` in metres from the wearer's axis to a footprint that keeps its velocity for a time.

    In the object's own axes the wearer runs along a segment: the least distance is zero where the segment crosses the
    rectangle, else one of an end of the segment to the rectangle or of a corner to the segment.
    """
    c, s = np.cos(yaw), np.sin(yaw)
    ax, ay = -(c * x + s * y), -(c * y - s * x)
    dx, dy = -(c * vx + s * vy) * seconds, -(c * vy - s * vx) * seconds
    hl, hw = length / 2, width / 2

    def outside(px: Array, py: Array) -> Array:
        return np.hypot(np.maximum(np.abs(px) - hl, 0.0), np.maximum(np.abs(py) - hw, 0.0))

    least = np.minimum(outside(ax, ay), outside(ax + dx, ay + dy))
    squared = np.maximum(dx * dx + dy * dy, 1e-12)
    for kx, ky in ((hl, hw), (hl, -hw), (-hl, hw), (-hl, -hw)):
        share = np.clip(((kx - ax) * dx + (ky - ay) * dy) / squared, 0.0, 1.0)
        least = np.minimum(least, np.hypot(ax + share * dx - kx, ay + share * dy - ky))
    tiny_x, tiny_y = (np.where(np.abs(d) < 1e-12, 1e-12, d) for d in (dx, dy))
    x1, x2, y1, y2 = (-hl - ax) / tiny_x, (hl - ax) / tiny_x, (-hw - ay) / tiny_y, (hw - ay) / tiny_y
    low = np.maximum(np.minimum(x1, x2), np.minimum(y1, y2))
    high = np.minimum(np.maximum(x1, x2), np.maximum(y1, y2))
    return np.where((low <= high) & (low <= 1.0) & (high >= 0.0), 0.0, least)


def judge_world(world: World, solids: Solids, wearer: Array) -> Judgement:
    """Judge everything in a world; ``wearer`` is ``x, y, vx, vy`` without the sway of the gait."""
    return judge(
        solids.x - wearer[0],
        solids.y - wearer[1],
        solids.vx - wearer[2],
        solids.vy - wearer[3],
        yaw=solids.yaw,
        length=solids.length,
        width=np.where(solids.round, solids.length, solids.width),
        rule=world.rules,
        sideways=world.sideways,
        heading=np.where(np.hypot(solids.vx, solids.vy) > 0.1, np.arctan2(solids.vy, solids.vx), solids.yaw),
    )
