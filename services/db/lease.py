"""What only one of several processes does at a time: the right to it is held in the database, and runs out by itself when its holder dies.

The moment is the holder's own clock, so clocks should agree to within a few seconds; where they do not, two may hold it for a moment.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from services.db.engine import Database
from services.db.models import LeaseRow


class Held(Protocol):
    """A row that says who holds a right, and until when."""

    holder: Any
    held_until: Any


def take(row: Held, holder: str, seconds: float) -> bool:
    """Take the right, or keep it for `seconds` from now; False while another holds it."""
    now = datetime.now(UTC)
    if row.holder not in (None, holder) and row.held_until is not None and row.held_until > now:
        return False
    row.holder, row.held_until = holder, now + timedelta(seconds=seconds)
    return True


def let_go(row: Held, holder: str) -> None:
    """Another may take it at once; nothing where it is another's already."""
    if row.holder == holder:
        row.holder = row.held_until = None


class Lease:
    """The right of one name, `outbox` for instance."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def hold(self, holder: str, seconds: float) -> bool:
        """See `take`."""
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._name)
            if row is None:
                session.add(row := LeaseRow(name=self._name))
            return take(row, holder, seconds)

    def release(self, holder: str) -> None:
        """See `let_go`."""
        with self._database.writing() as session:
            if (row := session.get(LeaseRow, self._name)) is not None:
                let_go(row, holder)
