"""Which part of the body a study shows: codes first, then words. What neither tells stays unknown; two unknown regions are never one.

`schemas.codes.body_region` knows the regions that the model is asked about; the table here adds those that are only compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from schemas.codes import SCT, body_region
from schemas.timeline import Coding

SITES = {
    "chest": ("51185008", "261179002", "39607008", "43799004"),
    "head": ("69536005", "12738006", "774007", "89546000"),
    "abdomen": ("818983003", "113345001", "10200004", "816092008", "12921003"),
    "breast": ("76752008",),
    "neck": ("45048000",),
    "knee": ("72696002", "49076000"),
    "ankle": ("344001", "70258002"),
    "wrist": ("8205005", "74670003"),
    "arm": ("40983000", "53120007"),
    "hand": ("85562004",),
    "foot": ("56459004",),
    "hip": ("29836001", "24136001"),
    "shoulder": ("16982005", "85537004"),
}
"""SNOMED CT body structures, as seen in Synthea, in DICOM PS3.16 annex L and in FHIR's examples. Read, never written."""

_WORDS = {
    "spine": ("spine", "spinal", "lumbar", "cervical spine", "sacral"),
    "neck": ("neck", "thyroid", "carotid"),
    "breast": ("breast", "mammo"),
    "shoulder": ("shoulder", "clavicle"),
    "wrist": ("wrist",),
    "hand": ("hand", "finger"),
    "elbow": ("elbow",),
    "arm": ("arm", "humerus", "forearm"),
    "hip": ("hip",),
    "knee": ("knee",),
    "ankle": ("ankle",),
    "foot": ("foot", "toe"),
    "leg": ("leg", "femur", "tibia", "thigh"),
}
_BY_SITE = {code: region for region, codes in SITES.items() for code in codes}
_SIDES: dict[str, Literal["left", "right"]] = {"7771000": "left", "24028007": "right"}
_SIDE_WORDS = {
    "left": "left|links|linke[rs]?|gauche|izquierd[ao]|sinistr[ao]",
    "right": "right|rechts|rechte[rs]?|droite?|derech[ao]|destr[ao]",
}
_SIDE = re.compile("|".join(rf"\b(?P<{side}>{words})\b" for side, words in _SIDE_WORDS.items()), re.IGNORECASE)
"""English, German, French, Spanish, Italian."""
_LIMB_OF = {
    **dict.fromkeys(("shoulder", "arm", "elbow", "wrist", "hand"), "arm"),
    **dict.fromkeys(("hip", "leg", "knee", "ankle", "foot"), "leg"),
}
_NEIGHBOURS = (
    {"chest", "abdomen"}, {"chest", "spine"}, {"chest", "breast"}, {"chest", "shoulder"}, {"chest", "neck"}, {"abdomen", "spine"},
    {"abdomen", "hip"}, {"head", "neck"}, {"neck", "spine"},
)  # fmt: skip
"""One may be seen on images of the other, or is called by the other's name (a hip as a pelvis, a spine as thoracic)."""
SIDED = frozenset({*_LIMB_OF, "breast"})
"""Regions of which images of one side show nothing of the other."""


def region_of(codings: Iterable[Coding], words: Iterable[str | None]) -> str | None:
    """The region by SNOMED CT site or LOINC procedure, else by BodyPartExamined or words, in the order in which they are given."""
    codings, said = list(codings), [word for word in words if word]
    for coding in codings:
        if coding.system == SCT and coding.code in _BY_SITE:
            return _BY_SITE[coding.code]
    for text in (None, *said, *(coding.display for coding in codings)):
        known = body_region(None, text, codings if text is None else [])
        if known != "other":
            return known
        if text and (found := _by_word(text)):
            return found
    return None


def _by_word(text: str) -> str | None:
    for region, words in _WORDS.items():
        if any(re.search(rf"\b{word}", text, re.IGNORECASE) for word in words):
            return region
    return None


def side_of(codings: Iterable[Coding], words: Iterable[str | None]) -> Literal["left", "right"] | None:
    """The side by code, else by word; None where both or none are named."""
    coded = {_SIDES[c.code] for c in codings if c.system == SCT and c.code in _SIDES}
    said = {str(found.lastgroup) for word in words if word for found in _SIDE.finditer(word)}
    for found in (coded, said):
        if len(found) == 1:
            return "left" if "left" in found else "right"
    return None


def is_elsewhere(asked: str | None, seen: str | None) -> bool:
    """Whether images of `seen` show nothing of `asked`; False where that is not sure."""
    if asked is None or seen is None or {asked, seen} in _NEIGHBOURS:
        return False
    return _LIMB_OF.get(asked, asked) != _LIMB_OF.get(seen, seen)
