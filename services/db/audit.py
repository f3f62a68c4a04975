"""The audit trail: rows are added in the transaction of what they tell of, chained by hash, and delivered in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.audit import AuditEntry
from schemas.identifiers import canonical_json, without_version
from services.db.audit_models import AuditDelivery, AuditEvent
from services.db.engine import Database
from services.db.lease import let_go, take

GENESIS = "0" * 64
"""Stands for the hash before the first row."""
_BATCH = 1000


@dataclass(frozen=True)
class AuditRow:
    """An entry in its place."""

    seq: int
    entry: AuditEntry
    hash: str


@dataclass(frozen=True)
class Head:
    """The newest row: who keeps it elsewhere can later prove that nothing up to it was changed or cut off."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Verified:
    """What checking the chain came to; `broken_at` is the first row that does not follow from those before it, or the seq of a lost anchor."""

    rows: int
    head: Head
    broken_at: int | None
    reason: str = ""


@dataclass(frozen=True)
class Undelivered:
    """What waits for the audit repository."""

    count: int
    oldest: datetime | None


def append(session: Session, entry: AuditEntry) -> None:
    """Add the entry once; the caller's transaction holds the write lock, so that the chain has one end."""
    if session.scalar(select(AuditEvent.seq).where(AuditEvent.event_id == entry.event_id)) is not None:
        return
    document = canonical_json(entry.model_dump(mode="json", exclude_none=True)).decode()
    session.add(
        AuditEvent(
            event_id=entry.event_id,
            kind=entry.kind,
            at=datetime.fromisoformat(entry.at),
            patient=without_version(entry.patient) if entry.patient else None,
            result_id=entry.result_id,
            document=document,
            hash=_link(_head(session).hash, document),
        )
    )
    session.flush()


def now_text() -> str:
    """The moment as an entry writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _link(previous: str, document: str) -> str:
    return hashlib.sha256(f"{previous}\n{document}".encode()).hexdigest()


def _head(session: Session) -> Head:
    row = session.execute(select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)).first()
    return Head(row[0], row[1]) if row else Head(0, GENESIS)


class AuditTrail:
    """Adds entries of their own, reads them, checks the chain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: AuditEntry) -> None:
        """In a transaction of its own. `TransientFailure` while the database is away: then what it tells of must not happen."""
        with self._database.writing() as session:
            append(session, entry)

    def read(
        self, told: AuditEntry, *, since: datetime | None = None, patient: str | None, result_id: str | None, limit: int
    ) -> list[AuditRow]:
        """`entries`; `told`, that somebody looks, is recorded first, with whose record was asked for."""
        whose = without_version(patient) if patient else self._patient_of(result_id) if result_id else None
        self.record(told.model_copy(update={"patient": whose, "result_id": result_id}))
        return self.entries(since=since, patient=patient, result_id=result_id, limit=limit)

    def _patient_of(self, result_id: str) -> str | None:
        """Whose the result is, by what the trail itself tells of it."""
        named = (AuditEvent.result_id == result_id, AuditEvent.patient.is_not(None))
        with self._database.reading() as session:
            return session.scalar(select(AuditEvent.patient).where(*named).limit(1))

    def entries(
        self,
        *,
        since: datetime | None = None,
        patient: str | None = None,
        result_id: str | None = None,
        limit: int = 1000,
    ) -> list[AuditRow]:
        """The newest first."""
        wanted = select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(limit)
        if since is not None:
            wanted = wanted.where(AuditEvent.at >= since)
        if patient is not None:
            wanted = wanted.where(AuditEvent.patient == without_version(patient))
        if result_id is not None:
            wanted = wanted.where(AuditEvent.result_id == result_id)
        with self._database.reading() as session:
            return [_row(row) for row in session.scalars(wanted)]

    def verify(self, anchor: Head | None = None) -> Verified:
        """Walk the chain from its beginning. `anchor` is a head that was noted earlier, or delivered: it must still be there.

        What was delivered is an anchor by itself, so that a tail that was cut off is noticed from there on.
        """
        with self._database.reading() as session:
            anchors = [a for a in (anchor, _delivered(session)) if a is not None and a.seq]
            rows, last = 0, Head(0, GENESIS)
            seen: dict[int, str] = {}
            for seq, document, stored in _chain(session):
                if _link(last.hash, document) != stored:
                    return Verified(rows, last, seq, "does not follow from the entries before it")
                rows, last = rows + 1, Head(seq, stored)
                seen |= {a.seq: stored for a in anchors if a.seq == seq}
        for lost in (a for a in anchors if seen.get(a.seq) != a.hash):
            return Verified(rows, last, lost.seq, "was there when its hash was noted, and is there no more")
        return Verified(rows, last, None)

    def undelivered(self) -> Undelivered:
        """How many entries the audit repository has not got, and since when; for a metric. Cheap: one index scan from where delivery stands."""
        with self._database.reading() as session:
            done = session.scalar(select(AuditDelivery.delivered_seq)) or 0
            waiting = select(func.count(), func.min(AuditEvent.at)).where(AuditEvent.seq > done)
            count, oldest = session.execute(waiting).one()
        return Undelivered(count, oldest)


def _chain(session: Session) -> Iterator[tuple[int, str, str]]:
    """All rows, a batch at a time: the trail is longer than memory should be."""
    columns, last = (AuditEvent.seq, AuditEvent.document, AuditEvent.hash), 0
    while True:
        batch = select(*columns).where(AuditEvent.seq > last).order_by(AuditEvent.seq).limit(_BATCH)
        rows = session.execute(batch).all()
        yield from ((row[0], row[1], row[2]) for row in rows)
        if len(rows) < _BATCH:
            return
        last = rows[-1][0]


def _delivered(session: Session) -> Head | None:
    row = session.scalar(select(AuditDelivery))
    return Head(row.delivered_seq, row.delivered_hash) if row is not None and row.delivered_hash else None


def _row(row: AuditEvent) -> AuditRow:
    return AuditRow(row.seq, AuditEntry.model_validate_json(row.document), row.hash)


class AuditOutbox:
    """The delivering side. Of several processes one delivers at a time; its hold runs out by itself if it dies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, holder: str, seconds: float) -> bool:
        """Take or keep the right to deliver."""
        with self._database.writing() as session:
            return take(_state(session), holder, seconds)

    def release(self, holder: str) -> None:
        with self._database.writing() as session:
            let_go(_state(session), holder)

    def waiting(self, limit: int) -> list[AuditRow]:
        """The oldest entries after what was delivered. `seq` grows in commit order: none can appear later before one that was returned."""
        with self._database.reading() as session:
            done = session.scalar(select(AuditDelivery.delivered_seq)) or 0
            rows = select(AuditEvent).where(AuditEvent.seq > done).order_by(AuditEvent.seq).limit(limit)
            return [_row(row) for row in session.scalars(rows)]

    def mark_delivered(self, last: AuditRow) -> None:
        """Everything up to this row has arrived. May be repeated; never goes back."""
        with self._database.writing() as session:
            state = _state(session)
            if last.seq > state.delivered_seq:
                state.delivered_seq, state.delivered_hash = last.seq, last.hash
                state.delivered_at = datetime.now(UTC)


def _state(session: Session) -> AuditDelivery:
    state = session.get(AuditDelivery, 1)
    if state is None:
        state = AuditDelivery(id=1, delivered_seq=0)
        session.add(state)
        session.flush()
    return state
