"""The volume container: what the worker stores, what travels to vLLM, what the model runtime decodes.

Layout (little endian)::

    b"LVVOL1\\n\\0"  8 bytes   magic and version
    uint32           4 bytes   length N of the header
    header           N bytes   canonical JSON, padded with spaces so that the voxels begin at a multiple of 64
    voxels                     int16 [D, H, W], C order

The header holds `shape` [D, H, W], `spacing` [z, y, x] in mm, `units` and `modality`. The content address of a volume is the SHA-256 of the whole
container, so two containers with equal voxels and equal geometry are one object.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import orjson

from schemas.errors import PermanentFailure

MAGIC = b"LVVOL1\n\0"
ALIGNMENT = 64
MAX_VOXELS = 1024 * 1024 * 1024
MAX_MODEL_SLICES = 85
"""The most slices one volume item may carry into the model (MedGemma 1.5: 85)."""
LABEL_TOKENS_A_SLICE = 12
"""Most tokens of what stands around a slice's image: line feeds, begin and end of image, `SLICE k`."""

Units = Literal["HU", "stored"]
"""`HU` for CT after the rescale; `stored` for modalities without an absolute scale (MR)."""

Voxels = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Volume:
    """Voxels int16 [D, H, W]; `spacing` [z, y, x] in mm; slice 0 is the first along the slice normal."""

    voxels: Voxels
    spacing: tuple[float, float, float]
    units: Units
    modality: str


def encode_volume(volume: Volume) -> list[bytes | memoryview]:
    """The container as buffers to be written one after the other (the voxels are not copied)."""
    voxels = np.ascontiguousarray(volume.voxels, dtype="<i2")
    header = orjson.dumps(
        {
            "modality": volume.modality,
            "shape": list(voxels.shape),
            "spacing": list(volume.spacing),
            "units": volume.units,
        },
        option=orjson.OPT_SORT_KEYS,
    )
    start = len(MAGIC) + 4
    header += b" " * (-(start + len(header)) % ALIGNMENT)
    return [MAGIC + struct.pack("<I", len(header)) + header, memoryview(voxels.data).cast("B")]


def decode_volume(data: bytes | memoryview) -> Volume:
    """The volume of a container, its voxels a read-only view of `data`; `PermanentFailure` if it is not one."""
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise PermanentFailure("volume-container", "the bytes do not begin with the volume container's magic")
    try:
        (length,) = struct.unpack_from("<I", view, len(MAGIC))
        start = len(MAGIC) + 4 + length
        header = orjson.loads(bytes(view[len(MAGIC) + 4 : start]))
        shape = tuple(int(n) for n in header["shape"])
        spacing = tuple(float(s) for s in header["spacing"])
        units, modality = cast(Units, str(header["units"])), str(header["modality"])
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise PermanentFailure("volume-container", "the header cannot be read") from error
    _check_header(shape, spacing, units, len(view) - start)
    voxels = np.frombuffer(view, dtype="<i2", offset=start).reshape(shape)
    return Volume(voxels, cast(tuple[float, float, float], spacing), units, modality)


def _check_header(shape: tuple[int, ...], spacing: tuple[float, ...], units: str, size: int) -> None:
    voxels = int(np.prod(shape, dtype=np.int64)) if len(shape) == 3 and min(shape) > 0 else 0
    if not 0 < voxels <= MAX_VOXELS or size != 2 * voxels:
        raise PermanentFailure("volume-container", "shape and size of the voxels do not agree")
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing) or units not in ("HU", "stored"):
        raise PermanentFailure("volume-container", "spacing or units are not valid")


def model_slices(depth: int, most: int = MAX_MODEL_SLICES) -> list[int]:
    """Indices of the slices that the model sees: all of a short stack, else `most` by the rule that MedGemma 1.5 was published with.

    round(i / 85 * (n - 1)) for i = 1..85: the last slice of a deep stack is always shown, the first never. Weights trained on this see this.
    """
    if depth <= most:
        return list(range(depth))
    return [round(i / most * (depth - 1)) for i in range(1, most + 1)]
