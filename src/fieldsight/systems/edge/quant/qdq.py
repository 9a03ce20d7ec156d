"""INT8 as an ONNX file: pairs of QuantizeLinear and DequantizeLinear around what is quantised, weights as integers.

The pairs stand exactly where the simulation rounds, with its scales. With the scheme's engine ``onnxruntime`` every
quantised convolution also has a pair behind it, without which ONNX Runtime would compute it in float; pairs are left
out where it has no integer form (activation functions). With ``fused`` the file is what TensorRT's explicit
quantisation wants; ONNX Runtime runs it too, in float between the pairs.

File and simulation differ in few numbers, by one step, if at all: ONNX Runtime multiplies sums by one float32 factor
``s_x s_w / s_y`` where the simulation multiplies and divides, and its sigmoid differs in the last bits, so a value in
the middle between two steps may go the other way; what follows carries that on. With ``fused`` and symmetric
activations, what is cut off at the lower end is -127 steps in the simulation, Eq. (Q1), and -128 in any ONNX file.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fieldsight.data.files import atomic
from fieldsight.errors import ExportError
from fieldsight.export.onnx import stamp
from fieldsight.export.runtime import import_onnxruntime
from fieldsight.systems.edge.quant.fake import Scales, quantize_bias
from fieldsight.systems.edge.quant.graph import Plan
from fieldsight.systems.edge.quant.grid import Grid, quantize_weight, weight_scales
from fieldsight.systems.edge.quant.onnx_graph import OnnxGraph, import_onnx, load_onnx

#: DequantizeLinear has a scale for each channel from this operator set on.
LEAST_OPSET = 13

Integers = Literal["int8", "uint8"]


def write_qdq(
    source: str | Path,
    path: str | Path,
    scales: Scales,
    layers: Collection[str] | None = None,
    integers: Integers = "uint8",
) -> Plan:
    """Write a float ONNX file as INT8 with the scales of the simulation.

    Convolutions are known by the names of their weights, which PyTorch's exporters take from the network; BN must be
    folded (:func:`~.tape.fold_batch_norm`, or by the exporter).

    Args:
        source: the float file, of the network that ``scales`` belong to.
        path: the file to write; it appears whole or not at all.
        scales: see :func:`~.fake.choose_scales`.
        layers: quantise only these convolutions; by default all that the scheme names.
        integers: how activations are stored; ``uint8`` is the same numbers moved by 128. On x86, ONNX Runtime computes
            in integers with ``uint8`` only; TensorRT takes ``int8`` only.

    Returns:
        Where the file rounds.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: an unknown layer.
        ExportError: the file can't be read, is too old, or holds another network.
    """
    onnx = import_onnx("INT8 as ONNX")
    model = load_onnx(source, "INT8 as ONNX")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < LEAST_OPSET:
        raise ExportError(f"'{source}' has operator set {opset}; export it with {LEAST_OPSET} or later.")
    found = OnnxGraph(model)
    known = [name for name in scales.weights if name in found.graph.convolutions]
    if len(known) < len(scales.weights):
        missing = next(name for name in scales.weights if name not in found.graph.convolutions)
        raise ExportError(f"'{source}' has no convolution '{missing}': it is not the network that was calibrated.")
    plan = found.graph.plan(scales.scheme, layers)
    writer = _Writer(onnx, model, found, scales, plan, integers)
    writer.write()
    with atomic(path) as temporary:
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
        told = {"fieldsight.precision": "int8", "fieldsight.calibration": scales.pictures}
        stamp(temporary, {**told, "fieldsight.scheme": scales.scheme.to_dict()})
    return plan


def fused_operators(path: str | Path) -> Counter[str]:
    """How often ONNX Runtime runs each operator of a file once it has optimised it for this processor.

    ``QLinearConv`` counts the convolutions that are computed in integers, ``Conv`` and ``FusedConv`` those in float.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        ExportError: the file can't be loaded.
    """
    onnx, onnxruntime = import_onnx("Looking into INT8"), import_onnxruntime("Looking into INT8")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ExportError(f"ONNX Runtime can't load '{path}': {error}") from None
        return Counter(node.op_type for node in onnx.load(str(target)).graph.node)


class _Writer:
    """Puts the pairs into a graph."""

    def __init__(self, onnx: Any, model: Any, found: OnnxGraph, scales: Scales, plan: Plan, integers: Integers) -> None:
        self.onnx, self.body, self.found, self.scales, self.plan = onnx, model.graph, found, scales, plan
        self.integers = integers
        self.nodes: list[Any] = []
        self.made: dict[str, str] = {}  # value to its rounded form
        self.taken = {name for node in self.body.node for name in (*node.input, *node.output)} | set(found.constants)

    def write(self) -> None:
        """Rewrite the graph in place."""
        for index, node in enumerate(list(self.body.node)):
            number = self.found.number_of.get(index, -1)
            reads, writes = self.plan.reads.get(number, {}), self.plan.writes.get(number, {})
            before = list(node.input)
            for place, name in enumerate(before):
                if name in reads:
                    node.input[place] = self._rounded(name)
            op = self.found.graph.ops[number] if number >= 0 else None
            if op is not None and op.kind == "conv" and op.layer in self.plan.layers:
                self._convolution(node, self._grid(before[0]))
            raw = {place: name for place, name in enumerate(node.output) if name in writes}
            for place, name in raw.items():
                node.output[place] = self._fresh(f"{name}.float")
            self.nodes.append(node)
            for place, name in raw.items():
                self._pair(node.output[place], name, self._grid(name))
                self.made[name] = name
        del self.body.node[:]
        self.body.node.extend(self.nodes)
        self._drop_unused()

    def _grid(self, value: str) -> Grid:
        """The grid of a value, by any name that its group goes by."""
        group = self.found.graph.groups[self.found.graph.group_of[value]]
        for label in group.labels:
            if label in self.scales.labels:
                return self.scales.grids[self.scales.labels[label]]
        raise ExportError(f"No scale is known for the tensor '{value}': export this network anew and quantise again.")

    def _rounded(self, value: str) -> str:
        if value not in self.made:
            self.made[value] = self._fresh(f"{value}.int8")
            self._pair(value, self.made[value], self._grid(value))
        return self.made[value]

    def _pair(self, source: str, target: str, grid: Grid) -> None:
        shift, dtype = (128, np.uint8) if self.integers == "uint8" else (0, np.int8)
        scale = self._constant(f"{target}.scale", np.float32(grid.scale))
        zero = self._constant(f"{target}.zero", np.array(grid.zero_point + shift, dtype))
        middle = self._fresh(f"{target}.q")
        make = self.onnx.helper.make_node
        self.nodes.append(make("QuantizeLinear", [source, scale, zero], [middle], name=self._fresh(f"{target}.Q")))
        self.nodes.append(make("DequantizeLinear", [middle, scale, zero], [target], name=self._fresh(f"{target}.DQ")))

    def _convolution(self, node: Any, grid: Grid) -> None:
        weight = self._values(node.input[1])
        found = weight_scales(weight, self.scales.scheme.weights == "channel")
        per_channel = self.scales.scheme.weights == "channel"
        stored = quantize_weight(weight, found).to(torch.int8).numpy()
        if len(node.input) > 2 and node.input[2]:
            bias = quantize_bias(self._values(node.input[2]), grid, found).numpy().astype(np.int32)
            unit = (found * grid.scale).numpy()
            node.input[2] = self._integers(node.input[2], bias, unit if per_channel else unit[:1])
        node.input[1] = self._integers(node.input[1], stored, found.numpy() if per_channel else found.numpy()[:1])

    def _integers(self, name: str, values: Any, scales: Any) -> str:
        """A constant of integers with its DequantizeLinear: one scale, or one for each of the first axis."""
        target = self._fresh(f"{name}.int")
        stored = self._constant(f"{target}.q", values)
        single = len(scales) == 1 and values.shape[0] != 1
        scale = self._constant(f"{target}.scale", scales[0] if single else scales)
        zero = self._constant(f"{target}.zero", np.zeros(() if single else scales.shape, values.dtype))
        more = {} if single else {"axis": 0}
        name = self._fresh(f"{target}.DQ")
        self.nodes.append(
            self.onnx.helper.make_node("DequantizeLinear", [stored, scale, zero], [target], name=name, **more)
        )
        return target

    def _values(self, name: str) -> torch.Tensor:
        entry = self.found.constants.get(name)
        if entry is None:
            raise ExportError(f"'{name}' is no stored constant: export the network with its weights folded.")
        return torch.from_numpy(self.onnx.numpy_helper.to_array(entry).astype(np.float32))

    def _constant(self, name: str, values: Any) -> str:
        fresh = self._fresh(name)
        self.body.initializer.append(self.onnx.numpy_helper.from_array(np.asarray(values), fresh))
        return fresh

    def _fresh(self, name: str) -> str:
        found, number = name, 1
        while found in self.taken:
            number += 1
            found = f"{name}{number}"
        self.taken.add(found)
        return found

    def _drop_unused(self) -> None:
        used = {name for node in self.body.node for name in node.input} | {entry.name for entry in self.body.output}
        kept = [entry for entry in self.body.initializer if entry.name in used]
        del self.body.initializer[:]
        self.body.initializer.extend(kept)
        del self.body.value_info[:]  # shapes are inferred again; those of new tensors are not there
