"""A series of DICOM instances -> its geometry and its voxels. Pure: bytes in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from schemas.errors import PermanentFailure
from schemas.imaging import FrameSource, SeriesVolume
from schemas.volume import MAX_VOXELS, Volume
from workflows.series.attributes import side_told
from workflows.series.elements import Buffer
from workflows.series.geometry import Grid, grid_of
from workflows.series.members import members_of
from workflows.series.pixels import Scale, fill, scales_of, window_in_voxels
from workflows.series.plane import Plane, whole_number


def read_series(parts: Sequence[Buffer | Dataset]) -> tuple[SeriesVolume, Volume]:
    """The volume of a series, int16 [D, rows, columns], slice 0 the first along the slice normal.

    `parts` are the instances in any order: DICOM files (PS3.10) as bytes or mapped files, or data sets; single- or multi-frame. CT is in Hounsfield
    units, each slice by its own slope and intercept; what has no absolute scale keeps its stored values (see `pixels`).

    Raises `GeometryError` where the series is no stack in one order: `geometry-single-slice`, `-gap`, `-duplicate`, `-shear`, `-mixed`,
    `-orientation`, `-missing-tags`, `-localizer`, and of an enhanced image `-several-stacks`, `-several-phases`, `-several-contrasts`;
    `PermanentFailure` where it cannot be read: `dicom-unreadable`, `dicom-cut`, `dicom-value`, `pixels-...`.
    """
    members = members_of(parts)
    grid = grid_of(members.planes)
    pixels = grid.planes[0].instance.pixels
    shape = (len(grid.planes), pixels.rows, pixels.columns)
    if shape[0] * shape[1] * shape[2] > MAX_VOXELS:
        raise PermanentFailure("volume-too-large", "the series has more voxels than a volume may have")
    voxels = np.empty(shape, np.int16)
    fill(grid.planes, voxels)
    series = _series(grid).model_copy(update={"set_aside": members.set_aside})
    return series, Volume(voxels, series.spacing, series.units, series.modality)


def _series(grid: Grid) -> SeriesVolume:
    plane = grid.planes[0]
    instance = plane.instance
    return SeriesVolume(
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        series_number=whole_number(instance.attributes, "SeriesNumber"),
        modality=instance.modality,
        description=instance.attributes.text("SeriesDescription"),
        body_part=instance.attributes.text("BodyPartExamined"),
        side=side_told(instance.attributes),
        frame_of_reference_uid=instance.frame_of_reference_uid,
        rows=instance.pixels.rows,
        columns=instance.pixels.columns,
        row_spacing=grid.row_spacing,
        column_spacing=grid.column_spacing,
        origin=grid.origin,
        row_direction=grid.row_direction,
        column_direction=grid.column_direction,
        slice_step=grid.slice_step,
        units=plane.units,
        slice_positions=grid.positions,
        frames=[_frame(each, scale) for each, scale in zip(grid.planes, scales_of(grid.planes), strict=True)],
    )


def _frame(plane: Plane, scale: Scale) -> FrameSource:
    center, width = window_in_voxels(plane, scale)
    return FrameSource(
        sop_instance_uid=plane.instance.sop_instance_uid,
        sop_class_uid=plane.instance.sop_class_uid,
        instance_number=plane.instance.instance_number,
        frame=plane.frame,
        window_center=center,
        window_width=width,
    )
