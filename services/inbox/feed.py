"""Server-Sent Events: one task a process polls the change feed and hands each change to every open page.

A page names the last change it has seen (`Last-Event-ID` or `since`) and gets all later ones. The feed's `seq` grows in commit order
(services/db/engine.py), so nothing can turn up behind a position that was passed. A page that reads too slowly is cut off; it comes back and
catches up. No change carries patient data.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from schemas.errors import LongviewError
from schemas.telemetry.fields import fields
from services.db import Change, InboxReader
from services.operations.meter import gauge

log = logging.getLogger(__name__)
QUEUE_SIZE = 200
REPLAY_LIMIT = 500
RETRY_MS = 2000


@dataclass(frozen=True)
class Message:
    """One SSE message; `id` is the position in the feed after it."""

    event: str
    data: str
    id: int | None = None


class Subscriber:
    """One open stream of a client: a bounded queue, and whether it overflowed."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE_SIZE)
        self.cut_off = False

    def offer(self, message: Message) -> None:
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.cut_off = True


class ChangeFeed:
    """The one poller of a process and its subscribers."""

    def __init__(
        self,
        reader: InboxReader,
        poll_seconds: float,
        heartbeat_seconds: float,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader = reader
        self._poll_seconds = poll_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._beat = beat
        self._subscribers: set[Subscriber] = set()
        self._seq: int | None = None
        self._closing = asyncio.Event()
        self.up = False

    async def run(self) -> None:
        """Poll until cancelled; while the database is away, pages are told that they may be stale."""
        while True:
            self._beat()
            try:
                await self._poll()
                self._set_up(True)
            except LongviewError as failure:
                log.warning("feed-not-read", extra=fields(code=failure.code))
                self._set_up(False)
            await asyncio.sleep(self._poll_seconds)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closing.set()
        for subscriber in self._subscribers:
            subscriber.cut_off = True
            subscriber.offer(self._state(up=False))

    def streams(self, client: str | None = None) -> int:
        """How many are open, of one client or of all."""
        return sum(client in (None, subscriber.client) for subscriber in self._subscribers)

    async def follow(self, since: int | None, client: str = "") -> AsyncIterator[Message]:
        """What a page is told: missed changes first, then live ones, with a heartbeat in between."""
        subscriber = Subscriber(client)
        self._subscribers.add(subscriber)
        self._say_pages()
        try:
            position = since
            yield self._state(self.up)
            async for message in self._missed(since):
                position = message.id
                yield message
            while not (subscriber.cut_off or self._closing.is_set()):
                message = await self._next(subscriber)
                if message.id is None or position is None or message.id > position:
                    position = message.id or position
                    yield message
        finally:
            self._subscribers.discard(subscriber)
            self._say_pages()

    async def _poll(self) -> None:
        if self._seq is None:
            self._seq = await asyncio.to_thread(self._reader.last_seq)
        for change in await asyncio.to_thread(self._reader.changes_since, self._seq):
            self._seq = change.seq
            self._tell(_message(change))

    def _set_up(self, up: bool) -> None:
        if up != self.up:
            self.up = up
            gauge("longview_inbox_feed_up", up)
            self._tell(self._state(up))

    def _say_pages(self) -> None:
        gauge("longview_inbox_live_pages", len(self._subscribers))

    def _tell(self, message: Message) -> None:
        for subscriber in self._subscribers:
            subscriber.offer(message)

    async def _missed(self, since: int | None) -> AsyncIterator[Message]:
        """Replay from the table; a page that was away for too long (or knows another database) reloads its list instead."""
        if since is None:
            return
        try:
            last = await asyncio.to_thread(self._reader.last_seq)
            missed = await asyncio.to_thread(self._reader.changes_since, since, REPLAY_LIMIT + 1)
        except LongviewError:
            yield self._state(up=False)
            return
        if len(missed) > REPLAY_LIMIT or since > last:
            yield Message("resync", "", last)
            return
        for change in missed:
            yield _message(change)

    async def _next(self, subscriber: Subscriber) -> Message:
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(subscriber.queue.get(), self._heartbeat_seconds)
        return self._state(self.up)

    def _state(self, up: bool) -> Message:
        """Also the heartbeat: whether the feed is read, the newest change that it knows, and how many seconds the next one is away at most."""
        told = {"live": up, "seq": self._seq or 0, "beat": self._heartbeat_seconds}
        return Message("state", json.dumps(told))


def _message(change: Change) -> Message:
    return Message("change", json.dumps({"result": change.result_id, "change": change.kind}), change.seq)
