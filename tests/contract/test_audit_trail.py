"""The audit trail on SQLite and PostgreSQL: written with what it tells of, never changed, delivered once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from schemas.audit import AuditEntry, AuditPerson, audit_id, new_audit_id
from schemas.errors import LongviewError
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated
from services.db import (
    AuditOutbox,
    AuditTrail,
    Database,
    Filter,
    Head,
    InboxReader,
    InboxRecords,
    Look,
    open_database,
    open_migrated,
)
from services.db.audit import append, now_text
from services.db.runs import RunRecords
from tests.inbox_samples import available, key, result, review, reviewed

DR = AuditPerson(name="Dr. Ines Halloran", subject="u-17", issuer="https://login.example.org")


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = open_database(migrated_url)
    yield opened
    opened.close()


@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database)


def login(name: str = "jo") -> AuditEntry:
    return AuditEntry(
        event_id=new_audit_id(), kind="login", at=now_text(), process="inbox", person=AuditPerson(name=name)
    )


def posted(database: Database, study: str = "study-1", **changes: object) -> str:
    told = result("first", study, **changes)
    RunRecords(database).open_run(f"run-{study}", told.study_key, told.thread_id, "ni:///sha-256;x", "release-1")
    InboxRecords(database).add(f"run-{study}", told, available(told))
    return told.result_id


def kinds(trail: AuditTrail) -> list[str]:
    return [row.entry.kind for row in reversed(trail.entries())]


def test_every_change_that_the_worker_writes_is_in_the_trail_once(database: Database, trail: AuditTrail) -> None:
    inbox, told = InboxRecords(database), result("first", "study-1")
    result_id = posted(database)
    for _ in range(2):  # an activity that is tried again
        inbox.record_escalation(EntryEscalated(result_id=result_id, step=1), None)
        inbox.record_acknowledgement(
            EntryAcknowledged(result_id=result_id, by="Dr. Duty", at="2026-11-24T08:00:00Z"), None
        )
        inbox.raise_priority(result_id, "stat")
        decided = review(told, "accepted")
        inbox.record_review(decided, reviewed(told, decided))
        closed = EntryClosed(
            result_id=result_id,
            act_id=key("close"),
            reason="result-wrong",
            changed=True,
            report=told.report,
            at="2026-11-24T09:00:00Z",
        )
        inbox.close(closed, available(told))
    assert kinds(trail) == [
        "result-posted",
        "escalation-written",
        "acknowledgement-written",
        "priority-raised",
        "review-written",
        "result-closed",
    ]
    written = {row.entry.kind: row.entry for row in trail.entries(result_id=result_id)}
    assert written["review-written"].person == AuditPerson(name=decided.reviewer)
    assert written["review-written"].data == decided.report
    assert written["result-posted"].patient == told.patient.resource.split("/_history/")[0]
    assert trail.verify().broken_at is None


def test_no_name_number_or_text_of_a_patient_is_in_the_trail(database: Database, trail: AuditTrail) -> None:
    result_id = posted(database)
    InboxReader(database).view(result_id, Look("result-opened", DR, "10.0.0.7", opening=True))
    told = result("first", "study-1")
    with database.reading() as session:
        stored = " ".join(row[0] for row in session.execute(text("SELECT document FROM audit_events")))
    for secret in (told.patient.name, str(told.patient.birth_date), "MR-0048213", told.conclusion):
        assert secret not in stored


def test_a_view_that_cannot_be_recorded_shows_nothing(
    database: Database, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_id = posted(database)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("services.db.reading.append", full)
    with pytest.raises(OSError, match="no space"):
        InboxReader(database).view(result_id, Look("result-opened", DR, "10.0.0.7", opening=True))
    entry = InboxReader(database).get(result_id)
    assert entry is not None
    assert entry.row.opened_at is None, "what was not recorded has not happened"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET document = '{}' WHERE seq = 2",
        "DELETE FROM audit_events WHERE seq = 2",
        "DELETE FROM audit_events",
    ],
)
def test_the_database_refuses_to_change_or_remove_an_entry(
    database: Database, trail: AuditTrail, statement: str
) -> None:
    for _ in range(3):
        trail.record(login())
    with pytest.raises(LongviewError), database.writing() as session:
        session.execute(text(statement))
    assert len(trail.entries()) == 3


def without_triggers(database: Database, change: str) -> None:
    """What an administrator of the database could do, who owns the table."""
    with database.engine.execution_options(longview_write=True).begin() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER ALL"))
        else:
            connection.execute(text("DROP TRIGGER audit_events_no_update"))
            connection.execute(text("DROP TRIGGER audit_events_no_delete"))
        connection.execute(text(change))


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        ("UPDATE audit_events SET document = replace(document, 'jo', 'al') WHERE seq = 2", 2),
        ("DELETE FROM audit_events WHERE seq = 2", 3),
        ("DELETE FROM audit_events WHERE seq = 1", 2),
        (
            "INSERT INTO audit_events (event_id, kind, at, document, hash) "
            "SELECT 'forged', kind, at, document, hash FROM audit_events WHERE seq = 1",
            5,
        ),
    ],
    ids=["changed", "removed", "the first removed", "forged"],
)
def test_tampering_by_an_administrator_is_noticed(
    database: Database, trail: AuditTrail, change: str, broken_at: int
) -> None:
    for _ in range(4):
        trail.record(login())
    assert trail.verify().broken_at is None
    without_triggers(database, change)
    assert trail.verify().broken_at == broken_at


def test_a_tail_that_was_cut_off_is_noticed_by_a_head_noted_elsewhere_and_by_what_was_delivered(
    database: Database, trail: AuditTrail
) -> None:
    for _ in range(4):
        trail.record(login())
    head = trail.verify().head
    without_triggers(database, "DELETE FROM audit_events WHERE seq = 4")
    assert trail.verify().broken_at is None, "a chain alone cannot know how long it was"
    assert trail.verify(head).broken_at == 4
    assert trail.verify(Head(3, "0" * 64)).broken_at == 3
    outbox = AuditOutbox(database)
    outbox.mark_delivered(outbox.waiting(10)[-1])
    with database.engine.execution_options(longview_write=True).begin() as connection:
        connection.execute(text("DELETE FROM audit_events WHERE seq = 3"))
    assert trail.verify().broken_at == 3


def test_one_fact_is_one_entry_however_often_it_is_said(database: Database, trail: AuditTrail) -> None:
    entry = login().model_copy(update={"event_id": audit_id("login", "x")})
    trail.record(entry)
    trail.record(entry.model_copy(update={"at": "2026-11-24T09:00:00Z"}))
    with database.writing() as session:
        append(session, entry)
    assert len(trail.entries()) == 1


def test_the_trail_is_found_by_patient_result_and_time(database: Database, trail: AuditTrail) -> None:
    first, second = posted(database, "study-1"), posted(database, "study-2")
    trail.record(login())
    patient = trail.entries(result_id=first)[0].entry.patient
    assert {row.entry.result_id for row in trail.entries(patient=f"{patient}/_history/9")} >= {first}
    assert [row.entry.result_id for row in trail.entries(result_id=second)] == [second]
    assert trail.entries(since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(trail.entries(limit=2)) == 2


def test_one_process_delivers_at_a_time_and_another_takes_over_when_it_dies(database: Database) -> None:
    outbox = AuditOutbox(database)
    assert outbox.hold("a", 60)
    assert outbox.hold("a", 60)
    assert not outbox.hold("b", 60)
    outbox.release("b")
    assert not outbox.hold("b", 60)
    outbox.hold("a", -1)  # a was killed, and its time is over
    assert outbox.hold("b", 60)
    outbox.release("b")
    assert outbox.hold("c", 60)


def test_what_waits_is_counted_for_the_metrics(database: Database, trail: AuditTrail) -> None:
    outbox = AuditOutbox(database)
    assert trail.undelivered().count == 0
    for _ in range(3):
        trail.record(login())
    assert trail.undelivered().count == 3
    assert trail.undelivered().oldest is not None
    first, second, _ = outbox.waiting(10)
    outbox.mark_delivered(second)
    outbox.mark_delivered(first)
    assert trail.undelivered().count == 1


def test_an_older_database_gets_its_trail_by_migration(tmp_path: Path) -> None:
    """The results that were there before are kept; the trail begins with the migration."""
    from importlib.resources import as_file, files

    from alembic import command
    from alembic.config import Config

    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = open_migrated(url)
    posted(database)
    with as_file(files("services.db") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder))
        with database.engine.execution_options(longview_write=True).begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0003")
    database.close()
    again = open_migrated(url)
    assert AuditTrail(again).entries() == []
    AuditTrail(again).record(login())
    assert AuditTrail(again).verify().rows == 1
    assert len(InboxReader(again).list_entries(Filter(shown="all")).rows) == 1
    again.close()
