"""The whole slide as one small picture: where the tissue is looked for, and what the reviewer is shown."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from schemas.errors import PermanentFailure
from schemas.imaging import SlidePatch
from workflows.series.render import png_of
from workflows.slides.slide import OpenedSlide, Rgb, coarsest_within, downsample

LONGEST_SIDE = 1600
"""Pixels of the overview, at most about so many."""
LEAST_MICROMETRES = 4.0
"""Of one of its pixels: finer than this it shows cells, not tissue."""
MOST_READ = 256 * 1024 * 1024
"""Pixels of the level that it is made of. A slide with its finest level alone would have to be read as a whole."""
BAND = 16 * 1024 * 1024
"""Pixels that are held at a time."""
GRID_COLOUR = (0, 90, 200)


def read_overview(slide: OpenedSlide) -> tuple[Rgb, tuple[float, float]]:
    """The overview, and how many pixels of the finest level one of its pixels covers, across and down.

    `PermanentFailure` (`slide-without-overview`) if the pyramid has no level that is small enough.
    """
    (width, height), (across, down) = slide.sizes[0], slide.micrometres
    wanted = max(LEAST_MICROMETRES, max(width * across, height * down) / LONGEST_SIDE)
    level = coarsest_within(slide, wanted)
    columns, rows = slide.sizes[level]
    if columns * rows > MOST_READ:
        raise PermanentFailure("slide-without-overview", "the slide has no small level: store it as a pyramid")
    scale = downsample(slide, level)
    times = max(1, int(wanted * 1.001 / max(scale[0] * across, scale[1] * down)))
    step = max(times, BAND // columns // times * times)
    bands = [
        reduced(slide.region(level, 0, top, columns, min(step, rows - top)), times) for top in range(0, rows, step)
    ]
    return np.concatenate(bands), (scale[0] * times, scale[1] * times)


def reduced(pixels: Rgb, times: int) -> Rgb:
    """Smaller by a whole number, each pixel the mean of those it covers; at the right and lower edge of those that are there."""
    return np.asarray(Image.fromarray(pixels).reduce(times)) if times > 1 else pixels


def picture_png(pixels: Rgb) -> bytes:
    return png_of(Image.fromarray(pixels))


def outlined_png(
    png: bytes, patches: Iterable[SlidePatch], scale: tuple[float, float], chosen: SlidePatch | None = None
) -> bytes:
    """The overview with the outline of each patch that the model is shown, that of `chosen` thicker."""
    with Image.open(BytesIO(png)) as stored:
        picture = stored.convert("RGB")
    draw = ImageDraw.Draw(picture)
    for patch in patches:
        left, top = patch.x / scale[0], patch.y / scale[1]
        right, bottom = (patch.x + patch.width) / scale[0], (patch.y + patch.height) / scale[1]
        draw.rectangle(
            (left, top, max(right - 1, left), max(bottom - 1, top)),
            outline=GRID_COLOUR,
            width=3 if patch == chosen else 1,
        )
    return png_of(picture)
