"""What stands and moves in a simulated street: upright boxes and cylinders on a flat ground, and the laws of motion.

World: x right, y forward, z up, ground at z = 0; metres, seconds, radians. A yaw is the direction of an object's
length, counter-clockwise from +x: something that drives along the street (+y) has yaw pi/2. Motion is computed on a
grid of 20 ms and read between its points linearly, so that every frame time has its exact state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Seconds between grid points of every motion.
STEP = 0.02

#: Radius in metres of the wearer's body.
BODY = 0.25

Rule = Literal["vehicle", "person", "static", "none"]


@dataclass(frozen=True)
class Kind:
    """A class of objects.

    Attributes:
        length, width, height: metres; a cylinder's length is its diameter.
        sideways: greatest lateral acceleration in m/s2.
        albedo: share of light that comes back, 0 to 1.
        rule: which rule of danger holds; ``none`` is scenery that nobody runs into.
        round: a cylinder.
    """

    length: float
    width: float
    height: float
    sideways: float = 0.0
    albedo: float = 0.3
    rule: Rule = "static"
    round: bool = False


#: Sizes and lateral limits of the specification; albedos of clothes (0.5), paint and stone are design values. Vans
#: corner like cars; for rickshaws the limit of the scooter is taken.
KINDS: dict[str, Kind] = {
    "pedestrian": Kind(0.35, 0.5, 1.7, 2.0, 0.5, "person"),
    "child": Kind(0.3, 0.4, 1.2, 2.0, 0.5, "person"),
    "bicycle": Kind(1.75, 0.6, 1.7, 3.0, 0.4, "vehicle"),
    "scooter": Kind(1.9, 0.75, 1.6, 3.5, 0.35, "vehicle"),
    "rickshaw": Kind(2.65, 1.3, 1.7, 3.5, 0.4, "vehicle"),
    "car": Kind(4.5, 1.8, 1.5, 4.0, 0.3, "vehicle"),
    "van": Kind(5.5, 2.0, 2.3, 4.0, 0.5, "vehicle"),
    "bus": Kind(12.0, 2.55, 3.1, 2.5, 0.5, "vehicle"),
    "parked": Kind(4.5, 1.8, 1.5, 0.0, 0.3),
    "wall": Kind(10.0, 1.0, 8.0, 0.0, 0.35),
    "pole": Kind(0.15, 0.15, 5.0, 0.0, 0.4, "static", True),
    "tree": Kind(0.35, 0.35, 5.0, 0.0, 0.25, "static", True),
    "bollard": Kind(0.2, 0.2, 1.0, 0.0, 0.4, "static", True),
    "kerb": Kind(20.0, 0.2, 0.12, 0.0, 0.3, "none"),
}

#: Albedo of the ground: asphalt.
ASPHALT = 0.15


@dataclass(frozen=True)
class Path:
    """Motion of one object on the grid: ``(T,)`` positions, yaw and velocity; ``T`` is 1 for what stands still."""

    x: Array
    y: Array
    yaw: Array
    vx: Array
    vy: Array


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        kind: key of :data:`KINDS`.
        behaviour: what it does, in one of the words of the behaviours, or ``street`` for scenery.
        path: its motion.
        length, width, height: its own size in metres.
        albedo: its own.
    """

    kind: str
    behaviour: str
    path: Path
    length: float
    width: float
    height: float
    albedo: float


@dataclass(frozen=True)
class Solids:
    """All objects at one moment as arrays of length n, for the renderer and the labels.

    ``ids`` count from 1; 0 is the ground and -1 the sky in pictures of ids.
    """

    ids: Array
    x: Array
    y: Array
    yaw: Array
    vx: Array
    vy: Array
    length: Array
    width: Array
    height: Array
    round: Array


def grid(seconds: float) -> Array:
    """Times ``(T,)`` from 0 to a little beyond ``seconds``, every :data:`STEP`."""
    return np.arange(int(np.ceil(seconds / STEP)) + 6) * STEP


def still(x: float, y: float, yaw: float = np.pi / 2) -> Path:
    """Something that never moves."""
    zero = np.zeros(1)
    return Path(zero + x, zero + y, zero + yaw, zero, zero)


def moving(x: Array, y: Array, yaw: Array | float | None = None) -> Path:
    """A motion from positions ``(T,)`` on the grid; without ``yaw`` it faces where it goes, and keeps facing there
    when it stops."""
    vx, vy = np.gradient(x, STEP), np.gradient(y, STEP)
    if yaw is None:
        going = np.hypot(vx, vy) > 0.05
        facing = np.unwrap(np.arctan2(vy, vx)[going]) if going.any() else np.array([np.pi / 2])
        # hold the last direction through a stop, and the first one before a start
        held = np.clip(np.cumsum(going) - 1, 0, len(facing) - 1)
        yaw = facing[held]
    return Path(x, y, np.broadcast_to(np.asarray(yaw, dtype=np.float64), x.shape), vx, vy)


def thing(kind: str, behaviour: str, path: Path, scale: float = 1.0, **size: float) -> Thing:
    """An object of a kind, all sides times ``scale``; ``length``, ``width``, ``height``, ``albedo`` overrule."""
    known = KINDS[kind]
    sides = {side: size.get(side, getattr(known, side) * scale) for side in ("length", "width", "height")}
    return Thing(kind, behaviour, path, **sides, albedo=size.get("albedo", known.albedo))


class World:
    """Everything in a scene but the wearer, and where it is at any time."""

    def __init__(self, things: Sequence[Thing], times: Array) -> None:
        self.things = tuple(things)
        self.times = times
        self.kinds = np.array([t.kind for t in things], dtype="U16")
        self.behaviours = np.array([t.behaviour for t in things], dtype="U24")
        self.ids = np.arange(1, len(self.things) + 1)
        self.rules = np.array([KINDS[t.kind].rule for t in things], dtype="U8")
        self.sideways = np.array([KINDS[t.kind].sideways for t in things])
        self._sizes = np.array([(t.length, t.width, t.height) for t in things]).reshape(-1, 3)
        self._round = np.array([KINDS[t.kind].round for t in things], dtype=bool)
        #: albedo by id, with the ground's at 0 and the sky's at -1
        self.albedo = np.array([ASPHALT, *(t.albedo for t in things), 1.0])
        rows = [[np.broadcast_to(getattr(t.path, n), times.shape) for t in things] for n in ("x", "y", "yaw")]
        rows += [[np.broadcast_to(getattr(t.path, n), times.shape) for t in things] for n in ("vx", "vy")]
        self._motion = np.ascontiguousarray(np.array(rows).reshape(5, len(things), len(times)).transpose(2, 0, 1))

    def at(self, t: float) -> Solids:
        """The state at time ``t`` in seconds; times outside the grid give its ends."""
        x, y, yaw, vx, vy = between(self._motion, t)
        length, width, height = self._sizes.T
        return Solids(self.ids, x, y, yaw, vx, vy, length, width, height, self._round)


def between(rows: Array, t: float) -> Array:
    """Row of ``rows (T, ...)`` at time ``t`` by linear interpolation on the grid."""
    place = min(max(t / STEP, 0.0), len(rows) - 1.0)
    low = min(int(place), len(rows) - 2)
    share = place - low
    return rows[low] * (1.0 - share) + rows[low + 1] * share


# ------------------------------------------------------------------------------------------------ motion


def follow(start: Array, speed: Array, wanted: Array, length: Array, times: Array) -> tuple[Array, Array]:
    """Cars behind each other in a lane, by the intelligent driver model (IDM).

    Args:
        start: ``(n,)`` centre positions along the lane in metres, the leader first, falling.
        speed: ``(n,)`` speeds at the start in m/s.
        wanted: ``(n,)`` free speeds.
        length: ``(n,)`` lengths of the vehicles in metres.
        times: the grid.

    Returns:
        Positions and speeds, ``(T, n)``.
    """
    headway, accelerate, brake, least = 1.5, 1.2, 2.0, 2.0
    place, pace = start.astype(np.float64), speed.astype(np.float64)
    places, paces = np.empty((len(times), len(start))), np.empty((len(times), len(start)))
    for k in range(len(times)):
        places[k], paces[k] = place, pace
        room = np.full(len(place), np.inf)
        room[1:] = place[:-1] - place[1:] - (length[:-1] + length[1:]) / 2
        nearing = np.zeros(len(place))
        nearing[1:] = pace[1:] - pace[:-1]
        desired = least + np.maximum(0.0, pace * headway + pace * nearing / (2 * np.sqrt(accelerate * brake)))
        change = accelerate * (1 - (pace / wanted) ** 4 - (desired / np.maximum(room, 0.1)) ** 2)
        # a driver never brakes harder than tyres allow, nor drives backwards
        faster = np.maximum(pace + np.maximum(change, -8.0) * STEP, 0.0)
        place = place + (pace + faster) / 2 * STEP
        pace = faster
    return places, paces


def free_headway(order: Array, length: Array, pace: Array) -> Array:
    """Starting places ``order (n,)`` (falling) pushed back until everybody has a second and two metres of room."""
    placed = order.astype(np.float64).copy()
    for i in range(1, len(placed)):
        room = (length[i - 1] + length[i]) / 2 + 2.0 + pace[i]
        placed[i] = min(placed[i], placed[i - 1] - room)
    return placed


def stroll(
    place: Array,
    speed: Array,
    heading: Array,
    avoids: Array,
    side: Array,
    around: Path,
    posts: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """People on foot: a wanted line, heading noise, and a side-step away from whom they would run into.

    The heading noise is an Ornstein-Uhlenbeck process (8 degrees, 2 s); they steer back to their line by 0.3 rad a
    metre, or they would end in the facades. Who would come within 0.7 m of the wearer, of another walker or of a post
    steps aside from ``avoids`` metres on, at no more than 2 m/s2.

    Args:
        place: ``(n, 2)`` start.
        speed, heading: ``(n,)`` m/s and radians.
        avoids: ``(n,)`` distance in metres at which each one reacts.
        side: ``(n,)`` +1 or -1, the side they step to when they are straight ahead.
        around: the wearer's motion on the grid.
        posts: ``(m, 2)`` places of trees, poles and the like.
        rng: of the heading noise.

    Returns:
        x and y, ``(T, n)``.
    """
    count, n = len(around.x), len(speed)
    sigma, tau = np.radians(8.0), 2.0
    keep = np.exp(-STEP / tau)
    noise = rng.standard_normal((count, n)) * sigma * np.sqrt(1 - keep**2)
    wobble = rng.standard_normal(n) * sigma
    at, sidestep = place.astype(np.float64).copy(), np.zeros(n)
    line = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    xs, ys = np.empty((count, n)), np.empty((count, n))
    self_too = np.eye(n, n + 1 + len(posts), dtype=bool)
    for k in range(count):
        xs[k], ys[k] = at.T
        wobble = wobble * keep + noise[k]
        off = ((at - place) * line).sum(1)
        course = heading + wobble - np.clip(0.3 * off, -0.4, 0.4)
        forward = np.stack([np.cos(course), np.sin(course)], axis=1)
        left = np.stack([-forward[:, 1], forward[:, 0]], axis=1)
        away = np.concatenate([at, [[around.x[k], around.y[k]]], posts])[None] - at[:, None]
        ahead, across = (away * forward[:, None]).sum(2), (away * left[:, None]).sum(2)
        distance = np.hypot(ahead, across)
        meets = (ahead > -0.3) & (distance < avoids[:, None]) & (np.abs(across) < 0.7) & ~self_too
        nearest = np.where(meets, distance, np.inf).argmin(1)[:, None]
        beside = np.take_along_axis(across, nearest, 1)[:, 0]
        turn = np.where(np.abs(beside) > 0.1, -np.sign(beside), side)
        # nobody leaves their line by more than 0.9 m: there are facades and cars
        target = np.where(meets.any(1) & (off * turn < 0.9), turn * 0.9, 0.0)
        sidestep = sidestep + np.clip(target - sidestep, -2.0 * STEP, 2.0 * STEP)
        at = at + (forward * speed[:, None] + left * sidestep[:, None]) * STEP
    return xs, ys


def quintic(share: Array) -> Array:
    """Smooth step from 0 to 1 over ``share`` 0 to 1 with no speed and no acceleration at its ends."""
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


def swerve_time(distance: float, limit: float) -> float:
    """Seconds a quintic of ``distance`` metres needs at a lateral acceleration of at most ``limit`` m/s2."""
    return float(np.sqrt(10.0 / np.sqrt(3.0) * abs(distance) / limit))


def discs(one: Thing, every: int = 5) -> tuple[Array, float]:
    """Centres ``(T', k, 2)`` and radius of discs along an object that cover its footprint nearly, every n-th step."""
    radius = one.width / 2
    count = max(1, int(np.ceil(one.length / max(one.width, 0.3))))
    reach = max(one.length / 2 - radius, 0.0)
    offsets = np.linspace(-reach, reach, count)
    x, y, yaw = (a[::every] if len(a) > 1 else a for a in (one.path.x, one.path.y, one.path.yaw))
    return np.stack(
        [x[:, None] + np.cos(yaw)[:, None] * offsets, y[:, None] + np.sin(yaw)[:, None] * offsets], axis=-1
    ), radius


def meet(a: tuple[Array, float], b: tuple[Array, float], room: float = 0.05) -> bool:
    """True where two objects, given as their :func:`discs`, come within ``room`` metres of each other at some time."""
    (one, r), (two, s) = a, b
    gap = one[:, :, None] - two[:, None, :]
    return bool((gap * gap).sum(-1).min() < (r + s + room) ** 2)


def without_meetings(fixed: Sequence[Thing], others: Sequence[Thing], room: float = 0.05) -> list[Thing]:
    """Those of ``others``, in order, that never run into ``fixed`` or into one that was kept before.

    Nothing may drive through another thing, and to leave one out never makes a collision. Kerbs do not count: wheels
    and feet go over them.
    """
    known = [discs(one) for one in fixed if KINDS[one.kind].rule != "none"]
    kept: list[Thing] = []
    for one in others:
        solid, mine = KINDS[one.kind].rule != "none", discs(one)
        if solid and any(meet(mine, other, room) for other in known):
            continue
        kept.append(one)
        if solid:
            known.append(mine)
    return kept
