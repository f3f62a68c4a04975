"""The database as lines of JSON: one transaction's view of every table, for SQLite and PostgreSQL alike.

First line: `{"revision": ..}`. Then for each table, in the order of its foreign keys, `{"table": .., "columns": [..]}` and one array for each row.
Instants are RFC 3339 in UTC, bytes base64, documents as they are. A dump of one kind of database loads into the other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import Connection, Integer, LargeBinary, Table, func, insert, select, text

from schemas.errors import PermanentFailure
from services.db import Database
from services.db.audit_models import InboxSession
from services.db.models import Base, SchemaFloor, UtcDateTime

BATCH = 500
LEFT_OUT = (SchemaFloor.__tablename__, InboxSession.__tablename__)
"""The floor of the schema is the code's to say; a login is a secret of the hour, and people log in again."""
TABLES: list[Table] = [table for table in Base.metadata.sorted_tables if table.name not in LEFT_OUT]


@contextmanager
def one_view(database: Database) -> Iterator[Connection]:
    """A transaction that sees the database as it is now, however long it reads; writers go on meanwhile."""
    engine = database.engine
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


def dump(connection: Connection, revision: str, rows: dict[str, int]) -> Iterator[bytes]:
    """Every row; `rows` is filled with their number by table."""
    yield _line({"revision": revision})
    for table in TABLES:
        yield _line({"table": table.name, "columns": [column.name for column in table.columns]})
        rows[table.name] = 0
        ordered = select(table).order_by(*table.primary_key.columns)
        for row in connection.execution_options(yield_per=BATCH).execute(ordered):
            rows[table.name] += 1
            yield _line([_written(value) for value in row])


def load(connection: Connection, lines: Iterable[bytes]) -> dict[str, int]:
    """Insert every row of a dump into empty tables; the number of rows by table. `PermanentFailure` where it is no dump of ours."""
    tables, rows = {table.name: table for table in TABLES}, dict.fromkeys((table.name for table in TABLES), 0)
    table, columns, waiting = TABLES[0], list[str](), list[dict[str, Any]]()
    try:
        source = iter(lines)
        next(source)
        for line in source:
            item = orjson.loads(line)
            if isinstance(item, dict):
                _insert(connection, table, waiting)
                table, columns = tables[item["table"]], item["columns"]
                continue
            waiting.append({name: _read(table, name, value) for name, value in zip(columns, item, strict=True)})
            rows[table.name] += 1
            if len(waiting) >= BATCH:
                _insert(connection, table, waiting)
        _insert(connection, table, waiting)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise PermanentFailure("backup-damaged", "the rows of the database are no dump of Longview's.") from error
    _number_on(connection)
    return rows


def is_empty(connection: Connection) -> bool:
    return not any(connection.execute(select(table.primary_key.columns[0]).limit(1)).first() for table in TABLES)


def _insert(connection: Connection, table: Table, waiting: list[dict[str, Any]]) -> None:
    if waiting:
        connection.execute(insert(table), waiting)
        waiting.clear()


def _number_on(connection: Connection) -> None:
    """PostgreSQL's counters go on behind the rows that were loaded; SQLite's do by themselves."""
    if connection.dialect.name != "postgresql":
        return
    for table in TABLES:
        column = table.autoincrement_column
        if column is not None and isinstance(column.type, Integer):
            highest = select(func.max(column)).scalar_subquery()
            counter = func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(select(func.setval(counter, highest)).where(highest.is_not(None)))


def _line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"


def _written(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _read(table: Table, name: str, value: Any) -> Any:
    kind = table.columns[name].type
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat(value)
    return base64.b64decode(value) if isinstance(kind, LargeBinary) else value


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of any length as whole lines."""
    left = b""
    for piece in pieces:
        *whole, left = (left + piece).split(b"\n")
        yield from whole
    if left:
        yield left


def batches(items: Iterable[bytes], size: int = BATCH) -> Iterator[bytes]:
    """Small pieces joined, so that compression and sealing meet few large ones."""
    source = iter(items)
    while batch := b"".join(islice(source, size)):
        yield batch
