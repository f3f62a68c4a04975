"""What of a history fits into a budget of tokens, and what is left out first. Rule `history-2` (docs/adr/ADR-0008-timeline.md).

Entries fall into tiers. Tiers are filled from the first; within a tier the newest entry comes first. Once an entry of a tier does not fit, nothing of
a later tier is taken: no vital sign stands where a report was left out. Only an entry that alone would take a quarter of the budget is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation

from schemas.timeline import DroppedEntries, DropReason, HistoryExcerpt, HistoryLine, Timeline, TimelineEntry
from workflows.timeline.dates import NEVER
from workflows.timeline.fields import unversioned
from workflows.timeline.line import estimate_tokens, line_of, patient_line

RULE = "history-2"
TIERS: tuple[DropReason, ...] = (
    "core",
    "newest-value",
    "medication",
    "older-report",
    "older-value",
    "closed",
    "panel",
    "repeated-value",
    "vital-signs",
)
"""What is kept first; read from the end, what is dropped first. An entry that is dropped is counted under its tier."""

TOO_LONG = 4
"""An entry longer than the budget divided by this is passed over, unless it is of the core."""
ID_TOKENS = 8
"""Reserved for the `E1234 ` that begins a line, and for the line's end."""

_ACTIVE = frozenset(("active", "recurrence", "relapse", "unknown", "in-progress", "on-hold", "intended"))
_WARNINGS = ("allergy", "condition", "device", "flag")
"""What a reader must know as long as it is active: an implant no less than an allergy."""
_OVER = frozenset(("refuted", "inactive", "resolved", "remission"))


def fit_history(timeline: Timeline, tokens: int, *, estimate: Callable[[str], int] = estimate_tokens) -> HistoryExcerpt:
    """The part of the history that fits into `tokens`, oldest first, and what was left out by kind and reason; never above `tokens`."""
    patient = patient_line(timeline)
    left = tokens - estimate(patient) - 1
    if left < 0:
        patient, left = "", max(tokens, 0)
    kept: list[tuple[TimelineEntry, int]] = []
    dropped: Counter[tuple[str, DropReason]] = Counter()
    closed = False
    for tier, entries in _tiers(timeline):
        overflow = False
        for entry in entries:
            cost = estimate(line_of("", entry)) + ID_TOKENS
            too_long = tier != "core" and cost * TOO_LONG > tokens
            if closed or too_long or cost > left:
                dropped[entry.kind, "too-long" if too_long else tier] += 1
                overflow = overflow or not too_long
            else:
                kept.append((entry, cost))
                left -= cost
        closed = closed or overflow
    return HistoryExcerpt(
        rule=RULE,
        budget=tokens,
        tokens=max(tokens, 0) - left,
        patient=patient,
        lines=_lines(kept),
        dropped=[DroppedEntries(kind=k, reason=r, count=n) for (k, r), n in sorted(dropped.items())],
    )


def _lines(kept: list[tuple[TimelineEntry, int]]) -> list[HistoryLine]:
    ordered = sorted(kept, key=lambda one: (one[0].span or NEVER, one[0].resource))
    numbered = [(f"E{number}", *one) for number, one in enumerate(ordered, start=1)]
    return [HistoryLine(id=id, entry=entry, text=line_of(id, entry), tokens=cost) for id, entry, cost in numbered]


# -- tiers -----------------------------------------------------------------------------------------------------------------------


def _tiers(timeline: Timeline) -> list[tuple[DropReason, list[TimelineEntry]]]:
    newest_first = sorted(timeline.entries, key=lambda e: (e.span or (-NEVER[0], 0), e.resource), reverse=True)
    telling, newest = _telling(newest_first)
    core = _core_references(timeline)
    held = {unversioned(entry.resource) for entry in timeline.entries}
    tiers: dict[DropReason, list[TimelineEntry]] = {name: [] for name in TIERS}
    for entry in newest_first:
        tiers[_tier(entry, core, held, telling, newest)].append(entry)
    return list(tiers.items())


def _tier(entry: TimelineEntry, core: set[str], held: set[str], telling: set[str], newest: set[str]) -> DropReason:
    if entry.kind == "report":
        if core & {*entry.studies, entry.resource}:
            return "core"
        return "panel" if entry.members and entry.title is None and held.issuperset(entry.members) else "older-report"
    if entry.kind == "observation":
        return _tier_of_observation(entry, telling, newest)
    if entry.resource in core or (entry.kind in _WARNINGS and is_active(entry)):
        return "core"
    if entry.kind in ("medication", "administration"):
        return "medication" if is_active(entry) else "closed"
    if entry.kind in ("procedure", "family-history") or (entry.kind == "care-plan" and is_active(entry)):
        return "older-report"
    return "closed"


def _tier_of_observation(entry: TimelineEntry, telling: set[str], newest: set[str]) -> DropReason:
    if entry.category == "vital-signs":
        return "vital-signs"
    if entry.members:
        return "panel"
    if entry.resource in newest:
        return "newest-value"
    return "older-value" if entry.resource in telling else "repeated-value"


def is_active(entry: TimelineEntry) -> bool:
    """An active problem, allergy or medicine. A status that nobody gave counts as active; one that was refuted does not."""
    words = set(entry.status.split("/"))
    return not words & _OVER and bool(words & _ACTIVE or words <= {"confirmed", "provisional", "unconfirmed"})


def _core_references(timeline: Timeline) -> set[str]:
    """The order, the study itself and the priors that were chosen, in their versions and without, with their orders."""
    chosen = {choice.study_instance_uid for choice in timeline.prior_choices if choice.taken}
    priors = [study for study in timeline.priors if study.study_instance_uid in chosen]
    known = [study for study in (timeline.study, *priors) if study is not None]
    named = [study.resource for study in known] + ([timeline.order.resource] if timeline.order else [])
    return {*named, *(unversioned(name) for name in named), *(b for study in priors for b in study.based_on)}


def _telling(newest_first: Iterable[TimelineEntry]) -> tuple[set[str], set[str]]:
    """Of the values of each code the first, the last and the extremes; and the last alone. Both as references."""
    series: dict[str, list[TimelineEntry]] = {}
    for entry in newest_first:
        if entry.kind == "observation":
            series.setdefault(_code(entry), []).append(entry)
    newest = {entries[0].resource for entries in series.values()}
    return {one.resource for entries in series.values() for one in _thinned(entries)}, newest


def _code(entry: TimelineEntry) -> str:
    """What makes two values comparable: the analyte of the table, else code and unit."""
    if entry.analyte is not None:
        return entry.analyte
    code = min((f"{c.system}|{c.code}" for c in entry.codings), default=entry.text)
    return f"{code} {entry.normal_unit or entry.unit}"


def _thinned(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    numbers = [(number, entry) for entry in entries if (number := _number(entry)) is not None]
    extremes = [choose(numbers, key=lambda one: one[0])[1] for choose in (min, max)] if numbers else []
    return [entries[0], entries[-1], *extremes]


def _number(entry: TimelineEntry) -> Decimal | None:
    try:
        number = Decimal(entry.normal_value) if entry.normal_value is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


# -- in our words ------------------------------------------------------------------------------------------------------------------

_KIND_WORDS = {
    "imaging-study": ("imaging study", "imaging studies"),
    "report": ("report", "reports"),
    "observation": ("observation", "observations"),
    "condition": ("condition", "conditions"),
    "medication": ("medication", "medications"),
    "procedure": ("procedure", "procedures"),
    "allergy": ("allergy", "allergies"),
    "order": ("order", "orders"),
    "administration": ("administration", "administrations"),
    "encounter": ("encounter", "encounters"),
    "care-plan": ("care plan", "care plans"),
    "goal": ("goal", "goals"),
    "immunization": ("immunization", "immunizations"),
    "device": ("device", "devices"),
    "family-history": ("family history", "family histories"),
    "flag": ("warning", "warnings"),
}


def dropped_sentence(excerpt: HistoryExcerpt) -> str | None:
    """What of the history was not given to the model, for the result; None if nothing was left out. Holds no word of the chart."""
    if not excerpt.dropped:
        return None
    counts: Counter[str] = Counter()
    for each in excerpt.dropped:
        counts[each.kind] += each.count
    said = [f"{n} {_KIND_WORDS[kind][n != 1]}" for kind, n in counts.items()]
    total = len(excerpt.lines) + sum(counts.values())
    sentence = f"The history was shortened to {len(excerpt.lines)} of {total} entries; left out: {', '.join(said)}."
    if any(each.reason == "core" for each in excerpt.dropped):
        sentence += (
            " Among them are allergies, active problems, implants, warnings, the order or reports of compared studies."
        )
    return sentence
