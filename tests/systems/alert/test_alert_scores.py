"""Counting: Table A1 gives Tables 1 and 2 cell by cell; ratios, intervals, events."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import DataError
from fieldsight.metrics.stats import mcnemar, wilson
from fieldsight.systems.alert.events import alarms, runs, score, summary
from fieldsight.systems.alert.recording import of_arrays
from fieldsight.systems.alert.scores import (
    TABLE2,
    UNTESTED,
    Counts,
    Samples,
    auc,
    by_group,
    clustered,
    count,
    sweep,
    tolerant_recall,
)
from fieldsight.systems.alert.state import AlertState
from fieldsight.systems.alert.table_a1 import read_samples, table_a1, timecode

# specification, Reported results: printed cells, in the paper's order
PRINTED2 = {
    (-5.0, 3.0): (32, 0, 21, 32, 0.753, 1.000, 0.604, 0.753),
    (-3.0, 3.0): (46, 2, 7, 30, 0.894, 0.958, 0.868, 0.911),
    (-2.2, 1.0): (25, 0, 28, 32, 0.671, 1.000, 0.472, 0.641),
    (-2.2, 3.0): (51, 3, 2, 29, 0.941, 0.944, 0.962, 0.953),
    (-2.2, 5.0): (51, 9, 2, 23, 0.871, 0.850, 0.962, 0.903),
    (-1.0, 3.0): (52, 5, 1, 27, 0.929, 0.912, 0.981, 0.945),
}
PRINTED1 = {"Bus": (5, 8, 0, 0), "Car": (11, 8, 0, 0), "Scooter": (5, 2, 1, 1), "Walking": (30, 11, 2, 1)}


def test_table_a1_is_whole() -> None:
    a1 = table_a1()
    assert len(a1) == 85
    assert int(a1.danger.sum()) == 53
    sizes = {k: int((a1.kind == k).sum()) for k in ("Walking", "Car", "Bus", "Scooter")}
    assert sizes == {"Walking": 44, "Car": 19, "Bus": 13, "Scooter": 9}
    assert len(set(a1.clip)) == 16


def test_table_2_cell_by_cell() -> None:
    found = sweep(table_a1(), TABLE2)
    assert [(v, t) for v, t, _ in found] == list(PRINTED2)
    for v, t, c in found:
        cells = (c.tp, c.fp, c.fn, c.tn, *(round(x, 3) for x in (c.accuracy, c.precision, c.recall, c.f1)))
        assert cells == PRINTED2[v, t]


def test_table_1_cell_by_cell() -> None:
    a1 = table_a1()
    found = by_group(a1.alerts(-2.2, 3.0), a1.danger, list(a1.kind))
    assert {k: (c.tp, c.tn, c.fp, c.fn) for k, c in found.items()} == PRINTED1


def test_inclusive_thresholds_add_one_false_alarm() -> None:
    a1 = table_a1()
    assert count(a1.alerts(-2.2, 3.0, inclusive=True), a1.danger).fp == 4  # trap 7: Bus2 0:06:05


def test_the_untested_pair_and_what_the_text_claims() -> None:
    a1 = table_a1()
    ((_, _, c),) = sweep(a1, [UNTESTED])
    assert (c.tp, c.fp, c.fn, c.tn) == (52, 12, 1, 20)
    assert [round(x, 4) for x in (c.accuracy, c.precision)] == [0.8471, 0.8125]
    alert = a1.alerts(-2.2, 3.0)
    assert tolerant_recall(a1, alert, 0.41) == (53, 53)
    wrong = [(c, round(60 * t)) for c, t in zip(a1.clip[alert & ~a1.danger], a1.t[alert & ~a1.danger], strict=True)]
    assert [w[0] for w in wrong] == ["Walking4", "Walking4", "Scooter2"]
    missed = ~alert & a1.danger
    assert list(a1.clip[missed]) == ["Walking7", "Scooter1"]
    assert round(auc(-a1.speed, a1.danger), 3) == 0.933
    assert round(auc(-a1.tti, a1.danger), 3) == 0.948


def test_intervals_of_the_default_row() -> None:
    a1 = table_a1()
    alert = a1.alerts(-2.2, 3.0)
    w = count(alert, a1.danger).intervals()
    assert [round(x, 3) for x in (w["precision"].low, w["precision"].high)] == [0.849, 0.981]
    assert [round(x, 3) for x in (w["recall"].low, w["recall"].high)] == [0.872, 0.990]
    assert [round(x, 3) for x in (w["accuracy"].low, w["accuracy"].high)] == [0.870, 0.975]
    c = clustered(alert, a1.danger, list(a1.clip))
    assert c["precision"].low == pytest.approx(0.83, abs=0.03)
    assert c["recall"].low == pytest.approx(0.90, abs=0.02)
    assert c["precision"].n == 16
    assert c["precision"].low < w["precision"].low  # clustered rows say less than independent ones


def test_timecodes_are_frames_of_60() -> None:
    assert timecode("0:03:50") == pytest.approx(3 + 50 / 60)
    assert timecode("0:16:55") == pytest.approx(16 + 55 / 60)
    a1 = table_a1()
    gaps = [b - a for c in set(a1.clip) for a, b in zip(a1.t[a1.clip == c][:-1], a1.t[a1.clip == c][1:], strict=True)]
    assert len(gaps) == 69
    assert sum(abs(g - 1 / 3) < 0.002 for g in gaps) == 64  # trap 2: not 0.2 s, not 0.5 s
    with pytest.raises(DataError, match="'0:99:99'"):
        timecode("0:99:99")


def test_a_damaged_table_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.csv"
    path.write_text("clip,speed,tti,danger\nA,-3,1,Yes\nB,fast,1,No\nC,-1,2,perhaps\n")
    with pytest.raises(DataError) as caught:
        read_samples(path)
    assert "line 3" in str(caught.value)
    assert "line 4" in str(caught.value)
    path.write_text("clip,tti,danger\nA,1,Yes\n")
    with pytest.raises(DataError, match="speed"):
        read_samples(path)


# ------------------------------------------------------------------------------------------------ ratios

counts = st.builds(Counts, *(st.integers(0, 50) for _ in range(4)))


@given(counts)
def test_ratios_lie_where_they_should(c: Counts) -> None:
    for name, value in c.ratios().items():
        assert math.isnan(value) or (-1 if name == "mcc" else 0) - 1e-12 <= value <= 1 + 1e-12, name
    if c.tp == 0 and c.fp + c.fn > 0:
        assert c.f1 == 0
    if c.tp + c.fp + c.fn == 0:
        assert math.isnan(c.f1)


def test_ratios_against_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    a, d = rng.random(300) < 0.4, rng.random(300) < 0.3
    c = count(a, d)
    assert c.precision == pytest.approx(metrics.precision_score(d, a))
    assert c.recall == pytest.approx(metrics.recall_score(d, a))
    assert c.f1 == pytest.approx(metrics.f1_score(d, a))
    assert c.mcc == pytest.approx(metrics.matthews_corrcoef(d, a))
    assert c.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(d, a))
    assert auc(rng.random(300).round(1), d) == pytest.approx(
        metrics.roc_auc_score(d, np.random.default_rng(0).random(900)[600:].round(1)), abs=0.2
    )


readings = st.lists(
    st.tuples(st.floats(-15, 5), st.one_of(st.floats(0, 20), st.just(9999.0)), st.booleans()), min_size=1, max_size=40
)


@settings(max_examples=100)
@given(readings, st.floats(-6, 0), st.floats(0, 3), st.floats(0, 6), st.floats(0, 3))
def test_looser_thresholds_never_lose_an_alarm(rows: list, v: float, dv: float, t: float, dt: float) -> None:
    """Acceptance 8."""
    speed, tti, danger = (np.array(x) for x in zip(*rows, strict=True))
    words = np.array(["c"] * len(rows))
    s = Samples(words, words, np.arange(len(rows), dtype=float), speed, tti, danger.astype(bool))
    (_, _, a), (_, _, b) = sweep(s, [(v, t), (v + dv, t + dt)])
    assert b.tp >= a.tp
    assert b.fp >= a.fp
    assert a.n == b.n == len(rows)


def test_wilson_and_mcnemar() -> None:
    assert wilson(0, 0).n == 0
    assert math.isnan(wilson(0, 0).value)
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == pytest.approx(1)
    with pytest.raises(DataError):
        wilson(3, 2)
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 10) == pytest.approx(2 / 2**10)


# ------------------------------------------------------------------------------------------------ events


def clip_of(
    danger: list[int], alert: list[int], returned: list[int] | None = None, kind: str = "car", closing: float = 8.0
):  # type: ignore[no-untyped-def]
    n = len(danger)
    t = np.arange(n) / 10
    ttc = np.maximum((n - 1 - np.arange(n)) / 10, 0.0)
    rec = of_arrays(np.ones((n, 6, 12), np.float32), t)
    d = np.array(danger, bool)
    rec = rec.replace(
        labels={"i": np.arange(n), "t": t, "danger": d, "kind": np.array([kind] * n)},
        truth={
            "i": np.arange(n), "id": np.ones(n, int), "class": np.array([kind] * n), "danger": d, "ttc": ttc,
            "closing": np.full(n, closing), "returned": np.array(returned or [50] * n), "in_corridor": np.ones(n, bool),
        },
    )  # fmt: skip
    states = [AlertState(float(x), "alarm" if a else "clear", bool(a)) for x, a in zip(t, alert, strict=True)]
    return score(rec, states)


def test_runs_and_alarms() -> None:
    assert runs(np.array([0, 1, 1, 0, 1], bool)) == [(1, 2), (4, 4)]
    assert runs(np.zeros(0, bool)) == []
    t = np.arange(30) / 10
    a = np.zeros(30, bool)
    a[[2, 3, 8, 25]] = True
    assert alarms(t, a) == [(0.2, 0.8), (2.5, 2.5)]


def test_an_approach_is_detected_by_one_alarm_with_its_lead() -> None:
    danger, alert = [0] * 40, [0] * 40
    danger[10:35] = [1] * 25
    alert[15] = 1
    one = clip_of(danger, alert).approaches[0]
    assert one.detected
    assert one.lead == pytest.approx(2.4)
    assert one.fast
    assert one.in_time  # 2.4 s before impact
    late = [0] * 40
    late[30] = 1
    one = clip_of(danger, late).approaches[0]
    assert one.detected
    assert not one.in_time  # 0.9 s before impact, seen all the time


def test_an_approach_that_shows_late_may_be_announced_late() -> None:
    danger, alert, returned = [0] * 40, [0] * 40, [0] * 40
    danger[10:35] = [1] * 25
    returned[28:] = [50] * 12
    alert[33] = 1
    one = clip_of(danger, alert, returned).approaches[0]
    assert one.first_seen == pytest.approx(2.8)
    assert one.in_time  # half a second after it came into sight
    alert[33], alert[34] = 0, 1
    assert not clip_of(danger, alert, returned).approaches[0].in_time


def test_what_no_sensor_returned_is_counted_apart() -> None:
    danger = [0] * 10 + [1] * 10
    found = summary([clip_of(danger, [0] * 20, [1] * 20), clip_of(danger, [0] * 20)])
    assert (found.approaches, found.missed, found.unseen, found.unseen_missed) == (1, 1, 1, 1)


def test_false_alarms_are_alarms_without_a_danger_near() -> None:
    danger = [0] * 60
    danger[20:25] = [1] * 5
    alert = [0] * 60
    alert[28] = 1  # 0.4 s after the danger: not false
    alert[45] = 1
    found = clip_of(danger, alert)
    assert found.false_alarms == 1
    assert summary([found]).false_per_minute == pytest.approx(1 / (5.9 / 60))
    assert not found.approaches[0].detected
    early = [0] * 60
    early[16] = 1
    assert clip_of(danger, early).approaches[0].detected  # 0.4 s before it


def test_labels_by_hand_need_no_more_than_time_and_danger() -> None:
    t = np.arange(40) / 10
    rec = of_arrays(np.ones((40, 6, 12), np.float32), t).replace(labels={"t": t, "danger": (t > 2) & (t < 3)})
    states = [AlertState(float(x), "alarm" if x > 2.4 else "clear", bool(x > 2.4)) for x in t]
    found = score(rec, states)
    assert [(a.kind, a.detected, a.seen) for a in found.approaches] == [("danger", True, True)]
    assert len(score(rec.replace(truth={"note": t}), states).approaches) == 1  # a truth of one's own
    assert math.isnan(summary([found]).lead)  # nobody wrote down the time to impact
