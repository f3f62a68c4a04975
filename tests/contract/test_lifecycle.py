"""The steps of a result's life against a FHIR server and a database: twice, late, and with a human deciding in between.

The same stories on the embedded server and, in the real tier, on HAPI.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.events import RESULT_AVAILABLE, RESULT_ESCALATED, RESULT_REVIEWED, validate
from schemas.identifiers import canonical_json, ni_from_hex
from schemas.inbox import InboxResult
from schemas.lifecycle import (
    AddendumWritten,
    AssessHistory,
    HistoryAssessed,
    Reprioritise,
    StandingQuery,
    WriteAddendum,
)
from schemas.report import AmendedFinding, InputManifest
from schemas.runs import RecordReview, ReviewWritten, WriteReview
from services.clients.fhir import FhirClient
from services.db import BuildRecords, Entry, InboxReader, InboxRecords, RunRecords, open_migrated
from services.db.models import Outbox
from services.store import FolderObjectStore
from tests import inbox_samples as samples
from tests.contract.written_bundles import (
    CANONICAL,
    FINAL_REPORT,
    NAMESPACE,
    ON_CALL_IN_FHIR,
    PNEUMOTHORAX,
    act,
    answered,
    chart,
    closing,
    context,
    given_up,
    raised_context,
    told,
)
from workflows.report import build_closing, build_result, build_review, supersede
from workflows.report.raised_task import order_of, raise_on
from workflows.report_study.assembly import Site
from workflows.report_study.fhir_results import find_result, read_posted
from workflows.report_study.lifecycle import LifecycleActivities
from workflows.report_study.records import RecordActivities
from workflows.timeline import build_timeline

SITE = Site(
    namespace=NAMESPACE,
    event_source="urn:longview:hospital-a:ai",
    organization="Organization/org-rad",
    review_role="PractitionerRole/radiologist-oncall",
    dicomweb_public_url="https://dicomweb.example.org",
    conclusion_codes=False,
    escalation={},
)


class Interrupted(FhirClient):
    """The server, with something that happens just before the next transactions."""

    meanwhile: list[Callable[[], object]]

    def transaction(self, bundle: bytes) -> list[str]:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return super().transaction(bundle)


@dataclass
class House:
    """One patient with one posted result in the inbox, and the steps."""

    patient: str
    fhir: Interrupted
    store: FolderObjectStore
    inbox: InboxRecords
    reader: InboxReader
    database: Any
    steps: LifecycleActivities
    reviews: RecordActivities
    result_id: str
    thread_id: str

    def run(self, step: Callable[[Any], Any], argument: Any) -> Any:
        return ActivityEnvironment().run(step, argument)

    def read(self, reference: str) -> dict[str, Any]:
        return dict(self.fhir.read(reference.split("/_history/")[0]))

    def posted(self, result_id: str = "") -> Any:
        [report] = self.fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), result_id or self.result_id)
        return read_posted(self.fhir, CANONICAL, report)

    def review(self, outcome: str = "accepted", result_id: str = "", **fields: Any) -> ReviewWritten:
        """A human decides, on what is on the screen now; through the same step as in production."""
        result_id = result_id or self.result_id
        written = find_result(self.fhir, CANONICAL, self.thread_id, result_id)
        assert written is not None
        decision = act(outcome, written.report, **fields).model_copy(update={"result_id": result_id})
        argument = WriteReview(study_key=samples.key("s"), thread_id=self.thread_id, act=decision, written=written)
        done: ReviewWritten = self.run(self.reviews.write_review, argument)
        self.run(self.reviews.record_review, RecordReview(review=argument, reviewed=done))
        return done

    def write(self, *resources: dict[str, Any]) -> None:
        """The hospital writes."""
        entries = [{"resource": r, "request": _put(r)} for r in resources]
        FhirClient.transaction(
            self.fhir, json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        with self.database.reading() as session:
            rows = [dict(row.event) for row in session.scalars(select(Outbox).order_by(Outbox.seq))]
        for row in rows:
            validate(row)
        return [row["data"] for row in rows if row["type"] == kind]

    def entry(self, result_id: str = "") -> Entry:
        found = self.reader.get(result_id or self.result_id)
        assert found is not None
        return found

    def lab(self, loinc: str, value: float = 80.0, **more: Any) -> str:
        name = f"lab-{uuid.uuid4().hex[:12]}"
        resource = {
            "resourceType": "Observation",
            "id": name,
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": loinc, "display": "lab"}]},
            "subject": {"reference": self.patient},
            "effectiveDateTime": "2026-11-23T09:50:00Z",
            "valueQuantity": {"value": value, "unit": "mg/L", "system": "http://unitsofmeasure.org", "code": "mg/L"},
        }
        self.write(resource | more)
        return f"Observation/{name}"

    def assess(self, *observations: str) -> HistoryAssessed:
        argument = AssessHistory(
            thread_id=self.thread_id, result_id=self.result_id, patient=self.patient, observations=list(observations)
        )
        assessed: HistoryAssessed = self.run(self.steps.assess_history, argument)
        return assessed

    def add(self, assessed: HistoryAssessed, issued: str = "2026-11-23T10:00:00.000+00:00") -> AddendumWritten:
        argument = WriteAddendum(
            study_key=samples.key("study", "s"),
            thread_id=self.thread_id,
            result_id=self.result_id,
            workflow_id="study-w",
            event_id=samples.key("event", issued),
            patient=self.patient,
            assessed=assessed,
            priority="urgent",
            issued=issued,
        )
        added: AddendumWritten = self.run(self.steps.write_addendum, argument)
        return added


def _put(resource: dict[str, Any]) -> dict[str, str]:
    return {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}


@pytest.fixture
def house(fhir_base_url: str, tmp_path: Path) -> Iterator[House]:
    yield from _opened(fhir_base_url, tmp_path)


@pytest.fixture
def raised_house(fhir_base_url: str, tmp_path: Path) -> Iterator[House]:
    """The order is routine; a probable pneumothorax has raised the result to STAT."""
    yield from _opened(fhir_base_url, tmp_path, raised=True)


def _opened(fhir_base_url: str, tmp_path: Path, *, raised: bool = False) -> Iterator[House]:
    """A patient of their own, so that no story meets another's resources; the study's thread is the result's own too."""
    fhir = Interrupted(fhir_base_url)
    fhir.meanwhile = []
    name = f"p{uuid.uuid4().hex[:10]}"
    text = json.dumps(chart()).replace("Patient/pat-1", f"Patient/{name}").replace('"id": "pat-1"', f'"id": "{name}"')
    for known in ("order-1", "ct-2026", "ct-2025", "copd", "creat-9"):
        text = text.replace(known, f"{known}-{name}")
    resources = json.loads(text)
    database = open_migrated(f"sqlite:///{tmp_path / 'longview.db'}")
    store = FolderObjectStore(tmp_path / "store")
    records, runs = InboxRecords(database), RunRecords(database)
    steps = LifecycleActivities(SITE, fhir=fhir, store=store, inbox=records)
    reviews = RecordActivities(SITE, fhir=fhir, runs=runs, inbox=records, builds=BuildRecords(database))
    fhir.transaction(
        json.dumps(
            {
                "resourceType": "Bundle",
                "type": "transaction",
                "entry": [{"resource": r, "request": _put(r)} for r in resources],
            }
        ).encode()
    )
    record = fhir.patient_record(f"Patient/{name}")
    made = House(f"Patient/{name}", fhir, store, records, InboxReader(database), database, steps, reviews, "", "")
    _post(made, record, runs, raised=raised)
    yield made
    fhir.close()
    database.close()


def _context(house: House, record: list[dict[str, Any]], extra: str = "") -> Any:
    """A result about this patient's chart, its manifest in the store as production keeps it."""
    base = context()
    uid = base.series.study_instance_uid
    own = build_timeline(house.patient, record, study_instance_uid=uid)
    manifest = InputManifest(sop_instance_uids=[extra], prior_sop_instance_uids=[], fhir=own.sources())
    ni = ni_from_hex(house.store.put(canonical_json(manifest.model_dump(mode="json"))))
    thread = NAMESPACE.key("thread", house.patient)
    return replace(
        base,
        timeline=own,
        prior=own.priors[0],
        thread_id=thread,
        manifest_ni=ni,
        result_id=NAMESPACE.result_id(thread, ni, "phantom-1-abc"),
    )


def _post(house: House, record: list[dict[str, Any]], runs: RunRecords, *, raised: bool) -> None:
    result = _context(house, record)
    rank: dict[str, Any] = {"priority": "urgent"}
    if raised:
        rank = {"priority": "stat", "order_priority": "routine", "raised": PNEUMOTHORAX}
        result = replace(result, reading=raised_context().reading, **rank)
    house.fhir.transaction(canonical_json(build_result(result)))
    house.result_id, house.thread_id = result.result_id, result.thread_id
    written = find_result(house.fhir, CANONICAL, result.thread_id, result.result_id)
    assert written is not None
    shown: InboxResult = samples.result(
        result_id=result.result_id,
        thread_id=result.thread_id,
        report=written.report,
        task=written.task,
        issued=result.issued,
        conclusion=house.read(written.report)["conclusion"],
        patient=samples.patient().model_copy(update={"resource": f"{house.patient}/_history/1"}),
        **rank,
    )
    runs.open_run("run-1", shown.study_key, shown.thread_id, "ni:///sha-256;aaaa", "release-1")
    house.inbox.add("run-1", shown, samples.available(shown))


def close(house: House, reason: Any, result_id: str = "", act_name: str = "act", final: str | None = None) -> Any:
    argument = closing(reason, result_id or house.result_id, act_name).model_copy(
        update={"thread_id": house.thread_id, "final_report": final}
    )
    return house.run(house.steps.close_result, argument)


def final_report(house: House, **changes: Any) -> str:
    name = f"ris-{uuid.uuid4().hex[:10]}"
    resource = FINAL_REPORT | {"id": name, "subject": {"reference": house.patient}} | changes
    house.write({k: v for k, v in resource.items() if k != "meta"})
    return f"DiagnosticReport/{name}"


def state(house: House) -> tuple[str, str]:
    standing = house.run(house.steps.standing_result, StandingQuery(thread_id=house.thread_id))
    return (standing.state, standing.written.result_id if standing.written else "")


# -- the result that stands ----------------------------------------------------------------------------------------------


def test_the_result_that_stands_is_found_in_fhir_alone(house: House) -> None:
    nobody = house.run(house.steps.standing_result, StandingQuery(thread_id=NAMESPACE.key("thread", "nobody")))
    assert (nobody.written, nobody.state) == (None, "running")
    assert state(house) == ("awaiting-review", house.result_id)
    house.review("rejected", reason_code="false-positive")
    assert state(house) == ("reviewed", house.result_id)


def test_a_closed_result_stands_no_longer_and_an_accepted_one_does(house: House) -> None:
    record = house.fhir.patient_record(house.patient)
    house.review()
    later = _context(house, record, extra="one more slice")
    house.fhir.transaction(canonical_json(build_result(later)))
    assert state(house) == ("awaiting-review", later.result_id)
    posted = house.posted(later.result_id)
    end = closing("order-cancelled", later.result_id)
    house.fhir.transaction(canonical_json(build_closing(NAMESPACE, posted, end, None)))
    assert state(house) == ("reviewed", house.result_id)


# -- closing ----------------------------------------------------------------------------------------------------------------


def test_the_radiologists_final_report_closes_an_unread_result_once(house: House) -> None:
    final = final_report(house)
    first = close(house, "superseded-by-final-report", final=final)
    again = close(house, "superseded-by-final-report", final=final)
    assert first == again
    assert first.changed
    posted = house.posted()
    assert {r["status"] for r in [posted.report, posted.task, *posted.observations]} == {"cancelled"}
    assert posted.report["meta"]["versionId"] == first.report.rsplit("/", 1)[1]
    [event] = house.events(RESULT_REVIEWED)
    assert (event["outcome"], event["finalReport"].split("/_history/")[0]) == ("superseded-by-final-report", final)
    row = house.entry().row
    assert (row.status, row.closed_reason) == ("superseded", "superseded-by-final-report")
    assert house.read(final)["status"] == "final"
    assert state(house) == ("superseded", house.result_id)


def test_a_final_report_after_an_acceptance_leaves_the_decision_and_says_that_it_came(house: House) -> None:
    house.review()
    before = house.posted()
    closed = close(house, "superseded-by-final-report", final=final_report(house))
    assert not closed.changed
    after = house.posted()
    assert [o["meta"]["versionId"] for o in after.observations] == [o["meta"]["versionId"] for o in before.observations]
    assert after.task == before.task
    assert (after.report["status"], after.report["conclusion"]) == ("preliminary", before.report["conclusion"])
    assert "superseded" in [t["code"] for t in after.report["meta"]["tag"]]
    assert [e["outcome"] for e in house.events(RESULT_REVIEWED)] == ["accepted", "superseded-by-final-report"]
    row = house.entry().row
    assert (row.status, row.closed_reason) == ("accepted", "superseded-by-final-report")
    corrected = close(
        house, "superseded-by-final-report", act_name="corrected", final=final_report(house, status="corrected")
    )
    assert (corrected.changed, corrected.provenance) == (False, "")
    assert house.posted().report["meta"]["versionId"] == after.report["meta"]["versionId"]


@pytest.mark.parametrize("reason", ["order-cancelled", "patient-unmerged"])
@pytest.mark.parametrize("outcome", [None, "accepted", "rejected"])
def test_an_order_or_merge_taken_back_withdraws_what_nobody_decided(
    house: House, reason: Any, outcome: str | None
) -> None:
    if outcome:
        house.review(outcome, reason_code="false-positive")
    before = house.posted()
    closed = close(house, reason)
    after = house.posted()
    if outcome:
        assert (closed.changed, after) == (False, before)
        assert [e["outcome"] for e in house.events(RESULT_REVIEWED)] == [outcome]
        assert house.entry().row.status == outcome
        return
    assert after.report["status"] == "cancelled"
    assert [e["outcome"] for e in house.events(RESULT_REVIEWED)] == ["withdrawn"]
    assert house.entry().row.status == "withdrawn"


def test_a_wrong_result_is_taken_back_from_whoever_accepted_it(house: House) -> None:
    house.review()
    closed = close(house, "result-wrong")
    assert close(house, "result-wrong") == closed
    posted = house.posted()
    assert (closed.changed, posted.report["status"]) == (True, "entered-in-error")
    recalls = house.fhir.find(
        "Communication", CANONICAL.sid("notification"), NAMESPACE.key("com", house.result_id, "recall")
    )
    assert [c["recipient"] for c in recalls] == [[ON_CALL_IN_FHIR]]
    entry = house.entry()
    assert (entry.row.status, entry.row.reviewer) == ("withdrawn", "Dr. On Call")
    assert state(house)[0] == "superseded"


def test_a_decision_that_comes_between_reading_and_writing_wins(house: House) -> None:
    house.fhir.meanwhile = [house.review]
    closed = close(house, "order-cancelled")
    assert not closed.changed
    assert house.posted().report["status"] == "preliminary"
    assert house.entry().row.status == "accepted"


def test_a_decision_that_comes_too_late_is_refused(house: House) -> None:
    shown = house.posted().report
    version = f"DiagnosticReport/{shown['id']}/_history/{shown['meta']['versionId']}"
    close(house, "order-cancelled")
    with pytest.raises(StaleWrite):
        build_review(NAMESPACE, house.posted(), act("accepted", version))


def test_what_fhir_took_before_the_power_went_is_told_to_the_inbox_by_the_next_attempt(house: House) -> None:
    final = final_report(house)

    def lost() -> None:
        raise TransientFailure("database-away", "")

    keep, house.inbox.close = house.inbox.close, lambda *_: lost()  # type: ignore[method-assign]
    with pytest.raises(TransientFailure):
        close(house, "superseded-by-final-report", final=final)
    house.inbox.close = keep  # type: ignore[method-assign]
    assert house.entry().row.status == "unread"
    assert close(house, "superseded-by-final-report", final=final).changed
    assert house.entry().row.status == "superseded"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "preliminary"}, "final-report-not-final"),
        ({"meta": {"security": [{"system": "x", "code": "AIAST"}]}}, "final-report-ours"),
        ({"subject": {"reference": "Patient/somebody-else"}}, "final-report-wrong-patient"),
    ],
)
def test_a_report_that_may_not_close_ours_closes_nothing(house: House, changes: dict[str, Any], code: str) -> None:
    name = f"ris-{uuid.uuid4().hex[:10]}"
    somebody = {"resourceType": "Patient", "id": "somebody-else"}
    house.write(somebody, {**FINAL_REPORT, "id": name, "subject": {"reference": house.patient}, "meta": {}} | changes)
    with pytest.raises(PermanentFailure) as caught:
        close(house, "superseded-by-final-report", final=f"DiagnosticReport/{name}")
    assert caught.value.code == code
    assert house.posted().unread
    with pytest.raises(PermanentFailure, match="final-report-missing"):
        close(house, "superseded-by-final-report")


def merged(house: House) -> str:
    """The hospital finds that this patient is another's record, and keeps that one."""
    survivor = {"resourceType": "Patient", "id": f"s{uuid.uuid4().hex[:10]}"}
    house.write(survivor)
    reference = f"Patient/{survivor['id']}"
    retired = house.read(house.patient)
    del retired["meta"]
    house.write(retired | {"active": False, "link": [{"type": "replaced-by", "other": {"reference": reference}}]})
    return reference


def test_after_a_merge_the_final_report_about_the_record_that_was_kept_closes_the_result(house: House) -> None:
    survivor = merged(house)
    final = final_report(house, subject={"reference": survivor})
    assert close(house, "superseded-by-final-report", final=final).changed
    assert house.posted().report["subject"] == {"reference": house.patient}


def test_after_a_merge_news_about_the_record_that_was_kept_concerns_the_result(house: House) -> None:
    survivor = merged(house)
    crp = house.lab("1988-5", subject={"reference": survivor})
    argument = AssessHistory(thread_id=house.thread_id, result_id=house.result_id, patient=survivor, observations=[crp])
    assert len(house.run(house.steps.assess_history, argument).relevant) == 1
    assert len(house.assess(crp).relevant) == 1, "announced under the retired name, before the bus told of the merge"


def test_news_of_another_patient_does_not_concern_the_result_in_either_name(house: House) -> None:
    stranger = {"resourceType": "Patient", "id": f"x{uuid.uuid4().hex[:10]}"}
    house.write(stranger)
    crp = house.lab("1988-5", subject={"reference": f"Patient/{stranger['id']}"})
    merged(house)
    assert house.assess(crp).relevant == []


# -- escalation -------------------------------------------------------------------------------------------------------------


def notify(house: House, number: int, **more: Any) -> Any:
    return house.run(
        house.steps.notify_step, told(number, house.result_id, **more).model_copy(update={"thread_id": house.thread_id})
    )


def acknowledge(house: House, step: int) -> Any:
    argument = answered(step, house.result_id).model_copy(update={"thread_id": house.thread_id})
    return house.run(house.steps.record_acknowledgement, argument)


def exhaust(house: House) -> Any:
    return house.run(
        house.steps.exhaust_escalation, given_up(house.result_id).model_copy(update={"thread_id": house.thread_id})
    )


def test_a_result_is_escalated_until_a_human_answers(house: House) -> None:
    first = notify(house, 1)
    assert notify(house, 1) == first
    assert house.events(RESULT_ESCALATED) == []
    second = notify(house, 2, medium="PHONE")
    assert notify(house, 2, medium="PHONE").communication == second.communication
    assert house.read(second.communication)["status"] == "in-progress"
    answer = acknowledge(house, 2)
    assert acknowledge(house, 2) == answer
    task = house.posted().task
    assert task["status"] == "in-progress"
    assert len(task["output"]) == 5
    assert house.read(answer.communication)["inResponseTo"] == [
        {"reference": second.communication.split("/_history/")[0]}
    ]
    assert house.read(second.communication)["status"] == "completed"
    asked, done = house.events(RESULT_ESCALATED)
    assert (asked["step"], asked["exhausted"]) == (2, False)
    assert done["acknowledgedAt"] == "2026-11-23T10:23:40.000+00:00"
    row = house.entry().row
    assert (row.escalation_step, row.acknowledged_by) == (2, "Dr. On Call")


def test_after_an_answer_or_a_decision_nobody_is_told_any_more(house: House) -> None:
    notify(house, 1)
    acknowledge(house, 1)
    late = notify(house, 2)
    assert (late.written, late.communication) == (False, "")
    assert not exhaust(house).changed
    house.review()
    assert not acknowledge(house, 2).written
    assert house.events(RESULT_ESCALATED) == []
    assert house.posted().task["status"] == "completed"


def test_a_decision_while_somebody_is_being_told_wins(house: House) -> None:
    house.fhir.meanwhile = [house.review]
    assert not notify(house, 2).written
    assert house.posted().task["businessStatus"]["coding"][0]["code"] == "accepted"
    communications = house.fhir.find_tagged("Communication", CANONICAL.sid("ai-result"), house.result_id)
    assert communications == []
    assert house.entry().row.escalation_step == 0


def test_an_answer_while_the_last_step_gives_up_is_not_lost(house: House) -> None:
    notify(house, 1)
    notify(house, 2)
    house.fhir.meanwhile = [lambda: acknowledge(house, 2)]
    assert not exhaust(house).changed
    assert house.posted().task["status"] == "in-progress"
    assert not house.entry().row.escalation_exhausted


def test_when_nobody_answers_that_is_published_and_a_human_may_still_decide(house: House) -> None:
    notify(house, 1)
    notify(house, 2)
    given = exhaust(house)
    assert exhaust(house) == given
    assert house.posted().task["status"] == "failed"
    assert [e["exhausted"] for e in house.events(RESULT_ESCALATED)] == [False, True]
    assert house.entry().row.escalation_exhausted
    house.review()
    assert house.posted().task["status"] == "completed"


def reorder(house: House, priority: Any) -> Any:
    """The order has another priority now."""
    argument = Reprioritise(
        study_key=samples.key("s"),
        thread_id=house.thread_id,
        result_id=house.result_id,
        priority=priority,
        at="2026-11-23T09:30:00.000+00:00",
    )
    return house.run(house.steps.reprioritise, argument)


def test_an_urgent_order_raises_an_unread_result_and_nothing_lowers_it(house: House) -> None:
    assert reorder(house, "stat").changed
    raised = house.posted().task
    assert raised["priority"] == "stat"
    assert not reorder(house, "routine").changed
    assert reorder(house, "stat").task == f"Task/{raised['id']}/_history/{raised['meta']['versionId']}"
    entry = house.entry()
    assert (entry.row.priority, entry.result.priority) == ("stat", "stat")


# -- raised by a critical finding ---------------------------------------------------------------------------------------------


def ranks(house: House) -> tuple[str, str, str | None]:
    """The priority that counts, in FHIR and in the inbox; the finding that holds it above its order, where FHIR and the inbox agree on it."""
    task, row = house.posted().task, house.entry().row
    raised = raise_on(CANONICAL, task)
    named = row.raised["finding"] if row.raised else None
    assert named == (raised.finding if raised else None)
    return task["priority"], row.priority, named


def test_a_raised_result_is_told_as_urgently_as_its_finding_asks_and_keeps_its_reason(raised_house: House) -> None:
    house = raised_house
    standing = house.run(house.steps.standing_result, StandingQuery(thread_id=house.thread_id))
    assert standing.raised == PNEUMOTHORAX
    notify(house, 1)
    notify(house, 2)
    task = house.posted().task
    assert raise_on(CANONICAL, task) == PNEUMOTHORAX
    assert order_of(CANONICAL, task) == "routine"
    assert [i["valueString"] for i in task["input"] if "valueString" in i] == ["radiology-urgent@v3", "radiology@v3"]
    assert ranks(house) == ("stat", "stat", "pneumothorax")


def test_whoever_rejects_it_gives_the_result_its_orders_priority_again(raised_house: House) -> None:
    house = raised_house
    notify(house, 1)
    house.review("rejected", reason_code="false-positive")
    assert ranks(house)[:2] == ("routine", "routine")
    task = house.posted().task
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("completed", "rejected")
    assert house.entry().result.raised is None
    assert order_of(CANONICAL, task) == "routine", "what was told stays on record"
    assert not notify(house, 2).written


def test_whoever_amends_the_finding_away_takes_the_urgency_back_too(raised_house: House) -> None:
    gone = AmendedFinding(label="pneumothorax", presence="not-detected", likelihood="absent")
    raised_house.review("amended", amendments=[gone])
    assert (raised_house.posted().task["priority"], raised_house.entry().row.priority) == ("routine", "routine")


def test_whoever_accepts_or_amends_something_else_keeps_it(raised_house: House) -> None:
    other = AmendedFinding(label="pleural-effusion", presence="detected", likelihood="definite")
    raised_house.review("amended", amendments=[other])
    assert ranks(raised_house) == ("stat", "stat", "pneumothorax")


def test_an_order_moves_below_the_finding_and_counts_once_it_is_as_urgent(raised_house: House) -> None:
    house = raised_house
    reorder(house, "urgent")
    assert ranks(house) == ("stat", "stat", "pneumothorax")
    assert (order_of(CANONICAL, house.posted().task), house.entry().row.order_priority) == ("urgent", "urgent")
    reorder(house, "routine")
    assert house.entry().row.order_priority == "urgent"
    reorder(house, "stat")
    assert ranks(house) == ("stat", "stat", None)
    house.review("rejected", reason_code="false-positive")
    assert ranks(house) == ("stat", "stat", None)


def test_an_addendum_to_a_raised_result_has_its_orders_priority(raised_house: House) -> None:
    added = raised_house.add(raised_house.assess(raised_house.lab("1988-5")))
    shown = raised_house.entry(added.addendum_id)
    assert (shown.row.priority, shown.row.order_priority, shown.row.raised) == ("urgent", None, None)
    _, second = raised_house.events(RESULT_AVAILABLE)
    assert second["resultId"] == added.addendum_id
    assert "raised" not in second


# -- addenda ----------------------------------------------------------------------------------------------------------------


def test_a_later_lab_that_concerns_a_finding_becomes_an_addendum_once(house: House) -> None:
    crp = house.lab("1988-5")
    assessed = house.assess(crp, house.lab("2160-0"))
    assert [r.split("/_history/")[0] for r in assessed.relevant] == [crp]
    assert assessed.rules == ["nodule-inflammation"]
    before = [house.posted().report, *house.posted().observations, house.posted().task]
    added = house.add(assessed)
    assert house.add(assessed) == added
    assert [house.posted().report, *house.posted().observations, house.posted().task] == before
    report = house.read(added.report)
    assert (report["status"], report["identifier"][1]["value"]) == ("partial", house.thread_id)
    assert "80" not in report["conclusion"]
    entry = house.entry(added.addendum_id)
    assert (entry.row.status, entry.row.adds_to) == ("unread", house.result_id)
    assert entry.row.headline == "Addendum: new results concern pulmonary nodule"
    assert entry.result.history[-1].value == "80.0"
    assert house.entry().addenda == [added.addendum_id]
    assert house.entry().newer_result_id is None
    assert len([e for e in house.events(RESULT_AVAILABLE) if e["resultId"] == added.addendum_id]) == 1
    assert state(house) == ("awaiting-review", house.result_id)
    assert house.assess(crp).relevant == [], "what an addendum has told is no news"


def test_what_the_reading_knew_is_no_news_but_its_correction_is(house: House) -> None:
    known = house.lab("1988-5")
    record = house.fhir.patient_record(house.patient)
    later = _context(house, record, extra="read after the lab")
    old = house.posted()
    house.fhir.transaction(canonical_json(supersede(CANONICAL, build_result(later), old, later.issued)))
    house.result_id = later.result_id
    assert house.assess(known).relevant == []
    resource = house.read(known)
    resource["valueQuantity"]["value"], resource["status"] = 8, "corrected"
    resource.pop("meta")
    house.write(resource)
    assert len(house.assess(known).relevant) == 1


def test_another_patients_a_withdrawn_and_an_ais_observation_are_left_out(house: House) -> None:
    house.write({"resourceType": "Patient", "id": "somebody-else"})
    others = [
        house.lab("1988-5", subject={"reference": "Patient/somebody-else"}),
        house.lab("1988-5", status="entered-in-error"),
        house.lab("1988-5", meta={"security": [{"system": "x", "code": "AIAST"}]}),
        "Observation/gone",
        house.patient,
    ]
    assert house.assess(*others).relevant == []


def test_news_about_a_rejected_result_is_not_added(house: House) -> None:
    assessed = house.assess(house.lab("1988-5"))
    house.review("rejected", reason_code="false-positive")
    assert house.assess(house.lab("1988-5")).relevant == []
    added = house.add(assessed)
    assert (added.written, added.report) == (False, "")


def test_an_addendum_after_acceptance_is_reviewed_on_its_own_and_closed_with_the_final_report(house: House) -> None:
    house.review()
    first = house.add(house.assess(house.lab("1988-5")))
    second = house.add(house.assess(house.lab("33959-8")), issued="2026-11-23T10:05:00.000+00:00")
    house.review("accepted", first.addendum_id)
    assert house.read(first.report)["status"] == "preliminary"
    assert state(house) == ("reviewed", house.result_id)
    close(house, "superseded-by-final-report", final=final_report(house))
    assert house.read(second.report)["status"] == "cancelled"
    assert house.read(first.report)["status"] == "preliminary"
    assert house.entry(second.addendum_id).row.status == "superseded"
    assert house.assess(house.lab("6690-2")).relevant == [], "the radiologist's report is the one that counts now"


def test_a_new_reading_takes_the_unread_addendum_with_it(house: House) -> None:
    added = house.add(house.assess(house.lab("1988-5")))
    later = _context(house, house.fhir.patient_record(house.patient), extra="one more slice")
    bundle = supersede(
        CANONICAL, build_result(later), house.posted(), "2026-11-23T10:10:00Z", [house.posted(added.addendum_id)]
    )
    house.fhir.transaction(canonical_json(bundle))
    assert house.read(added.report)["status"] == "cancelled"


# -- amending ---------------------------------------------------------------------------------------------------------------


def test_an_amendment_stands_once_and_the_report_is_never_final(house: House) -> None:
    changes = [AmendedFinding(label="pulmonary-nodule", presence="not-detected", text="vessel")]
    done = house.review("amended", amendments=changes)
    posted = house.posted()
    own = posted.observations[0]
    assert [label["code"] for label in own["meta"]["security"]] == ["CLINAST"]
    replaced = next(e for e in own["extension"] if e["url"].endswith("observation-replaces"))
    assert house.read(replaced["valueReference"]["reference"])["status"] == "cancelled"
    assert posted.report["status"] == "preliminary"
    assert house.read(done.report)["id"] == posted.report["id"]
    assert house.entry().row.status == "amended"
    assert [e["outcome"] for e in house.events(RESULT_REVIEWED)] == ["amended"]
    assert house.assess(house.lab("1988-5")).relevant == [], "the nodule is no finding any more"
