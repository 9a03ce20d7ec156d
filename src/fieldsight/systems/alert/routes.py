"""The live page within the Studio, at ``/alert/live``; engines and model are made when the first client comes."""

from __future__ import annotations

from typing import Any


def routes(app: Any) -> None:
    """Add the live page and its sockets to the Studio.

    Args:
        app: the Studio's FastAPI app, before Gradio is mounted.
    """
    from fieldsight.studio.live import once
    from fieldsight.systems.alert.live_app import add_routes

    add_routes(app, "/alert/live", once(_server))


def _server() -> Any:
    from fieldsight.model import load
    from fieldsight.systems.alert.live_app import Server
    from fieldsight.systems.alert.watching import Hub

    model = load("alert")
    return Server(Hub(model.config, model.artefacts.get("surface")))
