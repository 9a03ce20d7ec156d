"""Small pools for tests: untrained experts, and a network that finds what is dark."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldsight.systems.crack.config import PRESETS, CrackConfig
from fieldsight.systems.crack.model import set_prior
from fieldsight.systems.crack.predict import CrackModel

FOUR = ("cen", "crackrefine", "unet", "deepcrack")


def config(pool: tuple[str, ...] = ("cen", "crackrefine"), **changes: Any) -> CrackConfig:
    """The tiny preset with another pool."""
    return PRESETS["tiny"].replace(pool=pool, **changes)


def untrained(pool: tuple[str, ...] = ("cen", "crackrefine"), **changes: Any) -> CrackModel:
    """A pool whose maps are noise around 1/2 and whose gate's weights differ from photo to photo."""
    model = CrackModel.create(config(pool, **changes))
    for name, network in model.networks.items():
        if name == "gate":
            with torch.no_grad():
                last = network.head[-1]
                last.weight.mul_(2.0)
        else:
            set_prior(network, 0.5)
            with torch.no_grad():
                for layer in network.modules():
                    if isinstance(layer, nn.Conv2d) and layer.out_channels == 1 and layer.kernel_size == (1, 1):
                        layer.weight.mul_(800.0)
    return model


class Dark(nn.Module):
    """Probability 1 where a pixel is darker than a threshold of normalised brightness, 0 elsewhere; as logits."""

    def __init__(self, below: float = -1.0, steep: float = 40.0) -> None:
        super().__init__()
        self.below, self.steep = below, steep

    def forward(self, x: Tensor) -> Tensor:
        return self.steep * (self.below - x.mean(dim=1, keepdim=True))


def seeing(pool: tuple[str, ...] = ("cen", "crackrefine"), **changes: Any) -> CrackModel:
    """A pool whose experts all find what is dark."""
    model = CrackModel.create(config(pool, **changes))
    for n, name in enumerate(pool):
        model.networks[name] = Dark(-1.0 + 0.1 * n).eval()
    return model


class Broken(nn.Module):
    """Fails from its ``after``-th call on: raises, or gives NaN or a map that is too small."""

    def __init__(self, inner: nn.Module, how: str = "raise", after: int = 0) -> None:
        super().__init__()
        self.inner, self.how, self.left = inner, how, after

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        found = self.inner(x)
        if self.left >= 0:
            return found
        if self.how == "raise":
            raise RuntimeError("the network burst")
        return found[:, :, :8, :8] if self.how == "small" else torch.where(found > found.median(), torch.nan, found)


def cracked(height: int = 96, width: int = 160, shade: int = 150, dark: int = 20) -> np.ndarray:
    """A grey photo ``(H, W, 3)`` with a dark band 5 px high at row 20, and one 4 px wide at column 100."""
    picture = np.full((height, width, 3), shade, np.uint8)
    picture[20:25, 10:90] = dark
    picture[10 : height - 10, 100:104] = dark
    return picture


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A photo of noise with slow shades."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shade = 120 + 60 * np.sin(x / 90.0) * np.cos(y / 70.0)
    return np.clip(shade[..., None] + rng.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
