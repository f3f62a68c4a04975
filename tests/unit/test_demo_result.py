"""The result is taken from FHIR as clinicians' systems would see it, and only if it says that it is AI and unverified."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from schemas.codes import AIAST, PRESENCE, SCT, coding, concept
from schemas.errors import PermanentFailure
from schemas.runs import ResultWritten
from services.demo.result import read_back

LOCAL = "https://ai.example.org/fhir/CodeSystem/x"
WRITTEN = ResultWritten(
    result_id="r",
    thread_id="t",
    report="DiagnosticReport/1/_history/1",
    task="Task/1/_history/1",
    observations=[],
    provenance="Provenance/1",
    created=9,
)
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "1",
    "code": concept(coding(SCT, "427359005"), coding(LOCAL, "pulmonary-nodule"), text="Pulmonary nodule"),
    "valueCodeableConcept": concept(PRESENCE["detected"]),
    "device": {"reference": "Device/1"},
    "component": [
        {
            "code": concept(coding(LOCAL, "likelihood")),
            "valueCodeableConcept": concept(coding(LOCAL, "probable"), coding(SCT, "410592001")),
        },
        {"code": concept(coding(SCT, "103339001")), "valueQuantity": {"value": 14, "unit": "mm"}},
        {
            "code": concept(coding(LOCAL, "change-from-prior")),
            "valueCodeableConcept": concept(coding(SCT, "230993007"), coding(LOCAL, "worse")),
        },
    ],
}
SERVER: dict[str, dict[str, Any]] = {
    "DiagnosticReport/1": {
        "resourceType": "DiagnosticReport",
        "status": "partial",
        "meta": {"security": [AIAST]},
        "result": [{"reference": "Observation/1/_history/1"}],
        "conclusion": "AI-generated, not verified.",
    },
    "Task/1": {"resourceType": "Task"},
    "Observation/1": OBSERVATION,
    "Device/1": {"resourceType": "Device", "version": [{"type": {"text": "system-release"}, "value": "untrained"}]},
}


class Server:
    def __init__(self) -> None:
        self.resources = copy.deepcopy(SERVER)

    def read(self, reference: str) -> dict[str, Any]:
        return self.resources[reference]

    def find(self, resource_type: str, system: str, value: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def transaction(self, bundle: bytes) -> list[str]:
        raise NotImplementedError


def test_the_result_is_read_as_fhir_holds_it() -> None:
    back = read_back(Server(), WRITTEN)
    assert (back.report, back.task, back.status, back.labels, back.release) == (
        "DiagnosticReport/1",
        "Task/1",
        "partial",
        ["AIAST"],
        "untrained",
    )
    assert back.findings == [
        {
            "label": "pulmonary-nodule",
            "text": "Pulmonary nodule",
            "presence": "detected",
            "likelihood": "probable",
            "long_axis_mm": 14.0,
            "change": "worse",
        }
    ]


@pytest.mark.parametrize(
    "spoilt", [{"status": "final"}, {"meta": {}}, {"status": "preliminary", "meta": {"security": []}}]
)
def test_a_report_that_does_not_say_that_it_is_ai_and_unverified_is_a_failure(spoilt: dict[str, Any]) -> None:
    server = Server()
    server.resources["DiagnosticReport/1"] |= spoilt
    with pytest.raises(PermanentFailure, match="report-not-labelled"):
        read_back(server, WRITTEN)
