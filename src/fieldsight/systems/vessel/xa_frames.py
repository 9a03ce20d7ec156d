"""Frames of full contrast in an angiogram, by the area that the contrast agent darkens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError

if TYPE_CHECKING:
    from fieldsight.systems.vessel.xa import Angiography

#: Frames are looked at in this size, and at most so many of them, evenly spread: that bounds the memory (about 26 MB).
_SIDE, _MOST = 256, 400

#: A pixel is filled where it is darker than its background by this share of it, and by so many grey levels.
_DROP, _STEP = 0.08, 4.0

#: Least share of filled pixels at the peak; below it there is no contrast to be seen.
_LEAST_AREA = 0.003

#: The mid-phase is where the area is at least so far from the least towards the peak, or so near to the peak.
_RISE, _NEAR = 0.7, 0.8

#: Frames whose median area counts, so that one beat of the heart does not end the phase.
_SMOOTH = 5


@dataclass(frozen=True)
class KeyFrames:
    """Frames of full contrast, and what they were chosen by.

    Attributes:
        numbers: of the chosen frames, in order.
        phase: first and last frame of the mid-phase.
        looked: ``(M,)`` numbers of the frames that were looked at.
        area: ``(M,)`` share of pixels filled with contrast, 0-1, of those.
        notes: what was assumed, in words.
    """

    numbers: tuple[int, ...]
    phase: tuple[int, int]
    looked: NDArray[np.int64] = field(repr=False)
    area: NDArray[np.float32] = field(repr=False)
    notes: tuple[str, ...] = ()


def key_frames(source: Angiography, count: int = 1) -> KeyFrames:
    """Choose frames of the mid-phase, in one pass over the frames.

    A pixel counts as filled with contrast where it is clearly darker than the lightest that it is in any frame. The
    mid-phase is the stretch around the largest filled area that stays near it; it is cut into ``count`` parts, and of
    each part the frame with the largest area is taken.

    Args:
        source: the angiogram.
        count: frames wanted; a shorter mid-phase gives fewer (noted). A run without visible contrast gives frames
            evenly spread (noted).

    Raises:
        ConfigError: ``count`` is below 1.
        DataError: a frame can't be read.
    """
    if count < 1:
        raise ConfigError(f"count is {count}; at least 1 frame is wanted.")
    looked, thumbnails = _look(source)
    area = _filled(thumbnails)
    notes: list[str] = []
    if area.max() < _LEAST_AREA:
        first, last = 0, len(looked) - 1
        if len(looked) > 1:
            notes.append("no contrast agent comes or goes: the frames are evenly spread over the run")
        picked = sorted({round(at) for at in (np.arange(min(count, len(looked))) + 0.5) * len(looked) / count - 0.5})
    else:
        first, last = _phase(area)
        parts = np.array_split(np.arange(first, last + 1), min(count, last + 1 - first))
        picked = [int(part[np.argmax(area[part])]) for part in parts]
    if len(picked) < count:
        notes.append(f"{count} frames are wanted, the run has {len(picked)} to give")
    numbers = tuple(int(looked[at]) for at in picked)
    return KeyFrames(numbers, (int(looked[first]), int(looked[last])), looked, area, tuple(notes))


# ---------------------------------------------------------------------------------------------- internals


def _look(source: Angiography) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Numbers and small pictures ``(M, h, w)`` of frames, evenly spread."""
    import cv2

    every = -(-source.count // _MOST)
    scale = min(1.0, _SIDE / max(source.size))
    size = (max(1, round(source.size[1] * scale)), max(1, round(source.size[0] * scale)))
    numbers: list[int] = []
    small: list[NDArray[np.uint8]] = []
    for number, frame in source:
        if number % every == 0:
            numbers.append(number)
            shrunk = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
            small.append(np.asarray(cv2.blur(shrunk, (3, 3)), np.uint8))
    return np.array(numbers, np.int64), np.stack(small)


def _filled(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of pixels ``(M,)`` that are clearly darker than their lightest."""
    background = thumbnails.max(axis=0).astype(np.float32)
    limit = background - np.maximum(_STEP, _DROP * background)
    return np.array([np.mean(picture < limit) for picture in thumbnails], np.float32)


def _phase(area: NDArray[np.float32]) -> tuple[int, int]:
    """First and last place of the stretch around the peak that stays near it."""
    half = _SMOOTH // 2
    padded = np.pad(area, half, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH), axis=1)
    low, high = float(smooth.min()), float(smooth.max())
    level = min(low + _RISE * (high - low), _NEAR * high)
    peak = int(np.argmax(smooth))
    below = np.flatnonzero(smooth < level)
    before, after = below[below < peak], below[below > peak]
    return (int(before[-1]) + 1 if len(before) else 0), (int(after[0]) - 1 if len(after) else len(area) - 1)
