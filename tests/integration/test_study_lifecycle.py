"""What becomes of a result after it was posted, on a real Temporal server whose clock runs ahead: escalation, closing, addenda, corrections."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from schemas import facts
from schemas.lifecycle import AcknowledgeAct, EscalationPolicy, EscalationStep
from schemas.report import Priority, RaisedPriority
from tests.integration.scripted import (
    PATIENT,
    Handle,
    Script,
    act_on,
    announce,
    fast_forward,
    ran_ahead,
    refused,
    replayed,
    settled,
    until,
    waits_for_review,
    working,
)
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration

TWO_STEPS = EscalationPolicy(
    name="acknowledge@v1",
    steps=[
        EscalationStep(number=1, recipient="Duty radiologist", medium="APPWRIT", wait_minutes=60),
        EscalationStep(number=2, recipient="Radiology lead", medium="APPWRIT", wait_minutes=30),
    ],
)
ORDER = "ServiceRequest/order-1"


def escalating() -> Script:
    script = Script()
    script.policies["routine"] = TWO_STEPS
    return script


def acknowledged(result_id: str = "result-of-one") -> AcknowledgeAct:
    return AcknowledgeAct(
        act_id=str(uuid.uuid4()),
        result_id=result_id,
        by="Dr. R",
        read_back="patient-study-finding",
        at="2026-11-24T09:00:00Z",
    )


def order(change: str, priority: str = "routine", reference: str = ORDER) -> facts.OrderChanged:
    return facts.OrderChanged(
        event_id=str(uuid.uuid4()),
        service_request=reference,
        patient=PATIENT,
        change=change,  # type: ignore[arg-type]
        priority=priority,  # type: ignore[arg-type]
    )


def final_report() -> facts.ReportFinalised:
    return facts.ReportFinalised(
        event_id=str(uuid.uuid4()), diagnostic_report="DiagnosticReport/ris-1", patient=PATIENT
    )


def lab(*references: str) -> facts.HistoryChanged:
    return facts.HistoryChanged(event_id=str(uuid.uuid4()), patient=PATIENT, observations=list(references))


async def told(handle: Handle, event: facts.StudyEvent) -> None:
    await handle.signal(ReportStudyWorkflow.study_event, event)


async def begun_with(client: Client, *events: facts.StudyEvent) -> Handle:
    """A run that the patient's entity starts."""
    return await client.start_workflow(
        ReportStudyWorkflow.run,
        facts.ReportStudyInput(
            study_key="k", patient_key="p", thread_id="t", study_instance_uid="1.2.3", pending=list(events)
        ),
        id="study-k",
        task_queue="scripted",
    )


@asynccontextmanager
async def read(script: Script) -> AsyncIterator[tuple[Client, Handle]]:
    """A study whose result waits for a human."""
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        yield client, handle


async def called(script: Script, step: str, times: int = 1) -> None:
    await script.until_called(step, times)


# -- escalation -------------------------------------------------------------------------------------------------------


async def test_an_unread_result_goes_up_step_by_step_until_nobody_is_left() -> None:
    script = escalating()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "notify_step")
        await fast_forward(client, handle, timedelta(minutes=61))
        await called(script, "notify_step", 2)
        await fast_forward(client, handle, timedelta(minutes=31))
        await called(script, "exhaust_escalation")
        steps = script.calls["notify_step"]
        assert [notice.step.recipient for notice in steps] == ["Duty radiologist", "Radiology lead"]
        assert steps[0].due_at < steps[1].at
        assert (await handle.query(ReportStudyWorkflow.progress)).state == "awaiting-review"
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert (await handle.result()).state == "reviewed"
        await replayed(handle)


async def test_an_acknowledgement_stops_the_clock_and_the_decision_comes_later() -> None:
    script = escalating()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "notify_step")
        await until(handle, waits_for_review)
        await handle.execute_update(ReportStudyWorkflow.acknowledge, acknowledged())
        await fast_forward(client, handle, timedelta(days=2))
        await ran_ahead(handle)
        assert (await settled(handle)).count("notify_step") == len(script.calls["notify_step"]) == 1
        [answer] = script.calls["record_acknowledgement"]
        assert (answer.step, answer.policy) == (1, "acknowledge@v1")
        assert answer.available_at < answer.deadline
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert not script.calls["exhaust_escalation"]
        await handle.result()
        await replayed(handle)


async def test_a_decision_stops_the_clock_too() -> None:
    script = escalating()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "notify_step")
        await until(handle, waits_for_review)
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one", "rejected"))
        assert (await handle.result()).state == "reviewed"
        assert len(script.calls["notify_step"]) == 1
        await replayed(handle)


async def test_of_a_superseded_result_nobody_is_told_any_more() -> None:
    script = escalating()
    async with working(script) as client:
        handle = await announce(client, "one")
        await called(script, "notify_step")
        await until(handle, waits_for_review)
        await announce(client, "two")
        await called(script, "notify_step", 2)
        await fast_forward(client, handle, timedelta(minutes=61))
        await called(script, "notify_step", 3)
        told_of = [notice.result_id for notice in script.calls["notify_step"]]
        assert told_of == ["result-of-one", "result-of-two", "result-of-two"]
        with refused("acknowledgement-stale"):
            await handle.execute_update(ReportStudyWorkflow.acknowledge, acknowledged("result-of-one"))


async def test_a_notice_that_cannot_be_written_does_not_silence_the_next_one() -> None:
    script = escalating()
    script.fails["notify_step"] = [ApplicationError("x", type="fhir-refused", non_retryable=True)]
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "notify_step")
        await fast_forward(client, handle, timedelta(minutes=61))
        await called(script, "notify_step", 2)
        assert script.calls["notify_step"][1].step.number == 2


# -- a critical finding ------------------------------------------------------------------------------------------------

FAST = EscalationPolicy(
    name="stat@v1", steps=[step.model_copy(update={"wait_minutes": 15}) for step in TWO_STEPS.steps]
)


def finding(priority: Priority = "stat") -> Script:
    """A routine order; what the images show is on the site's critical list. Only results above routine have a clock."""
    script = Script()
    script.policies = {"urgent": TWO_STEPS, "stat": FAST}
    script.critical = RaisedPriority(
        finding="pneumothorax", likelihood="probable", priority=priority, critical_list="radiology@v3"
    )
    return script


def asked_for(script: Script) -> list[Priority]:
    return [query.priority for query in script.calls["escalation_policy"]]


async def moved_below(script: Script, handle: Handle) -> None:
    """The order becomes urgent, then asap, both below STAT; events are taken one after the other, so the first is done with."""
    for times, priority in enumerate(("urgent", "asap"), start=1):
        await told(handle, order("priority-changed", priority))
        await called(script, "reprioritise", times)


async def test_a_critical_finding_starts_the_escalation_that_its_routine_order_would_not() -> None:
    script = finding()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "notify_step")
        await until(handle, waits_for_review)
        [notice] = script.calls["notify_step"]
        assert (notice.policy, notice.priority) == ("stat@v1", "stat")
        assert {call.priority for call in script.calls["build_result"] + script.calls["ask_model"]} == {"routine"}
        [entry] = script.calls["create_inbox_entry"]
        assert entry.checked.critical == script.critical
        history = await handle.fetch_history()
        keys = {
            each.activity_type.name: each.priority.priority_key
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
            and (each := event.activity_task_scheduled_event_attributes)
        }
        assert (keys["ask_model"], keys["build_result"], keys["create_inbox_entry"]) == (4, 1, 1)
        await fast_forward(client, handle, timedelta(minutes=16))
        await called(script, "notify_step", 2)
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one", "rejected"))
        assert (await handle.result()).state == "reviewed"
        await replayed(handle)


async def test_an_order_that_becomes_urgent_does_not_slow_down_what_the_finding_has_raised() -> None:
    script = finding()
    async with read(script) as (_client, handle):
        await called(script, "notify_step")
        await moved_below(script, handle)
        assert [call.priority for call in script.calls["reprioritise"]] == ["urgent", "asap"]
        assert asked_for(script) == ["stat"]
        assert len(script.calls["notify_step"]) == 1
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        await handle.result()
        await replayed(handle)


async def test_an_order_more_urgent_than_the_finding_takes_over() -> None:
    script = finding("urgent")
    async with read(script) as (_client, handle):
        await called(script, "notify_step")
        await told(handle, order("priority-changed", "stat"))
        await called(script, "notify_step", 2)
        assert asked_for(script) == ["urgent", "stat"]
        assert [notice.policy for notice in script.calls["notify_step"]] == ["acknowledge@v1", "stat@v1"]
        await replayed(handle)


async def test_a_later_reading_that_shows_nothing_critical_is_told_to_nobody() -> None:
    script = finding()
    async with read(script) as (client, handle):
        await called(script, "notify_step")
        script.critical = None
        await announce(client, "two")
        await called(script, "escalation_policy", 2)
        await settled(handle)
        assert asked_for(script) == ["stat", "routine"]
        assert {notice.result_id for notice in script.calls["notify_step"]} == {"result-of-one"}
        await replayed(handle)


async def test_an_addendum_leaves_the_clock_of_the_raised_result_and_is_told_as_its_order_asks() -> None:
    script = finding()
    script.relevant = {"Observation/crp"}
    async with read(script) as (_client, handle):
        await called(script, "notify_step")
        await told(handle, lab("Observation/crp"))
        await called(script, "escalation_policy", 2)
        await moved_below(script, handle)
        assert script.calls["write_addendum"][0].priority == "routine"
        assert asked_for(script) == ["stat", "routine"]
        await replayed(handle)


async def test_a_run_that_begins_after_a_restore_goes_on_telling_as_urgently() -> None:
    script = finding()
    async with read(script) as (client, handle):
        await called(script, "notify_step")
        await handle.terminate()
        again = await announce(client, "one")
        await called(script, "notify_step", 2)
        assert asked_for(script) == ["stat", "stat"]
        await moved_below(script, again)
        assert asked_for(script) == ["stat", "stat"]
        await replayed(again)


# -- the order --------------------------------------------------------------------------------------------------------


async def test_a_cancelled_order_withdraws_the_unread_result() -> None:
    script = escalating()
    async with read(script) as (_client, handle):
        await told(handle, order("cancelled"))
        assert (await handle.result()).state == "withdrawn"
        [closed] = script.calls["close_result"]
        assert (closed.reason, closed.result_id) == ("order-cancelled", "result-of-one")
        await replayed(handle)


async def test_a_study_whose_order_was_cancelled_is_not_read_and_the_table_of_runs_says_why() -> None:
    script = Script()
    async with working(script) as client:
        handle = await begun_with(client, order("cancelled"), available("one"))
        assert (await handle.result()).state == "withdrawn"
        assert not script.calls["ask_model"]
        [skipped] = script.calls["skip_run"]
        assert (skipped.state, skipped.code) == ("withdrawn", "order-cancelled")
        await replayed(handle)


def available(inventory: str, patient: str = PATIENT) -> facts.StudyAvailable:
    return facts.StudyAvailable(
        event_id=str(uuid.uuid4()),
        study_instance_uid="1.2.3",
        patient=patient,
        inventory_digest=inventory,
        completeness="quiescent",
        instance_count=9,
    )


async def test_an_order_that_becomes_stat_moves_the_study_up_while_it_is_read() -> None:
    script = escalating()
    script.policies["stat"] = TWO_STEPS
    script.held_at = "fetch_study"
    script.hold.clear()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "fetch_study")
        await told(handle, order("priority-changed", "stat"))
        await settled(handle)
        script.hold.set()
        await until(handle, waits_for_review)
        await called(script, "reprioritise")
        assert script.calls["reprioritise"][0].priority == "stat"
        history = await handle.fetch_history()
        scheduled = {
            event.activity_task_scheduled_event_attributes.activity_type.name: event
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        }
        asked = scheduled["ask_model"].activity_task_scheduled_event_attributes
        assert asked.priority.priority_key == 1
        await replayed(handle)


async def test_a_corrected_order_makes_an_unread_result_be_read_anew() -> None:
    script = Script()
    async with read(script) as (_client, handle):
        await told(handle, order("placed", reference="ServiceRequest/corrected"))
        await until(handle, lambda p: p.written is not None and "corrected" in p.written.result_id)
        assert script.calls["take_inventory"][-1].reread
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))


# -- the radiologist's report -----------------------------------------------------------------------------------------


async def test_a_final_report_closes_the_unread_result() -> None:
    script = Script()
    async with read(script) as (_client, handle):
        await told(handle, final_report())
        assert (await handle.result()).state == "superseded"
        [closed] = script.calls["close_result"]
        assert (closed.reason, closed.final_report) == ("superseded-by-final-report", "DiagnosticReport/ris-1")
        await replayed(handle)


async def test_a_final_report_that_came_first_means_that_nothing_is_published() -> None:
    script = Script()
    async with working(script) as client:
        handle = await begun_with(client, final_report(), available("one"))
        assert (await handle.result()).state == "superseded"
        assert not script.calls["write_result"]
        assert [skipped.code for skipped in script.calls["skip_run"]] == ["final-report-first"]
        await replayed(handle)


async def test_a_final_report_that_comes_while_the_study_is_read_stops_the_posting() -> None:
    script = Script()
    script.held_at = "ask_model"
    script.hold.clear()
    async with working(script) as client:
        handle = await announce(client)
        await called(script, "ask_model")
        await told(handle, final_report())
        script.hold.set()
        assert (await handle.result()).state == "superseded"
        assert not script.calls["write_result"]
        assert [skipped.code for skipped in script.calls["skip_run"]] == ["final-report-first"]


async def test_a_final_report_after_the_decision_is_noted_and_changes_nothing() -> None:
    script = Script()
    async with read(script) as (client, handle):
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        await handle.result()
        later = await begun_with(client, final_report())
        assert (await later.result()).state == "reviewed"
        [closed] = script.calls["close_result"]
        assert closed.result_id == "result-of-one"


async def test_a_final_report_that_cannot_be_taken_is_a_failed_run_and_the_result_stays_up() -> None:
    script = Script()
    script.fails["close_result"] = [
        ApplicationError("x", "not final", 1, type="final-report-refused", non_retryable=True)
    ]
    async with read(script) as (_client, handle):
        await told(handle, final_report())
        await called(script, "record_failure")
        assert script.calls["record_failure"][0].code == "final-report-refused"
        assert script.calls["record_failure"][0].study_instance_uid == "1.2.3"
        assert (await until(handle, waits_for_review)).state == "awaiting-review"


# -- a newer model ----------------------------------------------------------------------------------------------------


async def test_a_newer_model_reads_what_nobody_has_decided_about_and_leaves_the_rest() -> None:
    script = Script()
    async with read(script) as (client, handle):
        script.release = "release-2"
        await announce(client, "one")
        await called(script, "write_result", 2)
        await until(handle, waits_for_review)
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        await handle.result()
        script.release = "release-3"
        again = await announce(client, "one")
        assert (await again.result()).state == "unchanged"
        assert len(script.calls["ask_model"]) == 2


# -- new observations -------------------------------------------------------------------------------------------------


async def test_a_relevant_observation_makes_an_addendum_that_is_reviewed_by_itself() -> None:
    script = Script()
    script.relevant.add("Observation/inr")
    async with read(script) as (_client, handle):
        await told(handle, lab("Observation/inr", "Observation/sodium"))
        await called(script, "write_addendum")
        assert script.calls["write_addendum"][0].assessed.relevant == ["Observation/inr"]
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert (await handle.query(ReportStudyWorkflow.progress)).state == "reviewed"
        act = act_on("one").model_copy(
            update={
                "result_id": "addendum-to-result-of-one",
                "report_version": "DiagnosticReport/addendum-to-result-of-one/_history/1",
            }
        )
        await handle.execute_update(ReportStudyWorkflow.review, act)
        assert (await handle.result()).state == "reviewed"
        await replayed(handle)


async def test_an_irrelevant_observation_changes_nothing() -> None:
    script = Script()
    async with read(script) as (_client, handle):
        await told(handle, lab("Observation/sodium"))
        await called(script, "assess_history")
        assert not script.calls["write_addendum"]


async def test_an_observation_after_the_decision_still_makes_an_addendum() -> None:
    script = Script()
    script.relevant.add("Observation/inr")
    async with read(script) as (client, handle):
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        await handle.result()
        later = await begun_with(client, lab("Observation/inr"))
        await called(script, "write_addendum")
        assert (await later.query(ReportStudyWorkflow.progress)).state == "reviewed"
        await later.signal(ReportStudyWorkflow.study_event, lab("Observation/sodium"))
        await called(script, "assess_history", 2)


# -- the patient ------------------------------------------------------------------------------------------------------


def patient(change: str, reference: str = "Patient/survivor") -> facts.PatientChanged:
    return facts.PatientChanged(
        event_id=str(uuid.uuid4()),
        change=change,  # type: ignore[arg-type]
        patient=reference,
        patient_key="survivor-key",
    )


async def test_a_merged_patients_unread_result_is_read_anew_under_the_survivor() -> None:
    script = Script()
    async with read(script) as (_client, handle):
        await told(handle, patient("merged"))
        await until(handle, lambda p: p.written is not None and "survivor" in p.written.result_id)
        assert script.calls["gather_timeline"][-1].event.patient == "Patient/survivor"
        assert script.calls["gather_timeline"][-1].patient_key == "survivor-key"
        await replayed(handle)


async def test_a_merged_patients_reviewed_result_is_only_found_under_the_survivor() -> None:
    script = Script()
    async with read(script) as (client, handle):
        await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        await handle.result()
        later = await begun_with(client, patient("merged"))
        await later.result()
        [moved] = script.calls["reindex_patient"]
        assert (moved.thread_id, moved.patient) == ("t", "Patient/survivor")
        assert len(script.calls["ask_model"]) == 1


async def test_an_unmerged_patients_unread_result_is_withdrawn_and_held_for_a_person() -> None:
    script = Script()
    async with read(script) as (client, handle):
        await told(handle, patient("unmerged"))
        assert (await handle.result()).state == "held"
        [closed] = script.calls["close_result"]
        assert closed.reason == "patient-unmerged"
        again = await announce(client, "one")
        await until(again, lambda p: p.state in ("unchanged", "awaiting-review"))
