"""Keeps a loop going: one that raises, or makes no progress, is begun anew with connections of its own.

What it was waiting for is left behind (`BlockingCalls`), never waited for. A loop that stands still again and again ends the process, so that whoever
runs it begins with a new one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from schemas.errors import PartUnavailable, code_of
from schemas.telemetry.fields import fields
from services.operations.meter import count
from services.operations.vitals import Beat, Vitals

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STALL_SECONDS = 90.0
"""How long a loop may be silent. What it waits for has shorter limits: the bus 60 s, an event 30 s, the database 75 s."""
AGAIN_SECONDS = 1.0
MOST_STALLS = 3
"""So often in a row, and the process ends."""


async def keep_going(
    name: str, begin: Callable[[Beat], Awaitable[None]], stop: asyncio.Event, vitals: Vitals, beat: Beat = lambda: None
) -> None:
    """Until `begin` returns because `stop` is set; `/ready` says no from a failure on until the loop has come round again.

    `PartUnavailable` (`gateway-stalled`) after `MOST_STALLS` silences without progress between them.
    """
    stalls = 0
    while True:
        watched = _Watched(name, vitals, beat)
        task = asyncio.ensure_future(begin(watched.beat))
        try:
            while not task.done() and (stop.is_set() or watched.silence() < STALL_SECONDS):
                await asyncio.wait({task}, timeout=LOOK_SECONDS)
        finally:
            task.cancel()
        if task.done() and not task.cancelled():
            if (fault := task.exception()) is None:
                return
            reason, stalls = "fault", 0
            log.error("loop-begins-again", extra=fields(part=name, code=code_of(fault)))
        else:
            reason, stalls = "stalled", 1 if watched.progressed else stalls + 1
            log.error("loop-stands-still", extra=fields(part=name))
        count("longview_gateway_restarts_total", loop=name, reason=reason)
        if stalls >= MOST_STALLS:
            raise PartUnavailable("gateway-stalled", "A loop of the gateway made no progress again and again: it ends.")
        vitals.trouble(name)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), AGAIN_SECONDS)
        if stop.is_set():
            return


class _Watched:
    """A run of the loop: that it begins is no progress yet, that it comes round is."""

    def __init__(self, name: str, vitals: Vitals, beat: Beat) -> None:
        self._name, self._vitals, self._beat = name, vitals, beat
        self._last = time.monotonic()
        self._rounds = 0

    def beat(self) -> None:
        self._last = time.monotonic()
        self._rounds += 1
        self._beat()
        if self._rounds == 2:
            self._vitals.well(self._name)

    def silence(self) -> float:
        """Seconds since it was last heard of."""
        return time.monotonic() - self._last

    @property
    def progressed(self) -> bool:
        return self._rounds > 1
