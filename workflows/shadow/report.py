"""The report on agreement: shadow against shown, and both against human decisions. Pure.

A decision about a whole result says something about a finding only where it was accepted: then the human agrees with each of its answers. What a
rejection means for one finding is not known, so it enters the rates of decisions and never a kappa. Agreement with accepted answers alone is
agreement on a chosen sample: the report says so, and puts the shown release beside the human only for results that were amended, since it agrees
with every accepted answer by definition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.inference import Presence
from schemas.oversight import BoxPair
from workflows.shadow.agreement import Agreement, Interval, Pair, agree, wilson


@dataclass(frozen=True)
class Comparison:
    """One question about one study, as each reader answered it; None where a reader gave no answer, or it is not known.

    `decision` is the human's about the whole result: `accepted`, `amended`, `rejected`, or None while it waits.
    """

    result_id: str
    label: str
    shown: Presence | None
    shadow: Presence | None
    human: Presence | None
    decision: str | None
    shadow_asked: bool = False
    boxes: BoxPair | None = None


@dataclass(frozen=True)
class Decisions:
    """What became of results that asked about this label; `shown_detected` narrows it to those that showed it as detected."""

    label: str
    n: int
    accepted: int
    amended: int
    rejected: int
    acceptance: float | None
    acceptance_interval: Interval | None
    detected: int
    detected_accepted: int


@dataclass(frozen=True)
class AgreementReport:
    """One row a label, in the order of their names; `unanswered` counts questions that one of the two releases left without an answer."""

    shown_release: str
    shadow_release: str | None
    studies: int
    unanswered: int
    shadow_and_shown: list[Agreement] = field(default_factory=list)
    decisions: list[Decisions] = field(default_factory=list)
    shown_and_human: list[Agreement] = field(default_factory=list)
    shadow_and_human: list[Agreement] = field(default_factory=list)


def agreement_report(
    shown_release: str, shadow_release: str | None, comparisons: Sequence[Comparison]
) -> AgreementReport:
    """All comparisons between one shown and one shadow release."""
    asked = [c for c in comparisons if c.shadow_asked]
    return AgreementReport(
        shown_release=shown_release,
        shadow_release=shadow_release,
        studies=len({c.result_id for c in comparisons}),
        unanswered=sum((c.shown is None) != (c.shadow is None) for c in asked),
        shadow_and_shown=[
            agree(label, pairs, [c.boxes for c in group if c.boxes is not None])
            for label, group in _by_label(asked)
            if (pairs := _pairs((c.shown, c.shadow) for c in group))
        ],
        decisions=[_decisions(label, group) for label, group in _by_label(c for c in comparisons if c.decision)],
        shown_and_human=_with_human([c for c in comparisons if c.decision == "amended"], "shown"),
        shadow_and_human=_with_human(asked, "shadow"),
    )


def _with_human(comparisons: Iterable[Comparison], reader: str) -> list[Agreement]:
    return [
        agree(label, pairs, chosen=True)
        for label, group in _by_label(comparisons)
        if (pairs := _pairs((getattr(c, reader), c.human) for c in group))
    ]


def _pairs(both: Iterable[tuple[Presence | None, Presence | None]]) -> list[Pair]:
    return [(a, b) for a, b in both if a is not None and b is not None]


def _by_label(comparisons: Iterable[Comparison]) -> list[tuple[str, list[Comparison]]]:
    groups: dict[str, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        groups[comparison.label].append(comparison)
    return sorted(groups.items())


def _decisions(label: str, group: Sequence[Comparison]) -> Decisions:
    counts = {name: sum(c.decision == name for c in group) for name in ("accepted", "amended", "rejected")}
    n, detected = sum(counts.values()), [c for c in group if c.shown == "detected"]
    return Decisions(
        label=label,
        n=n,
        **counts,
        acceptance=counts["accepted"] / n if n else None,
        acceptance_interval=wilson(counts["accepted"], n),
        detected=len(detected),
        detected_accepted=sum(c.decision == "accepted" for c in detected),
    )
