"""``live``: serve the page, take frames, warn; until Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from fieldsight.config import options as options_of
from fieldsight.errors import FieldsightError
from fieldsight.model import Model
from fieldsight.progress import note
from fieldsight.studio import live as web
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.options import LiveOptions

#: What follows where a server that others reach has no certificate, and no token.
WORDS = (
    "other machines reach this page without TLS: what is sent can be read on the way, and a phone's browser gives no "
    "camera and lets the screen sleep.",
    "everybody who reaches this machine may look and send.",
)


def live(model: Model, options: LiveOptions) -> web.Served:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        model: gives the measured surface of the thresholds, where it has one.
        options: settings of the engine, and of the server.

    Raises:
        MissingExtraError: FastAPI, uvicorn or websockets is not installed.
        ConfigError: the port is taken, certificate and key can't be used, the source is none.
        DataError: the recording to be played can't be read.
    """
    web.needed("The live page")
    where = web.Listening(options.host, options.port, options.tls_cert, options.tls_key, options.token)

    def told(address: str) -> None:
        stream = sys.stderr if options.cane == "-" else sys.stdout  # there the cane's lines stand alone
        print(f"Live: {address}", file=stream, flush=True)

    who = ("a live page", "fieldsight alert live")
    return web.serve(where, who, lambda stack: _app(model, options, stack), WORDS, told, ws_max_size=9 * 2**20)


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
