"""A plane: one image of a stack, with what places it (PS3.3 C.7.6.2) and what its numbers mean (PS3.3 C.7.6.3, C.11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pydicom import Dataset

from schemas.errors import GeometryError, PermanentFailure
from schemas.volume import Units
from workflows.series.attributes import Attributes, DatasetAttributes, ScannedAttributes, hinted

LOCALIZER = "LOCALIZER"
HOUNSFIELD = ("", "HU")


@dataclass(frozen=True, slots=True)
class PixelModule:
    """The Image Pixel module (PS3.3 C.7.6.3) of an instance. `padding` is the closed interval of stored values that are no image."""

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Instance:
    """What all planes of one instance share."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    modality: str
    frame_of_reference_uid: str | None
    attributes: ScannedAttributes | DatasetAttributes
    pixels: PixelModule


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What an enhanced image says that its frames differ in, beside their place (PS3.3 C.7.6.16.2.2, C.8.13.5); None where it does not say."""

    stack: str | None = None
    phase: tuple[float, ...] = ()
    """Temporal Position Index."""
    contrast: tuple[tuple[float, ...], ...] = ()
    """Diffusion b-value [s/mm2] and effective echo time [ms]."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One image. Position and spacing in mm, directions in the patient's LPS axes; `frame` counts from 1."""

    instance: Instance
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    slope: float
    intercept: float
    units: Units
    window_center: float | None
    window_width: float | None
    thickness: float | None = None
    """In mm, where it is told."""
    dimensions: Dimensions = Dimensions()


def planes_of_one(attributes: ScannedAttributes | DatasetAttributes) -> list[Plane]:
    """The planes of an instance, which is one, or of several frames with a place each. Raises what `instance_of` raises, and
    `geometry-missing-tags`."""
    instance = instance_of(attributes)
    if isinstance(attributes, DatasetAttributes) and "PerFrameFunctionalGroupsSequence" in attributes:
        return _framed(instance, attributes)
    if instance.pixels.frames != 1:
        raise GeometryError("geometry-missing-tags", "the frames of a multi-frame image have no positions of their own")
    return [_plane(instance, 1, [attributes])]


def _framed(instance: Instance, attributes: DatasetAttributes) -> list[Plane]:
    """The frames of an enhanced image (PS3.3 C.7.6.16): each one's own functional groups come before the shared ones.

    The order of the frames in the file, and their Dimension Index Values, are a suggestion for display; what places a frame is its position.
    """
    shared = [group for item in attributes.get("SharedFunctionalGroupsSequence") or [] for group in _macros(item)]
    per_frame = attributes.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) != instance.pixels.frames:
        raise GeometryError("geometry-missing-tags", "there are not as many functional groups as frames")
    own = [*shared, attributes]
    return [
        replace(_plane(instance, n, [*_macros(item), *own]), dimensions=_dimensions(item))
        for n, item in enumerate(per_frame, start=1)
    ]


def _dimensions(item: Dataset) -> Dimensions:
    content, diffusion, echo = (
        _macro(item, keyword) for keyword in ("FrameContentSequence", "MRDiffusionSequence", "MREchoSequence")
    )
    return Dimensions(
        stack=content.text("StackID"),
        phase=content.numbers("TemporalPositionIndex"),
        contrast=(hinted(diffusion, "DiffusionBValue"), hinted(echo, "EffectiveEchoTime")),
    )


def _macro(item: Dataset, keyword: str) -> DatasetAttributes:
    found = list(DatasetAttributes(item).get(keyword) or [])
    return DatasetAttributes(found[0] if found else Dataset())


def _macros(item: Dataset) -> list[DatasetAttributes]:
    """The macros of one item of functional groups, each a sequence of one item."""
    macros: list[DatasetAttributes] = []
    for keyword in (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
    ):
        macros += [DatasetAttributes(found) for found in list(DatasetAttributes(item).get(keyword) or [])[:1]]
    return macros


def _plane(instance: Instance, frame: int, sources: Sequence[Attributes]) -> Plane:
    position = _numbers(sources, "ImagePositionPatient")
    orientation = _numbers(sources, "ImageOrientationPatient")
    pixel_spacing = _numbers(sources, "PixelSpacing")
    if (len(position), len(orientation), len(pixel_spacing)) != (3, 6, 2) or min(pixel_spacing) <= 0:
        raise GeometryError(
            "geometry-missing-tags", "position, orientation or pixel spacing of an image is missing or not valid"
        )
    slope, intercept, units = _rescale(instance.modality, sources)
    center, width, thickness = (_hint(sources, k) for k in ("WindowCenter", "WindowWidth", "SliceThickness"))
    has_window = center is not None and width is not None and width >= 1
    return Plane(
        instance=instance,
        frame=frame,
        position=position,
        orientation=orientation,
        pixel_spacing=pixel_spacing,
        slope=slope,
        intercept=intercept,
        units=units,
        window_center=center if has_window else None,
        window_width=width if has_window else None,
        thickness=thickness if thickness and thickness > 0 else None,
    )


def _numbers(sources: Sequence[Attributes], keyword: str) -> tuple[float, ...]:
    for source in sources:
        if values := source.numbers(keyword):
            return values
    return ()


def _hint(sources: Sequence[Attributes], keyword: str) -> float | None:
    return next((value for source in sources if (value := source.hint(keyword)) is not None), None)


def _rescale(modality: str, sources: Sequence[Attributes]) -> tuple[float, float, Units]:
    """Slope, intercept and what they lead to.

    CT is in Hounsfield units unless Rescale Type says otherwise (PS3.3 C.8.2.1: the type is required only if it is not HU), and slope and intercept
    are required. Elsewhere there is no absolute scale.
    """
    if any("ModalityLUTSequence" in source for source in sources):
        raise PermanentFailure(
            "pixels-modality-lut", "a modality look-up table is not supported: send slope and intercept"
        )
    slope, intercept = _numbers(sources, "RescaleSlope"), _numbers(sources, "RescaleIntercept")
    if slope[:1] == (0.0,):
        raise PermanentFailure("pixels-rescale", "the rescale slope is zero")
    kind = next((text for source in sources if (text := source.text("RescaleType"))), "")
    if modality != "CT" or kind.upper() not in HOUNSFIELD:
        return (slope or (1.0,))[0], (intercept or (0.0,))[0], "stored"
    if not slope or not intercept:
        raise PermanentFailure(
            "pixels-rescale", "a CT image without rescale slope and intercept has no Hounsfield units"
        )
    return slope[0], intercept[0], "HU"


def instance_of(attributes: ScannedAttributes | DatasetAttributes) -> Instance:
    """`PermanentFailure`: `dicom-unreadable`, `pixels-missing`, `pixels-photometric`, `pixels-bit-depth`."""
    text = attributes.text
    study, series = text("StudyInstanceUID"), text("SeriesInstanceUID")
    sop, sop_class = text("SOPInstanceUID"), text("SOPClassUID")
    if not (study and series and sop and sop_class):
        raise PermanentFailure("dicom-unreadable", "an instance of the series lacks one of its UIDs")
    return Instance(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=sop,
        sop_class_uid=sop_class,
        instance_number=whole_number(attributes, "InstanceNumber"),
        modality=text("Modality") or "",
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        attributes=attributes,
        pixels=_pixel_module(attributes),
    )


def whole_number(attributes: Attributes, keyword: str) -> int | None:
    """An integer that only describes; one that is broken is as good as none."""
    try:
        return int(attributes.numbers(keyword)[0])
    except (PermanentFailure, IndexError):
        return None


def _pixel_module(attributes: Attributes) -> PixelModule:
    if "FloatPixelData" in attributes or "DoubleFloatPixelData" in attributes:
        raise PermanentFailure("pixels-bit-depth", "floating-point pixel data is not supported")
    number = [
        whole_number(attributes, k) for k in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
    ]
    rows, columns, allocated, stored, representation = number
    if not rows or not columns or not allocated or not stored or representation not in (0, 1):
        raise PermanentFailure("pixels-missing", "an instance of the series is not an image")
    high_bit = whole_number(attributes, "HighBit")
    frames = whole_number(attributes, "NumberOfFrames")
    return _module(
        rows,
        columns,
        frames or 1,  # some writers put 0 for a single image
        allocated,
        stored,
        stored - 1 if high_bit is None else high_bit,
        representation == 1,
        whole_number(attributes, "SamplesPerPixel"),
        attributes.text("PhotometricInterpretation"),
        (attributes.numbers("PixelPaddingValue"), attributes.numbers("PixelPaddingRangeLimit")),
    )


@lru_cache(maxsize=256)
def _module(
    rows: int,
    columns: int,
    frames: int,
    allocated: int,
    stored: int,
    high_bit: int,
    signed: bool,
    samples: int | None,
    photometric: str | None,
    padding: tuple[tuple[float, ...], tuple[float, ...]],
) -> PixelModule:
    """Checked once for all the slices of a stack, which say the same."""
    if samples not in (None, 1) or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise PermanentFailure("pixels-photometric", "only images with one grey value for each pixel are supported")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        raise PermanentFailure("pixels-bit-depth", "only 8 or 16 bits allocated for each pixel are supported")
    if frames < 1:
        raise PermanentFailure("pixels-missing", "an instance of the series has no frame")
    return PixelModule(
        rows,
        columns,
        frames,
        allocated,
        stored,
        high_bit,
        signed,
        photometric == "MONOCHROME1",
        _padding(padding, allocated, signed),
    )


def _padding(
    values: tuple[tuple[float, ...], tuple[float, ...]], allocated: int, signed: bool
) -> tuple[int, int] | None:
    """Pixel Padding Value up to its Range Limit (PS3.3 C.7.5.1.1.2), read with the sign of the pixels whatever their VR said."""
    value, limit = values
    if not value:
        return None
    ends = [int(v[0]) & ((1 << allocated) - 1) for v in (value, limit or value)]
    if signed:
        ends = [end - (1 << allocated) if end >= 1 << (allocated - 1) else end for end in ends]
    return min(ends), max(ends)
