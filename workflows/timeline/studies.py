"""Imaging studies of the history: FHIR's ImagingStudy resources and the archive's index (QIDO-RS), which complete each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.imaging import StudyInventory
from schemas.timeline import Coding, StudyEntry, TimelineEntry
from workflows.timeline.dates import Dates
from workflows.timeline.fields import Resource, codings, referenced, study_instance_uid, text_of
from workflows.timeline.regions import region_of, side_of


def study_entry(reference: str, resource: Resource, dates: Dates) -> StudyEntry | None:
    """An ImagingStudy as a study; None for one that names no StudyInstanceUID."""
    uid = study_instance_uid(resource)
    if uid is None:
        return None
    series: list[Resource] = resource.get("series", [])
    procedure = [coding for concept in resource.get("procedureCode", ()) for coding in codings(concept)]
    description = resource.get("description") or text_of(next(iter(resource.get("procedureCode", ())), None))
    sites = [*_codings(series, "bodySite"), *procedure]
    words = [description, *(coding.display for coding in sites), *(one.get("description") for one in series)]
    return StudyEntry(
        resource=reference,
        study_instance_uid=uid,
        started=resource.get("started"),
        modalities=_modalities([*resource.get("modality", ()), *(one.get("modality") for one in series)]),
        description=description,
        span=dates.span(resource.get("started")),
        region=region_of(sites, words),
        side=side_of(_codings(series, "laterality"), words),
        codings=procedure,
        based_on=referenced(resource.get("basedOn")),
    )


def _codings(series: Iterable[Resource], element: str) -> list[Coding]:
    found: list[dict[str, Any]] = [one[element] for one in series if one.get(element)]
    return [Coding(system=c.get("system"), code=c["code"], display=c.get("display")) for c in found if c.get("code")]


def _modalities(found: Iterable[Any]) -> list[str]:
    return sorted({one["code"] for one in found if one and one.get("code")})


def with_archive(
    known: list[StudyEntry], archive: Iterable[StudyInventory], dates: Dates
) -> tuple[list[StudyEntry], list[TimelineEntry]]:
    """FHIR's studies, completed by the archive; and entries for those that only the archive knows, cited as `urn:oid:<uid>`."""
    inventories = {study.study_instance_uid: study for study in archive}
    studies = [completed(study, inventories.pop(study.study_instance_uid, None), dates) for study in known]
    only_there = [_of_archive(inventory, dates) for _, inventory in sorted(inventories.items())]
    return studies + only_there, [_entry(study) for study in only_there]


def completed(study: StudyEntry, inventory: StudyInventory | None, dates: Dates) -> StudyEntry:
    """What FHIR says, and the archive's word where FHIR says nothing."""
    if inventory is None:
        return study
    there = _of_archive(inventory, dates)
    missing = ("started", "span", "modalities", "description", "region", "side")
    return study.model_copy(update={name: getattr(study, name) or getattr(there, name) for name in missing})


def _of_archive(inventory: StudyInventory, dates: Dates) -> StudyEntry:
    words = [inventory.description, *(one.description for one in inventory.series)]
    started = started_of(inventory)
    return StudyEntry(
        resource=f"urn:oid:{inventory.study_instance_uid}",
        study_instance_uid=inventory.study_instance_uid,
        started=started,
        modalities=sorted({one.modality for one in inventory.series}),
        description=inventory.description,
        span=dates.span(started),
        region=region_of([], words),
        side=side_of([], words),
    )


def started_of(study: StudyInventory) -> str | None:
    """StudyDate and StudyTime (DA, TM; PS3.5 6.2) as a FHIR dateTime in the site's time zone."""
    date, time = study.study_date, study.study_time
    if not date or len(date) != 8:
        return None
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not time or len(time) < 4:
        return day
    return f"{day}T{time[:2]}:{time[2:4]}" + (f":{time[4:]}" if len(time) >= 6 else "")


def _entry(study: StudyEntry) -> TimelineEntry:
    return TimelineEntry(
        kind="imaging-study",
        resource=study.resource,
        when=study.started,
        when_element="StudyDate",
        span=study.span,
        status="available",
        text=study.description or "ImagingStudy",
    )
