"""Studies, series, and what of them was read: stacks of each kind, as records without pixels."""

from __future__ import annotations

import math
from typing import Literal

from schemas.caution import Caution
from schemas.documents import ReadDocument
from schemas.model import Record
from schemas.outcomes import Unanswered
from schemas.volume import Units

Vector = tuple[float, float, float]


class SeriesInventory(Record):
    """A series as QIDO-RS lists it."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    description: str | None
    instance_count: int
    frame_count: int = 0
    """Of all its instances, as far as the archive tells."""

    @property
    def images(self) -> int:
        """An enhanced object holds a whole stack in one instance."""
        return max(self.instance_count, self.frame_count)


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


class SeriesSource(Record):
    """The series that a stack was made of."""

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    modality: str
    description: str | None
    body_part: str | None
    side: Literal["left", "right"] | None = None
    """Of the body, where Laterality or Image Laterality names one (PS3.3 C.8.11.7, C.7.3.1)."""


class SeriesVolume(SeriesSource):
    """A series that is a plain grid. All lengths in mm, directions in the patient's LPS axes (DICOM PS3.3 C.7.6.2).

    Voxel (k, r, c) lies at origin + k * slice_step + r * row_spacing * column_direction + c * column_spacing * row_direction, where
    `row_direction` is the direction of increasing column index (the first three values of ImageOrientationPatient). Under a tilted gantry
    `slice_step` is not at right angles to the slices. Where `slice_positions` are given the slices do not lie on an even grid: slice k begins there.
    """

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
    slice_positions: list[Vector] = []
    """Of the first voxel of each slice, where the slices are not evenly spaced; else empty."""
    set_aside: list[str] = []
    """In our own words: objects of the series that are not part of the stack."""

    @property
    def normal(self) -> Vector:
        """Unit vector at right angles to the slices, in the order of the stack."""
        (a, b, c), (d, e, f) = self.row_direction, self.column_direction
        return b * f - c * e, c * d - a * f, a * e - b * d

    @property
    def spacing(self) -> Vector:
        """[z, y, x] in mm; z along the normal, the mean where the steps differ."""
        along = sum(s * n for s, n in zip(self.slice_step, self.normal, strict=True))
        return abs(along), self.row_spacing, self.column_spacing

    @property
    def tilt(self) -> float:
        """Degrees between the way from slice to slice and the normal of the slices; 0 where they lie straight above one another."""
        length = sum(s * s for s in self.slice_step) ** 0.5
        return math.degrees(math.acos(min(self.spacing[0] / length, 1.0))) if length else 0.0

    def start(self, k: float) -> Vector:
        """LPS position in mm of the first voxel of slice `k`; between two slices where `k` is not whole."""
        if not self.slice_positions:
            x, y, z = (o + k * s for o, s in zip(self.origin, self.slice_step, strict=True))
            return x, y, z
        below = min(max(math.floor(k), 0), len(self.slice_positions) - 2)
        share = k - below
        x, y, z = (a + share * (b - a) for a, b in zip(*self.slice_positions[below : below + 2], strict=True))
        return x, y, z

    def position(self, k: float, row: float, column: float) -> Vector:
        """LPS position in mm of a point given in voxel indices."""
        axes = zip(self.start(k), self.column_direction, self.row_direction, strict=True)
        x, y, z = (o + row * self.row_spacing * d + column * self.column_spacing * e for o, d, e in axes)
        return x, y, z


StackKind = Literal["volume", "pictures", "slide", "document"]
MODALITIES_OF: dict[StackKind, tuple[str, ...]] = {
    "volume": ("CT", "MR", "PT"),
    "pictures": ("DX", "CR"),
    "slide": ("SM",),
    "document": ("DOC",),
}
"""Modalities that are read, by the kind they are read as: both most wanted first (of a PET/CT the CT is the one with anatomy)."""
MODALITIES_READ = tuple(modality for modalities in MODALITIES_OF.values() for modality in modalities)


class Square(Record):
    """How a frame of rows x columns lies in the square that the model is shown: drawn as height x width, centred, black around it (PS3.3 C.7.6.3).

    Drawn and source size differ only where the source's pixels are not square.
    """

    rows: int
    columns: int
    height: int
    width: int

    @property
    def side(self) -> int:
        return max(self.height, self.width)

    @property
    def top(self) -> int:
        return (self.side - self.height) // 2

    @property
    def left(self) -> int:
        return (self.side - self.width) // 2


class PixelSize(Record):
    """Millimetres from row to row and from column to column. `projected`: at the detector, where everything is magnified (PS3.3 10.7.1.3)."""

    row: float
    column: float
    projected: bool


class PictureFrame(FrameSource):
    """A single picture, its geometry, and what its tags say of the patient in it."""

    square: Square
    view: str | None = None
    """As `workflows.pictures` names it: PA, AP, lateral, ..."""
    left_along_row: int = 0
    """1: column numbers rise towards the patient's left, -1: towards the right, 0: nothing tells it (Patient Orientation, PS3.3 C.7.6.1.1.1)."""
    pixel_size: PixelSize | None = None
    """None where nothing says it, or not of what."""


class SeriesPictures(SeriesSource):
    """One projection radiograph or other single picture of a study."""

    kind: Literal["pictures"] = "pictures"
    frames: list[PictureFrame]
    """One for each picture, in the order they are shown in."""
    views: int | None = None
    """How many different films the study has, shown or not; None where they are of several parts of the body."""
    portable: bool = False
    """Taken at the bedside."""


class SlidePatch(Record):
    """A rectangle of a slide that the model is shown, in pixels of the total pixel matrix (PS3.3 C.8.12.4); only what lies on the slide."""

    x: int
    y: int
    width: int
    height: int
    tissue: float | None = None
    """The share of the patch that is tissue."""


class SeriesSlide(SeriesSource):
    """A whole slide (PS3.3 A.32.8), read in patches. Sizes are those of its finest level, the total pixel matrix."""

    kind: Literal["slide"] = "slide"
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    columns: int
    rows: int
    micrometres: tuple[float, float]
    """Of one pixel, across and down."""
    patch_columns: int
    patch_rows: int
    """Of a whole patch; at the slide's right and lower edge it is filled up with white."""
    patches: list[SlidePatch]
    """In the order they are shown in: row by row."""
    tissue_patches: int
    """How many had enough tissue; the patches shown are all of them, or were drawn by `seed`."""
    seed: str
    specimen: str | None
    """Our own words for coded tags: anatomy and how it was taken."""
    overview_digest: str
    """PNG of the whole slide."""
    overview_columns: int
    overview_rows: int
    overview_scale: tuple[float, float]
    """Pixels of the total pixel matrix of one pixel of the overview, across and down."""


class SeriesDocument(SeriesSource):
    """Encapsulated documents or scans of one series (PS3.3 A.45, A.8), read page by page."""

    kind: Literal["document"] = "document"
    frames: list[FrameSource]
    """One for each page; of a PDF `frame` is the page."""
    document: ReadDocument
    code: tuple[str, str] | None = None
    """The LOINC code of the document and its display, where its header names one (Concept Name Code Sequence)."""


class StoredStack(Record):
    """One item of what the model is shown, in the object store: a volume, pictures, the patches of a slide, the pages of a document."""

    kind: StackKind = "volume"
    series: SeriesVolume | SeriesPictures | SeriesSlide | SeriesDocument
    volume_digest: str
    """The whole container (`schemas.volume` or `schemas.pictures`)."""
    model_volume_digest: str
    """The container that the model is shown."""
    model_slices: list[int]
    """Which slice, picture, patch or page of the whole each of those shown is; counts from 0."""
    reason: str
    """Why this series was chosen among the study's."""
    cautions: list[Caution] = []
    """Tags of its instances that read like instructions."""
    unanswered: list[Unanswered] = []
    """What is not to be denied by this stack, since a better one was not read."""
    contrast: str | None = None
    """Of an MR series, as `workflows.series.contrast` knows it."""
