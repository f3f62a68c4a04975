"""From the outbox to the bus: a row is marked as published only after the broker has it, so a crash may send it twice, never lose it.

Of several gateways one sends at a time: the events of a key reach the bus in their order, and once. When it dies, another
goes on after `HOLD_SECONDS`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from schemas.errors import InvalidEvent, LongviewError, PermanentFailure, code_of
from schemas.events import binary_form
from schemas.telemetry import traces
from schemas.telemetry.fields import Fields, fields
from services.clients.kafka import Producer
from services.db import Lease, OutboxRecords, WaitingEvent
from services.operations.meter import count, gauge

log = logging.getLogger(__name__)

BATCH = 100
HOLD_SECONDS = 60.0
"""For how long a gateway may send without saying so again: longer than one event and its time-outs take (the broker's 30 s, the database's 15 s)."""


class SetAside(Protocol):
    """Keeps an event that can never be sent; safe to repeat."""

    def set_aside(self, row: WaitingEvent, invalid: InvalidEvent) -> None: ...


class Relay:
    """Sends waiting events in the order in which they were written; one that can never be sent is set aside, and those behind it are sent."""

    def __init__(self, outbox: OutboxRecords, lease: Lease, producer: Producer, dead_letters: SetAside) -> None:
        self._outbox = outbox
        self._lease = lease
        self._holder = secrets.token_hex(8)
        self._held_until = 0.0
        self._producer = producer
        self._dead_letters = dead_letters

    def send_waiting(self, beat: Callable[[], None] = lambda: None) -> int:
        """Send up to a batch; returns how many left the outbox, 0 while another gateway sends. `beat` is called before each.

        `TransientFailure` if the broker or the database is away.
        """
        if not self._holds():
            return 0
        rows = self._outbox.unpublished(BATCH)
        for sent, row in enumerate(rows):
            beat()
            if not self._holds():
                return sent
            told = Fields(topic=row.topic, event_type=row.event.type, event_id=row.event.id)
            with traces.within(traces.parse(row.event.traceparent)), traces.span("publish", "producer", **told):
                self._send(row)
            self._outbox.mark_published([row.seq])
        return len(rows)

    def close(self) -> None:
        """Another gateway may go on at once."""
        with suppress(LongviewError):
            self._lease.release(self._holder)

    def _holds(self) -> bool:
        """Asks the database only when half of the time is over."""
        now = time.monotonic()
        if now < self._held_until - HOLD_SECONDS / 2:
            return True
        held = self._lease.hold(self._holder, HOLD_SECONDS)
        self._held_until = now + HOLD_SECONDS if held else 0.0
        gauge("longview_outbox_sender", held)
        return held

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
