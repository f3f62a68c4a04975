"""The part of the history that the second pass is given: what the timeline's budget keeps of it, without what cannot be trusted to be data."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.timeline import Timeline, TimelineEntry
from workflows.timeline import dropped_sentence, fit_history
from workflows.timeline.line import estimate_tokens

HISTORY_TOKENS = 2048
"""Budget of the second pass; docs/adr/ADR-0009 says how it was chosen."""
QUOTING = 2
"""An entry goes to the model as JSON, whose keys and marks cost about as much again as its line."""


@dataclass(frozen=True)
class Excerpt:
    """`entries` by the short ids that the model may cite, oldest first; `left_out` is our sentence about the rest."""

    entries: dict[str, TimelineEntry]
    withheld: int
    left_out: str | None


def excerpt_of(timeline: Timeline, suspicious: set[str], tokens: int = HISTORY_TOKENS) -> Excerpt:
    """What fits into the budget, without the entries whose reference is in `suspicious`."""
    sound = [entry for entry in timeline.entries if entry.resource not in suspicious]
    kept = fit_history(timeline.model_copy(update={"entries": sound}), tokens, estimate=_quoted)
    return Excerpt(
        entries={line.id: line.entry for line in kept.lines},
        withheld=len(timeline.entries) - len(sound),
        left_out=dropped_sentence(kept),
    )


def _quoted(text: str) -> int:
    return QUOTING * estimate_tokens(text)
