"""Planes -> a plain grid, or the named reason why they are none.

The position of every plane is projected on the normal of the planes (PS3.3 C.7.6.2.1.1), which orders them whatever their numbers say. A
volume that is not a plain grid shows anatomy where it is not, so nothing is interpolated, dropped or guessed: each failure is a `GeometryError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import GeometryError
from schemas.imaging import Vector
from workflows.series.plane import Plane

Floats = npt.NDArray[np.floating[Any]]

COSINE_TOLERANCE = 2e-3
"""How far the directions of rows and columns may be from unit length and right angles: three written decimals leave 0.0005."""

DIRECTION_TOLERANCE = 1e-4
"""How far the cosines of two planes may differ: 0.1 mm at a metre, less than a tenth of a pixel anywhere in a body."""

SPACING_TOLERANCE = 1e-4
"""How far the pixel spacings of two planes may differ, relative: 0.05 pixel over 512."""

GAP_TOLERANCE = 0.01
"""How far one gap may differ from the mean gap, relative. A missing slice is off by a half at least; 0.01 is what highdicom takes too."""

ROUNDING_SHARE = 0.05
"""What the rounding of written positions may add at most to `GAP_TOLERANCE`, relative to the gap."""

DRIFT_TOLERANCE = 0.1
"""How far a slice may lie from its place on the even grid, relative to the gap: small differences must not add up to another anatomy."""

DUPLICATE_MM = 0.01
"""Planes closer than this show the same section: no scanner makes sections of 10 micrometres."""

SHEAR_TOLERANCE = 1e-3
"""Drift of the planes within themselves for each mm along the normal: 0.06 degrees, what rounded cosines leave; a gantry tilts by whole degrees."""

ROUNDING_STEPS = (1e-1, 1e-2, 1e-3)
"""The steps that positions may have been rounded to: a Decimal String carries as many digits as its writer chose."""


@dataclass(frozen=True)
class Grid:
    """Planes in order along the normal, and the geometry of their grid in mm (see `SeriesVolume`)."""

    planes: list[Plane]
    origin: Vector
    row_direction: Vector
    column_direction: Vector
    slice_step: Vector
    row_spacing: float
    column_spacing: float


def grid_of(planes: Sequence[Plane]) -> Grid:
    """The grid that the planes lie on; `GeometryError` if there is none."""
    try:
        return _grid_of(planes)
    except GeometryError as refused:
        raise _named(planes) or refused from None


_SEVERAL: tuple[tuple[str, str, Callable[[Plane], Any]], ...] = (
    ("geometry-several-stacks", "stacks", lambda p: p.dimensions.stack),
    ("geometry-several-phases", "points in time", lambda p: p.dimensions.phase),
    ("geometry-several-contrasts", "diffusion weights or echoes", lambda p: p.dimensions.contrast),
)


def _named(planes: Sequence[Plane]) -> GeometryError | None:
    """Why an enhanced image is not one grid, in its own words where it has any."""
    for code, what, key in _SEVERAL:
        if len({key(plane) for plane in planes}) > 1:
            return GeometryError(code, f"a multi-frame image holds several {what}: send each as a series of its own")
    return None


def _grid_of(planes: Sequence[Plane]) -> Grid:
    if len(planes) < 2:
        raise GeometryError("geometry-single-slice", "one image is not a volume")
    _check_one_kind(planes)
    row, column = _directions(planes[0])
    normal: Floats = np.cross(row, column)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    quantum = _rounding(positions)
    _check_gaps(along, float(np.abs(normal) @ quantum))
    step: Floats = (positions[-1] - positions[0]) / (len(planes) - 1)
    in_plane = np.abs([row, column]) @ quantum
    _check_shear(positions, along, normal, float(np.linalg.norm(in_plane)))
    spacing = planes[0].pixel_spacing
    return Grid(
        planes=[planes[i] for i in order],
        origin=_vector(positions[0]),
        row_direction=_vector(row),
        column_direction=_vector(column),
        slice_step=_vector(step),
        row_spacing=spacing[0],
        column_spacing=spacing[1],
    )


_SAME: tuple[tuple[str, Callable[[Plane], Any]], ...] = (
    ("study", lambda p: p.instance.study_instance_uid),
    ("series", lambda p: p.instance.series_instance_uid),
    ("modality", lambda p: p.instance.modality),
    ("frame of reference", lambda p: p.instance.frame_of_reference_uid),
    ("numbers of rows and columns", lambda p: (p.instance.pixels.rows, p.instance.pixels.columns)),
    ("units", lambda p: p.units),
    ("photometric interpretation", lambda p: p.instance.pixels.inverted),
)


def _check_one_kind(planes: Sequence[Plane]) -> None:
    for what, key in _SAME:
        if len({key(plane) for plane in planes}) > 1:
            raise GeometryError("geometry-mixed", f"the images of the series differ in {what}")
    directions = np.array([plane.orientation for plane in planes])
    if np.abs(directions - directions[0]).max() > DIRECTION_TOLERANCE:
        raise GeometryError("geometry-mixed", "the images of the series differ in orientation")
    spacings = np.array([plane.pixel_spacing for plane in planes])
    if np.abs(spacings / spacings[0] - 1).max() > SPACING_TOLERANCE:
        raise GeometryError("geometry-mixed", "the images of the series differ in pixel spacing")
    if len({(plane.instance.sop_instance_uid, plane.frame) for plane in planes}) < len(planes):
        raise GeometryError("geometry-duplicate", "an instance is there twice")


def _directions(plane: Plane) -> tuple[Floats, Floats]:
    """Unit vectors of increasing column and row index, made exactly orthogonal."""
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > COSINE_TOLERANCE or abs(float(row @ column)) > COSINE_TOLERANCE:
        raise GeometryError(
            "geometry-orientation", "the directions of rows and columns are not at right angles or not of unit length"
        )
    row /= lengths[0]
    column -= (column @ row) * row
    return row, column / np.linalg.norm(column)


def _rounding(positions: Floats) -> Floats:
    """For each axis, the step [mm] that all positions are multiples of, 0 if they are finer or never change."""
    found = np.zeros(3)
    for axis in range(3):
        values = positions[:, axis]
        if np.ptp(values) == 0:
            continue
        steps = (s for s in ROUNDING_STEPS if np.abs(values / s - np.round(values / s)).max() < 1e-6 / s)
        found[axis] = next(steps, 0.0)
    return found


def _check_gaps(along: Floats, quantum: float) -> None:
    """`along`: positions on the normal, ascending; `quantum`: what they were rounded to."""
    gaps = np.diff(along)
    if gaps.min() < DUPLICATE_MM:
        raise GeometryError(
            "geometry-duplicate", "two images lie at one position: the series holds several phases, echoes or copies"
        )
    gap = float(np.mean(gaps))
    if np.abs(gaps - gap).max() > GAP_TOLERANCE * gap + min(quantum, ROUNDING_SHARE * gap):
        raise GeometryError("geometry-gap", "the slices are not evenly spaced: one is missing or the spacing changes")
    even = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - even).max() > DRIFT_TOLERANCE * gap:
        raise GeometryError("geometry-gap", "the slices are not evenly spaced: the spacing changes along the stack")


def _check_shear(positions: Floats, along: Floats, normal: Floats, quantum: float) -> None:
    """Every plane must lie straight above the first one: a tilted gantry moves each a little further within its plane."""
    allowed = SHEAR_TOLERANCE * (along[-1] - along[0]) + quantum
    offsets = positions - positions[0] - np.outer(along - along[0], normal)
    if np.linalg.norm(offsets, axis=1).max() > allowed:
        raise GeometryError("geometry-shear", "the slices are shifted against each other, as with a tilted gantry")


def _vector(values: Floats) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
