"""Bringing the schema to its newest revision, from inside the package and safely from several processes at once."""

from __future__ import annotations

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from schemas.errors import PartUnavailable
from services.db.engine import Database, open_database

MIGRATION_LOCK = 0x6C6F6E68


def migrate(url: str) -> None:
    """Upgrade to the newest revision in one transaction: whoever comes second waits, then finds nothing to do.

    `PartUnavailable` where the database cannot be reached or was written by a newer version of Longview.
    """
    database = open_database(url)
    try:
        with database.engine.execution_options(longview_write=True).begin() as connection:
            _upgrade(connection)
    except DBAPIError as error:
        raise PartUnavailable(
            "database-unreachable",
            f"the database cannot be reached or changed ({type(error).__name__}): check LONGVIEW_DATABASE_URL and that its server is up.",
        ) from None
    except CommandError:
        raise PartUnavailable(
            "database-newer",
            "the database was written by a newer version of Longview: install that version, or restore a backup.",
        ) from None
    finally:
        database.close()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    with as_file(files("services.db") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def open_migrated(url: str) -> Database:
    """Migrate, then open: what a process does when it starts."""
    migrate(url)
    return open_database(url)
