"""``replay`` and stepping: recordings in, states out, with pictures and sounds beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.files import write_json, write_text
from fieldsight.data.folders import Item, gather
from fieldsight.data.images import write_image
from fieldsight.model import Model
from fieldsight.predictions import Alerts, Picture, Table
from fieldsight.systems.alert import drawing
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.engine import AlertEngine
from fieldsight.systems.alert.events import alarms, runs
from fieldsight.systems.alert.options import ReplayOptions
from fieldsight.systems.alert.recording import Frame, Recording
from fieldsight.systems.alert.replay import settings_for, walk
from fieldsight.systems.alert.state import NEVER, AlertState


@dataclass(frozen=True)
class Replay(Alerts):
    """A recording's states, and what shows them.

    Attributes:
        states: as the engine gave them.
        config: the settings they were made with.
        name: of the recording.
        danger: begin and end of true danger in seconds, where the recording has labels.
        sheet: frames at telling moments, drawn.
        video: numbers of the processed frames, where a clip of them was asked for; they are drawn as it is written.
        sound: True where the alarms are wanted as sound.
        recording: what was replayed, to look at its frames again.
    """

    states: list[AlertState] = field(default_factory=list)
    config: AlertConfig = field(default_factory=AlertConfig)
    name: str = "recording"
    danger: list[tuple[float, float]] = field(default_factory=list)
    sheet: Picture | None = None
    video: tuple[int, ...] = ()
    sound: bool = False
    recording: Recording | None = field(default=None, repr=False, compare=False)

    def save(self, folder: str | Path, stem: str | Path = "alerts") -> list[Path]:
        """Write states as CSV (the paper's columns first) and JSON lines, a drawing, a summary; a clip and a sound
        where they were asked for."""
        base = Path(folder) / stem
        written = [
            write_text(base.with_name(f"{base.name}_states.csv"), self.to_csv()),
            write_text(base.with_name(f"{base.name}.jsonl"), "".join(json.dumps(s) + "\n" for s in self.steps)),
            write_image(base.with_name(f"{base.name}.png"), self.draw()),
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
        ]
        if self.video and self.recording is not None:
            from fieldsight.systems.alert.clip import write_clip

            written.append(write_clip(base.with_name(f"{base.name}.mp4"), self._drawn(self.recording), self._rate()))
        if self.sound:
            from fieldsight.systems.alert.sinks import write_wav

            written.append(write_wav(base.with_name(f"{base.name}.wav"), self.states))
        return written

    def _drawn(self, recording: Recording) -> Iterator[Picture]:
        for number, state in zip(self.video, self.states, strict=True):
            yield drawing.draw(recording.load(number), state, self.config)

    def _rate(self) -> float:
        t = [s.t for s in self.states]
        gaps = np.diff(t) if len(t) > 1 else np.array([0.1])
        return float(1 / max(np.median(gaps), 1 / 60))

    def to_csv(self) -> str:
        """Rows of ``clip, timecode, speed, tti`` as in the paper's Table A1, then everything else."""
        rows = []
        for step in self.steps:
            t = step["time"]
            code = "" if not math.isfinite(t) else f"{int(t // 60)}:{int(t % 60):02d}:{int(round(t % 1 * 60, 6)):02d}"
            tti = step["tti"] if step["tti"] is not None else NEVER
            rows.append({"clip": self.name, "timecode": code, "speed": step["speed"], "tti": tti, **step})
        names = dict.fromkeys(("clip", "timecode", "speed", "tti", "time", "state", "alert"))
        names |= dict.fromkeys(k for row in rows for k in row)
        return Table(dict.fromkeys(names, ""), rows).to_csv()

    def draw(self) -> Picture:
        """Frames at telling moments over a strip of distance and speed."""
        strip = drawing.strip(self.states, self.config, self.danger)
        if self.sheet is None:
            return strip
        width = max(strip.shape[1], self.sheet.shape[1])
        return np.concatenate([_centred(p, width) for p in (self.sheet, strip)])

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """Facts and alarms for a page."""
        columns = {"from": "s", "to": "s", "level": "", "distance": "m", "speed": "m/s", "time to impact": "s"}
        return self.facts, [Table(columns, self.alarm_rows(), "Alarms")]

    def alarm_rows(self) -> list[dict[str, Any]]:
        """One row an alarm: when, how urgent at most, and what it was about when it began."""
        return [
            {
                "from": round(begin, 2), "to": round(end, 2), "level": max(s.level for s in inside),
                "distance": round(inside[0].distance, 2), "speed": round(inside[0].speed, 2),
                "time to impact": round(min(inside[0].tti, NEVER), 2),
            }
            for begin, end, inside in sounded(self.states)
        ]  # fmt: skip

    def lines(self) -> list[str]:
        """A summary and one line an alarm."""
        facts = self.facts
        lines = [
            f"{facts['seconds']:g} s, {facts['frames']} frames, mode {self.config.mode}: "
            f"{facts['alarms']} alarms, {facts['judged']:.0%} of the samples judged"
        ]
        for row in self.alarm_rows():
            lines.append(
                f"  {row['from']:.1f} to {row['to']:.1f} s: level {row['level']}, {row['distance']} m, "
                f"{row['speed']} m/s, impact in {row['time to impact']} s"
            )
        return [*lines, *(f"  note: {w}" for w in facts.get("warnings", ()))]


class AlertModel(Model):
    """The engine as the house's model: nothing is trained, the settings are all it has; ``tune`` makes new ones."""

    system = "alert"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start()

    def describe(self) -> str:
        """Mode and thresholds."""
        c: AlertConfig = self.config  # type: ignore[assignment]
        return f"alert engine '{c.mode}': alarm below {c.speed_threshold:g} m/s and {c.tti_threshold:g} s to impact"

    # --------------------------------------------------------------------------------------------- live data

    def start(self) -> None:
        """Forget everything: the next step is the first."""
        assert isinstance(self.config, AlertConfig)
        self.engine = AlertEngine(self.config)

    def step(self, inputs: Mapping[str, Any], t: float) -> dict[str, Any] | None:
        """One frame: ``depth`` ``(H, W)`` in metres, and where known ``confidence``, ``K``, ``pose``; None where the
        frame was not due."""
        state = self.engine.step(
            inputs.get("depth"), t, inputs.get("confidence"), inputs.get("K"), inputs.get("pose")
        )  # fmt: skip
        return None if state is None else state.to_dict()

    # -------------------------------------------------------------------------------------------- recordings

    def items(self, inputs: Any) -> list[Item]:
        """Files and folders; a folder that is itself a recording is one input."""
        from fieldsight.systems.alert.sources import gather_recordings

        return gather_recordings(inputs, gather, self.spec.inputs[0].suffixes)

    def read(self, item: Any, options: ReplayOptions) -> Recording:
        """A path, an array of frames, or a recording."""
        if isinstance(item, Recording):
            return item
        from fieldsight.systems.alert.sources import open_recording

        return open_recording(item, options.source)

    def predict_one(self, value: Recording, options: ReplayOptions) -> Replay:
        """Run a recording through a fresh engine."""
        config = settings_for(value, AlertConfig.parse(_own(options)))
        engine = AlertEngine(config)
        states: list[AlertState] = []
        numbers: list[int] = []
        gallery = _Gallery(config)
        for number, frame, state in walk(value, engine):
            states.append(state)
            gallery.offer(frame, state)
            numbers.append(number)
        steps = tuple(s.to_dict() for s in states)
        return Replay(
            steps, facts_of(value, states, config), states, config, value.name, _danger(value), gallery.sheet(),
            tuple(numbers) if options.video else (), options.wav, value,
        )  # fmt: skip


def _own(options: ReplayOptions) -> dict[str, Any]:
    names = AlertConfig().to_dict()
    return {k: v for k, v in options.to_dict().items() if k in names}


class _Gallery:
    """Keeps four telling frames: the first, the first alarm, the nearest impact, the last."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self._kept: dict[str, tuple[Frame, AlertState]] = {}

    def offer(self, frame: Frame, state: AlertState) -> None:
        self._kept.setdefault("1 first", (frame, state))
        if state.alert:
            self._kept.setdefault("2 alarm", (frame, state))
            worst = self._kept.get("3 worst")
            if worst is None or state.tti < worst[1].tti:
                self._kept["3 worst"] = (frame, state)
        self._kept["4 last"] = (frame, state)

    def sheet(self) -> Picture | None:
        from fieldsight.predictions import beside

        chosen = [self._kept[k] for k in sorted(self._kept)]
        unique = list({state.t: (frame, state) for frame, state in chosen}.values())
        if not unique or unique[0][0].depth.size == 1:
            return None
        drawn = [drawing.draw(frame, state, self.config, height=220) for frame, state in unique]
        widest = max(p.shape[1] for p in drawn)
        return beside([_centred(p, widest) for p in drawn])


def _centred(picture: Picture, width: int) -> Picture:
    left = (width - picture.shape[1]) // 2
    return np.pad(picture, ((0, 0), (left, width - picture.shape[1] - left), (0, 0)), constant_values=255)


def _danger(recording: Recording) -> list[tuple[float, float]]:
    if recording.labels is None:
        return []
    t = np.asarray(recording.labels["t"], dtype=np.float64)
    flags = np.asarray(recording.labels["danger"]).astype(bool)
    return [(float(t[a]), float(t[b])) for a, b in runs(flags)]


def sounded(states: Sequence[AlertState]) -> list[tuple[float, float, list[AlertState]]]:
    """Begin and end in seconds of every alarm, and the states that sounded in it."""
    spans = alarms(np.array([s.t for s in states]), np.array([s.alert for s in states], dtype=bool))
    return [(a, b, [s for s in states if a <= s.t <= b and s.alert]) for a, b in spans]


def facts_of(recording: Recording, states: Sequence[AlertState], config: AlertConfig) -> dict[str, Any]:
    """What is worth telling of a replay: length, alarms, how much was judged, and why not the rest."""
    judged = sum(s.judged for s in states)
    found = sounded(states)
    closest = min((s.tti for s in states if s.alert), default=math.inf)
    reasons: dict[str, int] = {}
    for s in states:
        if s.state == "no judgement":
            words = s.reason.split(":")[0]
            reasons[words] = reasons.get(words, 0) + 1
    share = judged / len(states) if states else 0.0
    warnings = [f"{n} samples without judgement: {why}" for why, n in sorted(reasons.items(), key=lambda r: -r[1])[:5]]
    if not judged:
        warnings.insert(0, "nothing was judged: this replay says nothing about safety")
    return {
        "seconds": round(recording.seconds, 2),
        "frames": len(recording),
        "mode": config.mode,
        "judged": round(share, 4),
        "alarms": len(found),
        "seconds in alarm": round(sum(b - a for a, b, _ in found), 2),
        "least time to impact": None if math.isinf(closest) else round(closest, 2),
        "speed threshold": config.speed_threshold,
        "time threshold": config.tti_threshold,
        "warnings": [*warnings, *recording.notes],
    }
