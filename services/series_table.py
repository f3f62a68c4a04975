"""The site's table of how the series of a study are ranked: from its file, or the one that comes with Longview."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from schemas.errors import PartUnavailable
from services.settings import Settings
from workflows.series.table import DEFAULT_TABLE, SeriesTable


def series_table(settings: Settings) -> SeriesTable:
    """The table in force; `PartUnavailable` (`series-table`) where the file is not one."""
    if not settings.series_table_file:
        return DEFAULT_TABLE
    try:
        return SeriesTable.model_validate_json(Path(settings.series_table_file).read_bytes())
    except (OSError, ValidationError) as error:
        raise PartUnavailable(
            "series-table", "LONGVIEW_SERIES_TABLE_FILE cannot be read: see docs/series.md for its form."
        ) from error
