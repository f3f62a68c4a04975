"""Patches of 896 x 896 pixels at 10x: a grid over the slide, those with tissue, a fair choice among them, and their pixels.

A patch is a rectangle of whole pixels of the finest level (the total pixel matrix of PS3.3 C.8.12.4), so that a place on it is an exact place on the
slide. The side is 896 micrometres rounded to whole pixels, which makes the scale exact to a thousandth or better.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from PIL import Image

from schemas.errors import PermanentFailure
from schemas.imaging import SlidePatch
from workflows.slides.slide import OBJECTIVE_MICROMETRES, OpenedSlide, Rgb, coarsest_within, downsample
from workflows.slides.tissue import Mask

SIDE = 896
LEAST_TISSUE = 0.15
"""Of a patch's area. Needle cores are half as wide as a patch, and may fall between two columns of them."""
WHITE = 255


def patch_size(micrometres: tuple[float, float]) -> tuple[int, int]:
    """Width and height of a patch in pixels of the finest level."""
    across, down = (max(1, round(SIDE * OBJECTIVE_MICROMETRES / size)) for size in micrometres)
    return across, down


def grid(size: tuple[int, int], patch: tuple[int, int]) -> list[SlidePatch]:
    """Patches that cover the slide without overlap, row by row from its upper left corner; those at its other edges reach beyond it."""
    (width, height), (across, down) = size, patch
    return [
        SlidePatch(x=x, y=y, width=min(across, width - x), height=min(down, height - y))
        for y in range(0, height, down)
        for x in range(0, width, across)
    ]


def tissue_shares(
    mask: Mask, scale: tuple[float, float], patches: list[SlidePatch], patch: tuple[int, int]
) -> list[float]:
    """The share of each whole patch that is tissue; `scale` is pixels of the finest level of one pixel of the mask, across and down."""
    sums = np.pad(mask.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = mask.shape
    shares = []
    for each in patches:
        left, right = (min(round(x / scale[0]), columns) for x in (each.x, each.x + each.width))
        top, bottom = (min(round(y / scale[1]), rows) for y in (each.y, each.y + each.height))
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        shares.append(float(count) * scale[0] * scale[1] / (patch[0] * patch[1]))
    return shares


def choose_patches(
    patches: list[SlidePatch], shares: list[float], most: int, seed: str
) -> tuple[int, list[SlidePatch]]:
    """How many patches have enough tissue, and at most `most` of them, row by row. Which is drawn by `seed` alone, the same on every machine.

    `PermanentFailure` (`slide-no-tissue`) if there are none.
    """
    found = [
        patch.model_copy(update={"tissue": round(min(share, 1.0), 4)})
        for patch, share in zip(patches, shares, strict=True)
        if share >= LEAST_TISSUE
    ]
    if not found:
        raise PermanentFailure("slide-no-tissue", "no tissue was found on the slide: look at it")
    drawn = sorted(found, key=lambda patch: hashlib.sha256(f"{seed}|{patch.y}|{patch.x}".encode()).digest())[:most]
    return len(found), sorted(drawn, key=lambda patch: (patch.y, patch.x))


def read_patch(slide: OpenedSlide, patch: SlidePatch, size: tuple[int, int]) -> Rgb:
    """The patch as the model sees it, uint8 [896, 896, 3]; white where it reaches beyond the slide.

    Read from the next finer level and made smaller here, whatever the format: readers' own ways of resampling differ by up to 17 grey levels between
    two levels. Each pixel is the mean of those it covers, as the light of a coarser objective would be.
    """
    level = coarsest_within(slide, OBJECTIVE_MICROMETRES)
    scale, (columns, rows) = downsample(slide, level), slide.sizes[level]
    left, top = patch.x / scale[0], patch.y / scale[1]
    right, bottom = (patch.x + size[0]) / scale[0], (patch.y + size[1]) / scale[1]
    x, y = min(math.floor(left), columns - 1), min(math.floor(top), rows - 1)
    across, down = math.ceil(right) - x, math.ceil(bottom) - y
    canvas = np.full((down, across, 3), WHITE, np.uint8)
    width = min(across, columns - x, math.ceil((patch.x + patch.width) / scale[0]) - x)
    height = min(down, rows - y, math.ceil((patch.y + patch.height) / scale[1]) - y)
    canvas[:height, :width] = slide.region(level, x, y, width, height)
    if (across, down) == (SIDE, SIDE):
        return canvas
    box = (left - x, top - y, right - x, bottom - y)
    return np.asarray(Image.fromarray(canvas).resize((SIDE, SIDE), Image.Resampling.BOX, box=box))


def to_matrix(patch: SlidePatch, size: tuple[int, int], u: float, v: float) -> tuple[float, float]:
    """A place on the patch (0..1 across and down) as column and row of the total pixel matrix."""
    return patch.x + u * size[0], patch.y + v * size[1]


def from_matrix(patch: SlidePatch, size: tuple[int, int], column: float, row: float) -> tuple[float, float]:
    """The inverse of `to_matrix`."""
    return (column - patch.x) / size[0], (row - patch.y) / size[1]
