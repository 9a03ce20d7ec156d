"""The shallow U-Net of section 2.2 and Table A2: mask in, bounds of the picture out. Tensors only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Literal["quantile", "ordered", "median3", "gaussian", "mean"]

#: Channels that each head's last convolution gives.
HEAD_CHANNELS: dict[str, int] = {"quantile": 2, "ordered": 2, "median3": 3, "gaussian": 2, "mean": 1}

#: 95 % quantile of the standard normal: half the width of a 90 % interval in standard deviations.
Z95 = 1.6448536269514722


class Block(nn.Module):
    """Two 3x3 convolutions with zero padding and ReLU; dropout after each where asked for."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.b = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        x = self.dropout(F.relu(self.a(x)))
        return self.dropout(F.relu(self.b(x)))


class ShallowUNet(nn.Module):
    """Encoder, bottleneck and decoder with skips; 118,002 parameters at ``base=16, depth=2`` with two quantiles.

    There is no convolution between up-sampling (nearest) and concatenation, no normalisation, and the output is
    linear, so it may leave 0-1.

    Args:
        base: channels of the first block; they double at each level.
        depth: number of poolings; height and width must be multiples of ``2**depth``.
        head: ``quantile`` (low, high), ``ordered`` (low, low + softplus), ``median3`` (low, median, high),
            ``gaussian`` (mean, log variance) or ``mean`` (one value, for residual and dropout intervals).
        dropout: rate of channel dropout, for Monte-Carlo dropout.
        init: ``glorot`` is Keras' default, which the paper used; ``he`` is He-normal. Biases start at 0.
    """

    def __init__(
        self,
        base: int = 16,
        depth: int = 2,
        head: Head = "quantile",
        dropout: float = 0.0,
        init: Literal["glorot", "he"] = "glorot",
    ) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(depth + 1)]
        self.head: Head = head
        self.depth = depth
        self.encoder = nn.ModuleList(
            Block(i, o, dropout) for i, o in zip([1, *widths[: depth - 1]], widths[:depth], strict=True)
        )
        self.bottleneck = Block(widths[depth - 1], widths[depth], dropout)
        self.decoder = nn.ModuleList(
            Block(widths[level + 1] + widths[level], widths[level], dropout) for level in reversed(range(depth))
        )
        self.out = nn.Conv2d(base, HEAD_CHANNELS[head], 1)
        self.reset(init)

    def reset(self, init: Literal["glorot", "he"] = "glorot") -> None:
        """Draw all weights anew from torch's random numbers; biases become 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                if init == "glorot":
                    nn.init.xavier_uniform_(layer.weight)
                else:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, mask: Tensor) -> Tensor:
        """``(N, 1, H, W)`` in {0, 1} to the head's raw channels ``(N, C, H, W)``; see :func:`bounds`."""
        skips = []
        x = mask
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        return self.out(x)


def bounds(raw: Tensor, head: Head) -> tuple[Tensor, Tensor, Tensor]:
    """Low, middle and high ``(N, H, W)`` from a head's raw channels ``(N, C, H, W)``, before any calibration.

    Crossed quantiles are swapped here, never in the loss. The middle of two quantiles is their mean, as in the
    paper's Eq. 10; ``median3`` gives its own; ``mean`` has no width.
    """
    if head == "gaussian":
        half = Z95 * torch.exp(0.5 * raw[:, 1])
        return raw[:, 0] - half, raw[:, 0], raw[:, 0] + half
    if head == "mean":
        return raw[:, 0], raw[:, 0], raw[:, 0]
    if head == "ordered":
        low, high = raw[:, 0], raw[:, 0] + F.softplus(raw[:, 1])
        return low, 0.5 * (low + high), high
    first, last = raw[:, 0], raw[:, -1]
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    middle = raw[:, 1].clamp(min=low, max=high) if head == "median3" else 0.5 * (low + high)
    return low, middle, high


def parts(network: ShallowUNet) -> dict[str, list[nn.Parameter]]:
    """Parameters by part: ``encoder``, ``bottleneck``, ``decoder`` (with the output layer)."""
    return {
        "encoder": list(network.encoder.parameters()),
        "bottleneck": list(network.bottleneck.parameters()),
        "decoder": [*network.decoder.parameters(), *network.out.parameters()],
    }


def freeze(network: ShallowUNet, what: Literal["encoder+bottleneck", "encoder", "none"]) -> list[nn.Parameter]:
    """Stop gradients into the encoder (Eq. 8) and return the parameters that still learn.

    Figure 3 draws three parts and the text fine-tunes "the decoder and output layers only", so the bottleneck is
    frozen with the encoder (46,210 parameters learn); ``encoder`` leaves it free (101,634).
    """
    frozen = {"encoder+bottleneck": ("encoder", "bottleneck"), "encoder": ("encoder",), "none": ()}[what]
    learning = []
    for name, parameters in parts(network).items():
        for parameter in parameters:
            parameter.requires_grad_(name not in frozen)
            if name not in frozen:
                learning.append(parameter)
    return learning


class Graph(nn.Module):
    """From masks to bounds, whatever the head and however many networks: the part that is exported.

    One network with one pass gives its :func:`bounds`. Several networks (a deep ensemble) or several passes with
    dropout (Monte-Carlo) give the mean of their bounds when these have width, else mean and spread of their values.
    """

    def __init__(self, networks: Sequence[ShallowUNet], passes: int = 1) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.head: Head = networks[0].head
        self.passes = passes

    def forward(self, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(N, 1, H, W)`` to low, middle and high, each ``(N, H, W)``, uncalibrated."""
        if len(self.networks) == 1 and self.passes == 1:
            return bounds(self.networks[0](mask), self.head)
        found = [bounds(raw, self.head) for raw in self._samples(mask)]
        low, middle, high = (torch.stack(part) for part in zip(*found, strict=True))
        if self.head not in ("mean", "gaussian"):
            return low.mean(0), middle.mean(0), high.mean(0)
        # a mixture of normals: spread of the means, and for `gaussian` the mean variance
        within = ((high - low) / (2.0 * Z95)).square().mean(0)
        half = Z95 * torch.sqrt(within + middle.var(0, unbiased=False))
        return middle.mean(0) - half, middle.mean(0), middle.mean(0) + half

    def _samples(self, mask: Tensor) -> list[Tensor]:
        if self.passes == 1:
            return [network(mask) for network in self.networks]
        drawn = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same masks of dropout for every picture: a prediction can be repeated
            for network in self.networks:
                dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout2d)]
                for layer in dropouts:
                    layer.train()
                drawn += [network(mask) for _ in range(self.passes)]
                for layer in dropouts:
                    layer.eval()
        return drawn
