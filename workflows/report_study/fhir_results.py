"""Finds our own results in FHIR again: by result, by thread, by review act. FHIR is the record; nothing here is remembered elsewhere."""

from __future__ import annotations

import orjson

from schemas.codes import Canonical, Json
from schemas.errors import PermanentFailure
from schemas.identifiers import Namespace
from schemas.lifecycle import ResultClosed
from schemas.runs import ResultBuilt, ResultWritten, ReviewWritten, RunState
from workflows.ports import FhirServer
from workflows.report import PostedResult
from workflows.report.escalation import communication_key
from workflows.timeline.fields import sort_key, subject_of, unversioned, versioned

MAX_REVISIONS = 20


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
    return as_written(fhir, canonical, thread_id, read_posted(fhir, canonical, report))


def as_written(fhir: FhirServer, canonical: Canonical, thread_id: str, posted: PostedResult) -> ResultWritten:
    """A result that stands in FHIR, in its current versions."""
    result_id, report = posted.result_id(canonical), posted.report
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
    reports = results_of(fhir, canonical, thread_id)
    others = [r for r in reports if PostedResult(r, [], {}).result_id(canonical) != new_result_id]
    unread = one([r for r in others if r["status"] == "partial"], "result-doubled")
    reviewed = sorted((r for r in others if r["status"] == "preliminary"), key=lambda r: str(r.get("issued", "")))
    report = unread or (reviewed[-1] if reviewed else None)
    return read_posted(fhir, canonical, report) if report else None


def free_revision(fhir: FhirServer, namespace: Namespace, thread_id: str, manifest: str, release: str) -> int:
    """0, or more where this very reading was withdrawn before: what stands as cancelled is never revived (contract 1.5)."""
    canonical = Canonical(namespace.base)
    for revision in range(MAX_REVISIONS):
        result_id = namespace.result_id(thread_id, manifest, release, revision)
        report = one(fhir.find("DiagnosticReport", canonical.sid("ai-result"), result_id), "result-doubled")
        if report is None or not PostedResult(report, [], {}).taken_back:
            return revision
    raise PermanentFailure("result-withdrawn-often", "this reading was withdrawn so often that a person must look")


def results_of(fhir: FhirServer, canonical: Canonical, thread_id: str) -> list[Json]:
    """The reports of a study, newest first; addenda are no results of their own here."""
    reports = fhir.find("DiagnosticReport", canonical.sid("ai-report-thread"), thread_id)
    own = [report for report in reports if PostedResult(report, [], {}).adds_to is None]
    return sorted(own, key=lambda report: sort_key(report.get("issued")), reverse=True)


def patients_of(fhir: FhirServer, report: Json) -> set[str]:
    """Whom a report of ours is about: its subject, and the record that has replaced it since (`Patient.link`)."""
    subject = subject_of(report)
    if subject is None:
        return set()
    try:
        links = fhir.read(subject).get("link", [])
    except PermanentFailure:
        return {subject}  # the retired record is gone: nothing says who has replaced it
    survivors = [link["other"].get("reference") for link in links if link.get("type") == "replaced-by"]
    return {subject, *(unversioned(reference) for reference in survivors if reference)}


def addenda_to(fhir: FhirServer, canonical: Canonical, thread_id: str, report: Json) -> list[PostedResult]:
    """The addenda to a report, oldest first."""
    reports = fhir.find("DiagnosticReport", canonical.sid("ai-report-thread"), thread_id)
    own = [r for r in reports if PostedResult(r, [], {}).adds_to == f"DiagnosticReport/{report['id']}"]
    return [read_posted(fhir, canonical, r) for r in sorted(own, key=lambda r: sort_key(r.get("issued")))]


def standing_state(fhir: FhirServer, canonical: Canonical, thread_id: str) -> tuple[PostedResult | None, RunState]:
    """The unread result, else the newest that a human has decided about, else the newest that the system has closed."""
    found = [read_posted(fhir, canonical, report) for report in results_of(fhir, canonical, thread_id)]
    unread = [posted for posted in found if posted.unread]
    if len(unread) > 1:
        raise PermanentFailure("result-doubled", "FHIR holds the same result more than once")
    reviewed = [posted for posted in found if posted.reviewed]
    choices: list[tuple[list[PostedResult], RunState]] = [
        (unread, "awaiting-review"),
        (reviewed, "reviewed"),
        (found, "superseded"),
    ]
    return next(((some[0], state) for some, state in choices if some), (None, "running"))


def decided_result(fhir: FhirServer, canonical: Canonical, thread_id: str) -> str | None:
    """The result of this study that a human has decided about, if there is one: a table of runs that was lost must not have it read anew."""
    posted, state = standing_state(fhir, canonical, thread_id)
    return posted.result_id(canonical) if posted is not None and state == "reviewed" else None


def find_closing(fhir: FhirServer, canonical: Canonical, act_id: str, result_id: str) -> ResultClosed | None:
    """What this very act of closing has done, if it stands in FHIR already."""
    provenance = one(fhir.find_tagged("Provenance", canonical.sid("review-act"), act_id), "closing-doubled")
    if provenance is None:
        return None
    target = next(t["reference"] for t in provenance["target"] if "DiagnosticReport/" in t["reference"])
    report = fhir.read(unversioned(target))
    return ResultClosed(
        result_id=result_id,
        changed=report["status"] in ("cancelled", "entered-in-error"),
        report=versioned(report),
        provenance=versioned(provenance),
    )


def find_communication(fhir: FhirServer, namespace: Namespace, result_id: str, step: str) -> Json | None:
    """The Communication of one step of one result."""
    system = Canonical(namespace.base).sid("notification")
    key = communication_key(namespace, result_id, step)
    return one(fhir.find("Communication", system, key), "communication-doubled")


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
