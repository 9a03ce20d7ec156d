"""The web side of ``live``: the page, sockets for those who send frames and for those who look.

``/`` is the page, ``/feed`` takes frames (each sender has an engine of its own), ``/watch`` tells what is seen, and
``/health`` says in one line whether somebody watches. Nothing that a client sends names a file of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fieldsight._version import __version__
from fieldsight.errors import DataError, FieldsightError
from fieldsight.studio import live
from fieldsight.systems.alert import SPEC, live_view
from fieldsight.systems.alert.config import PRESETS, AlertConfig
from fieldsight.systems.alert.live_sources import Demo, Depth, coloured, picture
from fieldsight.systems.alert.state import AlertState
from fieldsight.systems.alert.stream import Decoder
from fieldsight.systems.alert.watching import Feed, Hub, Seen, View

if TYPE_CHECKING:
    from fastapi import FastAPI, WebSocket

#: Largest message with a frame, and with settings, in bytes.
MAX_FRAME, MAX_WORDS = 8 * 2**20, 4096
#: Messages a second that a sender, and a viewer, may send.
MAX_RATE, MAX_WORDS_RATE = 500, 40
#: Viewers at once.
MOST_VIEWERS = 32
#: Seconds between two looks at a feed, at least between two messages of one state, at most between two messages, and
#: between two pictures.
LOOK, LEAST, BEAT, PICTURE = 0.03, 0.06, 0.25, 0.09

#: The three settings of the sliders, as the paper's app has them.
SLIDERS = {
    words: (PRESETS[name].speed_threshold, PRESETS[name].tti_threshold)
    for words, name in (("fragile", "fragile"), ("default", "base"), ("robust", "robust"))
}


class Server:
    """What all routes share.

    Args:
        hub: the senders.
        depth: network for pictures of cameras, or None.
        token: secret that clients must know, or nothing.
        beep: the page beeps at alarms.
        say: told what is worth a line.
    """

    def __init__(
        self,
        hub: Hub,
        depth: Depth | None = None,
        token: str = "",
        beep: bool = True,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.hub, self.depth, self.token, self.beep = hub, depth, token, beep
        self.say = say or (lambda words: None)
        self.demo = Demo(hub)
        self.viewers = 0


def build(
    config: AlertConfig | None = None,
    surface: Mapping[str, Any] | None = None,
    hub: Hub | None = None,
    **more: Any,
) -> FastAPI:
    """The app.

    Args:
        config: settings of every engine.
        surface: what was measured of the thresholds, or None.
        hub: the senders; a new hub without it.
        more: of :class:`Server`.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    app = live.empty_app("fieldsight alert", "The live page")
    server = Server(hub or Hub(config or AlertConfig(), surface), **more)
    app.state.alert = server
    add_routes(app, "", lambda: server)
    return app


def add_routes(app: FastAPI, prefix: str, server: Callable[[], Server]) -> None:
    """Add page and sockets to an app.

    Args:
        app: the app.
        prefix: in front of every address; the page itself stands at the prefix.
        server: gives what the routes share; called when the first client comes, in a thread.
    """
    from fastapi import WebSocket
    from fastapi.responses import JSONResponse

    # annotations are strings here: FastAPI looks for their names in this module
    globals().update(WebSocket=WebSocket)
    page = live.page_route(prefix, "fieldsight.systems.alert", "live.html", notice=SPEC.notice)
    app.router.routes.append(page)

    @app.get(f"{prefix}/health")
    def health() -> JSONResponse:
        state = server().hub.status()
        watching = state.judged
        words = {"watching": watching, "state": state.state, "reason": state.reason}
        return JSONResponse(words, 200 if watching else 503)

    @app.websocket(f"{prefix}/feed")
    async def feed(socket: WebSocket) -> None:
        shared = await asyncio.to_thread(server)
        if await live.admitted(socket, shared.token):
            await _Sender(shared, socket).run()

    @app.websocket(f"{prefix}/watch")
    async def watch(socket: WebSocket) -> None:
        shared = await asyncio.to_thread(server)
        if await live.admitted(socket, shared.token):
            await _Viewer(shared, socket).run()


# ------------------------------------------------------------------------------------------- those who send frames


class _Sender:
    """One sender: the newest frame is judged, older ones that wait are left out."""

    def __init__(self, shared: Server, socket: WebSocket) -> None:
        self.shared, self.socket = shared, socket
        self._waiting: bytes | None = None
        self._news, self._spoken = asyncio.Event(), asyncio.Event()
        self._answers: deque[Mapping[str, Any]] = deque(maxlen=64)  # a sender that reads none stops nothing
        self._rate, self._words = live.Rate(MAX_RATE), live.Rate(MAX_WORDS_RATE)
        self._began = time.monotonic()

    async def run(self) -> None:
        name = self.socket.query_params.get("name", "sender")
        try:
            feed = self.shared.hub.open(name)
        except FieldsightError as error:
            await self.socket.send_json({"kind": "refused", "reason": str(error)})
            await self.socket.close(1013, str(error)[:120])
            return
        self.shared.say(f"{feed.name} is connected")
        tasks: list[asyncio.Task[None]] = []
        try:
            await self.socket.send_json({"kind": "hello", "feed": feed.name, "colour": self.shared.depth is not None})
            tasks += [asyncio.create_task(work(feed)) for work in (self._receive, self._judge, self._tell)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            feed.end("the sender has gone")
            self.shared.say(f"{feed.name} has gone")

    async def _receive(self, feed: Feed) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data, text = message.get("bytes"), message.get("text")
            size = len(data) if data is not None else len(text or "")
            if size > (MAX_FRAME if data is not None else MAX_WORDS):
                feed.trouble(f"a message of {size} bytes is too large")
                await self.socket.close(1009, f"a message has at most {MAX_FRAME >> 20} MB")
                return
            if self._rate.over() or (text is not None and self._words.over()):
                await self.socket.close(1008, "too many messages a second")
                return
            if data is not None:
                if self._waiting is not None:
                    feed.drop()
                self._waiting = data
                self._news.set()
            else:
                await self._settings(feed, text or "")

    async def _settings(self, feed: Feed, text: str) -> None:
        try:
            facts = _facts(text)
        except DataError as error:
            self._wrong(feed, error)
            return
        feed.know(**facts)

    def _answer(self, words: Mapping[str, Any]) -> None:
        self._answers.append(words)
        self._spoken.set()

    def _wrong(self, feed: Feed, error: FieldsightError) -> None:
        feed.trouble(str(error))
        self._answer({"kind": "error", "error": str(error)})

    async def _judge(self, feed: Feed) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            data, self._waiting = self._waiting, None
            if data is None:
                continue
            try:
                state = await asyncio.to_thread(self._work, feed, data, self.shared.hub.clock())
            except FieldsightError as error:
                self._wrong(feed, error)
                continue
            if state is not None:
                self._answer({"kind": "state", **plain(feed.now(state))})

    def _work(self, feed: Feed, data: bytes, arrived: float) -> AlertState | None:
        coloured_t = _colour_time(data)
        if coloured_t is not None:
            if self.shared.depth is None:
                raise DataError("Pictures need a network that gives depth: start with --depth-model FILE.onnx.")
            rgb = picture(data[data.find(b"\n") + 1 :])
            return feed.take(coloured(rgb, coloured_t, self.shared.depth), arrived)
        decoder = Decoder()
        frames = decoder.feed(data)
        decoder.close()
        if not frames:
            raise DataError("The message holds no frame.")
        states = [feed.take(frame, arrived) for frame in frames]
        return next((s for s in reversed(states) if s is not None), None)

    async def _tell(self, feed: Feed) -> None:
        """Answers, and that nobody watches: what sends may be what the wearer hears."""
        told = ""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._spoken.wait(), BEAT)
            self._spoken.clear()
            while self._answers:
                await self.socket.send_json(dict(self._answers.popleft()))
            problem = feed.problem().partition(" for ")[0]
            if problem and problem != told:
                await self.socket.send_json({"kind": "lost", **plain(feed.status())})
            told = problem


def _facts(text: str) -> dict[str, float]:
    """``max_range`` and ``camera_height`` out of a sender's words.

    Raises:
        DataError: no JSON object, or no numbers within reason.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("Words of a sender are a JSON object, frames are binary messages.") from None
    if not isinstance(values, dict):
        raise DataError("Words of a sender are a JSON object.")
    found = {}
    for name, most in (("max_range", 300.0), ("camera_height", 3.0)):
        if name in values:
            found[name] = _within(values[name], name, 0.01, most)
    return found


def _within(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise DataError(f"{name} is a number from {low:g} to {high:g}.")
    return float(value)


def _colour_time(data: bytes) -> float | None:
    """The time of a message that holds a picture and not depth; None for all others."""
    end = data.find(b"\n", 0, 1024)
    if end < 0 or b'"picture"' not in data[:end]:
        return None
    try:
        t = json.loads(data[:end])["t"]
        return _within(t, "t", -1e12, 1e12)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError('A picture begins with a line such as {"t": 1.5, "picture": true}.') from None


def plain(state: AlertState) -> dict[str, Any]:
    """A state for a page or a phone: as it is written, and short."""
    return {**state.to_dict(), "message": dict(state.message())}


# --------------------------------------------------------------------------------------------- those who look


class _Viewer:
    """One viewer: told what holds at every change and four times a second, whatever happens."""

    def __init__(self, shared: Server, socket: WebSocket) -> None:
        self.shared, self.socket = shared, socket
        config = shared.hub.config
        self.view = View(config.speed_threshold, config.tti_threshold)
        self.wanted: str | None = None
        self._rate = live.Rate(MAX_WORDS_RATE)
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        if self.shared.viewers >= MOST_VIEWERS:
            await self.socket.send_json({"kind": "refused", "reason": f"{MOST_VIEWERS} pages are open already"})
            await self.socket.close(1013)
            return
        self.shared.viewers += 1
        tasks: list[asyncio.Task[None]] = []
        try:
            await self.socket.send_json(self._hello())
            tasks += [asyncio.create_task(work()) for work in (self._receive, self._tell)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.shared.viewers -= 1
            self.shared.demo.leave(self)

    def _hello(self) -> dict[str, Any]:
        config = self.shared.hub.config
        return {
            "kind": "hello",
            "version": __version__,
            "mode": config.mode,
            "modes": list(PRESETS),
            "period": config.period,
            "thresholds": {"speed": config.speed_threshold, "tti": config.tti_threshold},
            "presets": {name: {"speed": speed, "tti": tti} for name, (speed, tti) in SLIDERS.items()},
            "expected": live_view.expected(self.shared.hub.surface, config.speed_threshold, config.tti_threshold),
            "beep": self.shared.beep,
            "colour": self.shared.depth is not None,
        }

    async def _send(self, words: Mapping[str, Any] | bytes) -> None:
        async with self._sending:
            if isinstance(words, bytes):
                await self.socket.send_bytes(words)
            else:
                await self.socket.send_json(dict(words))

    async def _receive(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or ""
            if len(text) > MAX_WORDS or self._rate.over():
                await self.socket.close(1008, "too much at once")
                return
            try:
                await self._asked(text)
            except FieldsightError as error:
                await self._send({"kind": "error", "error": str(error)})

    async def _asked(self, text: str) -> None:
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise DataError("Words of a viewer are a JSON object.")
        if "thresholds" in asked:
            given = asked["thresholds"] if isinstance(asked["thresholds"], dict) else {}
            speed = _within(given.get("speed"), "speed", -50, 0)
            tti = _within(given.get("tti"), "tti", 0, 60)
            self.view.thresholds(speed, tti)
            told = live_view.expected(self.shared.hub.surface, speed, tti)
            await self._send({"kind": "expected", "speed": speed, "tti": tti, **told})
        if "feed" in asked:
            self.wanted = str(asked["feed"])[:64] if asked["feed"] is not None else None
        if asked.get("demo") is True:
            self.wanted = (await asyncio.to_thread(self.shared.demo.play, self)).name
        elif asked.get("demo") is False:
            self.shared.demo.leave(self)
            self.wanted = None

    async def _tell(self) -> None:
        number, said, at, drawn = -1, "", 0.0, 0.0
        while True:
            feed = self.shared.hub.find(self.wanted)
            state = self.view.look(feed)
            seen = feed.seen if feed is not None else None
            now = time.monotonic()
            news = (seen.number if seen is not None else 0) != number
            if state.state != said or (news and now - at >= LEAST) or now - at >= BEAT:
                number, said, at = seen.number if seen is not None else 0, state.state, now
                await self._send(self._words(feed, state))
                if seen is not None and news and now - drawn >= PICTURE and feed is not None:
                    drawn = now
                    await self._send(await asyncio.to_thread(feed.picture))
            await asyncio.sleep(LOOK)

    def _words(self, feed: Feed | None, state: AlertState) -> dict[str, Any]:
        found: dict[str, Any] = {
            "kind": "state",
            **plain(state),
            "watching": state.judged,
            "thresholds": {"speed": self.view.speed, "tti": self.view.tti},
            "feeds": [name for name, f in list(self.shared.hub.feeds.items()) if not f.ended],
            "feed": feed.name if feed is not None else None,
        }
        if feed is None:
            return found
        seen, problem = feed.seen, feed.problem()
        found |= {
            "mode": feed.config.mode,
            "selftest": (feed.report.lost(problem) if problem and seen else feed.report).to_dict(),
            "latency": live_view.latency(list(feed.latency)),
            "counts": {"frames": feed.frames, "bad": feed.bad, "dropped": feed.dropped},
        }
        if seen is not None:
            previous, difference = _before(feed, seen, state)
            found |= {
                "number": seen.number,
                "previous": previous,
                "difference": difference,
                "overlay": live_view.overlay(seen.frame, feed.config, state),
                "size": list(seen.frame.depth.shape),
            }
        return found


def _before(feed: Feed, seen: Seen, state: AlertState) -> tuple[float | None, float | None]:
    """The distance before and the difference, as the paper's screen has them: of the moved pixels in its modes."""
    previous, difference = seen.previous, state.distance - seen.previous
    if feed.config.mode not in live_view.AHEAD and not math.isnan(state.dt):
        difference = state.speed * state.dt
        previous = state.distance - difference
    found = [None if math.isnan(value) else value for value in (previous, difference)]
    return found[0], found[1]
