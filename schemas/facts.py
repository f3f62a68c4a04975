"""What workflows are told: the facts of the bus without their envelope, how they are addressed, and what starts a workflow.

References and keys only. They travel through Temporal encrypted; StudyInstanceUID and FHIR references are identifiers all the same, so none of
them is ever part of a workflow id, a log line or an error.
"""

from __future__ import annotations

from typing import Literal

from schemas.model import Record
from schemas.report import Priority


class StudyAvailable(Record):
    """The signal `study_available`: what an `imaging.study.available` event says, without its envelope."""

    event_id: str
    study_instance_uid: str
    patient: str
    inventory_digest: str
    completeness: Literal["partial", "quiescent", "declared-complete"]
    instance_count: int
    imaging_study: str | None = None
    service_request: str | None = None
    accession: str | None = None
    announced_at: str | None = None
    """When the hospital said so (the event's `time`): from then on its clinicians wait."""


class ObservationAvailable(Record):
    """The signal `observation_available` of the patient's entity workflow."""

    event_id: str
    observation: str
    patient: str
    status: str


class OrderChanged(Record):
    """What an `order.changed` event says."""

    event_id: str
    service_request: str
    patient: str
    change: Literal["placed", "priority-changed", "cancelled", "completed", "discontinued"]
    priority: Priority


class ReportFinalised(Record):
    """What a `report.finalised` event says: the radiologist's own report of a study is final."""

    event_id: str
    diagnostic_report: str
    patient: str


class PatientMerged(Record):
    """What a `patient.merged` event says, without its record numbers; the keys are those of the two entities."""

    event_id: str
    survivor: str
    retired: str
    survivor_key: str
    retired_key: str


class HistoryChanged(Record):
    """Observations that became known to the patient's entity in one burst, told to a study of that patient."""

    event_id: str
    patient: str
    observations: list[str]
    """References as announced, oldest first."""


class PatientChanged(Record):
    """A study's patient was merged into another, or a merge was taken back: then a person decides whose the study is."""

    event_id: str
    change: Literal["merged", "unmerged"]
    patient: str
    patient_key: str
    announced: StudyAvailable | None = None
    """After a merge, the study's newest announcement under the survivor's name: for a run that began after it, and has nothing to read."""


StudyEvent = StudyAvailable | OrderChanged | ReportFinalised | HistoryChanged | PatientChanged
"""What the workflow of one study takes, in order. Told apart by their fields: records are closed to others."""


class KnownStudy(Record):
    """A study as its patient's entity remembers it."""

    study_key: str
    thread_id: str
    study_instance_uid: str
    service_request: str | None = None
    accession: str | None = None
    known_since: str
    """When the entity first heard of it (RFC 3339, workflow time)."""
    standing: list[OrderChanged | ReportFinalised] = []
    """A cancelled order and a final report: told again to every new run of the study, ahead of what starts it."""
    announced: StudyAvailable | None = None
    """The newest announcement: after a merge a study that could not be read under the retired record is read under the survivor."""


class StudyAddress(Record):
    """Which study an event is about, as far as it says: by UID (then with both keys), by accession number (`system|value`)."""

    study_key: str | None = None
    thread_id: str | None = None
    study_instance_uid: str | None = None
    accession: str | None = None


class PatientEvent(Record):
    """One event of the bus for the patient's entity."""

    event: StudyAvailable | OrderChanged | ReportFinalised | ObservationAvailable | PatientMerged
    address: StudyAddress = StudyAddress()
    through: list[str] = []
    """Keys of the retired patients that have passed it on."""


class HandedOver(Record):
    """What one entity tells another when patients are merged or parted: the studies, and where their events belong now."""

    event_id: str
    change: Literal["merged", "unmerged"]
    patient: str
    patient_key: str
    studies: list[KnownStudy]
    observations: list[ObservationAvailable] = []


class ReportStudyInput(Record):
    """Starts `ReportStudyWorkflow`; `pending` carries events that come with the start, or across continue-as-new."""

    study_key: str
    patient_key: str
    thread_id: str
    study_instance_uid: str = ""
    pending: list[StudyEvent] = []
    seen_event_ids: list[str] = []


class PatientInput(Record):
    """Starts `PatientWorkflow`; the lists carry its memory across continue-as-new."""

    patient_key: str
    observations: list[ObservationAvailable] = []
    seen_event_ids: list[str] = []
    pending: list[PatientEvent] = []
    studies: list[KnownStudy] = []
    unplaced: list[PatientEvent] = []
    """Events about a study that nobody has announced yet, known by order or accession alone."""
    merged_into: HandedOver | None = None
    """Set while this patient is retired in favour of another; without its lists."""
    handed_over: list[HandedOver] = []
    """What other entities have told and this one has not taken up yet."""
