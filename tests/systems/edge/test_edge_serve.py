"""The detection server: frames in, boxes out; garbage, bombs and clients that vanish end in an answer or in nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fieldsight.data.detection.sample import Detections
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge import protocol, routes, serve, server_app, worker
from fieldsight.systems.edge.options_serve import ServeOptions
from fieldsight.systems.edge.protocol import KINDS, Frame, FrameError, decode, jpeg_size, pack, parse, read_answer
from fieldsight.systems.edge.worker import Worker

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
JPEG = pack(PICTURE, "jpeg")


def message(number: int = 1, kind: Any = "jpeg", picture: np.ndarray = PICTURE, **more: Any) -> bytes:
    return Frame(number, 1.5, kind, (picture.shape[0], picture.shape[1]), pack(picture, kind), **more).message()


def line(data: bytes = b"", **words: Any) -> bytes:
    head = {"id": 7, "kind": "raw", "size": [1, 1], "bytes": len(data), **words}
    return json.dumps({k: v for k, v in head.items() if v != "left out"}).encode() + b"\n" + data


# ------------------------------------------------------------------------------------------------ the protocol


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_comes_back_as_it_went(kind: str) -> None:
    found = parse(message(3, kind))
    assert (found.id, found.sent, found.kind, found.size) == (3, 1.5, kind, (48, 64))
    picture = decode(found)
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    if kind != "jpeg":  # all three kinds give the detector the same photo
        np.testing.assert_array_equal(picture, PICTURE)
    assert decode(Frame(0, 0.0, "jpeg", None, JPEG)).shape == (48, 64, 3)


def jpeg_header(high: int, wide: int, scans: int = 1) -> bytes:
    sof = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, high, wide, 3) + bytes(9)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF" + bytes(10) + sof + b"\xff\xda" * scans + bytes(50)


def png_header(high: int, wide: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", wide, high, 8, 2, 0, 0, 0) + bytes(40)


NAN = np.full((3, 2, 2), np.nan, "<f4").tobytes()
BAD = [
    (b"", "begins with a line"), (b"\x00" * 5000, "begins with a line"), (b"{}\n", "id is"), (b"x\n", "no JSON"),
    (b"[]\n", "object"), (b"[" * 500 + b"\n", "JSON"), (b'{"id": NaN}\n', "no JSON"), (line(id=-1), "id is"),
    (line(id=True), "id is"), (line(id=1.0), "id is"), (line(id=2**60), "id is"), (line(id="1"), "id is"),
    (line(kind="png"), "kind is one of"), (line(kind=["raw"]), "kind is one of"), (line(sent="now"), "sent is"),
    (line(sent=1e300), "sent is"), (line(bytes=1), "bytes must be"), (line(bytes=None), "bytes must be"),
    (line(b"abc", bytes=4), "bytes must be"), (line(b"abcd"), "has 3 bytes, 4 came"), (line(size=None), "size is"),
    (line(size=[1, 1, 1]), "size is"), (line(size=[0, 5]), "size is"), (line(size=[1, 100_000]), "size is"),
    (line(size=[True, 1]), "size is"), (line(size=[8000, 8000]), "pixels"), (line(size=[1.0, 1]), "size is"),
    (line(NAN, kind="float32", size=[2, 2]), "in 0-1"),
    (line(np.full((3, 2, 2), 255, "<f4").tobytes(), kind="float32", size=[2, 2]), "in 0-1"),
    (line(np.full((3, 2, 2), -np.inf, "<f4").tobytes(), kind="float32", size=[2, 2]), "in 0-1"),
    (line(b"\xff\xff\x81\x7f" * 12, kind="float32", size=[2, 2]), "in 0-1"),  # signalling NaN
    (line(JPEG, kind="jpeg", size=[48, 65]), "not its size"), (line(JPEG[:900], kind="jpeg", size="left out"), "trunc"),
    (line(jpeg_header(65_500, 65_500), kind="jpeg", size="left out"), "65500 x 65500"),
    (line(jpeg_header(0, 64), kind="jpeg", size="left out"), "64 x 0"),
    (line(jpeg_header(64, 64, scans=1000), kind="jpeg", size="left out"), "scans"),
    (line(jpeg_header(64, 64), kind="jpeg", size="left out"), "truncated or corrupt"),
    (line(png_header(100_000, 100_000), kind="jpeg", size="left out"), "no JPEG"),
    (line(b"\xff\xd8\xff" + b"\xff" * 100_000, kind="jpeg", size="left out"), "header is damaged"),
    (line(b"\xff\xd8\xff\xe0\x00\x00" * 100, kind="jpeg", size="left out"), "header is damaged"),
    (line(b"", kind="jpeg", size="left out"), "no JPEG"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), BAD, ids=range(len(BAD)))
def test_what_is_no_frame_is_named(data: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        decode(parse(data))


def test_a_message_is_too_long_by_one_byte() -> None:
    with pytest.raises(FrameError, match="at most 16 MiB"):
        parse(bytes(protocol.MAX_BYTES + protocol.MAX_HEADER + 1))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=700) | st.builds(lambda j, d: json.dumps(j).encode() + b"\n" + d, st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["id", "kind", "size", "sent", "bytes"]), c)
), st.binary(max_size=20)))  # fmt: skip
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        found = parse(data)
        assert found.kind in KINDS
        assert decode(found).ndim == 3


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 255)), max_size=8), st.integers(1, len(JPEG)))
def test_a_damaged_jpeg_is_a_picture_or_an_error(changes: list[tuple[int, int]], keep: int) -> None:
    data = bytearray(JPEG)
    for at, value in changes:
        data[at] = value
    with contextlib.suppress(FrameError):
        high, wide = jpeg_size(bytes(data[:keep]))
        assert high * wide <= protocol.MAX_PIXELS
        assert decode(Frame(0, 0.0, "jpeg", None, bytes(data[:keep]))).shape[2] == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(KINDS), st.integers(0, 2**53 - 1), st.floats(-1e9, 1e9))
def test_frames_of_all_sizes_come_back(high: int, wide: int, kind: Any, number: int, sent: float) -> None:
    picture = np.arange(high * wide * 3, dtype=np.uint32).astype(np.uint8).reshape(high, wide, 3)
    found = parse(Frame(number, sent, kind, (high, wide), pack(picture, kind)).message())
    assert (found.id, found.sent) == (number, sent)
    assert decode(found).shape == (high, wide, 3)


GOOD = {"id": 1, "boxes": [[1, 2, 3, 4]], "scores": [0.5], "labels": [2],
        "received": 1, "started": 2, "decoded": 2, "finished": 2.25, "sent": 3}  # fmt: skip


def test_answers_are_read_and_checked() -> None:
    found = read_answer(json.dumps(GOOD))
    assert found is not None
    assert found.found is not None
    assert found.found.boxes.tolist() == [[1, 2, 3, 4]]
    assert (found.processing_ms, found.waiting_ms) == (250.0, 1000.0)
    assert read_answer('{"kind": "hello"}') is None
    dropped = read_answer('{"id": 3, "dropped": "newer"}')
    assert dropped is not None
    assert dropped.dropped
    for change in ({"boxes": [[1, 2]]}, {"boxes": "x"}, {"scores": []}, {"labels": ["x"]}, {"sent": 0},
                   {"started": "x"}, {"decoded": None}, {"sent": True}):  # fmt: skip
        with pytest.raises(DataError):
            read_answer(json.dumps({**GOOD, **change}))
    with pytest.raises(DataError, match="refused: full"):
        read_answer('{"kind": "refused", "reason": "full"}')


@settings(max_examples=100, deadline=None)
@given(
    st.text()
    | st.dictionaries(
        st.sampled_from([*GOOD, "error", "kind"]),
        st.none() | st.floats() | st.integers() | st.lists(st.lists(st.floats(width=16), max_size=4), max_size=2),
    ).map(json.dumps)
)
def test_any_text_is_an_answer_or_an_error(text: str) -> None:
    with contextlib.suppress(DataError):
        read_answer(text)


# -------------------------------------------------------------------------------------------------- the worker


class Fake:
    """A detector whose boxes depend on the photo; it can be slow, broken, and held back."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.seen: list[int] = []
        self.begun = 0

    def __call__(self, picture: np.ndarray) -> Detections:
        self.begun += 1
        assert self.go.wait(10)
        first = int(picture[0, 0, 0])
        self.seen.append(first)
        if first == 13:
            raise ValueError("unlucky")
        if first == 14:
            return Detections.of([[np.nan, 0, 1, 1]], [0.5], [0])
        count = 300 if first == 200 else 1
        return Detections.of([[1, 2, picture.shape[1] / 2, 30]] * count, [0.75] * count, [0] * count)


def plain(value: int) -> np.ndarray:
    return np.full((32, 32, 3), value, np.uint8)


def raw(number: int, value: int) -> Frame:
    return Frame(number, 0.0, "raw", (32, 32), plain(value).tobytes())


def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.005)


@contextlib.contextmanager
def working(fake: Any, **more: Any) -> Iterator[Worker]:
    made = Worker(lambda: fake, **more)
    try:
        yield made
    finally:
        if isinstance(fake, Fake):
            fake.go.set()
        made.close()
        assert made._thread is None or not made._thread.is_alive()


def test_clients_take_turns_and_the_oldest_frames_are_dropped() -> None:
    fake, told = Fake(), {"greedy": [], "modest": []}  # type: ignore[var-annotated]
    fake.go.clear()
    with working(fake, depth=2) as made:
        greedy, modest = (made.open(name, told[name].append) for name in told)
        made.put(greedy, raw(0, 1), 0.0)
        until(lambda: not greedy.waiting)  # it is being looked at
        for n in range(1, 8):
            made.put(greedy, raw(n, 2), 0.0)
        for n in range(2):
            made.put(modest, raw(n, 3), 0.0)
        assert [w["id"] for w in told["greedy"]] == [1, 2, 3, 4, 5]  # dropped at once, oldest first
        assert all("dropped" in w for w in told["greedy"])
        fake.go.set()
        until(lambda: len(fake.seen) == 5 and made.status()["answered"] == 5)
        assert fake.seen == [1, 2, 3, 2, 3]
        assert [w["id"] for w in told["greedy"][5:]] == [0, 6, 7]
        assert [w["id"] for w in told["modest"]] == [0, 1]
        assert (greedy.dropped, modest.dropped, made.status()["dropped"]) == (5, 0, 5)


def test_who_has_gone_is_forgotten() -> None:
    fake, told = Fake(), []  # type: ignore[var-annotated]
    fake.go.clear()
    with working(fake, depth=4) as made:
        gone, stays = made.open("gone", told.append), made.open("stays", told.append)
        for n in range(3):
            made.put(gone, raw(n, 1), 0.0)
        made.put(stays, raw(9, 2), 0.0)
        until(lambda: len(gone.waiting) == 2)
        made.leave(gone)
        made.leave(gone)  # twice does no harm
        made.put(gone, raw(5, 1), 0.0)
        fake.go.set()
        until(lambda: made.answered == 2)
        assert fake.seen == [1, 2]
        assert made.status() == {"clients": 1, "waiting": 0, "answered": 2, "dropped": 0, "bad": 0, "problem": ""}
        assert made._bytes == 0


def test_a_detector_that_fails_tells_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []  # type: ignore[var-annotated]
    with working(Fake()) as made:
        one = made.open("one", told.append, depth=9)
        for n, value in enumerate((13, 14, 1)):
            made.put(one, raw(n, value), 0.0)
        until(lambda: len(told) == 3)
        assert ["unlucky" in str(told[0]), "no numbers" in str(told[1]), "boxes" in told[2]] == [True] * 3
    with pytest.raises(worker.FullError, match="closing"):
        made.open("late", told.append)

    def broken() -> Any:
        raise DataError("no weights")

    other = Worker(broken)
    other.put(other.open("x", told.append), raw(4, 1), 0.0)
    until(lambda: len(told) == 4)
    assert "no weights" in told[3]["error"]
    assert other.status()["problem"]
    other.close()
    monkeypatch.setattr(worker, "MOST_BYTES", 7000)  # two frames of 3072 bytes
    fake = Fake()
    fake.go.clear()
    with working(fake, depth=9) as made:
        first, second = made.open("1", told.append), made.open("2", told.append)
        made.put(first, raw(0, 1), 0.0)
        until(lambda: not first.waiting)
        for n in range(5):
            made.put(first, raw(n, 1), 0.0)
            made.put(second, raw(n, 2), 0.0)
        assert made._bytes <= 7000
        assert len(first.waiting) == len(second.waiting) == 1  # neither can push out the other


# -------------------------------------------------------------------------------------------------- the server


@dataclass
class Live:
    app: Any
    address: str
    fake: Fake = field(default_factory=Fake)

    @property
    def shared(self) -> server_app.Server:
        return self.app.state.edge

    def connect(self, path: str = "/ws", **more: Any) -> ClientConnection:
        return connect(self.address.replace("http", "ws") + path, compression=None, **more)

    def tasks(self) -> int:
        return int(httpx.get(self.address + "/tasks").json())


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from fieldsight.studio import serve as web

    async def tasks(request: Any) -> Any:
        return JSONResponse(len(asyncio.all_tasks()))

    app.router.routes.append(Route("/tasks", tasks))
    with contextlib.closing(web.take("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that a slow reader is soon felt
        stop, ready = web.Stop(), threading.Event()
        thread = threading.Thread(target=web.run, args=(app, "127.0.0.1", listening, stop, ready.set, lambda: None),
                                  kwargs=serve.uvicorn_settings(), daemon=True)  # fmt: skip
        thread.start()
        assert ready.wait(10)
        yield web.address_of("127.0.0.1", listening)
        stop.server.should_exit = True
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    fake = Fake()
    app = server_app.build(server_app.Server(Worker(lambda: fake), ("robot", "chair"), "a fake"))
    with serving(app) as address:
        yield Live(app, address, fake)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the server has no client, no task and no thread more than before."""
    if "server" not in request.fixturenames:
        yield
        return
    live = request.getfixturevalue("server")
    live.fake.go.set()
    before, threads = live.tasks(), threading.active_count()
    yield
    live.fake.go.set()
    until(lambda: live.shared.worker.status()["clients"] == 0)
    until(lambda: live.tasks() <= before)
    until(lambda: threading.active_count() <= threads + 6)  # asyncio's own pool may have grown
    assert live.shared.worker._bytes == 0
    assert live.shared.posts == 0


def hello(client: ClientConnection) -> dict[str, Any]:
    return json.loads(client.recv(timeout=5))


def ask(client: ClientConnection, data: bytes | str) -> dict[str, Any]:
    client.send(data)
    return json.loads(client.recv(timeout=5))


def test_frames_of_every_kind_are_answered(server: Live) -> None:
    with server.connect() as client:
        assert hello(client)["classes"] == ["robot", "chair"]
        for number, kind in enumerate(KINDS):
            answer = ask(client, message(number, kind))
            assert (answer["id"], answer["client"], answer["size"]) == (number, 1.5, [48, 64])
            assert answer["boxes"] == [[1, 2, 32, 30]]
            found = read_answer(json.dumps(answer))
            assert found is not None
            assert found.found is not None
            assert 0 <= found.processing_ms < 5000
        client.send(message(9)[:200])
        assert "bytes must be" in json.loads(client.recv(timeout=5))["error"]


def test_garbage_is_answered_and_good_frames_after_it_too(server: Live) -> None:
    with server.connect() as client, server.connect() as other:
        hello(client), hello(other)
        for data, words in BAD:
            answer = ask(client, data)
            assert set(answer) == {"id", "error"}, answer
            assert answer["error"]
            assert answer["id"] == 7 or words not in ("in 0-1", "truncated or corrupt")
        assert "binary" in ask(client, "text")["error"]
        for value, words in ((13, "unlucky"), (14, "no numbers")):
            assert words in ask(client, message(2, "raw", plain(value)))["error"]
        assert ask(client, message(3))["id"] == ask(other, message(3))["id"] == 3
    status = httpx.get(server.address + "/health")
    assert status.status_code == 200
    assert status.json()["bad"] >= len(BAD)


def test_a_stream_that_is_too_fast_is_thinned_not_queued(server: Live) -> None:
    with server.connect() as client:
        hello(client)
        server.fake.go.clear()
        begun = server.fake.begun
        for number in range(30):
            client.send(message(number, "raw", plain(1)))
            until(lambda: server.fake.begun > begun)
        dropped = [json.loads(client.recv(timeout=5)) for _ in range(28)]
        assert all("dropped" in w for w in dropped)
        assert [w["id"] for w in dropped] == list(range(1, 29))
        server.fake.go.set()
        assert [json.loads(client.recv(timeout=5))["id"] for _ in range(2)] == [0, 29]


def handshake(server: Live) -> socket.socket:
    host, port = server.address.removeprefix("http://").split(":")
    raw_socket = socket.socket()
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw_socket.connect((host, int(port)))
    raw_socket.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert b"101" in raw_socket.recv(300)
    return raw_socket


def masked(data: bytes, length: int | None = None) -> bytes:
    return b"\x82\xff" + struct.pack(">Q", len(data) if length is None else length) + bytes(4) + data


def test_clients_that_vanish_leave_nothing_behind(server: Live) -> None:
    for way in range(4):
        raw_socket = handshake(server)
        if way == 1:
            raw_socket.sendall(masked(message(1)[:300], 1_000_000))  # in mid-frame
        elif way == 2:
            begun = server.fake.begun
            server.fake.go.clear()  # while its frame is looked at, and another waits
            raw_socket.sendall(masked(message(1)))
            until(lambda: server.fake.begun > begun)  # noqa: B023
            raw_socket.sendall(masked(message(2)))
            until(lambda: server.shared.worker.status()["waiting"] == 1)
        elif way == 3:
            raw_socket.sendall(b"\xff\xff\xff\xff garbage where a frame of the socket should begin")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye
        raw_socket.close()
        until(lambda: server.shared.worker.status()["clients"] == 0)
        server.fake.go.set()
    with server.connect() as client:
        hello(client)
        assert ask(client, message(3))["id"] == 3


def test_a_client_that_reads_nothing_stops_nobody_and_is_let_go(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "SLOW", 0.3)
    slow, large, ended = handshake(server), masked(message(1, "raw", plain(200))), threading.Event()

    def flood() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.004):
                slow.sendall(large)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        with server.connect() as client:
            hello(client)
            for number in range(5):
                assert ask(client, message(number))["id"] == number
            until(lambda: server.shared.worker.status()["clients"] == 1, 10)  # the slow one is no client any more
            assert ask(client, message(6))["id"] == 6
    finally:
        ended.set()
        slow.close()
        thread.join(5)


def test_twenty_clients_at_once_and_then_it_is_full(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[int, list[int]] = {}

    def work(name: int) -> None:
        with server.connect(f"/ws?name={name}") as client:
            hello(client)
            found[name] = [ask(client, message(n, "raw", plain(1)))["id"] for n in range(5)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {n: list(range(5)) for n in range(20)}
    monkeypatch.setattr(worker, "MOST", 1)
    until(lambda: server.shared.worker.status()["clients"] == 0)
    with server.connect() as one, server.connect() as other:
        told = [hello(one), hello(other)]
        assert [w["kind"] for w in told] == ["hello", "refused"]
        with pytest.raises(ConnectionClosed):
            other.recv(timeout=3)


def test_there_is_a_most_of_bytes_and_messages(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.connect() as client:
        hello(client)
        with pytest.raises(ConnectionClosed) as closed:
            client.send(bytes(protocol.MAX_BYTES + protocol.MAX_HEADER + 1))
            client.recv(timeout=5)
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    monkeypatch.setattr(server_app, "MAX_RATE", 20)
    with server.connect() as client, pytest.raises(ConnectionClosed):
        for _ in range(60):
            client.send("x")
        while True:
            client.recv(timeout=5)


def test_one_photo_by_http(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.address + "/predict"
    assert httpx.post(url, content=JPEG).json()["boxes"] == [[1, 2, 32, 30]]
    framed = {"content-type": "application/octet-stream"}
    for kind in KINDS:
        got = httpx.post(url, content=message(5, kind), headers=framed)
        assert (got.status_code, got.json()["id"]) == (200, 5)
    for content, headers, code in (
        (b"", {}, 400), (b"GIF89a", {}, 400), (JPEG[:700], {}, 400), (png_header(100_000, 100_000), {}, 400),
        (jpeg_header(65_500, 65_500), {}, 400), (JPEG, framed, 400),
        (line(NAN, kind="float32", size=[2, 2]), framed, 400),
        (iter([bytes(2**20)] * 17), {}, 413), (JPEG, {"origin": "https://evil.example"}, 403),
        (JPEG, {"host": "evil.example"}, 400),
    ):  # fmt: skip
        got = httpx.post(url, content=content, headers=headers)
        assert got.status_code == code, (content, got.text)
    assert httpx.get(url).status_code == 405
    monkeypatch.setattr(server_app, "UPLOAD", 0.2)
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9999\r\n\r\nxx".encode())
        assert b"408" in half.recv(100)
    with socket.create_connection((host, int(port))) as gone:
        gone.sendall(f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9999\r\n\r\nxx".encode())
        until(lambda: server.shared.posts == 1)
    until(lambda: server.shared.posts == 0)
    monkeypatch.setattr(server_app, "MOST_POSTS", 0)
    assert httpx.post(url, content=JPEG).status_code == 503


def test_other_sites_and_strangers_are_kept_out(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidStatus):
        server.connect(origin="https://evil.example").close()
    with pytest.raises(InvalidStatus):
        server.connect(additional_headers={"Host": "evil.example"}).close()
    with server.connect(origin=server.address) as own:
        hello(own)
    monkeypatch.setattr(server.shared, "token", "höchst geheim")
    for query in ("", "?token=", "?token=geheim"):
        with server.connect("/ws" + query) as stranger:
            assert hello(stranger)["kind"] == "refused"
            with pytest.raises(ConnectionClosed):
                stranger.recv(timeout=3)
    with server.connect("/ws?token=h%C3%B6chst%20geheim") as friend:
        assert hello(friend)["kind"] == "hello"
    assert httpx.post(server.address + "/predict", content=JPEG).status_code == 403
    asked = httpx.post(server.address + "/predict", content=JPEG, params={"token": "höchst geheim"})
    assert asked.status_code == 200


def test_the_page_comes_whole_and_reaches_nothing_else(server: Live) -> None:
    got = httpx.get(server.address)
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    assert "http://" not in got.text
    assert "https://" not in got.text
    assert "innerHTML" not in got.text
    assert " onclick=" not in got.text
    assert "__VERSION__" not in got.text
    for path in ("/docs", "/openapi.json", "/../../etc/passwd"):
        assert httpx.get(server.address + path).status_code == 404


def test_the_same_server_stands_in_the_studio(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import FastAPI

    loaded: list[int] = []
    made = Worker(lambda: Fake())
    monkeypatch.setattr(routes, "_server", lambda: loaded.append(1) or server_app.Server(made, ("robot",)))
    app = FastAPI()
    routes.routes(app)
    with serving(app) as address:
        assert "Edge detector" in httpx.get(address + "/edge/live").text
        assert not loaded  # no model before the first client
        for _ in range(2):
            with connect(address.replace("http", "ws") + "/edge/live/ws") as client:
                assert hello(client)["classes"] == ["robot"]
                assert ask(client, message(1))["id"] == 1
        assert httpx.post(address + "/edge/live/predict", content=JPEG).status_code == 200
        assert httpx.get(address + "/edge/live/health").json()["ok"]
        assert len(loaded) == 1
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=[
            "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        ])  # fmt: skip
        yield running
        running.close()


@pytest.mark.studio
@pytest.mark.xdist_group("browser")
def test_a_browser_sends_its_camera_and_draws_the_boxes(server: Live, browser: Any) -> None:
    page, wrong = browser.new_page(), []  # type: ignore[var-annotated]
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.goto(server.address)
    page.click("#camera")
    until(lambda: " ms" in page.inner_text("#rtt"), 20)
    until(lambda: page.inner_text("#count") == "1")
    assert "a fake" in page.inner_text("#about")
    assert page.inner_text("#work").endswith(" ms")
    assert page.evaluate("document.getElementById('picture').width") == 640
    # the box of the detector, 1, 2 to the frame's middle and 30, drawn in the first colour
    assert page.evaluate(
        "[...document.getElementById('picture').getContext('2d').getImageData(100, 30, 1, 1).data]"
    ) == [255, 176, 0, 255]
    page.click("#stop")
    until(lambda: server.shared.worker.status()["clients"] == 0)
    page.set_input_files("#file", {"name": "x.mp4", "mimeType": "video/mp4", "buffer": b"junk"})
    until(lambda: "can not play" in page.inner_text("#help"))
    page.close()
    assert not [w for w in wrong if "favicon" not in w], wrong


# ---------------------------------------------------------------------------------------------------- the verb


def model(fake: Callable[..., Any] | None = None) -> Any:
    found = fake or Fake()
    return SimpleNamespace(classes=("robot",), describe=lambda: "a fake", find=lambda picture, options: found(picture),
                           config=SimpleNamespace(data=SimpleNamespace(world="arena")))  # fmt: skip


def test_the_verb_says_where_it_is_and_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fieldsight.studio import serve as web

    asked: dict[str, Any] = {}

    def run(app: Any, host: str, listening: Any, stop: Any, started: Any, stopping: Any, **more: Any) -> bool:
        asked.update(more, app=app)
        started()
        return True

    monkeypatch.setattr(web, "run", run)
    done = serve.serve(model(), ServeOptions(port=0, token="a b"))
    assert done.exit_code == 0
    assert capsys.readouterr().out == f"Serving: {done.address}/#token=a%20b\n"
    assert asked["ws_max_size"] < 17 * 2**20
    assert asked["ws_per_message_deflate"] is False
    assert asked["app"].state.edge.token == "a b"
    serve.serve(model(), ServeOptions(port=0, host="0.0.0.0"))
    told = capsys.readouterr().err
    assert "without TLS" in told
    assert "--token SECRET" in told
    options = []
    found = serve.finder(SimpleNamespace(find=lambda p, o: options.append(o)), ServeOptions(conf=0.4, most=7))()  # type: ignore[arg-type]
    found(PICTURE)
    assert [(o.conf, o.iou, o.most) for o in options] == [(0.4, None, 7)] * 2  # warmed up once


def test_what_can_not_be_served_is_told_first(tmp_path: Any) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="is taken.*fieldsight edge serve --port"):
            serve.serve(model(), ServeOptions(port=taken.getsockname()[1]))
    with pytest.raises(ConfigError, match="give both"):
        ServeOptions.parse({"tls_cert": "x.pem"})
    junk = tmp_path / "x.pem"
    junk.write_text("junk")
    with pytest.raises(ConfigError, match="can't read"):
        serve.serve(model(), ServeOptions(port=0, tls_cert=junk, tls_key=tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="no certificate and its key"):
        serve.serve(model(), ServeOptions(port=0, tls_cert=junk, tls_key=junk))
    assert 'token = "secret"' not in ServeOptions(token="secret").to_toml()
