"""Which version takes new studies, who may change that, and when the workers of an old one may go: on a real Temporal server."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.identifiers import background_queue
from services.worker.deployment import build_id, deployment_version, pinned
from services.worker.versions import Version, list_versions, promote
from tests.contract.temporal_server import KEY, own_namespace
from tests.contract.test_worker_versions import until_read_by
from tests.contract.versioned_workflows import Patient, Study

QUEUE = "versions"
NAME = "longview"
OLD, NEW = (deployment_version(NAME, build) for build in ("0.1.0-aaaa", "0.2.0-bbbb"))


@asynccontextmanager
async def release(client: Client, version: WorkerDeploymentVersion, *, background: bool = True) -> AsyncIterator[None]:
    """The workers of one release: one for each task queue."""
    async with AsyncExitStack() as workers:
        for queue in (QUEUE, background_queue(QUEUE))[: 2 if background else 1]:
            worker = Worker(client, task_queue=queue, workflows=[Study, Patient], deployment_config=pinned(version))
            await workers.enter_async_context(worker)
        yield


async def seen(client: Client, version: WorkerDeploymentVersion) -> Version | None:
    found = await list_versions(client, NAME, QUEUE)
    return next((each for each in found if each.build_id == version.build_id), None)


async def test_new_studies_follow_the_promotion_and_a_waiting_one_keeps_the_old_version_alive() -> None:
    client = await (await own_namespace()).client()
    assert await list_versions(client, NAME, QUEUE) == []
    async with AsyncExitStack() as releases:
        await releases.enter_async_context(release(client, OLD))
        assert await promote(client, OLD, QUEUE, wait=60)
        await releases.enter_async_context(release(client, NEW))
        study = await client.start_workflow(Study.run, id="w", task_queue=QUEUE, start_signal="told")
        patient = await client.start_workflow(Patient.run, id="p", task_queue=QUEUE, start_signal="told")
        for begun in (study, patient):
            assert await until_read_by(begun, 1) == [OLD.build_id]
        assert await promote(client, NEW, QUEUE, wait=60)
        assert not await promote(client, NEW, QUEUE), "promoting twice is promoting once"
        old, new = await seen(client, OLD), await seen(client, NEW)
        assert old is not None
        assert new is not None
        assert (old.state, old.open_workflows, old.may_go) == ("draining", 1, False), "the patient moves on by itself"
        assert (new.state, new.reading_pollers, new.background_pollers) == ("current", 1, 1)
        await study.signal("told")
        await study.result()
        await patient.signal("told")
        assert await patient.result() == 2


async def test_a_release_is_promoted_only_when_both_of_its_queues_are_served() -> None:
    client = await (await own_namespace()).client()
    with pytest.raises(PartUnavailable, match="serves versions and versions-background"):
        await promote(client, NEW, QUEUE)
    async with release(client, NEW, background=False):
        with pytest.raises(PartUnavailable, match="serves versions-background"):
            await promote(client, NEW, QUEUE, wait=3)


async def test_a_late_job_of_the_old_release_does_not_undo_the_new_one_and_a_rollback_does() -> None:
    client = await (await own_namespace()).client()
    async with release(client, OLD):
        await promote(client, OLD, QUEUE, wait=60)
        async with release(client, NEW):
            await promote(client, NEW, QUEUE, wait=60)
            with pytest.raises(PermanentFailure, match="--force"):
                await promote(client, OLD, QUEUE)
            assert await promote(client, OLD, QUEUE, force=True)
            old = await seen(client, OLD)
            assert old is not None
            assert old.state == "current"


async def test_the_jobs_of_a_release_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`longview workers promote --wait`, `list` and `drained` as the chart's jobs call them, with the build id of this code."""
    place = await own_namespace()
    (tmp_path / "key").write_bytes(b64encode(KEY))
    for name, value in {
        "STATE_DIR": str(tmp_path),
        "TEMPORAL_ADDRESS": place.address,
        "TEMPORAL_NAMESPACE": place.namespace,
        "PAYLOAD_KEY_FILE": str(tmp_path / "key"),
        "TASK_QUEUE": QUEUE,
        "WORKER_DEPLOYMENT": NAME,
    }.items():
        monkeypatch.setenv(f"LONGVIEW_{name}", value)

    async def ask(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-P", "-m", "services.cli", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    client = await place.client()
    async with release(client, deployment_version(NAME)):
        assert await ask("workers", "promote", "--wait") == (0, f"{build_id()} is current now\n")
        assert await ask("workers", "promote", "--wait") == (0, f"{build_id()} is current already\n")
        status, listed = await ask("workers", "list", "--json")
        assert [v["state"] for v in json.loads(listed)["versions"]] == ["current"]
        status, said = await ask("workers", "drained", "--version", build_id())
        assert status == 1
        assert "leave its workers" in said
        assert (await ask("workers", "drained", "--version", "0.0.9-gone"))[0] == 0, "Temporal forgot it long ago"
        status, said = await ask("schedules")
        assert (status, said) == (0, "longview-reconcile: every 60 minutes\n")
