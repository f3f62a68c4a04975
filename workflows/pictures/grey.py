"""Stored values -> grey levels of 8 bits, by the chain that the image itself carries (PS3.4 N.2.1).

Modality LUT (PS3.3 C.11.1: table, or slope and intercept), then VOI LUT (C.11.2: the first table, else the first window with its function, else
the range of the pixels that are no padding), then the polarity: MONOCHROME1 (C.7.6.3.1.2) and a Presentation LUT Shape of INVERSE (C.11.6) say
the same thing and turn the image round once. Padding (C.7.5.1.1.2) is black whatever the polarity.

Stored values have at most 16 bits, so the chain is worked out once for every possible value and the image is looked up in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import PermanentFailure
from workflows.series.attributes import DatasetAttributes, hinted
from workflows.series.pixels import limits
from workflows.series.plane import PixelModule

Levels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A look-up table: `first` is the input that its first entry stands for; what lies beyond either end takes the end's entry."""

    first: int
    entries: Values
    top: float
    """The greatest output that its bits allow."""

    def __call__(self, values: Values) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index]


def grey_levels(stored: npt.NDArray[np.int32], pixels: PixelModule, tags: DatasetAttributes) -> Levels:
    """uint8 [rows, columns] of `stored` [rows, columns]; `PermanentFailure` (`pixels-rescale`, `pixels-lut`) where the chain is broken."""
    low, high = limits(pixels)
    domain = modality_values(np.arange(low, high + 1, dtype=np.float64), tags)
    shown = _voi(domain, tags)
    if shown is None:
        shown = _full_range(domain, stored - low, pixels, low)
    levels = np.rint(np.clip(1 - shown if is_inverse(pixels, tags) else shown, 0, 1) * 255).astype(np.uint8)
    if pixels.padding is not None:
        start, end = (min(max(value, low), high) - low for value in pixels.padding)
        levels[start : end + 1] = 0
    looked_up: Levels = levels[stored - low]
    return looked_up


def is_inverse(pixels: PixelModule, tags: DatasetAttributes) -> bool:
    """Whether low values are bright."""
    return pixels.inverted or (tags.text("PresentationLUTShape") or "").upper() == "INVERSE"


def modality_values(values: Values, tags: DatasetAttributes) -> Values:
    table = _table(tags, "ModalityLUTSequence", values)
    if table is not None:
        return table(values)
    slope, intercept = (_needed(tags, "RescaleSlope") or (1.0,))[0], (_needed(tags, "RescaleIntercept") or (0.0,))[0]
    if slope == 0:
        raise PermanentFailure("pixels-rescale", "the rescale slope is zero")
    return values * slope + intercept


def _needed(tags: DatasetAttributes, keyword: str) -> tuple[float, ...]:
    """The numbers of a tag that the values mean nothing without; `PermanentFailure` (`dicom-value`) that names it where any is none."""
    try:
        return tags.numbers(keyword)
    except PermanentFailure:
        raise PermanentFailure("dicom-value", f"{keyword} of the image is not a number: send the image again") from None


def _voi(values: Values, tags: DatasetAttributes) -> Values | None:
    """0 (black) to 1 (white) before the polarity; None where the image names neither a table nor a usable window."""
    table = _table(tags, "VOILUTSequence", values)
    if table is not None:
        return table(values) / table.top
    centers, widths = hinted(tags, "WindowCenter"), hinted(tags, "WindowWidth")
    if not centers or not widths:
        return None
    function = (tags.text("VOILUTFunction") or "LINEAR").upper()
    return window(values, centers[0], widths[0], function)


def window(values: Values, center: float, width: float, function: str) -> Values | None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, as 0 to 1; None where the width is not one that the function allows."""
    if function == "SIGMOID" and width > 0:
        sigmoid: Values = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        return sigmoid
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - center) / width + 0.5, 0, 1)
    if function not in ("SIGMOID", "LINEAR_EXACT") and width >= 1:
        if width == 1:
            return (values > center - 0.5).astype(np.float64)
        return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    return None


def _full_range(domain: Values, index: npt.NDArray[np.int32], pixels: PixelModule, low: int) -> Values:
    """From the least to the greatest value that the image holds, its padding set aside."""
    held = np.zeros(len(domain), bool)
    held[index] = True
    if pixels.padding is not None:
        numbers = np.arange(len(domain)) + low
        held &= (numbers < pixels.padding[0]) | (numbers > pixels.padding[1])
    if not held.any():
        return np.zeros_like(domain)
    least, most = float(domain[held].min()), float(domain[held].max())
    return (domain - least) / (most - least) if most > least else np.zeros_like(domain)


def _table(tags: DatasetAttributes, keyword: str, inputs: Values) -> Table | None:
    """The first table of the sequence (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    items = tags.get(keyword)
    if not items:
        return None
    item = DatasetAttributes(items[0])
    descriptor = [int(value) for value in item.numbers("LUTDescriptor")]
    if len(descriptor) != 3 or not 1 <= descriptor[2] <= 16:
        raise _broken()
    count, first, bits = descriptor[0] & 0xFFFF or 1 << 16, descriptor[1] & 0xFFFF, descriptor[2]
    if (
        first >= 1 << 15 and inputs.min() < 0
    ):  # its VR says US or SS by the pixels' sign; rescaled values have a sign of their own
        first -= 1 << 16
    entries = _entries(item.get("LUTData"), count, big_endian=tags.dataset.original_encoding[1] is False)
    return Table(first, entries, float(max((1 << bits) - 1, entries.max())))


def _entries(data: Any, count: int, *, big_endian: bool) -> Values:
    """Of 16 bits each, or of 8 where there are only as many bytes (PS3.3 C.11.1.1.1 allows both)."""
    if isinstance(data, bytes):
        words = len(data) >= 2 * count
        kind = (">u2" if big_endian else "<u2") if words else "u1"
        found = np.frombuffer(data[: len(data) // 2 * 2], kind)
    else:
        found = np.atleast_1d(np.asarray([] if data is None else data, dtype=np.int64)) & 0xFFFF
    if len(found) < count:
        raise _broken()
    return found[:count].astype(np.float64)


def _broken() -> PermanentFailure:
    return PermanentFailure("pixels-lut", "a look-up table of the image is broken: send the image again")
