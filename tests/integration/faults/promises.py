"""The promises of ADR-0018 as tests; a module that imports them gives the `aftermath` they look at."""

from __future__ import annotations

from tests.integration.faults import judgement
from tests.integration.faults.day import FAULTS, Aftermath


def test_the_storm_was_one(aftermath: Aftermath) -> None:
    """Otherwise the rest proves nothing."""
    judgement.storm_was_one(aftermath.told, aftermath.faults, aftermath.size, FAULTS)


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
