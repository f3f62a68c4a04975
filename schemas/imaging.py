"""Studies, series and the geometry of a volume, as records without pixels."""

from __future__ import annotations

from schemas.caution import Caution
from schemas.model import Record
from schemas.volume import Units

Vector = tuple[float, float, float]


class SeriesInventory(Record):
    """A series as QIDO-RS lists it."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    description: str | None
    instance_count: int


class StudyInventory(Record):
    """A study as QIDO-RS lists it; its identifiers were checked against what was asked."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str | None
    accession_number: str | None
    study_date: str | None
    study_time: str | None
    description: str | None
    series: list[SeriesInventory]
    sop_instance_uids: list[str]


class StudyListing(Record):
    """A study as a search by date lists it: enough to know whose it is and whether it is one that we read."""

    study_instance_uid: str
    patient_id: str | None
    study_date: str
    modalities: list[str]


class FrameSource(Record):
    """Where one slice of a volume came from; `frame` counts from 1."""

    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    frame: int
    window_center: float | None = None
    window_width: float | None = None


class SeriesVolume(Record):
    """A series that is a plain grid. All lengths in mm, directions in the patient's LPS axes (DICOM PS3.3 C.7.6.2).

    Voxel (k, r, c) lies at origin + k * slice_step + r * row_spacing * column_direction + c * column_spacing * row_direction, where
    `row_direction` is the direction of increasing column index (the first three values of ImageOrientationPatient).
    """

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    modality: str
    description: str | None
    body_part: str | None
    frame_of_reference_uid: str | None
    rows: int
    columns: int
    row_spacing: float
    column_spacing: float
    origin: Vector
    row_direction: Vector
    column_direction: Vector
    slice_step: Vector
    units: Units
    frames: list[FrameSource]
    """One for each slice, in the order of the stack."""

    @property
    def spacing(self) -> Vector:
        """[z, y, x] in mm."""
        return sum(x * x for x in self.slice_step) ** 0.5, self.row_spacing, self.column_spacing

    def position(self, k: float, row: float, column: float) -> Vector:
        """LPS position in mm of a point given in voxel indices."""
        axes = zip(self.origin, self.slice_step, self.column_direction, self.row_direction, strict=True)
        x, y, z = (o + k * s + row * self.row_spacing * d + column * self.column_spacing * e for o, s, d, e in axes)
        return x, y, z


class StoredVolume(Record):
    """A volume in the object store: its geometry, the whole container, and the slices that the model is shown."""

    series: SeriesVolume
    volume_digest: str
    model_volume_digest: str
    model_slices: list[int]
    """Index in `series.frames` of each slice that the model is shown."""
    reason: str
    """Why this series was chosen among the study's."""
    cautions: list[Caution] = []
    """Tags of its instances that read like instructions."""
