"""Which experts look at which part of a photo: once for a photo, or cell by cell of a large one.

Weights of neighbouring cells are interpolated, so that the mixture changes smoothly and no tile leaves a seam: what a
pixel gets depends on the picture alone, not on how it was cut into tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Pitch of the cells, and what the gate sees around the middle of one, in pixels.
PITCH, VIEW = 256, 512

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Route:
    """Weights of the experts over a picture.

    Attributes:
        gate: the gate's weights ``(rows, columns, M)``; one cell where the photo is routed as a whole.
        mixed: what they are mixed with: zero where an expert is not chosen, summing to 1.
        pitch: pixels from cell to cell.
        out: experts that failed, by their place in the pool.
    """

    gate: Weights
    mixed: Weights
    pitch: int = PITCH
    out: tuple[int, ...] = ()

    @property
    def single(self) -> bool:
        """True where the whole photo has one weighting."""
        return self.mixed.shape[:2] == (1, 1)

    def field(self, rows: slice, columns: slice) -> Weights:
        """Interpolated weights ``(M, h, w)`` of a part of the picture; ``(M, 1, 1)`` where all pixels share them."""
        if self.single:
            return self.mixed[0, 0][:, None, None]
        y, x = (_between(s, n, self.pitch) for s, n in zip((rows, columns), self.mixed.shape[:2], strict=True))
        return np.einsum("ya,abm,xb->myx", y, self.mixed, x, optimize=True).astype(np.float32)

    def needed(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Which experts ``(M,)`` have any weight in a part of the picture."""
        if self.single:
            return self.mixed[0, 0] > 0
        y, x = (
            _between(s, n, self.pitch).any(axis=0) for s, n in zip((rows, columns), self.mixed.shape[:2], strict=True)
        )
        found: NDArray[np.bool_] = np.any(self.mixed[y][:, x] > 0, axis=(0, 1))
        return found

    def without(self, expert: int) -> Route:
        """The same without an expert that failed; weights of the others are scaled to sum to 1.

        Where it was the only one, the gate's next best takes over.
        """
        out = (*self.out, expert)
        mixed, left = self.mixed.copy(), self.gate.copy()
        mixed[..., out] = 0.0
        left[..., out] = -1.0  # below every weight, so that none that failed is ever asked again
        total = mixed.sum(axis=-1, keepdims=True)
        best = np.eye(mixed.shape[-1], dtype=np.float32)[left.argmax(axis=-1)]
        shared = np.where(total > 0, mixed / np.maximum(total, 1e-12), best).astype(np.float32)
        return Route(self.gate, shared, self.pitch, out)

    def usage(self) -> NDArray[np.float64]:
        """Mean mixing weight of each expert over the picture."""
        return self.mixed.reshape(-1, self.mixed.shape[-1]).mean(axis=0, dtype=np.float64)


def cells(shape: tuple[int, int], pitch: int = PITCH, view: int = VIEW) -> Iterator[tuple[int, int, slice, slice]]:
    """Row and column of each cell, and the part of the picture that the gate sees for it."""
    counts = [max(1, round(n / pitch)) for n in shape]
    for row in range(counts[0]):
        for column in range(counts[1]):
            parts = []
            for place, size in zip((row, column), shape, strict=True):
                start = min(max(0, round((place + 0.5) * pitch) - view // 2), max(0, size - view))
                parts.append(slice(start, min(size, start + view)))
            yield row, column, parts[0], parts[1]


def grid(shape: tuple[int, int], pitch: int = PITCH) -> tuple[int, int]:
    """Rows and columns of cells."""
    return max(1, round(shape[0] / pitch)), max(1, round(shape[1] / pitch))


def _between(part: slice, count: int, pitch: int) -> NDArray[np.float32]:
    """Linear interpolation from cell middles to pixels, ``(pixels, cells)``; constant beyond the outer middles."""
    place = np.clip((np.arange(part.start, part.stop) + 0.5) / pitch - 0.5, 0.0, count - 1.0)
    low = np.minimum(place.astype(np.int64), max(0, count - 2))
    share = (place - low).astype(np.float32)
    found = np.zeros((place.size, count), np.float32)
    index = np.arange(place.size)
    found[index, low] = 1.0 - share
    if count > 1:
        found[index, low + 1] += share
    return found
