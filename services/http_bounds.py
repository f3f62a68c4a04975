"""What every HTTP server of ours bounds, whatever is installed beside it: the size of a request's head, the time in which a request must be whole,
and how many connections there are.

h11 is named because uvicorn takes httptools where it finds it (the environment of the trial has it, the image has not), and httptools reads a head of
any size.
"""

from __future__ import annotations

import asyncio
from typing import TypedDict

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 32 * 1024
"""Of a request's line and headers: a bearer token of an issuer that names many groups has 10 KiB."""
MAX_CONNECTIONS = 1000
"""Beyond these a request is answered with 503 (uvicorn's `limit_concurrency`)."""


class PromptProtocol(H11Protocol):
    """Closes a connection whose request is not whole in time: uvicorn itself waits without end for the rest of a head or of a body."""

    head_seconds = 15.0
    """From the connection, or from the first byte of a later request, to the end of the head."""
    idle_seconds = 30.0
    """Between two pieces of a body that we are ready to take."""
    body_seconds: float | None = 60.0
    """For the whole body; None where bodies may be large."""

    _timer: asyncio.TimerHandle | None = None
    _awaited: type[object] = h11.DONE
    _body_ends = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """After each piece: wait for the rest of the head, for the next piece of the body, or for nothing."""
        before, self._awaited = self._awaited, self.conn.their_state
        if self._awaited is h11.IDLE:
            if before is not h11.IDLE or self._timer is None:
                self._wait(self.head_seconds)
        elif self._awaited is h11.SEND_BODY:
            now = self.loop.time()
            if before is not h11.SEND_BODY:
                self._body_ends = now + self.body_seconds if self.body_seconds is not None else float("inf")
            self._wait(min(self.idle_seconds, self._body_ends - now))
        else:
            self._stop()

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(max(seconds, 0.0), self._late)

    def _late(self) -> None:
        """Nobody is late while we ourselves do not read."""
        if self.flow.read_paused:
            self._wait(self.idle_seconds)
            return
        self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PromptUploads(PromptProtocol):
    """The same for bodies of any size, which must only go on."""

    body_seconds = None


class Bounds(TypedDict):
    """Arguments of `uvicorn.Config`."""

    http: type[H11Protocol]
    ws: str
    h11_max_incomplete_event_size: int
    limit_concurrency: int


def bounds(protocol: type[PromptProtocol] = PromptProtocol) -> Bounds:
    """What each `uvicorn.Config` of ours is given."""
    return Bounds(
        http=protocol, ws="none", h11_max_incomplete_event_size=MAX_HEAD_BYTES, limit_concurrency=MAX_CONNECTIONS
    )
