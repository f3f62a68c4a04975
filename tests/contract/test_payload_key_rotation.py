"""Rotating payload keys while workflows run, on a real Temporal server: gateway and worker have a mount each, and the worker's comes later."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowHandle,
)
from temporalio.worker import Worker

from services.clients.key_use import key_use
from services.clients.keyring import KeyFile, Keyring, PayloadKey, ring_bytes, rotated
from services.clients.payloads import KEY_ID
from services.clients.temporal import connect
from tests.contract.temporal_server import KEY, Place, own_namespace
from tests.contract.test_temporal import heard, say
from tests.contract.thread_workflow import ThreadInput, ThreadWorkflow
from tests.secret_mount import mount

QUEUE = "contract"
FIRST = Keyring((PayloadKey(KEY, "2026-01-01T00:00:00Z"),))


class Pod:
    """A process's own mount of the Secret."""

    def __init__(self, folder: Path, ring: Keyring) -> None:
        self._folder = folder
        self.now = datetime.now(UTC)
        self.receives(ring)

    def receives(self, ring: Keyring) -> None:
        mount(self._folder, {"keyring": ring_bytes(ring)})

    async def connected(self, place: Place) -> Client:
        looks = itertools.count(0, 10)  # it looks at the file each time before it encrypts
        keys = KeyFile(self._folder / "keyring", clock=lambda: float(next(looks)), now=lambda: self.now)
        return await connect(place.address, place.namespace, keys)


@asynccontextmanager
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[Pod, Client, Pod]]:
    """The gateway's pod and client, and the worker's pod, which works."""
    gateway, worker = Pod(tmp_path / "gateway", FIRST), Pod(tmp_path / "worker", FIRST)
    place = await own_namespace()
    await place.client()
    sends = await gateway.connected(place)
    async with Worker(await worker.connected(place), task_queue=QUEUE, workflows=[ThreadWorkflow]):
        yield gateway, sends, worker


async def failed_tasks(handle: WorkflowHandle[Any, Any]) -> int:
    events = [event async for event in handle.fetch_history_events()]
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in events)


async def keys_of_signals(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return [
        payload.metadata[KEY_ID].decode()
        async for event in handle.fetch_history_events()
        for payload in event.workflow_execution_signaled_event_attributes.input.payloads
    ]


async def test_a_key_that_waits_until_every_process_has_it_disturbs_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (gateway, sends, worker):
        thread = f"study-{uuid.uuid4()}"
        handle = await say(sends, thread, "before")
        ring = rotated(FIRST, datetime.now(UTC), timedelta(hours=1))
        gateway.receives(ring)
        await say(sends, thread, "while the worker has the old ring")
        assert len(await heard(handle, 2)) == 2
        worker.receives(ring)
        gateway.now = worker.now = datetime.now(UTC) + timedelta(hours=1, seconds=1)
        await say(sends, thread, "after")
        assert len(await heard(handle, 3)) == 3
        assert await keys_of_signals(handle) == [FIRST.newest.id, FIRST.newest.id, ring.newest.id]
        assert await failed_tasks(handle) == 0


async def test_a_key_that_is_used_at_once_holds_the_work_up_until_the_worker_has_it(tmp_path: Path) -> None:
    """Why the wait is there; and nothing is lost without it."""
    async with cluster(tmp_path) as (gateway, sends, worker):
        thread = f"study-{uuid.uuid4()}"
        handle = await say(sends, thread, "before")
        await heard(handle, 1)
        ring = rotated(FIRST, datetime.now(UTC))
        gateway.receives(ring)
        await say(sends, thread, "sealed with a key that the worker has not")
        for _ in range(600):
            if await failed_tasks(handle):
                break
            await asyncio.sleep(0.1)
        assert await failed_tasks(handle) > 0
        worker.receives(ring)
        assert len(await heard(handle, 2)) == 2


async def test_a_key_is_needed_while_runs_and_schedules_of_its_time_are_kept(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, sends, _):
        handle = await say(sends, f"study-{uuid.uuid4()}", "before")
        await heard(handle, 1)
        await sends.create_schedule(
            "nightly",
            Schedule(
                ScheduleActionStartWorkflow(ThreadWorkflow.run, ThreadInput(), id="nightly", task_queue=QUEUE),
                spec=ScheduleSpec(cron_expressions=["0 3 1 1 *"]),
            ),
        )
        now = datetime.now(UTC)
        ring = rotated(FIRST, now)
        new, old = await key_use(sends, ring, now)
        assert (new.use, old.use) == ("encrypts", "decrypts")
        assert (old.open, old.closed, old.schedules) == (1, 0, 1)
        assert old.retention_days > 0
        assert not old.removable
        await handle.execute_update(ThreadWorkflow.decide, "accepted")
        await handle.result()
        assert await eventually(sends, ring, (0, 1, 1))
        # a rotation long before: the same runs began under its successor
        aged = Keyring((ring.oldest, replace(ring.newest, created="2026-01-02T00:00:00Z")))
        _, old = await key_use(sends, aged, now)
        assert (old.open, old.closed, old.schedules) == (0, 0, 1)
        await sends.get_schedule_handle("nightly").delete()
        for _ in range(600):
            _, old = await key_use(sends, aged, now)
            if old.removable:
                break
            await asyncio.sleep(0.1)
        assert old.removable


async def eventually(client: Client, ring: Keyring, counts: tuple[int, int, int]) -> bool:
    """Temporal's visibility follows its histories a moment later."""
    for _ in range(600):
        _, old = await key_use(client, ring, datetime.now(UTC))
        if (old.open, old.closed, old.schedules) == counts:
            return True
        await asyncio.sleep(0.1)
    return False
