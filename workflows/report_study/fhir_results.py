"""Finds our own results in FHIR again: by result, by thread, by review act. FHIR is the record; nothing here is remembered elsewhere."""

from __future__ import annotations

import orjson

from schemas.codes import Canonical, Json
from schemas.errors import PermanentFailure
from schemas.runs import ResultBuilt, ResultWritten, ReviewWritten
from workflows.ports import FhirServer
from workflows.report import PostedResult
from workflows.timeline.fields import unversioned, versioned


def one(resources: list[Json], code: str) -> Json | None:
    """The only resource; none is None, several is a failure that a person must look at."""
    if len(resources) > 1:
        raise PermanentFailure(code, "FHIR holds the same result more than once")
    return resources[0] if resources else None


def read_posted(fhir: FhirServer, canonical: Canonical, report: Json) -> PostedResult:
    """A report of ours with its findings and its task, in their current versions."""
    result_id = PostedResult(report, [], {}).result_id(canonical)
    task = one(fhir.find_tagged("Task", canonical.sid("ai-result"), result_id), "result-doubled")
    if task is None:
        raise PermanentFailure("result-incomplete", "a result in FHIR has lost its task")
    observations = [fhir.read(unversioned(link["reference"])) for link in report.get("result", [])]
    return PostedResult(report, observations, task)


def find_result(fhir: FhirServer, canonical: Canonical, thread_id: str, result_id: str) -> ResultWritten | None:
    """A result that stands in FHIR already."""
    report = one(fhir.find("DiagnosticReport", canonical.sid("ai-result"), result_id), "result-doubled")
    if report is None:
        return None
    posted = read_posted(fhir, canonical, report)
    provenance = fhir.find_tagged("Provenance", canonical.sid("ai-result"), result_id)
    return ResultWritten(
        result_id=result_id,
        thread_id=thread_id,
        report=versioned(report),
        task=versioned(posted.task),
        observations=[versioned(o) for o in posted.observations],
        provenance=versioned(provenance[0]) if provenance else "",
        created=0,
    )


def standing_result(fhir: FhirServer, canonical: Canonical, thread_id: str, new_result_id: str) -> PostedResult | None:
    """The result of this study that a new one has to reckon with: the one unread, else the newest that a human has acted on."""
    reports = fhir.find("DiagnosticReport", canonical.sid("ai-report-thread"), thread_id)
    others = [r for r in reports if PostedResult(r, [], {}).result_id(canonical) != new_result_id]
    unread = one([r for r in others if r["status"] == "partial"], "result-doubled")
    reviewed = sorted((r for r in others if r["status"] == "preliminary"), key=lambda r: str(r.get("issued", "")))
    report = unread or (reviewed[-1] if reviewed else None)
    return read_posted(fhir, canonical, report) if report else None


def find_review(
    fhir: FhirServer, canonical: Canonical, act_id: str, result_id: str, outcome: str
) -> ReviewWritten | None:
    """This very act, if it stands in FHIR already."""
    provenance = one(fhir.find_tagged("Provenance", canonical.sid("review-act"), act_id), "review-doubled")
    if provenance is None:
        return None
    report = next(t["reference"] for t in provenance["target"] if "DiagnosticReport/" in t["reference"])
    return ReviewWritten(
        act_id=act_id,
        result_id=result_id,
        outcome=outcome,
        report=versioned(fhir.read(unversioned(report))),
        provenance=versioned(provenance),
    )


def written_result(args: ResultBuilt, bundle: bytes, references: list[str]) -> ResultWritten:
    """The answer to a transaction, told apart by type; updates of an older result stand behind our own entries."""
    entries = orjson.loads(bundle)["entry"]
    created = [r for e, r in zip(entries, references, strict=True) if e["request"]["method"] == "POST"]

    def of(resource_type: str) -> list[str]:
        return [reference for reference in created if reference.startswith(resource_type + "/")]

    return ResultWritten(
        result_id=args.result_id,
        thread_id=args.thread_id,
        report=of("DiagnosticReport")[0],
        task=of("Task")[0],
        observations=of("Observation"),
        provenance=of("Provenance")[0],
        created=len(created),
    )
