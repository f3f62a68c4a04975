"""Any order, repetition and delay of one patient's events gives the same timeline and the same results.

The entity's memory is the real one; the study's workflow is told in thirty lines what it does with each event (the real one runs on a Temporal server
in tests/integration), so that thousands of orders can be tried. Events of one key keep their order, as on the bus; nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import (
    OrderChanged,
    PatientEvent,
    PatientInput,
    ReportFinalised,
    StudyAddress,
    StudyAvailable,
    StudyEvent,
)
from workflows.patient.memory import PatientMemory
from workflows.timeline import build_timeline

NOW = "2026-11-25T08:00:00+00:00"
STUDIES = ("plain", "late-slice", "cancelled", "reported")
"""Named by what becomes of them."""


def address(key: str, *, by_uid: bool) -> StudyAddress:
    if not by_uid:
        return StudyAddress(accession=f"issuer|{key}")
    return StudyAddress(study_key=key, thread_id=key, study_instance_uid="1.2.3", accession=f"issuer|{key}")


def announced(key: str, slices: int) -> PatientEvent:
    event = StudyAvailable(
        event_id=f"{key}-{slices}",
        study_instance_uid="1.2.3",
        patient="Patient/p",
        inventory_digest=f"{key}-{slices}",
        completeness="declared-complete",
        instance_count=slices,
        service_request=f"ServiceRequest/{key}",
    )
    return PatientEvent(event=event, address=address(key, by_uid=True))


def order(key: str, change: Any) -> PatientEvent:
    event = OrderChanged(
        event_id=f"{key}-{change}",
        service_request=f"ServiceRequest/{key}",
        patient="Patient/p",
        change=change,
        priority="routine",
    )
    return PatientEvent(event=event)


def reported(key: str) -> PatientEvent:
    event = ReportFinalised(event_id=f"{key}-final", diagnostic_report=f"DiagnosticReport/{key}", patient="Patient/p")
    return PatientEvent(event=event, address=address(key, by_uid=False))


THREADS: list[list[PatientEvent]] = [
    [announced("plain", 9)],
    [order("plain", "priority-changed")],
    [announced("late-slice", 8), announced("late-slice", 9)],
    [announced("cancelled", 9)],
    [order("cancelled", "priority-changed"), order("cancelled", "cancelled")],
    [announced("reported", 9)],
    [reported("reported")],
]
"""What one topic says of one key, in its order."""
ONCE = {"plain": ["plain-9"], "late-slice": ["late-slice-9"], "cancelled": [], "reported": []}
"""What stands in the end: the instance set that the unread result of each study was made of."""


@dataclass
class Study:
    """What `ReportStudyWorkflow` does, run after run; `standing` is what FHIR holds."""

    read: list[str] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    unwanted: bool = False
    delivered: list[str] = field(default_factory=list)

    def tell(self, event: StudyEvent, stands: list[StudyEvent]) -> None:
        """A run waits while its result is unread; once there is none it ends, and the next event begins another, with what stands ahead of it."""
        self.delivered.append(event.event_id)
        if not self.standing:
            self.unwanted = False
            for fact in stands:
                self._take(fact)
        self._take(event)

    def _take(self, event: StudyEvent) -> None:
        if isinstance(event, StudyAvailable):
            if not self.unwanted and event.inventory_digest not in self.read:
                self.read.append(event.inventory_digest)
                self.standing = [event.inventory_digest]
        elif isinstance(event, ReportFinalised) or (isinstance(event, OrderChanged) and event.change == "cancelled"):
            self.unwanted, self.standing = True, []


@st.composite
def days(draw: st.DrawFn) -> list[PatientEvent]:
    """The threads interleaved at will; then events that come again, each at any place after its first."""
    left = [list(thread) for thread in THREADS]
    day: list[PatientEvent] = []
    while any(left):
        thread = draw(st.sampled_from([thread for thread in left if thread]))
        day.append(thread.pop(0))
    for again in draw(st.lists(st.sampled_from(day), max_size=6)):
        day.insert(draw(st.integers(day.index(again) + 1, len(day))), again)
    return day


def live(day: list[PatientEvent], cut: int) -> dict[str, Study]:
    """The day through the entity, which continues as new after `cut` events."""
    memory, studies = PatientMemory(PatientInput(patient_key="p")), {key: Study() for key in STUDIES}
    for number, event in enumerate(day):
        if number == cut:
            memory = PatientMemory(PatientInput.model_validate_json(memory.as_input("p", []).model_dump_json()))
        if not memory.is_new(event.event.event_id):
            continue
        for delivery in memory.place(event, NOW):
            stands: list[StudyEvent] = [fact for fact in delivery.study.standing if fact != delivery.event]
            studies[delivery.study.study_key].tell(delivery.event, stands)
    return studies


@given(days(), st.integers(0, 20))
def test_the_results_are_the_same_whatever_the_order_of_the_events(day: list[PatientEvent], cut: int) -> None:
    studies = live(day, cut)
    assert {key: study.standing for key, study in studies.items()} == ONCE
    for key, study in studies.items():
        expected = [e.event.event_id for thread in THREADS for e in thread if e.event.event_id.startswith(key)]
        assert sorted(study.delivered) == sorted(expected)


# -- the timeline ---------------------------------------------------------------------------------------------------------------


def resource(kind: str, id: str, version: int = 1, **fields: Any) -> dict[str, Any]:
    meta = {"versionId": str(version)}
    return {"resourceType": kind, "id": id, "meta": meta, "subject": {"reference": "Patient/p"}} | fields


RECORD = [
    {"resourceType": "Patient", "id": "p", "meta": {"versionId": "2"}, "name": [{"family": "Doe"}]},
    resource(
        "ImagingStudy",
        "now",
        status="available",
        started="2026-03-10",
        identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        basedOn=[{"reference": "ServiceRequest/order"}],
    ),
    resource("ServiceRequest", "order", status="active", priority="urgent"),
    resource("Observation", "a", status="final", effectiveDateTime="2026-03-01"),
    resource("Observation", "a", version=2, status="corrected", effectiveDateTime="2026-03-01"),
    resource("Observation", "b", status="final", effectiveDateTime="2026-03"),
    resource("Observation", "c", status="entered-in-error", effectiveDateTime="2026-02-01"),
    resource("Observation", "d", status="final"),
    resource("Condition", "copd", code={"text": "COPD"}),
]


def timeline(resources: list[dict[str, Any]]) -> Any:
    return build_timeline("Patient/p", resources, study_instance_uid="1.2.3")


@given(st.permutations(RECORD), st.lists(st.sampled_from(RECORD), max_size=6))
def test_the_timeline_is_the_same_whatever_the_order_of_its_sources(
    order: list[dict[str, Any]], again: list[dict[str, Any]]
) -> None:
    """The search's order is the server's business; what was announced comes behind it, and perhaps in an older version."""
    assert timeline([*order, *again]) == timeline(RECORD)
