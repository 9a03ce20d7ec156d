"""``tune``: thresholds for a chosen miss rate, and the paper's own search for its constants.

Looser thresholds never lose an alarm. So each approach has a least time threshold at which it is announced; the
conformal quantile of those (rank ``ceil((n + 1)(1 - alpha))``) keeps the miss rate of a *new* approach at or below
``alpha``, on average over drawn calibration sets, where approaches of one clip count as one: the worst of a clip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight import conformal, progress
from fieldsight.errors import DataError
from fieldsight.metrics.stats import wilson
from fieldsight.predictions import Table
from fieldsight.systems.alert.assess import Run, assess, metrics_of, surface
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.differencing import moved, region
from fieldsight.systems.alert.evaluate import labelled_recordings
from fieldsight.systems.alert.events import labelled
from fieldsight.systems.alert.options import TuneOptions
from fieldsight.systems.alert.recording import Array, Recording
from fieldsight.systems.alert.scores import count
from fieldsight.systems.alert.state import time_to_impact

if TYPE_CHECKING:
    from fieldsight.systems.alert.predict import AlertModel

#: Time thresholds that are tried, s, and speed thresholds, m/s.
TIMES = tuple(round(0.25 * n, 2) for n in range(1, 25))
SPEEDS = (-1.0, -1.5, -2.2, -3.0, -4.0)


@dataclass(frozen=True)
class Tuned:
    """What was chosen, on what, and what it is worth.

    Attributes:
        model: the engine with the chosen thresholds and its surface of expectations.
        rows: every pair that was considered: its conformal time threshold and what held-out folds say of it.
        facts: the choice and its uncertainty.
        constants: the 96 settings of the paper's search, best first; empty where it was not asked for.
    """

    model: AlertModel
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    constants: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def table(self) -> Table:
        """The pairs."""
        units = {"speed": "m/s", "tti": "s", "lead": "s"}
        names = dict.fromkeys(k for row in self.rows for k in row)
        return Table({k: units.get(k, "") for k in names}, self.rows, "Thresholds for the miss rate")

    def constants_table(self) -> Table:
        """The paper's search, best first."""
        names = dict.fromkeys(k for row in self.constants for k in row)
        return Table(dict.fromkeys(names, ""), self.constants, "Constants of Algorithms 2 and 3, best first")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.facts, "pairs": list(self.rows), "constants": list(self.constants[:20])}

    def lines(self) -> list[str]:
        """The choice in words, then the pairs."""
        lines = [f"{k}: {v}" for k, v in self.facts.items()]
        for row in self.rows:
            lines.append("  " + ", ".join(f"{k} {v}" for k, v in row.items()))
        for row in self.constants[:5]:
            lines.append("  " + ", ".join(f"{k} {v}" for k, v in row.items()))
        return lines

    def save(self, folder: str | Path) -> list[Path]:
        """Write the model folder: ``replay --model FOLDER`` uses it."""
        target = self.model.save(folder)
        return sorted(p for p in target.iterdir() if p.is_file())


def tune(model: AlertModel, data: Path | None, options: TuneOptions) -> Tuned:
    """The verb: choose thresholds so that at most ``miss_rate`` of the approaches are missed.

    Raises:
        DataError: no labelled recordings, or too few approaches for the miss rate.
    """
    from fieldsight.systems.alert.predict import AlertModel

    config = model.config
    assert isinstance(config, AlertConfig)
    recordings, total, on = labelled_recordings(data, options.approaches, options.seed, options.sensor)
    kept: list[Recording] = []
    runs = assess(_remember(recordings, kept, options.constants), [config], total, "tuning")[0]
    rows = [row for speed in SPEEDS if (row := pair(runs, speed, options)) is not None]
    if not rows:
        raise DataError(
            f"{len(runs)} clips can't hold a miss rate of {options.miss_rate:g}: with so few, even an engine that "
            "always sounds could not promise it. Give more recordings, or a higher --miss-rate."
        )
    best = min(rows, key=lambda r: (r["false a minute"], r["tti"]))
    chosen = config.replace(speed_threshold=best["speed"], tti_threshold=best["tti"])
    expected = surface(runs, on)
    facts = {
        "speed threshold": best["speed"],
        "time threshold": best["tti"],
        "clips": len(runs),
        "miss rate asked for": options.miss_rate,
        "miss rate on held-out folds": best["missed, held out"],
        "its 95 % interval": [best["low"], best["high"]],
        "false alarms a minute": best["false a minute"],
        "on": on,
    }
    constants = search(kept, options) if options.constants else []
    artefacts = {**model.artefacts, "surface": expected, "tuning": {**facts, "pairs": rows}}
    return Tuned(AlertModel(chosen, artefacts=artefacts, card=model.card), rows, facts, constants)


def _remember(recordings: Iterable[Recording], kept: list[Recording], wanted: bool) -> Iterable[Recording]:
    for recording in recordings:
        if wanted:
            kept.append(recording)
        yield recording


def pair(runs: Sequence[Run], speed: float, options: TuneOptions) -> dict[str, Any] | None:
    """The conformal time threshold at one speed threshold, and what held-out folds say; None where none suffices."""
    least = np.array([needed(run, speed) for run in runs])
    known = ~np.isnan(least)
    if conformal.rank(int(known.sum()), options.miss_rate) > int(known.sum()):
        return None
    tti = conformal.quantile(least[known], options.miss_rate)
    if math.isinf(tti):
        return None
    missed, total = held_out(runs, least, speed, options)
    share = wilson(missed, total)
    found = metrics_of([run.at(speed, tti) for run in runs])
    return {
        "speed": speed, "tti": round(float(tti), 2), "missed here": _round(found["missed"]),
        "missed, held out": _round(share.value), "low": _round(share.low), "high": _round(share.high),
        "false a minute": _round(found["false_per_minute"]), "lead": _round(found["lead"]),
    }  # fmt: skip


def needed(run: Run, speed: float) -> float:
    """Least time threshold at which every visible approach of a clip is announced; infinite where none is enough, NaN
    where the clip has none."""
    if not any(a.seen for a in run.clip.approaches):
        return math.nan
    for tti in TIMES:
        if all(a.detected for a in run.at(speed, tti).approaches if a.seen):
            return tti
    return math.inf


def held_out(runs: Sequence[Run], least: Array, speed: float, options: TuneOptions) -> tuple[int, int]:
    """Missed and all visible approaches, each judged with a threshold from the other folds' clips."""
    missed = total = 0
    for fold in range(options.folds):
        others = np.array([n % options.folds != fold for n in range(len(runs))])
        scores = least[others & ~np.isnan(least)]
        tti = conformal.quantile(scores, options.miss_rate) if scores.size else math.inf
        for run in itertools.islice(runs, fold, None, options.folds):
            seen = [a for a in run.at(speed, min(tti, TIMES[-1])).approaches if a.seen]
            missed += sum(not a.detected for a in seen)
            total += len(seen)
    return missed, total


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


# ------------------------------------------------------------------------------------- the paper's own search

#: Section 3.2: shares of the width and height, quantile, least movement: 96 settings.
WIDTHS, HEIGHTS = (4 / 12, 8 / 12, 10 / 12, 12 / 12), (1 / 3, 1 / 2)
QUANTILES, STEPS = (0.25, 0.5, 0.75), (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Readings:
    """One clip's readings under one setting: speed, time to impact, danger, ``(n,)`` each."""

    speed: Array
    tti: Array
    danger: Array


def search(recordings: Sequence[Recording], options: TuneOptions, period: float = 0.5) -> list[dict[str, Any]]:
    """Rank the 96 settings as the paper did: no missed sample first, then few false ones, then the wider margin;
    each with its counts on clips that did not choose it.

    Args:
        recordings: labelled.
        options: folds.
        period: s between compared frames.
    """
    grid = list(itertools.product(WIDTHS, HEIGHTS, QUANTILES, STEPS))
    readings: dict[tuple[float, ...], list[Readings]] = {setting: [] for setting in grid}
    for recording in progress.track(recordings, "searching constants"):
        for setting, one in zip(grid, _read(recording, grid, period), strict=True):
            readings[setting].append(one)
    ranked = sorted(grid, key=lambda s: _key(readings[s]))
    outside = _cross(readings, grid, options.folds)
    rows = []
    for setting in ranked:
        c = _counts(readings[setting])
        rows.append(
            {
                "width": round(setting[0], 3), "height": round(setting[1], 3), "quantile": setting[2],
                "movement": setting[3], "missed": c.fn, "false": c.fp, "margin": round(_margin(readings[setting]), 3),
            }
        )  # fmt: skip
    rows[0] |= {"missed, held out": outside[0], "false, held out": outside[1], "samples": outside[2]}
    return rows


def _read(recording: Recording, grid: Sequence[tuple[float, ...]], period: float) -> list[Readings]:
    """A clip's readings under every setting; each frame is read once, regions are cut as views."""
    truth = labelled(recording)
    last: tuple[Array, float] | None = None
    found: list[list[tuple[float, float, bool]]] = [[] for _ in grid]
    for frame in recording:
        if last is not None and frame.t < last[1] + period - 0.02:
            continue
        if last is not None and frame.depth.shape == last[0].shape:
            danger = bool(truth.danger[int(np.argmin(np.abs(truth.t - frame.t)))])
            for rows, (width, height, quantile, step) in zip(found, grid, strict=True):
                config = AlertConfig(roi=(0.5 - width / 2, 0.5 + width / 2, 0.5 - height / 2, 0.5 + height / 2))
                part = region((frame.depth.shape[0], frame.depth.shape[1]), config)
                m = moved(frame.depth[part], last[0][part], quantile, step)
                speed = m.difference / period
                rows.append((speed, time_to_impact(m.distance, speed), danger))
        last = (frame.depth, frame.t)
    empty = np.zeros((0, 3))
    tables = [np.array(rows, dtype=np.float64) if rows else empty for rows in found]
    return [Readings(t[:, 0], t[:, 1], t[:, 2] > 0) for t in tables]


def _alerts(r: Readings) -> Array:
    return (r.speed < -2.2) & (r.tti < 3.0)


def _counts(readings: Sequence[Readings]) -> Any:
    return count(np.concatenate([_alerts(r) for r in readings]), np.concatenate([r.danger for r in readings]))


def _margin(readings: Sequence[Readings]) -> float:
    """Least distance of a correct reading to its threshold, as shares of 2.2 m/s and 3 s."""
    least = math.inf
    for r in readings:
        alert = _alerts(r)
        right = alert == r.danger
        by_speed, by_time = np.abs(r.speed + 2.2) / 2.2, np.abs(np.minimum(r.tti, 60.0) - 3.0) / 3.0
        # an alarm is lost where either threshold is crossed, silence where the last of them is
        distance = np.where(alert, np.minimum(by_speed, by_time), np.maximum(by_speed, by_time))[right]
        least = min(least, float(distance.min())) if distance.size else least
    return least


def _key(readings: Sequence[Readings]) -> tuple[int, int, float]:
    c = _counts(readings)
    return (c.fn, c.fp, -_margin(readings))


def _cross(
    readings: Mapping[tuple[float, ...], Sequence[Readings]], grid: Sequence[tuple[float, ...]], folds: int
) -> tuple[int, int, int]:
    """Missed, false and all samples of clips that had no part in the choice."""
    clips = len(readings[grid[0]])
    fn = fp = n = 0
    for fold in range(min(folds, clips)):
        inside = [i for i in range(clips) if i % folds != fold]
        outside = [i for i in range(clips) if i % folds == fold]
        if not inside or not outside:
            continue
        best = min(grid, key=lambda s: _key([readings[s][i] for i in inside]))
        c = _counts([readings[best][i] for i in outside])
        fn, fp, n = fn + c.fn, fp + c.fp, n + c.n
    return fn, fp, n
