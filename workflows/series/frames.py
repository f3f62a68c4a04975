"""The stored values of an instance's frames, as arrays: a view of the file where the transfer syntax is native, else decoded (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from schemas.errors import PermanentFailure
from workflows.series.attributes import DatasetAttributes, ScannedAttributes
from workflows.series.codecs import decoder_of
from workflows.series.elements import (
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    ITEM,
    NATIVE,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    CutShort,
    Unusual,
    scan,
)
from workflows.series.plane import Instance, PixelModule

StoredValues = npt.NDArray[np.int16 | np.uint16 | np.int8 | np.uint8]


def frames_of(instance: Instance) -> Iterator[StoredValues]:
    """Each frame's stored values [rows, columns] in the order of the file, with the instance's own dtype.

    `PermanentFailure`: `pixels-missing`, `pixels-cut`, `pixels-codec` (a syntax that cannot be decoded here), `pixels-decode` (broken).
    """
    attributes = instance.attributes
    if isinstance(attributes, ScannedAttributes):
        syntax, data, big_endian = _scanned_pixels(attributes)
    else:
        syntax, data, big_endian = _dataset_pixels(attributes)
    if syntax in NATIVE:
        return _native(instance.pixels, data, big_endian)
    return _encapsulated(instance, syntax, data)


def _scanned_pixels(attributes: ScannedAttributes) -> tuple[str, memoryview, bool]:
    elements = attributes.elements
    if elements.pixels is None:
        raise PermanentFailure("pixels-missing", "an image of the series has no pixel data")
    start, length = elements.pixels
    if (length == UNDEFINED) == (elements.transfer_syntax in NATIVE):
        raise PermanentFailure("pixels-decode", "pixel data is not encoded as its transfer syntax says")
    end = len(elements.data) if length == UNDEFINED else start + length
    if end > len(elements.data):
        raise _cut()
    return elements.transfer_syntax, elements.data[start:end], elements.big_endian


def _dataset_pixels(attributes: DatasetAttributes) -> tuple[str, memoryview, bool]:
    dataset = attributes.dataset
    data = attributes.get("PixelData")
    if not isinstance(data, bytes) or not data:
        raise PermanentFailure("pixels-missing", "an image of the series has no pixel data")
    syntax = syntax_of(dataset)
    return syntax, memoryview(data), syntax == EXPLICIT_BIG


def syntax_of(dataset: Dataset) -> str:
    """A data set without file meta information can only be told to be native: its pixel data would be of undefined length else."""
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    if syntax is not None:
        return str(syntax)
    return EXPLICIT_BIG if dataset.original_encoding[1] is False else IMPLICIT_LITTLE


def _cut() -> PermanentFailure:
    return PermanentFailure("pixels-cut", "the pixel data of an image ends early: send the series again")


def _native(pixels: PixelModule, data: memoryview, big_endian: bool) -> Iterator[StoredValues]:
    kind = "i" if pixels.signed else "u"
    dtype = np.dtype(f"{'>' if big_endian else '<'}{kind}{pixels.bits_allocated // 8}")
    count = pixels.rows * pixels.columns
    size = count * dtype.itemsize
    if len(data) < size * pixels.frames:
        raise _cut()
    if big_endian and dtype.itemsize == 1:
        data = _bytes_of_words(data)
    for frame in range(pixels.frames):
        values: StoredValues = np.frombuffer(data, dtype, count, frame * size)
        yield values.reshape(pixels.rows, pixels.columns)


def _bytes_of_words(data: memoryview) -> memoryview:
    """Pixels of 8 bits as OW in big endian: the bytes of every word change places (PS3.5 D.3)."""
    if len(data) % 2:
        return data
    return memoryview(np.frombuffer(data, "<u2").byteswap().tobytes())


def _encapsulated(instance: Instance, syntax: str, data: memoryview) -> Iterator[StoredValues]:
    if isinstance(instance.attributes, ScannedAttributes):
        _check_fragments(data)
    pixels = instance.pixels
    decoder = decoder_of(syntax)
    if decoder is None:
        raise no_codec()
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": pixels.frames,
        "samples_per_pixel": 1,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.signed),
        "photometric_interpretation": "MONOCHROME1" if pixels.inverted else "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    encoded = data.tobytes()
    for index in range(pixels.frames):
        try:
            values, _ = decoder.as_array(encoded, index=index, raw=True, **options)
        except Exception as error:  # each codec has its own classes
            raise PermanentFailure("pixels-decode", "the compressed pixel data of an image is broken") from error
        yield values


def no_codec() -> PermanentFailure:
    return PermanentFailure(
        "pixels-codec", "the series is compressed in a way that cannot be decoded here: send it uncompressed"
    )


def is_decodable(part: Buffer) -> bool:
    """Whether the pixels of a DICOM file are in a transfer syntax that can be decoded here; what cannot be told is left to `read_series`."""
    try:
        syntax = scan(part, (), last=0).transfer_syntax
    except (Unusual, CutShort):
        return True
    return syntax in NATIVE or decoder_of(syntax) is not None


def _check_fragments(data: memoryview) -> None:
    """Every fragment lies in the file and the sequence has its end (PS3.5 A.4): decoders take a cut one for a short image."""
    pos = 0
    while pos + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, pos)
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise PermanentFailure("pixels-decode", "the compressed pixel data of an image is broken")
        pos += 8 + length
    raise _cut()
