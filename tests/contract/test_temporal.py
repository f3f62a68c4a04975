"""What we rely on of Temporal, through our own connection: signals, updates, queries, continue-as-new, secrecy, and a server that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from schemas.errors import PermanentFailure
from tests.contract.temporal_server import Place, Server, own_namespace, patiently
from tests.contract.thread_workflow import Entry, ThreadInput, ThreadWorkflow

QUEUE = "contract"


@asynccontextmanager
async def working(place: Place) -> AsyncIterator[Client]:
    """A client, and a worker that runs the workflow."""
    client = await place.client()
    async with Worker(client, task_queue=QUEUE, workflows=[ThreadWorkflow]):
        yield client


async def say(client: Client, thread: str, *texts: str) -> WorkflowHandle[ThreadWorkflow, None]:
    """Signal-with-start, as the gateway does it: the first signal starts the workflow, every other finds it."""
    for text in texts:
        handle = await client.start_workflow(
            ThreadWorkflow.run,
            ThreadInput(),
            id=thread,
            task_queue=QUEUE,
            start_signal="said",
            start_signal_args=[Entry(id=text, text=text)],
        )
    return handle


async def heard(handle: WorkflowHandle[ThreadWorkflow, None], count: int) -> list[str]:
    texts: list[str] = []
    for _ in range(1200):
        texts = await handle.query(ThreadWorkflow.heard)
        if len(texts) >= count:
            break
        await asyncio.sleep(0.05)
    return texts


async def test_one_study_is_one_workflow_from_signal_to_decision() -> None:
    async with working(await own_namespace()) as client:
        thread = f"study-{uuid.uuid4()}"
        handle = await say(client, thread, "first", "second", "first", "third")
        assert await heard(handle, 3) == ["first", "second", "third"]
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(ThreadWorkflow.decide, "perhaps")
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "decision-unknown"
        assert await handle.execute_update(ThreadWorkflow.decide, "accepted") == "accepted after 3"
        await handle.result()


async def test_continue_as_new_loses_no_signal_and_keeps_the_order() -> None:
    """Every tenth signal begins a new run of the same workflow id, while more signals arrive."""
    async with working(await own_namespace()) as client:
        texts = [f"{number:02}" for number in range(45)]
        handle = await say(client, f"patient-{uuid.uuid4()}", *texts)
        assert await heard(handle, 45) == texts
        first = (await handle.describe()).raw_description.workflow_execution_info.first_run_id
        assert (await handle.describe()).run_id != first, "it never continued as new"


async def test_the_server_and_a_stranger_see_cipher_text(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with server.running():
        async with working(Place(server.address)) as client:
            handle = await say(client, f"study-{uuid.uuid4()}", "DOE^JANE")
            assert await heard(handle, 1) == ["DOE^JANE"]
        history = (await handle.fetch_history()).to_json()
        assert "DOE" not in history
        assert "YmluYXJ5L2Flcy0yNTYtZ2Nt" in history, "no payload bears our encoding"
        stranger = await patiently(server.address, key=bytes(32))
        async with Worker(client, task_queue=QUEUE, workflows=[ThreadWorkflow]):
            with pytest.raises(PermanentFailure, match="another key"):
                await stranger.get_workflow_handle_for(ThreadWorkflow.run, handle.id).query(ThreadWorkflow.heard)
    assert files_with(b"DOE^JANE", tmp_path) == []


def files_with(text: bytes, folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if text in file.read_bytes()]


async def test_a_killed_server_comes_back_with_its_workflows(tmp_path: Path) -> None:
    server, thread = Server(tmp_path), f"study-{uuid.uuid4()}"
    async with server.running() as pid:
        async with working(Place(server.address)) as client:
            assert await heard(await say(client, thread, "before"), 1) == ["before"]
        os.kill(pid, signal.SIGKILL)
    async with server.running(), working(Place(server.address)) as client:
        handle = await say(client, thread, "after")
        assert await heard(handle, 2) == ["before", "after"]
