"""Arrays larger than memory: mapped to a file, written and read in bands of rows."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic

#: Arrays above this size live in a temporary file instead of memory.
IN_MEMORY = 256 * 2**20

Array = NDArray[Any]


def allocate(shape: tuple[int, ...], dtype: Any = np.float32, limit: int = IN_MEMORY) -> Array:
    """An empty array, in memory up to ``limit`` bytes, else mapped to a temporary file that goes with it."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= limit:
        return np.empty(shape, dtype=dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps the unnamed file alive
        file.truncate(size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def release(array: Array) -> None:
    """Give back the memory of a mapped array's pages; its content stays in the file. No effect on others."""
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mapping, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError, ValueError):
            mapping.madvise(mmap.MADV_DONTNEED)


def bands(height: int, width: int, itemsize: int = 4, budget: int = 32 * 2**20) -> Iterator[slice]:
    """Row slices that cover ``height`` rows in pieces of at most ``budget`` bytes."""
    rows = max(1, budget // max(1, width * itemsize))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def write_tiff(path: str | Path, array: Array, description: str = "") -> Path:
    """Write a float or integer ``(H, W)`` array as an uncompressed TIFF, band by band, in bounded memory."""
    import tifffile

    with atomic(path) as temporary:
        if array.nbytes <= IN_MEMORY:
            tifffile.imwrite(temporary, array, photometric="minisblack", description=description, metadata=None)
            return Path(path)
        target = tifffile.memmap(
            temporary, shape=array.shape, dtype=array.dtype, photometric="minisblack", description=description,
            metadata=None,
        )  # fmt: skip
        for rows in bands(array.shape[0], array.shape[1], array.itemsize):
            target[rows] = array[rows]
            target.flush()
            release(target)
            release(array)
        del target
    return Path(path)


def thumbnail(array: Array, longest: int = 1024) -> Array:
    """Mean over blocks so that the longer side has at most about ``longest`` pixels, read band by band."""
    step = max(1, int(np.ceil(max(array.shape[:2]) / longest)))
    if step == 1:
        return np.asarray(array)
    height, width = array.shape[0] // step * step, array.shape[1] // step * step
    rest = array.shape[2:]
    rows = []
    for start in range(0, height, step):
        block = np.asarray(array[start : start + step, :width], dtype=np.float32)
        rows.append(block.reshape(step, width // step, step, *rest).mean(axis=(0, 2)))
        if start % (64 * step) == 0:
            release(array)
    return np.stack(rows)
