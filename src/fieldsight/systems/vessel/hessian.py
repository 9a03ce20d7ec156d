"""Hessian of an image at a scale, by derivatives of the Gaussian: the reference in numpy, exact rather than fast.

Li et al. 2024, Eq. 1, with the factor of sigma squared that its print lacks (Lindeberg 1998; Frangi et al. 1998,
Eq. 2): without it, responses of different scales can't be compared. ``x`` runs along a row, ``y`` down a column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fieldsight.errors import ConfigError

Array = NDArray[np.floating[Any]]

#: Sigmas from the middle of a kernel to its end. At 4, which is common, up to 1 % of a response is lost; at 3, 13 %.
REACH = 6.0


@dataclass(frozen=True)
class Hessian:
    """Second derivatives, each times sigma squared, in grey levels.

    Attributes:
        xx, xy, yy: ``(..., H, W)`` each.
    """

    xx: Array
    xy: Array
    yy: Array


def check_sigmas(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """The scales in rising order, each once: what is made of them does not depend on their order.

    Raises:
        ConfigError: no scale, or one outside of 0.5 to 64 pixels.
    """
    if not sigmas:
        raise ConfigError("sigmas: none is given. Give at least one scale in pixels, for example 1,3,5,7,9.")
    for sigma in sigmas:
        if not (math.isfinite(sigma) and 0.5 <= sigma <= 64):  # below, a sampled derivative is none any more
            raise ConfigError(f"sigmas: {sigma} is outside of 0.5 to 64 pixels.")
    return tuple(sorted({float(s) for s in sigmas}))


def kernel(sigma: float, order: int, spacing: int = 1, phase: int = 0) -> NDArray[np.float64]:
    """A sampled derivative of the Gaussian, for correlation: ``sum_k kernel[k] * image[x + position[k]]``.

    Args:
        sigma: its standard deviation in pixels.
        order: 0, 1 or 2.
        spacing: pixels between the samples it is applied to; their number stands for the integral.
        phase: where, in pixels, the value is wanted, behind the sample that is called 0; below ``spacing``.

    Returns:
        ``(2 R + 1,)`` weights of the samples ``-R .. R`` with ``R = reach(sigma, spacing)``. Order 0 adds up to 1,
        the others to 0, so that a constant image has no derivative at all.
    """
    radius = reach(sigma, spacing)
    x = spacing * np.arange(-radius, radius + 1, dtype=np.float64) - phase
    bell = np.exp(-(x**2) / (2 * sigma**2))
    bell /= bell.sum()
    if order == 0:
        return bell
    slope = bell * x / sigma**2  # d/dx of the image is its correlation with +x g / sigma^2
    if order == 1:
        return slope - bell * slope.sum()
    bend = bell * (x**2 - sigma**2) / sigma**4
    return bend - bell * bend.sum()


def reach(sigma: float, spacing: int = 1) -> int:
    """Samples from the middle of a kernel to its end; one more where the middle lies between two."""
    return math.ceil(REACH * sigma / spacing) + (spacing > 1)


def hessian(image: Array, sigma: float) -> Hessian:
    """The Hessian of one scale, mirrored at the border (the pixel at the edge is not repeated).

    Args:
        image: ``(..., H, W)`` grey levels, 0-255.
        sigma: in pixels.

    Returns:
        Derivatives in float64.
    """
    image = np.asarray(image, np.float64)
    across = [ndimage.correlate1d(image, kernel(sigma, n), axis=-1, mode="mirror") for n in range(3)]
    xx, xy, yy = (
        sigma**2 * ndimage.correlate1d(across[n], kernel(sigma, 2 - n), axis=-2, mode="mirror") for n in (2, 1, 0)
    )
    return Hessian(xx, xy, yy)


def eigenvalues(h: Hessian) -> tuple[Array, Array]:
    """Eigenvalues in closed form, ``|l1| <= |l2|``: across a ridge ``l2`` is large, along it ``l1`` is small."""
    root = np.hypot(h.xx - h.yy, 2 * h.xy)
    low, high = (h.xx + h.yy - root) / 2, (h.xx + h.yy + root) / 2
    swap = np.abs(low) > np.abs(high)
    return np.where(swap, high, low), np.where(swap, low, high)


def direction(h: Hessian) -> Array:
    """Along the ridge, in radians from ``-pi/2`` (excluded) to ``pi/2``, counted from x towards y (downwards)."""
    angle = np.arctan2(2 * h.xy, h.xx - h.yy) / 2  # of the larger eigenvalue's vector
    turned = h.xx + h.yy >= 0  # there the larger one is also the larger in magnitude: it points across
    angle = np.where(turned, angle + np.pi / 2, angle)
    return np.where(angle > np.pi / 2, angle - np.pi, np.where(angle <= -np.pi / 2, angle + np.pi, angle))
