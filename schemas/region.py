"""A place on an image or a page."""

from __future__ import annotations

from schemas.model import Record


class ImageRegion(Record):
    """A box on one frame, in pixels of the source frame: origin 0\\0 is the top left corner of the top left pixel (contract 1.3)."""

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    frame: int | None
    """Counts from 1; None on a whole slide, whose coordinates are those of the total pixel matrix."""
    columns: int
    rows: int
    x0: float
    y0: float
    x1: float
    y1: float
