"""The inbox served on a free port over SQLite, with a reviewer in place of Temporal that records decisions as the worker would."""

from __future__ import annotations

import asyncio
import io
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from schemas.errors import LongviewError, PermanentFailure, StaleWrite
from schemas.inbox import EntryAcknowledged, InboxResult, NoticeClosed
from schemas.lifecycle import AcknowledgeAct
from schemas.outcomes import SeriesOutcome
from schemas.report import ReviewAct
from schemas.runs import AttendStudy, ReviewWritten
from services.db import AuditTrail, Database, InboxReader, InboxRecords, RunRecords, open_migrated
from services.http_server import listen, serve
from services.inbox.app import create_app
from services.inbox.deps import InboxDeps
from services.inbox.login import Logins
from services.parts.ports import free_port
from services.store import FolderObjectStore
from tests import inbox_samples as samples

NOW = datetime(2026, 11, 24, 8, 40, tzinfo=UTC)


@dataclass
class DeskReviewer:
    """What the study's workflow does with a decision: writes it once, refuses a second one."""

    house: House
    acts: list[ReviewAct] = field(default_factory=list)
    failure: LongviewError | None = None
    waiting: dict[str, asyncio.Event] = field(default_factory=dict)
    hurry: float = 1.0
    """What the seconds in which a decision can be taken back are multiplied by."""

    async def submit(self, workflow_id: str, act: ReviewAct) -> ReviewWritten:
        if self.failure is not None:
            raise self.failure
        if act.undo_seconds:
            taken_back = self.waiting[act.act_id] = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(taken_back.wait(), act.undo_seconds * self.hurry)
            del self.waiting[act.act_id]
            if taken_back.is_set():
                raise PermanentFailure("review-undone", "taken back")
        if any(done.result_id == act.result_id and done.act_id != act.act_id for done in self.acts):
            raise StaleWrite("already-reviewed", "decided")
        self.acts.append(act)
        told = self.house.told[act.result_id]
        recorded = samples.review(
            told,
            act.outcome,
            act_id=act.act_id,
            reviewer=act.reviewer,
            reason_code=act.reason_code,
            reason_text=act.reason_text,
        )
        await asyncio.to_thread(self.house.inbox.record_review, recorded, samples.reviewed(told, recorded))
        return ReviewWritten(
            act_id=act.act_id, result_id=act.result_id, outcome=act.outcome, report=recorded.report, provenance="P/1"
        )

    async def undo(self, workflow_id: str, act_id: str) -> bool:
        if act_id not in self.waiting:
            return False
        self.waiting[act_id].set()
        return True

    async def attend(self, act: AttendStudy) -> None:
        """As the workflow's step does, without FHIR."""
        closed = NoticeClosed(result_id=act.result_id, status="attended", act_id=act.act_id, by=act.by, at=act.at)
        await asyncio.to_thread(self.house.inbox.close_notice, closed)

    async def acknowledge(self, workflow_id: str, act: AcknowledgeAct) -> None:
        if self.failure is not None:
            raise self.failure
        told = EntryAcknowledged(result_id=act.result_id, by=act.by, at=act.at)
        await asyncio.to_thread(self.house.inbox.record_acknowledgement, told, None)


class House:
    """Database, store, reviewer and address of one inbox."""

    def __init__(self, folder: Path) -> None:
        self.database: Database = open_migrated(f"sqlite:///{folder / 'inbox.db'}")
        self.store = FolderObjectStore(folder / "store")
        self.inbox, self.runs = InboxRecords(self.database), RunRecords(self.database)
        self.reader, self.trail = InboxReader(self.database), AuditTrail(self.database)
        self.told: dict[str, InboxResult] = {}
        self.reviewer = DeskReviewer(self)
        self.url = ""
        self.logins: Logins | None = None
        self.let_undo: Callable[[int], None] = lambda seconds: None
        """For how long a decision of the page can be taken back from now on."""
        self.frozen = threading.Event()
        """While it is set the server's loop stands still: connections stay open, and nothing is answered."""
        self.streams: Callable[[], int] = lambda: 0
        """How many streams of changes are open."""
        self.stop: Callable[[], None] = lambda: None
        """Ends the server, as SIGTERM would."""

    @property
    def deps(self) -> InboxDeps:
        return InboxDeps(
            reader=self.reader,
            trail=self.trail,
            logins=self.logins,
            objects=self.store,
            reviewer=self.reviewer,
            csrf_secret="0" * 64,
            poll_seconds=0.05,
            heartbeat_seconds=0.5,
            review_seconds=2.0,
            undo_seconds=1,
            clock=lambda: NOW,
            feed_beat=self._beat,
        )

    def _beat(self) -> None:
        while self.frozen.is_set():
            time.sleep(0.02)

    def add(self, name: str = "first", study: str = "study-1", **changes: Any) -> InboxResult:
        """A result arrives, as the worker writes it, with a slice of its own and one of its prior."""
        if "reading" not in changes:
            picture = samples.evidence(self.png(512, 512, 90), self.png(256, 256, 60))
            changes["reading"] = samples.reading([picture])
        told = samples.result(name, study, **changes)
        run_id = f"run-{told.result_id}"
        self.runs.open_run(run_id, told.study_key, told.thread_id, "ni:///sha-256;x", told.release_id)
        self.inbox.add(run_id, told, samples.available(told))
        self.told[told.result_id] = told
        return told

    def png(self, columns: int, rows: int, grey: int) -> str:
        buffer = io.BytesIO()
        Image.new("L", (columns, rows), grey).save(buffer, "PNG")
        return self.store.put(buffer.getvalue())

    def tell_unread(self, sentence: str) -> InboxResult:
        """A study could not be read: its run has failed, and people are asked to look; told twice, as a retry would."""
        rows = [
            SeriesOutcome(
                series_instance_uid="1.2.1", number=2, description="AX 5.0", modality="CT", instances=23, outcome="refused",
                code="geometry-gap", reason="a slice is missing: 10.0 mm lie between slice 11 of 23 (instance 11) and the next",
            ),
            SeriesOutcome(
                series_instance_uid="1.2.2", number=1, description="Topogram", modality="CT", instances=1, outcome="left-out",
                code="localizer", reason="a localizer, made to plan the others",
            ),
        ]  # fmt: skip
        run_id = str(uuid.uuid4())
        self.runs.fail_run(*samples.failure(run_id))
        unread = samples.reading([], []).model_copy(update={"kind": "unread", "series": rows})
        told = samples.result("unread", reading=unread, conclusion=sentence, headline=sentence)
        self.inbox.add_notice(run_id, told)
        self.inbox.add_notice(run_id, told)
        return told


@contextmanager
def open_house(folder: Path, logins: Callable[[House, str], Logins] | None = None) -> Iterator[House]:
    """The inbox in a thread of its own, as `services.bootstrap` serves it; ended as SIGTERM ends it. `logins` is told house and address."""
    house = House(folder)
    port, ready, loop, stop = free_port(), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    house.url = f"http://127.0.0.1:{port}"
    house.logins = logins(house, house.url) if logins else None
    app = create_app(house.deps)
    listener = listen("127.0.0.1", port, "inbox", "LONGVIEW_INBOX_HOST")
    serving = serve(app, listener, stop, ready.set, app.state.feed.close)

    async def run() -> None:
        try:
            await serving
        finally:
            if house.logins is not None:
                await house.logins.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()

    def end() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            thread.join(15)
            assert not thread.is_alive(), "the inbox did not stop"

    def let_undo(seconds: int) -> None:
        app.state.deps = replace(app.state.deps, undo_seconds=seconds)

    house.stop, house.streams, house.let_undo = end, app.state.feed.streams, let_undo
    try:
        assert ready.wait(20)
        yield house
    finally:
        end()
        loop.close()
        house.database.close()


class Browserless:
    """A browser without a screen: keeps cookies, reads the form's hidden fields, posts it."""

    def __init__(self, house: House) -> None:
        self.http = httpx.Client(base_url=house.url, follow_redirects=True, trust_env=False)

    def page(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.status_code
        return answer.text

    def decide(self, result_id: str, **fields: str) -> httpx.Response:
        """Open the page, fill the form, send it."""
        hidden = hidden_fields(self.page(f"/results/{result_id}"))
        return self.http.post(f"/results/{result_id}/review", data=hidden | {"reviewer": "Dr. Ines Halloran"} | fields)

    def acknowledge(self, result_id: str, **fields: str) -> httpx.Response:
        """Open the page, say that one has taken notice."""
        form = self.page(f"/results/{result_id}").partition('class="acknowledge"')[2]
        hidden = hidden_fields(form.partition("</form>")[0])
        return self.http.post(f"/results/{result_id}/acknowledge", data=hidden | {"reviewer": "Dr. Duty"} | fields)

    def close(self) -> None:
        self.http.close()


def hidden_fields(page: str) -> dict[str, str]:
    import re

    inputs = re.findall(r"<input [^>]*type=\"hidden\"[^>]*>", page)
    named = ((re.search(r'name="([^"]*)"', i), re.search(r'value="([^"]*)"', i)) for i in inputs)
    return {name[1]: value[1] for name, value in named if name and value}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture
def visitor(house: House) -> Iterator[Browserless]:
    opened = Browserless(house)
    yield opened
    opened.close()
