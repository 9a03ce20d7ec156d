"""What may happen to a stego picture on its way, so that gradients pass: for training through it. Tensors only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Luminance and chrominance tables of JPEG (ITU-T T.81, Annex K), row by row.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
)  # fmt: skip


def disturb(stego: Tensor, kinds: Sequence[str]) -> Tensor:
    """One of ``kinds``, or nothing, at random and of random strength, on pixels ``(N, 3, H, W)`` in 0-1.

    Chance comes from torch's random numbers, which the training loop seeds at every step.
    """
    which = int(torch.randint(len(kinds) + 1, ()))
    if which == len(kinds):
        return stego
    strength = float(torch.rand(()))
    kind = kinds[which]
    if kind == "jpeg":
        return jpeg(stego, 60 + 35 * strength)
    if kind == "blur":
        return blur(stego, 0.3 + 0.7 * strength)
    if kind == "resize":
        return rescale(stego, 0.6 + 0.35 * strength)
    return stego + (0.5 + 2.5 * strength) / 255 * torch.randn_like(stego)


def jpeg(picture: Tensor, quality: float) -> Tensor:
    """JPEG's colour transform, 8 x 8 DCT and quantisation; the rounding lets gradients pass.

    No chroma subsampling. The rim that fills no whole block stays as it is.
    """
    height, width = (side // 8 * 8 for side in picture.shape[2:])
    if not height or not width:
        return picture
    part = picture[:, :, :height, :width]
    shifted = _to_ycc(part) * 255 - 128
    blocks = shifted.reshape(*shifted.shape[:2], height // 8, 8, width // 8, 8)
    basis = _dct(part)
    coefficients = torch.einsum("ui,nchiwj,vj->nchuwv", basis, blocks, basis)
    steps = _steps(quality, part)[None, :, None, :, None, :]
    ratio = coefficients / steps
    rounded = (ratio + (torch.round(ratio) - ratio).detach()) * steps
    back = torch.einsum("ui,nchuwv,vj->nchiwj", basis, rounded, basis)
    pixels = _from_ycc((back.flatten(4, 5).flatten(2, 3) + 128) / 255)
    whole = picture.clone()
    whole[:, :, :height, :width] = pixels
    return whole


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of ``sigma`` pixels."""
    reach = max(1, math.ceil(3 * sigma))
    place = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    line = torch.exp(-(place**2) / (2 * sigma**2))
    line = (line / line.sum()).expand(picture.shape[1], 1, 1, -1)
    padded = F.pad(picture, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, line, groups=picture.shape[1])
    return F.conv2d(across, line.transpose(2, 3), groups=picture.shape[1])


def rescale(picture: Tensor, factor: float) -> Tensor:
    """Shrink by a factor with antialiasing, and grow back; both bilinear."""
    size = (picture.shape[2], picture.shape[3])
    small = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    shrunk = F.interpolate(picture, small, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(shrunk, size, mode="bilinear", align_corners=False)


def _dct(like: Tensor) -> Tensor:
    k = torch.arange(8, dtype=torch.float64)
    rows = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    rows[0] /= math.sqrt(2)
    return rows.to(like)


def _steps(quality: float, like: Tensor) -> Tensor:
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], dtype=torch.float64).view(3, 8, 8)
    return torch.floor((tables * scale + 50) / 100).clamp(1, 255).to(like)


def _to_ycc(rgb: Tensor) -> Tensor:
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([y, 0.5 + (b - y) / 1.772, 0.5 + (r - y) / 1.402], 1)


def _from_ycc(ycc: Tensor) -> Tensor:
    y, cb, cr = ycc[:, 0], ycc[:, 1] - 0.5, ycc[:, 2] - 0.5
    r, b = y + 1.402 * cr, y + 1.772 * cb
    return torch.stack([r, (y - 0.299 * r - 0.114 * b) / 0.587, b], 1)
