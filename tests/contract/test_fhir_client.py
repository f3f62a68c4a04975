"""Our FHIR client before servers that answer too much, too little, or something else than was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.errors import LongviewError, PermanentFailure, StaleWrite, TransientFailure
from schemas.identifiers import canonical_json
from services.clients.fhir import FhirClient
from workflows.timeline import build_timeline

BASE = "http://fhir.test/fhir"
PATIENT = {"resourceType": "Patient", "id": "pat-1", "meta": {"versionId": "1"}}
Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer) -> FhirClient:
    return FhirClient(BASE, token="secret", transport=httpx.MockTransport(answer))


def observation(subject: str, id: str = "o") -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": subject}}


def page(*resources: dict[str, Any], base: str = BASE, following: str = "") -> dict[str, Any]:
    entries = [{"fullUrl": f"{base}/{r['resourceType']}/{r['id']}", "resource": r} for r in resources]
    links = [{"relation": "next", "url": following}] if following else []
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}


def hospital(found: dict[str, Any], **answers: tuple[int, dict[str, Any]]) -> Answer:
    """A server with one patient; a search of Observation answers `found`, of a type in `answers` what stands there, of others nothing."""

    def answer(request: httpx.Request) -> httpx.Response:
        kind = request.url.path.removeprefix("/fhir/")
        if kind == "Patient/pat-1":
            return httpx.Response(200, json=PATIENT)
        if kind in answers:
            return httpx.Response(answers[kind][0], json=answers[kind][1])
        return httpx.Response(200, json=found if kind == "Observation" else page())

    return answer


@pytest.mark.parametrize(
    "subject",
    ["Patient/pat-1", "Patient/pat-1/_history/3", f"{BASE}/Patient/pat-1", "https://his.test/r4/Patient/pat-1"],
)
def test_the_patient_is_known_however_the_server_writes_the_reference(subject: str) -> None:
    """The last one is the server's own name for itself behind a proxy: its entries' `fullUrl` say so."""
    base = subject.split("/Patient/")[0] if subject.startswith("https") else BASE
    record = client_of(hospital(page(observation(subject), base=base))).patient_record("Patient/pat-1")
    assert [r["id"] for r in record] == ["pat-1", "o"]


@pytest.mark.parametrize(
    "subject", ["Patient/pat-2", "Group/pat-1", "https://elsewhere.test/fhir/Patient/pat-1", "urn:uuid:x"]
)
def test_a_patient_of_another_name_or_of_another_server_is_another_patient(subject: str) -> None:
    with pytest.raises(PermanentFailure, match="fhir-wrong-patient"):
        client_of(hospital(page(observation(subject)))).patient_record("Patient/pat-1")


def test_a_record_no_longer_in_use_is_not_read() -> None:
    """`Patient.active` is a modifier element: false may mean that the record was made in error (R4)."""
    with pytest.raises(PermanentFailure, match="patient-replaced"):
        client_of(lambda request: httpx.Response(200, json=PATIENT | {"active": False})).patient_record("Patient/pat-1")


def statement(*types: str) -> dict[str, Any]:
    resources = [{"type": t, "versioning": "versioned", "conditionalCreate": True} for t in types]
    rest = {"interaction": [{"code": "transaction"}], "resource": resources}
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}


def test_a_type_that_the_server_says_it_does_not_serve_is_left_out() -> None:
    refused = (404, {"resourceType": "OperationOutcome"})
    answer = hospital(page(), MedicationStatement=refused, metadata=(200, statement("Patient", "Observation")))
    assert client_of(answer).patient_record("Patient/pat-1") == [PATIENT]


def test_a_type_that_the_server_serves_and_still_refuses_stops_the_run() -> None:
    refused = (400, {"resourceType": "OperationOutcome"})
    answer = hospital(page(), Condition=refused, metadata=(200, statement("Patient", "Condition")))
    with pytest.raises(PermanentFailure, match="fhir-refused"):
        client_of(answer).patient_record("Patient/pat-1")


def test_the_next_page_is_asked_of_our_server_only_and_a_resource_on_two_pages_counts_once() -> None:
    asked: list[httpx.Request] = []
    first = page(observation("Patient/pat-1", "a"), following="http://elsewhere.test/fhir?_getpages=7")

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path == "/fhir":
            return httpx.Response(200, json=page(observation("Patient/pat-1", "a"), observation("Patient/pat-1", "b")))
        return hospital(first)(request)

    record = client_of(answer).patient_record("Patient/pat-1")
    assert [r["id"] for r in record] == ["pat-1", "a", "b"]
    assert {request.url.host for request in asked} == {"fhir.test"}


def test_an_identifier_with_the_marks_of_a_search_is_one_identifier() -> None:
    """`,` means "or" and `|` parts system from value: both stand in real accession numbers."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["identifier"])
        return httpx.Response(200, json=page())

    client_of(answer).find("ServiceRequest", "urn:acc", "A,1|b$\\")
    assert asked == ["urn:acc|A\\,1\\|b\\$\\\\"]


@pytest.mark.parametrize(
    "reference", ["Patient/..", "Patient/pat-1?x=1", "../metadata", "https://elsewhere.test/fhir/Patient/pat-1", ""]
)
def test_what_is_not_a_reference_on_this_server_is_never_asked_for(reference: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("the server was asked")

    with pytest.raises(PermanentFailure, match="fhir-reference"):
        client_of(answer).read(reference)


def test_another_version_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(PermanentFailure, match="fhir-wrong-resource"):
        client_of(lambda request: httpx.Response(200, json=PATIENT)).read("Patient/pat-1/_history/2")


def test_a_measured_value_keeps_the_digits_that_the_source_wrote() -> None:
    """1.10 mg/dL says something else about the method than 1.1 does."""
    text = json.dumps(page(observation("Patient/pat-1") | {"valueQuantity": {"value": 0, "unit": "mg/dL"}}))
    written = text.replace('"value": 0', '"value": 1.10')

    def answer(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(200, text=written) if request.url.path.endswith("Observation") else hospital(page())(request)
        )

    timeline = build_timeline(
        "Patient/pat-1", client_of(answer).patient_record("Patient/pat-1"), study_instance_uid="1.2"
    )
    assert timeline.entries[0].value == "1.10"


def test_what_is_found_by_identifier_can_be_written_again() -> None:
    """Only the history keeps the source's digits; a resource that we change and post goes through our JSON writer."""
    task = {
        "resourceType": "Task",
        "id": "t",
        "identifier": [{"system": "urn:s", "value": "v"}],
        "output": [{"valueDecimal": 63.1}],
    }
    [found] = client_of(lambda request: httpx.Response(200, json=page(task))).find("Task", "urn:s", "v")
    assert canonical_json(found) == canonical_json(task)


def post(*answers: dict[str, Any], resource: dict[str, Any] | None = None) -> list[str]:
    """A transaction of as many entries as answers; a read that follows gets `resource`."""
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [{}] * len(answers)}).encode()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=resource)
        assert request.content == bundle
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": [{"response": a} for a in answers]})

    return client_of(answer).transaction(bundle)


def test_where_an_entry_went_is_read_from_any_form_of_location() -> None:
    bare = {"status": "201 Created", "location": "Patient/pat-1"}
    relative = {"status": "201", "location": "Task/1/_history/2"}
    absolute = {"status": "200 OK", "location": f"{BASE}/Task/2/_history/7"}
    assert post(relative, absolute, bare, resource=PATIENT) == [
        "Task/1/_history/2",
        "Task/2/_history/7",
        "Patient/pat-1/_history/1",
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": "409 Conflict"}, StaleWrite),
        ({"status": "422"}, PermanentFailure),
        ({"status": "503"}, TransientFailure),
        ({"status": "lost"}, LongviewError),
        ({}, LongviewError),
        (
            {"status": "200", "location": "Task/1/_history/1", "outcome": {"issue": [{"severity": "error"}]}},
            PermanentFailure,
        ),
    ],
)
def test_every_entrys_answer_is_looked_at_before_anything_is_believed(
    answer: dict[str, Any], error: type[Exception]
) -> None:
    good = {"status": "201", "location": "Task/1"}
    with pytest.raises(error):
        post(good, answer, resource=None)


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with pytest.raises(PermanentFailure, match="fhir-refused"):
        client_of(lambda request: httpx.Response(302, headers={"location": "http://elsewhere.test/"})).read(
            "Patient/pat-1"
        )


def test_preflight_names_what_the_server_does_not_do() -> None:
    poor = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "5.0.0",
        "rest": [{"resource": [{"type": "Task", "versioning": "no-version"}]}],
    }
    problems = " ".join(client_of(lambda request: httpx.Response(200, json=poor)).preflight())
    for word in ("R4", "transaction", "conditional create", "versions", "Provenance"):
        assert word in problems
    assert problems.count("http") == 0


# -- a server that fails a share of its calls ------------------------------------------------------------------------------------


class Failing:
    """Fails as it is told, call by call, and then answers."""

    def __init__(self, *failures: int | type[Exception]) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if not self.failures:
            return httpx.Response(200, json=PATIENT)
        failure = self.failures.pop(0)
        if isinstance(failure, int):
            return httpx.Response(failure)
        raise failure("broken", request=request)  # type: ignore[call-arg]


def patient_client(server: Failing) -> FhirClient:
    return FhirClient(BASE, transport=httpx.MockTransport(server), read_pauses=(0.0, 0.0))


def test_a_read_is_tried_again_after_a_refusal_and_after_a_broken_connection() -> None:
    server = Failing(503, httpx.RemoteProtocolError)
    assert patient_client(server).read("Patient/pat-1") == PATIENT
    assert server.calls == 3


def test_a_read_is_given_up_after_its_pauses_and_left_to_the_steps_own_patience() -> None:
    server = Failing(503, 500, 502, 503)
    with pytest.raises(TransientFailure):
        patient_client(server).read("Patient/pat-1")
    assert server.calls == 3


@pytest.mark.parametrize("failure", [httpx.ReadTimeout, 429, 408])
def test_a_server_that_is_overloaded_is_not_asked_again_at_once(failure: int | type[Exception]) -> None:
    server = Failing(failure)
    with pytest.raises(TransientFailure):
        patient_client(server).read("Patient/pat-1")
    assert server.calls == 1


@pytest.mark.parametrize("failure", [503, httpx.RemoteProtocolError])
def test_a_write_is_sent_once(failure: int | type[Exception]) -> None:
    """Its answer may be lost and not its effect: whoever wrote looks first."""
    server = Failing(failure)
    with pytest.raises(TransientFailure):
        patient_client(server).transaction(b'{"entry": []}')
    assert server.calls == 1
