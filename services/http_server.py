"""A Litestar application behind uvicorn until told to stop: what the inbox and the codec server have in common."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from litestar import Litestar

from schemas.errors import PartUnavailable
from schemas.telemetry.fields import fields
from services.http_bounds import bounds

GRACE_SECONDS = 3
log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Says when it has started; signals belong to the process (services.bootstrap)."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Litestar,
    listener: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
    before_end: Callable[[], None] = lambda: None,
    *,
    proxies: Sequence[str] = (),
) -> None:
    """`ready` is called once requests are answered, `before_end` ends what would never end by itself (open streams).

    `proxies` are addresses or networks whose `X-Forwarded-For` and `-Proto` are believed; from anybody else they are what a stranger has written.
    """
    logging.getLogger("uvicorn.access").disabled = True  # addresses name results, and whatever people type into them
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
        **bounds(),
    )
    server = _Server(config, ready)
    serving, told = asyncio.create_task(server.serve(sockets=[listener])), asyncio.create_task(stop.wait())
    try:
        log.info("listening", extra=fields(port=listener.getsockname()[1]))
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        before_end()
        server.should_exit = True
        await serving
    finally:
        listener.close()


def listen(host: str, port: int, part: str, setting: str) -> socket.socket:
    """A bound socket; `PartUnavailable` (`<part>-address`) if the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PartUnavailable(
            f"{part}-address",
            f"the {part} cannot listen on port {port} of {setting} ({error.strerror}): choose another.",
        ) from error
    return listener
