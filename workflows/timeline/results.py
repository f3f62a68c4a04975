"""When two Observations or DiagnosticReports may be one result, and when they say the same."""

from __future__ import annotations

from typing import Any

from workflows.timeline.fields import Resource, coded, unversioned
from workflows.timeline.kinds import WHEN

_REPORTED = ("conclusion", "conclusionCode", "presentedForm")


def same_result(resource: Resource) -> list[tuple[str, ...]]:
    """What two resources share that may be one result: identifier or specimen, and always code and time.

    Not the identifier alone: some interfaces put the number of the order on each result of a panel.
    """
    codings, text, _ = coded(resource.get("code"))
    code = min((f"{c.system}|{c.code}" for c in codings), default=text or "")
    time = next((str(resource[name]) for name in WHEN[resource["resourceType"]] if resource.get(name)), "")
    same = (resource["resourceType"], code, time)
    keys = [
        ("identifier", str(one.get("system", "")), str(one["value"]), *same)
        for one in resource.get("identifier", ())
        if one.get("value")
    ]
    specimens = resource.get("specimen") or []
    named = [s.get("reference") for s in (specimens if isinstance(specimens, list) else [specimens])]
    return keys + [("specimen", unversioned(str(name)), *same) for name in named if name]


def says_the_same(one: Resource, other: Resource) -> bool:
    """Whether the values agree. The number of the order stands on each of several glucose values of one minute too: those are several results."""
    return bool(_said(one) == _said(other))


def _said(resource: Resource) -> Any:
    if resource["resourceType"] == "DiagnosticReport":
        words = [_plain(resource.get(name)) for name in _REPORTED]
        return words if any(words) else _plain(resource.get("result"))
    parts = [(_plain(part.get("code")), _values(part)) for part in resource.get("component") or ()]
    return _values(resource), parts, _plain(resource.get("bodySite")), _plain(resource.get("method"))


def _values(part: Resource) -> list[tuple[str, Any]]:
    return sorted((name, _plain(part[name])) for name in part if name.startswith("value") or name == "dataAbsentReason")


def _plain(found: Any) -> str:
    """Equal for equal content: numbers by their value (60 and 60.0), objects in whatever order."""
    if isinstance(found, dict):
        return "{" + ",".join(f"{name}:{_plain(found[name])}" for name in sorted(found) if name != "display") + "}"
    if isinstance(found, list):
        return "[" + ",".join(map(_plain, found)) + "]"
    if isinstance(found, int | float) and not isinstance(found, bool):
        return repr(float(found))
    return "" if found is None else str(found)
