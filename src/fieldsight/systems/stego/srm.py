"""A small trainable detector: the high-pass filters of the Spatial Rich Model in front of a convolutional network.

Filters: Fridrich & Kodovsky 2012, "Rich models for steganalysis of digital images", the 30 linear ones as used by Ye,
Ni & Yi 2017, "Deep learning hierarchical representations for image steganalysis", with its truncated linear unit.
Tensors and arrays only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.engine.seed import rng_for, torch_seed
from fieldsight.errors import ConfigError, DataError
from fieldsight.progress import Task

Array = NDArray[Any]

#: Truncation threshold of the residuals, in grey levels (Ye et al. 2017 use 3 for weak embedding).
TRUNCATION = 3.0

#: Pictures larger than this (in either direction) are scored in tiles, so that memory stays bounded.
TILE = 512

#: The eight neighbours as (row, column) steps, in order of angle.
DIRECTIONS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))

SQUARE3 = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]])
SQUARE5 = np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]])


def srm_kernels() -> NDArray[np.float32]:
    """Make the 30 high-pass kernels of the Spatial Rich Model, normalised by the weight of the centre pixel.

    Order: 8 of first order, 4 of second order, 8 of third order (along :data:`DIRECTIONS`), SQUARE 3x3, 4 EDGE 3x3,
    SQUARE 5x5, 4 EDGE 5x5. Each sums to 0.

    Returns:
        ``(30, 5, 5)``; the smaller ones are centred in zeros.
    """
    kernels = [_line(step, {0: -1, 1: 1}) for step in DIRECTIONS]
    kernels += [_line(step, {-1: 1, 0: -2, 1: 1}) / 2 for step in DIRECTIONS[:4]]
    kernels += [_line(step, {-1: 1, 0: -3, 1: 3, 2: -1}) / 3 for step in DIRECTIONS]
    for square, weight in ((np.pad(SQUARE3, 1), 4), (SQUARE5, 12)):
        edge = square.copy()
        edge[3:] = 0
        kernels += [kernel / weight for kernel in (square, *(np.rot90(edge, turns) for turns in range(4)))]
    return np.stack(kernels).astype(np.float32)


def _line(step: tuple[int, int], weights: dict[int, int]) -> NDArray[np.float64]:
    """A 5x5 kernel with weights at multiples of a step from the centre."""
    kernel = np.zeros((5, 5))
    for times, weight in weights.items():
        kernel[2 + times * step[0], 2 + times * step[1]] = weight
    return kernel


class Block(nn.Module):
    """3x3 convolution without bias, batch normalisation, ReLU, 2x2 average pooling (the last row or column kept)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, ceil(H / 2), ceil(W / 2))``."""
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2, ceil_mode=True)


class SrmNet(nn.Module):
    """Fixed residuals per colour channel, truncation, four blocks, global average pooling, one logit.

    The logit is the difference of the two outputs of a stego/cover softmax, which needs only one output. The filters
    are not trained; they are not part of the state dictionary either, since code makes them.

    Args:
        width: channels of the first block; the later ones have 2, 4 and 4 times as many. 16 gives 73 k parameters.

    Raises:
        ConfigError: a width below 1.
    """

    kernels: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"The detector's width is {width}; it must be at least 1. Use 16.")
        self.width = width
        self.register_buffer("kernels", torch.from_numpy(srm_kernels())[:, None], persistent=False)
        widths = [3 * 30, width, 2 * width, 4 * width, 4 * width]
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in itertools.pairwise(widths)))
        self.head = nn.Linear(widths[-1], 1)

    def residuals(self, x: Tensor) -> Tensor:
        """Truncated residuals: ``(N, 3, H, W)`` in 0-255 to ``(N, 90, H, W)`` within +-:data:`TRUNCATION`."""
        n, channels, height, width = x.shape
        # Zeros beyond the border would make residuals as large as the picture is bright.
        padded = F.pad(x.reshape(n * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
        found = F.conv2d(padded, self.kernels).clamp(-TRUNCATION, TRUNCATION)
        return found.reshape(n, channels * self.kernels.shape[0], height, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` float in 0-255 to logits ``(N,)``; positive means stego."""
        features = self.blocks(self.residuals(x)).mean(dim=(2, 3))
        return self.head(features).squeeze(1)


def train_detector(
    covers: Sequence[Array],
    stegos: Sequence[Array],
    *,
    steps: int = 400,
    seed: int = 0,
    batch: int = 16,
    crop: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    width: int = 16,
) -> SrmNet:
    """Train a detector on covers and their stego pictures, on the CPU.

    Each step takes ``batch / 2`` random covers with their own stego pictures, the same random crop, flip and quarter
    turn for both: the content then cancels and the embedding remains. AdamW with a one-cycle learning rate.

    Args:
        covers, stegos: uint8 ``(H, W, 3)``; the i-th stego picture was made from the i-th cover and has its size.
        steps: optimiser steps.
        seed: weights, crops and order depend on it only.
        batch: pictures a step, covers and stegos together; even.
        crop: side of the square crops; no larger than the smallest side of any picture.
        lr: largest learning rate.
        weight_decay: of AdamW.
        width: see :class:`SrmNet`.

    Returns:
        The detector in evaluation mode.

    Raises:
        DataError: no pictures, unequal numbers or sizes, another type, or a picture smaller than the crop.
        ConfigError: options out of range.
    """
    _check_options(steps, batch, crop, lr, weight_decay)
    _check_pairs(covers, stegos, crop)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "srm"))
        net = SrmNet(width)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
    labels = torch.arange(batch, dtype=torch.float32) % 2
    net.train()
    task = Task("training the detector", steps)
    try:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * _one_cycle(step, steps)
            x = torch.from_numpy(_paired_batch(covers, stegos, batch, crop, seed, step))
            loss = F.binary_cross_entropy_with_logits(net(x), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            task.advance(remark=f"loss {loss.item():.3f}")
    finally:
        task.close()
    return net.eval()


@torch.no_grad()
def scores(net: SrmNet, pictures: Sequence[Array]) -> NDArray[np.float64]:
    """Logit of each picture, larger for stego; the mean over tiles for pictures larger than :data:`TILE`.

    Args:
        net: a detector; its mode is restored afterwards.
        pictures: uint8 ``(H, W, 3)`` of any sizes.

    Returns:
        ``(n,)`` float64.

    Raises:
        DataError: a picture of another type or shape.
    """
    for number, picture in enumerate(pictures):
        _check_picture(picture, f"Picture {number}")
    device = net.head.weight.device
    training = net.training
    net.eval()
    try:
        found = [
            [float(net(_tensor(tile[None]).to(device))) for tile in _tiles(np.asarray(picture))] for picture in pictures
        ]
    finally:
        net.train(training)
    return np.array([np.mean(values) for values in found], dtype=np.float64)


# ---------------------------------------------------------------------------------------------------- parts


def _one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: linear rise over the first tenth, then half a cosine to 0."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _paired_batch(
    covers: Sequence[Array], stegos: Sequence[Array], batch: int, crop: int, seed: int, step: int
) -> NDArray[np.float32]:
    """Cover, its stego, next cover, its stego, ...: ``(batch, 3, crop, crop)`` in 0-255."""
    rng = rng_for(seed, "srm", step)
    pairs = batch // 2
    # A batch goes through distinct pictures first, so that small sets are used evenly.
    rounds = [rng.permutation(len(covers)) for _ in range(-(-pairs // len(covers)))]
    found = np.empty((batch, 3, crop, crop), np.float32)
    for place, index in enumerate(np.concatenate(rounds)[:pairs]):
        height, width = np.asarray(covers[index]).shape[:2]
        top, left = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        for offset, picture in enumerate((covers[index], stegos[index])):
            part = np.rot90(np.asarray(picture)[top : top + crop, left : left + crop], turns)
            part = part[:, ::-1] if flip else part
            found[2 * place + offset] = part.transpose(2, 0, 1)
    return found


def _tensor(pictures: Array) -> Tensor:
    """uint8 ``(N, H, W, 3)`` to float ``(N, 3, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32))


def _tiles(picture: Array) -> Iterator[Array]:
    """Cut a picture into nearly equal tiles of at most :data:`TILE` a side."""
    rows, columns = (np.linspace(0, size, -(-size // TILE) + 1).astype(int) for size in picture.shape[:2])
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            yield picture[top:bottom, left:right]


def _check_picture(picture: Array, name: str) -> None:
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(f"{name} has type {array.dtype} and shape {array.shape}; the detector takes uint8 (H, W, 3).")


def _check_pairs(covers: Sequence[Array], stegos: Sequence[Array], crop: int) -> None:
    if len(covers) != len(stegos):
        raise DataError(f"Each cover needs its stego picture: got {len(covers)} covers and {len(stegos)} stegos.")
    if not len(covers):
        raise DataError("The detector needs at least one pair of cover and stego picture, got none.")
    for number, (cover, stego) in enumerate(zip(covers, stegos, strict=True)):
        _check_picture(cover, f"Cover {number}")
        _check_picture(stego, f"Stego picture {number}")
        size = np.asarray(cover).shape
        if np.asarray(stego).shape != size:
            raise DataError(f"Pair {number}: the cover is {size}, the stego picture {np.asarray(stego).shape}.")
        if min(size[:2]) < crop:
            raise DataError(
                f"Pair {number} is {size[0]} x {size[1]} pixels, smaller than the crop of {crop}. "
                f"Use a crop of at most {min(size[:2])}, or leave the pair out."
            )


def _check_options(steps: int, batch: int, crop: int, lr: float, weight_decay: float) -> None:
    problems = []
    if steps < 1:
        problems.append(f"steps is {steps}; it must be at least 1.")
    if batch < 2 or batch % 2:
        problems.append(f"batch is {batch}; it must be even and at least 2, half covers and half stego pictures.")
    if crop < 8:
        problems.append(f"crop is {crop}; it must be at least 8 pixels.")
    if not 0.0 < lr < math.inf:
        problems.append(f"lr is {lr}; it must be positive.")
    if not 0.0 <= weight_decay < math.inf:
        problems.append(f"weight_decay is {weight_decay}; it must be 0 or larger.")
    if problems:
        raise ConfigError(problems)
