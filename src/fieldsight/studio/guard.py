"""What no request may do: name a server's path, make the server fetch an address, reach Gradio's developer doors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight.errors import DataError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Gradio's routes that fetch from other hosts or show internals; nothing here uses them.
CLOSED = (
    "/gradio_api/proxy=",
    "/gradio_api/file=http:",
    "/gradio_api/file=https:",
    "/gradio_api/file/",
    "/gradio_api/deep_link",
    "/gradio_api/dev/",
    "/gradio_api/process_recording",
    "/gradio_api/run-history",
    "/gradio_api/runs",
    "/gradio_api/vibe",
    "/gradio_api/undo-vibe",
    "/gradio_api/profiling",
    "/gradio_api/custom_component",
    "/monitoring",
)

#: Everything a page loads comes from this server; a browser refuses the rest.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)

_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
}


class Guard:
    """ASGI middleware around the whole app: closed routes answer 404, every page carries the policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = "/" + scope["path"].lstrip("/").lower()
        if path.startswith(CLOSED):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Not found", 404)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                present = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in _HEADERS.items() if name not in present]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, with_headers)


def only_uploads(value: Any, folder: Path) -> None:
    """Look through what a client sent for files; each must be one that was uploaded here.

    Args:
        value: plain values as JSON gives them; a file is a dictionary with ``path``.
        folder: where uploads lie.

    Raises:
        DataError: a path outside, a path that does not exist, or the address of another host.
    """
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, Mapping):
            if "path" in one:
                uploaded(one, folder)
            pending.extend(one.values())
        elif isinstance(one, (list, tuple)):
            pending.extend(one)


def uploaded(value: Any, folder: Path) -> Path:
    """The file that a client uploaded before and names now.

    Raises:
        DataError: it is no uploaded file.
    """
    path = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str) and path and "\0" not in path:
        found, home = Path(path).resolve(), folder.resolve()
        if found.is_relative_to(home) and found != home and found.is_file():
            return found
    shown = value.get("orig_name") or "this" if isinstance(value, Mapping) else "this"
    raise DataError(
        f"'{shown}' is no uploaded file. Upload it first: the Studio reads neither paths of its own machine "
        "nor addresses of others."
    )
