"""What a network does, in integers: parameters, MACs, activation elements and KV elements per layer and in total.

Every way of counting (hooks, ONNX, transformer configs, tables) ends in one :class:`Counts`. The convention is
stated in every output, because half of the counters in use call a MAC a FLOP.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The convention of every number in this package.
CONVENTION = "1 MAC = multiply+add = 2 FLOPs"


@dataclass(frozen=True)
class Layer:
    """One operator kind in one place of a network; integers for one forward pass of the given inputs.

    Attributes:
        name: module path, node name or row name.
        kind: ``conv2d``, ``linear``, ``matmul``, ``attention``, ``lstm``, ``embedding``, ``batch_norm``, ...
        weights: parameter elements of two or more dimensions owned here (each tensor counted once).
        biases: parameter elements of one dimension or none owned here: biases, scales and shifts of norms.
        macs: multiply-accumulate operations.
        inputs: activation elements read by the counted operators, without weights.
        outputs: activation elements written by them.
        kv: elements of the key/value cache read per new token and sequence (R12); 0 outside decoders.
        calls: how often the operator ran.
        share: part of the weights that one sample or token touches: 1, or active/total experts.
    """

    name: str
    kind: str
    weights: int = 0
    biases: int = 0
    macs: int = 0
    inputs: int = 0
    outputs: int = 0
    kv: int = 0
    calls: int = 1
    share: float = 1.0

    @property
    def params(self) -> int:
        """All parameter elements: weights and biases."""
        return self.weights + self.biases

    @property
    def flops(self) -> int:
        """Two per MAC."""
        return 2 * self.macs

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**dataclasses.asdict(self), "params": self.params, "flops": self.flops}


@dataclass(frozen=True)
class Op:
    """An operator that is in the network but not in the MACs.

    Attributes:
        kind: its name.
        calls: how often it ran.
        inputs: elements of its largest input, summed over calls.
        outputs: elements of its first output, summed over calls.
        where: the place of its first call.
    """

    kind: str
    calls: int
    inputs: int
    outputs: int
    where: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PaperNumbers:
    """What the paper charges for a network per sample, where that differs from the true counts.

    Attributes:
        params: weights.
        macs: MACs.
        kv: KV elements per token.
        act_joules: activation energy in J, None where the paper reports none.
    """

    params: float
    macs: float
    kv: float = 0.0
    act_joules: float | None = None


@dataclass(frozen=True)
class Counts:
    """The counts of one network for one forward pass.

    Attributes:
        name: what was counted.
        source: ``torch``, ``onnx``, ``config``, ``table`` or ``csv``.
        layers: rows in order of execution; parameters that no operator touched come last.
        uncounted: operators that do arithmetic outside the MACs (elementwise, norms, pooling, softmax).
        unknown: operators that nobody here knows. They may do any amount of work: never silently zero.
        buffers: stored elements that are no parameters (running statistics of batch norms).
        samples: how many samples (images, sequences) the counted pass holds; energies are per sample.
        unit: what one sample is: ``sample``, ``image``, ``token``, ``prompt of 512 tokens``.
        paper: the paper's own numbers for this network, None where it has none.
        notes: what a reader must know, one sentence each.
    """

    name: str
    source: str
    layers: tuple[Layer, ...]
    uncounted: tuple[Op, ...] = ()
    unknown: tuple[Op, ...] = ()
    buffers: int = 0
    samples: int = 1
    unit: str = "sample"
    paper: PaperNumbers | None = None
    notes: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """Parameters, each tensor once (tied weights are one tensor)."""
        return sum(layer.params for layer in self.layers)

    @property
    def weights(self) -> int:
        """Parameters of two or more dimensions."""
        return sum(layer.weights for layer in self.layers)

    @property
    def biases(self) -> int:
        """Parameters of one dimension: biases, scales and shifts of norms."""
        return sum(layer.biases for layer in self.layers)

    @property
    def active_params(self) -> int:
        """Parameters that one sample or token touches; less than ``params`` with experts."""
        return round(sum(layer.params * layer.share for layer in self.layers))

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of the counted pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Two per MAC."""
        return 2 * self.macs

    @property
    def activations(self) -> int:
        """Elements written by operators that have MACs."""
        return sum(layer.outputs for layer in self.layers if layer.macs)

    @property
    def largest_activation(self) -> int:
        """Elements that the largest single operator reads and writes: what a buffer must hold at once."""
        return max((-(-(x.inputs + x.outputs) // max(x.calls, 1)) for x in self.layers if x.macs), default=0)

    @property
    def kv(self) -> int:
        """Elements of the key/value cache read per new token and sequence."""
        return sum(layer.kv for layer in self.layers)

    @property
    def macs_per_param(self) -> float:
        """MACs per parameter, NaN for a network without parameters."""
        return self.macs / self.params if self.params else math.nan

    @property
    def flops_per_param(self) -> float:
        """FLOPs per parameter at batch 1 (R7), NaN for a network without parameters."""
        return self.flops / self.params if self.params else math.nan

    def totals(self) -> dict[str, Any]:
        """Every total with the convention."""
        return {
            "convention": CONVENTION,
            "params": self.params,
            "weights": self.weights,
            "biases": self.biases,
            "active_params": self.active_params,
            "macs": self.macs,
            "flops": self.flops,
            "activations": self.activations,
            "kv": self.kv,
            "buffers": self.buffers,
            "samples": self.samples,
            "unit": self.unit,
            "uncounted": sum(op.calls for op in self.uncounted),
            "unknown": sum(op.calls for op in self.unknown),
        }

    def by_kind(self) -> dict[str, Layer]:
        """Rows merged by kind of operator, largest MACs first."""
        merged = _merge(self.layers, [layer.kind for layer in self.layers])
        return dict(sorted(merged.items(), key=lambda item: -item[1].macs))

    def groups(self, depth: int | None = None) -> list[str]:
        """The group of every layer: the first ``depth`` parts of its name (``layer1``, ``layer2``, ...).

        Args:
            depth: number of dotted name parts; by default the least that gives five groups.
        """
        names = [layer.name.split(".") for layer in self.layers]
        deepest = max(map(len, names), default=1)
        if depth is None:
            enough = (d for d in range(1, deepest) if len({tuple(n[:d]) for n in names}) >= 5)
            depth = next(enough, deepest)
        return [".".join(n[:depth]) for n in names]

    def by_group(self, depth: int | None = None) -> dict[str, Layer]:
        """Rows merged by their :meth:`groups`."""
        return _merge(self.layers, self.groups(depth))

    def to_dict(self) -> dict[str, Any]:
        """Plain values with the convention, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "totals": self.totals(),
            "layers": [layer.to_dict() for layer in self.layers],
            "uncounted": [op.to_dict() for op in self.uncounted],
            "unknown": [op.to_dict() for op in self.unknown],
            "notes": list(self.notes),
        }

    def warnings(self) -> list[str]:
        """Sentences about what the numbers leave out; empty when they are complete."""
        lines = list(self.notes)
        if self.unknown:
            listed = ", ".join(f"{op.kind} x{op.calls} (first at {op.where})" for op in self.unknown)
            lines.append(f"Unknown operators, not in the MACs: {listed}.")
        return lines


def _merge(layers: Sequence[Layer], keys: Sequence[str]) -> dict[str, Layer]:
    grouped: dict[str, list[Layer]] = {}
    for key, layer in zip(keys, layers, strict=True):
        grouped.setdefault(key, []).append(layer)
    return {key: _sum(key, rows) for key, rows in grouped.items()}


def _sum(name: str, rows: Sequence[Layer]) -> Layer:
    kinds = Counter(dict.fromkeys((row.kind for row in rows), 0))
    for row in rows:
        kinds[row.kind] += row.macs
    params = sum(row.params for row in rows)
    active = sum(row.params * row.share for row in rows)
    return Layer(
        name=name,
        kind=kinds.most_common(1)[0][0],
        weights=sum(r.weights for r in rows),
        biases=sum(r.biases for r in rows),
        macs=sum(r.macs for r in rows),
        inputs=sum(r.inputs for r in rows),
        outputs=sum(r.outputs for r in rows if r.macs),
        kv=sum(r.kv for r in rows),
        calls=sum(r.calls for r in rows),
        share=active / params if params else 1.0,
    )


def merge_ops(ops: Iterable[Op]) -> tuple[Op, ...]:
    """Add up operators of the same kind, most elements first."""
    merged: dict[str, Op] = {}
    for op in ops:
        old = merged.get(op.kind)
        merged[op.kind] = (
            op
            if old is None
            else Op(op.kind, old.calls + op.calls, old.inputs + op.inputs, old.outputs + op.outputs, old.where)
        )
    return tuple(sorted(merged.values(), key=lambda op: (-op.inputs, op.kind)))


# ------------------------------------------------------------------ formulas that torch and ONNX share


def conv_macs(outputs: int, weight: Sequence[int]) -> int:
    """MACs of a convolution: output elements times the products per output.

    Args:
        outputs: elements of the output, batch included.
        weight: kernel shape ``(out, in / groups, *kernel)``.
    """
    return outputs * math.prod(weight[1:])


def conv_transpose_macs(inputs: int, weight: Sequence[int]) -> int:
    """MACs of a transposed convolution: input elements times the outputs each one feeds.

    Args:
        inputs: elements of the input, batch included.
        weight: kernel shape ``(in, out / groups, *kernel)``.
    """
    return inputs * math.prod(weight[1:])


def matmul_macs(a: Sequence[int], b: Sequence[int]) -> int:
    """MACs of ``a @ b`` with numpy's rules: vectors, matrices and broadcast batches.

    Raises:
        ValueError: the shapes do not fit.
    """
    left, right = list(a), list(b)
    if len(left) == 1:
        left = [1, *left]
    if len(right) == 1:
        right = [*right, 1]
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise ValueError(f"can't multiply {tuple(a)} by {tuple(b)}")
    return math.prod(broadcast(left[:-2], right[:-2])) * left[-2] * left[-1] * right[-1]


def broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The common shape of two shapes under numpy's rules.

    Raises:
        ValueError: the shapes do not fit.
    """
    size = max(len(a), len(b))
    pairs = zip([1] * (size - len(a)) + list(a), [1] * (size - len(b)) + list(b), strict=True)
    result = []
    for x, y in pairs:
        if x != y and 1 not in (x, y):
            raise ValueError(f"can't broadcast {tuple(a)} with {tuple(b)}")
        result.append(y if x == 1 else x)
    return tuple(result)


def attention_macs(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> int:
    """MACs of ``softmax(Q K^T) V``, dense: a causal mask is not taken as a saving.

    Args:
        query: ``(..., heads, T, d)``.
        key: ``(..., kv_heads, S, d)``.
        value: ``(..., kv_heads, S, d_v)``.
    """
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def rnn_macs(rows: int, gates: int, inputs: int, hidden: int, layers: int, directions: int, proj: int = 0) -> int:
    """MACs of a recurrent network; products of gates with states are elementwise and not counted.

    Args:
        rows: time steps times batch (the sum of lengths for packed sequences).
        gates: 4 for LSTM, 3 for GRU, 1 for a plain RNN.
        inputs: input features.
        hidden: hidden features.
        layers: stacked layers.
        directions: 1, or 2 when bidirectional.
        proj: size of an LSTM's projected state, 0 without one.
    """
    state = proj or hidden
    total = 0
    for layer in range(layers):
        width = inputs if layer == 0 else state * directions
        total += gates * hidden * (width + state) + (hidden * proj if proj else 0)
    return rows * directions * total


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """MACs of an einsum, taken pair by pair from the left as written.

    An index that only one operand of a pair has, and that nothing needs later, is summed before the product. A
    pair without a contracted index is an elementwise product: no MACs.

    Raises:
        ValueError: the equation and the shapes do not fit.
    """
    terms, output = _einsum_terms(equation, shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=True):
            if sizes.get(index, 1) not in (1, size) and size != 1:
                raise ValueError(f"einsum '{equation}': index {index} has sizes {sizes[index]} and {size}")
            sizes[index] = max(size, sizes.get(index, 1))
    total = 0
    current = set(terms[0])
    for place, term in enumerate(terms[1:], start=1):
        later = set("".join(terms[place + 1 :])) | set(output)
        other = set(term)
        contracted = (current & other) - later
        used = (current & (other | later)) | (other & (current | later))
        if contracted:
            total += math.prod(sizes[i] for i in used)
        current = (current | other) & later
    return total


def _einsum_terms(equation: str, shapes: Sequence[Sequence[int]]) -> tuple[list[str], str]:
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum '{equation}' names {len(terms)} operands, got {len(shapes)}")
    # the dimensions of an ellipsis become private-use letters, aligned from the right
    letters = [chr(0xE000 + i) for i in range(max((len(s) for s in shapes), default=0))]
    wide = 0
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if "..." in term:
            extra = len(shape) - len(term.replace("...", ""))
            if extra < 0:
                raise ValueError(f"einsum '{equation}' does not fit the shape {tuple(shape)}")
            wide = max(wide, extra)
            terms[i] = term.replace("...", "".join(reversed(letters[:extra])))
        if len(terms[i]) != len(shape):
            raise ValueError(f"einsum '{equation}' does not fit the shape {tuple(shape)}")
    joined = "".join(terms)
    if arrow:
        output = output.replace("...", "".join(reversed(letters[:wide])))
    else:
        once = sorted(c for c in set(joined) if joined.count(c) == 1 and c < chr(0xE000))
        output = "".join(reversed(letters[:wide])) + "".join(once)
    if set(output) - set(joined):
        raise ValueError(f"einsum '{equation}' has an output index that no operand has")
    return terms, output


def from_rows(name: str, rows: Iterable[Mapping[str, Any]], source: str = "table") -> Counts:
    """Build counts from plain rows with the keys of :class:`Layer`; missing numbers are 0."""
    return Counts(name, source, tuple(Layer(**row) for row in rows))
