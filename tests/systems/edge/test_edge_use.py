"""What people do with the detector: data, training from other weights, prediction, evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fieldsight.data.detection.folders import read_detection, write_detection
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.detection import train, validate
from fieldsight.detection.found import Found, write_together
from fieldsight.detection.measure import gather, gather_found
from fieldsight.errors import ConfigError, DataError, ModelFileError
from fieldsight.nn.detection.checkpoints import save_checkpoint
from fieldsight.predicting import Outcome
from fieldsight.systems.edge import data, evaluate, world
from fieldsight.systems.edge.config import PRESETS, Data, EdgeConfig
from fieldsight.systems.edge.options import EvaluateOptions, PredictOptions
from fieldsight.systems.edge.predict import EdgeModel

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def model() -> EdgeModel:
    return EdgeModel.create(TINY)


@pytest.fixture(scope="module")
def frames() -> list[DetectionSample]:
    return keep(world.draw_set("cutouts", {"train": 8, "val": 3, "test": 4}, (64, 64), 5), "frames")


def found(boxes: Any, labels: Any, classes: tuple[str, ...] = ("car", "person"), size: int = 64) -> Found:
    picture = np.full((size, size, 3), 90, np.uint8)
    return Found(picture, np.array(boxes, np.float32).reshape(-1, 4), np.full(len(labels), 0.5, np.float32),
                 np.array(labels, np.int64), classes)  # fmt: skip


# ------------------------------------------------------------------------------------------------------ data


def test_all_worlds_together_share_their_labels() -> None:
    samples = data.draw("mixed", {"train": 20}, 64, 3)
    classes = data.class_names("mixed")
    kinds = {str(s.facts["world"]) for s in samples}
    assert kinds == {"arena", "street", "cutouts"}
    named = {
        k: {classes[n] for s in samples if s.facts["world"] == k for n in s.truth().labels.tolist()} for k in kinds
    }
    assert named["arena"] <= {"turtlebot"}
    assert named["street"]
    assert "turtlebot" not in named["street"]


def test_held_out_frames_are_of_seeds_that_no_training_has() -> None:
    own = Data(world="cutouts", train=8, val=2, test=3, size=64, seed=4)
    seen = {s.id for s in data.draw(own.world, {"train": 8, "val": 2, "test": 3}, own.size, own.seed)}
    for shift in (False, True):
        held = data.heldout(own, shift)
        assert len(held) == 3
        assert not seen & {s.id for s in held}
        assert all(str(world.HELD_OUT_SEED + 4) in s.id for s in held)
        assert {s.facts["domain"] for s in held} == {"shift" if shift else "plain"}


def test_frames_are_drawn_once_and_stay_as_they_were() -> None:
    asked: list[int] = []

    def image(n: int) -> Any:
        asked.append(n)
        return np.full((3 + n, 4, 3), n, np.uint8)

    truth = Truth.of([[0, 0, 2, 2]], [0])
    samples = [
        DetectionSample(str(n), "g", "train", (3 + n, 4), lambda n=n: image(n), lambda: truth)  # type: ignore[misc]
        for n in range(3)
    ]
    kept = keep(samples, "frames")
    for _ in range(2):
        for n, sample in enumerate(kept):
            np.testing.assert_array_equal(sample.image(), np.full((3 + n, 4, 3), n, np.uint8))
            sample.image()[:] = 77  # what is given is a copy
            assert len(sample.truth()) == 1
    assert asked == [0, 1, 2]
    assert keep([], "nothing") == []


def test_a_folder_without_boxes_or_splits_is_refused(frames: list[DetectionSample], tmp_path: Path) -> None:
    classes = data.class_names("cutouts")
    write_detection(frames, classes, tmp_path / "own", "yolo")
    splits = data.load_splits(TINY, tmp_path / "own")
    assert [len(x) for x in (splits.train, splits.val, splits.test)] == [8, 3, 4]
    assert splits.classes == classes
    write_detection([s for s in frames if s.split != "test"], classes, tmp_path / "short", "yolo")
    with pytest.raises(DataError, match="no pictures of the split test"):
        data.load_splits(TINY, tmp_path / "short")


# -------------------------------------------------------------------------------------------------- training


def test_a_training_starts_from_public_weights_or_from_another_model(tmp_path: Path) -> None:
    first = EdgeModel.create(TINY)
    with torch.no_grad():
        for value in first.detector.parameters():
            value.add_(0.01)
    save_checkpoint(first.detector, tmp_path / "w.safetensors")
    second = EdgeModel.create(TINY.replace(seed=9, checkpoint=tmp_path / "w.safetensors"))
    train.begin(second, None)
    assert second.fingerprint() == first.fingerprint()
    other = EdgeModel.create(TINY.replace(classes=("car", "dog"), data={"world": "arena"}))
    before = {k: v.clone() for k, v in other.detector.state_dict().items()}
    train.begin(other, first)  # other classes: all but the class branch
    after, given = other.detector.state_dict(), first.detector.state_dict()
    same = [k for k in after if after[k].shape == given[k].shape]
    assert all(torch.equal(after[k], given[k]) for k in same)
    assert 0 < len(after) - len(same) < 20
    assert all(torch.equal(after[k], before[k]) for k in after if k not in same)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    small, large = EdgeModel.create(TINY), EdgeModel.create(TINY.replace(size="n"))
    with pytest.raises(ConfigError, match="Train with the same family and size"):
        train.begin(large, small)
    save_checkpoint(small.detector, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError):
        train.begin(EdgeModel.create(TINY.replace(size="n", checkpoint=tmp_path / "w.safetensors")), None)
    with pytest.raises(ConfigError, match="without: only with a checkpoint"):
        EdgeConfig.parse({"without": ["model.22"]})


def test_of_epochs_that_find_nothing_the_nearest_boxes_win() -> None:
    truth = Truth.of([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 1])
    near = Detections.of([[0, 0, 10, 20], [20, 20, 30, 30]], [0.5, 0.5], [0, 0])
    assert validate.best_overlap(near, truth) == pytest.approx(0.25)  # the second is of another class
    assert validate.best_overlap(Detections.of([], [], []), truth) == 0.0
    assert np.isnan(validate.best_overlap(near, Truth.of([], [])))
    ignored = Truth.of(truth.boxes, truth.labels, [True, False])
    assert validate.best_overlap(near, ignored) == 0.0


def test_what_was_trained_on_photos_of_a_user_calibrates_with_none_of_ours(model: EdgeModel) -> None:
    own = EdgeModel(model.config, model.networks, {"training": {"drawn": False}})
    with pytest.raises(ConfigError, match="--calibration FOLDER"):
        next(own.calibration_inputs(3))
    drawn = list(model.calibration_inputs(3))
    assert len(drawn) == 3
    assert all(one["image"].shape == (1, 3, 64, 64) for one in drawn)


# ------------------------------------------------------------------------------------------------ prediction


def test_only_some_classes_are_told(model: EdgeModel, frames: list[DetectionSample]) -> None:
    picture = frames[0].image()
    every = model.find(picture, PredictOptions(conf=0.001))
    kinds = sorted({model.classes[k] for k in every.labels.tolist()})
    assert len(kinds) > 1
    some = model.find(picture, PredictOptions(conf=0.001, only=(kinds[0],)))
    assert len(some) == int((every.labels == model.classes.index(kinds[0])).sum())
    with pytest.raises(ConfigError, match="Unknown class 'dog'"):
        model.find(picture, PredictOptions(only=("dog",)))
    assert len(model.find(picture, PredictOptions(conf=0.001, most=2))) <= 2


def test_boxes_stay_in_the_photo_and_have_pixels(model: EdgeModel) -> None:
    for size in ((40, 100), (100, 40), (1, 64), (333, 77)):
        picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        boxes = model.find(picture, PredictOptions(conf=0.0001)).boxes
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= size[1]).all()
        assert (boxes[:, 3] <= size[0]).all()
        assert (boxes[:, 2] > boxes[:, 0]).all()
        assert (boxes[:, 3] > boxes[:, 1]).all()


def test_label_files_are_what_training_reads(tmp_path: Path) -> None:
    one = found([[8, 16, 24, 48], [0, 0, 64, 64]], [1, 0]).with_labels("yolo")
    files = one.save(tmp_path, "a")
    assert [f.suffix for f in files] == [".png", ".json", ".txt"]
    assert files[2].read_text().splitlines()[0] == "1 0.250000 0.500000 0.250000 0.500000"
    assert [f.suffix for f in found([], []).save(tmp_path, "b")] == [".png", ".json"]
    told = json.loads(files[1].read_text())
    assert told["found"] == 2
    assert told["classes"] == {"person": 1, "car": 1}
    assert told["boxes"][0] == {"class": "person", "score": 0.5, "box": [8.0, 16.0, 24.0, 48.0]}


def test_several_photos_have_one_list_in_cocos_format(tmp_path: Path) -> None:
    parts = [found([[8, 16, 24, 48]], [1]), found([], [])]
    outcomes = [Outcome(f"{n}.png", one.to_dict(), tuple(one.save(tmp_path, str(n)))) for n, one in enumerate(parts)]
    files = write_together(outcomes, ("car", "person"), tmp_path)
    assert json.loads(files[0].read_text()) == [
        {"image_id": "0.png", "category_id": 2, "bbox": [8.0, 16.0, 16.0, 32.0], "score": 0.5}
    ]
    assert files[1].read_text() == "car\nperson\n"


# ------------------------------------------------------------------------------------------------ evaluation


def test_confidence_cuts_the_curve_and_never_lifts_it(model: EdgeModel, frames: list[DetectionSample]) -> None:
    rng = np.random.default_rng(1)
    boxes = []
    for sample in frames:
        truth = sample.truth()
        moved = truth.boxes + rng.normal(0, 1, (len(truth), 2)).astype(np.float32)[:, [0, 1, 0, 1]]
        boxes.append(Detections.of(moved, rng.random(len(truth)), truth.labels))
    metrics = evaluate.metrics_of(gather_found(model, frames, boxes))
    assert metrics["map50_95_conf50"] < metrics["map50_95"]
    assert metrics["map50_conf50"] < metrics["map50"]
    table = evaluate.both_settings(gather_found(model, frames, boxes).pool)
    assert [row["confidence"] for row in table.rows] == [0.001, 0.5]


def test_a_folder_with_other_classes_is_not_measured(
    model: EdgeModel, frames: list[DetectionSample], tmp_path: Path
) -> None:
    names = ("robot", *data.class_names("cutouts")[1:])
    write_detection(frames, names, tmp_path, "yolo")
    with pytest.raises(DataError, match="the model knows turtlebot"):
        evaluate.choose(model, tmp_path, EvaluateOptions())
    assert read_detection(tmp_path).names == names


def test_data_without_any_box_has_no_average_precision(model: EdgeModel, frames: list[DetectionSample]) -> None:
    empty = [DetectionSample(s.id, s.group, s.split, s.size, s.image, lambda: Truth.of([], [])) for s in frames]
    metrics = evaluate.metrics_of(gather(model, empty))
    assert np.isnan(metrics["map50"])
    assert np.isnan(metrics["mabo"])
