"""The study's workflow on a real Temporal server, with scripted steps: what it does when events and failures come at awkward moments."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from schemas.report import UndoReview
from services.clients.reviews import TemporalReviewer
from tests.integration.scripted import (
    QUEUE,
    Script,
    act_on,
    announce,
    refused,
    replayed,
    settled,
    until,
    waits_for_review,
    working,
)
from workflows.report_study import policies
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration


async def test_a_study_is_read_reviewed_and_done() -> None:
    script = Script()
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        act = act_on("one")
        first = await handle.execute_update(ReportStudyWorkflow.review, act, id=act.act_id)
        assert (await handle.result()).state == "reviewed"
        assert first.outcome == "accepted"
        assert len(script.calls["write_review"]) == len(script.calls["record_review"]) == 1
        await replayed(handle)


async def test_a_partial_study_waits_and_a_complete_one_is_read() -> None:
    script = Script()
    async with working(script) as client:
        waiting = await announce(client, "half", "partial")
        assert await settled(waiting) == []
        handle = await announce(client, "whole", "declared-complete")
        assert (await until(handle, waits_for_review)).written is not None
        assert len(script.calls["ask_model"]) == 1
        await replayed(handle)


async def test_a_study_that_is_never_complete_is_a_failed_run_that_people_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "COMPLETENESS_PATIENCE", timedelta(seconds=1))
    script = Script()
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        handle = await announce(client, "half", "partial")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        [failure] = script.calls["record_failure"]
        assert (failure.stage, failure.code) == ("ingest", "study-never-complete")


async def test_the_same_event_is_taken_once_and_an_unchanged_study_is_not_read_again() -> None:
    script = Script()
    async with working(script) as client:
        for _ in range(3):
            handle = await announce(client, event="same")
        await until(handle, waits_for_review)
        assert len(script.calls["gather_timeline"]) == 1
        await announce(client, "one")
        await until(handle, lambda _: len(script.calls["close_run"]) == 1)
        assert len(script.calls["ask_model"]) == 1
        assert script.calls["close_run"][0].state == "unchanged"
        assert (await until(handle, waits_for_review)).written is not None


async def test_images_that_come_while_a_study_is_read_are_read_next() -> None:
    script = Script()
    script.held_at = "ask_model"
    script.hold.clear()
    async with working(script) as client:
        handle = await announce(client, "one")
        await until(handle, lambda p: bool(script.calls["ask_model"]))
        await announce(client, "two")
        script.hold.set()
        await until(handle, lambda p: len(script.calls["create_inbox_entry"]) == 2)
        assert [call.built.result_id for call in script.calls["create_inbox_entry"]] == [
            "result-of-one",
            "result-of-two",
        ]
        await replayed(handle)


async def test_a_decision_during_a_second_reading_stands() -> None:
    """The reviewer saw the first result; the second comes up for review by itself."""
    script = Script()
    async with working(script) as client:
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


async def test_a_decision_about_what_is_no_longer_up_is_refused() -> None:
    script = Script()
    async with working(script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        with refused("review-stale"):
            await handle.execute_update(ReportStudyWorkflow.review, act_on("before"))
        assert not script.calls["write_review"]


async def test_the_chart_changes_between_building_and_posting() -> None:
    script = Script()
    script.fails["write_result"] = [ApplicationError("x", type="result-stale", non_retryable=True)]
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        assert len(script.calls["build_result"]) == 2
        assert not script.calls["record_failure"]


async def test_a_failed_decision_is_told_and_can_be_taken_again() -> None:
    script = Script()
    script.fails["write_review"] = [ApplicationError("x", type="fhir-refused", non_retryable=True)]
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        with refused("fhir-refused"):
            await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert (await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))).outcome == "accepted"


async def test_what_can_heal_is_tried_again_and_what_cannot_is_recorded_once() -> None:
    script = Script()
    script.fails["ask_model"] = [ApplicationError("x", "away", 1, type="model-unavailable")]
    script.fails["check_answer"] = [
        ApplicationError("x", "not JSON", 1, type="model-output-invalid", non_retryable=True)
    ]
    async with working(script) as client:
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


async def test_a_failed_second_reading_leaves_the_first_result_up() -> None:
    script = Script()
    async with working(script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        script.fails["fetch_study"] = [ApplicationError("x", "gap", 1, type="geometry-gap", non_retryable=True)]
        await announce(client, "two")
        failed = await until(handle, lambda p: p.failure_code == "geometry-gap")
        assert failed.state == "awaiting-review"
        done = await handle.execute_update(ReportStudyWorkflow.review, act_on("one"))
        assert done.outcome == "accepted"


async def test_a_decision_can_be_taken_back_until_its_time_is_over() -> None:
    """Nothing of it reaches FHIR; the result waits on, and what is decided next counts."""
    script = Script()
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        act = act_on("one", "rejected").model_copy(update={"undo_seconds": 60})
        deciding = await handle.start_update(
            ReportStudyWorkflow.review, act, id=act.act_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        another = act_on("one").model_copy(update={"act_id": str(uuid.uuid4())})
        with refused("review-under-way"):  # who comes second is told so
            await handle.execute_update(ReportStudyWorkflow.review, another)
        undo = UndoReview(act_id=act.act_id)
        assert await handle.execute_update(ReportStudyWorkflow.undo_review, undo) is True
        with refused("review-undone"):
            await deciding.result()
        assert not script.calls["write_review"]
        assert (await handle.execute_update(ReportStudyWorkflow.review, another)).outcome == "accepted"
        await handle.result()
        assert await TemporalReviewer(client, QUEUE).undo(handle.id, another.act_id) is False, "it is too late"
        await replayed(handle)


async def test_a_decision_takes_effect_when_its_time_is_over_whoever_has_gone() -> None:
    script = Script()
    async with working(script) as client:
        handle = await announce(client)
        await until(handle, waits_for_review)
        act = act_on("one").model_copy(update={"undo_seconds": 1})
        await handle.start_update(
            ReportStudyWorkflow.review, act, id=act.act_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert (await handle.result()).state == "reviewed"
        [written] = script.calls["write_review"]
        assert written.act == act
        await replayed(handle)


async def test_newer_images_that_come_in_the_meantime_make_the_decision_stale() -> None:
    """It was about what was on the screen."""
    script = Script()
    async with working(script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        act = act_on("one", "rejected").model_copy(update={"undo_seconds": 5})
        deciding = await handle.start_update(
            ReportStudyWorkflow.review, act, id=act.act_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        await announce(client, "two")
        await until(handle, lambda p: p.written is not None and p.written.result_id == "result-of-two")
        with refused("review-stale"):
            await deciding.result()
        assert not script.calls["write_review"]
        await replayed(handle)
