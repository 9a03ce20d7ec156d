"""What the gate sees of a photo: windows as large as those it learned from, whatever the size of the photo.

A network that averages over a picture gives flatter answers on a larger one than on those of its training. So the gate
judges windows of its training's size, and a photo, or a place of a large one, gets the mean of their weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldsight import progress
from fieldsight.systems.crack.config import CrackConfig
from fieldsight.systems.crack.data import normalise
from fieldsight.systems.crack.inference import Engine, pad, prepared
from fieldsight.systems.crack.photo import Photo
from fieldsight.systems.crack.routes import VIEW, cells, grid

#: Rows and columns of a photo.
Place = tuple[slice, slice]

#: More cells than these are worth a progress bar.
MANY = 64


def windows(view: Tensor, side: int) -> tuple[list[tuple[int, int]], Tensor]:
    """Cut ``(1, 3, H, W)`` into windows ``(N, 3, side, side)`` that cover it, evenly spread; with their corners.

    A dimension smaller than ``side`` stays as it is.
    """
    starts = []
    for size in view.shape[2:]:
        number = -(-size // side)
        starts.append([round(k * (size - side) / (number - 1)) for k in range(number)] if number > 1 else [0])
    corners = [(top, left) for top in starts[0] for left in starts[1]]
    return corners, torch.cat([view[:, :, top : top + side, left : left + side] for top, left in corners])


def weigh(engine: Engine, view: Tensor, side: int) -> NDArray[np.float32]:
    """Eq. 4, the mean over the windows of a view ``(1, 3, H, W)``: weights ``(M,)``."""
    found = engine.weights(windows(view, side)[1]).numpy().astype(np.float64).mean(axis=0)
    return np.asarray(found / found.sum(), np.float32)


def weigh_cells(engine: Engine, photo: Photo, side: int) -> NDArray[np.float32]:
    """Weights of every cell of a large photo ``(rows, columns, M)``; see ``routes.cells``."""
    shape, views = grid(photo.shape), cells(photo.shape)
    number = shape[0] * shape[1]
    tracked = progress.track(views, "choosing experts", number) if number > MANY else views
    found = [weigh(engine, pad(normalise(photo.block(rows, columns))), side) for _, _, rows, columns in tracked]
    return np.stack(found).reshape(*shape, -1)


def pieces(photo: Photo, config: CrackConfig) -> Iterator[tuple[Place, Tensor]]:
    """The photo as the gate takes it, in pieces that do not overlap: place in the photo, ``(1, 3, h, w)``."""
    height, width = photo.shape
    if config.fit == "squash":
        yield (slice(0, height), slice(0, width)), prepared(photo.small(), config)
        return
    for top in range(0, height, VIEW):
        for left in range(0, width, VIEW):
            place = slice(top, min(height, top + VIEW)), slice(left, min(width, left + VIEW))
            yield place, pad(normalise(photo.block(*place)))


def of_picture(picture: NDArray[np.uint8]) -> Photo:
    """A picture in memory ``(H, W, 3)`` as a photo."""
    return Photo((picture.shape[0], picture.shape[1]), lambda rows, columns: picture[rows, columns])
