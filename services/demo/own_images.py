"""A user's own DICOM files: any tree, any names; what is not DICOM is passed over. The files are read, never changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from schemas.errors import PermanentFailure

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID", "Modality", "StudyDate", "StudyTime",
    "SeriesDate", "AcquisitionDate", "ContentDate", "SeriesNumber", "SeriesDescription", "StudyDescription", "AccessionNumber",
]  # fmt: skip


@dataclass
class SeriesFiles:
    uid: str
    modality: str
    number: int | None
    description: str
    files: dict[str, Path] = field(default_factory=dict)
    """SOP Instance UID -> file; a second copy of an instance is passed over."""


@dataclass
class StudyFiles:
    """One study as it lies on the disk. `started` is YYYYMMDDHHMMSS as far as it is known."""

    uid: str
    patient_id: str
    issuer: str
    started: str
    description: str
    accession: str
    series: dict[str, SeriesFiles] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        return [path for series in self.series.values() for path in series.files.values()]

    @property
    def instance_count(self) -> int:
        return sum(len(series.files) for series in self.series.values())


def find_studies(folder: Path) -> list[StudyFiles]:
    """The studies under `folder`, oldest first: the last is the one to be read. `PermanentFailure` says why a folder cannot be used."""
    if not folder.is_dir():
        raise PermanentFailure(
            "study-folder", "the study is not there: name a folder of DICOM files, or a whole slide as TIFF."
        )
    studies: dict[str, StudyFiles] = {}
    for path in _files(folder):
        tags = _tags(path)
        if tags is not None:
            _sort_in(studies, path, tags)
    if not studies:
        raise PermanentFailure(
            "study-folder-empty", "there is no DICOM file in the study folder: name a folder that holds a study."
        )
    found = sorted(studies.values(), key=lambda study: (study.started, study.uid))
    _check_one_patient(found)
    return found


def read_file(path: Path) -> bytes:
    """The file as a DICOM Part 10 file; one without preamble (PS3.10 7.1) gets its own, the pixels stay as they are."""
    data = path.read_bytes()
    if data[128:132] == b"DICM":
        return data
    ds = pydicom.dcmread(BytesIO(data), force=True)
    meta = ds.file_meta if getattr(ds, "file_meta", None) else FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, little = ds.original_encoding
        meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta = meta
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if path.is_file():
                yield path


def _tags(path: Path) -> Dataset | None:
    """What sorts the file, or None if it is not an instance of a study."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
        plain = start[128:132] != b"DICM"
        if plain and not _may_be_dicom(start):
            return None
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=plain, specific_tags=_TAGS)
    except (InvalidDicomError, OSError, ValueError, KeyError, NotImplementedError, EOFError):
        return None
    needed = (ds.get("SOPInstanceUID"), ds.get("StudyInstanceUID"), ds.get("SeriesInstanceUID"), ds.get("SOPClassUID"))
    return ds if all(needed) and ds.SOPClassUID != MediaStorageDirectoryStorage else None


def _may_be_dicom(start: bytes) -> bool:
    """A data set without preamble begins with an element of group 0002 or 0008."""
    return start[:2] in (b"\x02\x00", b"\x08\x00") and len(start) > 8


def _sort_in(studies: dict[str, StudyFiles], path: Path, tags: Dataset) -> None:
    uid = str(tags.StudyInstanceUID)
    study = studies.setdefault(uid, _study(uid, tags))
    if study.patient_id != _text(tags, "PatientID"):
        raise PermanentFailure(
            "study-patients", "the files of one study name different patients: give a study of one patient."
        )
    series_uid = str(tags.SeriesInstanceUID)
    series = study.series.setdefault(series_uid, _series(series_uid, tags))
    series.files.setdefault(str(tags.SOPInstanceUID), path)


def _study(uid: str, tags: Dataset) -> StudyFiles:
    day = next(
        (d for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate") if (d := _text(tags, name))), ""
    )
    time = _text(tags, "StudyTime").partition(".")[0]
    return StudyFiles(
        uid=uid,
        patient_id=_text(tags, "PatientID"),
        issuer=_text(tags, "IssuerOfPatientID"),
        started=day + time if day else "",
        description=_text(tags, "StudyDescription"),
        accession=_text(tags, "AccessionNumber"),
    )


def _series(uid: str, tags: Dataset) -> SeriesFiles:
    number = _text(tags, "SeriesNumber")
    return SeriesFiles(
        uid, _text(tags, "Modality"), int(number) if number.isdigit() else None, _text(tags, "SeriesDescription")
    )


def _text(tags: Dataset, keyword: str) -> str:
    value = tags.get(keyword)
    return "" if value is None else str(value).strip()


def _check_one_patient(studies: list[StudyFiles]) -> None:
    if len({study.patient_id for study in studies}) > 1:
        raise PermanentFailure(
            "study-patients", "the study folder holds studies of more than one patient: give one patient's folder."
        )
    if not studies[0].patient_id:
        raise PermanentFailure(
            "patient-id-empty",
            "the study's PatientID is empty, so nothing says whose it is: set PatientID in a copy of the files.",
        )
