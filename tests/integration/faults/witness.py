"""What can be seen from outside after the storm: histories of Temporal, topics of the bus, tables, FHIR. It judges nothing."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus

from schemas.events import INBOUND_TOPICS, dead_letter_topic
from schemas.facts import KnownStudy, ObservationAvailable, PatientEvent, ReportStudyInput, StudyEvent
from services.adapters import GATEWAY_GROUP, temporal
from services.settings import Settings
from workflows.patient.policies import BURST_WINDOW

STILL_SECONDS = BURST_WINDOW.total_seconds() + 1.5
"""Nothing may move for longer than a burst of observations waits."""
PARALLEL = 32
HARMLESS = {
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
}
"""A signal came while the workflow was about to close: Temporal asks it again, and that is how nothing is lost."""


@dataclass
class Deliveries:
    """What one workflow id was told over all its runs. `starts` are the inputs of those runs that did not go on from a run before."""

    signals: list[StudyEvent | PatientEvent] = field(default_factory=list)
    starts: list[list[StudyEvent]] = field(default_factory=list)
    in_order: list[str] = field(default_factory=list)
    """Event ids, as signals and starts come."""


@dataclass
class Histories:
    patients: dict[str, Deliveries] = field(default_factory=lambda: defaultdict(Deliveries))
    studies: dict[str, Deliveries] = field(default_factory=lambda: defaultdict(Deliveries))
    observations: dict[str, list[ObservationAvailable]] = field(default_factory=dict)
    known: dict[str, list[KnownStudy]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Workflow id -> the failure that its newest run ended with."""
    task_failures: list[tuple[str, str]] = field(default_factory=list)


def wait_until_still(settings: Settings, last_offset: dict[tuple[str, int], int], patience: float) -> float:
    """Until every record is committed, no activity and no workflow task is open and the outbox is empty, for a while; seconds that it took."""
    return asyncio.run(_wait_until_still(settings, last_offset, patience))


async def _wait_until_still(settings: Settings, last_offset: dict[tuple[str, int], int], patience: float) -> float:
    client, began, still_since, moving = await temporal(settings), time.monotonic(), None, ["nothing was looked at"]
    while time.monotonic() - began < patience:
        moving = [*_uncommitted(settings, last_offset), *await _busy(client)]
        if moving:
            still_since = None
        elif still_since is None:
            still_since = time.monotonic()
        elif time.monotonic() - still_since > STILL_SECONDS:
            return time.monotonic() - began
        await asyncio.sleep(1.0)
    raise AssertionError(f"after {patience:.0f} s this still moves: {moving[:10]}")


def _uncommitted(settings: Settings, last_offset: dict[tuple[str, int], int]) -> list[str]:
    """Partitions whose last record the gateway has not committed."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        partitions = [TopicPartition(*place) for place in last_offset]
        committed = admin.list_group_offsets({GATEWAY_GROUP: partitions})[GATEWAY_GROUP]
    finally:
        admin.close()
    return [
        f"{topic}/{partition}: {last - _offset(committed, topic, partition) + 1} records"
        for (topic, partition), last in last_offset.items()
        if _offset(committed, topic, partition) <= last
    ]


def _offset(committed: dict[TopicPartition, Any], topic: str, partition: int) -> int:
    found = committed.get(TopicPartition(topic, partition))
    return max(found.offset, 0) if found is not None else 0


async def _busy(client: Client) -> list[str]:
    """Open workflows with work of their own under way."""
    limit = asyncio.Semaphore(PARALLEL)

    async def look(workflow_id: str) -> str | None:
        async with limit:
            described = (await client.get_workflow_handle(workflow_id).describe()).raw_description
        activities = [activity.activity_type.name for activity in described.pending_activities]
        waits = described.HasField("pending_workflow_task")
        if not activities and not waits:
            return None
        return f"{workflow_id}: {activities or f'workflow task {described.pending_workflow_task.attempt}'}"

    running = [w.id async for w in client.list_workflows("ExecutionStatus='Running'")]
    return [busy for busy in await asyncio.gather(*map(look, running)) if busy]


def read_histories(settings: Settings) -> Histories:
    return asyncio.run(_read_histories(settings))


async def _read_histories(settings: Settings) -> Histories:
    client, found = await temporal(settings), Histories()
    runs = [w async for w in client.list_workflows() if w.workflow_type in ("PatientWorkflow", "ReportStudyWorkflow")]
    for run in sorted(runs, key=lambda w: w.start_time):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        of_patient = run.workflow_type == "PatientWorkflow"
        deliveries = (found.patients if of_patient else found.studies)[run.id]
        async for event in handle.fetch_history_events():
            await _note(client, event, deliveries, found, run.id, of_patient)
        if run.status is WorkflowExecutionStatus.RUNNING:
            found.open.add(run.id)
    for workflow_id in found.patients:
        handle = client.get_workflow_handle(workflow_id)
        found.observations[workflow_id] = await handle.query("observations", result_type=list[ObservationAvailable])
        found.known[workflow_id] = await handle.query("studies", result_type=list[KnownStudy])
    return found


async def _note(
    client: Client, event: HistoryEvent, to: Deliveries, found: Histories, workflow_id: str, of_patient: bool
) -> None:
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        found.failed.pop(workflow_id, None)
        started = event.workflow_execution_started_event_attributes
        if not of_patient and not started.continued_execution_run_id:
            given = await _decoded(client, started.input.payloads, ReportStudyInput)
            to.starts.append(given.pending)
            to.in_order += [each.event_id for each in given.pending]
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        signalled = event.workflow_execution_signaled_event_attributes
        if signalled.signal_name == "event_available":
            told = await _decoded(client, signalled.input.payloads, PatientEvent)
            to.signals.append(told)
            to.in_order.append(told.event.event_id)
        elif signalled.signal_name == "study_event":
            fact: StudyEvent = await _decoded(client, signalled.input.payloads, StudyEvent)
            to.signals.append(fact)
            to.in_order.append(fact.event_id)
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
        failed = event.workflow_task_failed_event_attributes
        if failed.cause not in HARMLESS:
            found.task_failures.append((workflow_id, WorkflowTaskFailedCause.Name(failed.cause)))
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
        failure = event.workflow_execution_failed_event_attributes.failure
        found.failed[workflow_id] = failure.application_failure_info.type or failure.message


async def _decoded(client: Client, payloads: Iterable[Payload], kind: Any) -> Any:
    [value] = await client.data_converter.decode(list(payloads), [kind])
    return value


def dead_letter_topics() -> list[str]:
    return [dead_letter_topic(topic) for topic in INBOUND_TOPICS]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def read_all(fhir_url: str, token: str, resource_type: str) -> list[dict[str, Any]]:
    """Every resource of a type, from the server itself."""
    headers = {"accept": "application/fhir+json"} | bearer(token)
    with httpx.Client(timeout=60.0, trust_env=False, headers=headers) as client:
        url: str | None = f"{fhir_url}/{resource_type}?_count=200"
        found: dict[str, dict[str, Any]] = {}
        while url:
            bundle = client.get(url).raise_for_status().json()
            found |= {entry["resource"]["id"]: entry["resource"] for entry in bundle.get("entry", [])}
            url = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)
        return list(found.values())
