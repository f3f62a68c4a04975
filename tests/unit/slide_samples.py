"""Slides that tests make: glass with pieces of stained tissue, as pixels and as pyramids of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from workflows.slides import Rgb, SlideSource
from workflows.slides.slide import OpenedSlide

GLASS = (243, 242, 244)
HAEMATOXYLIN, EOSIN, DAB = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)
"""Optical density of each stain, for red, green and blue (Ruifrok and Johnston 2001)."""


def stain(*amounts: tuple[tuple[float, float, float], float]) -> tuple[int, int, int]:
    """What glass looks like behind these amounts of stains."""
    density = np.sum([np.asarray(vector) * amount for vector, amount in amounts], axis=0)
    red, green, blue = (round(g * 10**-d) for g, d in zip(GLASS, density, strict=True))
    return red, green, blue


def paint(width: int, height: int, pieces: list[tuple[int, int, int, int]], seed: int = 0) -> Rgb:
    """Glass with rectangles (left, top, right, bottom) of tissue: eosin with darker nuclei of about ten pixels, whose edges are soft as
    under a microscope: edges as sharp as print are searched for text."""
    rng = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = GLASS
    ends = stain((EOSIN, 0.35), (HAEMATOXYLIN, 0.1)), stain((HAEMATOXYLIN, 0.9), (EOSIN, 0.2))
    tissue = np.linspace(*ends, 256).round().astype(np.uint8)
    for left, top, right, bottom in pieces:
        rows, columns = bottom - top, right - left
        down, across = -(-rows // 10), -(-columns // 10)
        nuclei = Image.fromarray((rng.random((down, across)) < 0.25).astype(np.uint8) * 255)
        soft = np.asarray(nuclei.resize((across * 10, down * 10), Image.Resampling.BILINEAR))
        picture[top:bottom, left:right] = tissue[soft[:rows, :columns]]
    return picture


def pyramid(base: Rgb, levels: int, times: int = 2) -> list[Rgb]:
    """The picture and its reductions by `times`, each the mean of the one before."""
    found = [base]
    for _ in range(levels - 1):
        found.append(np.asarray(Image.fromarray(found[-1]).reduce(times)))
    return found


SOURCE = SlideSource("1.2.826.0.1.3680043.8.498.1", "1.2.840.10008.5.1.4.1.1.77.1.6", 1)


@dataclass
class ArraySlide:
    """An opened slide of arrays; `read` counts the pixels that were asked for."""

    arrays: list[Rgb]
    micrometres: tuple[float, float]
    source: SlideSource = SOURCE
    read: int = 0
    most: int = 0

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return tuple((array.shape[1], array.shape[0]) for array in self.arrays)

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        columns, rows = self.sizes[level]
        assert 0 <= x < x + width <= columns, "the region lies outside of the level"
        assert 0 <= y < y + height <= rows, "the region lies outside of the level"
        self.read += width * height
        self.most = max(self.most, width * height)
        return self.arrays[level][y : y + height, x : x + width]


def array_slide(base: Rgb, micrometres: float = 0.5, levels: int = 5, **more: Any) -> ArraySlide:
    slide = ArraySlide(pyramid(base, levels), (micrometres, micrometres), **more)
    opened: OpenedSlide = slide
    assert opened.sizes
    return slide
