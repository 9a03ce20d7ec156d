"""The 8-bit grid: Eq. (Q1), its affine form, and scales of weights. Rounding is half to even throughout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldsight.errors import DataError

#: Largest integer of the symmetric grid; -128 is left out so that the grid is symmetric.
LEVELS = 127


@dataclass(frozen=True)
class Grid:
    """One scale and zero point for a whole tensor.

    Attributes:
        scale: step ``s`` in the tensor's unit, positive, a float32 number.
        zero_point: the integer of real 0.
        low, high: least and largest integer.
    """

    scale: float
    zero_point: int = 0
    low: int = -LEVELS
    high: int = LEVELS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise DataError(f"The scale of a grid is positive and finite; got {self.scale!r}.")
        if not -128 <= self.low <= self.zero_point <= self.high <= 127:
            raise DataError(f"A grid of 8 bits lies in -128..127; got {self.low}..{self.high}, zero {self.zero_point}.")

    @classmethod
    def symmetric(cls, bound: float, low: int = -LEVELS) -> Grid:
        """Eq. (Q1): ``s = bound / 127``, integers -127..127. A bound of 0 (a dead tensor) gives ``s = 1``.

        Args:
            bound: largest absolute value.
            low: -128 for the integers of ONNX's QuantizeLinear, with the same scale.

        Raises:
            DataError: a bound below 0 or not finite.
        """
        return cls(float(_scale(np.float32(bound), LEVELS)), low=low)

    @classmethod
    def affine(cls, low: float, high: float) -> Grid:
        """``s = (high - low) / 255``, ``zero = round(-128 - low / s)``; the range is widened to hold 0.

        Jacob et al., arXiv:1712.05877, Eq. 1 and section 3: real zero has an exact integer, so that padding is exact.

        Raises:
            DataError: ``low > high``, or not finite.
        """
        if not low <= high:
            raise DataError(f"A range goes from low to high; got {low!r} to {high!r}.")
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(_scale(np.float32(high - low), 255))
        zero = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        return cls(scale, zero, -128, 127)

    @property
    def reach(self) -> int:
        """Largest distance of an integer from the zero point."""
        return max(self.zero_point - self.low, self.high - self.zero_point)

    def quantize(self, values: Tensor) -> Tensor:
        """Integers of real values, as numbers of float type: ``clip(round(x / s) + zero, low, high)``."""
        return (values / self.scale).round_().add_(self.zero_point).clamp_(self.low, self.high)

    def dequantize(self, integers: Tensor) -> Tensor:
        """``s (q - zero)`` in float32."""
        return (integers.to(torch.float32) - self.zero_point) * self.scale

    def fake(self, values: Tensor) -> Tensor:
        """Quantise and dequantise; the gradient passes inside the range and stops outside (straight through)."""
        if torch.is_grad_enabled() and values.requires_grad:
            return fake_quantize(values, torch.tensor(self.scale, device=values.device), self)
        return self.quantize(values).sub_(self.zero_point).mul_(self.scale)


class _StraightThrough(torch.autograd.Function):
    """Bengio et al., arXiv:1308.3432: rounding has the gradient of the identity."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, scale: Tensor, grid: Grid) -> Tensor:
        """Round to the grid, and remember what lies inside."""
        rounded = (values / scale).round() + grid.zero_point
        ctx.save_for_backward((rounded >= grid.low) & (rounded <= grid.high))
        return (rounded.clamp(grid.low, grid.high) - grid.zero_point) * scale

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient where the value was inside, 0 elsewhere."""
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]  # typed for forward only
        return gradients[0] * inside, None, None


def fake_quantize(values: Tensor, scale: Tensor, grid: Grid | None = None) -> Tensor:
    """Round to a grid with a straight-through gradient.

    Args:
        values: any shape.
        scale: positive, of a shape that broadcasts against ``values``.
        grid: gives zero point and integers; by default Eq. (Q1). Its own scale is not looked at.
    """
    rounded: Tensor = _StraightThrough.apply(values, scale, grid or Grid(1.0))  # type: ignore[no-untyped-call]
    return rounded


def weight_scales(weight: Tensor, per_channel: bool = True) -> Tensor:
    """Scales of weights: ``max|w| / 127`` of each output channel, or of all.

    Args:
        weight: ``(O, I, kh, kw)``.
        per_channel: False gives all channels the scale of the largest.

    Returns:
        ``(O,)`` float32; 1 where all weights are 0.

    Raises:
        DataError: weights that are not finite.
    """
    largest = weight.detach().abs().flatten(1).amax(1).to(torch.float32)
    if not bool(largest.isfinite().all()):
        raise DataError("Weights hold values that are not finite; the network can't be quantised. Train it anew.")
    if not per_channel:
        largest = largest.amax().expand_as(largest)
    scales = largest / LEVELS
    return torch.where(scales > 0, scales, torch.ones_like(scales))


def quantize_weight(weight: Tensor, scales: Tensor) -> Tensor:
    """Eq. (Q1) by output channel: integers -127..127 of ``(O, I, kh, kw)``, as numbers of float type."""
    shape = (-1, *[1] * (weight.ndim - 1))
    return (weight.detach() / scales.view(shape)).round_().clamp_(-LEVELS, LEVELS)


def _scale(extent: np.float32, steps: int) -> np.float32:
    if not (np.isfinite(extent) and extent >= 0):
        raise DataError(f"The extent of a range is finite and not below 0; got {float(extent)!r}.")
    scale = extent / np.float32(steps)
    # an extent so small that the step vanishes or has few digits is a dead tensor, too
    return scale if scale >= np.finfo(np.float32).tiny else np.float32(1.0)
