"""The notice about a study that could not be read: a Task for people, without a report, since nothing was read. Pure."""

from __future__ import annotations

from schemas.codes import Canonical, Json, concept
from schemas.identifiers import without_version
from schemas.outcomes import SeriesOutcome
from schemas.report import Priority
from schemas.terms import REVIEW_STATUS, TASK_CODE
from schemas.timeline import Timeline
from workflows.report.context import by_identifier, create, imaging_study_reference, who
from workflows.report.posted import update, with_business_status
from workflows.report.series_text import series_sentences

OPEN = ("requested", "received", "accepted", "in-progress")
LOOK = "Look at it yourself."


def unread_sentence(hint: str) -> str:
    """What a clinician reads first. `hint` is that of the failure."""
    why = hint.rstrip(". ") or "a step of the system failed"
    return f"The AI could not read this study: {why}. {LOOK}"


def unread_task(
    canonical: Canonical,
    key: str,
    timeline: Timeline,
    study_instance_uid: str,
    sentence: str,
    account: list[SeriesOutcome],
    *,
    role: str,
    priority: Priority,
    at: str,
) -> Json:
    """The transaction: one Task, created once. `key` identifies the notice."""
    order = timeline.order
    task: Json = {
        "resourceType": "Task",
        "identifier": [{"system": canonical.sid("ai-unread-study"), "value": key}],
        "status": "requested",
        "businessStatus": concept(REVIEW_STATUS.coding(canonical, "unread")),
        "intent": "order",
        "priority": priority,
        "code": concept(TASK_CODE.coding(canonical, "read-unread-study")),
        "description": sentence,
        "focus": imaging_study_reference(study_instance_uid, timeline),
        "for": {"reference": without_version(timeline.patient.resource)},
        "basedOn": [{"reference": without_version(order.resource)}] if order else [],
        "authoredOn": at,
        "lastModified": at,
        "owner": who(role),
        "note": [{"text": line} for line in series_sentences(account)],
    }
    task = {name: value for name, value in task.items() if value != []}
    entry = create(f"urn:uuid:{key}", task, by_identifier(task))
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


def answered_task(canonical: Canonical, task: Json, status: str, by: str | None, at: str) -> Json | None:
    """The Task as it is after somebody has looked (`completed`), or a reading took the notice's place (`cancelled`); None where it is closed."""
    if task.get("status") not in OPEN:
        return None
    body = with_business_status(canonical, task, "attended" if status == "completed" else "superseded", at)
    body["status"] = status
    if by:
        body["note"] = [*body.get("note", []), {"authorString": by, "time": at, "text": "Looked at by the reader."}]
    return {"resourceType": "Bundle", "type": "transaction", "entry": [update(body)]}
