"""A running mean of a network's weights, which is steadier than its last step."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


class Ema:
    """Exponential moving average of parameters and floating-point buffers.

    The decay rises with the number of updates, ``decay * (1 - exp(-updates / ramp))``, so that the first steps do not
    weigh on the mean for long. A short run wants a ramp of about a tenth of its steps.

    Args:
        network: whose weights are averaged; the mean is a copy in evaluation mode.
        decay: what the decay rises to, 0 to 1.
        ramp: updates after which it has risen to 63 %.
    """

    def __init__(self, network: nn.Module, decay: float = 0.9999, ramp: float = 2000.0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.ramp, self.updates = decay, ramp, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights; counters and other whole numbers are copied."""
        self.updates += 1
        keep = self.decay * (1.0 - math.exp(-self.updates / self.ramp))
        now = network.state_dict()
        for name, mean in self.network.state_dict().items():
            if mean.dtype.is_floating_point:
                mean.lerp_(now[name].to(mean), 1.0 - keep)
            else:
                mean.copy_(now[name])

    def state_dict(self) -> dict[str, object]:
        """For checkpoints: the mean and the number of updates."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self.updates = int(state["updates"])  # type: ignore[call-overload]
