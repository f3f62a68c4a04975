"""Servers of ours against clients that send too much, too slowly, or never the rest: each attack over a real socket, other clients still answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from services import http_bounds
from services.http_bounds import PromptProtocol, PromptUploads, bounds
from services.parts.ports import HOST, free_port

SHORT = 0.3


class Hasty(PromptProtocol):
    head_seconds, idle_seconds, body_seconds = SHORT, SHORT, 2 * SHORT


class HastyUploads(PromptUploads):
    head_seconds, idle_seconds = SHORT, SHORT


async def counts_body(_scope: Any, receive: Any, send: Any) -> None:
    """Says how long the body was."""
    if _scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def answers_late(scope: Any, receive: Any, send: Any) -> None:
    """Takes longer than any request may."""
    if scope["type"] != "http":
        return
    await asyncio.sleep(3 * SHORT)
    await counts_body(scope, receive, send)


@contextmanager
def served(app: Any, protocol: type[PromptProtocol]) -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(app, host=HOST, port=port, log_config=None, lifespan="off", **bounds(protocol))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


async def _said(port: int, pieces: list[bytes], pause: float = 0.0) -> bytes:
    """What the server answers until it closes, or within ten seconds."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


def said(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    return asyncio.run(_said(port, list(pieces), pause))


GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"


def test_a_head_beyond_the_bound_is_refused_and_not_kept() -> None:
    with served(counts_body, Hasty) as port:
        huge = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * (http_bounds.MAX_HEAD_BYTES * 40)
        many = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: a\r\n" * 200_000 + b"\r\n"
        for head in (huge, many):
            answer = said(port, head)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), "a reset while we still send is no answer"
        assert b" 200 " in said(port, GET)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n", POST % 100, POST % 100 + b"a"])
def test_a_request_that_never_ends_is_dropped(begun: bytes) -> None:
    with served(counts_body, Hasty) as port:
        assert said(port, begun) == b""
        assert b" 200 " in said(port, GET)


def test_a_head_that_trickles_is_dropped() -> None:
    with served(counts_body, Hasty) as port:
        assert said(port, *(b"%c" % byte for byte in GET[:40]), pause=SHORT / 10) == b""


def test_a_body_that_trickles_is_dropped_where_bodies_are_small_and_taken_where_they_are_large() -> None:
    slowly = [POST % 8, *[b"a"] * 8]
    with served(counts_body, Hasty) as port:
        assert said(port, *slowly, pause=SHORT / 2) == b""
    with served(counts_body, HastyUploads) as port:
        assert said(port, *slowly, pause=SHORT / 2).endswith(b"\r\n\r\n8")


def test_an_answer_that_takes_its_time_is_given() -> None:
    with served(answers_late, Hasty) as port:
        assert said(port, POST % 3 + b"abc").endswith(b"\r\n\r\n3")


def test_a_large_body_is_not_late_while_we_are_the_slow_ones() -> None:
    with served(answers_late, HastyUploads) as port:
        size = 1_000_000
        assert said(port, POST % size + b"a" * size).endswith(b"\r\n\r\n1000000")


def test_a_connection_is_kept_for_the_next_request_and_waits_for_it_no_longer_than_for_the_first() -> None:
    twice = GET.replace(b"connection: close\r\n", b"")
    with served(counts_body, Hasty) as port:
        assert said(port, twice, twice, b"GET / HTTP", pause=SHORT / 3).count(b" 200 ") == 2


def test_beyond_so_many_connections_a_request_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_bounds, "MAX_CONNECTIONS", 4)
    with served(counts_body, PromptProtocol) as port:

        async def crowd() -> bytes:
            held = [await asyncio.open_connection(HOST, port) for _ in range(4)]
            try:
                return await _said(port, [GET])
            finally:
                for _, writer in held:
                    writer.close()

        assert b" 503 " in asyncio.run(crowd())
