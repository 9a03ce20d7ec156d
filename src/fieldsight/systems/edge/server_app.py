"""The web side of ``serve``: a page, a socket for streams of frames, and one photo by HTTP.

``/`` is the page, ``/ws`` takes frames and gives boxes (:mod:`fieldsight.systems.edge.protocol`), ``/predict`` takes
one JPEG (or one message of the socket, as ``application/octet-stream``), ``/health`` says whether it works. Nothing
that a client sends names a file of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from fieldsight._version import __version__
from fieldsight.studio import live
from fieldsight.systems.edge import protocol
from fieldsight.systems.edge.protocol import Frame, FrameError
from fieldsight.systems.edge.worker import FullError, Line, Words, Worker

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

#: Messages a second that a client may send.
MAX_RATE = 500
#: Photos by HTTP at once, and seconds that one may take to arrive.
MOST_POSTS, UPLOAD = 16, 30.0
#: Seconds in which a client must take an answer, and answers kept for one that is slow.
SLOW, KEPT = 10.0, 64


class Server:
    """What all routes share.

    Args:
        worker: owns the detector.
        classes: names of the classes, by label.
        about: the detector in a line.
        token: secret that clients must know, or nothing.
    """

    def __init__(self, worker: Worker, classes: Sequence[str] = (), about: str = "", token: str = "") -> None:
        self.worker, self.classes, self.about, self.token = worker, tuple(classes), about, token
        self.posts = 0
        self._posted: Line | None = None

    def posted(self) -> Line:
        """The line of all photos by HTTP together: they have one turn beside the streams."""
        if self._posted is None:
            self._posted = self.worker.open("photos by HTTP", lambda words: None, MOST_POSTS + 1, counted=False)
        return self._posted

    def hello(self) -> Words:
        """What a client is told first."""
        return {
            "kind": "hello", "version": __version__, "model": self.about, "classes": list(self.classes),
            "kinds": list(protocol.KINDS), "max_bytes": protocol.MAX_BYTES, "max_pixels": protocol.MAX_PIXELS,
            "queue": self.worker.depth,
        }  # fmt: skip


def build(server: Server) -> FastAPI:
    """The app; its end closes the worker.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(server.worker.close)

    app = live.empty_app("fieldsight edge", "The detection server", lifespan)
    app.state.edge = server
    add_routes(app, "", lambda: server)
    return app


def add_routes(app: FastAPI, prefix: str, server: Callable[[], Server]) -> None:
    """Add the page at ``prefix``, socket, photos and health below it; ``server`` is asked for once a client comes.

    It gives what the routes share, and is called in a thread.
    """
    from starlette.responses import JSONResponse
    from starlette.routing import Route, WebSocketRoute

    async def health(request: Request) -> Response:
        shared = await asyncio.to_thread(server)
        status = shared.worker.status()
        words = {"ok": not status["problem"], "model": shared.about, **status}
        return JSONResponse(words, 503 if status["problem"] else 200)

    async def predict(request: Request) -> Response:
        words, code = await _photo(await asyncio.to_thread(server), request)
        return JSONResponse(words, code)

    async def stream(socket: WebSocket) -> None:
        shared = await asyncio.to_thread(server)
        if await live.admitted(socket, shared.token):
            await _Client(shared, socket).run()

    app.router.routes.extend([
        live.page_route(prefix, "fieldsight.systems.edge", "serve.html"),
        Route(f"{prefix}/health", health),
        Route(f"{prefix}/predict", predict, methods=["POST"]),
        WebSocketRoute(f"{prefix}/ws", stream),
    ])  # fmt: skip


# ------------------------------------------------------------------------------------------------ one photo by HTTP


async def _photo(shared: Server, request: Request) -> tuple[Words, int]:
    """The answer to a posted photo, and the status."""
    refusal = live.refusal(request.headers, request.query_params, shared.token)
    if refusal:
        return {"error": refusal}, 403
    if shared.posts >= MOST_POSTS:
        return {"error": f"{MOST_POSTS} photos are on their way already; try again"}, 503
    shared.posts += 1
    try:
        body = await asyncio.wait_for(_body(request), UPLOAD)
        received = shared.worker.clock()
        framed = request.headers.get("content-type", "").startswith("application/octet-stream")
        frame = protocol.parse(body) if framed else Frame(0, 0.0, "jpeg", None, body)
        words = await _looked_at(shared, frame, received)
    except asyncio.TimeoutError:
        return {"error": f"the photo did not arrive within {UPLOAD:g} s"}, 408
    except FrameError as error:
        return {"id": error.id, "error": str(error)}, 413 if "at most" in str(error) else 400
    except FullError as error:
        return {"error": str(error)}, 503
    finally:
        shared.posts -= 1
    words["sent"] = shared.worker.clock()
    return words, 400 if "error" in words else 503 if "dropped" in words else 200


async def _body(request: Request) -> bytes:
    from starlette.requests import ClientDisconnect

    most = protocol.MAX_BYTES + protocol.MAX_HEADER
    too_much = FrameError(f"a photo has at most {protocol.MAX_BYTES >> 20} MiB")
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and (len(told) > 12 or int(told) > most):
        raise too_much
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_much
            parts.append(part)
    except ClientDisconnect:
        raise FrameError("the client went away") from None
    return b"".join(parts)


async def _looked_at(shared: Server, frame: Frame, received: float) -> Words:
    """Wait for a frame's turn; all photos share one line, and each has its own receiver."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Words] = loop.create_future()

    def tell(words: Words) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(words))

    line = shared.posted()
    shared.worker.put(line, frame, received, tell)
    return await done


# ------------------------------------------------------------------------------------------------------- streams


class _Client:
    """One stream: frames in, answers out, each at its own pace."""

    def __init__(self, shared: Server, socket: WebSocket) -> None:
        self.shared, self.socket = shared, socket
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._answers: deque[Words] = deque(maxlen=KEPT)  # a client that reads none stops nothing
        self._rate = live.Rate(MAX_RATE)

    async def run(self) -> None:
        """Until it goes away; then nothing of it is left."""
        try:
            line = self.shared.worker.open(self.socket.query_params.get("name", "client")[:32], self._tell)
        except FullError as error:
            await self.socket.send_json({"kind": "refused", "reason": str(error)})
            await self.socket.close(1013, str(error)[:120])
            return
        tasks = [asyncio.create_task(work) for work in (self._receive(line), self._send())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.shared.worker.leave(line)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, line: Line) -> None:
        while True:
            message = await self.socket.receive()
            received = self.shared.worker.clock()
            if message["type"] == "websocket.disconnect":
                return
            if self._rate.over():
                await self.socket.close(1008, "too many messages a second")
                return
            data = message.get("bytes")
            if data is not None and len(data) > protocol.MAX_BYTES + protocol.MAX_HEADER:
                await self.socket.close(1009, f"a message has at most {protocol.MAX_BYTES >> 20} MiB")
                return
            try:
                if data is None:
                    raise FrameError("frames are binary messages")
                self.shared.worker.put(line, protocol.parse(data), received)
            except FrameError as error:
                self.shared.worker.wrong(line, error)

    def _tell(self, words: Words) -> None:
        """Take an answer, in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._push, words)

    def _push(self, words: Words) -> None:
        self._answers.append(words)
        self._news.set()

    async def _send(self) -> None:
        await self._say(self.shared.hello())
        while True:
            await self._news.wait()
            self._news.clear()
            while self._answers:
                words = self._answers.popleft()
                if "boxes" in words:
                    words["sent"] = self.shared.worker.clock()
                await self._say(words)

    async def _say(self, words: Words) -> None:
        """Send a text; a client that takes none for too long ends here."""
        await asyncio.wait_for(self.socket.send_text(json.dumps(words, separators=(",", ":"))), SLOW)
