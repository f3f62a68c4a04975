"""The page's table of a study's series, films and slides. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.outcomes import SeriesOutcome
from workflows.report.series_text import NAMES, name_of_row


@dataclass(frozen=True)
class SeriesLine:
    """One series, film or slide of the study."""

    name: str
    modality: str
    instances: int
    outcome: str
    state: str
    """`read`, `left-out`, `refused`: for the style sheet."""
    reason: str


def series_line(row: SeriesOutcome) -> SeriesLine:
    name = name_of_row(row)
    outcome = NAMES[row.outcome]
    return SeriesLine(name[0].upper() + name[1:], row.modality, row.instances, outcome, row.outcome, row.reason)
