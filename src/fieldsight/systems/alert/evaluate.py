"""``evaluate``: approaches announced or missed, false alarms, lead time; two settings on the same streams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import wilson
from fieldsight.predictions import Table
from fieldsight.report import plots
from fieldsight.report.evaluation import Evaluation
from fieldsight.systems.alert.assess import (
    Run,
    assess,
    counts_of,
    difference,
    grouped,
    metrics_of,
    simulated,
    speed_errors,
)
from fieldsight.systems.alert.config import PRESETS, AlertConfig
from fieldsight.systems.alert.events import Approach, Clip, summary
from fieldsight.systems.alert.options import EvaluateOptions
from fieldsight.systems.alert.recording import Recording
from fieldsight.systems.alert.scores import clustered

if TYPE_CHECKING:
    from fieldsight.systems.alert.predict import AlertModel


def evaluate(model: AlertModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """The verb: the model's settings on labelled recordings, or on drawn approaches of held-out seeds.

    Raises:
        DataError: no recording, or one without labels.
        ConfigError: an unknown preset to compare with.
    """
    config = model.config
    assert isinstance(config, AlertConfig)
    if options.against and options.against not in PRESETS:
        raise ConfigError(unknown("preset", options.against, list(PRESETS)))
    recordings, total, on = labelled_recordings(data, options.approaches, options.seed, options.sensor)
    settings = [config, PRESETS[options.against]] if options.against else [config]
    runs = assess(recordings, settings, total, "evaluating")
    clips = [[r.clip for r in one] for one in runs]
    metrics = metrics_of(clips[0])
    tables = [
        by_group(clips[0], "class", lambda a: a.kind),
        by_group(clips[0], "city", lambda a: a.city),
        by_group(clips[0], "sensor", lambda a: a.sensor),
        intervals(clips[0], options.draws),
    ]
    if options.against:
        tables.insert(0, against(clips[0], clips[1], config.mode, options.against, options.draws))
    errors = np.abs(speed_errors(runs[0]))
    s = summary(clips[0])
    return Evaluation(
        spec=model.spec,
        metrics={m.name: metrics[m.name] for m in model.spec.metrics},
        items=items_of(clips[0]),
        on=on,
        tables=tuple(tables),
        plots=_plots(runs, [config.mode, options.against][: len(runs)]),
        facts={
            "approaches": s.approaches,
            "approaches the sensor could not see": s.unseen,
            "of those without an alarm": s.unseen_missed,
            "minutes": round(s.minutes, 2),
            "speed error, median": round(float(np.median(errors)), 4) if errors.size else None,
            "speed error, 90 %": round(float(np.percentile(errors, 90)), 4) if errors.size else None,
        },
        warnings=_warnings(clips[0], s.approaches),
    )


def labelled_recordings(
    data: Path | None, approaches: int, seed: int, sensor: str
) -> tuple[Iterable[Recording], int, str]:
    """Recordings of a folder, or drawn ones; how many; and what they are, in words.

    Raises:
        DataError: no such folder, or nothing labelled in it.
    """
    if data is None:
        words = f"{approaches} drawn approaches, seeds {seed:,} on, sensor {sensor}"
        return simulated(seed, approaches, sensor), approaches, words
    from fieldsight.systems.alert.sources import find_sources, open_recording

    found = [r for r in map(open_recording, find_sources(data)) if r.labels is not None]
    if not found:
        raise DataError(
            f"'{data}' holds no recording with labels.csv. Drawn ones: fieldsight alert make-data --out DIR"
        )
    drawn = all(r.manifest.source == "simulated" for r in found)
    return found, len(found), f"{len(found)} {'drawn ' if drawn else ''}recordings of {data.name}"


def items_of(clips: Sequence[Clip]) -> PerItem:
    """Every clip's own numbers."""
    items = PerItem()
    for clip in clips:
        found = metrics_of([clip])
        items.add(clip.name, {k: v for k, v in found.items() if not math.isnan(v)}, clip.name)
    return items


def by_group(clips: Sequence[Clip], name: str, key: Any) -> Table:
    """Visible approaches by class, city or sensor, with Wilson intervals of the missed share."""
    rows = []
    for group, found in grouped(clips, key).items():
        missed = sum(not a.detected for a in found)
        share = wilson(missed, len(found))
        fast = [a for a in found if a.fast]
        rows.append(
            {
                name: group, "approaches": len(found), "missed": missed, "share": share.value, "low": share.low,
                "high": share.high, "lead": _lead(found), "fast": len(fast),
                "fast, too late": sum(not a.in_time for a in fast),
            }
        )  # fmt: skip
    columns = {name: "", "approaches": "", "missed": "", "share": "", "low": "", "high": "", "lead": "s", "fast": "",
               "fast, too late": ""}  # fmt: skip
    return Table(columns, rows, f"Approaches that the sensor could see, by {name}")


def _lead(found: Sequence[Approach]) -> float | None:
    leads = [a.lead for a in found if not math.isnan(a.lead)]
    return round(float(np.median(leads)), 3) if leads else None


def intervals(clips: Sequence[Clip], draws: int) -> Table:
    """Ratios over samples with Wilson intervals, as if samples were independent, and with clips resampled."""
    alert = np.concatenate([c.alert for c in clips])
    danger = np.concatenate([c.danger for c in clips])
    names = [c.name for c in clips for _ in c.t]
    plain, whole = counts_of(clips).intervals(), clustered(alert, danger, names, draws=draws)
    rows = []
    for name, estimate in whole.items():
        w = plain.get(name)
        rows.append(
            {
                "ratio": name, "value": _number(estimate.value), "Wilson low": _number(w.low if w else math.nan),
                "Wilson high": _number(w.high if w else math.nan), "clips low": _number(estimate.low),
                "clips high": _number(estimate.high),
            }
        )  # fmt: skip
    columns = dict.fromkeys(("ratio", "value", "Wilson low", "Wilson high", "clips low", "clips high"), "")
    return Table(columns, rows, "Samples: 95 % intervals as if independent, and over clips")


def against(first: Sequence[Clip], second: Sequence[Clip], a: str, b: str, draws: int) -> Table:
    """Both settings and what they differ in; clips resampled."""
    found = difference(second, first, draws)  # ours minus theirs
    mine, theirs = metrics_of(first), metrics_of(second)
    rows = []
    for name, estimate in (
        ("missed", found.missed), ("false_per_minute", found.false_per_minute), ("false_share", found.false_share),
        ("lead", found.lead),
    ):  # fmt: skip
        rows.append(
            {
                "metric": name, a: _number(mine[name]), b: _number(theirs[name]), "difference": _number(estimate.value),
                "low": _number(estimate.low), "high": _number(estimate.high),
            }
        )  # fmt: skip
    title = (
        f"{a} against {b}: only {a} announced {found.only_second} approaches, only {b} {found.only_first} "
        f"(McNemar p = {found.p:.2g})"
    )
    return Table(dict.fromkeys(("metric", a, b, "difference", "low", "high"), ""), rows, title)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _warnings(clips: Sequence[Clip], approaches: int) -> tuple[str, ...]:
    warnings = []
    if approaches < 30:
        warnings.append(f"only {approaches} approaches: the shares say little")
    judged = metrics_of(clips)["judged"]
    if judged < 0.95:
        warnings.append(f"only {judged:.0%} of the samples were judged")
    return tuple(warnings)


def _plots(runs: Sequence[Sequence[Run]], names: Sequence[str]) -> Mapping[str, str]:
    """Misses against false alarms as both thresholds move."""
    series = {}
    for one, name in zip(runs, names, strict=True):
        curve = [summary([r.at(speed, 3.0) for r in one]) for speed in np.linspace(-8.0, 0.0, 17)]
        series[name] = ([c.false_per_minute for c in curve], [c.missed_share for c in curve])
    words = "as the speed threshold moves from -8 to 0 m/s at 3 s to impact"
    return {f"Missed approaches against false alarms a minute, {words}": plots.curves(
        series, "false alarms a minute", "share of approaches missed"
    )}  # fmt: skip
