"""What servers of live pages have in common: who may come in, what a page may do, certificates, how many messages.

A live page is one HTML file with its own script and style, and sockets beside it; it runs by itself or within the
Studio.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import importlib.util
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from fieldsight._version import __version__
from fieldsight.errors import ConfigError, MissingExtraError
from fieldsight.progress import note

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.websockets import WebSocket

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """What is left when a server has stopped: nothing but its address."""

    address: str
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"address": self.address}

    def lines(self) -> list[str]:
        """Nothing: the address was printed while it was of use."""
        return []


@dataclass(frozen=True)
class Listening:
    """Where and how a server listens.

    Attributes:
        host, port: of the address; port 0 takes a free one.
        tls_cert, tls_key: certificate and private key (PEM), both or none.
        token: secret that clients must know, or nothing.
    """

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: str = ""

    def tls(self) -> dict[str, Any]:
        """Certificate and key as uvicorn takes them, tried out before anything else happens.

        Raises:
            ConfigError: one without the other, a file that can't be read, or a pair that does not fit.
        """
        if self.tls_cert is None or self.tls_key is None:
            if self.tls_cert is not self.tls_key:
                raise ConfigError("tls_cert, tls_key: give both, or none")
            return {}
        problems = [
            f"{name}: can't read '{path}': {problem}"
            for name, path in (("tls_cert", self.tls_cert), ("tls_key", self.tls_key))
            if (problem := _unreadable(path))
        ]
        if problems:
            raise ConfigError(problems)
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.tls_cert, self.tls_key, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"tls_cert, tls_key: '{self.tls_cert}' and '{self.tls_key}' are no certificate and its key in PEM "
                f"without a password: {error}"
            ) from None
        return {"ssl_certfile": str(self.tls_cert), "ssl_keyfile": str(self.tls_key)}

    def warnings(self, local: tuple[str, ...], without_tls: str, without_token: str) -> list[str]:
        """What is not as it should be on a server that others reach.

        Args:
            local: hosts that only this machine reaches.
            without_tls, without_token: what follows where these are missing.
        """
        if self.host in local:
            return []
        found = []
        if self.tls_cert is None:
            found.append(f"{without_tls} Add --tls-cert FILE --tls-key FILE.")
        if not self.token:
            found.append(f"{without_token} Add --token SECRET.")
        return found


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{error.strerror or error}."
    return ""


def needed(what: str) -> None:
    """See that the packages of a live server are there.

    Raises:
        MissingExtraError: one is not.
    """
    for package in ("fastapi", "uvicorn", "websockets"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "studio", what)


def serve(
    where: Listening,
    who: tuple[str, str],
    app_of: Callable[[contextlib.ExitStack], Any],
    words: tuple[str, str],
    told: Callable[[str], None],
    **uvicorn: Any,
) -> Served:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        where: address, certificate, token.
        who: what takes the port, and its command, for the message that somebody else has it.
        app_of: makes the app when the port is taken; what it puts on the stack is closed at the end.
        words: see :meth:`Listening.warnings`.
        told: given the address with the token when the server answers.
        uvicorn: further settings of uvicorn.

    Raises:
        ConfigError: the port is taken, or certificate and key can't be used.
    """
    from fieldsight.studio import serve as web

    tls = where.tls()
    with contextlib.closing(web.take(where.host, where.port, *who)) as listening:
        address = web.address_of(where.host, listening, "https" if tls else "http")
        with web.Stop() as stop, contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
            app = app_of(stack)
            for warning in where.warnings(web.LOCAL, *words):
                note(f"warning: {warning}")
            secret = f"#token={quote(where.token, safe='')}" if where.token else ""
            well = web.run(
                app, where.host, listening, stop, lambda: told(f"{address}/{secret}"), lambda: None, **tls, **uvicorn
            )
            return Served(address, 0 if well else 1)
    return Served(address)


# ------------------------------------------------------------------------------------------------ who may come in


def refusal(headers: Mapping[str, str], query: Mapping[str, str], token: str) -> str:
    """Why a client is not let in; empty where it is. The token stands in the address, or in a header as a bearer's."""
    origin, host = headers.get("origin", ""), headers.get("host", "")
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        return "another site's page may not connect"
    given = query.get("token", "") or headers.get("authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        return "the token is missing or wrong: open the address that the server printed"
    return ""


async def admitted(socket: WebSocket, token: str) -> bool:
    """Let a socket in, or close it with the reason."""
    reason = refusal(socket.headers, socket.query_params, token)
    if not reason:
        await socket.accept()
        return True
    if "token" in reason:  # accepted, so that the page can say why; it is told nothing else
        await socket.accept()
        await socket.send_json({"kind": "refused", "reason": reason})
    await socket.close(1008, reason[:120])
    return False


class Rate:
    """Counts messages; says when there are too many.

    Args:
        most: messages a second.
    """

    def __init__(self, most: int) -> None:
        self.most, self._second, self._count = most, 0.0, 0

    def over(self) -> bool:
        """Count one; whether it is one too many."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        return self._count > self.most


# ---------------------------------------------------------------------------------------------------------- pages


def page(package: str, file: str, host: str, **words: str) -> tuple[str, dict[str, str]]:
    """A page and its headers: its own script and style, sockets of its own host, and nothing else.

    Args:
        package, file: the HTML; ``__VERSION__`` and each of ``words`` in it, as ``__NAME__``, are filled in.
        host: as the browser named it.
        words: by name.
    """
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    for name, value in {"version": __version__, **words}.items():
        text = text.replace(f"__{name.upper()}__", value)
    hashes = {}
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes[tag] = " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in inside
        )
    sockets = f" ws://{host} wss://{host}" if re.fullmatch(r"[\w.\-\[\]:]+", host) else ""
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src 'self' data: blob:; "
        f"media-src 'self' blob:; connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )
    return text, {
        "content-security-policy": policy,
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }


def page_route(address: str, package: str, file: str, **words: str) -> Route:
    """A route that answers with a :func:`page`.

    Args:
        address: where it stands; empty means ``/``.
        package, file, words: of the page.
    """
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    def shown(request: Request) -> Response:
        text, headers = page(package, file, request.headers.get("host", ""), **words)
        return HTMLResponse(text, headers=headers)

    return Route(address or "/", shown)


def empty_app(
    title: str, purpose: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
) -> FastAPI:
    """An app without routes, and without the pages that FastAPI would add.

    Args:
        title: its name.
        purpose: what needs FastAPI, in words.
        lifespan: what happens at its start and end.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "studio", purpose) from None
    return FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Gives what ``make`` made when it was asked for first, in whatever thread."""
    made: list[T] = []
    lock = threading.Lock()

    def give() -> T:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return give
