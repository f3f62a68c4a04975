"""One FHIR resource -> one `TimelineEntry`.

Nearly all of a chart are plain Observations and reports: they are read at once. A resource with any element beyond those that `kinds.py` lists is
read with care: what changes its meaning is understood or the resource is left out (`modifiers.py`), and what has no field keeps the source's words
(`detail`): a Timing, an onset given as an age or in words, a dose, a site, a note. None of it is turned into a date or a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.timeline import Component, TimelineEntry
from workflows.timeline.analytes import Analyte
from workflows.timeline.care import CARE_READERS
from workflows.timeline.dates import Dates
from workflows.timeline.fields import Concepts, Resource, referenced, status, text_of
from workflows.timeline.forms import report_text, text_of_html
from workflows.timeline.kinds import KINDS, RECORDED, SHOWN, SIMPLE, WHEN
from workflows.timeline.modifiers import QUALIFIED, qualifier, require_understood
from workflows.timeline.names import Names
from workflows.timeline.records import Fields, Maker
from workflows.timeline.telling import told
from workflows.timeline.units import put_quantity
from workflows.timeline.words import dose, joined, period, range_of, ratio, reaction, timing

_MEASURED = ("text", "value", "unit")
MOST_BODY = 400
"""Characters of a report's text that stand beside its conclusion; a longer one is only said to be there."""
_MEDICINES = frozenset(("MedicationRequest", "MedicationStatement", "MedicationAdministration"))


_ENTRY = Maker(TimelineEntry, (*_MEASURED, "status", "when", "until", "recorded", "detail", "category"))
_PART = Maker(Component, (*_MEASURED, "detail"))


class EntryReader:
    """Reads the resources of one build; it holds what has been read of dates and concepts before, and what references stand for."""

    def __init__(self, dates: Dates, names: Names | None = None) -> None:
        self._dates = dates
        self._names = names or Names()
        self.concepts = Concepts()

    def read(self, resource: Resource, reference: str) -> TimelineEntry:
        """The entry of one resource of `KINDS`; any of `MALFORMED` for what is not of R4's shape, `ModifierUnknown` for what may mean anything."""
        kind = resource["resourceType"]
        entry_kind, simple, when, put, medicine, qualified = _SHAPES[kind]
        if not (only_simple := simple.issuperset(resource)):
            require_understood(resource, simple)
        fields = _ENTRY.defaults.copy()
        fields["kind"], fields["resource"] = entry_kind, reference
        fields["status"] = resource.get("status") or status(resource)
        self._put_time(resource, when, fields)
        concept = self._names.medicine(resource) if medicine else resource.get("code") or _other_code(resource)
        codings, text, analyte = self.concepts.read(concept)
        fields["text"] = text or kind
        if kind == "Observation":
            _put_measured(resource, analyte, fields)
            if "component" in resource:
                fields["components"] = tuple([self._component(part) for part in resource["component"]])
        put(resource, fields, self._names)
        if not only_simple and (rest := told(resource, SHOWN[kind], self._names)):
            fields["detail"] = joined((fields["detail"], *rest))
        if qualified and (before := qualifier(resource)):
            fields["text"] = f"{before}: {fields['text']}"
        if "text" in resource:
            _put_narrative(resource, kind, fields)
        return _ENTRY.make(fields, codings)

    def _component(self, part: Resource) -> Component:
        codings, text, analyte = self.concepts.read(part.get("code"))
        fields = _PART.defaults.copy()
        fields["text"] = text or "component"
        _put_measured(part, analyte, fields)
        if not _PART_SHOWN.issuperset(part):
            require_understood(part)
            fields["detail"] = joined(told(part, _PART_SHOWN, self._names))
        return _PART.make(fields, codings)

    def _put_time(self, resource: Resource, elements: tuple[str, ...], fields: Fields) -> None:
        for element in elements:
            if found := resource.get(element):
                if type(found) is dict:
                    element, found = _of_period(element, found, fields)
                    if not found:
                        continue
                fields["when"] = found
                fields["when_element"] = element
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


_CODED_ELSEWHERE = {
    "Immunization": "vaccineCode",
    "Device": "type",
    "Goal": "description",
    "FamilyMemberHistory": "relationship",
}


def _other_code(resource: Resource) -> Resource | None:
    """What stands for `code` in the types that have none."""
    if resource["resourceType"] == "ImagingStudy":
        return next(iter(resource.get("procedureCode", ())), None)
    return resource.get(_CODED_ELSEWHERE.get(resource["resourceType"], ""))


# -- values ----------------------------------------------------------------------------------------------------------------------


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
_PART_SHOWN = frozenset(("id", "extension", "code", "dataAbsentReason", "valueQuantity", *_VALUES))


def _observation(resource: Resource, fields: Fields, names: Names) -> None:
    _put_category(resource, fields)
    if marks := resource.get("interpretation"):
        fields["interpretation"] = joined(_first_code(mark) for mark in marks)
    if members := resource.get("hasMember"):
        fields["members"] = referenced(members)
    if when := resource.get("effectiveTiming"):
        fields["detail"] = timing(when)


# -- reports ---------------------------------------------------------------------------------------------------------------------


def _report(resource: Resource, fields: Fields, names: Names) -> None:
    """Conclusion, else coded conclusions, else the text of the report; what of them is not the entry's text stands in its detail."""
    _put_category(resource, fields)
    if results := resource.get("result"):
        fields["members"] = referenced(results)
    if named := [*resource.get("imagingStudy", ()), *resource.get("basedOn", ())]:
        fields["studies"] = referenced(named)
    said: list[str | None] = [resource.get("conclusion"), None, None]
    if codes := resource.get("conclusionCode"):
        said[1] = joined(text_of(code) for code in codes)
    unread: list[str] = []
    if forms := resource.get("presentedForm"):
        said[2], unread = report_text(forms)
    if words := next(filter(None, said), None):
        fields["title"], fields["text"] = fields["text"], words
        rest = [f"coded: {said[1]}" if said[1] and said[1] not in words else None, _body(said[2], words)]
        fields["detail"] = joined(rest)
    if unread:
        fields["detail"] = joined((fields["detail"], f"report text not read: {', '.join(unread)}"))


def _body(body: str | None, words: str) -> str | None:
    """A report's text beside its conclusion."""
    if not body or body in words:
        return None
    if len(body) <= MOST_BODY:
        return f"report text: {body}"
    return f"report text of {len(body)} characters not shown"


def _put_narrative(resource: Resource, kind: str, fields: Fields) -> None:
    """The resource's own Narrative (R4 2.4): only where the source says that it holds more than the elements do, or where they say nothing at all."""
    narrative = resource["text"]
    nameless = fields["text"] == kind
    if not nameless and narrative.get("status") != "additional":
        return
    words = " ".join(text_of_html(str(narrative.get("div", ""))).split())
    if nameless and words:
        fields["text"] = words
    elif words and words not in fields["text"]:
        shown = words if len(words) <= MOST_BODY else f"{len(words)} characters not shown"
        fields["detail"] = joined((fields["detail"], f"narrative: {shown}"))


# -- the others --------------------------------------------------------------------------------------------------------------------


def _condition(resource: Resource, fields: Fields, names: Names) -> None:
    _put_category(resource, fields)
    ended = resource.get("abatementDateTime") or resource.get("abatementPeriod", {}).get("end")
    if ended:
        fields["until"] = ended
    if grade := text_of(resource.get("severity")):
        fields["detail"] = grade


def _medication(resource: Resource, fields: Fields, names: Names) -> None:
    if fields["text"] == resource["resourceType"]:
        fields["text"] = "medicine not named"
    doses = resource.get("dosageInstruction") or resource.get("dosage") or ()
    found = [doses] if isinstance(doses, dict) else doses
    if found and (said := joined(dose(one) for one in found)):
        fields["detail"] = said


def _procedure(resource: Resource, fields: Fields, names: Names) -> None:
    if result := text_of(resource.get("outcome")):
        fields["detail"] = f"outcome: {result}"


def _allergy(resource: Resource, fields: Fields, names: Names) -> None:
    said = [reaction(one) for one in resource.get("reaction", ())]
    if resource.get("criticality"):
        said.append(f"criticality {resource['criticality']}")
    if detail := joined(said):
        fields["detail"] = detail


def _order(resource: Resource, fields: Fields, names: Names) -> None:
    _put_category(resource, fields)


def _imaging_study(resource: Resource, fields: Fields, names: Names) -> None:
    """A study that nobody described is named by what was taken of which part of the body."""
    series = resource.get("series", ())
    modalities = [*resource.get("modality", ()), *(one.get("modality") for one in series)]
    seen = [_modality(modalities), *(one.get(name) for name in ("bodySite", "laterality") for one in series)]
    shown = list(dict.fromkeys(filter(None, (one if isinstance(one, str) else _coding_words(one) for one in seen))))
    named = resource.get("description") or text_of(next(iter(resource.get("procedureCode", ())), None))
    fields["text"] = named or " ".join(shown) or "ImagingStudy"
    procedures = [text_of(one) for one in resource.get("procedureCode", ())]
    more = [word for word in procedures if word and word not in fields["text"]]
    fields["detail"] = joined([*(shown if named else ()), *more])


def _modality(found: list[Resource | None]) -> str | None:
    return "/".join(sorted({one["code"] for one in found if one and one.get("code")})) or None


def _coding_words(coding: Resource | None) -> str | None:
    return (coding.get("display") or coding.get("code")) if coding else None


def _put_category(resource: Resource, fields: Fields) -> None:
    """Observation, DiagnosticReport, Condition and ServiceRequest have a list of categories."""
    try:  # as nearly all have it
        fields["category"] = resource["category"][0]["coding"][0]["code"]
        return
    except LookupError:
        pass
    for category in resource.get("category") or ():
        for coding in category.get("coding", ()):
            if code := coding.get("code"):
                fields["category"] = code
                return


def _first_code(concept: Resource) -> str | None:
    return next((c["code"] for c in concept.get("coding", ()) if c.get("code")), None) or concept.get("text")


READERS: dict[str, Callable[[Resource, Fields, Names], None]] = {
    "ImagingStudy": _imaging_study,
    "DiagnosticReport": _report,
    "Observation": _observation,
    "Condition": _condition,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "MedicationAdministration": _medication,
    "Procedure": _procedure,
    "AllergyIntolerance": _allergy,
    "ServiceRequest": _order,
    **CARE_READERS,
}

_SHAPES = {
    kind: (KINDS[kind], SIMPLE[kind], WHEN[kind], READERS[kind], kind in _MEDICINES, kind in QUALIFIED)
    for kind in KINDS
}
"""All that is looked up for a resource of each type, at once."""
