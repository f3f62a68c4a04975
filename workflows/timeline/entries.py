"""One FHIR resource -> the fields of one `TimelineEntry`, as plain values: the Record is made once, at the edge (build.py).

What has no field keeps the source's words (`detail`): a Timing, an onset given as an age or in words, a dose. None of it is turned into a date or a
number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from schemas.timeline import EntryKind
from workflows.timeline.dates import Dates
from workflows.timeline.fields import Resource, coded, medication, referenced, status, text_of
from workflows.timeline.units import quantity_fields
from workflows.timeline.words import age, dose, joined, period, quantity, range_of, ratio, reaction, timing

Fields = dict[str, Any]

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


def read_entry(resource: Resource, reference: str, dates: Dates) -> Fields:
    """The fields of the entry of one resource of `KINDS`; any of Python's errors of shape for what is no R4 resource."""
    kind = resource["resourceType"]
    fields: Fields = {"kind": KINDS[kind], "resource": reference, "status": status(resource)}
    _put_time(resource, WHEN[kind], fields, dates)
    READERS[kind](resource, fields)
    return fields


def _put_time(resource: Resource, elements: tuple[str, ...], fields: Fields, dates: Dates) -> None:
    fields["when"] = None
    for element in elements:
        found = resource.get(element)
        if not found:
            continue
        if element.endswith("Period"):
            _put_period(element, found, fields, dates)
            if fields["when"] is None:
                continue
        else:
            fields["when"], fields["when_element"] = found, element
            fields["span"] = dates.span(found)
        break
    for element in RECORDED:
        if recorded := resource.get(element):
            fields["recorded"] = recorded
            break


def _put_period(element: str, found: Resource, fields: Fields, dates: Dates) -> None:
    """A period stands where it began; where nobody says when, at its end."""
    start, end = found.get("start"), found.get("end")
    if start or end:
        fields["when"], fields["when_element"] = start or end, f"{element}.{'start' if start else 'end'}"
        fields["span"] = dates.span(start or end)
    if end:
        fields["until"] = end


def _put_code(concept: Resource | None, resource: Resource, fields: Fields) -> Any:
    """Codes and words; gives what the table of units knows the code as."""
    codings, text, analyte = coded(concept)
    fields["text"] = text or resource["resourceType"]
    if codings:
        fields["codings"] = codings
    return analyte


def _observation(resource: Resource, fields: Fields) -> None:
    analyte = _put_code(resource.get("code"), resource, fields)
    fields.update(measured(resource, analyte))
    _put_category(resource, fields)
    if marks := resource.get("interpretation"):
        fields["interpretation"] = joined(_first_code(mark) for mark in marks)
    if parts := resource.get("component"):
        fields["components"] = [_component(part) for part in parts]
    if members := resource.get("hasMember"):
        fields["members"] = referenced(members)
    if when := resource.get("effectiveTiming"):
        fields["detail"] = timing(when)
    if "value" not in fields and (absent := resource.get("dataAbsentReason")):
        fields["detail"] = joined((fields.get("detail"), f"no value: {text_of(absent)}"))


def _component(part: Resource) -> Fields:
    codings, text, analyte = coded(part.get("code"))
    return {"text": text or "component", "codings": codings, **measured(part, analyte)}


def measured(resource: Resource, analyte: Any) -> Fields:
    """The fields of `Measured` for whichever value[x] is there."""
    if (found := resource.get("valueQuantity")) is not None:
        return quantity_fields(found, analyte)
    for element, read in _VALUES.items():
        if (value := resource.get(element)) is not None:
            return {"value": read(value)}
    return {}


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
    _put_code(resource.get("code"), resource, fields)
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
    _put_code(resource.get("code"), resource, fields)
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
    _put_code(medication(resource), resource, fields)
    doses = resource.get("dosageInstruction") or resource.get("dosage")
    if doses and (said := joined(dose(one) for one in doses)):
        fields["detail"] = said


def _procedure(resource: Resource, fields: Fields) -> None:
    _put_code(resource.get("code"), resource, fields)
    sites = (text_of(site) for site in resource.get("bodySite", ()))
    if detail := joined((_inexact(resource, "performed"), *sites, text_of(resource.get("outcome")))):
        fields["detail"] = detail


def _allergy(resource: Resource, fields: Fields) -> None:
    _put_code(resource.get("code"), resource, fields)
    said = [_inexact(resource, "onset"), *(reaction(one) for one in resource.get("reaction", ()))]
    if resource.get("criticality"):
        said.append(f"criticality {resource['criticality']}")
    if detail := joined(said):
        fields["detail"] = detail


def _order(resource: Resource, fields: Fields) -> None:
    _put_code(resource.get("code"), resource, fields)
    if amount := resource.get("quantityQuantity"):
        fields["detail"] = quantity(amount)


def _imaging_study(resource: Resource, fields: Fields) -> None:
    concepts = resource.get("procedureCode") or [None]
    _put_code(concepts[0], resource, fields)
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
