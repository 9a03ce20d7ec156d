"""Tiles: everything is seen whole by one, cut boxes join their twins, memory is bounded. And what scores are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import Detections, Picture, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge import scores, tiled
from fieldsight.systems.edge.tiled import find_tiled, merged, pooled, spans

# ------------------------------------------------------------------------------------------------ a drawn world

GROUND = 90


def drawn(size: tuple[int, int], objects: Sequence[Sequence[int]]) -> Picture:
    """Objects ``x1, y1, x2, y2, label``: their colour is their number and label, so that a finder can tell them."""
    picture = np.full((*size, 3), GROUND, np.uint8)
    for n, (x1, y1, x2, y2, label) in enumerate(objects):
        picture[y1:y2, x1:x2] = (n + 1, 200 + label, 0)
    return picture


def finder(least: int = 4, score: Callable[[int, int], float] | None = None) -> Callable[[Picture], Detections]:
    """Finds every object of which ``least`` pixels a side show; the larger the part, the surer."""

    def find(picture: Picture) -> Detections:
        rows = []
        for n in np.unique(picture[..., 0][picture[..., 1] >= 200]):
            y, x = np.nonzero((picture[..., 0] == n) & (picture[..., 1] >= 200))
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            wide, high = box[2] - box[0], box[3] - box[1]
            if min(wide, high) >= least:
                label = int(picture[y[0], x[0], 1]) - 200
                sure = score(wide, high) if score else min(0.95, 0.3 + math.sqrt(wide * high) / 400)
                rows.append((box, sure, label))
        return Detections.of([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])

    return find


def as_set(found: Detections) -> set[tuple[int, ...]]:
    return {(*(round(float(v)) for v in b), int(k)) for b, k in zip(found.boxes, found.labels, strict=True)}


# ------------------------------------------------------------------------------------------------------- tiles


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(32, 700), st.floats(0, 0.9), st.data())
def test_whatever_is_smaller_than_the_overlap_is_whole_in_a_tile(
    length: int, tile: int, overlap: float, data: st.DataObject
) -> None:
    found = spans(length, tile, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(b - a == min(tile, length) for a, b in found)
    assert all(q[0] > p[0] for p, q in pairwise(found))
    shared = min(tile - 1, int(overlap * tile))
    assert all(p[1] - q[0] >= shared for p, q in pairwise(found))
    least = -(-max(0, length - tile) // (tile - shared)) + 1
    assert len(found) == least  # no tile more than needed
    side = data.draw(st.integers(0, min(shared, length)))
    start = data.draw(st.integers(0, length - side))
    assert any(a <= start and start + side <= b for a, b in found)


def test_small_objects_come_out_once_and_exact() -> None:
    rng = rng_for(0, "tiles")
    objects = []
    for row in range(9):
        for column in range(12):
            wide, high = (int(v) for v in rng.integers(8, 30, 2))
            x, y = 60 * column + int(rng.integers(0, 28)), 60 * row + int(rng.integers(0, 28))
            objects.append((x, y, x + wide, y + high, int(rng.integers(0, 3))))
    picture = drawn((540, 720), objects)
    calls: list[tuple[int, ...]] = []

    def find(part: Picture) -> Detections:
        calls.append(part.shape)
        return finder()(part)

    for whole in (False, True):
        calls.clear()
        found = find_tiled(find, picture, 160, 0.2, whole=whole)
        assert as_set(found) == set(objects)
        assert (np.diff(found.scores) <= 0).all()
        tiles = len(spans(540, 160, 0.2)) * len(spans(720, 160, 0.2))
        assert calls == [(160, 160, 3)] * tiles + [(540, 720, 3)] * whole


def test_a_cut_box_that_is_surer_than_its_whole_twin_is_dropped() -> None:
    objects = [(120, 40, 150, 60, 0)]  # tiles end at 128
    found = find_tiled(finder(score=lambda w, h: 0.9 if w < 30 else 0.4), drawn((128, 220), objects), 128, 0.28, False)
    assert as_set(found) == set(objects)
    assert found.scores.tolist() == pytest.approx([0.4])


def test_an_object_larger_than_a_tile_is_joined_or_taken_from_the_whole() -> None:
    objects = [(20, 30, 900, 110, 1), (300, 200, 420, 560, 0), (500, 300, 520, 320, 0)]
    picture = drawn((600, 960), objects)
    for whole in (False, True):
        found = find_tiled(finder(), picture, 256, 0.25, whole=whole)
        assert as_set(found) == set(objects), whole
    # the control: where nothing is joined, the pieces stay
    parts = [
        ((x0, y0, x1, y1), finder()(picture[y0:y1, x0:x1]))
        for y0, y1 in spans(600, 256, 0.25)
        for x0, x1 in spans(960, 256, 0.25)
    ]
    pool = pooled(parts, (600, 960), 256)
    assert pool.cut.any(axis=1).sum() > 6
    apart = tiled.Pool(pool.boxes, pool.scores, pool.labels, pool.source, np.zeros_like(pool.cut), pool.frames)
    assert len(merged(apart)) > len(merged(pool)) == 3


def test_a_small_object_before_a_large_one_of_its_class_stays() -> None:
    large, small = [100, 100, 400, 400], [300, 300, 330, 330]
    parts = [
        ((0, 0, 600, 600), Detections.of([large], [0.9], [0])),  # the whole photo
        ((200, 200, 400, 400), Detections.of([[100, 100, 130, 130], [0, 0, 200, 200]], [0.8, 0.7], [0, 0])),
    ]
    found = merged(pooled(parts, (600, 600), 200))
    assert as_set(found) == {(*large, 0), (*small, 0)}  # the cut part of the large one is gone


def test_boxes_of_one_tile_and_of_other_classes_are_left_as_they_are() -> None:
    near = Detections.of([[10, 10, 50, 50], [14, 10, 54, 50], [10, 10, 50, 50]], [0.9, 0.8, 0.7], [0, 0, 1])
    empty = Detections.of([], [], [])
    assert len(merged(pooled([((0, 0, 100, 100), near), ((80, 0, 180, 100), empty)], (100, 180), 100))) == 3
    again = Detections.of(near.boxes[:1], [0.95], [0])
    assert len(merged(pooled([((0, 0, 100, 100), near), ((0, 0, 180, 100), again)], (100, 180), 100))) == 2
    assert len(merged(pooled([((0, 0, 100, 100), empty)], (100, 180), 100))) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(64, 140), st.floats(0.3, 0.6), st.booleans())
def test_any_scene_of_separate_objects_comes_back(seed: int, tile: int, overlap: float, whole: bool) -> None:
    rng = rng_for(seed, "scene")
    objects = []
    for row in range(2):
        for column in range(4):
            wide, high = (int(v) for v in rng.integers(12, 70, 2))
            x, y = 80 * column + int(rng.integers(0, 80 - wide)), 80 * row + int(rng.integers(0, 80 - high))
            objects.append((x, y, x + wide, y + high, 0))
    found = find_tiled(finder(least=1), drawn((160, 320), objects), tile, overlap, whole=whole)
    assert as_set(found) == set(objects)


def test_a_photo_that_fits_is_looked_at_once_as_it_is() -> None:
    seen: list[Picture] = []

    def find(part: Picture) -> Detections:
        seen.append(part)
        return finder()(part)

    picture = drawn((90, 100), [(5, 5, 20, 20, 0)])
    assert len(find_tiled(find, picture, 100, 0.2)) == 1
    assert len(seen) == 1
    assert np.array_equal(seen[0], picture)


class Endless:
    """A photo of 1.6 gigapixels that exists only where it is read."""

    shape = (40_000, 40_000)

    def __init__(self) -> None:
        self.largest = 0

    def __call__(self, rows: slice, columns: slice) -> Picture:
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        self.largest = max(self.largest, high * wide)
        picture = np.full((high, wide, 3), GROUND, np.uint8)
        for n, (x, y) in enumerate([(100, 200), (39_950, 39_950), (20_010, 5_000)]):
            x0, y0 = x - columns.start, y - rows.start
            if x0 < wide and y0 < high and x0 + 30 > 0 and y0 + 30 > 0:
                picture[max(0, y0) : max(0, y0 + 30), max(0, x0) : max(0, x0 + 30)] = (n + 1, 200, 0)
        return picture


def test_a_huge_photo_is_read_block_by_block() -> None:
    source, asked = Endless(), [0]

    def find(part: Picture) -> Detections:
        asked[0] += 1
        return finder()(part) if (part[::8, ::8, 1] >= 200).any() else Detections.of([], [], [])

    found = find_tiled(find, source, 4096, 0.05, whole=False)
    assert as_set(found) == {(x, y, x + 30, y + 30, 0) for x, y in [(100, 200), (39_950, 39_950), (20_010, 5_000)]}
    assert asked[0] == len(spans(40_000, 4096, 0.05)) ** 2
    assert source.largest == 4096**2


def test_the_whole_photo_is_shrunk_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "BAND", 64 * 3000)
    picture = drawn((2000, 3000), [(600, 300, 2400, 1500, 2)])
    largest = [0]

    class Reader:
        shape = (2000, 3000, 3)

        def __call__(self, rows: slice, columns: slice) -> Picture:
            part = picture[rows, columns]
            largest[0] = max(largest[0], part.shape[0] * part.shape[1])
            return part

    found = tiled.find_whole(finder(), Reader(), 1024)
    np.testing.assert_allclose(found.boxes, [[600, 300, 2400, 1500]], atol=4)
    assert largest[0] <= 70 * 3000
    small = tiled.shrunk(Reader(), 1024)
    assert small.shape == (683, 1024, 3)
    assert abs(float(small.mean()) - float(picture.mean())) < 0.5


def test_the_best_are_kept() -> None:
    picture = drawn((100, 400), [(40 * k + 3, 10, 40 * k + 13 + k, 20 + k, 0) for k in range(8)])
    every = find_tiled(finder(), picture, 100, 0.3)
    best = find_tiled(finder(), picture, 100, 0.3, most=3)
    assert len(every) == 8
    assert np.array_equal(best.boxes, every.boxes[:3])


def test_tiles_that_make_no_sense() -> None:
    picture = drawn((64, 64), [])
    for bad, words in (
        ({"tile": 16}, "tile is 16"),
        ({"tile": 64, "overlap": 1.0}, "overlap is 1.0"),
        ({"tile": 64, "overlap": math.nan}, "overlap is nan"),
        ({"tile": 64, "iou": 2}, "iou is 2"),
        ({"tile": 64, "most": 0}, "most is 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            find_tiled(finder(), picture, **bad)
    with pytest.raises(DataError, match="no pixels"):
        find_tiled(finder(), np.zeros((0, 5, 3), np.uint8), 64)
    with pytest.raises(DataError, match="uint8 is wanted"):
        find_tiled(finder(), np.zeros((80, 80), np.uint8), 64)
    broken = lambda part: Detections.of([[0, 0, math.nan, 1]], [0.5], [0])  # noqa: E731
    with pytest.raises(DataError, match="not finite"):
        find_tiled(broken, drawn((80, 80), []), 64)


# ------------------------------------------------------------------------------------------------------ scores


def outcomes(count: int, hot: float, shift: float = 0.0, seed: int = 0) -> scores.Scored:
    """Boxes whose true chance is sigmoid(logit(score) / hot + shift)."""
    rng = rng_for(seed, "scores")
    said = rng.uniform(0.02, 0.98, count)
    chance = 1 / (1 + np.exp(-(np.log(said / (1 - said)) / hot + shift)))
    return scores.Scored(said, rng.uniform(size=count) < chance)


@pytest.mark.parametrize("hot", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_the_error_falls(hot: float) -> None:
    fitted, fresh = scores.fitted(outcomes(20_000, hot)), outcomes(20_000, hot, seed=1)
    assert fitted.temperature == pytest.approx(hot, rel=0.06)
    assert fitted.note == ""
    after = scores.corrected(fresh, fitted)
    assert scores.reliability(after).ece < 0.02
    if hot != 1.0:
        assert scores.reliability(fresh).ece > 0.05
        assert scores.likelihood(after) < scores.likelihood(fresh)


def test_an_offset_is_found_where_it_is_asked_for() -> None:
    boxes, fresh = outcomes(20_000, 1.5, -1.0), outcomes(20_000, 1.5, -1.0, seed=1)
    both, alone = scores.fitted(boxes, offset=True), scores.fitted(boxes)
    assert (both.temperature, both.offset) == (pytest.approx(1.5, rel=0.06), pytest.approx(-1.0, abs=0.06))
    assert alone.offset == 0.0
    errors = [scores.reliability(scores.corrected(fresh, t)).ece for t in (both, alone)]
    assert errors[0] < 0.02 < errors[1]


def test_the_fit_is_the_minimum() -> None:
    boxes = outcomes(500, 2.0)
    best = scores.fitted(boxes)
    least = scores.likelihood(scores.corrected(boxes, best))
    for t in np.geomspace(0.3, 8, 60):
        assert least <= scores.likelihood(scores.corrected(boxes, scores.Temperature(float(t)))) + 1e-9


def test_calibration_error_by_hand() -> None:
    boxes = scores.Scored(np.array([0.1, 0.1, 0.9, 0.9, 0.9, 0.9]), np.array([0, 0, 1, 1, 1, 0], bool))
    found = scores.reliability(boxes)
    assert found.ece == pytest.approx((2 * 0.1 + 4 * 0.15) / 6)
    assert found.worst == pytest.approx(0.15)
    assert (found.boxes, found.right, len(found.rows)) == (6, 3, 15)
    assert [r["boxes"] for r in found.rows if r["boxes"]] == [2, 4]
    assert found.rows[0] == {"from": 0.0, "to": round(1 / 15, 6), "boxes": 0, "score": None, "right": None}
    edges = scores.reliability(scores.Scored(np.array([0.0, 0.5, 0.5001, 1.0]), np.ones(4, bool)), 2)
    assert [r["boxes"] for r in edges.rows] == [2, 2]
    assert json.loads(json.dumps(found.to_dict()))["bins"] == 15
    assert len(found.table().rows) == 15


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.integers(1, 20))
def test_calibration_error_is_a_share_and_order_is_kept(rows: list[tuple[float, bool]], bins: int) -> None:
    boxes = scores.Scored(np.array([r[0] for r in rows]), np.array([r[1] for r in rows], bool))
    found = scores.reliability(boxes, bins)
    assert sum(r["boxes"] for r in found.rows) == len(rows)
    assert (found.ece is None) == (not rows)
    if found.ece is not None:
        assert 0 <= found.ece <= found.worst + 1e-12 <= 1 + 1e-12
    fitted = scores.fitted(boxes, offset=True, least=1)
    after = fitted(boxes.scores)
    assert ((after >= 0) & (after <= 1)).all()
    order = np.argsort(boxes.scores, kind="stable")
    assert (np.diff(after[order]) >= 0).all()


def test_from_boxes_and_truth() -> None:
    truth = Truth.of([[0, 0, 10, 10], [50, 50, 90, 90]], [0, 1], ignore=[False, True])
    found = Detections.of(
        [[0, 0, 10, 9], [0, 0, 10, 10], [1, 1, 11, 11], [52, 50, 90, 90]], [0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1]
    )
    boxes = scores.scored([(found, truth), (Detections.of([], [], []), truth)])
    assert sorted(zip(boxes.scores.round(4).tolist(), boxes.right.tolist(), strict=True)) == [
        (0.7, False),  # the object was taken by the better one
        (0.8, False),  # of another class
        (0.9, True),
    ]  # and what hits an ignored region does not count
    assert scores.evaluate([(found, truth)]).boxes == 3
    assert scores.evaluate([(found, truth)], scores.Temperature(2.0)).ece != scores.evaluate([(found, truth)]).ece
    warm = scores.Temperature(2.0).apply(found)
    assert warm.scores[0] == pytest.approx(0.75)
    assert np.array_equal(warm.boxes, found.boxes)


def test_empty_cases_are_told() -> None:
    nothing = scores.reliability(scores.scored([]))
    assert (nothing.ece, nothing.boxes) == (None, 0)
    assert "no box" in nothing.note
    assert "no box" in nothing.table().title
    assert scores.likelihood(scores.scored([])) is None
    few = scores.fit([(Detections.of([[0, 0, 5, 5]], [0.5], [0]), Truth.of([], []))])
    assert few.note.startswith("Only 1 boxes")
    assert few([0.2, 0.9]).tolist() == [0.2, 0.9]
    for right in (True, False):
        same = scores.fitted(scores.Scored(np.linspace(0.1, 0.9, 40), np.full(40, right)))
        assert "nothing can be fitted" in same.note
        assert same.temperature == 1.0
    reversed_ = scores.fitted(scores.Scored(np.linspace(0.1, 0.9, 40), np.arange(40) < 20))
    assert "at its limit" in reversed_.note


def test_bad_scores_and_files() -> None:
    truth = Truth.of([], [])
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(DataError, match="must be 0 to 1"):
            scores.scored([(Detections.of([[0, 0, 1, 1]], [bad], [0]), truth)])
    with pytest.raises(DataError, match="count from 0, got -1"):
        scores.scored([(Detections.of([[0, 0, 1, 1]], [0.5], [-1]), truth)])
    far = Detections.of([[0, 0, 9, 9]], [0.5], [2**60])
    assert scores.scored([(far, Truth.of([[0, 0, 9, 9]], [2**60]))]).right.tolist() == [True]
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="temperature above 0"):
            scores.Temperature(bad)
    with pytest.raises(ConfigError, match="bins"):
        scores.evaluate([], bins=0)
    kept = scores.Temperature(1.7, -0.2, 55, "x")
    assert scores.Temperature.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept
    for broken in ({}, None, [], {"temperature": "hot"}, {"temperature": -1}, {"temperature": 1, "boxes": math.inf}):
        with pytest.raises(DataError, match="Fit it anew"):
            scores.Temperature.from_dict(broken)
