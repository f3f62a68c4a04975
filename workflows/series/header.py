"""What the headers of a series say of it as a whole, without its pixels: what decides which series of a study is read. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword

from schemas.errors import PermanentFailure
from workflows.series.attributes import Attributes, finite, hinted
from workflows.series.contrast import Timing, timing_of

PLANES = ("sagittal", "coronal", "axial")
OBLIQUE = 0.8
"""Cosine (37 degrees) below which the normal of a stack lies along no axis of the patient: head CT are tilted by up to 30 degrees."""


@dataclass(frozen=True)
class SeriesHeader:
    """As far as the instances tell it. Lengths in mm."""

    image_types: frozenset[str] = frozenset()
    """The values of Image Type (PS3.3 C.7.6.1.1.2) that at least half of the images have, in capitals."""
    images: int = 0
    plane: str | None = None
    """axial, coronal, sagittal; None where it is oblique, or the images lie in several planes."""
    planes: int = 0
    """In how many planes the images lie: a localizer often in three."""
    extent: tuple[float, float] | None = None
    """From the first to the last slice along the axis of `plane`, in the patient's coordinates."""
    frame_of_reference_uid: str | None = None
    kernel: str | None = None
    rescale_type: str | None = None
    timing: Timing | None = None
    """Of an MR series: the contrast that it makes."""

    @property
    def coverage(self) -> float | None:
        return None if self.extent is None else self.extent[1] - self.extent[0]

    def covers(self, other: SeriesHeader) -> bool:
        """Whether this series reaches over (nearly) all that the other does; False where that cannot be told."""
        if self.extent is None or other.extent is None or self.plane != other.plane:
            return False
        if self.frame_of_reference_uid != other.frame_of_reference_uid or not other.coverage:
            return False
        both = min(self.extent[1], other.extent[1]) - max(self.extent[0], other.extent[0])
        return both >= 0.95 * other.coverage


class JsonAttributes:
    """Attributes over a row of DICOM JSON (PS3.18 annex F)."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def _values(self, keyword: str) -> list[Any]:
        tag = tag_for_keyword(keyword)
        element = self._row.get(f"{tag:08X}") if tag is not None else None
        values = element.get("Value") if isinstance(element, dict) else None
        return [value for value in values if value is not None] if isinstance(values, list) else []

    def __contains__(self, keyword: str) -> bool:
        return f"{tag_for_keyword(keyword):08X}" in self._row

    def text(self, keyword: str) -> str | None:
        return next(iter(self.texts(keyword)), None) or None

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(value).strip(" \0") for value in self._values(keyword) if not isinstance(value, dict))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        return tuple(finite(value, keyword) for value in self._values(keyword))

    def hint(self, keyword: str) -> float | None:
        try:
            return next(iter(self.numbers(keyword)), None)
        except PermanentFailure:
            return None


def header_of(instances: Sequence[Attributes]) -> SeriesHeader:
    """Of all instances of a series, or of some. A value that is broken is as good as none: reading the series says so."""
    images = [each for each in instances if "Rows" in each]
    normals = [normal for each in images if (normal := _normal(each)) is not None]
    planes = Counter(_plane_of(normal) for normal in normals)
    plane = next(iter(planes)) if len(planes) == 1 else None
    return SeriesHeader(
        image_types=_usual_types(images),
        images=sum(max(int(each.hint("NumberOfFrames") or 1), 1) for each in images),
        plane=plane,
        planes=len(planes),
        extent=_extent(images, plane),
        frame_of_reference_uid=_only(each.text("FrameOfReferenceUID") for each in images),
        kernel=_only("\\".join(each.texts("ConvolutionKernel")) or None for each in images),
        rescale_type=_only(each.text("RescaleType") for each in images),
        timing=timing_of(images),
    )


def _usual_types(images: Sequence[Attributes]) -> frozenset[str]:
    """A localizer among the slices does not make the series one."""
    counts = Counter(value.upper() for each in images for value in set(each.texts("ImageType")) if value)
    return frozenset(value for value, number in counts.items() if 2 * number >= len(images))


def _only(values: Any) -> str | None:
    """The value that most share."""
    counts = Counter(value for value in values if value)
    return counts.most_common(1)[0][0] if counts else None


def _normal(instance: Attributes) -> Any:
    orientation = hinted(instance, "ImageOrientationPatient")
    return np.cross(orientation[:3], orientation[3:]) if len(orientation) == 6 else None


def _plane_of(normal: Any) -> str | None:
    axis = int(np.argmax(np.abs(normal)))
    return PLANES[axis] if abs(normal[axis]) >= OBLIQUE else None


def _extent(images: Sequence[Attributes], plane: str | None) -> tuple[float, float] | None:
    if plane is None:
        return None
    axis = PLANES.index(plane)
    places = [place[axis] for each in images if len(place := hinted(each, "ImagePositionPatient")) == 3]
    return (min(places), max(places)) if len(places) > 1 else None


SHARP_WORDS = re.compile(
    r"\b(bone|boneplus|edge|lung|bony|sharp|detail\+|os|osseux|knochen|hueso|osso|bot|luft|lunge|poumon|pulmon)\b", re.I
)
_SIEMENS = re.compile(r"^(?:[BHDTUR]|B[rlv]|H[rpv]|Qr|Sa|I|J|Br|Hr|Bl|Hc|Bf)(\d\d)", re.I)
_CANON = re.compile(r"^FC(\d\d)")
_PHILIPS_SHARP = frozenset({"D", "E", "L", "EC", "YC", "YD", "YE"})


def is_sharp(kernel: str | None, description: str | None) -> bool | None:
    """Whether a CT was reconstructed for bone or lung, where soft tissue drowns in noise; None where nothing tells it.

    Siemens names a number that grows with sharpness (from 50 on: bone, lung), Canon FC30 and more, GE and others words, Philips letters.
    """
    name = (kernel or "").split("\\")[0].strip()
    if name:
        if found := _SIEMENS.match(name):
            return int(found[1]) >= 50
        if found := _CANON.match(name):
            return int(found[1]) >= 30 and int(found[1]) not in range(40, 50)
        return bool(SHARP_WORDS.search(name.replace("_", " "))) or name.upper() in _PHILIPS_SHARP
    return True if SHARP_WORDS.search((description or "").replace("_", " ")) else None
