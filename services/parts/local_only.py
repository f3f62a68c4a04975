"""What stands before the FHIR server and the archive that are started here: they hold patients' data, and neither asks who somebody is.

A page of any site may send requests to a port of this machine through the browser of whoever reads it, and may have its own name point here (DNS
rebinding) to read the answers as well. So nothing is answered under a foreign name, to a foreign page, or without the token that the parts of one
state folder share.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

import click

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
"""Each framework has types of its own for the three."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
FORM_TYPES = ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded")
"""What a page may send anywhere without asking first (Fetch standard, CORS-safelisted request headers)."""
WRITES = ("POST", "PUT", "PATCH", "DELETE")

FOREIGN_HOST = (421, b"This host name is not served here.")
FOREIGN_PAGE = (403, b"A page of another origin may ask nothing here.")
NO_TOKEN = (
    401,
    b"The token of this installation is wanted: Authorization: Bearer, from the file parts.token of the state folder.",
)
NO_JSON = (415, b"A form is not taken here: send FHIR as JSON, or DICOM.")


class LocalOnly:
    """An ASGI application, answered only for programs of this installation."""

    def __init__(
        self, app: Asgi, token_file: Path | None = None, *, names: Iterable[str] = (), open_paths: Iterable[str] = ()
    ) -> None:
        """Without a `token_file` no token is asked for. `names`: host names besides those of loopback, without ports. `open_paths` are read by
        anybody under any name: probes ask by a Pod's address, and nothing of a patient is there."""
        self._app, self._token = app, token_file.read_text().strip() if token_file else ""
        self._names = frozenset(name.lower() for name in (*LOOPBACK_NAMES, *names))
        self._open = frozenset(open_paths)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            if refusal := self._refusal(scope):
                await _refuse(send, *refusal)
                return
            await self._app(_without_token(scope), receive, _without_cors(send))

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, bytes] | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if scope["method"] in ("GET", "HEAD") and scope["path"] in self._open:
            return None
        if without_port(host) not in self._names:
            return FOREIGN_HOST
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return FOREIGN_PAGE
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return FOREIGN_PAGE
        if self._token and not self._knows(headers.get("authorization", "")):
            return NO_TOKEN
        if scope["method"] in WRITES and not scope["path"].endswith("/_search"):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind in FORM_TYPES or (not kind and headers.get("content-length", "0") != "0"):
                return NO_JSON
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token.encode())


def door_options(command: Callable[..., None]) -> Callable[..., None]:
    """How such a part is told where it listens, who may find it and what they must show."""
    for option in (
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option("--port", type=int, required=True, help="Port to listen on."),
        click.option("--reached-as", default="127.0.0.1", help="Host name by which others find it."),
        click.option("--token-file", type=click.Path(path_type=Path), help="File of the token that it asks for."),
    ):
        command = option(command)
    return command


def without_port(host: str) -> str:
    """`[::1]:8080` is `[::1]`."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _without_token(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What stands behind has logins of its own, which our token is none of."""
    kept = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**scope, "headers": kept}


def _without_cors(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.get("headers", [])
            kept = [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
            message = {**message, "headers": [*kept, (b"cross-origin-resource-policy", b"same-origin")]}
        await send(message)

    return sent


async def _refuse(send: Send, status: int, sentence: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(sentence)).encode())]
    if status == NO_TOKEN[0]:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": sentence})
