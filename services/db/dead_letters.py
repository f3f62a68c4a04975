"""Records of the bus that cannot be handled: where they were, why they are here, and what is needed to send them again."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from schemas.errors import InvalidEvent, PermanentFailure
from services.db.engine import Database
from services.db.models import DeadLetter


@dataclass(frozen=True)
class DeadLetterRow:
    """One dead letter; `object_key` is the SHA-256 under which its value lies in the object store."""

    id: str
    topic: str
    partition: int
    offset: int
    reason: str
    code: str
    stage: str
    object_key: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    created_at: datetime
    replayed_at: datetime | None


class DeadLetterRecords:
    """Dead letters in the database; one for each place (topic, partition, offset) and content."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        dead_letter_id: str,
        topic: str,
        partition: int,
        offset: int,
        invalid: InvalidEvent,
        object_key: str,
        key: bytes | None,
        headers: Iterable[tuple[str, bytes | None]],
        stage: str = "ingest",
    ) -> None:
        """Keep it once; a redelivery of the same record at the same place changes nothing."""
        row = DeadLetter(
            id=dead_letter_id,
            topic=topic,
            partition=partition,
            offset=offset,
            reason=invalid.reason,
            code=invalid.code,
            stage=stage,
            object_key=object_key,
            key=key,
            headers=[[name, base64.b64encode(value or b"").decode()] for name, value in headers],
            created_at=datetime.now(UTC),
        )
        place = (DeadLetter.topic == topic, DeadLetter.partition == partition, DeadLetter.offset == offset)
        with self._database.writing() as session:
            if session.scalar(select(DeadLetter.id).where(*place, DeadLetter.object_key == object_key)) is None:
                session.add(row)

    def list_dead_letters(self, *, limit: int = 200) -> list[DeadLetterRow]:
        """The newest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(DeadLetter).order_by(DeadLetter.created_at.desc()).limit(limit))
            return [_row(row) for row in rows]

    def get(self, dead_letter_id: str) -> DeadLetterRow:
        """`PermanentFailure` (`dead-letter-unknown`) if there is none of this id."""
        with self._database.reading() as session:
            return _row(_known(session.get(DeadLetter, dead_letter_id)))

    def mark_replayed(self, dead_letter_id: str) -> None:
        """Remember when it was last sent again."""
        with self._database.writing() as session:
            _known(session.get(DeadLetter, dead_letter_id)).replayed_at = datetime.now(UTC)


def _known(row: DeadLetter | None) -> DeadLetter:
    if row is None:
        raise PermanentFailure(
            "dead-letter-unknown", "there is no dead letter of this id: see 'longview dead-letters'."
        )
    return row


def _row(row: DeadLetter) -> DeadLetterRow:
    plain = {name: getattr(row, name) for name in DeadLetterRow.__dataclass_fields__ if name != "headers"}
    return DeadLetterRow(**plain, headers=[(name, base64.b64decode(value)) for name, value in row.headers])
