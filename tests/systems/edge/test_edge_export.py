"""Exports: what a runtime is given, boxes against boxes, NCNN's files, and files that must not come to be."""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.config import resolve
from fieldsight.errors import ConfigError, DataError, ExportError, MissingExtraError
from fieldsight.export.calibration import Inputs
from fieldsight.export.runtime import onnx_runner
from fieldsight.systems.edge import backends_ncnn, backends_tensorrt
from fieldsight.systems.edge.backends import BACKENDS, as_runner, backend, computes_half, half_unit, opened
from fieldsight.systems.edge.backends_source import Source, inputs_for, join_silu
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.export import export
from fieldsight.systems.edge.export_parity import check_boxes, compare_boxes, unseen_pictures
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.options_bench import EdgeExportOptions
from fieldsight.systems.edge.predict import EdgeModel


def lively(side: int = 64) -> EdgeModel:
    """An untrained detector whose normalisation has met pictures and whose heads say something."""
    model = EdgeModel.create(PRESETS["tiny"].replace(input=side, data={"size": side}))
    net = model.detector
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    net.train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        pictures = torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8), side, mode="bilinear")
        net(torch.cat([pictures, model.example()["image"]]))
        for branch in net.head.cls:
            torch.nn.init.normal_(branch[-1].weight, 0, 0.1)
            branch[-1].bias += 3.0
    net.eval()
    return model


@pytest.fixture(scope="module")
def model() -> EdgeModel:
    return lively()


def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ncnn nor TensorRT is installed."""
    real = importlib.import_module

    def some(name: str, *more: Any, **named: Any) -> Any:
        if name in ("ncnn", "pnnx", "tensorrt"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(importlib, "import_module", some)


def drawn(model: EdgeModel, count: int, folder: Path) -> Inputs:
    rng = np.random.default_rng(0)
    side = model.config.input
    groups = ([{"image": rng.random((1, 3, side, side), np.float32)}] for _ in range(count))
    return Inputs.store(groups, model.input_names, folder)


# ------------------------------------------------------------------------------------------------- boxes


def rows(*boxes: tuple[float, ...]) -> np.ndarray[Any, Any]:
    return np.array(boxes, np.float32).reshape(-1, 6)


ONE = (10.0, 10.0, 30.0, 30.0, 0.9, 0.0)


def test_equal_boxes_match_and_none_is_nothing_to_tell() -> None:
    same = compare_boxes([rows(ONE)], [rows(ONE)], 0.25)
    assert (same.boxes, same.matched, same.mean_iou, same.largest_score_difference) == (1, 1.0, 1.0, 0.0)
    empty = compare_boxes([rows()], [rows()], 0.25)
    assert math.isnan(empty.matched)
    assert empty.to_dict()["matched"] is None
    assert "no boxes" in empty.line()


def test_a_lost_box_a_new_one_and_another_class_count() -> None:
    other = (60.0, 60.0, 80.0, 80.0, 0.8, 0.0)
    assert compare_boxes([rows(ONE, other)], [rows(ONE)], 0.25).matched == pytest.approx(2 / 3)
    assert compare_boxes([rows(ONE)], [rows(ONE, other)], 0.25).matched == pytest.approx(2 / 3)
    assert compare_boxes([rows(ONE)], [rows((*ONE[:5], 1.0))], 0.25).matched == 0
    assert compare_boxes([rows(ONE)], [rows()], 0.25).matched == 0


def test_a_box_at_the_threshold_may_fall_on_either_side() -> None:
    above, below = (*ONE[:4], 0.26, 0.0), (*ONE[:4], 0.24, 0.0)
    found = compare_boxes([rows(above)], [rows(below)], 0.25)
    assert found.matched == 1
    assert found.largest_score_difference == pytest.approx(0.02, abs=1e-6)


def test_iou_of_a_shifted_box() -> None:
    moved = (12.0, 10.0, 32.0, 30.0, 0.9, 0.0)  # 18 x 20 of 22 x 20
    assert compare_boxes([rows(ONE)], [rows(moved)], 0.25).mean_iou == pytest.approx(18 / 22, abs=1e-6)


def test_ruined_boxes_are_refused(model: EdgeModel) -> None:
    pictures = unseen_pictures(model, 2)
    whole = model._eager()
    assert check_boxes(model, whole, pictures, 0.0).matched == 1

    def shrunk(batch: dict[str, Any]) -> dict[str, Any]:
        output = whole(batch)["output"].clone()
        output[:, 2:4] *= 0.3
        return {"output": output}

    with pytest.raises(ExportError, match="other boxes than the original"):
        check_boxes(model, shrunk, pictures, 0.1)

    with pytest.raises(ExportError, match="not finite"):
        check_boxes(model, lambda batch: {"output": whole(batch)["output"] * math.nan}, pictures, 0.1)


def test_unseen_pictures_of_a_model_of_foreign_photos(model: EdgeModel, tmp_path: Path) -> None:
    foreign = lively()
    foreign.artefacts["training"] = {"drawn": False}
    assert len(unseen_pictures(foreign, 5)) == 2  # its example
    assert len(unseen_pictures(foreign, 3, drawn(model, 4, tmp_path))) == 3
    assert unseen_pictures(foreign, 0) == []


# ------------------------------------------------------------------------------------------------- options, names


def test_options_are_checked(model: EdgeModel, tmp_path: Path) -> None:
    for bad, match in (({"nms": True, "format": "ncnn"}, "nms"), ({"calibration": "x"}, "calibration")):
        with pytest.raises(ConfigError, match=match):
            resolve(EdgeExportOptions, {}, None, None, bad)
    with pytest.raises(ConfigError, match="--out"):
        export(model, None, EdgeExportOptions())
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        export(model, tmp_path / "a.pt", EdgeExportOptions())
    with pytest.raises(ConfigError, match="writes a folder"):
        export(model, tmp_path / "a.onnx", EdgeExportOptions(format="ncnn"))
    with pytest.raises(ConfigError, match="Did you mean 'openvino'"):
        backend("openvin")
    with pytest.raises(ConfigError, match="no INT8"):
        BACKENDS["torchscript"].write(model, tmp_path, "int8")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_where_the_flags_say() -> None:
    assert half_unit({"avx2", "avx512_vnni"}) == ""
    assert half_unit({"fphp"}) == ""
    assert computes_half("openvino", {"avx512_fp16"})
    assert not computes_half("onnx", {"avx512_fp16"})  # it has no such kernels on x86
    assert computes_half("onnx", {"fphp", "asimdhp"})
    assert not computes_half("ncnn", {"avx2"})


# ------------------------------------------------------------------------------------------------- torchscript


def test_torchscript_gives_the_same(model: EdgeModel, tmp_path: Path) -> None:
    target = tmp_path / "net.torchscript"
    done = export(model, target, EdgeExportOptions(format="torchscript", pictures=2))
    assert max(done.differences.values()) <= 1e-3
    assert done.boxes is not None
    assert done.boxes.boxes > 0
    assert done.boxes.matched == 1
    assert done.bytes == target.stat().st_size
    json.dumps(done.to_dict(), allow_nan=False)
    picture = np.random.default_rng(1).integers(0, 255, (48, 80, 3), np.uint8)
    mine = model.find(picture, PredictOptions(conf=0.3))
    try:
        model.use(opened(model, target, 1))
        theirs = model.find(picture, PredictOptions(conf=0.3))
    finally:
        model.use(None)
    assert len(mine)
    np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-2)


def test_what_differs_is_not_written(model: EdgeModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="differs from the original"):
        export(model, tmp_path / "net.pt", EdgeExportOptions(format="torchscript", tolerance=1e-30, pictures=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.onnx", "a.pt", "a.engine", "ncnn", "openvino"])
def test_garbage_is_named(model: EdgeModel, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if "." not in name:
        file.mkdir()
        inside = file / ("model.ncnn.param" if name == "ncnn" else "model.xml")
        inside.write_bytes(b"nothing of the kind")
    else:
        file.write_bytes(b"nothing of the kind")
    with pytest.raises((ExportError, MissingExtraError)):
        opened(model, file)
    with pytest.raises(ConfigError, match="is no export"):
        opened(model, tmp_path / "a.txt")


# ------------------------------------------------------------------------------------------------- missing runtimes


def test_a_missing_package_names_its_extra(model: EdgeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_packages(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"fieldsight\[ncnn\]"):
        export(model, tmp_path / "n", EdgeExportOptions(format="ncnn", pictures=0))
    with pytest.raises(MissingExtraError, match="JetPack") as caught:
        export(model, tmp_path / "n.engine", EdgeExportOptions(format="tensorrt", pictures=0))
    assert "fieldsight[" not in str(caught.value)  # no extra brings it, so none is named
    assert isinstance(caught.value, backends_tensorrt.NoTensorRTError)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- calibration


def test_calibration_folders_are_judged(model: EdgeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fieldsight.data.images import write_image

    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        inputs_for(model, 8, tmp_path / "empty", tmp_path / "w0")
    trained = lively()
    trained.artefacts["training"] = {
        "statistics": {"count": 300, "mean": [0.5, 0.5, 0.5, 0.2, 0.03], "spread": [0.1, 0.1, 0.1, 0.05, 0.01]}
    }
    for n in range(10):
        write_image(tmp_path / "dark" / f"{n}.png", np.full((40, 60, 3), 10 + n, np.uint8))
    learn, check = inputs_for(trained, 10, tmp_path / "dark", tmp_path / "w1")
    assert (len(learn), len(check)) == (8, 2)
    assert learn[0]["image"].shape == (1, 3, 64, 64)
    said = capsys.readouterr().err
    assert "too dark" in said
    assert "Only 10 pictures" in said
    trained.artefacts["training"]["drawn"] = False
    with pytest.raises(ConfigError, match="--calibration"):
        inputs_for(trained, 10, None, tmp_path / "w2")


# ------------------------------------------------------------------------------------------------- files


def test_silu_becomes_one_operator(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["s", "x"], ["y"]),
        helper.make_node("Sigmoid", ["y"], ["t"]), helper.make_node("Mul", ["t", "x"], ["z"]),  # not y: no SiLU
    ]  # fmt: skip
    told = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("x", "z")]
    graph = helper.make_graph(nodes, "g", told[:1], told[1:])
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    x = np.array([-2.0, 0.5, 3.0], np.float32)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    before = session.run(None, {"x": x})[0]
    assert join_silu(path) == 1
    assert [n.op_type for n in onnx.load(str(path)).graph.node] == ["QuickGelu", "Sigmoid", "Mul"]
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], before, rtol=1e-6)


PARAM = """7767517
4 4
Input in0 0 1 in0
Convolution conv 1 1 in0 2 0=2 1=1 5=1 6=6
MemoryData data 0 1 3 0=2 1=3
BinaryOp add 2 1 2 3 out0 0=0
"""


def test_ncnn_files_are_read_layer_by_layer(tmp_path: Path) -> None:
    weights = np.arange(6, dtype="<f4").tobytes()
    stored = b"\0\0\0\0" + weights + np.ones(2, "<f4").tobytes() + np.zeros(6, "<f4").tobytes()
    (tmp_path / "model.ncnn.param").write_text(PARAM)
    (tmp_path / "model.ncnn.bin").write_bytes(stored)
    layers = backends_ncnn._read(tmp_path)
    assert [len(layer.stored) for layer in layers] == [0, 36, 24, 0]
    np.testing.assert_array_equal(backends_ncnn._weights(layers[1]), np.arange(6))
    assert layers[1].value(2, default=-1) == -1  # the tensor named 2 is no entry of that number
    backends_ncnn._save(tmp_path, layers)
    assert (tmp_path / "model.ncnn.bin").read_bytes() == stored
    (tmp_path / "model.ncnn.bin").write_bytes(stored[:-4])
    with pytest.raises(ExportError, match="bytes"):
        backends_ncnn._read(tmp_path)
    (tmp_path / "model.ncnn.param").write_text(PARAM.replace("BinaryOp", "LayerNorm"))
    with pytest.raises(ExportError, match="LayerNorm"):
        backends_ncnn._read(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.text("Convolutionembry dt=0123456789-x\n", max_size=120), st.binary(max_size=60))
def test_no_ncnn_file_breaks_the_reader(text: str, stored: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "model.ncnn.param").write_text(f"7767517\n1 1\n{text}")
        (Path(name) / "model.ncnn.bin").write_bytes(stored)
        with contextlib.suppress(ExportError):
            backends_ncnn._read(Path(name))


# ------------------------------------------------------------------------------------------------- whole runtimes


@pytest.mark.onnx
def test_ncnn_in_three_precisions(model: EdgeModel, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    done = export(model, tmp_path / "n", EdgeExportOptions(format="ncnn", pictures=2, tolerance=1e-2))
    assert done.boxes is not None
    assert done.boxes.matched == 1
    assert sorted(p.name for p in (tmp_path / "n").iterdir()) == [
        "fieldsight.json", "model.ncnn.bin", "model.ncnn.param",
    ]  # fmt: skip
    source = Source(model, tmp_path, drawn(model, 8, tmp_path / "in"))
    chosen = BACKENDS["ncnn"]
    sizes = {p: chosen.write(model, tmp_path, p, source=source).bytes for p in ("fp32", "fp16", "int8")}
    assert sizes["fp32"] > 1.8 * sizes["fp16"] > 3.2 * sizes["int8"]


@pytest.mark.onnx
def test_ncnn_int8_computes_what_the_simulation_does(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    from fieldsight.systems.edge.quant.fake import simulate
    from fieldsight.systems.edge.quant.scheme import Scheme

    conv = torch.nn.Conv2d
    torch.manual_seed(1)
    layers = (conv(3, 16, 3, 2, 1), torch.nn.SiLU(), conv(16, 16, 3, 1, 1, groups=16), torch.nn.SiLU())
    network = torch.nn.Sequential(*layers, conv(16, 24, 3, 1, 1, bias=False), torch.nn.SiLU(), conv(24, 4, 1)).eval()
    model = copy.copy(lively())
    model.graph = lambda: network  # type: ignore[method-assign]
    inputs = drawn(model, 8, tmp_path / "in")
    source = Source(model, tmp_path, inputs)
    chosen = BACKENDS["ncnn"]
    artefact = chosen.write(model, tmp_path, "int8", source=source)
    assert artefact.notes == ("3 of 4 convolutions in INT8, activations between them in FP32",)
    batch = {"image": torch.from_numpy(inputs[0]["image"])}
    with torch.no_grad():
        true = network(batch["image"])
        simulated = simulate(source.traced, source.scales(Scheme()))(batch["image"])
    found = as_runner(model, chosen.session(artefact, 1))(batch)["output"]
    expected = float((simulated - true).abs().mean())
    assert expected > 0
    # the same integers but where a value lies in the middle between two steps
    assert float((found - simulated).abs().mean()) < 0.1 * expected


@pytest.mark.onnx
def test_onnx_with_and_without_suppression_and_in_int8(model: EdgeModel, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    plain = export(model, tmp_path / "a.onnx", EdgeExportOptions(pictures=2))
    assert plain.boxes is not None
    assert plain.boxes.matched == 1
    picture = np.random.default_rng(1).integers(0, 255, (48, 80, 3), np.uint8)
    mine = model.find(picture)
    try:
        model.use(onnx_runner(model, tmp_path / "a.onnx"))
        np.testing.assert_allclose(model.find(picture).boxes, mine.boxes, atol=1e-2)
    finally:
        model.use(None)
    run = BACKENDS["openvino"].opening(tmp_path / "a.onnx", "fp32", 1)
    for batch in (model.example(), model.typical()):  # compiled anew for each shape
        np.testing.assert_allclose(run(batch["image"].numpy()), model._eager()(batch)["output"], atol=1e-2)
    inside = export(model, tmp_path / "b.onnx", EdgeExportOptions(pictures=2, nms=True))
    assert inside.boxes is not None
    assert inside.boxes.matched >= 0.98
    stored = onnx.load(str(tmp_path / "b.onnx"))
    assert "NonMaxSuppression" in [n.op_type for n in stored.graph.node]
    assert "fieldsight.suppression" in [p.key for p in stored.metadata_props]
    assert [d.dim_value for d in stored.graph.output[0].type.tensor_type.shape.dim][2] == 6
    options = EdgeExportOptions(precision="int8", pictures=2, samples=10, int8_tolerance=1.0, box_loss=1.0)
    small = export(model, tmp_path / "c.onnx", options)
    assert small.gaps["output"].relative > 0
    assert small.bytes < 0.45 * plain.bytes
    assert "QuickGelu" in [n.op_type for n in onnx.load(str(tmp_path / "c.onnx")).graph.node]
    assert opened(model, tmp_path / "c.onnx")(model.typical())["output"].shape == (1, 4 + len(model.classes), 84)
    with pytest.raises(ExportError, match="INT8 ruins"):
        export(model, tmp_path / "d.onnx", options.replace(int8_tolerance=1e-9))
    assert not (tmp_path / "d.onnx").exists()
