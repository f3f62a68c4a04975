"""What only one of several processes does at a time: the right to it is held in the database, and runs out by itself when its holder dies.

The moment is the holder's own clock, so clocks should agree to within a few seconds; where they do not, two may hold it for a moment.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.db.engine import Database
from services.db.models import LeaseRow


class Lease:
    """The right of one name, `outbox` for instance."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def hold(self, holder: str, seconds: float) -> bool:
        """Take it, or keep it for `seconds` from now; False while another holds it."""
        now = datetime.now(UTC)
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._name)
            if row is None:
                session.add(row := LeaseRow(name=self._name, holder=holder, held_until=now))
            if row.holder != holder and row.held_until > now:
                return False
            row.holder, row.held_until = holder, now + timedelta(seconds=seconds)
            return True

    def release(self, holder: str) -> None:
        """Another may take it at once; nothing where it is another's already."""
        with self._database.writing() as session:
            row = session.get(LeaseRow, self._name)
            if row is not None and row.holder == holder:
                session.delete(row)
