"""A frame to its vesselness, and to the picture that a detector sees, by the settings of :class:`.config.Enhance`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Picture
from fieldsight.systems.vessel import fast, filters, fusing
from fieldsight.systems.vessel.config import UNFILTERED, Enhance
from fieldsight.systems.vessel.constants import C
from fieldsight.systems.vessel.filters import Vesselness

#: Filters whose strength is in grey levels: their response over the strongest of the frame stands in for 0 to 1.
_UNBOUND = ("sato", "meijering")


def measure(frame: NDArray[Any], settings: Enhance, threads: int = 1, detail: bool = True) -> Vesselness:
    """Vesselness of a frame, unscaled.

    Args:
        frame: ``(H, W)`` grey levels, 0-255.
        settings: filter, scales, constants.
        threads: of Frangi's filter; the others have one.
        detail: with scale and direction.

    Raises:
        ConfigError: an impossible scale.
    """
    own = settings
    if own.filter == "frangi" and own.c > 0:
        return fast.vesselness(frame, own.sigmas, own.polarity, own.beta, own.c, threads, detail)
    return filters.multiscale(frame, own.sigmas, own.filter, own.polarity, own.beta, own.c or "auto")


def shown(value: NDArray[Any], settings: Enhance) -> NDArray[np.float32]:
    """Vesselness ``(H, W)`` in 0-1 as it is fused and drawn: scaled by its own 99.5th percentile where wanted.

    Sato's and Meijering's responses are grey levels: they are divided by c first, and cut at 1.
    """
    one = np.asarray(value, np.float32)
    if settings.filter in _UNBOUND:
        one = np.minimum(one / np.float32(settings.c or C), np.float32(1))
    return np.asarray(filters.scaled(one) if settings.scaled else one, np.float32)


def fused(frame: NDArray[np.uint8], settings: Enhance, threads: int = 1) -> Picture:
    """What a detector sees of a frame.

    Args:
        frame: ``(H, W)`` uint8.
        settings: mode, filter, scales, constants.
        threads: of the filter.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    if settings.mode in UNFILTERED:
        if settings.mode == "raw":
            return fusing.grey(frame)
        return fusing.grey(fusing.clahe(frame) if settings.mode == "clahe" else fusing.unsharp(frame))
    value = shown(measure(frame, settings, threads, detail=False).value, settings)
    return mixed(frame, value, settings)


def mixed(frame: NDArray[np.uint8], value: NDArray[Any], settings: Enhance) -> Picture:
    """A frame ``(H, W)`` uint8 and its vesselness ``(H, W)`` in 0-1 as one picture ``(H, W, 3)`` uint8 RGB."""
    if settings.mode == "vesselness":
        return fusing.grey(fusing.levels(value))
    mode: Any = settings.mode
    return fusing.fuse(frame, value, mode, settings.kappa, settings.alpha).image
