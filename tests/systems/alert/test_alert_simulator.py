"""The simulator: geometry, motion, sensors, scenes, and that a recording is a function of its arguments."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.alert import sensors
from fieldsight.systems.alert.behaviours import APPROACHES, BEHAVIOURS, CALM
from fieldsight.systems.alert.danger import Judgement, judge_world
from fieldsight.systems.alert.options import MakeDataOptions, SimulateOptions
from fieldsight.systems.alert.recording import Recording, field_of_view
from fieldsight.systems.alert.render import View, render
from fieldsight.systems.alert.scenes import CITIES, MIXES, Scene, build
from fieldsight.systems.alert.sensors import PROFILES, Sensor, dropout, signal, weather_of
from fieldsight.systems.alert.simulate import make_data, simulate, simulate_verb
from fieldsight.systems.alert.wearer import STATES, facing
from fieldsight.systems.alert.world import KINDS, STEP, World, discs, follow, free_headway, grid, meet, still, thing

Array = NDArray[Any]


def camera(height: float = 1.3, x: float = 0.0) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = facing(np.pi / 2)
    pose[:3, 3] = x, 0.0, height
    return pose


def drawn(kind: str, y: float, size: tuple[int, int] = (256, 192), yaw: float = np.pi / 2, **sides: float) -> View:
    world = World([thing(kind, "street", still(0.0, y, yaw), **sides)], grid(1.0))
    return render(world.at(0.0), camera(), field_of_view(*size), size)


# ------------------------------------------------------------------------------------------------ renderer


def test_acceptance_11_a_person_at_five_metres() -> None:
    assert field_of_view(256, 192)[0, 0] == pytest.approx(213.0, abs=0.05)
    view = drawn("pedestrian", 5.0 + 0.175)
    there = view.ids == 1
    assert abs(np.ptp(np.nonzero(there.any(1))[0]) + 1 - 72) <= 1
    assert abs(np.ptp(np.nonzero(there.any(0))[0]) + 1 - 21) <= 1
    assert view.depth[there] == pytest.approx(5.0, abs=1e-3)


def test_the_ground_lies_at_the_bottom_at_its_depth() -> None:
    view, K = drawn("pole", 90.0), field_of_view(256, 192)
    rows = np.arange(100, 192)
    assert view.depth[rows] == pytest.approx(
        np.repeat((1.3 * K[1, 1] / (rows - K[1, 2]))[:, None], 256, axis=1), rel=1e-5
    )
    assert (view.ids[:95] == -1).all()
    assert np.isinf(view.depth[:95]).all()


def test_a_cylinder_is_round() -> None:
    view = drawn("tree", 4.0, length=1.0, height=5.0)
    middle = view.depth[96]
    there = np.isfinite(middle) & (view.ids[96] == 1)
    assert middle[there].min() == pytest.approx(3.5, abs=1e-3)
    # the outermost ray touches at a depth of y (1 - r^2 / y^2)
    assert middle[there].max() == pytest.approx(4.0 - 0.25 / 4.0, abs=0.1)
    assert there.sum() == pytest.approx(2 * 213 * np.tan(np.arcsin(0.5 / 4.0)), abs=1.5)
    assert view.incidence[96][there].max() == pytest.approx(1.0, abs=1e-3)
    assert view.incidence[96][there].min() < 0.3


def test_every_pixel_lies_on_its_object_and_nothing_is_before_it() -> None:
    scene, size = build("jaipur", "mixed", seed=4), (64, 48)
    K, solids, pose = field_of_view(*size), scene.world.at(2.0), scene.wearer.camera(2.0)
    view = render(solids, pose, K, size)
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1) @ pose[:3, :3].T
    known = np.isfinite(view.depth)
    for share, inside in ((1.0, True), (0.997, False)):
        points = pose[:3, 3] + rays[known] * (share * view.depth[known])[:, None]
        holds = np.zeros(len(points), dtype=bool)
        for n in range(len(solids.ids)):
            c, s = np.cos(solids.yaw[n]), np.sin(solids.yaw[n])
            x, y = points[:, 0] - solids.x[n], points[:, 1] - solids.y[n]
            a, b = np.abs(c * x + s * y), np.abs(c * y - s * x)
            margin = 2e-3 if inside else -2e-3
            if solids.round[n]:
                within = np.hypot(a, b) < solids.length[n] / 2 + margin
            else:
                within = (a < solids.length[n] / 2 + margin) & (b < solids.width[n] / 2 + margin)
            within &= (points[:, 2] < solids.height[n] + margin) & (points[:, 2] > -margin)
            holds |= within & ((view.ids[known] == solids.ids[n]) | (not inside))
        if inside:
            assert holds[view.ids[known] > 0].all()
            assert points[view.ids[known] == 0][:, 2] == pytest.approx(0.0, abs=2e-3)
        else:
            assert not holds.any()


def test_sixty_frames_a_second() -> None:
    scene, size = build("manhattan", "mixed", seed=1), (96, 72)
    K, taken = field_of_view(*size), []
    for k in range(12):
        started = time.perf_counter()
        render(scene.world.at(k / 2), scene.wearer.camera(k / 2), K, size)
        taken.append(time.perf_counter() - started)
    assert min(taken) < 1 / 60


# -------------------------------------------------------------------------------------------------- motion


def test_followers_never_run_into_their_leader() -> None:
    rng = rng_for(1, "lane")
    length, wanted = rng.uniform(2, 12, 8), rng.uniform(3, 14, 8)
    wanted[0] = 2.0
    start = free_headway(-np.sort(rng.uniform(0, 120, 8)), length, wanted)
    places, speeds = follow(start, wanted, wanted, length, grid(30.0))
    room = places[:, :-1] - places[:, 1:] - (length[:-1] + length[1:]) / 2
    assert room.min() > 0.3
    assert (speeds >= 0).all()
    assert speeds[-1, 1] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("city", CITIES)
def test_nothing_goes_through_anything(city: str) -> None:
    scene = build(city, "mixed", seed=2)
    solid = [discs(one) for one in scene.world.things if one.kind != "kerb"]
    assert not [1 for i, a in enumerate(solid) for b in solid[:i] if meet(a, b, 0.0)]
    body = np.array([scene.wearer.at(t)[:2] for t in np.arange(0, 8, 0.1)])
    for (places, radius), one in zip(solid, (o for o in scene.world.things if o.kind != "kerb"), strict=True):
        track = places[: 5 * 80] if len(places) == 1 else places[:80]
        gap = np.linalg.norm(track - body[: len(track), None] if len(track) > 1 else track - body[:, None], axis=-1)
        assert gap.min() > radius + 0.2, one


def test_what_a_street_holds_follows_the_city() -> None:
    passing: dict[tuple[str, str], float] = {}
    for city in CITIES:
        for seed in range(3):
            scene = build(city, "mixed", "walk", 12.0, seed)
            for one in scene.world.things:
                if len(one.path.x) > 1 and abs(one.path.x[0]) < 6.5:
                    ahead = one.path.y[:600] - scene.wearer.path.y[:600]
                    key = city, KINDS[one.kind].rule
                    # in 36 s, as a rate per minute
                    passing[key] = passing.get(key, 0.0) + (ahead.min() < 0 < ahead.max()) / 0.6
    assert passing["jaipur", "vehicle"] > passing["brooklyn", "vehicle"]
    assert passing["jaipur", "person"] > passing["brooklyn", "person"]
    assert 6 <= passing["manhattan", "vehicle"] <= 20
    assert 8 <= passing["manhattan", "person"] <= 30
    assert CITIES["jaipur"].mix[3] == 0.43
    assert all(sum(c.mix) == pytest.approx(1.0) for c in CITIES.values())


# ---------------------------------------------------------------------------------------------- behaviours


@cache
def story(behaviour: str, seed: int, city: str = "manhattan", **given: Any) -> tuple[Scene, list[Judgement], Array]:
    scene = build(city, behaviour, "walk", 8.0, seed, **given)
    times = np.arange(0.0, scene.seconds, 0.1)
    judged = [judge_world(scene.world, scene.world.at(t), scene.wearer.at(t)) for t in times]
    return scene, judged, times


def of_actor(name: str, seed: int, what: str) -> Array:
    return np.array([getattr(j, what)[0] for j in story(name, seed)[1]])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", [b for b in BEHAVIOURS if b != "wearer_turns"])
def test_a_behaviour_does_what_its_name_says(name: str, seed: int) -> None:
    scene, judged, times = story(name, seed)
    actor, path = scene.world.things[0], scene.world.things[0].path
    closing, distance = of_actor(name, seed, "closing"), of_actor(name, seed, "range")
    assert actor.behaviour == name
    assert scene.actor == 1
    heading = np.unwrap(np.broadcast_to(path.yaw, scene.world.times.shape))[: int(scene.seconds / STEP)]
    if name in ("oncoming", "oncoming_swerve", "ped_head_on"):
        assert closing[0] > 1.0
        assert distance.min() < 6.0
        assert path.vy[0] < 0
        assert closing[-1] < 0 or distance[-1] < 1.5
    if name == "oncoming_swerve":
        speeds = np.gradient(path.x, STEP)
        assert np.ptp(path.x) > 0.9
        assert np.abs(np.gradient(speeds, STEP)).max() <= KINDS[actor.kind].sideways + 0.1
    if name == "overtaking":
        y = path.y - scene.wearer.path.y
        assert y[0] < 0 < y[int(scene.seconds / STEP)]
        assert closing[0] > 0 > closing[-1]
    if name == "receding":
        assert (closing < 0.1).all()
    if name.startswith("crossing"):
        sign = 1 if name.endswith("lr") else -1
        assert sign * path.x[0] < 0
        assert (sign * path.vx > 0).all()
        assert np.ptp(path.y) < 1e-9
    if name in ("parked", "parked_wearer_walks_at", "static_approach"):
        assert len(path.x) == 1
    if name in ("parked_wearer_walks_at", "static_approach"):
        assert 0.4 < distance.min() < 0.65
        assert abs(closing[-1]) < 0.01
    if name == "pull_out":
        speed = np.hypot(path.vx, path.vy)
        assert speed[: int(0.5 / STEP)].max() < 1e-6
        assert np.abs(np.gradient(path.vy, STEP)).max() == pytest.approx(1.5, abs=0.25)
    if name == "turning":
        assert np.radians(59) < np.ptp(heading) < np.radians(121)
    if name == "ped_turns_away":
        near = [
            j.range[0]
            for j, t in zip(judged, times, strict=True)
            if abs(np.interp(t, scene.world.times[: len(heading)], heading) + np.pi / 2) > 0.02
        ]
        assert np.radians(29) < np.ptp(heading) < np.radians(91)
        assert 2.5 < near[0] < 5.2
    if name == "ped_turns_in":
        hits = of_actor(name, seed, "hit_cv")
        assert not hits[0]
        assert hits.any()
        assert distance.min() < 0.7
    if name == "occluded_emerge":
        hidden, out = seen(scene, 0.5), seen(scene, float(times[distance.argmin()]) - 0.3)
        assert hidden < 0.5 * seen(scene, 0.5, alone=True)
        assert out > 20


def seen(scene: Scene, t: float, alone: bool = False) -> int:
    world = World(scene.world.things[:1], scene.world.times) if alone else scene.world
    return int((render(world.at(t), scene.wearer.camera(t), field_of_view(96, 72), (96, 72)).ids == 1).sum())


@pytest.mark.parametrize("seed", range(4))
def test_a_turning_wearer_sees_a_street_where_nothing_is_dangerous(seed: int) -> None:
    scene, judged, _ = story("wearer_turns", seed)
    assert not any(j.danger.any() for j in judged)
    yaw = scene.wearer.rows[:, 3]
    rate = np.abs(np.gradient(yaw, STEP))
    assert np.radians(29) < np.abs(yaw).max() < np.radians(121)
    assert np.radians(30) < rate.max() < np.radians(181)  # a raised cosine peaks at twice its mean
    quiet = build("manhattan", "static", "stand", 8.0, seed)
    assert [o.path.y[0] for o in quiet.world.things] == [o.path.y[0] for o in scene.world.things]
    assert np.ptp(quiet.wearer.rows[:, 3]) == 0


def test_a_calm_scene_is_calm_and_an_approach_comes_nearer() -> None:
    for seed in range(8):
        scene = build("any", "calm", "any", 8.0, seed)
        assert scene.facts["behaviour"] in CALM
        for t in np.arange(0.0, scene.seconds, 0.2):
            assert not judge_world(scene.world, scene.world.at(t), scene.wearer.at(t)).danger.any(), (seed, t)
    for seed in range(8):
        scene = build("any", "approach", "any", 8.0, seed)
        assert scene.facts["behaviour"] in APPROACHES
        assert scene.actor == 1
        judged = [
            judge_world(scene.world, scene.world.at(t), scene.wearer.at(t)) for t in np.arange(0, scene.seconds, 0.2)
        ]
        assert max(j.closing[0] for j in judged) > 0.5


def test_what_is_asked_of_an_actor_is_done() -> None:
    scene, judged, _ = story("oncoming", 5, "hefei", kind="bus", speed=8.0, gap=1.0)
    assert scene.world.kinds[0] == "bus"
    assert scene.world.at(1.0).vy[0] == pytest.approx(-8.0)
    assert judged[5].gap[0] == pytest.approx(1.0, abs=0.02)
    empty = build("hefei", "oncoming", "walk", 8.0, 5, kind="bus", speed=8.0, gap=1.0, alone=True)
    assert set(empty.world.kinds) == {"bus", "wall", "kerb"}
    assert (empty.world.things[0].path.y == scene.world.things[0].path.y).all()


# ------------------------------------------------------------------------------------------------- sensors


def wall(z: float, shape: tuple[int, int] = (120, 160)) -> View:
    return View(np.full(shape, z, np.float32), np.ones(shape, np.int32), np.ones(shape, np.float32))


def read(name: str, z: float, weather: str = "cloud", albedo: float = 0.5, seed: int = 0) -> sensors.Reading:
    quiet = {"burst": 0.0, "dead": 0.0, "drift": (0.0, 0.0)}
    profile = sensors.Profile(**{**PROFILES[name].__dict__, **quiet})
    return Sensor(profile, weather_of(weather), rng_for(seed, name)).read(wall(z), np.array([0.15, albedo, 1.0]), 0.0)


@pytest.mark.parametrize(("weather", "albedo", "z"), [("night", 0.5, 5.0), ("sun", 0.5, 3.5), ("cloud", 0.05, 2.0)])
def test_drop_out_follows_the_formula(weather: str, albedo: float, z: float) -> None:
    snr = 20 + 10 * np.log10(albedo) - 20 * np.log10(z) - {"night": 0, "cloud": 3, "sun": 6}[weather]
    found = read("phone_lidar", z, weather, albedo)
    assert 1 - found.returned.mean() == pytest.approx(1 / (1 + np.exp(snr / 1.5)), abs=0.015)
    assert np.isfinite(found.depth).all()  # the phone fills what it did not measure
    assert (found.confidence[~found.returned] == 0).all()
    assert (found.confidence[found.returned] >= 1).all()
    assert np.isnan(read("automotive", 40.0, weather, albedo).depth).any()


@pytest.mark.parametrize("z", [1.0, 3.0])
def test_range_noise_of_the_phone(z: float) -> None:
    found = read("phone_lidar", z, "night", 1.0)
    sure = found.returned
    assert found.depth[sure].std() == pytest.approx(0.01 + 0.005 * z + 0.0015 * z * z, rel=0.05)
    assert found.depth[sure].mean() == pytest.approx(z, abs=0.002)


@pytest.mark.parametrize(("z", "sigma"), [(5.0, 0.13), (10.0, 0.52), (15.0, 1.17)])
def test_range_noise_of_stereo(z: float, sigma: float) -> None:
    depth = read("stereo", z, "night", 1.0).depth
    middle = np.nanpercentile(depth, [15.87, 84.13])  # one sigma to each side; the tails are cut at the range
    assert (middle[1] - middle[0]) / 2 == pytest.approx(sigma, rel=0.12)


def test_fog_and_rain() -> None:
    fog = weather_of("fog50")
    assert fog.alpha == pytest.approx(0.0782, abs=1e-4)
    assert np.exp(-2 * fog.alpha * 10.0) == pytest.approx(0.209, abs=5e-4)
    one = np.ones(1)
    lost = signal(10 * one, one, one, 38.0, weather_of("cloud")) - signal(10 * one, one, one, 38.0, fog)
    assert 10 ** (-lost[0] / 10) == pytest.approx(0.209, abs=2e-3)
    assert weather_of("rain").alpha == pytest.approx(0.01 * 10**0.6)
    assert read("automotive", 20.0, "fog20").returned.mean() < 0.05 < read("automotive", 20.0).returned.mean()
    assert dropout(np.array([0.0]))[0] == 0.5
    spread = [np.nanstd(read("automotive", 5.0, w, 1.0).depth) for w in ("night", "rain10")]
    assert spread[1] == pytest.approx(np.hypot(0.025, 0.1), rel=0.05)
    assert spread[0] == pytest.approx(0.025, rel=0.05)


def test_the_phones_far_map_drifts_as_a_whole() -> None:
    eye = Sensor(PROFILES["mono"], weather_of("cloud"), rng_for(1, "drift"))
    scale = [float(np.median(eye.read(wall(8.0, (12, 16)), np.ones(3), k / 10).depth)) / 8.0 for k in range(2000)]
    logs = np.log(scale) - np.mean(np.log(scale))
    assert logs.std() == pytest.approx(0.08, rel=0.35)
    assert np.corrcoef(logs[1:], logs[:-1])[0, 1] == pytest.approx(0.95, abs=0.03)
    phone = Sensor(PROFILES["phone_lidar"], weather_of("night"), rng_for(1, "drift"))
    near, far = ([np.mean(phone.read(wall(z, (12, 16)), np.ones(3), k / 10).depth) for k in range(150)] for z in (3, 9))
    assert np.std(near) / 3 < 0.005
    assert 0.03 < np.std(far) / 9 < 0.09


def test_dots_halve_what_is_thin_and_mixed_pixels_lie_between() -> None:
    depth = np.full((72, 96), 9.0)
    depth[:, 48:50] = 3.0
    sparse = sensors.sparse_dots(depth, 24)
    assert sparse.min() >= 3.0
    assert (sparse < 4.0).sum() < (depth < 4.0).sum()
    mixed = sensors.mixed_pixels(depth, 0.5, rng_for(0, "mixed"))
    changed = mixed != depth
    assert 0.4 < changed[:, 47:51].mean() < 0.6
    assert not changed[:, :46].any()
    assert mixed.min() >= 3.0
    assert mixed.max() <= 9.0


def test_a_range_sensor_gives_the_nearest_upright_surface_in_its_beam() -> None:
    made = simulate(scenario="oncoming", sensor="range", kind="car", speed=6.0, gap=-0.9, seed=3, size=(64, 48))
    assert made.manifest.kind == "range"
    assert made.load(0).depth.shape == (1, 1)
    assert made.load(0).K is None
    assert made.truth is not None
    rows = (made.truth["id"] == 1) & (made.truth["returned"] > 0)
    reach = np.array([made.load(int(i)).depth[0, 0] for i in made.truth["i"][rows]])
    assert rows.sum() > 10
    assert np.median(np.abs(reach - made.truth["range"][rows])) < 0.3


# --------------------------------------------------------------------------------------------- recordings


@cache
def recorded(**given: Any) -> Recording:
    return simulate(**{"size": (48, 36), "seconds": 4.0, **given})


@pytest.mark.parametrize("sensor", PROFILES)
def test_same_arguments_same_bits(sensor: str) -> None:
    given: dict[str, Any] = {"scenario": "approach", "city": "any", "wearer": "any", "sensor": sensor, "seed": 6}
    one, two, other = (simulate(size=(32, 24), seconds=2.0, **{**given, "seed": s}) for s in (6, 6, 7))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.depth.tobytes() == b.depth.tobytes()
        assert a.t == b.t
        assert a.pose is not None
        assert b.pose is not None
        assert a.pose.tobytes() == b.pose.tobytes()
    for table in ("objects", "labels", "truth"):
        first, second = getattr(one, table), getattr(two, table)
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert one.load(0).depth.tobytes() != other.load(0).depth.tobytes()


def test_labels_agree_with_the_truth() -> None:
    made = recorded(scenario="mixed", seed=2, city="manhattan", seconds=6.0)
    truth, labels = made.truth, made.labels
    assert truth is not None
    assert labels is not None
    assert made.objects is not None
    assert len(labels["i"]) == len(made)
    assert labels["t"] == pytest.approx(made.times)
    for i in range(len(made)):
        rows = truth["i"] == i
        assert labels["danger"][i] == truth["danger"][rows].any()
        if labels["danger"][i]:
            assert labels["object_id"][i] in truth["id"][rows & truth["danger"]]
            assert labels["ttc_true"][i] == truth["ttc"][rows & truth["danger"]].min()
    assert labels["danger"].any()
    assert (truth["returned"] <= truth["visible"]).all()
    assert (truth["visible"] <= 48 * 36).all()
    assert truth["visible"].any()
    assert not set(truth["class"]) & {"kerb"}
    assert set(truth["rule"]) <= {"", "swerve", "frontal", "hit_cv"}
    assert {"x", "y", "yaw", "l", "w", "h", "vx", "vy", "behaviour"} <= set(made.objects)


def test_poses_are_rotations_and_show_the_world_where_it_is() -> None:
    exact = simulate(scenario="oncoming", kind="car", gap=1.0, speed=5.0, pose_noise=0.0, sensor="perfect", seed=4)
    noisy = simulate(scenario="oncoming", kind="car", gap=1.0, speed=5.0, sensor="perfect", seed=4)
    objects = exact.objects
    assert objects is not None
    checked = 0
    for i, (frame, other) in enumerate(zip(exact, noisy, strict=True)):
        assert frame.pose is not None
        assert other.pose is not None
        assert frame.K is not None
        turn = frame.pose[:3, :3]
        assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        assert turn[2, 1] < -0.9  # the picture's down is the world's
        assert np.linalg.norm(other.pose[:3, 3] - frame.pose[:3, 3]) < 0.1
        assert np.arccos((np.trace(turn.T @ other.pose[:3, :3]) - 1) / 2) < np.radians(2.0)
        row = np.flatnonzero((objects["i"] == i) & (objects["id"] == 1))
        if not len(row):
            continue
        at = {name: objects[name][row[0]] for name in objects}
        nose = np.array([at["x"], at["y"] - at["l"] / 2, 0.7])
        seen_at = (nose - frame.pose[:3, 3]) @ turn
        u, v = (frame.K @ (seen_at / seen_at[2]))[:2]
        if seen_at[2] > 1.0 and 2 < u < 93 and 2 < v < 69:
            assert frame.depth[round(v), round(u)] == pytest.approx(seen_at[2], abs=0.05)
            checked += 1
    assert checked > 10
    assert recorded(poses=False).load(0).pose is None


def test_the_gait_has_its_numbers() -> None:
    wearer = build("hefei", "static", "walk", 20.0, 1).wearer
    rows = wearer.rows
    speed = wearer.path.vy.mean()
    assert np.ptp(rows[:, 2]) == pytest.approx(2 * np.radians(2.0) * min(speed / 1.35, 1.2), rel=0.02)
    assert np.ptp(rows[:, 1]) == pytest.approx(0.044 * min(speed / 1.35, 1.2), rel=0.02)
    spectrum = np.abs(np.fft.rfft(rows[:, 1] - rows[:, 1].mean()))
    assert np.fft.rfftfreq(len(rows), STEP)[spectrum.argmax()] == pytest.approx(0.9 + 0.75 * speed, abs=0.06)
    assert abs(wearer.height - 1.3) < 0.21


def test_options_name_what_there_is() -> None:
    words = {name: set(get_args(kind)) for name, kind in get_type_hints(SimulateOptions).items()}
    assert words["city"] == {*CITIES, "any"}
    assert words["scenario"] == {*MIXES, *BEHAVIOURS}
    assert words["sensor"] == {*PROFILES, "any"}
    assert words["wearer"] == {*STATES, "any"}
    assert sum(APPROACHES.values()) == pytest.approx(1.0)
    assert sum(CALM.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"city": "paris"}, {"scenario": "flying"}, {"sensor": "sonar"}, {"wearer": "run"}, {"weather": "hail"},
        {"weather": "fog0"}, {"kind": "tank"},
        {"kind": "pole", "scenario": "oncoming"}, {"fps": 0.0}, {"size": (4, 4)}, {"seconds": 0.1},
    ],
)  # fmt: skip
def test_words_that_do_not_exist_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        simulate(**wrong)


def test_the_verbs_write_recordings(tmp_path: Path) -> None:
    from fieldsight.systems.alert import iar

    options = SimulateOptions(n=2, seconds=1.0, size=(32, 24), scenario="oncoming", seed=3)
    written = simulate_verb(tmp_path / "a", options)
    files = sorted((tmp_path / "a").glob("*.iar"))
    assert len(files) == 2
    assert written.facts["frames"] == 20
    again = iar.read(files[0])
    assert again.labels is not None
    assert len(again) == 10
    assert again.manifest.extra["behaviour"] == "oncoming"
    made = make_data(tmp_path / "b", MakeDataOptions(count=3, seconds=1.0, size=(32, 24)))
    assert made.facts["recordings"] == 3
    assert len(list((tmp_path / "b").glob("*.iar"))) == 3
    one = simulate_verb(tmp_path / "one.iar", options.replace(n=1))
    assert one.folder.is_file()
    for out in (None, tmp_path / "two.iar"):
        with pytest.raises(DataError, match="simulate"):
            simulate_verb(out, options)
