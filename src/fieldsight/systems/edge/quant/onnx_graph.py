"""An ONNX file as the same kind of graph that a torch network is followed into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldsight.errors import ExportError, MissingExtraError
from fieldsight.systems.edge.quant.graph import Graph, Kind, Op

_KIND_OF: dict[str, Kind] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "HardSwish", "Elu", "Gelu", "Mish", "Swish", "PRelu", "Clip"), "act"),
    **dict.fromkeys(("MaxPool", "Split", "Slice", "Reshape", "Flatten", "Transpose", "Squeeze"), "pass"),
    **dict.fromkeys(("Unsqueeze", "Expand", "Identity", "Cast", "DepthToSpace", "SpaceToDepth"), "pass"),
    "Concat": "cat", "Add": "add", "Mul": "mul", "Sigmoid": "sigmoid", "Softmax": "softmax",
}  # fmt: skip


def import_onnx(purpose: str) -> Any:
    """The module ``onnx``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx", purpose) from None
    return onnx


def load_onnx(path: str | Path, purpose: str) -> Any:
    """Read an ONNX file and check that it is whole.

    Raises:
        MissingExtraError: onnx is not installed.
        ExportError: no such file, not ONNX, or a graph that makes no sense.
    """
    onnx = import_onnx(purpose)
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's exceptions share no base class
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"'{path}' can't be read as ONNX: {first[:300]}") from None
    return model


class OnnxGraph:
    """An ONNX model's graph, and which node is which operation.

    Attributes:
        graph: operations on what comes from the inputs; arithmetic of constants is left out.
        number_of: number of the operation by index of the node.
        constants: stored tensors by every name they go by; exporters store equal ones once.
    """

    def __init__(self, model: Any) -> None:
        """From a loaded ``ModelProto``."""
        self.constants = {entry.name: entry for entry in model.graph.initializer}
        for node in model.graph.node:
            stored = [entry.t for entry in node.attribute if entry.name == "value"]
            if node.op_type == "Constant" and stored:
                self.constants[node.output[0]] = stored[0]
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        sources = [entry.name for entry in model.graph.input if entry.name not in self.constants]
        self.number_of: dict[int, int] = {}
        self.graph = Graph.of(
            list(self._ops(model.graph.node, set(sources))), sources, [entry.name for entry in model.graph.output]
        )

    def _ops(self, nodes: Any, data: set[str]) -> Iterator[Op]:
        for index, node in enumerate(nodes):
            inputs = tuple(name for name in node.input if name in data)
            if inputs and node.op_type not in ("Shape", "Size"):  # sizes are no data
                self.number_of[index] = len(self.number_of)
                data.update(node.output)
                kind = self._kind(node, inputs)
                layer = node.input[1].removesuffix(".weight") if kind == "conv" else ""
                yield Op(kind, node.op_type, inputs, tuple(name for name in node.output if name), layer)

    def _kind(self, node: Any, inputs: tuple[str, ...]) -> Kind:
        if node.op_type == "Conv":
            weight = self.constants.get(node.input[1])
            fits = weight is not None and len(weight.dims) == 4 and node.input[0] in inputs
            return "conv" if fits and len(inputs) == 1 else "other"
        if node.op_type == "Resize":
            modes = [entry.s.decode() for entry in node.attribute if entry.name == "mode"]
            return "pass" if modes in ([], ["nearest"]) and len(inputs) == 1 else "other"
        kind = _KIND_OF.get(node.op_type, "other")
        moved = kind == "pass" and (len(inputs) > 1 or node.input[0] != inputs[0])
        return "other" if moved or (kind in ("add", "mul") and len(inputs) < 2) else kind
