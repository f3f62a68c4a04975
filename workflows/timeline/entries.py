"""One FHIR resource -> one `TimelineEntry`.

What has no field keeps the source's words (`detail`): a Timing, an onset given as an age or in words, a dose. None of it is turned into a date or a
number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from schemas.timeline import Component, EntryKind, TimelineEntry
from workflows.timeline.analytes import Analyte
from workflows.timeline.dates import Dates
from workflows.timeline.fields import Concepts, Resource, medication, referenced, status, text_of
from workflows.timeline.records import Fields, Maker
from workflows.timeline.units import put_quantity
from workflows.timeline.words import age, dose, joined, period, quantity, range_of, ratio, reaction, timing

_MEASURED = ("text", "value", "unit")
MALFORMED = (AttributeError, KeyError, TypeError, ValueError, IndexError)
"""What reading a resource raises that is not of R4's shape; pydantic's `ValidationError` is a `ValueError`."""

KINDS: dict[str, EntryKind] = {
    "ImagingStudy": "imaging-study",
    "DiagnosticReport": "report",
    "Observation": "observation",
    "Condition": "condition",
    "MedicationRequest": "medication",
    "MedicationStatement": "medication",
    "Procedure": "procedure",
    "AllergyIntolerance": "allergy",
    "ServiceRequest": "order",
}
_ONSET = ("onsetDateTime", "onsetPeriod", "recordedDate")
WHEN: dict[str, tuple[str, ...]] = {
    "ImagingStudy": ("started",),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod", "issued"),
    "Observation": ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"),
    "Condition": _ONSET,
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod", "dateAsserted"),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "AllergyIntolerance": _ONSET,
    "ServiceRequest": ("authoredOn", "occurrenceDateTime", "occurrencePeriod"),
}
"""Where the date of a fact stands: the first that is there counts, and the entry names it."""

RECORDED = ("issued", "recordedDate", "authoredOn", "dateAsserted")


class EntryReader:
    """Reads the resources of one build; it holds what has been read of dates and concepts before."""

    def __init__(self, dates: Dates) -> None:
        self._dates = dates
        self._entry = Maker(TimelineEntry, (*_MEASURED, "status", "when", "until", "recorded", "detail", "category"))
        self._part = Maker(Component, _MEASURED)
        self.concepts = Concepts()

    def read(self, resource: Resource, reference: str) -> TimelineEntry:
        """The entry of one resource of `KINDS`; any of `MALFORMED` for what is not of R4's shape."""
        kind = resource["resourceType"]
        fields = self._entry.defaults.copy()
        fields["kind"], fields["resource"] = KINDS[kind], reference
        fields["status"] = resource.get("status") or status(resource)
        self._put_time(resource, WHEN[kind], fields)
        codings, text, analyte = self.concepts.read(resource.get("code") or uncommon_code(resource))
        fields["text"] = text or kind
        if kind == "Observation":
            _put_measured(resource, analyte, fields)
            if "component" in resource:
                fields["components"] = tuple([self._component(part) for part in resource["component"]])
        READERS[kind](resource, fields)
        return self._entry.make(fields, codings)

    def _component(self, part: Resource) -> Component:
        codings, text, analyte = self.concepts.read(part.get("code"))
        fields = self._part.defaults.copy()
        fields["text"] = text or "component"
        _put_measured(part, analyte, fields)
        return self._part.make(fields, codings)

    def _put_time(self, resource: Resource, elements: tuple[str, ...], fields: Fields) -> None:
        for element in elements:
            if element in resource:
                found = resource[element]
                if type(found) is dict:
                    element, found = _of_period(element, found, fields)
                if found:
                    fields["when"], fields["when_element"] = found, element
                    fields["span"] = self._dates.span(found)
                    break
        for element in RECORDED:
            if element in resource:
                fields["recorded"] = resource[element]
                break


def _of_period(element: str, found: Resource, fields: Fields) -> tuple[str, str | None]:
    """A period stands where it began; where nobody says when, at its end."""
    start, end = found.get("start"), found.get("end")
    if end:
        fields["until"] = end
    return f"{element}.{'start' if start or not end else 'end'}", start or end


def uncommon_code(resource: Resource) -> Resource | None:
    """What stands for `code` in the types that have none."""
    if resource["resourceType"] == "ImagingStudy":
        return next(iter(resource.get("procedureCode", ())), None)
    return medication(resource)


def _put_measured(resource: Resource, analyte: Analyte | None, fields: Fields) -> None:
    """Whichever value[x] is there, or why there is none."""
    if "valueQuantity" in resource:
        put_quantity(resource["valueQuantity"], analyte, fields)
        return
    for element, read in _VALUES.items():
        if element in resource:
            fields["value"] = read(resource[element])
            return
    if absent := resource.get("dataAbsentReason"):
        fields["text"] = f"{fields['text']} (no value: {text_of(absent)})"


def _observation(resource: Resource, fields: Fields) -> None:
    _put_category(resource, fields)
    if marks := resource.get("interpretation"):
        fields["interpretation"] = joined(_first_code(mark) for mark in marks)
    if members := resource.get("hasMember"):
        fields["members"] = referenced(members)
    if when := resource.get("effectiveTiming"):
        fields["detail"] = timing(when)


_VALUES: dict[str, Callable[[Any], str | None]] = {
    "valueCodeableConcept": text_of,
    "valueString": str,
    "valueInteger": str,
    "valueBoolean": lambda value: "yes" if value else "no",
    "valueDateTime": str,
    "valueTime": str,
    "valueRange": range_of,
    "valueRatio": ratio,
    "valuePeriod": period,
    "valueSampledData": lambda value: "sampled data",
}


def _report(resource: Resource, fields: Fields) -> None:
    if words := resource.get("conclusion") or _form(resource):
        fields["title"], fields["text"] = fields["text"], words
    _put_category(resource, fields)
    if results := resource.get("result"):
        fields["members"] = referenced(results)
    if named := [*resource.get("imagingStudy", ()), *resource.get("basedOn", ())]:
        fields["studies"] = referenced(named)


def _form(resource: Resource) -> str | None:
    """The text of a report that has no conclusion: its first form in plain text."""
    for form in resource.get("presentedForm", ()):
        if str(form.get("contentType", "")).startswith("text/plain") and form.get("data"):
            try:
                return base64.b64decode(form["data"], validate=True).decode("utf-8").strip() or None
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def _condition(resource: Resource, fields: Fields) -> None:
    _put_category(resource, fields)
    ended = resource.get("abatementDateTime") or resource.get("abatementPeriod", {}).get("end")
    if ended:
        fields["until"] = ended
    said = [_inexact(resource, "onset"), _inexact(resource, "abatement"), text_of(resource.get("severity"))]
    if detail := joined(said):
        fields["detail"] = detail


def _inexact(resource: Resource, name: str) -> str | None:
    """An onset or abatement that is no date, in words."""
    readers: dict[str, Callable[[Any], str | None]] = {"Age": age, "Range": range_of, "String": str}
    for kind, read in readers.items():
        if (found := resource.get(name + kind)) is not None:
            return f"{name} {read(found)}"
    return None


def _medication(resource: Resource, fields: Fields) -> None:
    doses = resource.get("dosageInstruction") or resource.get("dosage")
    if doses and (said := joined(dose(one) for one in doses)):
        fields["detail"] = said


def _procedure(resource: Resource, fields: Fields) -> None:
    sites = (text_of(site) for site in resource.get("bodySite", ()))
    if detail := joined((_inexact(resource, "performed"), *sites, text_of(resource.get("outcome")))):
        fields["detail"] = detail


def _allergy(resource: Resource, fields: Fields) -> None:
    said = [_inexact(resource, "onset"), *(reaction(one) for one in resource.get("reaction", ()))]
    if resource.get("criticality"):
        said.append(f"criticality {resource['criticality']}")
    if detail := joined(said):
        fields["detail"] = detail


def _order(resource: Resource, fields: Fields) -> None:
    if amount := resource.get("quantityQuantity"):
        fields["detail"] = quantity(amount)


def _imaging_study(resource: Resource, fields: Fields) -> None:
    if resource.get("description"):
        fields["text"] = resource["description"]


def _put_category(resource: Resource, fields: Fields) -> None:
    """Observation, DiagnosticReport and Condition have a list of categories."""
    for category in resource.get("category", ()):
        for coding in category.get("coding", ()):
            if code := coding.get("code"):
                fields["category"] = code
                return


def _first_code(concept: Resource) -> str | None:
    return next((c["code"] for c in concept.get("coding", ()) if c.get("code")), None) or concept.get("text")


READERS: dict[str, Callable[[Resource, Fields], None]] = {
    "ImagingStudy": _imaging_study,
    "DiagnosticReport": _report,
    "Observation": _observation,
    "Condition": _condition,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "Procedure": _procedure,
    "AllergyIntolerance": _allergy,
    "ServiceRequest": _order,
}
