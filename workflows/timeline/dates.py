"""FHIR dates of any precision as intervals, so that `2024`, `2024-05` and `2024-05-03T10:00+02:00` compare soundly (R4 2.24.0.1, date and dateTime).

A date without an offset is a day, month or year of the site's time zone. What is no FHIR date has no interval: it is never guessed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

from schemas.timeline import Span

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
NEVER: Span = (2**62, 2**62)
"""Where what has no date stands: after all that has one."""


class Dates:
    """Reads the dates of one build: panels repeat one date many times, so each text is read once."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._known: dict[str, Span | None] = {}

    def span(self, text: str | None) -> Span | None:
        if text is None:
            return None
        try:
            return self._known[text]
        except KeyError:
            found = self._known[text] = span_of(text, self._zone)
            return found
        except TypeError:  # no text at all
            return None


def span_of(text: str, zone: tzinfo = UTC) -> Span | None:
    """[start, end) of a FHIR date, dateTime or instant in microseconds since 1970 UTC; None for anything else."""
    try:
        if len(text) > 10:
            return _moment(text, zone)
        if not text.isascii() or not text.replace("-", "").isdigit():
            return None
        first = _first_day(text)
        return _midnight(first, zone), _midnight(_following(text, first), zone)
    except (ValueError, OverflowError):
        return None


def ages_at(birth_date: str | None, when: str | None) -> tuple[int, int] | None:
    """The least and the greatest age in whole years, by the calendar: birthdays are counted, not days. They differ where a date is partial.

    Both dates are taken as they are written, in whatever zone: a person is as old as the day at the place says.
    """
    born, then = _days(birth_date), _days(when)
    if born is None or then is None or then[1] < born[0]:
        return None
    return max(_birthdays(born[1], then[0]), 0), _birthdays(born[0], then[1])


def age_at(birth_date: str | None, when: str | None) -> int | None:
    """Age in whole years; None where the dates do not tell."""
    ages = ages_at(birth_date, when)
    return ages[0] if ages and ages[0] == ages[1] else None


def _days(text: str | None) -> tuple[date, date] | None:
    """First and last day that a date can mean."""
    try:
        first = _first_day((text or "")[:10])
        return date.fromordinal(first), date.fromordinal(_following((text or "")[:10], first) - 1)
    except ValueError:
        return None


def _birthdays(born: date, then: date) -> int:
    return then.year - born.year - ((then.month, then.day) < (born.month, born.day))


def before(one: Span | None, other: Span | None) -> bool | None:
    """Whether `one` was over when `other` began; None where the dates do not tell."""
    if one is None or other is None:
        return None
    if one[1] <= other[0]:
        return True
    return False if one[0] >= other[1] or (one[0] >= other[0] and one[1] >= other[1]) else None


def _first_day(text: str) -> int:
    """Ordinal of the first day of a year, month or day."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return date.fromisoformat(text).toordinal()
    if len(text) == 7 and text[4] == "-":
        return date(int(text[:4]), int(text[5:]), 1).toordinal()
    if len(text) == 4:
        return date(int(text), 1, 1).toordinal()
    raise ValueError(len(text))


def _following(text: str, first: int) -> int:
    """Ordinal of the day after the last one."""
    if len(text) == 10:
        return first + 1
    if len(text) == 7 and text[5:] != "12":
        return date(int(text[:4]), int(text[5:]) + 1, 1).toordinal()
    return date(int(text[:4]), 12, 31).toordinal() + 1


def _midnight(day: int, zone: tzinfo) -> int:
    """When a day begins in a time zone."""
    if zone is UTC or day > date.max.toordinal():
        return (day - EPOCH_ORDINAL) * DAY
    return _microseconds(datetime.fromordinal(day).replace(tzinfo=zone))


def _moment(text: str, zone: tzinfo) -> Span | None:
    """A time of day, with seconds or without, with any number of decimals."""
    if text[10] != "T" or text[13:14] != ":" or text[4] != "-":
        return None
    if text[17:19] == "60":  # a leap second; R4 allows it
        text = f"{text[:17]}59{text[19:]}"
    moment = datetime.fromisoformat(text)
    start = _microseconds(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    return start, start + _resolution(text)


def _resolution(text: str) -> int:
    if text[16:17] != ":":
        return MINUTE
    if text[19:20] != ".":
        return SECOND
    digits = 0
    while text[20 + digits : 21 + digits].isdigit():
        digits += 1
    return int(SECOND // 10**digits) or 1


def _microseconds(moment: datetime) -> int:
    since: timedelta = moment - EPOCH
    return since.days * DAY + since.seconds * SECOND + since.microseconds
