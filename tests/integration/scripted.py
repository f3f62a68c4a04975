"""The workflows on a real Temporal server with scripted activities: what they do when events and failures come at awkward moments."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, get_type_hints

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import activity
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from schemas import facts, lifecycle, oversight, runs
from schemas.report import Priority, RaisedPriority, ReviewAct
from schemas.telemetry import traces
from services.clients.temporal import data_converter
from tests.contract.temporal_server import KEY, own_namespace
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.activities import ReportStudyActivities
from workflows.report_study.lifecycle import LifecycleActivities
from workflows.report_study.records import RecordActivities
from workflows.report_study.unread import UnreadActivities
from workflows.report_study.workflow import ReportStudyWorkflow
from workflows.shadow.activities import ShadowActivities

QUEUE = "scripted"
PATIENCE = 60.0
LOOKS = 1200
"""As often as is looked, at `PAUSE` from one to the next, before it counts as never."""
PAUSE = 0.05
DIGEST = "a" * 64
PATIENT = "Patient/p"
FETCHED = runs.StudyFetched(volume=DIGEST, sop_instance_uids=DIGEST, inventory_digest="ni:///sha-256;x", slices=9)
TELLS = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED,
)
"""Events of a history that a workflow answers with its next task."""
Handle = WorkflowHandle[ReportStudyWorkflow, runs.StudyOutcome]


class Script:
    """Every activity, each counted; `fails` holds what a step raises, call by call, before it succeeds.

    What is written is remembered as FHIR would: which reading stands, and in which state, whatever workflow asks.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.traces: dict[str, list[traces.TraceContext | None]] = defaultdict(list)
        """The trace under which each call came."""
        self.fails: dict[str, list[ApplicationError]] = {}
        self.release = "release-1"
        self.read: set[tuple[str, str]] = set()
        """Instance sets, each with the release that has posted for it."""
        self.reviewed: set[str] = set()
        """Instance sets about whose result a human has decided."""
        self.stands: dict[str, lifecycle.StandingResult] = {}
        """The newest reading of each thread."""
        self.relevant: set[str] = set()
        """Observations that a rule names."""
        self.policies: dict[Priority, lifecycle.EscalationPolicy] = {}
        self.critical: RaisedPriority | None = None
        """What the site's list says of a reading."""
        self.hold = asyncio.Event()
        self.hold.set()
        self.held_at = ""
        self._called = asyncio.Event()

    async def until_called(self, step: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.calls[step]) < times:
                self._called.clear()
                await self._called.wait()

    def activities(self) -> list[Callable[..., Any]]:
        classes = (ReportStudyActivities, RecordActivities, LifecycleActivities, UnreadActivities)
        methods = [method for each in classes for method in each.__dict__.values()]
        methods.append(ShadowActivities.plan_shadow)
        return [self._activity(method) for method in methods if hasattr(method, "__temporal_activity_definition")]

    def _activity(self, method: Any) -> Callable[..., Any]:
        name, hints = method.__name__, get_type_hints(method)
        answer = getattr(self, f"_{name}", lambda args: None)

        async def step(args: Any) -> Any:
            self.calls[name].append(args)
            self.traces[name].append(traces.current())
            self._called.set()
            if self.held_at == name:
                await self.hold.wait()
            if self.fails.get(name):
                raise self.fails[name].pop(0)
            return answer(args)

        step.__annotations__ = {"args": hints["args"]}
        return activity.defn(name=name)(step)

    # -- a reading

    def _gather_timeline(self, args: runs.GatherTimeline) -> runs.TimelineGathered:
        return runs.TimelineGathered(timeline=DIGEST, entry_count=1, priority="routine")

    def _take_inventory(self, args: runs.TakeInventory) -> runs.InventoryTaken:
        digest = args.event.inventory_digest
        known = digest in self.reviewed or (digest, self.release) in self.read
        unchanged = "result-of-" + digest if known and not args.reread else None
        return runs.InventoryTaken(inventory_digest=digest, unchanged_result_id=unchanged)

    def _fetch_study(self, args: runs.FetchStudy) -> runs.StudyFetched:
        return FETCHED

    def _fetch_prior(self, args: runs.FetchPrior) -> runs.PriorFetched:
        return runs.PriorFetched(fetched=None, study=None, reason="no-prior")

    def _ask_model(self, args: runs.AskModel) -> runs.ModelAnswered:
        return runs.ModelAnswered(answer=DIGEST, request=DIGEST, started="s", ended="e")

    def _check_answer(self, args: runs.CheckAnswer) -> runs.ReadingChecked:
        return runs.ReadingChecked(reading=DIGEST, finding_count=1, dropped_count=0, critical=self.critical)

    def _integrate_history(self, args: runs.IntegrateHistory) -> runs.ReadingChecked:
        return args.checked

    def _build_result(self, args: runs.BuildResult) -> runs.ResultBuilt:
        """Another patient or order is another input, and so another result."""
        result = "result-of-" + args.event.inventory_digest
        if args.event.patient != PATIENT or args.event.service_request:
            result += f"-{args.event.patient}-{args.event.service_request}"
        return runs.ResultBuilt(result_id=result, thread_id=args.thread_id, bundle=DIGEST, supersedes=None)

    def _write_result(self, args: runs.ResultBuilt) -> runs.ResultWritten:
        self.read.add((args.result_id.removeprefix("result-of-"), self.release))
        report = f"DiagnosticReport/{args.result_id}/_history/1"
        more = {"task": "Task/1", "observations": [], "provenance": "Provenance/1", "created": 9}
        written = runs.ResultWritten(result_id=args.result_id, thread_id=args.thread_id, report=report, **more)
        self.stands[args.thread_id] = lifecycle.StandingResult(
            written=written, state="awaiting-review", raised=self.critical
        )
        return written

    def _write_review(self, args: runs.WriteReview) -> runs.ReviewWritten:
        act = args.act
        self._leave(args.thread_id, act.result_id, "reviewed")
        self.reviewed.add(act.result_id.removeprefix("result-of-"))
        return runs.ReviewWritten(
            act_id=act.act_id, result_id=act.result_id, outcome=act.outcome, report="R/2", provenance="P/2"
        )

    # -- after it

    def _plan_shadow(self, args: oversight.PlanShadow) -> oversight.ShadowPlan:
        return oversight.ShadowPlan(release_id=None)

    def _leave(self, thread_id: str, result_id: str, state: runs.RunState) -> bool:
        """Whether the reading was up until now."""
        stands = self.stands.get(thread_id)
        if stands is None or stands.written is None or stands.written.result_id != result_id:
            return False
        if stands.state != "awaiting-review":
            return False
        self.stands[thread_id] = stands.model_copy(update={"state": state})
        return True

    def _escalation_policy(self, args: runs.PolicyQuery) -> lifecycle.EscalationPolicy:
        return self.policies.get(args.priority, lifecycle.EscalationPolicy(name="none@v1", steps=[]))

    def _standing_result(self, args: lifecycle.StandingQuery) -> lifecycle.StandingResult:
        return self.stands.get(args.thread_id, lifecycle.StandingResult(written=None, state="running"))

    def _close_result(self, args: lifecycle.CloseResult) -> lifecycle.ResultClosed:
        changed = self._leave(args.thread_id, args.result_id, "superseded")
        return lifecycle.ResultClosed(result_id=args.result_id, changed=changed, report="R/2", provenance="P/2")

    def _notify_step(self, args: lifecycle.NotifyStep) -> lifecycle.StepNotified:
        return lifecycle.StepNotified(communication=f"Communication/{args.step.number}", task="Task/1")

    def _record_acknowledgement(self, args: lifecycle.RecordAcknowledgement) -> lifecycle.StepNotified:
        return lifecycle.StepNotified(communication="Communication/ack", task="Task/1")

    def _exhaust_escalation(self, args: lifecycle.EscalationExhausted) -> lifecycle.TaskChanged:
        return lifecycle.TaskChanged(task="Task/1")

    def _reprioritise(self, args: lifecycle.Reprioritise) -> lifecycle.TaskChanged:
        return lifecycle.TaskChanged(task="Task/1")

    def _assess_history(self, args: lifecycle.AssessHistory) -> lifecycle.HistoryAssessed:
        relevant = [observation for observation in args.observations if observation in self.relevant]
        return lifecycle.HistoryAssessed(table="rules@v1", relevant=relevant, rules=["a-rule"] * len(relevant))

    def _write_addendum(self, args: lifecycle.WriteAddendum) -> lifecycle.AddendumWritten:
        addendum = f"addendum-to-{args.result_id}"
        return lifecycle.AddendumWritten(
            addendum_id=addendum, report=f"DiagnosticReport/{addendum}/_history/1", task="Task/2"
        )


@asynccontextmanager
async def working(script: Script, runner: WorkflowRunner | None = None) -> AsyncIterator[Client]:
    """A client of a namespace of its own, in which a worker does what the script says."""
    place = await own_namespace()
    client = await place.client()
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[ReportStudyWorkflow, PatientWorkflow],
        activities=script.activities(),
        workflow_runner=runner or SandboxedWorkflowRunner(),
    ):
        yield client


async def announce(client: Client, inventory: str = "one", completeness: str = "quiescent", event: str = "") -> Handle:
    """Signal-with-start, as the gateway does it."""
    told = facts.StudyAvailable(
        event_id=event or str(uuid.uuid4()),
        study_instance_uid="1.2.3",
        patient=PATIENT,
        inventory_digest=inventory,
        completeness=completeness,  # type: ignore[arg-type]
        instance_count=9,
    )
    return await client.start_workflow(
        ReportStudyWorkflow.run,
        facts.ReportStudyInput(study_key="k", patient_key="p", thread_id="t"),
        id="study-k",
        task_queue=QUEUE,
        start_signal="study_available",
        start_signal_args=[told],
    )


async def tell(client: Client, *events: facts.PatientEvent, key: str = "p") -> WorkflowHandle[PatientWorkflow, None]:
    """Events of the bus to a patient's entity, as the gateway tells it."""
    for event in events:
        entity = await client.start_workflow(
            PatientWorkflow.run,
            facts.PatientInput(patient_key=key),
            id=f"patient-{key}",
            task_queue=QUEUE,
            start_signal="event_available",
            start_signal_args=[event],
        )
    return entity


async def until(handle: Handle, look: Callable[[runs.StudyProgress], bool]) -> runs.StudyProgress:
    for _ in range(LOOKS):
        progress = await handle.query(ReportStudyWorkflow.progress)
        if look(progress):
            return progress
        await asyncio.sleep(PAUSE)
    raise AssertionError(f"the workflow stayed {progress.state}")


async def settled(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Once a workflow has taken all that it was told so far: what it has asked for until then, step by step and other workflow by other workflow."""
    for _ in range(LOOKS):
        events = [event async for event in handle.fetch_history_events()]
        done = max(
            (e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED), default=0
        )
        if all(e.event_id < done for e in events if e.event_type in TELLS):
            return [_asked_for(event) for event in events if _asked_for(event)]
        await asyncio.sleep(PAUSE)
    raise AssertionError("the workflow has not taken what it was told")


def _asked_for(event: HistoryEvent) -> str:
    if event.HasField("activity_task_scheduled_event_attributes"):
        return event.activity_task_scheduled_event_attributes.activity_type.name
    if event.HasField("signal_external_workflow_execution_initiated_event_attributes"):
        return event.signal_external_workflow_execution_initiated_event_attributes.workflow_execution.workflow_id
    if event.HasField("start_child_workflow_execution_initiated_event_attributes"):
        return event.start_child_workflow_execution_initiated_event_attributes.workflow_id
    return ""


async def ran_ahead(handle: Handle) -> None:
    """The workflow's clock has arrived where `fast_forward` sends it."""
    for _ in range(LOOKS):
        async for event in handle.fetch_history_events():
            if event.workflow_execution_time_skipping_transitioned_event_attributes.disabled_after_fast_forward:
                return
        await asyncio.sleep(PAUSE)
    raise AssertionError("the workflow's clock did not run ahead")


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


@contextmanager
def refused(code: str) -> Iterator[None]:
    """The workflow refuses the update that is sent within, for this reason."""
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        yield
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == code


async def replayed(handle: Handle) -> None:
    """The history is replayed by today's code: a step that is not deterministic would be noticed."""
    replayer = Replayer(workflows=[ReportStudyWorkflow, PatientWorkflow], data_converter=data_converter(KEY))
    await replayer.replay_workflow(await handle.fetch_history())


async def fast_forward(client: Client, handle: WorkflowHandle[Any, Any], by: timedelta) -> None:
    """The workflow's own clock runs ahead by so much, timers and all, as soon as nothing of it is in flight (needs no waiting)."""
    config = TimeSkippingConfig(enabled=True, fast_forward_config=FastForwardConfig(id=str(uuid.uuid4())))
    config.fast_forward_config.duration.FromTimedelta(by)
    await client.workflow_service.update_workflow_execution_options(
        UpdateWorkflowExecutionOptionsRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            workflow_execution_options=WorkflowExecutionOptions(time_skipping_config=config),
            update_mask=FieldMask(paths=["time_skipping_config"]),
        )
    )
