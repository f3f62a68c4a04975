"""A picture in its square, as the model is shown it, and back: the published notebook is quoted to pad with black, the picture in the middle.

`box_2d` counts thousandths of that square. From there to the source's pixels is one shift and one scale for each axis, both exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import PermanentFailure
from schemas.imaging import Square
from schemas.inference import BOX_SCALE

ROUNDING = 1.0
"""Thousandths by which a box may reach over the picture's edge: answers are whole thousandths, and an edge seldom falls on one. What reaches
further was not drawn on the picture."""
MOST_STRETCHED = 4.0
SQUARE_PIXELS = 0.01
"""Pixels whose sides differ by less than this share count as square."""

Levels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class OutsideImage(Exception):
    """The box lies, wholly or in part, where there is no picture."""


def square_of(rows: int, columns: int, aspect: float) -> Square:
    """`aspect` is a pixel's height over its width; whichever side is longer is drawn larger, so that nothing is lost."""
    if not 1 / MOST_STRETCHED <= aspect <= MOST_STRETCHED:
        raise PermanentFailure("picture-aspect", "the pixels of the picture are too far from square to be true")
    if abs(aspect - 1) <= SQUARE_PIXELS:
        return Square(rows=rows, columns=columns, height=rows, width=columns)
    if aspect > 1:
        return Square(rows=rows, columns=columns, height=round(rows * aspect), width=columns)
    return Square(rows=rows, columns=columns, height=rows, width=round(columns / aspect))


def to_square(levels: Levels, square: Square) -> Levels:
    """[rows, columns, samples] -> [side, side, samples], centred, the odd pixel to the right and below."""
    if (square.height, square.width) != levels.shape[:2]:
        levels = np.stack([_resized(sample, square) for sample in np.moveaxis(levels, -1, 0)], axis=-1)
    below, beside = square.side - square.height - square.top, square.side - square.width - square.left
    return np.pad(levels, ((square.top, below), (square.left, beside), (0, 0)))


def _resized(sample: Levels, square: Square) -> Levels:
    size = (square.width, square.height)
    return np.asarray(Image.fromarray(sample).resize(size, Image.Resampling.BILINEAR), np.uint8)


def from_square(box: tuple[int, int, int, int], square: Square) -> Box:
    """`box` is [y0, x0, y1, x1] in thousandths of the square -> x0, y0, x1, y1 in pixels of the source frame; `OutsideImage`."""
    y0, x0, y1, x1 = box
    top, bottom = _edges(y0, y1, square.side, square.top, square.height, square.rows)
    left, right = _edges(x0, x1, square.side, square.left, square.width, square.columns)
    return left, top, right, bottom


def _edges(low: int, high: int, side: int, start: int, drawn: int, source: int) -> tuple[float, float]:
    """Both edges along one axis, in source pixels, held at the picture's edge where they pass it by rounding alone."""
    allowed = ROUNDING * side / BOX_SCALE
    first, last = low * side / BOX_SCALE - start, high * side / BOX_SCALE - start
    if first < -allowed or last > drawn + allowed or last <= 0 or first >= drawn:
        raise OutsideImage
    return max(first, 0.0) * source / drawn, min(last, drawn) * source / drawn
