"""Radiographs as rooms write them, made up: every tag that what is shown rests on can be chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

SOP_CLASSES = {"DX": DigitalXRayImageStorageForPresentation, "CR": ComputedRadiographyImageStorage}


def film(pixels: npt.NDArray[Any], *, modality: str = "DX", number: int = 1, **tags: Any) -> Dataset:
    """One radiograph of a chest, PA, patient's left to the right of the picture; `None` leaves a tag out."""
    bits = pixels.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": SOP_CLASSES.get(modality, SecondaryCaptureImageStorage),
        "SOPInstanceUID": generate_uid(entropy_srcs=["film", str(number), str(tags.get("SeriesInstanceUID"))]),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "Modality": modality,
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "ImageType": ["DERIVED", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "StudyDate": "20260310",
        "AcquisitionDate": "20260310",
        "AcquisitionTime": f"0930{number:02d}",
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "PlanarConfiguration": None if pixels.ndim == 2 else 0,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagerPixelSpacing": [0.2, 0.2],
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def table(entries: list[int], first: int, bits: int, *, signed: bool = False, **more: Any) -> Dataset:
    """A look-up table of 16-bit entries."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % (1 << 16), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def ramp(rows: int = 16, columns: int = 24, top: int = 4095, dtype: Any = np.uint16) -> npt.NDArray[Any]:
    """Every grey from 0 to `top`, more or less."""
    return np.linspace(0, top, rows * columns).round().astype(dtype).reshape(rows, columns)
