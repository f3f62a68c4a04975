"""Places on whole slides, in pixels of the total pixel matrix (PS3.3 C.8.12.4)."""

from __future__ import annotations

import math

from schemas.imaging import SeriesSlide, StoredStack
from schemas.inference import BOX_SCALE, Location
from schemas.report import AbstentionReason, ImageRegion
from workflows.reading.places import Dropped, Place, Side, box_of, region_on, stack_of
from workflows.slides import from_matrix, to_matrix


class SlidePlaces:
    """Places on slides, in pixels of the total pixel matrix."""

    def __init__(self, stacks: list[StoredStack]) -> None:
        self._stacks = stacks

    def place(self, location: Location) -> Place:
        """Thousandths of the patch. A box that reaches beyond the slide, where the patch is filled up with white, is refused; what lies less than a
        thousandth beyond is the answer's own rounding, and is held at the edge."""
        stack, k = stack_of(location, self._stacks)
        slide = slide_of(stack)
        patch, size = slide.patches[k], (slide.patch_columns, slide.patch_rows)
        x0, y0, x1, y1 = box_of(location)
        left, top = to_matrix(patch, size, x0 / BOX_SCALE, y0 / BOX_SCALE)
        right, bottom = to_matrix(patch, size, x1 / BOX_SCALE, y1 / BOX_SCALE)
        edges = patch.x + patch.width, patch.y + patch.height
        if max(right - edges[0] - size[0] / BOX_SCALE, bottom - edges[1] - size[1] / BOX_SCALE) >= 0:
            raise Dropped("box-outside-image")
        right, bottom = min(right, edges[0]), min(bottom, edges[1])
        if left >= right or top >= bottom:
            raise Dropped("box-outside-image")
        return Place(stack, k, region_on(slide, slide, None, (slide.columns, slide.rows), (left, top, right, bottom)))

    def find(self, region: ImageRegion) -> Place | None:
        for stack in self._stacks:
            slide = slide_of(stack)
            if slide.sop_instance_uid != region.sop_instance_uid:
                continue
            for k, patch in enumerate(slide.patches):
                u, v = from_matrix(patch, (slide.patch_columns, slide.patch_rows), region.x0, region.y0)
                if 0 <= u < 1 and 0 <= v < 1:
                    return Place(stack, k, region)
        return None

    def side(self, place: Place) -> Side | None:
        return None

    def diagonal_mm(self, place: Place) -> float | None:
        region, (across, down) = place.region, slide_of(place.stack).micrometres
        return math.hypot((region.x1 - region.x0) * across, (region.y1 - region.y0) * down) / 1000

    def body_mm(self, place: Place) -> float | None:
        return None

    def implausible(self) -> AbstentionReason | None:
        """Patches without tissue were not chosen."""
        return None


def slide_of(stack: StoredStack) -> SeriesSlide:
    """The slide of a stack of this kind."""
    if not isinstance(stack.series, SeriesSlide):
        raise TypeError("the stack is not a slide")
    return stack.series
