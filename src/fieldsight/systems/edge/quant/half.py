"""FP16 as an ONNX file: convolutions and all between them in half precision, decoding in float32.

Softmax, DFL, the arithmetic of boxes, sigmoid and what follows stay in float32: a box coordinate of 640 px has steps of
0.5 px in FP16. Inputs and outputs stay float32, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.files import atomic
from fieldsight.errors import ExportError
from fieldsight.export.onnx import stamp
from fieldsight.systems.edge.quant.onnx_graph import OnnxGraph, import_onnx, load_onnx

#: Largest number of FP16.
LARGEST = float(np.finfo(np.float16).max)

#: Operators that keep float32 whatever stands around them: no FP16 form, or one that is of no use.
KEPT = frozenset(
    {"Cast", "NonMaxSuppression", "Range", "TopK", "CumSum", "GridSample", "QuantizeLinear", "DequantizeLinear"}
)

#: Inputs that are float32 by definition: scales of Resize, regions of RoiAlign.
_FLOAT_INPUTS = {"Resize": (1, 2, 3), "Upsample": (1,), "RoiAlign": (1, 2)}


def write_half(source: str | Path, path: str | Path) -> tuple[int, int]:
    """Write a float32 ONNX file in FP16.

    Args:
        source: the float file.
        path: the file to write; it appears whole or not at all.

    Returns:
        How many operators compute in FP16, and how many in float32.

    Raises:
        MissingExtraError: onnx is not installed.
        ExportError: the file can't be read, holds no convolution, or a weight is too large for FP16.
    """
    onnx = import_onnx("FP16 as ONNX")
    model = load_onnx(source, "FP16 as ONNX")
    found = OnnxGraph(model)
    if not found.graph.convolutions:
        raise ExportError(f"'{source}' holds no convolution: there is nothing to be gained by FP16.")
    caster = _Caster(onnx, model, _region(model, found))
    caster.write()
    with atomic(path) as temporary:
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
        stamp(temporary, {"fieldsight.precision": "fp16"})
    return len(caster.half), len(found.number_of) - len(caster.half)


def _region(model: Any, found: OnnxGraph) -> set[int]:
    """Nodes in FP16: the last convolutions and all that leads to them."""
    ops, graph = found.graph.ops, found.graph
    nodes = {number: index for index, number in found.number_of.items()}
    wanted = {n for n, op in enumerate(ops) if op.kind == "conv" and not graph.reads_softmax(n)}
    waiting = list(wanted)
    while waiting:
        above = {graph.producer[v] for v in ops[waiting.pop()].inputs if v in graph.producer} - wanted
        wanted |= above
        waiting += above
    return {nodes[n] for n in wanted if model.graph.node[nodes[n]].op_type not in KEPT}


class _Caster:
    """Puts casts where half and float meet."""

    def __init__(self, onnx: Any, model: Any, half: set[int]) -> None:
        self.onnx, self.body, self.half = onnx, model.graph, half
        self.constants = {entry.name: entry for entry in self.body.initializer}
        self.types = self._types(model)
        self.nodes: list[Any] = []
        self.halves: dict[str, str] = {}  # float32 tensor to its FP16 form
        self.floats: dict[str, str] = {}  # FP16 tensor to its float32 form
        self.made: set[str] = set()  # tensors that are FP16 now

    def write(self) -> None:
        """Rewrite the graph in place."""
        results = {entry.name for entry in self.body.output}
        for index, node in enumerate(list(self.body.node)):
            inside = index in self.half
            kept = _FLOAT_INPUTS.get(node.op_type, ()) if inside else range(len(node.input))
            for place, name in enumerate(node.input):
                if name and self._is_float(name):
                    node.input[place] = self._as_float(name) if place in kept else self._as_half(name)
            self.nodes.append(node)
            if not inside:
                continue
            for place, name in enumerate(node.output):
                if name and self._is_float(name):
                    if name in results:
                        node.output[place] = f"{name}.half"
                        self.made.add(node.output[place])
                        self._cast(node.output[place], name, self.onnx.TensorProto.FLOAT)
                        self.halves[name] = node.output[place]
                    else:
                        self.made.add(name)
        del self.body.node[:]
        self.body.node.extend(self.nodes)
        del self.body.value_info[:]
        used = {name for node in self.body.node for name in node.input} | results
        kept_constants = [entry for entry in self.body.initializer if entry.name in used]
        del self.body.initializer[:]
        self.body.initializer.extend(kept_constants)

    def _types(self, model: Any) -> dict[str, int]:
        inferred = self.onnx.shape_inference.infer_shapes(model).graph
        entries = [*inferred.value_info, *inferred.input, *inferred.output]
        found = {entry.name: entry.type.tensor_type.elem_type for entry in entries}
        return found | {name: entry.data_type for name, entry in self.constants.items()}

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) == self.onnx.TensorProto.FLOAT

    def _as_half(self, name: str) -> str:
        if name in self.made:
            return name
        if name not in self.halves:
            self.halves[name] = f"{name}.half"
            if name in self.constants:
                self._store(name)
            else:
                self._cast(name, self.halves[name], self.onnx.TensorProto.FLOAT16)
        return self.halves[name]

    def _store(self, name: str) -> None:
        values = self.onnx.numpy_helper.to_array(self.constants[name])
        if values.size and not float(np.abs(values).max()) <= LARGEST:
            raise ExportError(f"'{name}' holds a number beyond {LARGEST:g}, the largest of FP16; keep float32.")
        stored = self.onnx.numpy_helper.from_array(values.astype(np.float16), self.halves[name])
        self.body.initializer.append(stored)

    def _as_float(self, name: str) -> str:
        if name not in self.made:
            return name
        if name not in self.floats:
            self.floats[name] = f"{name}.float"
            self._cast(name, self.floats[name], self.onnx.TensorProto.FLOAT)
        return self.floats[name]

    def _cast(self, source: str, target: str, to: int) -> None:
        self.nodes.append(self.onnx.helper.make_node("Cast", [source], [target], name=f"{target}.Cast", to=to))
