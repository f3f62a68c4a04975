"""Whether a worker took two signals one by one or both at once does not change what a workflow starts.

A worker that dies between them leaves a history of which Temporal's core makes one thing live and another when it is replayed: a workflow that
began its timer anew with each signal then stands still for good, with `Timer fired event did not have expected timer id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from services.clients.temporal import data_converter
from tests.contract.temporal_server import KEY
from tests.integration.scripted import Script, announce, settled, tell, until, waits_for_review, working
from tests.integration.test_patient_entity import about, called, observation, order
from tests.integration.test_study_lifecycle import available
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration
Event = dict[str, Any]
Task = tuple[list[Event], list[Event], list[Event]]


@pytest.fixture
def script() -> Script:
    return Script()


async def test_observations_of_one_burst(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        entity = await tell(client, about(available("one")))
        await called(script, "create_inbox_entry")
        await settled(entity)
        for name in ("sodium", "inr", "platelets"):
            await tell(client, observation(name))
            await settled(entity)
        await tell(client, about(order("priority-changed")))
        await settled(entity)
        await replayed_together(entity, "event_available", 2)
        [asked] = script.calls["assess_history"]
        assert len(asked.observations) == 3


async def test_partial_announcements_of_one_study(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        for inventory in ("a third", "two thirds"):
            study = await announce(client, inventory, "partial")
            await settled(study)
        await announce(client, "one", "declared-complete")
        await until(study, waits_for_review)
        await replayed_together(study, "study_available", 1)


async def replayed_together(handle: WorkflowHandle[Any, Any], signal: str, times: int) -> None:
    """Today's code takes the same steps if a signal, `times` over, had come with the one before it in one task of the workflow."""
    recorded = json.loads((await handle.fetch_history()).to_json())["events"]
    tasks = tasks_of(recorded)
    assert sum(fused(tasks, signal)) == times
    replayer = Replayer(workflows=[ReportStudyWorkflow, PatientWorkflow], data_converter=data_converter(KEY))
    told = json.dumps({"events": numbered([event for task in tasks for part in task for event in part])})
    await replayer.replay_workflow(WorkflowHistory.from_json(handle.id, told))


def tasks_of(events: list[Event]) -> list[Task]:
    """What happened, the task (scheduled, started, completed) that handed it to the workflow, and what it asked for then."""
    tasks: list[Task] = []
    for event in events:
        if "workflowTaskCompletedEventId" in attributes(event):
            tasks[-1][2].append(event)
            continue
        if not tasks or (len(tasks[-1][1]) == 3):
            tasks.append(([], [], []))
        tasks[-1][1 if "WORKFLOW_TASK" in event["eventType"] else 0].append(event)
    return tasks


def fused(tasks: list[Task], signal: str) -> Iterator[bool]:
    """Put a task that was told nothing but this signal, and asked for nothing, together with the one before it."""
    for at in range(len(tasks) - 1, 0, -1):
        (told, task, asked), (more, later, nothing) = tasks[at - 1], tasks[at]
        if {name(event) for event in more} == {signal} == {name(event) for event in told[-1:]} and not nothing:
            tasks[at - 1 : at + 1] = [([*told, *more], task, asked)]
            for stays, gone in zip(task, later, strict=True):
                stays.setdefault("for", []).extend([gone["eventId"], *gone.pop("for", [])])
            yield True


def numbered(events: list[Event]) -> list[Event]:
    """From 1 on without a gap, what refers to an event too."""
    numbers: dict[str, str] = {}
    for number, event in enumerate(events, 1):
        numbers |= dict.fromkeys([event["eventId"], *event.pop("for", [])], str(number))
    for event in events:
        event["eventId"] = numbers[event["eventId"]]
        told = attributes(event)
        told |= {key: numbers[value] for key, value in told.items() if key.endswith("EventId") and value in numbers}
    return events


def attributes(event: Event) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventAttributes")), {})


def name(event: Event) -> str:
    return str(attributes(event).get("signalName", event["eventType"]))
