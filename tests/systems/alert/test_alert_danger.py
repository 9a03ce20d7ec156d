"""Exact labels: the numbers of the specification, and what must hold of any judgement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.alert.danger import BODY, judge, sweep

CAR: dict[str, Any] = {"yaw": -np.pi / 2, "length": 4.5, "width": 1.8, "rule": "vehicle", "sideways": 4.0}
PERSON: dict[str, Any] = {"yaw": -np.pi / 2, "length": 0.35, "width": 0.5, "rule": "person", "sideways": 2.0}


def test_acceptance_10_a_car_that_could_swerve() -> None:
    car = judge(3.5, 16.0, 0.0, -8.0, **CAR)
    assert car.near[0] == pytest.approx(13.75)
    assert car.ttc[0] == pytest.approx(1.719, abs=5e-4)
    assert car.gap[0] == pytest.approx(2.35)
    assert 0.5 * 4.0 * car.ttc[0] ** 2 == pytest.approx(5.91, abs=5e-3)
    assert 0.5 * 3.0 * car.ttc[0] ** 2 == pytest.approx(4.43, abs=5e-3)
    assert car.swerve[0]
    assert car.danger[0]
    assert car.rule[0] == "swerve"
    assert not car.hit_cv[0]
    nearer = judge(1.0, 16.0, 0.0, -8.0, **CAR)
    assert nearer.swerve[0]
    assert nearer.hit_cv[0]


def test_the_range_is_that_of_the_nearest_point_and_its_rate() -> None:
    car = judge(3.5, 16.0, 0.0, -8.0, **CAR)
    assert car.range[0] == pytest.approx(np.hypot(2.6, 13.75))
    assert car.closing[0] == pytest.approx(8.0 * 13.75 / car.range[0])
    later = judge(3.5, 16.0 - 8.0 * 1e-4, 0.0, -8.0, **CAR)
    assert (car.range[0] - later.range[0]) / 1e-4 == pytest.approx(car.closing[0], rel=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "vx", "vy", "kind", "danger"),
    [
        (3.5, 16.0, 0.0, 8.0, CAR, False),  # drives away
        (3.5, -16.0, 0.0, 8.0, {**CAR, "yaw": np.pi / 2}, True),  # from behind
        (3.5, 40.0, 0.0, -8.0, CAR, False),  # beyond the horizon
        (0.0, 4.0, 0.0, -1.4, CAR, False),  # slower than 1.5 m/s
        (0.0, 4.0, 0.0, -2.7, PERSON, True),
        (1.2, 4.0, 0.0, -2.7, PERSON, False),  # passes with 0.7 m
        (0.8, 4.0, 0.0, -2.7, PERSON, True),  # with 0.3 m
        (0.0, 4.0, 0.0, -2.7, {**PERSON, "heading": -np.pi / 2 + 0.4}, False),  # looks elsewhere by 23 degrees
        (0.0, 4.0, 0.0, -2.7, {**PERSON, "heading": -np.pi / 2 + 0.3}, True),
        (0.0, 4.0, 0.0, -2.7, {**PERSON, "rule": "static"}, True),  # a run into a pole
        (0.0, 4.0, 0.0, -1.35, {**PERSON, "rule": "static"}, False),  # a walk into a pole: closing below 1.5 m/s
        (0.0, 4.0, 0.0, -2.7, {**PERSON, "rule": "none"}, False),
    ],
)
def test_rules_one_by_one(x: float, y: float, vx: float, vy: float, kind: dict[str, Any], danger: bool) -> None:
    assert bool(judge(x, y, vx, vy, **kind).danger[0]) is danger


def test_turning_the_world_changes_nothing() -> None:
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)
    one = judge(3.5, 16.0, 0.3, -8.0, **CAR)
    two = judge(
        c * 3.5 - s * 16.0,
        s * 3.5 + c * 16.0,
        c * 0.3 + s * 8.0,
        s * 0.3 - c * 8.0,
        **{**CAR, "yaw": CAR["yaw"] + angle},
    )
    for name in ("range", "closing", "near", "ttc", "gap", "d_cpa"):
        assert getattr(one, name)[0] == pytest.approx(getattr(two, name)[0])


def test_what_holds_of_any_object() -> None:
    rng = rng_for(3, "danger")
    n = 400
    x, y, vx, vy = rng.uniform(-12, 12, n), rng.uniform(-12, 25, n), rng.normal(0, 4, n), rng.normal(0, 4, n)
    yaw, length, width = rng.uniform(-3, 3, n), rng.uniform(0.3, 6, n), rng.uniform(0.3, 2.5, n)
    rule = rng.choice(["vehicle", "person", "static", "none"], n)
    found = judge(x, y, vx, vy, yaw=yaw, length=length, width=width, rule=rule)
    assert (found.d_cpa[found.hit_cv] <= 1e-9).all()
    assert (found.d_cpa <= found.range - BODY + 1e-9).all()
    assert (found.hit_cv <= found.in_corridor).all()
    assert ((found.rule != "") == found.danger).all()
    assert not found.danger[rule == "none"].any()
    assert (found.ttc[found.danger & (rule != "static")] <= 3.0).all()
    # against small steps
    times = np.linspace(0.0, 3.0, 3001)
    for i in range(0, n, 7):
        px, py = -(x[i] + vx[i] * times), -(y[i] + vy[i] * times)
        c, s = np.cos(yaw[i]), np.sin(yaw[i])
        a = np.maximum(np.abs(c * px + s * py) - length[i] / 2, 0.0)
        b = np.maximum(np.abs(c * py - s * px) - width[i] / 2, 0.0)
        one = (x[i : i + 1], y[i : i + 1], vx[i : i + 1], vy[i : i + 1], yaw[i : i + 1], length[i : i + 1])
        assert sweep(*one, width[i : i + 1], 3.0)[0] == pytest.approx(np.hypot(a, b).min(), abs=0.01)


def test_lengths_that_do_not_go_together_are_told() -> None:
    with pytest.raises(DataError, match="judge"):
        judge([1.0, 2.0], [1.0, 2.0, 3.0], 0.0, 0.0, **CAR)
