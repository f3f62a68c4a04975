"""Planes -> a stack in order, each slice at its own place, or the named reason why they are none.

The position of every plane is projected on the normal of the planes (PS3.3 C.7.6.2.1.1), which orders them whatever their numbers say. Where the
slices follow one another in even steps, straight or along the slant of a tilted gantry, they are a grid; where the steps change along the stack
(thin ones through the skull base, thick ones above), each slice keeps its own position. Nothing is interpolated, dropped or guessed. What has no
one order or direction, and a stack in which a slice is missing, is a `GeometryError` that names the place.
"""

from __future__ import annotations

import math
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

DIRECTION_TOLERANCE = 1e-3
"""How far the cosines of two planes may differ: a quarter of a millimetre at the edge of a body; cosines are written with as few as four digits."""

SPACING_TOLERANCE = 1e-4
"""How far the pixel spacings of two planes may differ, relative: 0.05 pixel over 512."""

EVEN = 0.1
"""How far a slice may lie from its place on the even grid, relative to the gap: beyond it each slice keeps its own position. Writers round positions
to a tenth of a millimetre, and tables stop a hundredth off."""

MISSING = 1.6
"""A gap this many times as wide as both gaps beside it, and than its slices are thick, shows that a slice is missing."""

DUPLICATE_MM = 0.01
"""Planes closer than this show the same section: no scanner makes sections of 10 micrometres."""

MOST_TILT = math.tan(math.radians(45))
"""Drift of the planes within themselves for each mm along the normal: gantries tilt by up to 30 degrees."""

OFF_LINE_MM = 2.0
"""How far a slice may lie, within its plane, from the line through the stack: the table sags and moves by a millimetre, another region lies further
off."""


@dataclass(frozen=True)
class Grid:
    """Planes in order along the normal, and their geometry in mm (see `SeriesVolume`)."""

    planes: list[Plane]
    origin: Vector
    row_direction: Vector
    column_direction: Vector
    slice_step: Vector
    row_spacing: float
    column_spacing: float
    positions: list[Vector]
    """Of each slice, where they do not lie on an even grid; else empty."""


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
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [planes[i] for i in order]
    positions = positions[order]
    along = positions @ normal
    _check_gaps(along, ordered)
    _check_direction(positions, along, normal, ordered)
    step: Floats = (positions[-1] - positions[0]) / (len(planes) - 1)
    spacing = planes[0].pixel_spacing
    return Grid(
        planes=ordered,
        origin=_vector(positions[0]),
        row_direction=_vector(row),
        column_direction=_vector(column),
        slice_step=_vector(step),
        row_spacing=spacing[0],
        column_spacing=spacing[1],
        positions=[] if _is_even(positions, step, normal) else [_vector(position) for position in positions],
    )


def _is_even(positions: Floats, step: Floats, normal: Floats) -> bool:
    """Whether every slice lies at its place on the even grid."""
    even = positions[0] + np.outer(np.arange(len(positions)), step)
    return bool(np.linalg.norm(positions - even, axis=1).max() <= EVEN * abs(float(step @ normal)))


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
        if len({key(plane) for plane in planes} - {None}) > 1:
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


def _check_gaps(along: Floats, planes: Sequence[Plane]) -> None:
    """`along`: positions on the normal, ascending."""
    gaps = np.diff(along)
    if (close := np.flatnonzero(gaps < DUPLICATE_MM)).size:
        raise GeometryError(
            "geometry-duplicate",
            f"two images lie at one position ({place_of(planes, close[0])}): the series holds several phases, echoes or copies",
        )
    if len(gaps) == 1:
        return
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    for k, gap in enumerate(gaps):
        if _is_missing(gaps, k, usual, _thickness(planes[k : k + 2])):
            raise GeometryError(
                "geometry-gap",
                f"a slice is missing: {gap:.1f} mm lie between {place_of(planes, k)} and the next, {usual:.1f} mm between most: "
                "send the series again",
            )


def _is_missing(gaps: Floats, k: int, usual: float, thickness: float | None) -> bool:
    """Whether gap `k` [mm] is too wide. Where steps change along the stack each is as wide as one of those beside it; slices as thick as the gap
    fill it."""
    if thickness is not None and gaps[k] <= MISSING * thickness:
        return False
    beside = float(np.delete(gaps[max(k - 1, 0) : k + 2], min(k, 1)).max())
    return bool(gaps[k] > MISSING * (usual if thickness is not None else max(beside, usual)))


def _thickness(planes: Sequence[Plane]) -> float | None:
    """Of the slices on both sides of a gap, in mm, as far as they are told."""
    told = [plane.thickness for plane in planes if plane.thickness]
    return sum(told) / len(told) if told else None


def _check_direction(positions: Floats, along: Floats, normal: Floats, planes: Sequence[Plane]) -> None:
    """The slices lie on one line: straight up, or slanted as under a tilted gantry."""
    within = positions - positions[0] - np.outer(along - along[0], normal)
    run = along - along[0]
    slant = within.T @ run / float(run @ run)
    off = np.linalg.norm(within - np.outer(run, slant), axis=1)
    if off.max() > OFF_LINE_MM:
        k = int(off.argmax())
        raise GeometryError(
            "geometry-shear",
            f"the slices have no common direction: {place_of(planes, k)} lies {off[k]:.0f} mm beside the line of the others",
        )
    if np.linalg.norm(slant) > MOST_TILT:
        raise GeometryError(
            "geometry-shear", "the slices are slanted by more than 45 degrees: this is no stack of sections"
        )


def place_of(planes: Sequence[Plane], k: int) -> str:
    """`slice 14 of 40 (instance 13)`, counted along the stack."""
    number = planes[k].instance.instance_number
    return f"slice {k + 1} of {len(planes)}" + (f" (instance {number})" if number is not None else "")


def _vector(values: Floats) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
