"""A reading that was withdrawn and is read again from the very same inputs: what stands as cancelled is never revived."""

from __future__ import annotations

from typing import Any, cast

import pytest

from schemas.codes import STATUS_REASON, Canonical
from schemas.errors import PermanentFailure
from schemas.identifiers import Namespace
from workflows.ports import FhirServer
from workflows.report_study.fhir_results import MAX_REVISIONS, free_revision

SPACE = Namespace("https://ai.example.org/fhir", "hospital")
CANONICAL = Canonical(SPACE.base)


class Reports:
    """A FHIR server that holds reports by result id."""

    def __init__(self, *reasons: str | None) -> None:
        self.held = {SPACE.result_id("t", "m", "r", n): reason for n, reason in enumerate(reasons)}

    def find(self, resource_type: str, system: str, value: str) -> list[dict[str, Any]]:
        if value not in self.held:
            return []
        reason = self.held[value]
        report: dict[str, Any] = {"identifier": [{"system": system, "value": value}], "status": "partial"}
        if reason is not None:
            concept = {"coding": [{"system": CANONICAL.code_system("status-reason"), "code": reason}]}
            report |= {"status": "cancelled", "extension": [{"url": STATUS_REASON, "valueCodeableConcept": concept}]}
        return [report]


def revision(*reasons: str | None) -> int:
    return free_revision(cast(FhirServer, Reports(*reasons)), SPACE, "t", "m", "r")


def test_the_first_reading_and_a_repeated_one_are_the_same_result() -> None:
    assert revision() == 0
    assert revision(None) == 0


@pytest.mark.parametrize("reason", ["order-cancelled", "patient-unmerged", "result-wrong"])
def test_a_withdrawn_reading_is_followed_by_a_result_of_its_own(reason: str) -> None:
    assert revision(reason) == 1
    assert revision(reason, reason) == 2
    assert revision(reason, None) == 1, "the one that was posted after it is posted once"


@pytest.mark.parametrize("reason", ["rejected-by-clinician", "superseded-by-final-report", "superseded-by-new-inputs"])
def test_what_a_human_or_a_later_result_has_ended_is_not_made_anew(reason: str) -> None:
    assert revision(reason) == 0


def test_a_reading_that_is_withdrawn_without_end_is_a_persons_business() -> None:
    with pytest.raises(PermanentFailure) as refused:
        revision(*["order-cancelled"] * MAX_REVISIONS)
    assert refused.value.code == "result-withdrawn-often"
