"""Whether a volume can be what it claims to be, and where the body lies in it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.report import AbstentionReason, ImageRegion
from schemas.volume import Volume

BODY_HU = -500
"""Air is -1000 HU and lung about -850; soft tissue, fat and bone lie above."""
LEAST_BODY = 0.001
"""Share of the voxels of a CT that must be body."""
MOST_EQUAL = 0.9999
"""Share of the voxels that may have the same value."""
BRIGHT_SHARE = 0.1
"""Of the 99th percentile: what is brighter counts as body where the scale is not absolute."""
SAMPLED = 1 << 21


@dataclass(frozen=True)
class Body:
    """How far the body reaches: on the slice asked about in pixels (None where that slice shows none), and in the whole stack in mm."""

    x0: int
    y0: int
    x1: int
    y1: int
    diagonal_mm: float

    def holds(self, region: ImageRegion) -> bool:
        """Whether the middle of a box lies within the body's own box."""
        x, y = (region.x0 + region.x1) / 2, (region.y0 + region.y1) / 2
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1


def implausible(volume: Volume) -> AbstentionReason | None:
    """Why nothing can be read from this volume: it has no body in it, or is the same value all over."""
    sample = _sample(volume)
    if (
        np.bincount(sample.view(np.uint16)).max() >= MOST_EQUAL * sample.size
    ):  # counted by their bits: nothing is sorted
        return "volume-constant"
    if volume.units == "HU" and np.count_nonzero(sample > BODY_HU) < LEAST_BODY * sample.size:
        return "volume-empty"
    return None


def body_on(volume: Volume, k: int) -> Body | None:
    """The body on slice `k`; None where nothing of it is to be seen there."""
    mask = volume.voxels[k] > _threshold(volume)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    through, row, column = volume.spacing
    diagonal = math.hypot((y1 - y0) * row, (x1 - x0) * column, len(volume.voxels) * through)
    return Body(x0, y0, x1, y1, diagonal)


def _threshold(volume: Volume) -> float:
    if volume.units == "HU":
        return BODY_HU
    sample = _sample(volume)
    low = float(sample.min())
    return low + BRIGHT_SHARE * (float(np.percentile(sample, 99)) - low)


def _sample(volume: Volume) -> npt.NDArray[np.int16]:
    step = max(1, math.ceil((volume.voxels.size / SAMPLED) ** (1 / 3)))
    return volume.voxels[::step, ::step, ::step].ravel()
