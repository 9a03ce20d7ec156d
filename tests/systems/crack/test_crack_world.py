"""The drawn world: chance, splits, masks, styles, and what is refused."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from fieldsight import assets
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import world
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.world import backgrounds, distractors, laying, lights, scene, surfaces
from fieldsight.systems.crack.world.cracks import HABITS, KINDS, Crack, inside

ALL = (*world.DOMAINS, *world.UNSEEN)


@cache
def drawn() -> tuple[Sample, ...]:
    return tuple(world.draw_set({"train": 60, "val": 10, "test": 20}, ALL, size=64, seed=0))


def same(a: Sample, b: Sample) -> bool:
    return a.id == b.id and np.array_equal(a.image(), b.image()) and np.array_equal(a.mask(), b.mask())


# ------------------------------------------------------------------------------------------------- one photo


@pytest.mark.parametrize("domain", ALL)
def test_a_photo_has_the_size_asked_for_and_a_thin_mask(domain: str) -> None:
    photo = world.draw_photo(domain, (150, 210), rng_for(1, domain))
    assert photo.image.shape == (150, 210, 3)
    assert photo.image.dtype == np.uint8
    assert photo.mask.shape == (150, 210)
    assert photo.mask.dtype == bool
    assert photo.domain == domain
    assert photo.facts["cracks"] >= 1
    assert photo.facts["light"] in lights.LIGHTS[domain]
    assert photo.facts["real"] is False
    assert 0.001 < photo.mask.mean() < 0.35
    widths = np.concatenate([line[:, 2] for line in photo.centrelines])
    assert all(line.shape[1] == 3 for line in photo.centrelines)
    assert widths.min() >= 0.5
    assert widths.max() <= 8.0


@pytest.mark.parametrize("domain", ALL)
def test_the_same_chance_draws_the_same_photo_and_another_does_not(domain: str) -> None:
    first, again, other = (world.draw_photo(domain, (80, 80), rng_for(s, domain)) for s in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.facts == again.facts
    assert not np.array_equal(first.image, other.image)


def test_a_mask_is_thin_everywhere() -> None:
    import cv2

    for domain in ALL:
        photo = world.draw_photo(domain, (160, 160), rng_for(9, domain))
        core = cv2.erode(photo.mask.astype(np.uint8), np.ones((15, 15), np.uint8))
        assert core.sum() < 0.02 * photo.mask.sum(), domain


def test_cracks_darken_the_surface() -> None:
    darker = []
    for domain in ALL:
        photo = world.draw_photo(domain, (200, 200), rng_for(5, domain))
        grey = photo.image.mean(axis=2)
        near = world.annotate(photo.mask, [], "dilated") & ~photo.mask
        darker.append(grey[near].mean() - grey[photo.mask].mean())
    assert sum(d > 4.0 for d in darker) >= len(ALL) - 1, darker


def test_the_scale_does_not_change_with_the_field() -> None:
    small, large = (world.draw_photo("concrete", (s, s), rng_for(2, "scale")) for s in (128, 900))
    assert large.facts["cracks"] > small.facts["cracks"]
    assert sum(map(len, large.centrelines)) > sum(map(len, small.centrelines))
    assert 0.001 < large.mask.mean() < 0.15


@pytest.mark.parametrize("size", [(32, 32), (64, 300)])
def test_small_and_long_fields_are_drawn(size: tuple[int, int]) -> None:
    for domain in ALL:
        assert world.draw_photo(domain, size, rng_for(0, domain)).mask.shape == size


def test_a_photo_without_cracks_has_an_empty_truth() -> None:
    photo = world.draw_photo("road", (128, 128), rng_for(0, "none"), cracked=False)
    assert not photo.mask.any()
    assert photo.centrelines == []
    assert photo.facts["cracks"] == 0


@pytest.mark.parametrize("domain", ALL)
def test_the_styles_show_one_crack_in_three_ways(domain: str) -> None:
    exact, centre, fat = (world.draw_photo(domain, (180, 180), rng_for(6, domain), style=s) for s in world.STYLES)
    assert np.array_equal(exact.image, centre.image)
    assert np.array_equal(exact.image, fat.image)
    assert np.all(fat.mask[exact.mask])
    assert fat.mask.sum() > 1.5 * exact.mask.sum()
    assert centre.mask.any()
    assert not np.array_equal(centre.mask, exact.mask)
    assert np.mean(fat.mask[centre.mask]) > 0.9


def test_a_centreline_is_three_pixels_wide_and_stops_at_gaps() -> None:
    columns = np.arange(2.0, 38.0)
    points = np.column_stack([np.full(36, 10.0), columns, np.full(36, 5.0)])
    depth = np.where((columns > 15) & (columns < 25), 0.0, 0.5)
    crack = Crack(points, depth, np.zeros(36))
    exact = laying.lay([crack], (20, 40)).cover > 0.5
    mask = world.annotate(exact, [crack], "centreline")
    assert mask[:, 8].sum() == 3
    assert exact[:, 8].sum() == 5
    assert not mask[:, 20].any()
    assert not exact[:, 20].any()
    assert world.annotate(exact, [crack], "dilated")[:, 8].sum() == 11


def test_coverage_is_the_area_under_the_line() -> None:
    line = np.array([[10.0, -5.0, 2.0], [10.0, 45.0, 2.0]])
    cover = laying.cover_of([line], (20, 40))
    assert cover.sum(axis=0) == pytest.approx(np.full(40, 2.0), abs=0.3)
    assert (cover * np.arange(20)[:, None]).sum() / cover.sum() == pytest.approx(10.0, abs=0.2)


def test_a_line_is_cut_where_it_leaves_the_field() -> None:
    rows = np.array([5.0, 5.0, 200.0, 200.0, 6.0, 6.0])
    line = np.column_stack([rows, np.arange(6.0), np.ones(6)])
    assert [len(part) for part in inside(line, (20, 20))] == [2, 2]


def test_no_crack_runs_through_an_iron_cover() -> None:
    solid = np.zeros((20, 40), np.float32)
    solid[:, 15:25] = 1.0
    points = np.column_stack([np.full(38, 10.0), np.arange(1.0, 39.0), np.full(38, 3.0)])
    crack = laying.stopped(Crack(points, np.full(38, 0.5), np.zeros(38)), solid)
    cover = laying.lay([crack], (20, 40)).cover
    assert cover[:, 5].max() > 0.9
    assert cover[:, 18:22].max() == 0.0


# ------------------------------------------------------------------------------------------------- the parts


@pytest.mark.parametrize("name", list(lights.SHINE))
def test_every_light_keeps_the_form_and_is_finite(name: str) -> None:
    ground = np.full((60, 70, 3), 0.5, np.float32)
    lit = lights.SHINE[name](ground, rng_for(0, name))
    assert lit.shape == ground.shape
    assert lit.dtype == np.float32
    assert np.isfinite(lit).all()
    assert not np.array_equal(lit, ground)
    assert np.all(ground == 0.5)


def test_every_distractor_changes_a_picture_and_leaves_its_input_alone() -> None:
    paints = {
        n: p for table in (distractors.BENEATH, distractors.ABOVE) for t in table.values() for n, (p, _) in t.items()
    }
    assert len(paints) >= 12
    for name, paint in paints.items():
        ground = np.full((140, 140, 3), 0.5, np.float32)
        out = paint(ground, rng_for(1, name))
        assert (out.shape, out.dtype) == (ground.shape, np.float32), name
        assert np.isfinite(out).all(), name
        assert np.abs(out - 0.5).max() > 0.01, name
        assert np.all(ground == 0.5), name


def test_every_kind_of_crack_gives_lines_and_every_domain_has_its_tables() -> None:
    grid = surfaces.tile((200, 200), rng_for(0, "grid")).lattice
    for name, kind in KINDS.items():
        lines = kind((200, 200), 2.0, HABITS["tile"], rng_for(2, name), grid)
        assert {line.shape[1] for line in lines} == {3}, name
    tables = (HABITS, lights.LIGHTS, surfaces.SURFACES, distractors.BENEATH, distractors.ABOVE, scene._CAMERA)
    assert all(set(table) == set(ALL) for table in tables)
    assert set().union(*(h.kinds for h in HABITS.values())) == set(KINDS)
    assert set().union(*lights.LIGHTS.values()) == set(lights.SHINE)


def test_every_light_of_a_domain_comes_up() -> None:
    for domain in ALL:
        rng = rng_for(0, domain)
        assert {lights.pick(domain, rng) for _ in range(200)} == set(lights.LIGHTS[domain])


def test_a_stepped_crack_runs_along_the_joints() -> None:
    grid = surfaces.Lattice(0.0, 40.0, 20.0, 20.0, 0.0, 0.0)
    (line,) = KINDS["stepped"]((200, 200), 2.0, HABITS["tile"], rng_for(4, "steps"), grid)
    off_row = np.abs(line[:, 0] - 20.0 * np.round(line[:, 0] / 20.0))
    off_column = np.abs(line[:, 1] - 20.0 * np.round(line[:, 1] / 20.0))
    assert np.mean(np.minimum(off_row, off_column) < 4.0) > 0.75


# ------------------------------------------------------------------------------------------------- sets


def test_a_set_has_the_counts_sizes_and_even_domains() -> None:
    samples = drawn()
    assert Counter(s.split for s in samples) == {"train": 60, "val": 10, "test": 20}
    assert len({s.id for s in samples}) == len(samples)
    assert all(s.image().shape == (64, 64, 3) and s.mask().shape == (64, 64) for s in samples)
    assert Counter(s.domain for s in samples if s.split == "train") == dict.fromkeys(ALL, 10)
    assert set(Counter(s.domain for s in samples if s.split == "val").values()) <= {1, 2}


def test_a_photo_gives_two_to_four_crops_and_stays_in_one_split() -> None:
    samples = drawn()
    splits: dict[str, set[str]] = {}
    for s in samples:
        splits.setdefault(s.group, set()).add(s.split)
        assert s.id.startswith(s.group)
        assert s.domain in s.group
    assert all(len(of) == 1 for of in splits.values())
    sizes = Counter(Counter(s.group for s in samples).values())
    assert max(sizes) <= 4
    assert sizes[2] + sizes[3] + sizes[4] > 0.6 * sum(sizes.values())


def test_crops_of_a_photo_do_not_overlap() -> None:
    for seed in range(60):
        corners = scene._corners(141, 64, rng_for(seed, "corners"))
        assert len(corners) == 4
        assert all(0 <= r <= 77 and 0 <= c <= 77 for r, c in corners)
        for i, a in enumerate(corners):
            for b in corners[i + 1 :]:
                assert abs(a[0] - b[0]) >= 64 or abs(a[1] - b[1]) >= 64


def test_a_seed_draws_the_same_set_and_another_seed_another() -> None:
    count = {"test": 4}
    first = world.draw_set(count, ["asphalt", "plaster"], size=64, seed=1)
    again = world.draw_set(count, ["asphalt", "plaster"], size=64, seed=1)
    other = world.draw_set(count, ["asphalt", "plaster"], size=64, seed=2)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.image(), b.image()) for a, b in zip(first, other, strict=True))


def test_a_split_depends_neither_on_other_splits_nor_on_counts_nor_on_other_domains() -> None:
    whole = {s.id: s for s in drawn()}
    alone = world.draw_set({"val": 4}, ["road", "tile"], size=64, seed=0)
    assert [s.domain for s in alone] == ["road", "tile", "road", "tile"]
    shared = [s for s in alone if s.id in whole]
    assert shared
    assert all(same(s, whole[s.id]) for s in shared)


def test_changing_a_picture_in_hand_does_not_change_the_sample() -> None:
    sample = drawn()[0]
    sample.image()[:] = 0
    assert sample.image().any()


def test_the_style_changes_the_truth_and_not_which_crops_are_cut() -> None:
    exact, fat = (world.draw_set({"train": 4}, ["tile"], size=64, seed=3, style=s) for s in ("exact", "dilated"))
    for a, b in zip(exact, fat, strict=True):
        assert a.id == b.id
        assert np.array_equal(a.image(), b.image())
        assert np.all(b.mask()[a.mask()])


def test_the_share_without_cracks_is_near_the_one_asked_for() -> None:
    empties = np.mean([not s.mask().any() for s in drawn()])
    assert 0.02 <= empties <= 0.16
    none = world.draw_set({"train": 12}, ["concrete"], size=64, seed=0, empty=0.0)
    assert all(s.mask().mean() >= 0.004 for s in none)
    every = world.draw_set({"train": 6}, ["concrete"], size=64, seed=0, empty=1.0)
    assert not any(s.mask().any() for s in every)


def test_the_share_of_crack_is_that_of_crack_photos() -> None:
    shares = np.array([s.mask().mean() for s in drawn()])
    assert 0.015 < shares.mean() < 0.10
    assert shares.max() < 0.5


# ------------------------------------------------------------------------------------------------- real grounds


def test_real_grounds_are_drawn_where_they_are_here() -> None:
    if assets.locate("scikit-image-textures") is None:
        pytest.skip("this scikit-image has other pictures")
    for domain in backgrounds._TRAINABLE:
        ground = backgrounds.surface(domain, (90, 120), rng_for(0, domain))
        assert ground is not None
        assert ground.real
        assert ground.image.shape == (90, 120, 3)
        assert np.isfinite(ground.image).all()
        assert 0.1 < ground.image.mean() < 0.7
    photos = [world.draw_photo("aggregate", (64, 64), rng_for(i, "real"), photos=True) for i in range(20)]
    assert 1 <= sum(p.facts["real"] for p in photos) <= 15


def test_a_domain_without_photos_is_drawn() -> None:
    assert backgrounds.surface("concrete", (64, 64), rng_for(0, "x")) is None
    assert world.draw_photo("plaster", (64, 64), rng_for(0, "x"), photos=True).facts["real"] is False


def test_without_the_asset_there_are_no_heldout_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, "_heldout", tuple)
    assert world.heldout() == []
    with pytest.raises(DataError, match="assets fetch openarena-concrete"):
        world.draw_heldout(2, size=64)


def test_cracks_are_drawn_on_heldout_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = rng_for(0, "grey").integers(90, 160, (200, 200, 3)).astype(np.uint8)
    monkeypatch.setattr(backgrounds, "_heldout", lambda: (("wall", grey),))
    samples = world.draw_heldout(4, size=64, seed=1, empty=0.0)
    assert [s.split for s in samples] == ["test"] * 4
    assert {s.domain for s in samples} == {"heldout"}
    assert all(s.mask().any() for s in samples)
    assert [name for name, _ in world.heldout()] == ["wall"]


def test_a_broken_archive_is_reported(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "pak4-textures.pk3").write_bytes(b"not a zip")
    monkeypatch.setattr(assets, "locate", lambda name: folder)
    backgrounds._heldout.cache_clear()
    try:
        with pytest.raises(DataError, match="Fetch the asset again"):
            world.heldout()
    finally:
        backgrounds._heldout.cache_clear()


# ------------------------------------------------------------------------------------------------- bad input


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'concrete'"):
        world.draw_photo("concrte", (64, 64), rng_for(0))
    with pytest.raises(ConfigError, match="Did you mean 'dilated'"):
        world.draw_photo("road", (64, 64), rng_for(0), style="dilate")
    with pytest.raises(ConfigError, match="Did you mean 'asphalt'"):
        world.draw_set({"train": 1}, ["asphlt"])
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        world.draw_set({"trian": 1})
    with pytest.raises(ConfigError, match="Did you mean 'exact'"):
        world.annotate(np.zeros((4, 4), bool), [], "exct")


@pytest.mark.parametrize("size", [(16, 64), (64, 10000), (64,), (64, 64, 3), (64.5, 64), ("a", "b")])
def test_a_size_that_makes_no_sense_is_refused(size: object) -> None:
    with pytest.raises(ConfigError, match="height and width"):
        world.draw_photo("road", size, rng_for(0))  # type: ignore[arg-type]


def test_every_problem_of_a_set_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        world.draw_set({"train": -1, "val": True}, [], size=8, style="x", empty=2.0)
    assert len(caught.value.problems) == 6
    with pytest.raises(ConfigError, match="give a list"):
        world.draw_set({"train": 1}, "road")
