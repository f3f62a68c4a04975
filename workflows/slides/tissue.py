"""Where the tissue of a slide lies, by the light that its stain takes away.

Optical density (the negative logarithm of the light that comes through) adds up over stains, so which colour of light a stain takes most of does not
depend on how much of it there is. Haematoxylin and eosin take green the most; DAB, the brown of immunohistochemistry, blue; the ink of blue, green
and black pens takes red as much as green or more. (Ruifrok and Johnston, Anal Quant Cytol Histol 2001;23:291, give haematoxylin 0.65/0.70/0.29, eosin
0.07/0.99/0.11 and DAB 0.27/0.57/0.78 for red/green/blue.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workflows.slides.slide import Rgb

Mask = npt.NDArray[np.bool_]
Density = npt.NDArray[np.float32]

BLACK = 45
"""Grey level below which nothing comes through: the edge of the glass, the holder, dense ink."""
LEAST_DENSITY, MOST_DENSITY = 0.06, 0.16
"""Mean optical density between which Otsu's threshold must lie: bare glass has no two classes, and neither has a slide full of tissue."""
INK_RED_TO_GREEN = 1.2
"""Blue, green and grey to black ink: haematoxylin reaches 0.93."""
INK_LEAST_DENSITY = 0.25
"""Below this, colours are uncertain: pale grey is not taken for ink."""
RED_INK = (0.15, 0.65)
"""Red ink lets red through nearly whole (most of red to green) and takes blue nearly as green (least of blue to green): eosin has 0.07 and 0.11."""
NEIGHBOURS = 5
"""Of the nine pixels around and with each: fewer are a speck, a hair or the seam of two fields of the scanner."""


def tissue_mask(overview: Rgb) -> Mask:
    """[H, W]: true where the overview [H, W, 3] shows tissue."""
    density = _density(overview)
    seen = (_most(overview) >= BLACK) & ~_ink(density)
    mean = (density[..., 0] + density[..., 1] + density[..., 2]) / np.float32(3)
    threshold = min(max(otsu(mean[seen]), LEAST_DENSITY), MOST_DENSITY)
    return _smooth(seen & (mean > threshold))


def otsu(values: Density) -> float:
    """The threshold that parts `values` in two classes with the least variance within them (Otsu, IEEE Trans SMC 1979;9:62); 0 for none."""
    if values.size == 0:
        return 0.0
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][int(np.nanargmax(between))]) if np.isfinite(between).any() else 0.0


def _density(pixels: Rgb) -> Density:
    table = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)
    found: Density = table[pixels]
    return found


def _most(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The greatest of the three colours; colour by colour, because numpy's reduction along so short an axis takes ten times as long."""
    found: npt.NDArray[Any] = np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    return found


def _ink(density: Density) -> Mask:
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    most = _most(density)
    strong = most > INK_LEAST_DENSITY
    cool = red > INK_RED_TO_GREEN * green
    hot = (red < RED_INK[0] * green) & (blue > RED_INK[1] * green)
    grey = (most - np.minimum(np.minimum(red, green), blue)) < 0.1 * most
    ink: Mask = strong & (cool | hot | grey)
    return ink


def _smooth(mask: Mask) -> Mask:
    """The majority of each pixel's neighbourhood; beyond the edge there is no tissue."""
    padded = np.pad(mask.astype(np.uint8), 1)
    rows, columns = mask.shape
    count = sum(
        padded[down : down + rows, across : across + columns].astype(np.uint8)
        for down in range(3)
        for across in range(3)
    )
    smooth: Mask = np.asarray(count) >= NEIGHBOURS
    return smooth
