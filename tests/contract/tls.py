"""A certificate authority of the tests, and TLS in front of servers that speak none."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from services.clients.trust import Trust
from tests.secret_mount import mount

CHUNK = 1 << 16


@dataclass
class House:
    """One authority, and what it issues; `folder` holds ca.crt, tls.crt and tls.key of a client."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.renew()

    @property
    def trust(self) -> Trust:
        return Trust(*(str(self.folder / name) for name in ("ca.crt", "tls.crt", "tls.key")))

    @property
    def trust_alone(self) -> Trust:
        """Who trusts this authority and has no certificate of its own."""
        return Trust(str(self.folder / "ca.crt"))

    def renew(self, *also_trusted: trustme.CA) -> None:
        """A new client certificate, swapped in as the kubelet swaps a Secret."""
        client = self.authority.issue_cert("worker@longview.test")
        authorities = [ca.cert_pem.bytes() for ca in (self.authority, *also_trusted)]
        mount(
            self.folder,
            {
                "ca.crt": b"".join(authorities),
                "tls.crt": b"".join(pem.bytes() for pem in client.cert_chain_pems),
                "tls.key": client.private_key_pem.bytes(),
            },
        )

    def server_context(self, *, clients: trustme.CA | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Of a server on 127.0.0.1 that demands a client's certificate of `clients` (default: ours)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        (clients or self.authority).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@dataclass
class Terminator:
    """TLS on `port`, plain TCP behind it; `context` may be replaced for the next handshake."""

    context: ssl.SSLContext
    port: int = 0
    handshakes: int = 0
    stop: Callable[[], object] = lambda: None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def terminating(context: ssl.SSLContext, upstream: int, port: int = 0) -> Iterator[Terminator]:
    """In a thread with a loop of its own, so that tests of both kinds can use it."""
    made, up = Terminator(context), threading.Event()
    running = threading.Thread(target=lambda: asyncio.run(_Proxy(made, upstream, up).run(port)))
    running.start()
    try:
        assert up.wait(10)
        yield made
    finally:
        made.stop()
        running.join(20)


class _Proxy:
    def __init__(self, made: Terminator, upstream: int, up: threading.Event) -> None:
        self._made, self._upstream, self._up = made, upstream, up
        self._open: set[asyncio.StreamWriter] = set()

    async def run(self, port: int) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._made.stop = lambda: loop.call_soon_threadsafe(stop.set)
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self._made.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await stop.wait()
        server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await writer.start_tls(self._made.context)
            self._made.handshakes += 1
            behind_reader, behind = await asyncio.open_connection("127.0.0.1", self._upstream)
            self._open.add(behind)
            await asyncio.gather(self._pump(reader, behind), self._pump(behind_reader, writer))
        except OSError:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.get_write_buffer_size() == 0 else writer.close()
