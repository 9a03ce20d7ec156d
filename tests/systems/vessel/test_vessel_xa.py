"""Angiograms in and out: view labels, sources of every kind behind one interface, frames of full contrast, XA files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dicoms import SECRETS, ramp, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from fieldsight.data.dicom import Dicom
from fieldsight.data.images import write_image
from fieldsight.data.video import write_video
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel.xa import (
    SUFFIXES,
    View,
    angles_of_run,
    key_frames,
    open_angiography,
    same_size,
    view_of,
    write_xa,
)

# ------------------------------------------------------------------------------------------------ views


def test_view_labels_by_the_thresholds_of_the_specification() -> None:
    sides = {0: "zero", 15: "zero", 15.01: "LAO", 40: "LAO", -15: "zero", -15.01: "RAO", -30: "RAO", 180: "LAO"}
    assert {angle: view_of(angle).side for angle in sides} == sides
    tilts = {0: "zero", 15: "zero", 20: "cranial", -15: "zero", -20: "caudal"}
    assert {angle: view_of(0, angle).tilt for angle in tilts} == tilts
    assert str(view_of(40, 20, "LCA")) == "LCA LAO"
    assert str(view_of(0, None, "RCA")) == "RCA zero"
    assert str(View()) == "unknown"
    assert view_of(None, 20).side == "unknown"
    assert (view_of(20).tilt, str(view_of(20))) == ("unknown", "unknown LAO")
    assert str(view_of(None, None, "RCA")) == "RCA unknown"


@pytest.mark.parametrize(
    ("text", "artery"),
    [
        ("Grimshaw Ottoline coronary LCA 15 fps", "LCA"),
        ("RCA_LAO30", "RCA"),
        ("Left Coronary 15 fps", "LCA"),
        ("RIGHT CORONARY", "RCA"),
        ("lad spider", "LCA"),
        ("Coronary 15 fps", "unknown"),
        ("LCA and RCA", "unknown"),
        ("LADY GRIMSHAW", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_artery_is_told_by_words_and_never_guessed(tmp_path: Path, text: str, artery: str) -> None:
    run = open_angiography(write(tmp_path / "a.dcm", ramp(2), SeriesDescription=text))
    assert run.artery == artery
    assert str(run.view()) == f"{artery} LAO"
    assert run.view() == View(artery, "LAO", "caudal", 32.5, -21.0)  # type: ignore[arg-type]
    assert not [secret for secret in SECRETS if secret in f"{run} {run.notes} {run.view()!r}"]
    assert open_angiography(tmp_path / "a.dcm", artery="RCA").artery == "RCA"


def test_angles_that_are_missing_or_given(tmp_path: Path) -> None:
    plain = {"PositionerPrimaryAngle": None, "PositionerSecondaryAngle": None}
    path = write(tmp_path / "a.dcm", ramp(2), **plain)
    assert open_angiography(path).view() == View("LCA", "unknown", "unknown")
    assert str(open_angiography(path, primary=-20).view()) == "LCA RAO"
    path = write(tmp_path / "b.dcm", ramp(2))
    assert open_angiography(path, secondary=0).view() == View("LCA", "LAO", "zero", 32.5, 0)


@pytest.mark.parametrize(
    ("start", "increments", "angles", "word"),
    [
        (-30.0, [0, 20, 20, 20], [-30, -10, 10, 30], "steps"),
        (-90.0, [0, 60, 120, 180], [-90, -30, 30, 90], "ways"),
        (-100.0, [-100, -40, 40, 100], [-100, -40, 40, 100], "angles"),
        (10.0, [0, 0, 0, 0], [10, 10, 10, 10], ""),
        (10.0, [], [10, 10, 10, 10], ""),
        (10.0, [1, 2], [10, 10, 10, 10], "fewer"),
        (10.0, [0, 500, 600, 900], [10, 10, 10, 10], "left out"),
        (None, [0, 1, 1, 1], [None] * 4, ""),
    ],
)
def test_angles_of_a_moving_positioner(start: Any, increments: Any, angles: Any, word: str) -> None:
    found, note = angles_of_run(start, increments, 4)
    assert found == angles
    assert (word in note) if word else note == ""


def test_view_of_every_frame_of_a_rotation(tmp_path: Path) -> None:
    tags = {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngle": "-30",
            "PositionerPrimaryAngleIncrement": ["0", "20", "20", "20"]}  # fmt: skip
    run = open_angiography(write(tmp_path / "a.dcm", ramp(4), **tags))
    assert [str(run.view(n)) for n in range(4)] == ["LCA RAO", "LCA zero", "LCA zero", "LCA LAO"]
    assert run.view(3).secondary == -21
    assert any("moves from -30 to 30 degrees" in note for note in run.notes)


# ------------------------------------------------------------------------------------------------ sources


def test_dicom(tmp_path: Path) -> None:
    pixels = ramp(3, top=1000, dtype=np.uint16)
    path = write(tmp_path / "noending", pixels, bits=12, WindowCenter="500.5", WindowWidth="1001")
    with open_angiography(path) as run:
        assert (run.count, len(run), run.size, run.fps) == (3, 3, (24, 32), 15.0)
        assert run.mm_per_px == pytest.approx(0.184 / 1.5)
        np.testing.assert_allclose(run.values(1), pixels[1] * 0.255, atol=1e-3)
        assert [number for number, _ in run] == [0, 1, 2]
        for number, frame in run:
            assert frame.dtype == np.uint8
            np.testing.assert_array_equal(frame, np.rint(run.values(number)))
        with pytest.raises(DataError, match="no frame 3"):
            run.frame(3)
    given = open_angiography(path, window=(250.5, 501.0), fps=7.5, spacing=0.3)
    assert (given.fps, given.mm_per_px) == (7.5, 0.3)
    np.testing.assert_allclose(given.values(2), np.clip(pixels[2] * 0.51, 0, 255), atol=1e-3)


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_video(tmp_path: Path, ending: str) -> None:
    frames = [cv2.GaussianBlur(np.roll(ramp(1, 48, 64)[0], 9 * i, 1), (9, 9), 0) for i in range(5)]
    with write_video(tmp_path / "a.mp4", 12) as add:
        for frame in frames:
            add(np.repeat(frame[..., None], 3, 2))
    path = (tmp_path / "a.mp4").rename(tmp_path / f"a{ending}")
    run = open_angiography(path, artery="LCA", primary=0)
    assert (run.count, run.size, run.fps, str(run.view(4))) == (5, (48, 64), 12.0, "LCA zero")
    found = dict(run)
    assert list(found) == [0, 1, 2, 3, 4]
    for number in (3, 0):
        assert np.abs(found[number].astype(int) - frames[number]).mean() < 6
        np.testing.assert_array_equal(run.frame(number), found[number])


def test_pictures(tmp_path: Path) -> None:
    grey = ramp(3, 20, 30)
    write_image(tmp_path / "grey.png", grey[1])
    write_image(tmp_path / "deep.png", grey[1].astype(np.uint16) * 257)
    write_image(tmp_path / "colour.png", np.repeat(grey[1][..., None], 3, 2))
    write_image(tmp_path / "float.tif", grey[1].astype(np.float32) / 255)
    for name in ("grey.png", "deep.png", "colour.png", "float.tif"):
        run = open_angiography(tmp_path / name)
        np.testing.assert_array_equal(run.frame(0), grey[1])
        assert (run.count, str(run.view()), run.mm_per_px, run.notes) == (1, "unknown", None, [])
    write_image(tmp_path / "dark.png", grey[1].astype(np.uint16) * 16)
    dark = open_angiography(tmp_path / "dark.png")
    assert dark.frame(0).max() < 20
    assert "16-bit values go to" in dark.notes[0]
    light = open_angiography(tmp_path / "dark.png", white=16 * 255)
    np.testing.assert_array_equal(light.frame(0), grey[1])
    folder = tmp_path / "run"
    for number in range(3):
        write_image(folder / f"{number:03d}.png", grey[number])
    run = open_angiography(folder)
    np.testing.assert_array_equal([frame for _, frame in run], grey)
    assert run.notes == ["the source does not say its speed: 15 frames a second are assumed"]
    write_image(folder / "002.png", grey[2][:-1])
    with pytest.raises(DataError, match=r"frame 2 has 30 x 19 pixels, the first frame 30 x 20"):
        open_angiography(folder).frame(2)


def test_arrays(tmp_path: Path) -> None:
    grey = ramp(3, 20, 30)
    forms = [grey, grey.astype(np.uint16) * 257, grey / np.float32(255), np.repeat(grey[..., None], 3, 3), grey[1]]
    for array in forms:
        run = open_angiography(array)
        np.testing.assert_array_equal(run.frame(min(1, run.count - 1)), grey[1])
        assert run.size == (20, 30)
    np.save(tmp_path / "a.npy", grey)
    np.testing.assert_array_equal(open_angiography(tmp_path / "a.npy").frame(2), grey[2])
    half = open_angiography(grey.astype(np.float32) + 0.5, white=256)
    np.testing.assert_allclose(half.values(1), (grey[1] + 0.5) * 255 / 256, rtol=1e-6)
    wrong = ((grey.astype(np.float32), "0 to 1. Say which is white"), (-(grey / np.float32(255)), "values from -0.5"),
             (np.full((2, 9, 9), np.nan, np.float32), "nan"), (np.zeros(5, np.uint8), "shape"),
             (np.zeros((0, 9, 9), np.uint8), "shape"), (np.zeros((1, 2, 9, 9), np.uint8), "shape"))  # fmt: skip
    for array, words in wrong:
        with pytest.raises(DataError, match=words):
            open_angiography(array).frame(0)


def test_what_is_no_angiogram(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Grimshaw")
    (tmp_path / "a.npy").write_text("Grimshaw")
    (tmp_path / "a.mp4").write_text("Grimshaw")
    (tmp_path / "a.dcm").write_text("Grimshaw" * 50)
    (tmp_path / "a.png").write_text("Grimshaw")
    cases = {"notes.txt": "no angiogram", "none.txt": "no file", "none.dcm": "no file", "none.npy": "no file",
             "a.npy": "as an array", "a.mp4": "no video", "a.dcm": "no DICOM file", "a.png": "no picture"}  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(DataError, match=words) as caught:
            open_angiography(tmp_path / name)
        assert "Grimshaw" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        open_angiography(tmp_path / "empty")
    write(tmp_path / "empty" / "run", ramp(2))
    with pytest.raises(DataError, match="holds 1 DICOM files or videos: name one"):
        open_angiography(tmp_path / "empty")
    with pytest.raises(ConfigError) as told:
        open_angiography(ramp(1), artery="LAC", fps=0, primary=200, spacing=float("nan"))  # type: ignore[arg-type]
    assert len(told.value.problems) == 4
    assert "Did you mean 'LCA'" in str(told.value)
    assert ".dcm" in SUFFIXES


def test_damaged_frames_of_a_video_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with write_video(tmp_path / "a.mp4", 12) as add:
        for i in range(6):
            add(np.full((32, 32, 3), 40 * i, np.uint8))
    run = open_angiography(tmp_path / "a.mp4")
    from fieldsight.data.video import Video

    whole = Video.__call__

    def broken(self: Video, i: int) -> Any:
        if i in (2, 5):
            raise DataError("damaged")
        return whole(self, i)

    monkeypatch.setattr(Video, "__call__", broken)
    assert [number for number, _ in run] == [0, 1, 3, 4]
    assert any("left out: 2" in note for note in run.notes)
    with pytest.raises(DataError):
        run.frame(2)


def test_same_size() -> None:
    same_size((20, 30), (20, 30, 3), "The mask 'm.png'")
    with pytest.raises(DataError, match=r"The mask 'm.png' has 30 x 20 pixels, its frame 20 x 30. They must agree"):
        same_size((20, 30), (30, 20), "The mask 'm.png'", "its frame")


# ------------------------------------------------------------------------------------------------ key frames


def flowing(fills: list[float], side: int = 128, noise: float = 4.0, beat: float = 3.0) -> Any:
    """Frames with a branching dark vessel that fills by a share, over a slope, with noise and a beating heart."""
    rng = np.random.default_rng([12, len(fills)])
    y, x = np.mgrid[:side, :side] / side
    frames = []
    for number, fill in enumerate(fills):
        shift = beat / side * np.sin(2 * np.pi * number / 12)
        path = np.zeros((side, side))
        for slope in (0.2, 0.6, -0.4):
            path += 4 * np.exp(-(((y - 0.5 - shift - slope * (x - 0.3)) * side / 2.5) ** 2)) * (x < 0.1 + 0.9 * fill)
        light = (150 + 60 * x) * np.exp(-0.1 * path * (fill > 0))
        frames.append(np.clip(light + rng.normal(0, noise, light.shape), 0, 255))
    return np.stack(frames).astype(np.uint8)


RISE = [0.0] * 6 + [0.2, 0.5, 0.8] + [1.0] * 12 + [0.6, 0.3, 0.1] + [0.0] * 6


def test_key_frames_are_of_the_mid_phase() -> None:
    found = key_frames(open_angiography(flowing(RISE)), 4)
    assert len(found.numbers) == 4
    assert all(RISE[number] == 1.0 for number in found.numbers)
    assert list(found.numbers) == sorted(set(found.numbers))
    first, last = found.phase
    assert 7 <= first <= 11
    assert 18 <= last <= 22
    assert found.notes == ()
    assert found.area.argmax() in range(first, last + 1)
    late = [0.0] * 20 + RISE
    assert min(key_frames(open_angiography(flowing(late)), 1).numbers) >= 28


def test_runs_that_are_full_or_empty_throughout() -> None:
    empty = key_frames(open_angiography(flowing([0.0] * 20)), 3)
    assert empty.numbers == (3, 10, 16)
    assert "no contrast agent comes or goes" in empty.notes[0]
    full = key_frames(open_angiography(flowing([1.0] * 24)), 3)
    assert full.phase[1] - full.phase[0] >= 12
    still = key_frames(open_angiography(ramp(1)), 2)
    assert still.numbers == (0,)
    assert still.notes == ("2 frames are wanted, the run has 1 to give",)
    with pytest.raises(ConfigError, match="at least 1"):
        key_frames(open_angiography(ramp(2)), 0)


def test_a_long_run_is_looked_at_in_one_pass_and_little_memory() -> None:
    fills = np.interp(np.arange(1000), [200, 300, 600, 700], [0, 1, 1, 0])
    few = flowing(list(fills[::20]), 64)
    asked: list[int] = []
    run = open_angiography(few)
    run.count = 1000
    run._read = lambda number: (asked.append(number), few[number // 20])[1]
    found = key_frames(run, 5)
    assert asked == list(range(1000))
    assert len(found.looked) == 334
    assert all(fills[number] > 0.9 for number in found.numbers)


# ------------------------------------------------------------------------------------------------ writing


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    bits=st.sampled_from([None, 8, 10, 12, 16]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_what_is_written_is_read(tmp_path_factory: Any, shape: Any, bits: int | None, seed: int) -> None:
    depth = bits or 8
    frames = np.random.default_rng([seed]).integers(0, 2**depth, shape).astype(np.uint8 if depth == 8 else np.uint16)
    path = tmp_path_factory.mktemp("xa") / "a.dcm"
    write_xa(path, frames, 12.5, 30.25, -20, (0.2, 0.25), "RCA", bits)
    with Dicom(path) as file, open_angiography(path) as run:
        np.testing.assert_array_equal([file.frame(i) for i in range(shape[0])], frames)
        np.testing.assert_allclose(run.values(0), frames[0] * (255 / (2**depth - 1)), atol=2e-3)
        assert (run.fps, run.view(), run.mm_per_px) == (12.5, View("RCA", "LAO", "caudal", 30.25, -20), 0.225)
        assert run.notes == []
        assert file.spacing is not None
        assert (file.spacing.row, file.spacing.column) == (0.2, 0.25)


def test_written_files_are_the_same_and_valid(tmp_path: Path) -> None:
    frames = ramp(2, 33, 47)
    a, b, c = (write_xa(tmp_path / f"{name}.dcm", frames, 15, artery="LCA") for name in "abc")
    assert a.read_bytes() == b.read_bytes() == c.read_bytes()
    data = dcmread(a)
    assert data.SOPClassUID.name == "X-Ray Angiographic Image Storage"
    assert data.FrameIncrementPointer == 0x00181063
    assert (data.PatientName, data.PatientID, data.PatientIdentityRemoved) == ("", "", "YES")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert data[keyword].value.is_valid
    assert len({data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID}) == 3
    other = dcmread(write_xa(tmp_path / "d.dcm", 255 - frames, 15))
    assert other.SOPInstanceUID != data.SOPInstanceUID
    np.testing.assert_array_equal(data.pixel_array, frames)
    assert str(open_angiography(tmp_path / "d.dcm").view()) == "unknown"


def test_writing_refuses(tmp_path: Path) -> None:
    frames = ramp(2)
    path = write_xa(tmp_path / "a.dcm", frames, 15)
    before = path.read_bytes()
    with pytest.raises(DataError, match="is there already"):
        write_xa(path, frames, 10)
    assert path.read_bytes() == before
    write_xa(path, frames, 10, overwrite=True)
    assert open_angiography(path).fps == 10
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (frames[0], {}, "N, H, W"),
        (frames.astype(np.float32), {}, "uint8 or uint16"),
        (frames.astype(np.uint16) * 16, {"bits": 10}, "10 bits"),
        (frames, {"bits": 12}, "12 bits"),
        (frames, {"fps": 0}, "fps 0"),
        (frames, {"artery": "LAC"}, "artery is LAC"),
        (frames, {"spacing": 0.0}, "spacing is 0.0"),
    ]
    for array, options, words in wrong:
        with pytest.raises(DataError, match=words):
            write_xa(tmp_path / "b.dcm", array, **{"fps": 15, **options})
    with pytest.raises(DataError, match="written as .dcm"):
        write_xa(tmp_path / "b.png", frames, 15)
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]
