"""Which layers suffer from 8 bits: each quantised alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.errors import DataError
from fieldsight.systems.edge.quant.fake import Scales, simulate
from fieldsight.systems.edge.quant.tape import Traced, outputs_of

#: A metric of a network on validation pictures, more is better; gets the float or a simulated network.
Score = Callable[[nn.Module], float]

#: SQNR of outputs that do not differ.
BEST_SQNR = 200.0


@dataclass(frozen=True)
class Sensitivity:
    """What happens when one layer alone is quantised.

    Attributes:
        layer: its name.
        sqnr: signal to quantisation noise of the network's output in dB, more is better.
        weight_sqnr: of the layer's weights alone.
        score: the metric, None where none was asked for.
        loss: the float network's metric less this one.
        parameters: weights and biases of the layer.
    """

    layer: str
    sqnr: float
    weight_sqnr: float
    score: float | None
    loss: float | None
    parameters: int


class NoiseMeter:
    """Signal to quantisation noise over batches; channels weigh alike, so boxes in pixels do not hide scores in 0-1.

    ``-10 log10 mean_c(sum (y - y')^2 / sum y^2)`` over the channels c (second axis) of each output and all batches: a
    channel that is ruined shows however exact the others are, which a mean of the channels' decibels would hide.
    Channels that are 0 throughout are left out.
    """

    def __init__(self) -> None:
        self._signal: list[Tensor] = []
        self._noise: list[Tensor] = []

    def update(self, reference: Any, found: Any) -> None:
        """Add the outputs for a batch, tensors ``(N, C, ...)`` or nested ones.

        Raises:
            DataError: outputs of other shapes.
        """
        before, after = outputs_of(reference), outputs_of(found)
        if [t.shape for t in before] != [t.shape for t in after]:
            raise DataError("Outputs of two networks are compared that have other shapes.")
        sums = [(_by_channel(a), _by_channel(a.double() - b.double())) for a, b in zip(before, after, strict=True)]
        if not self._signal:
            self._signal, self._noise = [s for s, _ in sums], [n for _, n in sums]
        else:
            self._signal = [old + s for old, (s, _) in zip(self._signal, sums, strict=True)]
            self._noise = [old + n for old, (_, n) in zip(self._noise, sums, strict=True)]

    def value(self) -> float:
        """SQNR in dB, at most 200; NaN where every channel is 0."""
        signal, noise = torch.cat(self._signal), torch.cat(self._noise)
        met = signal > 0
        if not bool(met.any()):
            return math.nan
        share = float((noise[met] / signal[met]).mean())
        return min(BEST_SQNR, -10 * math.log10(max(share, 1e-300)))


def _by_channel(values: Tensor) -> Tensor:
    squares = values.detach().double().square()
    return squares.flatten(2).sum((0, 2)) if squares.ndim > 2 else squares.sum(0).reshape(-1)


def sqnr(reference: Any, found: Any) -> float:
    """Signal to quantisation noise of one batch in dB; see :class:`NoiseMeter`."""
    meter = NoiseMeter()
    meter.update(reference, found)
    return meter.value()


def sensitivities(
    traced: Traced, scales: Scales, batches: Iterable[Tensor], score: Score | None = None
) -> list[Sensitivity]:
    """Quantise one layer alone, each in turn, weights and input.

    Args:
        traced: the network.
        scales: its scales; layers that their scheme keeps in float are looked at, too.
        batches: a few inputs ``(N, 3, H, W)``; their float outputs are kept in memory.
        score: a metric to take as well, which costs a validation for each layer.

    Returns:
        The layers, most sensitive first: by loss of the metric where there is one, then by SQNR.

    Raises:
        DataError: no input.
    """
    inputs = list(batches)
    if not inputs:
        raise DataError("Sensitivity needs at least one batch of pictures.")
    with torch.no_grad():
        references = [traced.network(batch) for batch in inputs]
        best = None if score is None else float(score(traced.network))
        found = []
        for layer in progress.track(list(traced.graph.convolutions), "sensitivity"):
            network = simulate(traced, scales, [layer])
            meter = NoiseMeter()
            for batch, reference in zip(inputs, references, strict=True):
                meter.update(reference, network(batch))
            value = None if score is None else float(score(network))
            loss = None if value is None or best is None else best - value
            conv = traced.convolution(layer)
            count = sum(p.numel() for p in conv.parameters())
            found.append(Sensitivity(layer, meter.value(), _weight_sqnr(conv, scales), value, loss, count))
    return sorted(found, key=lambda s: (-(s.loss or 0.0), s.sqnr))


def _weight_sqnr(conv: nn.Conv2d, scales: Scales) -> float:
    from fieldsight.systems.edge.quant.grid import quantize_weight, weight_scales

    found = weight_scales(conv.weight, scales.scheme.weights == "channel")
    back = quantize_weight(conv.weight, found) * found.view(-1, 1, 1, 1)
    flat = conv.weight.detach().reshape(1, 1, -1)
    return sqnr(flat, back.reshape(1, 1, -1))
