"""The live server: frames in, states out, and the plain word when nobody watches."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from streets import K, approach, noisy, street
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fieldsight.errors import ConfigError, DataError
from fieldsight.studio.live import Listening
from fieldsight.systems.alert import live, live_app, live_sources, live_view, routes, watching
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.options import LiveOptions
from fieldsight.systems.alert.recording import Frame, of_arrays
from fieldsight.systems.alert.state import AlertState
from fieldsight.systems.alert.stream import encode
from fieldsight.systems.alert.watching import Feed, Hub, Lateness, View

SURFACE = {
    "speed": [-3.0, -2.0, -1.0], "tti": [2.0, 4.0], "precision": [[1.0, 0.8], [0.9, 0.7], [0.8, 0.6]],
    "recall": [[0.4, 0.6], [0.6, 0.8], [0.8, None]], "missed": [[0.6, 0.4], [0.4, 0.2], [0.2, 0.0]],
    "false_per_minute": [[0, 1], [1, 2], [2, 3]], "on": "200 simulated approaches (drawn)",
}  # fmt: skip


@dataclass
class Live:
    app: Any
    address: str

    @property
    def hub(self) -> Hub:
        return self.app.state.alert.hub

    def connect(self, path: str, **more: Any) -> ClientConnection:
        return connect(self.address.replace("http", "ws") + path, max_size=None, max_queue=None, **more)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[Live]:
    import uvicorn

    from fieldsight.studio.serve import take

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    with contextlib.closing(take("127.0.0.1", 0)) as listening:
        server = Server(uvicorn.Config(
            app, log_level="critical", timeout_graceful_shutdown=1, ws="websockets-sansio", ws_max_size=9 * 2**20
        ))  # fmt: skip
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.02)
            assert thread.is_alive()
        yield Live(app, f"http://127.0.0.1:{listening.getsockname()[1]}")
        server.should_exit = True
        thread.join(5)


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with serving(live_app.build(AlertConfig(), SURFACE)) as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody_is_missed(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").hub.feeds.clear()


def frame(depth: np.ndarray, t: float) -> bytes:
    return encode(Frame(noisy(depth), t, K=K))


def tell(sender: ClientConnection, data: bytes | str) -> dict[str, Any]:
    """The answer to a message; that nobody watches may be told between."""
    sender.send(data)
    while True:
        answer = json.loads(sender.recv(timeout=5))
        if answer["kind"] != "lost":
            return answer


def words(viewer: ClientConnection, wanted: Callable[[dict[str, Any]], bool], seconds: float = 3.0) -> dict[str, Any]:
    """The first message of a kind; pictures are left out."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        message = viewer.recv(timeout=max(0.01, end - time.monotonic()))
        if isinstance(message, str):
            last = json.loads(message)
            if wanted(last):
                return last
    raise AssertionError(f"not told within {seconds} s; last was {last}")


def a_picture(viewer: ClientConnection, more: Callable[[], object], seconds: float = 8.0) -> bytes:
    """The next picture; ``more`` sends another frame, since a slow viewer is sent only some of them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        more()
        until = time.monotonic() + 0.4
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                message = viewer.recv(timeout=left)
                if isinstance(message, bytes):
                    return message
    raise AssertionError(f"no picture within {seconds} s")


def is_state(state: str, reason: str = "") -> Callable[[dict[str, Any]], bool]:
    return lambda w: w["kind"] == "state" and w["state"] == state and reason in w["reason"]


# ------------------------------------------------------------------------------------------------ the page


def test_the_page_comes_whole_and_reaches_nothing_else(server: Live) -> None:
    got = httpx.get(server.address)
    assert got.status_code == 200
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    text = got.text
    assert "This is no safety device" in text
    assert not {"__NOTICE__", "__VERSION__"} & set(text.split())
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert " onclick=" not in text
    assert httpx.get(server.address + "/docs").status_code == 404
    assert httpx.get(server.address + "/../../etc/passwd").status_code == 404


def test_the_page_is_a_part_of_the_package(root: Path) -> None:
    from importlib import resources

    assert resources.files("fieldsight.systems.alert").joinpath("live.html").is_file()


def test_the_same_page_stands_in_the_studio(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import FastAPI

    loaded = []
    monkeypatch.setattr(
        routes, "_server", lambda: loaded.append(1) or live_app.Server(Hub(AlertConfig(mode="track"), SURFACE))
    )
    app = FastAPI()
    routes.routes(app)
    with serving(app) as running:
        assert "NOT WATCHING" in httpx.get(running.address + "/alert/live").text
        assert not loaded  # no engine before the first client
        for _ in range(2):
            with running.connect("/alert/live/watch") as viewer:
                hello = json.loads(viewer.recv())
                assert (hello["kind"], hello["mode"]) == ("hello", "track")
        assert len(loaded) == 1
        assert httpx.get(running.address + "/alert/live/health").status_code == 503


# ------------------------------------------------------------------------------------------------ frames and states


def test_frames_are_judged_and_an_approach_is_an_alarm(server: Live) -> None:
    with server.connect("/feed?name=chest") as sender, server.connect("/watch") as viewer:
        assert json.loads(sender.recv())["feed"] == "chest"
        hello = words(viewer, lambda w: w["kind"] == "hello")
        assert hello["presets"] == {
            "fragile": {"speed": -1.0, "tti": 5.0}, "default": {"speed": -2.2, "tti": 3.0},
            "robust": {"speed": -3.0, "tti": 3.0},
        }  # fmt: skip
        states = [tell(sender, frame(street(), n / 10)) for n in range(30)]
        assert {s["state"] for s in states[:10]} == {"warming up"}  # the self-test takes two seconds
        assert states[-1]["state"] == "clear"
        assert states[-1]["message"]["l"] == 0
        assert httpx.get(server.address + "/health").json() == {"watching": True, "state": "clear", "reason": ""} | {
            "reason": states[-1]["reason"]
        }
        told = words(viewer, lambda w: w.get("number") == 30)
        assert (told["feed"], told["watching"], told["size"]) == ("chest", True, [72, 96])
        assert told["selftest"]["verdict"] == "protected"
        assert told["latency"]["n"] == 30
        assert len(told["overlay"]["corridor"]) > 4
        n = itertools.count(30)
        picture = a_picture(viewer, lambda: tell(sender, frame(street(), next(n) / 10)))
        assert picture[:2] == b"\xff\xd8"
        assert 500 < len(picture) < 40_000
        for k in range(15):
            state = tell(sender, frame(approach(9.0 - 0.5 * k), next(n) / 10))
            if state["state"] == "alarm":
                break
        assert state["state"] == "alarm"
        assert -7 < state["speed"] < -3.5
        assert state["message"]["l"] >= 1
        told = words(viewer, is_state("alarm"))
        assert told["overlay"]["threat"]
        assert told["difference"] == pytest.approx(told["distance"] - told["previous"])


def test_a_stall_is_told_in_time_and_good_frames_recover(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "STALL", 0.5)
    with server.connect("/feed") as sender, server.connect("/watch") as viewer:
        sender.recv()

        def stream(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                sender.send(frame(street(), time.monotonic()))
                time.sleep(0.066)

        stream(0.3)
        feed = server.hub.find()
        assert feed is not None
        feed._test._began -= 5  # the self-test has had its time
        stream(0.6)
        words(viewer, is_state("clear"))
        began = time.monotonic()
        told = words(viewer, is_state("no judgement", "no frame for"))
        assert 0.3 < time.monotonic() - began < 1.2
        assert told["watching"] is False
        assert told["message"]["l"] == 255
        assert (
            "no frame for"
            in next(m for m in map(json.loads, sender) if m["kind"] == "lost" and m["state"] == "no judgement")[
                "reason"
            ]
        )
        assert httpx.get(server.address + "/health").status_code == 503
        stream(0.6)
        words(viewer, is_state("clear"), 1.5)
    with server.connect("/watch") as viewer:
        words(viewer, is_state("no judgement", "the sender has gone"))


def test_nothing_connected_is_no_judgement(server: Live) -> None:
    with server.connect("/watch") as viewer:
        told = words(viewer, is_state("no judgement", "nothing is connected"))
        assert told["feeds"] == []
        assert told["watching"] is False
        count = sum(isinstance(viewer.recv(timeout=1), str) for _ in range(2))
        assert count == 2  # it is said again and again


@pytest.mark.parametrize("garbage", [
    b"", b"\x00" * 1000, b"{}\n", b'{"t": 1, "shape": [4, 4], "dtype": "<f2"}\n' + b"\0" * 7,
    b'{"t": 1, "shape": [99999, 99999], "dtype": "<f4"}\n', b'{"t": 1, "shape": [8, 16], "dtype": "|O8"}\n' + b"x" * 9,
    b"[" * 70_000, b'{"t": 1, "picture": true}\n\xff\xd8', "no JSON", "[]", '{"max_range": "x"}',
    '{"max_range": 1e999}',
])  # fmt: skip
def test_garbage_is_named_and_good_frames_after_it_are_judged(server: Live, garbage: bytes | str) -> None:
    with server.connect("/feed?name=noise") as sender:
        sender.recv()
        answer = tell(sender, garbage)
        assert answer["kind"] == "error", answer
        assert answer["error"]
        feed = server.hub.feeds["noise"]
        assert (feed.bad, feed.status().state) == (1, "no judgement")
        assert answer["error"] in feed.status().reason
        states = [tell(sender, frame(street(), 1 + n / 10)) for n in range(5)]
        assert states[-1]["reason"] == "the self-test is running"  # the engine itself says clear


def test_bad_depth_is_no_judgement_and_no_crash(server: Live) -> None:
    with server.connect("/feed") as sender:
        sender.recv()
        for n, depth in enumerate([
            np.full((72, 96), np.nan), np.full((1, 1), 3.0), street() * 1000, np.zeros((6, 12)), np.full((9, 13), 0.05),
        ]):  # fmt: skip
            state = tell(sender, encode(Frame(depth.astype(np.float32), n / 2), "<f4"))
            assert state["state"] in ("no judgement", "warming up")
            assert state["reason"]
        assert tell(sender, frame(street(), 0.0))["state"] == "no judgement"  # the clock went back


def test_ten_clients_at_once_each_with_an_engine_of_its_own(server: Live) -> None:
    found: dict[int, dict[str, Any]] = {}

    def work(number: int) -> None:
        with server.connect(f"/feed?name=client-{number}") as sender:
            sender.recv(timeout=10)
            for n in range(12):
                depth = approach(9.0 - 0.5 * n) if number % 2 else street()
                state = tell(sender, frame(depth, 100 * number + n / 10))
            found[number] = state

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {n: s["state"] for n, s in found.items()} == {n: "alarm" if n % 2 else "warming up" for n in range(10)}


def test_there_is_a_most_of_senders_messages_and_bytes(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST", 2)
    with server.connect("/feed") as one, server.connect("/feed") as other:
        assert json.loads(one.recv())["feed"] != json.loads(other.recv())["feed"]
        with server.connect("/feed") as third:
            assert json.loads(third.recv())["kind"] == "refused"
            with pytest.raises(ConnectionClosed):
                third.recv(timeout=3)
        for size, sender in ((live_app.MAX_FRAME + 1, one), (10 * 2**20, other)):
            with pytest.raises(ConnectionClosed) as closed:
                sender.send(b"x" * size)
                while True:
                    sender.recv(timeout=5)
            assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    with server.connect("/watch") as viewer, pytest.raises(ConnectionClosed):
        for _ in range(200):
            viewer.send("{}")
        while True:
            viewer.recv(timeout=3)


def test_thresholds_belong_to_the_viewer_and_come_with_what_to_expect(server: Live) -> None:
    with server.connect("/feed") as sender, server.connect("/watch") as plain, server.connect("/watch") as fragile:
        sender.recv()
        fragile.send(json.dumps({"thresholds": {"speed": -0.5, "tti": 6.0}}))
        told = words(fragile, lambda w: w["kind"] == "expected")
        assert told["recall"] is None
        assert "Nothing was measured at" in told["words"]
        fragile.send(json.dumps({"thresholds": {"speed": -1.5, "tti": 3.0}}))
        told = words(fragile, lambda w: w["kind"] == "expected")
        assert told["missed"] == pytest.approx(0.2)
        assert "drawn" in told["on"]
        for n in range(30):
            tell(sender, frame(approach(8.0 - 0.18 * n), n / 10))  # 1.8 m/s: slow
        time.sleep(0.1)
        assert words(fragile, is_state("alarm"))["thresholds"] == {"speed": -1.5, "tti": 3.0}
        assert words(plain, lambda w: w.get("number") == 30)["state"] == "clear"
        for bad in ('{"thresholds": 3}', '{"thresholds": {"speed": 1, "tti": 3}}', '{"thresholds": {"speed": -1}}', "x",
                    "[]", '{"thresholds": {"speed": -1, "tti": NaN}}'):  # fmt: skip
            fragile.send(bad)
            assert words(fragile, lambda w: w["kind"] == "error")["error"]


def test_other_sites_and_strangers_are_kept_out(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from websockets.exceptions import InvalidStatus

    for path in ("/feed", "/watch"):
        with pytest.raises(InvalidStatus):
            server.connect(path, origin="https://evil.example").close()
        with server.connect(path, origin=server.address) as own:
            own.recv(timeout=3)
    monkeypatch.setattr(server.app.state.alert, "token", "höchst geheim")
    for query in ("", "?token=", "?token=geheim"):
        with server.connect("/feed" + query) as stranger:
            assert json.loads(stranger.recv(timeout=3))["kind"] == "refused"
            with pytest.raises(ConnectionClosed):
                stranger.recv(timeout=3)
    with server.connect("/watch?token=h%C3%B6chst%20geheim") as friend:
        assert json.loads(friend.recv(timeout=3))["kind"] == "hello"


def test_colour_needs_a_network_and_is_judged_with_one(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.zeros((72, 96, 3), np.uint8)).save(buffer, "JPEG")

    def message(t: float) -> bytes:
        return b'{"t": %f, "picture": true}\n' % t + buffer.getvalue()

    with server.connect("/feed?name=camera") as sender:
        sender.recv()
        assert "--depth-model" in tell(sender, message(1))["error"]
        monkeypatch.setattr(server.app.state.alert, "depth", lambda rgb: noisy(street()))
        states = [tell(sender, message(2 + n / 10)) for n in range(26)]
        assert states[-1]["state"] == "clear"
        assert "can't be read" in tell(sender, b'{"t": 9, "picture": true}\nGIF89a')["error"]


def test_the_demo_street_plays_while_somebody_looks(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = of_arrays(np.stack([noisy(street()) for _ in range(40)]), fps=15.0, K=K)
    monkeypatch.setattr(live_sources, "demo_street", lambda: recording)
    with server.connect("/watch") as viewer:
        viewer.send('{"demo": true}')
        words(viewer, lambda w: w.get("feed") == "demo street" and w.get("number", 0) > 3)
        viewer.send('{"demo": false}')
        words(viewer, lambda w: w.get("feed") is None and w["kind"] == "state")
        viewer.send('{"demo": true}')
        words(viewer, lambda w: w.get("feed") == "demo street" and w.get("number", 0) > 1)
    end = time.monotonic() + 2
    while server.hub.find() is not None and time.monotonic() < end:
        time.sleep(0.02)
    assert server.hub.find() is None


# ------------------------------------------------------------------------------------------------ who watches


class Time:
    def __init__(self) -> None:
        self.t = 1000.0

    def __call__(self) -> float:
        return self.t


def fed(config: AlertConfig, clock: Time, hub: Hub | None = None, seconds: float = 3.0) -> Feed:
    feed = hub.open("one") if hub else Feed("one", config, clock)
    for n in range(int(seconds * 10)):
        feed.take(Frame(noisy(street()), n / 10, K=K))
        clock.t += 0.1
    return feed


def test_every_way_to_stop_watching_is_named() -> None:
    clock = Time()
    feed = fed(AlertConfig(), clock)
    assert feed.status().state == "clear"
    clock.t += 0.6
    assert feed.status().state == "clear"
    clock.t += 0.2
    assert (feed.status().state, feed.status().reason) == ("no judgement", "no frame for 0.9 s")
    feed.trouble("nonsense came")
    assert "nonsense came" in feed.status().reason
    feed.end("unplugged")
    assert feed.status().reason == "unplugged"
    feed.again()
    assert feed.status().state == "no judgement"
    assert Feed("two", AlertConfig(), clock).status().reason == "no frame has come yet"


def test_frames_that_come_late_are_not_judged_until_they_are_fresh_again() -> None:
    clock = Time()
    feed = fed(AlertConfig(), clock)
    clock.t += 1.5  # a queue somewhere on the way
    assert feed.take(Frame(noisy(street()), 3.0, K=K)) is None
    assert "late" in feed.status().reason
    for n in range(25):  # it is worked off
        feed.take(Frame(noisy(street()), 3.1 + n / 10, K=K))
        clock.t += 0.02
    assert feed.status().state in ("clear", "warming up"), feed.status()
    late = Lateness()
    assert [late.add(t, a) for t, a in ((0, 10), (1, 11), (2, 13), (math.nan, 0), (0.5, 14), (1.5, 15))] == [
        0, 0, 1, 0, 0, 0
    ]  # fmt: skip


def test_a_failed_self_test_is_not_watching_but_never_hides_an_alarm() -> None:
    clock = Time()
    feed = Feed("one", AlertConfig(), clock)
    states = []
    for n in range(40):
        # upside down: ground on top
        feed.take(Frame(np.rot90(noisy(street()), 2), n / 10, K=K))
        feed.report = feed._test.report()
        clock.t += 0.1
        states.append(feed.status())
    assert not any(s.state == "clear" for s in states)
    assert "at the top" in states[-1].reason or states[-1].state == "no judgement"
    alarm = AlertState(1.0, "alarm", True, 1)
    assert feed.now(alarm) is alarm


def test_an_engine_that_raises_is_no_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Time()
    feed = fed(AlertConfig(), clock)

    def broken(*rest: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(feed._engine, "step", broken)
    feed.take(Frame(street(), 3.0, K=K))
    assert feed.status().state == "no judgement"
    assert "engine failed" in feed.status().reason


def test_all_senders_together_are_clear_only_if_each_is() -> None:
    clock = Time()
    hub = Hub(AlertConfig(), clock=clock)
    assert hub.status().state == "no judgement"
    front = fed(hub.config, clock, hub)
    assert hub.status().state == "clear"
    rear = hub.open("rear")
    assert hub.status().state == "no judgement"
    rear.end("gone")
    front._arrived = clock.t
    assert hub.status().reason == "gone"  # it is missed for a while
    clock.t += 31
    front._arrived = front._good = clock.t
    assert hub.status().state == "clear"
    assert hub.find("rear") is None


def test_a_view_at_the_engines_thresholds_says_what_the_engine_says() -> None:
    clock = Time()
    config = AlertConfig()
    feed, view = Feed("one", config, clock), View(config.speed_threshold, config.tti_threshold)
    for n in range(50):
        distance = 12 - 0.45 * max(0, n - 22)
        state = feed.take(Frame(noisy(approach(max(distance, 1.0))), n / 10, K=K))
        clock.t += 0.1
        assert state is not None
        mine = view.look(feed)
        if state.state == "alarm":
            assert mine == state
    assert any(state.alert for _, state in feed.recent)


# ------------------------------------------------------------------------------------------------ what is shown


def test_what_to_expect_is_between_the_measured_points() -> None:
    found = live_view.expected(SURFACE, -2.5, 3.0)
    assert found["precision"] == pytest.approx(0.85)
    assert found["recall"] == pytest.approx(0.6)
    assert live_view.expected(SURFACE, -1.0, 2.0)["recall"] == 0.8
    assert live_view.expected(SURFACE, -1.0, 3.0)["recall"] is None  # one corner is not known
    for speed, tti in ((-5, 3), (-2, 1), (-2, 9), (0, 3), (math.nan, 3)):
        outside = live_view.expected(SURFACE, speed, tti)
        assert outside["precision"] is None
        assert outside["words"]
    nothing = live_view.expected(None, -2.2, 3.0)
    assert nothing["missed"] is None
    assert "Nothing was measured" in nothing["words"]


def test_the_threat_is_drawn_where_it_is() -> None:
    depth = approach(5.0)
    state = AlertState(0.0, "alarm", True, 2, 5.0, -3.0, 1.6, bearing=0.0)
    found = live_view.overlay(Frame(depth, 0.0, K=K), AlertConfig(), state)
    left, right, top, bottom = found["threat"]
    assert left < 0.5 < right
    mask = np.argwhere(depth == 5.0)
    assert bottom == pytest.approx(mask[:, 0].max() / 72, abs=0.04)
    assert top == pytest.approx(mask[:, 0].min() / 72, abs=0.04)
    paper = live_view.overlay(Frame(depth, 0.0), AlertConfig(mode="paper_dt"), state)
    assert paper["roi"] == pytest.approx([1 / 12, 11 / 12, 1 / 3, 2 / 3])
    assert "corridor" not in live_view.overlay(Frame(depth, 0.0), AlertConfig(), state)


@pytest.mark.parametrize("depth", [np.full((1, 1), 3.0), np.full((8, 12), np.nan), np.full((700, 1000), 1e9)])
def test_any_depth_has_a_picture(depth: np.ndarray) -> None:
    assert live_view.jpeg(depth, 25.0)[:2] == b"\xff\xd8"


# ------------------------------------------------------------------------------------------------ sources


def test_a_stream_of_bytes_is_judged_and_its_end_is_told() -> None:
    feed = Feed("stdin", AlertConfig())
    data = b"".join(frame(street(), n / 10) for n in range(5)) + b"garbage\n" + frame(street(), 0.6)
    source = BytesIO(data)
    live_sources.stream(lambda size: source.read(997), feed, threading.Event())
    assert feed.frames == 6
    assert feed.bad == 1
    assert feed.status().reason == "the stream has ended"


def test_a_server_that_goes_away_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_sources, "AGAIN", 0.05)
    hub, end = Hub(AlertConfig()), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pump = live_sources.pump_of(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        feed = live_sources.start(hub, pump, "source", end)
        for number in (1, 2):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(frame(street(), 10 * number))
            wait(lambda number=number: feed.frames == number and bool(feed.ended))
    wait(lambda: "can't be reached" in feed.ended)
    end.set()


def wait(until: Callable[[], bool], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_sources_that_can_not_be_are_named(tmp_path: Path) -> None:
    for source, words_ in (("tcp://nowhere", "tcp://HOST:PORT"), ("camera:front", "camera:0")):
        with pytest.raises(ConfigError, match=words_):
            live_sources.pump_of(source, lambda rgb: rgb)
    with pytest.raises(ConfigError, match="depth"):
        LiveOptions(source="camera:0")
    with pytest.raises(ConfigError, match="no file"):
        live_sources.depth_of(tmp_path / "none.onnx")
    with pytest.raises(DataError):
        live_sources.pump_of(str(tmp_path / "nothing"))


# ------------------------------------------------------------------------------------------------ TLS and the verb


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")], check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def listening(host: str = "127.0.0.1", **more: Any) -> Listening:
    return Listening(host, 0, **more)


def test_certificate_and_key_are_tried_before_anything_else(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pair
    for lone in ({"tls_cert": cert}, {"tls_key": key}):
        with pytest.raises(ConfigError, match="give both"):
            LiveOptions(**lone)
    with pytest.raises(ConfigError, match="can't read") as found:
        listening(tls_cert=tmp_path / "a.pem", tls_key=tmp_path).tls()
    assert len(found.value.problems) == 2
    with pytest.raises(ConfigError, match="no certificate and its key"):
        listening(tls_cert=key, tls_key=cert).tls()
    assert listening(tls_cert=cert, tls_key=key).tls() == {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    assert listening().tls() == {}


def test_a_server_that_others_reach_warns() -> None:
    local = ("127.0.0.1",)
    assert listening().warnings(local, *live.WORDS) == []
    open_ = listening(host="0.0.0.0").warnings(local, *live.WORDS)
    assert "--tls-cert" in open_[0]
    assert "--token" in open_[1]
    assert len(listening(host="0.0.0.0", token="x").warnings(local, *live.WORDS)) == 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from fieldsight.errors import MissingExtraError

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "fastapi" else real(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r"fieldsight\[studio\]"):
        live.live(SimpleNamespace(artefacts={}), LiveOptions())


@pytest.mark.slow
def test_it_starts_over_tls_says_where_drives_the_cane_and_stops(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cane = tmp_path / "cane"
    cane.touch()
    code = (
        "import sys; from types import SimpleNamespace\n"
        "from fieldsight.systems.alert.live import live\n"
        "from fieldsight.systems.alert.options import LiveOptions\n"
        "options = LiveOptions(port=0, tls_cert=sys.argv[1], tls_key=sys.argv[2], cane=sys.argv[3], token='a b')\n"
        "sys.exit(live(SimpleNamespace(artefacts={}), options).exit_code)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, pair), str(cane)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Live: https://127.0.0.1:"), process.communicate()
        assert line.strip().endswith("/#token=a%20b")
        address = line.split()[1].partition("/#")[0]
        context = ssl.create_default_context(cafile=str(pair[0]))
        assert httpx.get(address, verify=context).status_code == 200
        assert httpx.get(address + "/health", verify=context).status_code == 503
        assert httpx.get(address, verify=context, headers={"host": "evil.example"}).status_code == 400
        with connect(address.replace("https", "wss") + "/watch?token=a%20b", ssl=context) as viewer:
            assert json.loads(viewer.recv())["kind"] == "hello"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    assert cane.read_bytes().startswith(b'{"l":255,')


def test_lines_of_the_cane_stand_alone_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fieldsight.studio import serve

    monkeypatch.setattr(serve, "run", lambda app, host, listening, stop, started, *rest, **more: started() or True)
    for cane, where in (("", 0), ("-", 1)):
        live.live(SimpleNamespace(artefacts={}), LiveOptions(port=0, cane=cane))
        told = capsys.readouterr()
        assert "Live: http" in told[where]
        assert "Live:" not in told[1 - where]


def test_who_vanishes_before_the_first_word_leaves_nothing_behind() -> None:
    import asyncio

    async def gone(words: Any) -> None:
        raise RuntimeError("the client went away")

    shared = live_app.Server(Hub(AlertConfig()))
    socket = SimpleNamespace(query_params={}, send_json=gone)

    async def both() -> None:
        for kind in (live_app._Sender, live_app._Viewer):
            with pytest.raises(RuntimeError, match="went away"):
                await kind(shared, socket).run()  # type: ignore[arg-type]

    asyncio.run(both())
    assert all(feed.ended for feed in shared.hub.feeds.values())
    assert shared.viewers == 0
