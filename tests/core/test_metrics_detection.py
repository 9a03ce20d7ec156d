"""Average precision against the COCO code and by hand, resampling, and free-response ROC."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.metrics.detection import AveragePrecision, _Resampled, compare
from fieldsight.metrics.froc import FROC

Photo = tuple[str, Detections, Truth]

#: The twelve numbers that pycocotools 2.0.11 gives for :func:`problem`, seed to numbers; None where it gives -1.
GOLDEN: dict[str, list[float | None]] = json.loads(Path(__file__).with_name("golden_coco.json").read_text())
KEYS = ["mAP50-95", "mAP50", "mAP75", "mAP-small", "mAP-medium", "mAP-large", "AR1", "AR10", "AR100", "AR-small",
        "AR-medium", "AR-large"]  # fmt: skip
seeds = st.integers(0, 2**32)


def problem(seed: int, coarse: bool | None = None) -> tuple[int, list[Photo]]:
    """Random photos out of whole numbers, the same on every machine: crowds, empty photos, ties, areas, many boxes."""
    rng = rng_for(seed, "detection problem")
    classes, photos = int(rng.integers(1, 5)), []
    ties = bool(rng.integers(2)) if coarse is None else coarse
    grid, crowded = int(rng.choice([1, 1, 8])), rng.integers(3) == 0
    for n in range(int(rng.integers(1, 12))):
        g = int(rng.integers(1, 9)) if rng.integers(5) else 0
        d = int(rng.integers(1, 150 if crowded else 15)) if rng.integers(6) else 0
        low, high = np.array([[4, 33], [33, 97], [97, 260]])[rng.integers(3, size=g)].T
        corner, sides = rng.integers(300, size=(g, 2)), rng.integers(low[:, None], high[:, None], size=(g, 2))
        boxes = np.concatenate([corner, corner + sides], axis=1) // grid * grid
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + grid)
        labels, area = rng.integers(classes, size=g), sides.prod(axis=1) * rng.choice([1.0, 0.625], g)
        near = rng.integers(g, size=d) if g else np.zeros(d, np.int64)
        base = boxes[near] if g else np.tile([10, 10, 60, 60], (d, 1))
        stray = rng.integers(300, size=(d, 2))
        strays = np.concatenate([stray, stray + rng.integers(2, 200, size=(d, 2))], axis=1)
        moved = base + rng.integers(-12, 13, size=(d, 4)) * rng.integers(2, size=(d, 1))
        found = np.where(rng.integers(3, size=(d, 1)) == 0, strays, moved) // grid * grid
        found = np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1)
        own = labels[near] if g else np.zeros(d, np.int64)
        named = np.where(rng.integers(5, size=d) > 0, own, rng.integers(classes, size=d))
        scores = rng.integers(11, size=d) / 10 if ties else (rng.permutation(4096)[:d] * 16 + n) / 65536
        crowd = rng.integers(5, size=g) == 0
        photos.append((f"{n:03d}", Detections.of(found, scores, named), Truth.of(boxes, labels, crowd, area)))
    return classes, photos


def measured(classes: int, photos: list[Photo], **options: Any) -> AveragePrecision:
    found = AveragePrecision([f"class {k}" for k in range(classes)], **options)
    for n, (id, detections, truth) in enumerate(photos):
        found.add(id, detections, truth, f"flight {n % 3}")
    return found


def row(scores: list[float], hits: list[bool], truths: int) -> tuple[Detections, Truth]:
    """A photo with ``truths`` boxes in a row, of which the hits find one each."""
    boxes = np.array([[20 * n, 0, 20 * n + 10, 10] for n in range(truths)])
    found = [boxes[sum(hits[:n])] if hit else [500, 500, 510, 510] for n, hit in enumerate(hits)]
    return Detections.of(found, scores, np.zeros(len(hits))), Truth.of(boxes, np.zeros(truths))


def one(detections: Detections, truth: Truth) -> AveragePrecision:
    return measured(1, [("a", detections, truth)])


# ------------------------------------------------------------------------------------------- the COCO numbers


@pytest.mark.parametrize("seed", GOLDEN)
def test_the_frozen_coco_numbers(seed: str) -> None:
    numbers = measured(*problem(int(seed))).compute().numbers()
    assert list(numbers) == KEYS
    wanted = [math.nan if x is None else x for x in GOLDEN[seed]]
    np.testing.assert_allclose(list(numbers.values()), wanted, rtol=0, atol=1e-12)


def coco(classes: int, photos: list[Photo]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same boxes as COCO annotations and results."""
    annotations, results = [], []
    for n, (_, d, t) in enumerate(photos, 1):
        for box, label, crowd, area in zip(t.boxes.tolist(), t.labels, t.ignore, t.area, strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": n, "category_id": int(label) + 1, "area": float(area),
                 "iscrowd": int(crowd), "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
            )  # fmt: skip
        for box, label, score in zip(d.boxes.tolist(), d.labels, d.scores, strict=True):
            results.append(
                {"image_id": n, "category_id": int(label) + 1, "score": float(score),
                 "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
            )  # fmt: skip
    images = [{"id": n, "height": 600, "width": 600} for n in range(1, len(photos) + 1)]
    categories = [{"id": k + 1, "name": str(k)} for k in range(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def judged(peer: str, classes: int, photos: list[Photo]) -> Any:
    data, results = coco(classes, photos)
    with contextlib.redirect_stdout(io.StringIO()):
        if peer == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval as Judge
        else:
            from faster_coco_eval import COCO
            from faster_coco_eval.core.faster_eval_api import COCOeval_faster as Judge
        truth, found = COCO(), COCO()
        truth.dataset, found.dataset = data, {**data, "annotations": []}
        truth.createIndex()
        found.createIndex()
        judge = Judge(truth, truth.loadRes(results) if results else found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize(("peer", "module"), [("pycocotools", "pycocotools"), ("faster-coco-eval", "faster_coco_eval")])
def test_equal_to_the_coco_code(peer: str, module: str) -> None:
    pytest.importorskip(module)
    for seed in range(1000, 1040):
        classes, photos = problem(seed)
        scores, judge = measured(classes, photos).compute(), judged(peer, classes, photos)
        stats = np.array(judge.stats[:12])
        numbers = list(scores.numbers().values())
        np.testing.assert_allclose(numbers, np.where(stats < 0, np.nan, stats), rtol=0, atol=1e-12, err_msg=str(seed))
        precision = judge.eval["precision"][..., -1].transpose(3, 2, 0, 1)
        last_bits = 0 if peer == "pycocotools" else 1e-15
        np.testing.assert_allclose(
            scores.precision, np.where(precision < 0, np.nan, precision), rtol=0, atol=last_bits, err_msg=str(seed)
        )


@pytest.mark.parametrize(
    ("hits", "truths", "ap"), [([1, 0, 1], 2, 0.834983), ([1, 0, 1], 3, 0.554455), ([1] * 8, 10, 0.801980)]
)
def test_average_precision_of_the_specification(hits: list[int], truths: int, ap: float) -> None:
    scores = one(*row([0.9 - 0.1 * n for n in range(len(hits))], [bool(h) for h in hits], truths)).compute()
    assert scores.numbers()["mAP50"] == pytest.approx(ap, abs=5e-7)
    assert scores.ap == pytest.approx(np.full((1, 10), ap), abs=5e-7)


# ------------------------------------------------------------------------------------------- invariants


@settings(max_examples=25, deadline=None)
@given(seeds, st.randoms(use_true_random=False), st.floats(0, 1))
def test_order_and_shards_do_not_matter(seed: int, chance: Any, share: float) -> None:
    classes, photos = problem(seed)
    whole = measured(classes, photos)
    mixed = [(*photo, f"flight {n % 3}") for n, photo in enumerate(photos)]
    chance.shuffle(mixed)
    shards = [AveragePrecision(whole.names), AveragePrecision(whole.names)]
    for n, photo in enumerate(mixed):
        shards[n >= share * len(mixed)].add(*photo)
    merged = shards[1].merge(shards[0])
    for a, b in ((whole.compute(), merged.compute()), (whole.compute(0.5), merged.compute(0.5))):
        np.testing.assert_array_equal(a.precision, b.precision)
        np.testing.assert_array_equal(a.recall_at, b.recall_at)
    assert merged.table().groups == whole.table().groups


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_in_range_and_never_better_above_a_confidence(seed: int) -> None:
    found = measured(*problem(seed))
    low, high = found.compute(0.001), found.compute(0.5)
    assert np.array_equal(np.isnan(low.ap), np.isnan(high.ap))
    for a, b in zip(low.numbers().values(), high.numbers().values(), strict=True):
        assert math.isnan(a) or 0 <= b <= a <= 1
    cut = [(i, Detections(d.boxes[k], d.scores[k], d.labels[k]), t) for i, d, t in problem(seed)[1]
           for k in [d.scores >= 0.5]]  # fmt: skip
    np.testing.assert_array_equal(measured(len(found.names), cut).compute().precision, high.precision)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_perfect_boxes_give_one(seed: int) -> None:
    classes, photos = problem(seed)
    for n, (id, _, t) in enumerate(photos):
        apart = t.boxes + np.arange(len(t))[:, None] * np.float32(1000)  # boxes that overlap could swap partners
        photos[n] = (id, Detections.of(apart, np.linspace(1, 0.6, len(t)), t.labels), replace(t, boxes=apart))
    found = measured(classes, photos)
    counted = [x for name, x in found.compute().numbers().items() if name not in ("AR1", "AR10")]
    for x in (*counted, *found.best().numbers().values()):
        assert math.isnan(x) or x == pytest.approx(1.0, abs=1e-12)


def test_undefined_and_zero() -> None:
    _, truth = row([], [], 2)
    nothing = AveragePrecision(["a", "b", "c"])
    assert all(math.isnan(x) for x in nothing.compute().numbers().values())
    assert math.isnan(nothing.best().numbers()["F1"])
    nothing.add("1", Detections.of([[0, 0, 10, 10]], [0.9], [2]), truth)  # a: missed; b: never there; c: only false
    scores = nothing.compute()
    assert scores.ap[:, 0].tolist()[0] == 0
    assert np.isnan(scores.ap[1:]).all()
    assert scores.numbers()["mAP50-95"] == 0
    assert math.isnan(scores.numbers()["mAP-large"])
    assert [r["AP50"] for r in scores.per_class().rows] == [0.0, None, None]
    at = nothing.operating(0.5)
    assert at.numbers() == {"P": 0.0, "R": 0.0, "F1": 0.0}
    assert (at.tp.tolist(), at.fp.tolist(), at.fn.tolist()) == ([0, 0, 0], [0, 0, 1], [2, 0, 0])
    assert at.pooled()["P"] == 0.0


def test_an_empty_photo_adds_false_boxes_only() -> None:
    photo = row([0.8], [True], 1)
    found = one(*photo)
    assert found.compute().numbers()["mAP50"] == pytest.approx(1.0)
    found.add("b", Detections.of([[0, 0, 9, 9]], [0.9], [0]), Truth.of([], []))
    assert found.compute().numbers()["mAP50"] == pytest.approx(0.5)


def test_a_crowd_takes_any_number_and_counts_for_nothing() -> None:
    truth = Truth.of([[0, 0, 100, 100], [200, 0, 210, 10]], [0, 0], [True, False])
    inside = [[n, n, n + 10, n + 10] for n in range(0, 50, 10)]
    scores = one(Detections.of([*inside, [200, 0, 210, 10]], [0.9] * 5 + [0.1], [0] * 6), truth)
    assert scores.compute().numbers()["mAP50-95"] == pytest.approx(1.0)
    assert scores.operating(0.0).fp.tolist() == [0]


def test_a_true_box_that_counts_comes_before_a_better_one_that_does_not() -> None:
    truth = Truth.of([[0, 0, 100, 100], [0, 0, 10, 8]], [0, 0], [True, False])
    scores = one(Detections.of([[0, 0, 10, 10]], [0.9], [0]), truth)  # wholly in the crowd, 0.8 of the other
    assert scores.operating(0.0, 0.75).tp.tolist() == [1]
    assert scores.operating(0.0, 0.85).tp.tolist() == [0]


def test_both_ends_of_a_range_of_areas_belong_to_it() -> None:
    box = [[0, 0, 32, 32]]
    numbers = one(Detections.of(box, [0.9], [0]), Truth.of(box, [0])).compute().numbers()
    assert numbers["mAP-small"] == numbers["mAP-medium"] == pytest.approx(1.0)
    assert math.isnan(numbers["mAP-large"])


# ------------------------------------------------------------------------------------------- at one confidence


def test_hits_at_a_confidence_and_the_best() -> None:
    detections, truth = row([0.9, 0.8, 0.7, 0.6, 0.5], [True, True, False, True, False], 4)
    found = one(detections, truth)
    at = found.operating(0.7)
    assert (at.tp[0], at.fp[0], at.fn[0]) == (2, 1, 2)
    assert at.numbers() == pytest.approx({"P": 2 / 3, "R": 0.5, "F1": 4 / 7})
    best = found.best()
    assert best.conf == pytest.approx(0.6)
    assert best.numbers()["F1"] == pytest.approx(0.75)
    curve = found.curve("class 0")
    assert curve.precision == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert curve.recall == pytest.approx([0.25, 0.5, 0.5, 0.75, 0.75])
    assert curve.f1.max() == pytest.approx(0.75)
    for call in (lambda: found.operating(0.5, 0.52), lambda: found.best(0.3), lambda: found.curve("x")):
        with pytest.raises(ConfigError, match="Allowed"):
            call()


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([0.5, 0.75]))
def test_the_best_is_the_best_of_all_confidences(seed: int, iou: float) -> None:
    found = measured(*problem(seed))
    every = [found.operating(float(c), iou).numbers()["F1"] for c in np.unique(found.table().score)]
    best = found.best(iou).numbers()["F1"]
    if every and not math.isnan(best):
        assert best == pytest.approx(max(every), abs=1e-12)
    for k, name in enumerate(found.names):
        curve = found.curve(name, iou)
        for n in range(0, len(curve.scores), 7):
            at = found.operating(curve.scores[n], iou)
            np.testing.assert_allclose(at.recall[k], curve.recall[n])
            if at.tp[k] + at.fn[k]:
                np.testing.assert_allclose(at.precision[k], curve.precision[n])


# ------------------------------------------------------------------------------------------- resampling


@settings(max_examples=20, deadline=None)
@given(seeds, st.data())
def test_weights_are_photos_counted_again(seed: int, data: st.DataObject) -> None:
    classes, photos = problem(seed, coarse=False)
    times = [data.draw(st.integers(0, 3)) for _ in photos]
    again = [(f"{id}.{n}", d, t) for (id, d, t), w in zip(photos, times, strict=True) for n in range(w)]
    for conf in (0.0, 0.4):
        value = _Resampled(measured(classes, photos), None, conf).value(np.array(times, np.float64))
        wanted = measured(classes, again).compute(conf).numbers()["mAP50-95"]
        assert value == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def noisy(seed: int, worse: bool) -> AveragePrecision:
    """Thirty photos of six flights; the worse detector misses every third box and boxes are drawn loosely."""
    rng, found = rng_for(seed, "noisy"), AveragePrecision(["a", "b"])
    for n in range(30):
        corner = rng.uniform(0, 400, (6, 2))
        boxes, labels = np.concatenate([corner, corner + 40], axis=1), rng.integers(2, size=6)
        near, scores = boxes + rng.normal(0, 2, (6, 4)), rng.random(6)
        kept = np.arange(6) % 3 < (2 if worse else 3)
        found.add(
            f"{n:02d}", Detections.of(near[kept], scores[kept], labels[kept]), Truth.of(boxes, labels), f"f{n % 6}"
        )
    return found


def test_compare_two_detectors() -> None:
    good, bad = noisy(0, False), noisy(0, True)
    found = compare(good, bad, draws=300)
    assert found.difference.value == pytest.approx(bad.compute().numbers()["mAP50-95"] - found.a.value)
    assert found.difference.low <= found.difference.value <= found.difference.high < 0
    assert found.p < 0.02
    assert found.difference.n == 6
    assert found == compare(good, bad, draws=300)
    assert compare(good, bad, iou=0.5, by="photo", draws=50).a.value == pytest.approx(good.compute().numbers()["mAP50"])
    same = compare(good, noisy(0, False), draws=50)
    assert (same.difference.low, same.difference.high, same.p) == (0, 0, 1)


def test_compare_refuses_what_is_not_paired() -> None:
    good, other = noisy(0, False), noisy(1, False)
    other.add("new", *row([0.5], [True], 1))
    with pytest.raises(DataError, match="same photos"):
        compare(good, other)
    more, less = one(*row([0.5], [True], 1)), one(*row([0.5], [True], 2))
    with pytest.raises(DataError, match="same true boxes"):
        compare(more, less)
    with pytest.raises(DataError, match="at least one true box"):
        compare(AveragePrecision(["a"]), AveragePrecision(["a"]))
    with pytest.raises(ConfigError, match="same classes"):
        compare(good, more)
    with pytest.raises(ConfigError, match="Did you mean 'group'"):
        compare(good, good, by="groups")
    with pytest.raises(ConfigError, match="draws"):
        compare(good, good, draws=0)
    with pytest.raises(ConfigError, match="not measured"):
        compare(good, good, iou=0.3)


# ------------------------------------------------------------------------------------------- bad input


BAD = {
    "twice": (Detections.of([], [], []), Truth.of([], []), "a"),
    "not finite": (Detections.of([[0, 0, 1, math.nan]], [0.5], [0]), Truth.of([], []), "b"),
    "finite": (Detections.of([[0, 0, 1, 1]], [math.inf], [0]), Truth.of([], []), "b"),
    "x1 <= x2": (Detections.of([], [], []), Truth.of([[5, 0, 1, 1]], [0]), "b"),
    "0 to 0, got 1 to 1": (Detections.of([[0, 0, 1, 1]], [0.5], [1]), Truth.of([], []), "b"),
    "true boxes must be 0 to 0, got -1": (Detections.of([], [], []), Truth.of([[0, 0, 1, 1]], [-1]), "b"),
    "as many": (Detections.of([[0, 0, 1, 1]], [0.5, 0.6], [0]), Truth.of([], []), "b"),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("kind", [AveragePrecision, FROC])
def test_bad_boxes_are_refused_and_change_nothing(kind: type[AveragePrecision | FROC], message: str) -> None:
    found = kind(["thing"])
    found.add("a", Detections.of([], [], []), Truth.of([], []))
    detections, truth, id = BAD[message]
    with pytest.raises(DataError, match=message):
        found.add(id, detections, truth)
    assert len(found) == 1
    with pytest.raises(DataError, match="twice"):
        found.merge(found)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="same classes"):
        found.merge(kind(["other"]))  # type: ignore[arg-type]


def test_bad_options_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        AveragePrecision([], ious=[0.5, 0.5], limits=[10, 1])
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError) as caught:
        FROC(["a", "a"], "center", 0.0)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="Rates"):
        FROC(["a"]).compute(rates=(0.0,))


# ------------------------------------------------------------------------------------------- free-response ROC


def lesions(criterion: str = "iou") -> FROC:
    """Four photos, three lesions; falling scores: hit, false, hit again (neither), hit, false, ignored, false."""
    found = FROC(["nodule"], criterion)
    box, other, region = [0, 0, 10, 10], [50, 50, 60, 60], [100, 100, 200, 200]
    far = [300, 300, 310, 310]
    found.add("a", Detections.of([box, far, box], [0.9, 0.8, 0.7], [0] * 3), Truth.of([box], [0]), "p")
    found.add("b", Detections.of([other, far], [0.6, 0.5], [0] * 2), Truth.of([box, other], [0, 0]), "p")
    found.add("c", Detections.of([[110, 110, 120, 120], far], [0.4, 0.3], [0] * 2), Truth.of([region], [0], [True]))
    found.add("d", Detections.of([], [], []), Truth.of([], []))
    return found


@pytest.mark.parametrize("criterion", ["iou", "centre"])
def test_froc_by_hand(criterion: str) -> None:
    found = lesions(criterion)
    curve = found.curve()
    assert curve.scores == pytest.approx([0.9, 0.8, 0.6, 0.5, 0.3])
    assert curve.false == pytest.approx([0, 0.25, 0.25, 0.5, 0.75])
    assert curve.sensitivity == pytest.approx(np.array([1, 1, 2, 2, 2]) / 3)
    scores = found.compute(draws=100)
    assert [e.value for e in scores.sensitivity] == pytest.approx(np.array([1, 2, 2, 2, 2, 2, 2]) / 3)
    assert scores.mean.value == pytest.approx(13 / 21)
    assert scores.mean.low <= scores.mean.value <= scores.mean.high
    assert (scores.photos, scores.lesions, scores.mean.n) == (4, 3, 3)
    assert scores.numbers()["sensitivity@0.125"] == pytest.approx(1 / 3)
    assert scores == found.compute(draws=100)
    between = found.compute(rates=(0.125, 0.25), interpolate=True, draws=0).sensitivity
    assert [e.value for e in between] == pytest.approx([1 / 3, 2 / 3])
    assert math.isnan(between[0].low)


def test_froc_without_lesions_is_undefined() -> None:
    for found in (FROC(["a", "b"]), lesions_of_b()):
        for interpolate in (False, True):
            scores = found.compute("a", interpolate=interpolate, draws=10)
            assert all(math.isnan(x) for x in scores.numbers().values())
    assert lesions_of_b().compute("b", draws=10).mean.value == 1.0
    with pytest.raises(ConfigError, match="Unknown class"):
        lesions_of_b().curve("c")


def lesions_of_b() -> FROC:
    found = FROC(["a", "b"])
    found.add("1", Detections.of([[0, 0, 9, 9]] * 2, [0.9, 0.8], [0, 1]), Truth.of([[0, 0, 9, 9]], [1]))
    return found


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["iou", "centre"]), st.sampled_from([0.125, 0.5, 1.0, 4.0]), st.integers(0, 9))
def test_froc_is_the_best_allowed_confidence(seed: int, criterion: str, rate: float, cut: int) -> None:
    classes, photos = problem(seed)
    names = [str(k) for k in range(classes)]
    first, second = FROC(names, criterion, 0.25), FROC(names, criterion, 0.25)
    for n, photo in enumerate(photos):
        (first if n < cut else second).add(*photo)
    found = second.merge(first)
    curve = found.curve()
    assert (np.diff(curve.false) >= 0).all()
    got = found.compute(rates=(rate,), draws=3).sensitivity[0].value
    if not math.isnan(got):
        assert got == max([0.0, *curve.sensitivity[curve.false <= rate]])
        assert found.compute(rates=(rate,), draws=0, interpolate=True).sensitivity[0].value >= got - 1e-12
