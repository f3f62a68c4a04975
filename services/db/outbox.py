"""The outbox: an event is written with the change that it tells of, in one transaction, and sent to the bus afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from schemas.events import RESULT_TOPIC, RUN_FAILED, RUN_TOPIC, CloudEvent
from services.db.engine import Database
from services.db.models import Outbox


@dataclass(frozen=True)
class WaitingEvent:
    """An event that the bus has not got yet; `event` carries its `sequence`."""

    seq: int
    topic: str
    event: CloudEvent


class OutboxRecords:
    """The relay's side of the outbox; of several relays one sends at a time (`Lease`). No event is ever skipped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unpublished(self, limit: int) -> list[WaitingEvent]:
        """The oldest events that wait, in the order in which they were committed."""
        waiting = select(Outbox).where(Outbox.published_at.is_(None)).order_by(Outbox.seq).limit(limit)
        with self._database.reading() as session:
            return [
                WaitingEvent(row.seq, row.topic, CloudEvent.model_validate(row.event))
                for row in session.scalars(waiting)
            ]

    def mark_published(self, seqs: Sequence[int]) -> None:
        """Only after the broker has said so. May be repeated."""
        mark = (
            update(Outbox)
            .where(Outbox.seq.in_(seqs), Outbox.published_at.is_(None))
            .values(published_at=datetime.now(UTC))
        )
        with self._database.writing() as session:
            session.execute(mark)


def write_event(session: Session, event: CloudEvent) -> None:
    """Add the event to the outbox once, with the next `sequence` of its key; the caller's transaction holds the write lock."""
    if session.scalar(select(Outbox.seq).where(Outbox.event_id == event.id)) is not None:
        return
    last = session.scalar(select(func.max(Outbox.sequence)).where(Outbox.key == event.partitionkey))
    sequence = (last or 0) + 1
    session.add(
        Outbox(
            event_id=event.id,
            topic=RUN_TOPIC if event.type == RUN_FAILED else RESULT_TOPIC,
            key=event.partitionkey,
            sequence=sequence,
            event=event.model_copy(update={"sequence": str(sequence)}).structured(),
            created_at=datetime.now(UTC),
        )
    )
