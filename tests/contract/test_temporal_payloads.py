"""Large payloads and rotated keys on a real Temporal server."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from schemas.errors import PermanentFailure
from services.clients.keyring import KeyFile, read_keyring, remove, rotate
from services.clients.temporal import connect
from services.store import FolderObjectStore
from tests.contract.chart_workflow import CHART, ReadsChart, gather, measure
from tests.contract.temporal_server import KEY, Place, Server, own_namespace
from tests.contract.test_temporal import heard, say
from tests.contract.thread_workflow import ThreadWorkflow

QUEUE = "contract"


@asynccontextmanager
async def storing(place: Place, folder: Path) -> AsyncIterator[Client]:
    await place.client()
    client = await connect(place.address, place.namespace, KEY, FolderObjectStore(folder))
    workflows = [ReadsChart, ThreadWorkflow]
    async with Worker(client, task_queue=QUEUE, workflows=workflows, activities=[gather, measure]):
        yield client


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def holding(text: bytes, folder: Path) -> list[str]:
    return [path.name for path in files(folder) if text in path.read_bytes()]


def lose(folder: Path) -> None:
    for file in files(folder):
        file.unlink()


def base64_decoded(history: str) -> str:
    """Every payload of a history, opened as far as anybody can without the key."""
    return "\n".join(base64.b64decode(text).decode("latin-1") for text in re.findall(r'"data": "([^"]+)"', history))


async def signals(client: Client, handle: WorkflowHandle[Any, Any]) -> list[Any]:
    """What was signalled, as this client can read it."""
    return [
        (await client.data_converter.decode([payload]))[0]
        async for event in handle.fetch_history_events()
        for payload in event.workflow_execution_signaled_event_attributes.input.payloads
    ]


def causes(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__


async def test_a_large_payload_crosses_as_a_reference_and_lies_nowhere_in_the_clear(tmp_path: Path) -> None:
    server, store = Server(tmp_path), tmp_path / "store"
    async with server.running(), storing(Place(server.address), store) as client:
        handle = await client.start_workflow(ReadsChart.run, QUEUE, id=f"study-{uuid.uuid4()}", task_queue=QUEUE)
        assert await handle.result() == len(CHART)
        history = (await handle.fetch_history()).to_json()
    assert len(history) < 20_000, "the chart itself is in the history"
    assert "longview-objects" in base64_decoded(history)
    assert [path.stat().st_size > len(CHART) for path in files(store)] == [True, True]
    assert holding(b"DOE^JANE", tmp_path) == []


async def test_a_missing_object_is_a_named_failure(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with storing(await own_namespace(), store) as client:
        handle = await say(client, f"patient-{uuid.uuid4()}", CHART)
        assert await heard(handle, 1) == [CHART]
        lose(store)
        with pytest.raises(PermanentFailure, match="payload-object-missing"):
            await signals(client, handle)


async def test_an_activity_whose_argument_is_gone_fails_by_that_name(tmp_path: Path) -> None:
    """The second worker has another store: as if the shared disk were not mounted there."""
    place = await own_namespace()
    async with storing(place, tmp_path / "store") as client:
        there = await connect(place.address, place.namespace, KEY, FolderObjectStore(tmp_path / "not-mounted"))
        async with Worker(there, task_queue="elsewhere", activities=[measure]):
            with pytest.raises(WorkflowFailureError) as failed:
                await client.execute_workflow(ReadsChart.run, "elsewhere", id=f"study-{uuid.uuid4()}", task_queue=QUEUE)
    said = list(causes(failed.value))
    assert any("payload-object-missing" in each for each in said)
    assert not any("DOE" in each for each in said)


async def test_a_workflow_lives_through_a_rotation_until_its_old_key_is_taken_away(tmp_path: Path) -> None:
    place, key_file = await own_namespace(), tmp_path / "payload.key"
    key_file.write_bytes(base64.b64encode(KEY))
    old, thread = read_keyring(key_file).newest, f"study-{uuid.uuid4()}"
    running = await connect(place.address, place.namespace, KeyFile(key_file))
    async with Worker(running, task_queue=QUEUE, workflows=[ThreadWorkflow]):
        await heard(await say(running, thread, "before"), 1)
        rotate(key_file, datetime.now(UTC))
        restarted = await connect(place.address, place.namespace, KeyFile(key_file))
        assert await heard(await say(restarted, thread, "after"), 2) == ["before", "after"]
    remove(key_file, old.id)
    later = await connect(place.address, place.namespace, KeyFile(key_file))
    with pytest.raises(PermanentFailure, match="payload-key-unknown"):
        await signals(later, later.get_workflow_handle(thread))
