"""A checked reading, and what a reviewer decides about it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.caution import Caution, PixelTextSearch
from schemas.documents import LabValue
from schemas.inference import Change, ChartRelation, LikelihoodBand, Presence, Side
from schemas.model import Record
from schemas.outcomes import SeriesOutcome
from schemas.region import ImageRegion as ImageRegion
from schemas.timeline import TimelineEntry

Priority = Literal["routine", "urgent", "asap", "stat"]
ReviewOutcome = Literal["accepted", "amended", "rejected"]
URGENCY: dict[Priority, int] = {"stat": 0, "asap": 1, "urgent": 2, "routine": 3}
"""0 is the most urgent."""


def more_urgent(one: Priority, other: Priority) -> Priority:
    return min(one, other, key=URGENCY.__getitem__)


class RaisedPriority(Record):
    """What the site's critical list says of a reading: the finding for which it is to be looked at sooner, and how soon. Codes only."""

    finding: str
    """A code of the local system `finding-label`."""
    likelihood: LikelihoodBand
    priority: Priority
    critical_list: str
    """Name and version of the list, as `radiology@v3`."""


def above_order(order: Priority, critical: RaisedPriority | None) -> RaisedPriority | None:
    """`critical`, where it is more urgent than the order: an order is never lowered."""
    return critical if critical is not None and URGENCY[critical.priority] < URGENCY[order] else None


def resulting_priority(order: Priority, critical: RaisedPriority | None) -> Priority:
    """The more urgent of the order's and the critical list's."""
    return order if critical is None else more_urgent(order, critical.priority)


AbstentionReason = Literal[
    "volume-empty", "volume-constant", "most-answers-dropped", "no-results-found", "not-looked-at"
]
"""Codes of the local system `abstention-reason`."""


class EvidenceImage(Record):
    """A rendered slice, picture, patch or page in the object store (PNG, no box burnt in)."""

    png_digest: str
    width: int
    height: int
    slice_number: int
    """Counts from 1 in the stack."""
    slice_count: int
    region: ImageRegion | None
    """In pixels of the source; `left` and `top` say which of them is the picture's first."""
    caption: str
    prior_png_digest: str | None = None
    """The slice of the compared prior nearest in space along the stack, where one was read."""
    unit: str = "slice"
    left: float = 0
    top: float = 0
    scale: float = 1
    """Source pixels of one pixel of the picture."""


class Finding(Record):
    """One answered question that passed every check."""

    label: str
    presence: Presence
    likelihood: LikelihoodBand
    side: Side | None
    region: ImageRegion | None
    long_axis_mm: float | None
    change: Change
    projected: bool = False
    """`long_axis_mm` was measured at the detector of a radiograph, where everything is magnified (DICOM PS3.3 10.7.1.3)."""
    chart: ChartRelation | None = None
    """What the history says about it, by the second pass; None where the history was not weighed."""
    cites: list[TimelineEntry] = []
    """The entries of the history that say so, each with its versioned reference."""


class DroppedFinding(Record):
    """An answer, or a part of one, that failed a check; `code` is the check's name."""

    label: str
    code: str


class HistoryWeighed(Record):
    """What the second pass was given, and whether its answer counts."""

    weighed: bool
    reason: str | None = None
    """Why the history was not weighed, as a code."""
    given: list[str] = []
    """Versioned references of the entries that the model was given, in the order E1, E2, ..."""
    withheld: int = 0
    """Entries kept from the model because they read like instructions."""
    left_out: str | None = None
    """Our own sentence about what did not fit."""
    incomplete: list[str] = []
    """Why the history is known not to be all of the chart: `Timeline.incomplete`."""
    request: str | None = None
    """Address of the canonical request in the object store."""
    answer: str | None = None
    release: str | None = None
    """The release that was asked (`workflows.reading.release.release_id`); None before it was written down."""
    weights: str | None = None
    """SHA-256 of that release's weights, which may be another model's than the images'."""


class Reading(Record):
    """What the checks left of a model's answer."""

    findings: list[Finding]
    dropped: list[DroppedFinding]
    prior_study_instance_uid: str | None
    """The study the model compared with; None where none was read."""
    not_compared_reason: str | None
    evidence: list[EvidenceImage]
    kind: Literal["findings", "values", "unread"] = "findings"
    """`values`: of a document; it has no findings. `unread`: the study could not be read, and this is the notice about it."""
    values: list[LabValue] = []
    unreported: list[str] = []
    """Lines of the document that look like results and that no value was taken from."""
    abstained: AbstentionReason | None = None
    """Set where the whole reading is withheld: then there are no findings."""
    cautions: list[Caution] = []
    text_search: PixelTextSearch | None = None
    history: HistoryWeighed | None = None
    series: list[SeriesOutcome] = []
    """What became of each series, film and slide of the study: read, left out, refused."""


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


class AmendedValue(Record):
    """What a reviewer reads in a document in place of the AI: `value` is a decimal number with a point, with its comparator where the document
    has one, in the unit of the value that it replaces."""

    label: str
    value: str = Field(pattern=r"^(<|<=|>|>=)?\d{1,12}(\.\d{1,6})?$")
    text: str | None = None
    """The reviewer's own words."""


PRACTITIONER = r"(Practitioner|PractitionerRole)/[A-Za-z0-9.-]{1,64}"
"""Pattern of a reference to a person of our FHIR server (FHIR R4 2.24.0.1, id)."""


class ReviewerIdentity(Record):
    """Who somebody is by the word of the issuer at which they logged in, never by what was typed."""

    issuer: str
    subject: str
    practitioner: str | None = Field(None, pattern=f"^{PRACTITIONER}$")
    """Where the issuer names the person in our FHIR server (SMART App Launch, `fhirUser`)."""


class ReviewAct(Record):
    """A human's decision about what was on the screen: bound to the versions that were shown."""

    act_id: str
    result_id: str
    outcome: ReviewOutcome
    reviewer: str
    """The reviewer's name, as the issuer gives it; without a login as it was typed."""
    identity: ReviewerIdentity | None = None
    """None without a login."""
    reason_code: str | None = None
    reason_text: str | None = None
    acted_upon: bool = False
    """Reject only: somebody was told or treated, so the report is `cancelled`, not `entered-in-error` (contract 2)."""
    at: str
    report_version: str
    """`DiagnosticReport/<id>/_history/<version>` that the reviewer saw."""
    amendments: list[AmendedFinding] = []
    """Amend only: each finding that the reviewer puts their own in place of; the rest is accepted."""
    amended_values: list[AmendedValue] = []
    """The same for values of a document."""
    undo_seconds: int = Field(0, ge=0, le=60)
    """For so long the decision may be taken back; FHIR hears of it afterwards."""

    @property
    def taken_back(self) -> list[str]:
        """Labels of findings in whose place the reviewer says anything but `detected`."""
        return [amended.label for amended in self.amendments if amended.presence != "detected"]


class UndoReview(Record):
    """The reviewer takes a decision back while that can be done."""

    act_id: str


def undone(finding: str, outcome: ReviewOutcome, taken_back: list[str]) -> bool:
    """Whether a decision takes back the finding for which a result was raised."""
    return outcome == "rejected" or finding in taken_back
