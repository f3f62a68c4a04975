"""The folder and its index: what is stored, found by UID. The index lives in memory and is made anew from the files at every start."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from schemas.telemetry.fields import fields

log = logging.getLogger("longview.archive")

STUDY_KEYS = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "StudyID", "PatientName",
    "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "InstitutionName",
)  # fmt: skip
SERIES_KEYS = (
    "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "BodyPartExamined", "Manufacturer",
    "PerformedProcedureStepStartDate", "FrameOfReferenceUID",
)  # fmt: skip
INSTANCE_KEYS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
)
KEYS = (*STUDY_KEYS, *SERIES_KEYS, *INSTANCE_KEYS)
TAGS = {keyword: f"{tag_for_keyword(keyword):08X}" for keyword in KEYS}
VRS = {keyword: dictionary_VR(keyword) for keyword in KEYS}

Json = dict[str, Any]

CANNOT_UNDERSTAND = 0xC000
OTHER_STUDY = 0xA900
DUPLICATE = 0x0111
"""Failure reasons of STOW-RS (PS3.18 annex I.2.2; PS3.7 C.4.7)."""


class Refused(Exception):
    """An instance that is not stored; `reason` is the Failure Reason (0008,1197)."""

    def __init__(self, reason: int, instance: tuple[str, str] | None = None) -> None:
        super().__init__(f"{reason:04X}")
        self.reason = reason
        self.instance = instance


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance on disk. `attributes` is the DICOM JSON of `KEYS`."""

    path: Path
    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    attributes: Json

    def values(self, keyword: str) -> list[Any]:
        values: list[Any] = self.attributes.get(TAGS[keyword], {}).get("Value", [])
        return values


class Archive:
    """The instances of one folder. Safe for several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._by_instance: dict[str, Stored] = {}
        self._by_study: dict[str, dict[str, Stored]] = {}
        self._read_folder()

    def __len__(self) -> int:
        return len(self._by_instance)

    def select(self, study: str | None = None, series: str | None = None, instance: str | None = None) -> list[Stored]:
        """The instances under the UIDs that are given."""
        with self._lock:
            found = list((self._by_instance if study is None else self._by_study.get(study, {})).values())
        return [row for row in found if series in (None, row.series) and instance in (None, row.instance)]

    def store(self, data: bytes, study: str | None) -> Stored:
        """Keep a DICOM file for good: when this returns, it is on disk. The same file again is a success and changes nothing.

        `Refused` if it cannot be read, is cut, is of another study than `study`, or if its UID is taken by another content.
        """
        row = _read(data, self._folder)
        known = (row.sop_class, row.instance)
        _check_whole(data, known)
        if study not in (None, row.study):
            raise Refused(OTHER_STUDY, known)
        with self._lock:
            there = self._by_instance.get(row.instance)
        if there is not None:
            if there.path.read_bytes() != data:
                raise Refused(DUPLICATE, known)
            return there
        path = self._folder / row.study / row.series / f"{row.instance}.dcm"
        _write(path, data)
        stored = Stored(path, row.study, row.series, row.instance, row.sop_class, row.syntax, row.attributes)
        with self._lock:
            self._add(stored)
        return stored

    def _add(self, row: Stored) -> bool:
        if row.instance in self._by_instance:
            return False
        self._by_instance[row.instance] = row
        self._by_study.setdefault(row.study, {})[row.instance] = row
        return True

    def _read_folder(self) -> None:
        left_out = 0
        for path in _files(self._folder):
            try:
                left_out += not self._add(_read(path, path))
            except (Refused, OSError):
                left_out += 1
        if left_out:  # names of files may hold identifiers: only their number is told
            log.warning("files-left-out", extra=fields(count=left_out))  # no DICOM instances, or repeated ones


def _files(folder: Path) -> Iterator[Path]:
    """Files below the folder, without hidden ones (among them what a killed process left half written)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(name.startswith(".") for name in path.relative_to(folder).parts):
            yield path


def _read(source: bytes | Path, path: Path) -> Stored:
    """The index entry of a file; `Refused` if it is no DICOM instance with UIDs that may be names of files (PS3.5 section 9.1)."""
    try:
        dataset = _open(source, KEYS)
        study, series, instance, sop_class = (
            str(dataset[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        )
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        attributes = dataset.to_json_dict(suppress_invalid_tags=True)
    except Exception as error:  # pydicom raises nearly any class on broken input
        raise Refused(CANNOT_UNDERSTAND) from error
    if not all(len(uid) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid) for uid in (study, series, instance)):
        raise Refused(CANNOT_UNDERSTAND)
    return Stored(path, study, series, instance, sop_class, syntax, attributes)


def _open(source: bytes | Path, keywords: tuple[str, ...] | None) -> Dataset:
    opened = BytesIO(source) if isinstance(source, bytes) else source
    if keywords is None:
        return dcmread(opened)
    dataset = dcmread(opened, stop_before_pixels=True, specific_tags=list(keywords))
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise InvalidDicomError
    return dataset


def _check_whole(data: bytes, instance: tuple[str, str]) -> None:
    """pydicom only warns of pixel data that is cut: compare the lengths."""
    try:
        dataset = _open(data, None)
        native = not UID(dataset.file_meta.TransferSyntaxUID).is_compressed
        cut = native and "PixelData" in dataset and len(dataset.PixelData) < get_expected_length(dataset)
    except Exception as error:
        raise Refused(CANNOT_UNDERSTAND, instance) from error
    if cut:
        raise Refused(CANNOT_UNDERSTAND, instance)


def _write(path: Path, data: bytes) -> None:
    """A whole file or none, also after a loss of power: temporary file, fsync, rename, fsync of the folder."""
    for folder_of in (path.parent.parent, path.parent):  # for their owner alone, which mkdir(parents=True) is not
        folder_of.mkdir(exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
