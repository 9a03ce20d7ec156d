"""What is quantised where, decided on a list of operations that torch networks and ONNX files can be turned into.

Maximum pooling, nearest upsampling, splitting and reshaping only move values: what goes in and what comes out share a
scale. So do all inputs of a concatenation and its output, and hence everything joined by several of them. A scale
belongs to such a group of tensors; rounding happens where a quantised operation reads.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from fieldsight.errors import ConfigError, nearest
from fieldsight.systems.edge.quant.scheme import Scheme

#: ``pass`` moves values, ``inner`` is part of an activation function that the next operations make up.
Kind = Literal["conv", "norm", "act", "pass", "cat", "add", "mul", "sigmoid", "softmax", "inner", "other"]

_LONGEST = 300


@dataclass(frozen=True)
class Op:
    """An operation: kind, function, values read (of the data, not weights) and written, name of its layer."""

    kind: Kind
    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layer: str = ""


@dataclass(frozen=True)
class Group:
    """Tensors that share a scale.

    Attributes:
        key: name of the group, the label of its first producer.
        labels: names that both forms of a network give it: ``x.in`` is what layer ``x`` reads, ``x`` what it writes,
            ``x.act`` that after the activation function.
        producers: values to observe; what only moves values is left out.
    """

    key: str
    labels: tuple[str, ...]
    producers: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Where a network is rounded to 8 bits.

    Attributes:
        layers: quantised convolutions.
        reads: for an operation's number, values that it reads rounded, with the key of their group. What only moves
            values to rounded readers is there for a file's sake; it makes no difference to any number.
        writes: the same for values that it writes rounded, for all readers.
    """

    layers: frozenset[str]
    reads: Mapping[int, Mapping[str, str]]
    writes: Mapping[int, Mapping[str, str]]

    @property
    def keys(self) -> frozenset[str]:
        """Groups that need a scale."""
        return frozenset(k for part in (self.reads, self.writes) for found in part.values() for k in found.values())


@dataclass(frozen=True)
class Graph:
    """Operations in the order in which they run, with the values that come in and go out."""

    ops: tuple[Op, ...]
    sources: tuple[str, ...]
    results: tuple[str, ...]
    _memory: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, ops: Sequence[Op], sources: Sequence[str], results: Sequence[str]) -> Graph:
        """From operations as found; ``x * sigmoid(x)`` becomes an activation function, uses of a layer get numbers."""
        return cls(tuple(_named(_with_silu(ops))), tuple(sources), tuple(results))

    # ------------------------------------------------------------------------------------------------- who and where

    @cached_property
    def producer(self) -> dict[str, int]:
        """Value to the number of the operation that writes it."""
        return {value: n for n, op in enumerate(self.ops) for value in op.outputs}

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Value to the numbers of the operations that read it."""
        found = defaultdict[str, list[int]](list)
        for number, op in enumerate(self.ops):
            for value in dict.fromkeys(op.inputs):
                found[value].append(number)
        return dict(found)

    @cached_property
    def convolutions(self) -> dict[str, int]:
        """Layer to the number of its operation, in order."""
        return {op.layer: n for n, op in enumerate(self.ops) if op.kind == "conv"}

    @cached_property
    def origins(self) -> dict[str, frozenset[str]]:
        """Value to the layers it comes from without another convolution between."""
        found: dict[str, frozenset[str]] = dict.fromkeys(self.sources, frozenset())
        for op in self.ops:
            read = frozenset[str]().union(*(found[value] for value in op.inputs))
            found |= dict.fromkeys(op.outputs, frozenset({op.layer}) if op.kind == "conv" else read)
        return found

    @cached_property
    def tail(self) -> frozenset[int]:
        """Operations from the last convolutions on.

        A convolution that reads a softmax is DFL's sum over bins: it belongs to the decoding, and the last convolutions
        are those before it.
        """
        found: set[int] = set()
        waiting = [self.producer[v] for v in self.results if v in self.producer]
        while waiting:
            number = waiting.pop()
            if number in found:
                continue
            found.add(number)
            if self.ops[number].kind != "conv" or self.reads_softmax(number):
                waiting += [self.producer[v] for v in self.ops[number].inputs if v in self.producer]
        return frozenset(found)

    @property
    def head(self) -> tuple[str, ...]:
        """The last convolutions, DFL's included."""
        return tuple(layer for layer, number in self.convolutions.items() if number in self.tail)

    def reads_softmax(self, number: int) -> bool:
        """Whether a softmax lies between an operation and the convolutions before it."""
        waiting, seen = list(self.ops[number].inputs), set[int]()
        while waiting:
            above = self.producer.get(waiting.pop())
            if above is None or above in seen or self.ops[above].kind == "conv":
                continue
            if self.ops[above].kind == "softmax":
                return True
            seen.add(above)
            waiting += self.ops[above].inputs
        return False

    # ------------------------------------------------------------------------------------------------------- groups

    @cached_property
    def group_of(self) -> dict[str, str]:
        """Value to the key of its group."""
        parent: dict[str, str] = {}

        def root(value: str) -> str:
            while parent.setdefault(value, value) != value:
                value = parent[value]
            return value

        order = [*self.sources, *(value for op in self.ops for value in op.outputs)]
        rank = {value: n for n, value in enumerate(order)}
        for op in self.ops:
            if op.kind == "pass" or (op.kind == "cat" and any(self._leads(v) for v in op.outputs)):
                for value in (*op.inputs, *op.outputs):
                    first, second = sorted((root(value), root(op.inputs[0])), key=rank.__getitem__)
                    parent[second] = first
        return {value: self.label[root(value)] for value in order}

    @cached_property
    def label(self) -> dict[str, str]:
        """Value to a name that does not depend on the form of the network."""
        found = {value: "input" if n == 0 else f"input.{n}" for n, value in enumerate(self.sources)}
        for op in self.ops:
            first = found[op.inputs[0]]
            name = {
                "conv": op.layer, "act": f"{first}.act", "pass": first, "cat": first,
                "add": f"add({','.join(found[v] for v in op.inputs)})",
                "softmax": f"softmax({first})", "sigmoid": f"sigmoid({first})",
            }.get(op.kind, f"{op.function}({','.join(found[v] for v in op.inputs)})")  # fmt: skip
            if len(name) > _LONGEST:  # names of long chains without a convolution would double at each branch
                name = f"{op.function}:{hashlib.sha256(name.encode()).hexdigest()[:16]}"
            found |= dict.fromkeys(op.outputs, name)
        return found

    @cached_property
    def groups(self) -> dict[str, Group]:
        """All groups that a scheme may need a scale for, by key."""
        labels, producers = defaultdict[str, dict[str, None]](dict), defaultdict[str, list[str]](list)
        moved = {v for op in self.ops if op.kind in ("pass", "cat") for v in op.outputs if self._is_moved(op, v)}
        for value, key in self.group_of.items():
            labels[key][self.label[value]] = None
            if value not in moved:
                producers[key].append(value)
        needed: set[str] = set()
        for number, op in enumerate(self.ops):
            if op.kind == "conv":
                labels[self.group_of[op.inputs[0]]][f"{op.layer}.in"] = None
            if op.kind == "conv" or (op.kind == "add" and self.joins(number)):
                needed |= {self.group_of[v] for v in (*op.inputs, *op.outputs)}
            if op.kind in ("softmax", "sigmoid") and number in self.tail:
                needed |= {self.group_of[v] for v in (*op.inputs, *op.outputs)}
        return {k: Group(k, tuple(labels[k]), tuple(producers[k])) for k in producers if k in needed}

    def _is_moved(self, op: Op, value: str) -> bool:
        return bool(op.inputs) and self.group_of[value] == self.group_of[op.inputs[0]]

    def joins(self, number: int) -> bool:
        """Whether an addition joins tensors that could be of 8 bits (a residual), and is no arithmetic of boxes."""
        return all(self._is_feature(value) for value in self.ops[number].inputs)

    def _is_feature(self, value: str) -> bool:
        known = self._memory.get(f"feature {value}")
        if known is None:
            above = self.producer.get(value)
            if above is None:
                known = True
            else:
                kind = self.ops[above].kind
                moves = kind in ("pass", "cat", "add")
                known = kind in ("conv", "act") if not moves else all(map(self._is_feature, self.ops[above].inputs))
                known = known and above not in self.tail
            self._memory[f"feature {value}"] = known
        return known

    def _leads(self, value: str) -> bool:
        """Whether a value is read, moved or not, by something that has a form in 8 bits."""
        known = self._memory.get(f"leads {value}")
        if known is None:
            ops = [self.ops[n] for n in self.readers.get(value, ())]
            known = any(op.kind in ("conv", "add", "softmax", "sigmoid") for op in ops)
            known = known or any(self._leads(v) for op in ops if op.kind in ("pass", "cat") for v in op.outputs)
            self._memory[f"leads {value}"] = known
        return known

    # --------------------------------------------------------------------------------------------------------- plan

    def quantised_layers(self, scheme: Scheme) -> tuple[str, ...]:
        """Convolutions that a scheme quantises, in order.

        Raises:
            ConfigError: a pattern of ``keep_float`` that fits no layer.
        """
        names = tuple(self.convolutions)
        for pattern in scheme.keep_float:
            if not fnmatch.filter(names, pattern):
                hint = nearest(pattern, names)
                raise ConfigError(f"keep_float: no layer fits '{pattern}'.{hint} Layers: {', '.join(names)}.")
        kept = {n for pattern in scheme.keep_float for n in fnmatch.filter(names, pattern)}
        kept |= set(self.head) if scheme.head_float else set()
        return tuple(name for name in names if name not in kept)

    def plan(self, scheme: Scheme, layers: Collection[str] | None = None) -> Plan:
        """Where to round.

        Args:
            scheme: the options.
            layers: quantise these convolutions only; by default all that the scheme names.

        Raises:
            ConfigError: an unknown layer.
        """
        chosen = frozenset(self.quantised_layers(scheme) if layers is None else layers)
        unknown = sorted(chosen - set(self.convolutions))
        if unknown:
            raise ConfigError(f"There is no layer '{unknown[0]}'. Layers: {', '.join(self.convolutions)}.")
        rounded = self._rounded(chosen)
        reads = {n: {v: self.group_of[v] for v in self.ops[n].inputs} for n in sorted(rounded)}
        writes = {n: {v: self.group_of[v] for v in self.ops[n].outputs} for n in self._writers(scheme, chosen)}
        return Plan(chosen, reads, writes)

    def _rounded(self, layers: frozenset[str]) -> set[int]:
        """Operations that read rounded values.

        Convolutions; residuals between quantised ones that lead to a quantised one; and what only moves values to
        these and to nothing else, where rounding before or after is the same.
        """
        found: set[int] = set()
        leads: set[str] = set()  # values that something rounded reads, moved or not
        for number in range(len(self.ops) - 1, -1, -1):
            op = self.ops[number]
            readers = [n for value in op.outputs for n in self.readers.get(value, ())]
            used = not leads.isdisjoint(op.outputs)
            if op.kind in ("pass", "cat"):
                if used and self._is_moved(op, op.outputs[0]):
                    leads.update(op.inputs)
                    if found.issuperset(readers) and not set(op.outputs) & set(self.results):
                        found.add(number)
                continue
            origins = frozenset[str]().union(*(self.origins[v] for v in op.inputs))
            residual = op.kind == "add" and used and origins <= layers and self.joins(number)
            if residual or (op.kind == "conv" and op.layer in layers):
                found.add(number)
                leads.update(op.inputs)
        return found

    def _writers(self, scheme: Scheme, layers: frozenset[str]) -> Iterator[int]:
        for number, op in enumerate(self.ops):
            if op.kind == "conv" and op.layer in layers:
                if scheme.engine == "onnxruntime" or number in self.tail:
                    yield number
            elif op.kind in ("softmax", "sigmoid") and number in self.tail:
                origins = frozenset[str]().union(*(self.origins[v] for v in op.inputs))
                if origins and origins <= layers:
                    yield number


def _with_silu(ops: Sequence[Op]) -> list[Op]:
    """Write ``x * sigmoid(x)`` as one activation function."""
    found = list(ops)
    sigmoids = {op.outputs[0]: n for n, op in enumerate(ops) if op.kind == "sigmoid"}
    uses = defaultdict[str, int](int)
    for op in ops:
        for value in op.inputs:
            uses[value] += 1
    for number, op in enumerate(ops):
        for gate in op.inputs if op.kind == "mul" and len(op.inputs) == 2 else ():
            at = sigmoids.get(gate)
            if at is not None and uses[gate] == 1 and set(op.inputs) == {gate, ops[at].inputs[0]}:
                found[at] = replace(ops[at], kind="inner")
                found[number] = replace(op, kind="act", inputs=ops[at].inputs)
    return found


def _named(ops: Sequence[Op]) -> Iterator[Op]:
    """A layer that is used again is called ``name#2``."""
    uses = defaultdict[str, int](int)
    for op in ops:
        uses[op.layer] += 1
        again = op.kind == "conv" and uses[op.layer] > 1
        yield replace(op, layer=f"{op.layer}#{uses[op.layer]}") if again else op
