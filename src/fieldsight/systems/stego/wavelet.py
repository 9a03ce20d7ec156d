"""One-level 2-D wavelet transforms as torch modules: periodic, size-preserving, exactly invertible.

Coefficients are ``(N, 4, C, H/2, W/2)`` with the bands LL, LH, HL, HH (low or high along x, then along y: LH holds
horizontal edges). Every colour is transformed by itself. The paper's own shape, bands and colours last, is
:func:`bands_last`.

Filters and alignment are those of PyWavelets' ``periodization`` mode (Daubechies 1992; Cohen, Daubechies and Feauveau
1992), so that its users find their numbers again.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.utils._python_dispatch import _get_current_dispatch_mode

from fieldsight.errors import DataError

WaveletName = Literal["haar", "db2", "db4", "cdf97", "legall53"]

#: Low-pass filters, analysis and synthesis; high-pass filters follow from them.
_LOW: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "haar": ((0.7071067811865476,) * 2, (0.7071067811865476,) * 2),
    "db2": (
        (-0.12940952255126037, 0.2241438680420134, 0.8365163037378079, 0.48296291314453416),
        (0.48296291314453416, 0.8365163037378079, 0.2241438680420134, -0.12940952255126037),
    ),
    "db4": (
        (-0.010597401785069032, 0.0328830116668852, 0.030841381835560764, -0.18703481171909309,
         -0.027983769416859854, 0.6308807679298589, 0.7148465705529157, 0.2303778133088965),
        (0.2303778133088965, 0.7148465705529157, 0.6308807679298589, -0.027983769416859854,
         -0.18703481171909309, 0.030841381835560764, 0.0328830116668852, -0.010597401785069032),
    ),
    "cdf97": (
        (0.0, 0.03782845550726404, -0.023849465019556843, -0.11062440441843718, 0.37740285561283066,
         0.8526986790088938, 0.37740285561283066, -0.11062440441843718, -0.023849465019556843, 0.03782845550726404),
        (0.0, -0.06453888262869706, -0.04068941760916406, 0.41809227322161724, 0.7884856164055829,
         0.41809227322161724, -0.04068941760916406, -0.06453888262869706, 0.0, 0.0),
    ),
    "legall53": (
        (0.0, -0.1767766952966369, 0.3535533905932738, 1.0606601717798212, 0.3535533905932738, -0.1767766952966369),
        (0.0, 0.3535533905932738, 0.7071067811865476, 0.3535533905932738, 0.0, 0.0),
    ),
}  # fmt: skip

#: Numbers that a process transforms before it loads the compiled kernels: loading takes as long as these. Where numba
#: already runs, a sixteenth of them.
PATIENCE = 2**28

#: Numbers that this process transformed without the kernels.
_transformed = 0

#: Wavelets whose transform is a rotation: squared errors of coefficients and of pixels are the same.
ORTHONORMAL: tuple[WaveletName, ...] = ("haar", "db2", "db4")


class DWT(nn.Module):
    """Pixels ``(N, C, H, W)`` to coefficients ``(N, 4, C, H/2, W/2)``; even heights and widths only.

    Args:
        wavelet: ``haar``, ``db2``, ``db4`` (orthonormal), ``cdf97`` or ``legall53`` (biorthogonal). Bands of the
            latter are scaled to the norm of their synthesis atoms, so that a unit of error weighs about the same in
            every band.
    """

    def __init__(self, wavelet: WaveletName = "haar") -> None:
        super().__init__()
        self.wavelet: WaveletName = wavelet
        low, synthesis = _LOW[wavelet]
        high = [(-1.0) ** (k + 1) * v for k, v in enumerate(synthesis)]
        gains = gains_of(wavelet)
        # reversed: a correlation then runs forward over the padded signal
        self.low = [v * gains[0] for v in reversed(low)]
        self.high = [v * gains[1] for v in reversed(high)]

    def forward(self, x: Tensor) -> Tensor:
        """Transform.

        Raises:
            DataError: an odd height or width, or not four axes.
        """
        if x.ndim != 4:
            raise DataError(f"The transform wants pixels (N, C, H, W), got the shape {tuple(x.shape)}.")
        if self.wavelet == "haar":
            return _haar(x)
        _check_even(x)
        kernels = _kernels(x)
        if kernels is not None:
            return _run(kernels.analyse, x, _empty_bands(x), _single(self.low), _single(self.high))
        low, high = _analyse(x, -2, self.low, self.high)
        ll, hl = _analyse(low, -1, self.low, self.high)
        lh, hh = _analyse(high, -1, self.low, self.high)
        return torch.stack([ll, lh, hl, hh], 1)


class IDWT(nn.Module):
    """The inverse of :class:`DWT`: coefficients ``(N, 4, C, H/2, W/2)`` to pixels ``(N, C, H, W)``."""

    def __init__(self, wavelet: WaveletName = "haar") -> None:
        super().__init__()
        self.wavelet: WaveletName = wavelet
        analysis, low = _LOW[wavelet]
        high = [(-1.0) ** k * v for k, v in enumerate(analysis)]
        gains = gains_of(wavelet)
        self.low = [v / gains[0] for v in low]
        self.high = [v / gains[1] for v in high]

    def forward(self, bands: Tensor) -> Tensor:
        """Transform back.

        Raises:
            DataError: not five axes, or not four bands.
        """
        if bands.ndim != 5 or bands.shape[1] != 4:
            raise DataError(f"The transform wants bands (N, 4, C, h, w), got the shape {tuple(bands.shape)}.")
        if self.wavelet == "haar":
            return _unhaar(bands)
        kernels = _kernels(bands)
        if kernels is not None:
            low, high, first = zip(*(_phase(self.low, self.high, parity) for parity in (0, 1)), strict=True)
            filters = _single(low), _single(high), np.array(first)
            return _run(kernels.synthesise, bands, _empty_pixels(bands), *filters)
        ll, lh, hl, hh = bands.unbind(1)
        smooth = _synthesise(ll, lh, -2, self.low, self.high)
        detail = _synthesise(hl, hh, -2, self.low, self.high)
        return _synthesise(smooth, detail, -1, self.low, self.high)


def gains_of(wavelet: WaveletName) -> tuple[float, float]:
    """Norms of the synthesis filters, low and high: 1 and 1 for orthonormal wavelets."""
    if wavelet in ORTHONORMAL:
        return 1.0, 1.0
    analysis, low = _LOW[wavelet]
    return sum(v * v for v in low) ** 0.5, sum(v * v for v in analysis) ** 0.5


def bands_last(bands: Tensor) -> Tensor:
    """``(N, 4, C, h, w)`` to the paper's ``(N, h, w, 4, C)``."""
    return bands.permute(0, 3, 4, 1, 2)


def bands_first(bands: Tensor) -> Tensor:
    """The paper's ``(N, h, w, 4, C)`` to ``(N, 4, C, h, w)``."""
    return bands.permute(0, 3, 4, 1, 2)


def packet(x: Tensor, levels: int) -> Tensor:
    """Full Haar packet: ``(N, C, H, W)`` to ``(N, C * 4**levels, H / 2**levels, W / 2**levels)``.

    Every band is split again, so that a level-3 packet is a Walsh-Hadamard transform of 8 x 8 blocks. Exported, it is
    one convolution by :func:`packet_filters`, since hundreds of slices take an exporter minutes.

    Raises:
        DataError: a height or width that is no multiple of ``2**levels``.
    """
    if torch.compiler.is_compiling():
        filters = torch.from_numpy(packet_filters(levels, x.shape[1])).to(x)
        return F.conv2d(x, filters, stride=2**levels)
    for _ in range(levels):
        x = _haar(x).flatten(1, 2)
    return x


def unpacket(bands: Tensor, levels: int) -> Tensor:
    """The inverse of :func:`packet`."""
    if torch.compiler.is_compiling():
        filters = torch.from_numpy(packet_filters(levels, bands.shape[1] // 4**levels)).to(bands)
        return F.pixel_shuffle(F.conv2d(bands, filters.flatten(1).T[:, :, None, None]), 2**levels)
    for _ in range(levels):
        bands = _unhaar(bands.unflatten(1, (4, bands.shape[1] // 4)))  # type: ignore[no-untyped-call]
    return bands


@cache
def packet_filters(levels: int, channels: int) -> NDArray[np.float32]:
    """What :func:`packet` does to a block of ``b = 2**levels`` pixels a side: ``(C b b, C, b, b)``, orthogonal."""
    haar = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    one: NDArray[Any] = np.ones((1, 1))
    for _ in range(levels):
        one = np.kron(one, haar)
    # columns count (row bit, column bit) from the coarsest level to the finest
    order = [0, *range(1, 2 * levels, 2), *range(2, 2 * levels + 1, 2)]
    side = 2**levels
    one = one.reshape(-1, *[2] * (2 * levels)).transpose(order).reshape(-1, side, side)
    found = np.einsum("bij,cd->bcdij", one, np.eye(channels)).reshape(-1, channels, side, side)
    return found.astype(np.float32)


# ---------------------------------------------------------------------------------------------- internals


def _haar(x: Tensor) -> Tensor:
    _check_even(x)
    kernels = _kernels(x)
    if kernels is not None:
        return _run(kernels.haar, x, _empty_bands(x))
    upper, lower = x[..., 0::2, :], x[..., 1::2, :]
    total, difference = upper + lower, upper - lower
    out = torch.stack(
        [
            total[..., 0::2] + total[..., 1::2],
            difference[..., 0::2] + difference[..., 1::2],
            total[..., 0::2] - total[..., 1::2],
            difference[..., 0::2] - difference[..., 1::2],
        ],
        1,
    )
    return out * 0.5


def _unhaar(bands: Tensor) -> Tensor:
    kernels = _kernels(bands)
    if kernels is not None:
        return _run(kernels.unhaar, bands, _empty_pixels(bands))
    ll, lh, hl, hh = bands.unbind(1)
    total, difference = torch.stack([ll + hl, ll - hl], -1), torch.stack([lh + hh, lh - hh], -1)
    rows = torch.stack([total + difference, total - difference], -3) * 0.5  # (N, C, h, 2, w, 2)
    n, c, h, _, w, _ = rows.shape
    return rows.reshape(n, c, 2 * h, 2 * w)


def _check_even(x: Tensor) -> None:
    if x.shape[-1] % 2 or x.shape[-2] % 2:
        raise DataError(f"The transform wants even sizes, got {x.shape[-1]} x {x.shape[-2]}; pad the picture.")


def _analyse(x: Tensor, dim: int, low: Sequence[float], high: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Low and high half along ``dim``: ``out[i] = sum_m f[m] x[2i + m - (L/2 - 1)]``, indices modulo the length."""
    size, taps = x.shape[dim], len(low)
    reach = taps // 2
    around = x.index_select(dim, torch.arange(1 - reach, size + reach, device=x.device) % size)
    pieces = [_every_other(around, dim, m, size) for m in range(taps)]
    return _weighted(pieces, low), _weighted(pieces, high)


def _synthesise(low: Tensor, high: Tensor, dim: int, g: Sequence[float], h: Sequence[float]) -> Tensor:
    """The inverse along ``dim``: ``x[n] = sum_i low[i] g[n - 2i + L/2 - 1] + high[i] h[...]``."""
    size, reach = low.shape[dim], len(g) // 2
    index = torch.arange(-reach, size + reach, device=low.device) % size
    around = low.index_select(dim, index), high.index_select(dim, index)
    halves = []
    for parity in (0, 1):
        own_g, own_h, first = _phase(g, h, parity)
        starts = [reach - first - t for t in range(len(own_g))]
        pieces = [band.narrow(dim, start, size) for start in starts for band in around]
        halves.append(_weighted(pieces, [v for pair in zip(own_g, own_h, strict=True) for v in pair]))
    spot = dim % low.ndim + 1
    return torch.stack(halves, spot).flatten(spot - 1, spot)


def _phase(g: Sequence[float], h: Sequence[float], parity: int) -> tuple[Sequence[float], Sequence[float], int]:
    """Taps of both filters for pixel ``2k + parity``; tap t takes coefficient ``k - first - t``."""
    shift = parity + len(g) // 2 - 1
    start = shift % 2
    return g[start::2], h[start::2], (start - shift) // 2


def _every_other(x: Tensor, dim: int, start: int, size: int) -> Tensor:
    return x[..., start : start + size : 2] if dim == -1 else x[..., start : start + size : 2, :]


def _weighted(pieces: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    # product and sum by themselves: fused they would round otherwise than the kernels do
    total = None
    for piece, weight in zip(pieces, weights, strict=True):
        if weight:
            total = piece * weight if total is None else total + piece * weight
    assert total is not None
    return total


# ------------------------------------------------------------------------------------------------ kernels


def _kernels(x: Tensor) -> ModuleType | None:
    """The compiled kernels, where they may compute this tensor; they give the same bits as the torch code.

    They are for plain float32 tensors on the processor without gradients. Exporters, compilers and counters must see
    torch's operators. Starting numba takes a second, and compiling for the first time another one, so a process
    transforms its first numbers by torch.
    """
    global _transformed
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return None
    if type(x) not in (Tensor, nn.Parameter) or _differentiated(x) or _get_current_dispatch_mode() is not None:
        return None
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.layout != torch.strided or x.numel() == 0:
        return None
    name = f"{__package__}.kernels"
    if name not in sys.modules:
        _transformed += x.numel()
        if _transformed < (PATIENCE // 16 if "numba" in sys.modules else PATIENCE):
            return None
    return importlib.import_module(name)


def _differentiated(x: Tensor) -> bool:
    """Whether a derivative is wanted: backward, forward, or by ``torch.func``."""
    if (torch.is_grad_enabled() and x.requires_grad) or torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def _single(values: Sequence[Any]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def _run(kernel: Callable[..., None], given: Tensor, out: Tensor, *more: NDArray[Any]) -> Tensor:
    kernel(given.detach().contiguous().numpy(), *more, out.numpy())
    return out


def _empty_bands(x: Tensor) -> Tensor:
    n, c, height, width = x.shape
    return x.new_empty(n, 4, c, height // 2, width // 2)


def _empty_pixels(bands: Tensor) -> Tensor:
    n, _, c, h, w = bands.shape
    return bands.new_empty(n, c, 2 * h, 2 * w)
