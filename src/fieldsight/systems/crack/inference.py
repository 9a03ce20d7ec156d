"""Running the gate and the chosen experts on a picture: whole, squashed, or tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.systems.crack.config import CrackConfig
from fieldsight.systems.crack.data import normalise, squash
from fieldsight.systems.crack.sample import Picture

Map = NDArray[np.float32]

#: Height and width of what the networks see must be multiples of this.
STRIDE = 32


class Engine(Protocol):
    """What computes: eager networks, one dense export, or a folder of exported parts."""

    names: tuple[str, ...]

    def weights(self, image: Tensor) -> Tensor:
        """Normalised ``(N, 3, H, W)`` to ``(N, M)``."""
        ...

    def expert(self, name: str, image: Tensor) -> Tensor:
        """Normalised ``(N, 3, H, W)`` to probabilities ``(N, 1, H, W)``."""
        ...


def pad(image: Tensor, stride: int = STRIDE) -> Tensor:
    """Repeat the last row and column until height and width are multiples of the stride."""
    height, width = image.shape[2:]
    below, right = -height % stride, -width % stride
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image


def prepared(picture: Picture, config: CrackConfig) -> Tensor:
    """A picture as the networks take it: squashed to the input size, or padded to the stride."""
    if config.fit == "squash":
        return normalise(squash(picture, config.input))
    return pad(normalise(picture))


def restored(maps: Tensor, shape: tuple[int, int], config: CrackConfig) -> Tensor:
    """Maps ``(N, C, h, w)`` back at a picture's own size: resized bilinear, or without the padding."""
    if config.fit == "squash":
        if tuple(maps.shape[2:]) == tuple(shape):
            return maps
        return F.interpolate(maps, shape, mode="bilinear", align_corners=False)
    return maps[:, :, : shape[0], : shape[1]]


def probability(network: nn.Module, picture: Picture, config: CrackConfig) -> Map:
    """One network's probability map ``(H, W)`` of a picture in one piece, in evaluation mode, without gradients."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(prepared(picture, config).to(device))
        found = restored(torch.sigmoid(logits), (picture.shape[0], picture.shape[1]), config)
    return found[0, 0].cpu().numpy()


def probabilities(
    networks: Mapping[str, nn.Module], pictures: Sequence[Callable[[], Picture]], config: CrackConfig
) -> list[Map]:
    """Maps ``(M, H, W)`` of every picture by all networks, one at a time."""
    for network in networks.values():
        network.eval()
    found = []
    for read in pictures:
        picture = read()
        found.append(np.stack([probability(n, picture, config) for n in networks.values()]))
    return found


def iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0
