"""Numbers of a film's tags. One that only helps to show it is as good as none where it is broken; one that its values rest on refuses it by name."""

from __future__ import annotations

from schemas.errors import PermanentFailure
from workflows.series.attributes import DatasetAttributes


def hinted(tags: DatasetAttributes, keyword: str) -> tuple[float, ...]:
    """The numbers of a display window or of a scale; empty where any of them is none (`NaN`, `40,5`, `40\\`)."""
    try:
        return tags.numbers(keyword)
    except PermanentFailure:
        return ()


def needed(tags: DatasetAttributes, keyword: str) -> tuple[float, ...]:
    """The numbers of a tag that the values mean nothing without; `PermanentFailure` (`dicom-value`) that names it where any is none."""
    try:
        return tags.numbers(keyword)
    except PermanentFailure:
        raise PermanentFailure("dicom-value", f"{keyword} of the image is not a number: send the image again") from None
