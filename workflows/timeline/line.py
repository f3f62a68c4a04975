"""One entry of a history as one line of text, and how many tokens it may take."""

from __future__ import annotations

import re
import unicodedata

from schemas.timeline import Component, Measured, Timeline, TimelineEntry
from workflows.timeline.dates import ages_at
from workflows.timeline.words import as_printed

_RUN = re.compile(r"[A-Za-z]+|\s+|.", re.DOTALL)


def estimate_tokens(text: str) -> int:
    """An upper estimate for Gemma's vocabulary: a token for each two letters of a word, for each digit and mark, and for each byte that is not ASCII.

    Chosen without the tokenizer, from how it is built: digits are split, unknown characters fall to bytes, and English prose needs a token for about
    four letters. Text made to be long in tokens (random letters) can still reach one token a letter.
    """
    return sum(_cost(run) for run in _RUN.findall(text))


def _cost(run: str) -> int:
    if run.isascii():
        return -(-len(run) // 2) if run.isalpha() else 1
    return len(run.encode("utf-8", "replace"))


def line_of(id: str, entry: TimelineEntry) -> str:
    """`E7 2026-03-01 observation final: Creatinine 1.1 mg/dL [H]`. No control character or line end of the source gets in: it cannot begin a line."""
    words = [id, (entry.when or "undated")[:10], f"{entry.kind} {entry.status}:", entry.title, entry.text, shown(entry)]
    words += [f"{part_words(part)};" for part in entry.components]
    if entry.interpretation:
        words.append(f"[{entry.interpretation}]")
    if entry.until and entry.until[:10] != (entry.when or "")[:10]:
        words.append(f"until {entry.until[:10]}")
    if entry.detail:
        words.append(f"({entry.detail})")
    return one_line(" ".join(word for word in words if word))


def shown(measured: Measured) -> str | None:
    """A value as a laboratory prints it, in the unit of our table where it has one. What the source wrote as text is never rounded."""
    if measured.normal_value is not None:
        return f"{measured.comparator or ''}{as_printed(measured.normal_value)} {measured.normal_unit or ''}".strip()
    if measured.value is None:
        return None
    value = as_printed(measured.value) if measured.not_normalised else measured.value
    return f"{value} {measured.unit or ''}".strip()


def part_words(part: Component) -> str:
    """A component with its value: `Systolic Blood Pressure 120 mm[Hg]`."""
    return f"{part.text} {shown(part) or '-'}" + (f" ({part.detail})" if part.detail else "")


def one_line(text: str) -> str:
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") else c for c in text)
    return " ".join(printable.split())


def patient_line(timeline: Timeline) -> str:
    """Sex, and the age in years at the study or at the moment asked for; no name, no date of birth."""
    sex = timeline.patient.sex if timeline.patient.sex in ("male", "female", "other") else "sex unknown"
    when = (timeline.study.started if timeline.study else None) or timeline.as_of
    ages = ages_at(timeline.patient.birth_date, when)
    if ages is None:
        return f"Patient: {sex}, age unknown"
    return f"Patient: {sex}, {ages[0]}{f' to {ages[1]}' if ages[1] != ages[0] else ''} years"
