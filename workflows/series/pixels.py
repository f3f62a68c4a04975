"""Stored values -> the int16 voxels of a volume (PS3.3 C.7.6.3.1, C.11.1.1.2).

HU: stored value * slope + intercept of the slice itself, rounded to the nearest unit.

stored: there is no absolute scale. Where all slices share slope and intercept, as is usual, voxels are the stored values, exactly. Where they differ
(PET, some MR), voxels are (value * slope + intercept) / S with S the largest slope of the series, so that slices stay
comparable. MONOCHROME1 is turned around, so that larger is always brighter; HU are physical and are never turned.

Nothing wraps and nothing is clipped, except padding (PS3.3 C.7.5.1.1.2), which is no image: its value goes the way of the others, and is held at
the end of int16 where it leads beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import PermanentFailure
from schemas.volume import Voxels
from workflows.series.frames import StoredValues, frames_of
from workflows.series.plane import PixelModule, Plane

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Scale:
    """voxel = stored value * slope + intercept."""

    slope: float
    intercept: float

    @property
    def is_shift(self) -> bool:
        return self.slope == 1 and self.intercept.is_integer() and INT16.min <= self.intercept <= INT16.max


def scales_of(planes: Sequence[Plane]) -> list[Scale]:
    """How each plane's stored values become voxels."""
    own = [Scale(plane.slope, plane.intercept) for plane in planes]
    if planes[0].units == "HU":
        return own
    if len(set(own)) == 1:
        return [Scale(1.0, 0.0)] * len(own)
    largest = max(abs(scale.slope) for scale in own)
    return [Scale(scale.slope / largest, scale.intercept / largest) for scale in own]


def window_in_voxels(plane: Plane, scale: Scale) -> tuple[float | None, float | None]:
    """The plane's window, which is given for rescaled values (PS3.3 C.11.2.1.2), for voxels of that scale; none where these were turned around."""
    if (
        plane.window_center is None
        or plane.window_width is None
        or (plane.instance.pixels.inverted and plane.units == "stored")
    ):
        return None, None
    center = (plane.window_center - plane.intercept) / plane.slope * scale.slope + scale.intercept
    return center, plane.window_width * abs(scale.slope / plane.slope)


def fill(planes: Sequence[Plane], voxels: Voxels) -> None:
    """Write the pixels of `planes[k]` to `voxels[k]` (int16 [D, rows, columns]), decoding each instance once.

    `PermanentFailure` as `frames_of`, and `pixels-range` if a value that is not padding does not fit into int16.
    """
    scales = scales_of(planes)
    places: dict[str, dict[int, int]] = {}
    for k, plane in enumerate(planes):
        places.setdefault(plane.instance.sop_instance_uid, {})[plane.frame] = k
    for frames in places.values():
        instance = planes[next(iter(frames.values()))].instance
        for number, values in enumerate(frames_of(instance), start=1):
            k = frames[number]
            _convert(values, instance.pixels, scales[k], planes[k].units == "stored", voxels[k])


def _convert(values: StoredValues, pixels: PixelModule, scale: Scale, may_turn: bool, out: Voxels) -> None:
    _convert_values(values, pixels, scale, may_turn, out)
    if pixels.padding is not None and not _holds(pixels, pixels.padding):
        low, high = pixels.padding
        lowest = limits(pixels)[0] * scale.slope + scale.intercept
        out[(values >= low) & (values <= high)] = np.clip(round(lowest), INT16.min, INT16.max)


def _holds(pixels: PixelModule, padding: tuple[int, int]) -> bool:
    """Whether the stored bits can hold the padding: some writers mark it by the bits beyond them, which are cut off as an overlay's are."""
    lowest, highest = limits(pixels)
    return lowest <= padding[0] and padding[1] <= highest


def _convert_values(values: StoredValues, pixels: PixelModule, scale: Scale, may_turn: bool, out: Voxels) -> None:
    turned = pixels.inverted and may_turn
    if not turned and _fits(values, pixels, scale):
        _used_bits_16(values, pixels, out)
        if scale.intercept:
            np.add(out, np.int16(scale.intercept), out=out)
        return
    stored = used_bits(values, pixels)
    real: npt.NDArray[np.floating[Any]] = (_turn(stored, pixels) if turned else stored) * scale.slope + scale.intercept
    np.rint(real, out=real)
    if real.min() < INT16.min or real.max() > INT16.max:
        _check_range(real, stored, pixels)
        np.clip(real, INT16.min, INT16.max, out=real)
    out[...] = real


def _fits(values: StoredValues, pixels: PixelModule, scale: Scale) -> bool:
    """Whether no stored value can leave int16, neither by itself nor shifted: by their number of bits, or else by looking at them."""
    if not scale.is_shift:
        return False
    if _in_reach(*limits(pixels), scale):
        return True
    return pixels.bits_stored == pixels.bits_allocated and _in_reach(int(values.min()), int(values.max()), scale)


def _in_reach(lowest: int, highest: int, scale: Scale) -> bool:
    ends = (lowest, highest, lowest + scale.intercept, highest + scale.intercept)
    return min(ends) >= INT16.min and max(ends) <= INT16.max


def limits(pixels: PixelModule) -> tuple[int, int]:
    """The least and the greatest value that the stored bits can hold."""
    span = 1 << pixels.bits_stored
    return (-span // 2, span // 2 - 1) if pixels.signed else (0, span - 1)


def _used_bits_16(values: StoredValues, pixels: PixelModule, out: Voxels) -> None:
    """Stored values into `out`, without the bits beyond Bits Stored, which old overlays may occupy (PS3.5 section 8.1.1)."""
    low = pixels.high_bit + 1 - pixels.bits_stored
    if pixels.bits_stored == pixels.bits_allocated:
        out[...] = values
    elif pixels.signed:
        np.left_shift(values, 15 - pixels.high_bit, out=out, dtype=np.int16)
        np.right_shift(out, 16 - pixels.bits_stored, out=out)
    else:
        mask = values.dtype.type((1 << pixels.bits_stored) - 1)
        np.bitwise_and(np.right_shift(values, low) if low else values, mask, out=out.view(np.uint16))


def used_bits(values: StoredValues, pixels: PixelModule) -> npt.NDArray[np.int32]:
    """As `_used_bits_16`, for values that need more room than int16."""
    up = 31 - pixels.high_bit
    if pixels.signed:
        signed: npt.NDArray[np.int32] = (values.astype(np.int32) << up) >> (32 - pixels.bits_stored)
        return signed
    shifted = values.astype(np.uint32) << np.uint32(up)
    return (shifted >> np.uint32(32 - pixels.bits_stored)).astype(np.int32)


def _turn(stored: npt.NDArray[np.int32], pixels: PixelModule) -> npt.NDArray[np.int32]:
    """The same image as MONOCHROME2: the least value and the greatest change places (PS3.3 C.7.6.3.1.2)."""
    return np.int32(sum(limits(pixels))) - stored


def _check_range(real: npt.NDArray[np.floating[Any]], stored: npt.NDArray[np.int32], pixels: PixelModule) -> None:
    beyond = (real < INT16.min) | (real > INT16.max)
    if pixels.padding is not None:
        low, high = pixels.padding
        beyond &= (stored < low) | (stored > high)
    if beyond.any():
        raise PermanentFailure(
            "pixels-range", "values of the series lie beyond 16 bits after the rescale: they would not be true"
        )
