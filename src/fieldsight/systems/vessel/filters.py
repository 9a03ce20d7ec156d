"""Measures of how much a pixel looks like part of a vessel, from the eigenvalues of its Hessian, over several scales.

Frangi's measure is the paper's (Li et al. 2024, Eqs. 2 and 3, with the brackets and the sign of Frangi et al. 1998,
Eq. 15). Sato's (1998), Meijering's (2004) and Jerman's (2016) stand beside it for comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fieldsight.systems.vessel.constants import BETA, SIGMAS, C
from fieldsight.systems.vessel.hessian import Array, check_sigmas, direction, eigenvalues, hessian

#: Vessels darker than what is around them, as contrast agent makes them in X-rays, or brighter.
Polarity = Literal["dark", "bright"]
Measure = Literal["frangi", "sato", "meijering", "jerman"]

#: Sato et al.: what a second eigenvalue costs where the surface bends the same way, and the other way.
SAME, OTHER = 0.5, 2.0
#: Meijering et al.: what makes the filter flat along a ridge, in two dimensions.
FLAT = -1.0 / 3.0
#: Jerman et al.: share of the strongest response below which a response counts as that share.
TAU = 0.75
#: Grey levels below which a response is an error of rounding.
ROUNDING = 1e-6
#: A picture whose 99.5th percentile of vesselness is lower holds no vessel to scale by.
FAINT, PERCENTILE = 0.05, 99.5


@dataclass(frozen=True)
class Vesselness:
    """What a filter says of a picture.

    Attributes:
        value: ``(..., H, W)`` vesselness; 0 to 1 for Frangi and Jerman, grey levels for Sato and Meijering.
        scale: ``(..., H, W)`` sigma in pixels at which it is largest; the smallest such, and the first where all are 0.
        direction: ``(..., H, W)`` along the vessel, in radians, as in :func:`.hessian.direction`.
    """

    value: Array
    scale: Array
    direction: Array


def frangi(l1: Array, l2: Array, beta: float = BETA, c: float | Array = C) -> Array:
    """``exp(-Rb^2 / 2 beta^2) (1 - exp(-S^2 / 2 c^2))`` where ``l2 > 0``, else 0.

    Args:
        l1, l2: eigenvalues, ``|l1| <= |l2|``, of dark vessels on bright ground: ``l2 > 0``.
        beta: tolerance of ``Rb = |l1| / |l2|``: round spots have 1, lines 0.
        c: strength ``S = sqrt(l1^2 + l2^2)``, in grey levels, that counts as structure.

    Returns:
        0 to 1; 0 where both eigenvalues are 0.
    """
    wanted = l2 > 0
    blob = np.divide(l1, l2, out=np.zeros_like(l2), where=wanted) ** 2
    value = np.exp(-blob / (2 * beta**2)) * -np.expm1(-(l1**2 + l2**2) / (2 * c**2))
    return np.where(wanted, value, 0.0)


def sato(l1: Array, l2: Array, same: float = SAME, other: float = OTHER) -> Array:
    """``l2 exp(-l1^2 / 2 (a l2)^2)``, with ``a`` depending on whether both bend the same way; 0 where ``l2 <= 0``."""
    wanted = l2 > 0
    ratio = np.divide(l1, l2, out=np.zeros_like(l2), where=wanted)
    return np.where(wanted, l2 * np.exp(-(ratio**2) / (2 * np.where(ratio > 0, same, other) ** 2)), 0.0)


def meijering(l1: Array, l2: Array, flat: float = FLAT) -> Array:
    """The larger in magnitude of ``l1 + a l2`` and ``l2 + a l1`` where it is positive, else 0."""
    first, second = l1 + flat * l2, l2 + flat * l1
    return np.maximum(np.where(np.abs(first) > np.abs(second), first, second), 0.0)


def jerman(l1: Array, l2: Array, tau: float = TAU) -> Array:
    """Near 1 all over a vessel, also where vessels join; 0 where ``l2 <= 0``. ``l1`` has no say in two dimensions.

    Relative to the strongest response of the picture (its last two axes): plain noise has vessels too. Use it where
    a vessel is known to be.
    """
    del l1
    most = l2.max(axis=(-2, -1), keepdims=True)
    most = np.where(most > ROUNDING, most, 0.0)
    held = np.maximum(l2, tau * most)
    positive = np.where(most > 0, np.maximum(l2, 0.0), 0.0)
    total = positive + held
    share = np.divide(3.0, total, out=np.zeros_like(l2), where=total > 0)
    value = np.where(positive >= held / 2, 1.0, positive**2 * (held - positive) * share**3)
    return np.where(positive > 0, np.clip(value, 0.0, 1.0), 0.0)


MEASURES: dict[str, Callable[..., Array]] = {"frangi": frangi, "sato": sato, "meijering": meijering, "jerman": jerman}


def multiscale(
    image: Array, sigmas: tuple[float, ...] = SIGMAS, measure: Measure = "frangi", polarity: Polarity = "dark",
    beta: float = BETA, c: float | Literal["auto"] = C,
) -> Vesselness:  # fmt: skip
    """The largest response over scales, pixel by pixel, in float64: the reference that the fast ways are held to.

    Args:
        image: ``(..., H, W)`` grey levels, 0-255; any number type.
        sigmas: scales in pixels, in any order.
        measure: which one.
        polarity: what vessels are.
        beta, c: Frangi's; ``auto`` is half of the largest ``S`` of the picture, scale by scale (Frangi et al. 1998).

    Returns:
        See :class:`Vesselness`.

    Raises:
        ConfigError: no scale, or an impossible one.
    """
    best: Array | None = None
    for sigma in check_sigmas(sigmas):
        h = hessian(image, sigma)
        l1, l2 = eigenvalues(h)
        if polarity == "bright":
            l1, l2 = -l1, -l2
        if measure == "frangi":
            strength = strongest(l1, l2) / 2 if c == "auto" else c
            value = frangi(l1, l2, beta, strength)
        else:
            value = MEASURES[measure](l1, l2)
        along = direction(h)
        if best is None:
            best, scale, angle = value, np.full_like(value, sigma), along
            continue
        better = value > best
        best = np.where(better, value, best)
        scale, angle = np.where(better, sigma, scale), np.where(better, along, angle)
    assert best is not None
    return Vesselness(best, scale, angle)


def strongest(l1: Array, l2: Array) -> Array:
    """Largest ``S`` of each picture, ``(..., 1, 1)``, never 0."""
    top = np.sqrt((l1**2 + l2**2).max(axis=(-2, -1), keepdims=True))
    return np.maximum(top, np.finfo(np.float32).tiny)


def scaled(value: Array, percentile: float = PERCENTILE) -> Array:
    """Vesselness over its percentile, cut at 1; left alone where even that is faint, so that nothing is invented.

    Args:
        value: ``(H, W)`` vesselness of one picture, 0 to 1.
        percentile: which percentile becomes 1.

    Returns:
        0 to 1, of the same type.
    """
    top = float(np.percentile(value, percentile))
    return np.minimum(value / top, 1.0).astype(value.dtype) if top > FAINT else value
