"""The inbox's table as the worker writes it (`workflows.ports.Inbox`): entry, change feed, outbox event and audit entry in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.audit import AuditEntry, AuditKind, AuditPerson, audit_id
from schemas.errors import PermanentFailure
from schemas.events import CloudEvent
from schemas.identifiers import without_version
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated, InboxResult, NoticeClosed, ReviewRecorded
from schemas.report import URGENCY, Priority, RaisedPriority, above_order, resulting_priority, undone
from schemas.runs import RunState
from schemas.timeline import PatientBanner
from services.db.audit import append, now_text
from services.db.engine import Database
from services.db.headline import abstained, headline, outside, values_headline
from services.db.models import InboxChange, InboxEntry
from services.db.outbox import write_event
from services.db.runs import count_study, set_state, set_state_of_result

EntryStatus = Literal["unread", "opened", "accepted", "amended", "rejected", "attended", "superseded", "withdrawn"]
ChangeKind = EntryStatus | Literal["added", "escalated", "acknowledged", "reprioritised", "reindexed", "closed"]

UNREVIEWED: tuple[EntryStatus, ...] = ("unread", "opened")
DECIDED: tuple[EntryStatus, ...] = ("accepted", "amended", "rejected", "attended")
CLOSED: tuple[EntryStatus, ...] = ("superseded", "withdrawn")

_KIND = func.coalesce(InboxEntry.document["reading"]["kind"].as_string(), "")
IS_NOTICE = _KIND == "unread"
"""An entry about a study that could not be read; the others are results."""
IS_RESULT = _KIND != "unread"


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
            _put(session, run_id, result)
            _written(session, "result-posted", result.result_id, data=result.report)
            if result.supersedes is not None:
                _supersede(session, result.supersedes, result.result_id)
            write_event(session, event)
        reason = result.reading.abstained
        count_study("abstained" if reason else "read", reason or "", result.study.modality)

    def reindex(self, thread_id: str, patient: PatientBanner) -> None:
        """After a merge every entry of the thread is found under the patient who survived it."""
        with self._database.writing() as session:
            for entry in session.scalars(select(InboxEntry).where(InboxEntry.thread_id == thread_id)):
                if entry.document["patient"] != patient.model_dump(mode="json"):
                    entry.document = entry.document | {"patient": patient.model_dump(mode="json")}
                    for name, value in _patient_columns(patient).items():
                        setattr(entry, name, value)
                    write_change(session, entry.result_id, "reindexed")

    def record_review(self, review: ReviewRecorded, event: CloudEvent) -> None:
        """Record a decision that FHIR has accepted, once; `PermanentFailure` if the entry is unknown or was decided by another act."""
        with self._database.writing() as session:
            entry = _known(session, review.result_id)
            if entry.act_id == review.act_id:
                return
            if entry.act_id is not None:
                raise PermanentFailure("already-reviewed", "another decision about this result is recorded already")
            decide(entry, review)
            write_change(session, review.result_id, review.outcome)
            told = {"act_id": review.act_id, "data": review.report, "code": review.outcome, "by": review.reviewer}
            _written(session, "review-written", review.result_id, key=review.act_id, **told)
            set_state_of_result(session, review.result_id, "reviewed")
            write_event(session, event)

    def find(self, result_id: str) -> InboxResult | None:
        """The result of an entry as it was put in; its priority as it is now."""
        with self._database.reading() as session:
            entry = session.get(InboxEntry, result_id)
            return InboxResult.model_validate(entry.document) if entry else None

    def add_addendum(self, result: InboxResult, event: CloudEvent) -> None:
        """Add the entry once, to the run of the result that it adds to; `PermanentFailure` if that one is unknown."""
        with self._database.writing() as session:
            if session.get(InboxEntry, result.result_id) is not None:
                return
            base = _known(session, result.adds_to or "")
            _put(session, base.run_id, result)
            _written(session, "addendum-posted", result.result_id, data=result.report)
            write_event(session, event)

    def close(self, closed: EntryClosed, event: CloudEvent) -> None:
        """The system has closed a result: once for each act. A human's decision stays to be read beside it."""
        with self._database.writing() as session:
            entry = session.get(InboxEntry, closed.result_id)
            if entry is not None and entry.closed_act_id != closed.act_id:
                _close(session, entry, closed)
            write_event(session, event)

    def record_escalation(self, escalated: EntryEscalated, event: CloudEvent | None) -> None:
        """A step was told, or the last one is over; the entry's level never falls."""
        with self._database.writing() as session:
            entry = _known(session, escalated.result_id)
            if escalated.step > entry.escalation_step or escalated.exhausted > entry.escalation_exhausted:
                entry.escalation_step = max(entry.escalation_step, escalated.step)
                entry.escalation_exhausted = entry.escalation_exhausted or escalated.exhausted
                write_change(session, escalated.result_id, "escalated")
                step = f"step-{escalated.step}{'-exhausted' if escalated.exhausted else ''}"
                _written(session, "escalation-written", escalated.result_id, key=step, code=step)
            if event is not None:
                write_event(session, event)

    def record_acknowledgement(self, acknowledged: EntryAcknowledged, event: CloudEvent | None) -> None:
        """The first acknowledgement stands."""
        with self._database.writing() as session:
            entry = _known(session, acknowledged.result_id)
            if entry.acknowledged_at is None:
                entry.acknowledged_by = acknowledged.by
                entry.acknowledged_at = datetime.fromisoformat(acknowledged.at)
                write_change(session, acknowledged.result_id, "acknowledged")
                _written(session, "acknowledgement-written", acknowledged.result_id, by=acknowledged.by)
            if event is not None:
                write_event(session, event)

    def add_notice(self, run_id: str, result: InboxResult) -> None:
        """A study that could not be read, once. Its run has failed, and says so by itself."""
        with self._database.writing() as session:
            if session.get(InboxEntry, result.result_id) is None:
                _put(session, run_id, result)
                _written(session, "result-posted", result.result_id)

    def open_notices(self, thread_id: str) -> list[InboxResult]:
        """Notices of the study that nobody has answered."""
        of_thread = InboxEntry.thread_id == thread_id, InboxEntry.status.in_(UNREVIEWED)
        with self._database.reading() as session:
            entries = session.scalars(select(InboxEntry).where(*of_thread, IS_NOTICE))
            return [InboxResult.model_validate(entry.document) for entry in entries]

    def close_notice(self, closed: NoticeClosed) -> None:
        with self._database.writing() as session:
            entry = _known(session, closed.result_id)
            if entry.status not in UNREVIEWED:
                return
            entry.status = closed.status
            if closed.status == "attended":
                entry.act_id, entry.reviewer = closed.act_id, closed.by
                entry.reviewed_at = datetime.fromisoformat(closed.at)
            else:
                entry.superseded_by = closed.act_id
            write_change(session, closed.result_id, closed.status)
            _written(session, "result-closed", closed.result_id, key=closed.act_id, code=closed.status, by=closed.by)

    def raise_priority(self, result_id: str, priority: Priority) -> None:
        """The order of an undecided entry has become so urgent; never lowered, nor below what a critical finding has raised it to."""
        with self._database.writing() as session:
            entry = _known(session, result_id)
            if entry.status in UNREVIEWED and URGENCY[priority] < URGENCY[_order_of(entry)]:
                raised = _raised(entry)
                _rank(entry, resulting_priority(priority, raised), priority, above_order(priority, raised))
                write_change(session, result_id, "reprioritised")
                _written(session, "priority-raised", result_id, key=priority, code=priority)


def _known(session: Session, result_id: str) -> InboxEntry:
    entry = session.get(InboxEntry, result_id)
    if entry is None:
        raise PermanentFailure("inbox-entry-missing", "the result is not in the inbox")
    return entry


def _order_of(entry: InboxEntry) -> Priority:
    """The order's priority."""
    order: Priority = entry.document.get("order_priority") or entry.document["priority"]
    return order


def _raised(entry: InboxEntry) -> RaisedPriority | None:
    """What holds the entry above its order."""
    raised = entry.document.get("raised")
    return RaisedPriority.model_validate(raised) if raised else None


def _rank(entry: InboxEntry, priority: Priority, order: Priority, raised: RaisedPriority | None) -> None:
    entry.priority, entry.priority_rank = priority, URGENCY[priority]
    kept = {name: told for name, told in entry.document.items() if name not in _ONLY_RAISED}
    why = {"order_priority": order, "raised": raised.model_dump()} if raised else {}
    entry.document = kept | {"priority": priority} | why


_ONLY_RAISED = ("order_priority", "raised")
"""Not in the documents of other entries, so that an inbox of an earlier version can still open those."""


def _put(session: Session, run_id: str, result: InboxResult) -> None:
    session.add(InboxEntry(run_id=run_id, **_columns(result)))
    session.flush()
    write_change(session, result.result_id, "added")


def _close(session: Session, entry: InboxEntry, closed: EntryClosed) -> None:
    entry.closed_reason, entry.closed_act_id = closed.reason, closed.act_id
    entry.closed_at = datetime.fromisoformat(closed.at)
    told = {"act_id": closed.act_id, "data": closed.report, "code": closed.reason}
    _written(session, "result-closed", closed.result_id, key=closed.act_id, **told)
    if not closed.changed:
        write_change(session, closed.result_id, "closed")
        return
    unread = entry.status in UNREVIEWED
    entry.status = "superseded" if closed.reason == "superseded-by-final-report" else "withdrawn"
    if unread:  # a withdrawn reading does not count as read: the same images may come again
        state: RunState = "superseded" if entry.status == "superseded" else "withdrawn"
        set_state_of_result(session, closed.result_id, state)
    write_change(session, closed.result_id, "superseded" if entry.status == "superseded" else "withdrawn")


def write_change(session: Session, result_id: str, kind: ChangeKind) -> None:
    session.add(InboxChange(result_id=result_id, kind=kind, at=datetime.now(UTC)))


def _written(
    session: Session,
    kind: AuditKind,
    result_id: str,
    *,
    key: str = "",
    data: str | None = None,
    code: str | None = None,
    act_id: str | None = None,
    by: str | None = None,
) -> None:
    """The worker has changed FHIR: one entry of the audit trail for each fact. Without `data` the change is to the review Task."""
    entry = _known(session, result_id)
    append(
        session,
        AuditEntry(
            event_id=audit_id(kind, result_id, key),
            kind=kind,
            at=now_text(),
            process="worker",
            code=code,
            person=AuditPerson(name=by) if by else None,
            patient=without_version(entry.document["patient"]["resource"]),
            data=data or entry.document["task"],
            result_id=result_id,
            act_id=act_id,
        ),
    )


def _supersede(session: Session, old: str, new: str) -> None:
    """A decision that a human has taken stands; the entry only learns that there is a newer one."""
    entry = session.scalar(select(InboxEntry).where(InboxEntry.result_id == old))
    if entry is None:
        return
    entry.superseded_by = new
    if entry.status in UNREVIEWED:
        entry.status = "superseded"
        set_state_of_result(session, old, "superseded")
        supersede_addenda(session, old, new)
    write_change(session, old, "superseded")
    _written(session, "result-superseded", old, key=new)


def supersede_addenda(session: Session, old: str, new: str) -> None:
    """With an unread result go its unread addenda: the new reading knew what they tell."""
    unread = (InboxEntry.adds_to == old, InboxEntry.status.in_(UNREVIEWED))
    for addendum in session.scalars(select(InboxEntry).where(*unread)):
        addendum.status, addendum.superseded_by = "superseded", new
        write_change(session, addendum.result_id, "superseded")
        _written(session, "result-superseded", addendum.result_id, key=new)


def decide(entry: InboxEntry, review: ReviewRecorded) -> None:
    entry.status, entry.act_id, entry.reviewer = review.outcome, review.act_id, review.reviewer
    entry.reviewed_at, entry.reviewed_report = datetime.fromisoformat(review.at), review.report
    entry.reason_code, entry.reason_text = review.reason_code, review.reason_text
    raised = _raised(entry)
    if raised is not None and undone(raised.finding, review.outcome, review.taken_back):
        _rank(entry, _order_of(entry), _order_of(entry), None)


def _columns(result: InboxResult) -> dict[str, Any]:
    patient, study = result.patient, result.study
    reading = result.reading
    detected = [finding for finding in reading.findings if finding.presence == "detected"]
    return {
        "result_id": result.result_id,
        "study_key": result.study_key,
        "thread_id": result.thread_id,
        "status": "unread",
        "priority": result.priority,
        "priority_rank": URGENCY[result.priority],
        "modality": study.modality,
        "trained": result.trained,
        "release_name": result.release_name,
        **_patient_columns(patient),
        "accession": study.accession,
        "study_description": study.description,
        "study_started": study.started,
        "prior_started": study.prior_started,
        "headline": result.headline or abstained(reading) or values_headline(reading) or headline(reading.findings),
        "finding_count": len(detected) + len(outside(reading)),
        "issued_at": datetime.fromisoformat(result.issued),
        "acknowledge_by": datetime.fromisoformat(result.acknowledge_by) if result.acknowledge_by else None,
        "document": result.model_dump(mode="json", exclude=set() if result.raised else set(_ONLY_RAISED)),
        "added_at": datetime.now(UTC),
        "adds_to": result.adds_to,
        "escalation_step": 0,
        "escalation_exhausted": False,
    }


def _patient_columns(patient: PatientBanner) -> dict[str, Any]:
    return {
        "patient_name": patient.name,
        "birth_date": patient.birth_date,
        "sex": patient.sex,
        "record_number": record_number(patient),
    }


def record_number(patient: PatientBanner) -> str | None:
    """The identifier of type MR (v2-0203), else the first one."""
    numbers = [i.value for i in patient.identifiers if i.type == "MR"] or [i.value for i in patient.identifiers]
    return numbers[0] if numbers else None
