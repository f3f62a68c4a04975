"""An upgrade while studies wait for review, on a real Temporal server: who is read by which version of the workflows."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker
from temporalio.workflow import _Definition

from schemas.errors import PartUnavailable
from schemas.facts import PatientInput
from services.worker.deployment import build_id, deployment_version, make_current, pinned
from services.worker.service import run_worker
from services.worker.versions import list_versions
from tests.contract.temporal_server import own_namespace
from tests.contract.versioned_workflows import Patient, Study
from tests.integration import scripted
from workflows.patient.versioned import UpgradingPatientWorkflow
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

QUEUE = "versions"
OLD, NEW = (deployment_version("longview", build) for build in ("0.1.0-aaaa", "0.2.0-bbbb"))


def working(client: Client, version: Any) -> Worker:
    config = pinned(version) if version else None
    return Worker(client, task_queue=QUEUE, workflows=[Study, Patient], deployment_config=config)


async def begin(client: Client, kind: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(kind.run, id=f"w-{uuid.uuid4()}", task_queue=QUEUE, start_signal="told")
    await until_read_by(handle, 1)
    return handle


async def read_by(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The build id of every workflow task that was done."""
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    history = [event async for event in handle.fetch_history_events() if event.event_type == done]
    return [event.workflow_task_completed_event_attributes.deployment_version.build_id for event in history]


async def until_read_by(handle: WorkflowHandle[Any, Any], count: int) -> list[str]:
    builds: list[str] = []
    for _ in range(1200):
        builds = await read_by(handle)
        if len(builds) >= count:
            break
        await asyncio.sleep(0.05)
    return builds


async def until_registered(client: Client, version: WorkerDeploymentVersion) -> None:
    """Temporal knows the version by its worker's polls for work."""
    for _ in range(1200):
        if version.build_id in {each.build_id for each in await list_versions(client, version.deployment_name, QUEUE)}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the worker of the version does not poll")


async def test_a_study_stays_on_its_version_and_a_patient_moves_on() -> None:
    client = await (await own_namespace()).client()
    async with AsyncExitStack() as workers:
        await workers.enter_async_context(working(client, OLD))
        await make_current(client, OLD)
        study, patient = await begin(client, Study), await begin(client, Patient)
        await workers.enter_async_context(working(client, NEW))
        await make_current(client, NEW)
        newcomer = await begin(client, Study)
        await study.signal("told")
        await patient.signal("told")
        assert await asyncio.gather(study.result(), patient.result()) == [2, 2]
        assert set(await read_by(study)) == {OLD.build_id}
        assert await read_by(patient) == [OLD.build_id, NEW.build_id]
        assert await read_by(newcomer) == [NEW.build_id]


async def test_without_a_current_version_nothing_runs_until_it_is_made_so() -> None:
    """What `LONGVIEW_WORKER_CURRENT=on` is for: a deployment that nobody has made current takes no new work."""
    client = await (await own_namespace()).client()
    async with working(client, NEW):
        handle = await client.start_workflow(Study.run, id="study-k", task_queue=QUEUE)
        await until_registered(client, NEW)
        assert await read_by(handle) == []
        await make_current(client, NEW)
        assert await until_read_by(handle, 1) == [NEW.build_id]


async def test_workflows_begun_without_versions_are_taken_over() -> None:
    """An installation that turns worker deployments on has studies that wait for review."""
    client = await (await own_namespace()).client()
    async with working(client, None):
        study = await begin(client, Study)
    async with working(client, NEW):
        await make_current(client, NEW)
        await study.signal("told")
        assert await asyncio.wait_for(study.result(), 60) == 2


async def test_a_version_without_a_worker_is_a_named_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.worker.deployment.REGISTERED_SECONDS", 0.5)
    client = await (await own_namespace()).client()
    with pytest.raises(PartUnavailable, match="worker-deployment"):
        await make_current(client, NEW)


def test_with_a_deployment_the_patient_moves_on_and_without_one_no_workflow_speaks_of_versions() -> None:
    """Temporal refuses every task of a workflow that states a behaviour on a worker without a deployment."""
    classes = (PatientWorkflow, ReportStudyWorkflow, UpgradingPatientWorkflow)
    stated = [_Definition.must_from_class(kind).versioning_behavior for kind in classes]
    unspecified = VersioningBehavior.UNSPECIFIED
    assert stated == [unspecified, unspecified, VersioningBehavior.AUTO_UPGRADE]
    assert _Definition.must_from_class(UpgradingPatientWorkflow).name == "PatientWorkflow"


def test_the_build_id_is_the_version_and_the_code() -> None:
    assert build_id() == build_id()
    assert deployment_version("longview").build_id.startswith(f"{version('longview')}-")
    assert deployment_version("longview", "7-hotfix").build_id == "7-hotfix"


@pytest.mark.parametrize(("name", "build"), [("long.view", ""), ("", ""), ("longview", "a b"), ("longview", "ä")])
def test_a_name_that_temporal_would_misread_is_refused(name: str, build: str) -> None:
    with pytest.raises(PartUnavailable, match="worker-deployment"):
        deployment_version(name, build)


async def test_our_worker_makes_its_version_current_and_takes_work() -> None:
    """`longview worker` with LONGVIEW_WORKER_DEPLOYMENT and LONGVIEW_WORKER_CURRENT=on; no step of the study is served here."""
    stop, ready = asyncio.Event(), asyncio.Event()
    ours = deployment_version("longview")
    client = await (await own_namespace()).client()
    working = asyncio.create_task(run_worker(client, scripted.QUEUE, [], stop, ready.set, ours, current=True))
    await asyncio.wait_for(ready.wait(), 60)
    patient = await client.start_workflow(
        PatientWorkflow.run, PatientInput(patient_key="p"), id="patient-p", task_queue=scripted.QUEUE
    )
    expected = {
        VersioningBehavior.PINNED: await scripted.announce(client),
        VersioningBehavior.AUTO_UPGRADE: patient,
    }
    for behaviour, handle in expected.items():
        assert await until_read_by(handle, 1) == [build_id()]
        described = (await handle.describe()).raw_description.workflow_execution_info.versioning_info
        assert described.behavior == behaviour
    stop.set()
    await working
