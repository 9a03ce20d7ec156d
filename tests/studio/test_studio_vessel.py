"""vessel's examples, its part of the tour and the gallery's picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fieldsight
from fieldsight import assets, registry
from fieldsight.report.html import Report
from fieldsight.systems.vessel import studio_scenes
from fieldsight.systems.vessel.config import PRESETS
from fieldsight.systems.vessel.predict import VesselModel


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
        if example.verbs == ("enhance",):
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
