"""Connections of a process's database pool."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.pool import QueuePool

from services.db.engine import Database
from services.operations.meter import gauge


def connections(database: Database) -> Callable[[], None]:
    """Sets their gauge each time it is called."""

    def look() -> None:
        pool = database.engine.pool
        if isinstance(pool, QueuePool):
            gauge("longview_database_connections", pool.checkedout(), state="used")
            gauge("longview_database_connections", pool.checkedin(), state="idle")

    return look
