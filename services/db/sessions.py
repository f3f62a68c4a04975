"""Logins of the inbox, kept in the database: any inbox process knows them, and a logout ends them everywhere at once."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete

from schemas.audit import AuditEntry
from services.db.audit import append
from services.db.audit_models import InboxSession
from services.db.engine import Database

TOUCH = timedelta(minutes=1)
"""How exactly it is known when a person was last there: a row is written at most this often."""


@dataclass(frozen=True)
class KeptSession:
    """What a login left behind."""

    person: str
    id_token: str


class SessionRecords:
    """Begins, finds and ends logins. The cookie's secret is never stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, person: str, id_token: str, ends_at: datetime, now: datetime, told: AuditEntry) -> str:
        """The secret for the cookie. The login and its entry in the audit trail stand or fall together; what has ended is cleared away."""
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as session:
            session.execute(delete(InboxSession).where(InboxSession.ends_at <= now))
            session.add(InboxSession(key=_key(secret), person=person, id_token=id_token, seen_at=now, ends_at=ends_at))
            append(session, told)
        return secret

    def find(self, secret: str, now: datetime, idle: timedelta, *, active: bool) -> KeptSession | None:
        """The login, unless it is over or was idle for too long. `active`: a person does something, so the idle time begins anew; what an open page
        asks for by itself is answered until the login is over, since a list on the wall must not fall silent, and opens nothing."""
        with self._database.reading() as session:
            row = session.get(InboxSession, _key(secret))
        if row is None or row.ends_at <= now or (active and row.seen_at + idle <= now):
            return None
        if active and row.seen_at + TOUCH <= now:
            self._touch(row.key, now)
        return KeptSession(row.person, row.id_token)

    def _touch(self, key: str, now: datetime) -> None:
        with self._database.writing() as session:
            row = session.get(InboxSession, key)
            if row is not None and row.seen_at < now:
                row.seen_at = now

    def end(self, secret: str, told: AuditEntry) -> None:
        """Once; with its entry in the audit trail."""
        with self._database.writing() as session:
            row = session.get(InboxSession, _key(secret))
            if row is not None:
                session.delete(row)
                append(session, told)


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
