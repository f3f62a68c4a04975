"""What is asked of an opened whole slide, whatever format it lies in, and how its levels relate to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.caution import Caution
from schemas.errors import PermanentFailure

Rgb = npt.NDArray[np.uint8]
"""[H, W, 3]."""

OBJECTIVE_MICROMETRES = 1.0
"""Of one pixel at 10x. A pixel of 10 micrometres behind an objective of 10x is the convention; scanners' 20x and 40x are 0.5 and 0.25."""
FINEST, COARSEST = 0.05, 20.0
"""Micrometres of one pixel of a finest level: what lies outside is no scale but a printer's resolution (72 dpi are 353 micrometres)."""
TOO_COARSE = 1.1
"""A finest level may be coarser than 10x by a tenth."""

OBLONG = 1.02
"""A pixel may be longer than it is wide, or the reverse, by so much."""


@dataclass(frozen=True)
class SlideSource:
    """The instance that holds the finest level, and what its coded tags say of the specimen."""

    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    series_number: int | None = None
    description: str | None = None
    specimen: str | None = None
    """Our own words for codes that are known here: "colon, biopsy"."""
    cautions: list[Caution] = field(default_factory=list)


class OpenedSlide(Protocol):
    """A pyramid of one picture. Pixels outside of it, and what a sparse level leaves out, are white."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, the finest first: that one is the total pixel matrix."""
        ...

    @property
    def micrometres(self) -> tuple[float, float]:
        """Of one pixel of the finest level, across and down."""
        ...

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of one level, in its own coordinates; the rectangle lies within the level."""
        ...


class ArchivedSlide(OpenedSlide, Protocol):
    """A slide of an archive."""

    @property
    def source(self) -> SlideSource: ...


def require_scale(micrometres: tuple[float, float] | None) -> tuple[float, float]:
    """The size of a pixel as the file gives it; `PermanentFailure` (`slide-scale-missing`, `slide-pixels-oblong`,
    `slide-too-coarse`) if it cannot be read at 10x."""
    if micrometres is None or not all(math.isfinite(m) and FINEST <= m <= COARSEST for m in micrometres):
        raise PermanentFailure(
            "slide-scale-missing", "the slide does not say how large its pixels are: store it with its pixel spacing"
        )
    if max(micrometres) > OBLONG * min(micrometres):
        raise PermanentFailure("slide-pixels-oblong", "the slide's pixels are not square: store it with square pixels")
    if max(micrometres) > TOO_COARSE * OBJECTIVE_MICROMETRES:
        raise PermanentFailure("slide-too-coarse", "the finest level of the slide is coarser than 10x: scan it finer")
    return micrometres


def downsample(slide: OpenedSlide, level: int) -> tuple[float, float]:
    """Pixels of the finest level that one pixel of `level` covers, across and down.

    Scanners halve and cut or fill the rest, so a ratio that an integer explains within one pixel is that integer.
    """
    (width, height), (w, h) = slide.sizes[0], slide.sizes[level]
    return _ratio(width, w), _ratio(height, h)


def _ratio(fine: int, coarse: int) -> float:
    whole = round(fine / coarse)
    return float(whole) if abs(whole * coarse - fine) < whole else fine / coarse


def micrometres_of(slide: OpenedSlide, level: int) -> tuple[float, float]:
    """Of one pixel of the level, across and down."""
    across, down = downsample(slide, level)
    return slide.micrometres[0] * across, slide.micrometres[1] * down


def coarsest_within(slide: OpenedSlide, micrometres: float) -> int:
    """The coarsest level whose pixels are no larger than this, or the finest where all are: what is read is made smaller, hardly ever larger."""
    fits = [n for n in range(len(slide.sizes)) if max(micrometres_of(slide, n)) <= micrometres * 1.001]
    return max(fits, key=lambda n: micrometres_of(slide, n), default=0)
