"""The picture container: radiographs, patches of a slide and pages, as the worker stores them and the model runtime decodes them.

Layout (little endian), the sibling of the volume container (`schemas.volume`)::

    b"LVPIC1\\n\\0"  8 bytes   magic and version
    uint32           4 bytes   length N of the header
    header           N bytes   canonical JSON, padded with spaces so that the pixels begin at a multiple of 64
    pixels                     uint8 [N, H, W, C], C order

The header holds `shape` [N, H, W, C] and `modality`. Grey levels and sizes are those the model is to see: windowed, padded and cut already. The
content address of the pictures is the SHA-256 of the whole container.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from schemas.errors import PermanentFailure
from schemas.volume import ALIGNMENT, Volume, decode_volume

MAGIC = b"LVPIC1\n\0"
MAX_PIXELS = 1024 * 1024 * 1024
MAX_PICTURES = 125
"""The most pictures of one item (MedGemma 1.5: 125 patches of a slide)."""
SAMPLES = (1, 3)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Pixels uint8 [N, H, W, C]; C is 1 (grey) or 3 (RGB)."""

    pixels: Pixels
    modality: str


def encode_pictures(pictures: Pictures) -> list[bytes | memoryview]:
    """The container as buffers to be written one after the other (the pixels are not copied)."""
    return list(encode_one_by_one(pictures.pixels.shape, pictures.modality, [pictures.pixels]))


def encode_one_by_one(
    shape: tuple[int, ...], modality: str, pictures: Iterable[Pixels]
) -> Iterator[bytes | memoryview]:
    """The same of pictures that come one after the other, together of `shape` [N, H, W, C], so that no more than one has to be held."""
    header = orjson.dumps({"modality": modality, "shape": list(shape)}, option=orjson.OPT_SORT_KEYS)
    header += b" " * (-(len(MAGIC) + 4 + len(header)) % ALIGNMENT)
    yield MAGIC + struct.pack("<I", len(header)) + header
    for picture in pictures:
        yield memoryview(np.ascontiguousarray(picture, dtype=np.uint8).data).cast("B")


def decode_pictures(data: bytes | memoryview) -> Pictures:
    """The pictures of a container, a read-only view of `data`; `PermanentFailure` (`picture-container`) if it is not one."""
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise PermanentFailure("picture-container", "the bytes do not begin with the picture container's magic")
    try:
        (length,) = struct.unpack_from("<I", view, len(MAGIC))
        start = len(MAGIC) + 4 + length
        header = orjson.loads(bytes(view[len(MAGIC) + 4 : start]))
        shape = tuple(int(n) for n in header["shape"])
        modality = str(header["modality"])
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise PermanentFailure("picture-container", "the header cannot be read") from error
    right = len(shape) == 4 and min(shape) > 0 and shape[3] in SAMPLES
    size = int(np.prod(shape, dtype=np.float64)) if right else 0
    if not 0 < size <= MAX_PIXELS or size != len(view) - start:
        raise PermanentFailure("picture-container", "shape and size of the pixels do not agree")
    return Pictures(np.frombuffer(view, dtype=np.uint8, offset=start).reshape(shape), modality)


def decode_container(data: bytes | memoryview) -> Volume | Pictures:
    """Whichever of the two containers `data` is."""
    return decode_pictures(data) if bytes(memoryview(data)[: len(MAGIC)]) == MAGIC else decode_volume(data)
