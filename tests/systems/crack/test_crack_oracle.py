"""Oracles and simple mixtures: acceptance 12 of the specification, and that counting equals mixing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import mixing, oracle
from fieldsight.systems.crack.oracle import Cases
from fieldsight.systems.crack.scores import Counts

pixel = st.sampled_from([0.0, 0.1, 0.25, 0.45, 0.5, 0.55, 0.7, 0.9, 1.0])
experts = st.integers(1, 4)
GRIDS = {m: oracle.weight_grid(m) for m in (1, 2, 3, 4)}


@st.composite
def photos(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray]]:
    n, m = draw(st.integers(1, 3)), draw(experts)
    kind = draw(st.sampled_from([np.float32, np.uint8]))
    maps = draw(arrays(np.float64, (n, m, 4, 5), elements=pixel))
    truths = draw(arrays(np.bool_, (n, 4, 5)))
    return [(x * 255).round().astype(kind) if kind is np.uint8 else x.astype(kind) for x in maps], list(truths)


def drawn(n: int = 6, m: int = 4, size: int = 24) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(7)
    truths = [rng.random((size, size)) < 0.3 for _ in range(n)]
    maps = [np.clip(t * 0.4 + rng.random((m, size, size)) * 0.6, 0, 1).astype(np.float32) for t in truths]
    return maps, truths


def test_the_grid_of_the_specification() -> None:
    grid = GRIDS[4]
    assert grid.shape == (1771, 4)
    assert len(np.unique(grid.round(9), axis=0)) == 1771
    assert grid.sum(axis=1) == pytest.approx(np.ones(1771))
    assert grid * 20 == pytest.approx(np.round(grid * 20))
    assert grid[0].tolist() == [0.25] * 4  # the most even one first
    assert all((grid == corner).all(axis=1).any() for corner in np.eye(4))
    # 20 steps do not hold a third: the uniform point is added
    assert GRIDS[3].shape == (231 + 1, 3)
    assert GRIDS[3][0] == pytest.approx([1 / 3] * 3)
    assert GRIDS[1].tolist() == [[1.0]]
    assert oracle.weight_grid(2, 4).shape == (5, 2)
    for options in ((0, 20), (4, 0), (12, 20)):
        with pytest.raises(ConfigError):
            oracle.weight_grid(*options)


@settings(max_examples=40, deadline=None)
@given(photos())
def test_bounds_of_the_oracles(data: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    cases = Cases(*data)
    m = cases.experts
    one, pair, all_ = oracle.oracle_one(cases), oracle.oracle_pair(cases), oracle.oracle_weights(cases)
    for i in range(len(cases)):
        every = oracle.iou_of(cases.grid(i, GRIDS[m]))
        assert all_.iou[i] == every.max()
    assert (all_.iou >= pair.iou).all()
    assert (pair.iou >= one.iou).all()
    assert (pair.iou >= oracle.oracle_equal_pair(cases).iou).all()
    assert (one.iou == oracle.iou_of(cases.single()).max(axis=1)).all()
    assert (all_.iou >= oracle.uniform(cases).iou).all()
    for fixed in (oracle.best_single, oracle.best_pair, oracle.fixed_weights):
        assert (all_.iou >= fixed(cases).iou).all()
    gate = mixing.select(np.random.default_rng(0).dirichlet(np.ones(m), len(cases)), "hard")
    assert (oracle.mixture(cases, gate.weights, "hard").iou <= one.iou).all()
    best = oracle.fixed_weights(cases).summary()["pooled_iou"]
    assert best >= oracle.best_pair(cases).summary()["pooled_iou"] >= oracle.best_single(cases).summary()["pooled_iou"]
    if m == 1:
        assert (all_.iou == one.iou).all()
    for row in oracle.baselines(cases):
        assert (row.counts >= 0).all()
        assert (row.counts.sum(axis=1) == 20).all()


@settings(max_examples=40, deadline=None)
@given(photos())
def test_experts_and_votes_are_counted_as_they_are(data: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    cases = Cases(*data)
    single, vote = cases.single(), cases.majority()
    for i, (maps, truth) in enumerate(zip(*data, strict=True)):
        level = 127.5 if maps.dtype == np.uint8 else 0.5
        for j, values in enumerate(maps):
            assert tuple(single[i, j]) == tuple(Counts.of(values >= level, truth).values().values())
        votes = (maps >= level).sum(axis=0)
        mean = maps.astype(np.float64).mean(axis=0) >= level * (1 - 1e-9)
        crack = np.where(2 * votes == len(maps), mean, 2 * votes > len(maps))
        assert tuple(vote[i]) == tuple(Counts.of(crack, truth).values().values())


def test_counting_contested_pixels_equals_mixing_all() -> None:
    maps, truths = drawn()
    cases = Cases(maps, truths)
    assert 0.1 < cases.contested < 0.95
    weights = np.random.default_rng(1).dirichlet(np.ones(4), len(maps))
    for mode in ("hard", "soft", "topk"):
        chosen = mixing.select(weights, mode)  # type: ignore[arg-type]
        fused = mixing.mix(np.stack(maps), chosen.weights) >= 0.5
        by_hand = [list(Counts.of(f, t).values().values()) for f, t in zip(fused, truths, strict=True)]
        assert oracle.mixture(cases, chosen.weights, mode).counts.tolist() == by_hand
    uniform = [Counts.of(m.mean(axis=0, dtype=np.float64) >= 0.5, t) for m, t in zip(maps, truths, strict=True)]
    assert oracle.uniform(cases).counts[:, 0].tolist() == [c.tp for c in uniform]


def test_other_thresholds() -> None:
    maps, truths = drawn(2)
    for threshold in (0.3, 0.7):
        found = Cases(maps, truths, threshold).single()
        assert found[1, 2, 0] == np.count_nonzero((maps[1][2] >= threshold) & truths[1])
    for threshold in (0.0, 1.0):
        with pytest.raises(ConfigError):
            Cases(maps, truths, threshold)


def test_two_weak_experts_can_beat_the_best_one() -> None:
    truth = np.zeros((1, 4), dtype=bool)
    truth[0, :2] = True
    # each finds one of the two crack pixels surely and nearly finds the other; their false alarms differ
    maps = np.array([[[0.9, 0.4, 0.7, 0.0]], [[0.4, 0.9, 0.0, 0.7]]], dtype=np.float32)
    cases = Cases([maps], [truth])
    assert oracle.oracle_one(cases).iou.tolist() == [pytest.approx(1 / 3)]
    assert oracle.oracle_weights(cases).iou.tolist() == [1]
    assert oracle.oracle_weights(cases).weights == pytest.approx(np.array([[0.5, 0.5]]))
    assert oracle.oracle_equal_pair(cases).iou.tolist() == [1]


def test_fixed_choices_are_made_on_other_photos() -> None:
    truth = np.array([[True, False]])
    good, bad = np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])
    val, test = Cases([np.stack([good, bad])], [truth]), Cases([np.stack([bad, good])], [truth])
    assert oracle.best_single(test, val).iou.tolist() == [0]
    assert oracle.best_single(test).iou.tolist() == [1]
    assert "chosen on these photos" in oracle.best_single(test).name
    assert "chosen" not in oracle.best_single(test, val).name
    assert oracle.fixed_weights(test, val).weights is not None
    other = Cases([np.stack([good, bad, bad])], [truth])
    with pytest.raises(DataError):
        oracle.best_pair(test, other)


def test_random_two_are_two_and_the_same_again() -> None:
    cases = Cases(*drawn(12))
    found = oracle.random_two(cases, 3)
    assert found.weights is not None
    assert ((found.weights == 0.5).sum(axis=1) == 2).all()
    assert (found.weights == oracle.random_two(cases, 3).weights).all()
    assert (found.weights != oracle.random_two(cases, 4).weights).any()
    assert len(np.unique(found.weights, axis=0)) > 2


def test_no_crack_anywhere_is_one_per_photo_and_zero_pooled() -> None:
    cases = Cases([np.zeros((2, 4, 4), np.uint8)], [np.zeros((4, 4), dtype=bool)])
    for row in oracle.baselines(cases):
        assert row.iou.tolist() == [1]
        assert row.summary()["pooled_iou"] == 0


def test_what_does_not_fit_is_refused() -> None:
    maps, truths = drawn(2)
    hole = maps[0].copy()
    hole[0, 0, 0] = math.nan
    for bad_maps, bad_truths in (
        ([], []),
        (maps, truths[:1]),
        ([maps[0], maps[1][:2]], truths),
        ([maps[0][0]], truths[:1]),
        ([maps[0][:, :5]], truths[:1]),
        ([maps[0] * 2], truths[:1]),
        ([hole], truths[:1]),
        ([maps[0].astype(np.int64)], truths[:1]),
        (maps, [t.astype(np.uint8) for t in truths]),
        ([maps[0][:0]], truths[:1]),
    ):
        with pytest.raises(DataError):
            Cases(bad_maps, bad_truths)
    for weights in (np.ones((2, 3)) / 3, np.ones(5) / 5, np.ones((3, 4)) / 4):
        with pytest.raises(DataError):
            oracle.mixture(Cases(maps, truths), weights, "x")
