"""From the outbox to the bus: a row is marked as published only after the broker has it, so a crash may send it twice, never lose it."""

from __future__ import annotations

from typing import Protocol

from schemas.events import CloudEvent
from services.clients.kafka import Producer

BATCH = 100


class OutboxRow(Protocol):
    """One event waiting to be sent."""

    @property
    def seq(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def event(self) -> CloudEvent: ...


class Outbox(Protocol):
    """The outbox table (services.db)."""

    def unpublished(self, limit: int) -> list[OutboxRow]: ...
    def mark_published(self, seqs: list[int]) -> None: ...


class Relay:
    """Sends waiting events in the order in which they were written."""

    def __init__(self, outbox: Outbox, producer: Producer) -> None:
        self._outbox = outbox
        self._producer = producer

    def send_waiting(self) -> int:
        """Send up to a batch; returns how many were sent. `TransientFailure` if the broker is away."""
        rows = self._outbox.unpublished(BATCH)
        for row in rows:
            self._producer.send_event(row.topic, row.event)
            self._outbox.mark_published([row.seq])
        return len(rows)
