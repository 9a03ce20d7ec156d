"""Large fields in tiles: what to read, what to keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """A piece of a field.

    Attributes:
        read: rows and columns to compute, with halo, inside the field.
        keep: rows and columns of the field that this tile fills.
        inner: where ``keep`` lies inside ``read``.
    """

    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(shape: tuple[int, int], size: int, halo: int) -> Iterator[Tile]:
    """Cover ``(H, W)`` with tiles of ``size`` pixels and ``halo`` pixels around, row by row.

    Reads never leave the field, so that a network meets the same border there as without tiling. ``size`` and
    ``halo`` must be multiples of the network's stride, so that its grid lies the same in every tile.
    """
    height, width = shape
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            y0, x0 = max(0, top - halo), max(0, left - halo)
            y1, x1 = min(height, bottom + halo), min(width, right + halo)
            yield Tile(
                read=(slice(y0, y1), slice(x0, x1)),
                keep=(slice(top, bottom), slice(left, right)),
                inner=(slice(top - y0, bottom - y0), slice(left - x0, right - x0)),
            )


def count(shape: tuple[int, int], size: int) -> int:
    """Number of tiles that :func:`tiles` gives."""
    return -(-shape[0] // size) * -(-shape[1] // size)
