"""A hospital day while processes are killed, FHIR fails 30 % of the calls and 10 % of the events come twice: nothing lost, nothing doubled,
nothing out of order (ADR-0018 says what each of these means and what is looked at).

LONGVIEW_TEST_EVENTS, _PATIENTS, _KILLS, _RATE and _SEED make it another size: `make test-faults` runs 1,000 events of 50 patients.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from services.parts.catalog import FHIR, PARTS
from services.parts.launcher import Launcher
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from tests.integration.faults import judgement
from tests.integration.faults.evidence import Evidence, gather
from tests.integration.faults.hospital import Day, Hospital
from tests.integration.faults.proxy import FaultProxy
from tests.integration.faults.storm import VICTIMS, Size, Storm, Told
from tests.integration.faults.witness import wait_until_still
from tests.integration.system import System

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("LONGVIEW_TEST_SEED", "18"))
SIZE = Size(
    events=int(os.environ.get("LONGVIEW_TEST_EVENTS", "100")),
    patients=int(os.environ.get("LONGVIEW_TEST_PATIENTS", "8")),
    kills=int(os.environ.get("LONGVIEW_TEST_KILLS", "1")),
    events_a_second=float(os.environ.get("LONGVIEW_TEST_RATE", "5")),
)
FAULTS = 0.3
OURS = ("broker", "temporal", "fhir", "archive", "database", "model", "gateway", "worker")


@dataclass(frozen=True)
class Aftermath:
    """The day as it was planned, what went over the bus, and what is found when all is still."""

    hospital: Hospital
    told: Told
    evidence: Evidence
    faults: dict[str, int]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    settings = Settings(state_dir=str(tmp_path_factory.mktemp("storm") / "state"))
    launcher: list[Launcher] = []
    with closing(FaultProxy(SEED, FAULTS, lambda: f"127.0.0.1:{launcher[0].records()['fhir'].port}")) as proxy:
        through = replace(FHIR, provides=lambda launch: {"fhir_url": f"http://{proxy.address}/fhir"})
        parts = tuple(through if part.name == "fhir" else part for part in with_scripted_model(PARTS))
        system = System(settings, parts=parts)
        launcher.append(system.launcher)
        share, proxy.share = proxy.share, 0.0
        began = time.monotonic()
        system.up(*OURS)
        try:
            direct = f"http://127.0.0.1:{launcher[0].records()['fhir'].port}/fhir"
            yield weather(system, proxy, share, direct, began)
        finally:
            system.down()


def weather(system: System, proxy: FaultProxy, share: float, fhir_url: str, began: float) -> Aftermath:
    hospital = Day(SEED, system.settings).plan(SIZE.events, SIZE.patients)
    with closing(Storm(system, hospital, SIZE, SEED, fhir_url)) as storm:
        storm.prepare()
        print(f"\nready after {time.monotonic() - began:.1f} s: {SIZE}, seed {SEED}")
        proxy.share = share
        raged = time.monotonic()
        storm.rage(VICTIMS)
        print(f"published in {time.monotonic() - raged:.1f} s, killed {dict(storm.told.killed)}")
        calm = wait_until_still(system.settings, storm.told.last_offset, 120 + SIZE.events)
        print(f"still {calm:.1f} s after the last event; faults of FHIR: {dict(proxy.faults)}")
        proxy.calm()
        return Aftermath(hospital, storm.told, gather(system, fhir_url), dict(proxy.faults))


def test_the_storm_was_one(aftermath: Aftermath) -> None:
    """Otherwise the rest proves nothing."""
    judgement.storm_was_one(aftermath.told, aftermath.faults, SIZE.events, FAULTS)


def test_every_event_reached_its_patient_once_and_in_order(aftermath: Aftermath) -> None:
    judgement.patients_were_told(aftermath.hospital, aftermath.evidence)


def test_every_event_reached_its_study_once_and_in_order(aftermath: Aftermath) -> None:
    judgement.studies_were_told(aftermath.hospital, aftermath.evidence)


def test_every_study_has_the_result_that_its_day_calls_for(aftermath: Aftermath) -> None:
    judgement.one_result_each(aftermath.hospital, aftermath.evidence)


def test_nothing_in_fhir_is_doubled_or_left_over(aftermath: Aftermath) -> None:
    judgement.nothing_doubled_in_fhir(aftermath.evidence)


def test_inbox_and_runs_say_the_same_as_fhir(aftermath: Aftermath) -> None:
    judgement.tables_agree(aftermath.hospital, aftermath.evidence)


def test_the_bus_was_told_of_everything_once_and_in_order(aftermath: Aftermath) -> None:
    judgement.bus_was_told(aftermath.evidence)


def test_no_workflow_is_stuck(aftermath: Aftermath) -> None:
    judgement.no_workflow_is_stuck(aftermath.hospital, aftermath.evidence)
