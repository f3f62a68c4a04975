"""The gateway's two loops: records from the bus into Temporal, and the outbox out to the bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from schemas.errors import TransientFailure
from services.clients.kafka import Consumer, Record
from services.gateway.intake import Intake
from services.gateway.relay import Relay

log = logging.getLogger(__name__)

PARALLEL = 50
"""Keys that are handled at a time; each is one call to Temporal under way."""
RETRY_SECONDS = 1.0
RELAY_SECONDS = 0.5


async def consume(consumer: Consumer, intake: Intake, stop: asyncio.Event) -> None:
    """Poll, handle, commit; in order within a key, in parallel across keys. What was not handled comes again."""
    while not stop.is_set():
        try:
            records = await asyncio.to_thread(consumer.poll)
        except TransientFailure as failure:
            log.warning("%s", failure)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if not records:
            continue
        unhandled = await _handle_all(intake, records)
        try:
            await asyncio.to_thread(consumer.commit, _before(records, unhandled))
        except TransientFailure as failure:
            log.warning("%s", failure)
        if unhandled:
            await asyncio.to_thread(consumer.rewind, unhandled)
            await asyncio.sleep(RETRY_SECONDS)


async def _handle_all(intake: Intake, records: list[Record]) -> list[Record]:
    """Handle every record; returns those that have to come again. Once one has to, nothing new is begun: what it waits for is away for all."""
    chains: dict[tuple[str, bytes | None], list[Record]] = {}
    for record in records:
        chains.setdefault((record.topic, record.key), []).append(record)
    left, unhandled = iter(chains.values()), list[Record]()

    async def work() -> None:
        for chain in left:
            unhandled.extend(chain if unhandled else await _handle_chain(intake, chain))

    await asyncio.gather(*(work() for _ in range(PARALLEL)))
    return unhandled


async def _handle_chain(intake: Intake, chain: list[Record]) -> list[Record]:
    for position, record in enumerate(chain):
        try:
            await intake.handle(record)
        except TransientFailure as failure:
            log.warning("%s; the record will come again", failure)
            return chain[position:]
    return []


def _before(records: Iterable[Record], unhandled: list[Record]) -> list[Record]:
    """The records of each partition that lie before its first unhandled one."""
    first: dict[tuple[str, int], int] = {}
    for record in unhandled:
        place = (record.topic, record.partition)
        first[place] = min(first.get(place, record.offset), record.offset)
    return [r for r in records if r.offset < first.get((r.topic, r.partition), r.offset + 1)]


async def publish(relay: Relay, stop: asyncio.Event) -> None:
    """Send what stands in the outbox, oldest first; when told to stop, what stands there then is sent too."""
    while True:
        stopping = stop.is_set()
        try:
            sent = await asyncio.to_thread(relay.send_waiting)
        except TransientFailure as failure:
            log.warning("%s; the outbox keeps it", failure)
            sent = 0
        if sent:
            continue
        if stopping:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RELAY_SECONDS)
