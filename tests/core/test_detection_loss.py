"""Boxes, assignment, losses and suppression of detectors, against slow references and published numbers."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fieldsight.engine.seed import rng_for, torch_seed
from fieldsight.errors import ConfigError, DataError, ExportError
from fieldsight.nn.detection import assign, nms
from fieldsight.nn.detection.assign import Targets, task_aligned
from fieldsight.nn.detection.boxes import box_area, ciou, clip_boxes, iou_matrix, iou_pairs, to_centres, to_corners
from fieldsight.nn.detection.decode import Raw, boxes, distances, reaches
from fieldsight.nn.detection.loss import FARTHEST, Gains, detection_loss, distribution_focal, dual_loss, from_maps
from fieldsight.nn.detection.nms import Suppress, Suppression, greedy_nms, suppress

few = settings(max_examples=40, deadline=None)
SEED = st.integers(0, 10**6)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def whole_boxes(rng: np.random.Generator, count: int, size: int = 64) -> np.ndarray[Any, Any]:
    """Boxes of whole pixels, some empty, some equal."""
    corner = rng.integers(0, size, (count, 2))
    found = np.concatenate((corner, corner + rng.integers(0, size // 2, (count, 2))), 1).astype(np.float32)
    if count > 2:
        found[-1] = found[0]
    return found


# --- boxes ---


@pytest.mark.parametrize(
    ("first", "second", "iou", "complete"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 0.142857, 0.031746),
        ((0, 0, 4, 2), (0, 0, 2, 4), 0.333333, 0.237082),
        ((0, 0, 4, 2), (0, 0, 4, 2), 1.0, 1.0),
        ((0, 0, 1, 1), (9, 9, 10, 10), 0.0, -0.81),
    ],
)
def test_iou_and_ciou_of_the_specification(first, second, iou, complete) -> None:
    assert float(iou_pairs(row(*first), row(*second))) == pytest.approx(iou, abs=1e-6)
    assert float(ciou(row(*first), row(*second))) == pytest.approx(complete, abs=1e-6)
    assert float(ciou(row(*second) * 100, row(*first) * 100)) == pytest.approx(complete, abs=1e-6)


@few
@given(SEED)
def test_iou_matrix_counts_pixels(seed) -> None:
    rng = rng_for("iou", seed)
    first, second = whole_boxes(rng, int(rng.integers(0, 5)), 24), whole_boxes(rng, int(rng.integers(0, 5)), 24)
    grids = [np.zeros((len(group), 40, 40), bool) for group in (first, second)]
    for group, grid in zip((first, second), grids, strict=True):
        for (x1, y1, x2, y2), mask in zip(group.astype(int), grid, strict=True):
            mask[y1:y2, x1:x2] = True
    shared = (grids[0][:, None] & grids[1][None]).sum((2, 3))
    union = (grids[0][:, None] | grids[1][None]).sum((2, 3))
    expected = shared / np.maximum(union, 1)
    np.testing.assert_allclose(iou_matrix(first, second), expected, atol=1e-6)
    np.testing.assert_array_equal(box_area(first), grids[0].sum((1, 2)))
    stacked = torch.from_numpy(np.stack((first, first)))
    found = iou_matrix(stacked, torch.from_numpy(second).expand(2, -1, -1))
    assert found.shape == (2, len(first), len(second))
    np.testing.assert_allclose(found[1], expected, atol=1e-6)


@few
@given(SEED)
def test_corners_and_centres_are_inverse_and_clipping_stays_inside(seed) -> None:
    found = rng_for("centres", seed).normal(50, 60, (2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(to_centres(to_corners(found)), found, atol=1e-4)
    np.testing.assert_array_equal(to_corners(torch.from_numpy(found)).numpy(), to_corners(found))
    cut = clip_boxes(found, (40, 90))
    assert cut[..., 0::2].min() >= 0 <= cut[..., 1::2].min()
    assert cut[..., 0::2].max() <= 90
    assert cut[..., 1::2].max() <= 40
    np.testing.assert_array_equal(clip_boxes(torch.from_numpy(found), (40, 90)).numpy(), cut)


DEGENERATE = torch.tensor([[3, 3, 3, 3], [3, 3, 3, 9], [3, 3, 9, 3], [9, 9, 3, 3], [0, 0, 8, 8], [1e4, 1e4, 1e4, 1e4]])


def test_empty_boxes_give_finite_values_and_gradients() -> None:
    predicted = DEGENERATE[:, None].float().requires_grad_()
    found = ciou(predicted, DEGENERATE[None].float())
    assert found.shape == (6, 6)
    assert bool(found.isfinite().all())
    assert float(found.detach().max()) <= 1
    found.sum().backward()
    assert predicted.grad is not None
    assert bool(predicted.grad.isfinite().all())
    assert float(predicted.grad.abs().max()) < 100
    np.testing.assert_array_equal(iou_matrix(DEGENERATE.numpy(), DEGENERATE.numpy())[:4], np.zeros((4, 6)))


def test_the_weight_alpha_of_ciou_has_no_gradient() -> None:
    first, second = row(1, 2, 9, 5).requires_grad_(), row(2, 1, 8, 12)
    iou = iou_pairs(first, second)
    v = 4 / math.pi**2 * (math.atan(6 / 11) - torch.atan((first[2] - first[0]) / (first[3] - first[1]))) ** 2
    alpha = float((v / (1 - iou + v)).detach())
    centre = ((first[:2] + first[2:]) / 2 - (second[:2] + second[2:]) / 2).square().sum()
    c = (torch.maximum(first[2:], second[2:]) - torch.minimum(first[:2], second[:2])).square().sum()
    (expected,) = torch.autograd.grad(iou - centre / c - alpha * v, first)
    (found,) = torch.autograd.grad(ciou(first, second), first)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


# --- assignment ---


def slow_ciou(a: Any, b: Any) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0.0) * max(h, 0.0)
    sides = [(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    iou = shared / (sides[0][0] * sides[0][1] + sides[1][0] * sides[1][1] - shared)
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    rho2 = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    v = 4 / math.pi**2 * (math.atan(sides[1][0] / sides[1][1]) - math.atan(sides[0][0] / sides[0][1])) ** 2
    return iou - rho2 / c2 - (v * v / (1 - iou + v) if v else 0.0)


def slow_tal(scores, predicted, points, truths, labels, topk, alpha, beta) -> dict[int, tuple[int, float]]:
    """One picture, in plain loops and double precision: anchor to (box, soft target)."""
    claims: dict[int, list[tuple[float, int, float]]] = {}
    for g, (truth, label) in enumerate(zip(truths, labels, strict=True)):
        candidates = []
        for a, (x, y) in enumerate(points):
            if truth[0] < x < truth[2] and truth[1] < y < truth[3]:
                u = max(slow_ciou(predicted[a], truth), 0.0)
                candidates.append((-(scores[label][a] ** alpha) * u**beta, a, u))
        for t, a, u in sorted(candidates)[:topk]:
            if t < 0:
                claims.setdefault(a, []).append((u, g, -t))
    won = {a: max(those, key=lambda claim: (claim[0], -claim[1])) for a, those in claims.items()}
    result = {}
    for a, (_, g, t) in won.items():
        own = [claim for claim in won.values() if claim[1] == g]
        result[a] = (g, t / max(c[2] for c in own) * max(c[0] for c in own))
    return result


def problem(seed: int, pictures: int = 3, classes: int = 2, cells: int = 8) -> tuple[Raw, Targets, Any]:
    """Random logits for pictures of ``8 * cells`` pixels, and boxes: small, large, equal, none."""
    rng = rng_for("problem", seed)
    maps = [rng.normal(0, 1.5, (pictures, 64 + classes, cells // s, cells // s)) for s in (1, 2, 4)]
    rows = []
    for _ in range(pictures):
        found = whole_boxes(rng, int(rng.integers(0, 7)), 8 * cells)
        rows.append((found, rng.integers(0, classes, len(found))))
    return from_maps([torch.from_numpy(m).float() for m in maps]), Targets.of(rows), rows


@few
@given(
    SEED, st.sampled_from([(10, 0.5, 6.0), (1, 0.5, 6.0), (3, 1.0, 2.0), (200, 0.0, 1.0)]), st.sampled_from([1, 10**6])
)
def test_assignment_equals_a_slow_reference(seed, options, cells) -> None:
    raw, targets, rows = problem(seed)
    points, scores, predicted = raw.points * raw.strides[:, None], raw.classes.sigmoid(), boxes(raw)
    before, assign.CELLS = assign.CELLS, cells
    try:
        found = task_aligned(scores, predicted, points, targets, *options)
    finally:
        assign.CELLS = before
    got = {
        (int(i), int(a)): (int(r), float(w))
        for i, a, r, w in zip(found.image, found.anchor, found.row, found.weight, strict=True)
    }
    expected = {}
    first = 0
    for i, (truths, labels) in enumerate(rows):
        one = slow_tal(
            scores[i].double().tolist(),
            predicted[i].double().tolist(),
            points.tolist(),
            truths.tolist(),
            labels,
            *options,
        )
        expected |= {(i, a): (first + g, w) for a, (g, w) in one.items()}
        first += len(truths)
    assert {k: v[0] for k, v in got.items()} == {k: v[0] for k, v in expected.items()}
    assert list(got) == sorted(got)
    for place, (_, weight) in expected.items():
        assert got[place][1] == pytest.approx(weight, rel=2e-3, abs=1e-6)
    assert found.unreached == first - len({v[0] for v in expected.values()})
    assert not bool(found.ignored.any())


def test_what_has_no_anchor() -> None:
    """A box between the points; a box no prediction touches; the later of two equal boxes; padding."""
    raw, _, _ = problem(1, pictures=2)
    points, scores = raw.points * raw.strides[:, None], raw.classes.sigmoid()
    truth = torch.tensor([[5, 5, 7, 7], [8, 8, 40, 40], [8, 8, 40, 40], [44, 44, 60, 60]]).float()
    predicted = torch.tensor([8.0, 8, 40, 40]).expand(2, len(points), 4)
    targets = Targets.of([(truth, [0, 1, 1, 0]), ([], [])])
    found = task_aligned(scores, predicted, points, targets)
    assert found.unreached == 3
    assert set(found.row.tolist()) == {1}
    assert len(found.row) == 10
    assert set(found.image.tolist()) == {0}
    assert float(found.weight.max()) == 1  # the largest CIoU
    one = task_aligned(scores, predicted, points, targets, topk=1)
    assert len(one.row) == 1
    assert int(one.anchor) == int(found.anchor[found.weight.argmax()])


def test_two_classes_of_one_box_share_its_anchors() -> None:
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    scores = torch.tensor([[[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]])
    predicted = torch.tensor([[0.0, 0, 24, 8]]).expand(1, 3, 4)
    targets = Targets.of([([[0, 0, 24, 8]] * 2, [0, 1])])
    found = task_aligned(scores, predicted, points, targets, topk=2)
    assert found.anchor.tolist() == [0, 1, 2]
    assert found.row.tolist() == [0, 0, 1]


@few
@given(SEED)
def test_padding_a_batch_and_back_changes_nothing(seed) -> None:
    _, targets, rows = problem(seed)
    padded = targets.padded(len(rows))
    assert padded[0].shape == (3, max(len(r[1]) for r in rows), 4)
    assert int((padded[1] >= 0).sum()) == len(targets)
    back = Targets.from_padded(*padded)
    for name in ("boxes", "labels", "image", "ignore"):
        assert torch.equal(getattr(back, name), getattr(targets, name)), name


@pytest.mark.parametrize("options", [{"topk": 0}, {"alpha": -1.0}, {"beta": -0.1}])
def test_bad_options_of_the_assignment(options) -> None:
    raw, targets, _ = problem(0)
    with pytest.raises(ConfigError, match="allowed"):
        detection_loss(raw, targets, **options)


def test_bad_targets_and_maps() -> None:
    raw, _, _ = problem(0)
    with pytest.raises(DataError, match="class 2; allowed: 0 to 1"):
        detection_loss(raw, Targets.of([([[0, 0, 9, 9]], [2]), ([], []), ([], [])]))
    with pytest.raises(DataError, match="picture 3; allowed: 0 to 2"):
        detection_loss(raw, Targets.of([([], [])] * 3 + [([[0, 0, 9, 9]], [1])]))
    with pytest.raises(DataError, match="1 boxes, 2 labels"):
        Targets.of([([[0, 0, 9, 9]], [1, 1])])
    with pytest.raises(DataError, match="not finite"):
        Targets.of([([[0, 0, math.nan, 9]], [1])])
    with pytest.raises(DataError, match=r"\(N, G, 4\)"):
        Targets.from_padded(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int64))
    for maps in ([], [torch.zeros(1, 65, 4, 4)], [torch.zeros(1, 64, 4, 4)] * 3):
        with pytest.raises(DataError, match="allowed: one"):
            from_maps(maps)


# --- loss ---


def test_distribution_focal_loss_of_the_specification() -> None:
    target = torch.tensor(3.3)
    assert float(distribution_focal(torch.zeros(16), target)) == pytest.approx(math.log(16), abs=1e-6)
    sharp = torch.full((16,), -1e4)
    sharp[3], sharp[4] = math.log(0.7), math.log(0.3)
    assert float(distribution_focal(sharp, target)) == pytest.approx(0.610864, abs=1e-6)
    assert float(distances(sharp.repeat(4)[None, :, None], torch.arange(16.0))[0, 0, 0]) == pytest.approx(3.3, abs=1e-5)
    far = distribution_focal(torch.zeros(2, 16), torch.tensor([-5.0, 99.0]))
    assert far.tolist() == pytest.approx([math.log(16)] * 2)


@few
@given(SEED)
def test_loss_equals_its_formulas(seed) -> None:
    """Y2 to Y5 with dense targets, from the assignment that is tested above."""
    raw, targets, rows = problem(seed)
    points = raw.points * raw.strides[:, None]
    found = task_aligned(raw.classes.sigmoid(), boxes(raw), points, targets)
    dense = torch.zeros_like(raw.classes)
    box = dfl = 0.0
    for i, a, r, w in zip(found.image, found.anchor, found.row, found.weight, strict=True):
        dense[i, targets.labels[r], a] = w
        box += float(w) * (1 - slow_ciou(boxes(raw)[i, a].tolist(), targets.boxes[r].tolist()))
        y = reaches(targets.boxes[r, None] / raw.strides[a], raw.points[a, None], FARTHEST)[0]
        logits = raw.sides[i, :, a].reshape(4, 16)
        j = y.long()
        low, high = F.cross_entropy(logits, j, reduction="none"), F.cross_entropy(logits, j + 1, reduction="none")
        dfl += float(w * ((j + 1 - y) * low + (y - j) * high).mean())
    total = max(float(dense.sum()), 1.0)
    cls = float(F.binary_cross_entropy_with_logits(raw.classes, dense, reduction="sum"))
    parts = detection_loss(raw, targets)
    assert float(parts["cls"]) == pytest.approx(cls / total, rel=1e-4)
    assert float(parts["box"]) == pytest.approx(box / total, rel=1e-4, abs=1e-6)
    assert float(parts["dfl"]) == pytest.approx(dfl / total, rel=1e-4, abs=1e-6)
    whole = len(rows) * (7.5 * box + 0.5 * cls + 1.5 * dfl) / total
    assert float(parts["loss"]) == pytest.approx(whole, rel=1e-4)
    assert int(parts["positives"]) == len(found.row)


def perfect(truth: Tensor, label: int, classes: int = 2, cells: int = 8) -> list[Tensor]:
    """Maps that say one box exactly, at all anchors inside it."""
    maps = []
    for stride in (8, 16, 32):
        side = 8 * cells // stride
        y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
        reach = torch.stack(
            (x - truth[0] / stride, y - truth[1] / stride, truth[2] / stride - x, truth[3] / stride - y)
        )
        inside = reach.amin(0) > 0
        bins = torch.arange(16.0)[None, :, None, None]
        share = (1 - (reach.clamp(0, FARTHEST)[:, None] - bins).abs()).clamp(min=1e-5)
        scores = torch.full((classes, side, side), -9.0)
        scores[label, inside] = 9.0
        maps.append(torch.cat((share.log().reshape(64, side, side), scores))[None])
    return maps


def test_loss_falls_towards_the_truth() -> None:
    truth = row(9, 12, 50, 47)
    targets = Targets.of([(truth[None], [1])])
    noise = [
        torch.from_numpy(rng_for("noise", i).normal(0, 1, m.shape)).float() for i, m in enumerate(perfect(truth, 1))
    ]
    steps = []
    for part in (0.0, 0.5, 1.0):
        maps = [part * good + (1 - part) * bad for good, bad in zip(perfect(truth, 1), noise, strict=True)]
        steps.append(detection_loss(maps, targets))
    losses = [float(step["loss"]) for step in steps]
    assert losses == sorted(losses, reverse=True)
    assert float(steps[-1]["box"]) < 1e-2
    shifted = perfect(truth + 8, 1)
    assert float(detection_loss(shifted, targets)["box"]) > 0.1
    assert float(detection_loss(perfect(truth, 0), targets)["cls"]) > 2 * float(steps[-1]["cls"])


def test_gradient_descent_on_the_logits_finds_the_boxes() -> None:
    torch.manual_seed(torch_seed("descent"))
    truths = torch.tensor([[4.0, 6, 30, 41], [30, 20, 61, 60]])
    targets = Targets.of([(truths, [0, 1]), ([], [])])
    maps = [(0.1 * torch.randn(2, 66, side, side)).requires_grad_() for side in (8, 4, 2)]
    optimiser = torch.optim.Adam(maps, lr=0.3)
    losses = []
    for _ in range(70):
        optimiser.zero_grad()
        loss = detection_loss(maps, targets)["loss"]
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        raw = from_maps(maps)
        best = raw.classes[0].max(1)
        assert float(iou_pairs(boxes(raw)[0, best.indices], truths).min()) > 0.9
        assert float(raw.classes[0].max()) > 0 > float(raw.classes[1].max())


@pytest.mark.parametrize("rows", [[([], [])] * 2, [([[5, 5, 7, 7]], [1]), ([], [])], [([[3, 3, 3, 9]], [1]), ([], [])]])
def test_without_positives_gradients_are_finite_and_boxes_have_none(rows) -> None:
    maps = [torch.zeros(2, 66, side, side, requires_grad=True) for side in (8, 4, 2)]
    parts = dual_loss(maps, maps, Targets.of(rows))
    assert float(parts["many_box"]) == float(parts["one_dfl"]) == float(parts["many_positives"]) == 0
    parts["loss"].backward()
    for m in maps:
        assert m.grad is not None
        assert bool((m.grad[:, :64] == 0).all())
        assert bool((m.grad[:, 64:] > 0).all())


def test_the_dual_loss_adds_two_branches() -> None:
    raw, targets, _ = problem(3)
    other, _, _ = problem(4)
    gains = Gains(1, 2, 3)
    many, one = detection_loss(raw, targets, gains, 7), detection_loss(other, targets, gains, topk=1)
    both = dual_loss(raw, other, targets, gains, 7)
    assert float(both["loss"]) == pytest.approx(float(many["loss"] + one["loss"]))
    assert float(both["many_dfl"]) == float(many["dfl"])
    assert float(both["one_cls"]) == float(one["cls"])
    assert float(one["positives"]) <= len(targets)


def test_ignored_regions_are_neither_object_nor_background() -> None:
    raw, _, _ = problem(5, pictures=1)
    plain, region = [[2, 2, 30, 30]], [[33, 0, 64, 64]]
    alone = detection_loss(raw, Targets.of([(plain, [1])]))
    with_region = detection_loss(raw, Targets.of([(plain + region, [1, 99], [False, True])]))
    inside = raw.points[:, 0] * raw.strides > 33
    spared = F.softplus(raw.classes[0][:, inside]).sum()
    found = task_aligned(
        raw.classes.sigmoid(), boxes(raw), raw.points * raw.strides[:, None], Targets.of([(plain, [1])])
    )
    total = found.weight.sum().clamp(min=1)
    assert float(alone["cls"] - with_region["cls"]) == pytest.approx(float(spared / total), rel=1e-4)
    for name in ("box", "dfl", "positives", "unreached"):
        assert float(alone[name]) == float(with_region[name])


def test_half_precision_maps_are_computed_in_float32() -> None:
    raw, targets, _ = problem(6)
    half = Raw(raw.sides.half(), raw.classes.half(), raw.points, raw.strides, raw.bins)
    whole = Raw(half.sides.float(), half.classes.float(), raw.points, raw.strides, raw.bins)
    found, expected = detection_loss(half, targets), detection_loss(whole, targets)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert float(found[name]) == pytest.approx(float(value), rel=1e-6), name
    assert float(found["dfl"]) > 0


def test_many_boxes_need_little_memory() -> None:
    """900 boxes over 8400 anchors, a table of 7.6 million cells, is looked at in parts."""
    sides = [np.zeros((1, 65, s, s), np.float32) for s in (80, 40, 20)]
    raw = from_maps([torch.from_numpy(m) for m in sides])
    corner = rng_for("crowd").uniform(0, 600, (900, 2))
    truth = np.concatenate((corner, corner + 24), 1)
    seen = []
    real = assign._inside

    def watched(points: Tensor, found: Tensor) -> Tensor:
        seen.append(len(points) * len(found))
        return real(points, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assign, "_inside", watched)
        parts = detection_loss(raw, Targets.of([(truth, np.zeros(900, np.int64))]))
    assert max(seen) <= assign.CELLS
    assert sum(seen) == 900 * 8400
    assert float(parts["positives"]) > 900


# --- suppression ---


def slow_nms(found, scores, labels, iou, limit) -> list[int]:
    kept: list[int] = []
    overlap = iou_matrix(found, found)
    for i in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        clear = all(labels[i] != labels[k] or not overlap[i, k] > np.float32(iou) for k in kept)
        if clear and len(kept) < limit:
            kept.append(i)
    return kept


def clusters(seed: int, pictures: int, classes: int, anchors: int, ties: bool = False) -> np.ndarray[Any, Any]:
    """A v8 detector's output: boxes around few objects, scores mostly small."""
    rng = rng_for("clusters", seed)
    output = np.zeros((pictures, 4 + classes, anchors), np.float32)
    for one in output:
        pick = rng.integers(0, 8, anchors)
        one[:2] = rng.uniform(0, 200, (2, 8))[:, pick] + rng.normal(0, 4, (2, anchors))
        one[2:4] = rng.uniform(10, 90, (2, 8))[:, pick] * rng.uniform(0.8, 1.2, (2, anchors))
        one[4:] = rng.uniform(0, 1, (classes, anchors)) ** 3
    return output.round(1) if ties else output


@few
@given(SEED, st.booleans(), st.sampled_from([(0.7, 300), (0.45, 5), (0.0, 300), (1.0, 7)]), st.sampled_from([3, 128]))
def test_greedy_suppression_equals_a_slow_reference(seed, ties, options, block) -> None:
    output = clusters(seed, 1, 1, 30, ties)[0]
    found, scores = to_corners(output[:4].T), output[4]
    labels = rng_for("labels", seed).integers(0, 2, 30)
    before, nms.BLOCK = nms.BLOCK, block
    try:
        assert greedy_nms(found, scores, labels, *options).tolist() == slow_nms(found, scores, labels, *options)
        alone = greedy_nms(found, scores, None, *options).tolist()
    finally:
        nms.BLOCK = before
    assert alone == slow_nms(found, scores, labels * 0, *options)


def test_rows_are_the_best_boxes_of_each_class() -> None:
    output = np.zeros((2, 6, 4), np.float32)
    output[0, :4] = np.array([[50, 50, 20, 40], [51, 50, 20, 40], [50, 50, 20, 40], [10, 10, 4, 4]]).T
    output[0, 4:] = [[0.9, 0.8, 0.3, 0.25], [0.1, 0.6, 0.7, 0.0]]
    kept, empty = suppress(output, Suppression(0.25))
    np.testing.assert_array_equal(kept, np.array([[40, 30, 60, 70, 0.9, 0], [40, 30, 60, 70, 0.7, 1]], np.float32))
    assert empty.shape == (0, 6)
    best = suppress(output, Suppression(0.05, best_class=True))[0]
    assert best[:, 4:].tolist() == pytest.approx(np.array([[0.9, 0], [0.7, 1], [0.25, 0]]))
    agnostic = suppress(output, Suppression(0.05, agnostic=True))[0]
    assert agnostic[:, 4:].tolist() == pytest.approx(np.array([[0.9, 0], [0.25, 0]]))
    assert len(suppress(output, Suppression(0.0, limit=2))[0]) == 2


def test_broken_boxes_are_left_out() -> None:
    output = clusters(0, 1, 2, 40)
    clean = suppress(output, Suppression(0.1))[0]
    worse = np.concatenate((output, output), 2)
    worse[0, 0, 40:60], worse[0, 3, 60:] = np.nan, np.inf
    np.testing.assert_array_equal(suppress(worse, Suppression(0.1))[0], clean)
    output[0, 4:] = np.nan
    assert len(suppress(output, Suppression(0.0))[0]) == 0


@pytest.mark.parametrize("options", [{"conf": -0.1}, {"conf": math.nan}, {"conf": 0.1, "iou": 1.5}])
def test_bad_options_of_the_suppression(options) -> None:
    with pytest.raises(ConfigError, match="allowed: 0 to 1"):
        Suppression(**options)


def test_all_problems_at_once_and_bad_shapes() -> None:
    with pytest.raises(ConfigError) as caught:
        Suppression(2, -1, 0)
    assert len(caught.value.problems) == 3
    for shape in ((5, 8), (1, 4, 8)):
        with pytest.raises(DataError, match="classes, anchors"):
            suppress(np.zeros(shape, np.float32), Suppression(0.1))
        with pytest.raises(DataError, match="classes, anchors"):
            Suppress(Suppression(0.1))(torch.zeros(shape))


def test_the_module_pads_rows_and_refuses_other_formats() -> None:
    output = clusters(1, 3, 2, 60)
    options = Suppression(0.2, limit=50)
    module = Suppress(options).eval()
    found = module(torch.from_numpy(output))
    assert found.shape == (3, 50, 6)
    for one, rows in zip(found.numpy(), suppress(output, options), strict=True):
        np.testing.assert_array_equal(one[: len(rows)], rows)
        assert not one[len(rows) :].any()
    example = (torch.from_numpy(output),)
    with pytest.raises(ExportError, match="only be exported to ONNX"):
        torch.export.export(module, example)
    with warnings.catch_warnings(), pytest.raises(ExportError, match="only be exported to ONNX"):
        warnings.simplefilter("ignore")
        torch.jit.trace(module, example)


VARIANTS = [
    Suppression(0.05),
    Suppression(0.3, 0.5, 20, best_class=True),
    Suppression(0.01, 0.45, 100, agnostic=True),
]


@pytest.mark.onnx
@pytest.mark.parametrize("options", VARIANTS, ids=["classes", "best-class", "agnostic"])
def test_the_exported_suppression_equals_numpy_bit_for_bit(options, tmp_path) -> None:
    import onnxruntime

    module, anywhere = Suppress(options).eval(), torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.from_numpy(clusters(0, 2, 3, 200)),),
            dynamo=True,
            opset_version=18,
            input_names=["output"],
            output_names=["rows"],
            dynamic_shapes=({0: anywhere, 2: anywhere},),
            verbose=False,
        )
    assert program is not None
    program.save(str(tmp_path / "nms.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "nms.onnx", providers=["CPUExecutionProvider"])
    counts = []
    for seed in range(12):
        output = clusters(seed, 1 + seed % 3, 3, (60, 200, 700)[seed % 3], ties=seed % 2 == 0)
        output[0, 1, :5], output[0, 2, 5:9] = np.nan, np.inf
        (found,) = session.run(None, {"output": output})
        np.testing.assert_array_equal(found, module(torch.from_numpy(output)).numpy())
        counts.append(int((found[..., 4] > 0).sum()))
    assert min(counts) > 5
