"""A whole slide in a file: pyramids of TIFF (Aperio SVS, OME-TIFF, generic), read tile by tile with tifffile and zarr."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from schemas.errors import PermanentFailure
from workflows.slides.slide import OpenedSlide, Rgb, require_scale

WHITE = 255
"""Tiles that a scanner left out hold nothing; as zeros they would be black."""
MICROMETRES_OF_UNIT = {2: 25_400.0, 3: 10_000.0}
"""ResolutionUnit (TIFF 6.0 section 8): inch, centimetre. 1 is none."""
OME_UNITS = {"µm": 1.0, "um": 1.0, "nm": 0.001, "mm": 1000.0}
COLOURS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)


class TiffSlide:
    """`workflows.slides.OpenedSlide` over the first series of the file; label and macro pictures are other series, which are never read."""

    def __init__(self, file: tifffile.TiffFile) -> None:
        self.series = file.series[0]
        page: Any = self.series.keyframe
        if PHOTOMETRIC(page.photometric) not in COLOURS or page.samplesperpixel != 3 or page.dtype != np.uint8:
            raise PermanentFailure("slide-not-colour", "the slide is not in colour with 8 bits: it is not read")
        self.levels = list(self.series.levels)
        self.sizes = tuple((level.keyframe.imagewidth, level.keyframe.imagelength) for level in self.levels)
        self.micrometres = require_scale(_scale(file, page))
        import zarr  # half a second that only slides need

        self._arrays: list[Any] = [
            zarr.open(self.series.aszarr(level=n, fillvalue=WHITE), mode="r") for n in range(len(self.levels))
        ]

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        try:
            found = np.asarray(self._arrays[level][y : y + height, x : x + width])
        except Exception:  # of the codecs each has its own classes
            raise PermanentFailure("pixels-codec", "a tile of the slide cannot be decoded") from None
        return found


@contextmanager
def open_tiff_slide(path: Path) -> Iterator[OpenedSlide]:
    """The slide of a file. `PermanentFailure`: `slide-file`, `slide-not-colour`, and those of `require_scale`."""
    with open_tiff(path) as file:
        yield TiffSlide(file)


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """`PermanentFailure` (`slide-file`) if it is no TIFF with pictures in it."""
    try:
        file = tifffile.TiffFile(path)
    except (OSError, tifffile.TiffFileError, struct.error) as error:
        raise PermanentFailure("slide-file", "the slide is not a TIFF file that can be opened") from error
    with file:
        if not file.series:
            raise PermanentFailure("slide-file", "the TIFF file holds no picture")
        yield file


def _scale(file: tifffile.TiffFile, page: Any) -> tuple[float, float] | None:
    """Micrometres of a pixel as the scanner's own words have them, else the TIFF's resolution."""
    try:
        return _svs(file, page) or _ome(file) or _resolution(page)
    except (ValueError, TypeError, KeyError, ZeroDivisionError):
        return None


def _svs(file: tifffile.TiffFile, page: Any) -> tuple[float, float] | None:
    if not file.is_svs:
        return None
    size = tifffile.tifffile.svs_description_metadata(page.description).get("MPP")
    return (float(size), float(size)) if size else None


def _ome(file: tifffile.TiffFile) -> tuple[float, float] | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    if "PhysicalSizeX" not in pixels:
        return None
    x, y = (
        float(pixels[f"PhysicalSize{axis}"]) * OME_UNITS[pixels.get(f"PhysicalSize{axis}Unit", "µm")] for axis in "XY"
    )
    return x, y


def _resolution(page: Any) -> tuple[float, float] | None:
    unit = MICROMETRES_OF_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1)))
    if unit is None:
        return None
    x, y = (
        unit * denominator / numerator
        for numerator, denominator in (page.tags.valueof("XResolution"), page.tags.valueof("YResolution"))
    )
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
