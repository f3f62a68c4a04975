"""The study's workflow on a real Temporal server, with scripted steps: what it does when events and failures come at awkward moments."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from schemas import runs
from schemas.report import ReviewAct
from services.clients.temporal import data_converter
from tests.contract.temporal_server import KEY, Server, patiently
from workflows.report_study import policies
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration
QUEUE = "scripted"
DIGEST = "a" * 64
FETCHED = runs.StudyFetched(volume=DIGEST, sop_instance_uids=DIGEST, inventory_digest="ni:///sha-256;x", slices=9)
Handle = WorkflowHandle[ReportStudyWorkflow, runs.StudyOutcome]


class Script:
    """The fourteen activities, each counted; `fails` holds what a step raises, call by call, before it succeeds."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.fails: dict[str, list[ApplicationError]] = {}
        self.read: set[str] = set()
        self.hold = asyncio.Event()
        self.hold.set()
        self.held_at = ""

    def activities(self) -> list[Callable[..., Any]]:
        answers: dict[str, tuple[type, Callable[[Any], Any]]] = {
            "gather_timeline": (
                runs.GatherTimeline,
                lambda _: runs.TimelineGathered(timeline=DIGEST, entry_count=1, priority="routine"),
            ),
            "take_inventory": (runs.TakeInventory, self._inventory),
            "fetch_study": (runs.FetchStudy, lambda _: FETCHED),
            "fetch_prior": (
                runs.FetchPrior,
                lambda _: runs.PriorFetched(fetched=None, study=None, reason="no-prior"),
            ),
            "ask_model": (
                runs.AskModel,
                lambda _: runs.ModelAnswered(answer=DIGEST, request=DIGEST, started="s", ended="e"),
            ),
            "check_answer": (
                runs.CheckAnswer,
                lambda _: runs.ReadingChecked(reading=DIGEST, finding_count=1, dropped_count=0),
            ),
            "integrate_history": (runs.IntegrateHistory, lambda args: args.checked),
            "build_result": (runs.BuildResult, self._built),
            "write_result": (runs.ResultBuilt, self._written),
            "create_inbox_entry": (runs.CreateInboxEntry, lambda _: None),
            "write_review": (runs.WriteReview, self._reviewed),
            "record_review": (runs.RecordReview, lambda _: None),
            "record_failure": (runs.RunFailure, lambda _: None),
            "close_run": (runs.CloseRun, lambda _: None),
        }
        return [self._activity(name, kind, answer) for name, (kind, answer) in answers.items()]

    def _activity(self, name: str, kind: type, answer: Callable[[Any], Any]) -> Callable[..., Any]:
        async def step(args: Any) -> Any:
            self.calls[name].append(args)
            if self.held_at == name:
                await self.hold.wait()
            if self.fails.get(name):
                raise self.fails[name].pop(0)
            return answer(args)

        step.__annotations__ = {"args": kind}
        return activity.defn(name=name)(step)

    def _inventory(self, args: runs.TakeInventory) -> runs.InventoryTaken:
        digest = args.event.inventory_digest
        unchanged = "result-of-" + digest if digest in self.read else None
        return runs.InventoryTaken(inventory_digest=digest, unchanged_result_id=unchanged)

    def _built(self, args: runs.BuildResult) -> runs.ResultBuilt:
        result = "result-of-" + args.event.inventory_digest
        return runs.ResultBuilt(result_id=result, thread_id=args.thread_id, bundle=DIGEST, supersedes=None)

    def _written(self, args: runs.ResultBuilt) -> runs.ResultWritten:
        self.read.add(args.result_id.removeprefix("result-of-"))
        report = f"DiagnosticReport/{args.result_id}/_history/1"
        more = {"task": "Task/1", "observations": [], "provenance": "Provenance/1", "created": 9}
        return runs.ResultWritten(result_id=args.result_id, thread_id=args.thread_id, report=report, **more)

    def _reviewed(self, args: runs.WriteReview) -> runs.ReviewWritten:
        act = args.act
        return runs.ReviewWritten(
            act_id=act.act_id, result_id=act.result_id, outcome=act.outcome, report="R/2", provenance="P/2"
        )


@asynccontextmanager
async def working(folder: Path, script: Script, runner: WorkflowRunner | None = None) -> AsyncIterator[Client]:
    server = Server(folder)
    async with server.running():
        client = await patiently(server.address)
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[ReportStudyWorkflow],
            activities=script.activities(),
            workflow_runner=runner or SandboxedWorkflowRunner(),
        ):
            yield client


async def announce(client: Client, inventory: str = "one", completeness: str = "quiescent", event: str = "") -> Handle:
    """Signal-with-start, as the gateway does it."""
    told = runs.StudyAvailable(
        event_id=event or str(uuid.uuid4()),
        study_instance_uid="1.2.3",
        patient="Patient/p",
        inventory_digest=inventory,
        completeness=completeness,  # type: ignore[arg-type]
        instance_count=9,
    )
    return await client.start_workflow(
        ReportStudyWorkflow.run,
        runs.ReportStudyInput(study_key="k", patient_key="p", thread_id="t"),
        id="study-k",
        task_queue=QUEUE,
        start_signal="study_available",
        start_signal_args=[told],
    )


async def until(handle: Handle, look: Callable[[runs.StudyProgress], bool]) -> runs.StudyProgress:
    for _ in range(300):
        progress = await handle.query(ReportStudyWorkflow.progress)
        if look(progress):
            return progress
        await asyncio.sleep(0.05)
    raise AssertionError(f"the workflow stayed {progress.state}")


def waits_for_review(progress: runs.StudyProgress) -> bool:
    return progress.state == "awaiting-review" and all(step.ended for step in progress.steps)


def act_on(inventory: str, outcome: str = "accepted") -> ReviewAct:
    return ReviewAct(
        act_id=str(uuid.uuid4()),
        result_id=f"result-of-{inventory}",
        outcome=outcome,  # type: ignore[arg-type]
        reviewer="Dr. R",
        at="2026-11-24T09:00:00Z",
        report_version=f"DiagnosticReport/result-of-{inventory}/_history/1",
    )


async def replayed(handle: Handle) -> None:
    """The history is replayed by today's code: a step that is not deterministic would be noticed."""
    replayer = Replayer(workflows=[ReportStudyWorkflow], data_converter=data_converter(KEY))
    await replayer.replay_workflow(await handle.fetch_history())


async def test_a_study_is_read_reviewed_and_done(tmp_path: Path) -> None:
    script = Script()
    async with working(tmp_path, script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        act = act_on("one")
        first = await handle.execute_update(ReportStudyWorkflow.review, act, id=act.act_id)
        assert (await handle.result()).state == "reviewed"
        assert first.outcome == "accepted"
        assert len(script.calls["write_review"]) == len(script.calls["record_review"]) == 1
        await replayed(handle)


async def test_a_partial_study_waits_and_a_complete_one_is_read(tmp_path: Path) -> None:
    script = Script()
    async with working(tmp_path, script) as client:
        await announce(client, "half", "partial")
        await asyncio.sleep(0.5)
        assert not script.calls
        handle = await announce(client, "whole", "declared-complete")
        assert (await until(handle, waits_for_review)).written is not None
        assert len(script.calls["ask_model"]) == 1
        await replayed(handle)


async def test_a_study_that_is_never_complete_is_a_failed_run_that_people_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "COMPLETENESS_PATIENCE", timedelta(seconds=1))
    script = Script()
    async with working(tmp_path, script, UnsandboxedWorkflowRunner()) as client:
        handle = await announce(client, "half", "partial")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        [failure] = script.calls["record_failure"]
        assert (failure.stage, failure.code) == ("ingest", "study-never-complete")


async def test_the_same_event_is_taken_once_and_an_unchanged_study_is_not_read_again(tmp_path: Path) -> None:
    script = Script()
    async with working(tmp_path, script) as client:
        for _ in range(3):
            handle = await announce(client, event="same")
        await until(handle, waits_for_review)
        assert len(script.calls["gather_timeline"]) == 1
        await announce(client, "one")
        await until(handle, lambda _: len(script.calls["close_run"]) == 1)
        assert len(script.calls["ask_model"]) == 1
        assert script.calls["close_run"][0].state == "unchanged"
        assert (await until(handle, waits_for_review)).written is not None


async def test_images_that_come_while_a_study_is_read_are_read_next(tmp_path: Path) -> None:
    script = Script()
    script.held_at = "ask_model"
    script.hold.clear()
    async with working(tmp_path, script) as client:
        handle = await announce(client, "one")
        await until(handle, lambda p: bool(script.calls["ask_model"]))
        await announce(client, "two")
        script.hold.set()
        await until(handle, lambda p: p.written is not None and p.written.result_id == "result-of-two")
        assert [call.built.result_id for call in script.calls["create_inbox_entry"]] == [
            "result-of-one",
            "result-of-two",
        ]
        await replayed(handle)


async def test_a_decision_during_a_second_reading_stands(tmp_path: Path) -> None:
    """The reviewer saw the first result; the second comes up for review by itself."""
    script = Script()
    async with working(tmp_path, script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        script.held_at = "ask_model"
        script.hold.clear()
        await announce(client, "two")
        await until(handle, lambda p: len(script.calls["ask_model"]) == 2)
        act = act_on("one", "rejected")
        await handle.execute_update(ReportStudyWorkflow.review, act, id=act.act_id)
        script.hold.set()
        await until(handle, lambda p: p.written is not None and p.written.result_id == "result-of-two")
        await until(handle, waits_for_review)
        await replayed(handle)


async def test_a_decision_about_what_is_no_longer_up_is_refused(tmp_path: Path) -> None:
    script = Script()
    async with working(tmp_path, script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(ReportStudyWorkflow.review, act_on("before"))
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "review-stale"
        assert not script.calls["write_review"]


async def test_the_chart_changes_between_building_and_posting(tmp_path: Path) -> None:
    script = Script()
    script.fails["write_result"] = [ApplicationError("x", type="result-stale", non_retryable=True)]
    async with working(tmp_path, script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        assert len(script.calls["build_result"]) == 2
        assert not script.calls["record_failure"]


async def test_a_failed_decision_is_told_and_can_be_taken_again(tmp_path: Path) -> None:
    script = Script()
    script.fails["write_review"] = [ApplicationError("x", type="fhir-refused", non_retryable=True)]
    async with working(tmp_path, script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "fhir-refused"
        assert (await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))).outcome == "accepted"


async def test_what_can_heal_is_tried_again_and_what_cannot_is_recorded_once(tmp_path: Path) -> None:
    script = Script()
    script.fails["ask_model"] = [ApplicationError("x", "away", 1, type="model-unavailable")]
    script.fails["check_answer"] = [
        ApplicationError("x", "not JSON", 1, type="model-output-invalid", non_retryable=True)
    ]
    async with working(tmp_path, script) as client:
        handle = await announce(client)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "model-output-invalid"
        assert len(script.calls["ask_model"]) == 2
        [failure] = script.calls["record_failure"]
        told = (failure.stage, failure.code, failure.hint, failure.retryable, failure.attempts)
        assert told == ("validate", "model-output-invalid", "not JSON", False, 1)
        again = await announce(client)
        await until(again, waits_for_review)


async def test_a_failed_second_reading_leaves_the_first_result_up(tmp_path: Path) -> None:
    script = Script()
    async with working(tmp_path, script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        script.fails["fetch_study"] = [ApplicationError("x", "gap", 1, type="geometry-gap", non_retryable=True)]
        await announce(client, "two")
        failed = await until(handle, lambda p: p.failure_code == "geometry-gap")
        assert failed.state == "awaiting-review"
        done = await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert done.outcome == "accepted"
