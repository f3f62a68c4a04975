"""What a pass of reconciliation notices: whatever was lost is found, and nothing that is in order is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import Canonical
from schemas.oversight import EntrySeen, ReportSeen, ResultGap, RunSeen
from workflows.reconcile.findings import compare_results, confirmed, suspicion
from workflows.reconcile.seen import ADDENDUM_OF, report_seen

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
GRACE = timedelta(minutes=15)
YESTERDAY = (NOW - timedelta(days=1)).isoformat()

HEALTHY = [
    ("unread", "partial"),
    ("opened", "partial"),
    ("accepted", "preliminary"),
    ("rejected", "entered-in-error"),
    ("rejected", "cancelled"),
    ("superseded", "cancelled"),
    ("amended", "preliminary"),
    ("withdrawn", "entered-in-error"),
]


def report(n: int, status: str = "partial", **changes: Any) -> ReportSeen:
    fields = {
        "report": f"DiagnosticReport/{n}",
        "result_id": f"result-{n}",
        "thread_id": f"thread-{n}",
        "status": status,
        "issued": YESTERDAY,
        "changed": YESTERDAY,
    }
    return ReportSeen.model_validate(fields | changes)


def entry(n: int, status: str = "unread", **changes: Any) -> EntrySeen:
    return EntrySeen.model_validate(
        {"result_id": f"result-{n}", "thread_id": f"thread-{n}", "status": status} | changes
    )


def compare(reports: list[ReportSeen], entries: list[EntrySeen]) -> list[ResultGap]:
    return compare_results(reports, entries, NOW, GRACE)


def run(state: str, code: str | None = None, *, retryable: bool = False, hours: float = 2) -> RunSeen:
    return RunSeen.model_validate(
        {
            "run_id": "r",
            "study_key": "k",
            "state": state,
            "code": code,
            "retryable": retryable,
            "inventory_digest": "ni:///sha-256;one",
            "updated_at": (NOW - timedelta(hours=hours)).isoformat(),
        }
    )


# -- studies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["awaiting-review", "reviewed", "superseded", "unchanged"])
def test_a_study_that_was_read_is_left_alone(state: str) -> None:
    assert suspicion(run(state, hours=900), NOW) is None


def test_a_study_that_nobody_announced_is_missed() -> None:
    assert suspicion(None, NOW) == "never-announced"


def test_a_study_being_read_is_left_alone_until_its_run_is_lost() -> None:
    assert suspicion(run("running", hours=20), NOW) is None
    assert suspicion(run("running", hours=40), NOW) == "run-stalled"


@pytest.mark.parametrize("code", ["study-not-found", "patient-not-found", "model-release-mismatch"])
def test_a_failure_that_time_or_an_operator_mends_is_tried_again(code: str) -> None:
    assert suspicion(run("failed", code), NOW) == "run-failed"
    assert suspicion(run("failed", "model-unavailable", retryable=True), NOW) == "run-failed"


@pytest.mark.parametrize("code", ["geometry-gap", "pixels-codec", "no-volume-series", "patient-mismatch"])
def test_a_study_that_cannot_be_read_is_asked_about_again_only_with_other_instances(code: str) -> None:
    failed = run("failed", code)
    reason = suspicion(failed, NOW)
    assert reason == "study-changed"
    assert not confirmed(reason, failed, "ni:///sha-256;one")
    assert confirmed(reason, failed, "ni:///sha-256;two")


# -- results -----------------------------------------------------------------------------------------------------------


pairs = st.lists(st.sampled_from(HEALTHY), min_size=1, max_size=12)


@given(pairs, st.data())
def test_whatever_is_lost_is_found_and_nothing_in_order_is_touched(
    house: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Entries and reports of any subset vanish: exactly those are named, once each, and only where somebody would miss them."""
    numbers = range(len(house))
    lost_entries = data.draw(st.sets(st.sampled_from(numbers)))
    lost_reports = data.draw(st.sets(st.sampled_from(numbers))) - lost_entries
    reports = [report(n, house[n][1]) for n in numbers if n not in lost_reports]
    entries = [entry(n, house[n][0]) for n in numbers if n not in lost_entries]
    gaps = compare(data.draw(st.permutations(reports)), data.draw(st.permutations(entries)))
    missed = {n for n in lost_entries if house[n][1] in ("partial", "preliminary")}
    assert {g.result_id for g in gaps if g.kind == "result-without-entry"} == {f"result-{n}" for n in missed}
    assert {g.result_id for g in gaps if g.kind == "entry-without-report"} == {f"result-{n}" for n in lost_reports}
    assert len(gaps) == len(missed) + len(lost_reports)


@given(st.permutations(range(6)))
def test_the_order_of_what_is_found_does_not_matter(order: list[int]) -> None:
    reports = [report(n, thread_id="one-study", issued=f"2026-11-2{n % 3}T00:00:00Z") for n in order]
    entries = [entry(n, thread_id="one-study") for n in order]
    assert compare(reports, entries) == compare(sorted(reports, key=lambda r: r.result_id), entries[::-1])


def test_what_is_younger_than_the_grace_period_is_left_to_its_workflow() -> None:
    just_now = (NOW - timedelta(minutes=3)).isoformat()
    assert compare([report(1, changed=just_now)], []) == []
    assert compare([report(1, "preliminary", changed=just_now)], [entry(1)]) == []


def test_a_reviewed_result_is_not_put_up_for_review_again() -> None:
    [gap] = compare([report(1, "preliminary")], [])
    assert gap.code == "reviewed-without-entry"


@pytest.mark.parametrize(
    ("status", "in_fhir", "code"),
    [
        ("unread", "cancelled", "withdrawn-in-fhir"),
        ("opened", "preliminary", "decided-elsewhere"),
        ("unread", "entered-in-error", "decided-elsewhere"),
        ("accepted", "partial", "decision-not-in-fhir"),
        ("superseded", "partial", "withdrawal-not-in-fhir"),
        ("withdrawn", "preliminary", "status-unexpected"),
        ("unread", "final", "status-unexpected"),
    ],
)
def test_an_entry_that_says_other_than_fhir_is_named(status: str, in_fhir: str, code: str) -> None:
    [gap] = compare([report(1, in_fhir)], [entry(1, status)])
    assert (gap.kind, gap.code) == ("entry-out-of-step", code)


def test_a_withdrawn_result_names_the_newer_one() -> None:
    newer = report(2, thread_id="thread-1", issued=NOW.isoformat())
    gaps = compare([report(1, "cancelled"), newer], [entry(1), entry(2, thread_id="thread-1")])
    assert [(g.result_id, g.newer) for g in gaps] == [("result-1", "result-2")]


def test_one_result_twice_is_a_matter_for_a_person_and_for_nothing_else() -> None:
    [gap] = compare([report(1), report(1, report="DiagnosticReport/other")], [])
    assert gap.kind == "result-doubled"


def test_two_unread_results_of_one_study_give_way_to_the_newest() -> None:
    """Offsets differ: the moments count, not the text."""
    first = report(1, thread_id="t", issued="2026-11-24T10:30:00+02:00")
    second = report(2, thread_id="t", issued="2026-11-24T09:00:00+00:00")
    gaps = compare([second, first], [entry(1, thread_id="t"), entry(2, thread_id="t")])
    assert [(g.kind, g.result_id, g.newer) for g in gaps] == [("thread-doubled", "result-1", "result-2")]


def test_an_addendum_stands_beside_its_result() -> None:
    reports = [report(1, thread_id="t"), report(2, thread_id="t", addendum=True)]
    assert compare(reports, [entry(1, thread_id="t"), entry(2, thread_id="t")]) == []


def test_entries_of_a_status_that_is_not_known_here_are_not_judged() -> None:
    assert compare([report(1, "cancelled")], [entry(1, "closed")]) == []


def test_a_report_is_seen_by_its_identifiers_and_an_addendum_by_what_it_adds_to() -> None:
    canonical = Canonical("https://ai.example.org/fhir")
    body: dict[str, Any] = {
        "id": "r",
        "status": "partial",
        "issued": YESTERDAY,
        "identifier": [
            {"system": canonical.sid("ai-result"), "value": "result-1"},
            {"system": canonical.sid("ai-report-thread"), "value": "thread-1"},
        ],
    }
    seen = report_seen(canonical, body)
    assert seen is not None
    assert (seen.result_id, seen.thread_id, seen.changed, seen.addendum) == ("result-1", "thread-1", YESTERDAY, False)
    adds = report_seen(canonical, body | {"extension": [{"url": ADDENDUM_OF, "valueReference": {"reference": "x/y"}}]})
    assert adds is not None
    assert adds.addendum
    assert report_seen(canonical, body | {"identifier": body["identifier"][:1]}) is None
