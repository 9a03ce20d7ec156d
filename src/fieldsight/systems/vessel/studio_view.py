"""What the Studio page shows of a frame: pairs under a line that moves, and marks that are set by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from fieldsight.data.images import resize
from fieldsight.predictions import Picture, heat
from fieldsight.studio.pictures import MOST, fitted
from fieldsight.systems.vessel import fusing
from fieldsight.systems.vessel.config import UNFILTERED, Enhance
from fieldsight.systems.vessel.data import squared
from fieldsight.systems.vessel.enhance import fused, measure, mixed, shown
from fieldsight.systems.vessel.enhancing import Enhanced
from fieldsight.systems.vessel.results import Stenoses

Pair = tuple[Picture, Picture]

_MOVE = "Move the line."

#: What may stand right of the line after ``predict``, and the words over it.
FOUND = {
    "Stenoses": f"Left of the line the frame, right of it what was found. {_MOVE}",
    "What the detector sees": f"Right of the line the frame as filter and fusion hand it to the detector. {_MOVE}",
}

#: The same after ``enhance``.
ENHANCED = {
    "Fused": f"Left of the line the frame, right of it with its vessels brought out. {_MOVE}",
    "Vesselness": f"Right of the line how much each place looks like a vessel: black not at all, white much. {_MOVE}",
    "Widths": f"Right of the line vessels coloured by width: dark blue is thin, yellow is wide. {_MOVE}",
}

#: Ends of the slider that picks one scale, px; 0 is all of them.
SCALES = (0.0, 16.0)

#: Marks: colour and radius in px of the shown picture.
_MARK, _RADIUS = (0, 200, 120), 6

_FILTER_THREADS = 2


def found_pair(found: Stenoses, look: str) -> Pair:
    """What lies left and right of the moving line after ``predict``.

    Args:
        found: boxes in a frame.
        look: one of :data:`FOUND`.
    """
    if look == "Stenoses":
        right, left = fitted(found.draw(MOST)), resize(found.picture, MOST)
        size = (right.shape[1], right.shape[0])  # a small frame is drawn enlarged
        return np.asarray(cv2.resize(left, size, interpolation=cv2.INTER_NEAREST), np.uint8), right
    settings = {**found.preproc}
    side = settings.pop("input")
    frame, _ = squared(np.ascontiguousarray(found.picture[..., 0]), side)
    return fitted(fusing.grey(frame)), fitted(fused(frame, Enhance.parse(settings), _FILTER_THREADS))


def enhanced_pair(found: Enhanced, look: str, sigma: float = 0.0) -> Pair:
    """What lies left and right of the moving line after ``enhance``.

    Args:
        found: a frame with its vessels brought out.
        look: one of :data:`ENHANCED`.
        sigma: one scale in px of the frame, filtered anew on a picture that fits the page; 0 shows the result itself.
    """
    if not sigma or look == "Widths":
        return fitted(fusing.grey(found.frame)), fitted(_right(found, look))
    frame = np.ascontiguousarray(resize(found.frame, MOST))
    factor = frame.shape[1] / found.frame.shape[1]
    settings = replace(found.options, sigmas=(float(np.clip(sigma * factor, 0.5, 64)),))
    value = shown(measure(frame, settings, _FILTER_THREADS, detail=False).value, settings)
    if look == "Vesselness":
        right = fusing.grey(fusing.levels(value))
    elif settings.mode in UNFILTERED:
        right = fused(frame, settings)
    else:
        right = mixed(frame, value, settings)
    return fitted(fusing.grey(frame)), fitted(right)


def _right(found: Enhanced, look: str) -> Picture:
    if look == "Fused":
        return found.fused
    if look == "Vesselness":
        return fusing.grey(fusing.levels(found.visible))
    scales = np.asarray(found.vesselness.scale)
    colours = heat(np.log(np.maximum(scales, 0.5)), *(math.log(s) for s in _range(found.options.sigmas)))
    share = found.visible[..., None]
    return np.asarray(np.rint(colours * share + 0.35 * fusing.grey(found.frame) * (1 - share)), np.uint8)


def _range(sigmas: Sequence[float]) -> tuple[float, float]:
    low, high = min(sigmas), max(sigmas)
    return (low, high) if high > low else (low / 2, high * 2)


# ----------------------------------------------------------------------------------------------------- marks


def marks_of(text: str) -> list[float]:
    """Numbers of a text like ``112, 131, 80, 183``; of whole points only, and none of a text that is no list."""
    try:
        values = [float(part) for part in (text or "").replace(";", ",").split(",") if part.strip()]
    except ValueError:
        return []
    if not all(math.isfinite(v) and v >= 0 for v in values):
        return []
    return values[: min(4, len(values) // 2 * 2)]


def pressed(text: str, x: float, y: float) -> str:
    """The text with one more point, in px of the frame; after the second a new pair begins."""
    marks = marks_of(text)
    kept = [] if len(marks) >= 4 else marks
    return ", ".join(f"{v:g}" for v in (*kept, round(x, 1), round(y, 1)))


def marked(picture: Picture, text: str, factor: float) -> Picture:
    """A shown frame with the marks of a text.

    Args:
        picture: ``(H, W, 3)`` uint8.
        text: see :func:`marks_of`.
        factor: pixels of the picture for one of the frame.
    """
    out = picture.copy()
    points = np.rint(np.array(marks_of(text), np.float64).reshape(-1, 2) * factor).astype(int)
    if len(points) == 2:
        cv2.polylines(out, [points.astype(np.int32)], False, _MARK, 1, cv2.LINE_AA)
    for number, (x, y) in enumerate(points, 1):
        cv2.circle(out, (int(x), int(y)), _RADIUS, _MARK, 2, cv2.LINE_AA)
        cv2.putText(out, str(number), (int(x) + 9, int(y) - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _MARK, 2, cv2.LINE_AA)
    return out
