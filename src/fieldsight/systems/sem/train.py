"""The method of section 2: baseline, calibration, outlier weights, encoder-frozen fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldsight import progress
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import EarlyStop, Epochs, Steps, fit
from fieldsight.engine.steps import one_loss
from fieldsight.errors import DataError
from fieldsight.run import Run
from fieldsight.systems.sem.calibrate import calibrate_model, outlier_weights
from fieldsight.systems.sem.config import SemConfig, Stage
from fieldsight.systems.sem.data import Pair, Positions, check_registration, draw_pairs, read_pairs
from fieldsight.systems.sem.losses import interval_loss
from fieldsight.systems.sem.model import ShallowUNet, freeze
from fieldsight.systems.sem.options import FinetuneOptions
from fieldsight.systems.sem.predict import SemModel

Splits = dict[str, list[Pair]]


def train(config: SemConfig, data: Path | None, run: Run, init: SemModel | None) -> SemModel:
    """Train both stages and calibrate; without ``data`` on drawn layouts."""
    splits = load_splits(config, data)
    model = SemModel.create(config)
    if init is not None:
        for name, network in model.networks.items():
            network.load_state_dict(init.networks[name].state_dict())
    train_baseline(model, splits, run)
    unseen = splits["calibration" if config.fit_on == "train" else "val"]
    model = model.with_calibration(calibrate_model(model, unseen, config.alpha, kind=_score(config)))
    if config.second.kind == "finetune":
        model = second_stage(model, splits, config.second, config.recalibrate, run)
    from fieldsight.systems.sem.evaluate import card_of

    model.card = card_of(model, splits["test"], run, drawn=data is None)
    return model


def load_splits(config: SemConfig, data: Path | None) -> Splits:
    """Pairs by split, from a folder or drawn.

    Raises:
        DataError: a split is empty.
    """
    if data is None:
        pairs = draw_pairs(config.data)
    else:
        pairs = read_pairs(data, config.data.shares, config.data.seed)
        for warning in check_registration(pairs)[:10]:
            progress.note(f"warning: {warning}")
    splits = {name: [p for p in pairs if p.split == name] for name in ("train", "val", "calibration", "test")}
    empty = [name for name, found in splits.items() if not found]
    if empty:
        raise DataError(f"The data holds no pairs of the split {' and '.join(empty)}. See manifest.csv.")
    return splits


def train_baseline(model: SemModel, splits: Splits, run: Run | None) -> None:
    """Stage 1: every network on the training layouts in all positions, best epoch by validation loss (Eqs. 1, 2).

    Ends with weights that float16 holds exactly: all that is measured afterwards belongs to what is stored.
    """
    config = model.config
    pairs = splits["train"] if config.fit_on == "train" else [*splits["train"], *splits["calibration"]]
    for name, network in model.networks.items():
        assert isinstance(network, ShallowUNet)
        seed = config.seed if name == "net" else 1000 * config.seed + int(name[3:]) + 1
        loader = _loader(config, pairs, seed)
        state = _state(config, network, list(network.parameters()), config.lr, config.epochs * len(loader))
        watched = _loader(config, splits["val"], seed, shuffle=False)
        fit(
            state,
            _step(config),
            loader,
            stage="baseline" if name == "net" else f"baseline-{name}",
            until=Epochs(config.epochs),
            run=run,
            validate=lambda s, watched=watched: {"val_loss": _mean_loss(config, s.net, watched)},  # type: ignore[misc]
            stop=EarlyStop("val_loss", patience=config.epochs + 1),
        )
    model.round_weights()


def second_stage(
    model: SemModel, splits: Splits, stage: Stage, recalibrate: str, run: Run | None, name: str = "finetune"
) -> SemModel:
    """Stage 2: weigh outliers of the baseline (Eq. 6), freeze the encoder (Eq. 8), train the rest (Eq. 9).

    Returns a model with networks of its own; the threshold is the baseline's (``none``, as in the paper), or comes
    from validation layouts, or from the half of the calibration layouts that was not trained on.
    """
    config, calibration = model.config, model.calibration
    assert calibration is not None
    tuned = SemModel(config, {k: _copy(n) for k, n in model.networks.items()}, model.artefacts, model.card)
    pool, held = _pool(splits, stage, recalibrate)
    for key, network in tuned.networks.items():
        assert isinstance(network, ShallowUNet)
        label = name if key == "net" else f"{name}-{key}"
        _finetune(tuned, network, pool, stage, calibration.q, run, label)
    tuned.round_weights()
    if recalibrate == "none":
        import dataclasses

        return tuned.with_calibration(dataclasses.replace(calibration, q_from="baseline"))
    fresh = calibrate_model(tuned, splits["val"] if recalibrate == "val" else held, config.alpha, kind=_score(config))
    return tuned.with_calibration(fresh)


def finetune(model: SemModel, data: Path | None, out: Path | None, options: FinetuneOptions) -> Any:
    """The verb: adapt a model to a few own pairs; writes a run folder with the new model.

    Raises:
        DataError: no folder to write to, no calibration, or data that can't be used.
    """
    from fieldsight.systems.sem.evaluate import card_of
    from fieldsight.training import TrainedRun, keep

    if out is None:
        raise DataError("finetune writes a run folder: name it with --out.")
    if model.calibration is None:
        raise DataError("The model has no calibration, so its outliers are unknown. Run `fieldsight sem calibrate`.")
    config = model.config.replace(seed=options.seed, recalibrate=options.recalibrate)
    config = config.replace(second=options.second.to_dict())
    splits = load_splits(config, data)
    start = SemModel(config, model.networks, model.artefacts, model.card)
    with Run.create(out, "sem", config, verb="finetune", seed=options.seed, inputs={"data": str(data or "")}) as run:
        tuned = second_stage(start, splits, options.second, options.recalibrate, run)
        tuned.card = card_of(tuned, splits["test"], run, drawn=data is None)
        keep(run, tuned)
    return TrainedRun(run, "sem")


# ---------------------------------------------------------------------------------------------- the parts


def _finetune(
    model: SemModel, network: ShallowUNet, pool: list[Pair], stage: Stage, q: float, run: Run | None, label: str
) -> None:
    config = model.config
    learning = freeze(network, stage.frozen)
    kept, watched = _watch(pool, stage)
    positions = 8 if config.augment == "rotations+flips" else 4
    rounds = 1 if not stage.refresh else -(-stage.epochs // stage.refresh)
    state = None
    for number in range(rounds):
        weights = outlier_weights(model, kept, q, stage.gamma, positions) if stage.gamma != 1 else None
        loader = _loader(config, kept, config.seed, weights=weights)
        if state is None:
            state = _state(config, network, learning, stage.lr, 0)
        epochs = stage.epochs if rounds == 1 else min(stage.refresh, stage.epochs - number * stage.refresh)
        validate = None
        if watched:
            aside = _loader(config, watched, config.seed, shuffle=False)
            validate = lambda s, aside=aside: {"heldout": _mean_loss(config, s.net, aside)}  # noqa: E731
        monitor = "heldout" if watched else "loss"
        ended = fit(
            state,
            _step(config),
            loader,
            stage=label if rounds == 1 else f"{label}-{number}",
            until=Steps(stage.steps) if stage.steps else Epochs(epochs),
            run=run,
            validate=validate,
            stop=None if stage.steps else EarlyStop(monitor, stage.patience, stage.min_delta),
        )
        if ended.stale >= stage.patience:
            break
    freeze(network, "none")


def _pool(splits: Splits, stage: Stage, recalibrate: str) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train the second stage on, and calibration pairs kept out of it."""
    calibration, held = splits["calibration"], []
    if recalibrate == "split":
        if len(calibration) < 2:
            raise DataError("recalibrate: 'split' needs at least two calibration layouts.")
        calibration, held = calibration[::2], calibration[1::2]
    pool = {"calibration": calibration, "train": splits["train"], "both": [*splits["train"], *calibration]}
    return pool[stage.split], held


def _watch(pool: list[Pair], stage: Stage) -> tuple[list[Pair], list[Pair]]:
    """Keep a sixth of the layouts aside to watch (all their rotations together), where asked for."""
    if stage.monitor == "train":
        return pool, []
    aside = max(1, round(len(pool) / 6))
    if len(pool) <= aside:
        raise DataError(f"second.monitor: 'heldout' needs at least two layouts to train on, got {len(pool)}.")
    return pool[aside:], pool[:aside]


def _loader(config: SemConfig, pairs: Sequence[Pair], seed: int, shuffle: bool = True, weights: Any = None) -> Loader:
    smallest = min(min(p.mask.shape) for p in pairs)
    step = 2**config.net.depth
    size = min(config.data.size, smallest // step * step)
    items = Positions(pairs, size, config.augment == "rotations+flips", weights)
    return Loader(items, config.batch, seed, shuffle=shuffle, workers=config.workers if shuffle else 0)


def _state(config: SemConfig, network: ShallowUNet, learning: list[Any], lr: float, steps: int) -> State:
    optimizer = torch.optim.Adam(learning, lr=lr)
    if config.schedule == "constant" or steps == 0:
        return State(net=network, opt=optimizer)
    return State(net=network, opt=optimizer, schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps))


def _step(config: SemConfig) -> Any:
    def loss(state: State, batch: dict[str, Any]) -> torch.Tensor:
        raw = state.net(batch["mask"])
        return interval_loss(raw, batch["target"], config.net.head, config.q_low, config.q_high, batch["weight"])

    plain = one_loss(loss)

    def step(fabric: Any, state: State, batch: dict[str, Any], number: int) -> Any:
        values = plain(fabric, state, batch, number)
        if "schedule" in vars(state):
            state.schedule.step()
        return values

    return step


def _mean_loss(config: SemConfig, network: ShallowUNet, loader: Loader) -> float:
    device = next(network.parameters()).device
    losses = []
    for batch in loader.batches("watch", 0):
        raw = network(batch["mask"].to(device))
        target = batch["target"].to(device)
        losses.append(float(interval_loss(raw, target, config.net.head, config.q_low, config.q_high, None)))
    return float(np.mean(losses))


def _score(config: SemConfig) -> Any:
    return "scaled" if config.method == "scaled" else "cqr"


def _copy(network: Any) -> ShallowUNet:
    import copy

    twin: ShallowUNet = copy.deepcopy(network)
    return twin
