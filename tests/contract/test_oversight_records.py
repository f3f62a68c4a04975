"""The tables of oversight: passes that go on after a kill, shadow readings beside shown ones, rates over time. SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from schemas.errors import PermanentFailure
from schemas.oversight import BoxPair, ClosePass, OpenPass, ReconcileItem, ShadowFinding, ShadowKept, ShownReading
from schemas.report import DroppedFinding, Reading
from schemas.runs import RunFailure
from services.db import (
    BuildRecords,
    Database,
    Filter,
    InboxReader,
    InboxRecords,
    ReconcileRecords,
    RunRecords,
    ShadowRecords,
)
from services.db.models import InboxEntry
from tests.contract.test_database import database as database
from tests.inbox_samples import available, failure, key, no_effusion, nodule, result, review, reviewed
from workflows.shadow.drift import Rate, watch

DAY = date(2026, 11, 25)


@pytest.fixture
def records(database: Database) -> ReconcileRecords:
    return ReconcileRecords(database)


@pytest.fixture
def shadows(database: Database) -> ShadowRecords:
    return ShadowRecords(database)


def posted(database: Database, study: str, findings: Any = None, *, days_ago: int = 1, **changes: Any) -> str:
    """A result in the inbox, with how it was built; its id."""
    issued = datetime(2026, 11, 25, tzinfo=UTC) - timedelta(days=days_ago, hours=-1)
    dropped = (
        [DroppedFinding(label="consolidation", code="laterality-conflict")] if changes.pop("dropped", False) else []
    )
    reading = Reading(
        findings=[nodule(), no_effusion()] if findings is None else findings,
        dropped=dropped,
        prior_study_instance_uid=None,
        not_compared_reason="no-prior",
        evidence=[],
    )
    told = result("one", study, issued=issued.isoformat(), reading=reading, **changes)
    RunRecords(database).open_run(f"run-{study}", told.study_key, told.thread_id, "ni:///sha-256;a", told.release_id)
    BuildRecords(database).keep_build(
        ShownReading(
            result_id=told.result_id,
            study_key=told.study_key,
            thread_id=told.thread_id,
            release_id=told.release_id,
            build="b" * 64,
            reading=reading,
        )
    )
    InboxRecords(database).add(f"run-{study}", told, available(told))
    return told.result_id


def decide(database: Database, study: str, outcome: str) -> None:
    told = result("one", study)
    act = review(told, outcome, act=f"act-{study}", at="2026-11-24T12:00:00Z")
    InboxRecords(database).record_review(act, reviewed(told, act))


def opened(pass_id: str = "pass-1") -> OpenPass:
    at = "2026-11-25T03:00:00+00:00"
    return OpenPass(pass_id=pass_id, trigger="now", since="2026-11-22", grace_minutes=15, cap=50, at=at)


def item(state: Any = "healed", pass_id: str = "pass-1", fact: str = "ni:///sha-256;a") -> ReconcileItem:
    return ReconcileItem(
        pass_id=pass_id, kind="study-without-result", key="study-1", fact=fact, state=state, code="never-announced"
    )


def test_a_notice_about_an_unread_study_is_no_result_that_waits(database: Database, records: ReconcileRecords) -> None:
    """Else a pass would look for its report, and announce its study again for ever."""
    waiting = posted(database, "study-1")
    told = result("one", "study-2")
    nothing = told.reading.model_copy(update={"kind": "unread", "findings": []})
    notice = told.model_copy(update={"reading": nothing})
    RunRecords(database).open_run("run-2", notice.study_key, notice.thread_id, "ni:///sha-256;a", notice.release_id)
    InboxRecords(database).add_notice("run-2", notice)
    studies = [result("one", "study-1").study_key, notice.study_key]
    assert records.waiting_studies(studies) == {studies[0]}
    assert [entry.result_id for entry in records.entries(datetime(2026, 1, 1, tzinfo=UTC), [])] == [waiting]
    assert [one.result_id for one in InboxRecords(database).open_notices(notice.thread_id)] == [notice.result_id]


# -- passes ------------------------------------------------------------------------------------------------------------


def test_a_pass_that_is_killed_midway_goes_on_and_counts_each_thing_once(records: ReconcileRecords) -> None:
    for _ in range(2):
        records.open_pass(opened())
        records.record_item(item("waiting"))
    records.record_item(item("healed"))
    closing = ClosePass(pass_id="pass-1", at="2026-11-25T03:20:00+00:00", studies=9, results=4, left=1)
    assert records.close_pass(closing) == records.close_pass(closing) == {"healed": 1}
    [row] = records.list_passes()
    assert (row.studies, row.results, row.healed, row.waiting, row.left_over) == (9, 4, 1, 0, 1)
    assert [(i.state, i.code) for i in records.list_items("pass-1")] == [("healed", "never-announced")]


def test_a_pass_that_was_never_opened_cannot_be_closed(records: ReconcileRecords) -> None:
    with pytest.raises(PermanentFailure, match="pass-unknown"):
        records.close_pass(ClosePass(pass_id="other", at="2026-11-25T03:20:00+00:00", studies=0, results=0, left=0))


def test_how_often_a_study_was_announced_in_one_state_is_remembered(records: ReconcileRecords) -> None:
    for number in range(3):
        records.open_pass(opened(f"pass-{number}"))
        records.record_item(item("healed", f"pass-{number}"))
    assert records.announced_before("study-1", "ni:///sha-256;a", "pass-2") == 2
    assert records.announced_before("study-1", "ni:///sha-256;other", "pass-2") == 0


def test_the_newest_run_of_each_study_counts(database: Database, records: ReconcileRecords) -> None:
    posted(database, "study-1")
    failed, event = failure("run-later")
    RunRecords(database).fail_run(failed, event)
    other, other_event = failure("run-other", "study-2", "archive-unavailable")
    RunRecords(database).fail_run(RunFailure(**dict(other) | {"retryable": True}), other_event)
    seen = records.newest_runs([key("study", "study-1"), key("study", "study-2"), key("study", "study-3")])
    assert {(k, r.run_id, r.code, r.retryable) for k, r in seen.items()} == {
        (key("study", "study-1"), "run-later", "geometry-gap", False),
        (key("study", "study-2"), "run-other", "archive-unavailable", True),
    }


def test_an_entry_gives_way_and_a_decision_stands(database: Database, records: ReconcileRecords) -> None:
    waiting, decided = posted(database, "study-1"), posted(database, "study-2")
    decide(database, "study-2", "accepted")
    assert records.supersede_entry(waiting, "newer")
    assert records.supersede_entry(waiting, "newer")
    assert not records.supersede_entry(decided, "newer")
    assert not records.supersede_entry("unknown", None)
    reader = InboxReader(database)
    assert [row.result_id for row in reader.list_entries(Filter(shown="superseded")).rows] == [waiting]
    assert [c.kind for c in reader.changes_since(0)].count("superseded") == 1
    since = datetime(2026, 11, 20, tzinfo=UTC)
    assert {e.status for e in records.entries(since, [])} == {"superseded", "accepted"}
    later = datetime(2026, 12, 1, tzinfo=UTC)
    assert [e.result_id for e in records.entries(later, [decided, "unknown"])] == [decided]


def test_the_run_of_a_result_that_never_got_to_the_inbox_is_found_again(
    database: Database, records: ReconcileRecords
) -> None:
    study = (key("study", "s"), key("thread", "s"), "ni:///sha-256;a", "release-1")
    RunRecords(database).open_run("run-lost", *study)
    assert records.run_of("run-new", *study) == "run-lost"
    other = (key("study", "t"), key("thread", "t"), "ni:///sha-256;a", "release-1")
    assert records.run_of("run-new", *other) == "run-new"
    assert records.run_of("run-new", *other) == "run-new"


# -- shadow readings -----------------------------------------------------------------------------------------------------


def kept(result_id: str, release: str = "shadow-2", **changes: Any) -> ShadowKept:
    found = ShadowFinding(
        label="pulmonary-nodule",
        shown_presence="detected",
        shown_likelihood="probable",
        shown_dropped=None,
        shadow_presence="detected",
        shadow_likelihood="possible",
        shadow_dropped=None,
        boxes=BoxPair(area_shown=100, area_shadow=80, intersection=60, slices_apart=0),
    )
    fields: dict[str, Any] = {
        "study_key": "k",
        "result_id": result_id,
        "release_id": release,
        "reading": "c" * 64,
        "milliseconds": 900,
        "code": None,
        "findings": [found],
    }
    return ShadowKept(**fields | changes)


def test_a_shadow_reading_stands_beside_the_shown_one_once(database: Database, shadows: ShadowRecords) -> None:
    read, unread = posted(database, "study-1"), posted(database, "study-2")
    assert not shadows.was_read(read, "shadow-2")
    for _ in range(2):
        shadows.keep_shadow(kept(read))
    assert shadows.was_read(read, "shadow-2")
    decide(database, "study-1", "accepted")
    since = datetime(2026, 11, 1, tzinfo=UTC)
    release = key("release", "untrained")
    assert shadows.releases(since) == [(release, "shadow-2")]
    seen = {(c.result_id, c.label): c for c in shadows.comparisons(since, release, "shadow-2")}
    both = seen[read, "pulmonary-nodule"]
    assert (both.shown, both.shadow, both.human, both.decision) == ("detected", "detected", "detected", "accepted")
    assert both.boxes is not None
    assert both.boxes.intersection == 60
    alone = seen[unread, "pulmonary-nodule"]
    assert (alone.shadow, alone.shadow_asked, alone.decision) == (None, False, None)


def test_what_a_human_has_changed_is_a_disagreement_about_that_finding_alone(
    database: Database, shadows: ShadowRecords
) -> None:
    changed = posted(database, "study-1")
    decide(database, "study-1", "accepted")
    with database.writing() as session:  # as an amendment leaves the entry
        session.execute(update(InboxEntry).values(status="amended"))
    since, release = datetime(2026, 11, 1, tzinfo=UTC), key("release", "untrained")
    assert {c.human for c in shadows.comparisons(since, release, None)} == {None}  # which finding is not known yet
    for _ in range(2):
        BuildRecords(database).keep_amended(changed, {"pulmonary-nodule": "not-detected"})
    seen = {c.label: (c.shown, c.human, c.decision) for c in shadows.comparisons(since, release, None)}
    assert seen["pulmonary-nodule"] == ("detected", "not-detected", "amended")
    assert seen["pleural-effusion"] == ("not-detected", "not-detected", "amended")


def test_a_failed_shadow_reading_is_a_row_and_no_comparison(database: Database, shadows: ShadowRecords) -> None:
    read = posted(database, "study-1")
    shadows.keep_shadow(kept(read, reading=None, milliseconds=None, code="model-output-invalid", findings=[]))
    assert shadows.was_read(read, "shadow-2")
    since, release = datetime(2026, 11, 1, tzinfo=UTC), key("release", "untrained")
    assert not any(c.shadow_asked for c in shadows.comparisons(since, release, "shadow-2"))


def test_a_superseded_result_is_not_a_second_study(database: Database, shadows: ShadowRecords) -> None:
    old = posted(database, "study-1")
    shadows.keep_shadow(kept(old))
    ReconcileRecords(database).supersede_entry(old, None)
    assert shadows.comparisons(datetime(2026, 11, 1, tzinfo=UTC), key("release", "untrained"), "shadow-2") == []


# -- drift ---------------------------------------------------------------------------------------------------------------


def test_rates_count_studies_in_their_windows(database: Database, shadows: ShadowRecords) -> None:
    posted(database, "a", days_ago=1)
    posted(database, "b", days_ago=7, dropped=True)
    posted(database, "c", [], days_ago=8, dropped=True)
    posted(database, "d", days_ago=35)
    posted(database, "too old", days_ago=36)
    posted(database, "today", days_ago=0)
    decide(database, "a", "accepted")
    decide(database, "b", "rejected")
    release = key("release", "untrained")
    assert shadows.shown_releases(DAY) == [release]
    recent, reference = shadows.rates(release, DAY)
    assert recent["detected:pulmonary-nodule"] == Rate(2, 2)
    assert recent["detected:pleural-effusion"] == Rate(0, 2)
    assert (recent["abstained"], recent["dropped-answer"], recent["rejected"]) == (Rate(0, 2), Rate(1, 2), Rate(1, 2))
    assert (reference["abstained"], reference["detected:pulmonary-nodule"]) == (Rate(1, 2), Rate(1, 1))


def test_the_first_look_of_a_day_counts(shadows: ShadowRecords) -> None:
    alarming = watch({"abstained": Rate(40, 100)}, {"abstained": Rate(4, 400)})
    calm = watch({"abstained": Rate(1, 100)}, {"abstained": Rate(4, 400)})
    shadows.keep_look(DAY, "release-1", alarming)
    shadows.keep_look(DAY, "release-1", calm)
    shadows.keep_look(DAY - timedelta(days=1), "release-1", calm)
    [alarm] = shadows.alarms(DAY)
    assert (alarm["metric"], alarm["recent_k"], alarm["verdict"]) == ("abstained", 40, "alarm")
    assert [look["day"] for look in shadows.looks(DAY - timedelta(days=3))] == ["2026-11-25", "2026-11-24"]
    assert shadows.alarms(DAY - timedelta(days=1)) == []
