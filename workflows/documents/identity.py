"""Whether a document says whose it is. Pure."""

from __future__ import annotations

import re

from schemas.documents import ReadDocument
from schemas.timeline import NO_NAME, PatientBanner
from workflows.reading.fold import folded

SHORTEST_IDENTIFIER = 4
_WORD = re.compile(r"[^\W\d_]{2,}")


def names_patient(document: ReadDocument, patient: PatientBanner) -> bool | None:
    """True where an identifier of the patient, or the whole name, stands on any page; None where the chart holds neither to look for."""
    text = folded(" ".join(line.text for line in document.lines))
    written = {"".join(filter(str.isalnum, word)) for word in text.split()}
    wanted = {"".join(filter(str.isalnum, folded(i.value))) for i in patient.identifiers}
    wanted = {value for value in wanted if len(value) >= SHORTEST_IDENTIFIER}
    name = set(_WORD.findall(folded(patient.name))) if patient.name != NO_NAME else set()
    if not wanted and not name:
        return None
    return bool(wanted & written) or bool(name and name <= set(_WORD.findall(text)))
