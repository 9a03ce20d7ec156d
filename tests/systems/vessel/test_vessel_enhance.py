"""``enhance`` and ``fuse`` as people use them: pictures, runs, colour, bad inputs, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from tubes import picture

from fieldsight import progress
from fieldsight.data.images import read_image, write_image
from fieldsight.data.video import Video, write_video
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel import enhancing, fusing
from fieldsight.systems.vessel.enhancing import Enhanced, EnhancedRun, enhance, fuse
from fieldsight.systems.vessel.options import EnhanceOptions, FuseOptions
from fieldsight.systems.vessel.phantom import Patient, render, sequence
from fieldsight.systems.vessel.xa_write import write_xa

OPTIONS = EnhanceOptions(sigmas=(1.0, 2.0))


@pytest.fixture(scope="module")
def drawn():
    return render(Patient.draw("val", 0, 3, "high"), side=128)


@pytest.fixture(scope="module")
def run():
    patient = Patient.draw("val", 1, 3, "high")
    return [one.image for one in sequence(patient, frames=8, side=96)]


def test_a_picture(drawn, tmp_path) -> None:
    file = write_image(tmp_path / "a.png", drawn.image)
    found = enhance(file, OPTIONS.replace(maps=True), tmp_path / "out", True)
    assert isinstance(found, Enhanced)
    assert {f.name for f in found.files} == {
        "a_vesselness.png", "a_fused.png", "a.json", "a_vesselness.tif", "a_scale.tif", "a_direction.tif",
    }  # fmt: skip
    value = tifffile.imread(tmp_path / "out" / "a_vesselness.tif")
    assert value.dtype == np.float32
    assert value[drawn.main & ~drawn.devices].mean() > 5 * value[~drawn.mask & ~drawn.devices].mean()
    assert np.array_equal(read_image(tmp_path / "out" / "a_fused.png", "rgb"), found.fused)
    told = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (told["height"], told["width"]) == (128, 128)
    assert 0.005 < told["vessel_share"] < 0.4
    assert found.draw().shape[0] == 128


def test_an_array_gives_the_same_as_its_file(drawn, tmp_path) -> None:
    file = write_image(tmp_path / "a.png", drawn.image)
    by_file, by_array = enhance(file, OPTIONS, None, True), enhance(drawn.image, OPTIONS, None, True)
    assert np.array_equal(by_file.fused, by_array.fused)


def test_a_folder_with_a_bad_file(drawn, tmp_path) -> None:
    write_image(tmp_path / "in" / "a.png", drawn.image)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    found = enhance(tmp_path / "in", OPTIONS, tmp_path / "out", False)
    assert [bool(o.error) for o in found] == [False, True]
    assert found.exit_code == 3
    with pytest.raises(DataError):
        enhance(tmp_path / "in", OPTIONS, None, True)


@pytest.mark.parametrize("kind", ["dcm", "mp4"])
def test_a_run_of_frames(kind: str, run, tmp_path) -> None:
    file = tmp_path / f"run.{kind}"
    if kind == "dcm":
        write_xa(file, np.stack(run), fps=15.0, primary=-30.0, secondary=5.0)
    else:
        with write_video(file, 15.0) as add:
            for frame in run:
                add(fusing.grey(frame))
    found = enhance(file, OPTIONS, tmp_path / "out", True)
    assert isinstance(found, EnhancedRun)
    assert found.frames == 8
    video = Video(tmp_path / "out" / "run_enhanced.mp4")
    assert video.count == 8
    assert video(0).shape == (96, 192, 3)
    video.close()
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["key_frame"] == found.number
    assert ("RAO" in told["view"]) == (kind == "dcm")


def test_green_of_a_colour_picture(drawn, tmp_path) -> None:
    picture = np.stack([np.full_like(drawn.image, 90), drawn.image, np.full_like(drawn.image, 10)], axis=-1)
    file = write_image(tmp_path / "c.png", picture)
    green = enhance(file, OPTIONS.replace(channel="green"), None, True)
    assert np.array_equal(green.frame, drawn.image)
    red = enhance(file, OPTIONS.replace(channel="red"), None, True)
    assert red.vesselness.value.max() < 1e-12


def test_shadows_are_evened_out(drawn) -> None:
    slope = np.linspace(0.3, 1.0, 128)[None, :]
    dim = np.round(drawn.image * slope).astype(np.uint8)
    plain, flat = (enhance(dim, OPTIONS.replace(flat=f), None, True) for f in (False, True))
    dark = np.s_[:, :48]
    gain = [float(r.vesselness.value[dark][drawn.main[dark]].mean()) for r in (plain, flat)]
    assert gain[1] > 1.2 * gain[0]
    assert abs(float(flat.frame.mean()) - 128) < 8


def test_no_vessel_is_invented(monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(progress, "note", told.append)
    noise = np.clip(np.random.default_rng(0).normal(120, 2, (128, 128)), 0, 255).astype(np.uint8)
    found = enhance(noise, EnhanceOptions(), None, True)
    assert found.visible.max() < 0.2
    assert np.array_equal(found.visible, np.asarray(found.vesselness.value, np.float32))  # not scaled up
    flat = enhance(np.full((64, 64), 99, np.uint8), OPTIONS, None, True)
    assert flat.visible.max() < 1e-6
    assert any("nothing here looks like a vessel" in line for line in told)


def test_fuse_takes_a_vesselness_of_its_own(drawn, tmp_path) -> None:
    frame = write_image(tmp_path / "a.png", drawn.image)
    value = write_image(tmp_path / "v.png", np.where(drawn.mask, 255, 0).astype(np.uint8))
    found = fuse(frame, FuseOptions(vesselness=value), None, True)
    expected = fusing.fuse(drawn.image, drawn.mask.astype(np.float32), "ihs").image
    assert np.array_equal(found.fused, expected)
    small = write_image(tmp_path / "s.png", np.zeros((16, 20), np.uint8))
    with pytest.raises(DataError, match=r"'.*s.png' is 20 x 16 pixels, the frame 128 x 128"):
        fuse(frame, FuseOptions(vesselness=small), None, True)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="raw is the frame itself"):
        EnhanceOptions(mode="raw")
    with pytest.raises(ConfigError, match="sigmas"):
        EnhanceOptions(sigmas=(0.0,))


def test_a_large_frame_is_filtered_in_bands(monkeypatch, tmp_path) -> None:
    """The same numbers to the last bit, wherever the bands end; direction is kept where it is wanted."""
    frame = picture(301, 90)
    options = EnhanceOptions(sigmas=(1.0, 5.0), maps=True)
    whole = enhance(frame, options, None, strict=True)
    monkeypatch.setattr(enhancing, "WHOLE", 1000)
    monkeypatch.setattr(enhancing, "BAND", 64)
    banded = enhance(frame, options, None, strict=True)
    for name in ("value", "scale", "direction"):
        assert np.array_equal(getattr(banded.vesselness, name), getattr(whole.vesselness, name)), name
    assert np.array_equal(banded.fused, whole.fused)
    assert not enhance(frame, EnhanceOptions(sigmas=(1.0,)), None, strict=True).vesselness.direction.size
