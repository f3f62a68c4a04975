"""What became of the study's series, films and slides, in sentences and rows: pure, for the report, the page and the command line.

The descriptions are the archive's text: they are quoted, shortened and freed of control characters, and those that read like instructions were taken
away before (`workflows.report_study.imaging`).
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.outcomes import Outcome, SeriesOutcome

MOST_NAMED = 20
"""Rows that a sentence names; the account itself holds all."""
LONGEST_DESCRIPTION = 64
HEADS: dict[Outcome, str] = {"read": "Images read", "left-out": "Left out", "refused": "Could not be read"}
NAMES: dict[Outcome, str] = {"read": "read", "left-out": "left out", "refused": "could not be read"}


def series_sentences(rows: Sequence[SeriesOutcome]) -> list[str]:
    """One sentence for each outcome, what could not be read first after what was."""
    order: tuple[Outcome, ...] = ("read", "refused", "left-out")
    return [sentence for outcome in order if (sentence := _sentence(outcome, rows))]


def _sentence(outcome: Outcome, rows: Sequence[SeriesOutcome]) -> str:
    meant = [row for row in rows if row.outcome == outcome]
    if not meant:
        return ""
    named = "; ".join(f"{name_of_row(row)}: {_count(row)}{row.reason.rstrip('.')}" for row in meant[:MOST_NAMED])
    more = len(meant) - MOST_NAMED
    return f"{HEADS[outcome]}: {named}{f'; and {more} more' if more > 0 else ''}."


def _count(row: SeriesOutcome) -> str:
    if row.outcome != "read" or row.image is not None:
        return ""
    return f"{row.instances} instance{'' if row.instances == 1 else 's'}, "


def name_of_row(row: SeriesOutcome) -> str:
    """`series 3 "AX 5.0"`, or `series 1 image 2`."""
    number = "without a number" if row.number is None else str(row.number)
    image = "" if row.image is None else f" image {row.image}"
    described = f' "{shortened(row.description)}"' if row.description else ""
    return f"series {number}{image}{described}"


def shortened(description: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in description).replace('"', "'").split())
    return text if len(text) <= LONGEST_DESCRIPTION else text[: LONGEST_DESCRIPTION - 1] + "…"
