"""Opening the database: SQLite embedded (WAL), PostgreSQL by URL (psycopg 3).

Every write takes the database's one write lock first: `BEGIN IMMEDIATE` on SQLite, a transaction-level advisory lock on
PostgreSQL. The lock is held until after the commit, so rows get their `seq` in commit order, and whoever has read up to `seq` has
missed nothing before it. Writes here are few and small (some per study); what that costs is far below what a study costs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from schemas.errors import LongviewError, PartUnavailable, PermanentFailure, TransientFailure

WRITE_LOCK = 0x6C6F6E67
"""Key of the advisory lock that orders our writes on PostgreSQL."""
BUSY_SECONDS = 15
LOST_MILLISECONDS = 30_000
"""After which a connection counts as lost whose other end acknowledges nothing: without it a call into a network that swallows everything would hang
for a quarter of an hour (RFC 5482)."""
PG_TIMEOUTS = {
    "lock_timeout": f"{BUSY_SECONDS}s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "30s",
}
"""A client that hangs inside a transaction is cut off by the server instead of holding everybody's lock. Set in each transaction, not with the
connection: a pooler (PgBouncer) refuses options of a connection, and gives the next transaction another one."""


class Database:
    """An engine and its two ways of beginning a transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(longview_write=True)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One write transaction, alone and in commit order; `TransientFailure` if the database is away or busy for too long."""
        with _named_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            if self.engine.dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One read transaction."""
        with _named_errors(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def ask(self) -> None:
        """`TransientFailure` if the database does not answer."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at `sqlite:///path`, `postgresql://..` or `postgres://..`; connects on first use. `PartUnavailable` on another URL."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=5,
            pool_timeout=BUSY_SECONDS,
            hide_parameters=True,
            connect_args={
                "connect_timeout": 10,
                "prepare_threshold": None,  # a prepared statement belongs to one connection, which a pooler changes
                "tcp_user_timeout": LOST_MILLISECONDS,
            },
        )
        event.listen(engine, "begin", _begin_postgresql)
    else:
        engine = create_engine(parsed, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
        _prepare_file(parsed)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return Database(engine)


def database_url(url: str) -> URL:
    """The URL with the driver that we use; `PartUnavailable` if it is none of ours."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _wrong_url() from None
    backend = parsed.drivername.split("+")[0]
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    raise _wrong_url()


def _wrong_url() -> PartUnavailable:
    return PartUnavailable(
        "database-url",
        "LONGVIEW_DATABASE_URL is neither sqlite:///<file> nor postgresql://<user>@<host>/<database>: correct it.",
    )


def _prepare_file(url: URL) -> None:
    """The file belongs to its owner alone, since it holds charts; SQLite gives its -wal and -shm the same mode.

    A file that is there is never opened here: closing it would drop the locks that SQLite holds on it in this process (fcntl(2)).
    """
    path = Path(str(url.database))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise PartUnavailable(
            "database-file",
            f"the SQLite file cannot be written ({error.strerror}): check LONGVIEW_DATABASE_URL and LONGVIEW_STATE_DIR.",
        ) from None


def _configure_sqlite(connection: Any, _record: object) -> None:
    """WAL lets readers go on while one writes; a kill loses no commit, a power cut may lose the last ones (synchronous NORMAL)."""
    connection.isolation_level = (
        None  # we say BEGIN ourselves: the driver's own BEGIN comes too late for a read-then-write
    )
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("longview_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in PG_TIMEOUTS.items())
    connection.exec_driver_sql(f"SELECT {settings}")


@contextmanager
def _named_errors() -> Iterator[None]:
    """A driver's error text may repeat a row, so only its class name goes on."""
    try:
        yield
    except LongviewError:
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise TransientFailure("database-unavailable", f"the database did not answer ({_kind(error)})") from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise TransientFailure("database-unavailable", "the connection to the database was lost") from None
        raise _refused(error) from None
    except SQLAlchemyError as error:
        raise _refused(error) from None


def _kind(error: SQLAlchemyError) -> str:
    """The driver's own name of the error (SQLITE_BUSY, ConnectionTimeout), which holds no value."""
    original = getattr(error, "orig", None)
    return str(getattr(original, "sqlite_errorname", None) or type(original or error).__name__)


def _refused(error: SQLAlchemyError) -> PermanentFailure:
    return PermanentFailure(
        "database-refused", f"the database refused what was written or asked ({type(error).__name__})"
    )
