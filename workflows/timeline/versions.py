"""Which version of which resource stands: of all that was given, in whatever order and however often, at the moment that is asked for.

* The newest version of a resource counts: by its version number, else by `meta.lastUpdated`.
* What is entered in error or withdrawn is out, and takes the preliminary of the same result with it.
* A preliminary and a final of the same result are one: the final. Two finals are one only where they say the same.
* At `as_of` only what was knowable then counts (docs/adr/ADR-0008-timeline.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import PermanentFailure
from schemas.timeline import LeftOut, Span
from workflows.timeline.completeness import is_search_report
from workflows.timeline.dates import NEVER, Dates
from workflows.timeline.fields import Resource, said_by_ai, status, unversioned, versioned
from workflows.timeline.kinds import KINDS, MALFORMED, RECORDED, WHEN
from workflows.timeline.results import same_result, says_the_same

_WITHDRAWN = ("cancelled", "not-done", "revoked", "rejected")
_COUNTS = frozenset(("final", "active", "completed", "available", "finished"))
"""The common statuses, none of them withdrawn: they are not looked at twice."""
_NO_RESULT = ("ai-asserted", "unreadable")
_FINAL = ("final", "amended", "corrected", "appended")
_RESULTS = ("Observation", "DiagnosticReport")


@dataclass(frozen=True)
class Moment:
    """`as_of` as the end of what it can mean; `exempt` is the study being read, which is what the moment is about."""

    dates: Dates
    end: int
    exempt: frozenset[str] = frozenset()


def standing(
    patient: str, resources: Iterable[Resource], moment: Moment | None = None, beside: list[Resource] | None = None
) -> tuple[dict[str, Resource], Counter[LeftOut]]:
    """What stands of the patient's resources of the types of a timeline, by `Type/id`, and how many do not, by reason.

    What no entry is made of is put into `beside`. `PermanentFailure` `fhir-wrong-patient` for a resource that is another patient's, or nobody's.
    """
    beside = [] if beside is None else beside
    left_out: Counter[LeftOut] = Counter()
    kept: dict[str, Resource] = {}
    withdrawn: dict[str, Resource] = {}
    shared: list[str] = []
    reason: LeftOut | None
    for reference, resource in _newest(resources, moment, left_out).items():
        kind = resource["resourceType"]
        if kind not in KINDS or (kind == "Device" and not is_fact(resource)):
            if kind != "Patient":
                beside.append(resource)
            continue
        reason = None
        try:
            subject, meta = resource.get("subject"), resource.get("meta")
            if not subject or subject.get("reference") != patient:
                check_subject(resource, patient)
            if (meta and ("security" in meta or "tag" in meta)) or "identifier" in resource:
                reason = "ai-asserted" if said_by_ai(resource) else None
            if reason is None and resource.get("status") not in _COUNTS:
                reason = _withdrawal(resource)
        except MALFORMED:
            check_subject(resource, patient)
            reason = "unreadable"
        if reason in _NO_RESULT:
            left_out[reason] += 1
            continue
        if "identifier" in resource or "specimen" in resource:
            shared.append(reference)
        if reason:
            left_out[reason] += 1
            withdrawn[reference] = resource
        else:
            kept[reference] = resource
    for reference in _replaced(shared, kept, withdrawn):
        left_out["replaced"] += 1
        del kept[reference]
    left_out["other-type"] = sum(not is_search_report(resource) for resource in beside)
    return kept, left_out


def is_fact(resource: Resource) -> bool:
    """Whether an entry can be made of it. A Device of a patient's names the patient (R4 8.15): one that does not is a scanner or an analyser."""
    kind = resource["resourceType"]
    return kind in KINDS and (kind != "Device" or bool(resource.get("patient") or resource.get("subject")))


def check_subject(resource: Resource, patient: str) -> None:
    """Refuse a resource that is another patient's, or nobody's."""
    subject: Resource = resource.get("subject") or resource.get("patient") or {}
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if reference == patient:
        return
    if not isinstance(reference, str) or unversioned(reference) != unversioned(patient):
        raise PermanentFailure("fhir-wrong-patient", "the FHIR server answered with a resource of another patient")


def _withdrawal(resource: Resource) -> LeftOut | None:
    said = resource.get("status")
    if said is None:
        parts = status(resource).split("/")
        if "entered-in-error" in parts:
            return "entered-in-error"
        return "withdrawn" if parts[0] in _WITHDRAWN else None
    if said == "entered-in-error":
        return "entered-in-error"
    return "withdrawn" if said in _WITHDRAWN else None


# -- versions --------------------------------------------------------------------------------------------------------------------


def _newest(resources: Iterable[Resource], moment: Moment | None, left_out: Counter[LeftOut]) -> dict[str, Resource]:
    first: dict[str, Resource] = {}
    more: dict[str, list[Resource]] = {}
    for resource in resources:
        reference = f"{resource['resourceType']}/{resource.get('id')}"
        known = first.setdefault(reference, resource)
        if known is not resource:
            more.setdefault(reference, [known]).append(resource)
    if moment is not None:
        more = {reference: more.get(reference, [resource]) for reference, resource in first.items()}
    for reference, versions in more.items():
        chosen = _chosen(reference, versions, moment, left_out)
        if chosen is None:
            del first[reference]
        else:
            first[reference] = chosen
    return first


def _chosen(
    reference: str, versions: list[Resource], moment: Moment | None, left_out: Counter[LeftOut]
) -> Resource | None:
    """The newest version that was knowable; None, counted, if none was."""
    ordered = sorted(versions, key=_version_key)
    if moment is None or reference in moment.exempt or reference.startswith("Patient/"):
        return ordered[-1]
    distinct = [v for n, v in enumerate(ordered) if n == 0 or _version_key(v)[:3] != _version_key(ordered[n - 1])[:3]]
    reasons: list[LeftOut | None] = [_after(v, n > 0 or _is_later_version(v), moment) for n, v in enumerate(distinct)]
    known = [version for version, reason in zip(distinct, reasons, strict=True) if reason is None]
    if known:
        return known[-1]
    left_out[reasons[0] or "after-as-of"] += 1
    return None


def newest(versions: Iterable[Resource]) -> tuple[Resource, str]:
    """The newest of several versions of one resource, and its versioned reference."""
    resource = max(versions, key=_version_key)
    return resource, versioned(resource)


def _version_key(resource: Resource) -> tuple[int, int, str, str]:
    """Orders versions of one resource: by number, else by `meta.lastUpdated`; content decides only where nothing else does."""
    version = str((resource.get("meta") or {}).get("versionId", ""))
    number = int(version) if version.isdecimal() else -1
    return number, _updated(resource), version, json.dumps(resource, sort_keys=True)


def _updated(resource: Resource) -> int:
    span = Dates().span((resource.get("meta") or {}).get("lastUpdated"))
    return span[0] if span else -NEVER[0]


def _is_later_version(resource: Resource) -> bool:
    version = str((resource.get("meta") or {}).get("versionId", ""))
    return version.isdecimal() and int(version) > 1


def _after(resource: Resource, later: bool, moment: Moment) -> LeftOut | None:
    """Why a version was not knowable. A later version says what it says since `lastUpdated`, whatever `issued` it repeats."""
    recorded = next((span for name in RECORDED if (span := _span(resource.get(name), moment))), None)
    updated = _span((resource.get("meta") or {}).get("lastUpdated"), moment)
    clinical = next(
        (s for name in WHEN.get(resource["resourceType"], ()) if (s := _span(resource.get(name), moment))), None
    )
    if (
        resource["resourceType"] == "ImagingStudy"
    ):  # images are there once they are taken, whenever their record changes
        return "after-as-of" if clinical and clinical[0] >= moment.end else None
    known = recorded or updated or clinical
    if known and known[0] >= moment.end:
        return "after-as-of"
    return "changed-after-as-of" if later and updated and updated[0] >= moment.end else None


def _span(found: object, moment: Moment) -> Span | None:
    if isinstance(found, dict):
        found = found.get("start") or found.get("end")
    return moment.dates.span(found) if isinstance(found, str) else None


# -- one result under several ids --------------------------------------------------------------------------------------------------


def _replaced(shared: list[str], kept: dict[str, Resource], withdrawn: dict[str, Resource]) -> set[str]:
    """`Type/id` of each result that another one stands for; `shared` are those that may be the same result as another."""
    groups: dict[tuple[str, ...], list[tuple[int, str, Resource]]] = {}
    for reference in shared:
        resource = kept.get(reference) or withdrawn[reference]
        if resource["resourceType"] in _RESULTS:
            rank = _rank(resource) if reference in kept else 2
            for key in same_result(resource):
                groups.setdefault(key, []).append((rank, reference, resource))
    return {reference for key, group in groups.items() if len(group) > 1 for reference in _losers(key, group)}


def _rank(resource: Resource) -> int:
    return 3 if resource.get("status") in _FINAL else 1


def _losers(key: tuple[str, ...], group: list[tuple[int, str, Resource]]) -> list[str]:
    """The preliminaries beside a better one; and of those with one business identifier that say the same, all but the newest."""
    best = max(rank for rank, *_ in group)
    early = [reference for rank, reference, _ in group if rank == 1 < best]
    if key[0] == "specimen":
        return early
    standing = [(_updated(resource), reference, resource) for rank, reference, resource in group if rank == best != 2]
    standing.sort(key=lambda one: one[:2])
    repeated = [
        reference
        for number, (_, reference, resource) in enumerate(standing)
        if any(says_the_same(resource, later) for _, _, later in standing[number + 1 :])
    ]
    return early + repeated
