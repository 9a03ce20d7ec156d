"""Videos frame by frame, boxes drawn, and the runtime of one file that needs neither PyTorch nor this package."""

from __future__ import annotations

import importlib.util
import json
import math
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data import video as core_video
from fieldsight.data.detection.letterbox import letterbox, place, preprocess
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.images import write_image
from fieldsight.data.video import Video, write_video
from fieldsight.detection import video as edge_video
from fieldsight.detection.drawing import class_colour, draw_boxes, text_colour
from fieldsight.detection.video import VideoFound, predict_video, spread
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.nn.detection.nms import Suppression, suppress
from fieldsight.systems.edge.options import PredictOptions

COUNT, FPS, SIZE = 30, 10.0, (120, 200)


# ------------------------------------------------------------------------------------------- a clip and a stub


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red square goes right, a blue one left; the blue one is faint in frames 12 to 17, and away in 22 and 23."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with write_video(path, FPS) as add:
        for n in range(COUNT):
            picture = np.full((*SIZE, 3), 110, np.uint8)
            picture[20:50, 10 + 5 * n : 40 + 5 * n] = (250, 20, 20)
            if n not in (22, 23):
                picture[70:100, 160 - 4 * n : 190 - 4 * n] = (20, 20, 130 if 12 <= n < 18 else 250)
            add(picture)
    return path


class Squares:
    """Finds red and blue squares as ``EdgeModel`` would; a dark blue one with a low score."""

    classes = ("red square", "blue square")
    config = SimpleNamespace(conf=0.5)

    def __init__(self) -> None:
        self.alive: list[weakref.ref[Any]] = []
        self.options: list[PredictOptions] = []

    def find(self, picture: Picture, options: PredictOptions) -> Detections:
        assert sum(ref() is not None for ref in self.alive) <= 1
        self.alive.append(weakref.ref(picture))
        self.options.append(options)
        rows = []
        for label, channel in enumerate((0, 2)):
            least = picture.min(axis=2).astype(int)
            on = (picture[..., channel] > 115) & (least < 60) & (picture[..., 2 - channel] < 90)
            y, x = np.nonzero(on)
            if len(x) > 50:
                box = [float(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
                rows.append((box, 0.9 if np.median(picture[..., channel][on]) > 190 else 0.3, label))
        kept = [r for r in rows if r[1] > (options.conf or self.config.conf)]
        return Detections.of([r[0] for r in kept], [r[1] for r in kept], [r[2] for r in kept])


def found_in(path: Path, **options: Any) -> VideoFound:
    return predict_video(Squares(), path, PredictOptions(**options))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ videos


def test_boxes_of_a_video_and_its_files(clip: Path, tmp_path: Path) -> None:
    found = found_in(clip)
    assert [f.number for f in found.frames] == list(range(COUNT))
    told = found.to_dict()
    assert told == {
        "video": "clip.mp4", "height": 120, "width": 200, "fps": FPS, "seconds": 3.0, "every": 1, "frames": COUNT,
        "frames_in_all": COUNT, "frames_with_boxes": COUNT, "found": 52,
        "classes": {"red square": 30, "blue square": 22},
    }  # fmt: skip
    files = found.save(tmp_path / "out", "a/clip")
    out = tmp_path / "out" / "a"
    assert sorted(files) == sorted(out.iterdir())
    assert {p.name for p in files} == {"clip_boxes.mp4", "clip.jsonl", "clip.json", "clip.png"}
    lines = [json.loads(line) for line in (out / "clip.jsonl").read_text().splitlines()]
    assert [(r["frame"], r["time"]) for r in lines] == [(n, n / FPS) for n in range(COUNT)]
    (red, blue) = lines[7]["boxes"]
    assert (red["class"], red["score"], set(red)) == ("red square", 0.9, {"class", "score", "box"})
    np.testing.assert_allclose(red["box"], [45, 20, 75, 50], atol=2)
    assert blue["class"] == "blue square"
    assert [len(r["boxes"]) for r in lines[12:18]] == [1] * 6
    assert json.loads((out / "clip.json").read_text()) == told
    written = Video(out / "clip_boxes.mp4")
    assert (written.count, written.fps) == (COUNT, FPS)
    assert written(0).shape == (240, 400, 3)  # enlarged, so that its labels can be read
    assert any(line.startswith("frames: 30 of 30, 3.0 s") for line in found.lines())
    assert found.shown()[1][0].rows == [{"class": "red square", "boxes": 30}, {"class": "blue square", "boxes": 22}]


def test_every_few_frames(clip: Path, tmp_path: Path) -> None:
    found = found_in(clip, every=4)
    assert [f.number for f in found.frames] == list(range(0, COUNT, 4))
    assert [r["time"] for r in found.rows()] == [n / FPS for n in range(0, COUNT, 4)]
    found.save(tmp_path, "v")
    written = Video(tmp_path / "v_boxes.mp4")
    assert (written.count, written.fps) == (8, FPS / 4)


def test_objects_are_followed_through_faint_and_missing_frames(clip: Path, tmp_path: Path) -> None:
    found = found_in(clip, track=True)
    told = found.to_dict()
    assert told["tracks"] == {"blue square": 1, "red square": 1}
    assert told["classes"] == {"red square": 30, "blue square": 28}  # the faint ones are told, for they go on
    rows = found.tracks().rows
    assert [(r["id"], r["class"], r["from"], r["to"], r["frames"]) for r in rows] == [
        (1, "red square", 0, 29, 30),
        (2, "blue square", 0, 29, 28),
    ]
    found.save(tmp_path, "v")
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [b["id"] for b in lines[14]["boxes"]] == [1, 2]
    assert [b["id"] for b in lines[22]["boxes"]] == [1]
    assert found.shown()[1][0].title == "tracks"
    model = Squares()
    predict_video(model, clip, PredictOptions(track=True, conf=0.6))  # type: ignore[arg-type]
    assert {round(o.conf or 0, 6) for o in model.options} == {0.24}  # the second look begins lower


def test_frames_are_not_kept(clip: Path) -> None:
    model = Squares()
    found = predict_video(model, clip, PredictOptions())  # type: ignore[arg-type]
    assert sum(ref() is not None for ref in model.alive) <= 1  # Squares checks it in each frame
    assert len(found.previews) < 4 * edge_video.STRIP
    assert all(max(p.shape) <= edge_video.STRIP_PX for _, p in found.previews)


def test_the_strip(clip: Path) -> None:
    strip = found_in(clip).draw()
    assert strip.dtype == np.uint8
    assert strip.shape == (240, 4 * 400 + 3 * 6, 3)
    assert found_in(clip, every=29).draw().shape == (240, 2 * 400 + 6, 3)
    assert [spread(n, 4) for n in (0, 1, 4, 5, 10)] == [[], [0], [0, 1, 2, 3], [0, 1, 3, 4], [0, 3, 6, 9]]


def test_two_runs_write_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    kept = []
    for name in ("a", "b"):
        found_in(clip, every=3, track=True).save(tmp_path / name, "v")
        kept.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert kept[0] == kept[1]
    assert len(kept[0]) == 4


class Damaged(Video):
    """A video of which some frames can't be read."""

    lost: tuple[int, ...] = ()

    def __call__(self, i: int) -> Any:
        if i in self.lost:
            raise DataError("no")
        return super().__call__(i)


def test_damaged_frames_and_an_early_end_are_told_and_the_rest_stands(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge_video, "Video", Damaged)
    monkeypatch.setattr(Damaged, "lost", (0, 5, 6, *range(19, COUNT)))
    found = found_in(clip, track=True)
    assert [f.number for f in found.frames] == [1, 2, 3, 4, *range(7, 19)]
    assert found.to_dict()["notes"] == [
        "frames that can't be read are left out: 0, 5, 6 (3 in all)",
        "the video ends at frame 19, though its header tells of 30",
    ]
    assert "clip.mp4: the video ends at frame 19" in capsys.readouterr().err
    assert found.to_dict()["tracks"] == {"blue square": 1, "red square": 1}
    found.save(tmp_path, "v")
    assert Video(tmp_path / "v_boxes.mp4").count == 16
    monkeypatch.setattr(core_video, "PATIENCE", 2)
    assert [f.number for f in found_in(clip).frames] == [1, 2, 3, 4]
    monkeypatch.setattr(Damaged, "lost", tuple(range(COUNT)))
    with pytest.raises(DataError, match="none of its frames can be read"):
        found_in(clip)


@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "t.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 96))
    for n in range(20):
        writer.write(rng_for(n, "noise").integers(0, 255, (96, 160, 3), dtype=np.uint8))
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = found_in(path)
    assert 5 <= len(found.frames) <= 12
    assert len(found.save(tmp_path / "out")) == 4
    path.write_bytes(whole[:300])
    with pytest.raises(DataError, match="can be read|no video"):
        found_in(path)


def test_a_video_that_does_not_say_its_speed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Video):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.fps = math.nan

    monkeypatch.setattr(edge_video, "Video", Silent)
    found = found_in(clip, every=10)
    assert [r["time"] for r in found.rows()] == [0.0, 0.4, 0.8]
    assert "25 frames a second are assumed" in found.to_dict()["notes"][0]


def test_what_can_not_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"no video at all")
    for name, words in (("junk.mp4", "no video that can be read"), ("none.mp4", "no file")):
        with pytest.raises(DataError, match=words):
            found_in(tmp_path / name)
    with pytest.raises(DataError, match="fieldsight edge watch"):
        found_in("rtsp://camera/1")  # type: ignore[arg-type]


def test_without_a_source_or_an_encoder_all_else_is_written(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    found = found_in(own)

    class Closed:
        def __init__(self, *_: Any) -> None: ...

        def isOpened(self) -> bool:
            return False

        def release(self) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoWriter", type("W", (Closed,), {"fourcc": staticmethod(lambda *_: 0)}))
        assert {p.suffix for p in found.save(tmp_path / "a", "v")} == {".jsonl", ".json", ".png"}
    own.write_bytes(b"overwritten")
    assert {p.suffix for p in found.save(tmp_path / "b", "v")} == {".jsonl", ".json", ".png"}
    own.unlink()
    assert {p.suffix for p in found.save(tmp_path / "c", "v")} == {".jsonl", ".json", ".png"}
    assert capsys.readouterr().err.count("no annotated video") == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Can't write"):
        found_in(clip, every=9).save(tmp_path / "file", "v")


def test_a_model_that_finds_nothing(clip: Path, tmp_path: Path) -> None:
    found = found_in(clip, conf=0.95, every=5, track=True)
    assert found.to_dict()["found"] == 0
    assert found.to_dict()["tracks"] == {}
    assert found.lines()[2] == "boxes: none"
    assert len(found.save(tmp_path, "v")) == 4


# ----------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), class_colour(0), (128, 128, 128), (0, 255, 0)])
@pytest.mark.parametrize("size", [(64, 64), (480, 640), (3000, 4000)])
def test_boxes_and_labels_show_on_any_ground(ground: tuple[int, int, int], size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), ground, np.uint8)
    high, wide = size
    box = [wide * 0.3, high * 0.4, wide * 0.8, high * 0.9]
    drawn = draw_boxes(picture, Detections.of([box], [0.87], [0]), ["car"])
    assert max(drawn.shape) == min(2000, max(320, max(size) * -(-320 // max(size)) if max(size) < 320 else max(size)))
    assert (picture == ground).all()
    k = drawn.shape[1] / wide
    x, y = round(box[0] * k), round(0.65 * high * k)
    across = drawn[y, x - 4 : x + 8].astype(int)
    assert (across == class_colour(0)).all(1).any()
    assert (across == 0).all(1).any() or ground == (0, 0, 0)
    contrast = np.abs(across - np.array(ground)).max(1)
    assert contrast.max() > 100
    label = drawn[max(0, round(box[1] * k) - 45) : round(box[1] * k), x : x + 60].reshape(-1, 3)
    text = (np.abs(label.astype(int) - text_colour(class_colour(0))).max(1) < 70).sum()
    assert text > 20


def test_labels_do_not_hide_each_other_and_the_best_come_first() -> None:
    picture = np.full((400, 600, 3), 120, np.uint8)
    boxes = [[100 + 3 * n, 100 + 2 * n, 220 + 3 * n, 200 + 2 * n] for n in range(40)]
    many = Detections.of(boxes, np.linspace(0.9, 0.3, 40), [0] * 40)
    alone = draw_boxes(picture, Detections.of(boxes[:1], [0.9], [0]), ["a"])
    drawn = draw_boxes(picture, many, ["a"])
    x, y = 100, 100
    assert np.array_equal(drawn[y - 16 : y - 3, x + 3 : x + 40], alone[y - 16 : y - 3, x + 3 : x + 40])
    assert np.array_equal(drawn, draw_boxes(picture, many, ["a"]))


def test_ids_stand_in_front_and_odd_names_are_no_trouble() -> None:
    picture = np.full((300, 400, 3), 60, np.uint8)
    one = Detections.of([[50, 80, 200, 200]], [0.5], [0])
    plain = draw_boxes(picture, one, ["car"])
    assert np.array_equal(plain, draw_boxes(picture, one, ["car"], [0]))
    assert not np.array_equal(plain, draw_boxes(picture, one, ["car"], np.array([12])))
    for name in ("", "Auto\nzwei", "грузовик", "車", "x" * 500):
        assert draw_boxes(picture, one, [name]).shape == picture.shape
    assert draw_boxes(picture, Detections.of([[50, 80, 200, 200]], [0.5], [7]), ["car"]).shape == picture.shape


def test_what_can_not_be_drawn_is_left_out() -> None:
    picture = np.full((400, 400, 3), 60, np.uint8)
    nan, inf = math.nan, math.inf
    odd = [[nan, 0, 5, 5], [0, 0, inf, 5], [500, 500, 600, 600], [-9, -9, -1, -1], [50, 50, 20, 20]]
    assert np.array_equal(draw_boxes(picture, Detections.of(odd, [0.5] * 5, [0] * 5), ["a"]), picture)
    edge = Detections.of([[-50, -50, 900, 900], [10, 10, 10, 10]], [0.5, 0.4], [0, 1])
    assert not np.array_equal(draw_boxes(picture, edge, ["a", "b"]), picture)
    assert np.array_equal(draw_boxes(picture, Detections.of([], [], []), []), picture)
    for bad in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(DataError, match="uint8"):
            draw_boxes(bad, edge, ["a"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="as many ids"):
        draw_boxes(picture, edge, ["a", "b"], [1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 50))
def test_any_small_picture_is_drawn(high: int, wide: int, seed: int) -> None:
    rng = rng_for(seed, "draw")
    corners = np.sort(rng.uniform(-20, 120, (5, 2, 2)), axis=1).reshape(5, 4)
    drawn = draw_boxes(np.zeros((high, wide, 3), np.uint8), Detections.of(corners, [0.5] * 5, range(5)), "abcde")
    factor = -(-320 // max(high, wide))
    assert drawn.shape == (high * factor, wide * factor, 3)


# ------------------------------------------------------------------------------------------- the small runtime


@pytest.fixture(scope="module")
def runtime() -> Any:
    path = Path(__file__).parents[3] / "examples" / "edge_runtime.py"
    spec = importlib.util.spec_from_file_location("edge_runtime", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not {"torch", "fieldsight", "cv2"} & set(vars(module))
    return module


def test_its_letterbox_is_the_cores_byte_for_byte(runtime: Any) -> None:
    for n, (high, wide) in enumerate([(720, 1280), (50, 70), (640, 640), (1, 400), (333, 97), (31, 1000), (64, 64)]):
        picture = rng_for(n, "letterbox").integers(0, 256, (high, wide, 3), dtype=np.uint8)
        for side in (64, 320, 640):
            where = place((high, wide), side)
            boxed, own = runtime.letterbox(picture, side)
            assert own == (*where.inner, where.top, where.left)
            assert np.array_equal(boxed, letterbox(picture, where))
            assert np.array_equal(runtime.to_input(boxed), preprocess(picture, side)[0])
            boxes = rng_for(n, "boxes").uniform(-20, side + 20, (30, 4)).astype(np.float32)
            assert np.array_equal(runtime.back(boxes, own, (high, wide)), where.back(boxes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
def test_its_suppression_is_the_cores(runtime: Any, seed: int, conf: float, iou: float, most: int) -> None:
    rng = rng_for(seed, "suppress")
    output = np.concatenate(
        [rng.uniform(0, 100, (1, 2, 60)), rng.uniform(0, 60, (1, 2, 60)), rng.uniform(0, 1, (1, 3, 60)).round(1)], 1
    ).astype(np.float32)
    output[0, int(rng.integers(0, 4)), :3] = (np.nan, np.inf, 0)
    (wanted,) = suppress(output, Suppression(conf, iou, most))
    assert np.array_equal(runtime.suppress(output, conf, iou, most), wanted)


def colour_mean(path: Path, **config: Any) -> None:
    """A network of one box in the middle of 64 x 64, whose three scores are the means of red, green and blue."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "box": np.array([[[32], [32], [32], [16]]], np.float32), "shape": np.array([1, 3, 1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["scores"]),
        helper.make_node("Concat", ["box", "scores"], ["output"], axis=1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g",
        [tensor("image", TensorProto.FLOAT, [1, 3, 64, 64])], [tensor("output", TensorProto.FLOAT, [1, 7, 1])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "fieldsight.config", json.dumps(config)
    onnx.save(model, str(path))


def test_it_runs_a_file_and_prints_and_draws(runtime: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    colour_mean(tmp_path / "m.onnx", classes=["red", "green", "blue"], conf=0.5, iou=0.7, most=300, input=64)
    write_image(tmp_path / "p.png", np.full((64, 128, 3), (250, 10, 130), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    words = [str(tmp_path / n) for n in ("m.onnx", "p.png", "broken.png")]
    assert runtime.main([*words, "--draw", str(tmp_path / "out"), "--conf", "0.4"]) == 3
    said = capsys.readouterr()
    row = json.loads(said.out)
    assert [(b["class"], b["box"]) for b in row["boxes"]] == [
        ("red", [32.0, 16.0, 96.0, 48.0]),
        ("blue", [32.0, 16.0, 96.0, 48.0]),
    ]
    half = (250 + 114) / 2 / 255  # the photo fills half of the square
    assert row["boxes"][0]["score"] == pytest.approx(half, abs=1e-4)
    assert "skipped" in said.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["p_boxes.png"]
    assert runtime.main(words[:2]) == 0
    assert [b["class"] for b in json.loads(capsys.readouterr().out)["boxes"]] == ["red"]  # conf of the model
    assert runtime.main([]) == 0
    assert "edge_runtime.py detector.onnx photo.jpg" in capsys.readouterr().out
    assert runtime.main(["photo.jpg"]) == 2


@pytest.mark.onnx
def test_it_finds_what_the_model_finds(runtime: Any, tmp_path: Path) -> None:
    from fieldsight.export.onnx import export_onnx
    from fieldsight.systems.edge.config import PRESETS
    from fieldsight.systems.edge.predict import EdgeModel

    model = EdgeModel.create(PRESETS["tiny"])
    export_onnx(model, tmp_path / "m.onnx", tolerance=1e-3)
    detector = runtime.Detector(tmp_path / "m.onnx", 1)
    assert detector.classes == model.classes
    assert detector.side == model.config.input
    picture = rng_for(0, "photo").integers(0, 256, (90, 150, 3), dtype=np.uint8)
    low = 1e-5
    found, rows = model.find(picture, PredictOptions(conf=low, most=20)), detector(picture, low, None, 20)
    assert len(found) == len(rows) > 0
    np.testing.assert_allclose(rows[:, 4], found.scores, rtol=1e-3)
    np.testing.assert_allclose(rows[:, :4], found.boxes, atol=0.05)
