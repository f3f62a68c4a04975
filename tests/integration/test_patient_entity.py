"""One patient's events through the entity on a real Temporal server: order, bursts, merges, redelivery."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner

from schemas import facts, runs
from tests.integration.scripted import (
    LOOKS,
    PATIENT,
    PAUSE,
    Script,
    act_on,
    replayed,
    settled,
    tell,
    until,
    waits_for_review,
    working,
)
from tests.integration.test_study_lifecycle import available, called, final_report, order
from workflows.patient import policies
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

pytestmark = pytest.mark.integration
STUDY = facts.StudyAddress(study_key="k", thread_id="t", study_instance_uid="1.2.3", accession="issuer|A1")
Entity = WorkflowHandle[PatientWorkflow, None]


@pytest.fixture(autouse=True)
def short_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "BURST_WINDOW", timedelta(seconds=0.5))


def about(event: Any, address: facts.StudyAddress = STUDY) -> facts.PatientEvent:
    return facts.PatientEvent(event=event, address=address)


def observation(name: str) -> facts.PatientEvent:
    fact = facts.ObservationAvailable(
        event_id=str(uuid.uuid4()), observation=f"Observation/{name}", patient=PATIENT, status="final"
    )
    return facts.PatientEvent(event=fact)


def study_of(client: Client, key: str = "k") -> WorkflowHandle[ReportStudyWorkflow, runs.StudyOutcome]:
    return client.get_workflow_handle_for(ReportStudyWorkflow.run, f"study-{key}")


@pytest.fixture
def script() -> Script:
    return Script()


async def test_a_study_that_is_announced_is_read_once_however_often_it_comes(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        event = about(available("one"))
        entity = await tell(client, event, event, event)
        await called(script, "create_inbox_entry")
        await until(study_of(client), waits_for_review)
        assert len(script.calls["gather_timeline"]) == 1
        [study] = await entity.query(PatientWorkflow.studies)
        assert (study.study_key, study.accession) == ("k", "issuer|A1")
        await replayed(entity)


async def test_a_panel_of_labs_is_one_update(script: Script) -> None:
    script.relevant.update({"Observation/inr", "Observation/platelets"})
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await tell(client, about(available("one")))
        await called(script, "create_inbox_entry")
        panel = [observation(name) for name in ("sodium", "inr", "platelets", "potassium")]
        entity = await tell(client, *panel)
        await called(script, "write_addendum")
        [asked] = script.calls["assess_history"]
        assert asked.observations == [event.event.observation for event in panel]  # type: ignore[union-attr]
        assert len(await entity.query(PatientWorkflow.observations)) == 4
        await replayed(entity)


async def test_a_report_that_is_final_before_the_images_are_announced_is_waiting_for_them(script: Script) -> None:
    """It names no study, only the accession number; the study is announced later and is not read."""
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        entity = await tell(client, about(final_report(), facts.StudyAddress(accession="issuer|A1")))
        assert await settled(entity) == []
        await tell(client, about(available("one")))
        await called(script, "skip_run")
        assert not script.calls["ask_model"]
        await study_of(client).result()
        await tell(client, about(available("two")))
        await called(script, "skip_run", 2)
        assert not script.calls["ask_model"]


async def test_an_accession_of_another_issuer_is_another_study(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await tell(client, about(available("one")))
        await called(script, "create_inbox_entry")
        entity = await tell(client, about(final_report(), facts.StudyAddress(accession="elsewhere|A1")))
        assert set(await settled(entity)) == {"study-k"}
        await until(study_of(client), waits_for_review)
        assert "close_result" not in await settled(study_of(client))


async def test_a_cancelled_order_finds_its_study_by_the_order(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        ordered = available("one").model_copy(update={"service_request": "ServiceRequest/order-1/_history/2"})
        await tell(client, about(ordered))
        await until_there(client)
        await until(study_of(client), waits_for_review)
        await tell(client, about(order("cancelled"), facts.StudyAddress()))
        assert (await study_of(client).result()).state == "withdrawn"


async def until_there(client: Client, workflow_id: str = "study-k") -> None:
    for _ in range(LOOKS):
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError:
            await asyncio.sleep(PAUSE)
        else:
            return
    raise AssertionError(f"{workflow_id} did not begin")


async def test_events_after_the_decision_begin_a_run_of_their_own(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await tell(client, about(available("one")))
        await until_there(client)
        await until(study_of(client), waits_for_review)
        await study_of(client).execute_update(ReportStudyWorkflow.review, act_on("one"))
        await study_of(client).result()
        await tell(client, about(final_report()))
        await called(script, "close_result")
        assert script.calls["close_result"][0].result_id == "result-of-one"


async def test_a_merge_hands_the_studies_to_the_survivor_and_an_unmerge_gives_them_back(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        retired = await tell(client, about(available("one")), key="retired")
        await until_there(client)
        await until(study_of(client), waits_for_review)
        merge = merged("Patient/survivor", "survivor", PATIENT, "retired")
        survivor = await tell(client, facts.PatientEvent(event=merge), key="survivor")
        await until(study_of(client), lambda p: p.written is not None and "survivor" in p.written.result_id)
        assert [study.study_key for study in await survivor.query(PatientWorkflow.studies)] == ["k"]
        await tell(client, observation("late"), key="retired")
        await until_known(survivor, 1)
        parted = merged(PATIENT, "retired", "Patient/survivor", "survivor")
        await tell(client, facts.PatientEvent(event=parted), key="retired")
        await called(script, "close_result")
        assert script.calls["close_result"][0].reason == "patient-unmerged"
        assert (await study_of(client).result()).state == "held"
        for _ in range(LOOKS):
            if not await survivor.query(PatientWorkflow.studies):
                break
            await asyncio.sleep(PAUSE)
        assert await survivor.query(PatientWorkflow.studies) == []
        assert [study.study_key for study in await retired.query(PatientWorkflow.studies)] == ["k"]
        for entity in (survivor, retired):
            await replayed(entity)


def merged(survivor: str, survivor_key: str, retired: str, retired_key: str) -> facts.PatientMerged:
    return facts.PatientMerged(
        event_id=str(uuid.uuid4()),
        survivor=survivor,
        retired=retired,
        survivor_key=survivor_key,
        retired_key=retired_key,
    )


async def until_known(entity: Entity, count: int) -> None:
    for _ in range(LOOKS):
        if len(await entity.query(PatientWorkflow.observations)) >= count:
            return
        await asyncio.sleep(PAUSE)
    raise AssertionError("the entity did not learn of the observation")


async def test_events_of_a_patient_who_was_merged_before_anything_was_known_go_to_the_survivor(script: Script) -> None:
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        merge = merged("Patient/survivor", "survivor", PATIENT, "retired")
        survivor = await tell(client, facts.PatientEvent(event=merge), key="survivor")
        await until_there(client, "patient-retired")
        await tell(client, about(available("one")), key="retired")
        await until_there(client)
        await until(study_of(client), waits_for_review)
        assert script.calls["gather_timeline"][0].event.patient == "Patient/survivor"
        assert [study.study_key for study in await survivor.query(PatientWorkflow.studies)] == ["k"]


def replaced() -> ApplicationError:
    return ApplicationError("patient-replaced", "the record was merged", 1, type="patient-replaced", non_retryable=True)


async def test_a_study_that_met_the_merge_before_the_bus_told_of_it_is_read_under_the_survivor(script: Script) -> None:
    """FHIR refuses the retired record; a panel of labs has begun another run of the study meanwhile."""
    script.fails["gather_timeline"] = [replaced()]
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        retired = await tell(client, about(available("one")), key="retired")
        await called(script, "record_failure")
        await tell(client, observation("sodium"), key="retired")
        await called(script, "standing_result")
        merge = merged("Patient/survivor", "survivor", PATIENT, "retired")
        await tell(client, facts.PatientEvent(event=merge), key="survivor")
        await called(script, "create_inbox_entry")
        assert script.calls["gather_timeline"][-1].event.patient == "Patient/survivor"
        assert len(script.calls["ask_model"]) == 1
        await replayed(retired)


async def test_an_event_that_runs_around_a_ring_of_merges_is_taken_where_it_came_in(script: Script) -> None:
    """A into B, B into C, C into A: it went round and was dropped as known, without a workflow and without a word."""
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        for retired, survivor in (("a", "b"), ("b", "c"), ("c", "a")):
            merge = merged(f"Patient/{survivor}", survivor, f"Patient/{retired}", retired)
            entity = await tell(client, facts.PatientEvent(event=merge), key=survivor)
            await settled(entity)
        await settled(client.get_workflow_handle("patient-c"))
        told = available("one").model_copy(update={"patient": "Patient/b"})
        entity = await tell(client, about(told), key="b")
        await called(script, "create_inbox_entry")
        assert [study.study_key for study in await entity.query(PatientWorkflow.studies)] == ["k"]
        await replayed(entity)


async def test_a_survivor_whose_entity_was_ended_by_hand_begins_anew_with_what_comes(script: Script) -> None:
    """The retired patient's entity failed over it, and with it everything it had been told."""
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        merge = merged("Patient/survivor", "survivor", PATIENT, "retired")
        survivor = await tell(client, facts.PatientEvent(event=merge), key="survivor")
        await until_there(client, "patient-retired")
        await settled(client.get_workflow_handle("patient-retired"))
        await survivor.terminate()
        retired = await tell(client, about(available("one")), key="retired")
        await called(script, "create_inbox_entry")
        assert script.calls["gather_timeline"][0].event.patient == "Patient/survivor"
        again = client.get_workflow_handle_for(PatientWorkflow.run, "patient-survivor")
        assert [study.study_key for study in await again.query(PatientWorkflow.studies)] == ["k"]
        await replayed(retired)


async def test_studies_that_are_handed_to_a_retired_patient_go_on_to_who_is_not(script: Script) -> None:
    """B into C first, then A into B: a laboratory value for C concerns the study that began under A."""
    script.relevant.add("Observation/inr")
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await tell(client, about(available("one")), key="a")
        await until_there(client)
        await until(study_of(client), waits_for_review)
        last = await tell(client, facts.PatientEvent(event=merged("Patient/c", "c", "Patient/b", "b")), key="c")
        await until_there(client, "patient-b")
        await tell(client, facts.PatientEvent(event=merged("Patient/b", "b", PATIENT, "a")), key="b")
        for _ in range(LOOKS):
            if await last.query(PatientWorkflow.studies):
                break
            await asyncio.sleep(PAUSE)
        assert [study.study_key for study in await last.query(PatientWorkflow.studies)] == ["k"]
        await replayed(last)


async def test_a_report_that_waits_for_its_study_goes_with_the_record_to_the_survivor(script: Script) -> None:
    """It came under the retired name before its study, which is announced under the survivor's."""
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        retired = await tell(client, about(final_report(), facts.StudyAddress(accession="issuer|A1")), key="retired")
        merge = merged("Patient/survivor", "survivor", PATIENT, "retired")
        survivor = await tell(client, facts.PatientEvent(event=merge), key="survivor")
        await until_told(survivor, 2)
        study = available("one").model_copy(update={"patient": "Patient/survivor"})
        await tell(client, about(study), key="survivor")
        await called(script, "skip_run")
        assert not script.calls["ask_model"]
        await replayed(retired)


async def test_an_order_that_is_cancelled_after_a_failed_reading_ends_as_withdrawn(script: Script) -> None:
    script.held_at = "gather_timeline"
    script.hold.clear()
    script.fails["gather_timeline"] = [replaced()]
    async with working(script, UnsandboxedWorkflowRunner()) as client:
        await tell(client, about(available("one")))
        await called(script, "gather_timeline")
        await tell(client, about(order("cancelled")))
        await until_told(study_of(client), 1)
        script.hold.set()
        assert (await study_of(client).result()).state == "withdrawn"


async def until_told(handle: WorkflowHandle[Any, Any], signals: int) -> None:
    for _ in range(LOOKS):
        history = await handle.fetch_history()
        if sum(e.HasField("workflow_execution_signaled_event_attributes") for e in history.events) >= signals:
            return
        await asyncio.sleep(PAUSE)
    raise AssertionError("the workflow was not told")
