"""What a radiograph's tags say of where things are and how large: sides, pixel shape, millimetres."""

from __future__ import annotations

from typing import Literal

from schemas.imaging import PictureFrame, PixelSize
from workflows.pictures.views import AP, FRONTAL, PA
from workflows.series.attributes import DatasetAttributes, hinted
from workflows.series.place import ONE_SIDED

MIDLINE_SHARE = 0.1
"""Within this share of the picture's width of its centre no side is told: at the bedside nobody lies in the middle of the plate."""
SAME_SPACING = 0.001

Side = Literal["left", "right", "midline"]
_FRONTAL = frozenset({None, PA, AP, FRONTAL})


def left_along_row(tags: DatasetAttributes) -> int:
    """1 where Patient Orientation (PS3.3 C.7.6.1.1.1) says that column numbers rise towards the patient's left, -1 towards the right, else 0."""
    across = (*tags.texts("PatientOrientation"), "")[0].upper()
    return {"L": 1, "R": -1}.get(across[:1], 0)


def side_of(frame: PictureFrame, body_part: str | None, x: float) -> Side | None:
    """The patient's side of column `x`, against the middle of the picture; None where the tags do not tell it, or the middle is not the patient's."""
    if frame.left_along_row == 0 or frame.view not in _FRONTAL:
        return None
    if any(part in (body_part or "").upper() for part in ONE_SIDED):
        return None
    offset = x / frame.square.columns - 0.5
    if abs(offset) <= MIDLINE_SHARE:
        return "midline"
    return "left" if offset * frame.left_along_row > 0 else "right"


def aspect_of(tags: DatasetAttributes) -> float:
    """A pixel's height over its width: by its spacings, else by Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7), else square."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        pair = hinted(tags, keyword)
        if len(pair) == 2 and min(pair) > 0:
            return pair[0] / pair[1]
    return 1.0


def pixel_size_of(tags: DatasetAttributes) -> PixelSize | None:
    """Millimetres of a pixel, where it is known what they are millimetres of (PS3.3 10.7.1.3).

    In the body: Pixel Spacing that says how it was calibrated, or that differs from Imager Pixel Spacing and so was corrected. At the detector:
    Imager Pixel Spacing. Pixel Spacing alone says neither, and is not measured by.
    """
    spacing, imager = (_pair(tags, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing"))
    if spacing is not None and (tags.text("PixelSpacingCalibrationType") or _differ(spacing, imager)):
        return PixelSize(row=spacing[0], column=spacing[1], projected=False)
    return PixelSize(row=imager[0], column=imager[1], projected=True) if imager is not None else None


def _pair(tags: DatasetAttributes, keyword: str) -> tuple[float, float] | None:
    values = hinted(tags, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _differ(spacing: tuple[float, float], imager: tuple[float, float] | None) -> bool:
    return imager is not None and any(abs(a / b - 1) > SAME_SPACING for a, b in zip(spacing, imager, strict=True))
