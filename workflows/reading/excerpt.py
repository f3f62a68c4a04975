"""The part of the history that the second pass is given: one place to change when the timeline offers an excerpt by tokens.

What is left out first: entries of other kinds than the ones below, then the oldest. What cannot be trusted to be data is left out in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.timeline import EntryKind, TimelineEntry

MOST_ENTRIES = 24
KEPT_FIRST: tuple[EntryKind, ...] = ("report", "condition", "procedure", "observation", "allergy", "medication")


@dataclass(frozen=True)
class Excerpt:
    """`entries` by the short ids that the model may cite, oldest first; `left_out` is our sentence about the rest."""

    entries: dict[str, TimelineEntry]
    withheld: int
    left_out: str | None


def excerpt_of(history: list[TimelineEntry], suspicious: set[str], most: int = MOST_ENTRIES) -> Excerpt:
    """At most `most` entries of `history` (oldest first), without those whose reference is in `suspicious`."""
    sound = [entry for entry in history if entry.resource not in suspicious]
    told = [entry for entry in sound if entry.kind in KEPT_FIRST]
    ranked = sorted(enumerate(told), key=lambda at: (KEPT_FIRST.index(at[1].kind), -at[0]))
    kept = [told[index] for index in sorted(index for index, _ in ranked[:most])]
    missing = len(told) - len(kept)
    return Excerpt(
        entries={f"E{number}": entry for number, entry in enumerate(kept, start=1)},
        withheld=len(history) - len(sound),
        left_out=f"{missing} of {len(told)} entries of the history were left out for length." if missing else None,
    )
