"""What the inbox is given when it starts, and how its handlers get at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

from litestar.datastructures import State
from litestar.di import NamedDependency

from services.db import AuditTrail, InboxReader
from services.inbox.feed import ChangeFeed
from services.inbox.lists import ListLooks
from services.inbox.login import Logins
from services.inbox.reviewing import ReviewDesk, Reviewer

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class ObjectReader(Protocol):
    """The content-addressed store, as far as the inbox reads it."""

    def get(self, digest: str) -> bytes: ...


def _now() -> datetime:
    return datetime.now(UTC)


def _unwatched() -> None:
    """Nobody watches the feed."""


@dataclass(frozen=True)
class InboxDeps:
    """Adapters and values; `services.bootstrap` makes one for each process."""

    reader: InboxReader
    trail: AuditTrail
    objects: ObjectReader
    reviewer: Reviewer
    csrf_secret: str
    """Signs the forms' tokens: the same for all processes behind one address, and kept across restarts."""
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Host names under which the inbox answers, without ports: a page that another name points here is turned away (DNS rebinding)."""
    logins: Logins | None = None
    """None: no login, names are typed; `services.inbox.access.refuse_open_inbox` keeps that on loopback."""
    secure_cookies: bool = False
    """True behind TLS."""
    poll_seconds: float = 0.5
    heartbeat_seconds: float = 5.0
    review_seconds: float = 45.0
    undo_seconds: int = 8
    """How long a decision on the page may be taken back before FHIR hears of it."""
    clock: Callable[[], datetime] = _now
    feed_beat: Callable[[], None] = _unwatched
    """Called each time the feed has looked for changes, or failed to."""

    @cached_property
    def lists(self) -> ListLooks:
        return ListLooks(self.trail)


Deps = NamedDependency[InboxDeps]
Feed = NamedDependency[ChangeFeed]
Desk = NamedDependency[ReviewDesk]


async def provide_deps(state: State) -> InboxDeps:
    deps: InboxDeps = state.deps
    return deps


async def provide_feed(state: State) -> ChangeFeed:
    feed: ChangeFeed = state.feed
    return feed


async def provide_desk(state: State) -> ReviewDesk:
    desk: ReviewDesk = state.desk
    return desk
