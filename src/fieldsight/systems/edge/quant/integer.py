"""A convolution as an integer engine computes it: 8-bit products, sums of 32 bits, rounding half to even.

The reference for the simulation, bit by bit: no float takes part in a sum. Slow and plain on purpose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.edge.quant.grid import Grid

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Pair = tuple[int, int]


def quantize(values: NDArray[np.float32], grid: Grid) -> Int8:
    """Eq. (Q1) and its affine form: ``clip(round(x / s) + zero, low, high)`` of any shape, in float32."""
    rounded = np.rint(np.asarray(values, np.float32) / np.float32(grid.scale)) + np.float32(grid.zero_point)
    return np.clip(rounded, grid.low, grid.high).astype(np.int8)


def dequantize(integers: Int8, grid: Grid) -> NDArray[np.float32]:
    """``s (q - zero)`` of any shape."""
    return (integers.astype(np.float32) - np.float32(grid.zero_point)) * np.float32(grid.scale)


def integer_conv(
    integers: Int8,
    weight: Int8,
    bias: Int32 | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    zero_point: int = 0,
) -> Int32:
    """Sums of a convolution of integers.

    Args:
        integers: ``(N, I, H, W)``.
        weight: ``(O, I / groups, kh, kw)``, zero point 0.
        bias: ``(O,)`` in the unit of the sums.
        stride, padding, dilation: rows and columns, as in ``torch.nn.Conv2d``; padded with real zeros.
        groups: as there.
        zero_point: of ``integers``.

    Returns:
        ``(N, O, H', W')``.

    Raises:
        DataError: not of 8 bits, shapes that do not fit, or a sum beyond 32 bits.
    """
    if integers.dtype != np.int8 or weight.dtype != np.int8:
        raise DataError(f"An integer convolution takes int8; got {integers.dtype} and {weight.dtype}.")
    if integers.ndim != 4 or weight.ndim != 4 or integers.shape[1] != weight.shape[1] * groups:
        raise DataError(f"Shapes {integers.shape} and {weight.shape} with {groups} groups make no convolution.")
    rows, columns = weight.shape[2:]
    spread = [(0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])]
    padded = np.pad(integers.astype(np.int64) - zero_point, spread)
    height = (padded.shape[2] - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (columns - 1) - 1) // stride[1] + 1
    if height < 1 or width < 1:
        raise DataError(f"A kernel of {rows} x {columns} does not fit an input of {integers.shape[2:]}.")
    sums = np.zeros((len(integers), len(weight), height, width), np.int64)
    each_in, each_out = weight.shape[1], len(weight) // groups
    for row in range(rows):
        for column in range(columns):
            top, left = row * dilation[0], column * dilation[1]
            seen = padded[:, :, top :: stride[0], left :: stride[1]][:, :, :height, :width]
            for group in range(groups):
                to = slice(group * each_out, (group + 1) * each_out)
                part = seen[:, group * each_in : (group + 1) * each_in]
                sums[:, to] += np.einsum("nchw,oc->nohw", part, weight[to, :, row, column].astype(np.int64))
    if bias is not None:
        sums += bias.astype(np.int64).reshape(1, -1, 1, 1)
    if np.abs(sums).max(initial=0) > np.iinfo(np.int32).max:
        raise DataError("A sum of this convolution exceeds 32 bits; keep this layer in float.")
    return sums.astype(np.int32)


def to_real(sums: Int32, grid: Grid, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums ``(N, O, H, W)`` to real values: times ``s_x s_w`` of the output channel, in float32."""
    unit = np.asarray(scales, np.float32) * np.float32(grid.scale)
    return sums.astype(np.float32) * unit.reshape(1, -1, 1, 1)


def requantize(sums: Int32, grid: Grid, scales: NDArray[np.float32], output: Grid) -> Int8:
    """Sums ``(N, O, H, W)`` to the output's 8 bits, half to even.

    Args:
        sums: of :func:`integer_conv`.
        grid: of the convolution's input.
        scales: ``(O,)`` of its weights.
        output: grid of the result.
    """
    return quantize(to_real(sums, grid, scales), output)
