"""The mixture as one network: the gate, and every expert side by side. Tensors only.

Prediction runs the chosen experts alone (:mod:`fieldsight.systems.crack.inference`); this dense form is what is
exported in one piece, and what the sparse one is held against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Dense(nn.Module):
    """Gate and experts on the same picture.

    Args:
        gate: gives logits ``(N, M)``.
        experts: by name, in the gate's order; each gives logits ``(N, 1, H, W)``.
        temperature: of the softmax over the gate's logits.
    """

    def __init__(self, gate: nn.Module, experts: Mapping[str, nn.Module], temperature: float = 1.0) -> None:
        super().__init__()
        self.gate = gate
        self.experts = nn.ModuleList(experts.values())
        self.temperature = temperature

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised ``(N, 3, H, W)`` to weights ``(N, M)`` (Eq. 4) and probability maps ``(N, M, H, W)``."""
        weights = torch.softmax(self.gate(image) / self.temperature, dim=1)
        maps = torch.cat([torch.sigmoid(expert(image)) for expert in self.experts], dim=1)
        return weights, maps


class GateOnly(nn.Module):
    """The gate alone, for exports."""

    def __init__(self, gate: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.gate = gate
        self.temperature = temperature

    def forward(self, image: Tensor) -> Tensor:
        """Normalised ``(N, 3, H, W)`` to weights ``(N, M)``."""
        return torch.softmax(self.gate(image) / self.temperature, dim=1)


class ExpertOnly(nn.Module):
    """One expert alone, for exports."""

    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, image: Tensor) -> Tensor:
        """Normalised ``(N, 3, H, W)`` to probabilities ``(N, 1, H, W)``."""
        return torch.sigmoid(self.expert(image))


def freeze(parameters: list[nn.Parameter], network: nn.Module) -> None:
    """Stop gradients into parameters, and put layers of which all parameters are frozen into evaluation mode.

    Statistics of a frozen BatchNorm would leak otherwise; call it again after each ``train()``.
    """
    frozen = {id(p) for p in parameters}
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in network.modules():
        own = list(module.parameters())
        if own and all(id(p) in frozen for p in own):
            module.eval()


def set_prior(network: nn.Module, share: float) -> None:
    """Let an untrained expert begin with the share of crack as its probability everywhere (Lin et al. 2017, 3.3)."""
    with torch.no_grad():
        for layer in network.modules():
            if (
                isinstance(layer, nn.Conv2d)
                and layer.out_channels == 1
                and layer.kernel_size == (1, 1)
                and layer.bias is not None
            ):
                layer.bias.fill_(math.log(share / (1.0 - share)))
                layer.weight.mul_(0.1)
