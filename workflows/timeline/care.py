"""Entries of what surrounds findings and treatment: stays, plans, goals, vaccinations, implants, the family's illnesses, warnings."""

from __future__ import annotations

from collections.abc import Callable

from workflows.timeline.fields import Resource, text_of
from workflows.timeline.modifiers import is_negated
from workflows.timeline.names import Names
from workflows.timeline.records import Fields
from workflows.timeline.telling import told
from workflows.timeline.words import joined

_CLASS = {
    "EMER": "emergency",
    "IMP": "inpatient",
    "ACUTE": "inpatient acute",
    "NONAC": "inpatient non-acute",
    "PRENC": "pre-admission",
    "SS": "short stay",
    "AMB": "ambulatory",
    "OBSENC": "observation stay",
    "HH": "home health",
    "FLD": "field",
    "VR": "virtual",
}
"""v3-ActCode, value set ActEncounterCode; what is not in it keeps its own words."""
_DONE_OR_NOT = frozenset(("id", "extension", "code", "status", "doNotPerform", "kind", "performer", "location"))


def _encounter(resource: Resource, fields: Fields, names: Names) -> None:
    where = resource.get("class") or {}
    setting = _CLASS.get(str(where.get("code"))) or where.get("display") or where.get("code")
    reasons = [text_of(one) for one in resource.get("type", ())]
    fields["text"] = ": ".join(filter(None, [setting, joined(reasons)])) or "encounter"


def _care_plan(resource: Resource, fields: Fields, names: Names) -> None:
    categories = joined(text_of(one) for one in resource.get("category", ()))
    title = resource.get("title")
    fields["text"] = title or categories or "care plan"
    activities = [_activity(one, resource, names) for one in resource.get("activity", ())]
    fields["detail"] = joined([categories if title else None, *activities])


def _activity(activity: Resource, plan: Resource, names: Names) -> str | None:
    detail = activity.get("detail") or {}
    words = text_of(detail.get("code")) or names.of(activity.get("reference") or {}, plan)
    said = f"not to be done: {words}" if is_negated(detail) else words
    if detail.get("status"):
        said = f"{said or 'activity'} ({detail['status']})"
    beside = {key: value for key, value in activity.items() if key not in ("detail", "reference", "id", "extension")}
    return joined([said, *told(detail, _DONE_OR_NOT, names), *told(beside, (), names)])


def _coded(resource: Resource, fields: Fields, names: Names) -> None:
    """Named by its code alone; all else is told."""


def _device(resource: Resource, fields: Fields, names: Names) -> None:
    kind = text_of(resource.get("type"))
    called = [str(one["name"]) for one in resource.get("deviceName", ()) if one.get("name")]
    fields["text"] = kind or joined(called) or resource.get("modelNumber") or "device not named"
    fields["detail"] = joined(called) if kind else None


def _device_use(resource: Resource, fields: Fields, names: Names) -> None:
    fields["text"] = names.of(resource.get("device") or {}, resource) or "device not named"


def _family(resource: Resource, fields: Fields, names: Names) -> None:
    relative = text_of(resource.get("relationship")) or "relative"
    illnesses = joined(_illness(one, names) for one in resource.get("condition", ()))
    if resource.get("status") == "health-unknown":
        illnesses = joined((illnesses, "health unknown"))
    fields["text"] = f"{relative}: {illnesses or 'no illness named'}"


def _illness(condition: Resource, names: Names) -> str | None:
    more = joined(told(condition, ("id", "extension", "code"), names))
    words = text_of(condition.get("code")) or "illness not named"
    return f"{words} ({more})" if more else words


CARE_READERS: dict[str, Callable[[Resource, Fields, Names], None]] = {
    "Encounter": _encounter,
    "CarePlan": _care_plan,
    "Goal": _coded,
    "Immunization": _coded,
    "Device": _device,
    "DeviceUseStatement": _device_use,
    "FamilyMemberHistory": _family,
    "Flag": _coded,
}
