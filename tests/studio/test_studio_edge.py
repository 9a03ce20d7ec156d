"""edge's own page: boxes sifted without the network, videos, files that follow, boards chosen, hostile uploads."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
import re
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
import torch
from hostile import bomb
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fieldsight
from fieldsight import registry
from fieldsight.data.detection.sample import Detections
from fieldsight.data.video import Video, write_video
from fieldsight.detection.found import Found
from fieldsight.detection.video import VideoFound, predict_video
from fieldsight.errors import DataError
from fieldsight.report.html import Report
from fieldsight.studio.pages import draw_page
from fieldsight.studio.tab import _fill
from fieldsight.systems.edge import studio, studio_choose, studio_plot, studio_scenes
from fieldsight.systems.edge import studio_view as view
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.profiles import BenchRow, paper_rows
from fieldsight.systems.edge.recommend import Constraints, recommend
from fieldsight.systems.edge.studio_view import Sifted

#: Anchors of the stand-in, and frames of the video.
ANCHORS, FRAMES = 12, 9


class Guessing:
    """Stands in for a detector: boxes and scores that depend on how bright the photo is, and on nothing else."""

    def __init__(self, classes: int, side: int) -> None:
        rng = np.random.default_rng(8)
        self.boxes = np.concatenate([rng.uniform(0.2, 0.8, (2, ANCHORS)), rng.uniform(0.1, 0.4, (2, ANCHORS))]) * side
        self.scores = rng.random((classes, ANCHORS)) ** 3
        self.calls = 0

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.calls += 1
        bright = float(batch["image"].mean())
        boxes = self.boxes + np.array([[10 * bright], [0], [0], [0]])
        scores = self.scores * (0.75 + 0.25 * np.sin(40 * bright + np.arange(ANCHORS)))
        return {"output": torch.from_numpy(np.concatenate([boxes, scores]).astype(np.float32))[None]}


def standing_in() -> EdgeModel:
    model = EdgeModel.create(PRESETS["tiny"])
    model.use(Guessing(len(model.classes), model.config.input))
    model.source = "standin"
    return model


class Page(standin.Page):
    """edge's page."""

    def one(self, key: str, number: int = 0) -> Sifted:
        found = self.shown(key).views[number].prediction
        assert isinstance(found, Sifted)
        return found

    def files(self, key: str) -> dict[str, Path]:
        shown = self.shown(key)
        return {p.relative_to(shown.folder / "files").as_posix(): p for p in shown.files}


def edge() -> Any:
    """The system with the page under test, wired or not."""
    return dataclasses.replace(registry.get("edge"), page="fieldsight.systems.edge.studio:page")


@pytest.fixture(scope="module")
def model() -> EdgeModel:
    return standing_in()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, a video, and what people should not send."""
    folder = tmp_path_factory.mktemp("sent")
    rng = np.random.default_rng(1)
    for name, bright in {"yard": 90, "street": 160, "a & <b>": 120, "classes": 60}.items():
        Image.fromarray((rng.random((60, 80, 3)) * 40 + bright).astype(np.uint8)).save(folder / f"{name}.png")
    with write_video(folder / "flight.mp4", 10.0) as add:
        for n in range(FRAMES):
            add(np.full((48, 64, 3), 40 + 20 * n, np.uint8))
    (folder / "words.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "short.png").write_bytes((folder / "yard.png").read_bytes()[:900])
    (folder / "words.mp4").write_text("no video")
    (folder / "letter.txt").write_text("no picture")
    bomb(folder / "bomb.png")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, model: EdgeModel) -> Page:
    page: Page = standin.draw(standin.context_in(tmp_path_factory.mktemp("edge"), edge(), model), draw_page, Page)
    return page


@pytest.fixture
def result(page: Page, sent: Path) -> str:
    """A new result of one photo; its key."""
    return str(page.press(image=page.upload(sent, "yard.png"))["key"])


LOOK = ("told", "picture", "table", "several", "all", "frame", "film", "files", "conf", "classes", "listed")


def opened(page: Page, key: str, number: Any = 0) -> dict[str, Any]:
    return dict(zip(LOOK, page.happens["opened"](key, number), strict=True))


def moved(page: Page, key: str, conf: float, ticked: Any = None, number: int = 0, index: int = 0) -> list[Any]:
    listed = view.classes_of([page.one(key, number)])
    return list(page.happens["moved"](key, number, conf, listed if ticked is None else ticked, listed, index))


def same_boxes(one: Detections, other: Detections) -> None:
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def well_formed(html: str) -> ET.Element:
    return ET.fromstring(f"<div>{html.replace('<br>', '<br/>')}</div>")


# ------------------------------------------------------------------------------------------- once, then sifted


def test_a_photo_becomes_a_result(page: Page, model: EdgeModel, sent: Path, result: str) -> None:
    seen = opened(page, result)
    wanted: Any = model.predict(sent / "yard.png")
    assert len(wanted.labels) > 3
    same_boxes(page.one(result).seen.found, wanted.found)
    assert f"<strong>{len(wanted.labels)} found:</strong>" in seen["told"]
    assert seen["conf"]["value"] == model.config.conf
    assert seen["conf"]["minimum"] == view.LEAST
    assert seen["all"]["visible"]
    assert not seen["frame"]["visible"]
    assert not seen["film"]["visible"]
    assert seen["classes"]["choices"] == seen["classes"]["value"] == seen["listed"]
    assert set(seen["listed"]) >= {wanted.classes[k] for k in wanted.labels}
    assert seen["table"].count("<tr>") == len(wanted.labels) + 1
    assert (seen["picture"] == wanted.draw()).all()
    assert seen["several"] == ""
    for words in ("Picture with boxes, PNG", "Boxes, JSON", "Labels, YOLO", "Names of the classes", "ZIP"):
        assert words in seen["files"]
    assert seen["files"].count("fs-main") == 1


@pytest.mark.parametrize("conf", [0.05, 0.25, 0.3, 0.6, 0.95])
def test_the_slider_gives_what_a_run_would_give(
    page: Page, model: EdgeModel, sent: Path, result: str, conf: float
) -> None:
    wanted: Any = model.predict(sent / "yard.png", conf=conf)
    calls = model._runner.calls  # type: ignore[union-attr]
    told, picture, *_ = moved(page, result, conf)
    assert model._runner.calls == calls  # type: ignore[union-attr]  # the network does not run again
    same_boxes(page.one(result).seen.found, wanted.found)
    assert (picture == wanted.draw()).all()
    assert (f"{len(wanted.labels)} found" in told) == bool(len(wanted.labels))


def test_the_ticks_give_what_a_run_would_give(page: Page, model: EdgeModel, sent: Path, result: str) -> None:
    listed = opened(page, result)["listed"]
    for ticked in (listed[:1], listed[1:3], listed):
        told = moved(page, result, 0.2, ticked)[0]
        wanted: Any = model.predict(sent / "yard.png", conf=0.2, only=tuple(ticked))
        same_boxes(page.one(result).seen.found, wanted.found)
        assert ("without a tick" in told) == (ticked != listed)
    assert page.one(result).only is None
    assert "Tick more of them" in moved(page, result, 0.2, [])[0]
    assert len(page.one(result).seen.found) == 0


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("broken", [(), (3, 4)])
def test_a_video_is_sifted_and_followed_as_a_run_would(
    page: Page, model: EdgeModel, sent: Path, track: bool, broken: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Video.__call__

    def read(self: Video, i: int) -> Any:
        if i in broken:
            raise DataError("broken")
        return real(self, i)

    monkeypatch.setattr(Video, "__call__", read)
    key = page.press(image=page.upload(sent, "flight.mp4"), track=track)["key"]
    for conf in (0.25, 0.1, 0.5):
        moved(page, key, conf, index=3)
        seen = page.one(key).seen
        wanted = predict_video(model, sent / "flight.mp4", PredictOptions(conf=conf, track=track))
        assert isinstance(seen, VideoFound)
        assert len(seen.frames) == len(wanted.frames) == FRAMES - len(broken)
        assert sum(len(f.found) for f in wanted.frames) > FRAMES
        for one, other in zip(seen.frames, wanted.frames, strict=True):
            assert one.number == other.number
            same_boxes(one.found, other.found)
            assert (one.ids is None) == (other.ids is None)
            assert one.ids is None or (one.ids == other.ids).all()
        assert page.one(key).to_dict() == {**wanted.to_dict(), "conf": conf, "video": "flight.mp4"} | (
            {"notes": seen.to_dict()["notes"]} if broken else {}
        )


def test_with_tiles_only_what_they_found_is_sifted(page: Page, model: EdgeModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    Image.fromarray((rng.random((200, 260, 3)) * 200).astype(np.uint8)).save(tmp_path / "large.png")
    key = page.press(image=page.upload(tmp_path, "large.png"), tile=96)["key"]
    assert opened(page, key)["conf"]["minimum"] == model.config.conf
    wanted: Any = model.predict(tmp_path / "large.png", tile=96)
    same_boxes(page.one(key).seen.found, wanted.found)


def test_a_smaller_limit_is_kept(page: Page, model: EdgeModel, sent: Path) -> None:
    key = page.press(image=page.upload(sent, "yard.png"), most="3")["key"]
    for conf in (0.1, 0.4):
        moved(page, key, conf)
        wanted: Any = model.predict(sent / "yard.png", conf=conf, most=3)
        same_boxes(page.one(key).seen.found, wanted.found)


# ------------------------------------------------------------------------------------------------------- videos


def test_a_video_is_scrubbed_and_made_anew(page: Page, sent: Path) -> None:
    key = page.press(image=page.upload(sent, "flight.mp4"), track=True)["key"]
    seen = opened(page, key)
    assert seen["frame"] == {"value": 0, "maximum": FRAMES - 1, "visible": True, "__type__": "update"}
    assert seen["film"]["visible"]
    assert f"followed</strong> through {FRAMES} frames" in seen["told"]
    assert "MP4" not in seen["files"]
    first, last = (page.happens["scrubbed"](key, 0, n) for n in (0, FRAMES - 1))
    assert first.shape == last.shape
    assert (first != last).any()
    assert (page.happens["scrubbed"](key, 0, 99) == last).all()

    class Request:
        session_hash = "me"

    files, button = page.happens["filmed"](key, 0, Request())
    assert "Video with boxes, MP4" in files
    assert not button["visible"]
    assert Video(page.files(key)["flight_boxes.mp4"]).count == FRAMES
    rows = [json.loads(line) for line in page.files(key)["flight.jsonl"].read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(FRAMES))

    moved(page, key, 0.4)
    files, button, lines = page.happens["written"](key, 0)
    assert "MP4" not in files  # it had other boxes
    assert button["visible"]
    assert "flight_boxes.mp4" not in page.files(key)
    assert json.loads(page.files(key)["flight.json"].read_text())["conf"] == 0.4
    assert "--track --conf 0.4" in lines


def test_a_video_that_is_gone_gets_a_sentence(page: Page, sent: Path) -> None:
    paths = page.upload(sent, "flight.mp4")
    key = page.press(image=paths)["key"]
    Path(paths[0]).unlink()
    assert "There is no file" in moved(page, key, 0.4)[0]

    class Request:
        session_hash = "me"

    assert "fs-warning" in page.happens["filmed"](key, 0, Request())[0]


def test_without_tracks_the_most_at_once_are_told(page: Page, sent: Path) -> None:
    key = page.press(image=page.upload(sent, "flight.mp4"))["key"]
    told = opened(page, key)["told"]
    seen = page.one(key).seen
    assert isinstance(seen, VideoFound)
    most = max(int((f.found.labels == seen.frames[0].found.labels[0]).sum()) for f in seen.frames)
    assert f"In {FRAMES} frames, in one of them at the most:" in told
    assert view.many(most, seen.classes[int(seen.frames[0].found.labels[0])]) in told


# --------------------------------------------------------------------------------------------------- the files


def test_files_follow_the_slider(page: Page, model: EdgeModel, sent: Path, result: str) -> None:
    opened(page, result)
    archive = page.context.shelf.file(result, "all.zip")
    assert archive is not None
    before = archive.read_bytes()
    moved(page, result, 0.5)
    files, film, lines = page.happens["written"](result, 0)
    wanted: Any = model.predict(sent / "yard.png", conf=0.5)
    kept = page.files(result)
    assert set(kept) == {"yard.png", "yard.json", "yard.txt", "all/classes.txt"}
    assert all(name.rpartition("/")[2] in files for name in kept)
    assert not film["visible"]
    told = json.loads(kept["yard.json"].read_text())
    assert told["conf"] == 0.5
    assert told["found"] == len(wanted.labels)
    assert kept["yard.txt"].read_text() == wanted.yolo()
    assert kept["all/classes.txt"].read_text().split("\n")[:-1] == list(model.classes)
    assert (np.asarray(Image.open(kept["yard.png"])) == wanted.draw()).all()
    again = page.context.shelf.file(result, "all.zip")
    assert again is not None
    assert again.read_bytes() != before
    with zipfile.ZipFile(again) as packed:
        assert json.loads(packed.read("yard.json"))["conf"] == 0.5
    assert "fieldsight edge predict yard.png --conf 0.5" in lines
    assert "conf=0.5" in lines


def test_the_same_call_says_classes_only_where_some_are_left_out(page: Page, result: str) -> None:
    listed = opened(page, result)["listed"]
    moved(page, result, 0.25, listed[:2])
    lines = page.happens["written"](result, 0)[2]
    assert f"--only {listed[0]},{listed[1]}" in lines
    assert "--conf" not in lines
    assert json.loads(page.files(result)["yard.json"].read_text())["only"] == listed[:2]
    moved(page, result, 0.25)
    assert "--only" not in page.happens["written"](result, 0)[2]


def test_several_photos_share_the_slider(page: Page, sent: Path) -> None:
    updates = page.press(image=page.upload(sent, "yard.png", "words.png", "a & <b>.png", "classes.png"))
    assert "1 of 4 could not be used" in str(updates["head"])
    key = updates["key"]
    seen = opened(page, key, 2)
    assert "All 3" in seen["several"]
    assert "1: yard.png" in seen["several"]
    assert "&lt;b&gt;.png" in seen["several"]
    assert "<b>.png" not in "".join(str(v) for k, v in seen.items() if k != "picture")
    assert "COCO JSON" in seen["files"]
    assert set(page.files(key)) >= {"all/classes.txt", "all/detections.json", "classes.txt", "classes.json"}
    moved(page, key, 0.5, number=2)
    page.happens["written"](key, 2)
    rows = json.loads(page.files(key)["all/detections.json"].read_text())
    assert {row["image_id"] for row in rows} == {"yard.png", "a & <b>.png", "classes.png"}
    assert min(row["score"] for row in rows) > 0.5
    for name in ("yard.json", "a-b.json", "classes.json"):
        assert json.loads(page.files(key)[name].read_text())["conf"] == 0.5
    assert "0 1 2" not in page.files(key)["classes.txt"].read_text()


def test_two_changes_at_once_leave_one_state(page: Page, result: str) -> None:
    listed = opened(page, result)["listed"]

    def change(conf: float) -> None:
        moved(page, result, conf, listed[:3])
        page.happens["written"](result, 0)

    standin.at_once(*(functools.partial(change, conf) for conf in (0.1, 0.2, 0.4, 0.7)))
    told = json.loads(page.files(result)["yard.json"].read_text())
    assert told["conf"] == page.one(result).conf
    assert told["found"] == len(page.one(result).seen.found)


def test_results_that_are_gone_say_so(page: Page) -> None:
    assert opened(page, "gone")["all"]["visible"] is False
    assert opened(page, "gone", None)["told"] == ""
    assert "no longer kept" in page.happens["moved"]("gone", 0, 0.5, [], [], 0)[0]
    assert page.happens["written"]("gone", 0)[0] == ""
    assert "__type__" in page.happens["scrubbed"]("gone", 0, 3)


# ----------------------------------------------------------------------------------------------------- the words


def test_numbers_of_things_are_english() -> None:
    told = {view.many(n, name) for n, name in [(1, "person"), (7, "person"), (2, "bus"), (3, "city"), (4, "key")]}
    assert told == {"1 person", "7 people", "2 buses", "3 cities", "4 keys"}
    assert view.many(2, "Fahrrad") == "2 × Fahrrad"
    assert view.many(1200, "car") == "1,200 cars"


def sifted(scores: list[float], labels: list[int], conf: float = 0.25, only: Any = None, **more: Any) -> Sifted:
    boxes = np.array([[2 * k, 2, 2 * k + 9, 14] for k in range(len(scores))], np.float32).reshape(-1, 4)
    found = Detections.of(boxes, scores, labels)
    classes = more.pop("classes", ("car", "person", "<i>&"))
    whole = Found(np.full((40, 60, 3), 90, np.uint8), found.boxes, found.scores, found.labels, classes)
    return Sifted(whole, view.Made("standin", 0.25, 0.05, PredictOptions()), conf, only)


def test_the_sentence_says_what_is_hidden() -> None:
    one = sifted([0.9, 0.8, 0.7, 0.2, 0.1, 0.01], [0, 0, 1, 1, 0, 0])
    told = view.verdict(one)
    assert re.sub("<[^>]+>", "", told) == "3 found: 2 cars, 1 person. Not shown: 2 less sure."
    assert 'role="status"' in told
    some = view.verdict(dataclasses.replace(one, only=("person",)))
    assert re.sub("<[^>]+>", "", some) == "1 found: 1 person. Not shown: 1 less sure, 2 without a tick."
    assert "&lt;i&gt;&amp;" in view.verdict(sifted([0.9], [2]))
    assert "The surest box has 0.20" in view.verdict(sifted([0.2], [0]))
    assert "The model knows: car, person, &lt;i&gt;&amp;" in view.verdict(sifted([], []))
    well_formed(view.verdict(one) + view.table(one) + view.verdict(sifted([], [])))
    assert view.table(sifted([], [])) == ""


def test_the_table_tells_places_in_the_photo() -> None:
    text = view.table(sifted([0.9], [1]))
    assert re.findall("<td[^>]*>([^<]*)</td>", text) == ["1", "person", "90%", "0", "2", "9", "12"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 2)), max_size=30), st.floats(0.05, 0.95))
def test_sums_agree_whatever_was_found(rows: list[tuple[float, int]], conf: float) -> None:
    rows.sort(reverse=True)
    one = sifted([s for s, _ in rows], [k for _, k in rows], conf, classes=("car", "person", "van"))
    counts = view.counts_of(one)
    assert sum(counts.values()) == len(one.seen.found) == sum(s > np.float32(conf) for s, _ in rows)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert set(counts) <= set(view.classes_of([one]))
    well_formed(view.verdict(one))


# ----------------------------------------------------------------------------------------------------- hostile


BAD = {
    "words.png": "picture", "short.png": "", "empty.png": "empty", "bomb.png": "", "letter.txt": "must end in",
    "words.mp4": "no video",
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_hostile_uploads_get_a_sentence(page: Page, sent: Path, name: str, words: str) -> None:
    updates = standin.refused(page, sent, name, words)
    assert opened(page, updates["key"], updates.get("which", {}).get("value"))["all"]["visible"] is False


def test_what_was_not_uploaded_is_not_read(page: Page, sent: Path) -> None:
    assert "is no uploaded file" in str(page.press(image=[str(sent / "yard.png")])["head"])
    assert "Give image" in str(page.press(image=[])["head"])
    assert "is no uploaded file" in choose(page, str(sent / "yard.png"))


def test_no_event_of_the_page_is_an_endpoint(page: Page) -> None:
    assert {f.api_visibility for f in page.blocks.fns.values()} == {"private"}


def test_the_page_names_no_other_host(page: Page) -> None:
    texts = page.html
    told = "".join(texts).replace("http://www.w3.org/2000/svg", "")
    assert "http" not in told
    assert 'href="/edge/live"' in told
    names = {f.plan.name for f in page.tab.left.fields}
    assert not names & set(studio.HIDDEN)
    assert {"tile", "track", "every", "iou", "most"} <= names


# ------------------------------------------------------------------------------------------------ choose a board


def choose(page: Page, path: Any = None, **values: Any) -> str:
    plain = {"prefer": "epi", "rate": "mis", "min_map": 0, "min_fps": 0, "max_power": 0}
    return studio_choose.answer(page.context, path, {**plain, **values})[0]


def table_file(page: Page, text: str | bytes, name: str = "rows.csv") -> str:
    path = page.context.uploads / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize(
    "asked",
    [{}, {"min_map": 0.8, "min_fps": 30}, {"max_power": 8}, {"prefer": "map"}, {"rate": "loop", "min_fps": 40},
     {"battery_wh": 50, "min_endurance": 300, "airframe_w": 1}, {"network_rtt": 30}, {"min_fps": 119}],
)  # fmt: skip
def test_the_answer_is_that_of_recommend(page: Page, asked: dict[str, Any]) -> None:
    wanted = recommend(Constraints(**asked), paper_rows())
    text = choose(page, **asked)
    well_formed(text)
    if wanted.best is None:
        assert "None fits" in text
    else:
        assert f"<strong>{wanted.best.name}</strong> is the" in text
        assert f"first of {len(wanted.ranked)} that fit" in text
    assert text.count("<h3>These nearly fit</h3>") == bool(wanted.near)
    assert text.count('<tr class="edge-best">') == bool(wanted.ranked)
    for row in paper_rows():
        assert row.name in text
    for note in wanted.notes:
        assert note in text
    assert text.count("<svg") == 2  # one for a desktop, one for a phone
    assert text.count("<circle") == 28


def test_the_first_view_says_something(page: Page) -> None:
    text, short = page.happens["choose"](None, "epi", 0.8, 30, 0, None, None, None, None, "mis")
    assert "Orin NX + n FP16 (TensorRT): first of 7" in short
    assert "<strong>Orin NX + n FP16 (TensorRT)</strong> is the first of 7 that fit" in text
    assert "at least 0.8 asked" in text
    assert "Orin NX + n FP16 (TensorRT) is at least as good in accuracy, speed and energy" in text


def test_wishes_that_can_not_be_are_told_in_the_fields_words(page: Page) -> None:
    for wish, words in (
        ({"min_endurance": 20}, "&#x27;It must last&#x27; needs the energy of the &#x27;Battery&#x27; too"),
        ({"battery_wh": -3}, "&#x27;Battery&#x27;"), ({"min_map": 7}, "&#x27;Accuracy, at least&#x27;"),
        ({"network_rtt": math.nan}, "&#x27;Round trip to a cloud&#x27;"), ({"prefer": "luck"}, "luck"),
        ({"min_fps": "many"}, "&#x27;Frames a second, at least&#x27;"), ({"max_power": [1]}, "Power of the board"),
    ):  # fmt: skip
        text = choose(page, **wish)
        assert "fs-error" in text, wish
        assert words in text, (wish, text)
        assert "min_" not in text
        assert "_wh" not in text


HEAD = "device,model,precision,map50_95,mis_fps,mean_power_w,ipm"
CSV = f"{HEAD}\nboard <b>,n,INT8,0.5,400,6,9000\nslow,n,FP32,0.6,4,5,200\n"


def test_an_own_table_is_read_with_all_that_bench_writes(page: Page) -> None:
    from fieldsight.systems.edge.options_bench import MORE_COLUMNS

    text = choose(page, table_file(page, CSV), min_fps=100)
    assert "<strong>board &lt;b&gt; + n INT8</strong> is the only one that fits" in text
    assert "<b>," not in text
    assert "rows.csv: 2 configurations" in text
    header = ",".join(["device", "model", "precision", "map50_95", "mis_fps", *MORE_COLUMNS])
    more = f"{header}\nx,n,FP32,0.5,10,{','.join(['1'] * len(MORE_COLUMNS))}\n"
    assert "x + n FP32" in choose(page, table_file(page, more, "more.csv"))
    rows = [{"device": "x", "model": "n", "precision": "FP16"}]
    plain = choose(page, table_file(page, json.dumps({"rows": rows}), "rows.json"))
    assert "1 without a measured accuracy or speed" in plain
    assert "<svg" not in plain


BROKEN: dict[str, str | bytes] = {
    "empty.csv": "", "words.csv": "hello", "head.csv": "device,model,precision\n",
    "nan.csv": CSV + "x,n,FP32,nan,1,1,1\n",
    "more.csv": CSV.replace("ipm", "imp"), "twice.csv": CSV + "slow,n,FP32,0.6,4,5,200\n", "cut.csv": CSV + "x,n\n",
    "bytes.csv": b"\xff\xfe\x00\x01" * 9, "half.json": '{"rows": [', "deep.json": "[" * 100_000, "list.json": "[1, 2]",
    "huge.csv": "device,model,precision\n" + "".join(f"d{k},n,FP32\n" for k in range(501)), "quote.csv": CSV + '"x,n\n',
    "script.csv": "device,model,precision,<script>\nx,n,FP32,1\n", "rows.txt": CSV, "number.json": "3",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_get_a_sentence(page: Page, name: str) -> None:
    text = choose(page, table_file(page, BROKEN[name], name))
    assert "fs-error" in text
    assert name in text
    assert "Traceback" not in text
    assert "<script>" not in text
    assert str(page.context.scratch) not in text
    assert len(text) < 4000


def test_nearly_and_reasons_are_in_words(page: Page) -> None:
    best = recommend(Constraints(min_fps=65), paper_rows())
    assert best.best is not None
    text = choose(page, min_fps=65)
    assert "only one that fits" in text
    assert "speed 58.82 FPS, at least 65 FPS asked (9.5 % off)" in text
    nearest = choose(page, min_fps=119)
    assert "Ask for less to have one" in nearest
    assert "recommendation.csv" in nearest


RATE = st.none() | st.floats(1e-3, 1e5)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.none() | st.floats(0, 1), RATE, st.none() | st.floats(0.01, 1e3), RATE), min_size=1, max_size=12
    ),
    st.none() | st.floats(0, 1), RATE,
)  # fmt: skip
def test_every_table_can_be_drawn(
    values: list[tuple[Any, ...]], least_map: float | None, least_fps: float | None
) -> None:
    rows = [
        BenchRow(f"b<{n}>", "n" * (1 + 9 * n), "FP32", map50_95=a, mis_fps=s, mean_power_w=w, ipm=i)
        for n, (a, s, w, i) in enumerate(values)
    ]
    found = recommend(Constraints(min_map=least_map, min_fps=least_fps), rows)
    for narrow in (False, True):
        text = studio_plot.plot(found, narrow)
        drawn = well_formed(text)
        known = sum(a is not None and s is not None for a, s, *_ in values)
        assert len(drawn.findall(".//{*}circle")) == known
        for circle in drawn.findall(".//{*}circle"):
            assert 0 <= float(circle.get("cx", "nan")) <= 700
            assert 0 <= float(circle.get("cy", "nan")) <= 400
            assert studio_plot.RADII[0] <= float(circle.get("r", "nan")) <= studio_plot.RADII[1]
        assert "nan" not in text
    well_formed(studio_choose.found_html(found, "rows & more"))


def test_the_drawing_puts_faster_right_and_better_up() -> None:
    rows = [BenchRow("a", "n", "x", map50_95=0.5, mis_fps=10, told_epi_j=1.0),
            BenchRow("b", "n", "x", map50_95=0.7, mis_fps=30, told_epi_j=0.25)]  # fmt: skip
    drawn = well_formed(studio_plot.plot(recommend(Constraints(), rows)))
    places = {
        str(c.findtext("{*}title"))[0]: [float(c.get(k, "nan")) for k in ("cx", "cy", "r")]
        for c in drawn.findall(".//{*}circle")
    }
    assert places["a"][0] < places["b"][0]
    assert places["a"][1] > places["b"][1]
    least, most = studio_plot.RADII
    assert places["a"][2] == pytest.approx(most)
    assert places["b"][2] == pytest.approx(least + (most - least) / 2)  # a quarter of the joules, half of the room
    ringed = [c for c in drawn.findall(".//{*}circle") if c.get("stroke") == "#1c2430"]
    assert [str(c.findtext("{*}title"))[0] for c in ringed] == ["b"]


# ------------------------------------------------------------------------------------------- examples, tour, gallery


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    real = studio_scenes.scene
    monkeypatch.setattr(studio_scenes, "scene", lambda *a, **k: real(*a, **{**k, "size": (48, 64)}))


def test_examples_are_the_same_every_time(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    offered = studio.examples()
    drawn = [e for e in offered if e.origin == "drawn"]
    assert len(drawn) == len(studio_scenes.SCENES)
    assert len({e.label for e in offered}) == len(offered)
    for example in drawn:
        assert example.write is not None
        path = example.write(tmp_path / "a")
        assert path.read_bytes() == example.write(tmp_path / "b").read_bytes()
    assert len({p.read_bytes() for p in (tmp_path / "a").iterdir()}) == len(drawn)
    filled = _fill(page.context, page.tab, offered[0])("")
    assert Path(filled[0][0]).is_relative_to(page.context.uploads)
    assert filled[1:] == [f.plan.value for f in page.tab.left.fields]


def test_a_real_clip_gives_frames_and_a_short_video(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    monkeypatch.setattr(studio_scenes, "real_clip", lambda: sent / "flight.mp4")
    monkeypatch.setattr(studio_scenes, "CLIP_FRAMES", (0, 5))
    monkeypatch.setattr(studio_scenes, "CLIP_PIECE", (2, 1, 4))
    *frames, piece = [e for e in studio.examples() if e.origin == "real"]
    assert [Image.open(e.write(tmp_path)).size for e in frames if e.write] == [(64, 48)] * 2
    assert piece.write is not None
    assert Video(piece.write(tmp_path)).count == 4
    assert piece.options == {"track": True}
    assert len(studio_scenes._pictures()) == len(studio.examples())
    monkeypatch.setattr(studio_scenes, "real_clip", lambda: None)
    assert len(studio_scenes._pictures()) == len(studio.examples()) == len(studio_scenes.SCENES)


def test_every_button_has_a_picture_of_its_own(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    studio_scenes._thumbnails.cache_clear()
    style = studio_scenes.buttons()
    studio_scenes._thumbnails.cache_clear()
    ids = [button.elem_id for button, _ in page.tab.left.examples]
    assert ids == [f"edge-example-{n}" for n in range(len(ids))]
    for name in ids[: len(studio.examples())]:
        assert style.count(f"#{name} {{ background-image: url(data:image/jpeg;base64,") == 1
    assert "http" not in style


def test_the_demonstration_and_the_gallery_picture(model: EdgeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(fieldsight, "load", lambda *a, **k: model)
    report = Report("tour")
    studio.demo(report.section("edge"))
    text = report.render()
    assert "drawn by us" in text
    assert "<img" in text
    picture = studio.gallery_picture()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


# --------------------------------------------------------------------------------------------------- in a browser


def here() -> Any:
    """The helpers of this folder's conftest.py; of several modules of that name only one can be imported by it."""
    spec = importlib.util.spec_from_file_location("studio_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


@pytest.mark.studio
@pytest.mark.xdist_group("browser")
def test_the_page_in_a_browser(tmp_path: Path, sent: Path, model: EdgeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from test_studio_browser import CHROMIUM, FLAGS, Tab

    from fieldsight.studio import app

    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    monkeypatch.setattr(registry, "systems", lambda *a: [edge()])
    monkeypatch.setattr(app, "Models", lambda runs: standin.One(runs, model))
    with here().serving(app.build(tmp_path / "runs")) as address, sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        for width in (1280, 390):
            drive(Tab(browser, address, width), sent, tmp_path)
        browser.close()


def drive(tab: Any, sent: Path, tmp_path: Path) -> None:
    """Upload photos and a video, move the slider, untick, scrub; choose a board, a broken table; the live page."""
    page = tab.open("/edge")
    page.locator("input[type=file]").first.set_input_files([str(sent / n) for n in ("yard.png", "flight.mp4")])
    page.click("#edge-predict-run")
    told = page.locator("#edge-told")
    told.get_by_text("found:").wait_for()
    page.locator("#edge-picture img").first.wait_for()
    before = told.inner_text()
    slider = page.get_by_label("number input for Confidence").locator("visible=true").first
    slider.fill("0.6")
    slider.press("Enter")
    page.wait_for_function("old => document.querySelector('#edge-told').innerText !== old", arg=before)
    page.locator("#edge-files").get_by_text("Labels, YOLO").wait_for()
    before = told.inner_text()
    slider.fill("0.1")
    slider.press("Enter")
    page.wait_for_function("old => document.querySelector('#edge-told').innerText !== old", arg=before)
    page.locator("#edge-classes input").first.uncheck()
    told.get_by_text("without a tick").wait_for()
    tab.sound()
    page.get_by_label("Photo", exact=True).click()
    page.get_by_role("option", name="2 of 2: flight.mp4").click()
    told.get_by_text(f"In {FRAMES} frames").wait_for()
    picture = page.locator("#edge-picture img").first.get_attribute("src")
    frame = page.get_by_label("number input for Frame").locator("visible=true").first
    frame.fill("7")
    frame.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#edge-picture img').getAttribute('src') !== old", arg=picture
    )
    page.click("#edge-film")
    with page.expect_download() as download:
        page.locator("#edge-files").get_by_text("Video with boxes, MP4").click()
    assert download.value.suggested_filename == "flight_boxes.mp4"
    tab.sound()
    tab.turn_to("Choose a board")
    result = page.locator("#edge-choose-result")
    result.get_by_text("is the first of 7 that fit").wait_for()
    fast = page.get_by_label("number input for Frames a second, at least").locator("visible=true").first
    fast.fill("55")
    fast.press("Enter")
    result.get_by_text("is the only one that fits").wait_for()
    tab.sound()
    bad = tmp_path / "bad.csv"
    bad.write_text("device,model\n1,2\n")
    page.locator("input[type=file]").locator("visible=true").or_(page.locator("input[type=file]")).last.set_input_files(
        str(bad)
    )
    result.get_by_text("the column 'precision' is missing").wait_for()
    tab.sound()
    tab.turn_to("Live camera")
    assert page.get_by_role("link", name="Open the live page").get_attribute("href") == "/edge/live"
    tab.sound()
    tab.context.close()
