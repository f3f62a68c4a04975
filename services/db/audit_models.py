"""The tables of the audit trail and of logins. References of patients and names of staff stand here; no name of a patient, no chart text."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from services.db.models import Base, Sequence


class AuditEvent(Base):
    """One entry of the trail. Rows are only ever added: the database refuses UPDATE and DELETE, and each hash covers all rows before it."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_patient", "patient"),
        Index("ix_audit_events_result", "result_id"),
        Index("ix_audit_events_at", "at"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    at: Mapped[datetime]
    patient: Mapped[str | None]
    result_id: Mapped[str | None]
    document: Mapped[str]
    """A `schemas.audit.AuditEntry` as canonical JSON: text, so that its bytes are those that were hashed."""
    hash: Mapped[str]
    """SHA-256 of the previous row's hash, a line feed and the document."""


class AuditDelivery(Base):
    """How far the trail was delivered, and which process delivers: one row."""

    __tablename__ = "audit_delivery"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivered_seq: Mapped[int] = mapped_column(Sequence)
    delivered_hash: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    holder: Mapped[str | None]
    held_until: Mapped[datetime | None]


class InboxSession(Base):
    """One login. The key is a digest of the cookie's secret: whoever reads the table cannot log in with it."""

    __tablename__ = "inbox_session"
    __table_args__ = (Index("ix_inbox_session_ends", "ends_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str]
    """Who it is, as JSON of the inbox's own `Visitor`."""
    id_token: Mapped[str]
    """What the issuer wants to see at logout."""
    seen_at: Mapped[datetime]
    ends_at: Mapped[datetime]
