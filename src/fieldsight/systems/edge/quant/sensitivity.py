"""Which layers suffer from 8 bits, and which to keep in float to stay within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.errors import ConfigError, DataError
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


@dataclass(frozen=True)
class Step:
    """One network that the search tried: layers in float, its metric, and whether it was kept."""

    kept_float: tuple[str, ...]
    score: float
    taken: bool


@dataclass(frozen=True)
class Mixed:
    """A network of mixed precision.

    Attributes:
        kept_float: layers in float beside those that the scheme leaves in float.
        score: its metric.
        float_score: the metric of the float network.
        within: whether the loss is within the budget.
        share: share of all convolutions' parameters that is in 8 bits.
        steps: every network that was scored, in order.
    """

    kept_float: tuple[str, ...]
    score: float
    float_score: float
    within: bool
    share: float
    steps: tuple[Step, ...]


class NoiseMeter:
    """Signal to quantisation noise over batches, by channel: one of large numbers does not hide the others.

    ``10 log10(sum y^2 / sum (y - y')^2)`` for each channel (second axis) of each output over all batches, then the
    mean over channels; boxes in pixels and scores in 0-1 thus count alike. Channels that are 0 throughout are left out.
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
        ratio = signal[met] / noise[met].clamp_min(1e-300)
        return float((10 * ratio.log10()).clamp_max(BEST_SQNR).mean())


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


def mixed_precision(
    traced: Traced,
    scales: Scales,
    order: Sequence[Sensitivity],
    score: Score,
    budget: float,
    most: int | None = None,
) -> Mixed:
    """Keep as few layers as possible in float, so that the metric loses no more than a budget.

    Greedy: all layers of the scheme are quantised; while the loss exceeds the budget, the most sensitive layer left is
    kept in float. Then each of these is tried in 8 bits once more, the largest first, since sensitivities do not add
    up.

    Args:
        traced: the network.
        scales: its scales.
        order: see :func:`sensitivities`.
        score: the metric, more is better.
        budget: largest loss of the metric, in its unit, e.g. 0.01 of mAP50-95.
        most: at most so many layers are kept in float.

    Returns:
        The network found; ``within`` says whether the budget was met.

    Raises:
        ConfigError: a budget below 0, or sensitivities that lack a layer.
    """
    layers = traced.graph.quantised_layers(scales.scheme)
    ranked = [entry.layer for entry in order if entry.layer in layers]
    if not budget >= 0:
        raise ConfigError(f"budget: a loss of the metric, 0 or more; got {budget!r}.")
    if set(ranked) != set(layers):
        raise ConfigError("order: sensitivities of this network's layers, all of them; see sensitivities().")
    sizes = {entry.layer: entry.parameters for entry in order}
    steps: list[Step] = []

    def scored(kept: Sequence[str], wanted: float) -> bool:
        network = simulate(traced, scales, [name for name in layers if name not in kept])
        value = float(score(network))
        steps.append(Step(tuple(kept), value, value >= wanted))
        return value >= wanted

    with torch.no_grad():
        best = float(score(traced.network))
        kept: list[str] = []
        limit = len(ranked) if most is None else min(most, len(ranked))
        while not scored(kept, best - budget) and len(kept) < limit:
            kept.append(ranked[len(kept)])
        reached = steps[-1]
        # the last one kept is what met the budget
        for name in sorted(kept[:-1], key=lambda n: -sizes[n]) if reached.taken else ():
            without = [n for n in kept if n != name]
            if scored(without, best - budget):
                kept, reached = without, steps[-1]
    total = sum(sizes.values())
    share = sum(sizes[name] for name in layers if name not in kept) / total
    return Mixed(tuple(kept), reached.score, best, reached.taken, share, tuple(steps))
