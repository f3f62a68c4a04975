"""Which series of an MR study are read together: one of each contrast (`contrast`).

An MR study is its contrasts: a lesion is bright on one and dark on another. Each series is scaled by itself and is a stack of its own. What the
model takes is shared out: all stacks of a study together show no more slices than one stack of another modality would.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from workflows.series.choose import SeriesChoice
from workflows.series.contrast import DWI, FLAIR, PD, STIR, SWI, T1, T1_CONTRAST, T2

SHOWN_ORDER = (T1, T1_CONTRAST, T2, FLAIR, DWI, SWI, STIR, PD)
MOST_WANTED = (FLAIR, DWI, T2, T1_CONTRAST, T1, STIR, SWI, PD)
"""Which are kept where a study has more contrasts than are shown: those in which most lesions stand out."""
MOST_SEQUENCES = 4
"""Of 85 slices each of four stacks keeps 21, about what a stack of 5 mm through a head has."""

_WEIGHTED = re.compile(r"b\s?=?\s?(?:[89]\d\d|1\d{3}|2000)|trace", re.IGNORECASE)


def sequences_of(choices: Sequence[SeriesChoice], like: str | None = None) -> list[list[SeriesChoice]]:
    """The candidates of each stack to show, best first. One list of all, where the study is no MR or no contrast is known.

    `like`: the contrast of the stack that a prior is compared with; it comes first.
    """
    if not choices or choices[0].series.modality != "MR":
        return [list(choices)]
    by_contrast: dict[str, list[SeriesChoice]] = {}
    for choice in choices:
        if choice.contrast is not None and not choice.never:
            reason = f"{choice.contrast}, {choice.reason}"
            by_contrast.setdefault(choice.contrast, []).append(choice._replace(reason=reason))
    if not by_contrast:
        return [list(choices)]
    first = [like] if like in by_contrast else []
    wanted = list(dict.fromkeys([*first, *MOST_WANTED]))
    kept = [contrast for contrast in wanted if contrast in by_contrast][:MOST_SEQUENCES]
    order = list(dict.fromkeys([*first, *SHOWN_ORDER]))
    if DWI in by_contrast:
        by_contrast[DWI].sort(key=lambda choice: not _is_weighted(choice))
    return [by_contrast[contrast] for contrast in sorted(kept, key=order.index)]


def _is_weighted(choice: SeriesChoice) -> bool:
    """Whether the description names the weighted images, in which lesions are bright: a series may hold b = 0 or single directions alone."""
    return bool(_WEIGHTED.search(choice.series.description or ""))


def shares(depths: Sequence[int], most: int) -> list[int]:
    """How many slices of each stack are shown, `most` together: equal shares, and what a short stack leaves goes to the others."""
    left, share = most, dict.fromkeys(range(len(depths)), 0)
    for position, index in enumerate(sorted(share, key=lambda i: depths[i])):
        share[index] = min(depths[index], left // (len(depths) - position))
        left -= share[index]
    return list(share.values())
