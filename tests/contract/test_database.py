"""What the worker, the gateway and the inbox may rely on, whichever database stands behind it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select, text

from schemas.errors import InvalidEvent, LongviewError, PartUnavailable, PermanentFailure, TransientFailure
from schemas.events import RESULT_TOPIC, RUN_TOPIC, CloudEvent, validate
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated
from schemas.report import RaisedPriority
from schemas.runs import SkipRun
from services.db import (
    Database,
    DeadLetterRecords,
    Filter,
    InboxReader,
    InboxRecords,
    Look,
    Migrated,
    OutboxRecords,
    RunRecords,
    migrate,
    newest_revision,
    open_database,
    open_migrated,
    present_revision,
    require_schema,
)
from services.db.engine import BUSY_SECONDS, PG_TIMEOUTS
from services.db.models import Base, DeadLetter, InboxChange, InboxEntry, Outbox
from tests.inbox_samples import available, failure, key, result, review, reviewed

OPENED = Look("result-opened", None, "127.0.0.1", opening=True)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [__name__]
)  # each process of a test is forked from one that has imported all this once


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = open_database(migrated_url)
    yield opened
    opened.close()


@pytest.fixture
def runs(database: Database) -> RunRecords:
    return RunRecords(database)


@pytest.fixture
def inbox(database: Database) -> InboxRecords:
    return InboxRecords(database)


@pytest.fixture
def reader(database: Database) -> InboxReader:
    return InboxReader(database)


@pytest.fixture
def outbox(database: Database) -> OutboxRecords:
    return OutboxRecords(database)


def count(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def open_run(
    runs: RunRecords, run_id: str = "run-1", study: str = "study-1", digest: str = "ni:///sha-256;aaaa"
) -> str:
    runs.open_run(run_id, key("study", study), key("thread", study), digest, "release-1")
    return run_id


def add(url: str, run_id: str, told: Any) -> None:
    database = open_database(url)
    try:
        InboxRecords(database).add(run_id, told, available(told))
    finally:
        database.close()


# -- the schema --------------------------------------------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_models(url: str) -> None:
    migrate(url)
    database = open_migrated(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_several_processes_may_migrate_at_once(url: str) -> None:
    processes = [PROCESSES.Process(target=migrate, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    migrate(url)
    database = open_database(url)
    assert InboxReader(database).list_entries(Filter()).rows == []
    database.close()


def at_revision(url: str, revision: str, floor: str) -> None:
    """As a newer release would leave it."""
    migrate(url)
    database = open_database(url)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        session.execute(text("UPDATE schema_floor SET revision = :to"), {"to": floor})
    database.close()


def test_a_database_that_a_newer_version_has_changed_beyond_us_is_refused(url: str) -> None:
    at_revision(url, "9999", floor="9000")
    for refused in (migrate, require_schema, open_migrated):
        with pytest.raises(PartUnavailable, match="newer version"):
            refused(url)


def test_while_an_old_release_drains_it_restarts_on_the_schema_of_the_new_one(url: str) -> None:
    at_revision(url, "9999", floor=newest_revision())
    open_migrated(url).close()
    assert migrate(url) == Migrated("9999", "9999")


def test_a_migration_says_from_where_to_where(url: str) -> None:
    head = newest_revision()
    assert migrate(url) == Migrated(None, head)
    assert migrate(url) == Migrated(head, head)
    assert present_revision(url) == head


def test_a_process_waits_for_the_migration_of_a_shared_server_and_makes_a_file_of_its_own(url: str) -> None:
    if url.startswith("sqlite"):
        open_migrated(url).close()
        assert present_revision(url) == newest_revision()
        return
    with pytest.raises(PartUnavailable, match=r"is empty.*longview migrate"):
        open_migrated(url)
    at_revision(url, "0001", floor="0001")
    with pytest.raises(PartUnavailable, match=r"at revision 0001.*longview migrate"):
        open_migrated(url)


def test_a_revision_only_adds_or_says_who_can_live_with_it(url: str) -> None:
    """Old workers write to the new schema while they drain: what a revision adds to a table must not ask for a value."""
    scripts = ScriptDirectory(str(Path(str(files("services.db"))) / "migrations"))
    database = open_database(url)
    config = Config()
    config.set_main_option("script_location", scripts.dir)
    before: dict[str, dict[str, Any]] = {}
    for script in reversed(list(scripts.walk_revisions())):
        with database.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, script.revision)
        look = inspect(database.engine)
        after = {t: {c["name"]: c for c in look.get_columns(t)} for t in look.get_table_names()}
        for table, columns in before.items():
            gone = set(columns) - set(after.get(table, {}))
            asked = [
                name
                for name, column in after.get(table, {}).items()
                if name not in columns and not column["nullable"] and column["default"] is None
            ]
            assert (not gone and not asked) or hasattr(script.module, "needs_code_from"), (script.revision, table)
        before = after
    database.close()


@pytest.mark.parametrize("wrong", ["mysql://user:hunter2@db/x", "not a url", "sqlite://"])
def test_a_url_of_another_kind_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(PartUnavailable) as refused:
        open_database(wrong)
    assert "hunter2" not in str(refused.value)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(PartUnavailable, match="cannot be reached") as refused:
        migrate("postgres://user:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(refused.value)


def test_the_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "longview.db"
    open_migrated(f"sqlite:///{file}").close()
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


# -- runs --------------------------------------------------------------------------------------------------------------------------


def test_a_study_that_was_read_is_found_again_by_its_instance_set_and_release(
    runs: RunRecords, inbox: InboxRecords
) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    assert runs.find_read(told.study_key, "ni:///sha-256;aaaa", "release-1") == told.result_id
    assert runs.find_read(told.study_key, "ni:///sha-256;bbbb", "release-1") is None
    assert runs.find_read(told.study_key, "ni:///sha-256;aaaa", "release-2") is None


def test_a_newer_model_does_not_read_anew_what_a_human_has_decided_about(runs: RunRecords, inbox: InboxRecords) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    assert runs.find_read(told.study_key, "ni:///sha-256;aaaa", "release-2") is None, "nobody has decided: it may"
    act = review(told)
    inbox.record_review(act, reviewed(told, act))
    assert runs.find_read(told.study_key, "ni:///sha-256;aaaa", "release-2") == told.result_id
    assert runs.find_read(told.study_key, "ni:///sha-256;bbbb", "release-2") is None, "late images are something else"


@pytest.mark.parametrize("opened", [True, False], ids=["while it was read", "before it was opened"])
def test_a_study_that_is_not_read_leaves_a_run_that_says_why(runs: RunRecords, opened: bool) -> None:
    told = result()
    run_id = open_run(runs) if opened else "run-skipped"
    skipped = SkipRun(
        run_id=run_id,
        study_key=told.study_key,
        thread_id=told.thread_id,
        inventory_digest="ni:///sha-256;aaaa",
        state="superseded",
        code="final-report-first",
    )
    for _ in range(2):
        runs.skip_run(skipped)
    assert [(run.run_id, run.state, run.code) for run in runs.list_runs()] == [
        (run_id, "superseded", "final-report-first")
    ]
    assert runs.find_read(told.study_key, "ni:///sha-256;aaaa", "release-1") is None


def test_after_a_merge_the_entry_is_found_under_the_survivor_once(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    survivor = told.patient.model_copy(update={"name": "Lindqvist-Berg, Maren", "resource": "Patient/survivor"})
    for _ in range(2):
        inbox.reindex(told.thread_id, survivor)
    entry = reader.get(told.result_id)
    assert entry is not None
    assert (entry.row.patient_name, entry.result.patient) == ("Lindqvist-Berg, Maren", survivor)
    assert [change.kind for change in reader.changes_since(0)] == ["added", "reindexed"]


def test_opening_a_run_again_does_not_undo_what_it_came_to(runs: RunRecords, inbox: InboxRecords) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    open_run(runs)
    assert [run.state for run in runs.list_runs()] == ["awaiting-review"]


def test_after_a_failed_run_the_same_study_may_be_read_again(
    runs: RunRecords, inbox: InboxRecords, outbox: OutboxRecords
) -> None:
    failed, event = failure(open_run(runs))
    runs.fail_run(failed, event)
    runs.fail_run(failed, event)
    assert [(r.stage, r.code, r.attempts) for r in runs.list_runs(failed=True)] == [("fetch-images", "geometry-gap", 1)]
    assert runs.find_read(failed.study_key, "ni:///sha-256;aaaa", "release-1") is None
    told = result()
    inbox.add(open_run(runs, "run-2"), told, available(told))
    assert [(e.topic, e.event.sequence) for e in outbox.unpublished(10)] == [(RUN_TOPIC, "1"), (RESULT_TOPIC, "2")]


def test_a_run_may_fail_before_it_was_opened(runs: RunRecords) -> None:
    failed, event = failure("run-early", code="patient-not-found")
    runs.fail_run(failed, event)
    open_run(runs, "run-early")
    assert [(run.run_id, run.state) for run in runs.list_runs(failed=True)] == [("run-early", "failed")]


def test_closing_a_run_that_nobody_opened_is_a_named_failure(runs: RunRecords) -> None:
    with pytest.raises(PermanentFailure, match="run-unknown"):
        runs.close_run("no-such-run", "unchanged", None)


def test_an_unchanged_run_does_not_become_reviewed_with_the_first(runs: RunRecords, inbox: InboxRecords) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    runs.close_run(open_run(runs, "run-2"), "unchanged", told.result_id)
    inbox.record_review(act := review(told), reviewed(told, act))
    assert {run.run_id: run.state for run in runs.list_runs()} == {"run-1": "reviewed", "run-2": "unchanged"}


# -- the inbox ---------------------------------------------------------------------------------------------------------------------


def test_the_same_result_from_two_processes_is_one_entry_one_change_one_event(
    migrated_url: str, database: Database, runs: RunRecords
) -> None:
    told, run_id = result(), open_run(runs)
    processes = [PROCESSES.Process(target=add, args=(migrated_url, run_id, told)) for _ in range(2)]
    threads = [threading.Thread(target=add, args=(migrated_url, run_id, told)) for _ in range(2)]
    for each in (*processes, *threads):
        each.start()
    for each in (*processes, *threads):
        each.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [count(database, table) for table in (InboxEntry, InboxChange, Outbox)] == [1, 1, 1]


def _hang_with_the_entry_written(url: str, run_id: str, told: Any, told_parent: Any) -> None:
    from services.db import inbox as module

    def hang(*_: object) -> None:
        told_parent.send("written, not committed")
        time.sleep(600)

    module.write_event = hang  # type: ignore[assignment]
    add(url, run_id, told)


def test_a_worker_killed_in_the_middle_leaves_nothing_and_the_next_one_writes_it_all(
    migrated_url: str, database: Database, runs: RunRecords, inbox: InboxRecords
) -> None:
    told, run_id = result(), open_run(runs)
    ours, theirs = PROCESSES.Pipe()
    worker = PROCESSES.Process(target=_hang_with_the_entry_written, args=(migrated_url, run_id, told, theirs))
    worker.start()
    assert ours.recv() == "written, not committed"
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join(30)
    assert [count(database, table) for table in (InboxEntry, InboxChange, Outbox)] == [0, 0, 0]
    inbox.add(run_id, told, available(told))
    assert [count(database, table) for table in (InboxEntry, InboxChange, Outbox)] == [1, 1, 1]


def test_an_entry_of_a_run_that_was_never_opened_is_refused_whole(database: Database, inbox: InboxRecords) -> None:
    with pytest.raises(PermanentFailure, match="run-unknown"):
        inbox.add("no-such-run", result(), available(result()))
    assert count(database, InboxEntry) == 0


def test_a_newer_result_supersedes_the_unread_one(runs: RunRecords, inbox: InboxRecords, reader: InboxReader) -> None:
    old, new = result("old"), result("new", supersedes=result("old").result_id, issued="2026-11-24T08:50:00.000+00:00")
    inbox.add(open_run(runs), old, available(old))
    inbox.add(open_run(runs, "run-2", digest="ni:///sha-256;bbbb"), new, available(new))
    inbox.add("run-1", old, available(old))
    entry = reader.get(old.result_id)
    assert entry is not None
    assert (entry.row.status, entry.newer_result_id) == ("superseded", new.result_id)
    assert [row.result_id for row in reader.list_entries(Filter()).rows] == [new.result_id]
    assert [(c.result_id, c.kind) for c in reader.changes_since(0)] == [
        (old.result_id, "added"),
        (new.result_id, "added"),
        (old.result_id, "superseded"),
    ]
    assert {run.run_id: run.state for run in runs.list_runs()} == {"run-1": "superseded", "run-2": "awaiting-review"}


def test_a_decision_stands_when_newer_images_arrive(runs: RunRecords, inbox: InboxRecords, reader: InboxReader) -> None:
    old, new = result("old"), result("new", issued="2026-11-24T09:50:00.000+00:00")
    inbox.add(open_run(runs), old, available(old))
    inbox.record_review(act := review(old), reviewed(old, act))
    inbox.add(open_run(runs, "run-2", digest="ni:///sha-256;bbbb"), new, available(new))
    entry = reader.get(old.result_id)
    assert entry is not None
    assert (entry.row.status, entry.newer_result_id) == ("accepted", new.result_id)


def test_a_review_is_recorded_once_and_a_second_decision_is_refused(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader, outbox: OutboxRecords
) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    reader.view(told.result_id, OPENED)
    reject = review(told, "rejected", reason_code="false-positive", reason_text="vessel, not a nodule")
    for _ in range(2):
        inbox.record_review(reject, reviewed(told, reject))
    with pytest.raises(PermanentFailure, match="already-reviewed"):
        inbox.record_review(other := review(told, act="act-2"), reviewed(told, other))
    entry = reader.get(told.result_id)
    assert entry is not None
    assert (entry.row.status, entry.row.reviewer, entry.reason_text) == (
        "rejected",
        "Dr. Ines Halloran",
        "vessel, not a nodule",
    )
    assert [e.event.sequence for e in outbox.unpublished(10)] == ["1", "2"]
    assert [c.kind for c in reader.changes_since(0)] == ["added", "opened", "rejected"]


def closed(told: Any, reason: Any = "order-cancelled", act: str = "close-1", changed: bool = True) -> EntryClosed:
    return EntryClosed(
        result_id=told.result_id,
        act_id=key("act", act),
        reason=reason,
        changed=changed,
        report=told.report,
        at="2026-11-24T09:00:00Z",
    )


def withdrawn(told: Any, end: EntryClosed) -> CloudEvent:
    outcome = "superseded-by-final-report" if end.reason == "superseded-by-final-report" else "withdrawn"
    event = reviewed(told, review(told, act=end.act_id))
    return event.model_copy(update={"data": event.data | {"outcome": outcome}})


def test_a_result_that_the_system_closes_leaves_the_list_once(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader, outbox: OutboxRecords
) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    for _ in range(2):
        inbox.close(end := closed(told), withdrawn(told, end))
    assert reader.list_entries(Filter()).rows == []
    [row] = reader.list_entries(Filter(shown="superseded")).rows
    assert (row.status, row.closed_reason) == ("withdrawn", "order-cancelled")
    assert [c.kind for c in reader.changes_since(0)] == ["added", "withdrawn"]
    assert len(outbox.unpublished(10)) == 2
    assert [run.state for run in runs.list_runs()] == ["withdrawn"]


def test_a_final_report_beside_a_decision_leaves_it(runs: RunRecords, inbox: InboxRecords, reader: InboxReader) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    inbox.record_review(act := review(told), reviewed(told, act))
    inbox.close(end := closed(told, "superseded-by-final-report", changed=False), withdrawn(told, end))
    [row] = reader.list_entries(Filter(shown="reviewed")).rows
    assert (row.status, row.closed_reason) == ("accepted", "superseded-by-final-report")
    assert [run.state for run in runs.list_runs()] == ["reviewed"]


def test_escalation_only_rises_and_the_first_answer_stands(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    for step in (1, 3, 2, 3):
        inbox.record_escalation(EntryEscalated(result_id=told.result_id, step=step), None)
    for by in ("Dr. First", "Dr. Second"):
        answer = EntryAcknowledged(result_id=told.result_id, by=by, at="2026-11-24T09:00:00Z")
        inbox.record_acknowledgement(answer, None)
    entry = reader.get(told.result_id)
    assert entry is not None
    assert (entry.row.escalation_step, entry.row.acknowledged_by) == (3, "Dr. First")
    assert [c.kind for c in reader.changes_since(0)] == ["added", "escalated", "escalated", "acknowledged"]


def test_a_priority_is_raised_in_the_list_and_never_lowered(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    first, second = result("first", "study-1", priority="asap"), result("second", "study-2", priority="routine")
    for number, told in enumerate((first, second)):
        inbox.add(open_run(runs, f"run-{number}"), told, available(told))
    for priority in ("stat", "routine"):
        inbox.raise_priority(second.result_id, priority)
    assert [row.priority for row in reader.list_entries(Filter()).rows] == ["stat", "asap"]
    found = inbox.find(second.result_id)
    assert found is not None
    assert found.priority == "stat"


PNEUMOTHORAX = RaisedPriority(
    finding="pneumothorax", likelihood="probable", priority="stat", critical_list="radiology@v3"
)


def raised_result(order: Any = "routine") -> Any:
    return result("raised", "study-2", priority="stat", order_priority=order, raised=PNEUMOTHORAX)


def test_what_a_finding_has_raised_stands_first_until_a_reviewer_rejects_it(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    plain, raised = result("first", "study-1", priority="urgent"), raised_result()
    for number, told in enumerate((plain, raised)):
        inbox.add(open_run(runs, f"run-{number}"), told, available(told))
    first, second = reader.list_entries(Filter()).rows
    assert (first.result_id, first.priority, first.order_priority) == (raised.result_id, "stat", "routine")
    assert first.raised == PNEUMOTHORAX.model_dump()
    assert (second.raised, second.order_priority) == (None, None)
    inbox.record_review(act := review(raised, "rejected", reason_code="false-positive"), reviewed(raised, act))
    [row] = reader.list_entries(Filter(shown="reviewed", priority="routine")).rows
    assert (row.result_id, row.priority, row.raised) == (raised.result_id, "routine", None)
    entry = reader.get(raised.result_id)
    assert entry is not None
    assert (entry.row.priority, entry.result.priority, entry.result.raised) == ("routine", "routine", None)


def test_what_was_not_raised_is_kept_in_the_form_that_earlier_versions_read(
    runs: RunRecords, inbox: InboxRecords, database: Database
) -> None:
    told, other = result("first", "study-1", priority="routine"), result("second", "study-2", priority="routine")
    for number, each in enumerate((told, other)):
        inbox.add(open_run(runs, f"run-{number}"), each, available(each))
    inbox.raise_priority(other.result_id, "stat")
    with database.reading() as session:
        documents = list(session.scalars(select(InboxEntry.document)))
    assert not {"raised", "order_priority"} & set().union(*documents)


@pytest.mark.parametrize(
    ("outcome", "taken_back", "priority"),
    [
        ("accepted", [], "stat"),
        ("amended", ["pleural-effusion"], "stat"),
        ("amended", ["pneumothorax"], "routine"),
        ("rejected", [], "routine"),
    ],
)
def test_only_a_decision_that_takes_the_finding_back_lowers_the_result(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader, outcome: str, taken_back: list[str], priority: str
) -> None:
    inbox.add(open_run(runs), told := raised_result(), available(told))
    inbox.record_review(act := review(told, outcome, taken_back=taken_back), reviewed(told, act))
    [row] = reader.list_entries(Filter(shown="reviewed")).rows
    assert row.priority == priority


def test_an_order_follows_below_the_finding_and_a_rejection_leads_back_to_it(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    inbox.add(open_run(runs), told := raised_result(), available(told))
    for priority in ("urgent", "routine"):
        inbox.raise_priority(told.result_id, priority)
    [row] = reader.list_entries(Filter()).rows
    assert (row.priority, row.order_priority, row.raised) == ("stat", "urgent", PNEUMOTHORAX.model_dump())
    inbox.record_review(act := review(told, "rejected", reason_code="false-positive"), reviewed(told, act))
    [row] = reader.list_entries(Filter(shown="reviewed")).rows
    assert (row.priority, row.raised) == ("urgent", None)


def test_an_order_as_urgent_as_the_finding_counts_alone(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    inbox.add(open_run(runs), told := raised_result(), available(told))
    inbox.raise_priority(told.result_id, "stat")
    [row] = reader.list_entries(Filter()).rows
    assert (row.priority, row.order_priority, row.raised) == ("stat", None, None)


def test_an_addendum_stands_beside_its_result_and_goes_with_it_when_newer_images_come(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    base = result("old")
    note = result("note", adds_to=base.result_id, headline="Addendum", issued="2026-11-24T08:30:00.000+00:00")
    inbox.add(open_run(runs), base, available(base))
    for _ in range(2):
        inbox.add_addendum(note, available(note))
    entry = reader.get(base.result_id)
    assert entry is not None
    assert (entry.addenda, entry.newer_result_id) == ([note.result_id], None)
    assert {run.result_id for run in runs.list_runs()} == {base.result_id}
    newer = result("new", supersedes=base.result_id, issued="2026-11-24T08:50:00.000+00:00")
    inbox.add(open_run(runs, "run-2", digest="ni:///sha-256;bbbb"), newer, available(newer))
    assert [row.result_id for row in reader.list_entries(Filter()).rows] == [newer.result_id]


def test_an_addendum_to_a_result_that_is_not_here_is_refused_whole(database: Database, inbox: InboxRecords) -> None:
    with pytest.raises(PermanentFailure, match="inbox-entry-missing"):
        inbox.add_addendum(note := result("note", adds_to=key("gone")), available(note))
    assert count(database, InboxEntry) == 0


def test_entries_of_the_version_before_are_kept_by_the_migration(url: str) -> None:
    database = open_database(url)
    with database.engine.begin() as connection, as_file(files("services.db") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO run (run_id, study_key, thread_id, state, started_at, updated_at)"
                " VALUES ('r', 's', 't', 'reviewed', '2026-11-24', '2026-11-24')"
            )
        )
        document = result().model_dump_json(exclude={"adds_to", "headline", "order_priority", "raised"})
        connection.execute(
            text(
                "INSERT INTO inbox_entry (result_id, run_id, study_key, thread_id, status, priority, priority_rank, modality, trained, release_name,"
                " patient_name, study_description, headline, finding_count, issued_at, document, added_at)"
                " VALUES ('x', 'r', 's', 't', 'unread', 'stat',"
                " 0, 'CT', :no, 'r1', 'n', 'd', 'h', 0, '2026-11-24', :document, '2026-11-24')"
            ),
            {"document": document, "no": False},
        )
    migrate(url)
    entry = InboxReader(database).get("x")
    assert entry is not None
    assert (entry.row.escalation_step, entry.row.escalation_exhausted, entry.row.adds_to) == (0, False, None)
    assert (entry.row.order_priority, entry.row.raised) == (None, None)
    database.close()


def test_a_review_of_a_result_that_is_not_here_is_a_named_failure(inbox: InboxRecords) -> None:
    with pytest.raises(PermanentFailure, match="inbox-entry-missing"):
        inbox.record_review(act := review(result()), reviewed(result(), act))


def test_the_list_is_sorted_by_urgency_then_by_what_is_due(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    due = {"later": "2026-11-24T11:00:00Z", "sooner": "2026-11-24T09:00:00Z"}
    wanted = [
        ("a", "stat", "later"),
        ("b", "asap", "later"),
        ("c", "urgent", "sooner"),
        ("d", "urgent", "later"),
        ("e", "routine", "sooner"),
    ]
    for study, priority, when in reversed(wanted):
        told = result(study=study, priority=priority, acknowledge_by=due[when])
        inbox.add(open_run(runs, f"run-{study}", study), told, available(told))
    reader.view(result(study="a").result_id, OPENED)
    listing = reader.list_entries(Filter())
    assert [row.result_id for row in listing.rows] == [result(study=study).result_id for study, _, _ in wanted]
    assert (listing.unread, listing.open, listing.matching) == (4, 5, 5)
    assert len(reader.list_entries(Filter(priority="urgent")).rows) == 2
    assert reader.list_entries(Filter(modality="MR")).rows == []
    assert [row.priority for row in reader.list_entries(Filter(limit=2, offset=1)).rows] == ["asap", "urgent"]


def test_a_second_run_that_comes_to_the_same_result_closes_as_unchanged(
    runs: RunRecords, inbox: InboxRecords, reader: InboxReader
) -> None:
    """Images arrived between listing and fetching: the run of the later event reads what was read already."""
    told = result()
    for run_id, digest in (("run-1", "ni:///sha-256;aaaa"), ("run-2", "ni:///sha-256;bbbb")):
        for _ in range(2):
            inbox.add(open_run(runs, run_id, digest=digest), told, available(told))
    assert {run.run_id: run.state for run in runs.list_runs()} == {"run-1": "awaiting-review", "run-2": "unchanged"}
    assert len(reader.list_entries(Filter()).rows) == 1


def test_opening_twice_is_opening_once(runs: RunRecords, inbox: InboxRecords, reader: InboxReader) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    reader.view(told.result_id, OPENED)
    first = reader.get(told.result_id)
    reader.view(told.result_id, OPENED)
    assert reader.get(told.result_id) == first
    assert [c.kind for c in reader.changes_since(0)] == ["added", "opened"]


def test_the_document_comes_back_as_it_was_written(runs: RunRecords, inbox: InboxRecords, reader: InboxReader) -> None:
    told = result()
    inbox.add(open_run(runs), told, available(told))
    entry = reader.get(told.result_id)
    assert entry is not None
    assert entry.result == told
    assert entry.row.headline == "Pulmonary nodule, left, 14 mm, worse"
    assert reader.get("no-such-result") is None


# -- feed and outbox ---------------------------------------------------------------------------------------------------------------


def test_a_reader_that_follows_the_feed_while_many_write_misses_nothing(
    migrated_url: str, database: Database, runs: RunRecords, reader: InboxReader
) -> None:
    studies = [f"study-{n}" for n in range(24)]
    for study in studies:
        open_run(runs, f"run-{study}", study)

    def write(mine: list[str]) -> None:
        for study in mine:
            add(migrated_url, f"run-{study}", result(study=study))

    writers = [threading.Thread(target=write, args=(studies[n::4],)) for n in range(4)]
    for writer in writers:
        writer.start()
    seen: list[str] = []
    position, deadline = 0, time.monotonic() + 60
    while len(seen) < len(studies) and time.monotonic() < deadline:
        for change in reader.changes_since(position, limit=3):
            position = change.seq
            seen.append(change.result_id)
        time.sleep(0.002)  # without a pause this thread keeps the interpreter's lock, and the writers take seconds
    for writer in writers:
        writer.join()
    assert sorted(seen) == sorted(result(study=study).result_id for study in studies)
    assert reader.changes_since(position) == []


def test_a_writer_waits_until_the_one_before_has_committed(
    migrated_url: str, database: Database, runs: RunRecords, reader: InboxReader
) -> None:
    """Otherwise a row with a lower `seq` could become visible after one with a higher, and the feed's reader would pass it by."""
    told, run_id = result(), open_run(runs)
    late = threading.Thread(target=add, args=(migrated_url, run_id, told))
    with database.writing() as session:
        session.execute(text("SELECT 1"))
        late.start()
        late.join(0.5)
        assert late.is_alive()
        assert reader.last_seq() == 0
    late.join(30)
    assert reader.last_seq() == 1


def test_events_wait_until_they_are_published_and_carry_a_sequence_for_each_key(
    runs: RunRecords, inbox: InboxRecords, outbox: OutboxRecords
) -> None:
    for study in ("study-1", "study-2"):
        told = result(study=study)
        inbox.add(open_run(runs, f"run-{study}", study), told, available(told))
        inbox.record_review(act := review(told, act=study), reviewed(told, act))
    waiting = outbox.unpublished(10)
    assert [(e.event.partitionkey, e.event.sequence) for e in waiting] == [
        (key("study", study), sequence) for study in ("study-1", "study-2") for sequence in ("1", "2")
    ]
    for each in waiting:
        validate(each.event.structured())
    assert [e.seq for e in outbox.unpublished(1)] == [waiting[0].seq]
    outbox.mark_published([waiting[0].seq])
    outbox.mark_published([waiting[0].seq])
    assert [e.seq for e in outbox.unpublished(10)] == [e.seq for e in waiting[1:]]


# -- dead letters ------------------------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_kept_once_and_comes_back_byte_by_byte(database: Database) -> None:
    letters = DeadLetterRecords(database)
    invalid = InvalidEvent("schema-invalid", "event-not-json", "the value is not JSON")
    place = (
        "hospital.imaging-study.v1",
        3,
        99812,
        invalid,
        "9f2c" * 16,
        b"\xff\x00key",
        [("ce_type", b"\xfe"), ("a", b"")],
    )
    letters.add("letter-1", *place)
    letters.add("letter-1", *place)
    assert count(database, DeadLetter) == 1
    letter = letters.get("letter-1")
    assert (letter.key, letter.headers, letter.replayed_at) == (
        b"\xff\x00key",
        [("ce_type", b"\xfe"), ("a", b"")],
        None,
    )
    letters.mark_replayed("letter-1")
    assert [row.replayed_at is not None for row in letters.list_dead_letters()] == [True]
    with pytest.raises(PermanentFailure, match="dead-letter-unknown"):
        letters.get("letter-2")


# -- failures ----------------------------------------------------------------------------------------------------------------------


def failing(act: Callable[[], object]) -> LongviewError:
    with pytest.raises(LongviewError) as failed:
        act()
    return failed.value


def test_a_refused_row_is_a_named_failure_that_repeats_no_value(
    database: Database, inbox: InboxRecords, runs: RunRecords
) -> None:
    open_run(runs)
    told = result()
    with database.writing() as session:
        session.execute(text("ALTER TABLE inbox_entry RENAME COLUMN accession TO acc"))
    error = failing(lambda: inbox.add("run-1", told, available(told)))
    assert "Lindqvist" not in str(error)
    assert "RAD2026" not in str(error)
    assert error.__cause__ is None
    assert error.code in ("database-refused", "database-unavailable")


def test_limits_hold_in_every_transaction_and_a_pooler_is_told_of_none(database: Database) -> None:
    """PgBouncer refuses `options` at connect, and gives each transaction another connection, with what the last one left in its session."""
    if database.engine.dialect.name == "sqlite":
        with database.reading() as session:
            assert session.scalar(text("PRAGMA busy_timeout")) == BUSY_SECONDS * 1000
        return
    asked = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    for opened in (database.reading, database.writing):
        with opened() as session:
            shown = {name: session.scalar(text(f"SHOW {name}")) for name in asked}
            assert shown == {"lock_timeout": "15s", "statement_timeout": "1min", asked[2]: "30s"}
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        given = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
        assert "options" not in given


def test_a_database_that_is_busy_for_too_long_is_a_transient_failure(
    migrated_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.db.engine.BUSY_SECONDS", 1)
    monkeypatch.setitem(PG_TIMEOUTS, "lock_timeout", "1s")
    impatient = open_database(migrated_url)
    with database.writing() as session:
        session.execute(text("SELECT 1"))
        error = failing(lambda: RunRecords(impatient).open_run("r", "s", "t", "d", "release"))
    impatient.close()
    assert isinstance(error, TransientFailure)
