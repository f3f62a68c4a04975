"""A DiagnosticReport of ours as reconciliation sees it: identifiers, status and times, never what it says; and the decision that it bears. Pure."""

from __future__ import annotations

from schemas.codes import ADDENDUM_OF, Canonical, Json
from schemas.inbox import ReviewRecorded
from schemas.oversight import ReportSeen
from schemas.report import ReviewOutcome
from workflows.report import PostedResult
from workflows.report.raised_task import findings_taken_back
from workflows.timeline.fields import versioned

UNKNOWN_REVIEWER = "see the report's Provenance in FHIR"


def report_seen(canonical: Canonical, report: Json) -> ReportSeen | None:
    """None where a report carries our identifier and lacks the thread or a time: it is not as we have written it."""
    values = {i.get("system"): i.get("value") for i in report.get("identifier", [])}
    result, thread = values.get(canonical.sid("ai-result")), values.get(canonical.sid("ai-report-thread"))
    issued = report.get("issued")
    if not result or not thread or not issued:
        return None
    return ReportSeen(
        report=f"DiagnosticReport/{report['id']}",
        result_id=result,
        thread_id=thread,
        status=report["status"],
        issued=issued,
        changed=report.get("meta", {}).get("lastUpdated") or issued,
        addendum=any(extension.get("url") == ADDENDUM_OF for extension in report.get("extension", [])),
    )


def decision_of(canonical: Canonical, posted: PostedResult, result_id: str) -> ReviewRecorded | None:
    """What a human has decided in our inbox, as the result's Task and report tell it; None where our inbox has not decided."""
    outcomes: dict[str, ReviewOutcome] = {"accepted": "accepted", "amended": "amended", "rejected": "rejected"}
    outcome = next((outcomes[code] for code in sorted(posted.task_status) if code in outcomes), None)
    at = posted.task.get("executionPeriod", {}).get("end")
    if outcome is None or at is None:
        return None
    reason = posted.task.get("statusReason", {})
    reader: Json = next(iter(posted.report.get("resultsInterpreter", [])), {})
    return ReviewRecorded(
        result_id=result_id,
        act_id=f"in-fhir-{result_id}",
        outcome=outcome,
        reviewer=reader.get("display") or reader.get("reference") or UNKNOWN_REVIEWER,
        at=at,
        reason_code=next((coding.get("code") for coding in reason.get("coding", [])), None),
        reason_text=reason.get("text"),
        report=versioned(posted.report),
        taken_back=findings_taken_back(canonical, posted.task),
    )
