"""How a radiograph shows the body, by its own tags: the view, whether it was taken at the bedside, and which exposure it is.

View Position (0018,5101) and View Code Sequence (0054,0220; PS3.16 CID 4010) come first, then words of descriptions, then the directions of rows
and columns, which tell a frontal view from a lateral one.
"""

from __future__ import annotations

import re

from workflows.series.attributes import DatasetAttributes

PA, AP, FRONTAL, LATERAL, DECUBITUS, OBLIQUE = "PA", "AP", "frontal", "lateral", "decubitus", "oblique"
ORDER = (PA, AP, FRONTAL, LATERAL, DECUBITUS, OBLIQUE)
"""The order in which views are shown: frontal views first, of them the one that magnifies the heart least."""

_POSITIONS = {
    "PA": PA, "AP": AP, "LL": LATERAL, "RL": LATERAL, "LAT": LATERAL, "LATERAL": LATERAL, "LLD": DECUBITUS, "RLD": DECUBITUS,
    "RLO": OBLIQUE, "LLO": OBLIQUE, "RAO": OBLIQUE, "LAO": OBLIQUE, "RPO": OBLIQUE, "LPO": OBLIQUE,
}  # fmt: skip
_CODES = {
    "272479007": PA, "399348003": AP, "399033003": FRONTAL, "399067008": LATERAL, "399173006": LATERAL, "399198007": LATERAL,
    "399182000": OBLIQUE, "399184004": OBLIQUE, "399236003": OBLIQUE, "399135007": OBLIQUE, "399356000": OBLIQUE, "399006002": OBLIQUE,
    "399038007": OBLIQUE, "399312000": OBLIQUE, "399059000": OBLIQUE,
}  # fmt: skip
"""SNOMED CT codes of PS3.16 CID 4010. Read, never written."""
_WORDS = (
    (DECUBITUS, re.compile(r"\bdecub", re.IGNORECASE)),
    (OBLIQUE, re.compile(r"\bobl", re.IGNORECASE)),
    (LATERAL, re.compile(r"\b(lat|lateral|lateralis|profil|seitlich)\b", re.IGNORECASE)),
    (PA, re.compile(r"\b(p\.?a|postero-?anterior)\b", re.IGNORECASE)),
    (AP, re.compile(r"\b(a\.?p|antero-?posterior)\b", re.IGNORECASE)),
    (FRONTAL, re.compile(r"\bfrontal\b", re.IGNORECASE)),
)
_BEDSIDE = re.compile(r"\b(portable|bedside|mobile|bettlunge)\b", re.IGNORECASE)
_DESCRIPTIONS = ("SeriesDescription", "AcquisitionDeviceProcessingDescription", "ProtocolName", "StudyDescription")


def view_of(tags: DatasetAttributes) -> str | None:
    position = (tags.text("ViewPosition") or "").upper()
    if position in _POSITIONS:
        return _POSITIONS[position]
    for item in tags.get("ViewCodeSequence") or []:
        if (code := DatasetAttributes(item).text("CodeValue") or "") in _CODES:
            return _CODES[code]
    for keyword in ("SeriesDescription", "ProtocolName"):
        named = [view for view, words in _WORDS if words.search(tags.text(keyword) or "")]
        if len(named) == 1:
            return named[0]
    return _by_orientation(tags)


def _by_orientation(tags: DatasetAttributes) -> str | None:
    """Rows that run from side to side are of a frontal view, rows that run from front to back of a lateral one."""
    across, down = (*tags.texts("PatientOrientation"), "", "")[:2]
    if not down.startswith(("F", "H")):
        return None
    if across.startswith(("L", "R")):
        return FRONTAL
    return LATERAL if across.startswith(("A", "P")) else None


def is_bedside(tags: DatasetAttributes) -> bool:
    return any(_BEDSIDE.search(tags.text(keyword) or "") for keyword in _DESCRIPTIONS)


def is_for_processing(tags: DatasetAttributes) -> bool:
    """Raw detector values are not a picture (PS3.3 C.8.11.1): Presentation Intent Type, or the SOP class where that is missing."""
    if (tags.text("PresentationIntentType") or "").upper() == "FOR PROCESSING":
        return True
    return (tags.text("SOPClassUID") or "") in _FOR_PROCESSING


_FOR_PROCESSING = frozenset({
    "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.3.1",
})  # fmt: skip
"""Digital X-ray, mammography and intra-oral image storage, for processing (PS3.4 B.5)."""


def is_processed(tags: DatasetAttributes) -> bool:
    """A second version of an exposure by its words: bone suppression, edge enhancement. Image Type tells nothing: all is derived."""
    described = (tags.text(keyword) or "" for keyword in ("SeriesDescription", *_PROCESSING))
    return any(_PROCESSED.search(text) for text in [*described, *tags.texts("ImageType")[2:]])


_PROCESSING = ("AcquisitionDeviceProcessingDescription", "DerivationDescription")
_PROCESSED = re.compile(
    r"suppress|enhanc|invert|companion|\bcad\b|subtract|soft.?tissue|bone.?image|line.?tube|tube.?line", re.IGNORECASE
)


def view_told(tags: DatasetAttributes) -> str | None:
    """The view as View Position or View Code Sequence has it, word for word: two obliques are two views. Descriptions and directions tell no more
    than a kind of view, and prove nothing."""
    position = (tags.text("ViewPosition") or "").upper()
    codes = [DatasetAttributes(item).text("CodeValue") or "" for item in tags.get("ViewCodeSequence") or []]
    return " ".join(part for part in (position, *codes) if part) or None


def own_time(tags: DatasetAttributes) -> str | None:
    """YYYYMMDDHHMMSS[.ffffff] of the film's own acquisition; None where it is not given to the second. The series' and the study's are those of
    all films, and the content's may be the hour of a copy."""
    day, time = tags.text("AcquisitionDate"), tags.text("AcquisitionTime")
    for when in (tags.text("AcquisitionDateTime"), f"{day}{time}" if day and time else None):
        found = _TIME.match(when or "")
        if found:
            return found[1] + (found[2] or "").rstrip("0.")
    return None


_TIME = re.compile(r"(\d{14})(\.\d+)?")


def said_of(tags: DatasetAttributes) -> str:
    """What the room calls the film, without case, and without what a repeat is called."""
    words = " ".join(tags.text(keyword) or "" for keyword in ("SeriesDescription", "ProtocolName"))
    return " ".join(re.findall(r"[^\W\d_]+", _AGAIN.sub(" ", words.casefold())))


_AGAIN = re.compile(r"\b(repeat(ed)?|rpt|wdh|wiederholung)\b")
