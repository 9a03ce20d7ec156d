"""Simulated INT8 in torch, exact to the integer: every quantised convolution sums integers.

A convolution of integers of 8 bits, held as float32, is exact while all its sums stay below 2^24, since float32 has
every integer up to there; where a layer's weights allow more, it is computed in float64. So the simulation and an
integer engine agree to the last bit (:mod:`fieldsight.systems.edge.quant.integer`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.data.files import read_json, write_json
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge.quant.grid import Grid, fake_quantize, quantize_weight, weight_scales
from fieldsight.systems.edge.quant.observers import Histogram, choose_grid, clipped_share
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quant.tape import SOURCE, Follower, Traced, follow, function_name, written

#: float32 holds every integer up to here.
EXACT = 2**24

_INT32 = 2**31 - 1
_FORMAT = 1


@dataclass(frozen=True)
class Seen:
    """What calibration met: a histogram for each group of tensors, good for every scheme.

    Attributes:
        histograms: by the group's key.
        pictures: number of inputs.
    """

    histograms: dict[str, Histogram]
    pictures: int


class _Watcher(Follower):
    def __init__(self, traced: Traced, values: Mapping[str, Histogram]) -> None:
        super().__init__()
        self.ops, self.histograms = traced.graph.ops, values

    def visit(self, func: Any, args: Any, kwargs: Any, seen: list[Tensor]) -> Any:
        result = func(*args, **kwargs)
        outputs = written(func, args, result)
        if outputs:
            op = _next(self.ops, self.values, func)
            self.values += 1
            for tensor, name in zip(outputs, op.outputs, strict=True):
                self.mark(tensor, name)
                if name in self.histograms:
                    self.histograms[name].update(tensor)
        return result


def observe(traced: Traced, batches: Iterable[Tensor]) -> Seen:
    """Run the float network over calibration pictures and count its activations.

    Args:
        traced: the network.
        batches: inputs ``(N, 3, H, W)`` float32 as the network takes them.

    Raises:
        DataError: no input, or activations that are not finite.
    """
    groups = traced.graph.groups
    histograms = {key: Histogram() for key in groups}
    values = {value: histograms[key] for key, group in groups.items() for value in group.producers}
    count = 0
    for batch in progress.track(batches, "calibrating"):
        if SOURCE in values:
            values[SOURCE].update(batch)
        follow(traced.network, _Watcher(traced, values), batch)
        count += len(batch)
    if not count:
        raise DataError("There is no calibration picture. Give a folder of some 300 training pictures.")
    return Seen(histograms, count)


@dataclass(frozen=True)
class Scales:
    """The grids of a network's activations and the scales of its weights.

    Attributes:
        scheme: how they were found.
        grids: by the key of the group of tensors.
        labels: the group's key by every name that the tensors go by; see :class:`~.graph.Group`.
        weights: ``(O,)`` scales by layer, for the reader of the file.
        clipped: share of the calibration's values that a grid cuts off, by key.
        pictures: how many calibrated.
    """

    scheme: Scheme
    grids: dict[str, Grid]
    labels: dict[str, str]
    weights: dict[str, list[float]]
    clipped: dict[str, float]
    pictures: int

    def save(self, path: str | Path) -> Path:
        """Write the scales as JSON."""
        return write_json(path, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> Scales:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: no such file, or not one of these.
        """
        stored = read_json(path)
        try:
            if stored.pop("format") != _FORMAT:
                raise DataError(f"'{path}' is a file of scales of another version. Quantise again.")
            scheme = Scheme.parse({k: tuple(v) if isinstance(v, list) else v for k, v in stored.pop("scheme").items()})
            grids = {key: Grid(**grid) for key, grid in stored.pop("grids").items()}
            return cls(scheme=scheme, grids=grids, **stored)
        except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
            raise DataError(f"'{path}' holds no scales of a network: {error}. Quantise again.") from None


def choose_scales(traced: Traced, seen: Seen, scheme: Scheme) -> Scales:
    """The scales that a scheme gives a network, from what calibration met.

    Raises:
        DataError: calibration met nothing, or weights that are not finite.
    """
    grids = {key: choose_grid(histogram, scheme) for key, histogram in seen.histograms.items()}
    labels = {label: key for key, group in traced.graph.groups.items() for label in group.labels}
    weights = {
        layer: weight_scales(traced.convolution(layer).weight, scheme.weights == "channel").tolist()
        for layer in traced.graph.convolutions
    }
    clipped = {key: clipped_share(seen.histograms[key], grid) for key, grid in grids.items()}
    return Scales(scheme, grids, labels, weights, clipped, seen.pictures)


@dataclass
class _Weights:
    """A layer's integers, and what its convolution is computed in."""

    version: tuple[int, int]
    integers: Tensor
    scales: Tensor
    bias: Tensor | None
    dtype: torch.dtype


class Simulated(nn.Module):
    """A network as an INT8 engine computes it.

    Called without gradients, its convolutions sum integers exactly. With gradients (``requires_grad_`` on its
    weights), rounding lets them pass straight through and sums are in float: quantisation-aware training. Its weights
    are those of the traced network, not a copy.
    """

    def __init__(self, traced: Traced, scales: Scales, layers: Collection[str] | None = None) -> None:
        """As :func:`simulate` makes it."""
        super().__init__()
        self.network = traced.network
        self.traced, self.scales = traced, scales
        self.plan = traced.graph.plan(scales.scheme, layers)
        keys = {
            key for part in (self.plan.reads, self.plan.writes) for found in part.values() for key in found.values()
        }
        if not keys <= set(scales.grids):
            raise DataError("These scales belong to another network. Quantise again.")
        moving = {n for n, op in enumerate(traced.graph.ops) if op.kind in ("pass", "cat")}
        self.reads = {n: reads for n, reads in self.plan.reads.items() if n not in moving}
        self._weights: dict[str, _Weights] = {}

    def forward(self, batch: Tensor) -> Any:
        """What the network gives for a batch ``(N, 3, H, W)``, computed in simulated INT8."""
        run = _Run(self)
        named = run.source(batch)
        with run:
            return self.network(named)

    def weights(self, layer: str, grid: Grid) -> _Weights:
        """A layer's integers; made anew when its weights have changed."""
        conv = self.traced.convolution(layer)
        known = self._weights.get(layer)
        if known is None or known.version != _version(conv) or known.integers.device != conv.weight.device:
            known = self._weights[layer] = self._quantised(conv, grid)
        return known

    def _quantised(self, conv: nn.Conv2d, grid: Grid) -> _Weights:
        scales = weight_scales(conv.weight, self.scales.scheme.weights == "channel")
        integers = quantize_weight(conv.weight, scales)
        largest = integers.abs().flatten(1).sum(1).double() * grid.reach
        bias = None
        if conv.bias is not None:
            bias = quantize_bias(conv.bias, grid, scales)
            largest = largest + bias.abs()
        exact = conv.weight.device.type == "cpu" and float(largest.max()) < EXACT
        dtype = torch.float32 if exact else torch.float64
        return _Weights(_version(conv), integers.to(dtype), scales, None if bias is None else bias.to(dtype), dtype)


def simulate(traced: Traced, scales: Scales, layers: Collection[str] | None = None) -> Simulated:
    """A network in simulated INT8, called like the network.

    Args:
        traced: the network.
        scales: of this network; see :func:`choose_scales`.
        layers: quantise only these convolutions; by default all that the scheme names.

    Raises:
        ConfigError: an unknown layer.
        DataError: scales of another network.
    """
    return Simulated(traced, scales, layers).eval()


def quantize_bias(bias: Tensor, grid: Grid, scales: Tensor) -> Tensor:
    """Bias as int32 in the sum's unit, ``round(b / (s_x s_w))``: ``(O,)`` whole numbers in float64."""
    unit = scales.double() * grid.scale
    return (bias.detach().double() / unit).round_().clamp_(-_INT32, _INT32)


def dequantize_sum(sums: Tensor, grid: Grid, scales: Tensor) -> Tensor:
    """A convolution's sums of integers ``(N, O, H, W)`` to real values: times ``s_x s_w``, all in float32."""
    unit = scales.to(torch.float32) * grid.scale
    return sums.to(torch.float32) * unit.view(1, -1, 1, 1)


class _Run(Follower):
    """One call of a :class:`Simulated`."""

    def __init__(self, simulated: Simulated) -> None:
        super().__init__()
        self.simulated = simulated
        self.ops = simulated.traced.graph.ops
        self.grids = simulated.scales.grids

    def visit(self, func: Any, args: Any, kwargs: Any, seen: list[Tensor]) -> Any:
        number = self.values
        op = self.ops[number] if number < len(self.ops) else None
        if op is None or op.function != function_name(func):
            result = func(*args, **kwargs)
            if written(func, args, result):
                _next(self.ops, number, func)  # says what is wrong
            return result
        if op.kind == "conv" and op.layer in self.simulated.plan.layers:
            result = self._convolve(op.layer, self.simulated.plan.reads[number][op.inputs[0]], *args, **kwargs)
        else:
            reads = self.simulated.reads.get(number, {})
            result = (
                func(*self._rounded(args, reads), **self._rounded(kwargs, reads)) if reads else func(*args, **kwargs)
            )
        writes = self.simulated.plan.writes.get(number)
        if writes:
            result = self.grids[writes[op.outputs[0]]].fake(result)
        self.values += 1
        for tensor, name in zip(written(func, args, result), op.outputs, strict=True):
            self.mark(tensor, name)
        return result

    def _rounded(self, value: Any, reads: Mapping[str, str]) -> Any:
        if isinstance(value, Tensor):
            key = reads.get(self.name_of(value))
            return value if key is None else self.grids[key].fake(value)
        if isinstance(value, dict):
            return {name: self._rounded(item, reads) for name, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)([self._rounded(item, reads) for item in value])
        return value

    def _convolve(
        self, layer: str, key: str, input: Tensor, weight: Tensor, bias: Tensor | None = None, *where: Any, **more: Any
    ) -> Tensor:
        grid = self.grids[key]
        if torch.is_grad_enabled() and (weight.requires_grad or input.requires_grad):
            scales = weight_scales(weight, self.simulated.scales.scheme.weights == "channel")
            rounded = fake_quantize(weight, scales.view(-1, 1, 1, 1))
            return F.conv2d(grid.fake(input), rounded, bias, *where, **more)
        known = self.simulated.weights(layer, grid)
        integers = (grid.quantize(input) - grid.zero_point).to(known.dtype)
        sums = F.conv2d(integers, known.integers, known.bias, *where, **more)
        return dequantize_sum(sums, grid, known.scales)


def _version(conv: nn.Conv2d) -> tuple[int, int]:
    return conv.weight._version, 0 if conv.bias is None else conv.bias._version


def _next(ops: Any, number: int, func: Any) -> Any:
    name = function_name(func)
    if number >= len(ops) or ops[number].function != name:
        expected = ops[number].function if number < len(ops) else "nothing more"
        raise DataError(
            f"The network takes another way than on its example: operation {number} is {name}, then it was {expected}. "
            "Its operations must not depend on the picture or its size."
        )
    return ops[number]
