"""The trace of each event through a real Temporal server: an entity that outlives them all, bursts, waiting events, continue-as-new, replay."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from schemas import facts
from schemas.telemetry import traces
from schemas.telemetry.traces import FinishedSpan, TraceContext
from services.clients.temporal import data_converter
from tests.contract.temporal_server import KEY
from tests.integration.scripted import Script, tell, until, waits_for_review, working
from tests.integration.test_patient_entity import STUDY, about, observation, study_of, until_there
from tests.integration.test_study_lifecycle import available, called, final_report
from workflows.patient import policies
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow
from workflows.tracing import Tracing

pytestmark = pytest.mark.integration


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def spans() -> Iterator[list[FinishedSpan]]:
    recorded: list[FinishedSpan] = []
    traces.record_to(recorded.append)
    yield recorded
    traces.record_to(None)


async def told_in(client: Client, trace: TraceContext, *events: facts.PatientEvent) -> Any:
    """As the gateway tells it, inside the span of the event."""
    with traces.within(trace):
        return await tell(client, *events)


def new_trace() -> TraceContext:
    return TraceContext(uuid.uuid4().hex, os.urandom(8).hex())


def under(script: Script, step: str) -> list[str]:
    """The traces of the calls of a step."""
    return [context.trace_id if context else "none" for context in script.traces[step]]


async def test_every_event_of_one_patient_keeps_its_own_trace(
    script: Script, spans: list[FinishedSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst has the trace of its first event. In Temporal's sandbox, and replayed as it ran: with the same spans, none of them recorded again."""
    monkeypatch.setattr(policies, "BURST_WINDOW", timedelta(seconds=0.5))
    study, inr, sodium, final = (new_trace() for _ in range(4))
    async with working(script) as client:
        entity = await told_in(client, study, about(available("one")))
        await called(script, "create_inbox_entry")
        await until(study_of(client), waits_for_review)
        await told_in(client, inr, observation("inr"))
        await told_in(client, sodium, observation("sodium"))
        await called(script, "assess_history")
        await told_in(client, final, about(final_report()))
        await called(script, "close_result")
        await study_of(client).result()
        before = list(spans)
        for handle in (entity, study_of(client)):
            replayer = Replayer(
                workflows=[ReportStudyWorkflow, PatientWorkflow], data_converter=data_converter(KEY), interceptors=[Tracing()]
            )  # fmt: skip
            await replayer.replay_workflow(await handle.fetch_history())
    assert spans == before
    for step in ("gather_timeline", "ask_model", "write_result", "create_inbox_entry"):
        assert under(script, step) == [study.trace_id]
    assert under(script, "assess_history") == [inr.trace_id]
    assert under(script, "close_result") == [final.trace_id]
    events = {span.context.trace_id: span for span in spans if span.name == "study-event"}
    assert set(events) == {study.trace_id, inr.trace_id, final.trace_id}
    for span in spans:
        if span.name == "activity" and span.context.trace_id in events:
            assert span.parent == events[span.context.trace_id].context


async def test_an_event_that_waits_for_its_study_keeps_its_trace(script: Script, spans: list[FinishedSpan]) -> None:
    """A final report that names an accession number alone, hours before the images are announced."""
    report, study = new_trace(), new_trace()
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await told_in(client, report, about(final_report(), facts.StudyAddress(accession="issuer|A1")))
        await told_in(client, study, about(available("one")))
        await called(script, "skip_run")
        await study_of(client).result()
    assert under(script, "standing_result") == [report.trace_id]
    assert under(script, "skip_run") == [study.trace_id]
    told = [span.context.trace_id for span in spans if span.name == "tell-study"]
    assert told == [report.trace_id, study.trace_id]


async def test_an_event_keeps_its_trace_when_the_entity_begins_its_history_anew(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is carried over in the argument, its trace beside it in the header, without the event's id."""
    first: list[str] = []

    def full(info: workflow.Info) -> bool:
        first.append(info.run_id)
        return info.run_id == first[0]

    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", full)
    trace = new_trace()
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        entity = await told_in(client, trace, about(available("one")))
        await called(script, "create_inbox_entry")
        history = await client.get_workflow_handle(entity.id, run_id=first[0]).fetch_history()
    assert len(set(first)) > 1
    assert under(script, "create_inbox_entry") == [trace.trace_id]
    continued = history.events[-1].workflow_execution_continued_as_new_event_attributes
    header = continued.header.fields["longview-trace"].data if continued.new_execution_run_id else b""
    assert trace.trace_id.encode() in header
    assert about(available("one")).event.event_id.encode() not in header


async def test_a_step_that_fails_for_good_marks_its_event_with_the_code(
    script: Script, spans: list[FinishedSpan]
) -> None:
    """The attempts are spans of their own; the study's workflow has recorded the failure, and its event has ended well."""
    script.fails["take_inventory"] = [
        ApplicationError("away", type="archive-unavailable"),
        ApplicationError("not there", type="study-not-found", non_retryable=True),
    ]
    trace = new_trace()
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await told_in(client, trace, about(available("one"), STUDY))
        await called(script, "record_failure")
        await until_there(client)
    tried = [span for span in spans if span.fields.get("activity") == "take_inventory"]
    assert [(span.fields["attempt"], span.failed) for span in tried] == [
        (1, "archive-unavailable"),
        (2, "study-not-found"),
    ]
    assert under(script, "record_failure") == [trace.trace_id]


async def test_without_a_trace_nothing_is_made_up(script: Script) -> None:
    """Traces are off and the hospital sends none."""
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        entity = await tell(client, about(available("one")))
        await called(script, "create_inbox_entry")
        history = await entity.fetch_history()
    assert {under(script, step)[0] for step in script.calls} == {"none"}
    assert "longview-trace" not in str(history.events)
