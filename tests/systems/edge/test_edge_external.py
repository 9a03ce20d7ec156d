"""Detectors of others as ONNX files: both layouts, where class names come from, what is refused, and what they lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldsight
from fieldsight import progress
from fieldsight.cli import main
from fieldsight.data.images import write_image
from fieldsight.errors import ConfigError, DataError, ExportError, MissingExtraError, ModelFileError
from fieldsight.export.onnx import stamp, to_onnx
from fieldsight.systems.edge.bench import bench, estimated_joules
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.evaluate import choose
from fieldsight.systems.edge.export import export
from fieldsight.systems.edge.external import OnnxDetector, backend_for
from fieldsight.systems.edge.options import EvaluateOptions, PredictOptions
from fieldsight.systems.edge.options_bench import EdgeBenchOptions, EdgeExportOptions
from fieldsight.systems.edge.predict import EdgeModel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FLOAT = onnx.TensorProto.FLOAT
NAMES = ("bolt", "nut")


def detector(
    path: Path, detr: bool = False, names: Any = NAMES, side: Any = 64, batch: Any = 1, **changed: Any
) -> Path:
    """Four boxes a photo whose scores follow its brightness: a convolution, its mean, and constants.

    Box ``k`` has the centre (8 + 16 k, 16) and 12 x 8 pixels of 64; its class is ``k % nc``.
    """
    helper, store = onnx.helper, onnx.numpy_helper.from_array
    count, wide = changed.get("boxes", 4), changed.get("wide", 4 + len(NAMES))
    kind, value = changed.get("kind", FLOAT), changed.get("value", 0.0)
    table = np.zeros((1, wide, count), np.float32)
    for k in range(count):
        table[0, :4, k] = np.array([8 + 16 * k, 16, 12, 8]) / (64 if detr else 1) * changed.get("stretch", 1.0)
        table[0, 4 + k % len(NAMES), k] = 0.5 + 0.1 * k
    table += np.float32(value)
    mask = np.zeros_like(table)
    mask[:, 4:] = 0.1
    stored = {"w": np.full((1, 3, 3, 3), 1 / 27, np.float32), "table": table, "mask": mask}
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["grey"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("ReduceMean", ["grey"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["level"]),
        helper.make_node("Mul", ["level", "mask"], ["gained"]),
        helper.make_node("Add", ["gained", "table"], ["image" if detr else "output0"]),
    ]
    if detr:  # an inner tensor has the name that is wanted outside
        nodes.append(helper.make_node("Transpose", ["image"], ["output0"], perm=[0, 2, 1]))
    shape = [batch, count, wide] if detr else [batch, wide, count]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", kind, [batch, changed.get("channels", 3), side, side])],
        [helper.make_tensor_value_info("output0", FLOAT, changed.get("told", shape))],
        [*(store(v, k) for k, v in stored.items()), store(np.array([3]), "last")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, str(path))
    if names is not None:
        stamp(path, {"names": names if isinstance(names, str) else str(dict(enumerate(names)))})
    return path


def loaded(path: Path) -> Any:
    with progress.watching(progress.silent, lambda text: None):
        return fieldsight.load("edge", path)


@pytest.fixture
def photo() -> np.ndarray[Any, Any]:
    return np.full((64, 64, 3), 128, np.uint8)


# ------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("detr", [False, True])
def test_both_layouts_give_the_same_boxes(tmp_path: Path, photo: Any, detr: bool) -> None:
    model = loaded(detector(tmp_path / "own.onnx", detr))
    assert isinstance(model, OnnxDetector)
    assert (model.classes, model.config.input, model.file.free) == (NAMES, 64, detr)
    assert model.suppression(PredictOptions()).iou == (1.0 if detr else 0.7)
    found = model.find(photo)
    assert found.labels.tolist() == [1, 0, 1, 0]  # best first
    np.testing.assert_allclose(found.boxes[0], [50, 12, 62, 20], atol=1e-4)
    assert found.scores[0] == pytest.approx(0.85, abs=0.01)
    assert model.forward(model.example())["output"].shape == (1, 6, 4)
    folder = model.file.folder.path
    del model
    assert not folder.exists()


def test_any_batch_and_any_size(tmp_path: Path, photo: Any) -> None:
    path = detector(tmp_path / "own.onnx", side="s", batch="n")
    notes: list[str] = []
    with progress.watching(progress.silent, notes.append):
        model = fieldsight.load("edge", path)
    assert notes == ["'own.onnx' takes any size: 640 pixels a side are used"]
    assert model.config.input == 640
    assert not model.file.single
    np.testing.assert_allclose(model.find(photo).boxes[0], [5.0, 1.2, 6.2, 2.0], atol=1e-4)  # a tenth of 64's
    assert detector(tmp_path / "two.onnx", batch=2)
    with pytest.raises(ModelFileError, match="2 photos at once"):
        loaded(tmp_path / "two.onnx")


def test_names_come_from_the_file_our_export_or_a_text_beside(tmp_path: Path) -> None:
    for text in (str(list(NAMES)), json.dumps(NAMES), json.dumps({"1": "nut", "0": "bolt"}), "{1: 'nut', 0: 'bolt'}"):
        assert loaded(detector(tmp_path / "a.onnx", names=text)).classes == NAMES
    path = detector(tmp_path / "b.onnx", names=None)
    with pytest.raises(ModelFileError, match=r"'names' in its metadata.*'b.names' beside it"):
        loaded(path)
    (tmp_path / "b.names").write_text("bolt\r\n\nnut\n")
    assert loaded(path).classes == NAMES
    config = EdgeModel.create(PRESETS["tiny"]).config.replace(classes=("x", "y"), conf=0.4, family="yolov10")
    stamp(path, {"fieldsight.system": "edge", "fieldsight.config": config.to_dict()})
    model = loaded(path)
    assert (model.classes, model.config.conf, model.file.free) == (("x", "y"), 0.4, True)


@pytest.mark.parametrize("text", ["{0: 'a', 2: 'b'}", "[1, 2]", "__import__('os')", "[]", "(" * 5000, "['a', 'a']"])
def test_names_that_make_no_sense(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelFileError, match=r"names its classes|given twice"):
        loaded(detector(tmp_path / "a.onnx", names=text))


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"wide": 7}, "fits none"),
        ({"boxes": 6}, "both are 6"),
        ({"kind": onnx.TensorProto.FLOAT16, "told": None}, r"takes FLOAT16|damaged"),
        ({"kind": onnx.TensorProto.UINT8}, r"takes UINT8|damaged"),
        ({"side": 50}, "multiple of 32"),
        ({"channels": 4}, "3, S, S"),
        ({"value": np.nan}, "not finite"),
        ({"value": 3.0}, "allowed: 0 to 1"),
        ({"detr": True, "stretch": 64.0}, "centres go up to"),
    ],
)
def test_what_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        loaded(detector(tmp_path / "bad.onnx", **changed))


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = detector(tmp_path / "whole.onnx").read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("empty", b""), ("text", b"no network at all")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=name):
            loaded(path)
    assert main(["edge", "predict", str(tmp_path), "--model", str(tmp_path / "half.onnx")]) == 1
    told = capsys.readouterr().err
    assert "half.onnx" in told
    assert "Traceback" not in told
    other = tmp_path / "model.pt"
    other.write_bytes(b"x")
    with pytest.raises(ModelFileError, match="no ONNX file"):
        loaded(other)
    with pytest.raises(ModelFileError, match="no model folder, no run folder"):
        fieldsight.load("crack", tmp_path / "whole.onnx")
    for key, value in (("fieldsight.suppression", "{}"), ("end2end", "True"), ("args", "{'nms': True}")):
        path = detector(tmp_path / "nms.onnx")
        stamp(path, {key: value})
        with pytest.raises(ModelFileError, match="suppresses overlapping boxes itself"):
            loaded(path)
    stamp(detector(tmp_path / "o.onnx"), {"fieldsight.system": "crack"})
    with pytest.raises(ModelFileError, match="from the system 'crack'"):
        loaded(tmp_path / "o.onnx")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = detector(tmp_path / "own.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="fieldsight\\[onnx\\]"):
        loaded(path)


# ----------------------------------------------------------------------------------------------- the verbs


def test_predict_and_the_command_line(tmp_path: Path, photo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = detector(tmp_path / "own.onnx", detr=True)
    picture = write_image(tmp_path / "a.png", photo)
    words = ["edge", "predict", str(picture), "--model", str(path), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    assert '"nut"' in capsys.readouterr().out
    model = loaded(path)
    again = loaded(model.save(tmp_path / "saved"))
    assert again.file.free
    np.testing.assert_array_equal(again.find(photo).boxes, model.find(photo).boxes)


def test_what_needs_torch_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = detector(tmp_path / "own.onnx")
    model = loaded(path)
    for do in (model.graph, lambda: model.detector):
        with pytest.raises(ExportError, match="is an ONNX file"):
            do()
    for options in (EdgeExportOptions(format="torchscript"), EdgeExportOptions(nms=True)):
        with pytest.raises(ExportError, match="is an ONNX file"):
            export(model, tmp_path / ("a.torchscript" if not options.nms else "a.onnx"), options)
    out = tmp_path / "q"
    for n in range(4):
        write_image(tmp_path / "photos" / f"{n}.png", np.full((64, 64, 3), 100 + n, np.uint8))
    given = ["--calibration", str(tmp_path / "photos")]
    assert main(["edge", "quantize", "--model", str(path), "--out", str(out), *given]) == 1
    run = ["--run", str(tmp_path / "run"), "--preset", "tiny", "--steps", "1"]
    assert main(["edge", "train", "--init", str(path), *run]) == 1
    told = capsys.readouterr().err
    assert told.count("is an ONNX file") == 2
    assert "Traceback" not in told
    assert not out.exists()


def test_data_is_drawn_only_for_classes_of_a_drawn_world(tmp_path: Path) -> None:
    model = loaded(detector(tmp_path / "own.onnx"))
    with pytest.raises(DataError, match="Name a folder of photos"):
        choose(model, None, EvaluateOptions())
    with pytest.raises(ConfigError, match="--calibration FOLDER"):
        model.calibration_inputs(2)


def labelled(folder: Path, photo: Any) -> Path:
    for n in range(8):
        write_image(folder / "images" / "test" / f"{n}.png", np.full_like(photo, 124 + n))
        lines = [f"{k % 2} {(8 + 16 * k) / 64} 0.25 {12 / 64} {8 / 64}" for k in range(4)]
        (folder / "labels" / "test").mkdir(parents=True, exist_ok=True)
        (folder / "labels" / "test" / f"{n}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("path: .\ntest: images/test\nnames: [bolt, nut]\n")
    return folder


def test_evaluate_and_bench(tmp_path: Path, photo: Any) -> None:
    model, data = loaded(detector(tmp_path / "own.onnx")), labelled(tmp_path / "data", photo)
    assert model.evaluate(data).metrics["map50_95"] == pytest.approx(1.0, abs=0.01)
    options = EdgeBenchOptions(
        runtimes=("onnx", "torch", "ncnn"), isolate=False, frames=4, rounds=2, runs=1, warmup=1, seconds=0.1, idle=0,
        draws=10, samples=4,
    )  # fmt: skip
    table = bench(model, options, data)
    rows = {(row["backend"], row["precision"]): row for row in table.rows}
    single = rows["ONNX Runtime", "FP32"]
    assert single["model"] == "own-64"
    assert single["map50_95"] == pytest.approx(1.0, abs=0.01)
    assert single["epi_estimated_j"] > 0
    assert single["latency_ms"] > 0
    assert rows["ONNX Runtime", "FP16"]["size_mb"] > 0
    assert "--calibration FOLDER" in rows["ONNX Runtime", "INT8"]["notes"]
    assert "is an ONNX file" in rows["PyTorch eager", "FP32"]["notes"]
    assert set(estimated_joules(model, "paper-45nm-lpddr5")) == {"fp32", "fp16", "int8"}


# ------------------------------------------------------------------------------------- an export of our own


def turned(source: Path, path: Path, side: int) -> Path:
    """The same detector in DETR's layout."""
    proto = onnx.load(str(source))
    graph, wide = proto.graph, proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    scale = np.array([1 / side] * 4 + [1] * (wide - 4), np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
    graph.node.append(onnx.helper.make_node("Transpose", ["output"], ["rows"], perm=[0, 2, 1]))
    graph.node.append(onnx.helper.make_node("Mul", ["rows", "scale"], ["shares"]))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("shares", FLOAT, ["n", None, wide]))
    onnx.save(proto, str(path))
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[EdgeModel, Path]:
    """A detector and its export."""
    original, path = EdgeModel.create(PRESETS["tiny"]), tmp_path_factory.mktemp("ours") / "a.onnx"
    to_onnx(original, path, 18)
    return original, path


@pytest.mark.onnx
def test_an_export_of_ours_gives_what_its_original_gives(ours: tuple[EdgeModel, Path], tmp_path: Path) -> None:
    original, exported = ours
    paths = (exported, turned(exported, tmp_path / "b.onnx", 64))
    expected = original.forward(original.example())["output"].numpy()
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    # nothing is suppressed: of boxes with equal scores, rounding would say which one stays, and which comes first
    options = PredictOptions(conf=1e-3, iou=1.0, most=10_000)
    for path in paths:
        model = loaded(path)
        assert model.classes == original.classes
        np.testing.assert_allclose(model.forward(model.example())["output"].numpy(), expected, atol=1e-4)
        wanted, found = original.find(picture, options), model.find(picture, options)
        assert len(found) == len(wanted) > 100
        np.testing.assert_allclose(np.sort(found.boxes, 0), np.sort(wanted.boxes, 0), atol=1e-4)
        assert choose(model, None, EvaluateOptions())[1] == choose(original, None, EvaluateOptions())[1]
        made = export(model, tmp_path / f"{path.stem}-half.onnx", EdgeExportOptions(precision="fp16", pictures=2))
        assert made.bytes < path.stat().st_size
        assert loaded(made.path).file.holds == "FP16"


@pytest.mark.onnx
def test_openvino_from_the_file(ours: tuple[EdgeModel, Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    options = EdgeBenchOptions(
        runtimes=("openvino",), isolate=False, frames=2, rounds=2, runs=1, warmup=1, seconds=0.1, idle=0, draws=10,
        samples=4,
    )  # fmt: skip
    model = loaded(turned(ours[1], tmp_path / "b.onnx", 64))
    rows = bench(model, options).rows
    assert [row["precision"] for row in rows] == ["FP32", "FP16", "INT8"]
    assert all(row.get("size_mb", 0) > 0 for row in rows), rows
    made = export(model, tmp_path / "ov", EdgeExportOptions(format="openvino", pictures=2))
    assert max(made.differences.values()) < 1e-3
    with pytest.raises(ExportError, match="INT8 for ONNX Runtime needs"):
        backend_for(model, "onnx").write(model, tmp_path, "int8")
