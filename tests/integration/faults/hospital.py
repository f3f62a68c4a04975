"""A hospital day from a seed: patients, small CT studies, and what its systems write and announce, in a causal order for each patient.

Events of one key on one topic are published in their order; between topics there is no order, as on a real bus (contract 4, rule 1): an order may be
cancelled before its study is announced, a report may be final first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from schemas.events import (
    OBSERVATION_AVAILABLE,
    OBSERVATION_TOPIC,
    ORDER_CHANGED,
    ORDER_TOPIC,
    PATIENT_MERGED,
    PATIENT_TOPIC,
    REPORT_FINALISED,
    REPORT_TOPIC,
    STUDY_AVAILABLE,
    STUDY_TOPIC,
    CloudEvent,
    dataschema,
    now_rfc3339,
)
from schemas.identifiers import Namespace, instance_set_digest
from services.demo.ct import PatientTags, StudyTags, ct_series
from services.demo.load import Index, SeriesIndex, StudyIndex, imaging_study
from services.demo.phantom import Grid
from services.settings import Settings

Resource = dict[str, Any]
Plot = Literal["plain", "late-slice", "raised", "corrected", "cancelled", "final-report"]
PLOTS: tuple[tuple[Plot, int], ...] = (
    ("plain", 7),
    ("late-slice", 3),
    ("raised", 2),
    ("corrected", 2),
    ("cancelled", 4),
    ("final-report", 4),
)
"""What becomes of a study, and how often."""
CLOSED: tuple[Plot, ...] = ("cancelled", "final-report")
SLICES = 3
GRID = Grid(slices=SLICES, thickness=5.0, first_z=-10.0, rows=32, columns=32, pixel=8.0)
STUDIES_A_PATIENT = 3
LABS = ("2951-2", "2823-3", "1988-5", "33762-6", "718-7")
"""Sodium, potassium, CRP, NT-proBNP, haemoglobin: some concern a finding, most do not."""
BEGAN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


@dataclass
class Patient:
    number: int
    merged_into: int | None = None

    @property
    def reference(self) -> str:
        return f"Patient/storm-{self.number}"

    @property
    def tags(self) -> PatientTags:
        return PatientTags(f"ST{self.number:06d}", f"Storm^P{self.number}", "19600101", "F")


@dataclass
class Study:
    """One study, its order, and what is to become of it."""

    patient: Patient
    number: int
    plot: Plot
    tags: StudyTags
    files: list[bytes]
    by_accession: bool

    @property
    def uid(self) -> str:
        return self.tags.study_uid

    @property
    def order(self) -> str:
        return f"ServiceRequest/storm-{self.patient.number}-{self.number}"

    def instances(self, count: int) -> list[str]:
        """UIDs of the first `count` files; instance 1 comes first."""
        return [self.tags.instance_uid(number) for number in range(1, count + 1)]


@dataclass(frozen=True)
class Fact:
    """What happens: what the hospital's systems write first, then the event on the bus."""

    topic: str
    event: CloudEvent
    writes: tuple[Resource, ...] = ()
    files: tuple[bytes, ...] = ()


@dataclass
class Hospital:
    """Everything of one seed. `facts` is the day in publishing order; `before` stands in FHIR when it begins."""

    patients: list[Patient]
    studies: list[Study]
    before: list[Resource] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


class Day:
    """Writes the day."""

    def __init__(self, seed: int, settings: Settings) -> None:
        self._chance = random.Random(seed)
        self._settings = settings
        self._space = settings.namespace
        self._base = settings.canonical_base

    def plan(self, events: int, patients: int) -> Hospital:
        people = [Patient(number) for number in range(patients)]
        for retired in people[9::10] or people[-1:]:
            retired.merged_into = retired.number - 1
        studies = [self._study(patient, n) for patient in people for n in range(STUDIES_A_PATIENT)]
        hospital = Hospital(people, studies, before=[*map(self._patient, people)])
        hospital.before += [resource for study in studies for resource in (self._order(study), self._indexed(study))]
        days = [self._day(patient, [s for s in studies if s.patient is patient], people) for patient in people]
        rest = events - sum(len(day) for day in days)
        assert rest >= 0, "more events are needed for so many patients"
        for number in range(rest):
            patient = self._chance.choice(people)
            self._insert(days[patient.number], [self._observation(patient, number)])
        for retired in (patient for patient in people if patient.merged_into is not None):
            days[retired.number] = self._moved(days[retired.number], retired, hospital)
        hospital.facts = list(self._interleaved(days))
        return hospital

    def _interleaved(self, days: list[list[Fact]]) -> Iterator[Fact]:
        """One of the patients' next facts at a time; a patient's own order is kept."""
        left = [list(reversed(day)) for day in days if day]
        while left:
            day = self._chance.choices(left, weights=[len(d) for d in left])[0]
            yield day.pop()
            left = [d for d in left if d]

    # -- what stands in FHIR ---------------------------------------------------------------------------------------------

    def _patient(self, patient: Patient) -> Resource:
        return {
            "resourceType": "Patient",
            "id": patient.reference.partition("/")[2],
            "identifier": [self._dicom_id(patient)],
            "name": [{"family": "Storm", "given": [f"P{patient.number}"]}],
            "birthDate": "1960-01-01",
            "gender": "female",
        }

    def _dicom_id(self, patient: Patient) -> Resource:
        return {"system": f"{self._base}/sid/dicom-patient-id", "value": patient.tags.patient_id}

    def _order(self, study: Study, **changes: Any) -> Resource:
        return {
            "resourceType": "ServiceRequest",
            "id": study.order.partition("/")[2],
            "status": "active",
            "intent": "order",
            "priority": "routine",
            "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
            "subject": {"reference": study.patient.reference},
        } | changes

    def _indexed(self, study: Study) -> Resource:
        series = SeriesIndex(study.tags.series_uid, "CT", 1, study.tags.series_description, SLICES)
        day = study.tags.started.date().isoformat()
        tags = study.patient.tags
        index = StudyIndex(study.uid, tags.patient_id, "", day, study.tags.description, study.tags.accession, [series])
        resource = imaging_study(index, study.patient.reference, Index(self._base, self._settings.accessions))
        return resource | {"basedOn": [{"reference": study.order}]}

    def _study(self, patient: Patient, number: int) -> Study:
        plots, weights = zip(*PLOTS, strict=True)
        plot: Plot = self._chance.choices(plots, weights)[0]
        started = BEGAN + timedelta(hours=number)
        label = f"storm-{patient.number}-{number}"
        uids = Namespace(self._base, "demo")
        tags = StudyTags(label, uids, f"S{patient.number:04d}{number}", started, "CT CHEST", "AXIAL 5.0")
        voxels = np.random.default_rng(patient.number * 100 + number).integers(
            -1000, 400, (SLICES, GRID.rows, GRID.columns)
        )
        files = ct_series(patient.tags, tags, GRID, voxels.astype(np.int16))
        return Study(patient, number, plot, tags, files, by_accession=self._chance.random() < 0.5)

    # -- what happens ----------------------------------------------------------------------------------------------------

    def _day(self, patient: Patient, studies: list[Study], people: list[Patient]) -> list[Fact]:
        day: list[Fact] = []
        for study in studies:
            for thread in self._threads(study):
                self._insert(day, thread)
        if patient.merged_into is not None:
            self._insert(day, [self._merge(patient, people[patient.merged_into])])
        return day

    def _moved(self, day: list[Fact], retired: Patient, hospital: Hospital) -> list[Fact]:
        """With the merge everything of the retired record moves to the survivor, and what is written later is the survivor's.

        Events that come after it still bear the retired patient's name: their senders learn of the merge later.
        """
        assert retired.merged_into is not None
        survivor = {"reference": hospital.patients[retired.merged_into].reference}
        written = {
            (resource["resourceType"], resource["id"]): resource
            for resource in hospital.before
            if resource.get("subject", {}).get("reference") == retired.reference
        }
        moved, merged = [], False
        for fact in day:
            if fact.topic == PATIENT_TOPIC:
                writes = (*fact.writes, *(resource | {"subject": survivor} for resource in written.values()))
                fact, merged = replace(fact, writes=writes), True
            elif merged:
                fact = replace(fact, writes=tuple(resource | {"subject": survivor} for resource in fact.writes))
            written |= {(resource["resourceType"], resource["id"]): resource for resource in fact.writes}
            moved.append(fact)
        return moved

    def _insert(self, day: list[Fact], thread: list[Fact]) -> None:
        """At random places, its own order kept."""
        places = sorted(self._chance.randint(0, len(day)) for _ in thread)
        for shift, (place, fact) in enumerate(zip(places, thread, strict=True)):
            day.insert(place + shift, fact)

    def _threads(self, study: Study) -> list[list[Fact]]:
        """One list for each topic that tells of the study."""
        if study.plot == "late-slice":
            return [[self._available(study, SLICES - 1), self._available(study, SLICES)]]
        threads = [[self._available(study, SLICES)]]
        if study.plot == "raised":
            threads.append([self._order_changed(study, "priority-changed", "urgent")])
        if study.plot == "corrected":
            threads.append([self._order_changed(study, "placed", "routine")])
        if study.plot == "cancelled":
            threads.append(
                [
                    self._order_changed(study, "priority-changed", "urgent"),
                    self._order_changed(study, "cancelled", "urgent"),
                ]
            )
        if study.plot == "final-report":
            threads.append([self._finalised(study)])
        return threads

    def _available(self, study: Study, slices: int) -> Fact:
        first = slices < SLICES or study.plot != "late-slice"
        files = study.files[:slices] if first else study.files[slices - 1 :]
        digest = instance_set_digest(study.instances(slices))
        data = {
            "studyInstanceUid": study.uid,
            "patient": study.patient.reference,
            "modalities": ["CT"],
            "seriesCount": 1,
            "instanceCount": slices,
            "inventoryDigest": digest,
            "completeness": "declared-complete",
            "serviceRequest": study.order,
            "accession": {"system": self._settings.accessions, "value": study.tags.accession},
            "source": {"kind": "dicomweb", "messageId": digest},
        }
        key = self._space.study_key(study.uid)
        event = self._event(STUDY_AVAILABLE, f"study/{key}", key, f"{key}|{digest}", data)
        return Fact(STUDY_TOPIC, event, files=tuple(files))

    def _order_changed(self, study: Study, change: str, priority: str) -> Fact:
        status = "revoked" if change == "cancelled" else "active"
        data = {
            "serviceRequest": study.order,
            "patient": study.patient.reference,
            "change": change,
            "priority": priority,
        } | ({} if study.by_accession else {"studyInstanceUid": study.uid})
        fact = f"{study.order}|{change}|{priority}"
        key = self._space.study_key(study.uid)
        event = self._event(ORDER_CHANGED, f"study/{key}", key, fact, data | self._source(fact))
        return Fact(ORDER_TOPIC, event, writes=(self._order(study, status=status, priority=priority),))

    def _finalised(self, study: Study) -> Fact:
        name = f"storm-final-{study.patient.number}-{study.number}"
        report = {
            "resourceType": "DiagnosticReport",
            "id": name,
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
            "subject": {"reference": study.patient.reference},
            "imagingStudy": [{"reference": f"ImagingStudy/{self._indexed(study)['id']}"}],
            "issued": "2026-11-20T12:00:00Z",
            "conclusion": "No acute finding.",
        }
        accession = {"system": self._settings.accessions, "value": study.tags.accession}
        named = {"accession": accession} if study.by_accession else {"studyInstanceUid": study.uid}
        data = {
            "diagnosticReport": f"DiagnosticReport/{name}",
            "patient": study.patient.reference,
            "status": "final",
        } | named
        key = self._space.study_key(study.uid)
        event = self._event(REPORT_FINALISED, f"study/{key}", key, name, data | self._source(name))
        return Fact(REPORT_TOPIC, event, writes=(report,))

    def _observation(self, patient: Patient, number: int) -> Fact:
        name = f"storm-lab-{number}"
        observation = {
            "resourceType": "Observation",
            "id": name,
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": self._chance.choice(LABS)}]},
            "subject": {"reference": patient.reference},
            "effectiveDateTime": (BEGAN + timedelta(minutes=number)).isoformat(),
            "valueQuantity": {"value": 10 + number % 90, "unit": "mg/L", "system": "http://unitsofmeasure.org"},
        }
        data = {"observation": f"Observation/{name}", "patient": patient.reference, "status": "final"}
        key = self._space.patient_key(patient.reference)
        event = self._event(OBSERVATION_AVAILABLE, f"patient/{key}", key, name, data | self._source(name))
        return Fact(OBSERVATION_TOPIC, event, writes=(observation,))

    def _merge(self, retired: Patient, survivor: Patient) -> Fact:
        """The record of one is merged into the other's: links both ways."""
        old = self._patient(retired) | {
            "active": False,
            "link": [{"other": {"reference": survivor.reference}, "type": "replaced-by"}],
        }
        new = self._patient(survivor) | {
            "identifier": [self._dicom_id(survivor), self._dicom_id(retired)],
            "link": [{"other": {"reference": retired.reference}, "type": "replaces"}],
        }
        data = {"survivor": survivor.reference, "retired": retired.reference}
        fact = f"{survivor.reference}|{retired.reference}"
        key = self._space.patient_key(survivor.reference)
        event = self._event(PATIENT_MERGED, f"patient/{key}", key, fact, data | self._source(fact))
        return Fact(PATIENT_TOPIC, event, writes=(new, old))

    def _event(self, kind: str, subject: str, key: str, fact: str, data: dict[str, Any]) -> CloudEvent:
        return CloudEvent(
            id=self._space.event_id(kind, fact),
            source="urn:longview:hospital:storm",
            type=kind,
            subject=subject,
            time=now_rfc3339(),
            dataschema=dataschema(self._base, kind),
            partitionkey=key,
            tenant=self._settings.tenant,
            data=data,
        )

    def _source(self, fact: str) -> Resource:
        return {"source": {"kind": "hl7v2", "messageId": fact}}
