"""Answers of FHIR servers that pass for a whole chart and are none, and answers that nobody expects: each is marked, or a named failure."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from schemas.errors import LongviewError, PermanentFailure, TransientFailure
from services.clients.fhir import FhirClient
from services.clients.fhir_transport import LONGEST_WAIT
from tests.contract.test_fhir_client import BASE, PATIENT, Answer, client_of, observation, page
from workflows.timeline import build_timeline

PAT = "Patient/pat-1"


def serving(answers: dict[str, Any], asked: list[httpx.Request] | None = None) -> Answer:
    """A server whose search of a type, or path and query, answers what stands in `answers`, and nothing for all else."""

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        path = request.url.path
        if path == "/fhir/Patient/pat-1":
            return httpx.Response(200, json=PATIENT)
        found = answers.get(
            str(request.url), answers.get(path.removeprefix("/fhir/") if not _is_next(request) else "", page())
        )
        if isinstance(found, httpx.Response):
            return found
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        return httpx.Response(200, content=content)

    return answer


def _is_next(request: httpx.Request) -> bool:
    return "patient" not in request.url.params


def record(answers: dict[str, Any], asked: list[httpx.Request] | None = None) -> list[dict[str, Any]]:
    return client_of(serving(answers, asked)).patient_record(PAT)


def incomplete(answers: dict[str, Any]) -> list[str]:
    return build_timeline(PAT, record(answers), study_instance_uid="1.2").incomplete


def ids(resources: list[dict[str, Any]]) -> list[str]:
    return [r["id"] for r in resources if r["resourceType"] == "Observation"]


def outcome(severity: str, code: str) -> dict[str, Any]:
    issue = {"severity": severity, "code": code, "diagnostics": "shard 3 of patient M0001 did not answer"}
    return {"search": {"mode": "outcome"}, "resource": {"resourceType": "OperationOutcome", "issue": [issue]}}


ONE = observation(PAT, "a")
TWO = observation(PAT, "b")


# -- whole or not ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "code", "expected"),
    [
        ("error", "exception", ["server-error:Observation"]),
        ("fatal", "exception", ["server-error:Observation"]),
        ("warning", "incomplete", ["server-says-incomplete:Observation"]),
        ("error", "suppressed", ["server-withholds:Observation"]),
        ("warning", "informational", []),
    ],
)
def test_an_error_inside_an_answer_of_200_marks_the_history(severity: str, code: str, expected: list[str]) -> None:
    bundle = page(ONE)
    bundle["entry"].append(outcome(severity, code))
    assert incomplete({"Observation": bundle}) == expected


def test_a_server_that_is_short_of_time_is_asked_again_later() -> None:
    bundle = page(ONE)
    bundle["entry"].append(outcome("error", "timeout"))
    with pytest.raises(TransientFailure, match="fhir-incomplete") as caught:
        record({"Observation": bundle})
    assert "M0001" not in str(caught.value)


def test_fewer_results_than_were_counted_mark_the_history() -> None:
    assert incomplete({"Observation": page(ONE) | {"total": 57}}) == ["total-not-reached:Observation"]
    assert incomplete({"Observation": page(ONE) | {"total": 1}}) == []
    last = f"{BASE}/Observation?page=2"
    assert incomplete({"Observation": page(ONE, following=last) | {"total": 2}, last: page(TWO)}) == []
    assert incomplete({"Observation": page(ONE, following=last) | {"total": 3}, last: page(TWO)}) == [
        "total-not-reached:Observation"
    ]


def test_results_with_elements_left_out_mark_the_history() -> None:
    cut = ONE | {"meta": {"tag": [{"system": "x", "code": "SUBSETTED"}]}}
    assert incomplete({"Observation": page(cut)}) == ["resources-cut:Observation"]


def test_our_own_results_are_never_looked_for_in_half_an_answer() -> None:
    """Half an answer would be taken for "not posted yet", and a second unread result would follow."""
    client = client_of(lambda request: httpx.Response(200, json=page() | {"total": 1}))
    with pytest.raises(TransientFailure, match="fhir-incomplete"):
        client.find("DiagnosticReport", "urn:s", "v")


def test_a_kind_that_our_token_does_not_cover_is_named_as_missing_and_a_study_is_still_read() -> None:
    refused = httpx.Response(403, json={"resourceType": "OperationOutcome"})
    answers = {"Observation": page(ONE), "Encounter": refused, "DocumentReference": refused}
    assert incomplete(answers) == ["not-allowed:DocumentReference", "not-allowed:Encounter"]
    with pytest.raises(PermanentFailure, match="fhir-forbidden"):
        record({"Observation": refused})


def test_a_kind_that_the_server_does_not_search_by_patient_is_named_and_nothing_of_others_is_kept() -> None:
    other = {"resourceType": "Flag", "id": "f", "status": "active", "subject": {"reference": "Patient/pat-2"}}
    resources = record(
        {"Device": httpx.Response(400), "Flag": page(other), "metadata": {"resourceType": "CapabilityStatement"}}
    )
    timeline = build_timeline(PAT, resources, study_instance_uid="1.2")
    assert timeline.incomplete == ["not-filtered:Flag", "not-searched:Device"]
    assert timeline.entries == []


def test_records_that_no_entry_is_made_of_are_counted_without_being_fetched() -> None:
    asked: list[httpx.Request] = []
    counted = {"resourceType": "Bundle", "type": "searchset", "total": 12}
    resources = record({"DocumentReference": counted}, asked)
    timeline = build_timeline(PAT, resources, study_instance_uid="1.2")
    assert timeline.other_types == {"DocumentReference": 12}
    [request] = [r for r in asked if r.url.path.endswith("/DocumentReference")]
    assert request.url.params["_summary"] == "count"


def test_medicines_come_along_with_what_names_them() -> None:
    def order(name: str) -> dict[str, Any]:
        reference = {"medicationReference": {"reference": name}}
        return {
            "resourceType": "MedicationRequest",
            "id": name[-2:],
            "status": "active",
            "subject": {"reference": PAT},
        } | reference

    drug = {"resourceType": "Medication", "id": "m1", "code": {"text": "Warfarin"}}
    found = page(order("Medication/m1"), order(f"{BASE}/Medication/m2"), order("http://other.test/fhir/Medication/m3"))
    asked: list[httpx.Request] = []
    resources = record({"MedicationRequest": found, f"{BASE}/Medication?_id=m1%2Cm2&_count=200": page(drug)}, asked)
    texts = sorted(entry.text for entry in build_timeline(PAT, resources, study_instance_uid="1.2").entries)
    assert texts == ["Warfarin", "medicine not named", "medicine not named"]


# -- caches ------------------------------------------------------------------------------------------------------------------------


def test_no_search_is_content_with_a_kept_answer() -> None:
    asked: list[httpx.Request] = []
    last = f"{BASE}/Observation?page=2"
    record({"Observation": page(ONE, following=last), last: page(TWO)}, asked)
    assert {request.headers.get("Cache-Control") for request in asked} == {"no-cache"}


# -- pages -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "followed"),
    [
        ("?page=2", f"{BASE}/Observation?page=2"),
        ("Observation?page=2", f"{BASE}/Observation?page=2"),
        ("/pages/2", "http://fhir.test/pages/2"),
        ("../next?p=2", "http://fhir.test/next?p=2"),
        ("http://fhir.test/other/Observation?page=2", "http://fhir.test/other/Observation?page=2"),
        ("http://internal:8080/r4/Observation?page=2", f"{BASE}/Observation?page=2"),
        ("http://internal:8080/r4?_getpages=2", f"{BASE}?_getpages=2"),
        ("http://internal:8080/r4b/Observation?page=2", "http://fhir.test/r4b/Observation?page=2"),
    ],
)
def test_the_next_page_is_found_where_the_server_says_and_behind_a_proxy_where_it_means(
    link: str, followed: str
) -> None:
    """The server calls itself http://internal:8080/r4; a gateway shows it to us as http://fhir.test/fhir."""
    asked: list[httpx.Request] = []
    first = page(ONE, base="http://internal:8080/r4", following=link)
    assert ids(record({"Observation": first, followed: page(TWO, base="http://internal:8080/r4")}, asked)) == ["a", "b"]
    assert {request.url.host for request in asked} == {"fhir.test"}


def test_a_page_that_is_not_there_is_not_taken_for_the_end() -> None:
    last = f"{BASE}/Observation?page=2"
    with pytest.raises(PermanentFailure, match="where a proxy changes paths"):
        record({"Observation": page(ONE, following=last), last: httpx.Response(404)})
    with pytest.raises(TransientFailure, match="fhir-page-gone"):
        record({"Observation": page(ONE, following=last), last: httpx.Response(410)})


@pytest.mark.parametrize(
    "bundle",
    [
        page(ONE) | {"link": [{"relation": "next"}]},
        page(ONE) | {"link": [{"relation": "next", "url": 5}]},
        page(ONE, following="http://[fhir/Observation?page=2"),
        page(ONE) | {"entry": {"resource": ONE}},
        page(ONE) | {"entry": ["x"]},
        page(ONE) | {"entry": [{"resource": "x"}]},
        page(ONE | {"subject": "Patient/pat-1"}),
        page(ONE | {"id": 5}),
        [page(ONE)],
        "text",
        None,
        b"<html>login</html>",
        b'{"resourceType": "Bundle", "entry": ' + b"[" * 100_000,
    ],
)
def test_whatever_a_server_answers_is_a_named_failure(bundle: Any) -> None:
    with pytest.raises(LongviewError):
        record({"Observation": bundle if bundle is not None else b"null"})


@pytest.mark.parametrize(
    "bundle",
    [
        {"resourceType": "Bundle", "type": "searchset", "entry": None, "link": None},
        {"resourceType": "Bundle", "type": "searchset", "link": {"relation": "next"}},
        {"resourceType": "Bundle", "type": "searchset"},
    ],
)
def test_an_answer_without_entries_is_an_empty_one(bundle: Any) -> None:
    assert ids(record({"Observation": bundle})) == []


def test_odd_marks_around_an_entry_change_nothing() -> None:
    bundle = page(ONE | {"meta": None})
    bundle["entry"][0] |= {"fullUrl": None, "search": None}
    assert ids(record({"Observation": bundle})) == ["a"]


# -- text ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"nodule \\ud83d here", "nodule \ufffd here"),
        (b"nodule \\udc00", "nodule \ufffd"),
        (b"\\ud83d\\ude00 \\uD83D", "\U0001f600 \ufffd"),
        (b"a path \\\\ud800", "a path \\ud800"),
        (b"\xed\xa0\xbd cut", "\ufffd cut"),
        ("Größe".encode(), "Größe"),
    ],
)
def test_half_a_character_does_not_make_a_patient_unreadable(written: bytes, read: str) -> None:
    text = json.dumps(page(ONE | {"code": {"text": "WORDS"}})).encode().replace(b"WORDS", written)
    for content in (text, b"\xef\xbb\xbf" + text):
        timeline = build_timeline(PAT, record({"Observation": content}), study_instance_uid="1.2")
        assert timeline.entries[0].text == read
        assert timeline.model_dump_json()
        client = client_of(lambda request, content=content: httpx.Response(200, content=content))  # type: ignore[misc]
        assert client.find_by_value("Observation", "none") == [], "the other reader of JSON takes it as well"


# -- patience ----------------------------------------------------------------------------------------------------------------------


def _in(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (lambda: "120", 120, 120),
        (lambda: "99999", LONGEST_WAIT, LONGEST_WAIT),
        (lambda: _in(60), 50, 60),
        (lambda: _in(-60), 0, 0),
    ],
    ids=["seconds", "too-long", "date", "past"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_names_a_time_is_not_asked_before_it(
    status: int, said: Callable[[], str], least: float, most: float
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Retry-After": said()})

    client = FhirClient(BASE, transport=httpx.MockTransport(answer), read_pauses=(0.0,))
    with pytest.raises(TransientFailure) as caught:
        client.read(PAT)
    assert caught.value.retry_after is not None
    assert least <= caught.value.retry_after <= most
    assert pickle.loads(pickle.dumps(caught.value)).retry_after == caught.value.retry_after


@pytest.mark.parametrize("said", ["soon", "-5", ""])
def test_a_time_that_is_none_is_as_if_nobody_had_said_it(said: str) -> None:
    client = client_of(lambda request: httpx.Response(429, headers={"Retry-After": said}))
    with pytest.raises(TransientFailure) as caught:
        client.read(PAT)
    assert caught.value.retry_after is None
