"""From the audit trail to the hospital's audit repository: in order, once under each tag, and never in the way of a reading."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from schemas.codes import Canonical, Json
from schemas.errors import LongviewError, StaleWrite, TransientFailure
from schemas.telemetry.fields import fields
from services.db import AuditOutbox, AuditRow
from workflows.report.audit import AUDIT_TAG, AuditAddresses, build_audit_event

log = logging.getLogger(__name__)
BATCH = 50
IDLE_SECONDS = 2.0
PAUSES = (2.0, 5.0, 15.0, 60.0)
"""Between attempts while the repository is away or refuses; the last one stays."""
STALLED_SECONDS = 600.0
"""Without a sign of life for so long, the loop is broken; while the repository is away it gives one with every attempt."""
HOLD_SECONDS = 180.0
"""For how long one process may deliver without saying so again: longer than a batch and its time-outs take."""


class Repository(Protocol):
    """A FHIR audit repository (`FhirClient`)."""

    def create_once(self, resource: Json, system: str, tag: str) -> None:
        """Conditional create by tag. `TransientFailure` if it is away, `PermanentFailure` if it refuses."""
        ...


class AuditDelivery:
    """One round delivers what waits. A row that is refused stops those after it: a trail with holes is none, and what is refused is nearly always
    the repository's own set-up (address, token, profile), which concerns every row."""

    def __init__(
        self, outbox: AuditOutbox, repository: Repository, canonical: Canonical, addresses: AuditAddresses
    ) -> None:
        self._outbox, self._repository = outbox, repository
        self._canonical, self._addresses = canonical, addresses
        self._holder = secrets.token_hex(8)

    def deliver_waiting(self, beat: Callable[[], None] = lambda: None) -> int:
        """How many rows arrived; 0 while another process delivers. A crash between sending and marking sends a row again, under the same tag."""
        if not self._outbox.hold(self._holder, HOLD_SECONDS):
            return 0
        rows = self._outbox.waiting(BATCH)
        last: AuditRow | None = None
        try:
            for row in rows:
                self._send(row)
                last = row
                beat()
        finally:
            if last is not None:
                self._outbox.mark_delivered(last)
        return len(rows)

    def _send(self, row: AuditRow) -> None:
        resource = build_audit_event(self._canonical, self._addresses, row.entry, seq=row.seq, chain=row.hash)
        try:
            self._repository.create_once(resource, self._canonical.sid(AUDIT_TAG), row.entry.event_id)
        except StaleWrite as race:
            raise TransientFailure(race.code, "another delivery came first") from race

    def close(self) -> None:
        """Another process may go on at once."""
        with suppress(LongviewError):
            self._outbox.release(self._holder)


@asynccontextmanager
async def delivering(delivery: AuditDelivery, beat: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Deliver inside the block, in a thread of its own. No failure of the repository or of the database ends it; what waits then, waits."""
    stop = asyncio.Event()
    task = asyncio.create_task(_deliver(delivery, stop, beat))
    try:
        yield
    finally:
        stop.set()
        await task
        await asyncio.to_thread(delivery.close)


async def _deliver(delivery: AuditDelivery, stop: asyncio.Event, beat: Callable[[], None]) -> None:
    failures = 0
    while not stop.is_set():
        beat()
        try:
            sent = await asyncio.to_thread(delivery.deliver_waiting, beat)
            failures, pause = 0, IDLE_SECONDS
        except LongviewError as failure:
            log.warning("audit-events-wait", extra=fields(code=failure.code))
            sent, pause = 0, PAUSES[min(failures, len(PAUSES) - 1)]
            failures += 1
        if not sent:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
