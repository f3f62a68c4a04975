"""Levels of a TIFF pyramid as DICOM instances (VL Whole Slide Microscopy Image, PS3.3 A.32.8), as a laboratory's converter would store them.

JPEG tiles are taken as they are, so no pixel changes; what is compressed in another way is decoded and stored as JPEG 2000 without loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

from schemas.errors import PermanentFailure
from services.clients.tiff_slide import WHITE, TiffSlide
from services.multipart import MAX_PART
from workflows.slides.slide import micrometres_of

TILE = 512
"""Side of the tiles that are made of what is not stored in JPEG tiles."""
SOI, EOI = 2, 2
"""Bytes of the markers that begin and end a JPEG stream."""
ADOBE_RGB = bytes.fromhex("ffee000e41646f626500640000000000")
"""APP14 with transform 0: without it three components are taken for YCbCr."""
GLASS_MM = (75.0, 25.0)


def slide_instances(file: TiffFile, common: Dataset, uids: list[str]) -> Iterator[bytes]:
    """One DICOM file for each level, finest first; `common` holds patient, study and series, `uids` one SOP Instance UID for each level."""
    slide = TiffSlide(file)
    for level, uid in enumerate(uids):
        yield _instance(slide, level, common, uid)


def _instance(slide: TiffSlide, level: int, common: Dataset, uid: str) -> bytes:
    page: Any = slide.levels[level].keyframe
    kept = page.compression == COMPRESSION.JPEG and page.is_tiled
    rows, columns = (page.tilelength, page.tilewidth) if kept else (TILE, TILE)
    frames = list(_jpeg_tiles(page) if kept else _lossless_tiles(slide, level))
    if sum(map(len, frames)) > MAX_PART // 2:
        raise PermanentFailure("slide-too-large", "a level of the slide has more than a gigabyte: give a smaller one")
    dataset = _level(slide, level, common, uid)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, len(frames)
    dataset.PhotometricInterpretation = _photometric(page) if kept else "YBR_RCT"
    dataset.LossyImageCompression = "01" if kept else "00"
    if kept:
        size = dataset.TotalPixelMatrixColumns * dataset.TotalPixelMatrixRows * 3
        dataset.LossyImageCompressionRatio = round(size / max(sum(map(len, frames)), 1), 2)
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if kept else JPEG2000Lossless
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _photometric(page: Any) -> str:
    return "RGB" if page.photometric == PHOTOMETRIC.RGB else "YBR_FULL_422"


def _jpeg_tiles(page: Any) -> Iterator[bytes]:
    """Each tile as a stream of its own, with the tables that the TIFF holds once for all (TIFF Technical Note 2)."""
    tables = page.jpegtables or b""
    rgb = page.photometric == PHOTOMETRIC.RGB
    white = np.full((page.tilelength, page.tilewidth, 3), WHITE, np.uint8)
    empty = bytes(imagecodecs.jpeg8_encode(white, colorspace="RGB", outcolorspace="RGB" if rgb else "YCBCR"))
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not count:
            yield _marked(empty, rgb)
            continue
        page.parent.filehandle.seek(offset)
        tile = page.parent.filehandle.read(count)
        yield _marked(tile[:SOI] + tables[SOI : len(tables) - EOI] + tile[SOI:], rgb)


def _marked(stream: bytes, rgb: bool) -> bytes:
    return stream[:SOI] + ADOBE_RGB + stream[SOI:] if rgb and b"Adobe" not in stream[:1024] else stream


def _lossless_tiles(slide: TiffSlide, level: int) -> Iterator[bytes]:
    width, height = slide.sizes[level]
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = np.full((TILE, TILE, 3), WHITE, np.uint8)
            across, down = min(TILE, width - x), min(TILE, height - y)
            tile[:down, :across] = slide.region(level, x, y, across, down)
            yield bytes(imagecodecs.jpeg2k_encode(tile, level=0, reversible=True, codecformat="j2k"))


def _level(slide: TiffSlide, level: int, common: Dataset, uid: str) -> Dataset:
    """Everything but the pixels and how they are compressed."""
    dataset = Dataset()
    dataset.update(common)
    (across, down), (columns, rows) = micrometres_of(slide, level), slide.sizes[level]
    dataset.SOPClassUID, dataset.SOPInstanceUID = VLWholeSlideMicroscopyImageStorage, UID(uid)
    dataset.InstanceNumber = level + 1
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"] if level == 0 else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    dataset.ImageType = kind
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = columns, rows
    dataset.ImagedVolumeWidth = round(slide.sizes[0][0] * slide.micrometres[0] / 1000, 6)
    dataset.ImagedVolumeHeight = round(slide.sizes[0][1] * slide.micrometres[1] / 1000, 6)
    dataset.ImagedVolumeDepth = 1.0
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.TotalPixelMatrixFocalPlanes = dataset.NumberOfOpticalPaths = 1
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PixelRepresentation = 3, 0, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    measures = _item(
        PixelSpacing=[f"{down / 1000:.10g}", f"{across / 1000:.10g}"], SliceThickness="1", SpacingBetweenSlices="1"
    )
    dataset.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[measures],
            WholeSlideMicroscopyImageFrameTypeSequence=[_item(FrameType=kind)],
            OpticalPathIdentificationSequence=[_item(OpticalPathIdentifier="1")],
        )
    ]
    return dataset


def slide_module(patient_id: str, study_uid: str, series_uid: str, organization_uid: str) -> Dataset:
    """What all levels of one slide share; nothing of it was in the TIFF but the pixels' size, so the rest is as little as the standard allows."""
    dataset = _item(
        SpecificCharacterSet="ISO_IR 192", PatientID=patient_id, PatientName="", PatientBirthDate="", PatientSex="",
        StudyInstanceUID=study_uid, StudyDate="", StudyTime="", StudyID="", AccessionNumber="", ReferringPhysicianName="",
        SeriesInstanceUID=series_uid, SeriesNumber=1, Modality="SM", Manufacturer="", ContentDate="", ContentTime="",
        FrameOfReferenceUID=organization_uid, PositionReferenceIndicator="SLIDE_CORNER", VolumetricProperties="VOLUME",
        BurnedInAnnotation="NO", SpecimenLabelInImage="NO", FocusMethod="AUTO", ExtendedDepthOfField="NO",
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0], ContainerIdentifier="1",
    )  # fmt: skip
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization_uid)]
    dataset.TotalPixelMatrixOriginSequence = [
        _item(XOffsetInSlideCoordinateSystem=GLASS_MM[1], YOffsetInSlideCoordinateSystem=GLASS_MM[0])
    ]
    dataset.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    dataset.SpecimenDescriptionSequence = [
        _item(SpecimenIdentifier="1", SpecimenUID=organization_uid, IssuerOfTheSpecimenIdentifierSequence=[])
    ]
    dataset.IssuerOfTheContainerIdentifierSequence = dataset.AcquisitionContextSequence = []
    dataset.OpticalPathSequence = [
        _item(
            OpticalPathIdentifier="1",
            IlluminationTypeCodeSequence=[_code("111744", "DCM", "Brightfield illumination")],
            IlluminationColorCodeSequence=[_code("414298005", "SCT", "Full Spectrum")],
        )
    ]
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
