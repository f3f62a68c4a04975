"""A DiagnosticReport of ours as reconciliation sees it: identifiers, status and times, never what it says. Pure."""

from __future__ import annotations

from schemas.codes import ADDENDUM_OF, Canonical, Json
from schemas.oversight import ReportSeen


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
