"""From attenuation to the picture: motion and focal blur, scatter, vignetting, quanta, grey levels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.look import NOMINAL_SIDE

Floats = NDArray[np.float32]

#: Blur of focal spot and detector: standard deviation in mm at the isocentre.
_SPOT = 0.11

#: Width of the veil of scattered radiation, share of the picture's side.
_VEIL = 0.11


def smeared(field: Floats, move: tuple[float, float]) -> Floats:
    """A field ``(H, W)`` averaged along a straight movement of (x, y) px during the exposure."""
    length = float(np.hypot(*move))
    if length < 0.3:
        return field
    reach = int(np.ceil(0.5 * length)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 16 * reach + 1):
        x, y = reach + share * move[0], reach + share * move[1]
        c, r = int(x), int(y)
        fx, fy = x - c, y - r
        kernel[r : r + 2, c : c + 2] += np.outer([1 - fy, fy], [1 - fx, fx]).astype(np.float32)
    return np.asarray(cv2.filter2D(field, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.float32)


def exposed(
    attenuation: Floats,
    scale: float,
    scatter: float,
    vignette: float,
    quanta: float,
    level: float,
    rng: np.random.Generator,
) -> Floats:
    """Grey values ``(H, W)`` float32, 0 to 255, that a detector gives for an attenuation.

    Args:
        attenuation: logarithm of the loss, ``(H, W)``.
        scale: px per mm at the isocentre.
        scatter: share of scattered radiation in the signal.
        vignette: light lost in the corners, 0 to 1.
        quanta: mean count of a pixel at the nominal side; a larger pixel gets more. Counts are Poisson distributed.
        level: mean grey value.
        rng: chance of the quanta.
    """
    side = attenuation.shape[0]
    primary = np.exp(-attenuation)
    if _SPOT * scale > 0.2:
        primary = cv2.GaussianBlur(primary, (0, 0), _SPOT * scale, borderType=cv2.BORDER_REFLECT_101)
    # the veil is smooth, so it is made from a small picture
    small = cv2.resize(primary, (64, 64), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 64 * _VEIL, borderType=cv2.BORDER_REFLECT_101)
    veil = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    signal = (1 - scatter) * primary + scatter * veil
    r = np.square(np.linspace(-1, 1, side, dtype=np.float32))
    signal *= 1 - np.float32(0.5 * vignette) * (r[:, None] + r[None])
    signal /= signal.mean()
    mean = quanta * (NOMINAL_SIDE / side) ** 2
    counts = rng.poisson(np.float32(mean) * signal).astype(np.float32)
    return np.asarray(np.clip(counts * np.float32(level / mean), 0, 255), np.float32)
