"""WADO-RS (PS3.18 section 10.4): instances, metadata, frames and bulk data of stored files."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import orjson
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames, parse_basic_offsets, parse_fragments
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from schemas.telemetry.fields import fields
from services.archive.index import Json, Stored

log = logging.getLogger("longview.archive")

ANY = "*"
PIXEL_DATA = "7FE00010"
PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"
ELEMENT, ITEM = 12, 8
"""Bytes before the value of an element with explicit OB (PS3.5 section 7.1.2), and before that of an item (section A.4)."""


class NotAcceptable(Exception):
    """The instance is not there in a transfer syntax that the request accepts."""


class NoSuchFrame(Exception):
    """The frame list is no list of frames of the instance."""


def accepted(accept: str) -> frozenset[str]:
    """The transfer syntaxes that an Accept header names; where it names none, Explicit VR Little Endian (PS3.18 section 8.7.3.5.2)."""
    named = re.findall(r'transfer-syntax="?([0-9.*]+)', accept)
    return frozenset(named) or frozenset({str(ExplicitVRLittleEndian)})


def is_as_stored(row: Stored, accept: frozenset[str]) -> bool:
    return bool(accept & {ANY, row.syntax})


def instance_file(row: Stored, accept: frozenset[str]) -> bytes:
    """The DICOM file, as it is stored or transcoded to Explicit VR Little Endian; `NotAcceptable` if neither is wanted or possible."""
    if is_as_stored(row, accept):
        return row.path.read_bytes()
    if ExplicitVRLittleEndian not in accept or row.syntax == ExplicitVRBigEndian:
        raise NotAcceptable
    try:
        return _explicit(dcmread(row.path))
    except Exception as error:  # each codec has its own classes
        raise NotAcceptable from error


def _explicit(dataset: Dataset) -> bytes:
    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed and "PixelData" in dataset:
        dataset.decompress(generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dataset.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return file.getvalue()


@lru_cache(maxsize=4096)
def metadata(path: Path, url: str) -> bytes:
    """The DICOM JSON of an instance (PS3.18 annex F), its pixel data by URI."""
    dataset = dcmread(path, stop_before_pixels=True)
    row: Json = {}
    left_out = 0
    for element in dataset:
        try:
            row[f"{element.tag:08X}"] = element.to_json_dict(None, 1024)
        except Exception:  # one broken value must not hide the others
            left_out += 1
    if left_out:
        log.warning("elements-left-out", extra=fields(count=left_out))  # of an instance's metadata: they cannot be read
    row["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if "Rows" in dataset:
        row[PIXEL_DATA] = {"vr": "OW", "BulkDataURI": f"{url}/bulkdata/{PIXEL_DATA}"}
    return orjson.dumps(dict(sorted(row.items())))


def frames(row: Stored, numbers: list[int] | None, accept: frozenset[str]) -> list[bytes]:
    """The pixel data of the frames, counted from 1 (all for None): as it is encoded where that is accepted, else decoded.

    `NotAcceptable` where neither is: JPEG that was asked for is never answered with bare pixels.
    """
    as_stored = UID(row.syntax).is_compressed and is_as_stored(row, accept)
    if not as_stored and not accept & {ANY, row.syntax, ExplicitVRLittleEndian}:
        raise NotAcceptable
    if as_stored and (places := _frame_places(row.path)) is not None:
        return _read_places(row.path, [places[n - 1] for n in _checked(numbers, len(places))])
    dataset = dcmread(row.path)
    if "PixelData" not in dataset:
        raise NoSuchFrame
    count = int(dataset.get("NumberOfFrames") or 1)
    wanted = _checked(numbers, count)
    if as_stored:
        kept = list(generate_frames(dataset.PixelData, number_of_frames=count))
        return [kept[n - 1] for n in wanted]
    decoded = _decoded(dataset, count, row.syntax)
    return [decoded[n - 1] for n in wanted]


def _checked(numbers: list[int] | None, count: int) -> list[int]:
    wanted = list(range(1, count + 1)) if numbers is None else numbers
    if not wanted or not all(1 <= n <= count for n in wanted):
        raise NoSuchFrame
    return wanted


@lru_cache(maxsize=256)
def _frame_places(path: Path) -> tuple[tuple[int, int], ...] | None:
    """Offset and length of each frame in the file, so that a tile of a slide is read without the slide; None where a frame is not one fragment."""
    with path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True)
        header = file.read(ELEMENT)
        if header[:4] != PIXEL_DATA_TAG:
            return None
        parse_basic_offsets(file)
        count, offsets = parse_fragments(file)
        if count != int(dataset.get("NumberOfFrames") or 1):
            return None
        places = []
        for offset in offsets:
            file.seek(offset + ITEM - 4)
            places.append((offset + ITEM, int.from_bytes(file.read(4), "little")))
    return tuple(places)


def _read_places(path: Path, places: list[tuple[int, int]]) -> list[bytes]:
    found = []
    with path.open("rb") as file:
        for offset, length in places:
            file.seek(offset)
            found.append(file.read(length))
    return found


def _decoded(dataset: Dataset, count: int, syntax: str) -> list[bytes]:
    if UID(syntax).is_compressed or syntax == ExplicitVRBigEndian:
        try:
            data = dataset.pixel_array.tobytes()
        except Exception as error:
            raise NotAcceptable from error
    else:
        data = dataset.PixelData
    size = get_expected_length(dataset) // count
    return [data[n * size : (n + 1) * size] for n in range(count)]


def frame_numbers(text: str) -> list[int]:
    """`1,2,5` as numbers; `NoSuchFrame` if it is no such list."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise NoSuchFrame
    return [int(part) for part in parts]
