"""What a patient's entity knows, and which study each event concerns. Pure: any order of events can be tried on it.

An order or a report that names no study is placed by its order or accession number; one that cannot be placed yet waits until its study is announced.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar

from schemas.facts import (
    HandedOver,
    KnownStudy,
    ObservationAvailable,
    OrderChanged,
    PatientEvent,
    PatientInput,
    ReportFinalised,
    StudyAvailable,
    StudyEvent,
)
from schemas.identifiers import without_version
from workflows.patient import policies

Key = TypeVar("Key")
Value = TypeVar("Value")
StudyFact = StudyAvailable | OrderChanged | ReportFinalised


class Delivery(NamedTuple):
    """An event for the workflow of one study."""

    study: KnownStudy
    event: StudyEvent


class PatientMemory:
    """Bounded in everything; `as_input` carries it across continue-as-new."""

    def __init__(self, args: PatientInput) -> None:
        self.observations = {observation.observation: observation for observation in args.observations}
        self.studies = {study.study_key: study for study in args.studies}
        self.merged_into = args.merged_into
        self._unplaced = list(args.unplaced)
        self._seen = dict.fromkeys(args.seen_event_ids)

    def is_new(self, event_id: str) -> bool:
        """Whether this event is met for the first time; it is remembered either way."""
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        _forget(self._seen, policies.REMEMBERED_EVENTS)
        return True

    def observe(self, observations: Iterable[ObservationAvailable]) -> None:
        """The newest announcement of each observation is kept."""
        for observation in observations:
            self.observations.pop(observation.observation, None)
            self.observations[observation.observation] = observation
        _forget(self.observations, policies.REMEMBERED_OBSERVATIONS)

    def place(self, event: PatientEvent, now: str) -> list[Delivery]:
        """What to tell which study, in order; nothing while the study of an order or a report is not known."""
        fact = event.event
        assert isinstance(fact, StudyAvailable | OrderChanged | ReportFinalised)
        study = self._study_of(event, fact, now)
        if study is None:
            self._unplaced = [*self._unplaced, event][-policies.UNPLACED_EVENTS :]
            return []
        waiting = [other for other in self._unplaced if self._concerns(other, study)]
        self._unplaced = [other for other in self._unplaced if other not in waiting]
        return [self._deliver(study.study_key, other.event) for other in [*waiting, event]]

    def _study_of(self, event: PatientEvent, fact: StudyFact, now: str) -> KnownStudy | None:
        address = event.address
        if address.study_key is None:
            known = [study for study in self.studies.values() if self._concerns(event, study)]
            return known[0] if len(known) == 1 else None
        before = self.studies.pop(address.study_key, None)
        study = before or KnownStudy(
            study_key=address.study_key,
            thread_id=address.thread_id or "",
            study_instance_uid=address.study_instance_uid or "",
            known_since=now,
        )
        order = fact.service_request if isinstance(fact, StudyAvailable | OrderChanged) else None
        names = {
            "service_request": _plain(order) or study.service_request,
            "accession": address.accession or study.accession,
        }
        self.studies[study.study_key] = study.model_copy(update=names)
        _forget(self.studies, policies.REMEMBERED_STUDIES)
        return self.studies[study.study_key]

    def _concerns(self, event: PatientEvent, study: KnownStudy) -> bool:
        """By the study's key, by its order, or by its accession number with issuer."""
        if event.address.study_key is not None:
            return event.address.study_key == study.study_key
        fact = event.event
        if isinstance(fact, OrderChanged) and study.service_request is not None:
            return _plain(fact.service_request) == study.service_request
        return event.address.accession is not None and event.address.accession == study.accession

    def _deliver(self, study_key: str, fact: object) -> Delivery:
        """The study remembers its announcement, a cancelled order and a final report, for runs that begin later."""
        assert isinstance(fact, StudyAvailable | OrderChanged | ReportFinalised)
        study = self.studies[study_key]
        if isinstance(fact, OrderChanged | ReportFinalised):
            kept = [other for other in study.standing if type(other) is not type(fact)]
            cancels = isinstance(fact, OrderChanged) and fact.change in ("cancelled", "discontinued")
            standing = [*kept, fact] if cancels or isinstance(fact, ReportFinalised) else kept
            study = self.studies[study_key] = study.model_copy(update={"standing": standing})
        elif fact.completeness != "partial":
            study = self.studies[study_key] = study.model_copy(update={"announced": fact})
        return Delivery(study, fact)

    def followed(self, now: datetime) -> list[KnownStudy]:
        """Studies whose results are still told of new observations."""
        limit = now - policies.ADDENDUM_WINDOW
        return [study for study in self.studies.values() if datetime.fromisoformat(study.known_since) >= limit]

    def take_over(self, other: HandedOver) -> None:
        """The studies and observations of a patient who was merged into this one."""
        for study in other.studies:
            self.studies.setdefault(study.study_key, study)
        self.observe(
            observation for observation in other.observations if observation.observation not in self.observations
        )
        _forget(self.studies, policies.REMEMBERED_STUDIES)

    def give_back(self, other: HandedOver) -> None:
        """What belongs to a patient who is parted from this one again."""
        for study in other.studies:
            self.studies.pop(study.study_key, None)
        for observation in other.observations:
            self.observations.pop(observation.observation, None)

    def give_up_unplaced(self) -> list[PatientEvent]:
        """What could not be placed, oldest first, once it is another patient's: the study may be announced there."""
        unplaced, self._unplaced = self._unplaced, []
        return unplaced

    def as_input(
        self, patient_key: str, pending: Iterable[PatientEvent], handed_over: Iterable[HandedOver] = ()
    ) -> PatientInput:
        return PatientInput(
            patient_key=patient_key,
            observations=list(self.observations.values()),
            seen_event_ids=list(self._seen),
            pending=list(pending),
            studies=list(self.studies.values()),
            unplaced=self._unplaced,
            merged_into=self.merged_into,
            handed_over=list(handed_over),
        )


def _plain(reference: str | None) -> str | None:
    return without_version(reference) if reference else None


def _forget(kept: dict[Key, Value], limit: int) -> None:
    """Drop the oldest beyond the limit."""
    while len(kept) > limit:
        kept.pop(next(iter(kept)))
