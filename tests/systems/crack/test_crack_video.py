"""Videos: read and written picture by picture, cracks in them, and what can be broken."""

from __future__ import annotations

import csv
import json
import math
import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pools import Broken, Dark, cracked, seeing, untrained

from fieldsight.cli import main
from fieldsight.data import video as core_video
from fieldsight.data.images import write_image
from fieldsight.data.video import Video, write_video
from fieldsight.errors import DataError, ExportError
from fieldsight.systems.crack import video as crack_video
from fieldsight.systems.crack.explain import Explanation
from fieldsight.systems.crack.photo import open_photo
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.video import CrackVideo

COUNT, FPS = 24, 4.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures in 6 s; the dark band is longest in the 11th, and there is none in the first 4."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with write_video(path, FPS) as add:
        for i in range(COUNT):
            picture = np.full((96, 160, 3), 150, np.uint8)
            if i >= 4:
                picture[40:48, 10 : 10 + 14 * (11 - abs(i - 10))] = 10
            add(picture)
    return path


@pytest.fixture
def model() -> CrackModel:
    return seeing()


# ------------------------------------------------------------------------------------------------------ cracks


def test_cracks_of_a_video(model: CrackModel, clip: Path, tmp_path: Path) -> None:
    found = model.predict(clip, every=2, scale=0.5, out=tmp_path / "out")
    assert isinstance(found, CrackVideo)
    rows = found.frames.rows
    assert [r["frame"] for r in rows] == list(range(0, COUNT, 2))
    assert [r["time"] for r in rows] == [i / FPS for i in range(0, COUNT, 2)]
    assert [r["count"] for r in rows] == [0, 0, *[1] * 10]
    lengths = [r["length_px"] for r in rows]
    assert max(lengths) == lengths[5]  # picture 10
    assert lengths[5] == pytest.approx(150, abs=8)
    assert rows[5]["length_mm"] == pytest.approx(0.5 * lengths[5], rel=1e-4)
    assert rows[5]["max_width_px"] == pytest.approx(8, abs=1.5)
    assert {r["experts"] for r in rows} <= {"cen+crackrefine", "crackrefine+cen"}
    assert found.worst[0].frame == 10
    times = [w.time for w in found.worst]
    assert all(abs(a - b) >= 1.0 for n, a in enumerate(times) for b in times[:n])
    assert [w.length for w in found.worst] == sorted((w.length for w in found.worst), reverse=True)
    facts = found.to_dict()
    assert facts["frames"] == 12
    assert facts["frames_in_all"] == 24
    assert facts["frames_with_cracks"] == 10
    assert facts["seconds"] == 23 / FPS
    assert facts["greatest_length_px"] == pytest.approx(lengths[5])
    assert sum(facts["used"].values()) == pytest.approx(1, abs=1e-3)
    assert "notes" not in facts
    out = tmp_path / "out"
    names = {p.name for p in out.iterdir()}
    assert names == {
        "clip_overlay.mp4",
        "clip.csv",
        "clip.json",
        *(f"clip_frame_{w.frame:06d}.png" for w in found.worst),
    }
    assert json.loads((out / "clip.json").read_text()) == json.loads(json.dumps(facts))
    with open(out / "clip.csv") as file:
        table = list(csv.DictReader(file))
    assert [int(r["frame"]) for r in table] == [r["frame"] for r in rows]
    overlay = Video(out / "clip_overlay.mp4")
    assert (overlay.count, overlay.fps) == (12, FPS / 2)
    drawn = overlay(5).astype(int)
    assert drawn.shape == (96, 160, 3)
    assert drawn[44, 40, 0] > drawn[44, 40, 1] + 60
    assert abs(drawn[80, 40, 0] - drawn[80, 40, 1]) < 20
    sheet = found.draw()
    assert sheet.shape[1] == 320
    assert any(line.startswith("worst at: 2.5 s") for line in found.lines())


def test_a_picture_of_a_video_is_found_as_a_photo_is(model: CrackModel, clip: Path) -> None:
    found = model.predict(clip, every=10)
    photo = model.predict(Video(clip)(10))
    row = found.frames.rows[1]
    assert row["length_px"] == pytest.approx(photo.summary.length_px)
    assert row["area_share"] == pytest.approx(photo.summary.area_share, abs=1e-6)
    half = model.predict(clip, every=10, resize=0.5, scale=1.0)
    assert (half.facts["height"], half.facts["width"]) == (48, 80)
    assert half.facts["scale_mm"] == 2.0
    assert half.facts["notes"] == ["shrunk to 80 x 48 pixels"]


def test_the_gate_looks_once_a_picture(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    asked = []
    real = CrackModel.route

    def route(self: CrackModel, photo: Any, options: Any, engine: Any) -> Any:
        asked.append((photo.id, options.route))
        return real(self, photo, options, engine)

    monkeypatch.setattr(CrackModel, "route", route)
    model.predict(clip, every=8)
    assert asked == [("clip_000000", "image"), ("clip_000008", "image"), ("clip_000016", "image")]
    asked.clear()
    model.predict(clip, every=12, route="tile")
    assert {r for _, r in asked} == {"tile"}


def test_only_one_picture_is_in_memory(model: CrackModel, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Any]] = []
    real = CrackModel.find

    def find(self: CrackModel, photo: Any, options: Any, warn: Any) -> Any:
        assert sum(r() is not None for r in kept) <= 2
        found = real(self, photo, options, warn)
        kept.append(weakref.ref(found))
        return found

    monkeypatch.setattr(CrackModel, "find", find)
    video = model.predict(clip, every=2)
    assert len(kept) == COUNT / 2
    folder = video.overlay.parent
    assert folder.is_dir()
    del video
    assert not folder.exists()  # what was kept outside of memory goes with the result


def test_a_folder_with_photos_and_videos(model: CrackModel, clip: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "clip.png", cracked())
    (tmp_path / "in" / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "in" / "junk.mp4").write_bytes(b"junk")
    results = model.predict(tmp_path / "in", out=tmp_path / "out", every=6)
    assert [bool(o.error) for o in results] == [False, False, True]
    written = [f for o in results for f in o.files]
    assert len({str(f).lower() for f in written}) == len(written)  # clip.png and clip.mp4 do not overwrite each other
    joined = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [i["file_name"] for i in joined["images"]] == ["clip.png"]
    with open(tmp_path / "out" / "review.csv") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_maps_of_a_videos_pictures(clip: Path, tmp_path: Path) -> None:
    for i in (0, 12):
        write_image(tmp_path / "maps" / f"clip_{i:06d}.png", np.full((96, 160), 255, np.uint8))
    model = seeing((), external=(f"mine={tmp_path / 'maps'}",))
    found = model.predict(clip, every=12)
    assert [r["area_share"] for r in found.frames.rows] == [1.0, 1.0]


def test_explain_takes_the_first_picture(clip: Path) -> None:
    found = untrained().explain(clip)
    assert isinstance(found, Explanation)
    assert found.picture.shape == (96, 160, 3)


@pytest.mark.onnx
def test_a_video_through_exports(clip: Path, tmp_path: Path) -> None:
    model = untrained(("unet", "deepcrack"))
    model.export(out=tmp_path / "parts", part="all")
    mine, theirs = (model.predict(clip, every=8, **o).frames.rows for o in ({}, {"exports": tmp_path / "parts"}))
    assert [r["experts"] for r in mine] == [r["experts"] for r in theirs]
    assert [r["area_share"] for r in mine] == pytest.approx([r["area_share"] for r in theirs], abs=1e-3)


def test_two_runs_write_the_same_bytes(model: CrackModel, clip: Path, tmp_path: Path) -> None:
    kept = []
    for name in ("a", "b"):
        model.predict(clip, every=6, out=tmp_path / name)
        kept.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert kept[0] == kept[1]
    assert len(kept[0]) > 3


def test_a_video_by_command_line(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = untrained().save(tmp_path / "model")
    words = ["crack", "predict", str(clip), "--model", str(folder), "--every", "12"]
    assert main([*words, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert str(tmp_path / "out" / "clip_overlay.mp4") in capsys.readouterr().out
    assert main([*words, "--json", "--quiet"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"][0]["rows"]) == 2


# ------------------------------------------------------------------------------------------------- what can break


class Damaged(Video):
    """A video of which some pictures can't be read."""

    lost: tuple[int, ...] = ()

    def __call__(self, i: int) -> Any:
        if i in self.lost:
            raise DataError("no")
        return super().__call__(i)


def test_broken_pictures_and_an_early_end_are_notes(
    model: CrackModel, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(crack_video, "Video", Damaged)
    monkeypatch.setattr(Damaged, "lost", (0, 5, 6, *range(19, COUNT)))
    found = model.predict(clip, out=tmp_path)
    assert [r["frame"] for r in found.frames.rows] == [1, 2, 3, 4, *range(7, 19)]
    assert found.facts["notes"] == [
        "frames that can't be read are left out: 0, 5, 6 (3 in all)",
        "the video ends at frame 19, though its header tells of 24",
    ]
    assert Video(tmp_path / "clip_overlay.mp4").count == 16
    monkeypatch.setattr(core_video, "PATIENCE", 2)
    assert [r["frame"] for r in model.predict(clip).frames.rows] == [1, 2, 3, 4]
    monkeypatch.setattr(Damaged, "lost", tuple(range(COUNT)))
    with pytest.raises(DataError, match="none of its pictures can be read"):
        model.predict(clip)


@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file(model: CrackModel, tmp_path: Path) -> None:
    path = tmp_path / "t.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 96))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 255, (96, 160, 3), dtype=np.uint8))
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = model.predict(path)
    assert 5 <= len(found.frames.rows) <= 12
    path.write_bytes(whole[:300])
    with pytest.raises(DataError, match="can be read|no video"):
        model.predict(path)


def test_a_video_that_does_not_say_its_speed(model: CrackModel, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Video):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.fps = math.nan

    monkeypatch.setattr(crack_video, "Video", Silent)
    found = model.predict(clip, every=12)
    assert found.frames.rows[1]["time"] == 12 / 25
    assert "25 frames a second are assumed" in found.facts["notes"][0]


def test_an_expert_that_fails_is_said_once(clip: Path, said: list[str]) -> None:
    model = seeing()
    model.networks["cen"] = Broken(Dark())
    found = model.predict(clip, every=4)
    assert len(said) == 1
    assert found.facts["failed"] == {"cen": 6}
    assert found.facts["used"] == {"crackrefine": 1.0}
    model.networks["crackrefine"] = Broken(Dark())
    with pytest.raises(DataError, match="Every expert failed"):
        model.predict(clip)


def test_an_opencv_that_writes_no_mp4(model: CrackModel, clip: Path, tmp_path: Path, monkeypatch: Any) -> None:
    class Closed:
        def __init__(self, *_: Any) -> None: ...

        def isOpened(self) -> bool:
            return False

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoWriter", type("W", (Closed,), {"fourcc": staticmethod(lambda *_: 0)}))
    with pytest.raises(ExportError, match="writes no MP4"), write_video(tmp_path / "a.mp4", 5) as add:
        add(cracked())
    found = model.predict(clip, every=8, out=tmp_path / "out")
    assert found.overlay is None
    assert "no overlay video" in found.facts["notes"][0]
    assert not (tmp_path / "out" / "clip_overlay.mp4").exists()
    assert (tmp_path / "out" / "clip.csv").exists()


def test_a_video_whose_first_picture_is_broken(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.systems.crack import photo

    monkeypatch.setattr(photo, "Video", Damaged)
    monkeypatch.setattr(Damaged, "lost", (0, 1))
    opened = open_photo(clip)
    assert opened.video == clip
    assert opened.shape == (96, 160)
    monkeypatch.setattr(Damaged, "lost", tuple(range(COUNT)))
    with pytest.raises(DataError, match="none of its first 10 pictures can be read"):
        open_photo(clip)
