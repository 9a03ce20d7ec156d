"""Videos read and written picture by picture; over damaged parts every picture keeps its number."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from fieldsight.data import video as core_video
from fieldsight.data.video import Frames, Video, write_video
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError

LONG = 140

# ------------------------------------------------------------------------------------------- reading and writing


def test_written_and_read_back(tmp_path: Path) -> None:
    pictures = [np.full((50, 70, 3), (10 * i, 100, 255 - 10 * i), np.uint8) for i in range(9)]
    with write_video(tmp_path / "a.mp4", 12.5) as add:
        for picture in pictures:
            add(picture)
        assert not (tmp_path / "a.mp4").exists()  # whole or not at all
    found = Video(tmp_path / "a.mp4")
    assert (found.count, found.fps) == (9, 12.5)
    for i in (0, 1, 7, 2, 8, 0):
        assert found(i).shape == (50, 70, 3)
        assert np.abs(found(i).astype(int) - pictures[i]).max() < 12
    with pytest.raises(DataError, match="picture 9 can't be read"):
        found(9)
    with pytest.raises(DataError, match="picture 0 can't be read"):
        Video(tmp_path / "a.mp4", max_pixels=3000)(0)
    found.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_and_changing_sizes(tmp_path: Path) -> None:
    with write_video(tmp_path / "a.mp4", 5) as add:
        for shape in ((33, 49), (20, 20), (60, 80)):
            add(np.full((*shape, 3), 200, np.uint8))
    found = Video(tmp_path / "a.mp4")
    assert found(0).shape == (34, 50, 3)
    assert found(1)[10, 10, 0] > 180
    assert found(1)[30, 40, 0] < 20
    assert found(2).min() > 180


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture to write"), write_video(tmp_path / "a.mp4", 5):
        pass
    with pytest.raises(DataError, match=r"written as \.mp4"), write_video(tmp_path / "a.avi", 5):
        pass
    with pytest.raises(ZeroDivisionError), write_video(tmp_path / "b.mp4", 5) as add:
        add(np.zeros((9, 9, 3), np.uint8))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "junk.mp4").write_bytes(b"no video at all")
    for name, words in (("junk.mp4", "no video that can be read"), ("none.mp4", "no file")):
        with pytest.raises(DataError, match=words):
            Video(tmp_path / name)


# -------------------------------------------------------------------------------------------------- damaged parts


def numbered(n: int) -> Any:
    """A picture that tells its number in eight squares, over noise that fills the file."""
    picture = np.full((96, 160, 3), 30, np.uint8)
    picture[48:] = rng_for(n, "noise").integers(0, 255, (48, 160, 3), dtype=np.uint8)
    for bit in range(8):
        if n >> bit & 1:
            picture[4:40, 4 + 19 * bit : 18 + 19 * bit] = 230
    return picture


def number(picture: Any) -> int:
    """What :func:`numbered` wrote."""
    return sum(1 << bit for bit in range(8) if picture[12:32, 8 + 19 * bit : 14 + 19 * bit].mean() > 130)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """140 numbered pictures as an AVI of JPEGs, so that any of them can be damaged alone."""
    path = tmp_path_factory.mktemp("video") / "whole.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 96))
    for n in range(LONG):
        writer.write(numbered(n))
    writer.release()
    return path


def damaged(whole: Path, path: Path, lost: Any) -> Path:
    """A copy in which these pictures hold zeros."""
    data = bytearray(whole.read_bytes())
    at = data.index(b"movi") + 4
    for n in range(LONG):
        (size,) = struct.unpack_from("<I", data, at + 4)
        if n in lost:
            data[at + 8 : at + 8 + size] = bytes(size)
        at += 8 + size + size % 2
    path.write_bytes(data)
    return path


LOST = {0, 10, 11, 20, 75, 76, 77, 90}


@pytest.mark.parametrize("order", [
    range(LONG), range(0, LONG, 4), range(3, LONG, 9), range(1, LONG, 65), range(LONG - 1, -1, -7), [100, 5, 5, 76, 21]
])  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_pictures_keep_their_numbers_over_damaged_ones(whole: Path, tmp_path: Path, order: Any, first: bool) -> None:
    lost = LOST if first else LOST - {0}
    video = Video(damaged(whole, tmp_path / "v.avi", lost))
    for n in order:
        if n in lost:
            with pytest.raises(DataError, match=f"picture {n} can't be read"):
                video(n)
        else:
            assert number(video(n)) == n
    video.close()


@pytest.mark.filterwarnings("ignore")
def test_damaged_parts_of_a_video_whose_pictures_build_on_each_other(tmp_path: Path) -> None:
    with write_video(tmp_path / "v.mp4", 10) as add:
        for n in range(LONG):
            add(numbered(n))
    data = bytearray((tmp_path / "v.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    (size,) = struct.unpack_from(">I", data, start - 8)
    data[start + size // 4 : start + size // 2] = bytes(size // 2 - size // 4)
    (tmp_path / "v.mp4").write_bytes(data)
    for every in (1, 3, 10):
        frames = Frames(Video(tmp_path / "v.mp4"), every)
        told = [(n, number(picture)) for n, picture in frames]
        assert all(n == found for n, found in told if n < LONG // 5 or n > 0.6 * LONG)
        assert len(told) + len(frames.lost) == len(frames.wanted)
        assert len(frames.lost) > LONG // every // 8
        assert frames.end is None


@pytest.mark.filterwarnings("ignore")
def test_frames_as_far_as_they_can_be_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = Frames(Video(whole), 30)
    assert [(n, number(p)) for n, p in frames] == [(n, n) for n in range(0, LONG, 30)]
    assert (frames.lost, frames.end, frames.notes, frames.fps) == ([], None, [], 10.0)
    path = damaged(whole, tmp_path / "v.avi", {*LOST, *range(130, LONG)})
    frames = Frames(Video(path), 5)
    assert [(n, number(p)) for n, p in frames] == [(n, n) for n in range(0, 130, 5) if n not in LOST]
    assert (frames.lost, frames.end) == ([0, 10, 20, 75, 90], 130)
    assert frames.notes == [
        "frames that can't be read are left out: 0, 10, 20, 75, 90 (5 in all)",
        "the video ends at frame 130, though its header tells of 140",
    ]
    monkeypatch.setattr(core_video, "PATIENCE", 3)
    frames = Frames(Video(path))
    assert [n for n, _ in frames][-1] == 74
    assert frames.end == 75
    frames = Frames(Video(damaged(whole, tmp_path / "w.avi", range(LONG))))
    assert list(frames) == []
    assert frames.notes == []  # whoever asks says that there is nothing


def test_a_video_that_does_not_say_its_speed() -> None:
    for fps in (0.0, math.nan, 1e6):
        frames = Frames(SimpleNamespace(count=3, fps=fps))  # type: ignore[arg-type]
        assert frames.fps == 25.0
        assert "25 frames a second are assumed" in frames.notes[0]
