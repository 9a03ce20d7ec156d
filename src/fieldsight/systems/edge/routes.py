"""The detection server within the Studio, at ``/edge/live``; the model is loaded when the first client comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldsight.systems.edge.server_app import Server


def routes(app: Any) -> None:
    """Add the page, its socket and the photos by HTTP to the Studio.

    Args:
        app: the Studio's FastAPI app, before Gradio is mounted.
    """
    from fieldsight.studio.live import once
    from fieldsight.systems.edge.server_app import add_routes

    add_routes(app, "/edge/live", once(lambda: _server()))


def _server() -> Server:
    from fieldsight.model import load
    from fieldsight.systems.edge.options_serve import ServeOptions
    from fieldsight.systems.edge.serve import server_of

    return server_of(load("edge"), ServeOptions())
