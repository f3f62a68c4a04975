"""What operators ask of the audit trail, and what they themselves leave in it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas.audit import (
    AuditEntry,
    AuditKind,
    AuditPerson,
    NotAsked,
    new_audit_id,
    patient_asked,
    result_asked,
)
from schemas.errors import PermanentFailure
from schemas.identifiers import without_version
from services.settings import Settings

if TYPE_CHECKING:
    from services.db import AuditTrail, Head

_ANCHOR = re.compile(r"(\d+):([0-9a-f]{64})")


def list_audit(
    settings: Settings, *, since: datetime | None, patient: str | None, result_id: str | None, limit: int
) -> list[dict[str, Any]]:
    """Rows for `longview audit`, newest first. That somebody looked, and at whose record, is recorded before anything is shown."""
    try:
        about, result = patient_asked(patient or ""), result_asked(result_id or "")
    except NotAsked as error:
        raise PermanentFailure("audit-asked", "a patient is Patient/ID, a result its id: neither was given.") from error
    with _trail(settings) as trail:
        told = _by_operator("audit-read")
        rows = trail.read(told, since=since, patient=about, result_id=result, limit=limit)
    return [{"seq": row.seq} | row.entry.model_dump(mode="json", exclude_none=True) for row in rows]


def verify_audit(settings: Settings, anchor: str | None) -> dict[str, Any]:
    """Whether every entry still follows from those before it, and how much waits for the audit repository."""
    with _trail(settings) as trail:
        found, waiting = trail.verify(_anchor(anchor)), trail.undelivered()
    head = f"{found.head.seq}:{found.head.hash}"
    told = asdict(found) | {"head": head, "intact": found.broken_at is None}
    if settings.audit_url:
        told |= {"undelivered": waiting.count, "oldest_undelivered": waiting.oldest}
    return told


def record_operator(
    settings: Settings, kind: AuditKind, *, patient: str | None = None, data: str | None = None
) -> None:
    """An operator looks at a patient's data at the terminal: recorded before anything is shown."""
    with _trail(settings) as trail:
        trail.record(_by_operator(kind, patient=patient, data=data))


def _by_operator(kind: AuditKind, *, patient: str | None = None, data: str | None = None) -> AuditEntry:
    from services.db.audit import now_text

    account = getpass.getuser()
    return AuditEntry(
        event_id=new_audit_id(),
        kind=kind,
        at=now_text(),
        process="operator",
        person=AuditPerson(name=account, subject=account),
        patient=without_version(patient) if patient else None,
        data=data,
    )


def _anchor(text: str | None) -> Head | None:
    """`SEQ:HASH`, as `--verify` prints it; `PermanentFailure` for anything else."""
    from services.db import Head

    if text is None:
        return None
    parts = _ANCHOR.fullmatch(text)
    if parts is None:
        raise PermanentFailure("audit-anchor", "an anchor is SEQ:HASH, as an earlier 'longview audit --verify' showed.")
    return Head(int(parts[1]), parts[2])


@contextmanager
def _trail(settings: Settings) -> Iterator[AuditTrail]:
    from services.db import AuditTrail, open_migrated

    database = open_migrated(settings.database)
    try:
        yield AuditTrail(database)
    finally:
        database.close()
