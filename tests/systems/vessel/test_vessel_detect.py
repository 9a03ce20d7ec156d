"""From drawn frames to boxes: configs, what a detector is shown, the graph against the eager way, scores by vessel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldsight.config import Config
from fieldsight.data.detection.letterbox import to_input
from fieldsight.data.detection.sample import Detections
from fieldsight.data.video import write_video
from fieldsight.detection.network import Exported
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel import data, evaluate
from fieldsight.systems.vessel.config import PRESETS, Data, Enhance, VesselConfig
from fieldsight.systems.vessel.enhance import fused, measure, shown
from fieldsight.systems.vessel.options import PredictOptions
from fieldsight.systems.vessel.phantom import Patient, render, sequence
from fieldsight.systems.vessel.predict import Still, VesselModel, looks_fused
from fieldsight.systems.vessel.train import shown as training_samples
from fieldsight.systems.vessel.xa_write import write_xa

TINY = PRESETS["tiny"]
OPTIONS = PredictOptions()


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.drawn_splits(TINY.data)


@pytest.fixture(scope="module")
def model(splits: data.Splits) -> VesselModel:
    """Random weights, with normalisation that fits what it sees: else its output hardly depends on the picture."""
    made = VesselModel.create(TINY)
    pictures = [fused(s.image()[..., 0], TINY.enhance) for s in splits.train[:4]]
    norms = [m for m in made.detector.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        made.detector.train()(torch.from_numpy(to_input(pictures)))
    made.detector.eval()
    return made


# ------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_their_own_words(name: str) -> None:
    assert VesselConfig.parse(PRESETS[name].to_dict()) == PRESETS[name]
    assert isinstance(PRESETS[name], Config)


def test_the_paper_is_at_full_size() -> None:
    assert (PRESETS["paper"].family, PRESETS["paper"].size, PRESETS["paper"].input) == ("yolov10", "x", 640)
    assert PRESETS["paper-raw"].replace(enhance={"mode": "ihs"}) == PRESETS["paper"]


# ----------------------------------------------------------------------------------- what a detector sees


@pytest.mark.parametrize("mode", ["raw", "vesselness", "ihs", "blend", "average", "stack", "substitute", "clahe"])
def test_every_mode_gives_a_picture(mode: str, splits: data.Splits) -> None:
    frame = splits.train[0].image()[..., 0]
    picture = fused(frame, TINY.enhance.replace(mode=mode))
    assert picture.shape == (*frame.shape, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, np.repeat(frame[..., None], 3, -1)) == (mode == "raw")


@pytest.mark.parametrize("name", ["frangi", "sato", "meijering", "jerman"])
def test_every_filter_is_within_0_and_1_and_silent_on_a_flat_frame(name: str, splits: data.Splits) -> None:
    own = Enhance(filter=name, sigmas=(1.0, 2.0))  # type: ignore[arg-type]
    value = shown(measure(splits.train[0].image()[..., 0], own).value, own)
    assert value.min() >= 0
    assert 0.2 < value.max() <= 1
    flat = np.full((40, 48), 117, np.uint8)
    assert shown(measure(flat, own).value, own).max() < 1e-6


def test_plain_noise_holds_no_vessel() -> None:
    """Of noise of a few grey levels nothing is made: its vesselness stays too faint to be scaled up."""
    noise = np.clip(np.random.default_rng(0).normal(120, 3, (256, 256)), 0, 255).astype(np.uint8)
    own = Enhance()
    value = measure(noise, own).value
    assert np.percentile(value, 99.5) < 0.05
    assert np.array_equal(shown(value, own), np.asarray(value, np.float32))


def test_automatic_strength_is_half_of_the_largest(splits: data.Splits) -> None:
    frame = splits.train[0].image()[..., 0]
    faint = np.round(128 + (frame.astype(float) - 128) * 0.5).astype(np.uint8)
    own = Enhance(c=0, sigmas=(2.0,))
    strong, weak = (measure(f, own).value for f in (frame, faint))
    assert abs(strong.max() - weak.max()) < 0.05  # it follows the contrast
    fixed = own.replace(c=15.0)
    assert measure(frame, fixed).value.max() > 1.5 * measure(faint, fixed).value.max()


def test_a_square_with_mirrored_borders() -> None:
    frame = np.arange(60, dtype=np.uint8).reshape(6, 10)
    square, where = data.squared(np.repeat(np.repeat(frame, 8, 0), 8, 1), 96)
    assert square.shape == (96, 96)
    assert where.inner == (58, 96)
    assert np.array_equal(square[where.top - 1], square[where.top])
    assert np.array_equal(square[where.top - 5], square[where.top + 4])


def test_boxes_go_with_the_square(splits: data.Splits) -> None:
    sample = next(s for s in splits.train if len(s.truth()))
    twice = data.seen(sample, 256, TINY.enhance)
    assert twice.size == (256, 256)
    assert twice.image().shape == (256, 256, 3)
    assert np.allclose(twice.truth().boxes, sample.truth().boxes * 2)
    assert not data.seen(sample, 256, TINY.enhance, learn=True).truth().ignore.any()


# ------------------------------------------------------------------------------------------- drawn splits


def test_no_patient_is_in_two_splits(splits: data.Splits) -> None:
    groups = [{s.group for s in part} for part in (splits.train, splits.val, splits.test)]
    held = {s.group for s in data.heldout(TINY.data)}
    assert sum(map(len, groups)) + len(held) == len(set.union(*groups, held))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [16, 4, 6]
    assert {s.facts["view"] for s in splits.train} <= set(evaluate.VIEWS)


def test_a_folder_is_split_by_patient(tmp_path) -> None:
    from fieldsight.systems.vessel.prepare import PrepareOptions, prepare

    options = PrepareOptions().replace(drawn={"patients": 6, "each": 2, "side": 64}, sigmas=(1.0,))
    prepare(None, tmp_path / "set", options)
    found = data.load_splits(TINY, tmp_path / "set" / "raw")
    assert found.classes == ("stenosis",)
    groups = [{s.group for s in part} for part in (found.train, found.val, found.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6


# -------------------------------------------------------------------------------------------------- model


def test_the_graph_does_what_the_fast_way_does(model: VesselModel, splits: data.Splits) -> None:
    batch, _ = model.preprocess(Still(splits.test[0].image()[..., 0]), OPTIONS)
    assert batch["image"].shape == (1, 1, 128, 128)
    fast = model.forward(batch)["output"]
    with torch.inference_mode():
        whole = model.graph().eval()(batch["image"])
    assert fast.shape == whole.shape == (1, 5, 16 * 16 + 8 * 8 + 4 * 4)
    assert (fast - whole).abs().max() < 0.05  # a few grey levels differ by one
    with torch.inference_mode():
        other = Exported(model.detector)(batch["image"].expand(-1, 3, -1, -1))
    assert (fast - other).abs().max() > 0.1  # that of the raw frame differs


def test_boxes_lie_in_the_frame(model: VesselModel) -> None:
    frame = np.random.default_rng(1).integers(60, 200, (90, 140), dtype=np.uint8)
    found = model.find(frame, PredictOptions(conf=1e-4))
    assert len(found)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [140, 90, 140, 90]).all()


def test_a_prediction_says_view_filter_and_times(model: VesselModel, tmp_path) -> None:
    one = render(Patient.draw("val", 3, 5, "high"), view="LAO", side=128)
    file = write_xa(tmp_path / "one.dcm", one.image[None], 15.0, one.primary, one.secondary, artery=one.view[:3])
    found = model.predict(file, conf=1e-4)
    told = found.document()
    assert told["view"].startswith(one.view)
    assert told["preproc"] == {**TINY.enhance.to_dict(), "input": TINY.input}
    assert set(told["ms"]) == {"enhance", "network", "post", "lumen"}
    assert len(found.lumens) == len(found.boxes) > 0
    assert all(v > 0 for v in told["ms"].values())
    assert {f.name for f in found.save(tmp_path, "one")} == {"one.png", "one.json"}
    plain = model.predict(one.image, conf=1e-4)
    assert plain.to_dict()["view"] == "unknown"  # nobody told: not guessed
    assert np.array_equal(plain.boxes, found.boxes)


@pytest.mark.parametrize("kind", ["dcm", "mp4"])
def test_a_run_is_looked_at_frame_by_frame(kind: str, model: VesselModel, tmp_path) -> None:
    frames = [one.image for one in sequence(Patient.draw("val", 1, 3, "high"), frames=6, side=128)]
    file = tmp_path / f"run.{kind}"
    if kind == "dcm":
        write_xa(file, np.stack(frames), fps=15.0, primary=-30.0, secondary=5.0)
    else:
        with write_video(file, 15.0) as add:
            for frame in frames:
                add(np.repeat(frame[..., None], 3, -1))
    found = model.predict(file, every=2, track=True, conf=0.01)
    assert [f.number for f in found.frames] == [0, 2, 4]
    assert ("RAO" in found.to_dict()["view"]) == (kind == "dcm")
    if kind == "dcm":
        alone = model.find(frames[2], PredictOptions(conf=0.004))
        assert len(found.frames[1].found) <= len(alone)
    names = {f.name for f in found.save(tmp_path / "out", "run")}
    assert names == {"run_boxes.mp4", "run.jsonl", "run.json", "run.png"}


def test_a_fused_picture_is_refused(model: VesselModel, splits: data.Splits) -> None:
    frame = splits.test[0].image()
    for mode in ("ihs", "substitute"):
        picture = fused(frame[..., 0], Enhance(mode=mode, sigmas=(1.0, 2.0)))  # type: ignore[arg-type]
        assert looks_fused(picture)
        with pytest.raises(DataError, match="give it the raw frame"):
            model.find(picture)
    assert not looks_fused(frame)
    assert not looks_fused(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("change", [{"mode": "stack"}, {"mode": "clahe"}, {"filter": "sato"}, {"c": 0.0}])
def test_what_no_runtime_computes_is_not_exported(change: dict[str, object]) -> None:
    own = VesselModel.create(TINY.replace(enhance=change))
    with pytest.raises(ConfigError, match="can't be part of an exported"):
        own.graph()


def test_training_pictures_are_filtered_before_they_are_turned(splits: data.Splits) -> None:
    """The kept picture is the fused frame itself: what turns it later turns colours, and no filter sees a corner."""
    (kept,) = training_samples(splits.train[:1], TINY)
    assert np.array_equal(kept.image(), fused(splits.train[0].image()[..., 0], TINY.enhance))


# ----------------------------------------------------------------------------------------------- measuring


@pytest.fixture(scope="module")
def frames() -> list[data.DetectionSample]:
    return data.some("val", 14, Data(side=128, look="high", each=2), 5)


def test_perfect_boxes_score_1_in_every_view_and_on_every_vessel(model: VesselModel, frames) -> None:
    right = []
    for sample in frames:
        truth = sample.truth()
        own = ~truth.ignore
        right.append(Detections.of(truth.boxes[own], np.ones(own.sum()), truth.labels[own]))
    found = evaluate.measured_found(model, frames, right)
    told = evaluate.metrics_of(found)
    for name in ("ap50", "ap50_95", "sensitivity_0_25", "sensitivity_1", "sensitivity_main", "sensitivity_branch"):
        assert told[name] == pytest.approx(1.0), name
    rows = evaluate.by_view(found).rows
    assert [r["view"] for r in rows] == [v for v in evaluate.VIEWS if v in found.views]
    assert {r["AP50"] for r in rows} <= {1.0, None}
    assert sum(r["frames"] for r in rows) == len(frames)


def test_missing_the_branches_shows_in_their_row_alone(model: VesselModel, frames) -> None:
    boxes, branch_count = [], 0
    for sample in frames:
        truth, branch = sample.truth(), evaluate.branches(sample)
        assert branch is not None
        chosen = ~truth.ignore & ~branch
        branch_count += int(branch.sum())
        boxes.append(Detections.of(truth.boxes[chosen], np.ones(chosen.sum()), truth.labels[chosen]))
    assert branch_count
    told = evaluate.metrics_of(evaluate.measured_found(model, frames, boxes))
    assert told["sensitivity_main"] == 1.0
    assert told["sensitivity_branch"] == 0.0
    assert 0 < told["ap50"] < 1


def test_frames_without_facts_have_no_rows_by_vessel(model: VesselModel, frames) -> None:
    plain = [replace(s, facts={}) for s in frames[:3]]
    found = evaluate.measured_found(model, plain, [Detections.of([], [], [])] * 3)
    assert not found.kinds
    assert np.isnan(evaluate.metrics_of(found)["sensitivity_branch"])
    assert [r["view"] for r in evaluate.by_view(found).rows] == ["unknown"]


# --------------------------------------------------------------------------------------------------- verbs


def test_drawn_data_train_evaluate_and_a_saved_model(tmp_path, model: VesselModel, splits: data.Splits) -> None:
    """The whole way of a person with a folder: make data, train on it, measure, save, load, find boxes."""
    from fieldsight.model import load
    from fieldsight.systems.vessel.datasets import read_angiograms
    from fieldsight.systems.vessel.options import EvaluateOptions, MakeDataOptions
    from fieldsight.systems.vessel.prepare import make_data
    from fieldsight.systems.vessel.train import train

    folder = tmp_path / "drawn"
    options = MakeDataOptions(train=12, val=4, test=4, each=2, side=96, look="high")
    make_data(folder, options)
    found = read_angiograms(folder)
    assert {name: len(found.split(name)) for name in ("train", "val", "test")} == {"train": 12, "val": 4, "test": 4}
    assert set(found.views.values()) <= set(evaluate.VIEWS)
    before = data.drawn_splits(options).test[0].truth()
    after = next(s for s in found.samples if s.id.endswith(data.drawn_splits(options).test[0].id)).truth()
    assert np.allclose(np.sort(before.boxes, 0), np.sort(after.boxes, 0), atol=0.6)
    assert before.ignore.sum() == after.ignore.sum()
    trained = train(TINY.replace(steps=4), folder, None, None)  # type: ignore[arg-type]
    assert trained.card is not None
    assert "user" in trained.card.data
    measured = evaluate.evaluate(trained, folder, EvaluateOptions(pictures=1))
    assert set(measured.metrics) == {m.name for m in trained.spec.metrics}
    trained.save(tmp_path / "model")
    again = load("vessel", tmp_path / "model", "cpu")
    frame = splits.test[0].image()
    assert np.array_equal(again.find(frame).boxes, trained.find(frame).boxes)
    assert again.config.enhance == TINY.enhance
