"""The verb quantize: measuring, searching layers to keep in float, training for 8 bits, files that compute the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldsight.data.detection.folders import write_detection
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.images import write_image
from fieldsight.detection.measure import average_precision
from fieldsight.detection.network import Losing
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, ExportError
from fieldsight.run import Run
from fieldsight.systems.edge import quantize as verb
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.options_quantize import QuantizeOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant import photos as roles
from fieldsight.systems.edge.quant import qat
from fieldsight.systems.edge.quant.calibrate import PictureStatistics
from fieldsight.systems.edge.quant.fake import Scales, choose_scales, observe, simulate
from fieldsight.systems.edge.quant.grid import Grid
from fieldsight.systems.edge.quant.measure import (
    FACTORS,
    compare_precisions,
    darkened,
    factor_table,
    inputs,
    measure,
    score_of,
    traced_of,
)
from fieldsight.systems.edge.quant.mixed import by_output, fewest_in_float
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quant.sensitivity import Sensitivity, sensitivities, sqnr
from fieldsight.systems.edge.quant.tape import Traced, trace

TINY = PRESETS["tiny"].replace(classes=("square", "bar"), data={"world": "arena"})
YELLOW = (250, 240, 60)

# ------------------------------------------------------------------------------------------------ a small world


def photo(number: int, split: str = "train", size: tuple[int, int] = (48, 64)) -> DetectionSample:
    """A yellow square or bar on grey noise."""
    rng = rng_for(number, "edge quantise test")
    picture = rng.integers(90, 130, (*size, 3), dtype=np.uint8)
    label = int(rng.integers(2))
    wide, high = ((20, 20), (34, 12))[label]
    left, top = int(rng.integers(size[1] - wide)), int(rng.integers(size[0] - high))
    picture[top : top + high, left : left + wide] = YELLOW
    truth = Truth.of([[left, top, left + wide, top + high]], [label])
    return DetectionSample(f"{split}-{number}", f"g{number // 2}", split, size, lambda: picture, lambda: truth)


def sources(*numbers: int) -> list[Callable[[], Any]]:
    return [photo(n).image for n in numbers]


@cache
def model(family: Any = "yolov8") -> EdgeModel:
    """An untrained detector whose activations look like those of a trained one: normalised, outputs that vary."""
    found = EdgeModel.create(TINY.replace(family=family))
    norms = [m for m in found.detector.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        found.detector.train()
        for batch in inputs(sources(*range(24)), 64):
            found.detector(batch)
    found.detector.eval()
    return found


@cache
def traced() -> Traced:
    return traced_of(model())


@cache
def batches() -> list[Tensor]:
    return list(inputs(sources(*range(8)), 64, 4))


def scales(**options: Any) -> Scales:
    return choose_scales(traced(), observe(traced(), batches()), Scheme(engine="onnxruntime", **options))


class Oracle:
    """Finds the yellow shapes, a few pixels off, with a score."""

    def __init__(self, off: float = 0.0, score: float = 0.9) -> None:
        self.off, self.score = off, score

    def __call__(self, images: Tensor) -> Tensor:
        out = torch.zeros(len(images), 6, 3)
        for found, image in zip(out, images, strict=True):
            rows, columns = torch.nonzero((image[0] > 0.9) & (image[2] < 0.4), as_tuple=True)
            left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
            sides = torch.stack([right - left, bottom - top])
            found[:2, 0] = torch.stack([left + right, top + bottom]) / 2 + self.off
            found[2:4, 0] = sides
            found[4 + int(sides[0] > 1.5 * sides[1]), 0] = self.score
        return out


# --------------------------------------------------------------------------------------------------- measuring


def test_a_perfect_network_scores_one_and_weak_scores_vanish_at_one_half() -> None:
    samples = [photo(n, "test") for n in range(6)]
    table = compare_precisions(
        model(), samples, {"sure": Oracle(), "unsure": Oracle(score=0.3), "off": Oracle(off=3.0)}, draws=40
    )
    rows = {(row["precision"], row["conf"]): row for row in table.rows}
    assert rows["sure", 0.001]["mAP50-95"] == rows["sure", 0.5]["mAP50-95"] == 1.0
    assert (rows["unsure", 0.001]["mAP50-95"], rows["unsure", 0.5]["mAP50-95"]) == (1.0, 0.0)
    assert "difference" not in rows["sure", 0.001]
    off = rows["off", 0.001]
    assert off["difference"] == pytest.approx(off["mAP50-95"] - 1.0)
    assert off["low"] <= off["difference"] <= off["high"] < 0
    assert rows["unsure", 0.001]["low"] == rows["unsure", 0.001]["high"] == 0.0
    assert table.facts["groups"] == 3
    for name in ("sure", "unsure", "off"):
        assert rows[name, 0.5]["mAP50-95"] <= rows[name, 0.001]["mAP50-95"]


def test_measuring_equals_evaluation() -> None:
    samples = [photo(n, "test", (40, 80)) for n in range(3)]
    one, other = measure(model().graph(), model(), samples), average_precision(model(), samples)
    for conf in (0.001, 0.5):
        np.testing.assert_equal(one.compute(conf).numbers(), other.compute(conf).numbers())
    assert len(one.table().score) == len(other.table().score) > 0
    assert score_of(model(), samples)(model().graph()) == one.compute(0.001).numbers()["mAP50-95"]
    with pytest.raises(DataError, match="no photos to measure"):
        measure(model().graph(), model(), [])


def test_factors_are_changed_one_by_one() -> None:
    table = factor_table(model(), sources(*range(10)), [photo(30, "test"), photo(32, "test")], draws=5)
    rows = [row for row in table.rows if row["conf"] == 0.5]
    assert [row["precision"] for row in rows][:2] == ["FP32", "good"]
    assert len(rows) == len({row["precision"] for row in rows}) == 13
    known = {row["precision"]: [row.get(name) for name in FACTORS] for row in rows[1:]}
    for name, values in known.items():
        start = known[name.split(",")[0]]
        assert sum(a != b for a, b in zip(values, start, strict=True)) == (", but " in name)
    assert known["good"] == [good for good, _ in FACTORS.values()]
    assert known["bad"] == [bad for _, bad in FACTORS.values()]
    assert (table.facts["good pictures"], table.facts["dark pictures"]) == (10, 8)
    assert table.to_csv().count("\n") == 27


def test_dark_pictures_are_darker() -> None:
    bright = photo(1).image()
    dark = darkened(lambda: bright)()
    assert dark.dtype == np.uint8
    assert dark.mean() == pytest.approx(0.15 * bright.mean(), abs=0.3)
    (batch,) = inputs([lambda: bright, lambda: dark], 64)
    assert batch.shape == (2, 3, 64, 64)
    assert float(batch[0, 0, 0, 0]) == pytest.approx(114 / 255)


# ---------------------------------------------------------------------------------------------- mixed precision


@cache
def chain() -> tuple[Traced, Scales, list[Sensitivity]]:
    """Twelve convolutions in a row."""
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()) for _ in range(12)), nn.Conv2d(2, 2, 1))
    batch = torch.rand(2, 2, 4, 4)
    found = trace(network, batch)
    grids = choose_scales(found, observe(found, [batch]), Scheme())
    return found, grids, [Sensitivity(name, 0.0, 0.0, None, None, 6) for name in found.graph.convolutions]


def costs(prices: dict[str, float]) -> Callable[[nn.Module], float]:
    def score(network: nn.Module) -> float:
        plan = getattr(network, "plan", None)
        return 1.0 - (0.0 if plan is None else sum(prices.get(name, 0.0) for name in plan.layers))

    return score


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 0.1), min_size=12, max_size=12), st.floats(0, 0.5), st.randoms(use_true_random=False))
def test_the_search_meets_its_bound_and_keeps_nothing_needless(prices: list[float], within: float, random: Any) -> None:
    found, grids, order = chain()
    names = [f"{n}.0" for n in range(12)]
    shuffled = list(order)
    random.shuffle(shuffled)  # a ranking may be wrong
    score = costs(dict(zip(names, prices, strict=True)))
    mixed = fewest_in_float(found, grids, shuffled, score, within, tries=1000)
    kept = set(mixed.kept_float)
    loss = {name: price for name, price in zip(names, prices, strict=True) if name not in kept}
    assert mixed.within
    assert 1.0 - mixed.score == pytest.approx(sum(loss.values()), abs=1e-9)
    assert 1.0 - mixed.score <= within + 1e-9
    for name in kept:
        cheaper = score(simulate(found, grids, [n for n in names if n not in kept - {name}]))
        assert cheaper < 1.0 - within, "this layer could have been in 8 bits"
    tried = [frozenset(step.kept_float) for step in mixed.steps]
    assert len(tried) == len(set(tried)), "nothing is measured twice"


def test_a_good_ranking_finds_the_culprits_with_few_measurements() -> None:
    found, grids, order = chain()
    ranked = sorted(order, key=lambda one: one.layer not in ("3.0", "7.0"))
    mixed = fewest_in_float(found, grids, ranked, costs({"3.0": 0.2, "7.0": 0.3}), 0.1)
    assert set(mixed.kept_float) == {"3.0", "7.0"}
    assert len(mixed.steps) <= 8
    assert mixed.share == pytest.approx(10 / 13)
    generous = fewest_in_float(found, grids, ranked, costs({"3.0": 0.2, "7.0": 0.3}), 0.6)
    assert (generous.kept_float, len(generous.steps)) == ((), 1)
    hasty = fewest_in_float(found, grids, list(reversed(ranked)), costs({"3.0": 0.2}), 0.1, tries=0)
    assert "3.0" in hasty.kept_float
    assert hasty.within
    with pytest.raises(ConfigError, match="0 or more"):
        fewest_in_float(found, grids, order, costs({}), -0.1)
    for bad in (order[1:], [*order, order[0]]):
        with pytest.raises(ConfigError, match="each of them once"):
            fewest_in_float(found, grids, bad, costs({}), 0.1)


def test_the_output_itself_can_be_bounded() -> None:
    grids = scales()
    score = by_output(traced(), batches()[:1])
    everything = score(simulate(traced(), grids))
    assert score(traced().network) > -1e-9
    assert everything < -1e-3
    order = sensitivities(traced(), grids, batches()[:1])
    mixed = fewest_in_float(traced(), grids, order, score, -everything / 2, tries=4)
    assert mixed.within
    assert 0 < len(mixed.kept_float) < len(traced().graph.convolutions)
    whole = replace(grids, scheme=grids.scheme.replace(keep_float=mixed.kept_float))
    assert score(simulate(traced(), whole)) == mixed.score, "the names say it all"
    with pytest.raises(DataError, match="at least one"):
        by_output(traced(), [])


def test_a_ruined_channel_is_not_hidden_by_exact_ones() -> None:
    reference = traced().network(batches()[0])

    class Ruined(nn.Module):
        def __init__(self, channels: list[int]) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, images: Tensor) -> Tensor:
            out = reference.clone()
            out[:, self.channels] = 0.0
            return out

    score = by_output(traced(), batches()[:1])
    assert score(Ruined([5])) == pytest.approx(-((1 / 6) ** 0.5))
    assert score(Ruined([])) == 0.0
    found, grids, _ = chain()
    order = verb.sensitivities_of(found, grids, [torch.rand(2, 2, 4, 4)])
    assert [one.loss for one in order] == sorted((one.loss for one in order), reverse=True)
    assert len({one.loss for one in order}) > 1


# -------------------------------------------------------------------------------------- training for 8 bits


def padded(*numbers: int) -> dict[str, Tensor]:
    found = [photo(n) for n in numbers]
    (images,) = inputs([s.image for s in found], 64, len(found))
    boxes = np.stack([s.truth().boxes + np.float32([0, 8, 0, 8]) for s in found])
    labels = np.stack([s.truth().labels for s in found])
    return {"image": images, "boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}


def aware(moving: bool = False, **options: Any) -> qat.Aware:
    return qat.Aware(traced_of(model()), scales(**options), model().config, moving)


def test_in_float_the_loss_is_the_detectors_own() -> None:
    net = aware(keep_float=("*",))
    assert not net.simulated.plan.layers
    with torch.no_grad():
        own, ours = Losing(model().detector, model().config)(padded(1, 2, 3)), net(padded(1, 2, 3))
        assert float(ours["loss"]) == pytest.approx(float(own["loss"]), rel=1e-4)
        quantised = aware()(padded(1, 2, 3))
    assert float(quantised["loss"]) != pytest.approx(float(own["loss"]), rel=1e-4)


def test_gradients_reach_all_convolutions_and_nothing_fixed() -> None:
    net = aware().train()
    assert net.training
    assert not net.simulated.network.training
    net(padded(1, 2))["loss"].backward()
    learning = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * len(traced().graph.convolutions)
    assert not [name for name in learning if name.endswith("bins")]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in learning.values())
    reached = [name for name, p in learning.items() if p.grad is not None and bool(p.grad.any())]
    assert len(reached) > 0.9 * len(learning)


@pytest.mark.parametrize("activations", ["symmetric", "affine"])
def test_ranges_and_grids_are_the_same_thing(activations: Any) -> None:
    scheme = Scheme(activations=activations, engine="onnxruntime")
    for grid in (qat.grid_of(-0.3, 2.0, scheme), qat.grid_of(-1.0, 1.0, scheme), qat.grid_of(0.0, 5.0, scheme)):
        again = qat.grid_of(*qat.ends_of(grid, scheme), scheme)
        assert (again.zero_point, again.low, again.high) == (grid.zero_point, grid.low, grid.high)
        assert again.scale == pytest.approx(grid.scale, rel=1e-6)
    assert qat.grid_of(-2.54, 1.0, Scheme()) == Grid.symmetric(2.54)


def test_moving_scales_forget_a_dark_calibration_and_fixed_ones_do_not() -> None:
    own = traced_of(model())
    dark = choose_scales(own, observe(own, list(inputs([darkened(s) for s in sources(*range(8))], 64))), Scheme())
    bright = choose_scales(own, observe(own, [padded(*range(8))["image"]]), Scheme())
    key = own.graph.groups[own.graph.group_of[own.graph.sources[0]]].key
    for moving in (True, False):
        net = qat.Aware(own, dark, model().config, moving).train()
        with torch.no_grad():
            net(padded(*range(8)))
        now = net.network().scales.grids
        assert now[key].scale == pytest.approx((bright if moving else dark).grids[key].scale, rel=1e-5)
        assert (now == dark.grids) is not moving
        net.eval()
        with torch.no_grad():
            net(padded(1))
        assert net.network().scales.grids == now, "only training moves them"


def test_the_same_seed_trains_the_same_network_and_a_run_is_taken_up(tmp_path: Path) -> None:
    learn, watch = [photo(n) for n in range(6)], [photo(n, "val") for n in range(50, 53)]
    before = {k: v.clone() for k, v in traced().network.state_dict().items()}
    grids = scales()
    how = qat.Recipe(steps=3, lr=1e-3, batch=3)
    train = partial(qat.train_aware, model(), traced(), grids, learn, watch, how)
    with Run.create(tmp_path / "run", "edge", TINY) as run:
        first = train(run=run)
        again = train(run=run)  # finished: nothing is left to do
    other = train()
    assert all(torch.equal(v, before[k]) for k, v in traced().network.state_dict().items())
    moved = [k for k, v in first.traced.network.state_dict().items() if not torch.equal(v, before[k])]
    assert len(moved) > 1.8 * len(traced().graph.convolutions), "a coarse level may have no box"
    for found in (again, other):
        for key, value in first.traced.network.state_dict().items():
            assert torch.equal(value, found.traced.network.state_dict()[key]), key
        assert found.scales == first.scales
    assert not any(p.requires_grad for p in first.traced.network.parameters())
    layer = next(iter(grids.weights))
    assert first.scales.weights[layer] == pytest.approx(
        (first.traced.convolution(layer).weight.abs().flatten(1).amax(1) / 127).tolist()
    )
    assert first.after == score_of(model(), watch)(simulate(first.traced, first.scales))
    moderate = sqnr(traced().network(batches()[0]), simulate(first.traced, first.scales)(batches()[0]))
    assert moderate > 5, "three small steps do not ruin it"


def test_v10_trains_its_deployed_branch_and_others_are_refused() -> None:
    own = traced_of(model("yolov10"))
    grids = choose_scales(own, observe(own, batches()[:1]), Scheme())
    net = qat.Aware(own, grids, model("yolov10").config, False).train()
    found = net(padded(1, 2))
    assert 1 <= float(found["positives"]) <= 2, "one anchor a box"
    found["loss"].backward()
    found_grid, found_grids, _ = chain()
    with pytest.raises(ConfigError, match="only yolov8 and yolov10"):
        qat.Aware(found_grid, found_grids, TINY, False)
    empty = [replace(photo(1), truth=lambda: Truth.of([], []))]
    with pytest.raises(DataError, match="needs pictures with boxes"):
        qat.train_aware(model(), own, grids, empty, empty, qat.Recipe(steps=1))


# -------------------------------------------------------------------------------------------- pictures by role


def folder(tmp_path: Path, names: tuple[str, ...] = TINY.classes, val: int = 8) -> Path:
    samples = [photo(n) for n in range(12)] + [photo(n, "val") for n in range(20, 20 + val)]
    return write_detection(samples, names, tmp_path / "data", "yolo")


def told(**values: Any) -> QuantizeOptions:
    return QuantizeOptions.parse(values)


def fresh(**training: Any) -> EdgeModel:
    """The model with what training wrote beside it."""
    found = EdgeModel(model().config, model().networks, {"training": training} if training else {})
    found.source = "test"
    return found


def test_pictures_of_a_folder_take_their_roles(tmp_path: Path) -> None:
    data = folder(tmp_path)
    plain = roles.gather_photos(fresh(), told(pictures=5, frames=6), data)
    assert (len(plain.calibration), len(plain.held), plain.search, plain.train) == (5, 6, (), ())
    assert all(s.split == "val" for s in plain.held)
    assert plain.statistics.count == 5
    assert any("Only 5 pictures" in w for w in plain.warnings)
    apart = roles.gather_photos(fresh(), told(qat_steps=2), data)
    assert (len(apart.train), len(apart.calibration)) == (12, 12)
    searched, held = {s.group for s in apart.search}, {s.group for s in apart.held}
    assert searched
    assert held
    assert not searched & held
    again = roles.gather_photos(fresh(), told(qat_steps=2), data)
    assert [s.id for s in again.search] == [s.id for s in apart.search]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    strange = folder(tmp_path / "a", ("square", "disc"))
    with pytest.raises(DataError, match="the model knows square, bar"):
        roles.gather_photos(fresh(), told(), strange)
    data = folder(tmp_path / "b")
    with pytest.raises(DataError, match="no photos in the split 'test'"):
        roles.gather_photos(fresh(), told(split="test"), data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        roles.gather_photos(fresh(), told(calibration=tmp_path / "empty"), data)
    with pytest.raises(DataError, match="at least two groups"):
        roles.halves([photo(0), photo(1)], 0)


def test_foreign_calibration_pictures_raise_a_warning(tmp_path: Path) -> None:
    usual = PictureStatistics.of(photo(n).image() for n in range(40)).to_dict()
    for n in range(30):
        write_image(tmp_path / "dark" / f"{n:02d}.png", darkened(photo(n).image)())
        write_image(tmp_path / "good" / f"{n:02d}.png", photo(n + 100).image())
    data = folder(tmp_path)
    for name, expected in (("dark", True), ("good", False)):
        found = roles.gather_photos(fresh(statistics=usual), told(calibration=tmp_path / name, frames=0), data)
        assert any("too dark" in w for w in found.warnings) is expected
        assert any("unlike the training" in w for w in found.warnings) is expected
        assert (len(found.calibration), found.held) == (30, ())
        # without what training wrote, the training split at hand says the same
        found = roles.gather_photos(fresh(), told(calibration=tmp_path / name, frames=0), data)
        assert any("too dark" in w for w in found.warnings) is expected


def test_a_model_of_own_photos_needs_them(tmp_path: Path) -> None:
    own = fresh(drawn=False)
    with pytest.raises(ConfigError, match="--calibration FOLDER"):
        roles.gather_photos(own, told(), None)
    with pytest.raises(ConfigError, match="name your data folder"):
        roles.gather_photos(own, told(qat_steps=3), None)
    write_image(tmp_path / "few" / "1.png", photo(1).image())
    found = roles.gather_photos(own, told(calibration=tmp_path / "few"), None)
    assert found.held == ()
    assert any("Nothing is measured" in w for w in found.warnings)


def test_drawn_pictures_take_their_roles() -> None:
    found = roles.gather_photos(fresh(), told(pictures=2, frames=2, keep_within=0.1), None)
    assert (len(found.calibration), len(found.held)) == (2, 2)
    assert {s.split for s in found.search} == {"val"}
    assert not {s.group for s in found.search} & {s.group for s in found.held}
    assert "arena" in found.calibration_name
    assert "held-out" in found.held_name


# ------------------------------------------------------------------------------------------------------ the verb


def test_options_become_a_scheme_and_contradictions_are_refused() -> None:
    scheme = told(per_channel="no", head_float="no", observer="entropy", keep_float="a,b*").scheme()
    assert scheme == Scheme("entropy", 99.95, "tensor", "symmetric", False, "onnxruntime", ("a", "b*"))
    assert told().scheme() == Scheme(engine="onnxruntime")
    for bad in ({"keep_within": 0.01, "frames": 0}, {"keep_within": 0.01, "probes": 0}, {"factors": True, "frames": 0}):
        with pytest.raises(ConfigError, match="needs"):
            told(**bad)
    assert told(keep_within=0.01, keep_by="output", frames=0).keep_within == 0.01


def test_where_it_writes_to(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, words in (
        (None, "--out"), (tmp_path / "a.onnx", "file name"), (tmp_path / "file", "file name"),
        (tmp_path / "full", "something else"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            verb.quantize(fresh(), out, told())
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


@pytest.mark.onnx
def test_what_is_written_computes_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    data, out = folder(tmp_path), tmp_path / "out"
    given = told(
        qat_steps=3, qat_batch=4, keep_within=0.5, keep_by="output", probes=2, draws=20, factors=True, head_float=False
    )
    result = verb.quantize(fresh(), out, given, data)
    wanted = {"model.onnx", "scales.json", "sensitivity.csv", "quantize.json", "report.html"}
    assert {p.name for p in out.iterdir()} == wanted
    stored = json.loads((out / "quantize.json").read_text())
    assert stored == json.loads(json.dumps(result.to_dict()))
    assert stored["float_difference"] < 1e-2
    assert stored["layers"]["int8"] == stored["operators"]["QLinearConv"] > 0
    assert stored["mixed"]["within"]
    assert stored["training"]["steps"] == 3
    names = list(dict.fromkeys(row["precision"] for row in result.precisions.rows))  # type: ignore[union-attr]
    assert names[0] == "FP32 (torch)"
    assert names[-3:] == ["FP16 (ONNX Runtime)", "INT8 (simulated)", "INT8 (ONNX Runtime)"]
    sizes = {r["precision"]: r["MB"] for r in result.precisions.rows}  # type: ignore[union-attr]
    assert sizes["INT8 (ONNX Runtime)"] < 0.9 * sizes["FP32 (torch)"]
    assert sizes["FP16 (ONNX Runtime)"] < 0.65 * sizes["FP32 (torch)"]
    for row in result.factors.rows[::2]:  # type: ignore[union-attr]
        assert row["mAP50-95"] is not None
    grids = Scales.load(out / "scales.json")
    assert set(stored["mixed"]["kept_float"]) <= set(grids.scheme.keep_float)
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert all(word in page for word in ("Precisions", "Layers", "Factors", "Layers kept in float"))
    assert result.lines()[0] == str(out)
    assert (out / "sensitivity.csv").read_text().count("\n") == len(traced().graph.convolutions) + 1
    assert stored["training"]["taken"], "nothing is lost where nothing was found"
    assert stored["sqnr_file_to_simulation"] > min(stored["sqnr_simulated"] + 10, 60)


@pytest.mark.onnx
def test_a_trained_network_is_exported_and_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    learn, watch = [photo(n) for n in range(8)], [photo(50, "val")]
    trained = qat.train_aware(model(), traced(), scales(), learn, watch, qat.Recipe(steps=2, lr=1e-3, batch=4))
    verb.write_float(model(), trained.traced, tmp_path / "float.onnx")
    verb.write_qdq(tmp_path / "float.onnx", tmp_path / "int8.onnx", trained.scales)
    batch = padded(40, 41)["image"]
    reference = trained.traced.network(batch)
    expected, given = simulate(trained.traced, trained.scales)(batch), verb.by_onnx(model(), tmp_path / "int8.onnx")
    assert sqnr(expected, given(batch)) > sqnr(reference, expected) + 10
    assert sqnr(traced().network(batch), reference) < 60, "these are other weights"

    def fail(*_: Any, **__: Any) -> None:
        raise ExportError("no space")

    def copied(shown: Any, found: Any, path: Path) -> float:
        path.write_bytes((tmp_path / "float.onnx").read_bytes())
        return 0.0

    monkeypatch.setattr(verb, "write_float", copied)
    monkeypatch.setattr(verb, "write_qdq", fail)
    with pytest.raises(ExportError, match="no space"):
        verb.quantize(fresh(), tmp_path / "out", told(pictures=2, frames=0, probes=0), folder(tmp_path))
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
