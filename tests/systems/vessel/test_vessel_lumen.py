"""How narrow a stenosis is: tubes of known percent, contrast, noise, bad input, the verb and what predict tells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fieldsight import studies
from fieldsight.data.detection.sample import Detections
from fieldsight.data.files import read_json
from fieldsight.data.images import write_image
from fieldsight.detection.drawing import draw_boxes
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel.lumen import MOST, Lumen, measure, measure_all, table
from fieldsight.systems.vessel.measuring import measure as measure_verb
from fieldsight.systems.vessel.options import MeasureOptions

#: Middle of the narrowing, px.
AT = 100.0


def tube(
    loss: float, wide: float = 9.0, length: float = 7.0, angle: float = 0.0, mu: float = 0.06, noise: float = 0.0
) -> np.ndarray:
    """A frame (200, 200) with one round vessel of a diameter, narrowed by ``loss``, blurred by a px."""
    y, x = np.mgrid[:600, :600] / 3.0 + 1 / 6
    turn = math.radians(angle)
    along = (x - AT) * math.cos(turn) + (y - AT) * math.sin(turn)
    across = -(x - AT) * math.sin(turn) + (y - AT) * math.cos(turn)
    radius = wide / 2 * (1 - loss * np.exp(-0.5 * (along / length) ** 2))
    chord = 2 * np.sqrt(np.maximum(radius**2 - across**2, 0))
    bright = gaussian_filter(150 * np.exp(-mu * chord), 3.0).reshape(200, 3, 200, 3).mean((1, 3))
    bright += np.random.default_rng(0).normal(0, noise, bright.shape) if noise else 0
    return np.clip(np.rint(bright), 0, 255).astype(np.uint8)


def around(length: float = 7.0, wide: float = 9.0, angle: float = 0.0) -> tuple[float, float, float, float]:
    """The box around a narrowing."""
    turn = math.radians(angle)
    dx, dy = (abs(1.5 * length * v) + wide / 2 + 3 for v in (math.cos(turn), math.sin(turn)))
    return AT - dx, AT - dy, AT + dx, AT + dy


@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0])
@pytest.mark.parametrize("loss", [0.55, 0.7, 0.85])
def test_a_tube_of_known_percent_is_measured_in_a_box(loss: float, angle: float) -> None:
    found = measure(tube(loss, angle=angle), around(angle=angle))
    assert found.measured, found.note
    assert found.percent == pytest.approx(100 * loss, abs=5)
    assert found.grade == ("severe" if loss >= 0.7 and found.percent >= 70 else "moderate")
    place = found.centreline[found.at]
    assert np.linalg.norm(place - AT) < 3
    assert found.reference == pytest.approx(9, abs=2)
    assert found.minimal == pytest.approx(found.reference * (1 - found.percent / 100))


@pytest.mark.parametrize("loss", [0.45, 0.6, 0.8])
def test_two_marked_points_do_without_a_box(loss: float) -> None:
    found = measure(tube(loss, noise=1.0), (0, 0, 1, 1), between=(80, 101, 121, 99))
    assert found.measured, found.note
    assert found.percent == pytest.approx(100 * loss, abs=6)


def test_a_lumen_below_a_pixel_is_measured_where_its_width_could_not_be_seen() -> None:
    found = measure(tube(0.8, wide=4.0, length=5.0, mu=0.12), around(5.0, 4.0))
    assert found.measured, found.note
    assert found.percent == pytest.approx(80, abs=5)


def test_contrast_makes_no_difference() -> None:
    faint, strong = (measure(tube(0.65, mu=mu), around()).percent for mu in (0.03, 0.09))
    assert faint == pytest.approx(strong, abs=2)


def test_percent_grows_with_the_loss() -> None:
    told = [measure(tube(loss), around()).percent for loss in (0.52, 0.6, 0.7, 0.8, 0.9)]
    assert told == sorted(told)


def test_a_healthy_vessel_is_no_stenosis() -> None:
    found = measure(tube(0.0), around())
    assert not found.measured
    assert "no narrowing" in found.note
    assert found.grade == "not measured"
    assert found.words == ""


def test_noise_has_no_lumen() -> None:
    rng = np.random.default_rng(5)
    frames = [np.clip(rng.normal(130, 6, (120, 120)), 0, 255).astype(np.uint8) for _ in range(12)]
    found = [measure(frame, (40, 45, 75, 80)) for frame in frames]
    assert not any(one.measured for one in found)
    assert all(one.note for one in found)


def test_a_blank_frame_says_so() -> None:
    found = measure(np.full((80, 80), 120, np.uint8), (20, 20, 60, 60))
    assert found.note == "no vessel runs through the box"
    assert not measure(np.full((80, 80), 120, np.uint8), (0, 0, 1, 1), between=(10, 10, 60, 60)).measured


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (10, 10, 12, 12), (500, 500, 600, 600), (60, 60, 20, 20)])
def test_a_box_that_is_none_has_a_note(box: tuple[int, ...]) -> None:
    assert "inside the frame is wanted" in measure(tube(0.7), box).note


def test_points_that_are_none_have_a_note() -> None:
    for ends in ((100, 100, 102, 100), (-5, 100, 90, 100), (100, 100, 300, 100)):
        assert "two points inside the frame" in measure(tube(0.7), (0, 0, 1, 1), between=ends).note


@pytest.mark.parametrize("frame", [np.zeros((9, 9, 3)), np.zeros((0, 9)), np.full((30, 30), np.nan)])
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite grey levels"):
        measure(frame, (1, 1, 8, 8))


@pytest.mark.parametrize("box", [(1, 2, 3), (1, 2, np.nan, 8), "box", (1, 2, "a", 4)])
def test_what_is_no_box_is_refused(box: object) -> None:
    with pytest.raises(DataError, match="four finite numbers"):
        measure(tube(0.7), box)  # type: ignore[arg-type]


def test_a_pixel_without_a_size_is_refused() -> None:
    for spacing in (0.0, -1.0, math.nan):
        with pytest.raises(DataError, match="spacing"):
            measure(tube(0.7), around(), spacing=spacing)


def test_lengths_are_mm_where_a_pixel_has_a_size() -> None:
    plain, sized = measure(tube(0.7), around()), measure(tube(0.7), around(), spacing=0.3)
    assert plain.percent == sized.percent
    assert sized.to_dict()["unit"] == "mm"
    assert sized.to_dict()["reference"] == pytest.approx(0.3 * plain.to_dict()["reference"], abs=0.02)


def test_only_the_best_boxes_are_measured() -> None:
    found = measure_all(tube(0.0)[:60, :60], np.tile(np.array([1.0, 1, 2, 2]), (MOST + 2, 1)))
    assert len(found) == MOST + 2
    assert "only the best" in found[-1].note


def test_grades_change_where_words_do() -> None:
    words = [Lumen(percent=p).grade for p in (10, 49.9, 50, 69.9, 70, 98, 99.5)]
    assert words == ["mild", "mild", "moderate", "moderate", "severe", "severe", "occlusion"]
    assert len(table([Lumen(percent=60.0), Lumen(note="why")]).rows) == 2


def test_words_stand_beside_boxes() -> None:
    picture = np.full((200, 300, 3), 90, np.uint8)
    boxes = Detections.of([[100, 80, 160, 120]], [0.9], [0])
    plain, worded = draw_boxes(picture, boxes, ("stenosis",)), draw_boxes(picture, boxes, ("stenosis",), words=["72 %"])
    assert (plain != worded).any()
    with pytest.raises(DataError, match="as many words"):
        draw_boxes(picture, boxes, ("stenosis",), words=["a", "b"])


# ------------------------------------------------------------------------------------------------- as people use it


def test_the_verb_writes_a_drawing_numbers_and_diameters(tmp_path) -> None:
    path = write_image(tmp_path / "tube.png", tube(0.7))
    found = measure_verb(path, MeasureOptions(between=(75, 100, 125, 100), spacing=0.2), None, True)
    assert found.lumen.percent == pytest.approx(70, abs=5)
    files = found.save(tmp_path, "tube")
    assert {f.suffix for f in files} == {".png", ".json", ".csv"}
    told = read_json(tmp_path / "tube.json")
    assert told["unit"] == "mm"
    assert told["view"] == "unknown"
    assert found.draw().shape[0] == 480


def test_the_verb_tells_why_there_is_no_number(tmp_path) -> None:
    found = measure_verb(tube(0.0), MeasureOptions(box=around()), None, True)
    assert found.to_dict()["percent"] is None
    assert "no narrowing" in found.to_dict()["note"]
    assert len(found.save(tmp_path, "none")) == 2


@pytest.mark.parametrize("given", [{}, {"box": (1.0, 2.0, 3.0)}, {"box": (1.0,) * 4, "between": (1.0,) * 4}])
def test_points_or_a_box_are_wanted(given: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError, match="either --between"):
        MeasureOptions(**given)


def test_marks_outside_and_frames_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match="outside of the frame"):
        measure_verb(tube(0.7), MeasureOptions(box=(10, 10, 300, 40)), None, True)
    with pytest.raises(DataError, match="count from 0"):
        measure_verb(tube(0.7), MeasureOptions(box=(10, 10, 30, 40), frame=3), None, True)


def test_predict_tells_it_beside_boxes() -> None:
    import fieldsight

    model = fieldsight.load("vessel")
    frame = tube(0.7, mu=0.09, noise=2.0)
    found = model.predict(frame, conf=0.01, most=4)
    assert len(found.lumens) == len(found.boxes)
    assert all("lumen" in box for box in found.to_dict()["boxes"])
    assert "lumen" in found.ms
    assert found.draw().dtype == np.uint8
    if len(found.boxes):
        assert "measured" in found.shown()[0]
    bare = model.predict(frame, conf=0.01, most=4, lumen=False)
    assert bare.lumens == ()
    assert not any("lumen" in box for box in bare.to_dict()["boxes"])


def test_the_record_is_of_this_code_and_better_than_the_mean() -> None:
    from studies.run import load

    record = studies.read("vessel", "lumens")
    assert record is not None
    assert record["files"] == load("vessel", "lumens").files(), "run: make study SYSTEM=vessel NAME=lumens"
    assert record["controls"]["noise"]["measured"] <= 0.02 * record["controls"]["noise"]["boxes"]
    for mode in ("box", "two points"):
        found = record["looks"]["high"][mode]
        assert found["error"] < found["constant"]
        assert found["r"] > 0.5
