"""The inbox's table as the inbox page reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from schemas.audit import AuditEntry, AuditKind, AuditPerson, new_audit_id
from schemas.identifiers import without_version
from schemas.inbox import InboxResult
from services.db.audit import append, now_text
from services.db.engine import Database
from services.db.inbox import CLOSED, DECIDED, UNREVIEWED, write_change
from services.db.models import InboxChange, InboxEntry, InboxRead

Shown = Literal["open", "reviewed", "superseded", "all"]
SHOWN: tuple[Shown, ...] = get_args(Shown)
_STATUSES: dict[Shown, tuple[str, ...]] = {
    "open": UNREVIEWED,
    "reviewed": DECIDED,
    "superseded": CLOSED,
    "all": (*UNREVIEWED, *DECIDED, *CLOSED),
}


@dataclass(frozen=True)
class EntryRow:
    """One line of the list."""

    result_id: str
    status: str
    priority: str
    modality: str
    trained: bool
    release_name: str
    patient_name: str
    birth_date: str | None
    sex: str | None
    record_number: str | None
    accession: str | None
    study_description: str
    study_started: str | None
    prior_started: str | None
    headline: str
    finding_count: int
    issued_at: datetime
    acknowledge_by: datetime | None
    opened_at: datetime | None
    superseded_by: str | None
    reviewer: str | None
    reviewed_at: datetime | None
    reason_code: str | None
    adds_to: str | None
    closed_reason: str | None
    closed_at: datetime | None
    escalation_step: int
    escalation_exhausted: bool
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    cautions: list[str] | None
    """Routes (`chart`, `dicom`, `pixels`) by which text came that reads like instructions."""
    order_priority: str | None
    """Set with `raised`; else `priority` is the order's."""
    raised: dict[str, str] | None
    """A `schemas.report.RaisedPriority`, while it holds the result above its order."""
    seen: bool
    """Whether whoever asks has opened it."""


@dataclass(frozen=True)
class Entry:
    """One result with all that its page shows."""

    row: EntryRow
    result: InboxResult
    act_id: str | None
    """The act that decided about it."""
    reason_text: str | None
    reviewed_report: str | None
    newer_result_id: str | None
    """The newest later result about the same study, if there is one; addenda do not count."""
    addenda: list[str]
    """Result ids of the addenda to it, oldest first."""


@dataclass(frozen=True)
class Listing:
    """One page of the list: `matching` counts what the filter lets through, `open` the whole inbox, `unread` what of it the reader has not opened."""

    rows: list[EntryRow]
    matching: int
    unread: int
    open: int
    seq: int
    """The last change that is part of this listing; changes after it are news."""


@dataclass(frozen=True)
class Filter:
    """What the list is to show; None lets all through."""

    shown: Shown = "open"
    modality: str | None = None
    priority: str | None = None
    limit: int = 100
    offset: int = 0
    reader: str = ""
    """Who asks (`AuditPerson.key`); "" where nobody says."""


@dataclass(frozen=True)
class Change:
    """One entry of the change feed."""

    seq: int
    result_id: str
    kind: str


@dataclass(frozen=True)
class Look:
    """A person looks at a result: how, who, and from which address. `opening`: on a screen, as a decision asks for."""

    kind: AuditKind
    person: AuditPerson | None
    address: str | None
    part: str | None = None
    opening: bool = False


class InboxReader:
    """Reads lists, entries and changes, and notes who looked at what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_entries(self, wanted: Filter) -> Listing:
        """Unreviewed first, then by urgency, then by what is due first. The feed's position is read first: at worst a change comes twice."""
        conditions = _conditions(wanted)
        seen = _seen_by(wanted.reader)
        page = _ordered(select(*_row_columns(), seen.label("seen")).where(*conditions))
        page = page.limit(wanted.limit).offset(wanted.offset)
        waiting = select(func.count(), func.count().filter(~seen)).select_from(InboxEntry)
        waiting = waiting.where(InboxEntry.status.in_(UNREVIEWED))
        with self._database.reading() as session:
            seq = session.scalar(select(func.max(InboxChange.seq))) or 0
            rows = [_row(dict(row._mapping)) for row in session.execute(page)]
            matching = session.scalar(select(func.count()).select_from(InboxEntry).where(*conditions)) or 0
            unreviewed, unread = session.execute(waiting).one()
        return Listing(rows=rows, matching=matching, unread=unread, open=unreviewed, seq=seq)

    def get(self, result_id: str) -> Entry | None:
        """The entry, or None if there is none of this id; for checks of ours. What a person sees comes from `view`."""
        with self._database.reading() as session:
            entry = session.get(InboxEntry, result_id)
            return None if entry is None else _entry(session, entry, "")

    def view(self, result_id: str, look: Look) -> Entry | None:
        """The entry for a person's eyes. That they looked is in the audit trail, in the same transaction: else nothing is shown."""
        with self._database.writing() as session:
            entry = session.get(InboxEntry, result_id)
            if entry is None:
                return None
            reader = look.person.key if look.person is not None else ""
            if look.opening:
                _open(session, entry, reader)
            append(session, _seen(entry, look))
            return _entry(session, entry, reader)

    def changes_since(self, seq: int, limit: int = 500) -> list[Change]:
        """Changes after `seq`, oldest first. Since `seq` grows in commit order, none can appear later before one that was returned."""
        later = select(InboxChange).where(InboxChange.seq > seq).order_by(InboxChange.seq).limit(limit)
        with self._database.reading() as session:
            return [Change(row.seq, row.result_id, row.kind) for row in session.scalars(later)]

    def last_seq(self) -> int:
        """The position of the feed's newest change; 0 when there is none."""
        with self._database.reading() as session:
            return session.scalar(select(func.max(InboxChange.seq))) or 0


def _open(session: Session, entry: InboxEntry, reader: str) -> None:
    if session.get(InboxRead, (reader, entry.result_id)) is None:
        session.add(InboxRead(reader=reader, result_id=entry.result_id, at=datetime.now(UTC)))
    if entry.opened_at is not None:
        return
    entry.opened_at = datetime.now(UTC)
    if entry.status == "unread":
        entry.status = "opened"
        write_change(session, entry.result_id, "opened")


def _seen(entry: InboxEntry, look: Look) -> AuditEntry:
    return AuditEntry(
        event_id=new_audit_id(),
        kind=look.kind,
        at=now_text(),
        process="inbox",
        person=look.person,
        address=look.address,
        patient=without_version(entry.document["patient"]["resource"]),
        data=entry.reviewed_report or entry.document["report"],
        part=look.part,
        result_id=entry.result_id,
    )


def _seen_by(reader: str) -> ColumnElement[bool]:
    return exists().where(InboxRead.reader == reader, InboxRead.result_id == InboxEntry.result_id)


def _entry(session: Session, entry: InboxEntry, reader: str) -> Entry:
    told = {name: entry.document.get(name) for name in _FROM_DOCUMENT}
    told["cautions"] = entry.document["reading"].get("cautions")
    told["seen"] = session.get(InboxRead, (reader, entry.result_id)) is not None
    return Entry(
        row=_row({name: getattr(entry, name) for name in _COLUMNS} | told),
        result=InboxResult.model_validate(entry.document),
        act_id=entry.act_id,
        reason_text=entry.reason_text,
        reviewed_report=entry.reviewed_report,
        newer_result_id=entry.superseded_by or session.scalar(_newer(entry)),
        addenda=list(session.scalars(_addenda(entry))),
    )


_FROM_DOCUMENT = ("order_priority", "raised")
_COLUMNS = tuple(name for name in EntryRow.__dataclass_fields__ if name not in (*_FROM_DOCUMENT, "cautions", "seen"))


def _row_columns() -> list[Any]:
    """The line's own columns, and what it tells out of the page's document."""
    cautions = InboxEntry.document["reading"]["cautions"].label("cautions")
    told = [InboxEntry.document[name].label(name) for name in _FROM_DOCUMENT]
    return [*(getattr(InboxEntry, name) for name in _COLUMNS), cautions, *told]


def _row(values: dict[str, Any]) -> EntryRow:
    routes = {caution["route"] for caution in values["cautions"] or []}
    return EntryRow(**(values | {"cautions": sorted(routes)}))


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [InboxEntry.status.in_(_STATUSES[wanted.shown])]
    if wanted.modality is not None:
        conditions.append(InboxEntry.modality == wanted.modality)
    if wanted.priority is not None:
        conditions.append(InboxEntry.priority == wanted.priority)
    return conditions


def _ordered(rows: Select[Any]) -> Select[Any]:
    reviewed = InboxEntry.status.not_in(UNREVIEWED)
    undated = InboxEntry.acknowledge_by.is_(None)
    due = (undated, InboxEntry.acknowledge_by, InboxEntry.issued_at, InboxEntry.result_id)
    return rows.order_by(reviewed, InboxEntry.priority_rank, *due)


def _newer(entry: InboxEntry) -> Select[str]:
    later = (InboxEntry.thread_id == entry.thread_id, InboxEntry.issued_at > entry.issued_at)
    results = select(InboxEntry.result_id).where(*later, InboxEntry.adds_to.is_(None))
    return results.order_by(InboxEntry.issued_at.desc()).limit(1)


def _addenda(entry: InboxEntry) -> Select[str]:
    return select(InboxEntry.result_id).where(InboxEntry.adds_to == entry.result_id).order_by(InboxEntry.issued_at)
