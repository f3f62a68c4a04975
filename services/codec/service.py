"""Serves the codec server with uvicorn until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar

from schemas.errors import PartUnavailable


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


async def serve(app: Litestar, host: str, port: int, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """`PartUnavailable` if the address cannot be had; `ready` is called once requests are answered.

    Forwarded addresses are not believed: whoever could write them could go around the brake on failed logins.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(app, access_log=False, log_config=None, server_header=False, proxy_headers=False)
    server = _Server(config, ready)
    serving, told = asyncio.create_task(server.serve(sockets=[listener])), asyncio.create_task(stop.wait())
    try:
        logging.getLogger(__name__).info("listening on %s port %d", host, listener.getsockname()[1])
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        server.should_exit = True
        await serving
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PartUnavailable(
            "codec-address", f"the codec server cannot listen on port {port} ({error.strerror}): choose another."
        ) from error
    return listener
