"""Ranges of activations from streaming histograms of bounded memory.

The histogram has bins whose width is a power of two, so that widening it by joining bins gives exactly what counting
in the wider bins would have given: the result depends on the values met, not on their order or on the batches.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldsight.errors import DataError
from fieldsight.systems.edge.quant.grid import LEVELS, Grid
from fieldsight.systems.edge.quant.scheme import Scheme

Counts = NDArray[np.int64]

#: Bins on each side of zero.
BINS = 4096

#: Candidate thresholds of the entropy observer: from so many bins to so many (TensorRT's 8-bit calibrator).
ENTROPY_BINS = (128, 2048)

#: Bins from one candidate of the entropy observer to the next: 0.4 % of the range, a tenth of the time.
ENTROPY_STEP = 8

#: Candidate ranges of the MSE observer, as shares of the largest value.
MSE_SHARES = tuple(np.linspace(0.05, 1.0, 96).tolist())

_PIECE = 1 << 22  # values counted at once
_SMOOTH = 1e-4
_LEAST = -100  # exponent of the narrowest range: below 1e-30 all is zero


class Histogram:
    """Counts of values, exact minimum and maximum; 64 kB whatever it is fed.

    Attributes:
        low, high: exact minimum and maximum met, 0 included.
        count: number of values met.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.count = 0
        self._sides: Counts = np.zeros((2, BINS), np.int64)  # values below zero by size, all others
        self._exponent = _LEAST

    def update(self, values: Tensor) -> None:
        """Count the values of a tensor of any shape.

        Raises:
            DataError: values that are not finite.
        """
        flat = values.detach().reshape(-1).to(torch.float32)
        if not flat.numel():
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError("Activations are not finite on a calibration picture; the network can't be quantised.")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        self._widen(math.frexp(largest)[1] if largest else _LEAST)
        scale = math.ldexp(BINS, -self._exponent)
        for piece in torch.split(flat, _PIECE):
            # |x| < 2^exponent, so the index stays below BINS; a product with a power of two is exact
            index = (piece.abs() * scale).to(torch.int64).add_((piece >= 0).to(torch.int64), alpha=BINS)
            self._sides += torch.bincount(index, minlength=2 * BINS).cpu().numpy().reshape(2, BINS)
        self.count += flat.numel()

    def _widen(self, exponent: int) -> None:
        if not self._sides[:, 1:].any():  # so far zeros only, or nothing
            self._exponent = max(self._exponent, exponent)
        while self._exponent < exponent:
            joined = self._sides.reshape(2, -1, 2).sum(axis=2)
            self._sides = np.concatenate([joined, np.zeros_like(joined)], axis=1)
            self._exponent += 1

    @property
    def width(self) -> float:
        """Width of a bin, a power of two."""
        return math.ldexp(1.0, self._exponent) / BINS

    @property
    def largest(self) -> float:
        """Largest absolute value met."""
        return max(-self.low, self.high)

    def magnitudes(self) -> Counts:
        """Counts of absolute values ``(4096,)``, bin ``i`` from ``i`` to ``i + 1`` widths."""
        return self._sides.sum(axis=0)

    def signed(self) -> tuple[NDArray[np.float64], Counts]:
        """Middles of all bins from negative to positive ``(8192,)``, and their counts."""
        counts = np.concatenate([self._sides[0, ::-1], self._sides[1]])
        middles = (np.arange(-BINS, BINS) + 0.5) * self.width
        return np.clip(middles, self.low, self.high), counts


def choose_grid(seen: Histogram, scheme: Scheme) -> Grid:
    """The grid that a scheme gives a tensor; see the functions below for each observer.

    Raises:
        DataError: nothing was counted.
    """
    if not seen.count:
        raise DataError("No value was observed: calibrate with at least one picture.")
    affine = scheme.activations == "affine"
    if scheme.observer == "percentile":
        low, high = percentile_range(seen, scheme.percentile, affine)
    elif scheme.observer == "entropy":
        bound = entropy_bound(seen)
        low, high = max(seen.low, -bound), min(seen.high, bound)
    elif scheme.observer == "mse":
        low, high = mse_range(seen, affine)
    else:
        low, high = seen.low, seen.high
    if affine:
        return Grid.affine(low, high)
    # ONNX's QuantizeLinear knows no -127: it saturates at the type's least integer
    return Grid.symmetric(max(-low, high), -128 if scheme.engine == "onnxruntime" else -LEVELS)


def percentile_range(seen: Histogram, percentile: float, affine: bool = False) -> tuple[float, float]:
    """The range that holds a share of the values.

    Symmetric: the percentile of the absolute values. Affine: half of what is cut off lies at each end. A tensor that is
    nearly always 0 would get an empty range; it keeps its minimum and maximum.

    Args:
        seen: the histogram.
        percentile: 99.9 to 99.999 is usual; 100 is min-max.
        affine: see above.

    Returns:
        Low and high, interpolated inside a bin.
    """
    share = percentile / 100
    if affine:
        _, counts = seen.signed()
        low, high = (_quantile(-BINS, seen.width, counts, q) for q in ((1 - share) / 2, (1 + share) / 2))
        low, high = max(min(low, 0.0), seen.low), min(max(high, 0.0), seen.high)
    else:
        bound = _quantile(0, seen.width, seen.magnitudes(), share)
        low, high = max(-bound, seen.low), min(bound, seen.high)
    # less than a bin is no measurement of where the share ends
    return (low, high) if high - low > seen.width else (seen.low, seen.high)


def _quantile(first: int, width: float, counts: Counts, share: float) -> float:
    cumulated = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    wanted = share * cumulated[-1]
    at = int(np.clip(np.searchsorted(cumulated, wanted, side="left") - 1, 0, len(counts) - 1))
    inside = (wanted - cumulated[at]) / counts[at] if counts[at] else 1.0
    return float((first + at + inside) * width)


def entropy_bound(seen: Histogram) -> float:
    """The bound that loses the least information: Kullback-Leibler divergence, as TensorRT's calibrator takes it.

    For each candidate of 128 to 2048 bins, the values inside, with all outliers put into the last bin, are compared
    with themselves in 128 levels (Migacz, "8-bit inference with TensorRT", GTC 2017). The bin at zero, which padding
    and dead channels fill, counts as much as the next one. Where the last bin holds outliers only, its level gets
    1e-4 of the mass; the divergence would be infinite otherwise.

    Returns:
        A bound of absolute values.
    """
    counts, width = seen.magnitudes().astype(np.float64), seen.width
    used = int(np.flatnonzero(counts)[-1]) + 1
    while used > ENTROPY_BINS[1]:
        counts = counts.reshape(-1, 2).sum(axis=1)
        width, used = 2 * width, (used + 1) // 2
    counts = counts[:used]
    if used <= ENTROPY_BINS[0]:
        return seen.largest
    counts[0] = counts[1]
    if not counts.any():
        return seen.largest
    candidates = sorted({*range(ENTROPY_BINS[0], used, ENTROPY_STEP), used})
    losses = [_divergence(counts, n) for n in candidates]
    best = candidates[int(np.argmin(losses))]
    return seen.largest if best == used else min((best + 0.5) * width, seen.largest)


def _divergence(counts: NDArray[np.float64], size: int) -> float:
    """KL divergence of the first ``size`` bins, outliers in the last, from their 128-level form."""
    inside = counts[:size]
    levels = np.arange(size) * ENTROPY_BINS[0] // size
    starts = np.searchsorted(levels, np.arange(ENTROPY_BINS[0]))
    filled = inside > 0
    sums, numbers = np.add.reduceat(inside, starts), np.add.reduceat(filled.astype(np.float64), starts)
    mean = np.divide(sums, numbers, out=np.zeros_like(sums), where=numbers > 0)
    coarse = np.where(filled, mean[levels], 0.0)
    reference = inside.copy()
    reference[-1] += counts[size:].sum()
    if not coarse.any():
        return math.inf
    p, q = reference / reference.sum(), coarse / coarse.sum()
    if p[-1] > 0 and q[-1] == 0:
        q *= 1 - _SMOOTH
        q[-1] = _SMOOTH
    met = p > 0
    return float((p[met] * np.log(p[met] / q[met])).sum())


def mse_range(seen: Histogram, affine: bool = False) -> tuple[float, float]:
    """The range with the least mean squared error of rounding and clipping, over 96 shares of the largest value.

    Affine: first the upper end is sought, then the lower.

    Returns:
        Low and high.
    """
    middles, counts = seen.signed()
    met = counts > 0
    middles, counts = middles[met], counts[met]

    def error(low: float, high: float) -> float:
        grid = Grid.affine(low, high) if affine else Grid.symmetric(max(-low, high))
        integers = np.clip(np.rint(middles / grid.scale) + grid.zero_point, grid.low, grid.high)
        return float((counts * (middles - grid.scale * (integers - grid.zero_point)) ** 2).sum())

    if not affine:
        bound = min((share * seen.largest for share in MSE_SHARES), key=lambda b: error(-b, b))
        return max(-bound, seen.low), min(bound, seen.high)
    high = min((share * seen.high for share in MSE_SHARES), key=lambda h: error(seen.low, h))
    low = min((share * seen.low for share in MSE_SHARES), key=lambda lowest: error(lowest, high))
    return low, high


def clipped_share(seen: Histogram, grid: Grid) -> float:
    """Share of the values met that lie beyond a grid's outermost integers; to within a bin."""
    middles, counts = seen.signed()
    if not seen.count:
        return 0.0
    low, high = (grid.scale * (end - grid.zero_point) for end in (grid.low - 0.5, grid.high + 0.5))
    return float(counts[(middles < low) | (middles > high)].sum() / seen.count)
