"""What the inbox takes and gives over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import Field, ValidationError, field_validator, model_validator

from schemas.model import Record
from schemas.report import AmendedFinding, AmendedValue, ReviewOutcome
from schemas.terms import REJECT_REASON
from services.db import Entry, Listing

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
    amendments: list[AmendedFinding] = Field(default=[], max_length=50)
    """Amend only, and then required: the findings that the reviewer changes."""

    amended_values: list[AmendedValue] = Field(default=[], max_length=300)
    """The same for values of a document."""

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

    act_id: str
    reviewer: str = Field(min_length=2, max_length=200)
    read_back: Literal["patient-study-finding", "not-read-back"] = "not-read-back"

    _uuid = field_validator("act_id")(lambda value: str(UUID(value)))
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


def listing_json(listing: Listing) -> dict[str, Any]:
    """`/api/results`: `matching` counts what the filter lets through, `unread` and `open` the whole inbox."""
    counts = {name: getattr(listing, name) for name in ("matching", "unread", "open", "seq")}
    return {"results": [asdict(row) for row in listing.rows]} | counts


def entry_json(entry: Entry) -> dict[str, Any]:
    """`/api/results/<id>`: the line, and everything the page shows."""
    more = ("reason_text", "reviewed_report", "newer_result_id", "addenda")
    told = {"result": entry.result.model_dump(mode="json")} | {name: getattr(entry, name) for name in more}
    return asdict(entry.row) | told | {"series": [row.shown() for row in entry.result.reading.series]}
