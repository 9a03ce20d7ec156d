"""``serve``: a detector behind a socket, a page that shows it, and one photo by HTTP; until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fieldsight.studio import live as web
from fieldsight.systems.edge.options_serve import ServeOptions

if TYPE_CHECKING:
    from fieldsight.systems.edge.predict import EdgeModel
    from fieldsight.systems.edge.server_app import Server
    from fieldsight.systems.edge.worker import Find

#: What a server tells its terminal before its address.
SERVING = "Serving: "

#: What follows on a server that others reach, without certificate and without secret.
_OPEN = (
    "other machines reach this server without TLS: what is sent can be read on the way, and their browsers give the "
    "page no camera.",
    "everybody who reaches this machine may send frames.",
)


def serve(model: EdgeModel, options: ServeOptions) -> web.Served:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        model: finds the boxes, in whatever runtime it uses.
        options: address, secrets, and what is told.

    Raises:
        MissingExtraError: FastAPI, uvicorn or websockets is not installed.
        ConfigError: the port is taken, certificate and key can't be used.
    """
    web.needed("The detection server")
    from fieldsight.systems.edge import server_app

    where = web.Listening(options.host, options.port, options.tls_cert, options.tls_key, options.token)
    return web.serve(
        where,
        ("a detection server", "fieldsight edge serve"),
        lambda stack: server_app.build(server_of(model, options)),
        _OPEN,
        lambda address: print(f"{SERVING}{address}", flush=True),
        **uvicorn_settings(),
    )


def uvicorn_settings() -> dict[str, Any]:
    """Limits for uvicorn: the largest message, and no compression, which costs more than JPEG leaves to gain."""
    from fieldsight.systems.edge.protocol import MAX_BYTES, MAX_HEADER

    return {"ws_max_size": MAX_BYTES + MAX_HEADER, "ws_per_message_deflate": False}


def server_of(model: EdgeModel, options: ServeOptions) -> Server:
    """What the routes share, around a model."""
    from fieldsight.systems.edge.server_app import Server
    from fieldsight.systems.edge.worker import Worker

    return Server(Worker(finder(model, options), options.queue), model.classes, model.describe(), options.token)


def finder(model: EdgeModel, options: ServeOptions) -> Callable[[], Find]:
    """Gives the model's :meth:`find` at the options' settings, warmed up by one grey picture."""

    def make() -> Find:
        import numpy as np

        from fieldsight.systems.edge.options import PredictOptions

        chosen = PredictOptions(conf=options.conf, iou=options.iou, most=options.most)

        def find(picture: Any) -> Any:
            return model.find(picture, chosen)

        find(np.full((64, 64, 3), 114, np.uint8))  # the first call of a runtime is slow; no client is to wait for it
        return find

    return make
