"""The history that a reading rests on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from workflows.timeline import build_timeline
from workflows.timeline.fields import sort_key

UID, PRIOR = "1.2.3.1", "1.2.3.0"
PATIENT = {"resourceType": "Patient", "id": "p", "meta": {"versionId": "3"}, "name": [{"family": "Doe", "given": ["Ann"]}]}


def resource(kind: str, id: str, **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": id, "meta": {"versionId": "1"}, "subject": {"reference": "Patient/p"}, **fields}


def study(id: str, uid: str, started: str, **fields: Any) -> dict[str, Any]:
    identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    return resource("ImagingStudy", id, status="available", identifier=identifier, started=started, **fields)


def timeline_of(*resources: dict[str, Any], **arguments: Any) -> Any:
    return build_timeline("Patient/p", [PATIENT, *resources], study_instance_uid=UID, **arguments)


def test_entries_stand_in_order_with_partial_dates_and_undated_ones_last() -> None:
    labs = [
        resource("Observation", "late", status="final", effectiveDateTime="2026-03-01T08:00:00+02:00"),
        resource("Observation", "undated", status="final"),
        resource("Observation", "month", status="final", effectiveDateTime="2026-03"),
        resource("Observation", "year", status="final", effectiveDateTime="2026"),
        resource("Observation", "utc", status="final", effectiveDateTime="2026-03-01T05:00:00Z"),
    ]
    order = [entry.resource.split("/")[1] for entry in timeline_of(*labs).entries]
    assert order == ["year", "month", "utc", "late", "undated"]


def test_what_was_withdrawn_or_said_by_an_ai_does_not_count() -> None:
    ai = {"meta": {"versionId": "1", "security": [{"code": "AIAST"}]}}
    kept = timeline_of(
        resource("Observation", "wrong", status="entered-in-error"),
        resource("Observation", "ours", status="preliminary") | ai,
        resource("Condition", "copd", code={"text": "COPD"}, clinicalStatus={"coding": [{"code": "active"}]}),
        resource("Condition", "not", code={"text": "x"}, verificationStatus={"coding": [{"code": "entered-in-error"}]}),
    )
    assert [entry.text for entry in kept.entries] == ["COPD"]


def test_priors_began_before_the_study_and_the_newest_stands_first() -> None:
    kept = timeline_of(
        study("now", UID, "2026-11-23T09:00:00Z"),
        study("old", PRIOR, "2025-08-02"),
        study("older", "1.2.3.8", "2024"),
        study("later", "1.2.3.9", "2026-11-24T09:00:00Z"),
    )
    assert kept.study is not None
    assert [prior.study_instance_uid for prior in kept.priors] == [PRIOR, "1.2.3.8"]


def test_the_order_is_found_by_reference_by_study_or_by_accession() -> None:
    identifier = [{"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:acc", "value": "A1"}]
    order = resource("ServiceRequest", "o", status="active", priority="stat", identifier=identifier, code={"text": "CT chest"})
    based = study("now", UID, "2026-11-23", basedOn=[{"reference": "ServiceRequest/o"}])
    for kept in (timeline_of(order, service_request="ServiceRequest/o"), timeline_of(order, based), timeline_of(order, accession="A1")):
        assert kept.order is not None
        assert (kept.order.priority, kept.order.accession.value) == ("stat", "A1")
    assert timeline_of(order, accession="A2").order is None


def test_a_resource_of_another_patient_stops_the_run() -> None:
    with pytest.raises(PermanentFailure, match="fhir-wrong-patient"):
        timeline_of(resource("Observation", "x", status="final") | {"subject": {"reference": "Patient/other"}})


def test_an_unknown_patient_is_named() -> None:
    with pytest.raises(PermanentFailure, match="patient-not-found"):
        build_timeline("Patient/q", [PATIENT], study_instance_uid=UID)


def test_every_source_is_cited_with_its_version() -> None:
    kept = timeline_of(resource("Observation", "a", status="final"), study("old", PRIOR, "2025"))
    assert kept.sources() == ["ImagingStudy/old/_history/1", "Observation/a/_history/1", "Patient/p/_history/3"]


@given(st.lists(st.sampled_from(["2026", "2026-03", "2026-03-01", "2026-03-01T05:00:00Z", None, "nonsense"])))
def test_any_mixture_of_dates_can_be_ordered(dates: list[str | None]) -> None:
    ordered = sorted(dates, key=sort_key)
    unknown = [d in (None, "nonsense") for d in ordered]
    assert unknown == sorted(unknown)


def synthea() -> list[Path]:
    root = Path(os.environ.get("LONGVIEW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    return sorted((root / "fhir" / "synthea").glob("*.json"))


@pytest.mark.skipif(not synthea(), reason="no Synthea patients: set LONGVIEW_TEST_DATA to a folder with fhir/synthea")
@pytest.mark.parametrize("file", synthea(), ids=lambda file: file.stem.rsplit("_", 1)[-1][:8])
def test_every_synthea_patient_becomes_a_timeline(file: Path) -> None:
    resources = [entry["resource"] for entry in orjson.loads(file.read_bytes())["entry"]]
    patient = next(r for r in resources if r["resourceType"] == "Patient")
    text = orjson.dumps(resources).replace(f"urn:uuid:{patient['id']}".encode(), f"Patient/{patient['id']}".encode())
    own = [r for r in orjson.loads(text) if r["resourceType"] in ("Patient", "ImagingStudy", "Observation", "Condition", "Procedure")]
    kept = build_timeline(f"Patient/{patient['id']}", own, study_instance_uid=UID)
    assert len(kept.entries) == sum(r["resourceType"] != "Patient" for r in own)
    assert len(kept.priors) == sum(r["resourceType"] == "ImagingStudy" for r in own)
