"""The gateway's two loops: records from the bus into Temporal, and the outbox out to the bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from schemas.errors import TransientFailure, code_of
from schemas.telemetry.fields import fields
from services.clients.kafka import Consumer, Record
from services.gateway.blocking import BlockingCalls
from services.gateway.intake import Intake
from services.gateway.progress import Progress, Standstill
from services.gateway.relay import Relay
from services.gateway.window import Window

log = logging.getLogger(__name__)

MOST_UNDER_WAY = 500
"""Records that may be polled before the first of them is committed: what comes again after a crash, and what a gateway holds in memory."""
COMMIT_RECORDS = 100
BUSY_POLL_MS, IDLE_POLL_MS = 20, 500
RETRY_SECONDS = 1.0
RELAY_SECONDS = 0.5
END_SECONDS = 5.0
"""What is still under way after SIGTERM may take so long; what takes longer comes again."""


async def consume(
    consumer: Consumer, intake: Intake, stop: asyncio.Event, beat: Callable[[], None] = lambda: None
) -> None:
    """Poll, handle, commit; in order within a key, in parallel across keys. What was not handled comes again. `beat` is called in each round.

    `TransientFailure` (`bus-standstill`) where records lie unread and nobody of the group gets them: a new consumer is to be put in its place.
    """
    window, progress, calls, standstill = Window(intake.handle), Progress(consumer), BlockingCalls(1), Standstill()
    while not stop.is_set():
        beat()
        if window.failed:
            await _give_back(consumer, window, calls)
            await asyncio.sleep(RETRY_SECONDS)
            window = Window(intake.handle)
        elif window.size >= MOST_UNDER_WAY:
            await window.progress()
        else:
            polled = await _poll(consumer, intake, calls, BUSY_POLL_MS if window.size else IDLE_POLL_MS)
            window.add(polled)
            standstill.polled(len(polled) + window.size)
            if standstill.is_due():
                await _look(consumer, intake, calls, standstill)
        progress.tell(window.first_unhandled(), intake.paused_topics)
        if window.ready >= COMMIT_RECORDS or window.ready == window.size:
            await _commit(consumer, window, calls)
    await window.close(END_SECONDS)
    await _commit(consumer, window, calls)


async def _poll(consumer: Consumer, intake: Intake, calls: BlockingCalls, timeout_ms: int) -> list[Record]:
    paused = intake.paused_topics()
    try:
        return await calls.run(lambda: consumer.poll(timeout_ms, paused))
    except TransientFailure as failure:
        log.warning("bus-not-read", extra=fields(code=failure.code))
        await asyncio.sleep(RETRY_SECONDS)
        return []


async def _look(consumer: Consumer, intake: Intake, calls: BlockingCalls, standstill: Standstill) -> None:
    try:
        lag = await calls.run(lambda: consumer.group_lag(intake.paused_topics()))
    except TransientFailure as failure:
        log.warning("bus-not-read", extra=fields(code=failure.code))
        return
    if standstill.proves(lag):
        raise TransientFailure("bus-standstill", "records lie unread, and the group's consumers get none")


async def _commit(consumer: Consumer, window: Window, calls: BlockingCalls) -> None:
    handled = window.take_ready()
    if not handled:
        return
    try:
        await calls.run(lambda: consumer.commit(handled))
    except TransientFailure as failure:
        log.warning("offsets-not-committed", extra=fields(code=failure.code, count=len(handled)))


async def _give_back(consumer: Consumer, window: Window, calls: BlockingCalls) -> None:
    """A record could not be handled: what lies before it is committed, and every partition begins again at its first unhandled record."""
    await window.close()
    await _commit(consumer, window, calls)
    await calls.run(lambda: consumer.rewind(window.unhandled()))


async def publish(relay: Relay, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
    """Send what stands in the outbox, oldest first; when told to stop, what stands there then is sent too. `beat` is called for each event."""
    calls = BlockingCalls(1)
    while True:
        beat()
        stopping = stop.is_set()
        try:
            sent = await calls.run(lambda: relay.send_waiting(beat))
        except Exception as failure:
            # whatever it is: nobody would begin this loop again, and events would wait in silence
            log.warning("outbox-waits", extra=fields(code=code_of(failure)))
            sent = 0
        if sent:
            continue
        if stopping:
            await calls.run(relay.close)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RELAY_SECONDS)
