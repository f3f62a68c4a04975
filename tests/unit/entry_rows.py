"""A line of the inbox's list, with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.db import EntryRow


def row(**changes: Any) -> EntryRow:
    fields: dict[str, Any] = dict.fromkeys(EntryRow.__dataclass_fields__)
    fields |= {"status": "unread", "priority": "urgent", "modality": "CT", "trained": False, "finding_count": 0}
    fields |= {"escalation_step": 0, "escalation_exhausted": False, "seen": False}
    fields["issued_at"] = datetime(2026, 11, 24, tzinfo=UTC)
    return EntryRow(**(fields | changes))
