"""Following objects: numbers stay through crossings, short occlusions and missed frames; the second look is needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import Detections
from fieldsight.detection import tracking
from fieldsight.detection.tracking import Tracker, TrackOptions
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError

OPTIONS = TrackOptions(buffer=30)


def box(cx: float, cy: float, wide: float = 40, high: float = 60) -> list[float]:
    return [cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2]


def frame(*rows: tuple[list[float], float, int]) -> Detections:
    return Detections.of([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def followed(tracker: Tracker, frames: Iterator[dict[str, tuple[list[float], float]]]) -> dict[str, list[int]]:
    """The numbers that drawn objects got, frame by frame; 0 where an object's box was not told."""
    seen: dict[str, list[int]] = {}
    for n, objects in enumerate(frames):
        names = list(objects)
        told, ids = tracker.step(frame(*((b, s, 0) for b, s in objects.values())))
        assert len(ids) == len(told)
        for name in names:
            own = np.float32(objects[name][0])
            place = [k for k in range(len(told)) if np.array_equal(told.boxes[k], own)]
            seen.setdefault(name, [-1] * n).append(int(ids[place[0]]) if place else 0)
        for name in seen.keys() - set(names):
            seen[name].append(-1)
    return seen


def jitter(name: str, n: int, size: float = 1.0) -> np.ndarray:
    return rng_for(name, n, "jitter").normal(0, size, 4)


# ------------------------------------------------------------------------------------------------ what must hold


def test_two_objects_cross() -> None:
    def scene() -> Iterator[dict[str, tuple[list[float], float]]]:
        for n in range(50):
            right = np.array(box(50 + 6 * n, 200)) + jitter("a", n)
            left = np.array(box(350 - 6 * n, 214)) + jitter("b", n)
            yield {"right": (right.tolist(), 0.9), "left": (left.tolist(), 0.85)}

    seen = followed(Tracker(OPTIONS), scene())
    assert set(seen["right"]) == {1}
    assert set(seen["left"]) == {2}


def test_a_short_occlusion_and_missed_frames_keep_the_number() -> None:
    hidden = {*range(12, 20), 25, 26, 31}

    def scene() -> Iterator[dict[str, tuple[list[float], float]]]:
        for n in range(45):
            objects = {"still": ((np.array(box(500, 100)) + jitter("s", n)).tolist(), 0.8)}
            if n not in hidden:
                objects["car"] = ((np.array(box(60 + 5 * n, 200 + 2 * n)) + jitter("c", n)).tolist(), 0.9)
            yield objects

    seen = followed(Tracker(OPTIONS), scene())
    assert set(seen["car"]) - {-1} == {2}
    assert set(seen["still"]) == {1}


def test_a_track_that_was_lost_too_long_ends_and_its_number_is_not_used_again() -> None:
    tracker = Tracker(TrackOptions(buffer=4))
    seen = followed(tracker, ({"a": (box(100, 100), 0.9)} if not 5 <= n < 11 else {} for n in range(16)))
    assert seen["a"][:5] == [1] * 5
    assert seen["a"][11:] == [0, 2, 2, 2, 2]  # in the first frame not sure yet
    kept = Tracker(TrackOptions(buffer=6))
    assert set(followed(kept, ({"a": (box(100, 100), 0.9)} if not 5 <= n < 11 else {} for n in range(16)))["a"]) == {
        1,
        -1,
    }


def dim_scene() -> Iterator[dict[str, tuple[list[float], float]]]:
    """A walker whose score falls while it is half hidden and turns round there, as ByteTrack's figure 2 has it."""
    x = 60.0
    for n in range(60):
        x += 5.0 if n < 25 else -5.0
        yield {"walker": ((np.array(box(x, 200)) + jitter("w", n, 0.5)).tolist(), 0.25 if 15 <= n < 38 else 0.9)}


def test_low_scores_are_looked_at_a_second_time() -> None:
    seen = followed(Tracker(OPTIONS), dim_scene())
    assert set(seen["walker"]) == {1}


def test_without_the_second_look_the_same_scene_breaks() -> None:
    """The control: with ``low`` at ``high`` there is no second look, and the walker gets another number."""
    seen = followed(Tracker(TrackOptions(high=0.6, low=0.6, buffer=30)), dim_scene())
    assert set(seen["walker"][15:38]) == {0}  # nor are its boxes told
    assert seen["walker"][-1] == 2


def test_low_scores_begin_nothing_and_alone_are_not_told() -> None:
    tracker = Tracker(OPTIONS)
    for _ in range(5):
        told, ids = tracker.step(frame((box(50, 50), 0.4, 0), (box(200, 50), 0.05, 0)))
        assert len(told) == len(ids) == 0
    told, ids = tracker.step(frame((box(50, 50), 0.65, 0)))  # high, but below start
    assert ids.tolist() == [0]


def test_a_box_seen_once_gets_no_number_and_leaves_no_gap() -> None:
    tracker = Tracker(OPTIONS)
    tracker.step(frame((box(50, 50), 0.9, 0)))
    _, ids = tracker.step(frame((box(50, 50), 0.9, 0), (box(400, 300), 0.9, 0)))
    assert ids.tolist() == [1, 0]
    tracker.step(frame((box(50, 50), 0.9, 0)))  # the second was a flash
    tracker.step(frame((box(50, 50), 0.9, 0), (box(200, 200), 0.9, 0)))
    _, ids = tracker.step(frame((box(50, 50), 0.9, 0), (box(200, 200), 0.9, 0)))
    assert ids.tolist() == [1, 2]


def test_classes_do_not_mix_unless_told() -> None:
    for agnostic, wanted in ((False, [1, 0]), (True, [1, 1])):
        tracker = Tracker(TrackOptions(agnostic=agnostic))
        numbers = [int(tracker.step(frame((box(50, 50), 0.9, label)))[1][0]) for label in (0, 1)]
        assert numbers == wanted


def test_boxes_stay_the_detectors_own_in_their_order() -> None:
    tracker = Tracker(OPTIONS)
    first = frame((box(300, 50), 0.7, 2), (box(50, 50), 0.95, 1), (box(180, 80), 0.9, 1))
    told, ids = tracker.step(first)
    assert ids.tolist() == [1, 2, 3]
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(told, name), getattr(first, name))
    second = frame((box(181, 80), 0.3, 1), (box(301, 50), 0.7, 2), (box(51, 50), 0.95, 1))
    told, ids = tracker.step(second)
    assert ids.tolist() == [3, 1, 2]
    assert np.array_equal(told.boxes, second.boxes)


# ------------------------------------------------------------------------------------------------ the filter


def test_four_filters_of_two_equal_the_filter_of_eight() -> None:
    """The textbook Kalman filter with full 8 x 8 matrices gives the same state and spread."""
    rng = rng_for(0, "kalman")
    F, H = np.eye(8), np.eye(4, 8)
    F[:4, 4:] = np.eye(4)

    def std(h: float, length: float, other: float) -> list[float]:
        return [length * h, length * h, other, length * h]

    z = np.array([100.0, 80.0, 0.6, 50.0])
    tracks = tracking._begun(z[None], np.zeros(1, np.int64), np.ones(1, np.int64))
    mean = np.concatenate([z, np.zeros(4)])
    P = np.diag([*std(50, 2 / 20, 1e-2), *std(50, 10 / 160, 1e-5)]) ** 2
    for _ in range(12):
        Q = np.diag([*std(mean[3], 1 / 20, 1e-2), *std(mean[3], 1 / 160, 1e-5)]) ** 2
        mean, P = F @ mean, F @ P @ F.T + Q
        tracks = tracking._moved(tracks)
        z = z + rng.normal(0, [3, 2, 0.02, 1])
        R = np.diag(std(mean[3], 1 / 20, 1e-1)) ** 2
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        mean, P = mean + K @ (z - H @ mean), P - K @ H @ P
        m, s = tracking._corrected(tracks.mean, tracks.spread, z[None])
        tracks = tracking._Tracks(tracks.id, tracks.label, tracks.unseen, m, s)
        np.testing.assert_allclose(tracks.mean[0].T.ravel(), mean, rtol=1e-9)
        np.testing.assert_allclose(tracks.spread[0, :, 0], np.diag(P)[:4], rtol=1e-9)
        np.testing.assert_allclose(tracks.spread[0, :, 1], np.diag(P[:4, 4:]), rtol=1e-9)
        np.testing.assert_allclose(tracks.spread[0, :, 2], np.diag(P)[4:], rtol=1e-9)


def test_a_steady_movement_is_learned() -> None:
    tracker = Tracker(OPTIONS)
    for n in range(30):
        tracker.step(frame((box(50 + 7 * n, 90 - 2 * n), 0.9, 0)))
    np.testing.assert_allclose(tracker._tracks.mean[0, :2, 1], [7, -2], atol=0.05)
    ahead = tracking._moved(tracker._tracks).boxes()[0]
    np.testing.assert_allclose(ahead, box(50 + 7 * 30, 90 - 2 * 30), atol=0.5)


# ------------------------------------------------------------------------------------------------ bad input

numbers = st.floats(-1e4, 1e4, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 3e38])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(*[numbers] * 4, st.floats(0, 1), st.integers(0, 2)), max_size=6), max_size=6))
def test_whatever_boxes_come_numbers_are_unique_and_without_gap(frames: list[list[tuple[float, ...]]]) -> None:
    runs = []
    for _ in range(2):
        tracker, told_ids, top = Tracker(TrackOptions(high=0.5, start=0.5)), [], 0
        for rows in frames:
            found = Detections.of([r[:4] for r in rows], [r[4] for r in rows], [r[5] for r in rows])
            told, ids = tracker.step(found)
            assert len(told) == len(ids) >= int((found.scores >= 0.5).sum())
            own = ids[ids > 0]
            assert len(set(own.tolist())) == len(own)
            assert set(own.tolist()) - set(range(1, top + 1)) == set(range(top + 1, max([top, *own.tolist()]) + 1))
            top = max([top, *own.tolist()])
            told_ids.append(ids.tolist())
        runs.append(told_ids)
    assert runs[0] == runs[1]


def test_options_out_of_range() -> None:
    for bad, words in (
        ({"iou": 1.5}, "iou of the tracker is 1.5"),
        ({"low": 0.7}, "must not fall"),
        ({"start": 0.5}, "must not fall"),
        ({"buffer": 0}, "buffer"),
        ({"high": float("nan")}, "high of the tracker is nan"),
    ):
        with pytest.raises(ConfigError, match=words):
            TrackOptions(**bad)
    assert TrackOptions.at(0.25) == TrackOptions(high=0.25, low=0.1, start=0.25)
