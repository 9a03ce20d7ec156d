"""Routing numbers, the review list, and the thresholds that come with a guarantee."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from fieldsight.errors import DataError
from fieldsight.systems.crack import review, routing
from fieldsight.systems.crack.mixing import select, soft_labels, softmax

W = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25]])
IOU = np.array([[0.9, 0.5, 0.1], [0.2, 0.9, 0.4], [0.3, 0.6, 0.6], [0.1, 0.2, 0.7]])


def test_routing_numbers_by_hand() -> None:
    assert routing.top_recall(W, IOU, 1) == 0.5  # right, wrong, right (a tie), wrong
    assert routing.top_recall(W, IOU, 2) == 0.75
    assert routing.top_recall(W, IOU, 3) == 1
    assert routing.chance_recall(IOU, 1) == pytest.approx((1 + 1 + 2 + 1) / 3 / 4)
    assert routing.chance_recall(IOU[:2], 2) == pytest.approx(2 / 3)
    assert routing.mean_regret(IOU, [0.9, 0.4, 0.6, 0.8]) == pytest.approx((0 + 0.5 + 0 - 0.1) / 4)
    assert routing.entropy([[0.5, 0.5], [1, 0]]).tolist() == pytest.approx([math.log(2), 0])
    table = routing.confusion(W, IOU)
    assert table.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert routing.confusion([[1.0, 0, 0]], [[0.1, 0.5, 0.5]]).tolist() == [[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]]


def test_spearman_is_scipys_and_has_no_value_for_constants() -> None:
    rng = np.random.default_rng(0)
    w, iou = rng.random((20, 4)), rng.integers(0, 4, (20, 4)) / 4
    iou[3] = 0.5
    found = routing.spearman(w, iou)
    assert math.isnan(found[3])
    for i in range(20):
        if i != 3 and len(set(iou[i])) > 1:
            assert found[i] == pytest.approx(float(spearmanr(w[i], iou[i]).statistic))
    assert routing.oof_shift([0.5, 0.6, 0.7], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert routing.oof_shift([0.5, 0.6, 0.7], [0.3, 0.2, 0.1]) == pytest.approx(-1)
    with pytest.raises(DataError):
        routing.oof_shift([0.5, 0.6], [0.1, 0.2, 0.3])


def test_calibration_of_weights() -> None:
    shares = soft_labels(np.random.default_rng(0).random((50, 4)))
    right = routing.reliability(shares, shares)
    assert right.error == pytest.approx(0, abs=1e-12)
    assert sum(b.n for b in right.bins) == 200
    assert all(a.high <= b.low for a, b in itertools.pairwise(right.bins))
    assert routing.reliability([[1.0, 0.0]] * 10, [[0.6, 0.4]] * 10, bins=2).error == pytest.approx(0.4)


def test_the_report_holds_everything() -> None:
    chosen = select(W, "topk", 2)
    found = routing.report(W, IOU, routed=[0.9, 0.4, 0.6, 0.8], run=chosen.run, shares=soft_labels(IOU))
    assert found["regret"] == pytest.approx(0.1)
    assert found["regret_top1"] == pytest.approx((0 + 0.5 + 0 + 0.6) / 4)
    assert found["experts_run"] == 2
    assert all(math.isfinite(value) for value in found.values())
    assert math.isnan(routing.report(W, np.full((4, 3), 0.5))["spearman"])
    assert routing.report([[1.0]], [[0.4]])["top1_accuracy"] == 1
    table = routing.expert_table(["a", "b", "c"], W, IOU, chosen.run)
    assert [row["named"] for row in table.rows] == [0.5, 0.25, 0.25]
    assert [row["run"] for row in table.rows] == chosen.usage.tolist()
    assert sum(row["best"] for row in table.rows) == pytest.approx(1)
    assert table.rows[2]["iou_where_named"] == 0.4
    for wrong in (W[:2], W[:, :2], np.full((4, 3), math.nan), [["a"]]):
        with pytest.raises(DataError):
            routing.report(wrong, IOU)


def test_disagreement_is_relative_to_the_crack_not_to_the_photo() -> None:
    small, large = np.zeros((3, 20, 20), np.float32), np.zeros((3, 200, 200), np.float32)
    for maps in (small, large):
        maps[:, 5, :20] = np.array([0.9, 0.9, 0.3])[:, None]
    assert review.disagreement(small) == pytest.approx(0.4)
    assert review.disagreement(large) == pytest.approx(0.4)
    by_hand = np.mean([abs(small[i, 5] - small[j, 5]).mean() for i, j in itertools.combinations(range(3), 2)])
    assert review.disagreement(small) == pytest.approx(by_hand)
    assert review.disagreement(small, [True, True, False]) == 0
    assert math.isnan(review.disagreement(small, [True, False, False]))
    assert review.disagreement(np.full((2, 8, 8), 0.2, np.float32)) == 0
    speck = np.zeros((2, 20, 20), np.float32)
    speck[0, 3, 3] = 1
    assert review.disagreement(speck) == pytest.approx(1 / review.LEAST_AREA)
    holes = small.copy()
    holes[2] = math.nan
    assert review.disagreement(holes, [True, True, False]) == 0
    for maps in (small[0], small.astype(np.uint8)):
        with pytest.raises(DataError):
            review.disagreement(maps)


def test_gate_doubt_goes_from_zero_to_one() -> None:
    assert review.gate_doubt([[0.25] * 4, [1, 0, 0, 0]]).tolist() == pytest.approx([1, 0])
    assert review.gate_doubt([[1.0]]).tolist() == [0]


def test_expert_sets_cover_as_promised() -> None:
    rng = np.random.default_rng(0)
    covered, sizes = [], []
    for _ in range(60):
        quality = rng.normal(size=(300, 4))
        w = softmax(quality + rng.normal(size=(300, 4)))
        scores = 1 / (1 + np.exp(-quality))
        sets = review.ExpertSets.calibrate(w[:100], scores[:100], alpha=0.2)
        inside = sets.members(w[100:])
        covered.append((inside & routing.is_best(scores[100:])).any(axis=1).mean())
        sizes.append(inside.sum(axis=1).mean())
    assert 0.79 < np.mean(covered) < 0.86
    assert 1 < np.mean(sizes) < 3.5


def test_expert_sets_by_hand() -> None:
    # cumulative weights up to the best expert: 0.5, 0.8, 0.8, 1.0
    sets = review.ExpertSets.calibrate(W, IOU, alpha=0.4)
    assert (sets.q, sets.n) == (pytest.approx(0.8), 4)
    assert sets.members(W).tolist() == [[1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 1, 0]]
    assert sets.members([[0.9, 0.1, 0.0]]).tolist() == [[1, 0, 0]]  # never empty
    grouped = review.ExpertSets.calibrate(W, IOU, alpha=0.4, groups=["a", "a", "b", "b"])
    assert (grouped.q, grouped.n) == (1.0, 2)
    few = review.ExpertSets.calibrate(W, IOU, alpha=0.1)
    assert few.members(W).all()
    for found in (sets, few):
        assert review.ExpertSets.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    for values in ({}, {"q": "much", "alpha": 0.1, "n": 3}, {"q": "nan", "alpha": 0.1, "n": 3}):
        with pytest.raises(DataError):
            review.ExpertSets.from_dict(values)
    with pytest.raises(DataError):
        review.ExpertSets.calibrate(W, IOU[:2])
    with pytest.raises(DataError):
        review.ExpertSets.calibrate(W, IOU, groups=["a"])


def test_the_review_list_begins_with_the_most_doubtful() -> None:
    signs = review.Signs(
        np.array([0.05, 0.6, 0.1, math.nan]), np.array([0.2, 0.9, 0.3, 0.25]), np.array([1.0, 4, 2, 1]), 4
    )
    found = review.review_list(["a", "b", "c", "d"], signs)
    assert [row.place for row in found] == [1, 2, 3, 4]
    assert found[0].id == "b"
    assert found[0].reason.startswith("The experts that ran differ by 0.60")
    assert "any of 4 of 4 experts" in found[0].reason
    assert found[-1].reason == "Nothing unusual."
    assert all(0 <= row.score <= 1 for row in found)
    one = review.Signs(np.array([0.5]), np.array([0.95]), np.array([3.0]), 4)
    assert review.review_list(["x"], one, reference=signs)[0].score > 0.7
    assert review.review_list(["x"], one)[0].score == 0.5
    assert review.review_list([], review.Signs(np.zeros(0), np.zeros(0), np.zeros(0), 4)) == []
    with pytest.raises(DataError):
        review.review_list(["a"], signs)


def world(n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    truths = [rng.random((12, 12)) < 0.2 for _ in range(n)]
    maps = [
        (1 / (1 + np.exp(-(2 * t - 1 + rng.normal() + rng.normal(size=t.shape))))).astype(np.float32) for t in truths
    ]
    return maps, truths


def test_the_recall_threshold_keeps_its_promise() -> None:
    missed = []
    for seed in range(30):
        maps, truths = world(60, seed)
        found = review.recall_threshold(maps[:40], truths[:40], alpha=0.15)
        assert found.miss_rate <= 0.15
        assert 0 < found.false_rate < 1
        missed += [float((m[t] < found.threshold).mean()) for m, t in zip(maps[40:], truths[40:], strict=True)]
    assert 0.10 < np.mean(missed) < 0.16


def test_the_recall_threshold_is_the_largest_safe_one() -> None:
    maps, truths = world(40, 1)
    found = review.recall_threshold(maps, truths, alpha=0.1)

    def risk(threshold: float) -> float:
        return (sum(float((m[t] < threshold).mean()) for m, t in zip(maps, truths, strict=True)) + 1) / 41

    assert risk(found.threshold) <= 0.1 < risk(found.threshold + 0.001)
    assert review.recall_threshold(maps, truths, alpha=0.3).threshold > found.threshold
    # photos without crack say nothing about recall
    empty = [np.zeros((12, 12), dtype=bool)] * 20
    more = review.recall_threshold(maps + [np.full((12, 12), 0.9, np.float32)] * 20, truths + empty, alpha=0.1)
    assert (more.threshold, more.n) == (found.threshold, 40)
    assert more.false_rate > found.false_rate
    grouped = review.recall_threshold(maps, truths, 0.1, groups=[f"{i // 2}" for i in range(40)])
    assert grouped.n == 20
    assert grouped.threshold <= found.threshold


def test_a_threshold_that_cannot_be_promised_is_refused() -> None:
    maps, truths = world(8, 0)
    with pytest.raises(DataError, match="at least 9"):
        review.recall_threshold(maps, truths, alpha=0.1)
    with pytest.raises(DataError, match="at least 9"):
        review.recall_threshold(maps, [np.zeros_like(t) for t in truths], alpha=0.1)
    for options in ({"alpha": 0.0}, {"alpha": 1.0}, {"alpha": 0.5, "groups": ["a"]}):
        with pytest.raises(DataError):
            review.recall_threshold(maps, truths, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        review.recall_threshold(maps, truths[:3], 0.5)
    with pytest.raises(DataError):
        review.recall_threshold([m[:4] for m in maps], truths, 0.5)
    with pytest.raises(DataError):
        review.recall_threshold([], [], 0.5)
