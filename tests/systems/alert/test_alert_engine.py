"""The paper's engine by hand-made numbers (specification, Acceptance 2 to 9), and what forbids a judgement."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fieldsight.systems.alert.config import PRESETS, AlertConfig
from fieldsight.systems.alert.decision import Decision, decide
from fieldsight.systems.alert.differencing import moved, region
from fieldsight.systems.alert.engine import AlertEngine
from fieldsight.systems.alert.recording import field_of_view, of_arrays
from fieldsight.systems.alert.replay import states_of
from fieldsight.systems.alert.state import Candidate, Estimate

PAPER = PRESETS["paper"]


def wall(depth: float, shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.full(shape, depth, np.float32)


def hand_frames() -> tuple[np.ndarray, np.ndarray]:
    before, now = wall(8.0, (6, 12)), wall(8.0, (6, 12))
    before[2, 1:7], before[3, 1:7] = 6.4, 7.4
    now[2, 1:7], now[3, 1:7] = 5.0, 6.0
    return before, now


def run(config: AlertConfig, frames: list[np.ndarray], dt: float = 0.5) -> list:
    return states_of(of_arrays(np.array(frames), fps=1 / dt), config)


def test_hand_frame() -> None:
    before, now = hand_frames()
    state = run(PAPER, [before, now])[-1]
    assert (state.n_roi, state.median, state.n_moving) == (20, 6.0, 12)
    assert state.distance == pytest.approx(5.5)
    assert state.speed == pytest.approx(-2.8, abs=1e-6)
    assert state.tti == pytest.approx(1.9643, abs=1e-4)
    assert state.alert
    assert state.level == 2


def test_hand_frame_as_the_app_selects() -> None:
    state = run(PRESETS["authors_app"].replace(lag=1, every_n=1), list(hand_frames()))[-1]
    assert state.n_moving == 6
    assert state.distance == pytest.approx(5.0)
    assert state.tti == pytest.approx(1.7857, abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "speed", "tti", "alert"),
    [(6.0, 5.0, -2.0, 2.5, False), (6.2, 5.0, -2.4, 2.0833, True), (5.0, 6.0, 2.0, math.inf, False)],
)
def test_flat_wall(first: float, second: float, speed: float, tti: float, alert: bool) -> None:
    state = run(PAPER, [wall(first), wall(second)])[-1]
    assert state.speed == pytest.approx(speed, abs=1e-5)
    assert state.tti == pytest.approx(tti, abs=1e-4)
    assert state.alert is alert
    app = run(PRESETS["authors_app"].replace(lag=1, every_n=1), [wall(first), wall(second)])[-1]
    assert app.n_moving == 0  # a flat front has no pixel below its median: the app's strict < never warns of it
    assert not app.alert


def test_range_series() -> None:
    states = states_of(of_arrays(np.array([10.0, 8.8, 7.6, 6.4]), fps=2), PAPER)
    assert [s.alert for s in states] == [False, False, False, True]
    assert [round(s.speed, 5) for s in states[1:]] == [-2.4, -2.4, -2.4]
    assert [round(s.tti, 3) for s in states[1:]] == [3.667, 3.167, 2.667]


def test_region_sizes() -> None:
    def size(config: AlertConfig) -> int:
        rows, columns = region((192, 256), config)
        return (rows.stop - rows.start) * (columns.stop - columns.start)

    assert size(PAPER) == 13_632
    assert size(PRESETS["authors_app"]) == 13_440
    assert size(PAPER.replace(roi_axes="sensor")) == 85 * 160  # 160 of 192 rows, 85 of 256 columns
    assert region((1, 1), PAPER) == (slice(0, 1), slice(0, 1))


def approaching(speed: float, fps: float, seconds: float, start: float = 20.0) -> list[np.ndarray]:
    return [wall(start - speed * n / fps, (12, 16)) for n in range(int(seconds * fps))]


def test_lag_and_divisor_of_the_app() -> None:
    """Acceptance 7: at 60 Hz its true lag is 1.667 s, divided by 0.5 s: 3.33 times too fast."""
    frames = approaching(1.0, 60, 4)
    app = run(PRESETS["authors_app"].replace(strictly=False), frames, 1 / 60)
    assert [s.state for s in app[:10]] == ["warming up"] * 10
    assert app[-1].speed == pytest.approx(-100 / 60 / 0.5, abs=1e-4)
    timed = run(PRESETS["paper_dt"], frames, 1 / 60)
    assert timed[-1].speed == pytest.approx(-1.0, abs=1e-4)
    assert timed[-1].dt == pytest.approx(0.5, abs=0.02)
    still = run(PRESETS["paper_dt"].replace(every_n=10), frames, 1 / 60)
    assert {s.speed for s in still} == {0.0}  # 0.167 m a step lies under the 0.2 m threshold


@pytest.mark.parametrize(("fps", "speed"), [(20, -3.0), (30, -2.0), (60, -1.0)])
def test_fixed_divisor_is_wrong_by_the_frame_rate(fps: int, speed: float) -> None:
    """Effect (h): a wall closing at 3 m/s, every 10th frame."""
    frames = approaching(3.0, fps, 3)
    assert run(PAPER.replace(every_n=10), frames, 1 / fps)[-1].speed == pytest.approx(speed, abs=1e-4)
    assert run(PRESETS["paper_dt"].replace(every_n=10), frames, 1 / fps)[-1].speed == pytest.approx(-3.0, abs=1e-4)


def test_noise_on_a_wall_looks_like_approach() -> None:
    """Acceptance 9: conditioning on the near half makes pure noise close in (trap 4)."""
    rng = np.random.default_rng(3)
    frames = rng.normal(6.0, 0.2, (201, 100, 110)).astype(np.float32)

    def mean(step: float) -> tuple[float, float]:
        found = [moved(b, a, step=step) for a, b in pairwise(frames)]
        return float(np.mean([f.difference / 0.5 for f in found])), float(np.mean([f.n_moving for f in found])) / 11_000

    speed, share = mean(0.2)
    assert speed == pytest.approx(-0.593, abs=0.02)
    assert share == pytest.approx(0.240, abs=0.01)
    assert mean(0.0)[0] == pytest.approx(-0.319, abs=0.01)


@pytest.mark.parametrize(("f", "speed"), [(0.0, -1.4), (0.1, -2.36), (0.2, -3.32), (0.3, -4.28), (0.5, -6.2)])
def test_pixel_differencing_is_not_motion(f: float, speed: float) -> None:
    """Trap 3: newly covered pixels jump from the background to the object."""
    n = 1000
    now = np.full((1, 2 * n), 9.0, np.float32)
    before = now.copy()
    now[0, :n] = 3.5
    before[0, : round((1 - f) * n)] = 4.2
    assert moved(now, before).difference / 0.5 == pytest.approx(speed, abs=1e-4)


# ----------------------------------------------------------------------------------------- nothing is judged

EVERY = ("base", "nearest", "looming", "paper", "paper_dt", "authors_app", "quartile", "distance_only", "always_closer")


@pytest.mark.parametrize("mode", EVERY)
def test_bad_frames_are_refused_by_name(mode: str) -> None:
    """Acceptance 5 and the issue's list: never an exception, never an alarm, never `clear`."""
    engine = AlertEngine(PRESETS[mode].replace(every_n=1))
    K = field_of_view(32, 24)
    blank = wall(math.nan)
    lonely = blank.copy()
    lonely[12, 16] = 3.0
    steps = [
        (wall(5.0), 0.0, ""), (blank, 0.1, "nothing came back"), (wall(4.9), 0.1, "same time"),
        (wall(4.9), 0.05, "out of order"), (wall(4.9), math.nan, "no time"), (wall(4900.0), 0.2, "millimetre"),
        (wall(0.05), 0.3, "lens is covered"), (np.zeros((3, 3), np.float32), 0.4, "at least 12 x 6"),
        (np.zeros((2, 3, 4)), 0.5, "(height, width)"), (np.array([["a", "b"]]), 0.6, "not metres"),
    ]  # fmt: skip
    for frame, t, piece in steps:
        state = engine.step(frame, t, K=K)
        assert state is not None
        assert not state.alert
        if piece:
            assert state.state == "no judgement", (piece, state)
            assert piece in state.reason, state.reason
    state = engine.step(lonely, 0.7, K=K)
    assert state is not None
    assert not state.alert
    assert state.reason
    assert state.state != "clear"


def test_a_change_of_size_or_lens_and_a_pause_start_anew() -> None:
    engine = AlertEngine(PAPER)
    for frame, t in ((wall(6.2), 0.0), (wall(5.0), 0.5)):
        state = engine.step(frame, t)
    assert state is not None
    assert state.alert
    changed = engine.step(wall(4.0, (48, 64)), 1.0)
    assert changed is not None
    assert changed.state == "warming up"
    assert "size changed from 32 x 24 to 64 x 48" in changed.reason
    paused = engine.step(wall(3.0, (48, 64)), 9.0)
    assert paused is not None
    assert paused.state == "warming up"
    assert "no frame for 8.00 s" in paused.reason
    engine = AlertEngine(PAPER)
    engine.step(wall(6.0), 0.0, K=field_of_view(32, 24))
    lens = engine.step(wall(5.0), 0.5, K=field_of_view(32, 24, 90))
    assert lens is not None
    assert lens.reason == "the intrinsics changed"


def test_a_clock_that_was_set_back_is_followed() -> None:
    engine = AlertEngine(PAPER)
    engine.step(wall(6.0), 100.0)
    back = engine.step(wall(6.0), 3.0)
    assert back is not None
    assert "set anew" in back.reason
    engine.step(wall(6.2), 3.5)
    state = engine.step(wall(5.0), 4.0)
    assert state is not None
    assert state.alert


def test_a_picture_that_stands_still_is_not_watched() -> None:
    engine = AlertEngine(PRESETS["base"])
    K = field_of_view(32, 24)
    states = [engine.step(wall(5.0), n / 10, K=K) for n in range(20)]
    assert states[-1] is not None
    assert states[-1].state == "no judgement"
    assert "stood still" in states[-1].reason
    moving = engine.step(wall(4.9), 2.1, K=K)
    assert moving is not None
    assert moving.state != "no judgement"


def test_without_a_lens_the_corridor_is_not_judged() -> None:
    state = AlertEngine(PRESETS["base"]).step(wall(5.0), 0.0)
    assert state is not None
    assert state.state == "no judgement"
    assert "intrinsics" in state.reason


@settings(max_examples=60, deadline=None)
@given(
    frames=hnp.arrays(np.float32, (4, 8, 14), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    times=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=4),
    mode=st.sampled_from(EVERY),
)
def test_no_pixels_and_no_times_raise(frames: np.ndarray, times: list[float], mode: str) -> None:
    engine = AlertEngine(PRESETS[mode])
    for frame, t in zip(frames, times, strict=True):
        state = engine.step(frame, t, K=field_of_view(14, 8), pose=np.eye(4))
        assert state is None or state.alert == (state.state == "alarm")


@pytest.mark.parametrize("broken", [np.zeros((4, 4)), np.full((4, 4), math.nan), np.eye(3), -np.eye(4), "no pose"])
def test_a_broken_pose_is_no_pose(broken: object) -> None:
    engine, plain = AlertEngine(PRESETS["base"]), AlertEngine(PRESETS["base"])
    K = field_of_view(32, 24)
    for n in range(8):
        frame = wall(6 - 0.2 * n)
        a, b = engine.step(frame, n / 10, K=K, pose=broken), plain.step(frame, n / 10, K=K)
        assert repr(a) == repr(b)


ODD: tuple[Any, ...] = (
    *(None, "text", [[1, 2], [3]], 7, [], b"x", object(), -np.eye(3), np.zeros((3, 3)), np.full((3, 3), math.nan)),
    *(np.full((24, 32), value) for value in ("a", 1j, None, 1e300)),
    np.diag([1.0, 1.0, 2.0, 1.0]),
)


@pytest.mark.parametrize("mode", EVERY)
@pytest.mark.parametrize("odd", ODD, ids=lambda o: f"{type(o).__name__}{getattr(o, 'shape', '')}")
def test_what_is_no_lens_no_pose_or_no_confidence_counts_as_none(mode: str, odd: Any) -> None:
    good: dict[str, Any] = {"K": field_of_view(32, 24), "pose": np.eye(4), "confidence": np.ones((24, 32), np.uint8)}
    for name in good:
        one, other = AlertEngine(PRESETS[mode]), AlertEngine(PRESETS[mode])
        for n in range(3):
            frame = wall(5.0 - n)
            given, without = (
                one.step(frame, n / 2, **{**good, name: odd}),
                other.step(frame, n / 2, **{**good, name: None}),
            )
            assert repr(given) == repr(without), name


def test_the_speed_threshold_gives_the_benefit_of_the_doubt() -> None:
    sure, unsure = Candidate(5.0, -2.0, 2.5), Candidate(5.0, -2.0, 2.5, fastest=-2.6)
    assert sure.limit == -2.0
    for one, alarm in ((sure, False), (unsure, True)):
        assert Decision(AlertConfig()).step(Estimate(candidates=(one,)))[0] is alarm


def test_sliders_move_without_forgetting() -> None:
    frames = [wall(6.0 - 0.7 * n) for n in range(4)]  # -1.4 m/s
    engine = AlertEngine(PAPER)
    states = []
    for n, frame in enumerate(frames):
        if n == 3:
            engine.thresholds(-1.0, 5.0)
        states.append(engine.step(frame, n * 0.5))
    assert [s.alert for s in states if s] == [False, False, False, True]


def test_stored_states_give_the_same_alarms_as_a_replay() -> None:
    rng = np.random.default_rng(1)
    frames = [wall(9.0 - 0.25 * n) + rng.normal(0, 0.02, (24, 32)).astype(np.float32) for n in range(30)]
    recording = of_arrays(np.array(frames), fps=10, K=field_of_view(32, 24))
    for name in ("base", "nearest", "paper"):
        for speed, tti in ((-1.0, 5.0), (-2.2, 3.0), (-4.0, 1.0)):
            stored = states_of(recording, PRESETS[name])
            again = states_of(recording, PRESETS[name].replace(speed_threshold=speed, tti_threshold=tti))
            assert [s.alert for s in again] == list(decide(stored, PRESETS[name], speed, tti)), (name, speed)


def test_stored_states_forget_where_the_engine_forgot() -> None:
    """A pause in the recording ends the hysteresis, in the engine and in what is decided again from its states."""
    rng = np.random.default_rng(2)
    frames = np.array([wall(12.0 - 0.25 * n) + rng.normal(0, 0.02, (24, 32)).astype(np.float32) for n in range(40)])
    times = np.arange(40) / 10 + np.where(np.arange(40) >= 20, 2.0, 0.0)
    recording = of_arrays(frames, times=times, K=field_of_view(32, 24))
    for name in ("base", "nearest", "paper_dt"):
        config = PRESETS[name].replace(
            period=0.1, on_hits=2, on_of=4, off_after=8, speed_threshold=-1.0, tti_threshold=9.0
        )
        states = states_of(recording, config)
        assert [s.alert for s in states] == list(decide(states, config, -1.0, 9.0)), name
        assert any(s.alert for s in states), name
        after = [s.state for s in states if s.t >= 4.0]
        assert after[0] == "warming up"
        assert "alarm" in after[1:]
        assert after.index("alarm") > 1  # two hits are needed anew


def test_nothing_is_clear_before_anything_can_be_known_to_move() -> None:
    K, pose = field_of_view(32, 24), np.eye(4)
    rng = np.random.default_rng(0)

    def said(gap: float, count: int) -> list[str]:
        engine = AlertEngine(PRESETS["base"])
        states = [engine.step(rng.normal(5, 0.02, (24, 32)), n * gap, K=K, pose=pose) for n in range(count)]
        return [s.state for s in states if s is not None]

    assert said(0.1, 8) == ["warming up"] * 3 + ["clear"] * 5
    for gap in (0.32, 1.0):  # too seldom to be held against each other: never clear, and soon somebody is told
        states = said(gap, 24)
        assert set(states) == {"warming up", "no judgement"}
        assert states[-1] == "no judgement"
        assert states.index("no judgement") * gap < 4.4


@pytest.mark.parametrize("mode", [m for m in EVERY if m not in ("base", "nearest")])
def test_a_part_without_returns_is_not_clear(mode: str) -> None:
    frame = wall(5.0)
    frame[6:18] = math.nan  # above and below of the middle something came back
    engine = AlertEngine(PRESETS[mode].replace(every_n=1, lag=1))
    for n in range(3):
        state = engine.step(frame + np.float32(0.1 * n), n * 0.5)
        assert state is not None
        assert state.state == "no judgement"
        assert "came back in the part" in state.reason
    state = engine.step(wall(5.0), 1.5)
    assert state is not None
    assert state.state == "warming up"
