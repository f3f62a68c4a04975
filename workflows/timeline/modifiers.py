"""Elements that change or negate what a resource says (R4 2.1.0.8, "modifier elements"): each is put into words, or the resource is left out.

A status that takes a fact back is `versions.py`'s business.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from workflows.timeline.fields import Resource, status_words

_UNKNOWN = frozenset(("modifierExtension", "implicitRules"))
_NOT_TO_BE = {"MedicationRequest": "not to be given", "ServiceRequest": "not to be done"}
_INTENT = {
    "proposal": "proposed, not ordered",
    "plan": "planned, not ordered",
    "option": "one of several options, not ordered",
}
_VERIFIED = {"refuted": "ruled out", "differential": "differential diagnosis, not confirmed"}


QUALIFIED = frozenset(
    (*_NOT_TO_BE, "CarePlan", "MedicationStatement", "Immunization", "Condition", "AllergyIntolerance")
)
"""The types of which `qualifier` has anything to say."""


class ModifierUnknown(ValueError):
    """A resource whose meaning is changed by something that nobody here knows; R4 forbids to read it as if that were not there."""


def require_understood(resource: Resource, simple: Collection[str] = ()) -> None:
    """`ModifierUnknown` for a resource, or a part of one, with `implicitRules` or a `modifierExtension` at whatever depth.

    Only parts (R4 BackboneElement, Dosage, Timing) carry their own; elements in `simple` hold none. What is contained counts where it is referenced.
    """
    for element, value in resource.items():
        if element in _UNKNOWN and value:
            raise ModifierUnknown
        if element not in simple and element != "contained" and isinstance(value, dict | list):
            _require_parts(value)


def is_understood(resource: Resource) -> bool:
    """Whether `require_understood` lets it pass."""
    try:
        require_understood(resource)
    except ModifierUnknown:
        return False
    return True


def _require_parts(value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            _require_parts(one)
    elif isinstance(value, dict):
        require_understood(value)


def qualifier(resource: Resource) -> str | None:
    """What must be said before the words of a fact, because they alone would say the opposite, or more than the source does."""
    kind = resource["resourceType"]
    if kind in _NOT_TO_BE and is_negated(resource):
        return _NOT_TO_BE[kind]
    if kind in _NOT_TO_BE and resource.get("intent") in _INTENT:
        return _INTENT[resource["intent"]]
    if kind == "CarePlan" and resource.get("intent") in ("proposal", "option"):
        return "proposed, not decided"
    if kind == "MedicationStatement" and resource.get("status") == "not-taken":
        return "not taken"
    if kind == "Immunization" and resource.get("isSubpotent") is True:
        return "dose too weak to count"
    if kind in ("Condition", "AllergyIntolerance"):
        return next((_VERIFIED[word] for word in status_words(resource) if word in _VERIFIED), None)
    return None


def is_negated(resource: Resource) -> bool:
    """Whether a request asks that something is *not* done. What is no boolean is not understood."""
    asked = resource.get("doNotPerform", False)
    if not isinstance(asked, bool):
        raise ModifierUnknown
    return asked
