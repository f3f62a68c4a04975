"""What a slide's coded tags say of the specimen, in our own words: free text of the laboratory never reaches the model.

The codes are those of DICOM's context groups (PS3.16: CID 8134 Anatomic Structures, CID 8109 Specimen Collection Procedures) as pydicom carries them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom import Dataset
from pydicom.dataelem import DataElement

SCT = "SCT"
ANATOMY = {
    "71854001": "colon",
    "34402009": "rectum",
    "69695003": "stomach",
    "38848004": "duodenum",
    "30315005": "small intestine",
    "32849002": "oesophagus",
    "10200004": "liver",
    "15776009": "pancreas",
    "39607008": "lung",
    "76752008": "breast",
    "41216001": "prostate",
    "89837001": "bladder",
    "64033007": "kidney",
    "39937001": "skin",
    "59441001": "lymph node",
    "69748006": "thyroid",
    "12738006": "brain",
    "35039007": "uterus",
    "71252005": "cervix",
    "15497006": "ovary",
    "40689003": "testis",
    "87784001": "soft tissue",
    "272673000": "bone",
}
COLLECTION = {"86273004": "biopsy", "65801008": "excision"}
SPECIMEN_COLLECTION = "17636008"
"""The name of the step's value that says how the specimen was taken (TID 8002)."""

TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations that people write as they like (PS3.5 section 6.2)."""


def specimen_words(dataset: Dataset) -> str | None:
    """Anatomy and how it was taken, as "colon, biopsy"; None where no code is known here (PS3.3 C.7.6.22)."""
    anatomy: set[str] = set()
    collection: set[str] = set()
    for specimen in dataset.get("SpecimenDescriptionSequence") or []:
        anatomy |= set(_known(ANATOMY, specimen.get("PrimaryAnatomicStructureSequence")))
        for step in specimen.get("SpecimenPreparationSequence") or []:
            for item in step.get("SpecimenPreparationStepContentItemSequence") or []:
                if list(_known({SPECIMEN_COLLECTION: ""}, item.get("ConceptNameCodeSequence"))):
                    collection |= set(_known(COLLECTION, item.get("ConceptCodeSequence")))
    return ", ".join(" and ".join(sorted(words)) for words in (anatomy, collection) if words) or None


def _known(table: dict[str, str], codes: Iterable[Dataset] | None) -> Iterator[str]:
    for code in codes or []:
        if code.get("CodingSchemeDesignator") == SCT and str(code.get("CodeValue")) in table:
            yield table[str(code.CodeValue)]


def slide_texts(datasets: Iterable[Dataset]) -> set[tuple[str, str]]:
    """(keyword, value) of every text of the instances, in sequences too: a label's text, descriptions of specimens."""
    elements: Iterator[DataElement] = (element for dataset in datasets for element in dataset.iterall())
    return {(e.keyword, str(e.value)) for e in elements if e.VR in TEXTS and e.keyword and e.value}
