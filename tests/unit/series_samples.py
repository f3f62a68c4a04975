"""Series as scanners write them, made up: every tag that the geometry rests on can be chosen."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": UID("1.2.840.10008.5.1.4.1.1.128")}


def normal_of(orientation: Any) -> npt.NDArray[np.float64]:
    return np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))


def instance(pixels: npt.NDArray[Any], position: Any, *, modality: str = "CT", number: int = 1, **tags: Any) -> Dataset:
    """One image; `pixels` are the stored values, their dtype gives bits and sign."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SOPClassUID": SOP_CLASSES[modality],
        "SOPInstanceUID": generate_uid(entropy_srcs=["instance", str(number)]),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "Modality": modality,
        "SeriesNumber": 2,
        "InstanceNumber": number,
        "ImagePositionPatient": [float(x) for x in position],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.75],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024 if modality == "CT" else 0,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def stack(
    voxels: npt.NDArray[Any], *, gap: float = 5.0, origin: Any = (-10.0, -20.0, 30.0), **tags: Any
) -> list[Dataset]:
    """A series whose instance k lies `k * gap` mm along the normal from `origin`."""
    normal = normal_of(tags.get("ImageOrientationPatient", AXIAL))
    return [
        instance(pixels, np.array(origin) + k * gap * normal, number=k + 1, **tags) for k, pixels in enumerate(voxels)
    ]


def noise(
    slices: int = 4, rows: int = 6, columns: int = 5, top: int = 4096, dtype: Any = np.uint16
) -> npt.NDArray[Any]:
    return np.random.default_rng(slices * rows * columns).integers(0, top, (slices, rows, columns)).astype(dtype)


def file_of(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The DICOM file (PS3.10) of an instance in a native transfer syntax."""
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def enhanced_ct(voxels: npt.NDArray[Any], order: list[int], *, gap: float = 3.0) -> Dataset:
    """An enhanced multi-frame CT (PS3.3 A.38) whose frame i shows slice `order[i]` of `voxels`; each slice has a slope of its own."""
    dataset = instance(voxels[0], (0, 0, 0), number=1)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(dataset, keyword)
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(order)
    dataset.PixelData = np.ascontiguousarray(voxels[order]).tobytes()
    dataset.SharedFunctionalGroupsSequence = Sequence(
        [
            _item(
                PlaneOrientationSequence=_item(ImageOrientationPatient=list(AXIAL)),
                PixelMeasuresSequence=_item(PixelSpacing=[0.5, 0.75], SliceThickness=gap),
            )
        ]
    )
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_frame(k, i, gap) for i, k in enumerate(order)])
    dataset.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID="1.2.3.9")])
    dataset.DimensionIndexSequence = Sequence(
        [_item(DimensionOrganizationUID="1.2.3.9", DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111)]
    )
    return dataset


def enhanced_mr(voxels: npt.NDArray[Any], *, gap: float = 3.0) -> Dataset:
    """An enhanced multi-frame MR (PS3.3 A.36): slice k is frame k, one slope for all."""
    dataset = enhanced_ct(voxels, list(range(len(voxels))), gap=gap)
    dataset.Modality, dataset.SOPClassUID = "MR", EnhancedMRImageStorage
    for item in dataset.PerFrameFunctionalGroupsSequence:
        item.PixelValueTransformationSequence[0].update({"RescaleSlope": 2, "RescaleIntercept": 0, "RescaleType": "US"})
    return dataset


def _frame(k: int, number: int, gap: float) -> Dataset:
    return _item(
        PlanePositionSequence=_item(ImagePositionPatient=[-10.0, -20.0, 30.0 + k * gap]),
        PixelValueTransformationSequence=_item(RescaleSlope=k + 1, RescaleIntercept=-1000 + k, RescaleType="HU"),
        FrameVOILUTSequence=_item(WindowCenter=40, WindowWidth=80),
        FrameContentSequence=_item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[number + 1]),
    )


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return item
