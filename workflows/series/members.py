"""Which objects of a series are its stack, and what is set aside: a series may hold more than its slices.

Presentation states, structured reports, raw data, colour captures, a localizer, a slice that was sent twice, a second acquisition between the
slices of the first: none of them makes the slices unreadable. What is set aside is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from schemas.errors import GeometryError, PermanentFailure
from workflows.series.attributes import Attributes, attributes_of
from workflows.series.elements import Buffer
from workflows.series.frames import frames_of
from workflows.series.plane import LOCALIZER, Plane, planes_of_one

IMAGES = frozenset({"CT", "MR", "PT"})
ODD_SHARE = 0.2
"""The share of a series' images that may differ from the others and be set aside: beyond it nobody knows which of them are the stack."""
PLACE_DECIMALS = 2
"""Of positions in mm that count as the same."""

IMAGE_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "128", "128.1", "130")
)
"""CT, MR and PET images, enhanced and converted (PS3.4 B.5): one of these without pixels is a damaged slice, and never set aside."""

_MODALITY_WORDS = {
    "PR": "presentation state", "SR": "structured report", "KO": "key object selection", "RTSTRUCT": "structure set", "REG": "registration",
    "SEG": "segmentation", "RWV": "real world value map", "OT": "capture",
}  # fmt: skip


@dataclass(frozen=True)
class Members:
    """The planes of the stack, in any order, and what was set aside, in our own words."""

    planes: list[Plane]
    set_aside: list[str]


def members_of(parts: Sequence[Buffer | Dataset]) -> Members:
    """Every plane of the stack.

    A CT localizer is a projection, not a section, and says so in ImageType value 3 (PS3.3 C.8.2.1.1.1). Raises what `planes_of_one` raises for an
    image that cannot be read, `geometry-localizer` and `geometry-mixed`.
    """
    images, said = _images(parts)
    planes = [plane for attributes in images for plane in planes_of_one(attributes)]
    sections = [plane for plane in planes if not _is_localizer(plane)]
    if planes and not sections:
        raise GeometryError(
            "geometry-localizer", "the series holds localizers only, which are not sections of the body"
        )
    said += _count(len(planes) - len(sections), "localizer")
    sections, twice = _once(sections)
    said += _count(twice, "copy of a slice", "copies of slices")
    sections, odd = _alike(sections)
    said += odd
    sections, others = _one_of_several(sections)
    sections, between = _one_acquisition(sections)
    return Members(sections, said + others + between)


def _count(number: int, one: str, several: str = "") -> list[str]:
    return [] if number == 0 else [f"1 {one}"] if number == 1 else [f"{number} {several or one + 's'}"]


def _images(parts: Sequence[Buffer | Dataset]) -> tuple[list[Any], list[str]]:
    """The instances that are grey images, and the others by their kind. Where none is one, all are given: reading them says why not."""
    held = [attributes_of(part) for part in parts]
    told_apart = [(attributes, _odd_kind(attributes)) for attributes in held]
    images = [attributes for attributes, kind in told_apart if kind is None]
    if not images:
        return held, []
    kinds = Counter(kind for _, kind in told_apart if kind is not None)
    return images, [said for kind, number in sorted(kinds.items()) for said in _count(number, kind)]


def _odd_kind(attributes: Attributes) -> str | None:
    """What an instance is that is no grey image; None for one that is."""
    modality = (attributes.text("Modality") or "").upper()
    if modality in _MODALITY_WORDS:
        return _MODALITY_WORDS[modality]
    if modality and modality not in IMAGES:
        return "object of another modality"
    sop_class = attributes.text("SOPClassUID")
    if sop_class is not None and sop_class not in IMAGE_CLASSES and "Rows" not in attributes:
        return "object without an image"
    samples = attributes.hint("SamplesPerPixel")
    return "colour picture" if samples is not None and samples > 1 else None


def _is_localizer(plane: Plane) -> bool:
    kind = plane.instance.attributes.texts("ImageType")
    return plane.instance.modality == "CT" and len(kind) > 2 and kind[2].upper() == LOCALIZER


def _once(planes: list[Plane]) -> tuple[list[Plane], int]:
    """Each slice once: the same instance, or the same pixels at the same place under another UID, is a copy. Others at one place are left to
    be refused."""
    places: dict[Hashable, list[Plane]] = {}
    for plane in planes:
        place = tuple(round(x, PLACE_DECIMALS) for x in plane.position)
        places.setdefault((place, plane.orientation, plane.dimensions), []).append(plane)
    kept = [plane for same in places.values() for plane in (_distinct(same) if len(same) > 1 else same)]
    return kept, len(planes) - len(kept)


def _distinct(planes: list[Plane]) -> list[Plane]:
    """One for each content. Frames of one image are no copies of each other."""
    if any(plane.instance.pixels.frames > 1 for plane in planes):
        return planes
    found: dict[Hashable, Plane] = {}
    for plane in planes:
        found.setdefault(_content(plane), plane)
    return list(found.values())


def _content(plane: Plane) -> Hashable:
    """Slope, intercept and the stored values."""
    try:
        values = next(each for n, each in enumerate(frames_of(plane.instance), start=1) if n == plane.frame)
    except (PermanentFailure, StopIteration):
        return plane.instance.sop_instance_uid, plane.frame
    return plane.slope, plane.intercept, np.ascontiguousarray(values).tobytes()


_ALIKE: tuple[tuple[str, Callable[[Plane], Hashable]], ...] = (
    ("size", lambda p: (p.instance.pixels.rows, p.instance.pixels.columns)),
    ("orientation", lambda p: tuple(round(x, 2) for x in p.orientation)),
    ("pixel spacing", lambda p: tuple(round(x, 3) for x in p.pixel_spacing)),
    ("frame of reference", lambda p: p.instance.frame_of_reference_uid),
    ("units", lambda p: p.units),
)


def _alike(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
    """Those that are like most of the others; a few that are not are set aside, each kind with what it differs in."""
    said: list[str] = []
    for what, key in _ALIKE:
        counts = Counter(key(plane) for plane in planes)
        if what == "frame of reference":
            counts.pop(None, None)  # some writers leave it out of a part of the slices: those count as alike
        if len(counts) < 2:
            continue
        usual, _ = counts.most_common(1)[0]
        alike = [plane for plane in planes if (found := key(plane)) == usual or found not in counts]
        odd = len(planes) - len(alike)
        if odd > max(ODD_SHARE * len(planes), 1):
            continue  # not a few: geometry says what the series is a mixture of
        planes = alike
        said += _count(odd, f"image of another {what}", f"images of another {what}")
    return planes, said


NONE_GIVEN = -1.0
"""Stands for an absent or broken value in `_SEVERAL`; none of them is ever negative."""

_SEVERAL = (
    ("DiffusionBValue", "diffusion weight", "s/mm2", True),
    ("EchoTime", "echo time", "ms", False),
    ("TemporalPositionIdentifier", "point in time", "", False),
    ("AcquisitionNumber", "acquisition", "", False),
)
"""What the images of one place in one series may differ in, with its unit, and whether the greatest is read (of diffusion weights that shows lesions)
or the first."""


def _one_of_several(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
    """One image for each place, where a series holds several stacks over the same places: scanners write all diffusion weights into one."""
    if not planes or _places(planes) == len(planes) or any(plane.instance.pixels.frames > 1 for plane in planes):
        return planes, []
    for keyword, what, unit, greatest in _SEVERAL:
        groups: dict[float, list[Plane]] = {}
        for plane in planes:
            value = plane.instance.attributes.hint(keyword)
            groups.setdefault(NONE_GIVEN if value is None else value, []).append(plane)
        if len(groups) > 1 and all(_places(group) == len(group) for group in groups.values()):
            chosen = max(groups) if greatest else min(groups)
            others = " and ".join(_named(value, unit) for value in sorted(groups) if value != chosen)
            count = len(planes) - len(groups[chosen])
            return groups[chosen], [f"{count} images of another {what} ({others}; read: {_named(chosen, unit)})"]
    return planes, []


def _named(value: float, unit: str) -> str:
    return "none given" if value == NONE_GIVEN else f"{value:g} {unit}".rstrip()


def _places(planes: Sequence[Plane]) -> int:
    return len({(tuple(round(x, PLACE_DECIMALS) for x in plane.position), plane.orientation) for plane in planes})


def _one_acquisition(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
    """Two acquisitions whose slices lie between one another are two stacks: the one of more slices is read."""
    groups: dict[float | None, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(plane.instance.attributes.hint("AcquisitionNumber"), []).append(plane)
    if len(groups) != 2 or min(map(len, groups.values())) < 3 or planes[0].instance.modality != "CT":
        return planes, []
    first, second = sorted(groups.values(), key=len, reverse=True)
    if not _interleaved(first, second):
        return planes, []
    return first, [f"a second acquisition of {len(second)} images that lie between the slices of the first"]


def _interleaved(first: Sequence[Plane], second: Sequence[Plane]) -> bool:
    """Whether most of the slices of one lie within the stack of the other."""
    normal = np.cross(first[0].orientation[:3], first[0].orientation[3:])
    one, other = (np.array([plane.position for plane in group]) @ normal for group in (first, second))
    return bool(np.mean((other > one.min()) & (other < one.max())) > 0.5)
