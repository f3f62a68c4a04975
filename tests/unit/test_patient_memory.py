"""What a patient's entity knows, whatever the order, the repetition and the delay of its events."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import (
    HandedOver,
    KnownStudy,
    ObservationAvailable,
    OrderChanged,
    PatientEvent,
    PatientInput,
    ReportFinalised,
    StudyAddress,
    StudyAvailable,
)
from workflows.patient import policies
from workflows.patient.memory import PatientMemory

NOW = "2026-11-25T08:00:00+00:00"
STUDIES = ("s1", "s2", "s3")


def study(key: str, number: int = 0) -> PatientEvent:
    event = StudyAvailable(
        event_id=f"study-{key}-{number}",
        study_instance_uid=f"1.2.{key[1:]}",
        patient="Patient/p",
        inventory_digest=f"{key}-{number}",
        completeness="quiescent",
        instance_count=9,
        service_request=f"ServiceRequest/order-{key}/_history/{number + 1}",
    )
    return PatientEvent(event=event, address=address(key))


def address(key: str) -> StudyAddress:
    return StudyAddress(
        study_key=key, thread_id=f"t-{key}", study_instance_uid=f"1.2.{key[1:]}", accession=f"issuer|A-{key}"
    )


def cancelled(key: str) -> PatientEvent:
    """Names its order alone."""
    event = OrderChanged(
        event_id=f"cancel-{key}",
        service_request=f"ServiceRequest/order-{key}",
        patient="Patient/p",
        change="cancelled",
        priority="routine",
    )
    return PatientEvent(event=event)


def final(key: str) -> PatientEvent:
    """Names its accession number alone."""
    event = ReportFinalised(event_id=f"final-{key}", diagnostic_report=f"DiagnosticReport/{key}", patient="Patient/p")
    return PatientEvent(event=event, address=StudyAddress(accession=f"issuer|A-{key}"))


def observed(name: str) -> ObservationAvailable:
    return ObservationAvailable(
        event_id=f"obs-{name}", observation=f"Observation/{name}", patient="Patient/p", status="final"
    )


FACTS = [make(key) for make in (study, cancelled, final) for key in STUDIES]


def fed(events: list[PatientEvent]) -> tuple[PatientMemory, dict[str, list[str]]]:
    """The memory, and the events each study was told of, in order."""
    memory, told = PatientMemory(PatientInput(patient_key="p")), {}
    for event in events:
        if memory.is_new(event.event.event_id):
            for delivery in memory.place(event, NOW):
                told.setdefault(delivery.study.study_key, []).append(delivery.event.event_id)
    return memory, told


@given(st.permutations(FACTS), st.lists(st.sampled_from(FACTS), max_size=9))
def test_every_event_reaches_its_study_once_in_any_order(order: list[PatientEvent], again: list[PatientEvent]) -> None:
    memory, told = fed([*order, *again])
    for key in STUDIES:
        assert sorted(told[key]) == sorted([f"study-{key}-0", f"cancel-{key}", f"final-{key}"])
        stands = {fact.event_id for fact in memory.studies[key].standing}
        assert stands == {f"cancel-{key}", f"final-{key}"}
    assert memory.as_input("p", []).unplaced == []


@given(st.permutations(FACTS), st.integers(0, len(FACTS)))
def test_a_continuation_knows_what_its_predecessor_knew(order: list[PatientEvent], cut: int) -> None:
    whole, _ = fed(order)
    half, _ = fed(order[:cut])
    carried = PatientMemory(PatientInput.model_validate_json(half.as_input("p", []).model_dump_json()))
    for event in order:  # the bus delivers everything once more
        if carried.is_new(event.event.event_id):
            carried.place(event, NOW)
    assert carried.studies == whole.studies


def test_an_order_that_is_placed_again_is_no_longer_cancelled() -> None:
    again = cancelled("s1").event.model_copy(update={"event_id": "again", "change": "placed"})
    memory, told = fed([study("s1"), cancelled("s1"), PatientEvent(event=again)])
    assert told["s1"] == ["study-s1-0", "cancel-s1", "again"]
    assert memory.studies["s1"].standing == []


def test_an_accession_number_that_fits_two_studies_names_neither() -> None:
    """Two studies under one accession: which one the report is about has to be said by its UID."""
    twin = study("s2").model_copy(update={"address": address("s2").model_copy(update={"accession": "issuer|A-s1"})})
    memory, told = fed([study("s1"), twin, final("s1")])
    assert told == {"s1": ["study-s1-0"], "s2": ["study-s2-0"]}
    assert len(memory.as_input("p", []).unplaced) == 1


@given(st.lists(st.integers(0, 5000), max_size=1500))
def test_nothing_grows_without_a_bound(numbers: list[int]) -> None:
    memory, _ = fed([study(f"s{number}") for number in numbers])
    memory.observe(observed(str(number)) for number in numbers)
    carried = memory.as_input("p", [])
    assert len(carried.studies) <= policies.REMEMBERED_STUDIES
    assert len(carried.seen_event_ids) <= policies.REMEMBERED_EVENTS
    assert len(carried.observations) <= policies.REMEMBERED_OBSERVATIONS


def test_only_recent_studies_are_told_of_new_observations() -> None:
    memory, _ = fed([study("s1")])
    known = datetime.fromisoformat(NOW)
    assert [s.study_key for s in memory.followed(known + policies.ADDENDUM_WINDOW)] == ["s1"]
    assert memory.followed(known + policies.ADDENDUM_WINDOW + timedelta(seconds=1)) == []


def test_a_merge_and_its_undoing_leave_what_was_there_before() -> None:
    memory, _ = fed([study("s1")])
    own = [memory.studies["s1"]]
    other = HandedOver(
        event_id="m",
        change="merged",
        patient="Patient/p",
        patient_key="retired",
        studies=[KnownStudy(study_key="s9", thread_id="t", study_instance_uid="1.2.9", known_since=NOW)],
        observations=[observed("theirs")],
    )
    memory.take_over(other)
    assert set(memory.studies) == {"s1", "s9"}
    memory.give_back(other)
    assert list(memory.studies.values()) == own
    assert memory.observations == {}
