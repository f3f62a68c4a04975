"""Bringing the schema to its newest revision, from inside the package and safely from several processes at once.

While an upgrade is under way two releases work on one database: the old one until its last study has closed. So a revision only adds to the schema,
and older code goes on beside it. One that takes something away says from which revision on code can live with it (`needs_code_from` in its module);
the database keeps the highest of these as its floor, because older code cannot know of revisions that came after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import NoReturn

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, delete, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from schemas.errors import PartUnavailable
from services.db.engine import BUSY_SECONDS, Database, open_database
from services.db.models import SchemaFloor

MIGRATION_LOCK = 0x6C6F6E68
FIRST = "0001"


@dataclass(frozen=True)
class Migrated:
    """The revisions before and after; `before` is None where the database was empty."""

    before: str | None
    after: str


def migrate(url: str, *, to: str = "head") -> Migrated:
    """Upgrade to the newest revision, or to the one that a backup has, in one transaction: whoever comes second waits, then finds nothing to do.

    A newer schema that this version can live with stays as it is. `PartUnavailable` where the database cannot be reached, or where it cannot.
    """
    with _opened(url, write=True) as connection:
        return _upgrade(connection, to)


def newest_revision() -> str:
    """The revision that this version of the code was written for."""
    with _scripts() as scripts:
        return str(scripts.get_current_head())


def present_revision(url: str) -> str | None:
    """The revision of the database; None if it is empty."""
    with _opened(url) as connection:
        return _revision(connection)


def require_schema(url: str) -> None:
    """`PartUnavailable` unless the schema is one that this version can work with; changes nothing."""
    with _opened(url) as connection:
        here, wanted = _revision(connection), newest_revision()
        if here is None or here < wanted:
            _refuse_behind(here, wanted)
        if here > wanted:
            _refuse_beyond(connection, wanted)


def open_migrated(url: str) -> Database:
    """What a process does when it starts: a file of its own it migrates, a server that others share must have been (`longview migrate`)."""
    if url.partition(":")[0].startswith("sqlite"):
        migrate(url)
    else:
        require_schema(url)
    return open_database(url)


# -- revisions -----------------------------------------------------------------------------------------------------------------


def _upgrade(connection: Connection, to: str) -> Migrated:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # an index over years of results takes its time
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
    before = _revision(connection)
    with _scripts() as scripts:
        head = str(scripts.get_current_head())
        if before is not None and before > head:
            _refuse_beyond(connection, head)
            return Migrated(before, before)
        config = _config(Path(scripts.dir))
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        _keep_floor(connection, scripts)
    return Migrated(before, head if to == "head" else to)


def _keep_floor(connection: Connection, scripts: ScriptDirectory) -> None:
    floor = max(getattr(each.module, "needs_code_from", FIRST) for each in scripts.walk_revisions())
    SchemaFloor.metadata.tables[SchemaFloor.__tablename__].create(connection, checkfirst=True)
    connection.execute(delete(SchemaFloor))
    connection.execute(insert(SchemaFloor).values(revision=floor))


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_behind(here: str | None, wanted: str) -> NoReturn:
    state = "is empty" if here is None else f"is at revision {here}"
    raise PartUnavailable(
        "database-behind", f"the database {state} and this version needs {wanted}: run 'longview migrate' once."
    )


def _refuse_beyond(connection: Connection, wanted: str) -> None:
    """Older code may work on a newer schema down to the schema's floor; without one it may not."""
    known = inspect(connection).has_table(SchemaFloor.__tablename__)
    floor = connection.scalar(select(SchemaFloor.revision)) if known else None
    if floor is None or floor > wanted:
        raise PartUnavailable(
            "database-newer",
            "the database was written by a newer version of Longview: install that version, or restore a backup.",
        )


@contextmanager
def _opened(url: str, *, write: bool = False) -> Iterator[Connection]:
    database = open_database(url)
    try:
        engine = database.engine.execution_options(longview_write=True) if write else database.engine
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise PartUnavailable(
            "database-unreachable",
            f"the database cannot be reached or changed ({type(error).__name__}): check LONGVIEW_DATABASE_URL and that its server is up.",
        ) from None
    except CommandError:
        raise PartUnavailable(
            "database-unknown", "the database's revision is none of Longview's: check LONGVIEW_DATABASE_URL."
        ) from None
    finally:
        database.close()


@contextmanager
def _scripts() -> Iterator[ScriptDirectory]:
    with as_file(files("services.db") / "migrations") as folder:
        yield ScriptDirectory.from_config(_config(folder))


def _config(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
