"""What the worker hands to the inbox: everything one page shows, so that the page needs no other server to be up."""

from __future__ import annotations

from typing import Literal

from schemas.model import Record
from schemas.report import Priority, RaisedPriority, Reading, ReviewOutcome
from schemas.timeline import PatientBanner, TimelineEntry


class InboxStudy(Record):
    """The study as the banner and the list show it."""

    study_instance_uid: str
    description: str
    modality: str
    started: str | None
    accession: str | None
    prior_started: str | None


class InboxResult(Record):
    """One AI result to be reviewed. PHI: lives in the database and on the page, nowhere else."""

    result_id: str
    thread_id: str
    study_key: str
    workflow_id: str
    """The workflow that takes the reviewer's decision as an Update."""
    release_id: str
    release_name: str
    trained: bool
    priority: Priority
    """The one that counts: the order's, or that of `raised`."""
    report: str
    """`DiagnosticReport/<id>/_history/<version>`"""
    task: str
    """`Task/<id>`"""
    issued: str
    acknowledge_by: str | None
    conclusion: str
    patient: PatientBanner
    study: InboxStudy
    reading: Reading
    history: list[TimelineEntry]
    supersedes: str | None
    """Result id of the unread result that this one replaced."""
    adds_to: str | None = None
    """Result id of the result that this one is an addendum to."""
    headline: str | None = None
    """The list's line, where it does not follow from the findings."""
    order_priority: Priority | None = None
    """Set with `raised`; else `priority` is the order's."""
    raised: RaisedPriority | None = None
    """Set while a critical finding holds the result above its order; a rejection, or an order as urgent, ends it."""


class ReviewRecorded(Record):
    """The outcome of a review as the inbox records it after FHIR has accepted it."""

    result_id: str
    act_id: str
    outcome: ReviewOutcome
    reviewer: str
    at: str
    reason_code: str | None
    reason_text: str | None
    report: str
    taken_back: list[str] = []
    """Labels of findings that the reviewer has amended to anything but `detected`."""


class EntryClosed(Record):
    """The system has closed a result in FHIR; `changed` is False where a human had decided and the decision stands."""

    result_id: str
    act_id: str
    reason: Literal["superseded-by-final-report", "order-cancelled", "patient-unmerged", "result-wrong"]
    changed: bool
    report: str
    at: str


class NoticeClosed(Record):
    """A study that could not be read was looked at by a person, or read after all (`act_id`: that result's id)."""

    result_id: str
    status: Literal["attended", "superseded"]
    act_id: str
    by: str | None
    at: str


class EntryEscalated(Record):
    """A step of the escalation of a result has been written in FHIR."""

    result_id: str
    step: int
    exhausted: bool = False


class EntryAcknowledged(Record):
    """A human has said that the result reached them."""

    result_id: str
    by: str
    at: str
