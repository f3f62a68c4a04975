"""What identifies a patient of a test, and where it is found."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import pydicom

from services.demo.subject import Subject

NAMING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)


def secrets(subject: Subject) -> set[str]:
    """Identifiers and chart text: from every DICOM file and every string of the chart that tells something."""
    found = {str(ds.get(name, "")) for ds in datasets(subject) for name in NAMING}
    found |= {text for text in strings(subject.bundle) if tells_something(text)}
    found |= {subject.patient.partition("/")[2], "Phantom"}
    return {text for text in found if len(text) > 4}


def datasets(subject: Subject) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for data in subject.files()]


def strings(node: Any, name: str = "") -> set[str]:
    if isinstance(node, dict):
        return set().union(*(strings(value, key) for key, value in node.items()))
    if isinstance(node, list):
        return set().union(*(strings(value, name) for value in node)) if node else set()
    return (
        {node}
        if isinstance(node, str)
        and name in ("text", "display", "value", "family", "birthDate", "conclusion", "description", "id")
        else set()
    )


def tells_something(text: str) -> bool:
    """Neither a code nor a word that our own sentences use."""
    return len(text) > 7 and not re.fullmatch(r"[a-z-]+|https?://\S+|urn:\S+", text) and text not in ("Radiology",)


def named_in(text: str, known: set[str]) -> set[str]:
    return {secret for secret in known if secret in text}
