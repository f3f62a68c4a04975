"""Folders of DICOM files as a hospital would hand them over: chest films that are projections of the phantom, and an MR of several sequences."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from services.demo.phantom import Chest, Grid, Sphere, make_vessels, scan
from services.demo.story import NODULE_AT
from tests.unit.picture_samples import film, table
from tests.unit.series_samples import enhanced_mr, file_of, stack

GRID = Grid(slices=100, thickness=2.0, first_z=-98.0, rows=120, columns=180, pixel=2.0)
VESSELS = 7
"""A tenth of the phantom's: on a film they are not told apart, and painting them takes most of the time."""
ENLARGED = 4
"""Film pixels for each of the phantom's: 400 x 720 of 0.5 mm."""
NODULE_BOX = (416, 252, 456, 292)
"""Where a trained model would see the nodule, in thousandths of the padded square."""


@cache
def projections(diameter: float) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """PA and lateral views of 12 bits, bright where the body is dense: line integrals of the phantom's density, head up."""
    nodule = Sphere(*NODULE_AT, diameter)
    volume = scan(Chest(make_vessels(7, nodule)[:VESSELS], nodule), GRID, 7)
    density = np.clip(volume.astype(np.float32) + 1000, 0, 2500)[::-1]
    return _film(density.sum(axis=1)), _film(density.sum(axis=2))


def _film(integral: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Enlarged as a detector would see it: pixels repeated as blocks have edges as sharp as print, and are searched for text."""
    grey = (integral - integral.min()) / np.ptp(integral) * 4000
    for axis in (0, 1):
        grey = _enlarged(grey, axis)
    return grey.round().astype(np.uint16)


def _enlarged(grey: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    count = grey.shape[axis]
    at = (np.arange(count * ENLARGED) + 0.5) / ENLARGED - 0.5
    return np.apply_along_axis(lambda line: np.interp(at, np.arange(count), line), axis, grey).astype(np.float32)


def film_study(folder: Path, patient: str) -> None:
    """A study of two views and what is beside them: raw detector values, the lateral view in another series; a bedside film half a year before.

    The PA view is MONOCHROME1 in lossless JPEG with a VOI table, the lateral view in high-throughput JPEG 2000, the prior a plain CR with a window.
    """
    now, before = uid.generate_uid(), uid.generate_uid()
    pa, lateral = projections(14.0)
    older, _ = projections(9.0)
    twelve = {"BitsStored": 12, "HighBit": 11, "PatientID": patient, "ImagerPixelSpacing": [0.5, 0.5]}
    study = twelve | {"StudyInstanceUID": now, "StudyDescription": "XR CHEST 2 VIEWS", "AccessionNumber": f"{patient}A"}
    curve = table(list(range(0, 65536, 16)), 0, 16)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE", "VOILUTSequence": [curve]}
    first, second, third = (uid.generate_uid() for _ in range(3))
    side = study | {
        "ViewPosition": "LL",
        "PatientOrientation": ["A", "F"],
        "SeriesInstanceUID": second,
        "SeriesNumber": 2,
    }
    bedside = twelve | {
        "StudyInstanceUID": before, "SeriesInstanceUID": third, "StudyDate": "20250905", "AcquisitionDate": "20250905", "ViewPosition": "AP",
        "StudyDescription": "XR CHEST PORTABLE", "SeriesDescription": "CHEST PORTABLE", "WindowCenter": 2000, "WindowWidth": 4000,
    }  # fmt: skip
    shots: list[tuple[Dataset, str | None]] = [
        (film(4095 - pa, number=1, SeriesInstanceUID=first, **turned, **study), uid.JPEGLosslessSV1),
        (film(pa, number=2, SeriesInstanceUID=first, PresentationIntentType="FOR PROCESSING", **study), None),
        (film(lateral, number=1, **side), uid.HTJ2KLossless),
        (film(older, modality="CR", number=1, **bedside), None),
    ]
    for number, (dataset, syntax) in enumerate(shots):
        dataset.SOPInstanceUID = uid.generate_uid()
        _write(folder, f"film{number}.dcm", _encoded(dataset, syntax))


def mr_study(folder: Path, patient: str) -> None:
    """A head in three contrasts: T1 and T2 slice by slice, FLAIR as one enhanced object in JPEG 2000; a localizer before them."""
    study = {
        "StudyInstanceUID": uid.generate_uid(), "FrameOfReferenceUID": uid.generate_uid(), "PatientID": patient, "BodyPartExamined": "BRAIN",
        "StudyDescription": "MR BRAIN", "StudyDate": "20260310", "modality": "MR", "BitsStored": 12, "HighBit": 11,
    }  # fmt: skip
    for number, (text, slices, brightness) in enumerate(
        [("3-plane LOC", 4, 500), ("AX T1", 40, 900), ("AX T2", 40, 1800)], start=1
    ):
        tags = study | {"SeriesInstanceUID": uid.generate_uid(), "SeriesDescription": text, "SeriesNumber": number}
        for k, dataset in enumerate(stack(head(slices, brightness), **tags)):
            dataset.SOPInstanceUID = uid.generate_uid()
            _write(folder, f"{number}-{k}.dcm", file_of(dataset))
    voxels = head(30, 1200)
    enhanced = enhanced_mr(voxels)
    tags = study | {"SeriesInstanceUID": uid.generate_uid(), "SeriesDescription": "AX FLAIR", "SeriesNumber": 4}
    enhanced.update({keyword: value for keyword, value in tags.items() if keyword != "modality"})
    enhanced.SOPInstanceUID = uid.generate_uid()
    frames = [imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True) for frame in voxels]
    _write(folder, "flair.dcm", _compressed(enhanced, uid.JPEG2000Lossless, frames))


def head(slices: int, brightness: int) -> npt.NDArray[np.uint16]:
    """An ellipsoid with a bright spot, over noise."""
    z, y, x = np.mgrid[-1 : 1 : slices * 1j, -1:1:64j, -1:1:64j]
    inside = (x / 0.8) ** 2 + (y / 0.9) ** 2 + z**2 < 1
    spot = (x - 0.3) ** 2 + (y + 0.2) ** 2 + z**2 < 0.05
    grain = np.random.default_rng(slices).integers(0, 40, inside.shape)
    return (inside * brightness + spot * brightness // 2 + grain).astype(np.uint16)


def patient_file(folder: Path, patient: str) -> Path:
    path = folder / "patient.json"
    name = [{"family": "Projection", "given": ["Rita"]}]
    path.write_text(json.dumps({"resourceType": "Patient", "id": f"pat-{patient.lower()}", "name": name}))
    return path


def _encoded(dataset: Dataset, syntax: str | None) -> bytes:
    if syntax is None:
        return file_of(dataset)
    pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    encode: Any = (
        imagecodecs.htj2k_encode
        if syntax == uid.HTJ2KLossless
        else lambda p: imagecodecs.jpeg8_encode(p, lossless=True, predictor=1, bitspersample=12)
    )
    return _compressed(dataset, syntax, [encode(pixels)])


def _compressed(dataset: Dataset, syntax: str, frames: list[bytes]) -> bytes:
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_of(dataset, uid.UID(syntax))


def _write(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
