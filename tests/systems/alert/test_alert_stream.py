"""The wire format: whatever way the bytes are cut, the same frames come; whatever comes, nothing breaks."""

from __future__ import annotations

import contextlib
import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import DataError
from fieldsight.systems.alert.recording import Frame, field_of_view
from fieldsight.systems.alert.stream import MAX_HEADER, Decoder, Dtype, encode


def frames() -> list[Frame]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(6):
        shape = (1, 1) if i == 3 else (4 + i, 6)
        depth = rng.uniform(0.3, 20, shape).astype(np.float32)
        depth[0, 0] = np.nan if i == 2 else depth[0, 0]
        sure = rng.integers(0, 3, shape).astype(np.uint8) if i % 2 else None
        made.append(Frame(depth, 0.1 * i, sure, field_of_view(6, 4) if i > 1 else None, np.eye(4) if i > 2 else None))
    return made


KINDS: tuple[Dtype, ...] = ("<f2", "<f4", "<u2")
MESSAGES = [encode(frame, KINDS[i % 3]) for i, frame in enumerate(frames())]
WHOLE = b"".join(MESSAGES)


def alike(a: Frame, b: Frame, tolerance: float = 0.0) -> bool:
    near = np.allclose(a.depth, b.depth, rtol=tolerance, atol=tolerance, equal_nan=True)
    sure = (a.confidence is None) == (b.confidence is None) and (
        a.confidence is None or np.array_equal(a.confidence, b.confidence)
    )
    lens = (a.K is None) == (b.K is None) and (a.pose is None) == (b.pose is None)
    return bool(near and sure and lens and a.t == b.t and a.depth.shape == b.depth.shape)


def test_frames_come_back() -> None:
    found = Decoder().feed(WHOLE)
    assert len(found) == 6
    for one, two in zip(frames(), found, strict=True):
        assert two.depth.dtype == np.float32
        assert alike(one, two, 1e-3)
    head = json.loads(MESSAGES[3].split(b"\n")[0])
    assert head["shape"] == [1, 1]
    assert head["confidence"] is True
    assert len(head["pose"]) == 16


@given(st.lists(st.integers(0, len(WHOLE)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_split_of_the_bytes_gives_the_same_frames(cuts: list[int]) -> None:
    want = Decoder().feed(WHOLE)
    decoder, found, edges = Decoder(), [], [0, *sorted(cuts), len(WHOLE)]
    for a, b in itertools.pairwise(edges):
        found += decoder.feed(WHOLE[a:b])
    assert len(found) == len(want)
    assert all(alike(x, y) for x, y in zip(want, found, strict=True))
    decoder.close()


@given(
    st.lists(
        st.one_of(st.binary(max_size=200), st.sampled_from([*MESSAGES, b"{", b'{"t":', b"\n", b"}\n"])), max_size=12
    )
)
@settings(max_examples=150, deadline=None)
def test_garbage_never_raises_anything_but_a_data_error(parts: list[bytes]) -> None:
    decoder = Decoder()
    for part in parts:
        for found in decoder.events(part):
            assert isinstance(found, (Frame, DataError))
    with contextlib.suppress(DataError):
        decoder.close()
    assert len(decoder.feed(MESSAGES[0])) == 1


@given(st.binary(min_size=1, max_size=80))
@settings(max_examples=80, deadline=None)
def test_after_garbage_the_next_header_is_found(garbage: bytes) -> None:
    decoder = Decoder()
    found = list(decoder.events(MESSAGES[0] + garbage + b"\n" + MESSAGES[1] + MESSAGES[2]))
    good = [f for f in found if isinstance(f, Frame)]
    assert alike(good[0], frames()[0], 1e-3)
    assert alike(good[-1], frames()[2], 1e-3)
    errors = [f for f in found if isinstance(f, DataError)]
    assert len(errors) <= 1
    if garbage.strip():
        assert len(errors) == 1


@pytest.mark.parametrize("cut", range(1, len(MESSAGES[1]), 7))
def test_a_message_cut_short_costs_itself_only(cut: int) -> None:
    found = list(Decoder().events(MESSAGES[1][:-cut] + MESSAGES[2] + MESSAGES[3]))
    good = [f for f in found if isinstance(f, Frame)]
    assert [f.t for f in good] == [frames()[2].t, frames()[3].t]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"[1, 2]", "begins with"),
        (b"{]", "a line of JSON"),
        (b"{}", "t is None"),
        (b'{"t": NaN, "shape": [1, 1]}', "t is nan"),
        (b'{"t": 1' + b"0" * 400 + b', "shape": [1, 1]}', "t is a huge number"),
        (b'{"t": true, "shape": [1, 1]}', "t is True"),
        (b'{"t": 1, "shape": [1]}', "shape is"),
        (b'{"t": 1, "shape": [-1, -1]}', "shape is"),
        (b'{"t": 1, "shape": [2001, 2000]}', "4 megapixels"),
        (b'{"t": 1, "shape": [100000000000, 100000000000]}', "megapixels"),
        (b'{"t": 1, "shape": [1, 1], "dtype": "<f8"}', "allowed are <f2"),
        (b'{"t": 1, "shape": [1, 1], "dtype": ["<f2"]}', "allowed are <f2"),
        (b'{"t": 1, "shape": [1, 1], "K": [1, 2]}', "9 finite numbers"),
        (b'{"t": 1, "shape": [1, 1], "K": [0, 0, 0, 0, 0, 0, 0, 0, 0]}', "focal lengths above 0"),
        (b'{"t": 1, "shape": [1, 1], "pose": {"a": 1}}', "16 finite numbers"),
        (b'{"t": 1, "shape": [1, 1], "confidence": 1}', "true or false"),
        (b"{" + b" " * MAX_HEADER, "at most 64 kB"),
        (b'{"a":' + b"[" * 30000, "a line of JSON|64 kB"),
    ],
)
def test_a_wrong_header_is_named_and_passed(header: bytes, word: str) -> None:
    decoder = Decoder()
    with pytest.raises(DataError, match=word):
        decoder.feed(header + b"\n" + MESSAGES[0])
    assert len(decoder.feed(b"")) == 1  # what came after it is not lost
    decoder.close()


def test_the_end_of_a_stream_may_be_missing() -> None:
    for cut, word in ((3, "within a frame"), (len(MESSAGES[1]) - 10, "within a header")):
        decoder = Decoder()
        assert decoder.feed(MESSAGES[0] + MESSAGES[1][:-cut]) != []
        with pytest.raises(DataError, match=word):
            decoder.close()


def test_memory_stays_within_the_limits() -> None:
    decoder = Decoder()
    tracemalloc.start()
    for _ in range(40):
        list(decoder.events(b"{" * 50_000))
        list(decoder.events(b'{"t": 1, "shape": [99999, 99999], "dtype": "<f4"}\n'))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_what_can_not_be_sent_is_refused() -> None:
    for frame in (Frame(np.ones((2, 2, 2)), 0.0), Frame(np.ones((2, 2)), np.nan), Frame(np.ones((2001, 2000)), 0.0)):
        with pytest.raises(DataError, match="A frame to send"):
            encode(frame)
