"""A CT series of 300 x 512 x 512 on disk -> a volume in Hounsfield units: ours beside dicomsdl and MONAI, in one run, with equal voxels.

Each peer is called as its users call it: dicomsdl as a loop over files (open, pixel data, intercept, sort by position, stack), MONAI as `LoadImage`
with its `PydicomReader` on the folder. Ours checks the geometry, applies each slice's own slope and intercept and masks unused bits; the peers
do not. All are single-threaded. The files are in the page cache for all, and runs are interleaved, so that a busy machine is busy for everyone.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from schemas.errors import PartUnavailable
from services.archive.files import read_series_files
from services.bench import rounds

SLICES, ROWS, COLUMNS = 300, 512, 512
ROUNDS = 3
FAST_RUNS = 3
"""Of the fast readers in each round: they take a hundredth of MONAI's time and would be lost in the noise."""

SEED = 4
INTERCEPT = -1024

Voxels = npt.NDArray[Any]
Reader = Callable[[Path], Voxels]


def run(slices: int = SLICES, repeats: int = ROUNDS) -> dict[str, Any]:
    """`ratios`: our time to dicomsdl's, and MONAI's to ours; `milliseconds_per_slice` of each; `PartUnavailable` where a peer is not installed."""
    readers = {"dicomsdl": _dicomsdl(), "ours": read_ours, "monai": _monai()}
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as folder:
        write_series(Path(folder), slices)
        _check_equal(readers, Path(folder))
        seconds = _measure(readers, Path(folder), rounds(repeats))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "ratios": {
            "to_dicomsdl": round(medians["ours"] / medians["dicomsdl"], 3),
            "monai_to_ours": round(medians["monai"] / medians["ours"], 1),
        },
        "milliseconds_per_slice": {name: round(median / slices * 1000, 3) for name, median in medians.items()},
    }


def _measure(readers: dict[str, Reader], folder: Path, repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name in (*("ours", "dicomsdl") * FAST_RUNS, "monai"):
            start = time.perf_counter()
            voxels = readers[name](folder)
            seconds[name].append(time.perf_counter() - start)
            del voxels  # giving the memory back is nobody's reading time
    return seconds


def _check_equal(readers: dict[str, Reader], folder: Path) -> None:
    """A fast wrong volume wins nothing; this is the warm-up too."""
    ours = readers["ours"](folder)
    for name in ("dicomsdl", "monai"):
        if not np.array_equal(readers[name](folder), ours):
            raise PartUnavailable(
                "bench-unequal", f"{name} and ours read different voxels: the benchmark would compare different work."
            )


def read_ours(folder: Path) -> Voxels:
    _, volume = read_series_files(sorted(folder.iterdir()))
    return volume.voxels


def _dicomsdl() -> Reader:
    try:
        import dicomsdl
    except ImportError as error:
        raise _missing("dicomsdl") from error

    def read(folder: Path) -> Voxels:
        slices = []
        for path in sorted(folder.iterdir()):
            file = dicomsdl.open(str(path))
            pixels = file.pixelData(storedvalue=True) + np.int16(file.RescaleIntercept)
            slices.append((file.ImagePositionPatient[2], pixels))
        slices.sort(key=lambda each: each[0])
        return np.stack([pixels for _, pixels in slices])

    return read


def _monai() -> Reader:
    logging.getLogger("monai").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for plugins for GPUs, and says so
            from monai.data import PydicomReader
            from monai.transforms import LoadImage

            load = LoadImage(reader=PydicomReader(), image_only=True)
    except ImportError as error:
        raise _missing("monai") from error
    return lambda folder: np.asarray(load(str(folder))).transpose(2, 1, 0)  # MONAI: [W, H, D]


def _missing(package: str) -> PartUnavailable:
    return PartUnavailable(
        "bench-peer", f"the benchmark compares with {package}, which is not installed: install the 'bench' group."
    )


def write_series(folder: Path, slices: int) -> None:
    """A CT series as a scanner writes it: 12 of 16 bits, explicit VR little endian, noise for tissue, about 40 elements a header."""
    rng = np.random.default_rng(SEED)
    uids = [generate_uid(entropy_srcs=["longview-bench", name]) for name in ("study", "series", "frame")]
    for k in range(slices):
        pixels = rng.integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)
        file = BytesIO()
        _instance(uids, k, pixels).save_as(file, enforce_file_format=True)
        (folder / f"{k:04d}.dcm").write_bytes(file.getvalue())


def _instance(uids: Sequence[str], k: int, pixels: npt.NDArray[np.uint16]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uids
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["longview-bench", str(k)])
    dataset.SOPClassUID = CTImageStorage
    for keyword, value in {**DESCRIPTION, **IMAGE}.items():
        setattr(dataset, keyword, value)
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = [-180.0, -180.0, -300.0 + k]
    dataset.SliceLocation = -300.0 + k
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    return dataset


DESCRIPTION: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "Modality": "CT",
    "Manufacturer": "Longview",
    "StudyDescription": "benchmark",
    "SeriesDescription": "noise 1.0",
    "PatientName": "Bench^Mark",
    "PatientID": "BENCH",
    "BodyPartExamined": "CHEST",
    "SliceThickness": 1.0,
    "KVP": 120,
    "ConvolutionKernel": "B",
    "PatientPosition": "HFS",
    "SeriesNumber": 2,
}
IMAGE: dict[str, Any] = {
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": [0.7, 0.7],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": 40,
    "WindowWidth": 400,
    "RescaleIntercept": INTERCEPT,
    "RescaleSlope": 1,
    "RescaleType": "HU",
}
