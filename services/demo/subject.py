"""Whose study the demonstration reads: the phantom's or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom

from schemas.identifiers import Namespace, study_workflow_id
from services.demo.load import SeriesIndex, StudyIndex
from services.demo.own_chart import read_chart
from services.demo.own_images import StudyFiles, find_studies, read_file
from services.demo.own_slide import SlideFile, find_slide
from services.demo.story import DicomStudy, phantom_story


@dataclass(frozen=True)
class Subject:
    """A patient's chart and studies, oldest first; `files` reads the instances anew each time it is called."""

    bundle: dict[str, Any]
    patient: str
    studies: list[StudyIndex]
    files: Callable[[], Iterator[bytes]]

    def workflow_id(self, space: Namespace) -> str:
        """The workflow that reads the newest study."""
        return study_workflow_id(space.study_key(self.studies[-1].uid))


def phantom_subject(seed: int, canonical_base: str, accession_system: str) -> Subject:
    story = phantom_story(seed, canonical_base, accession_system)
    studies = [_phantom_index(study) for study in story.studies]
    return Subject(
        story.bundle, story.patient, studies, lambda: (data for study in story.studies for data in study.files)
    )


def _phantom_index(study: DicomStudy) -> StudyIndex:
    first = pydicom.dcmread(BytesIO(study.files[0]), stop_before_pixels=True)
    series = SeriesIndex(first.SeriesInstanceUID, "CT", 1, first.SeriesDescription, len(study.files))
    return StudyIndex(
        study.study_instance_uid,
        study.patient_id,
        study.issuer,
        _fhir_date(first.StudyDate),
        first.StudyDescription,
        first.AccessionNumber,
        [series],
    )


def own_subject(study: Path, patient_file: Path) -> Subject:
    """A folder of DICOM files, or a whole slide in one TIFF. `PermanentFailure` with one sentence if folder or file cannot be used."""
    chart = read_chart(patient_file)
    if study.is_file():
        slide = find_slide(study, chart.patient_resource)
        return Subject(chart.bundle, chart.patient, [_slide_index(slide)], slide.instances)
    found = find_studies(study)
    studies = [_index(study) for study in found]
    return Subject(
        chart.bundle, chart.patient, studies, lambda: (read_file(path) for study in found for path in study.paths)
    )


def _slide_index(slide: SlideFile) -> StudyIndex:
    series = SeriesIndex(slide.series_uid, "SM", 1, "", slide.levels)
    return StudyIndex(slide.study_uid, slide.patient_id, "", "", "", "", [series])


def _index(study: StudyFiles) -> StudyIndex:
    series = [SeriesIndex(s.uid, s.modality, s.number, s.description, len(s.files)) for s in study.series.values()]
    return StudyIndex(
        study.uid, study.patient_id, study.issuer, _fhir_date(study.started), study.description, study.accession, series
    )


def _fhir_date(started: str) -> str:
    """YYYYMMDD.. as a FHIR date; empty if it is none. The time is left out: DICOM does not say its zone."""
    day = started[:8]
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) == 8 and day.isdigit() else ""
