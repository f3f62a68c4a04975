"""What the inbox's pages say in words: ages, due times, comparisons, labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.schemas import Decision, sentence_of
from services.inbox.view import age_at, filter_of, label_text, moment, span


@pytest.mark.parametrize(
    ("born", "then", "years"),
    [
        ("1958-04-17", "2026-04-16T23:00:00+01:00", 67),
        ("1958-04-17", "2026-04-17", 68),
        ("2026-11-01", "2026-11-24", 0),
        ("1958", "2026-04-17", None),
        (None, "2026-04-17", None),
        ("1958-04-17", None, None),
    ],
)
def test_age_is_told_only_where_both_dates_are_whole(born: str | None, then: str | None, years: int | None) -> None:
    assert age_at(born, then) == years


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, "0 min"), (59, "59 min"), (60, "1 h 00 min"), (135, "2 h 15 min"), (4321, "3 days")]
)
def test_spans_are_told_in_the_largest_unit_that_helps(minutes: int, words: str) -> None:
    assert span(minutes) == words


def test_a_filter_that_is_none_of_ours_counts_as_not_given() -> None:
    wanted = filter_of("DROP TABLE", "XX", "soon")
    assert (wanted.shown, wanted.modality, wanted.priority) == ("open", None, None)
    assert filter_of("reviewed", "MR", "stat").modality == "MR"


def test_a_time_keeps_the_zone_it_was_written_in() -> None:
    assert moment("2025-08-02T08:40:00+02:00") == "2025-08-02 08:40 +02:00"
    assert moment("2025-08-02T08:40:00.123Z") == "2025-08-02 08:40 UTC"
    assert moment("2025-08-02T08:40:00") == "2025-08-02 08:40"
    assert moment("2019-03") == "2019-03"
    assert moment(None) == ""


def test_an_unknown_label_is_shown_as_it_is() -> None:
    assert label_text("pulmonary-nodule") == "Pulmonary nodule"
    assert label_text("something-else") == "something-else"


def test_what_is_wrong_with_a_decision_is_said_without_repeating_it() -> None:
    from pydantic import ValidationError

    secret = "Lindqvist" * 400
    for field in ("reviewer", "act_id", "reason_text"):
        body = {"act_id": "x", "report_version": "r", "outcome": "rejected", "reviewer": "Dr", field: secret}
        with pytest.raises(ValidationError) as refused:
            Decision.model_validate(body, strict=False)
        assert "Lindqvist" not in sentence_of(refused.value)


def test_a_due_time_is_overdue_after_its_minute() -> None:
    from services.inbox.view import due_of
    from tests.unit.entry_rows import row

    now = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert due_of(row(acknowledge_by=now + timedelta(minutes=14)), now) == ("due in 14 min", "soon")
    assert due_of(row(acknowledge_by=now + timedelta(hours=2)), now) == ("due in 2 h 00 min", "later")
    assert due_of(row(acknowledge_by=now - timedelta(minutes=3)), now) == ("overdue 3 min", "overdue")
    assert due_of(row(acknowledge_by=now, status="accepted"), now) == ("", "")
