"""One DICOM instance of a projection radiograph or another single picture -> its tags, its geometry, and its pixels as they are to be seen.

Read as radiographs: CR and DX. A single frame of MG, RF, XA, US or a secondary capture is rendered all the same, grey or in colour, but no study of
these is put to a model: none of those served was ever tested on them.

Pixels are taken as they are stored. Field of View Rotation and Horizontal Flip (PS3.3 C.8.11.3.1.3) say what the device has already done to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from schemas.errors import PermanentFailure
from schemas.imaging import PictureFrame
from workflows.pictures.grey import grey_levels
from workflows.pictures.place import aspect_of, left_along_row, pixel_size_of
from workflows.pictures.square import square_of
from workflows.pictures.views import (
    is_bedside,
    is_for_processing,
    is_processed,
    own_time,
    said_of,
    view_of,
    view_told,
)
from workflows.series.attributes import DatasetAttributes, laterality_of, read_dataset
from workflows.series.codecs import decoder_of
from workflows.series.elements import NATIVE, Buffer
from workflows.series.frames import frames_of, no_codec, syntax_of
from workflows.series.pixels import used_bits
from workflows.series.plane import instance_of, whole_number

MOST_PIXELS = 1 << 26
"""8192 x 8192: larger than any detector."""

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exposure:
    """A picture of a study by what its tags say; its pixels are not decoded yet."""

    tags: DatasetAttributes
    series_instance_uid: str
    modality: str
    frame: PictureFrame
    frames: int
    body_part: str | None
    laterality: str | None
    bedside: bool
    for_processing: bool
    processed: bool
    event: str | None
    """Irradiation Event UID: one shot of the tube."""
    taken: str | None
    """When the film was taken, by its own acquisition time."""
    view_told: str | None
    """The view as the tags for it name it."""
    said: str
    """What the room calls it."""

    @property
    def view(self) -> str | None:
        return self.frame.view

    @property
    def image(self) -> int | None:
        """The Instance Number."""
        return self.frame.instance_number

    @property
    def uid(self) -> str:
        return self.frame.sop_instance_uid


def read_exposure(part: Buffer | Dataset) -> Exposure:
    """`PermanentFailure`: `dicom-unreadable`, `dicom-value`, `pixels-missing`, `picture-too-large`, `picture-aspect`."""
    tags = DatasetAttributes(part if isinstance(part, Dataset) else read_dataset(part))
    text = tags.text
    series, sop, sop_class = text("SeriesInstanceUID"), text("SOPInstanceUID"), text("SOPClassUID")
    if not (series and sop and sop_class):
        raise PermanentFailure("dicom-unreadable", "a picture lacks one of its UIDs")
    rows, columns = whole_number(tags, "Rows") or 0, whole_number(tags, "Columns") or 0
    if rows < 1 or columns < 1:
        raise PermanentFailure("pixels-missing", "an instance of the study is not an image")
    if rows * columns > MOST_PIXELS:
        raise PermanentFailure("picture-too-large", "the picture has more pixels than any detector")
    return Exposure(
        tags=tags,
        series_instance_uid=series,
        modality=text("Modality") or "",
        frame=PictureFrame(
            sop_instance_uid=sop,
            sop_class_uid=sop_class,
            instance_number=whole_number(tags, "InstanceNumber"),
            frame=1,
            square=square_of(rows, columns, aspect_of(tags)),
            view=view_of(tags),
            left_along_row=left_along_row(tags),
            pixel_size=pixel_size_of(tags),
        ),
        frames=whole_number(tags, "NumberOfFrames") or 1,
        body_part=text("BodyPartExamined"),
        laterality=laterality_of(tags),
        bedside=is_bedside(tags),
        for_processing=is_for_processing(tags),
        processed=is_processed(tags),
        event=tags.text("IrradiationEventUID"),
        taken=own_time(tags),
        view_told=view_told(tags),
        said=said_of(tags),
    )


def render(exposure: Exposure) -> Levels:
    """uint8 [rows, columns, samples], grey (1) or RGB (3); `PermanentFailure`: `pixels-...`."""
    if exposure.frames != 1:
        raise PermanentFailure("pixels-frames", "a picture of several frames is a film, not a radiograph")
    photometric = (exposure.tags.text("PhotometricInterpretation") or "").upper()
    if not photometric.startswith("MONOCHROME"):
        return _colour(exposure, photometric)
    instance = instance_of(exposure.tags)
    [values] = frames_of(instance)
    return grey_levels(used_bits(values, instance.pixels), instance.pixels, exposure.tags)[..., None]


def _colour(exposure: Exposure, photometric: str) -> Levels:
    """RGB of a secondary capture: YBR and palettes are turned into it (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5)."""
    dataset = exposure.tags.dataset
    syntax = syntax_of(dataset)
    decoder = get_decoder(UID(syntax)) if syntax in NATIVE else decoder_of(syntax)
    if decoder is None:
        raise no_codec()
    try:
        values, described = decoder.as_array(dataset, index=0)
        if photometric == "PALETTE COLOR":
            return _bytes_of(apply_color_lut(values, dataset), 16)
    except Exception as error:  # each codec has its own classes
        raise PermanentFailure("pixels-decode", "the pixel data of a picture is broken") from error
    if described["photometric_interpretation"] != "RGB" or values.ndim != 3:
        raise PermanentFailure("pixels-photometric", "the colours of a picture are of a kind that is not supported")
    return _bytes_of(values, int(described["bits_stored"]) if "bits_stored" in described else dataset.BitsStored)


def _bytes_of(values: npt.NDArray[np.integer], bits: int) -> Levels:
    if values.dtype == np.uint8:
        return values[..., :3].astype(np.uint8)
    return (values[..., :3].astype(np.uint32) >> max(bits - 8, 0)).clip(0, 255).astype(np.uint8)
