"""What a reader must know about the text around a study: places that read like instructions, never what they say."""

from __future__ import annotations

from typing import Literal

from schemas.model import Record

CautionRoute = Literal["chart", "dicom", "pixels", "document"]


class Caution(Record):
    """Text that reads like an instruction to a reader or a program. It was not followed; a human judges what it means.

    `code` names the kind of pattern, or `burnt-in-text` and `burnt-in-annotation` for the pixels; `where` is a versioned FHIR reference, a DICOM
    keyword, `slice N` of the stack (`prior slice N`), or `page N line M` of a document; `patient-not-named` is the code of a document that names
    neither the patient nor an identifier of theirs. The text itself is never repeated.
    """

    route: CautionRoute
    code: str
    where: str


class PixelTextSearch(Record):
    """How the slices that the model saw were searched for text: an honest bound on what was looked at."""

    slices: int
    """Slices that were looked through, current and prior."""
    suspicious: int
    """Slices with marks like letters."""
    read: int
    """Slices of these whose marks were read; the rest lies beyond the cap."""
