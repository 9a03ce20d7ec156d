"""The training loop: one function that a system's own program calls as often as its method has stages.

    state = State(net=net, opt=opt)
    fit(state, step, loader, stage="baseline", until=Epochs(50), run=run)

The step is the system's own: forward, backward, optimiser steps, with as many optimisers as it likes. ``fit`` adds
what every training needs: devices through Lightning Fabric, chance that depends on (seed, stage, step), checkpoints
that resume to the same bits, early stopping, logs, progress, and a clean stop on Ctrl-C.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import (
    State,
    copy_tree,
    gradients,
    load_checkpoint,
    restore_gradients,
    save_checkpoint,
)
from fieldsight.engine.seed import torch_seed
from fieldsight.errors import ConfigError, RunError
from fieldsight.run import Devices, Run, is_main

#: ``step(fabric, state, batch, number) -> values to log``; ``batch`` is on the device, ``number`` counts from 0.
Step = Callable[[Any, State, dict[str, Any], int], Mapping[str, Tensor | float]]

#: ``validate(state) -> values``; called in evaluation mode without gradients.
Validate = Callable[[State], Mapping[str, float]]


@dataclass(frozen=True)
class Steps:
    """Train for a number of optimiser steps."""

    count: int


@dataclass(frozen=True)
class Epochs:
    """Train for a number of passes over the loader."""

    count: int


@dataclass(frozen=True)
class EarlyStop:
    """Stop when a value has not improved for a while.

    Attributes:
        monitor: a key of what ``validate`` returns, or of the step's values (their mean over the epoch).
        patience: epochs without improvement after which to stop.
        min_delta: smallest change that counts.
        mode: whether ``min`` or ``max`` is better.
        restore_best: end with the best epoch's state, not the last one's.
    """

    monitor: str
    patience: int = 5
    min_delta: float = 0.0
    mode: Literal["min", "max"] = "min"
    restore_best: bool = True

    def better(self, new: float, best: float | None) -> bool:
        """True when ``new`` improves on ``best`` by more than ``min_delta``; NaN never does."""
        if best is None:
            return not math.isnan(new)
        return new < best - self.min_delta if self.mode == "min" else new > best + self.min_delta


@dataclass
class Progress:
    """Where a stage stands; all of it is in every checkpoint."""

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    done: bool = False
    sums: dict[str, float] = field(default_factory=dict)


def fit(
    state: State,
    step: Step,
    loader: Loader,
    *,
    stage: str,
    until: Steps | Epochs,
    run: Run | None = None,
    validate: Validate | None = None,
    stop: EarlyStop | None = None,
    save_seconds: float = 60.0,
    save_steps: int | None = None,
    devices: Devices | None = None,
) -> Progress:
    """Train ``state`` in place; returns where it ended.

    Called on a stage that a run has finished, it loads the finished state and returns at once; on one that was cut
    off, it goes on from the last checkpoint, batch by batch as if nothing had happened.

    Args:
        state: networks, optimisers and all else that changes; see :class:`State`.
        step: one optimiser step (or several, for adversaries).
        loader: where batches come from.
        stage: name of the stage, unique in the run.
        until: when to end.
        run: folder for checkpoints and logs; None keeps nothing.
        validate: called after every epoch; its values are logged and may be monitored.
        stop: early stopping.
        save_seconds: write a checkpoint at the first step after so many seconds.
        save_steps: and after every so many steps.
        devices: where to compute; by default the run's.

    Raises:
        RunError: a checkpoint that can't be read or does not fit; a loss that is not finite.
        KeyboardInterrupt: after Ctrl-C, when the present step is done and saved.
    """
    where = devices or (run.devices if run is not None else Devices())
    loop = _Loop(state, step, loader, stage, until, run, validate, stop, save_seconds, save_steps)
    if loop.recall():
        return loop.at
    loop.prepare(_fabric(run, where))
    with _stop_signals() as interrupted, torch.random.fork_rng():
        loop.go(interrupted)
    return loop.at


class _Loop:
    """The parts of one call of ``fit`` that change together."""

    def __init__(
        self,
        state: State,
        step: Step,
        loader: Loader,
        stage: str,
        until: Steps | Epochs,
        run: Run | None,
        validate: Validate | None,
        stop: EarlyStop | None,
        save_seconds: float,
        save_steps: int | None,
    ) -> None:
        self.state, self.step, self.loader, self.stage, self.run = state, step, loader, stage, run
        self.validate, self.stop = validate, stop
        self.save_seconds, self.save_steps = save_seconds, save_steps
        self.total = until.count if isinstance(until, Steps) else until.count * len(loader)
        self.at = Progress()
        self.saved = time.monotonic()
        self.resumed = 0.0
        self.best_tree: dict[str, Any] | None = None
        self.last_values: dict[str, float] = {}

    # ---------------------------------------------------------------------------------------- checkpoints

    def folder(self, name: str) -> Path:
        assert self.run is not None
        return self.run.stage(self.stage) / name

    def recall(self) -> bool:
        """Load the finished state, or the last checkpoint of an unfinished one; True when nothing is left to do."""
        if self.run is None:
            return False
        for name in ("final", "last"):
            if (self.folder(name) / "state.json").is_file():
                tree, loop = load_checkpoint(self.folder(name))
                self.state.restore(tree["state"])
                restore_gradients(self.state, tree["gradients"])
                self.at = Progress(**loop)
                if name == "final":
                    return True
                self.run.rewind(self.stage, self.at.step)
                return False
        self.run.rewind(self.stage, 0)
        return False

    def save(self, name: str) -> None:
        self.at.seconds += time.monotonic() - self.resumed
        self.resumed = time.monotonic()
        if self.run is not None and is_main():
            tree = {"state": self.state.capture(), "gradients": gradients(self.state)}
            save_checkpoint(self.folder(name), tree, vars(self.at))
        self.saved = time.monotonic()

    # ------------------------------------------------------------------------------------------- the loop

    def prepare(self, fabric: Any) -> None:
        """Move the state to the device; what the step sees are Fabric's wraps of the same parameters."""
        self.fabric = fabric
        wrapped: dict[str, Any] = {}
        for name, part in self.state.parts():
            if isinstance(part, nn.Module):
                learns = any(p.requires_grad for p in part.parameters())
                wrapped[name] = fabric.setup_module(part) if learns else part.to(fabric.device)
            elif isinstance(part, torch.optim.Optimizer):
                # Fabric's own wrap of the optimiser; moved after its parameters were
                _optimizer_to(part, fabric.device)
                wrapped[name] = fabric.setup_optimizers(part)
            else:
                wrapped[name] = part
        self.wrapped = State(**wrapped)

    def go(self, interrupted: threading.Event) -> None:
        self.resumed = time.monotonic()
        task = progress.Task(f"training {self.stage}", self.total, self.at.step)
        try:
            # a stage cut off behind its last batch still owes the end of that epoch
            while (self.at.step < self.total and not self._stopped()) or self.at.in_epoch:
                self._epoch(task, interrupted)
        finally:
            task.close()
        self._end()

    def _epoch(self, task: progress.Task, interrupted: threading.Event) -> None:
        at, fabric = self.at, self.fabric
        for module in self.state.modules().values():
            module.train()
        batches = self.loader.batches(self.stage, at.epoch, at.in_epoch, fabric.global_rank, fabric.world_size)
        for batch in batches:
            if at.step >= self.total or at.in_epoch >= len(self.loader):
                break
            torch.manual_seed(torch_seed(self.loader.seed, self.stage, "step", at.step, fabric.global_rank))
            values = self.step(fabric, self.wrapped, fabric.to_device(batch), at.step)
            self._share_plain()
            self._sum(values)
            at.step += 1
            at.in_epoch += 1
            task.advance(remark=_remark(values))
            if interrupted.is_set():
                self.save("last")
                raise KeyboardInterrupt
            overdue = time.monotonic() - self.saved >= self.save_seconds
            if overdue or (self.save_steps and at.step % self.save_steps == 0):
                self.save("last")
        self._close_epoch()

    def _share_plain(self) -> None:
        """Plain values that the step changed on the wrapped state go back to the state that is saved."""
        for name, part in self.wrapped.parts():
            if not hasattr(part, "state_dict"):
                setattr(self.state, name, part)

    def _sum(self, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            number = float(value)
            if not math.isfinite(number):
                raise RunError(
                    f"'{name}' became {number} at step {self.at.step} of stage '{self.stage}'. "
                    "Lower the learning rate, or look for broken values in the data."
                )
            self.at.sums[name] = self.at.sums.get(name, 0.0) + number

    def _close_epoch(self) -> None:
        at = self.at
        means = {name: total / max(at.in_epoch, 1) for name, total in at.sums.items()}
        if self.fabric.world_size > 1 and means:  # every device must come to the same verdict
            together = self.fabric.all_reduce(torch.tensor(list(means.values()), dtype=torch.float64))
            means = dict(zip(means, together.tolist(), strict=True))
        at.epoch, at.in_epoch, at.sums = at.epoch + 1, 0, {}
        if self.validate is not None:
            means.update(self._validate())
        self.last_values = means
        if self.run is not None:
            self.run.log({"stage": self.stage, "step": at.step, "epoch": at.epoch, **means})
        if self.stop is not None:
            self._judge(means)

    def _validate(self) -> dict[str, float]:
        assert self.validate is not None
        modules = self.state.modules().values()
        for module in modules:
            module.eval()
        torch.manual_seed(torch_seed(self.loader.seed, self.stage, "validate", self.at.epoch))
        with torch.no_grad():
            values = {name: float(value) for name, value in self.validate(self.state).items()}
        for module in modules:
            module.train()
        return values

    def _judge(self, values: Mapping[str, float]) -> None:
        assert self.stop is not None
        at, stop = self.at, self.stop
        if stop.monitor not in values:
            raise ConfigError(f"Early stopping watches '{stop.monitor}', which is not among {', '.join(values)}.")
        if stop.better(values[stop.monitor], at.best):
            at.best, at.best_step, at.stale = values[stop.monitor], at.step, 0
            if stop.restore_best:
                if self.run is not None:
                    self.save("best")
                else:
                    self.best_tree = copy_tree(self.state.capture())
        else:
            at.stale += 1

    def _stopped(self) -> bool:
        return self.stop is not None and self.at.stale >= self.stop.patience

    def _end(self) -> None:
        at = self.at
        if self.stop is not None and self.stop.restore_best and at.best is not None:
            if self.run is not None:
                self.fabric.barrier()
                tree, _ = load_checkpoint(self.folder("best"))
                self.state.restore(tree["state"])
            elif self.best_tree is not None:
                self.state.restore(self.best_tree)
        for module in self.state.modules().values():
            module.eval()
        at.done = True
        self.save("final")
        if self.run is not None:
            self.run.record(
                stages={self.stage: {"steps": at.step, "epochs": at.epoch, "seconds": round(at.seconds, 2)}}
            )
            self.fabric.barrier()  # the others may still be reading the best weights
            if is_main():
                for name in ("last", "best"):
                    shutil.rmtree(self.folder(name), ignore_errors=True)


# ---------------------------------------------------------------------------------------------- internals


def _fabric(run: Run | None, where: Devices) -> Any:
    """The process's Fabric, made once a run. Imported here: its import costs more than torch's."""
    if run is not None and run.fabric is not None:
        return run.fabric
    from lightning_fabric import Fabric

    accelerator = where.accelerator
    if accelerator == "auto" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        accelerator = "cpu"
    if accelerator == "cpu" and where.precision not in ("32-true", "32", "64-true"):
        raise ConfigError(
            f"precision: {where.precision} is many times slower than 32-true on a CPU. Use it on a GPU only."
        )
    fabric = Fabric(
        accelerator=accelerator,
        devices=where.count,
        num_nodes=where.nodes,
        precision=where.precision,
        strategy=where.strategy,
    )
    fabric.launch()
    if run is not None:
        run.fabric = fabric
    return fabric


def _optimizer_to(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    for values in optimizer.state.values():
        for key, value in values.items():
            # Adam's step counter stays on the CPU unless it was asked for elsewhere
            if isinstance(value, Tensor) and key != "step":
                values[key] = value.to(device)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and a polite kill into a flag that the loop looks at between steps; a second one acts at once."""
    flag = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, remember)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remark(values: Mapping[str, Tensor | float]) -> str:
    return "  ".join(f"{name} {float(value):.4g}" for name, value in values.items())
