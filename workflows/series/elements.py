"""The few top-level data elements that a stack needs, read straight from the bytes of a DICOM file (PS3.5 section 7, PS3.10 section 7).

A general reader builds an object for each element; here one walk over the headers keeps only the values in `WANTED`, which makes a series of
several hundred slices a matter of tens of milliseconds. The walk is strict: tags must ascend, every VR must be known, every length must
lie in the file. Whatever does not fit is `Unusual`, and the caller takes pydicom instead.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from mmap import mmap

Buffer = bytes | bytearray | memoryview | mmap

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG})
"""Transfer syntaxes whose pixel data is not encapsulated (PS3.5 A.1 to A.3, A.5)."""

FILE_META = 128 + 4
TRANSFER_SYNTAX_UID = 0x00020010
PIXEL_DATA = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 16
MAX_INFLATED = 2 << 30

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


class Unusual(Exception):
    """The bytes are not the plain kind that this walk reads; the text says why and holds no value."""


class CutShort(Exception):
    """An element says that it is longer than the file."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Raw values by tag. `data` is what the offsets count in: the file itself, or the inflated data set."""

    data: memoryview
    values: dict[int, bytes]
    transfer_syntax: str
    big_endian: bool
    pixels: tuple[int, int] | None
    """Offset and length of the value of Pixel Data; of length `UNDEFINED` where it is encapsulated."""


def scan(part: Buffer, wanted: Collection[int], last: int = PIXEL_DATA) -> Elements:
    """The values of `wanted` (which lie below Pixel Data), reading no further than the tag `last`.

    Raises `Unusual` or `CutShort`.
    """
    view = memoryview(part)
    if view[128:FILE_META].tobytes() != b"DICM":
        raise Unusual("no preamble")
    try:
        syntax, start = _transfer_syntax(view)
        if syntax == DEFLATED_LITTLE:
            view, start = _inflate(view[start:]), 0
        order = ">" if syntax == EXPLICIT_BIG else "<"
        walk = _walk_implicit if _is_implicit(view, start, syntax) else _walk_explicit
        values, pixels = walk(view, start, wanted, last, order)
    except struct.error as error:
        raise Unusual("it ends within a header") from error
    return Elements(view, values, syntax, order == ">", pixels)


def _is_implicit(view: memoryview, start: int, syntax: str) -> bool:
    """Whether the first element is written without its VR: some writers put the wrong UID."""
    vr = view[start + 4 : start + 6].tobytes()
    if syntax == IMPLICIT_LITTLE:
        return vr not in _LONG and vr not in _SHORT
    return syntax == EXPLICIT_LITTLE and not vr.isalpha()


def _transfer_syntax(view: memoryview) -> tuple[str, int]:
    """The transfer syntax, and where the data set begins (PS3.10 section 7.1: the group's length is its first element)."""
    group_length = struct.unpack_from("<HH2sHI", view, FILE_META)
    if group_length[:4] != (2, 0, b"UL", 4):
        raise Unusual("no length of the file meta information")
    end = FILE_META + 12 + int(group_length[4])
    values, _ = _walk_explicit(view[:end], FILE_META + 12, (TRANSFER_SYNTAX_UID,), TRANSFER_SYNTAX_UID, "<")
    if TRANSFER_SYNTAX_UID not in values:
        raise Unusual("no transfer syntax")
    return values[TRANSFER_SYNTAX_UID].rstrip(b"\0 ").decode("ascii", "replace"), end


def _inflate(view: memoryview) -> memoryview:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(view, MAX_INFLATED)
    except zlib.error as error:
        raise Unusual("it cannot be inflated") from error
    if not inflater.eof:
        raise CutShort
    return memoryview(data)


_Walked = tuple[dict[int, bytes], tuple[int, int] | None]


def _walk_explicit(view: memoryview, pos: int, wanted: Collection[int], last: int, order: str) -> _Walked:
    header = struct.Struct(order + "HH2sH").unpack_from
    long_length = struct.Struct(order + "I").unpack_from
    values: dict[int, bytes] = {}
    end, before = len(view), 0
    while pos < end:
        group, element, vr, length = header(view, pos)
        tag = group << 16 | element
        if tag <= before or tag > last:
            return _passed(values, tag, before, last)
        before, pos = tag, pos + 8
        if vr in _LONG:
            length, pos = long_length(view, pos)[0], pos + 4
        elif vr not in _SHORT:
            raise Unusual("an unknown VR")
        if tag == PIXEL_DATA:
            return values, (pos, length)
        if length == UNDEFINED:
            pos = _skip_sequence(view, pos, order, explicit=vr != b"UN", depth=0)
            length = 0
        if pos + length > end:
            raise CutShort
        if tag in wanted:
            values[tag] = view[pos : pos + length].tobytes()
        pos += length
    return values, None


def _walk_implicit(view: memoryview, pos: int, wanted: Collection[int], last: int, order: str) -> _Walked:
    header = struct.Struct(order + "HHI").unpack_from
    values: dict[int, bytes] = {}
    end, before = len(view), 0
    while pos < end:
        group, element, length = header(view, pos)
        tag = group << 16 | element
        if tag <= before or tag > last:
            return _passed(values, tag, before, last)
        before, pos = tag, pos + 8
        if tag == PIXEL_DATA:
            return values, (pos, length)
        if length == UNDEFINED:
            pos = _skip_sequence(view, pos, order, explicit=False, depth=0)
            length = 0
        if pos + length > end:
            raise CutShort
        if tag in wanted:
            values[tag] = view[pos : pos + length].tobytes()
        pos += length
    return values, None


def _passed(values: dict[int, bytes], tag: int, before: int, last: int) -> _Walked:
    """The walk met a tag beyond the last one wanted; a tag that does not ascend is a broken file or not what it claims to be."""
    if tag <= before:
        raise Unusual("tags that do not ascend")
    return values, None


def _skip_sequence(view: memoryview, pos: int, order: str, *, explicit: bool, depth: int) -> int:
    """The offset after a sequence of undefined length that begins at `pos` (PS3.5 section 7.5)."""
    if depth > MAX_DEPTH:
        raise Unusual("sequences too deep")
    header = struct.Struct(order + "HHI").unpack_from
    while True:
        group, element, length = header(view, pos)
        tag, pos = group << 16 | element, pos + 8
        if tag == SEQUENCE_END:
            return pos
        if tag != ITEM:
            raise Unusual("a sequence without items")
        pos = _skip_item(view, pos, order, explicit, depth) if length == UNDEFINED else pos + length


def _skip_item(view: memoryview, pos: int, order: str, explicit: bool, depth: int) -> int:
    """The offset after an item of undefined length whose first element is at `pos`."""
    plain = struct.Struct(order + "HHI").unpack_from
    with_vr = struct.Struct(order + "HH2sH").unpack_from
    while True:
        group, element, length = plain(view, pos)
        tag = group << 16 | element
        if tag == ITEM_END:
            return pos + 8
        vr = b""
        if explicit:
            _, _, vr, length = with_vr(view, pos)
            if vr in _LONG:
                length, pos = struct.unpack_from(order + "I", view, pos + 8)[0], pos + 4
            elif vr not in _SHORT:
                raise Unusual("an unknown VR")
        pos += 8
        if length == UNDEFINED:
            pos = _skip_sequence(view, pos, order, explicit=explicit and vr != b"UN", depth=depth + 1)
        else:
            pos += length
