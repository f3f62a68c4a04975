"""Tags that help to show a film and that nothing else rests on: one that is broken is as good as none, and never refuses the film."""

from __future__ import annotations

from schemas.errors import PermanentFailure
from workflows.series.attributes import DatasetAttributes


def hinted(tags: DatasetAttributes, keyword: str) -> tuple[float, ...]:
    """The numbers of a display window or of a scale; empty where any of them is none (`NaN`, `40,5`, `40\\`)."""
    try:
        return tags.numbers(keyword)
    except PermanentFailure:
        return ()
