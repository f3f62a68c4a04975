"""The event that announces a study: valid by the contract, the same for the same instances, and without an identifier in its key."""

from __future__ import annotations

from schemas.events import STUDY_AVAILABLE, binary_form, parse_event
from schemas.identifiers import instance_set_digest
from schemas.imaging import SeriesInventory, StudyInventory
from services.demo.publish import study_event
from services.settings import Settings

UID = "1.2.276.0.7230010.3.1.2.4711"


def inventory(*instances: str, accession: str | None = "RAD-1") -> StudyInventory:
    series = SeriesInventory(
        series_instance_uid=f"{UID}.1", modality="CT", series_number=1, description=None, instance_count=len(instances)
    )
    return StudyInventory(
        study_instance_uid=UID,
        patient_id="M4711",
        issuer_of_patient_id=None,
        accession_number=accession,
        study_date="20260310",
        study_time=None,
        description=None,
        series=[series],
        sop_instance_uids=list(instances),
    )


def test_the_event_is_valid_and_says_what_the_archive_holds() -> None:
    key, headers, value = binary_form(study_event(Settings(), inventory("1.2.1", "1.2.2"), "Patient/p1"))
    event = parse_event(headers, value)
    assert event.type == STUDY_AVAILABLE
    assert event.data["inventoryDigest"] == instance_set_digest(["1.2.2", "1.2.1"])
    assert (event.data["instanceCount"], event.data["completeness"], event.data["patient"]) == (
        2,
        "declared-complete",
        "Patient/p1",
    )
    assert event.data["accession"] == {"system": Settings().accessions, "value": "RAD-1"}
    outside = key + b"".join(raw for _, raw in headers)
    assert not any(identifier in outside for identifier in (UID.encode(), b"4711", b"RAD-1", b"p1"))


def test_one_instance_set_is_one_event_and_a_late_slice_another() -> None:
    first, again, late = (
        study_event(Settings(), inventory(*uids), "Patient/p1") for uids in (("1.2.1",), ("1.2.1",), ("1.2.1", "1.2.2"))
    )
    assert first.id == again.id != late.id
    assert first.partitionkey == late.partitionkey


def test_a_study_without_accession_number_is_announced_without_one() -> None:
    assert "accession" not in study_event(Settings(), inventory("1.2.1", accession=None), "Patient/p1").data
