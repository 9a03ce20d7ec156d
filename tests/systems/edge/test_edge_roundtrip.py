"""The round trip: a link in real time is the simulator's network, one clock, drops and losses counted, break-even."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import Detections
from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.systems.edge import profiles, roundtrip, simulating, wires
from fieldsight.systems.edge.link import Link, Shaped, network_of, words_of
from fieldsight.systems.edge.network import Delay, Network, Payload
from fieldsight.systems.edge.options_serve import LinkOptions, RoundtripOptions, SimulateOptions
from fieldsight.systems.edge.profiles import Device
from fieldsight.systems.edge.protocol import TIMES, Frame, parse
from fieldsight.systems.edge.roundtrip import Played, Player, verdict
from fieldsight.systems.edge.simulate import LoopConfig, simulate

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------ a clock of its own


class _Jumps(selectors.SelectSelector):
    """Waits no time at all; the loop's clock jumps instead."""

    loop: Virtual

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nothing will ever happen"
            self.loop.now += max(0.0, timeout)
        return found


class Virtual(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where all wait: hours of link in milliseconds, the same at every run."""

    def __init__(self) -> None:
        selector = _Jumps()
        self.now = 0.0
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9  # else timers within that of now come early

    def time(self) -> float:
        return self.now


def run(work: Callable[[Virtual], Coroutine[Any, Any, T]]) -> T:
    with contextlib.closing(Virtual()) as loop:
        return loop.run_until_complete(work(loop))


class Computer:
    """The other end: answers after its service time, one frame after the other; a short queue as the server's."""

    def __init__(self, service_ms: float = 10.0, size: int = 1000, depth: int = 1) -> None:
        self.service, self.size, self.depth = service_ms / 1000.0, size, depth
        self.back: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.waiting: list[tuple[Frame, float]] = []
        self.work: asyncio.Task[None] | None = None
        self.sizes: list[int] = []
        self.closed = False
        self.tell: Callable[[Frame], str | None] = lambda frame: None

    async def send(self, message: bytes) -> None:
        self.sizes.append(len(message))
        frame = parse(message)
        loop = asyncio.get_running_loop()
        self.waiting.append((frame, loop.time()))
        if len(self.waiting) > self.depth and self.work is not None and not self.work.done():
            old, _ = self.waiting.pop(0)
            self.back.put_nowait(json.dumps({"id": old.id, "dropped": "newer"}))
        if self.work is None or self.work.done():
            self.work = asyncio.create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            frame, received = self.waiting.pop(0)
            started = loop.time()
            await asyncio.sleep(self.service)
            times = dict(zip(TIMES, (received, started, started, loop.time(), loop.time()), strict=True))
            text = json.dumps({"id": frame.id, "boxes": [], "scores": [], "labels": [], **times})
            self.back.put_nowait(self.tell(frame) or text + " " * (self.size - len(text)))

    async def receive(self) -> str | bytes:
        found = await self.back.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        self.closed = True


FRAME = Frame(0, 0.0, "raw", (100, 100), bytes(30_000))


def play(network: Network | None, computer: Callable[[], Computer] = Computer, **options: Any) -> Played:
    """Frames over a link on the virtual clock."""
    chosen = RoundtripOptions(**{"warmup": 0, "frames": 100, **options})

    async def client(loop: Virtual) -> Played:
        end = computer()
        made = None if network is None else Link(network, chosen.seed)
        async with Shaped(end, made) as shaped:
            played = await Player(shaped, [FRAME], chosen, loop.time).play()
        assert end.closed
        rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task() and t is not end.work]
        assert not rest
        return played

    return run(client)


# ------------------------------------------------------------------------------------- the link is the simulator's


WILD = Network("wild", Delay(12.0, 5.0), Delay(8.0, 3.0), up_mbit_s=50.0, down_mbit_s=20.0, loss=0.05, retry_ms=40.0)


def test_every_frame_takes_as_long_as_in_the_simulator() -> None:
    played = play(WILD, frames=300)
    size = len(replace(FRAME, id=111, sent=1.25).message())
    sent = Payload("same", size, size, answer=1000.0)
    simulated = simulate(Device("x", Delay(10.0)), WILD, LoopConfig(frames=300), sent)
    assert (len(played.rtt_ms), played.dropped, played.lost) == (300, 0, 0)
    # a frame's line varies by some bytes, 50 Mbit/s carry 6 bytes in a microsecond
    np.testing.assert_allclose(played.rtt_ms, simulated.rtt_ms, atol=0.01)
    np.testing.assert_allclose(played.processing_ms, 10.0, atol=1e-6)


@pytest.mark.parametrize("network", [
    Network.round_trip("constant", 30.0), Network.round_trip("lognormal", 341.41, 69.89),
    Network.round_trip("wire", 20.0, 2.0, mbit_s=8.0), Network.round_trip("losses", 20.0, 4.0, loss=0.2), WILD,
    profiles.edge_network(), profiles.cloud_network(),
], ids=lambda n: n.name)  # fmt: skip
def test_the_mean_communication_is_the_networks(network: Network) -> None:
    played = play(network, frames=1500)
    communication = np.array(played.rtt_ms) - np.array(played.processing_ms)
    wanted = network.mean_ms(len(FRAME.message()), 1000.0)
    error = 4 * float(communication.std()) / np.sqrt(len(communication)) + 0.02
    assert communication.mean() == pytest.approx(wanted, abs=error)
    assert communication.mean() == pytest.approx(wanted, rel=0.06)
    assert played.waiting_ms == pytest.approx([0.0] * 1500, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 100), st.floats(0, 1), st.floats(0.5, 100) | st.none(), st.floats(0, 0.4), st.integers(0, 99),
       st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10**5)), min_size=1, max_size=30))  # fmt: skip
def test_messages_of_a_lane_keep_their_order(
    mean: float, spread: float, mbit: float | None, loss: float, seed: int, sent: list[tuple[float, int]]
) -> None:
    network = Network("x", Delay(mean, spread * mean), Delay(1.0), mbit, None, loss)
    lane, again = Link(network, seed).up, Link(network, seed).up
    now, last, free = 0.0, 0.0, 0.0
    for wait, size in sent:
        now += wait
        freed, arrives = lane.take(now, size)
        assert (freed, arrives) == again.take(now, size)
        assert freed >= max(now, free)
        assert arrives >= max(last, freed)
        last, free = arrives, freed


def test_what_the_network_loses_for_good_is_given_up() -> None:
    lossy = replace(WILD, loss=0.3, retry_ms=None)
    played = play(lossy, timeout=500.0)
    assert 20 < played.lost < 80
    assert len(played.rtt_ms) + played.lost == played.sent == 100
    assert max(played.rtt_ms) < 500
    both = play(lossy, timeout=500.0, fps=10.0)
    assert len(both.rtt_ms) + both.lost == 100
    assert both.lost > 20


# ----------------------------------------------------------------------------------------------- speeds and queues


def test_frames_are_dropped_not_queued_where_the_camera_is_too_fast() -> None:
    played = play(Network.round_trip("edge", 2.5), lambda: Computer(30.0), frames=300, fps=100.0)
    assert len(played.rtt_ms) + played.dropped == played.sent == 300
    assert played.dropped > 150
    assert len(played.rtt_ms) / played.seconds == pytest.approx(1000 / 30, rel=0.03)  # the computer never rests
    assert max(played.rtt_ms) < 2 * 30 + 10 + 2.5 + 1  # in work, one that waits, one tick
    assert np.mean(played.waiting_ms) > 8
    slow = play(Network.round_trip("thin", 2.5, mbit_s=4.0), lambda: Computer(5.0), frames=200, fps=100.0)
    assert slow.dropped > 150  # the wire takes 60 ms a frame: they are dropped before it
    assert max(slow.rtt_ms) < 3 * 61 + 10
    easy = play(Network.round_trip("edge", 2.5), lambda: Computer(5.0), frames=200, fps=50.0)
    assert (easy.dropped, len(easy.rtt_ms)) == (0, 200)
    np.testing.assert_allclose(easy.rtt_ms, 7.5, atol=1e-3)
    assert len(easy.rtt_ms) / easy.seconds == pytest.approx(50.0, rel=0.02)


def test_warm_up_does_not_count() -> None:
    computer = Computer(10.0)
    inside: list[int] = []
    computer.tell = lambda frame: inside.append(frame.id)  # type: ignore[func-returns-value]
    played = play(None, lambda: computer, frames=5, warmup=3)
    assert inside == list(range(8))
    assert (played.sent, len(played.rtt_ms)) == (5, 5)
    np.testing.assert_allclose(played.rtt_ms, 10.0, atol=1e-6)


def test_a_row_has_the_papers_columns() -> None:
    row = Played([40.0, 60.0], [30.0, 34.0], [0.0, 1.0], 3, 1, 0, 0, "", 0.2, 1234.4).row("edge", "websocket", "jpeg")
    assert set(row) <= set(roundtrip.COLUMNS)
    assert (row["rtt_mean"], row["rtt_sd"], row["processing_mean"], row["communication_mean"]) == (50.0, 10.0, 32.0, 18)
    assert (row["throughput"], row["answers_per_s"], row["rtt_p50"]) == (20.0, 10.0, 50.0)
    nothing = Played(sent=4, lost=4).row("cloud", "http", "raw")
    assert nothing.get("rtt_mean") is None
    assert verdict([row, nothing])["break_even_ms"] is None


def test_break_even_by_the_papers_numbers() -> None:
    edge = {"rtt_mean": 35.09, "processing_mean": 32.59}
    found = verdict([edge, {"rtt_mean": 348.23, "processing_mean": 6.82, "communication_mean": 341.41}])
    assert found["break_even_ms"] == pytest.approx(28.27)
    assert found["paper_break_even_ms"] == 28.27
    assert found["faster"] == "edge"
    assert verdict([edge, {"rtt_mean": 35.08, "processing_mean": 6.82}])["faster"] == "cloud"


@pytest.mark.parametrize(("text", "words"), [
    ("garbage", "no JSON"), ("[]", "no JSON object"), ('{"id": 1, "boxes": 3}', "boxes"),
    ('{"kind": "refused", "reason": "full"}', "refused: full"), ("x" * (5 * 2**20), "bytes"),
])  # fmt: skip
def test_a_server_of_another_kind_is_named(text: str, words: str) -> None:
    computer = Computer()
    computer.tell = lambda frame: text
    with pytest.raises(DataError, match=words):
        play(WILD, lambda: computer)


def test_errors_are_counted_and_a_server_that_goes_away_is_told() -> None:
    computer = Computer()
    computer.tell = lambda frame: json.dumps({"id": frame.id, "error": "unlucky"}) if frame.id % 2 else None
    played = play(None, lambda: computer, frames=10)
    assert (played.errors, len(played.rtt_ms), played.problem) == (5, 5, "unlucky")
    for fps in (None, 50.0):
        gone = Computer()

        def leave(frame: Frame, end: Computer = gone) -> None:
            if frame.id == 4:
                end.back.put_nowait(ConnectionError("bye"))

        gone.tell = leave  # type: ignore[assignment]
        with pytest.raises(DataError, match="closed the connection: bye"):
            play(WILD, lambda end=gone: end, fps=fps)  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------- options


def test_links_by_options() -> None:
    base = profiles.cloud_network()
    assert network_of(base, LinkOptions()) is base
    assert network_of(base, LinkOptions(shaped=False)) is None
    half = network_of(base, LinkOptions(rtt=100.0))
    assert half is not None
    assert half.mean_ms(0, 0) == pytest.approx(100.0)
    assert np.hypot(half.up.sd, half.down.sd) == pytest.approx(100.0 * 69.89 / 341.41)
    other = network_of(base, LinkOptions(rtt=40.0, jitter=0.0, mbit_s=10.0, loss=0.1, retry=None))
    assert other is not None
    assert (other.up.sd, other.up_mbit_s, other.down_mbit_s, other.loss, other.retry_ms) == (0, 10, 10, 0.1, None)
    assert "10 Mbit/s" in words_of(other)
    assert "never sent again" in words_of(other)
    assert network_of(base, LinkOptions(rtt=0.0)) is not None
    with pytest.raises(ConfigError, match="jitter"):
        LinkOptions.parse({"rtt": 0, "jitter": 3})
    for bad in ({"side": 100}, {"payload": "float32", "side": 1280}, {"cloud_server": "ws://x"}, {"fps": 0},
                {"payload": "png"}, {"edge": {"loss": 1.0}}, {"pictures": 0}):  # fmt: skip
        with pytest.raises(ConfigError):
            RoundtripOptions.parse(bad)


def test_addresses_of_servers() -> None:
    for given_ in ("ws://drone:9", "http://drone:9/", "ws://drone:9/ws", "http://drone:9/predict"):
        assert wires.addresses(given_, "a b") == ("ws://drone:9/ws?token=a%20b", "http://drone:9/predict?token=a%20b")
    assert wires.addresses("wss://x/edge/live") == ("wss://x/edge/live/ws", "https://x/edge/live/predict")
    for bad in ("drone:9", "ftp://drone", "ws://", "ws://x:99999", "ws://[::1", "", "ws:///ws"):
        with pytest.raises(ConfigError, match="server: "):
            wires.addresses(bad)


# ------------------------------------------------------------------------------------------------- the verb itself


def model() -> Any:
    def find(picture: np.ndarray, options: Any) -> Detections:
        return Detections.of([[1, 2, 30, 40]], [0.5], [0])

    return SimpleNamespace(classes=("robot",), describe=lambda: "a fake", find=find,
                           config=SimpleNamespace(data=SimpleNamespace(world="arena")))  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 256, (30 + n, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{n}.png")
    return folder


@pytest.mark.parametrize(("kind", "transport"), [("jpeg", "http"), ("raw", "websocket"), ("float32", "http")])
def test_against_a_server_started_here(photos: Path, kind: Any, transport: Any) -> None:
    options = RoundtripOptions(isolated=False, frames=6, warmup=2, side=64, payload=kind, cloud_transport=transport,
                               cloud=LinkOptions(rtt=40.0, jitter=0.0))  # fmt: skip
    table = roundtrip.roundtrip(model(), str(photos), options)
    edge, cloud = table.rows
    assert [row["environment"] for row in table.rows] == ["edge", "cloud"]
    assert [row["transport"] for row in table.rows] == ["websocket", transport]
    assert [row["answered"] for row in table.rows] == [6, 6]
    assert {row["errors"] + row["lost"] + row["dropped"] for row in table.rows} == {0}
    if kind != "jpeg":
        assert edge["frame_bytes"] == pytest.approx({"raw": 3, "float32": 12}[kind] * 64**2, abs=120)
    assert cloud["rtt_p50"] > 40.0  # what the link adds is there, and the edge's is less
    assert edge["rtt_p50"] > 1.0
    assert edge["rtt_p50"] < cloud["rtt_p50"]
    for row in table.rows:
        assert row["communication_mean"] == pytest.approx(row["rtt_mean"] - row["processing_mean"])
        assert row["throughput"] == pytest.approx(1000 / row["rtt_mean"])
    assert table.facts["break_even_ms"] == pytest.approx(edge["rtt_mean"] - cloud["processing_mean"])
    assert table.facts["faster"] == "edge"
    assert "40 ms" in table.facts["cloud_link"]
    assert "2.5 ms" in table.facts["edge_link"]


def test_against_a_server_elsewhere_and_none(photos: Path) -> None:
    with wires.local_server(model(), isolated=False) as address:
        options = RoundtripOptions(server=address, frames=3, warmup=0, side=32, fps=50.0, token="not asked for",
                                   cloud=LinkOptions(shaped=False), edge=LinkOptions(shaped=False))  # fmt: skip
        table = roundtrip.roundtrip(model(), [str(photos)], options)
        assert [row["answered"] + row["dropped"] for row in table.rows] == [3, 3]
        assert table.facts["server"] == address
        assert table.facts["edge_link"] == "the network as it is"

        async def notebook() -> Any:
            return roundtrip.roundtrip(model(), str(photos), options)

        assert len(asyncio.run(notebook()).rows) == 2  # a loop runs in this thread already
    for transport in ("http", "websocket"):
        with pytest.raises(DataError, match=r"Can't reach 'ws://.*fieldsight edge serve"):
            roundtrip.roundtrip(model(), str(photos), options.replace(cloud_transport=transport))
    with pytest.raises(DataError, match="Can't reach 'http:"):
        roundtrip.run_client(lambda: wires.http(address, ""), [FRAME], options, None)
    with pytest.raises(ConfigError, match="server: give ws"):
        roundtrip.roundtrip(model(), str(photos), RoundtripOptions(server="drone"))


def test_a_token_that_is_wrong_is_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = wires.server_of
    monkeypatch.setattr(wires, "server_of", lambda m, o: real(m, o.replace(token="geheim")))
    with wires.local_server(model(), isolated=False) as address:
        options = RoundtripOptions(frames=2, warmup=0, side=32)
        for opened in (wires.web_socket, wires.http):
            with pytest.raises(DataError, match="token"):
                roundtrip.run_client(lambda o=opened: o(address, "falsch"), [FRAME], options, None)  # type: ignore[misc]
            good = roundtrip.run_client(lambda o=opened: o(address, "geheim"), [FRAME], options, None)  # type: ignore[misc]
            assert len(good.rtt_ms) == 2


def test_frames_come_from_pictures_and_videos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fieldsight.data import video

    film = tmp_path / "film.mp4"
    with video.write_video(film, 10.0) as add:
        for n in range(4):
            add(np.full((48, 64, 3), 60 * n, np.uint8))
    options = RoundtripOptions(side=32, pictures=3, payload="raw")
    assert len(wires.frames(model(), film, options)) == 3
    assert len(wires.frames(model(), [str(photos), film], options.replace(pictures=99))) == 7
    sizes = {f.size for f in wires.frames(model(), np.zeros((9, 7, 3), np.uint8), options)}
    assert sizes == {(32, 32)}
    real = video.Video.__init__

    def early(self: Any, path: Path, **more: Any) -> None:
        real(self, path, **more)
        self.count += 5

    monkeypatch.setattr(video.Video, "__init__", early)
    assert len(wires.frames(model(), film, options.replace(pictures=99))) == 4
    assert "the video ends at frame 4, though its header tells of 9" in capsys.readouterr().err
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    for bad in (broken, tmp_path / "none.mp4", tmp_path / "empty", tmp_path / "no such thing"):
        with pytest.raises(FieldsightError):
            wires.frames(model(), bad, options)


def test_drawn_frames_where_no_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.systems.edge import data

    asked = []

    def draw(*words: Any) -> list[Any]:
        asked.append(words)
        return [SimpleNamespace(image=lambda: np.zeros((24, 32, 3), np.uint8))] * words[1]["test"]

    monkeypatch.setattr(data, "draw", draw)
    assert len(wires.frames(model(), None, RoundtripOptions(pictures=5, side=64))) == 5
    assert asked == [("arena", {"test": 5}, 64, 0)]


@pytest.fixture
def saved() -> Any:
    found = model()
    found.save = lambda folder: folder
    return found


def test_a_server_as_a_process(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def command(words: str) -> Callable[[Path], list[str]]:
        return lambda folder: started.append(folder) or [sys.executable, "-S", "-c", words]  # type: ignore[func-returns-value]

    says = (
        "print('loading', flush=True); print('Serving: http://127.0.0.1:1/', flush=True); import time; time.sleep(60)"
    )
    monkeypatch.setattr(wires, "command", command(says))
    with wires.local_server(saved, isolated=True) as address:
        assert address == "http://127.0.0.1:1/"
    assert not started[0].parent.exists()
    monkeypatch.setattr(wires, "command", command("import sys; sys.exit('no such model')"))
    with pytest.raises(DataError, match="no such model"), wires.local_server(saved, isolated=True):
        pass
    monkeypatch.setattr(wires, "command", command("import time; time.sleep(60)"))
    monkeypatch.setattr(wires, "START", 0.2)
    with pytest.raises(DataError, match="did not start"), wires.local_server(saved, isolated=True):
        pass
    monkeypatch.undo()
    assert wires.command(Path("m"))[2:5] == ["fieldsight", "edge", "serve"]


@pytest.mark.slow
def test_the_real_thing_in_a_process_of_its_own(photos: Path) -> None:
    from fieldsight.systems.edge.config import PRESETS
    from fieldsight.systems.edge.predict import EdgeModel

    options = RoundtripOptions(frames=5, warmup=1, side=64, cloud=LinkOptions(rtt=20.0))
    table = roundtrip.roundtrip(EdgeModel.create(PRESETS["tiny"]), str(photos), options)
    assert [row["answered"] for row in table.rows] == [5, 5]
    assert all(row["processing_mean"] > 1 for row in table.rows)


# ------------------------------------------------------------------------------------------------------- simulate


def test_the_papers_configurations_by_default() -> None:
    table = simulating.simulate_verb(None, SimulateOptions(frames=400))
    assert len(table.rows) == 14
    told = [row for row in table.rows if row["rtt_printed"] is not None]
    assert len(told) == 12
    for row in told:
        assert row["throughput"] == pytest.approx(row["throughput_printed"], rel=0.02)
    assert table.facts["mean_communication_ms"] == pytest.approx(2.5)
    exact = simulating.simulate_verb(None, SimulateOptions(show="table6", frames=3000))
    assert [row["rtt_mean"] for row in exact.rows] == pytest.approx([35.09, 348.23], rel=0.02)
    assert len(simulating.simulate_verb(None, SimulateOptions(show="table5", frames=50)).rows) == 12


def test_configurations_by_name_link_and_speed(tmp_path: Path) -> None:
    found = simulating.simulate_verb(None, SimulateOptions(only="orin nx int8", frames=50))
    assert [row["configuration"] for row in found.rows] == ["Orin NX + s INT8", "Orin NX + n INT8"]
    exact = simulating.simulate_verb(None, SimulateOptions(
        only="Nano n INT8", frames=200, network="cloud", link=LinkOptions(rtt=30.0, jitter=0.0, mbit_s=8.0),
        payload="raw",
    ))  # fmt: skip
    assert "rtt_printed" not in exact.columns
    assert exact.facts["mean_communication_ms"] == pytest.approx(30.0 + 1228.8 + 1.0)
    assert exact.rows[0]["rtt_mean"] > 1228.8
    fast = simulating.simulate_verb(None, SimulateOptions(only="RPi5 n", fps=30.0, frames=300))
    assert fast.rows[0]["dropped"] > 200  # 118 ms a frame
    file = tmp_path / "bench.csv"
    file.write_text("device,model,precision,backend,latency_ms [ms],ipm\nhost,n,INT8,onnx,20,2400\nhost,n,x,y,,\n")
    own = simulating.simulate_verb(str(file), SimulateOptions(frames=100, link=LinkOptions(rtt=5.0, jitter=0.0)))
    assert [row["configuration"] for row in own.rows] == ["host + n INT8 (onnx)"]
    assert own.rows[0]["rtt_mean"] == pytest.approx(25.0 + 5.0)
    even = simulating.simulate_verb(None, SimulateOptions(show="sweep", frames=100))
    assert even.facts["break_even_ms"] == pytest.approx(28.27)
    swept = simulating.simulate_verb(str(file), SimulateOptions(show="sweep", frames=100))
    assert swept.facts["break_even_ms"] == pytest.approx(25.0 + 2.5 - 6.82)


def test_what_can_not_be_simulated(tmp_path: Path) -> None:
    file = tmp_path / "bench.csv"
    file.write_text("device,model,precision\nhost,n,FP32\n")
    for inputs, options in (
        (None, {"only": "jetson xavier"}), (None, {"show": "table5", "link": {"rtt": 3}}), (str(file), {}),
        (str(file), {"show": "table6"}), (None, {"show": "sweep", "only": "nx"}), (str(tmp_path / "none.csv"), {}),
    ):  # fmt: skip
        with pytest.raises(FieldsightError):
            simulating.simulate_verb(inputs, SimulateOptions.parse(options))


def test_a_precise_loop_sleeps_as_told() -> None:
    import time

    async def naps() -> list[float]:
        found = []
        for _ in range(30):
            began = time.perf_counter()
            await asyncio.sleep(0.0012)
            found.append(1000 * (time.perf_counter() - began))
        return found

    with contextlib.closing(roundtrip.precise_loop()) as loop:
        took = loop.run_until_complete(naps())
    assert min(took) >= 1.19
    assert min(took) < 1.9  # the usual loop takes 2 at the least
