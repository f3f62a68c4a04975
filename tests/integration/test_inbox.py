"""The inbox over HTTP: what a clinician sees, what a decision needs, what is refused, and what nobody may get."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator

import httpx
import pytest

from schemas.caution import Caution
from schemas.errors import StaleWrite, TransientFailure
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated
from schemas.report import RaisedPriority
from tests import inbox_samples as samples
from tests.inbox_house import Browserless, House, hidden_fields
from tests.inbox_house import house as house
from tests.inbox_house import visitor as visitor

pytestmark = pytest.mark.integration


def status_of(house: House, result_id: str) -> str:
    entry = house.reader.get(result_id)
    assert entry is not None
    return entry.row.status


def test_the_most_urgent_result_stands_first_with_all_that_identifies_it(house: House, visitor: Browserless) -> None:
    house.add("routine", "study-1", priority="routine")
    house.add("stat", "study-2", priority="stat", patient=samples.patient("Okonjo, Ada", "MR-77"))
    page = visitor.page("/")
    assert page.index("Okonjo, Ada") < page.index("Lindqvist, Maren")
    for shown in (
        "STAT",
        "1958-04-17",
        "68 y",
        "female",
        "MR-77",
        "RAD2026-004711",
        "prior 2025-08-02",
        "due in 40 min",
    ):
        assert shown in page
    assert page.count("UNTRAINED MODEL") == 2
    assert page.count("AI, not signed") == 2


RAISED = RaisedPriority(finding="pneumothorax", likelihood="probable", priority="stat", critical_list="radiology@v3")


def test_a_critical_finding_stands_above_its_order_until_it_is_rejected(house: House, visitor: Browserless) -> None:
    line = "Order ROUTINE, AI-raised STAT: Pneumothorax, probable (list v3)"
    house.add("urgent", "study-1", priority="urgent")
    patient = samples.patient("Okonjo, Ada", "MR-77")
    told = house.add("raised", "study-2", priority="stat", order_priority="routine", raised=RAISED, patient=patient)
    page = visitor.page("/")
    assert page.index("Okonjo, Ada") < page.index("Lindqvist, Maren")
    assert page.count("AI-raised") == page.count(line) == 1
    shown = visitor.page(f"/results/{told.result_id}")
    assert line in shown
    api = {each["result_id"]: each for each in visitor.http.get("/api/results").json()["results"]}[told.result_id]
    assert (api["priority"], api["order_priority"], api["raised"]) == ("stat", "routine", RAISED.model_dump())
    visitor.decide(told.result_id, outcome="rejected", reason_code="false-positive", acted_upon="false")
    assert status_of(house, told.result_id) == "rejected"
    after = visitor.page(f"/results/{told.result_id}")
    assert "AI-raised" not in after
    assert '<dd class="priority routine"><b>ROUTINE</b>' in after


def test_the_filter_stands_in_the_address(house: House, visitor: Browserless) -> None:
    house.add("routine", "study-1", priority="routine")
    assert "Nothing waits" not in visitor.page("/?priority=routine")
    assert "No result matches" in visitor.page("/?priority=stat")
    assert "No result matches" in visitor.page("/?shown=reviewed")
    assert "Lindqvist" in visitor.page("/?shown=nonsense&priority=nonsense")


def test_a_page_that_was_emptied_shows_what_still_waits(
    house: House, visitor: Browserless, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that nothing waits."""
    monkeypatch.setattr("services.inbox.pages.PAGE", 1)
    house.add("first", "study-1")
    house.add("second", "study-2", patient=samples.patient("Okonjo, Ada", "MR-77"))
    page = visitor.page("/?page=3")
    assert "Nothing waits" not in page
    assert ("Okonjo, Ada" in page) != ("Lindqvist, Maren" in page)


def test_a_result_shows_its_findings_evidence_history_and_origin(house: House, visitor: Browserless) -> None:
    told = house.add()
    page = visitor.page(f"/results/{told.result_id}")
    for shown in (
        "UNTRAINED MODEL",
        "Pulmonary nodule",
        "14 mm",
        "Pleural effusion",
        "Not detected",
        "Pulmonary consolidation: box-outside-slice",
        "Tiotropium",
        "Creatinine: 84 umol/L",
        told.report,
        "Compared with the study of 2025-08-02",
    ):
        assert shown in page
    for which, side in (("current", 512), ("prior", 256)):
        picture = visitor.http.get(f"/results/{told.result_id}/evidence/1/{which}")
        assert picture.headers["content-type"] == "image/png"
        assert picture.headers["cache-control"] == "no-store"
        assert int.from_bytes(picture.content[16:20]) == side
    assert '<rect x="301.0" y="188.5" width="28.0" height="25.5"' in page


def test_pictures_are_given_out_only_as_part_of_the_result_that_shows_them(house: House, visitor: Browserless) -> None:
    told = house.add()
    secret = house.store.put(b"another patient's pixels")
    for path in ("evidence/2/current", "evidence/0/current", f"evidence/1/{secret}", f"evidence/{secret}/current"):
        assert visitor.http.get(f"/results/{told.result_id}/{path}").status_code in (400, 404)


def test_chart_text_is_shown_as_text(house: House, visitor: Browserless) -> None:
    evil = "<script>alert(1)</script>"
    told = house.add(patient=samples.patient(evil), conclusion=evil)
    for page in (visitor.page("/"), visitor.page(f"/results/{told.result_id}")):
        assert evil not in page
        assert "&lt;script&gt;" in page


def test_a_reviewer_accepts(house: House, visitor: Browserless) -> None:
    told = house.add()
    answer = visitor.decide(told.result_id, outcome="accepted")
    assert answer.status_code == 200
    assert "Accepted</b> by Dr. Ines Halloran" in answer.text
    assert [act.report_version for act in house.reviewer.acts] == [told.report]
    assert "Nothing waits for review" in visitor.page("/")
    assert "Dr. Ines Halloran" in visitor.page("/?shown=reviewed")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Choose a reason for the rejection."),
        ({"reason_code": "false-positive"}, "Say whether anyone was told or treated"),
        ({"reason_code": "other", "acted_upon": "false"}, "Say in a few words what is wrong."),
        ({"reason_code": "<b>", "acted_upon": "false"}, "Choose one of the reasons listed."),
        ({"reason_code": "false-positive", "acted_upon": "false", "reviewer": " "}, "Write your name"),
    ],
)
def test_a_rejection_asks_for_what_is_missing_and_keeps_what_was_typed(
    house: House, visitor: Browserless, fields: dict[str, str], sentence: str
) -> None:
    told = house.add()
    answer = visitor.decide(told.result_id, outcome="rejected", **fields)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert '<details class="choice" open>' in answer.text
    assert not house.reviewer.acts
    assert status_of(house, told.result_id) == "opened"


def test_a_reviewer_rejects_with_a_reason(house: House, visitor: Browserless) -> None:
    told = house.add()
    answer = visitor.decide(
        told.result_id,
        outcome="rejected",
        reason_code="false-positive",
        reason_text="A vessel on end",
        acted_upon="true",
    )
    assert "Rejected</b> by Dr. Ines Halloran" in answer.text
    assert "The finding is not there: A vessel on end" in answer.text
    [act] = house.reviewer.acts
    assert (act.reason_code, act.acted_upon) == ("false-positive", True)


def test_the_same_form_sent_twice_is_one_decision(house: House, visitor: Browserless) -> None:
    told = house.add()
    form = hidden_fields(visitor.page(f"/results/{told.result_id}")) | {"reviewer": "Dr. Q", "outcome": "accepted"}
    for _ in range(2):
        assert visitor.http.post(f"/results/{told.result_id}/review", data=form).status_code == 200
    assert len(house.reviewer.acts) == 1


def test_whoever_comes_second_is_told(house: House, visitor: Browserless) -> None:
    told = house.add()
    late = hidden_fields(visitor.page(f"/results/{told.result_id}")) | {"reviewer": "Dr. Late", "outcome": "rejected"}
    late |= {"reason_code": "image-quality", "acted_upon": "false"}
    visitor.decide(told.result_id, outcome="accepted")
    answer = visitor.http.post(f"/results/{told.result_id}/review", data=late)
    assert answer.status_code == 409
    assert "Someone else has decided" in answer.text
    assert status_of(house, told.result_id) == "accepted"


@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [
        (TransientFailure("temporal-unavailable"), 503, "try again in a minute"),
        (StaleWrite("review-stale"), 409, "newer images have replaced"),
        (StaleWrite("already-reviewed"), 409, "Someone else has decided"),
    ],
)
def test_a_decision_that_was_not_taken_says_so(
    house: House, visitor: Browserless, failure: TransientFailure, status: int, sentence: str
) -> None:
    told = house.add()
    house.reviewer.failure = failure
    answer = visitor.decide(told.result_id, outcome="accepted")
    assert answer.status_code == status
    assert sentence in answer.text
    assert 'value="Dr. Ines Halloran"' in answer.text
    assert status_of(house, told.result_id) == "opened"


def test_newer_images_replace_an_unread_result(house: House, visitor: Browserless) -> None:
    old = house.add("first")
    new = house.add("second", issued="2026-11-24T08:30:00.000+00:00", supersedes=old.result_id)
    page = visitor.page(f"/results/{old.result_id}")
    assert "Superseded</b> before anyone decided" in page
    assert f'href="/results/{new.result_id}"' in page
    assert "<form" not in page


def test_another_programs_api(house: House) -> None:
    told = house.add()
    act = {"act_id": str(uuid.uuid4()), "report_version": told.report, "outcome": "accepted"}
    path, user = f"{house.url}/api/results/{told.result_id}", {"X-Longview-User": "Dr. Api"}
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{house.url}/api/results").json()["results"][0]["status"] == "unread"
        assert http.post(f"{path}/review", json=act).status_code == 401
        assert http.post(f"{path}/review", json=act, headers=user).json()["code"] == "not-opened"
        assert http.post(f"{path}/opened", headers=user).status_code == 204
        assert http.post(f"{path}/review", json=act | {"outcome": "final"}, headers=user).status_code == 400
        assert http.post(f"{path}/review", content=b"[1]", headers=user).status_code == 400
        assert http.post(f"{path}/review", json=act, headers=user).json()["status"] == "accepted"
        assert http.get(f"{house.url}/api/results/unknown").json() == {
            "detail": "There is no such result: it may belong to another installation."
        }


def test_another_program_amends(house: House, visitor: Browserless) -> None:
    told = house.add()
    visitor.page(f"/results/{told.result_id}")
    amendment = {"label": "pulmonary-nodule", "presence": "not-detected", "text": "vessel"}
    act = {"act_id": str(uuid.uuid4()), "report_version": told.report, "outcome": "amended"}
    path, user = f"{house.url}/api/results/{told.result_id}/review", {"X-Longview-User": "Dr. Api"}
    with httpx.Client(trust_env=False, headers=user) as http:
        assert "which findings you change" in http.post(path, json=act).json()["detail"]
        assert http.post(path, json=act | {"outcome": "accepted", "amendments": [amendment]}).status_code == 400
        assert http.post(path, json=act | {"amendments": [amendment | {"presence": "gone"}]}).status_code == 400
        assert http.post(path, json=act | {"amendments": [amendment]}).json()["status"] == "amended"
    assert [a.label for a in house.reviewer.acts[0].amendments] == ["pulmonary-nodule"]
    assert "Amended</b> by Dr. Api" in visitor.page(f"/results/{told.result_id}")
    assert "Lindqvist, Maren" in visitor.page("/?shown=reviewed")


def test_a_result_shows_its_addendum_and_an_addendum_says_what_it_is(house: House, visitor: Browserless) -> None:
    base = house.add()
    nothing = samples.reading([], [])
    note = samples.result("note", adds_to=base.result_id, headline="Addendum: new results", reading=nothing)
    house.inbox.add_addendum(note, samples.available(note))
    assert f'href="/results/{note.result_id}"' in visitor.page(f"/results/{base.result_id}")
    page = visitor.page(f"/results/{note.result_id}")
    assert "This is an addendum" in page
    assert "An addendum repeats no finding" in page
    assert "Addendum: new results" in visitor.page("/")


def test_a_withdrawn_result_says_why_and_takes_no_decision(house: House, visitor: Browserless) -> None:
    told = house.add()
    end = EntryClosed(
        result_id=told.result_id,
        act_id=samples.key("close"),
        reason="result-wrong",
        changed=True,
        report=told.report,
        at="2026-11-24T08:39:00Z",
    )
    house.inbox.close(end, samples.reviewed(told, samples.review(told)))
    page = visitor.page(f"/results/{told.result_id}")
    assert "Withdrawn</b>: a defect of the system made it wrong. Do not rely on it." in page
    assert "<form" not in page


def test_the_list_shows_who_was_told_and_who_answered(house: House, visitor: Browserless) -> None:
    told = house.add()
    house.inbox.record_escalation(EntryEscalated(result_id=told.result_id, step=2), None)
    assert "escalated, step 2" in visitor.page("/")
    answer = EntryAcknowledged(result_id=told.result_id, by="Dr. Duty", at="2026-11-24T08:39:00Z")
    house.inbox.record_acknowledgement(answer, None)
    assert "acknowledged by Dr. Duty" in visitor.page("/")


def test_taking_notice_of_a_result_stops_the_clock_and_decides_nothing(house: House, visitor: Browserless) -> None:
    told = house.add()
    assert "Acknowledge</button>" not in visitor.page(f"/results/{told.result_id}"), "nobody was told yet"
    house.inbox.record_escalation(EntryEscalated(result_id=told.result_id, step=1), None)
    unnamed = visitor.acknowledge(told.result_id, reviewer=" ")
    assert unnamed.status_code == 400
    assert "Write your name" in unnamed.text
    page = visitor.acknowledge(told.result_id, read_back="patient-study-finding").text
    assert "Acknowledged</b> by Dr. Duty, " in page
    assert "Acknowledge</button>" not in page
    assert visitor.decide(told.result_id, outcome="accepted").status_code == 200


def test_another_program_acknowledges_and_is_told_when_nobody_waits(house: House) -> None:
    told = house.add()
    url, body = f"{house.url}/api/results/{told.result_id}/acknowledge", {"act_id": samples.key("ack")}
    with httpx.Client(trust_env=False) as http:
        assert http.post(url, json=body).status_code == 401
        header = {"X-Longview-User": "Dr. Duty"}
        early = http.post(url, json=body, headers=header)
        assert (early.status_code, early.json()["code"]) == (409, "acknowledgement-stale")
        house.inbox.record_escalation(EntryEscalated(result_id=told.result_id, step=1), None)
        assert http.post(url, json={"act_id": "no uuid"}, headers=header).status_code == 400
        assert http.post(url, json=body, headers=header).json()["acknowledged_by"] == "Dr. Duty"


def test_a_load_balancer_is_told_that_the_inbox_is_there_and_nothing_else(house: House) -> None:
    """It asks by the Pod's address; a monitor asks with HEAD. Neither makes a result seen."""
    by_address = {"Host": "10.42.0.17:8080"}
    with httpx.Client() as http:
        assert http.get(f"{house.url}/health", headers=by_address).json() == {"status": "ok"}
        assert http.get(f"{house.url}/api/results", headers=by_address).status_code == 421
        for path in ("/", "/health"):
            answer = http.head(f"{house.url}{path}")
            assert (answer.status_code, answer.content) == (200, b"")
        assert http.head(f"{house.url}/results/x").status_code == 405


def test_the_page_answers_only_under_its_own_name(house: House) -> None:
    with httpx.Client(trust_env=False) as http:
        assert http.get(house.url, headers={"Host": "evil.example"}).status_code == 421
        answer = http.get(house.url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_feed_tells_what_was_missed_and_what_comes(house: House) -> None:
    first = house.add("first", "study-1")
    with httpx.Client(trust_env=False, timeout=10) as http, http.stream("GET", f"{house.url}/events?since=0") as stream:
        lines = stream.iter_lines()
        assert next_change(lines) == {"result": first.result_id, "change": "added"}
        second = house.add("second", "study-2")
        assert next_change(lines) == {"result": second.result_id, "change": "added"}
    with (
        httpx.Client(trust_env=False, timeout=10) as http,
        http.stream("GET", f"{house.url}/events", headers={"Last-Event-ID": "1"}) as stream,
    ):
        assert next_change(stream.iter_lines()) == {"result": second.result_id, "change": "added"}


def next_change(lines: Iterator[str]) -> dict[str, str]:
    for line in lines:
        if line == "event: change":
            told: dict[str, str] = json.loads(next(lines).removeprefix("data: "))
            return told
    raise AssertionError("the stream ended")


def test_nothing_of_a_patient_is_logged(house: House, visitor: Browserless, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = house.add()
    visitor.page("/")
    visitor.decide(told.result_id, outcome="rejected", reviewer="Dr. Quiet")
    house.reviewer.failure = TransientFailure("temporal-unavailable")
    visitor.decide(told.result_id, outcome="accepted")
    visitor.http.get("/results/MR-0048213")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    for secret in ("Lindqvist", "MR-0048213", "1958-04-17", "Quiet", told.study.study_instance_uid):
        assert secret not in " ".join(ours)


def test_a_caution_an_abstention_and_citations_stand_on_page_and_list(house: House, visitor: Browserless) -> None:
    history = samples.history()
    nodule = samples.nodule().model_copy(update={"chart": "supports", "cites": [history[4]]})
    caution = Caution(route="chart", code="ignore-instructions", where=history[2].resource)
    read = samples.reading([], [nodule, samples.no_effusion()]).model_copy(update={"cautions": [caution]})
    told = house.add(reading=read)
    page = visitor.page(f"/results/{told.result_id}")
    for shown in (
        "Chart text contains instructions: treat the history with care.",
        "procedure of 2024-02-14",
        "The history supports it",
        "2025-08-02",
        "reads like instructions: not followed",
    ):
        assert shown in page
    assert "Chart text contains instructions" in visitor.page("/")
    silent = samples.reading([], []).model_copy(update={"abstained": "most-answers-dropped"})
    abstained = house.add("silent", "study-2", reading=silent)
    assert "The system abstained: more than half" in visitor.page(f"/results/{abstained.result_id}")
    assert "The AI abstained: more than half" in visitor.page("/")
    listed = {row["result_id"]: row["cautions"] for row in visitor.http.get("/api/results").json()["results"]}
    assert listed == {told.result_id: ["chart"], abstained.result_id: []}
