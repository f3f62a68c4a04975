"""What a reference stands for, in words: the contained resource, the one that was gathered with it, or the display that its source gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.timeline.fields import Resource, text_of, unversioned
from workflows.timeline.modifiers import qualifier

NOT_NAMED = "not named"
_NAMED_BY = ("code", "vaccineCode", "type", "description", "title", "summary")


class Names:
    """`held` are the resources of a build by `Type/id`: those that are entries, and the Medications that they name."""

    def __init__(self, held: Mapping[str, Resource] | None = None) -> None:
        self._held = held or {}

    def of(self, reference: Resource, within: Resource) -> str | None:
        """The words for a Reference that stands `within` a resource; None where nobody gave any."""
        found = self.resource(reference, within)
        words = name_of(found) if found is not None else None
        if found is not None and words and (before := qualifier(found)):
            return f"{before}: {words}"
        return words or reference.get("display") or _identifier(reference)

    def resource(self, reference: Resource, within: Resource) -> Resource | None:
        """The resource itself; None as well for one that is not to be trusted: entered in error, or modified in a way that nobody here knows."""
        literal = reference.get("reference")
        if not isinstance(literal, str):
            return None
        if literal.startswith("#"):
            contained = (one for one in within.get("contained", ()) if f"#{one.get('id')}" == literal)
            found = next(contained, None)
        else:
            found = self._held.get(unversioned(literal))
        return found if found is not None and _counts(found) else None

    def medicine(self, resource: Resource) -> Resource | None:
        """The medicine of a request, statement or administration as a CodeableConcept."""
        if "medicationCodeableConcept" in resource:
            return dict(resource["medicationCodeableConcept"])
        reference = resource.get("medicationReference")
        if not reference:
            return None
        found = self.resource(reference, resource)
        if found is not None and found.get("code"):
            return dict(found["code"])
        words = self.of(reference, resource)
        return {"text": words} if words else None


def _counts(found: Resource) -> bool:
    return found.get("status") != "entered-in-error" and not {"modifierExtension", "implicitRules"} & found.keys()


def _identifier(reference: Resource) -> str | None:
    value = (reference.get("identifier") or {}).get("value")
    return f"identifier {value}" if value else None


def name_of(resource: Resource) -> str | None:
    """What a resource is called: by its code or title, a device by its name, a mixture by what it is made of."""
    for element in _NAMED_BY:
        found: Any = resource.get(element)
        words = found if isinstance(found, str) else text_of(found) if isinstance(found, dict) else None
        if words:
            return words
    names = [one.get("name") for one in resource.get("deviceName", ())]
    parts = [text_of(one.get("itemCodeableConcept")) for one in resource.get("ingredient", ())]
    return " and ".join(word for word in (names[:1] or parts) if word) or None
