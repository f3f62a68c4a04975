"""Studies of documents as an archive holds them, made up: Encapsulated PDF and Secondary Capture."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.unit.lab_reports import Picture
from tests.unit.series_samples import file_of
from workflows.documents.dicom import ENCAPSULATED_PDF

STUDY, SERIES = "1.2.3", "1.2.3.4"
SCAN = "1.2.840.10008.5.1.4.1.1.7"


def _instance(sop_class: str, number: int, tags: dict[str, Any]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(entropy_srcs=["document", str(number), sop_class]),
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "Modality": "DOC",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "SpecificCharacterSet": "ISO_IR 192",
        "ConversionType": "SD",
        **tags,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def encapsulated(document: bytes, number: int = 1, **tags: Any) -> bytes:
    """A PDF as a DICOM file (PS3.3 A.45.1)."""
    values = {
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocument": document + b"\0" * (len(document) % 2),
        "EncapsulatedDocumentLength": len(document),
        "DocumentTitle": "Laboratory report",
        "BurnedInAnnotation": "YES",
    }
    return file_of(_instance(ENCAPSULATED_PDF, number, values | tags))


def scan(picture: Picture, number: int = 1, **tags: Any) -> bytes:
    """A scanned page as a DICOM file (PS3.3 A.8.1)."""
    values = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": picture.shape[0],
        "Columns": picture.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": np.ascontiguousarray(picture).tobytes() + b"\0" * (picture.size % 2),
    }
    return file_of(_instance(SCAN, number, values | tags))
