"""The clinical elements of a FHIR R4 resource, read by `fhir.resources` and by nothing of ours: what a history must show or count.

For differential tests alone. `NOT_CLINICAL` names, with the reason, what says nothing about the patient's health.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel

NOT_CLINICAL = {
    # of every type: the record's own management, who wrote it, where, and on whose order
    "*": "id meta text contained extension modifierExtension identifier language implicitRules subject patient encounter context performer "
    "requester recorder asserter author participant serviceProvider location source basedOn partOf replaces instantiatesCanonical "
    "instantiatesUri groupIdentifier requisition "
    "informationSource derivedFrom eventHistory insurance detectedIssue referrer interpreter endpoint performerType status intent",
    # what is counted and read as images, not as history
    "ImagingStudy": "series.instance series.uid series.number series.numberOfInstances series.description series.endpoint "
    "series.performer series.started numberOfSeries numberOfInstances procedureReference series.specimen",
    # references to what is an entry of its own; categories by which an entry is sorted
    "DiagnosticReport": "category result imagingStudy resultsInterpreter specimen media.link",
    "Observation": "category hasMember device specimen valueSampledData component.valueSampledData",
    "Condition": "category",
    "MedicationRequest": "category dispenseRequest substitution priority priorPrescription reportedReference supportingInformation",
    "MedicationStatement": "category",
    "MedicationAdministration": "category request device supportingInformation instantiates",
    "Procedure": "category report usedReference",
    "AllergyIntolerance": "category",
    "ServiceRequest": "category priority specimen supportingInfo relevantHistory",
    "Encounter": "classHistory statusHistory priority serviceType account episodeOfCare appointment hospitalization.preAdmissionIdentifier",
    "CarePlan": "contributor careTeam supportingInfo activity.progress.author activity.detail.performer activity.detail.location "
    "activity.detail.kind",
    "Goal": "category expressedBy priority",
    "Immunization": "manufacturer primarySource reportOrigin lotNumber expirationDate doseQuantity programEligibility fundingSource education",
    "Device": "manufactureDate udiCarrier distinctIdentifier expirationDate lotNumber serialNumber owner contact url definition parent "
    "deviceName.type",
    "DeviceUseStatement": "derivedFrom",
    "FamilyMemberHistory": "name",
    "Flag": "category",
}
_PRIMITIVE = (str, int, float)


def clinical_elements(resource: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(path, words): any one of the words shows the element."""
    kind = resource["resourceType"]
    model = get_fhir_model_class(kind).model_validate_json(json.dumps(resource))
    skipped = {*NOT_CLINICAL["*"].split(), *NOT_CLINICAL[kind].split()}
    yield from _walk(model, "", skipped)


def _walk(value: Any, path: str, skipped: set[str]) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, list):
        for one in value:
            yield from _walk(one, path, skipped)
        return
    if not isinstance(value, BaseModel):
        if value is not None and not isinstance(value, bool):
            yield path, [_written(value)]
        return
    kind = type(value).__name__
    if kind in _TYPES:
        if words := [word for word in _TYPES[kind](value) if word]:
            yield path, words
        return
    in_words = kind == "Dosage" and value.text
    for name in type(value).model_fields:
        if (in_words and name in _IN_WORDS) or (kind == "DosageDoseAndRate" and name == "type"):
            continue
        below = f"{path}.{name}".lstrip(".")
        if (
            name.endswith("__ext")
            or name in ("resource_type", "fhir_comments")
            or below in skipped
            or _is_of_record(name, path)
        ):
            continue
        name_of = getattr(value, name)
        if name_of is not None:
            yield from _walk(name_of, below, skipped)


_IN_WORDS = ("timing", "doseAndRate")
"""Where a prescriber's own words say the dose, its coded form says the same; the `type` of a dose is how it was worked out."""


def _is_of_record(name: str, path: str) -> bool:
    return bool(path) and name in ("id", "extension", "modifierExtension", "identifier", "contained", "sequence", "use")


def _written(value: Any) -> str:
    return value.isoformat()[:10] if hasattr(value, "isoformat") else str(value)


def _concept(value: Any) -> list[str]:
    return [value.text or "", *(word for one in value.coding or () for word in (one.display, one.code))]


def _quantity(value: Any) -> list[str]:
    """As it is written, or as a laboratory prints it."""
    if value.value is None:
        return []
    number = float(value.value)
    return [str(value.value), f"{number:.3g}", f"{number:g}", f"{number:.0f}", str(value.value).rstrip("0").rstrip(".")]


def _attachment(value: Any) -> list[str]:
    kind = (value.contentType or "").split(";")[0]
    if kind == "text/plain" and value.data:
        raw = value.data if isinstance(value.data, bytes) else value.data.encode()
        return [base64.b64decode(raw).decode()[:30]]
    return ["not read"]


_STAYS = {"EMER": "emergency", "IMP": "inpatient", "AMB": "ambulatory"}
_TYPES: dict[str, Any] = {
    "CodeableConcept": _concept,
    "Coding": lambda value: [value.display, value.code, _STAYS.get(value.code, "")],
    "Quantity": _quantity,
    "Age": _quantity,
    "Duration": _quantity,
    "Count": _quantity,
    "Annotation": lambda value: [value.text],
    "Reference": lambda value: (
        [] if (value.reference or "#").startswith("#") else [value.display or "not named", "not named"]
    ),
    "Attachment": _attachment,
    "Identifier": lambda value: [],
    "Money": lambda value: [],
}
