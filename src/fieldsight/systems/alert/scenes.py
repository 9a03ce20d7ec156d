"""Streets of four cities: what stands along them, who drives and walks there, and one scene as a whole.

City numbers are the specification's design values. The wearer walks along +y at x = 0, on the pavement or at the edge
of the road; the road lies on one side, facades on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.alert import behaviours as acts
from fieldsight.systems.alert.danger import footprint
from fieldsight.systems.alert.wearer import STATES, Wearer, dress, halt, look_around, pace, walk
from fieldsight.systems.alert.world import (
    BODY,
    KINDS,
    STEP,
    Path,
    Thing,
    World,
    follow,
    free_headway,
    grid,
    moving,
    quintic,
    still,
    stroll,
    swerve_time,
    thing,
    without_meetings,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class City:
    """A city profile; shares are 0 to 1, rates per minute, speeds in m/s.

    Attributes:
        people: passing the wearer per minute.
        vehicles: per minute in the near lane.
        mix: share of car, bus, bicycle, scooter, rickshaw.
        car, scooter: mean and spread of the speed.
        clearance: metres between the wearer and the near lane.
        scooter_lane: metres to a lane of two-wheelers of its own, or None.
        roadway: share of wearers who walk in the road.
        pavement_riders: share of two-wheelers on the pavement.
        unruly: share of vehicles that come the wrong way or swerve.
        parked: cars per 20 m.
        left: traffic keeps to the left.
    """

    people: float
    vehicles: float
    mix: tuple[float, float, float, float, float]
    car: tuple[float, float]
    scooter: tuple[float, float]
    clearance: float
    scooter_lane: float | None
    roadway: float
    pavement_riders: float
    unruly: float
    parked: float
    left: bool = False


CITIES: dict[str, City] = {
    "manhattan": City(20, 12, (0.70, 0.08, 0.14, 0.08, 0.0), (7, 2), (7, 2), 2.0, None, 0.05, 0.03, 0.02, 2.0),
    "brooklyn": City(6, 6, (0.75, 0.05, 0.14, 0.06, 0.0), (9, 2), (8, 2), 2.5, None, 0.05, 0.03, 0.01, 2.5),
    "jaipur": City(25, 18, (0.28, 0.04, 0.10, 0.43, 0.15), (6, 2), (7, 2.5), 0.8, None, 0.6, 0.3, 0.1, 1.5, left=True),
    "hefei": City(10, 14, (0.45, 0.06, 0.14, 0.35, 0.0), (10, 2.5), (6.5, 1.5), 3.5, 2.0, 0.05, 0.08, 0.04, 1.0),
}
VEHICLES = ("car", "bus", "bicycle", "scooter", "rickshaw")

#: Scenarios that are no behaviour of their own.
MIXES = ("mixed", "approach", "calm", "static")

#: How much of a city's traffic runs beside a scripted actor.
LIGHT = 0.35


@dataclass(frozen=True)
class Scene:
    """A world with its wearer.

    Attributes:
        world: everything else.
        wearer: who carries the sensor.
        seconds: how long it lasts: shorter than asked for where a vehicle hits the wearer.
        actor: id of the main actor, or -1.
        facts: city, behaviour and so on, in words and numbers.
    """

    world: World
    wearer: Wearer
    seconds: float
    actor: int
    facts: Mapping[str, Any]


def draw_vehicle(city: City, rng: np.random.Generator) -> tuple[str, float]:
    """A class by the city's mix and a speed in m/s; a seventh of the cars are vans."""
    kind = str(rng.choice(VEHICLES, p=city.mix))
    mean, spread = city.scooter if kind in ("scooter", "rickshaw") else city.car
    if kind == "bicycle":
        mean, spread = 4.5, 1.0
    speed = float(np.clip(rng.normal(mean, spread), 2.0, 16.0)) * (0.8 if kind in ("bus", "rickshaw") else 1.0)
    return ("van" if kind == "car" and rng.random() < 1 / 7 else kind), speed


def draw_person(rng: np.random.Generator, runners: float = 0.0) -> tuple[str, float]:
    """``pedestrian`` or (one in eight) ``child``, and a speed in m/s; some run."""
    kind = "child" if rng.random() < 0.125 else "pedestrian"
    speed = rng.uniform(2.4, 3.6) if rng.random() < runners else rng.normal(1.35, 0.2)
    return kind, float(np.clip(speed, 0.7, 3.6))


# ------------------------------------------------------------------------------------------ the street


@dataclass(frozen=True)
class Layout:
    """Where things are across the street; x in metres, the road on ``side`` (+1 right, -1 left).

    Attributes:
        near: |x| of the side of the near lane that the wearer walks beside.
        kerb: x of the wearer's kerb.
        facade: x of the wall on the wearer's side.
        walkways: x from and to of each strip on which people walk.
        parked: x of the row of parked cars.
        props: x of trees, poles and bollards.
        far: |x| of the far kerb.
    """

    side: int
    near: float
    kerb: float
    facade: float
    walkways: tuple[tuple[float, float], ...]
    parked: float
    props: float
    far: float
    roadway: bool


def lay_out(city: City, roadway: bool, side: int, rng: np.random.Generator) -> Layout:
    """Draw the cross-section of a street."""
    half = KINDS["parked"].width / 2
    if roadway:
        near = BODY + min(city.clearance, 0.8)
        facade = -side * rng.uniform(4.2, 5.4)
        # most people walk on the road as the wearer does, some on the pavement behind the parked cars
        strips = (_strip(-side * 0.6, side * 0.5), _strip(-side * 3.2, -side * 3.7))
        row = -side * (BODY + rng.uniform(0.7, 1.0) + half)
        return Layout(side, near, -side * 2.6, facade, strips, row, -side * 2.7, near + 8.5, True)
    base = BODY + (city.scooter_lane or city.clearance)
    edge = float(rng.uniform(1.1, base - 0.3)) if base > 1.4 else base - 0.25
    wide = city.clearance >= 2.0 and not city.scooter_lane and rng.random() < 0.5
    # cars that park along the kerb push the lane away from the wearer
    near = max(BODY + city.clearance, edge + 0.45 + 2 * half) if wide else BODY + city.clearance
    kerb, props = side * edge, side * max(edge - 0.3, 0.62)
    facade = -side * rng.uniform(1.8, 3.0)
    alone = (_strip(facade + side * 0.45, side * max(edge - 0.75, 0.3)),)
    row = side * (edge + 0.15 + half) if wide else side * (near + 7.4)
    return Layout(side, near, kerb, facade, alone, row, props, near + 8.5, False)


def _strip(a: float, b: float) -> tuple[float, float]:
    return min(a, b), max(a, b)


def furnish(city: City, plan: Layout, length: float, rng: np.random.Generator) -> list[Thing]:
    """Kerbs, facades, trees, poles, bollards and parked cars from 12 m behind to ``length`` metres ahead."""
    found: list[Thing] = []
    middle, whole = (length - 12.0) / 2, length + 12.0
    for x in (plan.kerb, plan.side * plan.far):
        found.append(thing("kerb", "street", still(x, middle), length=whole))
    for x, sign in ((plan.facade, np.sign(plan.facade)), (plan.side * (plan.far + 2.5), plan.side)):
        y = -12.0
        while y < length:
            size, deep = rng.uniform(10.0, 24.0), rng.uniform(0.0, 0.6)
            place = still(float(x + sign * (2.0 + deep)), y + size / 2)
            house = {"length": size - rng.uniform(0.0, 0.3), "width": 4.0, "height": rng.uniform(5.0, 14.0)}
            found.append(thing("wall", "street", place, **house, albedo=rng.uniform(0.2, 0.6)))
            y += size
    y = rng.uniform(-8.0, 0.0)
    while y < length:
        kind = str(rng.choice(["tree", "pole", "bollard"], p=[0.5, 0.25, 0.25]))
        found.append(thing(kind, "street", still(plan.props + rng.normal(0.0, 0.04), y), rng.uniform(0.9, 1.2)))
        y += rng.uniform(5.0, 11.0)
    y = rng.uniform(-8.0, 0.0)
    space = 20.0 / city.parked
    while y < length:
        car = {"length": rng.uniform(3.9, 4.9), "albedo": float(rng.choice([0.05, 0.3, 0.6]))}
        found.append(thing("parked", "parked", still(plan.parked + rng.normal(0.0, 0.08), y), **car))
        y += max(space + rng.exponential(space) - space / 2, 5.6) if space > 5.6 else 5.6 + rng.exponential(2.4)
    return found


# --------------------------------------------------------------------------------------------- traffic


def traffic(city: City, plan: Layout, times: Array, share: float, rng: np.random.Generator) -> list[Thing]:
    """Vehicles of the near and the far lane and of a lane of two-wheelers; ``share`` thins them out."""
    # in right-hand traffic, with the road to the right, the near lane comes towards the wearer
    towards = -1.0 if (plan.side > 0) != city.left else 1.0
    drawn: dict[str, list[tuple[str, float, float]]] = {"near": [], "far": [], "two": [], "alone": []}
    for lane in ("near", "far"):
        for when in arrivals(city.vehicles * share * (1.0 if lane == "near" else 0.7), times, rng):
            kind, speed = draw_vehicle(city, rng)
            light = kind in ("bicycle", "scooter")
            rides = light and lane == "near" and rng.random() < city.pavement_riders
            odd = lane == "near" and rng.random() < city.unruly
            own = "alone" if rides or odd else "two" if light and lane == "near" and city.scooter_lane else lane
            drawn[own].append((kind, speed, when))
    found: list[Thing] = []
    for lane, offset, direction in (
        ("near", plan.near, towards),
        ("far", plan.near + 3.4, -towards),
        ("two", BODY + (city.scooter_lane or 0.0), towards),
    ):
        found += platoon(drawn[lane], plan.side, offset, direction, times, rng)
    return found + [odd_one(one, plan, towards, times, rng) for one in drawn["alone"]]


def arrivals(rate: float, times: Array, rng: np.random.Generator) -> Array:
    """Poisson times in seconds, ``rate`` per minute, from 12 s before the scene to 12 s after it."""
    whole = float(times[-1]) + 24.0
    return np.sort(rng.uniform(-12.0, whole - 12.0, rng.poisson(rate / 60.0 * whole)))


def platoon(
    drawn: list[tuple[str, float, float]],
    side: int,
    offset: float,
    direction: float,
    times: Array,
    rng: np.random.Generator,
) -> list[Thing]:
    """Vehicles ``(class, free speed, time at y = 0)`` behind each other in one lane whose edge is at ``offset``."""
    if not drawn:
        return []
    kinds = [kind for kind, _, _ in drawn]
    pace_ = np.array([speed for _, speed, _ in drawn])
    length = np.array([KINDS[kind].length for kind in kinds])
    # the place along the lane at time 0 of who passes y = 0 at `when`
    start = np.array([-speed * when for _, speed, when in drawn])
    order = np.argsort(-start)
    kinds, pace_, length = [kinds[i] for i in order], pace_[order], length[order]
    start = free_headway(start[order], length, pace_)
    places, _ = follow(start, pace_, pace_, length, times)
    found = []
    for n, kind in enumerate(kinds):
        x = side * (offset + KINDS[kind].width / 2 + abs(rng.normal(0.0, 0.25)))
        path = moving(np.full(len(times), x), direction * places[:, n], direction * np.pi / 2)
        found.append(thing(kind, "oncoming" if direction < 0 else "overtaking", path))
    return found


def odd_one(
    one: tuple[str, float, float], plan: Layout, towards: float, times: Array, rng: np.random.Generator
) -> Thing:
    """A rider on the pavement, or a vehicle that drives the wrong way or swerves towards the wearer and back."""
    kind, speed, when = one
    width = KINDS[kind].width
    if kind in ("bicycle", "scooter") and rng.random() < 0.6:
        x, speed = rng.uniform(*plan.walkways[0]), min(speed, 4.0)
        direction = float(rng.choice([-1.0, 1.0]))
        if abs(x) < BODY + width / 2 + 0.15:
            x = np.copysign(BODY + width / 2 + 0.25, x)
        path = moving(np.full(len(times), x), direction * speed * (times - when))
        return thing(kind, "oncoming" if direction < 0 else "overtaking", path)
    lane = plan.near + width / 2
    if rng.random() < 0.5:
        path = moving(np.full(len(times), plan.side * (lane - 0.2)), -towards * speed * (times - when))
        return thing(kind, "oncoming" if towards > 0 else "overtaking", path)
    shift = max(min(plan.near - BODY - 0.2, 1.5), 0.0)
    seconds = max(1.2, swerve_time(shift, KINDS[kind].sideways))
    out = quintic((times - when + seconds + 0.3) / seconds) - quintic((times - when - 0.3) / seconds)
    path = moving(plan.side * (lane - shift * out), towards * speed * (times - when))
    return thing(kind, "oncoming_swerve" if towards < 0 else "overtaking", path)


def crowd(
    city: City, plan: Layout, wearer: Path, times: Array, share: float, posts: Array, rng: np.random.Generator
) -> list[Thing]:
    """People along the walkways. Whom a walking wearer meets comes the other way; a standing one is passed by both.

    Half as many again as the city's rate are drawn, for those who would run into others are left out. What stays
    passes the wearer at about the city's rate, in Jaipur's crowd at two thirds of it.
    """

    def line() -> float:
        strip = plan.walkways[0] if rng.random() < 0.7 else plan.walkways[-1]
        return float(rng.uniform(*strip))

    rate = 1.5 * city.people * share
    rows: list[tuple[str, float, float, float, float]] = []
    mean = float(wearer.y[-1] / times[-1])
    for when in arrivals(rate, times, rng):
        kind, speed = draw_person(rng)
        sign = -1.0 if mean > 0.3 or rng.random() < 0.5 else 1.0
        y = float(np.interp(when, times, wearer.y)) - sign * speed * when
        rows.append((kind, speed, line(), y, sign * np.pi / 2))
    for _ in range(rng.poisson(0.4 * rate / 60.0 / 1.35 * 30.0) if mean > 0.3 else 0):
        kind, speed = draw_person(rng)
        speed = max(speed, 0.9) if mean > 0.5 else speed
        x, y = line(), rng.uniform(-6.0, 24.0)
        if abs(x) < 0.7:  # who walks in the wearer's line keeps the wearer's distance
            speed = max(speed, mean + 0.05) if y > 0 else min(speed, mean - 0.05)
        if speed > 0.2:
            rows.append((kind, speed, x, y, np.pi / 2))
    if not rows:
        return []
    n = len(rows)
    pace_, across, along, heading = (np.array([row[i] for row in rows]) for i in range(1, 5))
    avoids = np.where(rng.random(n) < 0.7, 2.5, 1.4)
    side = rng.choice([-1.0, 1.0], n)
    xs, ys = stroll(np.stack([across, along], axis=1), pace_, heading, avoids, side, wearer, posts, rng)
    names = ["ped_head_on" if h < 0 else "receding" for h in heading]
    return [thing(rows[i][0], names[i], moving(xs[:, i], ys[:, i]), rng.uniform(0.93, 1.06)) for i in range(n)]


# ------------------------------------------------------------------------------------------------ scenes


def build(
    city: str = "jaipur",
    scenario: str = "mixed",
    wearer: str = "walk",
    seconds: float = 8.0,
    seed: int = 0,
    kind: str | None = None,
    speed: float | None = None,
    gap: float | None = None,
    alone: bool = False,
) -> Scene:
    """Draw a scene.

    Args:
        city: a key of :data:`CITIES`, or ``any``.
        scenario: ``mixed``, ``approach``, ``calm``, ``static`` or a behaviour.
        wearer: ``walk``, ``stand``, ``stop_and_go``, ``turn`` or ``any``.
        seconds: length.
        seed: of all chance.
        kind, speed, gap: of the main actor, where they shall not be drawn: class, m/s, metres when they pass.
        alone: leave out all others: kerbs and facades stay.

    Raises:
        ConfigError: an unknown word, an actor that cannot move, or a length outside 1 to 3600 s.
    """
    # the same street for a turning wearer and for one who only stands there
    rng = rng_for(seed, "alert scene", "wearer_turns" if scenario == "static" else scenario)
    for what, value, allowed in (
        ("city", city, (*CITIES, "any")),
        ("scenario", scenario, (*MIXES, *acts.BEHAVIOURS)),
        ("wearer", wearer, (*STATES, "any")),
        ("kind", kind, (None, *KINDS)),
    ):
        if value not in allowed:
            raise ConfigError(unknown(what, str(value), [str(a) for a in allowed if a is not None]))
    if kind is not None and KINDS[kind].rule not in ("vehicle", "person") and scenario != "static_approach":
        raise ConfigError(f"kind: {kind!r} stands still; give a vehicle or a person, or the scenario static_approach.")
    if not 1.0 <= seconds <= 3600.0:
        raise ConfigError(f"seconds: a scene lasts 1 to 3600 s, got {seconds:g}.")
    city = str(rng.choice(list(CITIES))) if city == "any" else city
    state = str(rng.choice(list(STATES), p=list(STATES.values()))) if wearer == "any" else wearer
    known, act = CITIES[city], _act(scenario, rng)
    if act in acts.WALKED_AT and state in ("stand", "turn"):
        state = "walk"  # somebody has to go there
    state = "turn" if act == "wearer_turns" else state
    times = grid(seconds)
    way = walk(pace(state, times, rng_for(seed, "alert wearer")))
    turn = look_around(times, rng_for(seed, "alert turn")) if state == "turn" else np.zeros(len(times))
    roadway, side = bool(rng.random() < known.roadway), int(rng.choice([-1, 1]))
    plan = lay_out(known, roadway, side, rng)
    drawn = _draw_actor(scenario, act, known, plan, rng_for(seed, "alert actor"), kind, speed, gap)
    towards = scenario == "approach" or bool(rng.random() < 0.6)
    stage = acts.Stage(times, way, rng_for(seed, "alert act"), *drawn, side, _meeting(seconds, rng), towards)
    main = acts.BEHAVIOURS[act](stage) if act in acts.BEHAVIOURS else []
    way, main, end = touch(way, main, times, seconds)
    scenery = furnish(known, plan, 55.0 + float(way.y[-1]), rng_for(seed, "alert furniture"))
    posts = np.array([(o.path.x[0], o.path.y[0]) for o in scenery if KINDS[o.kind].round]).reshape(-1, 2)
    if alone:
        scenery = [one for one in scenery if one.kind in ("kerb", "wall")]
    others = [] if alone else _others(scenario, act, known, plan, way, times, posts, seed)
    person = thing("pedestrian", "wearer", way, 1.2)
    things = [*main, *without_meetings([*main, person], [*scenery, *others])]
    facts = {
        "city": city, "scenario": scenario, "behaviour": act, "wearer": state, "roadway": roadway,
        "road_on": "right" if side > 0 else "left", "actor": 1 if main else -1, "contact": bool(end < seconds),
        "actor_class": main[0].kind if main else "",
    }  # fmt: skip
    body = dress(way, turn, times, rng_for(seed, "alert body"))
    return Scene(World(things, times), body, end, 1 if main else -1, facts)


def _act(scenario: str, rng: np.random.Generator) -> str:
    """The behaviour that a scenario means; ``street`` where there is no main actor."""
    if scenario in ("mixed", "static"):
        return "street"
    table = {"approach": acts.APPROACHES, "calm": acts.CALM}.get(scenario)
    return scenario if table is None else str(rng.choice(list(table), p=list(table.values())))


def _meeting(seconds: float, rng: np.random.Generator) -> float:
    return float(seconds * rng.uniform(0.55, 0.8))


def _draw_actor(
    scenario: str, act: str, city: City, plan: Layout, rng: np.random.Generator,
    kind: str | None, speed: float | None, gap: float | None,
) -> tuple[str, float, float]:  # fmt: skip
    """Class, speed and gap of the main actor; what is given stays."""
    calm = scenario == "calm"
    crossing = act in ("crossing_lr", "crossing_rl")
    on_foot = act in acts.PEOPLE or (crossing and (calm or rng.random() < 0.3))
    drawn, pace_ = draw_person(rng, 0.25 if act in ("ped_head_on", "ped_turns_in") else 0.0)
    if kind is None:
        kind, own = (drawn, pace_) if on_foot else draw_vehicle(city, rng)
    else:
        own = pace_ if KINDS[kind].rule == "person" else draw_vehicle(city, rng)[1]
    if KINDS[kind].rule == "person" and act == "receding":
        own = max(own, 1.6)
    if act in ("crossing_lr", "crossing_rl"):
        space = rng.uniform(4.0, 9.0) if calm else rng.uniform(-0.3, 0.3) if rng.random() < 0.25 else rng.uniform(1, 7)
    elif act in ("oncoming", "oncoming_swerve", "turning") and rng.random() < 0.5:
        space = rng.uniform(-0.6, 0.3)  # on a course to hit, or nearly
    else:
        space = (plan.near - BODY) * rng.uniform(0.7, 1.3)
    return kind, own if speed is None else speed, space if gap is None else gap


def touch(way: Path, main: list[Thing], times: Array, seconds: float) -> tuple[Path, list[Thing], float]:
    """End an approach where the actor touches the wearer.

    With a vehicle the scene ends when its face is 0.3 m from the wearer's axis. Two people stop face to face; before
    something static the wearer stops. Nobody walks through anything.
    """
    if not main:
        return way, main, seconds
    actor = main[0]
    rule, static = KINDS[actor.kind].rule, len(actor.path.x) == 1
    reach = 0.3 if rule == "vehicle" else 0.6
    round_width = actor.length if KINDS[actor.kind].round else actor.width
    near = np.hypot(
        *footprint(
            way.x - actor.path.x, way.y - actor.path.y, actor.path.yaw, np.array(actor.length), np.array(round_width)
        )
    )
    if near.min() >= reach:
        return way, main, seconds
    when = int(np.argmax(near < reach)) * STEP
    if rule == "vehicle":
        return way, main, min(max(when, 1.0), seconds)
    way = halt(way, times, when)
    if not static:
        main = [_replaced(actor, halt(actor.path, times, when)), *main[1:]]
    return way, main, seconds


def _replaced(one: Thing, path: Path) -> Thing:
    return Thing(one.kind, one.behaviour, path, one.length, one.width, one.height, one.albedo)


def _others(
    scenario: str, act: str, city: City, plan: Layout, way: Path, times: Array, posts: Array, seed: int
) -> list[Thing]:
    """The city's own traffic: all of it in ``mixed``, little beside an actor, none that comes nearer in ``calm``."""
    if act == "wearer_turns" or scenario == "static":
        return []
    share = 1.0 if scenario == "mixed" else LIGHT
    people = crowd(city, plan, way, times, share, posts, rng_for(seed, "alert crowd"))
    if scenario == "calm":
        # who walks the same way, and is ahead: from behind, even a walker closes
        return [one for one in people if one.behaviour == "receding" and (one.path.y - way.y).min() > 0.5]
    return [*traffic(city, plan, times, share, rng_for(seed, "alert traffic")), *people]
