"""Data types of FHIR R4 (section 2.24) in one short line of words, for what an entry has no field for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache

from workflows.timeline.fields import Resource, text_of

MOST_DIGITS = 6
"""Significant digits of a number with decimals that stands as its source wrote it: no laboratory prints more of them."""
PRINTED_DIGITS = 3
MOST_PLACES = 15
"""Places before the decimal point beyond which a number is given as a power of ten."""
_NUMBER = re.compile(r"([<>]=?)?(-?\d+(?:\.\d+)?)")


def as_printed(written: str) -> str:
    """A number as a laboratory prints it: one of more than six digits was computed, not measured, and is cut to three (27.843399578011336 -> 27.8).

    Digits before the decimal point all stay. What was written with few digits keeps each of them, zeros at its end included.
    """
    if len(written) <= MOST_DIGITS + 1:
        return written
    found = _NUMBER.fullmatch(written)
    if found is None:
        return written
    number = Decimal(found[2])
    if "." in written and number.adjusted() <= MOST_PLACES and len(number.as_tuple().digits) <= MOST_DIGITS:
        return written
    if number.adjusted() > MOST_PLACES:
        return f"{found[1] or ''}{number:.2E}"
    if "." not in written:
        return written
    digits = max(PRINTED_DIGITS, number.adjusted() + 1)
    return f"{found[1] or ''}{Context(prec=digits, rounding=ROUND_HALF_UP).plus(number):f}"


def joined(parts: Iterable[str | None]) -> str | None:
    """The parts that are there, in their order."""
    return "; ".join(part for part in parts if part) or None


def quantity(found: Resource | None) -> str | None:
    if not found or found.get("value") is None:
        return None
    unit = found.get("unit") or found.get("code")
    return f"{found.get('comparator', '')}{as_printed(str(found['value']))}" + (f" {unit}" if unit else "")


def age(found: Resource) -> str | None:
    """Age: a Quantity with a unit of time."""
    said = quantity(found)
    return f"at {said}" if said else None


def range_of(found: Resource) -> str | None:
    low, high = quantity(found.get("low")), quantity(found.get("high"))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else None


def ratio(found: Resource) -> str | None:
    parts = [quantity(found.get("numerator")), quantity(found.get("denominator"))]
    return " : ".join(part for part in parts if part) or None


def period(found: Resource) -> str | None:
    start, end = found.get("start"), found.get("end")
    return joined((f"from {start}" if start else None, f"until {end}" if end else None))


def timing(found: Resource) -> str | None:
    """A Timing: its code, its events as they stand, and how it repeats."""
    return joined((text_of(found.get("code")), *found.get("event", ()), _repeat(found.get("repeat", {}))))


def _repeat(found: Resource) -> str | None:
    said: list[str | None] = []
    if found.get("frequency") or found.get("period"):
        often, span = _up_to(found, "frequency") or "1", _up_to(found, "period") or "?"
        said.append(f"{often} in {span} {found.get('periodUnit', '')}".strip())
    said += [str(word) for name in ("dayOfWeek", "timeOfDay", "when") for word in found.get(name, ())]
    if found.get("offset"):
        said.append(f"{found['offset']} min apart from it")
    if times := _up_to(found, "count"):
        said.append(f"{times} times")
    if lasting := _up_to(found, "duration"):
        said.append(f"for {lasting} {found.get('durationUnit', '')}".strip())
    bounds = found.get("boundsPeriod")
    within = quantity(found.get("boundsDuration")) or range_of(found.get("boundsRange", {}))
    return joined([*said, period(bounds) if bounds else None, f"within {within}" if within else None])


def _up_to(found: Resource, name: str) -> str | None:
    """`3`, or `3 to 5` where a greatest number stands beside it."""
    least, most = found.get(name), found.get(f"{name}Max")
    parts = [str(one) for one in (least, most) if one is not None]
    return " to ".join(parts) or None


def dose(found: Resource) -> str | None:
    """A Dosage: the words of who prescribed it, else the coded parts; and whether it is only to be taken as needed."""
    how = [text_of(found.get(name)) for name in ("route", "site", "method")]
    words = str(found["text"]) if found.get("text") else joined(_amounts(found))
    said = joined((words, *(one for one in how if one and one.lower() not in (words or "").lower()), *_advice(found)))
    reason = text_of(found.get("asNeededCodeableConcept"))
    if reason and reason.lower() not in (said or "").lower():
        return joined((said, f"as needed for {reason}"))
    if (reason or found.get("asNeededBoolean")) and not _AS_NEEDED.search(said or ""):
        return joined((said, "as needed"))
    return said


_AS_NEEDED = re.compile(r"\bas needed\b|\bprn\b", re.IGNORECASE)


def _amounts(found: Resource) -> list[str | None]:
    amounts = [found, *found.get("doseAndRate", ())]
    parts = [quantity(one.get(name)) for one in amounts for name in ("doseQuantity", "dose", "rateQuantity")]
    parts += [range_of(one[name]) for one in amounts for name in ("doseRange", "rateRange") if name in one]
    parts += [ratio(one["rateRatio"]) for one in amounts if "rateRatio" in one]
    return [*parts, timing(found.get("timing", {}))]


def _advice(found: Resource) -> list[str | None]:
    at_most = ratio(found.get("maxDosePerPeriod", {})) or quantity(found.get("maxDosePerAdministration"))
    told = [text_of(one) for one in found.get("additionalInstruction", ())]
    return [*told, found.get("patientInstruction"), f"at most {at_most}" if at_most else None]


def reaction(found: Resource) -> str | None:
    """What an allergy did, how badly, when, and to what."""
    manifestation, severity = joined(text_of(one) for one in found.get("manifestation", ())), found.get("severity")
    said = joined((manifestation, found.get("description")))
    told = f"{said} ({severity})" if said and severity else said
    substance, notes = text_of(found.get("substance")), [one.get("text") for one in found.get("note", ())]
    began = f"on {found['onset'][:10]}" if found.get("onset") else None
    return joined(
        (f"{substance}: {told}" if substance and told else told, text_of(found.get("exposureRoute")), began, *notes)
    )


@lru_cache(maxsize=512)
def label(element: str) -> str:
    """`bodySite` -> `body site`; the type at the end of a choice says nothing (`deceasedBoolean` -> `deceased`)."""
    return _words(_CHOICE.sub("", element) or element)


_CHOICE = re.compile(
    r"(?<=[a-z])(DateTime|Date|Period|Age|Range|String|Boolean|CodeableConcept|Reference|Quantity|Ratio|Integer|PositiveInt|Timing|Duration|Code)$"
)
_CAPITAL = re.compile(r"(?=[A-Z])")


def _words(element: str) -> str:
    return _CAPITAL.sub(" ", element).lower()
