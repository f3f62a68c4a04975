"""What became known after a result: which observations the table of rules names, and how the inbox shows them."""

from __future__ import annotations

from collections.abc import Callable

from temporalio import activity

from schemas.codes import URI, Canonical, Json
from schemas.errors import PermanentFailure
from schemas.identifiers import hex_from_ni
from schemas.lifecycle import AssessHistory, HistoryAssessed
from schemas.report import InputManifest
from schemas.telemetry.fields import fields
from schemas.timeline import TimelineEntry
from workflows.ports import FhirServer, ObjectStore
from workflows.report import PostedResult, stands
from workflows.report.rules import TABLE_VERSION, rules_naming
from workflows.report_study.fhir_results import patients_of
from workflows.timeline.dates import NEVER, Dates
from workflows.timeline.entries import EntryReader
from workflows.timeline.fields import said_by_ai, sort_key, subject_of, unversioned, versioned
from workflows.timeline.modifiers import is_understood

READ = ("final", "amended", "corrected", "preliminary")
"""Statuses of an Observation that says something."""


def assess(
    fhir: FhirServer,
    store: ObjectStore,
    canonical: Canonical,
    base: PostedResult,
    addenda: list[PostedResult],
    args: AssessHistory,
) -> HistoryAssessed:
    """Each observation with each rule that names it, in the order announced; a result that stands no longer is concerned by nothing."""
    pairs: list[tuple[str, str]] = []
    patients = patients_of(fhir, base.report)
    if stands(canonical, base) and unversioned(args.patient) in patients:
        knew = _knew(fhir, store, canonical, base, addenda)
        studied = base.report.get("effectiveDateTime") or base.report.get("issued")
        for reference in dict.fromkeys(unversioned(o) for o in args.observations):
            observation = _observation(fhir, reference, patients)
            if observation is None or knew(observation):
                continue
            rules = rules_naming(canonical, base.observations, observation, studied)
            pairs += [(versioned(observation), rule.code) for rule in rules]
    return HistoryAssessed(table=TABLE_VERSION, relevant=[o for o, _ in pairs], rules=[rule for _, rule in pairs])


def _observation(fhir: FhirServer, reference: str, patients: set[str]) -> Json | None:
    """The observation as it is now; None where it is gone, another patient's, an AI's own, not understood, or says nothing. An event is a hint.

    FHIR moves an observation to the surviving record before the bus tells of the merge: then it is about one of `patients` all the same.
    """
    try:
        resource = fhir.read(reference)
        _check_subject(resource, patients)
    except PermanentFailure as failure:
        activity.logger.warning("observation-left-out", extra=fields(code=failure.code))
        return None
    said = resource["resourceType"] == "Observation" and resource.get("status") in READ
    return resource if said and not said_by_ai(resource) and is_understood(resource) else None


def _knew(
    fhir: FhirServer, store: ObjectStore, canonical: Canonical, base: PostedResult, addenda: list[PostedResult]
) -> Callable[[Json], bool]:
    """Whether the result, or an addendum to it, was made knowing this version of an observation.

    By the input manifest; where that is gone, by the time at which the server got the observation.
    """
    manifest = _manifest(store, _sources(fhir, canonical, base))
    told = {_version_of(what) for addendum in addenda for what in _sources(fhir, canonical, addendum)}
    issued = sort_key(base.report.get("issued"))

    def knew(observation: Json) -> bool:
        if versioned(observation) in told:
            return True
        if manifest is not None:
            return versioned(observation) in manifest.fhir
        stored = observation.get("meta", {}).get("lastUpdated") or observation.get("issued")
        return bool(stored) and sort_key(stored) <= issued

    return knew


def _sources(fhir: FhirServer, canonical: Canonical, posted: PostedResult) -> list[Json]:
    """What the result's own Provenance names as its sources."""
    tag = posted.result_id(canonical)
    found = fhir.find_tagged("Provenance", canonical.sid("ai-result"), tag)
    return [e["what"] for provenance in found for e in provenance.get("entity", []) if e["role"] == "source"]


def _version_of(what: Json) -> str:
    """The versioned reference of a source: its identifier, which servers leave alone (contract 1.4)."""
    return str(what.get("identifier", {}).get("value", ""))


def _manifest(store: ObjectStore, sources: list[Json]) -> InputManifest | None:
    digests = [s["identifier"]["value"] for s in sources if s.get("identifier", {}).get("system") == URI]
    try:
        return InputManifest.model_validate_json(store.get(hex_from_ni(digests[0]))) if digests else None
    except (PermanentFailure, ValueError):
        return None


def _check_subject(resource: Json, patients: set[str]) -> None:
    if subject_of(resource) not in patients:
        raise PermanentFailure("fhir-wrong-patient", "a resource of another patient")


def later_entries(fhir: FhirServer, patients: set[str], references: list[str]) -> list[TimelineEntry]:
    """The observations as the inbox's history shows them, in the versions that were assessed."""
    found = [fhir.read_exact(reference) for reference in references]
    for resource in found:
        _check_subject(resource, patients)
    reader = EntryReader(Dates())
    return sorted((reader.read(r, versioned(r)) for r in found), key=lambda e: (e.span or NEVER, e.resource))
