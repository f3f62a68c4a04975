"""Puts a patient into the FHIR server and the studies into the archive, as the hospital's own systems would have done.

Loading again changes nothing: images are stored by their UIDs, resources by ids of their own, and a patient who is there is not loaded again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from schemas.errors import PermanentFailure, StaleWrite
from schemas.identifiers import Namespace
from services.demo.own_chart import dumps

Resource = dict[str, Any]

STOW_BYTES = 32 * 1024 * 1024
"""About how much goes into one STOW-RS request."""
NOT_THERE = ("not-found", "missing", "gone", "unknown")


class Fhir(Protocol):
    """What loading needs of the FHIR client (workflows.ports.FhirServer)."""

    def read(self, reference: str) -> Resource: ...
    def find(self, resource_type: str, system: str, value: str) -> list[Resource]: ...
    def transaction(self, bundle: bytes) -> list[str]: ...


class Archive(Protocol):
    """What loading needs of the DICOMweb client."""

    def store(self, parts: Iterable[bytes]) -> object: ...


@dataclass(frozen=True)
class SeriesIndex:
    """A series as an ImagingStudy lists it."""

    uid: str
    modality: str
    number: int | None
    description: str
    instances: int


@dataclass(frozen=True)
class StudyIndex:
    """A study as the hospital's index knows it; `started` is a FHIR date or empty."""

    uid: str
    patient_id: str
    issuer: str
    started: str
    description: str
    accession: str
    series: list[SeriesIndex]

    @property
    def instances(self) -> int:
        return sum(series.instances for series in self.series)


@dataclass(frozen=True)
class Index:
    """How the hospital's patient index names things: canonical base and accession system."""

    base: str
    accession_system: str

    def patient_identifier(self, study: StudyIndex) -> Resource:
        """The DICOM PatientID as an identifier of the Patient; with an issuer (0010,0021) it gets a system and an assigner of its own."""
        system = f"{self.base}/sid/dicom-patient-id"
        text = {"text": "PatientID of the image archive"}
        if not study.issuer:
            return {"use": "secondary", "type": text, "system": system, "value": study.patient_id}
        assigner = {"display": study.issuer}
        system = f"{system}/{quote(study.issuer, safe='')}"
        return {"use": "secondary", "type": text, "system": system, "value": study.patient_id, "assigner": assigner}


def store_images(archive: Archive, files: Iterable[bytes]) -> int:
    """Send the files to the archive in requests of a bounded size; returns how many."""
    count = 0
    for batch in _batches(files):
        archive.store(batch)
        count += len(batch)
    return count


def _batches(files: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for data in files:
        batch.append(data)
        size += len(data)
        if size >= STOW_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def load_chart(fhir: Fhir, bundle: Resource, patient: str, studies: list[StudyIndex], index: Index) -> list[str]:
    """Load what is missing in one transaction; returns what was done as sentences, without identifiers of the patient."""
    identifier = index.patient_identifier(studies[-1])
    _refuse_taken(fhir, patient, identifier)
    there = _read(fhir, patient)
    entries = [] if there else [copy.deepcopy(entry) for entry in bundle["entry"]]
    said = (
        ["The patient is there already and is not loaded again."]
        if there
        else [f"{len(entries)} resources of the patient's chart loaded."]
    )
    said += _add_patient_id(entries, there, patient, identifier)
    said += _add_studies(fhir, entries, there, patient, studies, index)
    if entries:
        try:
            fhir.transaction(dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
        except StaleWrite as error:
            raise PermanentFailure(
                "patient-changed", "the patient was changed while it was loaded: load it again."
            ) from error
    return said


def _read(fhir: Fhir, reference: str) -> Resource | None:
    try:
        return fhir.read(reference)
    except PermanentFailure as failure:
        if failure.code.endswith(NOT_THERE):
            return None
        raise


def _refuse_taken(fhir: Fhir, patient: str, identifier: Resource) -> None:
    """One PatientID belongs to one patient: two who share it could be taken for each other."""
    holders = fhir.find("Patient", identifier["system"], identifier["value"])
    if any(f"Patient/{holder['id']}" != patient for holder in holders):
        raise PermanentFailure(
            "patient-id-taken",
            "the study's PatientID belongs to another patient of the FHIR server: load that patient, or start afresh.",
        )


def _add_patient_id(entries: list[Resource], there: Resource | None, patient: str, identifier: Resource) -> list[str]:
    resource = there or next(entry["resource"] for entry in entries if entry["request"]["url"] == patient)
    identifiers = resource.setdefault("identifier", [])
    if any(known.get("value") == identifier["value"] for known in identifiers):
        return []
    identifiers.append(identifier)
    if there is not None:
        version = there["meta"]["versionId"]
        entries.append({"resource": there, "request": {"method": "PUT", "url": patient, "ifMatch": f'W/"{version}"'}})
    issuer = " with its issuer" if "assigner" in identifier else ""
    return [f"The DICOM PatientID{issuer} was added to the patient's identifiers, as a hospital's patient index would."]


def _add_studies(
    fhir: Fhir, entries: list[Resource], there: Resource | None, patient: str, studies: list[StudyIndex], index: Index
) -> list[str]:
    """An ImagingStudy for each study that the chart does not mention."""
    mentioned = {value for entry in entries for value in _study_uids(entry["resource"])}
    added = 0
    for study in studies:
        urn = f"urn:oid:{study.uid}"
        if urn in mentioned or (there and fhir.find("ImagingStudy", "urn:dicom:uid", urn)):
            continue
        resource = imaging_study(study, patient, index)
        entries.append({"resource": resource, "request": {"method": "PUT", "url": f"ImagingStudy/{resource['id']}"}})
        added += 1
    return [f"{added} ImagingStudy added for the images, as a hospital's archive would."] if added else []


def _study_uids(resource: Resource) -> Iterator[str]:
    if resource["resourceType"] == "ImagingStudy":
        for identifier in resource.get("identifier", []):
            yield str(identifier.get("value", ""))


def imaging_study(study: StudyIndex, patient: str, index: Index) -> Resource:
    """The R4 ImagingStudy of a study; its id is made of the StudyInstanceUID and holds no identifier."""
    modalities = sorted({series.modality for series in study.series if series.modality})
    identifiers: list[Resource] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{study.uid}"}]
    if study.accession:
        identifiers.append({"type": _accession_type(), "system": index.accession_system, "value": study.accession})
    optional = {"started": study.started, "description": study.description}
    return {
        "resourceType": "ImagingStudy",
        "id": Namespace(index.base, "demo").key("imaging-study", study.uid),
        "identifier": identifiers,
        "status": "available",
        "modality": [_modality(code) for code in modalities],
        "subject": {"reference": patient},
        "numberOfSeries": len(study.series),
        "numberOfInstances": study.instances,
        "series": [_series(series) for series in study.series],
    } | {name: value for name, value in optional.items() if value}


def _accession_type() -> Resource:
    return {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}


def _modality(code: str) -> Resource:
    return {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": code}


def _series(series: SeriesIndex) -> Resource:
    optional = {"number": series.number, "description": series.description}
    listed = {"uid": series.uid, "modality": _modality(series.modality or "OT"), "numberOfInstances": series.instances}
    return listed | {name: value for name, value in optional.items() if value not in (None, "")}
