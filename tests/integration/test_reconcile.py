"""Passes of reconciliation: what was lost is found again, what is in order is left alone, and nothing is done twice."""

from __future__ import annotations

import asyncio
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom.uid import generate_uid

from schemas import runs
from schemas.errors import TransientFailure
from schemas.facts import StudyAvailable
from schemas.identifiers import background_queue, canonical_json
from schemas.report import ReviewAct
from schemas.runs import BuildResult
from services import oversight
from services.clients.dicomweb import DicomWebArchive
from services.db import (
    InboxReader,
    OutboxRecords,
    RunRecords,
)
from services.settings import Settings
from services.worker.schedule import ensure_schedule
from tests.contract.written_bundles import (
    CANONICAL,
    ISSUED,
    NAMESPACE,
    act,
    context,
    reading,
    series,
)
from tests.integration.oversight_house import PASS, House, _volume
from tests.integration.oversight_house import archive_url as archive_url
from tests.integration.oversight_house import fhir_url as fhir_url
from tests.integration.oversight_house import house as house
from tests.integration.scripted import DIGEST, FETCHED, QUEUE, settled
from workflows.reconcile.workflow import ReconcileWorkflow
from workflows.report import build_result, build_review
from workflows.report_study.fhir_results import find_result, read_posted
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration


# -- studies -----------------------------------------------------------------------------------------------------------


async def test_a_study_whose_event_was_lost_is_read_and_is_announced_once(house: House) -> None:
    uid = house.scan("M0001")
    house.scan("M0001", days_ago=400)  # a prior of long ago is nobody's business
    async with house.working():
        outcome = await house.reconcile()
        assert ("study-without-result", "healed", "never-announced") in house.items()
        assert outcome.healed == 1
        handle = house.client.get_workflow_handle_for(ReportStudyWorkflow.run, f"study-{NAMESPACE.study_key(uid)}")
        await house.script.until_called("gather_timeline")
        [told] = [call.event for call in house.script.calls["gather_timeline"]]
        assert (told.patient, told.completeness, told.instance_count) == ("Patient/pat-1", "quiescent", 3)
        await house.reconcile()  # its run is not in our table, so it is announced again, under the same id
        assert (await settled(handle)).count("gather_timeline") == 1
        await handle.terminate()


def patient(number: str, **more: Any) -> dict[str, Any]:
    body = {"resourceType": "Patient", "identifier": [{"system": f"urn:{uuid.uuid4()}", "value": number}]} | more
    return {"resource": body, "request": {"method": "POST", "url": "Patient"}}


async def test_a_study_of_nobody_known_is_for_a_person_and_so_is_one_of_two(house: House) -> None:
    """A record that was merged into another is nobody; two hospitals that give one number to two people are a matter for a person."""
    merged = {"link": [{"other": {"reference": "Patient/pat-1"}, "type": "replaced-by"}]}
    people = [
        patient("TWIN-1"),
        patient("TWIN-1"),
        patient("MERGED-1", **merged),
        patient("ONE-1"),
        patient("ONE-1", **merged),
    ]
    house.fhir.transaction(canonical_json({"resourceType": "Bundle", "type": "transaction", "entry": people}))
    scans = {house.scan(number): number for number in ("NOBODY-7", "TWIN-1", "MERGED-1", "ONE-1")}
    house.archive = Only(house.archive, scans)  # type: ignore[assignment]
    kept = Kept()
    async with house.working(announcer=kept):
        outcome = await house.reconcile()
    assert (outcome.flagged, outcome.healed) == (3, 1)
    assert ("study-without-result", "flagged", "patient-unresolved") in house.items()
    assert [scans[event.study_instance_uid] for event in kept.told] == ["ONE-1"]
    house.archive = house.archive._real  # type: ignore[attr-defined]


class Only:
    """An archive of these studies alone."""

    def __init__(self, real: DicomWebArchive, studies: Any) -> None:
        self._real, self._studies = real, studies

    def list_studies(self, first: Any, last: Any) -> Any:
        return [s for s in self._real.list_studies(first, last) if s.study_instance_uid in self._studies]

    def find_study(self, uid: str) -> Any:
        return self._real.find_study(uid)


class Growing(Only):
    """An archive to which a slice arrives between two looks."""

    def find_study(self, uid: str) -> Any:
        found = super().find_study(uid)
        return found.model_copy(update={"sop_instance_uids": [*found.sop_instance_uids, generate_uid()]})


async def test_a_study_that_still_arrives_waits(house: House) -> None:
    house.archive = Growing(house.archive, {house.scan("M0001")})  # type: ignore[assignment]
    async with house.working():
        await house.reconcile()
        assert house.items() == {("study-without-result", "waiting", "still-arriving")}
        assert not house.script.calls["gather_timeline"]
    house.archive = house.archive._real  # type: ignore[attr-defined]


class Attended:
    """Every study's workflow is open, or none."""

    open = True

    def unattended(self, study_keys: Any) -> set[str]:
        return set() if self.open else set(study_keys)


class Away(Attended):
    """A Temporal frontend that takes no events."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def announce(self, event: StudyAvailable) -> None:
        self.asked.set()
        raise TransientFailure("temporal-unavailable")


class Kept(Attended):
    def __init__(self) -> None:
        self.told: list[StudyAvailable] = []

    def announce(self, event: StudyAvailable) -> None:
        self.told.append(event)


async def test_a_pass_whose_worker_dies_goes_on_with_the_next_worker(house: House) -> None:
    uid, kept, away = house.scan("M0001"), Kept(), Away()
    async with house.working(announcer=away):
        handle = await house.client.start_workflow(
            ReconcileWorkflow.run, PASS, id="the-pass", task_queue=background_queue(QUEUE)
        )
        assert await asyncio.to_thread(away.asked.wait, 60)
    async with house.working(announcer=kept):
        outcome = await handle.result()
    assert outcome.healed >= 1
    assert len(house.records.list_passes()) == 1
    assert uid in {event.study_instance_uid for event in kept.told}


async def test_with_healing_switched_off_everything_is_flagged(house: House) -> None:
    house.scan("M0001")
    kept = Kept()
    async with house.working(announcer=kept):
        outcome = await house.reconcile(PASS.model_copy(update={"heal": False}))
    assert outcome.flagged >= 1
    assert (outcome.healed, kept.told) == (0, [])


async def test_a_study_announced_in_vain_three_times_is_for_a_person(house: House) -> None:
    uid, kept = house.scan("M0001"), Kept()
    async with house.working(announcer=kept):
        for _ in range(3):
            await house.reconcile()
        ids = {event.event_id for event in kept.told if event.study_instance_uid == uid}
        assert len(ids) == 1
        await house.reconcile()
    assert ("study-without-result", "flagged", "announced-in-vain") in house.items()


# -- results -----------------------------------------------------------------------------------------------------------


def about(house: House, *made: Any) -> set[tuple[str, str, str]]:
    """Kind, state and code of the newest pass's items about these results."""
    newest, wanted = house.records.list_passes()[0], {m.result_id for m in made}
    return {(i.kind, i.state, i.code) for i in house.records.list_items(newest.pass_id) if i.key in wanted}


async def test_a_result_without_an_entry_gets_one_from_how_it_was_built(house: House) -> None:
    made, unknown, other = house.post(), house.post(), house.post()
    house.keep_build(made)
    house.keep_build(other, "phantom-0-of-last-year")
    async with house.working(announcer=Kept()):
        await house.reconcile()
    assert about(house, made) == {("result-without-entry", "healed", "entry-missing")}
    assert about(house, unknown) == {("result-without-entry", "flagged", "build-unknown")}
    assert about(house, other) == {("result-without-entry", "flagged", "release-changed")}
    [entry] = house.entered
    standing = find_result(house.fhir, CANONICAL, made.thread_id, made.result_id)
    assert standing is not None
    assert (entry.written.report, entry.priority, entry.built.result_id) == (
        standing.report,
        "urgent",
        made.result_id,
    )


async def test_a_worker_that_died_between_fhir_and_inbox_loses_nothing(house: House) -> None:
    """The study's own steps build and post; the entry is made by the pass alone, and a second pass has nothing to do."""
    steps, uid = house.steps(), f"1.2.826.{uuid.uuid4().int}"
    volume = _volume().model_copy(update={"series": series().model_copy(update={"study_instance_uid": uid})})
    timeline = context(house.fhir.patient_record("Patient/pat-1")).timeline
    event = StudyAvailable(
        event_id=str(uuid.uuid4()),
        study_instance_uid=uid,
        patient="Patient/pat-1",
        inventory_digest="x",
        completeness="quiescent",
        instance_count=4,
    )
    uids = house.store.put(canonical_json([uid]))
    answered = runs.ModelAnswered(answer=DIGEST, request=DIGEST, started="2026-11-24T08:00:00Z", ended=ISSUED)
    build = BuildResult(
        thread_id=NAMESPACE.thread_id(uid),
        issued=(datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds"),
        event=event,
        timeline=house.put(timeline),
        current=FETCHED.model_copy(update={"volume": house.put(volume), "sop_instance_uids": uids}),
        prior=runs.PriorFetched(fetched=None, study=None, reason="no-prior"),
        answered=answered,
        checked=runs.ReadingChecked(reading=house.put(reading()), finding_count=2, dropped_count=1),
        priority="urgent",
    )
    built = steps.build_result(build)
    written = steps.write_result(built)
    inbox = InboxReader(house.database)
    assert inbox.get(built.result_id) is None
    async with house.working(announcer=Kept(), entry=steps.create_inbox_entry):
        await house.reconcile()
        entry = inbox.get(built.result_id)
        assert entry is not None
        assert (entry.row.status, entry.result.report) == ("unread", written.report)
        assert [f.label for f in entry.result.reading.findings] == ["pulmonary-nodule", "pleural-effusion"]
        await house.reconcile()
        newest = house.records.list_passes()[0]
        assert built.result_id not in {item.key for item in house.records.list_items(newest.pass_id)}
    [run] = [r for r in RunRecords(house.database).list_runs() if r.result_id == built.result_id]
    assert run.state == "awaiting-review"


async def test_an_entry_whose_report_another_system_has_changed_or_that_is_gone(house: House) -> None:
    withdrawn, decided = house.post(), house.post()
    gone = replace(withdrawn, result_id=str(uuid.uuid4()), thread_id=str(uuid.uuid4()))
    for made in (withdrawn, decided, gone):
        house.enter(made)
    for made, status in ((withdrawn, "cancelled"), (decided, "preliminary")):
        [report] = house.fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), made.result_id)
        change = {
            "resource": report | {"status": status},
            "request": {"method": "PUT", "url": f"DiagnosticReport/{report['id']}"},
        }
        house.fhir.transaction(canonical_json({"resourceType": "Bundle", "type": "transaction", "entry": [change]}))
    async with house.working(announcer=Kept()):
        await house.reconcile(PASS)
        assert about(house, withdrawn) == {("entry-out-of-step", "healed", "withdrawn-in-fhir")}
        assert about(house, decided) == {("entry-out-of-step", "flagged", "decided-elsewhere")}
        assert about(house, gone) == {("entry-without-report", "flagged", "report-gone")}
        await house.reconcile(PASS)
    assert about(house, withdrawn) == set()  # brought in line


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
@pytest.mark.parametrize("acted", [True, False])
async def test_a_decision_whose_row_was_lost_is_taken_over_from_fhir(house: House, outcome: Any, acted: bool) -> None:
    """The database was restored from a backup that is older than the decision: it is not asked for twice."""
    made = house.post()
    house.enter(made)
    [report] = house.fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), made.result_id)
    posted = read_posted(house.fhir, CANONICAL, report)
    version = f"DiagnosticReport/{report['id']}/_history/{report['meta']['versionId']}"
    decision: ReviewAct = act(outcome, version, acted_upon=acted)
    house.fhir.transaction(canonical_json(build_review(NAMESPACE, posted, decision)))
    told = OutboxRecords(house.database).unpublished(500)
    async with house.working(announcer=Kept()):
        await house.reconcile(PASS)
        [(kind, state, _code)] = about(house, made)
        assert (kind, state) == ("entry-out-of-step", "healed")
        await house.reconcile(PASS)
    assert about(house, made) == set()
    entry = InboxReader(house.database).get(made.result_id)
    assert entry is not None
    assert entry.row.status == outcome
    assert OutboxRecords(house.database).unpublished(500) == told, "the bus was told when the decision was taken"


async def test_a_result_that_waits_for_a_human_without_a_workflow_is_taken_up_again(house: House) -> None:
    """Temporal was lost and began anew: whoever decides must find a workflow that takes the decision."""
    uid = house.scan("M0001")
    key = NAMESPACE.study_key(uid)
    house.enter(house.post(), key)
    kept = Kept()
    kept.open = False
    async with house.working(announcer=kept):
        await house.reconcile(PASS)
        assert uid in {event.study_instance_uid for event in kept.told}
        kept.open, kept.told = True, []
        await house.reconcile(PASS)
    assert uid not in {event.study_instance_uid for event in kept.told}


async def test_two_unread_results_of_one_study_become_one(house: House) -> None:
    older = house.post(issued=datetime.now(UTC) - timedelta(hours=2))
    newer = replace(older, result_id=str(uuid.uuid4()), issued=datetime.now(UTC).isoformat(timespec="milliseconds"))
    house.fhir.transaction(canonical_json(build_result(newer)))
    for made in (older, newer):
        house.enter(made)
    async with house.working(announcer=Kept()):
        await house.reconcile()
        assert about(house, older, newer) == {("thread-doubled", "healed", "unread-beside-newer")}
        await house.reconcile()
    assert about(house, older, newer) == set()
    statuses = {e.result_id: e.status for e in house.records.entries(datetime(2026, 1, 1, tzinfo=UTC), [])}
    assert (statuses[older.result_id], statuses[newer.result_id]) == ("superseded", "unread")


# -- the schedule --------------------------------------------------------------------------------------------------------


async def test_the_schedule_is_made_once_and_a_pause_outlives_a_restart(house: House) -> None:
    settings = Settings(task_queue=QUEUE, reconcile_minutes="30")
    await ensure_schedule(house.client, settings)
    handle = house.client.get_schedule_handle(oversight.SCHEDULE)
    await handle.pause()
    await ensure_schedule(house.client, replace(settings, reconcile_minutes="45"))
    seen = (await handle.describe()).schedule
    assert [i.every for i in seen.spec.intervals] == [timedelta(minutes=45)]
    assert seen.state.paused
    await ensure_schedule(house.client, replace(settings, reconcile_minutes="0"))
    await ensure_schedule(house.client, replace(settings, reconcile_minutes="0"))
    assert [s async for s in await house.client.list_schedules()] == []
