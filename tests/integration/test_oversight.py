"""Passes of reconciliation and shadow readings on a real Temporal server, FHIR server and archive; the study's own steps are scripted."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from schemas import runs
from schemas.errors import PermanentFailure, TransientFailure
from schemas.identifiers import background_queue, canonical_json, ni_digest
from schemas.imaging import StoredVolume
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest, VolumeItem
from schemas.oversight import KeptBuild, PassOutcome, ReconcileInput, ShadowRead, ShownReading
from schemas.report import ReviewAct
from schemas.runs import BuildResult, StudyAvailable
from services import oversight
from services.clients.announcer import TemporalAnnouncer
from services.clients.dicomweb import DicomWebArchive
from services.clients.fhir import FhirClient
from services.clients.temporal import data_converter
from services.db import BuildRecords, Database, InboxRecords, ReconcileRecords, RunRecords, ShadowRecords, open_migrated
from services.parts.launcher import Launcher
from services.settings import Settings
from services.store import FolderObjectStore
from services.worker.background import run_background
from tests.contract.archives import embedded
from tests.contract.temporal_server import KEY, Server, patiently
from tests.contract.written_bundles import CANONICAL, NAMESPACE, STUDY, TRAINED, act, context, reading, seed, series
from tests.inbox_samples import available, result
from tests.integration.test_report_study import DIGEST, FETCHED, QUEUE, Script
from tests.unit.series_samples import file_of, noise, stack
from workflows.reading.prompt import build_request
from workflows.reading.release import release_id
from workflows.reconcile.activities import ReconcileActivities
from workflows.reconcile.workflow import ReconcileWorkflow
from workflows.report import build_result, build_review
from workflows.report_study.assembly import Site
from workflows.report_study.fhir_results import find_result, read_posted
from workflows.report_study.workflow import ReportStudyWorkflow
from workflows.shadow.activities import ShadowActivities
from workflows.shadow.workflow import ShadowReadWorkflow, shadow_workflow_id, start_shadow

pytestmark = pytest.mark.integration
PASS = ReconcileInput(window_days=3, grace_minutes=0, cap=50, trigger="now")
SITE = Site(
    NAMESPACE, "urn:longview:test:ai", "Radiology", "Duty radiologist", timedelta(hours=1), "http://pacs", False
)
SHADOW = TRAINED.model_copy(update={"name": "phantom-2", "served_model_name": "phantom-2", "weights_sha256": "7b" * 32})


class ScriptedModel:
    """Answers every question with what it was told, or fails."""

    def __init__(self, release: ModelRelease, findings: dict[str, Any] | None = None) -> None:
        self._release = release
        self._findings = findings or {}
        self.asked: list[ModelRequest] = []
        self.failure: Exception | None = None

    def release(self) -> ModelRelease:
        return self._release

    def ask(self, request: ModelRequest) -> ModelAnswer:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        text = json.dumps({"findings": self._findings})
        return ModelAnswer(
            text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, served_model_name="phantom-2"
        )


@pytest.fixture(scope="module")
def fhir_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    launcher = Launcher(Settings(state_dir=str(tmp_path_factory.mktemp("fhir"))))
    launcher.up(["fhir"])
    yield launcher.settings.fhir_url
    launcher.down()


@pytest.fixture(scope="module")
def archive_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded(tmp_path_factory.mktemp("archive") / "files") as url:
        yield url


class House:
    """All parts of one hospital; `working` serves its task queues."""

    def __init__(self, folder: Path, fhir_url: str, archive_url: str) -> None:
        self.fhir = FhirClient(fhir_url)
        self.archive = DicomWebArchive(archive_url)
        self.store = FolderObjectStore(folder / "store")
        self.database: Database = open_migrated(f"sqlite:///{folder / 'longview.db'}")
        self.records = ReconcileRecords(self.database)
        self.shadows = ShadowRecords(self.database)
        self.script = Script()
        self.entered: list[runs.CreateInboxEntry] = []
        self.shown, self.shadow = ScriptedModel(TRAINED), ScriptedModel(SHADOW)
        self.server = Server(folder)
        self.client: Client
        self.fhir.transaction(json.dumps(seed()).encode())

    @asynccontextmanager
    async def working(self, *workflows: type, announcer: Any = None) -> AsyncIterator[Client]:
        loop = asyncio.get_running_loop()
        reconcile = ReconcileActivities(
            SITE,
            fhir=self.fhir,
            archive=self.archive,
            model=self.shown,
            store=self.store,
            records=self.records,
            drift=self.shadows,
            announcer=announcer or TemporalAnnouncer(self.client, loop, NAMESPACE, QUEUE),
        )
        shadow = ShadowActivities(model=self.shadow, store=self.store, records=self.shadows)
        own = self.script.activities()
        async with AsyncExitStack() as stack_:
            await stack_.enter_async_context(run_background(self.client, QUEUE, reconcile, shadow, self.entry_step()))
            await stack_.enter_async_context(
                Worker(
                    self.client,
                    task_queue=QUEUE,
                    workflows=[ReportStudyWorkflow, *workflows],
                    activities=[*own, _as_async(shadow.plan_shadow)],
                    workflow_runner=UnsandboxedWorkflowRunner(),
                )
            )
            yield self.client

    def entry_step(self) -> Callable[..., Any]:
        """The step that makes an entry, in a thread, as it is in a worker."""

        def step(args: runs.CreateInboxEntry) -> None:
            self.entered.append(args)

        step.__annotations__ = {"args": runs.CreateInboxEntry}
        return activity.defn(name="create_inbox_entry")(step)

    async def reconcile(self, args: ReconcileInput = PASS) -> PassOutcome:
        handle = await self.client.start_workflow(
            ReconcileWorkflow.run, args, id=f"pass-{uuid.uuid4()}", task_queue=background_queue(QUEUE)
        )
        outcome = await handle.result()
        replayer = Replayer(workflows=[ReconcileWorkflow], data_converter=data_converter(KEY))
        await replayer.replay_workflow(await handle.fetch_history())
        return outcome

    def items(self) -> set[tuple[str, str, str]]:
        newest = self.records.list_passes()[0]
        return {(i.kind, i.state, i.code) for i in self.records.list_items(newest.pass_id)}

    def scan(self, patient: str, days_ago: int = 0, slices: int = 3) -> str:
        """A CT study of the day, stored in the archive; its StudyInstanceUID."""
        study, own = generate_uid(), generate_uid()
        day = (datetime.now(UTC) - timedelta(days=days_ago)).strftime("%Y%m%d")
        datasets = stack(
            noise(slices, 8, 8), PatientID=patient, StudyDate=day, StudyInstanceUID=study, SeriesInstanceUID=own
        )
        for dataset in datasets:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        self.archive.store([file_of(dataset) for dataset in datasets])
        return study

    def post(self, *, issued: datetime | None = None) -> Any:
        """A result of its own study in FHIR; issued an hour ago unless said otherwise."""
        uid = f"1.2.826.{uuid.uuid4().int}"
        thread = NAMESPACE.thread_id(uid)
        manifest = ni_digest(uid.encode())
        made = replace(
            context(self.fhir.patient_record("Patient/pat-1")),
            thread_id=thread,
            result_id=NAMESPACE.result_id(thread, manifest, release_id(TRAINED)),
            manifest_ni=manifest,
            issued=(issued or datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds"),
        )
        self.fhir.transaction(canonical_json(build_result(made)))
        return made

    def keep_build(self, made: Any, release: str = "") -> None:
        """How the result was built, as `build_result` keeps it."""
        volume = self.store.put(canonical_json(_volume().model_dump(mode="json")))
        read = self.store.put(canonical_json(reading().model_dump(mode="json")))
        event = StudyAvailable(
            event_id=str(uuid.uuid4()),
            study_instance_uid=STUDY,
            patient="Patient/pat-1",
            inventory_digest="x",
            completeness="quiescent",
            instance_count=4,
        )
        fetched = FETCHED.model_copy(update={"volume": volume})
        build = BuildResult(
            thread_id=made.thread_id,
            issued=made.issued,
            event=event,
            timeline=self.store.put(canonical_json(made.timeline.model_dump(mode="json"))),
            current=fetched,
            prior=runs.PriorFetched(fetched=None, study=None, reason="no-prior"),
            answered=runs.ModelAnswered(answer=DIGEST, request=DIGEST, started="s", ended="e"),
            checked=runs.ReadingChecked(reading=read, finding_count=2, dropped_count=1),
            priority="urgent",
        )
        built = runs.ResultBuilt(result_id=made.result_id, thread_id=made.thread_id, bundle=DIGEST, supersedes=None)
        release = release or release_id(TRAINED)
        kept = KeptBuild(study_key="study-k", release_id=release, build=build, built=built)
        BuildRecords(self.database).keep_build(
            ShownReading(
                result_id=made.result_id,
                study_key="study-k",
                thread_id=made.thread_id,
                release_id=release,
                build=self.store.put(canonical_json(kept.model_dump(mode="json"))),
                reading=reading(),
            )
        )

    def enter(self, made: Any) -> None:
        """The entry of a result in the inbox."""
        told = result(result_id=made.result_id, thread_id=made.thread_id, issued=made.issued)
        RunRecords(self.database).open_run(f"run-{made.result_id}", "k", made.thread_id, "x", "r")
        InboxRecords(self.database).add(f"run-{made.result_id}", told, available(told))


def _name(step: Callable[..., Any]) -> str:
    definition = activity._Definition.from_callable(step)
    assert definition is not None
    return definition.name or ""


def _as_async(method: Callable[[Any], Any]) -> Callable[..., Any]:
    """A step of threads on the event loop of a worker that has none."""
    kind = method.__annotations__["args"]

    async def step(args: Any) -> Any:
        return await asyncio.to_thread(method, args)

    from schemas import oversight as records

    step.__annotations__ = {"args": getattr(records, kind)}
    return activity.defn(name=method.__name__)(step)


def _volume() -> StoredVolume:
    return StoredVolume(
        series=series(), volume_digest=DIGEST, model_volume_digest=DIGEST, model_slices=[0, 1, 2, 3], reason="only"
    )


@pytest.fixture
async def house(tmp_path: Path, fhir_url: str, archive_url: str) -> AsyncIterator[House]:
    made = House(tmp_path, fhir_url, archive_url)
    async with made.server.running():
        made.client = await patiently(made.server.address)
        yield made
    made.database.close()
    made.fhir.close()
    made.archive.close()


# -- studies -----------------------------------------------------------------------------------------------------------


async def test_a_study_whose_event_was_lost_is_read_and_is_announced_once(house: House) -> None:
    uid = house.scan("M0001")
    house.scan("M0001", days_ago=400)  # a prior of long ago is nobody's business
    async with house.working():
        outcome = await house.reconcile()
        assert ("study-without-result", "healed", "never-announced") in house.items()
        assert outcome.healed == 1
        handle = house.client.get_workflow_handle_for(ReportStudyWorkflow.run, f"study-{NAMESPACE.study_key(uid)}")
        for _ in range(100):
            if house.script.calls["create_inbox_entry"]:
                break
            await asyncio.sleep(0.05)
        [told] = [call.event for call in house.script.calls["gather_timeline"]]
        assert (told.patient, told.completeness, told.instance_count) == ("Patient/pat-1", "quiescent", 3)
        await house.reconcile()  # its run is not in our table, so it is announced again, under the same id
        await asyncio.sleep(0.5)
        assert len(house.script.calls["gather_timeline"]) == 1
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


class Away:
    """A Temporal frontend that takes no events."""

    def announce(self, event: StudyAvailable) -> None:
        raise TransientFailure("temporal-unavailable")


class Kept:
    def __init__(self) -> None:
        self.told: list[StudyAvailable] = []

    def announce(self, event: StudyAvailable) -> None:
        self.told.append(event)


async def test_a_pass_whose_worker_dies_goes_on_with_the_next_worker(house: House) -> None:
    uid, kept = house.scan("M0001"), Kept()
    async with house.working(announcer=Away()):
        handle = await house.client.start_workflow(
            ReconcileWorkflow.run, PASS, id="the-pass", task_queue=background_queue(QUEUE)
        )
        await asyncio.sleep(2)
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


async def test_an_entry_whose_report_was_withdrawn_or_is_gone(house: House) -> None:
    withdrawn, decided = house.post(), house.post()
    gone = replace(withdrawn, result_id=str(uuid.uuid4()), thread_id=str(uuid.uuid4()))
    for made in (withdrawn, decided, gone):
        house.enter(made)
    for made, outcome, acted in ((withdrawn, "rejected", True), (decided, "accepted", False)):
        [report] = house.fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), made.result_id)
        posted = read_posted(house.fhir, CANONICAL, report)
        version = f"DiagnosticReport/{report['id']}/_history/{report['meta']['versionId']}"
        decision: ReviewAct = act(outcome, version, acted_upon=acted)
        house.fhir.transaction(canonical_json(build_review(NAMESPACE, posted, decision)))
    async with house.working(announcer=Kept()):
        await house.reconcile(PASS)
        assert about(house, withdrawn) == {("entry-out-of-step", "healed", "withdrawn-in-fhir")}
        assert about(house, decided) == {("entry-out-of-step", "flagged", "decided-elsewhere")}
        assert about(house, gone) == {("entry-without-report", "flagged", "report-gone")}
        await house.reconcile(PASS)
    assert about(house, withdrawn) == set()  # brought in line


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
    await oversight.ensure_schedule(house.client, settings)
    handle = house.client.get_schedule_handle(oversight.SCHEDULE)
    await handle.pause()
    await oversight.ensure_schedule(house.client, replace(settings, reconcile_minutes="45"))
    seen = (await handle.describe()).schedule
    assert [i.every for i in seen.spec.intervals] == [timedelta(minutes=45)]
    assert seen.state.paused
    await oversight.ensure_schedule(house.client, replace(settings, reconcile_minutes="0"))
    await oversight.ensure_schedule(house.client, replace(settings, reconcile_minutes="0"))
    assert [s async for s in await house.client.list_schedules()] == []


# -- shadow readings -----------------------------------------------------------------------------------------------------

ANSWER = {
    "pulmonary-nodule": {
        "presence": "detected",
        "likelihood": "possible",
        "side": "left",
        "change": "not-compared",
        "location": {"slice": 3, "box_2d": [360, 590, 420, 650], "long_axis_mm": 14},
    },
    "pleural-effusion": {
        "presence": "detected",
        "likelihood": "possible",
        "side": "not-applicable",
        "change": "not-compared",
        "location": {"slice": 1, "box_2d": [0, 0, 10, 10], "long_axis_mm": 2},
    },
}


@workflow.defn
class ParentWorkflow:
    """Stands for the study's workflow after its result was posted."""

    @workflow.run
    async def run(self, result: BuildResult) -> str:
        await start_shadow("study-k", "result-1", result)
        return "the result stands"


def shown_result(house: House) -> BuildResult:
    request = build_request(
        "CT",
        [("pulmonary-nodule", "Pulmonary nodule"), ("pleural-effusion", "Pleural effusion")],
        [VolumeItem(digest=DIGEST, slices=4, role="current")],
        "stat",
    )
    made = context()
    house.keep_build(made)
    kept = KeptBuild.model_validate_json(house.store.get(house.records.build_of(made.result_id) or ""))
    asked = kept.build.answered.model_copy(
        update={"request": house.store.put(canonical_json(request.model_dump(mode="json")))}
    )
    return kept.build.model_copy(update={"answered": asked})


async def shadow_outcome(house: House) -> Any:
    id = shadow_workflow_id("study-k", release_id(SHADOW))
    handle = house.client.get_workflow_handle_for(ShadowReadWorkflow.run, id)
    outcome = await handle.result()
    replayer = Replayer(workflows=[ShadowReadWorkflow], data_converter=data_converter(KEY))
    await replayer.replay_workflow(await handle.fetch_history())
    return outcome


async def test_a_second_release_reads_along_and_nobody_sees_it(house: House) -> None:
    house.shadow = ScriptedModel(SHADOW, ANSWER)
    shown = shown_result(house)
    before = len(house.fhir.find_tagged("DiagnosticReport", CANONICAL.sid("ai-result"), "result-1"))
    async with house.working(ParentWorkflow):
        for n in range(2):  # the second time it was asked already
            told = await house.client.execute_workflow(ParentWorkflow.run, shown, id=f"parent-{n}", task_queue=QUEUE)
            assert told == "the result stands"
            assert (await shadow_outcome(house)).state == "read"
    [asked] = house.shadow.asked
    original = ModelRequest.model_validate_json(house.store.get(shown.answered.request))
    assert asked.model_copy(update={"priority": 0}) == original  # STAT has 0 in vLLM
    assert asked.priority == 1000
    with house.database.reading() as session:
        from sqlalchemy import select

        from services.db.oversight_models import ShadowReading

        rows = {r.label: r for r in session.scalars(select(ShadowReading))}
    nodule = rows["pulmonary-nodule"]
    assert (nodule.shown_presence, nodule.shadow_presence, nodule.slices_apart) == ("detected", "detected", 0)
    assert 0 < nodule.intersection <= min(nodule.area_shown, nodule.area_shadow)
    effusion = rows["pleural-effusion"]
    assert (effusion.shown_presence, effusion.shadow_presence) == ("not-detected", "detected")
    assert (rows["consolidation"].shown_dropped, rows["consolidation"].shadow_presence) == ("laterality-conflict", None)
    assert len(house.fhir.find_tagged("DiagnosticReport", CANONICAL.sid("ai-result"), "result-1")) == before
    assert not house.entered


async def test_a_shadow_that_fails_is_a_row_and_touches_nothing(house: House) -> None:
    house.shadow.failure = PermanentFailure("model-refused")
    async with house.working(ParentWorkflow):
        told = await house.client.execute_workflow(
            ParentWorkflow.run, shown_result(house), id="parent", task_queue=QUEUE
        )
        assert told == "the result stands"
        assert (await shadow_outcome(house)).code == "model-refused"
    assert house.shadows.was_read("result-1", release_id(SHADOW))


async def test_another_release_than_planned_is_not_asked(house: House) -> None:
    planned = ShadowRead(
        study_key="k", result_id="r", release_id="phantom-9-x", request=DIGEST, volume=DIGEST, shown=DIGEST
    )
    async with house.working():
        outcome = await house.client.execute_workflow(
            ShadowReadWorkflow.run, planned, id="shadow-k", task_queue=background_queue(QUEUE)
        )
    assert (outcome.state, outcome.code) == ("failed", "shadow-release-changed")
    assert not house.shadow.asked


async def test_a_worker_that_knows_no_shadow_costs_the_result_nothing(house: House) -> None:
    shown = shown_result(house)
    async with Worker(
        house.client, task_queue=QUEUE, workflows=[ParentWorkflow], workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[next(s for s in house.script.activities() if _name(s) == "close_run")],
    ):  # fmt: skip
        told = await house.client.execute_workflow(ParentWorkflow.run, shown, id="alone", task_queue=QUEUE)
    assert told == "the result stands"
