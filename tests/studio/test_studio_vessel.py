"""vessel's own page: pairs under a line, marks by hand, bad uploads; examples, its part of the tour, the gallery."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin
from hostile import bomb
from standin import Page

import fieldsight
from fieldsight import assets, registry
from fieldsight.report.html import Report
from fieldsight.systems.vessel import studio, studio_scenes
from fieldsight.systems.vessel import studio_view as view
from fieldsight.systems.vessel.config import PRESETS
from fieldsight.systems.vessel.measuring import measure_one
from fieldsight.systems.vessel.options import EnhanceOptions, MeasureOptions
from fieldsight.systems.vessel.predict import VesselModel
from fieldsight.systems.vessel.results import Stenoses


@pytest.fixture(scope="module")
def model() -> VesselModel:
    return VesselModel.create(PRESETS["tiny"])


def test_every_example_can_be_read_by_its_verbs(model: VesselModel, tmp_path: Path) -> None:
    found = studio_scenes.examples()
    assert {e.origin for e in found if e.label != "A retina"} == {"drawn"}
    assert ("A retina" in [e.label for e in found]) == (assets.locate("scikit-image-retina") is not None)
    suffixes = registry.get("vessel").inputs[0].suffixes
    for example in found:
        assert example.write is not None
        path = example.write(tmp_path / "made")
        assert path.suffix in suffixes
        if "predict" not in example.verbs:
            continue
        told = model.predict(path, conf=0.5, **{k: v for k, v in example.options.items() if k == "track"})
        assert (
            (len(told.frames) == studio_scenes.RUN) if path.suffix == ".dcm" else (told.picture.shape == (512, 512, 3))
        )


def test_examples_show_stenoses_and_are_of_the_pages_own_patients() -> None:
    for _, drawn in studio_scenes.SCENES:
        one = studio_scenes.scene(*drawn, side=256)
        assert len(one.boxes)
        assert one.view == f"{drawn[0]} {drawn[1]}"
    assert 800_000 <= studio_scenes.SEED < 900_000


def test_the_demonstration_says_what_it_ran_on(model: VesselModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fieldsight, "load", lambda *a, **k: model)
    report = Report("tour")
    studio_scenes.demo(report.section("vessel"))
    text = report.render()
    assert "drawn by us" in text
    assert "<img" in text


def test_the_gallery_picture_can_be_made_and_shows_colour() -> None:
    picture = studio_scenes.gallery_picture()
    assert picture.shape == (360, 540, 3)
    assert picture.dtype == np.uint8
    assert (np.ptp(picture.astype(int), axis=-1) > 40).mean() > 0.02


# ----------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn frame and a run, and what people should not send."""
    folder = tmp_path_factory.mktemp("sent")
    _, drawn, _ = studio_scenes.NARROWED
    shutil.move(studio_scenes._write(*drawn, folder), folder / "frame.png")
    studio_scenes._write_run(folder)
    (folder / "words.png").write_text("no picture")
    (folder / "short.png").write_bytes((folder / "frame.png").read_bytes()[:2000])
    (folder / "empty.dcm").write_bytes(b"")
    bomb(folder / "bomb.png")
    return folder


@pytest.fixture(scope="module")
def finding(tmp_path_factory: pytest.TempPathFactory, model: VesselModel) -> Page:
    page: Page = standin.draw(context(tmp_path_factory, model), studio._find)
    return page


@pytest.fixture(scope="module")
def enhancing(tmp_path_factory: pytest.TempPathFactory, model: VesselModel) -> Page:
    page: Page = standin.draw(context(tmp_path_factory, model), studio._enhance)
    return page


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory, model: VesselModel) -> Page:
    page: Page = standin.draw(context(tmp_path_factory, model), studio._measure)
    return page


def context(tmp_path_factory: pytest.TempPathFactory, model: VesselModel) -> Any:
    return standin.context_in(tmp_path_factory.mktemp("vessel"), registry.get("vessel"), model)


def test_a_frame_and_what_was_found_lie_under_one_line(finding: Page, sent: Path, model: VesselModel) -> None:
    key = finding.press(image=finding.upload(sent, "frame.png"))["key"]
    box, (left, right), words, picture = finding.happens["opened"](key, 0, "Stenoses")
    assert (box["visible"], picture["visible"]) == (True, False)
    assert left.shape == right.shape
    assert "what was found" in words
    _, (left, right), _, _ = finding.happens["opened"](key, 0, "What the detector sees")
    batch, _ = model.preprocess(model.read(sent / "frame.png", model_options()), model_options())
    plain = np.rint(batch["image"].numpy()[0, 0] * 255).astype(np.uint8)
    assert (view.fitted(np.repeat(plain[..., None], 3, -1)) == left).all()
    assert np.ptp(right.astype(int), axis=-1).max() > 30  # coloured, and grey left of the line
    assert np.ptp(left.astype(int), axis=-1).max() == 0


def model_options() -> Any:
    from fieldsight.systems.vessel.options import PredictOptions

    return PredictOptions()


@pytest.mark.parametrize("times", [1, 3, 8])
def test_boxes_are_drawn_right_of_the_line(times: int) -> None:
    frame = np.full((200 * times, 300 * times, 3), 120, np.uint8)
    one = Stenoses(
        frame, times * np.array([[50, 60, 120, 110]], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64),
        ("stenosis",),
    )  # fmt: skip
    left, right = view.found_pair(one, "Stenoses")
    assert left.shape == right.shape
    assert left.shape[1] <= 1000
    changed = (left != right).any(-1)
    assert changed.any()
    assert not changed[: int(left.shape[0] * 0.15)].any()


def test_a_run_has_one_drawing(finding: Page, sent: Path) -> None:
    key = finding.press(image=finding.upload(sent, "run.dcm"))["key"]
    box, pair, words, picture = finding.happens["opened"](key, 0, "Stenoses")
    assert (box["visible"], pair, words, picture["visible"]) == (False, None, "", True)
    assert Path(picture["value"]).is_file()


def test_results_that_are_gone_leave_nothing(finding: Page, enhancing: Page) -> None:
    assert finding.happens["opened"]("no such key", 0, "Stenoses")[3]["visible"] is False
    assert enhancing.happens["opened"]("no such key", 0, "Fused", 0)[0]["visible"] is False


@pytest.mark.parametrize("name", ["frame.png", "run.dcm"])
def test_every_look_of_an_enhanced_frame_has_a_pair(enhancing: Page, sent: Path, name: str) -> None:
    (path,) = enhancing.upload(sent, name)
    key = enhancing.press(image=path)["key"]
    seen = {}
    for look in view.ENHANCED:
        box, scale, (left, right), words = enhancing.happens["opened"](key, 0, look, 0)
        assert box["visible"]
        assert scale["visible"] == (look != "Widths")
        assert left.shape == right.shape
        assert words
        seen[look] = right
    assert all((seen["Fused"] != seen[look]).any() for look in ("Vesselness", "Widths"))


def test_the_scale_shows_what_a_run_with_that_scale_alone_gives(sent: Path) -> None:
    from fieldsight.systems.vessel.enhancing import enhance_one

    every = enhance_one(sent / "frame.png", EnhanceOptions())
    for sigma in (1.0, 6.5):
        alone = enhance_one(sent / "frame.png", EnhanceOptions(sigmas=(sigma,)))
        for look, wanted in (("Fused", alone.fused), ("Vesselness", None)):
            _, right = view.enhanced_pair(every, look, sigma)
            if wanted is not None:
                assert (right == wanted).all()
            else:
                assert (right[..., 0] == np.rint(255 * alone.visible)).mean() > 0.999
    thin, thick = (view.enhanced_pair(every, "Vesselness", s)[1].astype(float) for s in (1.0, 6.5))
    assert np.abs(thin - thick).mean() > 1


@pytest.mark.parametrize("mode", ["clahe", "unsharp", "stack", "blend", "vesselness"])
def test_modes_and_large_frames_have_pairs_too(mode: Any) -> None:
    from fieldsight.systems.vessel.enhancing import enhance_one

    frame = np.random.default_rng(0).integers(0, 255, (60, 1400), np.uint8)
    found = enhance_one(frame, EnhanceOptions(mode=mode, sigmas=(1.0, 2.0)))
    for look in view.ENHANCED:
        for sigma in (0.0, 0.5, 16.0):
            left, right = view.enhanced_pair(found, look, sigma)
            assert left.shape == right.shape
            assert left.shape[1] == 1000


def test_two_presses_make_a_measurement(measuring: Page, sent: Path) -> None:
    happens, (path,) = measuring.happens, measuring.upload(sent, "frame.png")
    kept, box, drawn, which, note = happens["looked"](path, "", "", None)
    *_, picture, factor, _, _ = kept
    assert (box["visible"], which["visible"], note["visible"]) == (True, False, False)
    assert (drawn == picture).all()
    text = ""
    marks = studio_scenes.NARROWED[2]
    for x, y in (marks[:2], marks[2:]):
        place = [round((v - 0.5) * factor) for v in (x, y)]
        text = happens["pressed"](kept, text, SimpleNamespace(index=place))
        again, _, drawn, _, _ = happens["looked"](path, "", text, kept)
        assert again is kept  # the file is not read again for a mark
        assert (drawn != picture).any()
    assert view.marks_of(text) == pytest.approx(marks, abs=1.0)
    told = measuring.press(image=path, between=text)
    found = measuring.shown(told["key"]).views[0].prediction
    assert found.lumen.measured
    truth = max(p.percent for p in studio_scenes.scene(*studio_scenes.NARROWED[1]).profiles)
    assert found.lumen.percent == pytest.approx(truth, abs=10)
    assert "%" in str(told["body"])
    # a third press starts again
    assert len(view.marks_of(happens["pressed"](kept, text, SimpleNamespace(index=[5, 5])))) == 2


def test_a_run_offers_its_frames(measuring: Page, sent: Path) -> None:
    (path,) = measuring.upload(sent, "run.dcm")
    looked = measuring.happens["looked"]
    first_kept, _, first, which, _ = looked(path, "", "", None)
    assert (which["visible"], which["maximum"]) == (True, studio_scenes.RUN - 1)
    _, _, other, which, _ = looked(path, "6", "", first_kept)
    assert which["value"] == 6
    assert (first != other).any()
    for wrong, words in (("99", "99"), ("many", "no number")):
        *_, note = looked(path, wrong, "", None)
        assert words in note["value"]


def test_the_examples_points_can_be_measured(tmp_path: Path) -> None:
    for example in (e for e in studio_scenes.examples() if e.verbs == ("measure",)):
        assert example.write is not None
        found = measure_one(example.write(tmp_path), MeasureOptions(between=example.options["between"]))
        assert found.lumen.measured, example.label
        assert "%" in found.shown()[0]["loss of diameter"]


def test_where_nothing_was_measured_the_page_says_why() -> None:
    noise = np.random.default_rng(0).normal(128, 10, (128, 128)).clip(0, 255).astype(np.uint8)
    facts, _ = measure_one(noise, MeasureOptions(between=(20, 20, 90, 90))).shown()
    assert facts["loss of diameter"] == "not measured"
    assert facts["reason"]
    assert "narrowest" not in facts


@pytest.mark.parametrize("text", ["", "x", "1", "1,2,3", "1,2,3,4,5", "nan,1", "-1,2", "1e400,2", "1;2", None])
def test_any_text_is_marks_or_none(text: Any) -> None:
    marks = view.marks_of(text)
    assert len(marks) in (0, 2, 4)
    assert all(np.isfinite(marks))
    view.marked(np.zeros((9, 9, 3), np.uint8), text, 1.0)
    assert len(view.marks_of(view.pressed(text, 3, 4))) in (2, 4)


@pytest.mark.parametrize("name", ["words.png", "short.png", "empty.dcm", "bomb.png"])
def test_hostile_uploads_get_a_sentence(finding: Page, measuring: Page, sent: Path, name: str) -> None:
    standin.refused(finding, sent, name, "")
    (path,) = measuring.upload(sent, name)
    kept, box, picture, _, note = measuring.happens["looked"](path, "", "", None)
    assert (kept, box["visible"], picture) == (None, False, None)
    assert name in note["value"]
    assert str(measuring.context.scratch) not in note["value"]


def test_what_was_not_uploaded_is_not_looked_at(measuring: Page, sent: Path) -> None:
    *_, note = measuring.happens["looked"](str(sent / "frame.png"), "", "", None)
    assert "is no uploaded file" in note["value"]
    assert measuring.happens["pressed"](None, "1, 2", SimpleNamespace(index=[1, 1])) == "1, 2"


def test_without_points_the_page_says_what_to_give(measuring: Page, sent: Path) -> None:
    told = str(measuring.press(image=measuring.upload(sent, "frame.png")[0])["head"])
    assert "Points" in told
    assert "--" not in told
