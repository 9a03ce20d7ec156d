"""Quantisation-aware training: a short training of the network as it computes in 8 bits, with the detector's own loss.

The network is the folded one (BN inside its convolutions, statistics frozen), so what is trained is what is exported.
In the forward pass activations and weights are rounded to the simulation's grids; rounding lets gradients pass
(straight through, Bengio et al., arXiv:1308.3432; Krishnamoorthi, arXiv:1806.08342, section 3.2). Scales of weights
follow the weights. Those of activations stay as calibrated, or follow a running mean of what training batches show.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.data.detection.loader_items import DetectionItems
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.loader import Loader
from fieldsight.detection.network import decayed
from fieldsight.detection.train import recipe, training_step
from fieldsight.engine.checkpoint import State
from fieldsight.engine.ema import Ema
from fieldsight.engine.fit import EarlyStop, Steps, fit
from fieldsight.errors import ConfigError, DataError
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.decode import Raw
from fieldsight.nn.detection.loss import Gains, detection_loss
from fieldsight.nn.detection.yolo import Yolo
from fieldsight.run import Run
from fieldsight.systems.edge.config import EdgeConfig
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.fake import Scales, Simulated, choose_scales, observe, simulate
from fieldsight.systems.edge.quant.grid import LEVELS, Grid, weight_scales
from fieldsight.systems.edge.quant.measure import score_of
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quant.tape import Traced

#: Moving scales look at the ranges of each of the first so many training batches, then at every so many-th.
EVERY = 10

#: Share of a new look in the running mean of ranges; the first ones have more, so that what calibration said is gone.
TAKE = 0.1

#: Share of the steps that warm up, and last share of the learning rate.
WARMUP, LAST = 0.1, 0.01

#: Decay of the running mean of the weights, and share of the steps over which it rises.
EMA, RAMP = 0.99, 1 / 12


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    Attributes:
        steps: batches, an optimiser step each.
        lr: learning rate of AdamW; linear warm-up over a tenth of the steps, then linear to a hundredth.
        batch: pictures a step.
        moving: scales of activations are a running mean over training batches; else they stay as calibrated, and bad
            calibration stays bad.
        seed: of order and augmentation.
    """

    steps: int = 300
    lr: float = 2e-4
    batch: int = 16
    moving: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        traced: the network with its new weights; the one it came from is unchanged.
        scales: its scales, to be simulated and written with.
        before, after: mAP50-95 in simulated INT8 on the validation pictures.
        epochs: passes over the training pictures, the last one perhaps in part.
    """

    traced: Traced
    scales: Scales
    before: float
    after: float
    epochs: int


class Aware(nn.Module):
    """A traced detector in simulated INT8 whose ``forward`` is its loss.

    Attributes:
        simulated: the network; it computes as deployed, whatever mode this module is in.
        ranges: ``(G, 2)`` float32 ends of the activations' grids in their own unit, where they move.
        seen: training batches so far.
    """

    ranges: Tensor
    seen: Tensor

    def __init__(self, traced: Traced, scales: Scales, config: EdgeConfig, moving: bool) -> None:
        """Take over a traced :class:`~fieldsight.detection.network.Exported`; its weights are trained in place.

        Raises:
            ConfigError: not a detector with a YOLO head.
        """
        super().__init__()
        detector_of(traced)
        self.simulated: Simulated = simulate(traced, scales)
        self.config, self.moving = config, moving
        self.keys = tuple(scales.grids)
        self.register_buffer("ranges", torch.tensor([ends_of(g, scales.scheme) for g in scales.grids.values()]))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._built = self.ranges._version
        for layer in learning_layers(traced):
            traced.convolution(layer).requires_grad_(True)

    def train(self, mode: bool = True) -> Aware:
        """Only the flag: the network stays in evaluation mode, as it was traced."""
        super().train(mode)
        self.simulated.eval()
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss of a batch; see :class:`~fieldsight.detection.network.Losing` for its entries."""
        own = self.config.loss
        if self.training and self.moving:
            batches = int(self.seen)
            if batches < EVERY or batches % EVERY == 0:
                looks = min(batches, EVERY) + max(0, batches - EVERY) // EVERY
                self._follow(batch["image"], max(TAKE, 1 / (looks + 1)))
            self.seen += 1
        raw = self.raw(batch["image"])
        targets = Targets.from_padded(batch["boxes"], batch["labels"])
        topk = 1 if detector_of(self.simulated.traced).nms_free else own.topk
        return detection_loss(raw, targets, Gains(own.box, own.cls, own.dfl), topk, own.alpha, own.beta)

    def raw(self, images: Tensor) -> Raw:
        """The deployed branch's logits for ``(N, 3, S, S)``, computed in simulated INT8."""
        caught: list[Raw] = []

        def catch(module: nn.Module, given: Any, found: Any) -> None:
            caught.append(found[-1])

        handle = detector_of(self.simulated.traced).register_forward_hook(catch)
        try:
            self.network()(images)
        finally:
            handle.remove()
        return caught[0]

    def network(self) -> Simulated:
        """The simulation with its present scales."""
        if self.moving and self.ranges._version != self._built:  # also after a checkpoint, or in a running mean
            scheme = self.simulated.scales.scheme
            ends = self.ranges.tolist()
            grids = {key: grid_of(low, high, scheme) for key, (low, high) in zip(self.keys, ends, strict=True)}
            self.simulated.scales = replace(self.simulated.scales, grids=grids)
            self.simulated._weights.clear()  # biases are stored in units of the inputs' scales
            self._built = self.ranges._version
        return self.simulated

    @torch.no_grad()
    def _follow(self, images: Tensor, share: float) -> None:
        traced, scheme = self.simulated.traced, self.simulated.scales.scheme
        with progress.watching(progress.silent):
            now = choose_scales(traced, observe(traced, [images]), scheme).grids
        ends = torch.tensor([ends_of(now[key], scheme) for key in self.keys]).to(self.ranges)
        self.ranges.lerp_(ends, share)


def train_aware(
    model: EdgeModel,
    traced: Traced,
    scales: Scales,
    train: Sequence[DetectionSample],
    val: Sequence[DetectionSample],
    how: Recipe,
    run: Run | None = None,
) -> Trained:
    """Train a traced network for its computation in 8 bits.

    The running mean of the weights at the best epoch by mAP50-95 on ``val`` in simulated INT8 is what stays.

    Args:
        model: the original: its classes, input, loss and augmentation (without mosaic).
        traced: its graph, folded; not changed.
        scales: from calibration; with ``keep_float`` of their scheme, layers in float are trained in float.
        train: what it learns from.
        val: what the epochs are judged on.
        how: the recipe.
        run: folder for checkpoints and logs, to go on after an interruption.

    Raises:
        ConfigError: a detector that has no YOLO head.
        DataError: no picture, or no box among those for training.
    """
    if not any(len(sample.truth()) for sample in train):
        raise DataError("Quantisation-aware training needs pictures with boxes; the training split has none.")
    own = copy.deepcopy(traced)
    net = Aware(own, scales, model.config, how.moving)
    before = _precision(net.network(), model, val)
    items = DetectionItems(train, model.config.input, replace(recipe(model.config.augment), mosaic=0.0))
    loader = Loader(items, min(how.batch, len(train)), how.seed, workers=model.config.workers)
    state = _start(net, model.config, how)
    at = fit(
        state,
        training_step(model.config, 1),
        loader,
        stage="quantised",
        until=Steps(how.steps),
        run=run,
        validate=lambda s: {"val_map": _precision(s.ema.network.network(), model, val)},
        stop=EarlyStop("val_map", patience=how.steps + 1, mode="max"),
    )
    best = state.ema.network
    own.network.load_state_dict(best.simulated.network.state_dict())
    own.network.to("cpu").requires_grad_(False)
    found = finished(own, best.network().scales)
    after = _precision(simulate(own, found), model, val)
    return Trained(own, found, before, after, at.epoch)


def finished(traced: Traced, scales: Scales) -> Scales:
    """Scales whose record of weights is that of a network's present weights."""
    by_channel = scales.scheme.weights == "channel"
    weights = {name: weight_scales(traced.convolution(name).weight, by_channel).tolist() for name in scales.weights}
    return replace(scales, weights=weights)


def detector_of(traced: Traced) -> Yolo:
    """The detector inside a traced export.

    Raises:
        ConfigError: there is none, or one without a YOLO head.
    """
    found = getattr(getattr(traced.network, "deployed", None), "net", None)
    if not isinstance(found, Yolo):
        raise ConfigError("qat_steps: only yolov8 and yolov10 can be trained in 8 bits; leave it 0 for other families.")
    return found


def learning_layers(traced: Traced) -> tuple[str, ...]:
    """Convolutions that are trained: all but a fixed one that sums DFL's bins."""
    graph = traced.graph
    return tuple(name for name, number in graph.convolutions.items() if not graph.reads_softmax(number))


def grid_of(low: float, high: float, scheme: Scheme) -> Grid:
    """The grid of a range, in the form that a scheme wants."""
    if scheme.activations == "affine":
        return Grid.affine(low, high)
    return Grid.symmetric(max(-low, high), -128 if scheme.engine == "onnxruntime" else -LEVELS)


def ends_of(grid: Grid, scheme: Scheme) -> tuple[float, float]:
    """The range that :func:`grid_of` makes a grid from."""
    if scheme.activations == "affine":
        return (grid.low - grid.zero_point) * grid.scale, (grid.high - grid.zero_point) * grid.scale
    return -LEVELS * grid.scale, LEVELS * grid.scale


def _precision(network: Simulated, model: EdgeModel, samples: Sequence[DetectionSample]) -> float:
    with torch.no_grad(), progress.watching(progress.silent):
        return score_of(model, samples)(network)


def _start(net: Aware, config: EdgeConfig, how: Recipe) -> State:
    """Network, AdamW, its schedule, running mean."""
    optimizer = torch.optim.AdamW(decayed(net, config.weight_decay), lr=how.lr, betas=(config.beta1, 0.999))
    warmup = max(1.0, WARMUP * how.steps)

    def factor(step: int) -> float:
        return (1.0 - (1.0 - LAST) * min(1.0, step / how.steps)) * min(1.0, (step + 1) / warmup)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return State(net=net, opt=optimizer, schedule=schedule, ema=Ema(net, EMA, max(1.0, RAMP * how.steps)))
