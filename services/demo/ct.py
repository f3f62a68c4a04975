"""A stack of Hounsfield units as a CT series: one CT Image Storage instance a slice (DICOM PS3.3 A.3), explicit VR little endian."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from schemas.identifiers import Namespace, uid_from_uuid
from services.demo.phantom import Grid

RESCALE_INTERCEPT = -1024
IMPLEMENTATION = uid_from_uuid("6f1a0a3e-5d2b-5c11-9a53-0c6d7a1f4e10")


@dataclass(frozen=True)
class PatientTags:
    """The Patient module (PS3.3 C.7.1.1)."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True)
class StudyTags:
    """What names a study; `uids` makes every UID of it from its `label`, so that the same story always has the same UIDs."""

    label: str
    uids: Namespace
    accession: str
    started: datetime
    description: str
    series_description: str

    def uid(self, *parts: str) -> str:
        return uid_from_uuid(self.uids.key(self.label, *parts))

    @property
    def study_uid(self) -> str:
        return self.uid("study")

    @property
    def series_uid(self) -> str:
        return self.uid("series", "1")

    def instance_uid(self, number: int) -> str:
        return self.uid("instance", "1", str(number))


def ct_series(patient: PatientTags, study: StudyTags, grid: Grid, voxels: npt.NDArray[np.int16]) -> list[bytes]:
    """Part 10 files of `voxels` (HU, int16 [D, H, W], slice 0 nearest to the feet); instance 1 is the slice nearest to the head."""
    count = len(voxels)
    return [_file(_instance(patient, study, grid, voxels[k], k, count - k)) for k in reversed(range(count))]


def _instance(
    patient: PatientTags, study: StudyTags, grid: Grid, plane: npt.NDArray[np.int16], k: int, number: int
) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, study.instance_uid(number)
    _patient_and_study(ds, patient, study)
    _series_and_equipment(ds, study)
    _plane(ds, grid, k, number)
    _acquisition(ds, study, number)
    _pixels(ds, plane)
    return ds


def _patient_and_study(ds: Dataset, patient: PatientTags, study: StudyTags) -> None:
    """C.7.1.1, C.7.2.1, C.7.2.2"""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = patient.name, patient.patient_id
    ds.PatientBirthDate, ds.PatientSex = patient.birth_date, patient.sex
    ds.StudyInstanceUID, ds.StudyID = study.study_uid, study.accession[-8:]
    ds.StudyDate, ds.StudyTime = study.started.strftime("%Y%m%d"), study.started.strftime("%H%M%S")
    ds.AccessionNumber, ds.ReferringPhysicianName = study.accession, ""
    ds.StudyDescription = study.description
    ds.PatientAge = f"{study.started.year - int(patient.birth_date[:4]):03d}Y"


def _series_and_equipment(ds: Dataset, study: StudyTags) -> None:
    """C.7.3.1, C.7.4.1, C.7.5.1"""
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = "CT", study.series_uid, 1
    ds.SeriesDescription, ds.BodyPartExamined, ds.PatientPosition = study.series_description, "CHEST", "HFS"
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, ds.StudyTime
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = study.uid("frame-of-reference"), ""
    ds.Manufacturer, ds.ManufacturerModelName = "Longview", "Phantom"
    ds.InstitutionName = "Longview demonstration"


def _plane(ds: Dataset, grid: Grid, k: int, number: int) -> None:
    """C.7.6.1, C.7.6.2: position of the middle of the first pixel, in the patient's axes."""
    x0, y0 = grid.origin
    z = grid.first_z + k * grid.thickness
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [f"{value:.3f}" for value in (x0, y0, z)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = [f"{grid.pixel:.4f}"] * 2
    ds.SliceThickness, ds.SliceLocation = f"{grid.thickness:.2f}", f"{z:.3f}"


def _acquisition(ds: Dataset, study: StudyTags, number: int) -> None:
    """C.8.2.1"""
    moment = study.started + timedelta(milliseconds=200 * number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber, ds.KVP = 1, "120"
    ds.AcquisitionDate = ds.ContentDate = moment.strftime("%Y%m%d")
    ds.AcquisitionTime = ds.ContentTime = moment.strftime("%H%M%S.%f")
    ds.ConvolutionKernel, ds.XRayTubeCurrent, ds.ExposureTime = "STANDARD", 80, 500
    ds.BurnedInAnnotation = "NO"


def _pixels(ds: Dataset, plane: npt.NDArray[np.int16]) -> None:
    """C.7.6.3: 12 bits unsigned, HU = stored - 1024."""
    stored = np.clip(plane.astype(np.int32) - RESCALE_INTERCEPT, 0, 4095).astype("<u2")
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(RESCALE_INTERCEPT), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = ["-600", "40"], ["1500", "400"]
    ds.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"


def _file(ds: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(IMPLEMENTATION)
    ds.file_meta = meta
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
