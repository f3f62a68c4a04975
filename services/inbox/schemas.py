"""What the inbox takes and gives over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from schemas.model import Record
from schemas.report import AmendedFinding, AmendedValue, ReviewOutcome
from schemas.terms import REJECT_REASON
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
REASONS: dict[ReasonCode, str] = {code: REJECT_REASON.display(code) for code in get_args(ReasonCode)}
MAX_TEXT = 2000


ActId = Annotated[
    str,
    Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", json_schema_extra={"format": "uuid"}),
    AfterValidator(str.lower),
]
"""Made anew for each act by whoever sends it."""


class Decision(Record):
    """What a reviewer decides, bound to the report version that was shown. `act_id` makes sending it twice harmless."""

    act_id: ActId
    report_version: str = Field(min_length=1, max_length=300)
    outcome: ReviewOutcome
    reviewer: str = Field(min_length=2, max_length=200)
    reason_code: ReasonCode | None = None
    reason_text: str | None = Field(default=None, max_length=MAX_TEXT)
    acted_upon: bool | None = None
    """Reject only, and then required: somebody was told or treated because of the result."""
    amendments: list[AmendedFinding] = Field(default=[], max_length=50)
    """Amend only, and then required: the findings that the reviewer changes."""

    amended_values: list[AmendedValue] = Field(default=[], max_length=300)
    """The same for values of a document."""

    undo_seconds: int = Field(default=0, ge=0, le=30)
    """For so long it may be taken back before it is written, and the answer comes afterwards."""

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
        changed: list[AmendedFinding | AmendedValue] = [*self.amendments, *self.amended_values]
        if (self.outcome == "amended") != bool(changed):
            raise ValueError("amendments")
        if any(len(amendment.text or "") > MAX_TEXT for amendment in changed):
            raise ValueError("reason_text")
        return self


READ_BACKS = {
    "patient-study-finding": "Patient, study and finding read back",
    "not-read-back": "Not read back",
}


class Acknowledgement(Record):
    """Somebody has taken notice of a result; nothing is decided by it. `act_id` makes sending it twice harmless."""

    act_id: ActId
    reviewer: str = Field(min_length=2, max_length=200)
    read_back: Literal["patient-study-finding", "not-read-back"] = "not-read-back"

    _trimmed = field_validator("reviewer", mode="before")(
        lambda value: value.strip() if isinstance(value, str) else value
    )


_SENTENCES = {
    "reviewer": "Write your name, so that the record shows who decided.",
    "reason": "Choose a reason for the rejection.",
    "acted_upon": "Say whether anyone was told or treated because of this result.",
    "other": "Say in a few words what is wrong.",
    "reason_text": f"The explanation is longer than {MAX_TEXT} characters: shorten it.",
    "reason_code": "Choose one of the reasons listed.",
    "outcome": "Choose to accept or to reject.",
    "amended_values": "Write a value as a number with a point, such as 4.1 or <0.3.",
    "amendments": "Say which findings you change, and how; only an amendment changes any.",
}


def sentence_of(error: ValidationError) -> str:
    """What is missing from a decision, in one sentence that repeats nothing of it."""
    for problem in error.errors(include_input=False, include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else str(problem.get("ctx", {}).get("error", ""))
        if place in _SENTENCES:
            return _SENTENCES[place]
    return "The decision cannot be read: reload the page and decide again."


@dataclass(frozen=True)
class ListingAnswer:
    """`/api/results`: `matching` counts what the filter lets through, `unread` and `open` the whole inbox."""

    results: list[EntryRow]
    matching: int
    unread: int
    open: int
    seq: int
    """The last change that is part of this listing."""


@dataclass(frozen=True)
class EntryAnswer(EntryRow):
    """`/api/results/<id>`: the line, and everything the page shows."""

    result: dict[str, Any]
    reason_text: str | None
    reviewed_report: str | None
    newer_result_id: str | None
    addenda: list[str]
    series: list[dict[str, Any]]
    """What became of each series, film and slide."""


def listing_answer(listing: Listing) -> ListingAnswer:
    return ListingAnswer(listing.rows, listing.matching, listing.unread, listing.open, listing.seq)


def entry_answer(entry: Entry) -> EntryAnswer:
    row = {each.name: getattr(entry.row, each.name) for each in fields(entry.row)}
    return EntryAnswer(
        **row,
        result=entry.result.model_dump(mode="json"),
        reason_text=entry.reason_text,
        reviewed_report=entry.reviewed_report,
        newer_result_id=entry.newer_result_id,
        addenda=entry.addenda,
        series=[one.shown() for one in entry.result.reading.series],
    )
