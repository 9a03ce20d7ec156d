"""sem's own page: examples that work, layers of a file, pictures, the line scan; and the tour's part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import fieldsight
from fieldsight import registry
from fieldsight.errors import DataError
from fieldsight.report.html import Report
from fieldsight.studio.home import picture_of
from fieldsight.systems.sem import studio
from fieldsight.systems.sem.predict import SemInterval


@pytest.fixture(scope="module")
def found(runs: Path, inputs: Path) -> SemInterval:
    result: SemInterval = fieldsight.load("sem", runs / "first").predict(inputs / "cell.gds")
    return result


def test_examples_are_labelled_and_work(runs: Path, tmp_path: Path) -> None:
    offered = studio.examples()
    assert {e.origin for e in offered} == {"drawn"}  # the asset is hidden from tests that are not marked for it
    model = fieldsight.load("sem", runs / "first")
    for example in offered:
        assert example.write is not None
        first, second = example.write(tmp_path / "a"), example.write(tmp_path / "b")
        assert first.read_bytes() == second.read_bytes()
        listed, words = studio.layers_of(first)
        assert [value for _, value in listed] == ["", "1/0"]
        assert "1 layer;" in words
        result = model.predict(first, **example.options)
        assert 0.05 < result.source.mean() < 0.9


@pytest.mark.assets
def test_real_cells_are_among_the_examples(runs: Path, tmp_path: Path) -> None:
    from fieldsight import assets

    if assets.locate("sky130") is None:
        pytest.skip("fieldsight assets fetch sky130")
    model = fieldsight.load("sem", runs / "first")
    real = [e for e in studio.examples() if e.origin == "real"]
    assert len(real) == 3
    for example in real:
        assert example.write is not None
        assert (
            model.predict(example.write(tmp_path), **example.options)
            .facts["layer"]
            .startswith(example.options["layer"])
        )


def test_layers_of_a_broken_file(inputs: Path) -> None:
    with pytest.raises(DataError):
        studio.layers_of(inputs / "short.gds")


@pytest.mark.parametrize("layer", studio.LAYERS)
@pytest.mark.parametrize("axis", ["across", "down"])
def test_pictures_fit_their_room_and_show_the_line(found: SemInterval, layer: str, axis: str) -> None:
    picture = studio.layer_picture(found, layer, axis, 10)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert picture.shape[0] <= 640
    assert picture.shape[1] <= 3 * 320 + 16
    moved = studio.layer_picture(found, layer, axis, 20)
    assert (picture != moved).any()
    assert studio.legend_of(found, layer).startswith("<p")


@pytest.mark.parametrize("axis", ["across", "down"])
@pytest.mark.parametrize("layer", ["Overview", "Width"])
def test_a_press_finds_its_line(found: SemInterval, layer: str, axis: str) -> None:
    rows, columns = found.mid.shape
    shape = studio.layer_picture(found, layer, axis, 0).shape
    width = (shape[1] - 16) / 3 if layer == "Overview" else shape[1]
    at = studio._place(found, layer, axis, (0.25 * width, 0.75 * shape[0]))
    wanted = 0.75 * rows if axis == "across" else 0.25 * columns
    assert abs(at - wanted) <= 1
    if layer == "Overview":  # in the third panel it means the same
        assert abs(studio._place(found, layer, axis, (2.25 * width + 16, 0.75 * shape[0])) - wanted) <= 1


def test_the_first_scan_crosses_what_was_written(found: SemInterval) -> None:
    mask = np.zeros((60, 90), np.float32)
    mask[40:50, 20:30] = mask[40:50, 50:60] = mask[5:9, 70:80] = 1.0
    flat = np.zeros((120, 180), np.float32)  # the field is twice as fine as its small mask
    two = dataclasses.replace(found, lo=flat, mid=flat, hi=flat, source=mask)
    assert studio.telling_line(two, "across") == 81  # both lower bars, of those rows the one nearest to the middle
    assert studio.telling_line(two, "down") == 101
    empty = dataclasses.replace(two, source=np.zeros((60, 90), np.float32))
    assert studio.telling_line(empty, "across") == 61
    assert studio.telling_line(dataclasses.replace(two, source=None), "down") == 90


def test_the_sentence_is_about_the_chosen_layer(tmp_path: Path) -> None:
    import gdstk

    library = gdstk.Library(unit=1e-9)
    library.new_cell("TOP").add(
        gdstk.rectangle((0, 0), (300, 100), layer=66, datatype=20),
        gdstk.rectangle((0, 0), (60, 50), layer=68, datatype=20),
    )
    library.write_gds(tmp_path / "two.gds")
    _, words = studio.layers_of(tmp_path / "two.gds", None, "68/20")
    assert "68/20 met1 is 0.06 x 0.05 µm" in words
    _, other = studio.layers_of(tmp_path / "two.gds", None, "66/20")
    assert "0.3 x 0.1 µm" in other
    assert studio.layers_of(tmp_path / "two.gds", None, "1/1")[1] in (words, other)


@pytest.mark.parametrize("axis", ["across", "down"])
def test_the_scan_is_drawn_from_end_to_end(found: SemInterval, axis: str) -> None:
    last = found.mid.shape[0 if axis == "across" else 1] - 1
    for at in (0, last):
        assert studio.scan_plot(found, axis, at).startswith("<svg")


def test_the_gallery_picture_is_here_and_small() -> None:
    path = picture_of(registry.get("sem"))
    assert path is not None
    assert path.stat().st_size < 100_000


def test_the_demonstration_says_what_it_ran_on() -> None:
    report = Report("tour")
    studio.demo(report.section("sem"))
    text = report.render()
    assert "drawn by us" in text
    assert "<img" in text
