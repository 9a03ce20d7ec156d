"""``roundtrip``: play frames against a detection server over an edge link and over a cloud link, and time each answer.

A frame's round trip (M5) begins when it is handed to the link and ends when its answer is here, both on the client's
one clock. Of the server's clock only the time that a frame spent in its worker is used, a difference, so that nothing
depends on two clocks that agree; with a server on another host no one-way time is told, since none can be known.
Communication is the round trip less that time, as in the paper's Table 6; waiting in the server's queue counts to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.errors import DataError, FieldsightError
from fieldsight.predictions import Table
from fieldsight.progress import Task, note
from fieldsight.systems.edge import profiles
from fieldsight.systems.edge.link import Link, Shaped, Wire, network_of, words_of
from fieldsight.systems.edge.network import Network
from fieldsight.systems.edge.options_serve import RoundtripOptions
from fieldsight.systems.edge.protocol import Answer, Frame, read_answer
from fieldsight.systems.edge.simulate import break_even_ms

if TYPE_CHECKING:
    from fieldsight.systems.edge.predict import EdgeModel

#: Columns with their units; those of the paper's Tables 5 and 6 are rtt, processing, communication, throughput.
COLUMNS = {
    "environment": "", "transport": "", "payload": "", "frame_bytes": "B", "rtt_mean": "ms", "rtt_sd": "ms",
    "rtt_p50": "ms", "rtt_p95": "ms", "rtt_p99": "ms", "processing_mean": "ms", "processing_sd": "ms",
    "communication_mean": "ms", "communication_sd": "ms", "waiting_mean": "ms", "throughput": "1/s",
    "answers_per_s": "1/s", "sent": "", "answered": "", "dropped": "", "lost": "", "errors": "",
}  # fmt: skip


@dataclass
class Played:
    """What came of the frames that were sent over one link.

    Attributes:
        rtt_ms, processing_ms, waiting_ms: of each answered frame, in the order of answers.
        sent: frames that the camera gave.
        dropped: by a full queue before the link, or by the server.
        lost: no answer within the time for it.
        errors: frames that the server could not use.
        problem: what it said of the last of them.
        seconds: from the first frame to the last answer.
        frame_bytes: mean size of a message.
    """

    rtt_ms: list[float] = field(default_factory=list)
    processing_ms: list[float] = field(default_factory=list)
    waiting_ms: list[float] = field(default_factory=list)
    sent: int = 0
    dropped: int = 0
    lost: int = 0
    errors: int = 0
    problem: str = ""
    seconds: float = 0.0
    frame_bytes: float = 0.0

    def row(self, environment: str, transport: str, payload: str) -> dict[str, Any]:
        """One row of :data:`COLUMNS`; times are None where no frame was answered."""
        rtt, processing = np.array(self.rtt_ms), np.array(self.processing_ms)
        found: dict[str, Any] = {
            "environment": environment, "transport": transport, "payload": payload,
            "frame_bytes": round(self.frame_bytes), "sent": self.sent, "answered": len(rtt), "dropped": self.dropped,
            "lost": self.lost, "errors": self.errors,
        }  # fmt: skip
        if not len(rtt):
            return found
        for name, values in (("rtt", rtt), ("processing", processing), ("communication", rtt - processing)):
            found |= {f"{name}_mean": float(values.mean()), f"{name}_sd": float(values.std())}
        found |= {f"rtt_p{q}": float(np.percentile(rtt, q)) for q in (50, 95, 99)}
        return {
            **found, "waiting_mean": float(np.mean(self.waiting_ms)), "throughput": 1000.0 / float(rtt.mean()),
            "answers_per_s": len(rtt) / self.seconds if self.seconds > 0 else None,
        }  # fmt: skip


class Player:
    """Sends frames over a connection and takes their answers.

    Args:
        link: the connection, shaped or not.
        frames: kind, size and bytes of each, sent again and again; ids and times are filled in.
        options: how many, how fast, how long to wait.
        clock: seconds, the only clock that counts.
    """

    def __init__(
        self, link: Shaped, frames: Sequence[Frame], options: RoundtripOptions, clock: Callable[[], float]
    ) -> None:
        self.link, self.frames, self.options, self.clock = link, frames, options, clock
        self.played = Played()
        self._pending: dict[int, float] = {}
        self._last = self._first = 0.0
        self._counted = False
        self._task: Task | None = None
        self._gone: Exception | None = None
        self._news = asyncio.Event()

    async def play(self, label: str = "frames") -> Played:
        """All frames, after those that warm up.

        Raises:
            DataError: the connection ended, or the server talks another language.
        """
        listening = asyncio.create_task(self._listen())
        total = self.options.warmup + self.options.frames
        self._task = Task(label, total)
        try:
            await self._closed(0, self.options.warmup)
            self._counted, self._first = True, self.clock()
            self._last = self._first
            if self.options.fps is None:
                await self._closed(self.options.warmup, total)
            else:
                await self._open(self.options.warmup, total, self.options.fps)
            self.played.lost += len(self._pending)
        finally:
            self._task.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        self.played.seconds = self._last - self._first
        sizes = [len(f.message()) for f in self.frames]
        self.played.frame_bytes = sum(sizes) / len(sizes)
        return self.played

    async def _closed(self, first: int, last: int) -> None:
        """The next frame when the answer is back, or is given up."""
        for number in range(first, last):
            await self._send(number)
            if not await self._answered(partial(self._known, number)):
                self._pending.pop(number, None)
                self.played.lost += self._counted

    def _known(self, number: int) -> bool:
        return number not in self._pending

    async def _open(self, first: int, last: int, fps: float) -> None:
        """A frame at every tick, whatever comes back; what waits for the link beyond the queue is dropped."""
        waiting: deque[int] = deque()
        sending: asyncio.Task[None] | None = None
        start = self.clock()
        for n, number in enumerate(range(first, last)):
            while (left := start + n / fps - self.clock()) > 0:
                await asyncio.sleep(left)
            self._check()
            self._pending[number] = self.clock()
            self.played.sent += 1
            if sending is None or sending.done():
                sending = asyncio.create_task(self._drain(waiting, number))
                continue
            waiting.append(number)
            if len(waiting) > self.options.queue:
                self._pending.pop(waiting.popleft(), None)
                self.played.dropped += 1
                self._advance()
        if sending is not None:
            await sending
        await self._answered(lambda: not self._pending)

    async def _drain(self, waiting: deque[int], number: int) -> None:
        """Give a frame to the link, and then what has come to wait."""
        await self._give(number)
        while waiting:
            await self._give(waiting.popleft())

    async def _send(self, number: int) -> None:
        self._check()
        self._pending[number] = self.clock()
        self.played.sent += self._counted
        await self._give(number)

    async def _give(self, number: int) -> None:
        frame = self.frames[number % len(self.frames)]
        sent = self._pending.get(number)
        if sent is None:  # given up while it waited
            return
        try:
            await self.link.send(Frame(number, sent, frame.kind, frame.size, frame.data).message())
        except Exception as error:  # told at the next look at the connection
            self._gone = self._gone or error
            self._news.set()

    async def _answered(self, done: Callable[[], bool]) -> bool:
        """Wait until something holds; False where it does not within the time for an answer."""
        end = self.clock() + self.options.timeout / 1000.0
        while not done():
            self._check()
            self._news.clear()
            left = end - self.clock()
            if left <= 0:
                return False
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return True

    def _check(self) -> None:
        if self._gone is not None:
            if isinstance(self._gone, FieldsightError):
                raise self._gone
            raise DataError(f"The server closed the connection: {self._gone}") from None

    async def _listen(self) -> None:
        try:
            while True:
                text = await self.link.receive()
                now = self.clock()
                answer = read_answer(text)
                if answer is not None:
                    self._take(answer, now)
        except Exception as error:
            self._gone = error
        finally:
            self._news.set()

    def _take(self, answer: Answer, now: float) -> None:
        sent = self._pending.pop(answer.id, None) if answer.id is not None else None
        if sent is None and answer.id is not None:
            return  # given up long ago
        self._news.set()
        self._advance()
        if answer.dropped:
            self.played.dropped += self._counted
        elif answer.found is None:
            self.played.errors += self._counted
            self.played.problem = answer.problem
        elif self._counted and sent is not None:
            self.played.rtt_ms.append(1000.0 * (now - sent))
            self.played.processing_ms.append(answer.processing_ms)
            self.played.waiting_ms.append(answer.waiting_ms)
            self._last = now

    def _advance(self) -> None:
        if self._task is not None:
            self._task.advance()


# ------------------------------------------------------------------------------------------------------- the verb


def roundtrip(model: EdgeModel, inputs: Any, options: RoundtripOptions) -> Table:
    """Time the loop over two links.

    With servers on other hosts the times are the client's: round trips only, never one-way.

    Args:
        model: what a server that is started here detects with; with ``server`` it gives the drawn frames' world only.
        inputs: a video, pictures, or a folder of them; None for drawn frames.
        options: links, payload, speed.

    Returns:
        A row for the edge and one for the cloud, with the columns of the paper's Tables 5 and 6; facts hold the
        communication time below which the cloud would answer first (28.27 ms by the paper's numbers).

    Raises:
        DataError: frames that can't be read, a server that can't be reached or goes away.
        ConfigError: an address that is none.
        MissingExtraError: a package for servers or clients is missing.
    """
    from fieldsight.systems.edge import wires

    wires.needed(options)
    for address in filter(None, (options.server, options.cloud_server)):
        wires.addresses(address)
    frames = wires.frames(model, inputs, options)
    with contextlib.ExitStack() as stack:
        near = options.server or stack.enter_context(wires.local_server(model, options.isolated))
        token = options.token if options.server else ""
        far = options.cloud_server or near
        plans = [
            ("edge", wires.web_socket, near, network_of(profiles.edge_network(), options.edge)),
            ("cloud", wires.http if options.cloud_transport == "http" else wires.web_socket, far,
             network_of(profiles.cloud_network(), options.cloud)),
        ]  # fmt: skip
        rows, played = [], []
        for name, opened, address, network in plans:
            one = run_client(partial(opened, address, token), frames, options, network, f"over the {name} link")
            transport = options.cloud_transport if name == "cloud" else "websocket"
            rows.append(one.row(name, transport, options.payload))
            played.append(one)
            if one.problem:
                note(f"warning: over the {name} link the server could not use {one.errors} frames: {one.problem}")
    links = {f"{name}_link": words_of(network) for name, _, _, network in plans}
    where = {"server": "this machine" if not options.server else near, "cloud_server": far if options.server else
             "the same; only the link differs, not the computer"}  # fmt: skip
    return Table(COLUMNS, rows, "Round trip", {**verdict(rows), **links, **where, **_about(options)})


def verdict(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Who answers first, and what communication time would change that; None where one of them never answered."""
    edge, cloud = rows
    here, there = edge.get("rtt_mean"), cloud.get("rtt_mean")
    table = profiles.printed()["table6"]
    found: dict[str, Any] = {
        "faster": None, "break_even_ms": None, "cloud_communication_ms": cloud.get("communication_mean"),
        "paper_break_even_ms": round(break_even_ms(table["edge"]["rtt"][0], table["cloud"]["processing"][0]), 2),
    }  # fmt: skip
    if here is not None and there is not None:
        # negative: the cloud's worker alone takes longer than the edge's whole loop
        found |= {
            "faster": "cloud" if there < here else "edge",
            "break_even_ms": break_even_ms(here, cloud["processing_mean"]),
        }
    return found


def _about(options: RoundtripOptions) -> dict[str, Any]:
    return {
        "loop": "the next frame when the answer is back" if options.fps is None else f"{options.fps:g} frames a second",
        "clock": "the client's, from handing a frame to the link until its answer is here; no one-way times",
        "processing": "in the server's worker: unpacking, preprocessing, model, suppression",
        "throughput": "1 / mean round trip (M6); answers_per_s was counted",
        "seed": options.seed,
    }


def run_client(
    opened: Callable[[], Any],
    frames: Sequence[Frame],
    options: RoundtripOptions,
    network: Network | None,
    label: str = "frames",
) -> Played:
    """Play frames over one link, in an event loop of its own.

    Args:
        opened: gives a coroutine that opens the real connection.
        frames: what is sent.
        options: how.
        network: the link; None for the network as it is.
        label: of the bar.
    """

    async def client() -> Played:
        wire: Wire = await opened()
        link = None if network is None else Link(network, options.seed)
        async with Shaped(wire, link) as shaped:
            return await Player(shaped, frames, options, time.perf_counter).play(label)

    def run() -> Played:
        with contextlib.closing(precise_loop()) as loop:
            task = loop.create_task(client())
            try:
                return loop.run_until_complete(task)
            finally:
                task.cancel()  # after Ctrl-C it has not ended yet
                loop.run_until_complete(asyncio.gather(task, return_exceptions=True))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as pool:  # a notebook's loop runs in this thread already
        return pool.submit(contextvars.copy_context().run, run).result()


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose sleeps are good to some 0.1 ms; the usual one on Linux rounds up to whole milliseconds."""
    with contextlib.closing(socket.socket()) as probe:
        many = probe.fileno() > 900  # select() takes numbers below 1024 only
    return asyncio.new_event_loop() if many else asyncio.SelectorEventLoop(selectors.SelectSelector())
