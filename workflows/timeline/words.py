"""Data types of FHIR R4 (section 2.24) in one short line of words, for what an entry has no field for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workflows.timeline.fields import Resource, text_of


def joined(parts: Iterable[str | None]) -> str | None:
    """The parts that are there, in their order."""
    return "; ".join(part for part in parts if part) or None


def quantity(found: Resource | None) -> str | None:
    if not found or found.get("value") is None:
        return None
    unit = found.get("unit") or found.get("code")
    return f"{found.get('comparator', '')}{found['value']}" + (f" {unit}" if unit else "")


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
    said: list[str] = []
    if found.get("frequency") or found.get("period"):
        said.append(f"{found.get('frequency', 1)} in {found.get('period', '?')} {found.get('periodUnit', '')}".strip())
    said += [str(word) for name in ("dayOfWeek", "timeOfDay", "when") for word in found.get(name, ())]
    bounds = found.get("boundsPeriod")
    return joined([*said, period(bounds) if bounds else None])


def dose(found: Resource) -> str | None:
    """A Dosage: the words of who prescribed it, else the coded parts."""
    if found.get("text"):
        return str(found["text"])
    amounts: list[Any] = [one.get("doseQuantity") for one in found.get("doseAndRate", ())]
    parts = [quantity(one) for one in amounts]
    return joined((*parts, timing(found.get("timing", {})), text_of(found.get("route"))))


def reaction(found: Resource) -> str | None:
    """What an allergy did, and how badly."""
    said = joined(text_of(one) for one in found.get("manifestation", ()))
    severity = found.get("severity")
    return f"{said} ({severity})" if said and severity else said or found.get("description")
