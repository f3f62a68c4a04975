"""The inbox's table as the worker writes it (`workflows.ports.Inbox`): entry, change feed and outbox event in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import ABSTENTION_TEXT, LABEL_BY_CODE
from schemas.errors import PermanentFailure
from schemas.events import CloudEvent
from schemas.inbox import InboxResult, ReviewRecorded
from schemas.report import Finding, Priority, Reading
from schemas.timeline import PatientBanner
from services.db.engine import Database
from services.db.models import InboxChange, InboxEntry
from services.db.outbox import write_event
from services.db.runs import set_state, set_state_of_result

EntryStatus = Literal["unread", "opened", "accepted", "rejected", "superseded"]
ChangeKind = Literal["added", "opened", "accepted", "rejected", "superseded"]

UNREVIEWED: tuple[EntryStatus, ...] = ("unread", "opened")
_RANK: dict[Priority, int] = {"stat": 0, "asap": 1, "urgent": 2, "routine": 3}


class InboxRecords:
    """Writes what the worker has to say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, result: InboxResult, event: CloudEvent) -> None:
        """Add the entry once, close its run as awaiting review, and mark the unread entry that it replaces as superseded.

        Another run that came to the very same result closes as unchanged.
        """
        with self._database.writing() as session:
            known = session.get(InboxEntry, result.result_id)
            if known is not None:
                if known.run_id != run_id:
                    set_state(session, run_id, "unchanged", result.result_id)
                return
            set_state(session, run_id, "awaiting-review", result.result_id)
            session.add(InboxEntry(run_id=run_id, **_columns(result)))
            session.flush()
            write_change(session, result.result_id, "added")
            if result.supersedes is not None:
                _supersede(session, result.supersedes, result.result_id)
            write_event(session, event)

    def record_review(self, review: ReviewRecorded, event: CloudEvent) -> None:
        """Record a decision that FHIR has accepted, once; `PermanentFailure` if the entry is unknown or was decided by another act."""
        with self._database.writing() as session:
            entry = session.get(InboxEntry, review.result_id)
            if entry is None:
                raise PermanentFailure("inbox-entry-missing", "the result that was reviewed is not in the inbox")
            if entry.act_id == review.act_id:
                return
            if entry.act_id is not None:
                raise PermanentFailure("already-reviewed", "another decision about this result is recorded already")
            _decide(entry, review)
            write_change(session, review.result_id, review.outcome)
            set_state_of_result(session, review.result_id, "reviewed")
            write_event(session, event)


def write_change(session: Session, result_id: str, kind: ChangeKind) -> None:
    session.add(InboxChange(result_id=result_id, kind=kind, at=datetime.now(UTC)))


def _supersede(session: Session, old: str, new: str) -> None:
    """A decision that a human has taken stands; the entry only learns that there is a newer one."""
    entry = session.scalar(select(InboxEntry).where(InboxEntry.result_id == old))
    if entry is None:
        return
    entry.superseded_by = new
    if entry.status in UNREVIEWED:
        entry.status = "superseded"
        set_state_of_result(session, old, "superseded")
    write_change(session, old, "superseded")


def _decide(entry: InboxEntry, review: ReviewRecorded) -> None:
    entry.status, entry.act_id, entry.reviewer = review.outcome, review.act_id, review.reviewer
    entry.reviewed_at, entry.reviewed_report = datetime.fromisoformat(review.at), review.report
    entry.reason_code, entry.reason_text = review.reason_code, review.reason_text


def _columns(result: InboxResult) -> dict[str, Any]:
    patient, study = result.patient, result.study
    detected = [finding for finding in result.reading.findings if finding.presence == "detected"]
    return {
        "result_id": result.result_id,
        "study_key": result.study_key,
        "thread_id": result.thread_id,
        "status": "unread",
        "priority": result.priority,
        "priority_rank": _RANK[result.priority],
        "modality": study.modality,
        "trained": result.trained,
        "release_name": result.release_name,
        "patient_name": patient.name,
        "birth_date": patient.birth_date,
        "sex": patient.sex,
        "record_number": record_number(patient),
        "accession": study.accession,
        "study_description": study.description,
        "study_started": study.started,
        "prior_started": study.prior_started,
        "headline": abstained(result.reading) or headline(result.reading.findings),
        "finding_count": len(detected),
        "issued_at": datetime.fromisoformat(result.issued),
        "acknowledge_by": datetime.fromisoformat(result.acknowledge_by) if result.acknowledge_by else None,
        "document": result.model_dump(mode="json"),
        "added_at": datetime.now(UTC),
    }


def record_number(patient: PatientBanner) -> str | None:
    """The identifier of type MR (v2-0203), else the first one."""
    numbers = [i.value for i in patient.identifiers if i.type == "MR"] or [i.value for i in patient.identifiers]
    return numbers[0] if numbers else None


def abstained(reading: Reading) -> str:
    """The line of a reading that says nothing, and why; empty for any other."""
    why = ABSTENTION_TEXT[reading.abstained] if reading.abstained else ""
    return f"The AI abstained: {why[0].lower()}{why[1:]}" if why else ""


def headline(findings: list[Finding]) -> str:
    """One line for the list: what was detected, with side and size; never a bare label for something that is not there."""
    detected = [_phrase(finding) for finding in findings if finding.presence == "detected"]
    open_questions = [_label(finding) for finding in findings if finding.presence == "indeterminate"]
    lines = ["; ".join(detected)] if detected else []
    if open_questions:
        lines.append(f"Indeterminate: {', '.join(open_questions)}")
    if lines:
        return ". ".join(lines)
    return "None of the findings asked for was detected" if findings else "No finding passed the checks"


def _phrase(finding: Finding) -> str:
    parts = [_label(finding)]
    if finding.side in ("left", "right", "midline", "bilateral"):
        parts.append(str(finding.side))
    if finding.long_axis_mm is not None:
        parts.append(f"{finding.long_axis_mm:g} mm")
    if finding.change not in ("not-compared", "indeterminate"):
        parts.append(finding.change)
    return ", ".join(parts)


def _label(finding: Finding) -> str:
    known = LABEL_BY_CODE.get(finding.label)
    return known.text if known else finding.label
