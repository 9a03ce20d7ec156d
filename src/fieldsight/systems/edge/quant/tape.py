"""Following a torch network call by call, whatever its code looks like: its operations as a graph, BN folded.

Tensors that come from the input carry a name; each torch function that is called with such a tensor is an operation.
Nothing is compiled, shapes stay free, and loops over branches are no obstacle; only the order of operations must be
the same on every call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fieldsight.errors import ConfigError, DataError
from fieldsight.nn.detection.blocks import folded
from fieldsight.systems.edge.quant.graph import Graph, Kind, Op

#: Largest difference that folding may make, as a share of the output's largest value.
FOLD_TOLERANCE = 1e-4

#: What the input is called.
SOURCE = "x"

_MARK = "_fieldsight_value"

_KINDS: dict[Kind, tuple[str, ...]] = {
    "norm": ("batch_norm",),
    "act": ("silu", "relu", "relu6", "leaky_relu", "hardswish", "hardtanh", "elu", "gelu", "mish", "prelu", "clamp"),
    "pass": (
        "max_pool2d", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "__getitem__", "narrow", "select",
        "view", "reshape", "flatten", "unflatten", "transpose", "permute", "contiguous", "squeeze", "unsqueeze",
        "expand", "clone", "detach", "movedim", "swapaxes", "pixel_shuffle", "pixel_unshuffle", "dropout", "T", "mT",
        "to", "float",
    ),
    "cat": ("cat", "concat", "concatenate", "stack"),
    "add": ("add", "__add__", "__radd__", "__iadd__"),
    "mul": ("mul", "multiply", "__mul__", "__rmul__", "__imul__"),
    "sigmoid": ("sigmoid",),
    "softmax": ("softmax",),
}  # fmt: skip
_KIND_OF: dict[str, Kind] = {name: kind for kind, names in _KINDS.items() for name in names}


class Follower(TorchFunctionMode):
    """Sees every torch function that reads a tensor derived from the input; :meth:`visit` says what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0
        self._own = object()  # tells its marks from those of an earlier call, or of another network

    def source(self, tensor: Tensor) -> Tensor:
        """The tensor as an input to follow; a view, so that the caller's own is not marked."""
        view = tensor.view_as(tensor)
        self.mark(view, SOURCE)
        return view

    def mark(self, tensor: Tensor, name: str) -> None:
        """Give a tensor its name."""
        setattr(tensor, _MARK, (self._own, name))

    def name_of(self, tensor: Any) -> str:
        """The name of a followed tensor, else an empty text."""
        own, name = getattr(tensor, _MARK, (None, ""))
        return name if own is self._own else ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        seen = [t for t in _tensors([*args, *kwargs.values()]) if self.name_of(t)]
        return self.visit(func, args, kwargs, seen) if seen else func(*args, **kwargs)

    def visit(self, func: Any, args: Any, kwargs: Any, seen: list[Tensor]) -> Any:
        """Take one call; by default it runs."""
        raise NotImplementedError


class _Recorder(Follower):
    """Writes down what is called."""

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()
        self.weights = weights
        self.ops: list[Op] = []

    def visit(self, func: Any, args: Any, kwargs: Any, seen: list[Tensor]) -> Any:
        names = tuple(self.name_of(t) for t in seen)
        result = func(*args, **kwargs)
        outputs = written(func, args, result)
        if not outputs:
            return result
        function = function_name(func)
        fresh = [f"v{self.values + n}" for n in range(len(outputs))]
        self.values += len(fresh)
        for tensor, name in zip(outputs, fresh, strict=True):
            self.mark(tensor, name)
        kind, layer = self._kind(function, args, kwargs, names)
        self.ops.append(Op(kind, function, names, tuple(fresh), layer))
        return result

    def _kind(self, function: str, args: Any, kwargs: Any, names: Sequence[str]) -> tuple[Kind, str]:
        if function in ("conv2d", "batch_norm"):
            # BN is found by its running mean: the weight may be absent
            key = kwargs.get("weight" if function == "conv2d" else "running_mean", args[1] if len(args) > 1 else None)
            layer = self.weights.get(id(key), "")
            known: Kind = "conv" if function == "conv2d" else "norm"
            return (known, layer) if layer and len(names) == 1 else ("other", "")
        if function in ("interpolate", "upsample"):
            mode = kwargs.get("mode", args[3] if len(args) > 3 else "nearest")
            return ("pass" if mode in ("nearest", "nearest-exact") else "other"), ""
        kind = _KIND_OF.get(function, "other")
        if (kind == "pass" and len(names) > 1) or (kind in ("add", "mul") and (len(names) < 2 or "alpha" in kwargs)):
            kind = "other"
        return kind, ""


@dataclass(frozen=True)
class Traced:
    """A network with BN folded, and what it does.

    Attributes:
        network: the folded copy, in evaluation mode, without gradients (``requires_grad_`` brings them back).
        graph: its operations.
        weights: layer to the qualified name of its module; shared layers have several names for one.
    """

    network: nn.Module
    graph: Graph
    weights: dict[str, str]

    def convolution(self, layer: str) -> nn.Conv2d:
        """The module of a layer."""
        module = self.network.get_submodule(self.weights[layer])
        assert isinstance(module, nn.Conv2d)
        return module


def trace(network: nn.Module, example: Tensor) -> Traced:
    """Fold the BN of a network's copy and write down its operations.

    Args:
        network: any module that takes a tensor and gives tensors, also nested in tuples and dicts; unchanged.
        example: its input, e.g. ``(1, 3, H, W)`` float32 in 0-1; other sizes may come later.

    Raises:
        ConfigError: a network without a convolution, or a failing call.
        DataError: folding changed the output by more than 1e-4 of its largest value.
    """
    copied = fold_batch_norm(network, example).requires_grad_(False)
    graph = _record(copied, example)
    if not graph.convolutions:
        raise ConfigError("The network calls no Conv2d module on its input: there is nothing to quantise.")
    return Traced(copied, graph, {layer: layer.split("#")[0] for layer in graph.convolutions})


def fold_batch_norm(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy in evaluation mode with each affine BN folded into the convolution whose only reader it is.

    By output channel (Jacob et al., arXiv:1712.05877, Eq. 14). Acceptance 7: the output changes by less than 1e-4.

    Raises:
        ConfigError: the call on the example fails.
        DataError: the outputs differ by more than 1e-4 of the largest.
    """
    copied = copy.deepcopy(network).eval()
    before = outputs_of(_call(copied, example))
    graph = _record(copied, example)
    layers = [op.layer for op in graph.ops if op.kind == "norm"]
    for op in graph.ops:
        if op.kind != "norm" or layers.count(op.layer) > 1 or len(graph.readers[op.inputs[0]]) > 1:
            continue
        above = graph.producer.get(op.inputs[0])
        layer = "" if above is None else graph.ops[above].layer
        if layer not in graph.convolutions or "#" in layer or f"{layer}#2" in graph.convolutions:
            continue
        if op.inputs[0] not in graph.results:
            conv, norm = copied.get_submodule(layer), copied.get_submodule(op.layer)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            if norm.affine:
                _replace(copied, layer, folded(conv, norm))
                _replace(copied, op.layer, nn.Identity())
    for old, new in zip(before, outputs_of(_call(copied, example)), strict=True):
        gap = float((old.double() - new.double()).abs().max()) if old.numel() else 0.0
        largest = max(1.0, float(old.double().abs().max())) if old.numel() else 1.0
        if not gap <= FOLD_TOLERANCE * largest:
            raise DataError(
                f"Folding BN changed an output by {gap:.3g}, of at most {largest:.3g}; {FOLD_TOLERANCE:g} of that is "
                "allowed. Its running variances may be near 0: train longer, or with larger batches."
            )
    return copied


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _record(network: nn.Module, example: Tensor) -> Graph:
    keys: dict[int, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            keys.setdefault(id(module.weight), name)
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            keys.setdefault(id(module.running_mean), name)
    recorder = _Recorder(keys)
    result = follow(network, recorder, example)
    return Graph.of(recorder.ops, [SOURCE], [v for t in outputs_of(result) if (v := recorder.name_of(t))])


def follow(network: nn.Module, follower: Follower, batch: Tensor) -> Any:
    """Call a network under a follower, without gradients."""
    return _call(network, follower.source(batch), follower)


def _call(network: nn.Module, batch: Tensor, follower: Follower | None = None) -> Any:
    with torch.no_grad():
        try:
            if follower is None:
                return network(batch)
            with follower:
                return network(batch)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"The network fails on an input {tuple(batch.shape)}: {error}") from error


def function_name(func: Any) -> str:
    """The name of a torch function without its in-place underscore; of a property, the property's."""
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        name = getattr(func.__self__, "__name__", name)
    return name if name.startswith("__") else name.rstrip("_")


def written(func: Any, args: Any, result: Any) -> list[Tensor]:
    """The tensors that a call made; assigning to a part of a tensor makes that tensor anew."""
    if function_name(func) == "__setitem__":
        return [args[0]]
    return list(_tensors([result]))


def outputs_of(result: Any) -> list[Tensor]:
    """The tensors of what a network gave, in order."""
    return list(_tensors([result]))


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from _tensors(value)
