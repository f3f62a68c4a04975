"""What the inbox takes and gives over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, ValidationError, field_validator, model_validator

from schemas.inbox import InboxResult
from schemas.model import Record
from schemas.report import ReviewOutcome
from services.db import Entry, EntryRow, Listing

ReasonCode = Literal[
    "false-positive",
    "missed-finding",
    "wrong-location",
    "wrong-comparison",
    "wrong-patient-or-study",
    "image-quality",
    "untrained-model",
    "other",
]
REASONS: dict[ReasonCode, str] = {
    "false-positive": "The finding is not there",
    "missed-finding": "A finding was missed",
    "wrong-location": "Wrong place or side",
    "wrong-comparison": "Wrong comparison or change",
    "wrong-patient-or-study": "Wrong patient or study",
    "image-quality": "Images not good enough to read",
    "untrained-model": "Output of an untrained model",
    "other": "Other (say what)",
}
MAX_TEXT = 2000


class Decision(Record):
    """What a reviewer decides, bound to the report version that was shown. `act_id` makes sending it twice harmless."""

    act_id: str
    report_version: str = Field(min_length=1, max_length=300)
    outcome: ReviewOutcome
    reviewer: str = Field(min_length=2, max_length=200)
    reason_code: ReasonCode | None = None
    reason_text: str | None = Field(default=None, max_length=MAX_TEXT)
    acted_upon: bool | None = None
    """Reject only, and then required: somebody was told or treated because of the result."""

    @field_validator("act_id")
    @classmethod
    def _uuid(cls, value: str) -> str:
        return str(UUID(value))

    @field_validator("reviewer", "reason_text", mode="before")
    @classmethod
    def _trimmed(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _rejects_with_reason(self) -> Decision:
        if self.outcome == "rejected" and self.reason_code is None:
            raise ValueError("reason")
        if self.outcome == "rejected" and self.acted_upon is None:
            raise ValueError("acted_upon")
        if self.reason_code == "other" and not self.reason_text:
            raise ValueError("other")
        return self


_SENTENCES = {
    "reviewer": "Write your name, so that the record shows who decided.",
    "reason": "Choose a reason for the rejection.",
    "acted_upon": "Say whether anyone was told or treated because of this result.",
    "other": "Say in a few words what is wrong.",
    "reason_text": f"The explanation is longer than {MAX_TEXT} characters: shorten it.",
    "reason_code": "Choose one of the reasons listed.",
    "outcome": "Choose to accept or to reject.",
}


def sentence_of(error: ValidationError) -> str:
    """What is missing from a decision, in one sentence that repeats nothing of it."""
    for problem in error.errors(include_input=False, include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else str(problem.get("ctx", {}).get("error", ""))
        if place in _SENTENCES:
            return _SENTENCES[place]
    return "The decision cannot be read: reload the page and decide again."


class ResultSummary(Record):
    """One line of `/api/results`."""

    result_id: str
    status: str
    priority: str
    modality: str
    trained: bool
    release_name: str
    patient_name: str
    birth_date: str | None
    sex: str | None
    record_number: str | None
    accession: str | None
    study_description: str
    study_started: str | None
    prior_started: str | None
    headline: str
    finding_count: int
    issued_at: datetime
    acknowledge_by: datetime | None
    opened_at: datetime | None
    superseded_by: str | None
    reviewer: str | None
    reviewed_at: datetime | None
    reason_code: str | None


class ResultList(Record):
    """`/api/results`: `matching` counts what the filter lets through, `unread` and `open` the whole inbox."""

    results: list[ResultSummary]
    matching: int
    unread: int
    open: int
    seq: int


class ResultDetail(ResultSummary):
    """`/api/results/<id>`: the line, and everything the page shows."""

    result: InboxResult
    reason_text: str | None
    reviewed_report: str | None
    newer_result_id: str | None


def _fields(row: EntryRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in ResultSummary.model_fields}


def result_list(listing: Listing) -> ResultList:
    results = [ResultSummary.model_validate(_fields(row)) for row in listing.rows]
    return ResultList(
        results=results, matching=listing.matching, unread=listing.unread, open=listing.open, seq=listing.seq
    )


def result_detail(entry: Entry) -> ResultDetail:
    more = {name: getattr(entry, name) for name in ("result", "reason_text", "reviewed_report", "newer_result_id")}
    return ResultDetail.model_validate(_fields(entry.row) | more)
