"""What the tables say of the whole system, for metrics: a few aggregates over indexed columns, one read transaction for each process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from services.db.engine import Database
from services.db.inbox import UNREVIEWED
from services.db.models import DeadLetter, InboxEntry, Outbox
from services.db.oversight_models import DriftLook, ReconcileItem, ReconcilePass


@dataclass(frozen=True)
class BusState:
    """`oldest_event` is when the event that has waited longest was written."""

    waiting_events: int
    oldest_event: datetime | None
    dead_letters: int


@dataclass(frozen=True)
class InboxState:
    """By priority, where there is any."""

    open: dict[str, int]
    oldest_unread: dict[str, datetime]
    overdue: dict[str, int]
    unheard: int


@dataclass(frozen=True)
class OversightState:
    """Of the last pass of reconciliation that has ended, and of the last day whose rates were compared."""

    ended_at: datetime | None
    flagged: int
    left_over: int
    drift_alarms: int


class StateReader:
    """Reads what is so now; `TransientFailure` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bus(self) -> BusState:
        waiting = select(func.count(), func.min(Outbox.created_at)).where(Outbox.published_at.is_(None))
        dead = select(func.count()).select_from(DeadLetter).where(DeadLetter.replayed_at.is_(None))
        with self._database.reading() as session:
            count, oldest = session.execute(waiting).one()
            return BusState(count, oldest, session.scalar(dead) or 0)

    def inbox(self, now: datetime) -> InboxState:
        entry, open_now = InboxEntry, InboxEntry.status.in_(UNREVIEWED)
        by_priority = select(entry.priority, func.count()).where(open_now).group_by(entry.priority)
        unread = select(entry.priority, func.min(entry.issued_at)).where(entry.status == "unread")
        late = entry.acknowledged_at.is_(None), entry.acknowledge_by < now
        unheard = select(func.count()).select_from(entry).where(open_now, late[0], entry.escalation_exhausted)
        with self._database.reading() as session:
            return InboxState(
                open=_pairs(session.execute(by_priority)),
                oldest_unread=_pairs(session.execute(unread.group_by(entry.priority))),
                overdue=_pairs(session.execute(by_priority.where(*late))),
                unheard=session.scalar(unheard) or 0,
            )

    def oversight(self) -> OversightState:
        ended = select(ReconcilePass).where(ReconcilePass.ended_at.is_not(None))
        day = select(func.max(DriftLook.day)).scalar_subquery()
        alarms = select(func.count()).select_from(DriftLook).where(DriftLook.verdict == "alarm", DriftLook.day == day)
        with self._database.reading() as session:
            last = session.scalar(ended.order_by(ReconcilePass.started_at.desc()).limit(1))
            drifted = session.scalar(alarms) or 0
            if last is None:
                return OversightState(None, 0, 0, drifted)
            flagged = select(func.count()).select_from(ReconcileItem)
            mine = flagged.where(ReconcileItem.pass_id == last.pass_id, ReconcileItem.state == "flagged")
            return OversightState(last.ended_at, session.scalar(mine) or 0, last.left_over or 0, drifted)


def _pairs(rows: Iterable[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in rows}
