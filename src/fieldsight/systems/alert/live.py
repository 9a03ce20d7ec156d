"""``live``: serve the page, take frames, warn; until Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib.util
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fieldsight.config import options as options_of
from fieldsight.errors import ConfigError, FieldsightError, MissingExtraError
from fieldsight.model import Model
from fieldsight.progress import note
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.options import LiveOptions


@dataclass(frozen=True)
class Served:
    """What is left when the server has stopped: nothing but its address."""

    address: str
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"address": self.address}

    def lines(self) -> list[str]:
        """Nothing: the address was printed while it was of use."""
        return []


def live(model: Model, options: LiveOptions) -> Served:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        model: gives the measured surface of the thresholds, where it has one.
        options: settings of the engine, and of the server.

    Raises:
        MissingExtraError: FastAPI, uvicorn or websockets is not installed.
        ConfigError: the port is taken, certificate and key can't be used, the source is none.
        DataError: the recording to be played can't be read.
    """
    for package in ("fastapi", "uvicorn", "websockets"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "studio", "The live page")
    from fieldsight.studio import serve

    tls = tls_of(options)
    command = "fieldsight alert live"
    with contextlib.closing(serve.take(options.host, options.port, "a live page", command)) as listening:
        scheme = "https" if tls else "http"
        address = serve.address_of(options.host, listening, scheme)
        with serve.Stop() as stop, contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
            app = _app(model, options, stack)
            for warning in warnings_of(options, serve.LOCAL):
                note(f"warning: {warning}")
            secret = f"#token={quote(options.token, safe='')}" if options.token else ""

            def started() -> None:
                told = sys.stderr if options.cane == "-" else sys.stdout  # there the cane's lines stand alone
                print(f"Live: {address}/{secret}", file=told, flush=True)

            well = serve.run(app, options.host, listening, stop, started, lambda: None, **tls, ws_max_size=9 * 2**20)
            return Served(address, 0 if well else 1)
    return Served(address)


def tls_of(options: LiveOptions) -> dict[str, Any]:
    """Certificate and key for the server, tried out before anything else happens.

    Raises:
        ConfigError: one without the other, a file that can't be read, or a pair that does not fit.
    """
    if options.tls_cert is None or options.tls_key is None:
        if options.tls_cert is not options.tls_key:
            raise ConfigError("tls_cert, tls_key: give both, or none")
        return {}
    problems = [
        f"{name}: can't read '{path}': {problem}"
        for name, path in (("tls_cert", options.tls_cert), ("tls_key", options.tls_key))
        if (problem := _unreadable(path))
    ]
    if problems:
        raise ConfigError(problems)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            options.tls_cert, options.tls_key, password=lambda: ""
        )
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"tls_cert, tls_key: '{options.tls_cert}' and '{options.tls_key}' are no certificate and its key in PEM "
            f"without a password: {error}"
        ) from None
    return {"ssl_certfile": str(options.tls_cert), "ssl_keyfile": str(options.tls_key)}


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{error.strerror or error}."
    return ""


def warnings_of(options: LiveOptions, local: tuple[str, ...]) -> list[str]:
    """What is not as it should be on a server that others reach."""
    found: list[str] = []
    if options.host in local:
        return found
    if options.tls_cert is None:
        found.append(
            "other machines reach this page without TLS: what is sent can be read on the way, and a phone's browser "
            "gives no camera and lets the screen sleep. Add --tls-cert FILE --tls-key FILE."
        )
    if not options.token:
        found.append("everybody who reaches this machine may look and send. Add --token SECRET.")
    return found


def _app(model: Model, options: LiveOptions, stack: contextlib.ExitStack) -> Any:
    from fieldsight.systems.alert import live_app, live_sources
    from fieldsight.systems.alert.sinks import CaneSink
    from fieldsight.systems.alert.watching import Hub

    config = AlertConfig.parse({o.name: getattr(options, o.name) for o in options_of(AlertConfig)})
    hub = Hub(config, model.artefacts.get("surface"))
    depth = None
    if options.depth_model is not None:
        depth = live_sources.depth_of(options.depth_model, options.depth_output, options.camera_height)
    app = live_app.build(hub=hub, depth=depth, token=options.token, beep=options.beep, say=note)
    end = threading.Event()
    stack.callback(end.set)
    if options.source:
        live_sources.start(hub, live_sources.pump_of(options.source, depth), "source", end)
    if options.cane:
        sink = stack.enter_context(CaneSink(options.cane))
        stack.enter_context(_driving(hub, sink))
    return app


@contextlib.contextmanager
def _driving(hub: Any, sink: Any) -> Iterator[None]:
    """Tell the cane handle what holds, twenty times a second, and a person what is wrong with the handle."""
    end = threading.Event()

    def work() -> None:
        told = ""
        while not end.wait(0.05):
            with contextlib.suppress(FieldsightError):
                sink.send(hub.status())
            if sink.problem != told:
                told = sink.problem
                note(f"warning: {told}" if told else "the cane handle is there again")

    thread = threading.Thread(target=work, name="driving the cane", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(1.0)
