"""FHIR dates of any precision, compared as what they can mean."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.timeline.dates import DAY, Dates, before, span_of

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000_000


def test_a_partial_date_is_all_that_it_can_mean() -> None:
    year, month, moment = span_of("2024"), span_of("2024-05"), span_of("2024-05-03T10:00+02:00")
    assert year is not None
    assert month is not None
    assert moment is not None
    assert year[1] - year[0] == 366 * DAY
    assert month[1] - month[0] == 31 * DAY
    assert moment == span_of("2024-05-03T08:00Z")
    assert moment[1] - moment[0] == 60_000_000, "no seconds were given: it can be any of the minute"
    assert before(year, moment) is None, "nobody knows"
    assert before(span_of("2023"), moment) is True
    assert before(span_of("2024-06"), moment) is False


def test_a_day_without_a_zone_is_a_day_at_the_site() -> None:
    utc, berlin = span_of("2024-05-03"), span_of("2024-05-03", BERLIN)
    assert utc is not None
    assert berlin is not None
    assert utc[0] - berlin[0] == 2 * HOUR
    assert span_of("2024-05-03T10:00:00Z", BERLIN) == span_of("2024-05-03T12:00:00+02:00")
    summer_time_begins = span_of("2024-03-31", BERLIN)
    assert summer_time_begins is not None
    assert summer_time_begins[1] - summer_time_begins[0] == 23 * HOUR


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24",
        "2024-W01-1",
        "20240503",
        "2024-5-3",
        "2024-13",
        "2024-02-30",
        "10/05/2024",
        "２０２４",
        "2024-05-03T10",
    ],
)
def test_what_is_no_fhir_date_is_no_date(text: str) -> None:
    assert span_of(text) is None


def test_leap_seconds_and_the_last_year_are_dates() -> None:
    assert span_of("2016-12-31T23:59:60Z") is not None
    last = span_of("9999-12-31", BERLIN)
    assert last is not None
    assert last[1] > last[0]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_each_precision_holds_the_finer_one(moment: datetime) -> None:
    text = moment.isoformat(timespec="milliseconds")
    spans = [Dates().span(t) for t in (text, text[:10] + text[10:19] + "+00:00", text[:10], text[:7], text[:4])]
    for fine, coarse in pairwise(spans):
        assert fine is not None
        assert coarse is not None
        assert coarse[0] <= fine[0] < fine[1] <= coarse[1]


@given(st.text(max_size=30))
def test_no_text_stops_the_reading(text: str) -> None:
    span = span_of(text, BERLIN)
    assert span is None or span[0] < span[1]
