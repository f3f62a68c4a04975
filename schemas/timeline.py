"""A patient's history as typed entries, each citing the versioned resource it came from."""

from __future__ import annotations

from typing import Literal

from schemas.model import Record

EntryKind = Literal[
    "imaging-study", "report", "observation", "condition", "medication", "procedure", "allergy", "order"
]


class Coding(Record):
    system: str | None = None
    code: str
    display: str | None = None


class Identifier(Record):
    """A business identifier; `type` is the v2-0203 code where one is given (MR, ACSN, ...)."""

    system: str | None = None
    value: str
    type: str | None = None


class PatientBanner(Record):
    """Who the patient is, as the inbox shows it. Never leaves for logs, events, metrics or workflow ids."""

    resource: str
    """`Patient/<id>/_history/<version>`"""
    name: str
    birth_date: str | None
    sex: str | None
    identifiers: list[Identifier]


class TimelineEntry(Record):
    """One fact of the history."""

    kind: EntryKind
    resource: str
    """`<Type>/<id>/_history/<version>`"""
    when: str | None
    """FHIR date or dateTime as it stood in the source, partial dates included."""
    status: str
    text: str
    codings: list[Coding] = []
    value: str | None = None
    """A value as the source wrote it (decimal digits kept)."""
    unit: str | None = None


class StudyEntry(Record):
    """An ImagingStudy of the history (a prior, or the study itself)."""

    resource: str
    study_instance_uid: str
    started: str | None
    modalities: list[str]
    description: str | None


class OrderEntry(Record):
    """The ServiceRequest that asked for the study."""

    resource: str
    priority: Literal["routine", "urgent", "asap", "stat"]
    codings: list[Coding]
    accession: Identifier | None
    text: str | None
    encounter: str | None = None


class Timeline(Record):
    """The ordered history: entries oldest first, undated ones last."""

    patient: PatientBanner
    study: StudyEntry | None
    """The study being read, where FHIR knows it."""
    order: OrderEntry | None
    priors: list[StudyEntry]
    """Other imaging studies that began before the study being read, newest first."""
    entries: list[TimelineEntry]

    def sources(self) -> list[str]:
        """Every versioned reference that was read, sorted, without repeats."""
        named = [self.patient.resource, *(e.resource for e in self.entries), *(p.resource for p in self.priors)]
        named += [x.resource for x in (self.study, self.order) if x is not None]
        return sorted(set(named))
