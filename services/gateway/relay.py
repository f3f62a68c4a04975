"""From the outbox to the bus: a row is marked as published only after the broker has it, so a crash may send it twice, never lose it."""

from __future__ import annotations

from collections.abc import Callable

from schemas.telemetry import traces
from schemas.telemetry.fields import Fields
from services.clients.kafka import Producer
from services.db import OutboxRecords
from services.operations.meter import count

BATCH = 100


class Relay:
    """Sends waiting events in the order in which they were written."""

    def __init__(self, outbox: OutboxRecords, producer: Producer) -> None:
        self._outbox = outbox
        self._producer = producer

    def send_waiting(self, beat: Callable[[], None] = lambda: None) -> int:
        """Send up to a batch; returns how many were sent. `TransientFailure` if the broker is away. `beat` is called before each."""
        rows = self._outbox.unpublished(BATCH)
        for row in rows:
            beat()
            told = Fields(topic=row.topic, event_type=row.event.type, event_id=row.event.id)
            with traces.within(traces.parse(row.event.traceparent)), traces.span("publish", "producer", **told):
                self._producer.send_event(row.topic, row.event)
            self._outbox.mark_published([row.seq])
            count("longview_outbox_sent_total")
        return len(rows)
