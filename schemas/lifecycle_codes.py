"""The local codes of a result's life after it was posted (contract 2 and 3), each with the words that stand beside it.

All words are ours: none repeats a chart, a tag or a name.
"""

from __future__ import annotations

from schemas.lifecycle import CloseReason

REVIEW_STATUS = {
    "unread": "Unread",
    "read": "Read",
    "accepted": "Accepted",
    "amended": "Amended",
    "rejected": "Rejected",
    "superseded": "Superseded",
    "withdrawn": "Withdrawn",
    "exhausted": "Escalation exhausted",
}
"""CodeSystem `review-status` (Task.businessStatus), beside `escalated-n`."""

CLOSE_REASONS: dict[CloseReason, str] = {
    "superseded-by-final-report": "The radiologist's final report of this study has been issued",
    "order-cancelled": "The order for this study was cancelled",
    "patient-unmerged": "Patient records were separated after this reading, which used both",
    "result-wrong": "A defect of the system made this result wrong: do not rely on it",
}
"""CodeSystem `status-reason`, as far as the system itself closes a result."""

SUPERSEDED_BY_NEW_INPUTS = "superseded-by-new-inputs"
AMENDED_BY_CLINICIAN = "amended-by-clinician"
NOBODY_ACKNOWLEDGED = "nobody-acknowledged"

LIFECYCLE_SUPERSEDED = "superseded"
"""CodeSystem `lifecycle` (a tag): a reviewed result that a final report has followed."""

COMMUNICATION = "communication"
DEADLINE_OUTCOME = "deadline-outcome"
MINUTES_TO_ACKNOWLEDGED = "minutes-available-to-acknowledged"
"""CodeSystem `task-output`, with COMMUNICATION and DEADLINE_OUTCOME."""


def escalated(step: int) -> tuple[str, str]:
    """Code and display of `review-status` for a step."""
    return f"escalated-{step}", f"Escalated, step {step}"
