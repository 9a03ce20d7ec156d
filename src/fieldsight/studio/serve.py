"""``fieldsight studio``: take the port, start, say so, stop cleanly."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from fieldsight.errors import ConfigError, MissingExtraError

#: Hosts that only this machine reaches.
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(host: str, port: int, runs: Path, open_browser: bool) -> int:
    """Serve the Studio until Ctrl-C or SIGTERM; returns the exit code.

    Args:
        host: address to listen on.
        port: port to listen on.
        runs: folder of runs to browse.
        open_browser: open the browser once the Studio answers.

    Raises:
        MissingExtraError: Gradio is not installed.
        ConfigError: the port is taken or not allowed, the host can't be used.
    """
    for package in ("gradio", "websockets"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "studio", "The Studio")
    with contextlib.closing(take(host, port)) as listening, Stop() as stop:
        try:
            return _serve(host, address_of(host, listening), listening, runs, open_browser, stop)
        except KeyboardInterrupt:
            return 0


def address_of(host: str, listening: socket.socket, scheme: str = "http") -> str:
    """Where a browser on this machine finds the server."""
    name = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{listening.getsockname()[1]}"


def take(host: str, port: int, who: str = "a Studio", command: str = "fieldsight studio") -> socket.socket:
    """Bind and listen, before anything slow happens.

    Args:
        host: address to listen on.
        port: port to listen on.
        who: what perhaps holds the port, for the message.
        command: what to start on another port, for the message.

    Raises:
        ConfigError: the port is taken, needs rights, or is no port; the host is not an address of this machine.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"port: must be from 0 to 65535, got {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere the option would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except PermissionError:
        listening.close()
        raise ConfigError(f"port: {port} needs special rights here. Choose one above 1023: --port 8765.") from None
    except OverflowError as error:
        listening.close()
        raise ConfigError(f"port: {error}") from None
    except socket.gaierror:
        listening.close()
        raise ConfigError(f"host: '{host}' is not known. Use 127.0.0.1, or 0.0.0.0 to let other machines in.") from None
    except OSError as error:
        listening.close()
        if _taken(host, port, family):
            raise ConfigError(
                f"port: {port} is taken, perhaps by {who} that still runs: look at http://{host}:{port}, "
                f"or choose another port: {command} --port {_free(host, port, family)}"
            ) from None
        raise ConfigError(f"host: can't listen on '{host}': {error.strerror or error}.") from None
    return listening


def _taken(host: str, port: int, family: int) -> bool:
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as other:
        try:
            other.bind((host, 0))  # the host is ours, so the port was the trouble
        except OSError:
            return False
    return port != 0


def _free(host: str, port: int, family: int) -> int:
    for candidate in range(port + 1, min(port + 50, 65535) + 1):
        with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as other:
            try:
                other.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return 0


class Stop:
    """Ctrl-C and SIGTERM: before the server runs they end the start, then they ask it to stop; a third one insists."""

    def __init__(self) -> None:
        self.server: Any = None
        self._before: dict[int, Any] = {}
        self._asked = 0

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._asked_to)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked_to(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self.server is None:
            raise KeyboardInterrupt
        self.server.should_exit = True
        self.server.force_exit = self._asked > 1


def run(
    app: Any,
    host: str,
    listening: socket.socket,
    stop: Stop,
    started: Callable[[], None],
    stopping: Callable[[], None],
    **settings: Any,
) -> bool:
    """Serve an app on a socket that listens already, until ``stop``; False where it could not start.

    Args:
        app: the app; on hosts that only this machine reaches it answers to their names alone.
        host: address it listens on.
        listening: the socket.
        stop: what ends it.
        started: called once it answers.
        stopping: called before connections are closed.
        settings: of uvicorn.
    """
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if host in LOCAL:  # another name for this machine in a request is another site's trick
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "::1"])

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours are in place

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                started()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stopping()
            await super().shutdown(sockets=sockets)

    server = Server(
        uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=1,
            lifespan="on",
            ws="websockets-sansio",
            **settings,
        )
    )
    stop.server = server
    server.run(sockets=[listening])
    return bool(server.started)


def _serve(host: str, address: str, listening: socket.socket, runs: Path, open_browser: bool, stop: Stop) -> int:
    from fieldsight.studio.app import build, scratch

    app = build(runs)

    def started() -> None:
        print(f"Studio: {address}", flush=True)
        if open_browser:
            threading.Thread(target=_open, args=(address,), daemon=True).start()

    if not run(app, host, listening, stop, started, app.state.jobs.stop):
        return 1
    if app.state.jobs.running():
        # work that does not listen must not hold the terminal; what it would have given is thrown away anyway
        import shutil

        shutil.rmtree(scratch(), ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)
