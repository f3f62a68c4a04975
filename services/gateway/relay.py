"""From the outbox to the bus: a row is marked as published only after the broker has it, so a crash may send it twice, never lose it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from schemas.errors import InvalidEvent, LongviewError, TransientFailure
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
        try:
            self._producer.send_event(row.topic, row.event)
        except TransientFailure:
            raise
        except InvalidEvent as invalid:
            self._set_aside(row, invalid)
        except Exception as fault:  # a defect of ours in one event must not stop every event behind it
            code = fault.code if isinstance(fault, LongviewError) else f"event-fault-{type(fault).__name__.lower()}"
            self._set_aside(row, InvalidEvent("permanent-error", code, "the event cannot be sent"))
        else:
            count("longview_outbox_sent_total")

    def _set_aside(self, row: WaitingEvent, invalid: InvalidEvent) -> None:
        log.error("event-not-sent", extra=fields(topic=row.topic, event_id=row.event.id, code=invalid.code))
        self._dead_letters.set_aside(row, invalid)
        count("longview_gateway_dead_letters_total", topic=row.topic, reason=invalid.reason)
