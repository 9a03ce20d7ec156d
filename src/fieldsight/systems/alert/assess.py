"""Settings on labelled recordings: states and scores of each, what they add up to, and what two settings differ in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.metrics.stats import Estimate, mcnemar
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.decision import decide
from fieldsight.systems.alert.events import Approach, Clip, Labelled, labelled, score, summary
from fieldsight.systems.alert.recording import Recording
from fieldsight.systems.alert.replay import states_of
from fieldsight.systems.alert.scores import Counts, count
from fieldsight.systems.alert.state import AlertState


@dataclass(frozen=True)
class Run:
    """One recording under one setting; frames are gone, states and truth are kept."""

    truth: Labelled
    states: list[AlertState]
    config: AlertConfig
    clip: Clip

    def at(self, speed: float, tti: float) -> Clip:
        """The same states at other thresholds; no frame is read again."""
        return score(self.truth, self.states, decide(self.states, self.config, speed, tti))


def assess(
    recordings: Iterable[Recording], configs: Sequence[AlertConfig], total: int | None = None, label: str = "replaying"
) -> list[list[Run]]:
    """Replay every recording under every setting.

    Args:
        recordings: with labels; each is read once and forgotten.
        configs: settings.
        total: number of recordings, for the progress bar.
        label: of the bar.

    Returns:
        One list a setting, in the order of the recordings.

    Raises:
        DataError: no recording, or one without labels.
    """
    found: list[list[Run]] = [[] for _ in configs]
    for recording in progress.track(recordings, label, total):
        truth = labelled(recording)
        for runs, config in zip(found, configs, strict=True):
            states = states_of(recording, config)
            runs.append(Run(truth, states, config, score(truth, states)))
    if not found[0]:
        raise DataError("There is no recording to evaluate. Give a folder of labelled recordings.")
    return found


def simulated(first: int, count: int, sensor: str = "any") -> Iterator[Recording]:
    """Drawn approaches of consecutive seeds, over all cities and wearers; 8 s each."""
    from fieldsight.systems.alert.simulate import simulate

    for seed in range(first, first + count):
        yield simulate(city="any", scenario="approach", wearer="any", sensor=sensor, seed=seed)


def counts_of(clips: Sequence[Clip]) -> Counts:
    """Samples of all clips together."""
    parts = [count(c.alert, c.danger) for c in clips]
    return Counts(*(sum(getattr(p, k) for p in parts) for k in ("tp", "fp", "fn", "tn")))


def metrics_of(clips: Sequence[Clip]) -> dict[str, float]:
    """All metrics of the system by name; NaN where there is no case."""
    s, c = summary(clips), counts_of(clips)
    samples = sum(len(k.t) for k in clips)
    judged = sum(int(k.judged.sum()) for k in clips)
    return {
        "missed": s.missed_share,
        "false_per_minute": s.false_per_minute,
        "false_share": s.false_share,
        "lead": s.lead,
        "fast_late": s.fast_late / s.fast if s.fast else math.nan,
        "precision": c.precision,
        "recall": c.recall,
        "f1": c.f1,
        "accuracy": c.accuracy,
        "judged": judged / samples if samples else math.nan,
    }


@dataclass(frozen=True)
class Difference:
    """What a second setting does that the first does not, on the same recordings.

    Attributes:
        missed, false_per_minute, false_share: second minus first, with intervals over resampled clips.
        lead: median difference of lead times, s, over approaches that both announced; positive where the second is
            earlier.
        only_first, only_second: visible approaches that only one of them announced.
        p: exact McNemar test on those.
    """

    missed: Estimate
    false_per_minute: Estimate
    false_share: Estimate
    lead: Estimate
    only_first: int
    only_second: int
    p: float


def difference(first: Sequence[Clip], second: Sequence[Clip], draws: int = 2000, seed: int = 0) -> Difference:
    """Compare two settings clip by clip; clips are the independent units.

    Raises:
        DataError: other clips.
    """
    if [c.name for c in first] != [c.name for c in second]:
        raise DataError("Two settings can be compared on the same recordings only.")
    a, b = (np.array([_row(c) for c in clips]) for clips in (first, second))
    clips = len(a)
    chosen = rng_for(seed, "difference", clips, draws).integers(clips, size=(draws, clips))
    found = {}
    for name, top, bottom, scale in (
        ("missed", 0, 1, 1.0), ("false_per_minute", 2, 4, 1.0), ("false_share", 3, 4, 60.0),
    ):  # fmt: skip
        value = _ratio(b[:, top].sum() - a[:, top].sum(), a[:, bottom].sum() * scale)
        sums = (b[:, top] - a[:, top])[chosen].sum(axis=1)
        base = a[:, bottom][chosen].sum(axis=1) * scale
        with np.errstate(invalid="ignore", divide="ignore"):
            found[name] = _interval(value, sums / base, clips)
    pairs = [
        (x, y) for c, d in zip(first, second, strict=True) for x, y in zip(c.approaches, d.approaches, strict=True)
    ]
    seen = [(x, y) for x, y in pairs if x.seen]
    leads, owner = _leads(first, second)
    only_first = sum(x.detected and not y.detected for x, y in seen)
    only_second = sum(y.detected and not x.detected for x, y in seen)
    return Difference(
        found["missed"], found["false_per_minute"], found["false_share"], _median(leads, owner, draws, seed),
        only_first, only_second, mcnemar(only_first, only_second),
    )  # fmt: skip


def _row(clip: Clip) -> list[float]:
    seen = [a for a in clip.approaches if a.seen]
    return [sum(not a.detected for a in seen), len(seen), clip.false_alarms, clip.false_seconds, clip.minutes]


def _leads(first: Sequence[Clip], second: Sequence[Clip]) -> tuple[NDArray[np.float64], list[str]]:
    values, owner = [], []
    for c, d in zip(first, second, strict=True):
        for x, y in zip(c.approaches, d.approaches, strict=True):
            if x.seen and not math.isnan(y.lead - x.lead):  # both announced it
                values.append(y.lead - x.lead)
                owner.append(c.name)
    return np.array(values), owner


def _median(values: NDArray[np.float64], groups: list[str], draws: int, seed: int) -> Estimate:
    from fieldsight.metrics.stats import bootstrap

    if not values.size:
        return Estimate(math.nan, math.nan, math.nan, 0.95, 0)
    return bootstrap(values, groups, lambda v: float(np.median(v)), draws=draws, seed=seed)


def _interval(value: float, samples: NDArray[np.float64], n: int) -> Estimate:
    kept = samples[np.isfinite(samples)]
    low, high = np.percentile(kept, [2.5, 97.5]) if kept.size else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), 0.95, n)


def _ratio(a: float, b: float) -> float:
    return float(a) / float(b) if b else math.nan


def grouped(clips: Sequence[Clip], key: Callable[[Approach], str]) -> dict[str, list[Approach]]:
    """Visible approaches by class, city or sensor, in alphabetical order."""
    found: dict[str, list[Approach]] = {}
    for clip in clips:
        for one in clip.approaches:
            if one.seen:
                found.setdefault(key(one), []).append(one)
    return {name: found[name] for name in sorted(found)}


def speed_errors(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Relative error of the closing speed in samples with danger that were judged and saw something close, ``(n,)``."""
    errors = []
    for run in runs:
        for state, danger, k in zip(run.states, run.clip.danger, _rows(run), strict=True):
            true = run.truth.closing[k]
            if danger and state.judged and state.speed < 0 and true > 0.5:
                errors.append((-state.speed - true) / true)
    return np.array(errors)


def _rows(run: Run) -> list[int]:
    t = np.array([s.t for s in run.states])
    return np.clip(np.searchsorted(run.truth.t, t - 0.02), 0, len(run.truth.t) - 1).tolist()


#: Thresholds over which expectations are stored, and drawn.
SPEEDS = tuple(round(-5.0 + 0.5 * n, 1) for n in range(11))
TTIS = tuple(round(0.5 * n, 1) for n in range(13))


def surface(
    runs: Sequence[Run], on: str, speeds: Sequence[float] = SPEEDS, ttis: Sequence[float] = TTIS
) -> dict[str, object]:
    """What to expect at every pair of thresholds, from stored states.

    Returns:
        ``speed``, ``tti`` and, as rows by speed and columns by time, ``precision``, ``recall``, ``missed``,
        ``false_per_minute``; None where there is no case; ``on`` says on what.
    """
    names = ("precision", "recall", "missed", "false_per_minute")
    table: dict[str, list[list[float | None]]] = {name: [] for name in names}
    for speed in progress.track(speeds, "thresholds"):
        rows: dict[str, list[float | None]] = {name: [] for name in names}
        for tti in ttis:
            found = metrics_of([run.at(speed, tti) for run in runs])
            for name in names:
                rows[name].append(None if math.isnan(found[name]) else round(found[name], 4))
        for name in names:
            table[name].append(rows[name])
    return {"speed": list(speeds), "tti": list(ttis), **table, "on": on}
