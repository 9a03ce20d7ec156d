"""What a page shows of a frame: false colours, what is looked at, where the threat is; and what to expect of it all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldsight.data.images import resize
from fieldsight.systems.alert import ground
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.state import AlertState

#: Longest side of a picture that is sent.
LONGEST = 320
#: Modes that look along the way ahead; the others look at a part of the picture.
AHEAD = ("nearest", "track", "looming")
#: What a threat is drawn as: metres to both sides, and tall.
BODY, TALL = 0.45, 1.7


def jpeg(depth: Array, reach: float) -> bytes:
    """Depth ``(H, W)`` in false colours (near is warm, far is dark blue, nothing is grey) as JPEG."""
    import cv2

    picture = np.asarray(depth, dtype=np.float32)
    picture = picture[:: max(1, picture.shape[0] // LONGEST), :: max(1, picture.shape[1] // LONGEST)]
    none = ~(np.isfinite(picture) & (picture > 0))
    near, far = 0.4, max(reach, 2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(np.where(none, far, picture) / near) / math.log(far / near)
    colour = cv2.applyColorMap(np.round(255 * (1 - np.clip(share, 0, 1))).astype(np.uint8), cv2.COLORMAP_TURBO)
    colour[none] = (96, 92, 88)
    if max(colour.shape[:2]) < LONGEST // 2:  # JPEG blurs colours over two pixels
        times = LONGEST // 2 // max(colour.shape[:2]) + 1
        colour = colour.repeat(times, axis=0).repeat(times, axis=1)
    done, data = cv2.imencode(".jpg", resize(colour, LONGEST), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return data.tobytes() if done else b""


def overlay(frame: Frame, config: AlertConfig, state: AlertState) -> dict[str, Any]:
    """What to draw over a picture, in shares of its width and height: ``roi``, ``corridor`` and ``threat``."""
    found: dict[str, Any] = {"aspect": frame.depth.shape[1] / frame.depth.shape[0]}
    if config.mode not in AHEAD:
        left, right, top, bottom = config.roi
        found["roi"] = [top, bottom, left, right] if config.roi_axes == "sensor" else [left, right, top, bottom]
        return found
    if frame.K is None:
        return found
    level = _level(frame, config)
    sides = [
        [_project(frame, level, side * config.corridor, z, -level.height) for z in np.geomspace(1.0, config.reach, 10)]
        for side in (-1, 1)
    ]
    points = [p for p in [*sides[0], *reversed(sides[1])] if p is not None]
    found["corridor"] = points if len(points) >= 4 else None
    if not (math.isnan(state.distance) or math.isnan(state.bearing)):
        x, z = state.distance * math.sin(state.bearing), state.distance * math.cos(state.bearing)
        low = _project(frame, level, x - BODY, z, -level.height)
        high = _project(frame, level, x + BODY, z, TALL - level.height)
        if low is not None and high is not None:
            found["threat"] = [low[0], high[0], high[1], low[1]]
    return found


def _level(frame: Frame, config: AlertConfig) -> ground.Level:
    if frame.pose is None or not np.isfinite(frame.pose).all():
        return ground.nominal(config.camera_height)
    return ground.of_pose(np.asarray(frame.pose), config.camera_height)


def _project(frame: Frame, level: ground.Level, x: float, z: float, y: float) -> list[float] | None:
    """A point ``x`` right, ``z`` ahead and ``y`` above the camera, in shares of the picture; None behind it."""
    point = x * level.right + z * level.forward + y * level.up
    if point[2] < 0.1 or frame.K is None:
        return None
    height, width = frame.depth.shape
    u = (frame.K[0, 0] * point[0] / point[2] + frame.K[0, 2] + 0.5) / width
    v = (frame.K[1, 1] * point[1] / point[2] + frame.K[1, 2] + 0.5) / height
    return [round(float(np.clip(u, -2, 3)), 4), round(float(np.clip(v, -2, 3)), 4)]


def expected(surface: Mapping[str, Any] | None, speed: float, tti: float) -> dict[str, Any]:
    """What a pair of thresholds gave where it was measured: bilinear between the points, None outside.

    Args:
        surface: ``speed`` (rows), ``tti`` (columns), ``precision``, ``recall``, ``missed``, ``false_per_minute`` (each
            a table), and ``on``: what it was measured on, in words. None where nothing was measured.
        speed: m/s.
        tti: seconds.

    Returns:
        ``precision``, ``recall``, ``missed``, ``false_per_minute`` (or None each) and ``on``.
    """
    names = ("precision", "recall", "missed", "false_per_minute")
    if not surface:
        return {**dict.fromkeys(names), "on": "", "words": "Nothing was measured for this model."}
    row, column = _place(surface["speed"], speed), _place(surface["tti"], tti)
    found: dict[str, Any] = {"on": surface.get("on", ""), "words": ""}
    for name in names:
        table = surface.get(name)
        found[name] = None if table is None or row is None or column is None else _between(table, row, column)
    if row is None or column is None:
        found["words"] = "Nothing was measured at these thresholds."
    return found


def _place(axis: Sequence[float], value: float) -> tuple[int, int, float] | None:
    """The two points of an axis (rising or falling) around a value, and the share of the second."""
    for n, (a, b) in enumerate(itertools.pairwise(axis)):
        if min(a, b) - 1e-9 <= value <= max(a, b) + 1e-9:
            return n, n + 1, 0.0 if a == b else (value - a) / (b - a)
    return (0, 0, 0.0) if len(axis) == 1 and math.isclose(axis[0], value) else None


def _between(table: Any, row: tuple[int, int, float], column: tuple[int, int, float]) -> float | None:
    total = 0.0
    for r, wr in ((row[0], 1 - row[2]), (row[1], row[2])):
        for c, wc in ((column[0], 1 - column[2]), (column[1], column[2])):
            if wr * wc <= 1e-12:
                continue
            value = table[r][c]
            if value is None or not math.isfinite(value):
                return None
            total += wr * wc * float(value)
    return total


def latency(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Median, 95th percentile and histogram of the times from a frame's arrival to its judgement."""
    if not milliseconds:
        return {"n": 0, "p50": None, "p95": None, "edges": [], "counts": []}
    values = np.asarray(milliseconds)
    edges = [0, 1, 2, 5, 10, 20, 50, 100, 200, math.inf]
    counts = np.histogram(values, edges)[0]
    return {
        "n": len(values),
        "p50": round(float(np.percentile(values, 50)), 2),
        "p95": round(float(np.percentile(values, 95)), 2),
        "edges": edges[:-1],
        "counts": counts.tolist(),
    }
