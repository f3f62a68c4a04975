"""The free text that instances carry in their tags. It is data: nothing of it reaches a model, and a caution scanner looks through it."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword

from workflows.series.attributes import read_dataset
from workflows.series.elements import Buffer, CutShort, Unusual, scan

TEXTS = (
    "AccessionNumber", "InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "StationName",
    "StudyDescription", "SeriesDescription", "InstitutionalDepartmentName", "PhysiciansOfRecord",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "AdmittingDiagnosesDescription",
    "ManufacturerModelName", "DerivationDescription", "PatientName", "PatientID", "OtherPatientIDs", "MedicalAlerts",
    "Allergies", "EthnicGroup", "Occupation", "AdditionalPatientHistory", "PatientComments", "BodyPartExamined",
    "ContrastBolusAgent", "ProtocolName", "SequenceName", "AcquisitionComments", "ConvolutionKernel", "StudyID",
    "ImageComments", "BurnedInAnnotation", "StudyComments", "ReasonForStudy", "RequestingPhysician",
    "RequestingService", "RequestedProcedureDescription", "VisitComments", "PatientState",
    "PerformedProcedureStepDescription", "CommentsOnThePerformedProcedureStep", "RequestedProcedureComments",
    "ReasonForTheRequestedProcedure", "RequestAttributesSequence", "ImagingServiceRequestComments", "DocumentTitle",
)  # fmt: skip
"""Keywords (PS3.6) whose values people or machines write as they like; sequences and private tags are not looked into."""

_TAGS = {int(tag): keyword for keyword in TEXTS if (tag := tag_for_keyword(keyword)) is not None}
_CHARACTER_SET = 0x00080005
_WANTED = frozenset({*_TAGS, _CHARACTER_SET})


def free_texts(parts: Iterable[Buffer]) -> set[tuple[str, str]]:
    """(keyword, value) of every text tag of the instances, each once. What cannot be read as DICOM has none here: reading it fails elsewhere."""
    raw: set[tuple[int, bytes, bytes]] = set()
    texts: set[tuple[str, str]] = set()
    for part in parts:
        try:
            values = scan(part, _WANTED).values
        except (Unusual, CutShort):
            texts |= _by_pydicom(part)
            continue
        charset = values.get(_CHARACTER_SET, b"")
        raw |= {(tag, charset, value) for tag, value in values.items() if tag != _CHARACTER_SET}
    return texts | {(_TAGS[tag], _decoded(charset, value)) for tag, charset, value in raw}


def _decoded(charset: bytes, value: bytes) -> str:
    names = charset.decode("ascii", "replace").strip(" \0").split("\\")
    try:
        return decode_bytes(value, convert_encodings(names if names != [""] else None), set()).strip(" \0")
    except LookupError:  # a character set that nobody knows
        return value.decode("ascii", "replace").strip(" \0")


def _by_pydicom(part: Buffer) -> set[tuple[str, str]]:
    dataset = read_dataset(part)
    return {(keyword, str(dataset[keyword].value)) for keyword in _TAGS.values() if keyword in dataset}
