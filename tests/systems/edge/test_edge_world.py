"""The drawn worlds: the camera, the z-buffer, tight boxes, flights, chance, splits, and what is refused."""

from __future__ import annotations

import itertools
import pickle
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import DetectionSample
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge import world
from fieldsight.systems.edge.world import (
    arena,
    camera,
    cutouts,
    draw,
    flight,
    mesh,
    raster,
    robots,
    scene,
    sensor,
    shading,
    shadows,
    street,
    textures,
    traffic,
)

STILL = np.zeros((3, 4))
LEVEL = camera.poses(np.array([[0.0, 0.0, 0.1]]), np.zeros(1), np.zeros(1), np.zeros(1))[0]


def owners(solid: mesh.Mesh, pose: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    lens = camera.lens(size, raster.SAMPLES)
    seen = raster.to_camera(solid.corners, np.zeros((len(solid), 3)), pose, STILL, lens, 0.0)
    weights, area = raster.set_up(seen, lens)
    return raster.visible(weights, area, 2 * size[0], 2 * size[1])[0]


def extent(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / raster.SAMPLES


@cache
def drawn(name: str, split: str = "train", count: int = 60, each: int = 6) -> tuple[DetectionSample, ...]:
    return tuple(world.draw_set(name, {split: count}, 96, 3, per_trajectory=each))


# ---------------------------------------------------------------------------------------- camera and target


def test_the_camera_is_the_specified_pinhole() -> None:
    assert camera.focal(640) == 455.0
    assert camera.focal(160) == 455.0 / 4
    assert np.degrees(2 * np.arctan(np.hypot(320, 240) / 455)) == pytest.approx(82.6, abs=0.1)
    point = camera.projected(np.array([0.5, 2.0, 0.1]), LEVEL, camera.lens((480, 640)))
    assert point == pytest.approx([320 + 455 * 0.25, 240.0, 2.0])


def test_the_target_measures_what_the_specification_says() -> None:
    for n in range(4):
        corners = robots.turtlebot(rng_for(n)).mesh().corners.reshape(-1, 3)
        assert np.ptp(corners, axis=0) == pytest.approx(robots.TURTLEBOT, abs=1e-9)
        assert corners[:, 2].min() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("metres", "pixels"), [(0.7, 116), (1.0, 81), (2.0, 41), (3.0, 27)])
def test_the_target_is_as_wide_in_the_picture_as_specified(metres: float, pixels: int) -> None:
    # distance to the nearest point of its wheels, which are its widest part
    bot = robots.turtlebot(rng_for(0)).mesh().placed(0.0, metres + robots.TURTLEBOT[0] / 2, 0.0, -np.pi / 2)
    low = camera.poses(np.array([[0.0, 0.0, 0.033]]), np.zeros(1), np.zeros(1), np.zeros(1))[0]
    box = extent(owners(bot, low, (480, 640)) >= 0)
    assert box[2] - box[0] == pytest.approx(pixels, abs=1.0)
    assert (box[0] + box[2]) / 2 == pytest.approx(320, abs=0.5)


@pytest.mark.parametrize("size", [(120, 160), (96, 96), (240, 320)])
def test_a_box_is_the_projection_of_its_corners(size: tuple[int, int]) -> None:
    cube = mesh.box((0.3, 0.2, 0.25), (0.1, 1.4, 0.2), mesh.Material((1, 1, 1)))
    pose = camera.poses(np.array([[0.1, 0.0, 0.9]]), np.array([0.05]), np.array([-0.5]), np.array([0.03]))[0]
    at = camera.projected(cube.corners.reshape(-1, 3), pose, camera.lens(size))[:, :2]
    expected = np.array([*at.min(axis=0), *at.max(axis=0)])
    assert extent(owners(cube, pose, size) >= 0) == pytest.approx(expected, abs=0.51)


# ------------------------------------------------------------------------------------------------ rasteriser


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_z_buffer_agrees_with_casting_a_ray_through_every_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform((-1, -1, -0.5), (1, 1, 3), (6, 3, 3))  # some reach behind the camera
    lens = np.array([20.0, 12.0, 9.0, 24.0, 18.0])
    weights, area = raster.set_up(corners, lens)
    owner, inverse = raster.visible(weights, area, 18, 24)
    depth = np.full((18, 24), np.inf)
    winner = np.full((18, 24), -1)
    columns, rows = np.meshgrid(np.arange(24) + 0.5, np.arange(18) + 0.5)
    rays = np.stack([(columns - 12) / 20, (rows - 9) / 20, np.ones_like(rows)], axis=-1)
    for n, (a, b, c) in enumerate(corners):
        normal = np.cross(b - a, c - a)
        if normal @ a >= 0:
            continue  # its back
        t = (normal @ a) / (rays @ normal)
        hit = rays * t[..., None]
        inside = t > raster.NEAR
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= np.cross(q - p, hit - p) @ normal >= 0
        nearer = inside & (t < depth)
        depth[nearer], winner[nearer] = t[nearer], n
    differ = owner != winner
    assert differ.mean() < 0.01  # samples that fall on an edge
    same = ~differ & (winner >= 0)
    np.testing.assert_allclose(1 / inverse[same], depth[same], rtol=1e-4)


def test_what_is_nearer_hides_what_is_behind_and_backs_are_not_seen() -> None:
    paint = mesh.Material((1, 1, 1))
    far = mesh.quad((-0.5, 2, -0.4), (0.5, 2, -0.4), (0.5, 2, 0.6), (-0.5, 2, 0.6), paint)
    near = mesh.quad((-0.4, 1, -0.4), (0.0, 1, -0.4), (0.0, 1, 0.6), (-0.4, 1, 0.6), paint)
    away = mesh.quad((0.5, 1, -0.4), (-0.5, 1, -0.4), (-0.5, 1, 0.6), (0.5, 1, 0.6), paint)
    owner = owners(mesh.joined([far, near, away]), LEVEL, (120, 160))
    assert set(np.unique(owner)) == {-1, 0, 1, 2, 3}
    assert extent((owner == 0) | (owner == 1))[0] == 80.0  # the right half is left of it
    assert extent((owner == 2) | (owner == 3))[2] == 80.0


def test_textures_are_perspective_correct() -> None:
    tx = textures.Textures()
    half = np.zeros((64, 64, 3), np.float32)
    half[32:] = 1.0  # the far half is white
    material = mesh.Material((1, 1, 1), tx.add(half), 0.0, 0.0, 1.0)
    floor = mesh.quad((-1, 1, 0), (1, 1, 0), (1, 5, 0), (-1, 5, 0), material)
    pose = camera.poses(np.array([[0.0, 0.0, 1.0]]), np.zeros(1), np.array([-0.4]), np.zeros(1))[0]
    lens = camera.lens((120, 160), 2)
    seen = raster.to_camera(floor.corners, np.zeros((2, 3)), pose, STILL, lens, 0.0)
    weights, area = raster.set_up(seen, lens)
    owner, _ = raster.visible(weights, area, 240, 320)
    surface = shading.Surface(
        floor.corners, floor.normals, floor.uv, floor.texture, floor.paint, np.zeros((2, 3)), *tx.packed()
    )
    ground = shadows.Ground(-2, 0, 1, (6, 4))
    light = shading.Light(np.zeros((0, 8)), np.ones((2, 3)), ground.lit(), ground.frame(), np.zeros((3, 3)))
    image, flow = shading.shade(owner, weights, surface, pose, STILL, lens, light)
    edge = camera.projected(np.array([0.0, 3.0, 0.0]), pose, camera.lens((120, 160)))[1]
    column = image[:, 80, 0]
    white = np.nonzero(column > 0.5)[0]
    assert white.max() + 1 == pytest.approx(edge, abs=1.0)
    assert not flow.any()


def test_a_rolling_shutter_leans_what_passes() -> None:
    post = mesh.box((0.02, 0.02, 1.0), (0.0, 2.0, 0.1), mesh.Material((1, 1, 1)))
    lens = camera.lens((120, 160), 2)
    rate = np.zeros((3, 4))
    rate[0, 3] = 0.2  # everything drifts to the right by 0.2 m a frame
    for readout, lean in ((0.0, 0.0), (0.5, 0.5)):
        seen = raster.to_camera(post.corners, np.zeros((len(post), 3)), LEVEL, rate, lens, readout)
        columns = lens[0] * seen[..., 0] / seen[..., 2]
        rows = lens[0] * seen[..., 1] / seen[..., 2]
        top, bottom = columns[rows < 0].mean(), columns[rows > 0].mean()
        height = (rows[rows > 0].mean() - rows[rows < 0].mean()) / lens[4]
        assert bottom - top == pytest.approx(lens[0] * 0.2 * lean * height / 2, rel=0.03, abs=0.01)


def test_motion_blur_runs_along_the_way_and_keeps_the_light() -> None:
    image = np.zeros((21, 41, 3), np.float32)
    image[10, 20] = 1.0
    flow = np.zeros((21, 41, 2), np.float32)
    assert np.array_equal(shading.smear(image, flow, 0.5, 16), image)
    flow[..., 0] = 16.0
    blurred = shading.smear(image, flow, 0.5, 16)
    assert not blurred[:10].any()
    assert not blurred[11:].any()
    assert 7 <= np.count_nonzero(blurred[10, :, 0]) <= 9
    assert blurred[..., 0].sum() == pytest.approx(1.0, abs=0.15)


def test_textures_repeat_without_a_seam_and_have_all_levels() -> None:
    for n, draw_it in enumerate((textures.noise, textures.mottled)):
        field = draw_it(64, (4, 4), rng_for(n)) if n == 0 else draw_it(64, 4, 3, rng_for(n))
        step = np.abs(np.diff(field, axis=0)).max()
        assert np.abs(field[0] - field[-1]).max() <= 1.5 * step
    tx = textures.Textures()
    picture = rng_for(1).random((16, 16, 3)).astype(np.float32)
    assert tx.add(picture) == 0
    assert tx.add(np.full((8, 8, 3), 0.5, np.float32)) == 1
    atlas, table = tx.packed()
    assert table.tolist() == [[0, 16, 5], [3 * (256 + 64 + 16 + 4 + 1), 8, 4]]
    assert len(atlas) == 3 * (256 + 64 + 16 + 4 + 1 + 64 + 16 + 4 + 1)
    assert (atlas[table[1, 0] :] == 128).all()


def test_a_shadow_lies_on_the_side_away_from_the_lamp() -> None:
    ground = shadows.Ground(-2.0, -2.0, 20.0, (80, 80))
    post = mesh.box((0.2, 0.2, 0.5), (0, 0, 0.25), mesh.Material((1, 1, 1))).corners.reshape(-1, 3)
    lamp = np.array([[-1.0, 0.0, 1.0, 1, 1, 1, 0.0, 1.0]])
    floor = ground.lit()
    shadows.cast(floor, ground, [post], lamp)
    assert floor[0, 40, 40 + 6] == pytest.approx(1 - ground.depth, abs=0.05)  # x = 0.3
    assert floor[0, 40, 40 - 6] > 0.99
    assert floor[0, 40, 40 + 14] > 0.99  # x = 0.7: beyond the shadow's end at 0.6
    assert floor[1, 40, 40] < 0.5
    above = np.array([[0.0, 0.0, 0.2, 1, 1, 1, 1.0, 1.0]])
    assert shadows.thrown(post, above[0]) is None


# ----------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize(("name", "split"), [("arena", "train"), ("street", "val"), ("cutouts", "test")])
def test_boxes_are_tight_around_what_is_visible(name: str, split: str) -> None:
    found = 0
    for frame in (12, 16, 18):
        shot = world.render_frame(name, split, 1, frame, 160, 5)
        least = world.LEAST_SIDE / 4
        expected = []
        for k in np.unique(shot.ids[shot.ids > 0]):
            box = extent(shot.ids == k)
            area = np.count_nonzero(shot.ids == k) / 4
            if min(box[2:] - box[:2]) >= least and area >= least**2 / 2:
                expected.append(box)
        assert sorted(map(tuple, shot.truth.boxes.tolist())) == sorted(map(tuple, np.array(expected).tolist()))
        assert (shot.truth.boxes >= 0).all()
        assert (shot.truth.boxes <= [160, 120, 160, 120]).all()
        found += len(shot.truth)
    assert found


def test_slivers_and_small_parts_get_no_box() -> None:
    ids = np.zeros((80, 80), np.int32)
    ids[0:40, 0:20] = 1  # 10 x 20 px
    ids[50:64, 0:40] = 2  # 20 x 7 px: a side below 8
    ids[50:52, 50:52] = 3
    ids[70:72, 70:72] = 3  # two specks 11 px apart
    ids[0:30, 50:70] = 4  # not looked for
    boxes, labels, who = scene.boxes_of(ids, [0, 0, 0, scene.UNLABELLED], 8.0)
    assert boxes.tolist() == [[0, 0, 10, 20]]
    assert labels.tolist() == [0]
    assert who == [0]


def test_the_robot_changes_the_picture_inside_its_box() -> None:
    shot = world.render_frame("arena", "train", 0, 30, 320, 0)
    assert len(shot.truth)
    built = draw._built("arena", "train", 0, 0)
    quiet = sensor.Sensor(1.0, (1, 1, 1), 0.0, 90, 0.0, 0.0, 0.0, built.sensor.readout)
    fields = dict(vars(built)) | {"sensor": quiet}
    bare = {name: fields[name] for name in scene.Scene.__dataclass_fields__}
    here = scene.draw_view(scene.Scene(**bare), 30, (240, 320), rng_for(0))
    # the same flight without anybody
    gone = scene.draw_view(scene.Scene(**bare | {"actors": []}), 30, (240, 320), rng_for(0))
    difference = np.abs(here.image.astype(int) - gone.image).max(axis=2)
    assert not gone.ids.any()
    mask = here.ids.reshape(240, 2, 320, 2).max(axis=(1, 3)) > 0
    assert difference[mask].mean() > 5 * difference[~mask].mean()


def test_a_larger_frame_has_the_same_boxes() -> None:
    for name in ("arena", "street"):
        small, large = (world.render_frame(name, "train", 2, 40, s, 1) for s in (160, 320))
        assert small.image.shape == (120, 160, 3)
        assert large.image.shape == (240, 320, 3)
        big = small.truth.boxes[small.truth.area > 60]
        assert len(big)
        gaps = np.abs(big[:, None] * 2 - large.truth.boxes[None]).max(axis=2).min(axis=1)
        assert np.quantile(gaps, 0.9) <= 2.5


# --------------------------------------------------------------------------------------------------- flights


@pytest.mark.parametrize("name", ["arena", "street"])
@pytest.mark.parametrize("shift", [False, True])
def test_flights_are_continuous_and_keep_their_bounds(name: str, shift: bool) -> None:
    kinds = set()
    for n in range(12):
        plan = arena.plan if name == "arena" else street.plan
        path = plan(rng_for(7, n), shift)[0]
        kinds.add(path.kind)
        assert flight.FRAMES[0] <= len(path) <= flight.FRAMES[1]
        assert len(path.places) == len(path) + 2
        low, high = {"arena": ((0.5, 1.5), (1.5, 2.2)), "street": ((5, 18), (16, 30))}[name][shift]
        assert path.places[:, 2].min() >= low
        assert path.places[:, 2].max() <= high
        steep, flat = {"arena": (-60, -10), "street": (-65, -15)}[name]
        assert steep - 1e-9 <= np.degrees(path.pitch).min()
        assert np.degrees(path.pitch).max() <= flat + 1e-9
        step = np.linalg.norm(np.diff(path.places, axis=0), axis=1)
        assert step.max() < (0.12 if name == "arena" else 0.8)
        assert step.mean() > 0.004
        for angle in (path.yaw, path.pitch, path.roll):
            assert np.degrees(np.abs(np.diff(angle))).max() < 5.0
    assert kinds == {"straight", "diagonal"}


def test_boxes_move_little_from_frame_to_frame() -> None:
    frames = [world.render_frame("arena", "train", 3, n, 160, 0) for n in range(40, 52)]
    for a, b in itertools.pairwise(frames):
        if len(a.truth) == len(b.truth):
            assert np.abs(a.truth.boxes - b.truth.boxes).max() < 12
    assert max(len(f.truth) for f in frames) >= 1
    assert not np.array_equal(frames[0].image, frames[1].image)


def test_a_tenth_is_background_and_the_rest_shows_something() -> None:
    for name, count in (("arena", 120), ("street", 20), ("cutouts", 60)):
        samples = drawn(name, "train", count, 20 if name != "street" else 10)
        flagged = np.array([bool(s.facts["background"]) for s in samples])
        empty = np.array([len(s.truth()) == 0 for s in samples])
        assert 0.04 <= flagged.mean() <= 0.16, name
        assert empty[flagged].all()
        assert empty[~flagged].mean() <= 0.05


def test_background_share_of_whole_trajectories() -> None:
    for name in ("arena", "street"):
        shares = [draw._flown(name, "test", n, 0)[0].background.mean() for n in range(20)]
        assert np.mean(shares) == pytest.approx(0.10, abs=0.005)


def test_the_shifted_domain_flies_higher() -> None:
    plain, shifted = ([s.facts["altitude"] for s in drawn("arena", split, 24, 3)] for split in ("test", "domain-shift"))
    assert max(plain) <= 1.5 <= min(shifted)
    assert {s.facts["domain"] for s in drawn("arena", "domain-shift", 24, 3)} == {"shift"}


def test_every_class_of_the_street_is_met() -> None:
    labels = np.concatenate([s.truth().labels for s in drawn("street", "train", 20, 10)])
    assert set(labels.tolist()) == set(range(6))
    assert world.CLASSES["street"] == ("person", "car", "van", "truck", "bus", "bicycle")
    assert world.CLASSES["arena"] == ("turtlebot",)


@pytest.mark.parametrize(("kind", "low", "high"), [(0, 1.4, 2.0), (1, 1.35, 1.7), (4, 2.9, 3.6), (5, 0.9, 1.2)])
def test_things_on_the_street_have_real_heights(kind: int, low: float, high: float) -> None:
    for n in range(3):
        corners = traffic.MAKERS[kind](rng_for(n)).mesh().corners.reshape(-1, 3)
        assert low < np.ptp(corners[:, 2]) < high
        assert abs(corners[:, 2].min()) < 0.06


# ---------------------------------------------------------------------------------------- chance and splits


def test_a_frame_is_a_function_of_its_place() -> None:
    for name in world.WORLDS:
        first = world.render_frame(name, "val", 2, 7, 96, 11)
        draw._drawn.cache_clear()
        draw._built.cache_clear()
        draw._flown.cache_clear()
        world.render_frame(name, "val", 2, 3, 96, 11)
        again = world.render_frame(name, "val", 2, 7, 96, 11)
        assert first is not again
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.truth.boxes, again.truth.boxes)
        assert first.facts == again.facts
        others = (("val", 2, 8, 11), ("test", 2, 7, 11), ("val", 3, 7, 11), ("val", 2, 7, 12))
        for other in others[: 2 if name == "street" else 4]:
            changed = world.render_frame(name, *other[:3], 96, other[3])
            assert not np.array_equal(first.image, changed.image), other


def test_a_set_has_what_was_asked_for() -> None:
    samples = world.draw_set("arena", {"train": 50, "val": 10, "domain-shift": 7}, (64, 96), 2)
    assert [s.split for s in samples] == ["train"] * 50 + ["val"] * 10 + ["domain-shift"] * 7
    assert len({s.id for s in samples}) == 67
    assert all(s.size == (64, 96) for s in samples)
    assert samples[3].image().shape == (64, 96, 3)
    assert samples[3].image().dtype == np.uint8
    train = [s.group for s in samples[:50]]
    assert len(set(train)) >= 8  # not fifty frames of one flight
    more = world.draw_set("arena", {"train": 30}, 64, 2, per_trajectory=3)
    assert len({s.group for s in more}) == 10
    assert world.draw_set("arena", {"train": 0}) == []


def test_all_frames_of_a_trajectory_come_once_where_many_are_asked_for() -> None:
    picked = draw._picked("arena", "train", 1000, 0, None)
    assert len(set(picked)) == 1000
    length = world.trajectory_length("arena", "train", 0)
    assert [f for t, f in picked if t == 0] == list(range(length))


def test_splits_share_no_trajectory_background_or_object() -> None:
    for name in world.WORLDS:
        samples = world.draw_set(name, {"train": 60, "val": 20, "test": 20}, 64, 0)
        groups = {split: {s.group for s in samples if s.split == split} for split in ("train", "val", "test")}
        assert not groups["train"] & groups["val"]
        assert not (groups["train"] | groups["val"]) & groups["test"]
    pool = world.drawn_pool(0)
    parts = [pool.part(split, 4) for split in ("train", "val", "test")]
    for side in (0, 1):
        joined = [n for part in parts for n in part[side]]
        assert len(joined) == len(set(joined))
    assert sorted(n for part in parts for n in part[0]) == list(range(len(pool.backgrounds)))
    assert pool.part("domain-shift", 4) == parts[2]


def test_held_out_seeds_are_reserved() -> None:
    assert world.HELD_OUT_SEED == 900_000
    held = world.draw_set("arena", {"test": 4}, 64, world.HELD_OUT_SEED)
    known = world.draw_set("arena", {"test": 4}, 64, 0)
    assert not {s.group for s in held} & {s.group for s in known}


def test_nothing_is_drawn_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = draw._drawn
    monkeypatch.setattr(draw, "_drawn", lambda shot: calls.append(shot) or real(shot))
    samples = world.draw_set("street", {"train": 20}, 64, 21)
    assert not calls
    picture = samples[0].image()
    assert len(calls) == 1
    picture[:] = 0  # a caller's copy
    assert samples[0].image().any()
    truth = samples[0].truth()
    assert samples[0].truth() is truth


def test_samples_travel_to_other_processes() -> None:
    sample = world.draw_set("arena", {"train": 1}, 64, 0)[0]
    copy = pickle.loads(pickle.dumps(sample))  # noqa: S301
    assert np.array_equal(copy.image(), sample.image())
    assert copy.facts == sample.facts


# ------------------------------------------------------------------------------------------ sensor, cut-outs


def test_the_sensor_gives_photos_of_middle_brightness() -> None:
    rng = rng_for(0)
    for level in (0.01, 0.2, 2.0):
        light = np.full((40, 60, 3), level, np.float32)
        photo = sensor.develop(light, sensor.Sensor(1.0, (1, 1, 1), 0.02, 80, 0.0, 0.0, 0.3, 0.3), rng)
        assert photo.shape == (40, 60, 3)
        assert 60 < photo.mean() < 200
    noise = rng.integers(0, 256, (40, 80, 3)).astype(np.uint8)
    starved = sensor.lost_blocks(noise, rng_for(1))
    assert 0.0 < (starved != noise).any(axis=2).mean() < 1.0
    shifts = [sensor.draw_sensor(rng_for(n), n % 2 == 0) for n in range(30)]
    assert all(30 <= s.quality <= 90 for s in shifts)


def own_pool() -> world.Pool:
    grounds = [np.full((50, 70, 3), 40 * n, np.uint8) for n in range(6)]
    square = np.full((30, 20, 4), 255, np.uint8)
    square[:, :, 1:3] = 0
    return world.Pool(grounds, [square], [0], ("thing",))


def test_own_pictures_are_pasted_with_tight_boxes() -> None:
    pool = own_pool()
    samples = world.draw_set("cutouts", {"train": 12}, 64, 0, pool=pool)
    assert any(len(s.truth()) for s in samples)
    for s in samples:
        assert set(s.truth().labels.tolist()) <= {0}
    whole = [s.truth().boxes[0] for s in samples if len(s.truth()) == 1]
    assert whole
    with pytest.raises(ConfigError, match="pool"):
        world.draw_set("arena", {"train": 1}, 64, pool=pool)


def test_a_sprite_is_cut_tight() -> None:
    cut = cutouts.sprite(robots.turtlebot(rng_for(0)), rng_for(1))
    assert cut.dtype == np.uint8
    assert cut.shape[2] == 4
    for edge in (cut[0], cut[-1], cut[:, 0], cut[:, -1]):
        assert edge[:, 3].any()
    assert 0.3 < (cut[..., 3] > 127).mean() < 0.95


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backgrounds": []}, "at least 4"),
        ({"objects": [], "labels": []}, "0 objects"),
        ({"labels": [3]}, "label 3"),
        ({"objects": [np.zeros((5, 5, 3), np.uint8)]}, "object 0"),
        ({"objects": [np.zeros((5, 5, 4), np.uint8)]}, "transparent"),
        ({"backgrounds": [np.zeros((5, 5, 3), np.float32)] * 4}, "background 0"),
    ],
)
def test_a_pool_says_what_is_wrong(change: dict[str, object], words: str) -> None:
    good = vars(own_pool())
    with pytest.raises(DataError, match=words):
        world.Pool(**(good | change))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("arenna", {"train": 1}), "Did you mean 'arena'"),
        (("arena", {"trian": 1}), "Did you mean 'train'"),
        (("arena", {"train": -1}), "whole number from 0"),
        (("arena", {"train": 2.5}), "whole number from 0"),
        (("arena", {"train": 1}, 8), "32 to 4096"),
        (("arena", {"train": 1}, (64, 64, 3)), "32 to 4096"),
        (("arena", {"train": 1}, "big"), "32 to 4096"),
    ],
)
def test_a_set_that_cannot_be_drawn_is_refused(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        world.draw_set(*arguments)  # type: ignore[arg-type]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        world.draw_set("x", {"y": -1}, 64, per_trajectory=0)
    assert len(caught.value.problems) == 4


def test_a_frame_beyond_the_end_is_refused() -> None:
    length = world.trajectory_length("arena", "train", 0)
    with pytest.raises(ConfigError, match=f"frames 0 to {length - 1}"):
        world.render_frame("arena", "train", 0, length, 64)
    with pytest.raises(ConfigError, match="does not exist"):
        world.render_frame("arena", "train", 0, -1, 64)
