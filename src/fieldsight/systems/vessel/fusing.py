"""What a detector is shown: the frame and its vesselness as one picture of three channels.

Li et al. 2024, Eqs. 4 to 6 (intensity, hue and saturation of the triangle model), with the hue offsets that the
printed inverse assumes and the printed forward leaves out. What the paper fuses with what it does not say, and two
grey pictures have no saturation: here vesselness becomes the saturation of one hue and the frame stays the intensity,
as medical pictures lay function over anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled_for_rows
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.vessel.constants import ALPHA, KAPPA
from fieldsight.systems.vessel.hessian import Array

Fusion = Literal["ihs", "blend", "average", "stack", "substitute"]
#: What a detector may see: the frame alone, vesselness alone, contrast raised by plain means, or a fusion.
FUSIONS: tuple[str, ...] = ("ihs", "blend", "average", "stack", "substitute")
PLAIN: tuple[str, ...] = ("raw", "vesselness", "clahe", "unsharp")

#: Hue of the colour (1, .6, 0).
HUE = 0.375
#: The other end of the linear ramp that ``substitute`` colours with: (1, 1 - .4 V, 1 - V).
RAMP = 0.4


@dataclass(frozen=True)
class Fused:
    """A picture for a detector.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        clipped: share of values that left 0-255 and were cut.
    """

    image: NDArray[np.uint8]
    clipped: float


def to_ihs(rgb: Array) -> tuple[Array, Array, Array]:
    """Intensity, hue (0 to 3; 0 for grey) and saturation (0 to 1; 0 for black) of colours ``(..., 3)``."""
    rgb = np.asarray(rgb, np.float64)
    red, green, blue = (rgb[..., k] for k in range(3))
    intensity = rgb.mean(axis=-1)
    least = rgb.min(axis=-1)
    grey = rgb.max(axis=-1) == least  # not by the mean, which is rounded
    saturation = 1 - np.divide(least, intensity, out=np.ones_like(least), where=(intensity > 0) & ~grey)
    cases = [blue == least, red == least]  # ties: the first that fits
    over = np.select(cases, [green - blue, blue - red], red - green)
    below = 3 * (intensity - least)
    part = np.divide(over, below, out=np.zeros_like(over), where=~grey & (below > 0))
    hue = np.where(grey, 0.0, part + np.select(cases, [0.0, 1.0], 2.0))
    return intensity, hue, saturation


def from_ihs(intensity: Array, hue: Array, saturation: Array, least: Literal["B", "R", "G"] | None = None) -> Array:
    """Colours ``(..., 3)`` of intensities, hues and saturations.

    Args:
        intensity, hue, saturation: see :func:`to_ihs`.
        least: which colour is the least one; by default the hue says it: below 1 blue, below 2 red, else green. Given
            with hues that lack their offset, it is the paper's printed pair of equations.
    """
    i, h, s = (np.asarray(v, np.float64) for v in (intensity, hue, saturation))
    blue = (1 + 2 * s - 3 * s * h, 1 - s + 3 * s * h, 1 - s)
    red = (1 - s, 1 + 5 * s - 3 * s * h, 1 - 4 * s + 3 * s * h)
    green = (1 - 7 * s + 3 * s * h, 1 - s, 1 + 8 * s - 3 * s * h)
    if least is not None:
        return np.stack([i * part for part in {"B": blue, "R": red, "G": green}[least]], -1)
    return np.stack([i * np.select([h < 1, h < 2], [a, b], c) for a, b, c in zip(blue, red, green, strict=True)], -1)


def fuse(
    frame: NDArray[np.uint8], value: Array, mode: Fusion = "ihs", kappa: float = KAPPA, alpha: float = ALPHA
) -> Fused:
    """Lay vesselness over a frame.

    Args:
        frame: ``(H, W)`` uint8.
        value: ``(H, W)`` vesselness, 0 to 1.
        mode: ``ihs``: vesselness as saturation of one hue, intensity ``frame (1 - kappa V)``; ``blend``: that intensity
            as grey; ``average``: ``alpha frame + (1 - alpha) (255 - 255 V)``; ``stack``: frame, vesselness and
            :func:`clahe` as channels; ``substitute``: hue and saturation of a ramp from white to orange, the frame as
            intensity. Where V is 0, ``ihs``, ``blend`` and ``substitute`` are the frame.
        kappa: how much darker a vessel becomes, 0 to 1.
        alpha: share of the frame in ``average``, 0 to 1.

    Raises:
        DataError: sizes that differ, or no uint8.
        ConfigError: an unknown mode, shares outside of 0 to 1.
    """
    if frame.dtype != np.uint8 or frame.ndim != 2 or frame.shape != value.shape:
        raise DataError(
            f"A frame (H, W) of uint8 and vesselness of the same size are fused; got {frame.dtype} {frame.shape} "
            f"and {value.shape}."
        )
    for name, share in (("kappa", kappa), ("alpha", alpha)):
        if not 0 <= share <= 1:
            raise ConfigError(f"{name}: {share} is outside of 0 to 1.")
    vessel = np.asarray(value, np.float32)
    out = np.empty((*frame.shape, 3), np.uint8)
    clipped = 0
    if mode == "ihs":
        clipped = _ihs(frame, vessel, np.float32(kappa), np.float32(HUE), out)
    elif mode == "blend":
        _grey(frame, vessel, np.float32(1), np.float32(kappa), np.float32(0), out)
    elif mode == "average":
        _grey(frame, vessel, np.float32(alpha), np.float32(0), np.float32(1 - alpha), out)
    elif mode == "stack":
        out[..., 0], out[..., 1], out[..., 2] = frame, levels(vessel), clahe(frame)
    elif mode == "substitute":
        clipped = _substitute(frame, vessel, np.float32(HUE), np.float32(RAMP), out)
    else:
        raise ConfigError(unknown("mode", mode, FUSIONS))
    return Fused(out, clipped / out.size)


def levels(value: Array) -> NDArray[np.uint8]:
    """Vesselness 0 to 1 as grey levels 0 to 255."""
    return np.clip(np.rint(np.asarray(value, np.float32) * 255), 0, 255).astype(np.uint8)


def clahe(frame: NDArray[np.uint8], limit: float = 2.0, tiles: int = 8) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) of a grey frame: a plain control."""
    return np.asarray(cv2.createCLAHE(limit, (tiles, tiles)).apply(frame), np.uint8)


def unsharp(frame: NDArray[np.uint8], sigma: float = 3.0, amount: float = 1.5) -> NDArray[np.uint8]:
    """The frame with what a blur takes away added once more: a plain control."""
    soft = cv2.GaussianBlur(frame, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(frame, 1 + amount, soft, -amount, 0), np.uint8)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel as three."""
    return np.repeat(image[..., None], 3, axis=-1)


@compiled_for_rows
def _ihs(frame: NDArray[Any], value: NDArray[Any], kappa: float, hue: float, out: NDArray[Any]) -> int:
    """Inverse IHS, case B, with V as saturation."""
    top, half, clipped = np.float32(255), np.float32(0.5), 0
    red, green = np.float32(2) - np.float32(3) * hue, np.float32(3) * hue - np.float32(1)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            v = value[y, x]
            i = np.float32(frame[y, x]) * (np.float32(1) - kappa * v)
            r, g, b = i * (np.float32(1) + red * v), i * (np.float32(1) + green * v), i * (np.float32(1) - v)
            clipped += (r > top) + (g > top)
            out[y, x, 0] = np.uint8(min(r, top) + half)
            out[y, x, 1] = np.uint8(min(g, top) + half)
            out[y, x, 2] = np.uint8(b + half)
    return clipped


@compiled_for_rows
def _substitute(frame: NDArray[Any], value: NDArray[Any], hue: float, ramp: float, out: NDArray[Any]) -> int:
    """Inverse IHS, case B, with the saturation of the ramp (1, 1 - ramp V, 1 - V) and the frame as intensity."""
    top, half, one, clipped = np.float32(255), np.float32(0.5), np.float32(1), 0
    red, green = np.float32(2) - np.float32(3) * hue, np.float32(3) * hue - np.float32(1)
    mean = (one + ramp) / np.float32(3)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            v = value[y, x]
            i = np.float32(frame[y, x])
            s = one - (one - v) / (one - mean * v)
            r, g, b = i * (one + red * s), i * (one + green * s), i * (one - s)
            clipped += (r > top) + (g > top)
            out[y, x, 0] = np.uint8(min(r, top) + half)
            out[y, x, 1] = np.uint8(min(g, top) + half)
            out[y, x, 2] = np.uint8(b + half)
    return clipped


@compiled_for_rows
def _grey(
    frame: NDArray[Any], value: NDArray[Any], share: float, kappa: float, inverse: float, out: NDArray[Any]
) -> None:
    """``share frame (1 - kappa V) + inverse (255 - 255 V)`` in all three channels."""
    one, half, top = np.float32(1), np.float32(0.5), np.float32(255)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            v = value[y, x]
            i = share * np.float32(frame[y, x]) * (one - kappa * v) + inverse * top * (one - v)
            level = np.uint8(i + half)
            out[y, x, 0] = level
            out[y, x, 1] = level
            out[y, x, 2] = level
