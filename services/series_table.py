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
    except OSError as error:
        raise _refused("cannot be read: check its name and who may read it") from error
    except ValidationError as error:
        raise _refused(_problem(error)) from error


def _problem(error: ValidationError) -> str:
    """The first thing wrong, by its place: nothing of the file is repeated."""
    place = error.errors(include_input=False, include_url=False)[0]["loc"]
    rule = next((f"(rule {part + 1}) " for part in place if isinstance(part, int)), "")
    return f"{rule}has not the form of a series table: see docs/series.md for its form"


def _refused(problem: str) -> PartUnavailable:
    return PartUnavailable("series-table", f"LONGVIEW_SERIES_TABLE_FILE {problem}.")
