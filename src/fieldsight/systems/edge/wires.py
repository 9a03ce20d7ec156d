"""What ``roundtrip`` sends, and over what: frames, connections by WebSocket and HTTP, a server started here."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from fieldsight.data.detection.letterbox import letterbox, place, read_photo
from fieldsight.data.detection.sample import Picture
from fieldsight.data.folders import gather
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.progress import note
from fieldsight.studio import live
from fieldsight.systems.edge import VIDEO_SUFFIXES
from fieldsight.systems.edge.options_serve import RoundtripOptions, ServeOptions
from fieldsight.systems.edge.protocol import MAX_ANSWER, Frame, pack
from fieldsight.systems.edge.serve import SERVING, server_of, uvicorn_settings

if TYPE_CHECKING:
    from fieldsight.systems.edge.predict import EdgeModel

#: Seconds for a server to start, and for a connection to open.
START, OPEN = 120.0, 10.0
#: Bytes of all different frames together.
_MOST_BYTES = 512_000_000


def needed(options: RoundtripOptions) -> None:
    """See that the packages are there.

    Raises:
        MissingExtraError: one is not.
    """
    live.needed("The round trip")
    if options.cloud_transport == "http" and importlib.util.find_spec("httpx") is None:
        raise MissingExtraError("httpx", "studio", "The round trip over HTTP")


# --------------------------------------------------------------------------------------------------------- frames


def frames(model: EdgeModel, inputs: Any, options: RoundtripOptions) -> list[Frame]:
    """Different frames as they are sent, all packed before the clock runs.

    Raises:
        DataError: no picture that can be read.
    """
    each = {"jpeg": 1, "raw": 3, "float32": 12}[options.payload] * options.side**2
    count = min(options.pictures, max(1, _MOST_BYTES // each))
    found = []
    for picture in _pictures(model, inputs, count, options):
        boxed = letterbox(picture, place((picture.shape[0], picture.shape[1]), options.side))
        data = pack(boxed, options.payload, options.quality)
        found.append(Frame(0, 0.0, options.payload, (options.side, options.side), data))
        if len(found) == count:
            break
    return found


def _pictures(model: EdgeModel, inputs: Any, count: int, options: RoundtripOptions) -> Iterator[Picture]:
    if inputs is None:
        from fieldsight.systems.edge.data import draw

        for sample in draw(model.config.data.world, {"test": count}, min(options.side, 640), options.seed):
            yield sample.image()
        return
    given = 0
    for item in gather(inputs, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)):
        if isinstance(item.value, Path) and item.value.suffix.lower() in VIDEO_SUFFIXES:
            for picture in _of_video(item.value):
                given += 1
                yield picture
            continue
        given += 1
        yield read_photo(item.value) if isinstance(item.value, Path) else item.value
    if not given:
        raise DataError("The input holds no frame that can be read.")


def _of_video(path: Path) -> Iterator[Picture]:
    """Frames one after the other; damaged ones are left out."""
    from fieldsight.data.video import Frames, Video

    given = False
    with contextlib.closing(Video(path)) as video:
        found = Frames(video)
        for _, picture in found:
            given = True
            yield picture
    for text in found.notes:
        note(f"'{path}': {text}")
    if not given:
        raise DataError(f"'{path}' holds no frame that can be read.")


# ---------------------------------------------------------------------------------------------------- connections


def addresses(address: str, token: str = "") -> tuple[str, str]:
    """Addresses of a server's socket and of its photos, from whichever of them, or the server's, is given.

    Raises:
        ConfigError: no address of a server.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"server: '{address}' is no address: {error}.") from None
    if parts.scheme not in ("ws", "wss", "http", "https") or not host:
        raise ConfigError(f"server: give ws://HOST:PORT (or wss, http, https), got '{address}'.")
    secure = "s" if parts.scheme in ("wss", "https") else ""
    path = parts.path.rstrip("/")
    for end in ("/ws", "/predict"):
        path = path.removesuffix(end)
    query = f"?token={quote(token, safe='')}" if token else ""
    return tuple(f"{kind}{secure}://{parts.netloc}{path}{end}{query}" for kind, end in
                 (("ws", "/ws"), ("http", "/predict")))  # type: ignore[return-value]  # fmt: skip


def _local(address: str) -> bool:
    return urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")


def _unreachable(address: str, error: Exception) -> DataError:
    told = str(error) or type(error).__name__
    return DataError(f"Can't reach '{address.split('?')[0]}': {told}. Start a server there: fieldsight edge serve")


class _Socket:
    """A WebSocket as a wire."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def send(self, message: bytes) -> None:
        await self.connection.send(message)

    async def receive(self) -> str | bytes:
        return await self.connection.recv()

    async def close(self) -> None:
        await self.connection.close()


async def web_socket(address: str, token: str) -> _Socket:
    """Open a server's socket.

    Raises:
        DataError: it can't be reached.
    """
    import websockets
    from websockets.asyncio.client import connect

    url, _ = addresses(address, token)
    more: dict[str, Any] = {}
    if int(importlib.metadata.version("websockets").split(".")[0]) >= 15 and _local(address):
        more["proxy"] = None  # newer versions ask the environment for one
    try:
        return _Socket(await connect(url, max_size=MAX_ANSWER, compression=None, open_timeout=OPEN, **more))
    except (OSError, websockets.exceptions.WebSocketException, asyncio.TimeoutError) as error:
        raise _unreachable(url, error) from None


class _Http:
    """Posts as a wire: each message is a request, its answer the next message back."""

    def __init__(self, client: Any, url: str) -> None:
        self.client, self.url = client, url
        self._answers: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, message: bytes) -> None:
        task = asyncio.create_task(self._post(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, message: bytes) -> None:
        import httpx

        try:
            got = await self.client.post(
                self.url, content=message, headers={"content-type": "application/octet-stream"}
            )
            if got.status_code in (401, 403, 404, 405):
                raise DataError(f"'{self.url.split('?')[0]}' answers {got.status_code}: {got.text[:200]}")
            self._answers.put_nowait(got.text)
        except httpx.HTTPError as error:
            self._answers.put_nowait(_unreachable(self.url, error))
        except DataError as error:
            self._answers.put_nowait(error)

    async def receive(self) -> str | bytes:
        found = await self._answers.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.aclose()


async def http(address: str, token: str) -> _Http:
    """Ready a client for a server's photos by HTTP, as the paper's remote predictor is asked."""
    import httpx

    _, url = addresses(address, token)
    return _Http(httpx.AsyncClient(timeout=None, trust_env=not _local(address)), url)


# ------------------------------------------------------------------------------------------------------- a server


def local_server(model: EdgeModel, isolated: bool) -> contextlib.AbstractContextManager[str]:
    """A server on this machine; gives its address.

    Args:
        model: what it detects with.
        isolated: as a process of its own, which loads the model's weights and runs them in eager torch, so that client
            and server do not share one Python; else as a thread with the model as it is.

    Raises:
        DataError: it does not start.
    """
    return _process(model) if isolated else _thread(model)


@contextlib.contextmanager
def _thread(model: EdgeModel) -> Iterator[str]:
    from fieldsight.studio import serve as web
    from fieldsight.systems.edge import server_app

    app = server_app.build(server_of(model, ServeOptions()))
    with contextlib.closing(web.take("127.0.0.1", 0, "a detection server", "fieldsight edge serve")) as listening:
        stop, ready = web.Stop(), threading.Event()
        thread = threading.Thread(
            target=web.run, args=(app, "127.0.0.1", listening, stop, ready.set, lambda: None),
            kwargs=uvicorn_settings(), name="edge server", daemon=True,
        )  # fmt: skip
        thread.start()
        while not ready.wait(0.05):
            if not thread.is_alive():
                raise DataError("The server did not start.")
        try:
            yield web.address_of("127.0.0.1", listening)
        finally:
            stop.server.should_exit = True
            thread.join(10.0)


def command(folder: Path) -> list[str]:
    """What starts a server with the model in a folder."""
    return [sys.executable, "-m", "fieldsight", "edge", "serve", "--port", "0", "--model", str(folder), "--quiet"]


@contextlib.contextmanager
def _process(model: EdgeModel) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fieldsight-") as scratch, tempfile.TemporaryFile() as errors:
        folder = model.save(Path(scratch) / "model")
        child = subprocess.Popen(command(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        try:
            address = _told(child, START)
            if address is None:
                errors.seek(0)
                why = errors.read()[-400:].decode(errors="replace").strip() or "it said nothing"
                raise DataError(f"The server did not start: {why}. Try --no-isolated.")
            yield address
        finally:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _told(child: subprocess.Popen[bytes], patience: float) -> str | None:
    """The address that a server prints; None where it ends or takes too long."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed under us
            for line in child.stdout:
                lines.put(line.decode(errors="replace"))
        lines.put(None)

    threading.Thread(target=read, name="edge server's words", daemon=True).start()
    with contextlib.suppress(queue.Empty):
        while (line := lines.get(timeout=patience)) is not None:
            if line.startswith(SERVING):
                return line.removeprefix(SERVING).strip()
    return None
