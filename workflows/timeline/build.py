"""FHIR R4 resources of one patient -> an ordered, typed, deduplicated history in which every entry cites its versioned source.

    resources -> standing versions (versions.py) -> entries (entries.py, units.py) -> in the order of their dates (dates.py)

Left out and counted: what was entered in error or withdrawn, what a modifier that nobody here knows may turn around, what lies after `as_of`, and
what an AI asserted (`AIAST`), our own results included: a reading never feeds on itself. The same resources give the same timeline in whatever order
and however often they are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from operator import attrgetter
from typing import Any

from schemas.errors import PermanentFailure
from schemas.imaging import StudyInventory
from schemas.timeline import (
    NO_NAME,
    Identifier,
    LeftOut,
    OrderEntry,
    PatientBanner,
    PriorChoice,
    Span,
    StudyEntry,
    Timeline,
    TimelineEntry,
)
from workflows.timeline.completeness import is_search_report, of_search
from workflows.timeline.dates import NEVER, Dates, before
from workflows.timeline.entries import EntryReader
from workflows.timeline.fields import (
    Resource,
    codings,
    identifiers,
    study_instance_uid,
    text_of,
    unversioned,
    versioned,
)
from workflows.timeline.kinds import MALFORMED
from workflows.timeline.modifiers import ModifierUnknown, is_negated, require_understood
from workflows.timeline.names import Names
from workflows.timeline.priors import PriorPolicy, Subject, choose_priors, subject_of_study
from workflows.timeline.records import uncollected
from workflows.timeline.regions import region_of, side_of
from workflows.timeline.studies import study_entry, with_archive
from workflows.timeline.versions import Moment, newest, standing

_PRIORITIES = ("routine", "urgent", "asap", "stat")


@uncollected()
def build_timeline(
    patient: str,
    resources: Sequence[Resource],
    *,
    study_instance_uid: str,
    imaging_study: str | None = None,
    service_request: str | None = None,
    accession: str | None = None,
    as_of: str | None = None,
    site_zone: tzinfo = UTC,
    studies: Iterable[StudyInventory] = (),
    policy: PriorPolicy | None = None,
) -> Timeline:
    """The history of `patient` around one study.

    `as_of` (FHIR dateTime): what was knowable then; it stands for the beginning of a study that FHIR does not know. `site_zone` is where dates
    without an offset are. `studies` are the archive's studies of this patient: they complete FHIR's, and what only the archive knows is a study too.
    `PermanentFailure` (`patient-not-found`, `fhir-wrong-patient`, `imaging-study-mismatch`, `imaging-study-ambiguous`, `as-of-unreadable`) rather
    than a guess.
    """
    patient, dates = unversioned(patient), Dates(site_zone)
    banner = patient_banner(patient, resources)
    moment = _moment(as_of, dates, resources, study_instance_uid)
    beside: list[Resource] = []
    held, left_out = standing(patient, resources, moment, beside)
    missing, counted = of_search(beside)
    left_out["other-type"] += counted.total()
    medicines = _medicines(beside)
    names = Names(held | medicines if medicines else held)
    entries, known = _entries(held, EntryReader(dates, names), dates, left_out)
    current = _current_study(known, study_instance_uid, imaging_study)
    all_studies, more = with_archive(known, studies, dates)
    current = next((s for s in all_studies if current and s.resource == current.resource), current)
    began = current.span if current and current.span else dates.span(as_of)
    return Timeline(
        patient=banner,
        study=current,
        order=_order(held, service_request, accession, current.based_on if current else ()),
        priors=_priors(all_studies, study_instance_uid, began),
        prior_choices=_choices(all_studies, study_instance_uid, current, began, policy),
        entries=_ordered(entries + more),
        as_of=as_of,
        left_out={reason: left_out[reason] for reason in sorted(left_out) if left_out[reason]},
        other_types=_others(beside, counted),
        incomplete=missing,
    )


def _moment(as_of: str | None, dates: Dates, resources: Iterable[Resource], uid: str) -> Moment | None:
    if as_of is None:
        return None
    span = dates.span(as_of)
    if span is None:
        raise PermanentFailure("as-of-unreadable", "the moment asked for is no FHIR date: write 2026-05-03T10:00:00Z")
    own = (r for r in resources if r["resourceType"] == "ImagingStudy" and study_instance_uid(r) == uid)
    return Moment(dates, span[1], frozenset(f"ImagingStudy/{r.get('id')}" for r in own))


def _others(beside: list[Resource], counted: Counter[str]) -> dict[str, int]:
    """How many resources there are of each type that no entry is made of."""
    found = Counter(r["resourceType"] for r in beside if not is_search_report(r))
    return dict(sorted((found + counted).items()))


def _medicines(resources: Iterable[Resource]) -> dict[str, Resource]:
    """What a request may name by reference alone."""
    return {f"Medication/{r.get('id')}": r for r in resources if r["resourceType"] == "Medication"}


def _entries(
    held: dict[str, Resource], reader: EntryReader, dates: Dates, left_out: Counter[LeftOut]
) -> tuple[list[TimelineEntry], list[StudyEntry]]:
    """The entry of each resource, and the imaging studies; what is malformed is left out and counted, and the others are read on."""
    entries, studies, read = [], [], reader.read
    for plain, resource in held.items():
        try:
            meta = resource.get("meta")
            version = meta.get("versionId") if meta else None
            reference = f"{plain}/_history/{version}" if version else plain
            entries.append(read(resource, reference))
            if resource["resourceType"] == "ImagingStudy" and (study := study_entry(reference, resource, dates)):
                studies.append(study)
        except ModifierUnknown:
            left_out["modifier-unknown"] += 1
        except MALFORMED:
            left_out["unreadable"] += 1
    return entries, studies


def _ordered(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """By date, then by reference; what has no date stands last."""
    entries.sort(key=attrgetter("resource"))
    dated = [entry for entry in entries if entry.span]
    dated.sort(key=attrgetter("span"))
    return dated + [entry for entry in entries if not entry.span]


def patient_banner(patient: str, resources: Iterable[Resource]) -> PatientBanner:
    """Who `patient` (`Patient/<id>`) is; `PermanentFailure` (`patient-not-found`) if it is not among the resources."""
    found = [r for r in resources if r["resourceType"] == "Patient" and f"Patient/{r.get('id')}" == patient]
    if not found:
        raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient")
    resource, version = newest(found)
    try:
        return _banner(resource, version)
    except MALFORMED:
        raise PermanentFailure("patient-unreadable", "the event's Patient in FHIR is not of R4's shape") from None


def _banner(resource: Resource, version: str) -> PatientBanner:
    return PatientBanner(
        resource=version,
        name=_name(resource.get("name", [])),
        birth_date=resource.get("birthDate"),
        sex=resource.get("gender"),
        identifiers=identifiers(resource),
    )


def _name(names: list[dict[str, Any]]) -> str:
    if not names:
        return NO_NAME
    name = next((n for n in names if n.get("use") == "official"), names[0])
    parts = [name.get("family") or "", " ".join(given for given in name.get("given", []) if given)]
    return ", ".join(part for part in parts if part) or name.get("text") or NO_NAME


def _current_study(studies: list[StudyEntry], uid: str, reference: str | None) -> StudyEntry | None:
    matching = [study for study in studies if study.study_instance_uid == uid]
    if len(matching) > 1:
        raise PermanentFailure("imaging-study-ambiguous", "FHIR holds more than one ImagingStudy for this study")
    if reference and [unversioned(study.resource) for study in matching] != [unversioned(reference)]:
        raise PermanentFailure(
            "imaging-study-mismatch",
            "the ImagingStudy that the event names is not among this patient's valid records of this study",
        )
    return matching[0] if matching else None


def _priors(studies: list[StudyEntry], uid: str, began: Span | None) -> list[StudyEntry]:
    """Studies that were over when this one began, newest first. Where nobody knows when that was, every dated study counts."""
    others = {s.study_instance_uid: s for s in sorted(studies, key=lambda s: s.resource, reverse=True)}
    earlier = [s for u, s in others.items() if u != uid and s.span and (began is None or before(s.span, began))]
    return sorted(earlier, key=lambda s: (s.span or NEVER, s.study_instance_uid), reverse=True)


def _choices(
    studies: list[StudyEntry], uid: str, current: StudyEntry | None, began: Span | None, policy: PriorPolicy | None
) -> list[PriorChoice]:
    """By what FHIR and the archive's index say. The modality and region of a study that neither knows are told by its pixels alone."""
    subject = subject_of_study(current) if current else Subject(uid, began, frozenset(), None)
    return choose_priors(studies, subject, policy)


def _order(
    held: dict[str, Resource], reference: str | None, accession: str | None, based_on: Iterable[str]
) -> OrderEntry | None:
    """The order by the event's reference, the study's `basedOn`, or the accession number; none if that is not exactly one."""
    wanted = {unversioned(reference)} if reference else set(based_on)
    if not wanted and not accession:
        return None
    orders = {r: one for r, one in held.items() if r.startswith("ServiceRequest/") and _is_sound(one)}
    found = [resource for r, resource in orders.items() if r in wanted]
    if not found and accession:
        found = [one for one in orders.values() if any(i.value == accession for i in identifiers(one))]
    if len(found) != 1:
        return None
    resource = found[0]
    priority = resource.get("priority", "routine")
    asked = [resource.get("code"), *(resource.get("bodySite") or ())]
    coded, said = [coding for one in asked for coding in codings(one)], [text_of(one) for one in asked]
    said += [coding.display for coding in coded]
    return OrderEntry(
        resource=versioned(resource),
        priority=priority if priority in _PRIORITIES else "routine",
        codings=codings(resource.get("code")),
        accession=_accession(identifiers(resource)),
        text=text_of(resource.get("code")),
        encounter=resource.get("encounter", {}).get("reference"),
        region=region_of(coded, said),
        side=side_of(coded, said),
    )


def _is_sound(order: Resource) -> bool:
    """An order not to examine is none; one that is not understood or not of R4's shape, neither."""
    try:
        require_understood(order)
        identifiers(order)
        return not is_negated(order)
    except MALFORMED:
        return False


def _accession(found: list[Identifier]) -> Identifier | None:
    return next((i for i in found if i.type == "ACSN"), None)
