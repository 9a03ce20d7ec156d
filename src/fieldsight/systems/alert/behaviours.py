"""The main actor of a scene: one scripted primitive for each behaviour of the specification.

Each primitive is a function of a :class:`Stage` that gives things; the first is the actor. Nothing in a primitive
knows of sensors or labels. ``meet`` is the time at which an actor would be level with the wearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.world import (
    BODY,
    KINDS,
    STEP,
    Path,
    Thing,
    moving,
    quintic,
    still,
    swerve_time,
    thing,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Stage:
    """What a primitive is told.

    Attributes:
        times: the grid ``(T,)``.
        wearer: the wearer's way.
        rng: source of chance.
        kind: class of the actor.
        speed: of the actor in m/s.
        gap: metres between the actor's side and the wearer's when they pass; negative is a hit.
        side: +1 when the road lies to the right, -1 to the left.
        meet: seconds.
        towards: a vehicle that pulls out comes towards the wearer.
    """

    times: Array
    wearer: Path
    rng: np.random.Generator
    kind: str
    speed: float
    gap: float
    side: int
    meet: float
    towards: bool = True

    def ahead(self, t: float) -> float:
        """The wearer's y in metres at time ``t``."""
        return float(np.interp(t, self.times, self.wearer.y))

    @property
    def lateral(self) -> float:
        """x in metres of an actor that drives along the street and passes with ``gap``."""
        return self.side * (self.gap + BODY + KINDS[self.kind].width / 2)

    @property
    def half(self) -> float:
        """Half the actor's length in metres."""
        return KINDS[self.kind].length / 2


def steer(start: tuple[float, float], heading: Array, speed: Array | float, pin: int = 0) -> Path:
    """A way from headings ``(T,)`` and speeds, shifted so that it is at ``start`` at grid point ``pin``."""
    pace = np.broadcast_to(np.asarray(speed, dtype=np.float64), heading.shape)
    x, y = np.cumsum(np.cos(heading) * pace) * STEP, np.cumsum(np.sin(heading) * pace) * STEP
    return moving(x - x[pin] + start[0], y - y[pin] + start[1], heading)


def bend(times: Array, start: float, seconds: float, angle: float) -> Array:
    """Change of heading ``(T,)`` by ``angle`` radians with a raised-cosine rate."""
    share = np.clip((times - start) / seconds, 0.0, 1.0)
    return angle * (share - np.sin(2 * np.pi * share) / (2 * np.pi))


def oncoming(s: Stage) -> list[Thing]:
    """Drives towards the wearer at constant speed and passes with the gap, or hits."""
    y = s.ahead(s.meet) + s.half + s.speed * (s.meet - s.times)
    return [thing(s.kind, "oncoming", moving(np.full(len(y), s.lateral), y))]


def oncoming_swerve(s: Stage) -> list[Thing]:
    """Drives past at two metres or more, then swerves to the gap; it starts 1 to 3 s before they meet."""
    wide = max(s.gap, 0.0) + s.rng.uniform(1.5, 2.5)
    away = s.side * (wide - s.gap)
    seconds = max(1.0, swerve_time(away, KINDS[s.kind].sideways))
    start = s.meet - max(s.rng.uniform(1.0, 3.0), min(seconds, 3.0))
    y = s.ahead(s.meet) + s.half + s.speed * (s.meet - s.times)
    x = s.lateral + away * (1.0 - quintic((s.times - start) / seconds))
    return [thing(s.kind, "oncoming_swerve", moving(x, y))]


def overtaking(s: Stage) -> list[Thing]:
    """Comes from behind, passes and drives away; past the wearer after about a third of the time."""
    level = s.meet * 0.45
    # fast enough to be behind at first
    speed = max(s.speed, (s.ahead(level) + 2 * s.half + 1.0) / level)
    y = s.ahead(level) + s.half + speed * (s.times - level)
    return [thing(s.kind, "overtaking", moving(np.full(len(y), s.lateral), y))]


def receding(s: Stage) -> list[Thing]:
    """Starts a few metres ahead and drives away."""
    y = s.rng.uniform(3.0, 6.0) + s.half + max(s.speed, 2.5) * s.times
    return [thing(s.kind, "receding", moving(np.full(len(y), s.lateral), y))]


def _crossing(s: Stage, sign: int, name: str) -> list[Thing]:
    y = s.ahead(s.meet) + s.gap + BODY + KINDS[s.kind].width / 2
    x = sign * s.speed * (s.times - s.meet)
    return [thing(s.kind, name, moving(x, np.full(len(x), y)))]


def crossing_lr(s: Stage) -> list[Thing]:
    """Crosses the way from left to right; ``gap`` metres ahead of the wearer."""
    return _crossing(s, 1, "crossing_lr")


def crossing_rl(s: Stage) -> list[Thing]:
    """Crosses the way from right to left; ``gap`` metres ahead of the wearer."""
    return _crossing(s, -1, "crossing_rl")


def parked(s: Stage) -> list[Thing]:
    """A parked car beside the way."""
    x = s.side * (max(s.gap, 0.3) + BODY + KINDS["parked"].width / 2)
    return [thing("parked", "parked", still(x, s.rng.uniform(6.0, 11.0)))]


def parked_wearer_walks_at(s: Stage) -> list[Thing]:
    """A parked car in the way of a walking wearer."""
    across = s.rng.random() < 0.4
    half = KINDS["parked"].width / 2 if across else KINDS["parked"].length / 2
    place = still(s.rng.uniform(-0.5, 0.5), s.ahead(s.meet) + half, 0.0 if across else np.pi / 2)
    return [thing("parked", "parked_wearer_walks_at", place)]


def pull_out(s: Stage) -> list[Thing]:
    """Stands at the kerb, then pulls out at 1.5 m/s2, towards the wearer or away."""
    start = s.rng.uniform(0.8, 2.0)
    run = np.maximum(s.times - start, 0.0)
    reach = max(s.speed, 2.0) / 1.5
    way = np.where(run < reach, 0.75 * run**2, 0.75 * reach**2 + 1.5 * reach * (run - reach))
    length = max(7.0, 1.3 * KINDS[s.kind].length)
    kerb = s.side * (max(s.gap, 0.4) + BODY + KINDS[s.kind].width / 2)
    x = kerb + s.side * s.rng.uniform(0.8, 1.6) * quintic(way / length)
    place = (s.rng.uniform(9.0, 14.0) if s.towards else s.rng.uniform(4.0, 7.0)) + s.half
    return [thing(s.kind, "pull_out", moving(x, place + (-way if s.towards else way)))]


def turning(s: Stage) -> list[Thing]:
    """Heading changes by 60 to 120 degrees: from closing to crossing, or from crossing to closing."""
    speed = min(s.speed, 6.0)
    angle = np.radians(s.rng.uniform(60.0, 120.0))
    # the yaw rate peaks at twice its mean
    seconds = max(1.0, 2 * speed * angle / KINDS[s.kind].sideways)
    if s.rng.random() < 0.5:
        middle = s.meet - s.rng.uniform(0.8, 1.6)
        sign = s.rng.choice([-1.0, 1.0])
        heading = -np.pi / 2 + bend(s.times, middle - seconds / 2, seconds, sign * angle)
        point = (s.side * s.rng.uniform(1.0, 3.0), s.ahead(middle) + s.rng.uniform(5.0, 9.0) + s.half)
        return [thing(s.kind, "turning", steer(point, heading, speed, _index(s, middle)))]
    end = s.meet - s.rng.uniform(1.0, 1.8)
    first = np.pi if s.side > 0 else 0.0
    heading = first + bend(s.times, end - seconds, seconds, s.side * angle)
    return [thing(s.kind, "turning", steer((s.lateral, s.ahead(s.meet) + s.half), heading, speed, _index(s, s.meet)))]


def _index(s: Stage, t: float) -> int:
    return int(np.clip(round(t / STEP), 0, len(s.times) - 1))


def ped_head_on(s: Stage) -> list[Thing]:
    """Walks straight at the wearer."""
    y = s.ahead(s.meet) + s.half + s.speed * (s.meet - s.times)
    return [thing(s.kind, "ped_head_on", moving(np.full(len(y), s.rng.uniform(-0.2, 0.2)), y))]


def _first_within(s: Stage, path: Path, metres: float) -> float:
    distance = np.hypot(path.x - s.wearer.x, path.y - s.wearer.y)
    return float(s.times[int(np.argmax(distance < metres))])


def ped_turns_away(s: Stage) -> list[Thing]:
    """Walks at the wearer and turns away by 30 to 90 degrees at 3 to 5 m."""
    straight = ped_head_on(s)[0].path
    angle = np.radians(s.rng.uniform(30.0, 90.0)) * s.rng.choice([-1.0, 1.0])
    start = _first_within(s, straight, s.rng.uniform(3.0, 5.0))
    heading = -np.pi / 2 + bend(s.times, start, 0.8, angle)
    path = steer((float(straight.x[0]), float(straight.y[0])), heading, s.speed)
    return [thing(s.kind, "ped_turns_away", path)]


def ped_turns_in(s: Stage) -> list[Thing]:
    """Walks past at 1.5 to 3 m to the side, then turns into the wearer's way at 4 to 6 m."""
    beside = s.rng.uniform(1.5, 3.0) * s.rng.choice([-1.0, 1.0])
    near = s.rng.uniform(4.0, 6.0)
    # both walk on: when they are `near` apart, what is left until they meet follows from where it comes from
    left = np.hypot(beside, np.sqrt(near**2 - beside**2)) / (s.speed + 0.7)
    angle = -np.arctan2(beside, s.speed * left)
    heading = -np.pi / 2 + bend(s.times, s.meet - left - 0.4, 0.8, angle)
    path = steer((0.0, s.ahead(s.meet) + s.half), heading, s.speed, _index(s, s.meet))
    return [thing(s.kind, "ped_turns_in", path)]


def static_approach(s: Stage) -> list[Thing]:
    """A pole, tree, bollard or wall in the way of a walking wearer."""
    kind = s.kind if KINDS[s.kind].rule == "static" else str(s.rng.choice(["pole", "tree", "bollard", "wall"]))
    y, x = s.ahead(s.meet), s.rng.uniform(-0.12, 0.12)
    if kind == "wall":
        return [thing("wall", "static_approach", still(x, y + 0.15, 0.0), length=3.0, width=0.3, height=2.2)]
    return [thing(kind, "static_approach", still(x, y + KINDS[kind].length / 2))]


def occluded_emerge(s: Stage) -> list[Thing]:
    """Steps out from behind a parked van or car and crosses the wearer's way."""
    tall = s.rng.random() < 0.6
    car = thing("parked", "parked", still(0.0, 0.0), **({"height": 2.2, "length": 5.0} if tall else {}))
    x = s.side * (s.rng.uniform(0.4, 0.9) + BODY + car.width / 2)
    y = s.ahead(s.meet) + s.rng.uniform(0.4, 1.6)
    # out of sight it stands; then half a second to get going
    seconds = abs(x) / s.speed
    start = s.meet - seconds - 0.25
    run = np.maximum(s.times - start, 0.0)
    way = np.where(run < 0.5, s.speed * run**2, s.speed * (run - 0.25))
    person = moving(x - s.side * way, np.full(len(way), y), np.pi if s.side > 0 else 0.0)
    behind = still(x, y - KINDS[s.kind].width / 2 - 0.3 - car.length / 2)
    van = thing("parked", "parked", behind, length=car.length, height=car.height)
    return [thing(s.kind, "occluded_emerge", person), van]


def wearer_turns(s: Stage) -> list[Thing]:
    """Nothing moves but the wearer's body."""
    return []


#: Primitive by name, in the specification's order.
BEHAVIOURS: dict[str, Callable[[Stage], list[Thing]]] = {
    f.__name__: f
    for f in (
        oncoming, oncoming_swerve, overtaking, receding, crossing_lr, crossing_rl, parked, parked_wearer_walks_at,
        pull_out, turning, ped_head_on, ped_turns_away, ped_turns_in, static_approach, occluded_emerge, wearer_turns,
    )
}  # fmt: skip

#: Behaviours of people; all other actors that move are vehicles, or people where the class says so.
PEOPLE = ("ped_head_on", "ped_turns_away", "ped_turns_in", "occluded_emerge")

#: Behaviours that only make sense while the wearer walks.
WALKED_AT = ("parked_wearer_walks_at", "static_approach", "occluded_emerge")

#: What the scenario ``approach`` draws from: everything that comes nearer, with its share.
APPROACHES: dict[str, float] = {
    "oncoming": 0.28, "oncoming_swerve": 0.12, "crossing_lr": 0.06, "crossing_rl": 0.06, "turning": 0.08,
    "pull_out": 0.04, "ped_head_on": 0.14, "ped_turns_in": 0.06, "ped_turns_away": 0.04, "occluded_emerge": 0.06,
    "static_approach": 0.03, "parked_wearer_walks_at": 0.03,
}  # fmt: skip

#: What the scenario ``calm`` draws from.
CALM: dict[str, float] = {
    "receding": 0.2, "crossing_lr": 0.1, "crossing_rl": 0.1, "parked": 0.2, "wearer_turns": 0.25, "street": 0.15,
}  # fmt: skip
