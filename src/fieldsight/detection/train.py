"""Training of a detector: task-aligned assignment, CIoU and DFL, mosaic, AdamW, a running mean of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data.detection.augment import Recipe
from fieldsight.data.detection.loader_items import DetectionItems, trim
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.loader import Loader
from fieldsight.detection.config import Augment, DetectorConfig
from fieldsight.detection.model import DetectorModel
from fieldsight.detection.network import Detector, Losing, decayed
from fieldsight.detection.validate import fitness
from fieldsight.engine.checkpoint import State
from fieldsight.engine.ema import Ema
from fieldsight.engine.fit import EarlyStop, Step, Steps, fit
from fieldsight.errors import ConfigError
from fieldsight.nn.detection.checkpoints import load_checkpoint
from fieldsight.nn.detection.rfcn import RFCN
from fieldsight.run import Run


def begin(model: DetectorModel, init: DetectorModel | None) -> None:
    """Take over weights: of a public checkpoint, then of another model as far as shapes agree.

    Raises:
        ModelFileError: the checkpoint can't be read or is of another network.
        ConfigError: less than half of the other model fits.
    """
    if model.config.checkpoint is not None:
        if isinstance(model.detector, RFCN):
            raise ConfigError("checkpoint: there is no key map for R-FCN. Start from a model of ours with --init.")
        progress.note(str(load_checkpoint(model.detector, model.config.checkpoint, without=model.config.without)))
    if init is None:
        return
    own, given = model.detector.state_dict(), init.detector.state_dict()
    fit_in = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if 2 * sum(v.numel() for v in fit_in.values()) < sum(v.numel() for v in own.values()):
        raise ConfigError(
            f"init: little of a {init.config.family} '{init.config.size}' fits a {model.config.family} "
            f"'{model.config.size}'. Train with the same family and size."
        )
    if len(fit_in) < len(own):
        progress.note(f"{len(own) - len(fit_in)} of {len(own)} tensors begin anew: their shapes differ (other classes)")
    model.detector.load_state_dict({**own, **fit_in})


def fit_detector(
    detector: Detector,
    config: DetectorConfig,
    train: Sequence[DetectionSample],
    val: Sequence[DetectionSample],
    run: Run | None = None,
) -> None:
    """Train in place; what stays is the running mean of the weights at the best epoch by fitness.

    Args:
        detector: starts from the weights it has.
        config: everything else.
        train, val: the splits; the test split is never looked at.
        run: folder for checkpoints and logs.
    """
    batches = -(-len(train) // config.batch)
    accumulate = max(1, round(config.nominal / config.batch))
    total = config.steps * accumulate or config.epochs * batches
    last = min(total, config.augment.close_mosaic * batches) if config.augment.mosaic else 0
    state = start(detector, config, total // accumulate, batches // accumulate)
    full, calm = recipe(config.augment), replace(recipe(config.augment), mosaic=0.0)
    stages = [("mosaic", total - last, full), ("detector", last, calm)] if last else [("detector", total, full)]
    for stage, count, chosen in stages:
        if not count:
            continue
        items = DetectionItems(train, config.input, chosen)
        fit(
            state,
            training_step(config, accumulate),
            Loader(items, config.batch, config.seed, workers=config.workers),
            stage=stage,
            until=Steps(count),
            run=run,
            validate=lambda s: fitness(s.ema.network.detector, val, config),
            stop=EarlyStop("val_best", patience=config.patience, mode="max"),
        )
    detector.load_state_dict(state.ema.network.detector.state_dict())
    detector.eval()


def recipe(augment: Augment) -> Recipe:
    """The augmentation by the names that the core uses."""
    return Recipe(
        augment.mosaic, augment.translate, augment.scale, augment.flip, augment.flip_ud, augment.hue,
        augment.saturation, augment.value, augment.erase, augment.rotate,
    )  # fmt: skip


def start(detector: Detector, config: DetectorConfig, steps: int, per_epoch: int) -> State:
    """Network, AdamW, warm-up and linear decay, running mean."""
    net = Losing(detector, config)
    optimizer = torch.optim.AdamW(decayed(detector, config.weight_decay), lr=config.lr, betas=(config.beta1, 0.999))
    warmup = config.warmup * (steps if config.warmup < 1 else max(1, per_epoch))
    ramp = config.ema_ramp * steps if config.ema_ramp < 1 else config.ema_ramp

    def factor(step: int) -> float:
        left = 1.0 - (1.0 - config.last) * min(1.0, step / max(1, steps))
        return left * min(1.0, (step + 1) / warmup) if warmup >= 1 else left

    return State(
        net=net, opt=optimizer, schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
        ema=Ema(net, config.ema, max(1.0, ramp)),
    )  # fmt: skip


def training_step(config: DetectorConfig, accumulate: int) -> Step:
    """One batch; every so many the optimiser moves and the running mean follows."""

    def step(fabric: Any, state: State, batch: dict[str, Any], number: int) -> Mapping[str, Tensor]:
        values = state.net(trim(batch))
        fabric.backward(values["loss"])
        if (number + 1) % accumulate == 0:
            fabric.clip_gradients(state.net, state.opt, max_norm=config.clip, error_if_nonfinite=False)
            state.opt.step()
            state.opt.zero_grad()
            state.schedule.step()
            state.ema.update(getattr(state.net, "module", state.net))
        return {name: value.detach() for name, value in values.items()}

    return step
