"""How large each level of a slide is, by its own tags: scanners fill levels up to whole tiles, so that the sizes of two matrices tell no scale.

What holds is each level's Pixel Spacing (Pixel Measures, PS3.3 C.7.6.16.2.1). Where it contradicts the sizes, or the Imaged Volume Width and Height
(PS3.3 C.8.12.4), nobody knows where anything is, and the slide is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import PermanentFailure

TOLERANCE = 0.01
"""Share by which two statements about one length may differ, beside a pixel of rounding and a tile of filling."""
OBLONG = 0.02
"""Share by which a level's pixels may be wider or higher than the finest level's are, beside a pixel of rounding at each end."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class LevelTags:
    """What the tags of a level say, each across and down."""

    matrix: tuple[int, int]
    """Pixels of the total pixel matrix."""
    tile: tuple[int, int]
    micrometres: Pair
    """Of one of its pixels."""
    imaged: Pair | None = None
    """Micrometres of the volume that was imaged."""


def level_sizes(levels: Sequence[LevelTags]) -> tuple[tuple[int, int], ...]:
    """Width and height of each level without what it was filled up with, in pixels of its own; the finest first, whole.

    `PermanentFailure` (`slide-scale-contradiction`) where spacing, matrix and imaged volume do not fit together.
    """
    for level in levels:
        _check_shape(levels[0], level)
        if level.imaged is not None:
            _check_imaged(level, level.imaged)
    first, *others = levels
    sizes = [first.matrix, *(_size(first, level) for level in others)]
    return tuple(sizes)


def _size(first: LevelTags, level: LevelTags) -> tuple[int, int]:
    across, down = (_length(first, level, axis) for axis in (0, 1))
    return across, down


def _length(first: LevelTags, level: LevelTags, axis: int) -> int:
    """The level's own length where it is that of the finest level within rounding, else the length that it should have."""
    ratio = level.micrometres[axis] / first.micrometres[axis]
    expected, stored = first.matrix[axis] / ratio, level.matrix[axis]
    if abs(stored - expected) <= 1:
        return stored
    slack = 1 + TOLERANCE * expected
    if stored > expected + slack + level.tile[axis] or stored < expected - slack - first.tile[axis] / ratio:
        raise _contradiction()
    return max(1, math.ceil(expected - TOLERANCE))


def _check_shape(first: LevelTags, level: LevelTags) -> None:
    shapes = [one.micrometres[0] / one.micrometres[1] for one in (first, level)]
    if abs(shapes[1] / shapes[0] - 1) > OBLONG + 2 / min(level.matrix):
        raise _contradiction()


def _check_imaged(level: LevelTags, imaged: Pair) -> None:
    for stored, tile, size, length in zip(level.matrix, level.tile, level.micrometres, imaged, strict=True):
        expected = length / size
        slack = 1 + TOLERANCE * expected
        if not expected - slack <= stored <= expected + slack + tile:
            raise _contradiction()


def _contradiction() -> PermanentFailure:
    return PermanentFailure(
        "slide-scale-contradiction",
        "the pixel spacing of a level of the slide contradicts its size: nobody can tell where on the slide anything is",
    )
