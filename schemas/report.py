"""A checked reading, and what a reviewer decides about it."""

from __future__ import annotations

from typing import Literal

from schemas.inference import Change, LikelihoodBand, Presence, Side
from schemas.model import Record

Priority = Literal["routine", "urgent", "asap", "stat"]
ReviewOutcome = Literal["accepted", "amended", "rejected"]
URGENCY: dict[Priority, int] = {"stat": 0, "asap": 1, "urgent": 2, "routine": 3}
"""0 is the most urgent."""


class ImageRegion(Record):
    """A box on one frame, in pixels of the source frame: origin 0\\0 is the top left corner of the top left pixel (contract 1.3)."""

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    frame: int
    columns: int
    rows: int
    x0: float
    y0: float
    x1: float
    y1: float


class EvidenceImage(Record):
    """A rendered slice in the object store (PNG, no box burnt in)."""

    png_digest: str
    width: int
    height: int
    slice_number: int
    """Counts from 1 in the stack."""
    slice_count: int
    region: ImageRegion | None
    caption: str
    prior_png_digest: str | None = None
    """The slice of the compared prior nearest in space along the stack, where one was read."""


class Finding(Record):
    """One answered question that passed every check."""

    label: str
    presence: Presence
    likelihood: LikelihoodBand
    side: Side | None
    region: ImageRegion | None
    long_axis_mm: float | None
    change: Change


class DroppedFinding(Record):
    """An answer that failed a check; `code` is the check's name."""

    label: str
    code: str


class Reading(Record):
    """What the checks left of a model's answer."""

    findings: list[Finding]
    dropped: list[DroppedFinding]
    prior_study_instance_uid: str | None
    """The study the model compared with; None where none was read."""
    not_compared_reason: str | None
    evidence: list[EvidenceImage]


class InputManifest(Record):
    """Every input of a reading; its digest is part of the result's identity (contract 1.5)."""

    sop_instance_uids: list[str]
    prior_sop_instance_uids: list[str]
    fhir: list[str]


class AmendedFinding(Record):
    """What a reviewer says about one finding in place of the AI."""

    label: str
    presence: Presence
    likelihood: LikelihoodBand | None = None
    text: str | None = None
    """The reviewer's own words."""


class ReviewAct(Record):
    """A human's decision about what was on the screen: bound to the versions that were shown."""

    act_id: str
    result_id: str
    outcome: ReviewOutcome
    reviewer: str
    """Reference or name of the reviewer; a reference (`Practitioner/..`, `PractitionerRole/..`) is written as such."""
    reason_code: str | None = None
    reason_text: str | None = None
    acted_upon: bool = False
    """Reject only: somebody was told or treated, so the report is `cancelled`, not `entered-in-error` (contract 2)."""
    at: str
    report_version: str
    """`DiagnosticReport/<id>/_history/<version>` that the reviewer saw."""
    amendments: list[AmendedFinding] = []
    """Amend only: each finding that the reviewer puts their own in place of; the rest is accepted."""
