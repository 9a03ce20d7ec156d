"""Pictures of `alert`: a replay with its strip, four engines on one approach, and what moves, from above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fieldsight
from fieldsight.data.images import write_image
from fieldsight.report.plots import COLOURS, figure, pixels
from fieldsight.systems.alert import drawing, studio, studio_view
from fieldsight.systems.alert.motion import MOVES, STANDS

ENGINES = ("base", "nearest", "paper", "authors_app")
SCENE = "A car swerves towards you"


def make(folder: Path) -> None:
    """Write ``alert-*.png``."""
    recording = studio.scene(SCENE)
    model = fieldsight.load("alert")
    replays = [model.predict(recording, preset=name) for name in ENGINES]
    write_image(folder / "alert-replay.png", replays[0].draw())
    write_image(folder / "alert-modes.png", pixels(modes(replays)))
    write_image(folder / "alert-scene.png", scene(replays[0]))
    write_image(Path(studio.__file__).with_name("studio.png"), studio.gallery_picture())


def modes(replays: Any) -> Any:
    """Distance and speed of the same approach by four engines, one axis of time."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9.0, 6.4), layout="constrained")
    seconds = replays[0].recording.seconds
    for n, replay in enumerate(replays):
        ax = plot.add_subplot(len(replays), 1, n + 1)
        c = replay.config
        states = studio_view.restated(replay, c.speed_threshold, c.tti_threshold)
        for name, begin, end in studio_view.spans(states):
            if name != "clear":
                ax.axvspan(begin, min(end, seconds), color=np.array(drawing.COLOURS[name]) / 255, alpha=0.3, lw=0)
        t = [s.t for s in states]
        known = [s.state in ("alarm", "clear") for s in states]
        ax.plot(t, np.where(known, [s.distance for s in states], np.nan), color=COLOURS[0], lw=1.6)
        ax.set_ylabel("distance [m]", color=COLOURS[0], fontsize=8)
        ax.set_ylim(0, 17)
        right = ax.twinx()
        right.plot(t, np.where(known, [s.speed for s in states], np.nan), color=COLOURS[1], lw=1.2)
        right.axhline(c.speed_threshold, color=COLOURS[1], ls="--", lw=0.8)
        right.set_ylabel("speed [m/s]", color=COLOURS[1], fontsize=8)
        right.set_ylim(-16, 3)
        for begin, end in replay.danger:
            ax.plot([begin, end], [0.02, 0.02], transform=ax.get_xaxis_transform(), color="black", lw=4)
        ax.set_xlim(0, seconds)
        ax.set_title(c.mode, fontsize=9, loc="left", fontweight="bold")
        for side in (ax, right):
            side.spines["top"].set_visible(False)
            side.tick_params(labelsize=8)
    ax.set_xlabel("time [s]; red: alarm, grey: warming up, black bar: true danger (drawn street)", fontsize=9)
    return plot


def scene(replay: Any) -> Any:
    """A frame, its points from above by what they do, and the way that the tracks took."""
    states = studio_view.restated(replay, replay.config.speed_threshold, replay.config.tti_threshold)
    n = max(k for k, s in enumerate(states) if s.alert and s.distance > 8)
    recording = replay.recording
    i = studio_view.frame_of(recording, replay.states[n].t)
    plot, axes = figure(10.5, 4.0, 2)
    axes[0].imshow(drawing.coloured(recording.load(i).depth), interpolation="nearest")
    axes[0].set_title(f"depth at {states[n].t:.1f} s (drawn street)", fontsize=9, loc="left")
    axes[0].axis("off")
    along, side, motion = studio_view.points_of(recording, i, replay.config)
    ax = axes[1]
    for kind, colour, words in ((0, "#c5cdd6", "unknown"), (STANDS, "#5a6776", "stands"), (MOVES, "#D55E00", "moves")):
        here = motion == kind
        ax.plot(side[here], along[here], ".", color=colour, ms=3, label=f"{words} ({here.sum()} points)")
    places: dict[int, list[tuple[float, float]]] = {}
    for k in range(max(0, n - 12), n + 1):
        then = recording.load(studio_view.frame_of(recording, replay.states[k].t)).pose
        for one in states[k].candidates:
            if one.id >= 0:
                places.setdefault(one.id, []).append(seen_from(recording.load(i).pose, then, one))
    for k, (number, path) in enumerate(sorted(places.items())):
        ax.plot(*zip(*path, strict=True), "-o", color=COLOURS[(k + 2) % 6], ms=3, lw=1.2, label=f"track {number}")
    for s in (-1, 1):
        ax.axvline(s * replay.config.corridor, color="#9aa5b1", lw=0.8, ls="--")
    ax.plot(0, 0, "o", color="black", ms=8)
    ax.set_xlim(-9, 9)
    ax.set_ylim(-0.8, 20)
    ax.set_aspect("equal")
    ax.set_xlabel("to the right [m]")
    ax.set_ylabel("ahead [m]")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return pixels(plot)


def seen_from(here: Any, then: Any, one: Any) -> tuple[float, float]:
    """Where a candidate of an earlier frame stood, to the right and ahead of the camera now."""
    yaw = np.arctan2(then[0, 2], then[1, 2]) + one.bearing
    x, y = then[:2, 3] + one.distance * np.array([np.sin(yaw), np.cos(yaw)]) - here[:2, 3]
    turn = np.arctan2(here[0, 2], here[1, 2])
    return x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
