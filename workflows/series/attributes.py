"""One way to ask for the attributes of an instance, whether they were scanned from bytes or read by pydicom."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal, Protocol

from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError

from schemas.errors import PermanentFailure
from workflows.series.elements import PIXEL_DATA, Buffer, CutShort, Elements, Unusual, scan

PLAIN = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription",
    "PatientID", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence", "FloatPixelData", "SliceThickness",
    "AcquisitionNumber", "Laterality", "ImageLaterality", "ConvolutionKernel", "DiffusionBValue", "EchoTime", "TemporalPositionIdentifier",
    "DoubleFloatPixelData", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""What a stack needs to know of an instance, by keyword (PS3.6)."""

BINARY = frozenset({
    "SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
})  # fmt: skip
"""Of VR US (or SS: the caller knows the sign)."""

DOUBLES = frozenset({"DiffusionBValue"})
"""Of VR FD."""

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return int(tag)


TAGS = {keyword: _tag(keyword) for keyword in PLAIN}
WANTED = frozenset(TAGS.values())
IDENTITY = frozenset(
    TAGS[k] for k in ("SpecificCharacterSet", "SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
)


class Attributes(Protocol):
    """Attributes by keyword. An absent or empty one is `None` or an empty tuple."""

    def __contains__(self, keyword: str) -> bool: ...
    def text(self, keyword: str) -> str | None: ...
    def texts(self, keyword: str) -> tuple[str, ...]: ...
    def numbers(self, keyword: str) -> tuple[float, ...]:
        """`PermanentFailure` (`dicom-value`, which names the attribute) if a value is not a finite number."""
        ...

    def hint(self, keyword: str) -> float | None:
        """The first value of an attribute that only helps to display or describe: a broken one is as good as none."""
        ...


class ScannedAttributes:
    """Over the raw values that `scan` found."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self._values = elements.values
        self._order = ">" if elements.big_endian else "<"

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword] in self._values

    def text(self, keyword: str) -> str | None:
        raw = self._values.get(TAGS[keyword])
        if raw is None:
            return None
        if raw.isascii() and b"\x1b" not in raw:
            return next(iter(_ascii(raw)), None) or None
        charsets = convert_encodings(list(self.texts("SpecificCharacterSet")) or None)
        return decode_bytes(raw, charsets, {ord("\\")}).split("\\")[0].strip(" \0") or None

    def texts(self, keyword: str) -> tuple[str, ...]:
        return _ascii(self._values.get(TAGS[keyword], b""))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        raw = self._values.get(TAGS[keyword], b"")
        if keyword in DOUBLES:
            return tuple(
                finite(value, keyword)
                for value in struct.unpack(f"{self._order}{len(raw) // 8}d", raw[: len(raw) // 8 * 8])
            )
        return _binary(raw, self._order) if keyword in BINARY else _decimals(raw, keyword)

    def hint(self, keyword: str) -> float | None:
        if keyword in BINARY or keyword in DOUBLES:
            return next(iter(hinted(self, keyword)), None)
        return _first_number(self.texts(keyword))


@lru_cache(maxsize=4096)
def _ascii(raw: bytes) -> tuple[str, ...]:
    text = raw.decode("ascii", "replace").strip(" \0")
    return tuple(value.strip(" \0") for value in text.split("\\")) if text else ()


@lru_cache(maxsize=4096)
def _decimals(raw: bytes, keyword: str) -> tuple[float, ...]:
    return tuple(finite(value, keyword) for value in _ascii(raw))


def _first_number(texts: tuple[str, ...]) -> float | None:
    try:
        return finite(texts[0], "") if texts else None
    except PermanentFailure:
        return None


@lru_cache(maxsize=256)
def _binary(raw: bytes, order: str) -> tuple[float, ...]:
    return tuple(float(value) for value in struct.unpack(f"{order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2]))


class DatasetAttributes:
    """Over a pydicom data set, or an item of one of its sequences."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.dataset

    def get(self, keyword: str) -> Any:
        """The value as pydicom has it; `PermanentFailure` (`dicom-value`) if it cannot be read: pydicom converts at the first access."""
        try:
            return self.dataset.get(keyword)
        except Exception as error:  # pydicom raises nearly any class on broken input
            raise PermanentFailure("dicom-value", f"{keyword} of an image cannot be read") from error

    def _values(self, keyword: str) -> list[Any]:
        value = self.get(keyword)
        if value is None or isinstance(value, str):
            return [value] if value else []
        return list(value) if hasattr(value, "__iter__") else [value]

    def text(self, keyword: str) -> str | None:
        return next(iter(self.texts(keyword)), None) or None

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(value).strip(" \0") for value in self._values(keyword))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        return tuple(finite(value, keyword) for value in self._values(keyword) if value is not None)

    def hint(self, keyword: str) -> float | None:
        try:
            return _first_number(self.texts(keyword))
        except PermanentFailure:
            return None


def hinted(tags: Attributes, keyword: str) -> tuple[float, ...]:
    """The numbers of an attribute that only helps, to show an image or to rank a series; empty where any of them is none (`NaN`, `40,5`, `40\\`)."""
    try:
        return tags.numbers(keyword)
    except PermanentFailure:
        return ()


def laterality_of(tags: Attributes) -> str | None:
    """As it was written: Image Laterality, else the series' Laterality (PS3.3 C.8.11.7, C.7.3.1)."""
    return tags.text("ImageLaterality") or tags.text("Laterality")


def side_told(tags: Attributes) -> Literal["left", "right"] | None:
    """The side of the body that the image shows; None for both, and where nothing tells it."""
    written = laterality_of(tags)
    return "left" if written == "L" else "right" if written == "R" else None


def finite(value: Any, keyword: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PermanentFailure("dicom-value", f"{keyword} of an image is not a number")
    return number


def attributes_of(part: Buffer | Dataset) -> ScannedAttributes | DatasetAttributes:
    """The attributes of one instance: scanned where it is of the plain kind, by pydicom where it is unusual or has functional groups.

    `PermanentFailure`: `dicom-cut` (the file ends early), `dicom-unreadable` (it is not DICOM).
    """
    if isinstance(part, Dataset):
        return DatasetAttributes(part)
    try:
        scanned = ScannedAttributes(scan(part, WANTED))
    except CutShort as error:
        raise PermanentFailure("dicom-cut", "a file of the series ends early: send the series again") from error
    except Unusual:
        return DatasetAttributes(read_dataset(part))
    multi = scanned.text("NumberOfFrames") not in (None, "1")
    if multi or any(group in scanned for group in FUNCTIONAL_GROUPS):
        return DatasetAttributes(read_dataset(part))
    return scanned


def read_dataset(part: Buffer) -> Dataset:
    """The whole data set by pydicom; files without preamble are tried too."""
    data = bytes(part)
    has_preamble = data[128:132] == b"DICM"
    try:
        dataset = dcmread(BytesIO(data), force=not has_preamble)
        if "SOPInstanceUID" not in dataset:
            raise InvalidDicomError
    except Exception as error:  # pydicom raises nearly any class on broken input
        raise PermanentFailure("dicom-unreadable", "an instance of the series is not readable DICOM") from error
    return dataset


def identity_of(part: Buffer) -> tuple[str | None, str | None, str | None, str | None]:
    """PatientID, StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID of a DICOM file; reads its first elements only."""
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    found: Attributes
    try:
        found = ScannedAttributes(scan(part, IDENTITY, last=TAGS["SeriesInstanceUID"]))
    except (Unusual, CutShort):
        found = DatasetAttributes(read_dataset(part))
    patient, study, series, sop = (found.text(keyword) for keyword in keywords)
    return patient, study, series, sop


__all__ = [
    "PIXEL_DATA",
    "Attributes",
    "DatasetAttributes",
    "ScannedAttributes",
    "attributes_of",
    "finite",
    "hinted",
    "identity_of",
    "laterality_of",
    "read_dataset",
    "side_told",
]
