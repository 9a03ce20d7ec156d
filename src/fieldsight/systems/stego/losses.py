"""Eq. (5) of the paper, the same in pixels, and the predecessor's gain. Tensors only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Errors much below this, 60 dB, are not worth more: it is in the order of rounding.
FLOOR = 1e-6


def fusion_loss(secret: Tensor, revealed: Tensor, cover: Tensor, stego: Tensor, beta: float) -> Tensor:
    """``MSE(S, S') + beta MSE(C, C')`` over tensors of any one shape, Eq. (5).

    Over coefficients of an orthonormal transform it is the same number as over pixels (Parseval).
    """
    return F.mse_loss(revealed, secret) + beta * F.mse_loss(stego, cover)


def decibel_loss(secret: Tensor, revealed: Tensor, cover: Tensor, stego: Tensor, beta: float) -> Tensor:
    """``ln MSE(S, S') + beta ln MSE(C, C')``, mean over pairs ``(N, ...)``: mean PSNR, up to sign and factor.

    Squared errors of a batch belong to its few hard pairs; their logarithm weighs every pair alike, as the mean of PSNR
    does that is reported.
    """
    return (_log_error(secret, revealed) + beta * _log_error(cover, stego)).mean()


def _log_error(a: Tensor, b: Tensor) -> Tensor:
    return torch.log(((a - b) ** 2).flatten(1).mean(1) + FLOOR)


def banded_loss(
    secret: Tensor, revealed: Tensor, cover: Tensor, stego: Tensor, beta: float, weights: Sequence[float]
) -> Tensor:
    """Eq. (5) over bands ``(N, 4, C, h, w)``, each band with a weight of its own."""
    weight = torch.tensor(list(weights), dtype=secret.dtype, device=secret.device).view(1, 4, 1, 1, 1)
    return (weight * ((revealed - secret) ** 2 + beta * (stego - cover) ** 2)).mean()


def gain_loss(secret: Tensor, revealed: Tensor, cover: Tensor, stego: Tensor, beta: float) -> Tensor:
    """The predecessor's way: the negative of a gain that adds PSNR and SSIM of both pictures ``(N, 3, H, W)`` in 0-1.

    After Khalifa and Guzman (Symmetry 2022, 14, 1325), who train on weighted image quality measures. Their weights
    are not in the paper at hand: PSNR counts in units of 100 dB, SSIM as it is, the cover's share is ``beta``.
    """
    return -(quality(secret, revealed) + beta * quality(cover, stego)).mean()


def quality(target: Tensor, found: Tensor) -> Tensor:
    """PSNR / 100 + SSIM of each picture of a batch ``(N, 3, H, W)`` in 0-1, ``(N,)``."""
    error = ((target - found) ** 2).mean((1, 2, 3)).clamp_min(1e-10)
    return -0.1 * torch.log10(error) + ssim(target, found)


def ssim(target: Tensor, found: Tensor, top: float = 1.0) -> Tensor:
    """Structural similarity ``(N,)``, Gaussian window of 11 and sigma 1.5, mean over places and colours.

    Wang et al. 2004, Eq. (3) in every window. Pictures smaller than the window are compared in one window.
    """
    window = min(11, target.shape[-1], target.shape[-2])
    place = torch.arange(window, dtype=target.dtype, device=target.device) - (window - 1) / 2
    line = torch.exp(-(place**2) / (2 * 1.5**2))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).expand(target.shape[1], 1, window, window)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, groups=x.shape[1])

    mu, nu = mean(target), mean(found)
    uu, vv, uv = mean(target * target) - mu * mu, mean(found * found) - nu * nu, mean(target * found) - mu * nu
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    values = (2 * mu * nu + c1) * (2 * uv + c2) / ((mu * mu + nu * nu + c1) * (uu + vv + c2))
    return values.mean((1, 2, 3))
