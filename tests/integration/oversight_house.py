"""One hospital for the tests of oversight: a real Temporal server, FHIR server, archive and database; models and the study's steps are scripted."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom.uid import generate_uid
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from schemas import facts, runs
from schemas.facts import StudyAvailable
from schemas.identifiers import background_queue, canonical_json, ni_digest
from schemas.imaging import StoredStack
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.model import Record
from schemas.oversight import KeptBuild, PassOutcome, ReconcileInput, ShownReading
from schemas.runs import BuildResult
from services.clients.announcer import TemporalAnnouncer
from services.clients.dicomweb import DicomWebArchive
from services.clients.fhir import FhirClient
from services.clients.temporal import data_converter
from services.db import (
    BuildRecords,
    Database,
    InboxRecords,
    ReconcileRecords,
    RunRecords,
    ShadowRecords,
    open_migrated,
)
from services.store import FolderObjectStore
from services.worker.background import run_background
from tests.contract.archives import embedded
from tests.contract.temporal_server import KEY, own_namespace
from tests.contract.written_bundles import (
    NAMESPACE,
    STUDY,
    TRAINED,
    context,
    reading,
    seed,
    series,
)
from tests.fhir_alone import fhir_alone
from tests.inbox_samples import available, result
from tests.integration.scripted import DIGEST, FETCHED, QUEUE, Script
from tests.unit.series_samples import file_of, noise, stack
from workflows.patient.workflow import PatientWorkflow
from workflows.reading.release import release_id
from workflows.reconcile.activities import ReconcileActivities
from workflows.reconcile.workflow import ReconcileWorkflow
from workflows.report import build_result
from workflows.report_study.activities import ReportStudyActivities
from workflows.report_study.assembly import Site
from workflows.report_study.workflow import ReportStudyWorkflow
from workflows.shadow.activities import ShadowActivities

PASS = ReconcileInput(window_days=3, grace_minutes=0, cap=50, trigger="now")
SITE = Site(NAMESPACE, "urn:longview:test:ai", "Radiology", "Duty radiologist", "http://pacs", False)
SHADOW = TRAINED.model_copy(update={"name": "phantom-2", "served_model_name": "phantom-2", "weights_sha256": "7b" * 32})


class NoMemory:
    def observations(self, patient_key: str) -> list[facts.ObservationAvailable]:
        return []


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
    with fhir_alone(tmp_path_factory.mktemp("fhir")) as url:
        yield url


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
        self.client: Client
        self.fhir.transaction(json.dumps(seed()).encode())

    @asynccontextmanager
    async def working(
        self, *workflows: type, announcer: Any = None, entry: Callable[..., Any] | None = None
    ) -> AsyncIterator[Client]:
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
        own = [step for step in self.script.activities() if _name(step) != "plan_shadow"]
        async with AsyncExitStack() as stack_:
            await stack_.enter_async_context(
                run_background(self.client, QUEUE, reconcile, shadow, entry or self.entry_step())
            )
            await stack_.enter_async_context(
                Worker(
                    self.client,
                    task_queue=QUEUE,
                    workflows=[ReportStudyWorkflow, PatientWorkflow, *workflows],
                    activities=[*own, _as_async(shadow.plan_shadow)],
                    workflow_runner=UnsandboxedWorkflowRunner(),
                )
            )
            yield self.client

    def put(self, record: Record) -> str:
        return self.store.put(canonical_json(record.model_dump(mode="json")))

    def steps(self) -> ReportStudyActivities:
        """The study's real steps, as far as they need neither pixels nor a model."""
        return ReportStudyActivities(
            SITE,
            fhir=self.fhir,
            archive=self.archive,
            model=self.shown,
            store=self.store,
            memory=NoMemory(),
            runs=RunRecords(self.database),
            inbox=InboxRecords(self.database),
            builds=BuildRecords(self.database),
            text_in_pixels=cast(Any, None),
        )

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

    def enter(self, made: Any, study_key: str = "k") -> None:
        """The entry of a result in the inbox."""
        told = result(result_id=made.result_id, thread_id=made.thread_id, issued=made.issued, study_key=study_key)
        RunRecords(self.database).open_run(f"run-{made.result_id}", study_key, made.thread_id, "x", "r")
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


def _volume() -> StoredStack:
    return StoredStack(
        series=series(), volume_digest=DIGEST, model_volume_digest=DIGEST, model_slices=[0, 1, 2, 3], reason="only"
    )


@pytest.fixture
async def house(tmp_path: Path, fhir_url: str, archive_url: str) -> AsyncIterator[House]:
    made = House(tmp_path, fhir_url, archive_url)
    made.client = await (await own_namespace()).client()
    yield made
    made.database.close()
    made.fhir.close()
    made.archive.close()
