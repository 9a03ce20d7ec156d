"""What the page draws of a replay: states at other thresholds, strips over time, a frame beside its view from above."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.predictions import Picture
from fieldsight.report.plots import COLOURS as LINES
from fieldsight.systems.alert import drawing
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.decision import decide, level_of, passes
from fieldsight.systems.alert.motion import LOOKS, MOVES, STANDS
from fieldsight.systems.alert.predict import Replay
from fieldsight.systems.alert.recording import Array, Frame, Recording
from fieldsight.systems.alert.scene import Scene
from fieldsight.systems.alert.state import NEVER, AlertState, Candidate

#: Metres ahead that the view from above shows.
AHEAD = 20.0
#: Colours of points from above, RGB: unknown, stands, moves; what is truly there; what a threshold is held against.
UNKNOWN_POINT, STANDS_POINT, MOVES_POINT = (188, 197, 206), (90, 103, 118), (213, 94, 0)
TRUE, FOUND = (0, 114, 178), (28, 36, 48)

_WIDTH = 720  # of a strip, in its own units
_LEFT, _RIGHT = 46, 46
_MOST = 1200  # points of a line


# ----------------------------------------------------------------------------------------------- other thresholds


def restated(replay: Replay, speed: float, tti: float) -> list[AlertState]:
    """The states of a replay as other thresholds judge them; no frame is read again.

    Args:
        replay: with its states and settings.
        speed: m/s, 0 or below.
        tti: seconds.

    Returns:
        As many states; their ``t`` counts from the replay's begin.
    """
    sounds = decide(replay.states, replay.config, speed, tti)
    begin = start_of(replay)
    found, last = [], 0.0
    for state, sound in zip(replay.states, sounds, strict=True):
        last = state.t - begin if math.isfinite(state.t) else last
        found.append(_restated(state, bool(sound), last, speed, tti))
    return found


def start_of(replay: Replay) -> float:
    """The first time of a replay that is one, s."""
    return next((s.t for s in replay.states if math.isfinite(s.t)), 0.0)


def _restated(state: AlertState, sound: bool, t: float, speed: float, tti: float) -> AlertState:
    if not state.judged:
        return dataclasses.replace(state, t=t)
    told: dict[str, Any] = {}
    if state.candidates:
        one = min(state.candidates, key=lambda c: (not _would(c, speed, tti), c.tti, c.distance))
        told = {
            "distance": one.distance, "speed": one.speed, "tti": one.tti, "bearing": one.bearing,
            "ground_speed": one.ground_speed, "track": one.id,
        }  # fmt: skip
    level = level_of(told.get("tti", state.tti)) if sound else 0
    return dataclasses.replace(state, t=t, state="alarm" if sound else "clear", alert=sound, level=level, **told)


def _would(one: Candidate, speed: float, tti: float) -> bool:
    return one.passes and passes(one.limit, one.tti, speed, tti)


def at_time(states: Sequence[AlertState], t: float) -> int:
    """Index of the state nearest to a time; -1 where there is none."""
    return min(range(len(states)), key=lambda n: abs(states[n].t - t), default=-1)


# -------------------------------------------------------------------------------------------------------- strips


@dataclass(frozen=True)
class Axis:
    """Values ``low`` to ``high`` on pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values along it, at most so many."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / most))
        step = next(step * k for k in (1, 2, 5, 10) if (self.high - self.low) / (step * k) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 9) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def strip(
    states: Sequence[AlertState],
    speed: float,
    danger: Sequence[tuple[float, float]] = (),
    now: float | None = None,
    seconds: float | None = None,
    height: int = 210,
    title: str = "",
) -> str:
    """Distance and closing speed over time as SVG, states as coloured ground, true danger as a black bar.

    Args:
        states: in order; their ``t`` counts from 0.
        speed: the threshold, a dashed line, m/s.
        danger: begin and end of true danger, s.
        now: time of a vertical line, or None.
        seconds: how far the axis goes; to the last state without it.
        height: of the drawing.
        title: words on top.
    """
    top, bottom = (22 if title else 8), height - 32
    t = Axis(0.0, max(seconds or 0.0, states[-1].t if states else 0.0, 0.5), _LEFT, _WIDTH - _RIGHT)
    far = max((s.distance for s in states if math.isfinite(s.distance)), default=1.0)
    distance = Axis(0.0, max(5.0, 1.05 * far), bottom, top)
    fast = max((abs(s.speed) for s in states if math.isfinite(s.speed)), default=0.0)
    speeds = Axis(-min(15.0, max(5.0, fast, -speed)), 2.0, bottom, top)
    parts = [_ground(states, t, top, bottom), _axes(t, distance, speeds, top, bottom)]
    parts += [
        f'<path d="{_line(states, name, t, axis)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        for name, axis, colour, width in (("speed", speeds, LINES[1], 1.4), ("distance", distance, LINES[0], 2.0))
    ]
    y = speeds.at(speed)
    parts.append(_rule(t.start, y, t.end, y, LINES[1], "5 4"))
    for begin, end in danger:
        x = t.at(begin)
        parts.append(f'<rect x="{x:.1f}" y="{bottom - 5}" width="{max(t.at(end) - x, 2):.1f}" height="5" fill="#111"/>')
    if now is not None:
        parts.append(_rule(t.at(now), top, t.at(now), bottom, "#1c2430", "", 1.6))
    if title:
        parts.append(f'<text x="{_LEFT}" y="14" font-size="13" font-weight="600">{escape(title)}</text>')
    words = escape(title or "states over time")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{words}" '
        f'font-family="system-ui, DejaVu Sans, sans-serif" font-size="11" fill="#1c2430">{"".join(parts)}</svg>'
    )


def spans(states: Sequence[AlertState]) -> Iterator[tuple[str, float, float]]:
    """Runs of one state with their begin and end; a state lasts until the next, a second at most."""
    gaps = [b.t - a.t for a, b in pairwise(states)]
    step = float(np.median(gaps)) if gaps else 0.1
    ends = [a.t + min(gap, max(1.0, 3 * step)) for a, gap in zip(states, [*gaps, step], strict=False)]
    run: tuple[str, float, float] | None = None
    for state, end in zip(states, ends, strict=True):
        if run is not None and run[0] == state.state and state.t <= run[2] + 1e-9:
            run = (run[0], run[1], end)
            continue
        if run is not None:
            yield run
        run = (state.state, state.t, end)
    if run is not None:
        yield run


def legend() -> str:
    """What the colours of a strip mean, as HTML."""
    ground = (("alarm", "alarm"), ("warming up", "warming up"), ("no judgement", "nobody watches"))
    items = [_key(f"rgb{drawing.COLOURS[name]}", words, 12, 0.4) for name, words in ground]
    items += [
        _key(colour, words, 3)
        for colour, words in (
            (LINES[0], "distance"), (LINES[1], "closing speed, dashed: its threshold"), ("#111", "true danger")
        )
    ]  # fmt: skip
    return f'<p class="fs-soft">{"".join(items)}</p>'


def _key(colour: str, words: str, tall: int, opacity: float = 1.0) -> str:
    mark = f"width:16px;height:{tall}px;background:{colour};opacity:{opacity}"
    place = "display:inline-flex;align-items:center;gap:6px;margin-right:16px"
    return f'<span style="{place}"><i style="{mark}"></i>{escape(words)}</span>'


def _ground(states: Sequence[AlertState], t: Axis, top: float, bottom: float) -> str:
    return "".join(
        f'<rect x="{t.at(a):.1f}" y="{top}" width="{max(t.at(b) - t.at(a), 1):.1f}" height="{bottom - top}" '
        f'fill="rgb{drawing.COLOURS[name]}" fill-opacity="0.32"/>'
        for name, a, b in spans(states)
        if name != "clear"
    )


def _axes(t: Axis, distance: Axis, speeds: Axis, top: float, bottom: float) -> str:
    parts = [_rule(t.start, bottom, t.end, bottom, "#9aa5b1")]
    for value in t.ticks(10):
        parts.append(f'<text x="{t.at(value):.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(t.start + t.end) / 2}" y="{bottom + 27}" text-anchor="middle">time [s]</text>')
    rows = max(2, int((bottom - top) / 22))
    for axis, x, anchor, colour in ((distance, _LEFT - 6, "end", LINES[0]), (speeds, t.end + 6, "start", LINES[1])):
        for value in axis.ticks(rows):
            y = axis.at(value)
            parts.append(f'<text x="{x}" y="{y + 4:.1f}" text-anchor="{anchor}" fill="{colour}">{value:g}</text>')
            if axis is distance:
                parts.append(_rule(t.start, y, t.end, y, "#e4e8ed"))
    middle = (top + bottom) / 2
    for x, words, colour in ((11, "distance [m]", LINES[0]), (_WIDTH - 8, "speed [m/s]", LINES[1])):
        parts.append(
            f'<text transform="translate({x} {middle}) rotate(-90)" text-anchor="middle" fill="{colour}">{words}</text>'
        )
    return "".join(parts)


def _rule(x0: float, y0: float, x1: float, y1: float, colour: str, dash: str = "", width: float = 1.0) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _line(states: Sequence[AlertState], name: str, t: Axis, axis: Axis) -> str:
    """A line through the judged states, broken where nothing was seen."""
    parts, pen = [], False
    for state in states[:: max(1, len(states) // _MOST)]:
        value = getattr(state, name)
        if not math.isfinite(value) or not state.judged:
            pen = False
            continue
        parts.append(f"{'L' if pen else 'M'}{t.at(state.t):.1f} {axis.at(value):.1f}")
        pen = True
    return "".join(parts)


# ------------------------------------------------------------------------------------------------------- pictures


def look(replay: Replay, states: Sequence[AlertState], n: int, speed: float, tti: float) -> Picture | None:
    """A frame as the engine sees it beside what is around the wearer from above; None where no frame is at hand.

    Args:
        replay: with its recording.
        states: as :func:`restated` gave them.
        n: which of them.
        speed, tti: the thresholds, m/s and s.
    """
    recording = replay.recording
    if recording is None or not 0 <= n < len(states):
        return None
    i = frame_of(recording, replay.states[n].t)
    frame = recording.load(i)
    config = replay.config.replace(speed_threshold=speed, tti_threshold=tti)
    rows, columns = frame.depth.shape
    height = 330 if frame.depth.size == 1 else int(min(560, max(330, 440 * rows / columns)))
    seen = drawing.draw(frame, states[n], config, height=height)
    if frame.depth.size == 1:
        return seen
    above = from_above(recording, i, states[n], config, (seen.shape[0], 330))
    gap = np.full((seen.shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([seen, gap, above], axis=1)


def frame_of(recording: Recording, t: float) -> int:
    """Number of the frame nearest to a time; the first one for a time that is none."""
    return int(np.argmin(np.abs(recording.times - t))) if math.isfinite(t) else 0


def from_above(
    recording: Recording,
    i: int,
    state: AlertState | None,
    config: AlertConfig,
    size: tuple[int, int],
    ahead: float = AHEAD,
) -> Picture:
    """What stands and what moves around the wearer, seen from above, the camera looking up the picture.

    Args:
        recording: frames before ``i`` tell what moves.
        i: the frame.
        state: its distances are drawn as rings; None draws none.
        config: for the corridor.
        size: rows and columns.
        ahead: metres that it shows.
    """
    import cv2

    frame = recording.load(i)
    picture = np.full((*size, 3), 255, np.uint8)
    scale = (size[0] - 26) / ahead
    foot = (size[1] / 2, size[0] - 16.0)
    _field(picture, frame, config, foot, scale, ahead)
    along, side, motion = points_of(recording, i, config)
    u = np.rint(foot[0] + side * scale).astype(int)
    v = np.rint(foot[1] - along * scale).astype(int)
    inside = (u >= 1) & (v >= 1) & (u < size[1] - 1) & (v < size[0] - 1)
    for kind, colour, grow in ((0, UNKNOWN_POINT, 0), (STANDS, STANDS_POINT, 0), (MOVES, MOVES_POINT, 1)):
        here = inside & (motion == kind)
        for dv, du in ((0, 0), (0, 1), (1, 0), (1, 1)) if grow else ((0, 0),):
            picture[v[here] + dv, u[here] + du] = colour
    for corners, risky in _truth(recording, i, frame):
        shape = np.stack([foot[0] + corners[:, 0] * scale, foot[1] - corners[:, 1] * scale], axis=1)
        colour = drawing.COLOURS["alarm"] if risky else TRUE
        cv2.polylines(picture, [np.rint(shape).astype(np.int32)], True, colour, 2 if risky else 1, cv2.LINE_AA)
    if state is not None:
        _threats(picture, state, foot, scale)
    cv2.circle(picture, (round(foot[0]), round(foot[1])), 6, FOUND, -1, cv2.LINE_AA)
    cv2.rectangle(picture, (0, 0), (size[1] - 1, size[0] - 1), (223, 228, 234), 1)
    return picture


def points_of(recording: Recording, i: int, config: AlertConfig) -> tuple[Array, Array, NDArray[np.int8]]:
    """Metres ahead and to the right of what is above the ground, and whether it moves; nothing without a lens."""
    t = float(recording.times[i])
    scene = Scene(config)
    before = sorted({frame_of(recording, t - back) for back in LOOKS} - {i})
    for n in before:
        if recording.times[n] < t:
            scene.points(recording.load(n))
    found = scene.points(recording.load(i))
    c, s = math.cos(found.heading), math.sin(found.heading)
    return found.forward * c + found.side * s, found.side * c - found.forward * s, found.motion


def _field(
    picture: Picture, frame: Frame, config: AlertConfig, foot: tuple[float, float], scale: float, ahead: float
) -> None:
    """Field of view, rings every five metres (every metre close by), the corridor."""
    import cv2

    if frame.K is not None:
        width = frame.depth.shape[1]
        sides = [(u - frame.K[0, 2]) / frame.K[0, 0] for u in (-0.5, width - 0.5)]
        far = 1.2 * ahead
        wedge = [foot, *((foot[0] + s * far * scale, foot[1] - far * scale) for s in sides)]
        cv2.fillPoly(picture, [np.rint(np.array(wedge)).astype(np.int32)], (245, 247, 249), cv2.LINE_AA)
    middle = (round(foot[0]), round(foot[1]))
    step = 5 if ahead > 10 else 1
    for metres in range(step, int(ahead) + 1, step):
        cv2.circle(picture, middle, round(metres * scale), (223, 228, 234), 1, cv2.LINE_AA)
        place = (middle[0] + 4, middle[1] - round(metres * scale) + 12)
        cv2.putText(picture, f"{metres} m", place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (120, 130, 140), 1, cv2.LINE_AA)
    for s in (-1, 1):
        x = round(foot[0] + s * config.corridor * scale)
        cv2.line(picture, (x, middle[1]), (x, 0), (200, 208, 216), 1)


def _truth(recording: Recording, i: int, frame: Frame) -> Iterator[tuple[Array, bool]]:
    """Corners ``(4, 2)`` of what is truly there, right and ahead of the camera, and whether it is a danger."""
    objects, truth = recording.objects, recording.truth
    if objects is None or truth is None or frame.pose is None:
        return
    yaw = math.atan2(frame.pose[0, 2], frame.pose[1, 2])
    c, s = math.cos(yaw), math.sin(yaw)
    body = np.flatnonzero(np.asarray(objects["i"]).astype(int) == i)
    danger = np.asarray(truth["danger"]).astype(bool)
    row = {int(truth["id"][k]): k for k in np.flatnonzero(np.asarray(truth["i"]).astype(int) == i)}
    for k in body:
        if int(objects["id"][k]) not in row:
            continue
        n = row[int(objects["id"][k])]
        x, y = float(truth["x"][n]), float(truth["y"][n])
        length, width = float(objects["l"][k]) / 2, float(objects["w"][k]) / 2
        turn = float(objects["yaw"][k])
        ahead = np.array([math.cos(turn), math.sin(turn)])
        across = np.array([-ahead[1], ahead[0]])
        corners = [np.array([x, y]) + a * length * ahead + b * width * across for a, b in _CORNERS]
        yield np.array([[p[0] * c - p[1] * s, p[0] * s + p[1] * c] for p in corners]), bool(danger[n])


_CORNERS = ((1, 1), (1, -1), (-1, -1), (-1, 1))


def _threats(picture: Picture, state: AlertState, foot: tuple[float, float], scale: float) -> None:
    """A ring where each candidate is, its arrow a second long; the one spoken of in the state's colour."""
    import cv2

    colour = drawing.COLOURS[state.state]
    if not state.candidates and math.isfinite(state.distance):
        radius = round(state.distance * scale)
        cv2.ellipse(picture, (round(foot[0]), round(foot[1])), (radius, radius), 0, 245, 295, colour, 2, cv2.LINE_AA)
    for one in sorted(state.candidates, key=lambda c: (c.id == state.track, c.distance == state.distance)):
        if math.isnan(one.bearing) or not math.isfinite(one.distance):
            continue
        toward = np.array([math.sin(one.bearing), -math.cos(one.bearing)])
        a = np.array(foot) + toward * one.distance * scale
        b = a + toward * float(np.clip(one.speed, -15, 15)) * scale
        mine = one.id == state.track and abs(one.distance - state.distance) < 1e-6
        paint = colour if mine else FOUND
        ends = [(round(float(p[0])), round(float(p[1]))) for p in (a, b)]
        cv2.circle(picture, ends[0], 8, paint, 2, cv2.LINE_AA)
        if one.speed < 0:
            cv2.arrowedLine(picture, ends[0], ends[1], paint, 2 if mine else 1, cv2.LINE_AA, 0, 0.2)


def number(value: float, digits: int = 1) -> float | None:
    """A number for a table: None where it is unknown or never."""
    return None if math.isnan(value) or math.isinf(value) or value >= NEVER else round(value, digits)
