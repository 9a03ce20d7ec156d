"""Eqs. 2 to 9: acceptance 3 to 7 of the specification, the traps about targets, and bad inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import mixing

Z = [[2.0, 1.0, 0.5, -1.0]]
W = np.array([[0.609460, 0.224208, 0.135989, 0.030343]])
PIXELS = np.array([0.6, 0.2, 0.9, 0.4]).reshape(1, 4, 1, 1)
TABLE1 = np.array([[0.66, 0.71, 0.63, 0.72], [0.58, 0.61, 0.60, 0.59]])

weightings = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.sampled_from([0.1, 0.1, 0.3, 0.7, 2.0])
).map(lambda a: a / a.sum(axis=1, keepdims=True))


def fused(mode: mixing.Mode, k: int = 2) -> float:
    return float(mixing.mix(PIXELS, mixing.select(mixing.softmax(Z), mode, k).weights)[0, 0, 0])


def test_numbers_of_the_specification_for_mixing() -> None:
    assert mixing.softmax(Z) == pytest.approx(W, abs=5e-7)
    top = mixing.select(mixing.softmax(Z), "topk", 2)
    assert top.weights[0] == pytest.approx([0.731059, 0.268941, 0, 0], abs=5e-7)
    assert top.run.tolist() == [[True, True, False, False]]
    assert top.weights[0, 0] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-12)
    assert fused("hard") == 0.6
    assert fused("soft") == pytest.approx(0.545045, abs=5e-7)
    assert fused("topk", 2) == pytest.approx(0.492423, abs=5e-7)
    assert fused("topk", 3) == pytest.approx(0.549584, abs=5e-7)


def test_numbers_of_the_specification_for_targets() -> None:
    soft = mixing.soft_labels(TABLE1)
    assert soft[0] == pytest.approx([0.242647, 0.261029, 0.231618, 0.264706], abs=5e-7)
    assert soft[1] == pytest.approx([0.2437, 0.2563, 0.2521, 0.2479], abs=5e-5)
    index, weight = mixing.hard_labels(TABLE1)
    assert index.tolist() == [3, 1]
    assert weight.tolist() == [1, 1]
    assert mixing.sharpened(TABLE1[:1])[0] == pytest.approx([0.132, 0.358, 0.072, 0.438], abs=5e-4)


def test_the_papers_soft_targets_are_almost_uniform() -> None:
    soft = mixing.soft_labels(TABLE1)
    nats = (soft * np.log(soft * 4)).sum(axis=1)
    assert nats == pytest.approx([0.00147, 0.00018], abs=5e-6)
    # what the sharpened target says of the same row
    sharp = mixing.sharpened(TABLE1)
    assert ((sharp * np.log(sharp * 4)).sum(axis=1) > 20 * nats).all()


def test_a_row_of_zeros_is_uniform_and_ignored() -> None:
    table = [[0.0, 0, 0, 0], [0, 0.5, 0.5, 0]]
    assert mixing.soft_labels(table).tolist() == [[0.25] * 4, [0, 0.5, 0.5, 0]]
    index, weight = mixing.hard_labels(table)
    assert index.tolist() == [0, 1]
    assert weight.tolist() == [0, 1]
    assert mixing.sharpened(table)[0].tolist() == [0.25] * 4


def test_losses_and_their_gradient() -> None:
    z = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    target = torch.from_numpy(mixing.soft_labels(TABLE1[:1]))
    loss = mixing.soft_loss(z, target)
    loss.backward()
    assert loss.item() == pytest.approx(0.512927, abs=5e-7)
    assert z.grad is not None
    assert z.grad[0].numpy() == pytest.approx([0.366813, -0.036822, -0.095629, -0.234363], abs=5e-7)
    assert z.grad[0].numpy() == pytest.approx(mixing.softmax(Z)[0] - target[0].numpy(), abs=1e-12)
    assert mixing.hard_loss(z, torch.tensor([3])).item() == pytest.approx(3.495182, abs=5e-7)


def test_hard_loss_leaves_out_rows_of_weight_zero() -> None:
    z = torch.tensor([*Z, [9.0, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    index = torch.tensor([3, 1])
    assert mixing.hard_loss(z, index, torch.tensor([1.0, 0.0])).item() == pytest.approx(3.495182, abs=5e-7)
    nothing = mixing.hard_loss(z, index, torch.zeros(2))
    nothing.backward()
    assert nothing.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_soft_loss_takes_targets_of_zero() -> None:
    z = torch.tensor(Z, requires_grad=True)
    loss = mixing.soft_loss(z, torch.tensor([[1.0, 0, 0, 0]]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(W[0, 0]), abs=1e-5)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_ranking_loss_counts_pairs_by_margin() -> None:
    scores = torch.tensor([[0.9, 0.1]])
    z = torch.zeros(1, 2, requires_grad=True)
    mixing.ranking_loss(z, scores).backward()
    assert z.grad is not None
    assert z.grad[0].tolist() == pytest.approx([-0.5, 0.5])
    # pair (0, 1): margin 0.3, gap 1; pair (0, 2): margin 0.1, gap -1; pair (2, 1): margin 0.2, gap 2
    by_hand = sum(m * math.log1p(math.exp(-g)) for m, g in ((0.3, 1), (0.1, -1), (0.2, 2))) / 0.6
    found = mixing.ranking_loss(torch.tensor([[1.0, 0, 2]]), torch.tensor([[0.6, 0.3, 0.5]]))
    assert found.item() == pytest.approx(by_hand, rel=1e-5)
    assert mixing.ranking_loss(torch.tensor(Z), torch.full((1, 4), 0.5)).item() == 0


def test_regret_loss_is_the_expected_regret() -> None:
    scores = torch.tensor(TABLE1[:1], dtype=torch.float64)
    by_hand = float((mixing.softmax(Z)[0] * (0.72 - TABLE1[0])).sum())
    assert mixing.regret_loss(torch.tensor(Z, dtype=torch.float64), scores).item() == pytest.approx(by_hand, abs=1e-12)
    best = torch.tensor([[0.0, 0, 0, 60]], dtype=torch.float64)
    assert mixing.regret_loss(best, scores).item() == pytest.approx(0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(weightings, st.integers(1, 7), st.floats(0.01, 1))
def test_selections_keep_their_promises(w: np.ndarray, k: int, p: float) -> None:
    n, m = w.shape
    maps = np.random.default_rng(n * m).random((n, m, 3, 2), dtype=np.float32)
    soft, hard, top = (mixing.select(w, mode, k) for mode in ("soft", "hard", "topk"))
    assert (mixing.mix(maps, soft.weights) == mixing.mix(maps, mixing.select(w, "topk", m).weights)).all()
    assert (mixing.mix(maps, hard.weights) == mixing.mix(maps, mixing.select(w, "topk", 1).weights)).all()
    assert (mixing.mix(maps, hard.weights) == maps[np.arange(n), w.argmax(axis=1)]).all()
    assert m == 1 or (soft.weights == w).all()  # Eq. 6 takes the weights as they are
    assert (top.run.sum(axis=1) == min(k, m)).all()
    for i in range(n):  # stable: by weight, then by index
        assert set(np.flatnonzero(top.run[i])) == set(sorted(range(m), key=lambda j: (-w[i, j], j))[: min(k, m)])
    adaptive = mixing.select(w, "adaptive", p=p)
    for i in range(n):
        chosen = np.sort(w[i][adaptive.run[i]])
        assert chosen.sum() >= p - 1e-8
        assert chosen.sum() - chosen[0] < p
    for found in (soft, hard, top, adaptive):
        assert found.weights.sum(axis=1) == pytest.approx(np.ones(n))
        assert not found.weights[~found.run].any()


def test_ties_go_to_the_lowest_index() -> None:
    assert mixing.select([[0.25] * 4], "topk", 2).run.tolist() == [[True, True, False, False]]
    assert mixing.select([[0.1, 0.4, 0.1, 0.4]], "hard").run.tolist() == [[False, True, False, False]]
    assert mixing.select([[0.2, 0.6, 0.2]], "adaptive", p=0.8).run.tolist() == [[True, True, False]]


def test_a_pool_of_one_is_that_expert() -> None:
    maps = np.random.default_rng(0).random((2, 1, 4, 4), dtype=np.float32)
    for mode in ("hard", "soft", "topk", "adaptive"):
        chosen = mixing.select([[0.9999999], [1.0]], mode)  # type: ignore[arg-type]
        assert (mixing.mix(maps, chosen.weights) == maps[:, 0]).all()


def test_maps_that_did_not_run_are_never_read_and_tensors_agree() -> None:
    rng = np.random.default_rng(1)
    maps = rng.random((3, 4, 8, 8), dtype=np.float32)
    chosen = mixing.select(mixing.softmax(rng.normal(size=(3, 4))), "topk", 2)
    dense = mixing.mix(maps, chosen.weights)
    holes = np.where(chosen.run[:, :, None, None], maps, np.nan)
    assert (mixing.mix(holes, chosen.weights) == dense).all()
    tensor = mixing.mix(torch.from_numpy(holes), chosen.weights)
    assert (tensor.numpy() == dense).all()
    by_hand = (chosen.weights[:, :, None, None] * maps).sum(axis=1)
    assert dense == pytest.approx(by_hand, abs=1e-6)
    assert chosen.usage.sum() == pytest.approx(2)


@pytest.mark.parametrize(
    "table", [[0.5, 0.5], [[0.5, math.nan]], [[0.5, 1.2]], [[-0.1, 0.5]], [["a", "b"]], [[0.1], [0.1, 0.2]], [[]]]
)
def test_tables_that_make_no_sense_are_refused(table: object) -> None:
    for use in (mixing.soft_labels, mixing.hard_labels, mixing.sharpened):
        with pytest.raises(DataError):
            use(table)  # type: ignore[operator]


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"mode": "tpok"}, {"k": 0}, {"mode": "adaptive", "p": 0.0}, {"mode": "adaptive", "p": 1.5}):
        with pytest.raises(ConfigError):
            mixing.select([[0.5, 0.5]], **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Did you mean 'topk'"):
        mixing.select([[0.5, 0.5]], "tpok")  # type: ignore[arg-type]
    for weights in ([[2.0, 1.0]], [[1.5, -0.5]]):
        with pytest.raises(DataError):
            mixing.select(weights)
    with pytest.raises(ConfigError):
        mixing.sharpened(TABLE1, 0)
    with pytest.raises(ConfigError):
        mixing.softmax(Z, -1)
    for maps, shares in ((np.zeros((1, 4, 2)), W), (np.zeros((1, 3, 2, 2)), W), (np.zeros((1, 4, 2, 2), np.uint8), W)):
        with pytest.raises(DataError):
            mixing.mix(maps, shares)
    with pytest.raises(DataError):
        mixing.mix(torch.zeros(1, 4, 2, 2, dtype=torch.uint8), W)
