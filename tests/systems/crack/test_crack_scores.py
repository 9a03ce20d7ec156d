"""Pixel scores, their empty cases and tolerances, pooling, and the comparison of methods: acceptance 8."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt
from scipy.stats import wilcoxon

from fieldsight.errors import DataError
from fieldsight.systems.crack import scores
from fieldsight.systems.crack.pooling import Pool, compare
from fieldsight.systems.crack.scores import Counts

EMPTY = np.zeros((16, 16), dtype=bool)
mask = arrays(np.bool_, (9, 11), elements=st.sampled_from([False, False, True]))


def bar(row: int, length: int = 20, width: int = 1, size: int = 32) -> np.ndarray:
    found = np.zeros((size, size), dtype=bool)
    found[row : row + width, 4 : 4 + length] = True
    return found


def test_numbers_of_the_specification() -> None:
    one = Counts(30, 10, 20, 940)
    assert one.image() == pytest.approx(
        {"iou": 0.5, "f1": 0.666667, "precision": 0.75, "recall": 0.6, "miou": 0.734536}, abs=5e-7
    )
    assert one.pooled() == pytest.approx({f"pooled_{name}": value for name, value in one.image().items()})
    pool = Pool()
    pool.add_counts("b", Counts(9, 0, 1, 0))
    pool.add_counts("a", Counts(30, 10, 20, 0))
    assert pool.ids == ["a", "b"]
    found = pool.compute()
    assert found["pooled_iou"] == pytest.approx(0.557143, abs=5e-7)
    assert found["iou"] == pytest.approx(0.70)
    assert found["pooled_f1"] == pytest.approx(2 * found["pooled_iou"] / (1 + found["pooled_iou"]))


def test_empty_cases_of_one_photo() -> None:
    some = EMPTY.copy()
    some[3:6, 2:12] = True
    both = scores.measure_image(EMPTY, EMPTY)
    for name in ("iou", "f1", "miou", "iou_tol2", "f1_tol2", "centreline_iou", "cldice", "boundary_f1"):
        assert both[name] == 1
    for name in ("precision", "recall", "length_error", "width_error"):
        assert math.isnan(both[name])
    for prediction, truth in ((some, EMPTY), (EMPTY, some)):
        one = scores.measure_image(prediction, truth)
        for name in ("iou", "f1", "precision", "recall", "iou_tol2", "f1_tol2", "centreline_iou", "cldice"):
            assert one[name] == 0
        assert one["boundary_f1"] == 0
        assert math.isnan(one["width_error"])
    assert scores.measure_image(EMPTY, some)["length_error"] == 1
    assert math.isnan(scores.measure_image(some, EMPTY)["length_error"])
    assert both.keys() == one.keys() == scores.measure_image(some, some).keys()


def test_pooled_empty_cases_are_zero_with_a_note() -> None:
    nothing = Counts(0, 0, 0, 100)
    assert nothing.pooled()["pooled_iou"] == 0
    assert nothing.pooled()["pooled_miou"] == 0.5
    assert len(nothing.notes()) == 3
    assert Counts(0, 0, 5, 95).notes()[0].startswith("No pixel was predicted")
    assert not Counts(1, 1, 1, 1).notes()
    pool = Pool()
    for id, counts in {
        "a": nothing,
        "b": Counts(5, 5, 0, 90),
        "c": Counts(0, 5, 0, 95),
        "d": Counts(0, 0, 5, 95),
    }.items():
        pool.add_counts(id, counts)
    assert [note[:6] for note in pool.notes()] == ["1 of 4"] * 3
    found = pool.compute()
    assert found["iou"] == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert found["precision"] == pytest.approx((0.5 + 0 + 0) / 3)  # the photo without any crack is left out
    assert Pool().compute()["pooled_iou"] == 0


def test_tolerance_is_a_distance_between_pixel_centres() -> None:
    truth, prediction = bar(10), bar(13)
    sweep = scores.tolerance_sweep(prediction, truth)
    assert [sweep[t].f1 for t in (0.0, 1.0, 2.0)] == [0, 0, 0]
    assert [sweep[t].iou for t in (3.0, 4.0, 5.0)] == [1, 1, 1]
    # half of a prediction twice as long as the truth: 20 + 2 pixels of 40 lie within 2 pixels of it
    long = scores.matched(bar(10, 26), bar(10, 13), 2.0)
    assert (long.right, long.wrong, long.found, long.missed) == (15, 11, 13, 0)
    assert long.precision == pytest.approx(15 / 26)
    assert long.recall == 1
    assert long.iou == pytest.approx(13 / 24)
    diagonal = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    diagonal[0][2, 2] = diagonal[1][4, 4] = True
    assert scores.matched(*diagonal, 2.8).f1 == 0
    assert scores.matched(*diagonal, 2.83).f1 == 1


@settings(max_examples=60, deadline=None)
@given(mask, mask)
def test_tolerant_scores_begin_at_the_plain_ones_and_never_fall(prediction: np.ndarray, truth: np.ndarray) -> None:
    counts = Counts.of(prediction, truth)
    assert sum(counts.values().values()) == truth.size
    plain = counts.image()
    assert plain["f1"] == pytest.approx(2 * plain["iou"] / (1 + plain["iou"]))
    sweep = list(scores.tolerance_sweep(prediction, truth).values())
    assert sweep[0].iou == pytest.approx(plain["iou"])
    assert sweep[0].f1 == pytest.approx(plain["f1"])
    for name in ("iou", "f1", "precision", "recall"):
        values = [getattr(m, name) for m in sweep]
        assert values == sorted(values)
    if truth.any():
        assert scores.distance_to(truth) == pytest.approx(distance_transform_edt(~truth), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(mask, mask)
def test_every_number_of_a_photo_lies_where_it_should(prediction: np.ndarray, truth: np.ndarray) -> None:
    found = scores.measure_image(prediction, truth)
    for name in ("iou", "f1", "miou", "iou_tol2", "f1_tol2", "centreline_iou", "cldice", "boundary_f1"):
        assert 0 <= found[name] <= 1
    assert all(type(value) is float for value in found.values())
    same = scores.measure_image(truth, truth)
    assert same["iou"] == same["iou_tol2"] == same["centreline_iou"] == same["cldice"] == same["boundary_f1"] == 1
    if truth.any():
        assert same["length_error"] == same["width_error"] == 0


def test_lengths_and_widths() -> None:
    line = np.zeros((40, 40), dtype=bool)
    line[5, 3:33] = True
    assert scores.skeleton_length(line) == 30
    assert scores.skeleton_length(np.eye(21, dtype=bool)) == pytest.approx(1 + 20 * math.sqrt(2))
    corner = np.zeros((10, 10), dtype=bool)
    corner[2, 2:6] = corner[2:8, 5] = True  # 9 pixels round a corner: the short cut over it is no way
    assert scores.skeleton_length(corner) == 9
    ring = np.zeros((10, 10), dtype=bool)
    ring[2, 2:7] = ring[6, 2:7] = ring[2:7, 2] = ring[2:7, 6] = True
    assert scores.skeleton_length(ring) == 16
    dot = np.zeros((3, 3), dtype=bool)
    dot[1, 1] = True
    assert scores.skeleton_length(dot) == 1
    wide, narrow = bar(10, 24, 5, 40), bar(12, 24, 1, 40)
    found = scores.measure_image(wide, narrow)
    assert found["width_error"] == pytest.approx(4, rel=0.3)  # thinning shortens the ends of the wide one
    assert found["length_error"] < 0.25
    assert found["centreline_iou"] == 1
    assert found["cldice"] > 0.9
    assert scores.measure_image(bar(12, 12, 1, 40), narrow)["length_error"] == pytest.approx(0.5)


def test_a_small_block_keeps_a_centreline() -> None:
    block = np.zeros((6, 6), dtype=bool)
    block[2:4, 2:4] = True
    assert scores.skeleton(block).any()


def test_the_edge_of_the_picture_is_no_outline() -> None:
    half = np.zeros((8, 8), dtype=bool)
    half[:4] = True
    assert scores.outline(half).sum() == 8
    assert not scores.outline(np.ones((8, 8), dtype=bool)).any()


def random_pool(seed: int, n: int = 40, better: float = 0.0, reverse: bool = False) -> Pool:
    pool = Pool()
    for i in reversed(range(n)) if reverse else range(n):
        rng = np.random.default_rng(i)
        truth = rng.random((16, 16)) < 0.2
        noise = np.random.default_rng([i, 9 + seed]).random((16, 16)) < 0.3 - better
        pool.add(f"{i:03d}", truth ^ noise, truth, group=f"photo {i // 4}")
    return pool


def test_order_and_shards_change_nothing() -> None:
    whole, back = random_pool(0), random_pool(0, reverse=True)
    assert back.compute() == whole.compute()
    parts = random_pool(0, 3)
    rest = Pool()
    for i in range(3, 40):
        rng = np.random.default_rng(i)
        truth = rng.random((16, 16)) < 0.2
        rest.add(f"{i:03d}", truth ^ (np.random.default_rng([i, 9]).random((16, 16)) < 0.3), truth, f"photo {i // 4}")
    merged = rest.merge(parts)
    assert merged.compute() == whole.compute()
    assert merged.interval() == whole.interval()
    with pytest.raises(DataError):
        merged.add("000", EMPTY, EMPTY)


def test_intervals_of_pooled_differences() -> None:
    a, b, c = random_pool(0), random_pool(1, better=0.05), random_pool(2)
    found = {row.name: row for row in compare(a, {"better": b, "same": c, "itself": a}, draws=4000)}
    gain = found["better"].pooled["pooled_iou"]
    assert gain.value == pytest.approx(b.compute()["pooled_iou"] - a.compute()["pooled_iou"])
    assert 0 < gain.low < gain.value < gain.high
    assert found["same"].pooled["pooled_iou"].low < 0 < found["same"].pooled["pooled_iou"].high
    assert (found["itself"].pooled["pooled_f1"].low, found["itself"].pooled["pooled_f1"].high) == (0, 0)
    assert found["itself"].images.p == found["itself"].p_holm == 1
    difference = b.items.column("iou") - a.items.column("iou")
    assert found["better"].images.p == pytest.approx(float(wilcoxon(difference).pvalue))
    assert found["better"].p_holm == pytest.approx(3 * found["better"].images.p)
    assert compare(a, {"better": b}, draws=4000)[0].pooled == found["better"].pooled


def test_the_bootstrap_is_the_one_of_the_textbook() -> None:
    pool, counts = random_pool(0, 12), random_pool(0, 12).counts()
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(12, size=(20_000, 12))].sum(axis=1)
    by_hand = np.percentile(drawn[:, 0] / drawn[:, :3].sum(axis=1), [2.5, 97.5])
    found = pool.interval("pooled_iou")
    assert (found.low, found.high) == pytest.approx(by_hand, abs=2e-3)
    assert found.n == 12
    assert pool.interval("pooled_iou", by="group").n == 3
    assert pool.interval("pooled_iou", by="group").value == pytest.approx(found.value)


def test_groups_widen_the_interval_of_crops_that_are_alike() -> None:
    pool = Pool()
    for i in range(40):
        tp = 10 + 10 * (i // 4)  # four equal crops of each of ten photos
        pool.add_counts(f"{i:02d}", Counts(tp, 110 - tp, 0, 0), f"photo {i // 4}")
    crops, photos = pool.interval(by="image"), pool.interval(by="group")
    assert photos.high - photos.low > 1.5 * (crops.high - crops.low)
    assert compare(pool, {"x": pool}, by="group")[0].pooled["pooled_iou"].n == 10


def test_what_does_not_fit_is_refused() -> None:
    for prediction, truth in ((EMPTY.astype(np.uint8), EMPTY), (EMPTY, EMPTY[:8]), (EMPTY[0], EMPTY[0]), (None, EMPTY)):
        with pytest.raises(DataError):
            scores.measure_image(prediction, truth)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        scores.tolerance_sweep(EMPTY, EMPTY, [-1.0])
    with pytest.raises(DataError, match="lack tp"):
        Pool().add_values("a", {"iou": 1.0})
    with pytest.raises(DataError, match="no photos"):
        Pool().interval()
    with pytest.raises(DataError, match="different photos"):
        compare(random_pool(0, 4), {"other": random_pool(0, 5)})
    with pytest.raises(DataError, match="Did you mean 'pooled_iou'"):
        random_pool(0, 4).interval("pooled_ioo")
