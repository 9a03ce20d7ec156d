"""Mixed precision by sensitivity: the fewest layers in float with which no more than a bound is lost.

Layers are ranked by what each loses alone. What the first k of them in float lose together is measured, not added up
from the parts, and the least k that stays within the bound is found by bisection: some six measurements for sixty
layers, where keeping one layer after the other would take up to sixty. Losses do not fall strictly with k, so the
kept layers are then put back into 8 bits one by one, the least sensitive first, wherever the bound allows it. The
result is measured as a whole; no layer of it can be left out, which does not prove that no smaller set exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge.quant.fake import Scales, simulate
from fieldsight.systems.edge.quant.sensitivity import BEST_SQNR, NoiseMeter, Score, Sensitivity
from fieldsight.systems.edge.quant.tape import Traced

#: Networks that are measured to put kept layers back into 8 bits, at the most.
TRIES = 32


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


def fewest_in_float(
    traced: Traced,
    scales: Scales,
    order: Sequence[Sensitivity],
    score: Score,
    within: float,
    tries: int = TRIES,
) -> Mixed:
    """Find a small set of layers to keep in float; see the module.

    Args:
        traced: the network.
        scales: its scales; layers that their scheme keeps in float stay there and are not counted.
        order: what each layer loses alone, see :func:`~.sensitivity.sensitivities`.
        score: what is measured, more is better: see :func:`by_output` and :func:`~.measure.score_of`.
        within: the largest loss, in the score's unit.
        tries: networks that are measured to put kept layers back into 8 bits, at the most.

    Returns:
        The layers kept in float beside those of the scheme, with every network that was measured.

    Raises:
        ConfigError: a bound below 0, or sensitivities that lack a layer.
    """
    layers = traced.graph.quantised_layers(scales.scheme)
    ranked = [entry.layer for entry in order if entry.layer in layers]
    if not within >= 0:
        raise ConfigError(f"within: the largest loss, 0 or more; got {within!r}.")
    if set(ranked) != set(layers) or len(ranked) != len(layers):
        raise ConfigError("order: sensitivities of this network's layers, each of them once; see sensitivities().")
    with torch.no_grad():
        best = float(score(traced.network))
        trial = _Trial(traced, scales, layers, score, best - within)
        try:
            kept = _shortest(trial, ranked)
            kept = _without_needless(trial, kept, tries)
        finally:
            trial.task.close()
    reached = trial.known.get(frozenset(kept), best)
    sizes = {entry.layer: entry.parameters for entry in order}
    share = sum(sizes[name] for name in layers if name not in kept) / max(1, sum(sizes.values()))
    return Mixed(tuple(kept), reached, best, reached >= best - within, share, tuple(trial.steps))


class _Trial:
    """Measures networks with some layers in float, each once."""

    def __init__(self, traced: Traced, scales: Scales, layers: Sequence[str], score: Score, wanted: float) -> None:
        self.traced, self.scales, self.layers, self.score, self.wanted = traced, scales, layers, score, wanted
        self.known: dict[frozenset[str], float] = {}
        self.steps: list[Step] = []
        self.task = progress.Task("searching for layers to keep in float")

    def passes(self, kept: Sequence[str]) -> bool:
        """Whether the loss stays within the bound with these layers in float."""
        key = frozenset(kept)
        if key not in self.known:
            network = simulate(self.traced, self.scales, [name for name in self.layers if name not in key])
            self.known[key] = float(self.score(network))
            self.steps.append(Step(tuple(kept), self.known[key], self.known[key] >= self.wanted))
            self.task.advance(remark=f"{len(key)} in float")
        return self.known[key] >= self.wanted


def _shortest(trial: _Trial, ranked: Sequence[str]) -> list[str]:
    """The shortest beginning of the ranking that passes, as far as bisection can tell; at the worst all of it."""
    if trial.passes(()):
        return []
    # all in float loses nothing, so the upper end passes unmeasured
    low, high = 0, len(ranked)
    while high - low > 1:
        middle = (low + high) // 2
        if trial.passes(ranked[:middle]):
            high = middle
        else:
            low = middle
    return list(ranked[:high])


def _without_needless(trial: _Trial, kept: list[str], tries: int) -> list[str]:
    """The same without layers that pass in 8 bits after all: halves of it at once, then quarters, down to single ones.

    As delta debugging narrows down a failing input (Zeller and Hildebrandt 2002): few of many are found quickly.
    """
    most = len(trial.known) + tries
    size = (len(kept) + 1) // 2
    while kept:
        shorter = kept
        for begin in range(len(kept) - 1, -1, -size):  # the least sensitive first
            chunk = kept[max(0, begin - size + 1) : begin + 1]
            fewer = [name for name in shorter if name not in chunk]
            if len(trial.known) >= most:
                return shorter
            if trial.passes(fewer):
                shorter = fewer
        if size == 1 and shorter == kept:
            return kept
        kept, size = shorter, max(1, size // 2)
    return kept


def by_output(traced: Traced, batches: Iterable[Tensor]) -> Score:
    """A score without truth: minus the relative error of the output, 0 for the float network.

    The error is ``sqrt(mean_c sum (y - y')^2 / sum y^2)`` over the output's channels c, that is
    ``10^(-SQNR / 20)`` of :class:`~.sensitivity.NoiseMeter`.

    Args:
        traced: the network.
        batches: a few inputs ``(N, 3, H, W)``; they and their float outputs are kept in memory.

    Raises:
        DataError: no input.
    """
    pictures = list(batches)
    if not pictures:
        raise DataError("The error of an output needs at least one batch of pictures.")
    with torch.no_grad():
        references = [traced.network(batch) for batch in pictures]

    def score(network: nn.Module) -> float:
        meter = NoiseMeter()
        with torch.no_grad():
            for batch, reference in zip(pictures, references, strict=True):
                meter.update(reference, network(batch))
        value = meter.value()
        return 0.0 if math.isnan(value) or value >= BEST_SQNR else -(10 ** (-value / 20))

    return score
