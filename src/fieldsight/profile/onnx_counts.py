"""Counting an ONNX file from its shapes alone; the weights may be absent.

Initialisers, constants and shape inference give every shape; :mod:`fieldsight.profile.onnx_ops` gives the MACs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError, FieldsightError, MissingExtraError, unknown
from fieldsight.profile.counts import Counts, Layer, Op, merge_ops
from fieldsight.profile.onnx_ops import (
    FOLDED,
    FREE,
    MACS,
    MICROSOFT,
    OPAQUE,
    STATISTICS,
    MissingShapeError,
    Node,
    NotCountedError,
    Size,
)

_LARGE = 1024  # elements above which an initialiser is no shape or index and may lose its data for inference
# element types that weights have: floats of 64 to 4 bits, integers of 8, 4 and 2 bits
_WEIGHTS = {1, 10, 11, 16, 17, 18, 19, 20, 23, 2, 3, 21, 22, 25, 26}


def count_onnx(
    model: str | Path | Any,
    shapes: Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None = None,
    *,
    name: str = "",
) -> Counts:
    """Count the parameters, MACs and activations of an ONNX model.

    Args:
        model: a file, or a loaded ``onnx.ModelProto`` (which is not changed). Weights kept in other files need not be
            there.
        shapes: shapes for inputs whose own shape is dynamic, missing or not the wanted one: ``{"input": (1, 3, 224,
            224)}``; or a list of shapes in the order of the inputs.
        name: name in tables, by default the file's or the graph's.

    Returns:
        Counts of one pass. ``unknown`` lists operators that no formula covers. Of an If the dearer branch counts, of
        a Loop or Scan the body once; ``notes`` say so.

    Raises:
        MissingExtraError: the package onnx is not installed.
        DataError: the file is absent, empty, truncated or no ONNX; an input's shape is dynamic and not given; a shape
            that a formula needs can't be found. The message names file and tensor and the way out.
    """
    onnx = _onnx()
    where = str(model) if isinstance(model, (str, Path)) else name or getattr(model, "name", "") or "the ONNX model"
    proto = _load(onnx, Path(model)) if isinstance(model, (str, Path)) else model
    if not isinstance(proto, onnx.ModelProto):
        raise DataError(f"Can't count {type(model).__name__!r}: give an ONNX file or an onnx.ModelProto.")
    if not proto.graph.node:
        raise DataError(f"'{where}' holds no graph: it is empty, or no ONNX model. Export it again.")
    title = name or (Path(model).stem if isinstance(model, (str, Path)) else proto.graph.name or "onnx")
    try:
        return _Reader(onnx, proto, where, shapes if isinstance(shapes, Mapping) else list(shapes or ())).counts(title)
    except FieldsightError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise DataError(
            f"'{where}' is malformed: {type(error).__name__}: {reason}. Check it with onnx.checker, or export it again."
        ) from error


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "Reading ONNX files") from None
    return onnx


def _load(onnx: Any, path: Path) -> Any:
    try:
        size = path.stat().st_size
        if path.is_dir() or size == 0:
            raise DataError(f"'{path}' is {'a folder' if path.is_dir() else 'empty'}. Give an ONNX file.")
        return onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise DataError(f"Can't read '{path}': {error.strerror or error}. Give an ONNX file.") from None
    except FieldsightError:
        raise
    except Exception as error:  # protobuf's DecodeError, which moved between versions
        raise DataError(
            f"'{path}' is truncated, damaged or no ONNX file ({type(error).__name__}). Copy or export it again."
        ) from None


class _Reader:
    """One model: shapes first, then a walk over the nodes."""

    def __init__(
        self, onnx: Any, proto: Any, where: str, shapes: Mapping[str, Sequence[int]] | list[Sequence[int]]
    ) -> None:
        self.onnx, self.where = onnx, where
        self.notes: list[str] = []
        self.constants: dict[str, tuple[Size, int]] = {}  # parameter tensors: shape and element type
        self.folded: dict[str, frozenset[str]] = {}  # tensors made of constants alone: which
        self.sizes: dict[str, Size] = {}
        self.owned: set[str] = set()
        self.buffers = 0
        if proto.functions:
            from onnx import inliner

            proto = inliner.inline_local_functions(proto)
        self.graph = self._infer(proto, shapes)

    # ------------------------------------------------------------------------------------------ shapes

    def _infer(self, proto: Any, shapes: Mapping[str, Sequence[int]] | list[Sequence[int]]) -> Any:
        """The graph with inferred shapes, without the bulk of its weights."""
        onnx, graph = self.onnx, proto.graph
        for tensor in graph.initializer:
            self._constant(tensor.name, tuple(tensor.dims), tensor.data_type)
        for sparse in graph.sparse_initializer:
            self._constant(sparse.values.name, tuple(sparse.dims), sparse.values.data_type)
        self.inputs = [i for i in graph.input if i.name not in self.constants]
        if not isinstance(shapes, Mapping):
            if len(shapes) > len(self.inputs):
                names = ", ".join(i.name for i in self.inputs)
                raise DataError(f"'{self.where}': {len(shapes)} shapes for {len(self.inputs)} inputs: {names}.")
            shapes = {i.name: shape for i, shape in zip(self.inputs, shapes, strict=False)}
        light = onnx.ModelProto()
        light.ir_version = proto.ir_version
        light.opset_import.extend(proto.opset_import)
        light.graph.name = graph.name or "graph"
        light.graph.node.extend(graph.node)
        known = {i.name for i in graph.input}
        for tensor in graph.initializer:
            kept = math.prod(tensor.dims) <= _LARGE and tensor.data_location != onnx.TensorProto.EXTERNAL
            if kept:
                light.graph.initializer.append(tensor)
            elif tensor.name not in known:
                light.graph.input.append(
                    onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
                )
        light.graph.input.extend(graph.input)
        light.graph.output.extend(onnx.ValueInfoProto(name=o.name) for o in graph.output)
        self._fix_inputs(light.graph, shapes)
        if not shapes:  # what was written down for other shapes would contradict the new ones
            light.graph.value_info.extend(graph.value_info)
        inferred = self._inferred(light)
        self._collect(inferred.graph)
        if not shapes:
            self._collect(graph)
        return inferred.graph

    def _inferred(self, light: Any) -> Any:
        for data_prop in (True, False):
            try:
                return self.onnx.shape_inference.infer_shapes(light, data_prop=data_prop)
            except Exception as error:
                reason = str(error).strip().split("\n")[0][:200]
        raise DataError(f"'{self.where}': shape inference failed: {reason}. Check the file with onnx.checker.")

    def _fix_inputs(self, graph: Any, shapes: Mapping[str, Sequence[int]]) -> None:
        names = [i.name for i in self.inputs]
        for key in shapes:
            if key not in names:
                raise DataError(f"'{self.where}': {unknown('input', key, names)}")
        for value in graph.input:
            if value.name not in names or not value.type.HasField("tensor_type"):
                continue
            tensor = value.type.tensor_type
            dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
            wanted: tuple[Any, ...] | None = tuple(shapes[value.name]) if value.name in shapes else None
            example = ",".join(str(d) if isinstance(d, int) and d > 0 else "1" for d in dims) or "1,3,224,224"
            if wanted is not None:
                if any(not isinstance(d, int) or d < 1 for d in wanted):
                    raise DataError(f"The shape of '{value.name}' must hold positive whole numbers, got {wanted}.")
                if tensor.HasField("shape") and len(wanted) != len(dims):
                    raise DataError(
                        f"'{self.where}': input '{value.name}' has {len(dims)} dimensions {_shown(dims)}, but the "
                        f"shape given has {len(wanted)}: {_shown(wanted)}."
                    )
                tensor.shape.ClearField("dim")
                for d in wanted:
                    tensor.shape.dim.add().dim_value = d
            elif not tensor.HasField("shape") or any(not isinstance(d, int) or d < 1 for d in dims):
                told = f"the dynamic shape {_shown(dims)}" if tensor.HasField("shape") else "no shape"
                raise DataError(
                    f"'{self.where}': input '{value.name}' has {told}. Say which one to count: "
                    f'shapes={{"{value.name}": ({example.replace(",", ", ")})}} or --shape {value.name}={example}.'
                )

    def _collect(self, graph: Any) -> None:
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            if tensor.HasField("shape"):
                dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
                if min(dims, default=0) >= 0:
                    self.sizes.setdefault(value.name, tuple(dims))

    def _constant(self, name: str, dims: Size, kind: int) -> None:
        self.sizes[name] = dims
        self.folded[name] = frozenset({name})
        self.constants[name] = (dims, kind)

    # -------------------------------------------------------------------------------------------- walk

    def counts(self, title: str) -> Counts:
        """All rows of the graph."""
        layers, ops = self._walk(self.graph, "")
        first = next((self.sizes[i.name] for i in self.inputs if i.name in self.sizes), ())
        unused = [n for n in self.constants if n not in self.owned and self._is_weight(n, "")]
        if unused:
            count = sum(math.prod(self.constants[n][0]) for n in unused)
            self.notes.append(f"{count:,} stored elements are used by no operator.")
        return Counts(
            title,
            "onnx",
            tuple(layers),
            merge_ops(op for role, op in ops if role == "arithmetic"),
            merge_ops(op for role, op in ops if role == "unknown"),
            buffers=self.buffers,
            samples=first[0] if first else 1,
            notes=tuple(self.notes),
        )

    def _walk(self, graph: Any, prefix: str) -> tuple[list[Layer], list[tuple[str, Op]]]:
        layers: list[Layer] = []
        ops: list[tuple[str, Op]] = []
        for index, proto in enumerate(graph.node):
            op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
            label = prefix + (proto.name or next(filter(None, proto.output), "") or f"{op}_{index}")
            node = self._node(op, proto)
            self._fold(op, node, proto)
            if op in ("If", "Loop", "Scan"):
                more, inner = self._bodies(op, proto, label)
                layers += more
                ops += inner
                continue
            role = _role(self.onnx, op, proto.domain)
            weights, biases = self._parameters(op, node, claim=op not in FOLDED)
            if op in MACS:
                row = self._counted(op, node, label, weights, biases)
                if row is not None:
                    layers.append(row)
                    continue
                role = "unknown"
            if role != "free" and not (op in FOLDED and node.outputs[0] in self.folded):
                ops.append((role, self._op(op, node, label)))
            if weights or biases:
                kind = "embedding" if op == "Gather" else _snake(op)
                layers.append(Layer(_dotted(label), kind, weights, biases, calls=0))
        return layers, ops

    def _node(self, op: str, proto: Any) -> Node:
        attributes = {
            a.name: self.onnx.helper.get_attribute_value(a) for a in proto.attribute if a.type in (1, 2, 3, 7)
        }
        plain = {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in attributes.items()}
        return Node(op, list(proto.input), list(proto.output), plain, self.sizes)

    def _fold(self, op: str, node: Node, proto: Any) -> None:
        """Follow constants through the operators that only move them."""
        if op == "Constant":
            for attribute in proto.attribute:
                if attribute.name == "value":
                    tensor = attribute.t
                    self._constant(node.outputs[0], tuple(tensor.dims), tensor.data_type)
                elif attribute.name == "sparse_value":
                    sparse = attribute.sparse_tensor
                    self._constant(node.outputs[0], tuple(sparse.dims), sparse.values.data_type)
                else:
                    self.folded[node.outputs[0]] = frozenset()
        elif op == "ConstantOfShape":
            if node.inputs[0] in self.folded and node.outputs[0] in self.sizes:
                kind = next((a.t.data_type for a in proto.attribute if a.name == "value"), 1)
                self._constant(node.outputs[0], self.sizes[node.outputs[0]], kind)
        elif op in FOLDED and node.inputs and all(i in self.folded for i in node.inputs if i):
            made = node.inputs[:1] if op in ("Reshape", "Expand", "Slice", "DequantizeLinear") else node.inputs
            sources = frozenset().union(*(self.folded[i] for i in made if i))
            self.folded.update(dict.fromkeys(node.outputs, sources))

    def _is_weight(self, name: str, op: str) -> bool:
        dims, kind = self.constants[name]
        learned = op in MACS or op.endswith("Normalization")  # elsewhere a single number is a constant, not a parameter
        return kind in _WEIGHTS and math.prod(dims) > (0 if learned else 1)

    def _parameters(self, op: str, node: Node, claim: bool) -> tuple[int, int]:
        """Weight and bias elements that this operator is the first to use; its statistics go to the buffers."""
        weights = biases = 0
        if not claim:
            for place in STATISTICS.get(op, ()):
                self._buffer(node, place)
            return 0, 0
        for place, name in enumerate(node.inputs):
            if place in STATISTICS.get(op, ()):
                self._buffer(node, place)
                continue
            for source in sorted(self.folded.get(name, ())):
                dims, kind = self.constants[source]
                quantised_bias = kind == 6 and op in MACS
                if source in self.owned or not (self._is_weight(source, op) or quantised_bias):
                    continue
                self.owned.add(source)
                if sum(d > 1 for d in dims) > 1 or (len(dims) > 1 and op in MACS):
                    weights += math.prod(dims)
                else:
                    biases += math.prod(dims)
        return weights, biases

    def _buffer(self, node: Node, place: int) -> None:
        if node.given(place):
            for source in self.folded.get(node.inputs[place], frozenset()) - self.owned:
                self.owned.add(source)
                self.buffers += math.prod(self.constants[source][0])

    def _counted(self, op: str, node: Node, label: str, weights: int, biases: int) -> Layer | None:
        kind, formula, reads = MACS[op]
        try:
            macs = formula(node)
            written = math.prod(node.out())
            taken = [node.inputs[i] for i in reads if node.given(i) and node.inputs[i] not in self.folded]
            read = sum(math.prod(node._known(n)) for n in taken)
            if kind in ("conv", "conv_transpose", "deform_conv"):
                kind += f"{len(node.out()) - 2}d"
        except MissingShapeError as error:
            raise DataError(
                f"'{self.where}': the tensor '{error.args[0]}' at {op} '{label}' has no known shape, so its MACs "
                f"can't be counted. Give every input a fixed shape (shapes={{...}} or --shape "
                f"{self._first_input()}=1,...), or export the model with static shapes."
            ) from None
        except NotCountedError as error:
            self.notes.append(f"{op} '{label}' is not counted: {error.args[0]}.")
            return None
        if kind == "matmul" and (node.inputs[1] in self.folded or weights):
            kind = "linear"
        return Layer(_dotted(label), kind, weights, biases, macs, read, written)

    def _first_input(self) -> str:
        return self.inputs[0].name if self.inputs else "input"

    def _op(self, op: str, node: Node, label: str) -> Op:
        sizes = [math.prod(self.sizes[n]) for n in node.inputs if n in self.sizes and n not in self.folded]
        outputs = [math.prod(self.sizes[n]) for n in node.outputs[:1] if n in self.sizes]
        if not outputs:
            note = f"{op} '{label}' has an output without a known shape; its elements are not in the table."
            self.notes.append(note)
        return Op(_snake(op), 1, max(sizes, default=0), sum(outputs), label)

    def _bodies(self, op: str, proto: Any, label: str) -> tuple[list[Layer], list[tuple[str, Op]]]:
        """Rows of the graphs inside If (the dearer branch), Loop and Scan (once, or times a constant trip count)."""
        found = []
        for attribute in proto.attribute:
            if attribute.type == 5:
                self._collect(attribute.g)
                for tensor in attribute.g.initializer:
                    self._constant(tensor.name, tuple(tensor.dims), tensor.data_type)
                try:
                    found.append((attribute.name, *self._walk(attribute.g, f"{label}.{attribute.name}.")))
                except DataError as error:
                    self.notes.append(f"The body of {op} '{label}' is not counted: {error}")
                    return [], [("unknown", Op(_snake(op), 1, 0, 0, label))]
        if op == "If" and found:
            found.sort(key=lambda body: -sum(layer.macs for layer in body[1]))
            self.notes.append(f"If '{label}': only its dearer branch, {found[0][0]}, is counted.")
            found = found[:1]
        elif found:
            self.notes.append(f"{op} '{label}': its body is counted once; multiply by the number of iterations.")
        return [x for body in found for x in body[1]], [x for body in found for x in body[2]]


def _role(onnx: Any, op: str, domain: str) -> str:
    if op in FREE:
        return "free"
    if domain in ("", "ai.onnx"):
        return "arithmetic" if onnx.defs.has(op) and op not in OPAQUE else "unknown"
    known = domain == "com.microsoft" and op.removeprefix("com.microsoft.") in MICROSOFT
    return "arithmetic" if known else "unknown"


def _snake(op: str) -> str:
    """``BatchNormalization`` as ``batch_norm``, ``Relu`` as ``relu``; foreign operators keep their full name."""
    if "." in op:
        return op
    known = {
        "BatchNormalization": "batch_norm",
        "LayerNormalization": "layer_norm",
        "MaxPool": "max_pool",
        "LRN": "lrn",
    }
    return known.get(op) or "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(op))


def _dotted(label: str) -> str:
    return label.strip("/").replace("/", ".")


def _shown(dims: Iterable[Any]) -> str:
    return "(" + ", ".join(str(d) for d in dims) + ")"
