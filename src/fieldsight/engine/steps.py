"""Ready-made steps for the common case: one loss, one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import Step

#: ``loss(state, batch) -> loss or {"loss": ..., more to log}``.
Loss = Callable[[State, dict[str, Any]], Tensor | Mapping[str, Tensor]]


def one_loss(
    loss: Loss,
    *,
    network: str = "net",
    optimizer: str = "opt",
    accumulate: int = 1,
    clip: float | None = None,
    schedule: str = "",
) -> Step:
    """A step that minimises one loss with one optimiser.

    Args:
        loss: computes the loss of a batch; a mapping must hold ``"loss"``.
        network, optimizer: names in the state.
        accumulate: batches whose gradients are summed (and divided by their number) before an optimiser step.
        clip: largest norm of the gradient.
        schedule: name in the state of a learning-rate schedule that goes on after every optimiser step, if it is there.
    """

    def step(fabric: Any, state: State, batch: dict[str, Any], number: int) -> Mapping[str, Tensor | float]:
        result = loss(state, batch)
        values: Mapping[str, Tensor] = {"loss": result} if isinstance(result, Tensor) else result
        fabric.backward(values["loss"] / accumulate)
        if (number + 1) % accumulate == 0:
            opt = getattr(state, optimizer)
            if clip is not None:
                fabric.clip_gradients(getattr(state, network), opt, max_norm=clip, error_if_nonfinite=False)
            opt.step()
            opt.zero_grad()
            if schedule and schedule in vars(state):
                getattr(state, schedule).step()
        return {name: value.detach() for name, value in values.items()}

    return step
