"""Which version of which resource stands: of all that was given, in whatever order and however often, at the moment that is asked for.

* The newest version of a resource counts: by its version number, else by `meta.lastUpdated`.
* What is entered in error or withdrawn is out, and takes the preliminary of the same result with it.
* A preliminary and a final of the same result are one: the final.
* At `as_of` only what was knowable then counts (docs/adr/ADR-0008-timeline.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json
from schemas.timeline import LeftOut, Span
from workflows.timeline.dates import NEVER, Dates
from workflows.timeline.entries import KINDS, RECORDED, WHEN
from workflows.timeline.fields import Resource, coded, said_by_ai, status, unversioned, versioned

_WITHDRAWN = ("cancelled", "not-done", "revoked")
_COUNTS = frozenset(("final", "active", "completed", "available"))
"""The common statuses, none of them withdrawn: they are not looked at twice."""
_FINAL = ("final", "amended", "corrected", "appended")
_RESULTS = ("Observation", "DiagnosticReport")


@dataclass(frozen=True)
class Moment:
    """`as_of` as the end of what it can mean; `exempt` is the study being read, which is what the moment is about."""

    dates: Dates
    end: int
    exempt: frozenset[str] = frozenset()


def standing(
    patient: str, resources: Iterable[Resource], moment: Moment | None = None
) -> tuple[dict[str, Resource], Counter[LeftOut]]:
    """What stands of the patient's resources of the types of a timeline, by `Type/id`, and how many do not, by reason.

    `PermanentFailure` `fhir-wrong-patient` for one that is another patient's, or nobody's.
    """
    left_out: Counter[LeftOut] = Counter()
    kept: dict[str, Resource] = {}
    withdrawn: dict[str, Resource] = {}
    shared: list[str] = []
    for reference, resource in _newest(resources, moment, left_out).items():
        if resource["resourceType"] not in KINDS:
            left_out["other-type"] += resource["resourceType"] != "Patient"
            continue
        check_subject(resource, patient)
        if said_by_ai(resource):
            left_out["ai-asserted"] += 1
            continue
        if "identifier" in resource or "specimen" in resource:
            shared.append(reference)
        if resource.get("status") not in _COUNTS and (reason := _withdrawal(resource)):
            left_out[reason] += 1
            withdrawn[reference] = resource
        else:
            kept[reference] = resource
    for reference in _replaced(shared, kept, withdrawn):
        left_out["replaced"] += 1
        del kept[reference]
    return kept, left_out


def check_subject(resource: Resource, patient: str) -> None:
    """Refuse a resource that is another patient's, or nobody's."""
    subject: Resource = resource.get("subject") or resource.get("patient") or {}
    reference = subject.get("reference")
    if reference == patient:
        return
    if not isinstance(reference, str) or unversioned(reference) != unversioned(patient):
        raise PermanentFailure("fhir-wrong-patient", "the FHIR server answered with a resource of another patient")


def _withdrawal(resource: Resource) -> LeftOut | None:
    said = resource.get("status")
    if said is None:
        parts = status(resource).split("/")
        return "entered-in-error" if "entered-in-error" in parts else None
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


def _version_key(resource: Resource) -> tuple[int, int, str, bytes]:
    """Orders versions of one resource: by number, else by `meta.lastUpdated`; content decides only where nothing else does."""
    version = str((resource.get("meta") or {}).get("versionId", ""))
    number = int(version) if version.isdecimal() else -1
    return number, _updated(resource), version, canonical_json(resource)


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
            for key in _same_result(resource):
                groups.setdefault(key, []).append((rank, reference, resource))
    return {reference for key, group in groups.items() if len(group) > 1 for reference in _losers(key, group)}


def _rank(resource: Resource) -> int:
    return 3 if resource.get("status") in _FINAL else 1


def _losers(key: tuple[str, ...], group: list[tuple[int, str, Resource]]) -> list[str]:
    """All but the best where a business identifier says that they are one; of one specimen, the preliminaries beside a final."""
    best = max(rank for rank, *_ in group)
    if key[0] == "specimen":
        return [reference for rank, reference, _ in group if rank == 1 < best]
    standing = [(_updated(resource), reference) for rank, reference, resource in group if rank == best]
    return [reference for rank, reference, _ in group if rank != 2 and reference != max(standing)[1]]


def _same_result(resource: Resource) -> list[tuple[str, ...]]:
    """What two resources share that are one result: identifier or specimen, and always code and time.

    Not the identifier alone: some interfaces put the number of the order on each result of a panel.
    """
    codings, text, _ = coded(resource.get("code"))
    code = min((f"{c.system}|{c.code}" for c in codings), default=text or "")
    time = next((str(resource[name]) for name in WHEN[resource["resourceType"]] if resource.get(name)), "")
    same = (resource["resourceType"], code, time)
    keys = [
        ("identifier", str(one.get("system", "")), str(one["value"]), *same)
        for one in resource.get("identifier", ())
        if one.get("value")
    ]
    specimens = resource.get("specimen") or []
    named = [s.get("reference") for s in (specimens if isinstance(specimens, list) else [specimens])]
    return keys + [("specimen", unversioned(str(name)), *same) for name in named if name]
