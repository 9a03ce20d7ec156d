"""Counting ONNX files: the nine classical nets of the onnx package, every operator with MACs, and bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import DataError, FieldsightError, MissingExtraError
from fieldsight.profile import Counts, count_onnx

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

# conv MACs, all MACs, parameters
NETS = {
    "bvlc_alexnet": (595_938_432, 654_560_384, 60_965_224),
    "densenet121": (2_834_161_664, 2_834_161_664, 8_062_504),
    "inception_v1": (1_430_532_352, 1_431_556_352, 6_998_552),
    "inception_v2": (2_017_827_840, 2_018_851_840, 11_214_888),
    "resnet50": (4_087_136_256, 4_089_184_256, 25_557_032),
    "shufflenet": (124_120_528, 124_664_528, 1_393_320),
    "squeezenet": (349_151_936, 349_151_936, 1_235_496),
    "vgg19": (19_508_428_800, 19_632_062_464, 143_667_240),
    "zfnet512": (1_401_011_232, 1_481_727_008, 87_250_536),
}
# the totals in the literature, in 10^9 conv MACs
LITERATURE = {"vgg19": 19.51, "resnet50": 4.09, "densenet121": 2.83, "squeezenet": 0.35, "shufflenet": 0.12}


# ruff: noqa: E501  (tables of operators, one a line)


def const(name: str, *shape: int, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.zeros(shape, dtype), name)


def tensor(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any],
    inputs: dict[str, Any],
    weights: list[Any] | None = None,
    outputs: list[str] | None = None,
    values: list[Any] | None = None,
    opset: int = 23,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "net",
        [tensor(k, v) if isinstance(v, (tuple, list, type(None))) else v for k, v in inputs.items()],
        [tensor(o, None) for o in outputs or [nodes[-1].output[0]]],
        weights or [],
        value_info=values or [],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    names = [n if n != "_" else "" for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


@pytest.mark.parametrize("name", NETS)
def test_the_nine_light_models(name: str) -> None:
    counts = count_onnx(LIGHT / f"light_{name}.onnx")
    conv = sum(layer.macs for layer in counts.layers if layer.kind == "conv2d")
    assert (conv, counts.macs, counts.params) == NETS[name]
    assert counts.unknown == ()
    assert counts.samples == 1
    if name in LITERATURE:
        assert round(conv / 1e9, 2) == LITERATURE[name]


def test_resnet50_equals_the_published_activations() -> None:
    counts = count_onnx(str(LIGHT / "light_resnet50.onnx"))
    assert counts.activations == 11_114_984
    assert counts.buffers == 2 * 26_560
    assert {op.kind: op.inputs for op in counts.uncounted}["batch_norm"] == 11_113_984


# operators: nodes, inputs, weights, MACs, parameters
I8, U8, I32 = np.int8, np.uint8, np.int32
OPERATORS: dict[str, tuple[list[Any], dict[str, Any], list[Any], int, int]] = {
    "Conv": ([node("Conv", "x w b", group=2)], {"x": (2, 4, 8, 8)}, [const("w", 6, 2, 3, 3), const("b", 6)], 2 * 6 * 36 * 18, 114),
    "Conv1d": ([node("Conv", "x w", strides=[2])], {"x": (1, 4, 9)}, [const("w", 5, 4, 3)], 5 * 4 * 12, 60),
    "ConvTranspose": ([node("ConvTranspose", "x w", strides=[2, 2])], {"x": (1, 4, 5, 5)}, [const("w", 4, 3, 3, 3)], 100 * 27, 108),
    "ConvInteger": ([node("ConvInteger", "x w zx")], {"x": tensor("x", (1, 4, 5, 5), TensorProto.UINT8)}, [const("w", 3, 4, 3, 3, dtype=I8), const("zx", dtype=U8)], 27 * 36, 108),
    "QLinearConv": (
        [node("QLinearConv", "x sx zx w sw zw sy zy b")],
        {"x": tensor("x", (1, 4, 5, 5), TensorProto.UINT8)},
        [const("w", 3, 4, 3, 3, dtype=I8), *(const(s) for s in ("sx", "sw", "sy")), const("zx", dtype=U8), const("zw", dtype=I8), const("zy", dtype=U8), const("b", 3, dtype=I32)],
        27 * 36,
        111,
    ),
    "Gemm": ([node("Gemm", "x w b", transB=1)], {"x": (5, 7)}, [const("w", 3, 7), const("b", 3)], 105, 24),
    "Gemm-transA": ([node("Gemm", "x w", transA=1)], {"x": (7, 5)}, [const("w", 7, 3)], 105, 21),
    "MatMul-weights": ([node("MatMul", "x w")], {"x": (2, 5, 7)}, [const("w", 7, 3)], 210, 21),
    "MatMul-two-inputs": ([node("MatMul", "x z")], {"x": (2, 1, 5, 7), "z": (3, 7, 4)}, [], 6 * 140, 0),
    "MatMulInteger": ([node("MatMulInteger", "x w")], {"x": tensor("x", (5, 7), TensorProto.UINT8)}, [const("w", 7, 3, dtype=I8)], 105, 21),
    "QLinearMatMul": (
        [node("QLinearMatMul", "x s z w s z s z")],
        {"x": tensor("x", (5, 7), TensorProto.UINT8)},
        [const("w", 7, 3, dtype=U8), const("s"), const("z", dtype=U8)],
        105,
        21,
    ),
    "Einsum": ([node("Einsum", "x w", equation="bij,jk->bik")], {"x": (2, 5, 7)}, [const("w", 7, 3)], 210, 21),
    "LSTM": ([node("LSTM", "x w r b", "y", hidden_size=6, direction="bidirectional")], {"x": (4, 3, 5)}, [const("w", 2, 24, 5), const("r", 2, 24, 6), const("b", 2, 48)], 12 * 2 * 24 * 11, 2 * 24 * 11 + 96),
    "GRU": ([node("GRU", "x w r", "y", hidden_size=6)], {"x": (4, 3, 5)}, [const("w", 1, 18, 5), const("r", 1, 18, 6)], 12 * 18 * 11, 18 * 11),
    "RNN": ([node("RNN", "x w r", "y", hidden_size=6)], {"x": (4, 3, 5)}, [const("w", 1, 6, 5), const("r", 1, 6, 6)], 12 * 6 * 11, 66),
    "Attention": ([node("Attention", "q k k")], {"q": (1, 8, 5, 4), "k": (1, 2, 9, 4)}, [], 8 * 5 * 9 * 8, 0),
    "Attention-rank3": ([node("Attention", "q k v", q_num_heads=8, kv_num_heads=2)], {"q": (1, 5, 32), "k": (1, 9, 8), "v": (1, 9, 12)}, [], 8 * 5 * 9 * (4 + 6), 0),
    "Attention-past": ([node("Attention", "q k k _ p p", "y pk pv")], {"q": (1, 2, 1, 4), "k": (1, 2, 1, 4), "p": (1, 2, 7, 4)}, [], 2 * 8 * 8, 0),
    "folded-weight": (
        [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t")],
        {"x": (5, 7)},
        [const("w", 3, 7)],
        105,
        21,
    ),
    "quantised-weight": (
        [node("DequantizeLinear", "w s", "f"), node("Conv", "x f")],
        {"x": (1, 4, 5, 5)},
        [const("w", 3, 4, 3, 3, dtype=I8), const("s")],
        27 * 36,
        108,
    ),
    "shared-weight": ([node("MatMul", "x w", "h"), node("MatMul", "h w")], {"x": (5, 7)}, [const("w", 7, 7)], 2 * 245, 49),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_with_macs(name: str) -> None:
    nodes, inputs, weights, macs, params = OPERATORS[name]
    counts = count_onnx(model(nodes, inputs, weights))
    assert (counts.macs, counts.params) == (macs, params)
    assert counts.unknown == ()


MICROSOFT: dict[str, tuple[Any, dict[str, Any], list[Any], Any, int]] = {
    "FusedConv": (node("FusedConv", "x w", activation="Relu"), {"x": (1, 4, 5, 5)}, [const("w", 3, 4, 3, 3)], (1, 3, 3, 3), 972),
    "FusedMatMul": (node("FusedMatMul", "x z", transB=1), {"x": (2, 5, 7), "z": (2, 4, 7)}, [], (2, 5, 4), 280),
    "MatMulNBits": (node("MatMulNBits", "x w s", K=32, N=9), {"x": (5, 32)}, [const("w", 9, 1, 16, dtype=U8), const("s", 9)], (5, 9), 1440),
    "MultiHeadAttention": (node("MultiHeadAttention", "q k k", num_heads=2), {"q": (1, 5, 8), "k": (1, 9, 8)}, [], (1, 5, 8), 720),
    "GroupQueryAttention": (
        node("GroupQueryAttention", "q k k p p n n", num_heads=4, kv_num_heads=2),
        {"q": (1, 1, 16), "k": (1, 1, 8), "p": (1, 2, 9, 4), "n": tensor("n", (1,), TensorProto.INT32)},
        [],
        (1, 1, 16),
        9 * 32,
    ),
    "Attention": (node("Attention", "x w b", num_heads=2), {"x": (1, 5, 8)}, [const("w", 8, 24), const("b", 24)], (1, 5, 8), 5 * 8 * 24 + 2 * 25 * 8),
}  # fmt: skip


@pytest.mark.parametrize("name", MICROSOFT)
def test_operators_of_onnxruntime(name: str) -> None:
    made, inputs, weights, out, macs = MICROSOFT[name]
    made.domain = "com.microsoft"
    proto = model([made], inputs, weights)
    proto.graph.output[0].CopyFrom(tensor("y", out))
    assert count_onnx(proto).macs == macs


def test_packed_attention_is_listed_with_the_reason() -> None:
    made = node("MultiHeadAttention", "q", num_heads=2)
    made.domain = "com.microsoft"
    counts = count_onnx(model([made], {"q": (1, 5, 2, 3, 4)}))
    assert [op.kind for op in counts.unknown] == ["com.microsoft.MultiHeadAttention"]
    assert "packed queries" in counts.notes[0]


def test_norms_embeddings_scalars_and_statistics() -> None:
    nodes = [
        node("Gather", "table tokens", "e"),
        node("Mul", "e half", "h"),
        node("LayerNormalization", "h scale bias", "n"),
        node("Resize", "n _ sizes", "r"),
        node("Reshape", "n shape", "y"),
    ]
    weights = [
        const("table", 10, 4), const("half"), const("scale", 4), const("bias", 4), const("sizes", 3),
        numpy_helper.from_array(np.array([12]), "shape"), const("nobody", 9),
    ]  # fmt: skip
    counts = count_onnx(model(nodes, {"tokens": tensor("tokens", (1, 3), TensorProto.INT64)}, weights, ["y", "r"]))
    assert {(x.kind, x.weights, x.biases) for x in counts.layers} == {("embedding", 40, 0), ("layer_norm", 0, 8)}
    assert counts.macs == 0
    assert counts.notes == ("9 stored elements are used by no operator.",)


def test_constants_and_data_in_other_files_count_as_parameters(tmp_path: Path) -> None:
    value = helper.make_node("Constant", [], ["w"], value=const("", 7, 3))
    proto = model([value, node("MatMul", "x w", "h"), node("Add", "h b")], {"x": (5, 7)}, [const("b", 3)])
    assert count_onnx(proto).params == 24
    big = model([node("MatMul", "x w")], {"x": (5, 70)}, [const("w", 70, 30)])
    onnx.save(big, str(tmp_path / "net.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    counts = count_onnx(tmp_path / "net.onnx")
    assert (counts.name, counts.params, counts.macs) == ("net", 2100, 10500)


def dynamic() -> Any:
    nodes = [node("Conv", "x w", "h", pads=[1, 1, 1, 1]), node("Relu", "h")]
    return model(nodes, {"x": ("N", 3, "H", 224)}, [const("w", 4, 3, 3, 3)])


def test_dynamic_inputs_name_the_tensor_and_the_way_out() -> None:
    with pytest.raises(DataError, match=r"'x' has the dynamic shape \(N, 3, H, 224\).*--shape x=1,3,1,224"):
        count_onnx(dynamic())
    with pytest.raises(DataError, match="no shape"):
        count_onnx(model([node("Relu", "x")], {"x": None}))
    counts = count_onnx(dynamic(), shapes={"x": (2, 3, 8, 224)})
    assert counts.macs == 2 * 4 * 8 * 224 * 27
    assert counts.samples == 2


def test_shapes_given_replace_what_the_file_says() -> None:
    proto = model([node("Conv", "x w", "h"), node("Relu", "h")], {"x": (1, 3, 8, 8)}, [const("w", 4, 3, 3, 3)])
    proto.graph.output[0].CopyFrom(tensor("y", (1, 4, 6, 6)))
    proto.graph.value_info.append(tensor("h", (1, 4, 6, 6)))
    assert count_onnx(proto).macs == 4 * 36 * 27
    assert count_onnx(proto, shapes={"x": (5, 3, 8, 8)}).macs == 5 * 4 * 36 * 27
    assert proto.graph.value_info[0].type.tensor_type.shape.dim[0].dim_value == 1, "the caller's model is not changed"


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"X": (1, 3, 8, 8)}, "Unknown input 'X'"),
        ({"x": (1, 3, 8)}, r"has 4 dimensions \(N, 3, H, 224\), but the shape given has 3"),
        ({"x": (0, 3, 8, 224)}, "positive whole numbers"),
        ({"x": (1, 5, 8, 224)}, r"weights \(4, 3, 3, 3\) for an input of 5 channels"),
    ],
)
def test_bad_shapes(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        count_onnx(dynamic(), shapes=shapes)


def test_a_shape_that_inference_does_not_find_names_the_tensor() -> None:
    nodes = [helper.make_node("Warp", ["x"], ["h"], name="warp", domain="my"), node("Conv", "h w")]
    with pytest.raises(DataError, match=r"the tensor '[hy]' at Conv 'y' has no known shape"):
        count_onnx(model(nodes, {"x": (1, 3, 8, 8)}, [const("w", 4, 3, 3, 3)]))


def test_unknown_operators_are_listed() -> None:
    nodes = [helper.make_node("Warp", ["x"], ["h"], name="warp", domain="my"), node("Det", "h"), node("Relu", "h", "z")]
    counts = count_onnx(model(nodes, {"x": (1, 3, 8, 8)}, outputs=["y", "z"], values=[tensor("h", (1, 3, 8, 8))]))
    assert {(op.kind, op.calls, op.inputs, op.where) for op in counts.unknown} == {
        ("my.Warp", 1, 192, "warp"),
        ("det", 1, 192, "y"),
    }
    assert [op.kind for op in counts.uncounted] == ["relu"]
    assert "my.Warp x1 (first at warp)" in counts.warnings()[-1]


def test_branches_and_loops() -> None:
    def body(name: str, width: int) -> Any:
        inner = [helper.make_node("MatMul", ["x", f"w{name}"], [f"o{name}"])]
        return helper.make_graph(inner, name, [], [tensor(f"o{name}", (5, width))], [const(f"w{name}", 7, width)])

    choice = helper.make_node("If", ["c"], ["y"], name="if", then_branch=body("a", 3), else_branch=body("b", 4))
    inputs = {"x": (5, 7), "c": tensor("c", (), TensorProto.BOOL)}
    counts = count_onnx(model([choice], inputs, outputs=["y"]))
    assert counts.macs == 5 * 7 * 4
    assert "dearer branch, else_branch" in counts.notes[0]
    step = helper.make_graph(
        [node("MatMul", "s w", "t"), node("Identity", "on", "go")],
        "body",
        [tensor("i", (), TensorProto.INT64), tensor("on", (), TensorProto.BOOL), tensor("s", (5, 7))],
        [tensor("go", (), TensorProto.BOOL), tensor("t", (5, 7))],
    )
    loop = helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=step)
    weights = [const("w", 7, 7), numpy_helper.from_array(np.array(6), "n")]
    counts = count_onnx(model([loop], inputs, weights, outputs=["y"]))
    assert (counts.macs, counts.params) == (245, 49)
    assert "multiply by the number of iterations" in counts.notes[0]


def test_local_functions_are_opened() -> None:
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("my", 1)]
    inner = [node("MatMul", "a b", "m"), node("Relu", "m", "o")]
    function = helper.make_function("my", "Dense", ["a", "b"], ["o"], inner, opsets[:1])
    made = helper.make_node("Dense", ["x", "w"], ["y"], domain="my")
    graph = helper.make_graph([made], "net", [tensor("x", (5, 7))], [tensor("y", (5, 3))], [const("w", 7, 3)])
    proto = helper.make_model(graph, opset_imports=opsets, functions=[function])
    counts = count_onnx(proto)
    assert (counts.macs, counts.params, counts.unknown) == (105, 21, ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x00\x01 not a model", "truncated, damaged or no ONNX"),
        (b"import torch\n", "."),
        (None, "Can't read"),
        ("folder", "is a folder"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: Any, words: str) -> None:
    file = tmp_path / "broken.onnx"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        count_onnx(file)
    assert "broken.onnx" in str(caught.value)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    whole = (LIGHT / "light_squeezenet.onnx").read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        file = tmp_path / "cut.onnx"
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.onnx"):
            count_onnx(file)
    with pytest.raises(DataError, match="give an ONNX file or an"):
        count_onnx(3.5)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_raise_nothing_but_our_own_errors(data: st.DataObject) -> None:
    whole = bytearray((LIGHT / "light_zfnet512.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        proto = onnx.load_model_from_string(bytes(whole))
    except Exception:
        return  # what protobuf refuses is the test above
    try:
        counts = count_onnx(proto)
    except FieldsightError:
        return
    assert isinstance(counts, Counts)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_garbage_raises_nothing_but_our_own_errors(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage.onnx"
    file.write_bytes(garbage)
    with pytest.raises(FieldsightError, match=r"garbage\.onnx"):
        count_onnx(file)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"fieldsight\[onnx\]"):
        count_onnx("anything.onnx")
