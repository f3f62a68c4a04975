"""What we rely on of a FHIR server, and what our client makes of one that misbehaves. The same stories on every server."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from typing import Any

import httpx
import pytest

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.identifiers import canonical_json
from services.clients.fhir import FhirClient
from tests.contract.written_bundles import CANONICAL, ISSUED, NAMESPACE, act, chart, context, seed
from workflows.reconcile.duplicates import answers_all, supersede_older
from workflows.reconcile.seen import report_seen
from workflows.report import PostedResult, build_result, build_review, supersede
from workflows.report_study.fhir_results import find_result, find_review, read_posted, standing_result
from workflows.timeline import build_timeline


@pytest.fixture
def fhir(fhir_base_url: str) -> Iterator[FhirClient]:
    client = FhirClient(fhir_base_url)
    client.transaction(json.dumps(seed()).encode())
    yield client
    client.close()


def posted(fhir: FhirClient, manifest: bytes) -> Any:
    """A result about the seeded chart, posted; read back."""
    result = context(fhir.patient_record("Patient/pat-1"), manifest=manifest)
    fhir.transaction(canonical_json(build_result(result)))
    return result


def fresh() -> bytes:
    return uuid.uuid4().bytes


def test_a_result_posted_twice_makes_nothing_new(fhir: FhirClient) -> None:
    result = context(fhir.patient_record("Patient/pat-1"), manifest=fresh())
    bundle = canonical_json(build_result(result))
    first, second = fhir.transaction(bundle), fhir.transaction(bundle)
    assert first == second
    found = find_result(fhir, CANONICAL, result.thread_id, result.result_id)
    assert found is not None
    assert found.report in first
    assert len(found.observations) == 2
    report = fhir.read(found.report)
    assert (report["status"], report["meta"]["security"][0]["code"]) == ("partial", "AIAST")
    assert "urn:uuid" not in json.dumps(report)


def test_a_lost_race_heals_by_posting_the_same_bytes(fhir: FhirClient) -> None:
    result = context(fhir.patient_record("Patient/pat-1"), manifest=fresh())
    bundle = canonical_json(build_result(result))

    def post() -> None:
        for _ in range(20):
            try:
                fhir.transaction(bundle)
            except (StaleWrite, TransientFailure):
                continue
            return

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), result.result_id)) == 1
    assert len(fhir.find_tagged("Provenance", CANONICAL.sid("ai-result"), result.result_id)) == 1


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
def test_a_decision_is_written_once_and_recognised(fhir: FhirClient, outcome: str) -> None:
    result = posted(fhir, fresh())
    written = find_result(fhir, CANONICAL, result.thread_id, result.result_id)
    assert written is not None
    decision = act(outcome, written.report, reason_code="false-positive")
    standing = read_posted(fhir, CANONICAL, fhir.read(written.report.split("/_history")[0]))
    bundle = canonical_json(build_review(NAMESPACE, standing, decision))
    fhir.transaction(bundle)
    done = find_review(fhir, CANONICAL, decision.act_id, result.result_id, outcome)
    assert done is not None
    assert fhir.read(done.report)["status"] == {"accepted": "preliminary", "rejected": "entered-in-error"}[outcome]
    with pytest.raises(StaleWrite):
        fhir.transaction(bundle)
    assert fhir.read(done.report.split("/_history")[0])["meta"]["versionId"] == done.report.rsplit("/", 1)[1]


def test_a_new_result_cancels_the_unread_one_in_the_same_transaction(fhir: FhirClient) -> None:
    for report in fhir.find("DiagnosticReport", CANONICAL.sid("ai-report-thread"), context().thread_id):
        if report["status"] == "partial":
            old = read_posted(fhir, CANONICAL, report)
            fhir.transaction(canonical_json(build_review(NAMESPACE, old, act("rejected", _version(report)))))
    first = posted(fhir, fresh())
    second = context(fhir.patient_record("Patient/pat-1"), manifest=fresh())
    old = standing_result(fhir, CANONICAL, second.thread_id, second.result_id)
    assert old is not None
    assert old.result_id(CANONICAL) == first.result_id
    bundle = canonical_json(supersede(CANONICAL, build_result(second), old, ISSUED))
    fhir.transaction(bundle)
    before = fhir.read(f"DiagnosticReport/{old.report['id']}")
    assert before["status"] == "cancelled"
    newest = standing_result(fhir, CANONICAL, second.thread_id, "another")
    assert newest is not None
    assert newest.result_id(CANONICAL) == second.result_id
    with pytest.raises(StaleWrite):
        fhir.transaction(bundle)


def test_what_was_just_written_is_seen_by_the_search_that_did_not_find_it_before(fhir: FhirClient) -> None:
    """Servers keep the answers of searches (HAPI: 60 s, as delivered): without a word about it two unread results of one study could follow."""
    result_id = uuid.uuid4().hex
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "CT"},
        "subject": {"reference": "Patient/pat-1"},
        "identifier": [{"system": "https://hospital.example.org/sid/report", "value": result_id}],
    }
    entry = {"resource": report, "request": {"method": "POST", "url": "DiagnosticReport"}}
    assert fhir.find("DiagnosticReport", "https://hospital.example.org/sid/report", result_id) == []
    before = len(fhir.patient_record("Patient/pat-1"))
    fhir.transaction(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode())
    assert len(fhir.find("DiagnosticReport", "https://hospital.example.org/sid/report", result_id)) == 1
    assert len(fhir.patient_record("Patient/pat-1")) == before + 1


def _version(resource: dict[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}/_history/{resource['meta']['versionId']}"


def test_a_stale_update_rolls_the_whole_transaction_back(fhir: FhirClient) -> None:
    patient = fhir.read("Patient/pat-1")
    entry = {"resource": patient, "request": {"method": "PUT", "url": "Patient/pat-1", "ifMatch": 'W/"999"'}}
    bundle = build_result(context(fhir.patient_record("Patient/pat-1"), manifest=fresh()))
    result_id = bundle["entry"][-1]["resource"]["meta"]["tag"][0]["code"]
    bundle["entry"].append(entry)
    with pytest.raises(StaleWrite):
        fhir.transaction(canonical_json(bundle))
    assert fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), result_id) == []


def test_the_record_is_complete_beyond_one_page(fhir: FhirClient) -> None:
    patient = {"resourceType": "Patient", "id": f"p{uuid.uuid4().hex[:12]}"}
    entries = [{"resource": patient, "request": {"method": "PUT", "url": f"Patient/{patient['id']}"}}]
    entries += [
        {
            "resource": {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "creatinine"},
                "subject": {"reference": f"Patient/{patient['id']}"},
                "valueQuantity": {"value": 1.5, "unit": "mg/dL"},
            },
            "request": {"method": "POST", "url": "Observation"},
        }
        for _ in range(450)
    ]
    fhir.transaction(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode())
    record = fhir.patient_record(f"Patient/{patient['id']}")
    assert sum(r["resourceType"] == "Observation" for r in record) == 450
    timeline = build_timeline(f"Patient/{patient['id']}", record, study_instance_uid="1.2.3")
    assert timeline.entries[0].value == "1.5"


def test_an_accession_number_with_the_marks_of_a_search_is_found(fhir: FhirClient) -> None:
    accession = f"A,{uuid.uuid4().hex[:8]}|1"
    identifier = {"system": "https://hospital.example.org/sid/odd", "value": accession}
    order = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
    }
    entry = {"resource": order | {"identifier": [identifier]}, "request": {"method": "POST", "url": "ServiceRequest"}}
    [written] = fhir.transaction(
        json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode()
    )
    [found] = fhir.find("ServiceRequest", identifier["system"], accession)
    assert _version(found) == written


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda fhir: fhir.read("Observation/nobody"), "fhir-not-found"),
        (lambda fhir: fhir.patient_record("Patient/nobody"), "patient-not-found"),
        (lambda fhir: fhir.patient_record("Group/g"), "patient-not-found"),
    ],
)
def test_what_the_server_does_not_know_is_named(fhir: FhirClient, ask: Any, code: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        ask(fhir)
    assert caught.value.code == code


def test_the_server_can_do_what_we_need(fhir: FhirClient) -> None:
    assert fhir.preflight() == []


# -- a server that answers too much, or breaks off -----------------------------------------------------------------------------


def over_answering(request: httpx.Request) -> httpx.Response:
    """Ignores every filter, as servers do with parameters that they do not know."""
    kind = request.url.path.rsplit("/", 1)[-1]
    everyone = [r | {"meta": {"versionId": "1"}} for r in chart() if r["resourceType"] == kind]
    if request.url.path.endswith("/Patient/pat-1"):
        return httpx.Response(200, json=chart()[0])
    if kind == "Condition":
        other = deepcopy(everyone[0]) | {"id": "of-another", "subject": {"reference": "Patient/pat-2"}}
        everyone.append(other)
    entries = [{"resource": r, "search": {"mode": "match"}} for r in everyone]
    return httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset", "entry": entries})


def client_of(answer: Any) -> FhirClient:
    return FhirClient("http://fhir.test/fhir", transport=httpx.MockTransport(answer))


def test_another_patients_resource_stops_the_run() -> None:
    with pytest.raises(PermanentFailure, match="fhir-wrong-patient"):
        client_of(over_answering).patient_record("Patient/pat-1")


def test_a_search_by_identifier_keeps_only_what_carries_it() -> None:
    client = client_of(over_answering)
    assert client.find("ServiceRequest", "https://hospital.example.org/sid/accession", "A-0000") == []
    assert len(client.find("ServiceRequest", "https://hospital.example.org/sid/accession", "A-4711")) == 1
    assert client.find_tagged("ServiceRequest", "any", "tag") == []


def test_another_resource_than_the_one_asked_for_is_refused() -> None:
    client = client_of(lambda request: httpx.Response(200, json={"resourceType": "Patient", "id": "other"}))
    with pytest.raises(PermanentFailure, match="fhir-wrong-resource"):
        client.read("Patient/pat-1")


def test_a_merged_patient_is_named() -> None:
    merged = {
        "resourceType": "Patient",
        "id": "pat-1",
        "link": [{"type": "replaced-by", "other": {"reference": "Patient/x"}}],
    }
    with pytest.raises(PermanentFailure, match="patient-replaced"):
        client_of(lambda request: httpx.Response(200, json=merged)).patient_record("Patient/pat-1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (409, StaleWrite),
        (412, StaleWrite),
        (429, TransientFailure),
        (503, TransientFailure),
        (400, PermanentFailure),
        (403, PermanentFailure),
    ],
)
def test_each_answer_says_what_happens_next_and_repeats_nothing(status: int, error: type[Exception]) -> None:
    client = client_of(lambda request: httpx.Response(status, text="Patient M0001 has no room"))
    with pytest.raises(error) as caught:
        client.read("Patient/pat-1")
    assert "M0001" not in str(caught.value)


def test_a_failed_entry_in_an_answer_of_200_is_noticed() -> None:
    answer = {"resourceType": "Bundle", "entry": [{"response": {"status": "412 Precondition Failed"}}]}
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [{}]}).encode()
    with pytest.raises(StaleWrite):
        client_of(lambda request: httpx.Response(200, json=answer)).transaction(bundle)


def test_a_server_that_is_away_is_tried_again_later() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(TransientFailure, match="fhir-unavailable"):
        client_of(away).read("Patient/pat-1")


# -- what reconciliation asks ----------------------------------------------------------------------------------------------


def test_our_reports_are_found_by_day_and_no_others(fhir: FhirClient) -> None:
    result = posted(fhir, fresh())
    theirs = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "CT chest"},
        "issued": ISSUED,
        "identifier": [{"system": "https://hospital.example.org/sid/report", "value": result.result_id}],
    }
    entry = {"resource": theirs, "request": {"method": "POST", "url": "DiagnosticReport"}}
    fhir.transaction(canonical_json({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}))
    day = date(2026, 11, 23)
    seen = [report_seen(CANONICAL, r) for r in fhir.find_issued("DiagnosticReport", CANONICAL.sid("ai-result"), day)]
    assert result.result_id in {s.result_id for s in seen if s is not None}
    assert len(seen) == len({s.report for s in seen if s is not None})
    later = fhir.find_issued("DiagnosticReport", CANONICAL.sid("ai-result"), date(2026, 11, 24))
    assert result.result_id not in {s.result_id for s in (report_seen(CANONICAL, r) for r in later) if s is not None}


def test_a_patient_is_found_by_a_bare_number(fhir: FhirClient) -> None:
    found = fhir.find_by_value("Patient", "M0001")
    assert "pat-1" in [patient["id"] for patient in found]
    assert all("M0001" in [i["value"] for i in patient["identifier"]] for patient in found), "a shared server has more"
    assert fhir.find_by_value("Patient", "M000") == []
    assert fhir.find_by_value("Patient", "M0001,M0002") == []


def test_an_unread_result_beside_a_newer_one_is_withdrawn_once(fhir: FhirClient) -> None:
    """Both were posted by themselves, as after a race: neither knows of the other."""
    ids = [posted(fhir, fresh()).result_id for _ in range(2)]
    older, newer = (standing(fhir, result_id) for result_id in ids)
    assert answers_all(older, newer)
    bundle = canonical_json(supersede_older(NAMESPACE, older, newer, ISSUED))
    fhir.transaction(bundle)
    done = standing(fhir, ids[0])
    assert done.report["status"] == "cancelled"
    assert {o["status"] for o in done.observations} == {"cancelled"}
    assert (done.task["status"], done.task["businessStatus"]["coding"][0]["code"]) == ("cancelled", "superseded")
    assert standing(fhir, ids[1]).unread
    with pytest.raises(StaleWrite):
        fhir.transaction(bundle)


def standing(fhir: FhirClient, result_id: str) -> PostedResult:
    [report] = fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), result_id)
    return read_posted(fhir, CANONICAL, report)
