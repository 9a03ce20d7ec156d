"""Reading a detector's ONNX file: what it takes and gives, what its classes are called, and its canonical form."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.detection.network import soft_pictures
from fieldsight.errors import ConfigError, ExportError, FieldsightError, ModelFileError
from fieldsight.export.runtime import first_line, onnx_session
from fieldsight.systems.edge import world
from fieldsight.systems.edge.config import EdgeConfig
from fieldsight.systems.edge.data import class_names
from fieldsight.systems.edge.quant.onnx_graph import import_onnx

LAYOUTS = (
    "Allowed: (1, 4 + classes, anchors) with boxes in pixels, as YOLOv8 gives it, or (1, queries, 4 + classes) with "
    "boxes as shares of the input, as DETR gives it; both without suppression."
)

#: Bytes of a file that are still one file: protobuf's limit, less room for what is added.
MOST_BYTES = 2_000_000_000

_ROUNDED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "QLinearMatMul"})


@dataclass(frozen=True)
class Input:
    """The input: its name, its side (0: any), and whether it takes one picture only."""

    name: str
    side: int
    single: bool


@dataclass(frozen=True)
class Output:
    """The output: its name, whether it is DETR's, its classes and how many boxes."""

    name: str
    shares: bool
    classes: int
    boxes: int


def read(path: Path) -> Any:
    """The file with all its weights, checked."""
    onnx = import_onnx("A detector as an ONNX file")
    try:
        proto = onnx.load(str(path))
        if not proto.graph.node:
            raise ModelFileError(f"'{path}' holds no network: it is empty, or no ONNX file. Export it again.")
        if proto.ByteSize() > MOST_BYTES:
            raise ModelFileError(f"'{path}' holds {proto.ByteSize() / 1e9:.1f} GB; at most 2 GB can be used.")
        onnx.checker.check_model(proto)
    except FieldsightError:
        raise
    except Exception as error:  # protobuf's and onnx's exceptions share no base class
        raise ModelFileError(
            f"'{path}' is truncated, damaged or no ONNX file: {first_line(error) or type(error).__name__}. Copy or "
            "export it again, with the files of its weights beside it where it has any."
        ) from None
    return proto


def refuse_suppressed(path: Path, proto: Any, told: Mapping[str, str]) -> None:
    """Refuse what suppresses boxes itself, or belongs to another system."""
    system = told.get("fieldsight.system", "edge")
    if system != "edge":
        raise ModelFileError(f"'{path}' was exported from the system '{system}', not 'edge'.")
    arguments = _literal(told.get("args", ""))
    inside = any("NonMaxSuppression" in node.op_type or "NMS" in node.op_type for node in proto.graph.node)
    inside |= "fieldsight.suppression" in told or told.get("end2end", "").lower() == "true"
    if inside or (isinstance(arguments, dict) and arguments.get("nms") is True):
        raise ModelFileError(f"'{path}' suppresses overlapping boxes itself. Export it without (nms off). {LAYOUTS}")


def input_of(path: Path, proto: Any) -> Input:
    """The one input, ``(1 or N, 3, S, S)`` float32."""
    onnx = import_onnx("A detector as an ONNX file")
    stored = {entry.name for entry in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in stored]
    if len(inputs) != 1:
        listed = ", ".join(f"'{entry.name}'" for entry in inputs) or "none"
        raise ModelFileError(f"'{path}' takes the inputs {listed}; allowed: one, the photo. Export the network alone.")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ModelFileError(
            f"'{path}' takes {kind}; allowed: FLOAT, pixels in 0-1. Export it in FP32; export makes FP16 of it."
        )
    shape = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
    told = f"'{path}' takes ({', '.join(str(n or 'any') for n in shape)})"
    if len(shape) != 4 or shape[1] not in (0, 3) or shape[0] < 0:
        raise ModelFileError(f"{told}; allowed: (1, 3, S, S), one photo as channels, rows, columns.")
    if shape[0] > 1:
        raise ModelFileError(f"{told}: {shape[0]} photos at once. Export it for a batch of 1, or of any size.")
    sides = {n for n in shape[2:] if n}
    side = max(sides, default=0)
    if len(sides) > 1 or side % 32 or not 0 <= side <= 4096:
        raise ModelFileError(f"{told}; allowed: a square whose side is a multiple of 32, up to 4096.")
    return Input(inputs[0].name, side, shape[0] == 1)


def tried(path: Path, name: str, side: int) -> dict[str, Any]:
    """What it gives for a drawn picture, by name."""
    try:
        session = onnx_session(path)
        names = [entry.name for entry in session.get_outputs()]
        found = session.run(names, {name: soft_pictures(side, 1).numpy()})
    except ExportError as error:
        raise ModelFileError(str(error)) from None
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelFileError(
            f"'{path}' can't be run on a photo of {side} x {side} pixels: {first_line(error)}"
        ) from None
    return dict(zip(names, found, strict=True))


def output_of(path: Path, outputs: Mapping[str, Any], names: tuple[str, ...]) -> Output:
    """The one output of boxes and scores, by its size."""
    wide = 4 + len(names)
    shapes = {name: np.shape(value) for name, value in outputs.items()}
    fitting = [name for name, shape in shapes.items() if len(shape) == 3 and wide in shape[1:]]
    listed = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items())
    about = f"'{path}' gives {listed}, and has {len(names)} classes: {wide} numbers a box"
    if len(fitting) != 1:
        raise ModelFileError(f"{about}, which {'several fit' if fitting else 'fits none'}. {LAYOUTS}")
    name = fitting[0]
    batch, rows, columns = shapes[name]
    if rows == columns:
        raise ModelFileError(f"{about}, by rows or by columns: both are {wide}. Export it for another input size.")
    if batch != 1:
        raise ModelFileError(f"{about}; of one photo one is expected, got {batch}. {LAYOUTS}")
    value, shares = outputs[name], columns == wide
    if value.dtype != np.float32:
        raise ModelFileError(f"{about}, as {value.dtype}; allowed: float32. Export it in FP32.")
    _sensible(about, value.swapaxes(1, 2) if shares else value, shares)
    return Output(name, shares, len(names), rows if shares else columns)


def _sensible(about: str, value: Any, shares: bool) -> None:
    """Numbers ``(1, 4 + nc, A)`` of a drawn picture show another layout of the same size."""
    if not np.isfinite(value).all():
        raise ModelFileError(f"{about}; for a drawn picture they are not finite. Export it again, in FP32.")
    centres, scores = value[:, :2], value[:, 4:]
    if scores.size and not -1e-3 <= float(scores.min()) <= float(scores.max()) <= 1 + 1e-3:
        low, high = float(scores.min()), float(scores.max())
        raise ModelFileError(f"{about}; scores go from {low:.3g} to {high:.3g}, allowed: 0 to 1. {LAYOUTS}")
    far = float(np.abs(centres).max()) if centres.size else 0.0
    if shares and far > 4:
        raise ModelFileError(f"{about}; centres go up to {far:.3g}, allowed: 0 to 1. {LAYOUTS}")


def fewer_bits(proto: Any) -> str:
    """Numbers of fewer bits that the file computes with."""
    if any(node.op_type in _ROUNDED for node in proto.graph.node):
        return "INT8"
    onnx = import_onnx("A detector as an ONNX file")
    half = any(entry.data_type == onnx.TensorProto.FLOAT16 for entry in proto.graph.initializer)
    return "FP16" if half else ""


# ------------------------------------------------------------------------------------------------- classes


def _literal(text: str) -> Any:
    """JSON, or a Python literal as Ultralytics writes it; None where it is neither."""
    if not text or len(text) > 1_000_000:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return None


def names_of(path: Path, told: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the classes: the file's own, our exports', or those of a text file beside it."""
    if "names" in told:
        return _listed(path, _literal(told["names"]))
    known = known_config(path, told)
    if known is not None:
        return known.classes or class_names(known.data.world)
    beside = path.with_suffix(".names")
    try:
        lines = [line.strip() for line in beside.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise ModelFileError(
            f"'{path}' does not say what its classes are called. Allowed: an entry 'names' in its metadata, as "
            f"Ultralytics and fieldsight write it, or a file '{beside.name}' beside it with one name a line."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"'{beside}' can't be read: {first_line(error)}. Allowed: one name a line, UTF-8."
        ) from None
    return _listed(beside, [line for line in lines if line])


def _listed(path: Path, value: Any) -> tuple[str, ...]:
    """Names in the order of their numbers."""
    if isinstance(value, dict):
        try:
            numbered = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            numbered = {}
        value = [numbered.get(n) for n in range(len(value))]
    fine = isinstance(value, (list, tuple)) and value and all(isinstance(n, str) and n.strip() for n in value)
    if not fine:
        raise ModelFileError(
            f"'{path}' names its classes in a way that can't be read. Allowed: a list of names, or numbers from 0 on "
            "with their names, as JSON or as Python writes it."
        )
    return tuple(value)


def known_config(path: Path, told: Mapping[str, str]) -> EdgeConfig | None:
    """What our own export says of its model."""
    if "fieldsight.config" not in told:
        return None
    try:
        return EdgeConfig.parse(json.loads(told["fieldsight.config"]), where=str(path))
    except (ValueError, TypeError, RecursionError, ConfigError) as error:
        raise ModelFileError(f"'{path}' is damaged: {first_line(error)}. Export it again.") from None


def world_of(names: tuple[str, ...], known: EdgeConfig | None) -> str:
    """A drawn world with these classes, by its name; empty where there is none."""
    own = (known.data.world,) if known is not None else ()
    return next((name for name in (*own, *world.CLASSES) if class_names(name) == names), "")


def artefacts_of(told: Mapping[str, str]) -> dict[str, Any]:
    """What our own export says of the training; whatever else there is has no meaning here."""
    stored = _literal(told.get("fieldsight.artefacts", ""))
    training = stored.get("training") if isinstance(stored, dict) else None
    return {"training": training if isinstance(training, dict) else {}}


# ----------------------------------------------------------------------------------------------- canonical


def canonical(proto: Any, given: Input, output: Output, side: int) -> Any:
    """The network from ``image`` to ``output``, ``(N, 4 + nc, A)`` in pixels; only the ends are changed."""
    onnx = import_onnx("A detector as an ONNX file")
    help_, kind = onnx.helper, onnx.TensorProto.FLOAT
    only = [entry.name for entry in proto.graph.output] == ["output"]
    first, last = given.name, output.name
    if given.name != "image" or not only or output.shares:
        from onnx import compose

        proto = compose.add_prefix(proto, "own/")  # so that no name is in the way of the new ones
        first, last = f"own/{first}", f"own/{last}"
        proto.graph.node.insert(0, help_.make_node("Identity", ["image"], [first], name="image/named"))
        if output.shares:
            scale = np.array([side] * 4 + [1] * output.classes, np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(scale, "pixels"))
            proto.graph.node.append(help_.make_node("Mul", [last, "pixels"], ["scaled"], name="output/scaled"))
            turned = help_.make_node("Transpose", ["scaled"], ["output"], name="output/turned", perm=[0, 2, 1])
            proto.graph.node.append(turned)
        else:
            proto.graph.node.append(help_.make_node("Identity", [last], ["output"], name="output/named"))
    batch = 1 if given.single else "batch"
    kept = [entry for entry in proto.graph.input if entry.name != first]
    del proto.graph.input[:], proto.graph.output[:]
    proto.graph.input.extend([help_.make_tensor_value_info("image", kind, [batch, 3, side, side]), *kept])
    shape = [batch, 4 + output.classes, output.boxes]
    proto.graph.output.extend([help_.make_tensor_value_info("output", kind, shape)])
    return proto
