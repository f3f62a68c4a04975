"""Decisions in numbers: how many, what became of each, and who follows the list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from services.db import Change
from services.inbox.feed import ChangeFeed
from services.inbox.reviewing import Asker, DecisionRefused, ReviewDesk
from services.operations import meter
from services.operations.meter import Meter

ASKER = Asker(None, None)
REPORT = "DiagnosticReport/1/_history/1"


@pytest.fixture
def inbox() -> Iterator[Meter]:
    made = Meter("inbox")
    meter.install(made)
    yield made
    meter.install(None)


def value(made: Meter, name: str, **labels: str) -> float | None:
    families = text_string_to_metric_families(made.page().decode())
    return next((s.value for f in families for s in f.samples if s.name == name and s.labels == labels), None)


class Workflow:
    """Takes a decision, or ends as told."""

    def __init__(self, ends: Exception | float | None = None) -> None:
        self.ends = ends

    async def submit(self, workflow_id: str, act: Any) -> None:
        if isinstance(self.ends, Exception):
            raise self.ends
        await asyncio.sleep(self.ends or 0)


def desk(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> ReviewDesk:
    monkeypatch.setattr(ReviewDesk, "_act", lambda *_: SimpleNamespace(undo_seconds=0))
    trail = SimpleNamespace(record=lambda told: None)
    return ReviewDesk(trail, workflow, 0.05, lambda: datetime.now(UTC))  # type: ignore[arg-type]


def entry(status: str = "opened") -> Any:
    row = SimpleNamespace(status=status, opened_at=datetime.now(UTC))
    patient = SimpleNamespace(resource="Patient/1")
    reading = SimpleNamespace(kind="findings")
    result = SimpleNamespace(report=REPORT, workflow_id="study-1", result_id="r-1", patient=patient, reading=reading)
    return SimpleNamespace(act_id="earlier", row=row, result=result)


def decision(outcome: str = "accepted", act_id: str = "act") -> Any:
    return SimpleNamespace(act_id=act_id, outcome=outcome, report_version=REPORT)


@pytest.mark.parametrize("outcome", ["accepted", "amended", "rejected"])
async def test_a_decision_that_stands_is_counted_by_its_outcome(
    inbox: Meter, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    await desk(Workflow(), monkeypatch).decide(entry(), decision(outcome), ASKER)
    assert value(inbox, "longview_inbox_decisions_total", outcome=outcome) == 1
    assert value(inbox, "longview_inbox_decision_seconds_count") == 1


async def test_the_same_act_again_is_no_second_decision(inbox: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk(Workflow(), monkeypatch).decide(entry(), decision(act_id="earlier"), ASKER)
    assert value(inbox, "longview_inbox_decision_seconds_count") == 0


@pytest.mark.parametrize(
    ("ends", "became"),
    [
        (StaleWrite("review-stale", ""), "stale"),
        (PermanentFailure("fhir-refused", ""), "refused"),
        (TransientFailure("temporal-unavailable", ""), "away"),
        (10.0, "unknown"),
    ],
)
async def test_a_decision_that_does_not_stand_is_counted_by_why(
    inbox: Meter, monkeypatch: pytest.MonkeyPatch, ends: Any, became: str
) -> None:
    with pytest.raises(DecisionRefused):
        await desk(Workflow(ends), monkeypatch).decide(entry(), decision(), ASKER)
    assert value(inbox, "longview_inbox_decisions_total", outcome=became) == 1
    assert value(inbox, "longview_inbox_decisions_total", outcome="accepted") == 0


async def test_somebody_else_was_faster(inbox: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DecisionRefused):
        await desk(Workflow(), monkeypatch).decide(entry("accepted"), decision(), ASKER)
    assert value(inbox, "longview_inbox_decisions_total", outcome="stale") == 1


class Table:
    """The change feed's table; `away` while the database is."""

    def __init__(self) -> None:
        self.away = False

    def last_seq(self) -> int:
        return 0

    def changes_since(self, seq: int, limit: int = 0) -> list[Change]:
        if self.away:
            raise TransientFailure("database-unavailable", "away")
        return []


async def test_open_pages_and_a_stale_list_are_told(inbox: Meter) -> None:
    """A page that comes and goes; a database that goes and comes; the loop comes round all the while."""
    table, rounds = Table(), []
    feed = ChangeFeed(table, 0.01, 10.0, lambda: rounds.append(1))  # type: ignore[arg-type]
    polling = asyncio.create_task(feed.run())

    async def until(name: str, wanted: float) -> None:
        async with asyncio.timeout(60):
            while value(inbox, name) != wanted:  # noqa: ASYNC110 (what is waited for is on the page)
                await asyncio.sleep(0.01)

    try:
        await until("longview_inbox_feed_up", 1)
        page = feed.follow(None)
        await anext(page)
        await until("longview_inbox_live_pages", 1)
        table.away = True
        await until("longview_inbox_feed_up", 0)
        seen = len(rounds)
        table.away = False
        await until("longview_inbox_feed_up", 1)
        assert len(rounds) > seen
        await page.aclose()
        await until("longview_inbox_live_pages", 0)
    finally:
        polling.cancel()
