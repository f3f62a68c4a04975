"""A patient's history as typed entries, each citing the versioned resource it came from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.model import Record

EntryKind = Literal[
    "imaging-study",
    "report",
    "observation",
    "condition",
    "medication",
    "administration",
    "procedure",
    "allergy",
    "order",
    "encounter",
    "care-plan",
    "goal",
    "immunization",
    "device",
    "family-history",
    "flag",
]

Span = tuple[int, int]
"""[start, end) in microseconds since 1970-01-01T00:00Z: all that a FHIR date of any precision can mean."""

NotNormalised = Literal["no-ucum-code", "not-ucum", "incompatible-unit", "no-molar-mass", "not-a-number"]
LeftOut = Literal[
    "entered-in-error",
    "withdrawn",
    "ai-asserted",
    "after-as-of",
    "changed-after-as-of",
    "replaced",
    "unreadable",
    "modifier-unknown",
    "other-type",
]
"""`replaced`: a preliminary beside the final of the same result. `changed-after-as-of`: what it said at that moment is not at hand.
`modifier-unknown`: a `modifierExtension` or `implicitRules` may turn its meaning around. `other-type`: no entry is made of this type."""

DropReason = Literal[
    "vital-signs",
    "repeated-value",
    "panel",
    "closed",
    "older-value",
    "older-report",
    "medication",
    "newest-value",
    "core",
    "too-long",
]
"""In the order in which they are dropped; the last two may meet any entry."""


class Coding(Record):
    system: str | None = None
    code: str
    display: str | None = None


class Identifier(Record):
    """A business identifier; `type` is the v2-0203 code where one is given (MR, ACSN, ...)."""

    system: str | None = None
    value: str
    type: str | None = None


NO_NAME = "(no name)"
"""Of a patient whose record holds none."""


class PatientBanner(Record):
    """Who the patient is, as the inbox shows it. Never leaves for logs, events, metrics or workflow ids."""

    resource: str
    """`Patient/<id>/_history/<version>`"""
    name: str
    birth_date: str | None
    sex: str | None
    identifiers: list[Identifier]


class Measured(Record):
    """A value: as the source wrote it, and where its unit is a UCUM code, in the unit of our table (docs/adr/ADR-0008-timeline.md)."""

    value: str | None = None
    """As the source wrote it (decimal digits kept), with its comparator: nobody who shows only this field turns `<5` into 5."""
    unit: str | None = None
    """As the source wrote it."""
    comparator: Literal["<", "<=", ">=", ">"] | None = None
    normal_value: str | None = None
    """A decimal number in `normal_unit`, without the comparator."""
    normal_unit: str | None = None
    """UCUM code."""
    not_normalised: NotNormalised | None = None
    """Why a quantity has no `normal_value`; None for what is no quantity."""
    analyte: str | None = None
    """What was measured, the same for every code of it that our table names (`creatinine-serum`)."""


class Component(Measured):
    """A part of an observation with a value of its own (systolic and diastolic pressure)."""

    text: str
    detail: str | None = None
    """What has no field of its own: interpretation, reference range."""
    codings: list[Coding] = Field(default_factory=list)


class TimelineEntry(Measured):
    """One fact of the history."""

    kind: EntryKind
    resource: str
    """`<Type>/<id>/_history/<version>`"""
    when: str | None
    """FHIR date or dateTime as it stood in the source, partial dates included; of a period its start."""
    when_element: str | None = None
    """Which element `when` is (`effectiveDateTime`, `recordedDate`): not every date is the date of the fact."""
    until: str | None = None
    """End of a period, or abatement of a condition."""
    span: Span | None = None
    recorded: str | None = None
    """When it was issued or recorded, where the source says so."""
    status: str
    text: str
    title: str | None = None
    """Words of the code, where `text` is a conclusion or a description."""
    detail: str | None = None
    """What has no field of its own, in the source's words: dose, reaction, site, note, reason, an onset that is no date."""
    category: str | None = None
    """First category code of the source (`laboratory`, `vital-signs`, `RAD`)."""
    interpretation: str | None = None
    """Codes of the source (`H`, `LL`)."""
    codings: list[Coding] = Field(default_factory=list)
    components: tuple[Component, ...] = ()
    members: tuple[str, ...] = ()
    """`Type/id` of the results of a panel or report, which are entries of their own."""
    studies: tuple[str, ...] = ()
    """`ImagingStudy/id` and `ServiceRequest/id` that a report names."""


class StudyEntry(Record):
    """An ImagingStudy of the history (a prior, or the study itself). One that only the archive knows has `urn:oid:<uid>` as its resource."""

    resource: str
    study_instance_uid: str
    started: str | None
    modalities: list[str]
    description: str | None
    span: Span | None = None
    region: str | None = None
    """Body region by codes, else by words; None where neither tells."""
    side: Literal["left", "right"] | None = None
    codings: list[Coding] = Field(default_factory=list)
    """Codes of the procedure."""
    based_on: tuple[str, ...] = ()


PriorReason = Literal[
    "same-region-same-modality",
    "same-examination",
    "region-unknown",
    "other-region",
    "other-side",
    "other-modality",
    "not-earlier",
    "date-unclear",
    "too-old",
    "beyond-limit",
]


class PriorChoice(Record):
    """What was decided about one other study, and why."""

    resource: str
    study_instance_uid: str
    taken: bool
    reason: PriorReason


class OrderEntry(Record):
    """The ServiceRequest that asked for the study."""

    resource: str
    priority: Literal["routine", "urgent", "asap", "stat"]
    codings: list[Coding]
    accession: Identifier | None
    text: str | None
    encounter: str | None = None
    region: str | None = None
    """What is to be examined, by its site and code, else by their words."""
    side: Literal["left", "right"] | None = None


class Timeline(Record):
    """The ordered history: entries oldest first, undated ones last."""

    patient: PatientBanner
    study: StudyEntry | None
    """The study being read, where FHIR knows it."""
    order: OrderEntry | None
    priors: list[StudyEntry]
    """Other imaging studies that began before the study being read, newest first."""
    prior_choices: list[PriorChoice] = []
    """One for each other study, by what FHIR says of them; the reading decides again once the pixels are known."""
    entries: list[TimelineEntry]
    as_of: str | None = None
    """The moment whose knowledge this is; None: everything that was there."""
    left_out: dict[LeftOut, int] = {}
    """How many resources are no entries, and why."""
    other_types: dict[str, int] = {}
    """How many of `other-type` there are of each type."""
    incomplete: list[str] = []
    """Why this is not all that the server holds, each as a code and the type it is about (`total-not-reached:Observation`)."""

    def sources(self) -> list[str]:
        """Every versioned reference that was read, sorted, without repeats."""
        named = [self.patient.resource, *(e.resource for e in self.entries), *(p.resource for p in self.priors)]
        named += [x.resource for x in (self.study, self.order) if x is not None]
        return sorted({name for name in named if not name.startswith("urn:")})


class HistoryLine(Record):
    """One entry as it is given to a model: `text` is one line that begins with `id`."""

    id: str
    entry: TimelineEntry
    text: str
    tokens: int


class DroppedEntries(Record):
    """How many entries of one kind were left out for one reason."""

    kind: EntryKind
    reason: DropReason
    count: int


class HistoryExcerpt(Record):
    """What of a timeline fits into a budget of tokens."""

    rule: str
    """Name and version of the rule of what is dropped first."""
    budget: int
    tokens: int
    """Estimate of `patient` and all lines together; never above `budget`."""
    patient: str
    """Age and sex in our words; never a name."""
    lines: list[HistoryLine]
    """Oldest first, `E1` to `En`."""
    dropped: list[DroppedEntries]
