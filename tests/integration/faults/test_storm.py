"""A hospital day while processes are killed, FHIR fails 30 % of the calls and 10 % of the events come twice: nothing lost, nothing doubled,
nothing out of order (ADR-0018 says what each of these means and what is looked at).

`make test-faults` runs 1,000 events of 50 patients; see `size_of_day` for other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.parts.catalog import FHIR
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

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    size, seed = size_of_day(events=100, patients=8)
    settings = Settings(state_dir=str(tmp_path_factory.mktemp("storm") / "state"))
    with stormy_system(settings, FHIR, seed) as (system, proxy, fhir_url):
        yield live_through(system, proxy, fhir_url, size, seed)
