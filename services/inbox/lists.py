"""Looks at the list, for the audit trail: its lines name patients too."""

from __future__ import annotations

import time
from collections import OrderedDict

from schemas.audit import AuditEntry, new_audit_id
from services.db import AuditTrail, Filter
from services.db.audit import now_text
from services.inbox.access import AnyConnection, address_of, person_of

AGAIN_SECONDS = 300.0
"""A list that stays open refreshes itself with each change; of one person and filter it is told once in this time."""
KEPT = 4096


class ListLooks:
    """Tells of each list that a person asks for; of refreshes only once in a while."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._told: OrderedDict[tuple[str | None, ...], float] = OrderedDict()

    def seen(self, request: AnyConnection, wanted: Filter, page: int, typed: str = "") -> None:
        """Before anything is shown. `TransientFailure` while the database is away."""
        person, address = person_of(request, typed), address_of(request)
        query = f"shown={wanted.shown}&modality={wanted.modality or ''}&priority={wanted.priority or ''}&page={page}"
        key = (person.subject or person.name if person else None, address, query)
        if request.scope["path"] == "/rows" and self._recent(key):
            return
        told = AuditEntry(
            event_id=new_audit_id(),
            kind="list-read",
            at=now_text(),
            process="inbox",
            person=person,
            address=address,
            query=query,
        )
        self._trail.record(told)
        self._told[key] = time.monotonic()
        self._told.move_to_end(key)
        while len(self._told) > KEPT:
            self._told.popitem(last=False)

    def _recent(self, key: tuple[str | None, ...]) -> bool:
        told = self._told.get(key)
        return told is not None and told > time.monotonic() - AGAIN_SECONDS
