"""TLS on the model server's port, with client certificates where an authority for them is named; and a port for probes, which have none."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import uvicorn

from model_runtime.front import ROUTES, Front, Receive, Scope, Send
from model_runtime.settings import PREFIX, ServerSettings
from schemas.errors import PartUnavailable

LOOK_SECONDS = 30.0


def server_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """None where the server speaks without TLS; `PartUnavailable` if a file cannot be used."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load(context, settings)
        if settings.client_ca_file is not None:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise PartUnavailable(
            "model-tls",
            f"the files of {PREFIX}TLS_CERT_FILE, _TLS_KEY_FILE or _CLIENT_CA_FILE cannot be used: check them.",
        ) from error
    return context


async def keep_fresh(context: ssl.SSLContext, settings: ServerSettings, look: float = LOOK_SECONDS) -> None:
    """Take a renewed certificate for the connections to come; for a renewed authority of clients the server is started anew."""
    seen = _stamps(settings)
    while True:
        await asyncio.sleep(look)
        if (now := _stamps(settings)) == seen:
            continue
        try:
            _load(context, settings)
        except (OSError, ValueError):  # one file is there and the other not yet
            continue
        seen = now


def uvicorn_options(context: ssl.SSLContext | None) -> dict[str, Any]:
    return {"ssl_context_factory": lambda config, default: context} if context is not None else {}


class Probes:
    """The front's open routes and no other: a kubelet's probe shows no certificate."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ROUTES.get((scope["method"], scope["path"])) == "open":
            await self._front(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})


def probe_config(front: Front, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        Probes(front),
        host=settings.host,
        port=settings.probe_port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


def _load(context: ssl.SSLContext, settings: ServerSettings) -> None:
    if settings.tls_cert_file is not None:
        # an encrypted key would make OpenSSL ask at the terminal
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: b"")


def _stamps(settings: ServerSettings) -> list[tuple[int, int] | None]:
    return [_stamp(file) for file in (settings.tls_cert_file, settings.tls_key_file) if file is not None]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
