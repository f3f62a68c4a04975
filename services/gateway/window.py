"""Records under way between a poll and its commit: in order within a key, in parallel across keys, no key waiting for another.

A record is committed only when it and all before it in its partition are handled. Handled twice (after a restart, a rewind or a rebalance) is
harmless: the patient's entity drops an event id that it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from schemas.errors import code_of
from schemas.telemetry.fields import fields
from services.clients.kafka import Record
from services.operations.meter import count

log = logging.getLogger(__name__)

PARALLEL = 50
"""Calls to Temporal under way at a time."""
HANDLE_SECONDS = 75.0
"""How long one record may take: Temporal answers within 20 s or not at all, the bus within 30 s, the database within 75 s."""

Key = tuple[str, bytes | None]
Partition = tuple[str, int]
Place = tuple[str, int, int]


class Window:
    """Handles what is added; once a record has to come again (`failed`), or `close` was called, nothing new is begun."""

    def __init__(self, handle: Callable[[Record], Awaitable[None]]) -> None:
        self._handle = handle
        self._limit = asyncio.Semaphore(PARALLEL)
        self._chains: dict[Key, deque[Record]] = {}
        self._open: dict[Partition, deque[Record]] = {}
        self._done: set[Place] = set()
        self._ready: list[Record] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._closed = False
        self.size = 0
        """Records that are not committed, handled or not."""
        self.failed = False

    @property
    def ready(self) -> int:
        """Records that may be committed."""
        return len(self._ready)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.size += 1
            self._open.setdefault((record.topic, record.partition), deque()).append(record)
            key = (record.topic, record.key)
            if key in self._chains:
                self._chains[key].append(record)
            else:
                self._chains[key] = deque([record])
                self._start(key)

    def take_ready(self) -> list[Record]:
        """The handled records of each partition that lie before its first unhandled one. They leave the window."""
        taken, self._ready = self._ready, []
        self.size -= len(taken)
        return taken

    def unhandled(self) -> list[Record]:
        return [r for records in self._open.values() for r in records if _place(r) not in self._done]

    def first_unhandled(self) -> dict[Partition, Record]:
        """Of each partition that has any."""
        return {place: records[0] for place, records in self._open.items() if records}

    async def progress(self) -> None:
        """Wait until one more record is handled, or one has to come again."""
        self._moved.clear()
        await self._moved.wait()

    async def close(self, within: float | None = None) -> None:
        """What is under way is brought to its end, or given up after `within` seconds: it comes again. Nothing else is begun."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        for task in list(self._tasks):
            task.cancel()

    def _start(self, key: Key) -> None:
        task = asyncio.create_task(self._work(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, key: Key) -> None:
        chain = self._chains[key]
        while chain:
            async with self._limit:
                if self._closed or self.failed:
                    return
                try:
                    async with asyncio.timeout(HANDLE_SECONDS):
                        await self._handle(chain[0])
                except Exception as failure:
                    # whatever it is: a record that nobody waits for any more would hold up its partition for ever
                    log.warning("record-comes-again", extra=fields(code=code_of(failure)))
                    count("longview_gateway_records_total", topic=chain[0].topic, outcome="again")
                    self.failed = True
                else:
                    self._is_handled(chain.popleft())
                self._moved.set()
        del self._chains[key]

    def _is_handled(self, record: Record) -> None:
        self._done.add(_place(record))
        records = self._open[record.topic, record.partition]
        while records and _place(records[0]) in self._done:
            self._done.remove(_place(records[0]))
            self._ready.append(records.popleft())


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.offset
