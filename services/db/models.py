"""The tables. Patient data stands in `inbox_entry` alone; every other table holds keys, codes, references and counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Document = JSON().with_variant(JSONB(), "postgresql")
Sequence = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the key is an INTEGER, which has 64 bits there."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware in Python, UTC in the database, whatever the dialect."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Maps Python types to columns; strings are unbounded, since what hospitals put into an identifier is not ours to cut."""

    type_annotation_map = {datetime: UtcDateTime, str: Text(), dict[str, Any]: Document}


class SchemaFloor(Base):
    """One row, kept by `migrate`: code that was written for this revision or a later one may work on the database."""

    __tablename__ = "schema_floor"

    revision: Mapped[str] = mapped_column(primary_key=True)


class Run(Base):
    """One attempt to read a study, as `longview runs` lists it."""

    __tablename__ = "run"
    __table_args__ = (
        Index("ix_run_read", "study_key", "inventory_digest", "release_id"),
        Index("ix_run_result", "result_id"),
        Index("ix_run_updated", "updated_at"),
    )

    run_id: Mapped[str] = mapped_column(primary_key=True)
    study_key: Mapped[str]
    thread_id: Mapped[str]
    inventory_digest: Mapped[str | None]
    release_id: Mapped[str | None]
    """None where the run failed before the release was known."""
    state: Mapped[str]
    stage: Mapped[str | None]
    code: Mapped[str | None]
    hint: Mapped[str | None]
    retryable: Mapped[bool | None]
    attempts: Mapped[int | None]
    result_id: Mapped[str | None]
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class InboxEntry(Base):
    """One result in the inbox: the columns by which the list sorts and filters, the whole page as `document`, and what became of it."""

    __tablename__ = "inbox_entry"
    __table_args__ = (
        Index("ix_inbox_entry_order", "status", "priority_rank", "issued_at"),
        Index("ix_inbox_entry_thread", "thread_id", "issued_at"),
        Index("ix_inbox_entry_adds_to", "adds_to"),
    )

    result_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"))
    study_key: Mapped[str]
    thread_id: Mapped[str]
    status: Mapped[str]
    priority: Mapped[str]
    priority_rank: Mapped[int]
    """0 is the most urgent."""
    modality: Mapped[str]
    trained: Mapped[bool]
    release_name: Mapped[str]
    patient_name: Mapped[str]
    birth_date: Mapped[str | None]
    sex: Mapped[str | None]
    record_number: Mapped[str | None]
    accession: Mapped[str | None]
    study_description: Mapped[str]
    study_started: Mapped[str | None]
    prior_started: Mapped[str | None]
    headline: Mapped[str]
    finding_count: Mapped[int]
    """Findings that were detected."""
    issued_at: Mapped[datetime]
    acknowledge_by: Mapped[datetime | None]
    document: Mapped[dict[str, Any]]
    """A `schemas.inbox.InboxResult`."""
    opened_at: Mapped[datetime | None]
    superseded_by: Mapped[str | None]
    act_id: Mapped[str | None]
    reviewer: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    reason_code: Mapped[str | None]
    reason_text: Mapped[str | None]
    reviewed_report: Mapped[str | None]
    added_at: Mapped[datetime]
    adds_to: Mapped[str | None]
    """Result id of the result that this one is an addendum to."""
    closed_reason: Mapped[str | None]
    """Why the system closed it, or that a final report has followed the human's decision."""
    closed_act_id: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    escalation_step: Mapped[int] = mapped_column(server_default="0")
    """The highest step that was told; 0 before the first."""
    escalation_exhausted: Mapped[bool] = mapped_column(server_default=false())
    acknowledged_by: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]


class InboxRead(Base):
    """A person has opened a result: what is unread is so for each person."""

    __tablename__ = "inbox_read"

    reader: Mapped[str] = mapped_column(primary_key=True)
    """`schemas.audit.AuditPerson.key`"""
    result_id: Mapped[str] = mapped_column(ForeignKey("inbox_entry.result_id"), primary_key=True)
    at: Mapped[datetime]


class InboxChange(Base):
    """The feed behind the live list: `seq` grows in commit order."""

    __tablename__ = "inbox_change"
    __table_args__ = {"sqlite_autoincrement": True}

    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    result_id: Mapped[str] = mapped_column(ForeignKey("inbox_entry.result_id"))
    kind: Mapped[str]
    at: Mapped[datetime]


class LeaseRow(Base):
    """Which process holds a right that only one may have, and until when."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    held_until: Mapped[datetime | None]


class Outbox(Base):
    """Events on their way to the bus; `sequence` counts the events of one key from 1, in commit order and without a gap."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("key", "sequence", name="uq_outbox_key_sequence"),
        Index("ix_outbox_waiting", "published_at", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    topic: Mapped[str]
    key: Mapped[str]
    sequence: Mapped[int] = mapped_column(BigInteger)
    event: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


class DeadLetter(Base):
    """A record of the bus that cannot be handled; its bytes stay in the object store."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        UniqueConstraint("topic", "partition", "offset", "object_key", name="uq_dead_letter_place"),
        Index("ix_dead_letter_created", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    code: Mapped[str]
    stage: Mapped[str]
    object_key: Mapped[str]
    """SHA-256 of the record's value: its address in the object store."""
    key: Mapped[bytes | None] = mapped_column(LargeBinary)
    headers: Mapped[list[list[str]]] = mapped_column(Document)
    """Pairs of name and base64 of the value, in their order on the bus."""
    created_at: Mapped[datetime]
    replayed_at: Mapped[datetime | None]
