"""A user's own whole slide in a file (TIFF, SVS): stored in the archive as DICOM, as a laboratory would. The file is only read."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import PermanentFailure
from schemas.identifiers import uid_from_uuid
from services.clients.tiff_slide import TiffSlide, open_tiff
from services.demo.slide_instances import slide_instances, slide_module

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:longview:demo:slide")
MOST_CHARACTERS = 64
"""Of a PatientID (LO, PS3.5 section 6.2)."""


@dataclass(frozen=True)
class SlideFile:
    """A slide of a patient, ready to be stored. Its UIDs are made of its content: the same file is the same study."""

    path: Path
    patient_id: str
    digest: str
    levels: int

    def uid(self, *what: object) -> str:
        name = "|".join([self.digest, self.patient_id, *map(str, what)])
        return uid_from_uuid(str(uuid.uuid5(_NAMESPACE, name)))

    @property
    def study_uid(self) -> str:
        return self.uid("study")

    @property
    def series_uid(self) -> str:
        return self.uid("series")

    def instances(self) -> Iterator[bytes]:
        """The DICOM files of its levels, made one at a time."""
        common = slide_module(self.patient_id, self.study_uid, self.series_uid, self.uid("frame of reference"))
        with open_tiff(self.path) as file:
            yield from slide_instances(file, common, [self.uid("level", n) for n in range(self.levels)])


def find_slide(path: Path, patient: dict[str, Any]) -> SlideFile:
    """The slide in `path`, of this Patient. `PermanentFailure` says why it cannot be used."""
    with open_tiff(path) as file:
        levels = len(TiffSlide(file).levels)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return SlideFile(path, _patient_id(patient), digest, levels)


def _patient_id(patient: dict[str, Any]) -> str:
    """A TIFF does not say whose it is: the slide gets the patient's first identifier that fits."""
    values = [str(identifier.get("value") or "") for identifier in patient.get("identifier") or []]
    for value in values:
        if 0 < len(value) <= MOST_CHARACTERS and "\\" not in value:
            return value
    raise PermanentFailure(
        "patient-id-empty", "the patient has no identifier, so the slide cannot be stored as theirs: add one."
    )
