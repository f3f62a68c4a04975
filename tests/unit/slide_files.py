"""Whole slides as files: pyramids of TIFF as scanners write them, and the DICOM instances that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from pydicom import Dataset, dcmread

from services.clients.tiff_slide import open_tiff
from services.demo.slide_instances import slide_instances, slide_module
from tests.unit.slide_samples import pyramid
from workflows.slides import Rgb

TILE = 256
STUDY, SERIES = "1.2.826.0.1.3680043.8.498.7", "1.2.826.0.1.3680043.8.498.7.1"


def write_tiff(
    path: Path,
    base: Rgb,
    micrometres: float | None = 0.5,
    *,
    levels: int = 4,
    compression: str | None = "jpeg",
    description: str | None = None,
) -> Path:
    """A pyramid of reduced pages (subfile type 1), tiled, with its resolution in centimetres."""
    resolution: dict[str, Any] = {}
    if micrometres is not None:
        resolution = {"resolution": (10_000 / micrometres, 10_000 / micrometres), "resolutionunit": "CENTIMETER"}
    options: dict[str, Any] = {"photometric": "rgb", "tile": (TILE, TILE), "metadata": None, **resolution}
    if compression == "jpeg":
        options |= {"compression": "jpeg", "compressionargs": {"level": 90}, "subsampling": (2, 1)}
    else:
        options |= {"compression": compression}
    with tifffile.TiffWriter(path) as file:
        for number, picture in enumerate(pyramid(base, levels)):
            more = {"description": description} if description and number == 0 else {}
            file.write(picture, subfiletype=int(number > 0), **options, **more)
    return path


def write_rgb_jpeg_tiff(path: Path, base: Rgb, micrometres: float = 0.5) -> Path:
    """As some scanners do it: JPEG of red, green and blue, its tables once for all tiles."""
    rows, columns = -(-base.shape[0] // TILE), -(-base.shape[1] // TILE)
    padded = np.pad(base, ((0, rows * TILE - base.shape[0]), (0, columns * TILE - base.shape[1]), (0, 0)))
    tiles, tables = [], b""
    for r in range(rows):
        for c in range(columns):
            tile = padded[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE]
            whole = imagecodecs.jpeg8_encode(tile, level=90, colorspace="RGB", outcolorspace="RGB", optimize=False)
            stream, tables = without_tables(bytes(whole))
            tiles.append(stream)
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter(tiles), shape=base.shape, dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="jpeg",
            jpegtables=tables, metadata=None, resolution=(10_000 / micrometres, 10_000 / micrometres), resolutionunit="CENTIMETER",
        )  # fmt: skip
    return path


def without_tables(stream: bytes) -> tuple[bytes, bytes]:
    """A JPEG stream without its markers DQT and DHT and without any APPn, and the tables as a stream of their own."""
    kept, tables, at = stream[:2], b"", 2
    while stream[at + 1] != 0xDA:
        length = int.from_bytes(stream[at + 2 : at + 4], "big") + 2
        segment = stream[at : at + length]
        if stream[at + 1] in (0xDB, 0xC4):
            tables += segment
        elif not 0xE0 <= stream[at + 1] <= 0xEF:
            kept += segment
        at += length
    return kept + stream[at:], b"\xff\xd8" + tables + b"\xff\xd9"


def dicom_of(
    path: Path,
    change: Callable[[Dataset, int], None] | None = None,
    *,
    study: str = STUDY,
    series: str = SERIES,
    patient: str = "SLIDE-1",
) -> list[bytes]:
    """The instances of the slide in `path`, numbered from 1 under their series; `change` is given each before it is written."""
    common = slide_module(patient, study, series, f"{study}.9")
    with open_tiff(path) as file:
        count = len(file.series[0].levels)
        parts = list(slide_instances(file, common, [f"{series}.{n + 1}" for n in range(count)]))
    return parts if change is None else [changed(part, change, n) for n, part in enumerate(parts)]


def changed(part: bytes, change: Callable[[Dataset, int], None], level: int = 0) -> bytes:
    dataset = dcmread(BytesIO(part))
    change(dataset, level)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def label_of(part: bytes) -> bytes:
    """The picture of the glass's label, which shows a name; made of a level."""

    def change(dataset: Dataset, level: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.99"
        dataset.LabelText = "Geheim, Anna"
        dataset.SpecimenLabelInImage = "YES"

    return changed(part, change)
