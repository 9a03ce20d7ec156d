"""Training of a detector (section 3.1.2): task-aligned assignment, CIoU and DFL, mosaic, a running mean of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight.data.detection.augment import Recipe
from fieldsight.data.detection.letterbox import letterbox, place, to_input
from fieldsight.data.detection.loader_items import DetectionItems, trim
from fieldsight.data.detection.sample import Detections, DetectionSample
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.ema import Ema
from fieldsight.engine.fit import EarlyStop, Step, Steps, fit
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.nn.detection.nms import Suppression, suppress
from fieldsight.run import Run
from fieldsight.systems.edge.config import Augment, EdgeConfig
from fieldsight.systems.edge.detector import Detector, Exported, Losing, decayed


def fit_detector(
    detector: Detector,
    config: EdgeConfig,
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
            stop=EarlyStop("val_fitness", patience=config.patience, mode="max"),
        )
    detector.load_state_dict(state.ema.network.detector.state_dict())
    detector.eval()


def recipe(augment: Augment) -> Recipe:
    """The augmentation by the names that the core uses."""
    return Recipe(
        augment.mosaic, augment.translate, augment.scale, augment.flip, 0.0, augment.hue, augment.saturation,
        augment.value, augment.erase,
    )  # fmt: skip


def start(detector: Detector, config: EdgeConfig, steps: int, per_epoch: int) -> State:
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


def training_step(config: EdgeConfig, accumulate: int) -> Step:
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


# ---------------------------------------------------------------------------------------------- validation


def detect(
    detector: Detector, samples: Sequence[DetectionSample], config: EdgeConfig, conf: float, batch: int = 16
) -> list[Detections]:
    """Boxes of photos in their own pixels, from the eager network in evaluation mode."""
    graph = Exported(detector).eval()
    device = next(detector.parameters()).device
    wanted = Suppression(conf=conf, iou=1.0 if free_of_nms(detector) else config.iou, limit=config.most)
    found = []
    for begin in range(0, len(samples), batch):
        part = samples[begin : begin + batch]
        where = [place(s.size, config.input) for s in part]
        pictures = to_input([letterbox(s.image(), w) for s, w in zip(part, where, strict=True)])
        with torch.inference_mode():
            output = graph(torch.from_numpy(pictures).to(device)).float().cpu().numpy()
        for boxes, w in zip(suppress(output, wanted), where, strict=True):
            found.append(Detections.of(w.back(boxes[:, :4]), boxes[:, 4], boxes[:, 5].astype(np.int64)))
    return found


def free_of_nms(detector: Detector) -> bool:
    """Whether its boxes need no suppression."""
    return bool(getattr(detector, "nms_free", True))


def fitness(detector: Detector, samples: Sequence[DetectionSample], config: EdgeConfig) -> dict[str, float]:
    """Average precision on the validation split, and the fitness 0.1 mAP50 + 0.9 mAP50-95."""
    pool = AveragePrecision(config.classes)
    for sample, found in zip(samples, detect(detector, samples, config, conf=0.001), strict=True):
        pool.add(sample.id, found, sample.truth(), sample.group)
    told = pool.compute().numbers()
    half, mean = (float(np.nan_to_num(told[k])) for k in ("mAP50", "mAP50-95"))
    return {"val_map50": half, "val_map": mean, "val_fitness": 0.1 * half + 0.9 * mean}
