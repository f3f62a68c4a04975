"""The day of tests/integration/faults with Apache Kafka, HAPI FHIR on PostgreSQL (which is killed too) and our tables in PostgreSQL.

Kafka and HAPI are its own: other tests of this tier leave events and results behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest

from services.parts import probes
from services.parts.catalog import FHIR
from services.parts.environment import part_environment
from services.parts.part import Command, Launch, Part
from services.settings import Settings
from tests.integration.faults.day import Aftermath, live_through, size_of_day, stormy_system
from tests.integration.faults.promises import (  # noqa: F401 (the tests)
    test_every_event_reached_its_patient_once_and_in_order,
    test_every_event_reached_its_study_once_and_in_order,
    test_every_study_has_the_result_that_its_day_calls_for,
    test_inbox_and_runs_say_the_same_as_fhir,
    test_no_workflow_is_stuck,
    test_nothing_in_fhir_is_doubled_or_left_over,
    test_the_bus_was_told_of_everything_once_and_in_order,
    test_the_storm_was_one,
)
from tests.real import parts

pytestmark = pytest.mark.real


def hapi(database: str) -> Part:
    """HAPI among the launcher's parts, so that it dies and comes back like the others."""
    built = parts.need("hapi")
    classes = f"{built / 'server.jar'}:{built / 'lib'}/*"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

    def command(launch: Launch) -> Command:
        arguments = [
            *parts.JAVA,
            "-Xmx1g",
            quiet,
            "-cp",
            classes,
            "longview.real.FhirServer",
            str(launch.port),
            database,
        ]
        return Command(arguments, part_environment())

    def healthy(launch: Launch) -> None:
        probes.fhir_ok(f"http://{launch.address}/fhir")

    return replace(FHIR, command=command, healthy=healthy, patience=240.0)


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    size, seed = size_of_day(events=80, patients=6)
    folder = tmp_path_factory.mktemp("storm")
    parts.need("hapi")
    with ExitStack() as started:
        patch = started.enter_context(pytest.MonkeyPatch.context())
        patch.delenv(parts.KAFKA, raising=False)
        bootstrap = started.enter_context(parts.kafka(folder))
        server = started.enter_context(parts.postgres(folder))
        with psycopg.connect(server, autocommit=True) as admin:
            for name in ("storm", "storm_fhir"):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                admin.execute(f"CREATE DATABASE {name}")
        base = server.rpartition("/")[0]
        user, _, place = base.removeprefix("postgresql://").rpartition("@")
        settings = Settings(state_dir=str(folder / "state"), kafka_bootstrap=bootstrap, database_url=f"{base}/storm")
        fhir = hapi(f"jdbc:postgresql://{place}/storm_fhir?user={user}")
        system, proxy, fhir_url = started.enter_context(stormy_system(settings, fhir, seed))
        yield live_through(system, proxy, fhir_url, size, seed)
