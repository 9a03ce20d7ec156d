"""What the engine sees, as pictures: depth in false colour with the part looked at, numbers, red on alarm; and a
strip of time, distance and speed of a whole replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fieldsight.predictions import Picture
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.differencing import region
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.state import AlertState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of the states, RGB; the same on the live page.
COLOURS = {
    "alarm": (200, 30, 30),
    "clear": (40, 130, 70),
    "warming up": (150, 150, 150),
    "no judgement": (205, 140, 20),
}


def coloured(depth: Array, far: float = 25.0) -> Picture:
    """Depth ``(H, W)`` in metres as ``(H, W, 3)``: near is bright; black where nothing came back."""
    from fieldsight.predictions import heat

    seen = depth > 0
    near = 1.0 - np.sqrt(np.clip(np.where(seen, depth, far) / far, 0, 1))
    picture = heat(near, 0.0, 1.0)
    picture[~seen] = 0
    return picture


def draw(frame: Frame, state: AlertState | None, config: AlertConfig, height: int = 288) -> Picture:
    """A frame as the paper's debug screen shows it: picture, region, distance, speed, time to impact, thresholds.

    Args:
        frame: ``(H, W)`` depth; a single range becomes a grey field.
        state: of this frame; None draws the picture alone.
        config: for region and thresholds.
        height: pixels of the picture; the numbers stand below it.
    """
    import cv2

    depth = np.asarray(frame.depth, dtype=np.float32)
    if depth.size == 1:
        depth = np.full((72, 96), float(depth.ravel()[0]), np.float32)
    scale = height / depth.shape[0]
    size = (max(64, round(depth.shape[1] * scale)), height)
    picture = cv2.resize(coloured(depth), size, interpolation=cv2.INTER_NEAREST)
    if state is None:
        return picture
    colour = COLOURS[state.state]
    if config.mode not in ("nearest", "track"):
        rows, columns = region((frame.depth.shape[0], frame.depth.shape[1]), config)
        a = (round(columns.start * scale), round(rows.start * scale))
        b = (round(columns.stop * scale) - 1, round(rows.stop * scale) - 1)
        cv2.rectangle(picture, a, b, (255, 255, 255), 1)
    _mark(picture, frame, state, colour)
    cv2.rectangle(picture, (0, 0), (size[0] - 1, size[1] - 1), colour, 6)
    return np.concatenate([picture, _words(state, config, size[0], colour)])


def _mark(picture: Picture, frame: Frame, state: AlertState, colour: tuple[int, int, int]) -> None:
    """A triangle over the bearing of the threat, where it is known."""
    import cv2

    if frame.K is None or math.isnan(state.bearing) or math.isnan(state.distance):
        return
    scale = picture.shape[1] / frame.depth.shape[1]
    u = round((frame.K[0, 2] + frame.K[0, 0] * math.tan(state.bearing)) * scale)
    if 0 <= u < picture.shape[1]:
        corners = np.array([[u - 9, 12], [u + 9, 12], [u, 28]], np.int32)
        cv2.fillPoly(picture, [corners], colour)
        cv2.polylines(picture, [corners], True, (255, 255, 255), 1)


def _words(state: AlertState, config: AlertConfig, width: int, colour: tuple[int, int, int]) -> Picture:
    import cv2

    bar = np.full((74, width, 3), 255, np.uint8)
    bar[:28] = colour
    head = state.state.upper() + (f"  {state.tti:.1f} s" if state.alert else "")
    cv2.putText(bar, head, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    lines = [
        f"{number(state.distance, 'm')}   {number(state.speed, 'm/s')}   impact {number(state.tti, 's')}",
        f"alarm below {config.speed_threshold:g} m/s and {config.tti_threshold:g} s   t {state.t:.1f} s",
    ]
    for n, line in enumerate(lines):
        cv2.putText(bar, line, (8, 46 + 20 * n), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return bar


def number(value: float, unit: str) -> str:
    """A number for people; what is unknown or never is a dash."""
    return f"- {unit}" if math.isnan(value) or math.isinf(value) else f"{value:.1f} {unit}"


def strip(states: Sequence[AlertState], config: AlertConfig, danger: Sequence[tuple[float, float]] = ()) -> Picture:
    """Distance and closing speed over time, states as coloured ground, true danger as a bar where it is known.

    Args:
        states: of a replay.
        config: for the thresholds.
        danger: begin and end of true danger, s.
    """
    from fieldsight.report.plots import COLOURS as LINES
    from fieldsight.report.plots import figure, pixels

    drawn, (ax,) = figure(9.0, 3.0)
    t = np.array([s.t for s in states])
    step = float(np.median(np.diff(t))) if len(t) > 1 else 0.1
    _ground(ax, states, step)
    ax.plot(t, [s.distance for s in states], color=LINES[0], linewidth=1.6, label="distance [m]")
    ax.set_ylabel("distance [m]")
    ax.set_xlabel("time [s]")
    ax.set_ylim(0, None)
    right = ax.twinx()
    right.plot(t, [s.speed for s in states], color=LINES[1], linewidth=1.2, label="closing speed [m/s]")
    right.axhline(config.speed_threshold, color=LINES[1], linestyle="--", linewidth=0.8)
    right.set_ylabel("speed [m/s]")
    right.spines[["top"]].set_visible(False)
    for begin, end in danger:
        ax.plot([begin, end], [0.02, 0.02], transform=ax.get_xaxis_transform(), color="black", linewidth=5)
    handles = [*ax.get_lines()[:1], *right.get_lines()[:1]]
    ax.legend(handles, [str(h.get_label()) for h in handles], frameon=False, loc="upper right", ncols=2)
    told = "red alarm, amber no judgement" + (", black bar: true danger" if danger else "")
    ax.set_title(told, fontsize=9, loc="left")
    return pixels(drawn, 100)


def _ground(ax: Axes, states: Sequence[AlertState], step: float) -> None:
    for n, state in enumerate(states):
        if state.state == "clear":
            continue
        end = states[n + 1].t if n + 1 < len(states) else state.t + step
        colour = tuple(c / 255 for c in COLOURS[state.state])
        ax.axvspan(state.t, min(end, state.t + 3 * step), color=colour, alpha=0.35, linewidth=0)
