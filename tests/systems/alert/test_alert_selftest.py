"""The self-test names what is wrong with a stream, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from streets import HEIGHT, RNG, WIDTH, K, noisy, street

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Frame
from fieldsight.systems.alert.selftest import Report, SelfTest, ground_side


def run(make: Callable[[int], np.ndarray], fps: float = 15.0, seconds: float = 2.2, config: AlertConfig | None = None,
        with_k: bool = True, **known: float) -> Report:  # fmt: skip
    test = SelfTest(config or AlertConfig(), **known)
    for n in range(int(seconds * fps) + 1):
        test.add(Frame(make(n), n / fps, K=K if with_k else None))
        if n % max(1, int(fps / 3)) == 0:
            test.report()
    return test.report()


def outcome(report: Report, name: str) -> str:
    return next(f.outcome for f in report.findings if f.name == name)


def test_a_good_stream_protects() -> None:
    report = run(lambda n: noisy(street(wall=30)))
    assert report.verdict == "protected", report.findings
    assert report.reason == ""
    assert {f.outcome for f in report.findings} == {"ok"}
    assert report.to_dict()["findings"][0] == {"name": "frames", "outcome": "ok", "words": "15 frames a second."}


def test_nothing_yet_and_too_early_to_tell() -> None:
    empty = SelfTest(AlertConfig()).report()
    assert (empty.verdict, outcome(empty, "frames")) == ("checking", "fail")
    assert "sensor" in empty.reason
    assert run(lambda n: noisy(street()), seconds=1.0).verdict == "checking"


@pytest.mark.parametrize(("name", "make", "words"), [
    ("returns", lambda n: np.full((HEIGHT, WIDTH), np.nan, np.float32), "lens is covered"),
    ("returns", lambda n: np.zeros((HEIGHT, WIDTH), np.float32), "sensor is off"),
    ("lens", lambda n: RNG.uniform(0.02, 0.1, (HEIGHT, WIDTH)).astype(np.float32), "Uncover"),
    ("picture", lambda n: street(), "same, bit by bit"),
    ("unit", lambda n: noisy(street()) * 1000, "millimetres"),
    ("orientation", lambda n: np.rot90(noisy(street()), 2), "at the top"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_what_to_do(
    name: str, make: Callable[[int], np.ndarray], words: str
) -> None:  # fmt: skip
    report = run(make)
    assert report.verdict == "not protected"
    assert outcome(report, name) == "fail"
    assert words in report.reason


@pytest.mark.parametrize("pitch", [0.0, 0.2])
@pytest.mark.parametrize(("turns", "side"), [(0, "bottom"), (1, "right"), (2, "top"), (3, "left")])
@pytest.mark.parametrize("with_k", [True, False])
def test_the_ground_is_found_at_each_side(pitch: float, turns: int, side: str, with_k: bool) -> None:
    turned = np.rot90(noisy(street(pitch)), turns)
    matrix = K if turns % 2 == 0 else K[[1, 0, 2]][:, [1, 0, 2]]
    assert ground_side(Frame(turned, 0.0, K=matrix if with_k else None), 1.3) == side


def test_a_wall_ahead_says_nothing_of_the_orientation() -> None:
    report = run(lambda n: noisy(np.full((HEIGHT, WIDTH), 2.0, np.float32)))
    assert outcome(report, "orientation") == "warn"
    assert report.verdict == "protected"  # a warning is no failure


def test_a_house_close_beside_the_way_is_no_ground() -> None:
    """The ground was seen before: a wall 1.3 m to the left looks as the ground would, with the picture turned."""
    test = SelfTest(AlertConfig())
    for n in range(100):
        depth = noisy(street())
        if n > 40:
            depth[50:, 30:] = 1.5  # somebody stands there
            depth[:, :30] = noisy(street(side=1.3))[:, :30]
        test.add(Frame(depth, n / 15, K=K))
        report = test.report()
    assert outcome(report, "orientation") == "ok"


def test_a_picture_that_is_turned_on_the_way_is_noticed() -> None:
    test = SelfTest(AlertConfig())
    for n in range(90):
        depth = noisy(street())
        test.add(Frame(np.rot90(depth, 2) if n > 30 else depth, n / 15, K=K))
        report = test.report() if n % 8 == 0 else None
    report = test.report()
    assert outcome(report, "orientation") == "fail"
    assert report.lost("unplugged").reason.startswith("Unplugged. Look at the sensor")
    assert report.lost("unplugged").reason.endswith("And 1 more: see the self-test.")


def test_few_frames_and_no_intrinsics() -> None:
    few = run(lambda n: noisy(street()), fps=2, seconds=6)
    assert (few.verdict, outcome(few, "frames")) == ("not protected", "fail")
    slow = run(lambda n: noisy(street()), fps=6)
    assert (slow.verdict, outcome(slow, "frames")) == ("protected", "warn")
    blind = run(lambda n: noisy(street()), with_k=False)
    assert outcome(blind, "intrinsics") == "fail"
    assert "--mode paper_dt" in blind.reason
    paper = AlertConfig(mode="paper_dt", period=0.5)
    assert run(lambda n: noisy(street()), with_k=False, config=paper).verdict == "protected"


def test_the_lead_time_is_range_over_speed() -> None:
    report = run(lambda n: noisy(np.minimum(street(), 5.0)), max_range=5.0)
    found = next(f for f in report.findings if f.name == "range")
    assert found.outcome == "warn"
    assert "0.6 s" in found.words
    assert outcome(run(lambda n: noisy(street()), max_range=40.0), "range") == "ok"


def test_what_was_wrong_and_is_mended_protects_again() -> None:
    test = SelfTest(AlertConfig())
    for n in range(100):
        test.add(Frame(street() if n < 40 else noisy(street()), n / 15, K=K))
        if n == 39:
            assert test.report().verdict == "not protected"
    assert test.report().verdict == "protected"


def test_ranges_and_garbage_do_not_break_it() -> None:
    test = SelfTest(AlertConfig(mode="paper_dt", period=0.5))
    for n in range(60):
        test.add(Frame(np.array([[6.0]], np.float32), n / 10))
    report = test.report()
    assert report.verdict == "protected"
    assert "orientation" not in {f.name for f in report.findings}
    for depth in (np.array([["x"]]), np.zeros((0, 4)), np.zeros(4), np.zeros((3, 3), complex)):
        test.add(Frame(depth, 7.0))
    test.add(Frame(np.zeros((8, 12)), math.nan))
    test.add(Frame(np.full((8, 12), 65535, np.uint16), 6.5))
    test.add(Frame(noisy(street()), 1.0))  # the clock went back
    assert test.report().verdict == "checking"
