"""What metrics tell of the database: what waits, what is late, what was flagged. SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from schemas.errors import InvalidEvent, TransientFailure
from schemas.inbox import EntryAcknowledged, EntryEscalated
from schemas.oversight import ClosePass
from services.db import Database, DeadLetterRecords, InboxReader, InboxRecords, OutboxRecords, ReconcileRecords
from services.db.oversight_models import DriftLook
from services.db.reading import Look
from services.db.state import StateReader
from services.operations.database_state import KEPT_SECONDS, DatabaseState, Sample, of_gateway, of_inbox, of_worker
from tests.contract.test_database import database as database
from tests.contract.test_oversight_records import item, opened, posted

NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)


@pytest.fixture
def reader(database: Database) -> StateReader:
    return StateReader(database)


def told(samples: list[Sample]) -> dict[str, float]:
    return {"/".join([name, *labels.values()]).removeprefix("longview_"): value for name, value, labels in samples}


def test_an_empty_database_has_nothing_waiting(reader: StateReader) -> None:
    everything = told([*of_gateway(reader)(NOW), *of_inbox(reader)(NOW), *of_worker(reader)(NOW)])
    assert set(everything.values()) == {0}
    assert "reconcile_ended_timestamp_seconds" not in everything


def test_the_outbox_empties_from_its_oldest(database: Database, reader: StateReader) -> None:
    posted(database, "1.2.3")
    posted(database, "1.2.4")
    waiting = OutboxRecords(database).unpublished(10)
    later = datetime.now(UTC) + timedelta(seconds=300)
    before = told(of_gateway(reader)(later))
    assert before["outbox_waiting_events"] == 2
    assert 299 < before["outbox_oldest_seconds"] < 330
    OutboxRecords(database).mark_published([event.seq for event in waiting])
    assert told(of_gateway(reader)(later))["outbox_oldest_seconds"] == 0


def test_a_dead_letter_counts_until_it_is_replayed(database: Database, reader: StateReader) -> None:
    letters = DeadLetterRecords(database)
    letters.add("d-1", "t", 0, 7, InvalidEvent("schema-invalid", "event-schema-invalid"), "a" * 64, b"k", [])
    assert told(of_gateway(reader)(NOW))["dead_letters_kept"] == 1
    letters.mark_replayed("d-1")
    assert told(of_gateway(reader)(NOW))["dead_letters_kept"] == 0


def test_the_inbox_is_told_by_priority_and_what_was_opened_is_not_unread(
    database: Database, reader: StateReader
) -> None:
    """A STAT result of two days ago, opened; one of yesterday, unread; a routine one."""
    first = posted(database, "1.2.3", days_ago=2, priority="stat", acknowledge_by="2026-11-24T00:00:00Z")
    posted(database, "1.2.4", days_ago=1, priority="stat", acknowledge_by="2026-11-26T00:00:00Z")
    posted(database, "1.2.5", days_ago=1, priority="routine", acknowledge_by=None)
    InboxReader(database).view(first, Look("result-opened", None, "127.0.0.1", opening=True))
    now = told(of_inbox(reader)(NOW))
    assert now["inbox_open_results/stat"] == 2
    assert now["inbox_open_results/routine"] == 1
    assert now["inbox_open_results/urgent"] == 0
    assert now["inbox_oldest_unread_seconds/stat"] == timedelta(days=1, hours=3).total_seconds()
    assert now["inbox_overdue_results/stat"] == 1
    assert now["inbox_unheard_results"] == 0


def test_a_result_nobody_answered_is_told_until_somebody_does(database: Database, reader: StateReader) -> None:
    result = posted(database, "1.2.3", priority="stat", acknowledge_by="2026-11-24T00:00:00Z")
    inbox = InboxRecords(database)
    inbox.record_escalation(EntryEscalated(result_id=result, step=2, exhausted=True), None)
    assert told(of_inbox(reader)(NOW))["inbox_unheard_results"] == 1
    inbox.record_acknowledgement(EntryAcknowledged(result_id=result, by="dr", at="2026-11-25T03:00:00Z"), None)
    now = told(of_inbox(reader)(NOW))
    assert (now["inbox_unheard_results"], now["inbox_overdue_results/stat"]) == (0, 0)


def test_reconciliation_and_drift_are_told_as_of_their_last_look(database: Database, reader: StateReader) -> None:
    """A pass that still runs is not the last one; an alarm of an earlier day is over."""
    passes = ReconcileRecords(database)
    passes.open_pass(opened())
    passes.record_item(item("flagged"))
    passes.close_pass(ClosePass(pass_id="pass-1", at="2026-11-25T03:20:00+00:00", studies=9, results=4, left=3))
    passes.open_pass(opened("pass-2").model_copy(update={"at": "2026-11-25T03:50:00+00:00"}))
    with database.writing() as session:
        for day, metric, verdict in (
            ("2026-11-23", "rejections", "alarm"),
            ("2026-11-24", "rejections", "alarm"),
            ("2026-11-24", "abstentions", "stable"),
        ):
            counts = {"recent_k": 1, "recent_n": 2, "reference_k": 1, "reference_n": 2, "p": 0.5}
            session.add(DriftLook(day=day, release_id="r", metric=metric, verdict=verdict, looked_at=NOW, **counts))
    now = told(of_worker(reader)(NOW))
    assert now["reconcile_ended_timestamp_seconds"] == datetime(2026, 11, 25, 3, 20, tzinfo=UTC).timestamp()
    assert now["reconcile_flagged_items"] == 1
    assert now["reconcile_left_items"] == 3
    assert now["drift_alarms"] == 1
    with database.writing() as session:
        session.execute(update(DriftLook).values(verdict="stable"))
    assert told(of_worker(reader)(NOW))["drift_alarms"] == 0


# -- scraping ------------------------------------------------------------------------------------------------------------


def values(state: DatabaseState) -> dict[str, float]:
    return {sample.name: sample.value for family in state() for sample in family.samples}


def test_however_many_scrape_the_database_is_asked_once_in_a_while() -> None:
    now, asked = [100.0], []

    def read(_: datetime) -> list[Sample]:
        asked.append(now[0])
        return [("longview_drift_alarms", len(asked), {})]

    state = DatabaseState(read, lambda: now[0])
    for _ in range(20):
        assert values(state) == {"longview_drift_alarms": 1, "longview_state_read": 1}
    now[0] += KEPT_SECONDS
    assert values(state)["longview_drift_alarms"] == 2
    assert len(asked) == 2


def test_while_the_database_is_away_its_metrics_are_absent_and_not_stale() -> None:
    now, away = [100.0], [False]

    def read(_: datetime) -> list[Sample]:
        if away[0]:
            raise TransientFailure("database-unavailable", "away")
        return [("longview_drift_alarms", 3, {})]

    state = DatabaseState(read, lambda: now[0])
    assert values(state)["longview_drift_alarms"] == 3
    away[0] = True
    now[0] += KEPT_SECONDS
    assert values(state) == {"longview_state_read": 0}


def test_what_is_asked_at_each_scrape_uses_an_index(database: Database) -> None:
    """The tables grow for years; a scrape must not read them whole. PostgreSQL plans by size, so that SQLite's plan is looked at."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("plans depend on statistics there")
    queries = (
        "SELECT count(*), min(created_at) FROM outbox WHERE published_at IS NULL",
        "SELECT priority, count(*) FROM inbox_entry WHERE status IN ('unread', 'opened') GROUP BY priority",
        "SELECT priority, min(issued_at) FROM inbox_entry WHERE status = 'unread' GROUP BY priority",
    )
    with database.reading() as session:
        for query in queries:
            plan = " ".join(str(row[3]) for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
            assert "INDEX" in plan, plan
