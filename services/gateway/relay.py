"""From the outbox to the bus: a row is marked as published only after the broker has it, so a crash may send it twice, never lose it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from schemas.errors import InvalidEvent, PermanentFailure, code_of
from schemas.events import binary_form
from schemas.telemetry import traces
from schemas.telemetry.fields import Fields, fields
from services.clients.kafka import Producer
from services.db import OutboxRecords, WaitingEvent
from services.operations.meter import count

log = logging.getLogger(__name__)

BATCH = 100


class SetAside(Protocol):
    """Keeps an event that can never be sent; safe to repeat."""

    def set_aside(self, row: WaitingEvent, invalid: InvalidEvent) -> None: ...


class Relay:
    """Sends waiting events in the order in which they were written; one that can never be sent is set aside, and those behind it are sent."""

    def __init__(self, outbox: OutboxRecords, producer: Producer, dead_letters: SetAside) -> None:
        self._outbox = outbox
        self._producer = producer
        self._dead_letters = dead_letters

    def send_waiting(self, beat: Callable[[], None] = lambda: None) -> int:
        """Send up to a batch; returns how many left the outbox. `TransientFailure` if the broker is away. `beat` is called before each."""
        rows = self._outbox.unpublished(BATCH)
        for row in rows:
            beat()
            told = Fields(topic=row.topic, event_type=row.event.type, event_id=row.event.id)
            with traces.within(traces.parse(row.event.traceparent)), traces.span("publish", "producer", **told):
                self._send(row)
            self._outbox.mark_published([row.seq])
        return len(rows)

    def _send(self, row: WaitingEvent) -> None:
        if (never := self._refused(row)) is None:
            count("longview_outbox_sent_total")
            return
        log.error("event-not-sent", extra=fields(topic=row.topic, event_id=row.event.id, code=never.code))
        self._dead_letters.set_aside(row, never)
        count("longview_gateway_dead_letters_total", topic=row.topic, reason=never.reason)

    def _refused(self, row: WaitingEvent) -> InvalidEvent | None:
        """Why the event can never be sent, None once it was; what fails between us and the broker is raised, and is tried again."""
        try:
            key, headers, value = binary_form(row.event)
        except InvalidEvent as invalid:
            return invalid
        except Exception as fault:  # a defect in one event must not stop every event behind it
            return InvalidEvent("permanent-error", f"event-{code_of(fault)}")
        try:
            self._producer.send(row.topic, key, value, headers)
        except PermanentFailure as refused:
            return InvalidEvent("permanent-error", refused.code)
        return None
