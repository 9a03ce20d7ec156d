"""Approaches instead of frames: was each danger announced, how long before, and how often was there an alarm for
nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
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
#: Columns of a truth that tells approaches apart by object.
TRUTH = {"i", "id", "class", "ttc", "closing", "danger", "in_corridor", "returned"}
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
        lead: true seconds to impact at the first such alarm; NaN where there was none, or nobody wrote them down.
        first_seen: s of the frame in which it came into sight before impact (out of reach, or from behind something);
            NaN where it never did.
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


@dataclass(frozen=True)
class Danger:
    """One object while it is dangerous, before anybody was warned; see :class:`Approach`.

    Attributes:
        kind, start, end, seen, first_seen, fast, closing: as there.
        deadline: s by which an alarm is in time.
        when, ttc: ``(m,)`` true times to impact of the object, s.
    """

    kind: str
    start: float
    end: float
    seen: bool
    first_seen: float
    fast: bool
    closing: float
    deadline: float
    when: Array
    ttc: Array


@dataclass(frozen=True)
class Labelled:
    """What is true of a recording, without its frames.

    Attributes:
        name, city, sensor: of the recording.
        t: ``(n,)`` times of the labels, s.
        danger: ``(n,)`` booleans.
        kind: ``(n,)`` class of the most urgent danger, or "none".
        closing: ``(n,)`` true closing speed of it, m/s, positive.
        dangers: one an approach.
    """

    name: str
    city: str
    sensor: str
    t: NDArray[np.float64]
    danger: NDArray[np.bool_]
    kind: NDArray[np.str_]
    closing: NDArray[np.float64]
    dangers: tuple[Danger, ...]

    def spans(self) -> list[tuple[float, float]]:
        """Begin and end of danger, with the tolerance on both sides, s."""
        return [(float(self.t[a]) - TOLERANCE, float(self.t[b]) + TOLERANCE) for a, b in runs(self.danger)]


def labelled(recording: Recording) -> Labelled:
    """What a recording's labels say.

    Raises:
        DataError: it has none.
    """
    labels = recording.labels
    if labels is None:
        raise DataError(f"'{recording.name}' has no labels. Evaluation needs labels.csv, as simulate writes it.")
    t = np.asarray(labels["t"], dtype=np.float64)
    danger = np.asarray(labels["danger"]).astype(bool)
    kind = np.where(danger, _kinds(labels, len(t)), "none")
    closing = np.asarray(labels.get("closing_true", np.full(len(t), math.nan)), dtype=np.float64)
    sensor = str(recording.manifest.extra.get("sensor", recording.manifest.kind))
    return Labelled(
        recording.name, recording.manifest.city, sensor, t, danger, kind, closing, tuple(_dangers(recording, t, danger))
    )


def _kinds(labels: Columns, n: int) -> NDArray[np.str_]:
    """Class of the danger in each row; labels by hand need not say it."""
    return np.asarray(labels["kind"]).astype(str) if "kind" in labels else np.full(n, "danger")


def _dangers(recording: Recording, t: Array, danger: NDArray[np.bool_]) -> Iterator[Danger]:
    labels, truth = recording.labels, recording.truth
    assert labels is not None
    if truth is None or TRUTH - set(truth):
        yield from _from_labels(labels, t, danger)
        return
    ids, frame = np.asarray(truth["id"]), np.asarray(truth["i"]).astype(int)
    for one in np.unique(ids[np.asarray(truth["danger"]).astype(bool)]):
        here = ids == one
        table = {name: np.asarray(values)[here] for name, values in truth.items()}
        when = t[np.searchsorted(np.asarray(labels.get("i", np.arange(len(t)))).astype(int), frame[here])]
        for a, b in _joined(when, table["danger"].astype(bool)):
            cut = when[a] <= t[0] + 1e-6 or when[b] >= t[-1] - 1e-6
            if not cut or when[b] - when[a] >= LEAST_LENGTH:
                yield _danger(table, when, a, b)


def _joined(when: Array, danger: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of danger of one object; a flicker shorter than the merging time is one approach."""
    found: list[tuple[int, int]] = []
    for a, b in runs(danger):
        if found and when[a] - when[found[-1][1]] < MERGE:
            found[-1] = (found[-1][0], b)
        else:
            found.append((a, b))
    return found


def _danger(table: Columns, when: Array, a: int, b: int) -> Danger:
    start, end = float(when[a]), float(when[b])
    visible = np.asarray(table["returned"]).astype(int) >= VISIBLE
    visible[b + 1 :] = False
    seen = int(visible[when >= start - BEFORE].sum()) >= FRAMES
    ttc = np.asarray(table["ttc"], dtype=np.float64)
    closing = np.asarray(table["closing"], dtype=np.float64)[a : b + 1]
    kind = str(table["class"][a])
    fast = kind in VEHICLES and bool(
        (np.asarray(table["in_corridor"]).astype(bool)[a : b + 1] & (closing > FAST)).any()
    )
    # in time: by 1.5 s to impact, or half a second after the first visible frame where that is later
    close = np.flatnonzero(ttc[a : b + 1] <= IN_TIME)
    deadline = float(when[a + close[0]]) if close.size else end
    first_seen = _shown(when, visible, deadline) if seen else math.nan
    deadline = deadline if math.isnan(first_seen) else max(deadline, first_seen + AT_ONCE)
    return Danger(kind, start, end, seen, first_seen, fast, float(closing.max()), deadline, when, ttc)


def _shown(when: Array, visible: NDArray[np.bool_], t: float) -> float:
    """When an object came into sight for the last time before ``t``, or the first time after it was hidden then.

    What is hidden for less than :data:`AT_ONCE` stays in sight.
    """
    stretches: list[tuple[float, float]] = []
    for a, b in runs(visible):
        if stretches and when[a] - stretches[-1][1] < AT_ONCE:
            stretches[-1] = (stretches[-1][0], float(when[b]))
        else:
            stretches.append((float(when[a]), float(when[b])))
    before = [s for s in stretches if s[0] <= t]
    after = [s for s in stretches if s[0] > t]
    if before and (t - before[-1][1] < AT_ONCE or not after):
        return before[-1][0]
    return after[0][0] if after else math.nan


def _from_labels(labels: Columns, when: Array, danger: NDArray[np.bool_]) -> Iterator[Danger]:
    """Approaches of a recording that only says when there was danger: runs of danger, all taken as seen."""
    n = len(when)

    def column(name: str, value: float) -> Array:
        return np.asarray(labels[name], dtype=np.float64) if name in labels else np.full(n, value)

    table = {
        "class": _kinds(labels, n), "ttc": column("ttc_true", math.nan),
        "closing": column("closing_true", 0.0), "returned": np.full(n, VISIBLE), "in_corridor": np.zeros(n, bool),
    }  # fmt: skip
    for a, b in runs(danger):
        one = _danger(table, when, a, b)
        yield dataclasses.replace(one, seen=True)


def score(truth: Recording | Labelled, states: Sequence[AlertState], alert: NDArray[np.bool_] | None = None) -> Clip:
    """Hold the states of a replay against the truth.

    Args:
        truth: a recording with ``labels`` (and ``truth`` for approaches by object), or what :func:`labelled` kept.
        states: of the replay, in order.
        alert: other alarms for the same states (other thresholds); the states' own by default.

    Raises:
        DataError: the recording has no labels.
    """
    known = truth if isinstance(truth, Labelled) else labelled(truth)
    t = np.array([s.t for s in states], dtype=np.float64)
    said = np.array([s.alert for s in states], dtype=bool) if alert is None else alert
    judged = np.array([s.judged for s in states], dtype=bool)
    row = _nearest(known.t, t) if len(t) else np.zeros(0, int)
    spans = known.spans()
    near = np.zeros(len(t), bool)
    for low, high in spans:
        near |= (t >= low) & (t <= high)
    false = sum(not any(a <= high and b >= low for low, high in spans) for a, b in alarms(t, said))
    step = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    seconds = float(known.t[-1] - known.t[0]) if len(known.t) > 1 else 0.0
    return Clip(
        known.name, known.city, known.sensor, t, said, known.danger[row], judged,
        tuple(_announced(known, d, t, said) for d in known.dangers), false, float((said & ~near).sum()) * step,
        seconds / 60, tuple(known.kind[row].tolist()), int(np.count_nonzero(np.diff(said.astype(np.int8)))),
    )  # fmt: skip


def _announced(known: Labelled, d: Danger, t: Array, said: NDArray[np.bool_]) -> Approach:
    inside = said & (t >= d.start - TOLERANCE) & (t <= d.end + 1e-9)
    detected = bool(inside.any())
    first = float(t[inside][0]) if detected else math.nan
    lead = float(np.interp(first, d.when, np.where(np.isinf(d.ttc), 60.0, d.ttc))) if detected else math.nan
    in_time = bool((said & (t >= d.start - TOLERANCE) & (t <= d.deadline + 1e-9)).any())
    return Approach(
        known.name, d.kind, known.city, known.sensor, d.start, d.end, detected, d.seen, lead, d.first_seen, d.fast,
        in_time if d.fast else detected, d.closing,
    )  # fmt: skip


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
    leads = [a.lead for a in seen if not math.isnan(a.lead)]
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
