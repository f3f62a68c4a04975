"""Where a voxel lies in the patient, and which slice of a prior shows the same place."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.imaging import SeriesVolume

MIDLINE_MM = 15.0
MIDLINE_SHARE = 0.075
"""Within 15 mm or 7.5 % of the volume's width (whichever is more) of its centre no side is told: patients lie that far off the centre."""

ONE_SIDED = (
    "SHOULDER", "ARM", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "HIP", "FEMUR", "LEG",
    "KNEE", "ANKLE", "FOOT", "TOE", "CALCANEUS", "PATELLA", "CLAVICLE", "SCAPULA", "BREAST",
)  # fmt: skip
"""Body parts (PS3.16 CID 4031, by their BodyPartExamined) that may be imaged alone: the volume's centre is then not the patient's midline."""

PARALLEL = 0.9
"""Cosine (26 degrees) from which two stacks are taken to run the same way."""

Side = Literal["left", "right", "midline"]
Point = npt.NDArray[np.float64]


def side_of(series: SeriesVolume, k: float, row: float, column: float) -> Side | None:
    """The patient's side of a voxel, from its LPS position against the centre of the volume; None where that is not the patient's midline."""
    if any(part in (series.body_part or "").upper() for part in ONE_SIDED):
        return None
    ends = (0, len(series.frames) - 1), (0, series.rows - 1), (0, series.columns - 1)
    across = [series.position(*corner)[0] for corner in product(*ends)]
    width, centre = max(across) - min(across), (max(across) + min(across)) / 2
    tolerance = max(MIDLINE_MM, MIDLINE_SHARE * width)
    if width < 4 * tolerance:
        return None
    offset = series.position(k, row, column)[0] - centre
    if abs(offset) <= tolerance:
        return "midline"
    return "left" if offset > 0 else "right"


def main_plane(series: SeriesVolume) -> str:
    """The plane that the slices are nearest to: sagittal, coronal or axial."""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(_normal(series))))]


def nearest_slice(current: SeriesVolume, k: int, prior: SeriesVolume) -> int:
    """The index in `prior` of the slice that shows the place of slice `k` of `current`.

    By position where both share a frame of reference (PS3.3 C.7.4.1) and run the same way, else in proportion along the stack.
    """
    last = len(prior.frames) - 1
    along = float(_normal(current) @ _normal(prior))
    same = current.frame_of_reference_uid is not None and current.frame_of_reference_uid == prior.frame_of_reference_uid
    if same and abs(along) >= PARALLEL:
        centre = np.array(current.position(k, (current.rows - 1) / 2, (current.columns - 1) / 2))
        normal = _normal(prior)
        heights = [float(np.array(prior.start(each)) @ normal) for each in range(last + 1)]
        index: float = int(np.argmin(np.abs(np.array(heights) - float(centre @ normal))))
    else:
        share = k / max(len(current.frames) - 1, 1)
        index = (1 - share if along <= -PARALLEL else share) * last
    return min(max(round(index), 0), last)


def _normal(series: SeriesVolume) -> Point:
    normal: Point = np.array(series.normal)
    return normal
