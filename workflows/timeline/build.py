"""FHIR R4 resources of one patient -> an ordered, typed, deduplicated history in which every entry cites its versioned source.

Left out: what was entered in error or cancelled, and what an AI asserted (`AIAST`), our own results included: a reading never feeds on itself.
"""

from __future__ import annotations

from typing import Any

from schemas.errors import PermanentFailure
from schemas.timeline import EntryKind, Identifier, OrderEntry, PatientBanner, StudyEntry, Timeline, TimelineEntry
from workflows.timeline.fields import (
    Resource,
    codings,
    identifiers,
    medication,
    said_by_ai,
    sort_key,
    status,
    study_instance_uid,
    subject_of,
    text_of,
    unversioned,
    versioned,
    when,
)

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
_WITHDRAWN = ("entered-in-error", "cancelled", "not-done", "revoked")
_PRIORITIES = ("routine", "urgent", "asap", "stat")


def build_timeline(
    patient: str,
    resources: list[Resource],
    *,
    study_instance_uid: str,
    imaging_study: str | None = None,
    service_request: str | None = None,
    accession: str | None = None,
    as_of: str | None = None,
) -> Timeline:
    """The history of `patient` around one study. `as_of` is when the study began, for a study that FHIR does not know.

    `PermanentFailure` (`patient-not-found`, `fhir-wrong-patient`, `imaging-study-mismatch`, `imaging-study-ambiguous`) rather than a guess.
    """
    patient = unversioned(patient)
    latest = _newest(resources)
    banner = _banner(patient, latest)
    rest = [r for r in latest if r["resourceType"] != "Patient" and _counts(r)]
    for resource in rest:
        check_subject(resource, patient)
    studies = _studies(rest)
    current = _current_study(studies, study_instance_uid, imaging_study)
    return Timeline(
        patient=banner,
        study=current,
        order=_order(rest, service_request, accession, _based_on(rest, current)),
        priors=_priors(studies, study_instance_uid, (current.started if current else None) or as_of),
        entries=_entries(rest),
    )


def check_subject(resource: Resource, patient: str) -> None:
    """Refuse a resource that is another patient's, or nobody's."""
    if subject_of(resource) != unversioned(patient):
        raise PermanentFailure("fhir-wrong-patient", "the FHIR server answered with a resource of another patient")


def _newest(resources: list[Resource]) -> list[Resource]:
    """One version of each resource: the last given."""
    return list({f"{r['resourceType']}/{r['id']}": r for r in resources}.values())


def _counts(resource: Resource) -> bool:
    return not said_by_ai(resource) and not any(word in _WITHDRAWN for word in status(resource).split("/"))


def _banner(patient: str, resources: list[Resource]) -> PatientBanner:
    found = [r for r in resources if r["resourceType"] == "Patient" and f"Patient/{r['id']}" == patient]
    if len(found) != 1:
        raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient")
    return patient_banner(patient, found[0])


def patient_banner(patient: str, resource: Resource) -> PatientBanner:
    """Who `patient` is; `PermanentFailure` (`patient-not-found`) if the resource is another one."""
    if resource["resourceType"] != "Patient" or f"Patient/{resource['id']}" != unversioned(patient):
        raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient")
    return PatientBanner(
        resource=versioned(resource),
        name=_name(resource.get("name", [])),
        birth_date=resource.get("birthDate"),
        sex=resource.get("gender"),
        identifiers=identifiers(resource),
    )


def _name(names: list[dict[str, Any]]) -> str:
    if not names:
        return "(no name)"
    name = next((n for n in names if n.get("use") == "official"), names[0])
    parts = [name.get("family", ""), " ".join(name.get("given", []))]
    return ", ".join(part for part in parts if part) or name.get("text") or "(no name)"


def _studies(resources: list[Resource]) -> list[tuple[StudyEntry, Resource]]:
    found = []
    for resource in resources:
        uid = study_instance_uid(resource) if resource["resourceType"] == "ImagingStudy" else None
        if uid:
            found.append((_study(resource, uid), resource))
    return found


def _study(resource: Resource, uid: str) -> StudyEntry:
    modalities = {m.get("code") for m in resource.get("modality", [])}
    modalities |= {series.get("modality", {}).get("code") for series in resource.get("series", [])}
    return StudyEntry(
        resource=versioned(resource),
        study_instance_uid=uid,
        started=resource.get("started"),
        modalities=sorted(m for m in modalities if m),
        description=resource.get("description") or text_of((resource.get("procedureCode") or [None])[0]),
    )


def _current_study(studies: list[tuple[StudyEntry, Resource]], uid: str, reference: str | None) -> StudyEntry | None:
    matching = [study for study, _ in studies if study.study_instance_uid == uid]
    if len(matching) > 1:
        raise PermanentFailure("imaging-study-ambiguous", "FHIR holds more than one ImagingStudy for this study")
    if reference and [unversioned(study.resource) for study in matching] != [unversioned(reference)]:
        raise PermanentFailure(
            "imaging-study-mismatch",
            "the ImagingStudy that the event names is not among this patient's valid records of this study",
        )
    return matching[0] if matching else None


def _priors(studies: list[tuple[StudyEntry, Resource]], uid: str, began: str | None) -> list[StudyEntry]:
    """Studies that began before this one, newest first. Where nobody knows when this one began, every dated study counts."""
    limit = sort_key(began) if began else None
    known = sorted((study for study, _ in studies), key=lambda study: study.resource)
    others = {s.study_instance_uid: s for s in known if s.study_instance_uid != uid and s.started}
    before = [s for s in others.values() if limit is None or sort_key(s.started) < limit]
    return sorted(before, key=lambda s: (sort_key(s.started), s.study_instance_uid), reverse=True)


def _based_on(resources: list[Resource], current: StudyEntry | None) -> list[str]:
    for resource in resources:
        if current and versioned(resource) == current.resource:
            return [unversioned(b["reference"]) for b in resource.get("basedOn", []) if b.get("reference")]
    return []


def _order(
    resources: list[Resource], reference: str | None, accession: str | None, based_on: list[str]
) -> OrderEntry | None:
    """The order by the event's reference, the study's `basedOn`, or the accession number; none if that is not exactly one."""
    wanted = {unversioned(reference)} if reference else set(based_on)
    orders = [r for r in resources if r["resourceType"] == "ServiceRequest"]
    found = [r for r in orders if f"ServiceRequest/{r['id']}" in wanted]
    if not found and accession:
        found = [r for r in orders if any(i.value == accession for i in identifiers(r))]
    if len(found) != 1:
        return None
    resource = found[0]
    priority = resource.get("priority", "routine")
    return OrderEntry(
        resource=versioned(resource),
        priority=priority if priority in _PRIORITIES else "routine",
        codings=codings(resource.get("code")),
        accession=_accession(identifiers(resource)),
        text=text_of(resource.get("code")),
        encounter=resource.get("encounter", {}).get("reference"),
    )


def _accession(found: list[Identifier]) -> Identifier | None:
    return next((i for i in found if i.type == "ACSN"), None)


def _entries(resources: list[Resource]) -> list[TimelineEntry]:
    entries = [_entry(r) for r in resources if r["resourceType"] in KINDS]
    return sorted(entries, key=lambda e: (sort_key(e.when), e.resource))


def _entry(resource: Resource) -> TimelineEntry:
    concept = resource.get("code") or medication(resource)
    value, unit = _value(resource)
    return TimelineEntry(
        kind=KINDS[resource["resourceType"]],
        resource=versioned(resource),
        when=when(resource),
        status=status(resource),
        text=resource.get("conclusion") or resource.get("description") or text_of(concept) or resource["resourceType"],
        codings=codings(concept),
        value=value,
        unit=unit,
    )


def _value(resource: Resource) -> tuple[str | None, str | None]:
    quantity = resource.get("valueQuantity")
    if quantity and quantity.get("value") is not None:
        return str(quantity["value"]), quantity.get("unit") or quantity.get("code")
    if resource.get("valueCodeableConcept"):
        return text_of(resource["valueCodeableConcept"]), None
    return resource.get("valueString"), None
