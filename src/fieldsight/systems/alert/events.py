"""Approaches instead of frames: was each danger announced, how long before, and how often was there an alarm for
nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.recording import Array, Columns, Recording
from fieldsight.systems.alert.state import AlertState

#: An alarm so many seconds before a danger counts for it, and after it does not count as false.
TOLERANCE = 0.4
#: Two alarms closer than this are one.
MERGE = 1.0
#: Pixels that must come back, in so many frames from :data:`BEFORE` s before the danger to its end, for an object that
#: could be seen; what shows itself for less leaves no time for any alarm.
VISIBLE, FRAMES, BEFORE = 5, 3, 1.0
#: A danger that the recording's begin or end cuts to less than this is not counted: no engine had the time, s.
LEAST_LENGTH = 0.5
#: Closing faster than this inside the corridor, a vehicle must never be missed, m/s.
FAST = 3.0
#: It must be announced so long before impact, or so soon after it came into sight, s.
IN_TIME, AT_ONCE = 1.5, 0.5
VEHICLES = ("car", "van", "bus", "bicycle", "scooter", "rickshaw")


@dataclass(frozen=True)
class Approach:
    """One object while it was dangerous.

    Attributes:
        clip, kind, city, sensor: where, what.
        start, end: s of the first and last dangerous frame.
        detected: an alarm fell between ``start - TOLERANCE`` and ``end``.
        seen: the sensor returned at least :data:`VISIBLE` of its pixels in :data:`FRAMES` frames shortly before or
            during the danger.
        lead: true seconds to impact at the first such alarm; NaN where there was none.
        first_seen: s of the first frame in which it was seen; NaN.
        fast: a vehicle closing faster than :data:`FAST` whose path crosses the corridor.
        in_time: for fast ones: the alarm came by :data:`IN_TIME` to impact or :data:`AT_ONCE` after ``first_seen``.
        closing: greatest true closing speed, m/s, positive.
    """

    clip: str
    kind: str
    city: str
    sensor: str
    start: float
    end: float
    detected: bool
    seen: bool
    lead: float
    first_seen: float
    fast: bool
    in_time: bool
    closing: float


@dataclass(frozen=True)
class Clip:
    """One recording's states against its labels.

    Attributes:
        name, city, sensor: of the recording.
        t: ``(n,)`` times of the states that were judged or not, s.
        alert, danger, judged: ``(n,)`` booleans.
        approaches: see :class:`Approach`.
        false_alarms: alarms without a danger near them.
        false_seconds: time in alarm with no danger within :data:`TOLERANCE`: a single alarm that never ends would
            count as one.
        minutes: length.
        kinds: ``(n,)`` class of the most urgent danger, or "none".
    """

    name: str
    city: str
    sensor: str
    t: NDArray[np.float64]
    alert: NDArray[np.bool_]
    danger: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    approaches: tuple[Approach, ...]
    false_alarms: int
    false_seconds: float
    minutes: float
    kinds: tuple[str, ...] = ()
    flips: int = 0
    errors: Mapping[str, list[float]] = field(default_factory=dict)


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every maximal run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def alarms(t: Array, alert: NDArray[np.bool_], merge: float = MERGE) -> list[tuple[float, float]]:
    """Begin and end of every alarm in seconds; those closer than ``merge`` are one."""
    found: list[tuple[float, float]] = []
    for a, b in runs(alert):
        if found and t[a] - found[-1][1] < merge:
            found[-1] = (found[-1][0], float(t[b]))
        else:
            found.append((float(t[a]), float(t[b])))
    return found


def score(recording: Recording, states: Sequence[AlertState], alert: NDArray[np.bool_] | None = None) -> Clip:
    """Hold the states of a replay against the recording's labels.

    Args:
        recording: with ``labels``, and ``truth`` for approaches by object.
        states: of the replay, in order.
        alert: other alarms for the same states (other thresholds); the states' own by default.

    Raises:
        DataError: the recording has no labels.
    """
    from fieldsight.errors import DataError

    labels = recording.labels
    if labels is None:
        raise DataError(f"'{recording.name}' has no labels. Evaluation needs labels.csv, as simulate writes it.")
    t = np.array([s.t for s in states], dtype=np.float64)
    said = np.array([s.alert for s in states], dtype=bool) if alert is None else alert
    judged = np.array([s.state in ("alarm", "clear") for s in states], dtype=bool)
    stamps = np.asarray(labels["t"], dtype=np.float64)
    row = _nearest(stamps, t)
    dangers = np.asarray(labels["danger"]).astype(bool)
    danger = dangers[row] if len(t) else np.zeros(0, bool)
    extra = recording.manifest.extra
    sensor = str(extra.get("sensor", recording.manifest.kind))
    found = tuple(_approaches(recording, t, said, sensor))
    spans = [(float(stamps[a]) - TOLERANCE, float(stamps[b]) + TOLERANCE) for a, b in runs(dangers)]
    sounded = alarms(t, said)
    false = sum(not any(a <= high and b >= low for low, high in spans) for a, b in sounded)
    near = np.zeros(len(t), bool)
    for low, high in spans:
        near |= (t >= low) & (t <= high)
    step = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    kinds = np.asarray(labels["kind"]).astype(str)[row] if len(t) else np.zeros(0, "U1")
    seconds = float(stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0
    named = tuple(k if d else "none" for k, d in zip(kinds, danger, strict=True))
    return Clip(
        recording.name, recording.manifest.city, sensor, t, said, danger, judged, found, false,
        float((said & ~near).sum()) * step, seconds / 60, named,
        int(np.count_nonzero(np.diff(said.astype(np.int8)))),
    )  # fmt: skip


def _approaches(recording: Recording, t: Array, said: NDArray[np.bool_], sensor: str) -> list[Approach]:
    truth = recording.truth
    if truth is None:
        return [] if recording.labels is None else _from_labels(recording, recording.labels, t, said, sensor)
    labels = recording.labels
    assert labels is not None
    stamps = np.asarray(labels["t"], dtype=np.float64)
    ids = np.asarray(truth["id"])
    frame = np.asarray(truth["i"]).astype(int)
    found = []
    for one in np.unique(ids[np.asarray(truth["danger"]).astype(bool)]):
        here = ids == one
        table = {name: np.asarray(values)[here] for name, values in truth.items()}
        when = stamps[np.searchsorted(np.asarray(labels["i"]).astype(int), frame[here])]
        for a, b in _joined(when, table["danger"].astype(bool)):
            cut = when[a] <= stamps[0] + 1e-6 or when[b] >= stamps[-1] - 1e-6
            if not cut or when[b] - when[a] >= LEAST_LENGTH:
                found.append(_approach(recording, table, when, a, b, t, said, sensor))
    return found


def _joined(when: Array, danger: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of danger of one object; a flicker shorter than the merging time is one approach."""
    found: list[tuple[int, int]] = []
    for a, b in runs(danger):
        if found and when[a] - when[found[-1][1]] < MERGE:
            found[-1] = (found[-1][0], b)
        else:
            found.append((a, b))
    return found


def _approach(
    recording: Recording, table: Columns, when: Array, a: int, b: int, t: Array, said: NDArray[np.bool_], sensor: str
) -> Approach:
    start, end = float(when[a]), float(when[b])
    inside = said & (t >= start - TOLERANCE) & (t <= end + 1e-9)
    detected = bool(inside.any())
    first = float(t[inside][0]) if detected else math.nan
    ttc = np.asarray(table["ttc"], dtype=np.float64)
    lead = float(np.interp(first, when, np.where(np.isfinite(ttc), ttc, 60.0))) if detected else math.nan
    visible = np.asarray(table["returned"]).astype(int) >= VISIBLE
    visible[b + 1 :] = False
    seen = int(visible[when >= start - BEFORE].sum()) >= FRAMES
    first_seen = float(when[np.argmax(visible)]) if seen else math.nan
    closing = np.asarray(table["closing"], dtype=np.float64)[a : b + 1]
    corridor = np.asarray(table["in_corridor"]).astype(bool)[a : b + 1] & (closing > FAST)
    kind = str(table["class"][a])
    fast = kind in VEHICLES and bool(corridor.any())
    return Approach(
        recording.name, kind, recording.manifest.city, sensor, start, end, detected, seen, lead, first_seen, fast,
        _in_time(when, ttc, a, b, t, said, first_seen) if fast else detected, float(closing.max()),
    )  # fmt: skip


def _in_time(when: Array, ttc: Array, a: int, b: int, t: Array, said: NDArray[np.bool_], first_seen: float) -> bool:
    """An alarm by 1.5 s to impact, or within half a second of the first visible frame where that is later."""
    close = np.flatnonzero(ttc[a : b + 1] <= IN_TIME)
    by_impact = float(when[a + close[0]]) if close.size else float(when[b])
    latest = by_impact if math.isnan(first_seen) else max(by_impact, first_seen + AT_ONCE)
    return bool((said & (t >= when[a] - TOLERANCE) & (t <= latest + 1e-9)).any())


def _from_labels(
    recording: Recording, labels: Columns, t: Array, said: NDArray[np.bool_], sensor: str
) -> list[Approach]:
    """Approaches of a recording that only says when there was danger: runs of danger."""
    when = np.asarray(labels["t"], dtype=np.float64)
    danger = np.asarray(labels["danger"]).astype(bool)
    n = len(when)

    def column(name: str, value: float) -> Array:
        return np.asarray(labels[name], dtype=np.float64) if name in labels else np.full(n, value)

    table = {
        "class": np.asarray(labels["kind"]).astype(str), "danger": danger, "ttc": column("ttc_true", math.nan),
        "closing": column("closing_true", 0.0), "returned": np.full(n, VISIBLE), "in_corridor": np.zeros(n, bool),
    }  # fmt: skip
    return [_approach(recording, table, when, a, b, t, said, sensor) for a, b in runs(danger)]


def _nearest(stamps: Array, t: Array) -> Array:
    """Index of the label nearest in time to each state."""
    last = len(stamps) - 1
    after = np.clip(np.searchsorted(stamps, t), min(1, last), last)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(stamps[before] - t) <= np.abs(stamps[after] - t), before, after)


@dataclass(frozen=True)
class Summary:
    """Events of many clips.

    Attributes:
        approaches, missed: that the sensor could see.
        unseen, unseen_missed: that it could not.
        false_alarms, false_seconds, minutes: of all clips.
        lead: median true seconds to impact at the first alarm of the detected.
        fast, fast_late: fast vehicles in the corridor that could be seen, and those not announced in time.
    """

    approaches: int
    missed: int
    unseen: int
    unseen_missed: int
    false_alarms: int
    false_seconds: float
    minutes: float
    lead: float
    fast: int
    fast_late: int
    alarm_share: float
    flips_per_minute: float

    @property
    def missed_share(self) -> float:
        """Share of the visible approaches without an alarm."""
        return self.missed / self.approaches if self.approaches else math.nan

    @property
    def false_per_minute(self) -> float:
        """False alarms a minute."""
        return self.false_alarms / self.minutes if self.minutes else math.nan

    @property
    def false_share(self) -> float:
        """Share of the time in an alarm for nothing."""
        return self.false_seconds / (60 * self.minutes) if self.minutes else math.nan


def summary(clips: Sequence[Clip]) -> Summary:
    """Add clips up."""
    every = [a for c in clips for a in c.approaches]
    seen = [a for a in every if a.seen]
    unseen = [a for a in every if not a.seen]
    leads = [a.lead for a in seen if a.detected]
    fast = [a for a in seen if a.fast]
    minutes = sum(c.minutes for c in clips)
    samples = sum(len(c.t) for c in clips)
    return Summary(
        len(seen), sum(not a.detected for a in seen), len(unseen), sum(not a.detected for a in unseen),
        sum(c.false_alarms for c in clips), sum(c.false_seconds for c in clips), minutes,
        float(np.median(leads)) if leads else math.nan,
        len(fast), sum(not a.in_time for a in fast),
        sum(int(c.alert.sum()) for c in clips) / samples if samples else math.nan,
        sum(c.flips for c in clips) / minutes if minutes else math.nan,
    )  # fmt: skip
