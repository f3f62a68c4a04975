"""Where an answer's places lie on what the model was shown: what every kind of stack has to tell the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from schemas.imaging import SeriesSource, StoredStack
from schemas.inference import BOX_SCALE, Location
from schemas.report import AbstentionReason, ImageRegion

Side = Literal["left", "right", "midline"]


class Dropped(Exception):
    """A finding failed a check; the argument names it."""


@dataclass(frozen=True)
class Place:
    """A box on one slice, picture or patch: `index` counts from 0 in the whole stack (not among those shown)."""

    stack: StoredStack
    index: int
    region: ImageRegion
    projected: bool = False
    """Its millimetres are those of a shadow on a detector, larger than what cast it."""


class Instance(Protocol):
    """What holds the pixels: a frame's source, or a whole slide."""

    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def instance_number(self) -> int | None: ...


class Places(Protocol):
    """The stacks of the current study, as one kind of stack knows them."""

    def place(self, location: Location) -> Place:
        """The box in source pixels; `Dropped` (`series-outside-study`, `slice-outside-stack`, `box-not-a-box`, `box-outside-image`)."""
        ...

    def find(self, region: ImageRegion) -> Place | None:
        """The place that `place` has made this region of; None if it is on none of these stacks."""
        ...

    def side(self, place: Place) -> Side | None:
        """The patient's side of the box's middle; None where nothing tells it."""
        ...

    def diagonal_mm(self, place: Place) -> float | None:
        """Of the box; None where the pixels have no known size."""
        ...

    def body_mm(self, place: Place) -> float | None:
        """The longest a finding can be there; None where that is not known. `Dropped` (`box-outside-body`) where there is no body."""
        ...

    def implausible(self) -> AbstentionReason | None:
        """Why nothing can be read from what was shown."""
        ...


def stack_of(location: Location, stacks: list[StoredStack]) -> tuple[StoredStack, int]:
    """The stack that a location names and the index in the whole stack of its slice; `Dropped` where it names none."""
    if location.series > len(stacks):
        raise Dropped("series-outside-study")
    stack = stacks[location.series - 1]
    if location.slice > len(stack.model_slices):
        raise Dropped("slice-outside-stack")
    return stack, stack.model_slices[location.slice - 1]


def box_of(location: Location) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box in thousandths of what was shown; `Dropped` (`box-not-a-box`) where it is none."""
    y0, x0, y1, x1 = location.box_2d
    if not (0 <= x0 < x1 <= BOX_SCALE and 0 <= y0 < y1 <= BOX_SCALE):
        raise Dropped("box-not-a-box")
    return x0, y0, x1, y1


def region_on(
    series: SeriesSource,
    instance: Instance,
    frame: int | None,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
) -> ImageRegion:
    """A box (left, top, right, bottom) in pixels of a source of `size` (columns, rows), to a hundredth of a pixel."""
    x0, y0, x1, y1 = (round(edge, 2) for edge in box)
    return ImageRegion(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        series_number=series.series_number,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        instance_number=instance.instance_number,
        frame=frame,
        columns=size[0],
        rows=size[1],
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
    )
