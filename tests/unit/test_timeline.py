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
from workflows.timeline.entries import KINDS
from workflows.timeline.fields import sort_key

UID, PRIOR = "1.2.3.1", "1.2.3.0"
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "meta": {"versionId": "3"},
    "name": [{"family": "Doe", "given": ["Ann"]}],
}


def resource(kind: str, id: str, **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": id, "meta": {"versionId": "1"}, "subject": {"reference": "Patient/p"}, **fields}


def study(id: str, uid: str, started: str, **fields: Any) -> dict[str, Any]:
    identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    return resource(
        "ImagingStudy", id, **{"status": "available", "identifier": identifier, "started": started, **fields}
    )


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


def test_what_we_wrote_is_ours_even_where_a_server_dropped_the_label() -> None:
    """Otherwise a reading would feed on itself, and each re-reading would have new inputs. What a clinician wrote in its place counts."""
    tag = {"tag": [{"system": "https://ai.example.org/fhir/sid/ai-result", "code": "r"}]}
    kept = timeline_of(
        resource("DiagnosticReport", "ours", status="partial") | {"meta": {"versionId": "1", **tag}},
        resource("Observation", "amended", status="final", code={"text": "12 mm nodule"})
        | {"meta": {"versionId": "1", "security": [{"code": "CLINAST"}], **tag}},
    )
    assert [entry.text for entry in kept.entries] == ["12 mm nodule"]


def test_a_study_that_fhir_does_not_know_has_only_priors_that_began_before_it() -> None:
    later = study("later", "1.2.3.9", "2026-11-24T09:00:00Z")
    old = study("old", PRIOR, "2025-08-02")
    assert [p.study_instance_uid for p in timeline_of(old, later, as_of="2026-11-23").priors] == [PRIOR]
    known = timeline_of(study("now", UID, "2025-09-01"), old, later, as_of="2030")
    assert [p.study_instance_uid for p in known.priors] == [PRIOR]


def test_a_prior_that_stands_twice_in_fhir_is_one_prior() -> None:
    kept = timeline_of(study("old", PRIOR, "2025-08-02"), study("copy", PRIOR, "2025-08-02"))
    assert [p.study_instance_uid for p in kept.priors] == [PRIOR]


@pytest.mark.parametrize(
    "identifier",
    [
        [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}],
        [{"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{UID}"}],
        [{"system": "urn:dicom:uid", "value": UID}],
        [
            {"system": "urn:ietf:rfc:3986", "value": "urn:oid:9.9"},
            {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"},
        ],
    ],
)
def test_the_study_is_known_however_its_uid_is_written(identifier: list[dict[str, Any]]) -> None:
    kept = timeline_of(resource("ImagingStudy", "now", status="available", identifier=identifier))
    assert kept.study is not None
    assert kept.study.study_instance_uid == UID


@pytest.mark.parametrize(
    "there",
    [
        [],
        [study("now", "1.2.3.9", "2026-11-23")],
        [study("now", UID, "2026-11-23", status="entered-in-error")],
        [study("other", UID, "2026-11-23")],
    ],
    ids=["of-another-patient-or-gone", "another-study", "withdrawn", "another-resource"],
)
def test_an_event_that_names_a_study_which_is_not_this_patients_is_refused(there: list[dict[str, Any]]) -> None:
    """The strongest sign of a wrong patient: never read on as if the event had named none."""
    with pytest.raises(PermanentFailure, match="imaging-study-mismatch"):
        timeline_of(*there, imaging_study="ImagingStudy/now/_history/4")


def test_a_medicine_is_named_wherever_the_source_names_it() -> None:
    contained = {"resourceType": "Medication", "id": "m", "code": {"text": "metformin"}}
    kept = timeline_of(
        resource(
            "MedicationRequest",
            "a",
            status="active",
            authoredOn="2020",
            medicationReference={"reference": "#m"},
            contained=[contained],
        ),
        resource(
            "MedicationRequest", "b", status="active", authoredOn="2021", medicationReference={"display": "insulin"}
        ),
        resource(
            "MedicationStatement",
            "c",
            status="active",
            authoredOn="2022",
            medicationCodeableConcept={"text": "aspirin"},
        ),
    )
    assert [entry.text for entry in kept.entries] == ["metformin", "insulin", "aspirin"]


def test_the_order_is_found_by_reference_by_study_or_by_accession() -> None:
    identifier = [{"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:acc", "value": "A1"}]
    order = resource(
        "ServiceRequest", "o", status="active", priority="stat", identifier=identifier, code={"text": "CT chest"}
    )
    based = study("now", UID, "2026-11-23", basedOn=[{"reference": "ServiceRequest/o"}])
    for kept in (
        timeline_of(order, service_request="ServiceRequest/o"),
        timeline_of(order, based),
        timeline_of(order, accession="A1"),
    ):
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
    own = [r for r in orjson.loads(text) if r["resourceType"] in KINDS or r["resourceType"] == "Patient"]
    for number, one in enumerate(own):
        one["meta"] = {"versionId": str(number + 1)}
    kept = build_timeline(f"Patient/{patient['id']}", own, study_instance_uid=UID)
    withdrawn = sum(r.get("status") in ("entered-in-error", "cancelled", "not-done", "revoked") for r in own)
    assert len(kept.entries) == len(own) - 1 - withdrawn
    assert len(kept.priors) == sum(r["resourceType"] == "ImagingStudy" for r in own)
    assert {entry.kind for entry in kept.entries} >= {"observation", "condition", "report", "medication"} & kinds_of(
        own
    )
    dates = [sort_key(entry.when) for entry in kept.entries]
    assert dates == sorted(dates)
    assert all("/_history/" in source for source in kept.sources())


def kinds_of(resources: list[dict[str, Any]]) -> set[str]:
    return {KINDS[r["resourceType"]] for r in resources if r["resourceType"] in KINDS}
