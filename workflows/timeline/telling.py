"""Elements that no field of an entry stands for, each in words: what this code was not written for is told rather than dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from workflows.timeline.fields import Resource, text_of
from workflows.timeline.names import NOT_NAMED, Names
from workflows.timeline.words import as_printed, joined, label, period, quantity, range_of, ratio, timing

_NOT_TOLD = frozenset(("id", "extension", "identifier", "contained", "meta", "assigner", "resourceType"))
_REFERENCE = frozenset(("reference", "type", "identifier", "display"))
_CONCEPT = frozenset(("coding", "text"))
_CODING = frozenset(("system", "version", "code", "display", "userSelected"))
_QUANTITY = frozenset(("value", "comparator", "unit", "system", "code"))
_IDENTIFIER = frozenset(("use", "type", "system", "value", "period", "assigner"))
_NOTE = frozenset(("text", "time", "authorString", "authorReference"))
_ATTACHMENT = frozenset(("contentType", "language", "data", "url", "size", "hash", "title", "creation"))
_SIDE = "laterality"


def told(resource: Resource, shown: Collection[str], names: Names) -> list[str]:
    """`element: words` for each element of a resource, or of a part of one, beyond `shown`."""
    return list(_Teller(names, resource).parts(resource, shown))


class _Teller:
    def __init__(self, names: Names, within: Resource) -> None:
        self._names = names
        self._within = within

    def parts(self, found: Resource, shown: Collection[str]) -> Iterator[str]:
        for element, value in found.items():
            if element not in shown and element[:1] != "_" and (said := self.words(value)):
                yield f"{label(element)}: {said}"

    def words(self, value: Any) -> str | None:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            return ", ".join(said for one in value if (said := self.words(one))) or None
        if isinstance(value, dict):
            return self._of_type(value)
        return as_printed(str(value)) if value is not None else None

    def _of_type(self, value: Resource) -> str | None:
        """By the elements that a data type has and no other."""
        keys = {key for key in value if key[0] != "_"} - {"id", "extension"}
        if not keys:
            return None
        if keys <= _CONCEPT:
            return concept_words(value)
        if keys <= _NOTE and isinstance(value.get("text"), str):
            return str(value["text"])
        if "reference" in keys or keys <= _REFERENCE:
            return self._names.of(value, self._within) or NOT_NAMED
        if keys <= _QUANTITY and "value" in keys:
            return quantity(value)
        if keys <= _IDENTIFIER and "value" in keys:  # numbers a paper, not the patient's health
            return None
        if keys <= _CODING and isinstance(value.get("code", ""), str):
            return value.get("display") or value.get("code")
        if keys <= {"start", "end"}:
            return period(value)
        if keys <= {"numerator", "denominator"}:
            return ratio(value)
        if keys <= {"event", "repeat", "code"} and keys & {"event", "repeat"}:
            return timing(value)
        if keys <= _ATTACHMENT:
            return "a file that was not read"
        return joined((range_of(value), *self.parts(value, _NOT_TOLD | {"low", "high"})))


def concept_words(concept: Resource) -> str | None:
    """The words of a CodeableConcept, with the side where an extension names it (`procedure-targetBodyStructure` and its like)."""
    words = text_of(concept)
    sides = [one for one in concept.get("extension", ()) if _SIDE in str(one.get("url", "")).lower()]
    said = [text_of(one.get("valueCodeableConcept")) for one in sides]
    return joined((words, *said))
