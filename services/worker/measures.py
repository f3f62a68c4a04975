"""What an activity that has ended is counted as."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.report import resulting_priority
from schemas.runs import CreateInboxEntry
from services.operations.meter import count, observe

NO_CODE = "none"


def record_attempt(name: str, outcome: str, code: str, seconds: float) -> None:
    """One attempt of an activity."""
    count("longview_activities_total", activity=name, outcome=outcome, code=code or NO_CODE)
    observe("longview_activity_seconds", seconds, activity=name)


def record_done(arguments: Sequence[Any], now: datetime | None = None) -> None:
    """An activity has done its work: if it was the one that puts a result before a person, how long they have waited since the study was announced.

    Events that name no time, and those of gateways before this metric, are not counted.
    """
    entry = arguments[0] if arguments else None
    if not isinstance(entry, CreateInboxEntry) or entry.event.announced_at is None:
        return
    try:
        announced = datetime.fromisoformat(entry.event.announced_at)
    except ValueError:
        return
    if announced.tzinfo is not None:
        waited = ((now or datetime.now(UTC)) - announced).total_seconds()
        observe(
            "longview_result_seconds",
            max(0.0, waited),
            priority=resulting_priority(entry.priority, entry.checked.critical),
        )
