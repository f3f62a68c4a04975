"""One entry of a history as one line of text, and how many tokens it may take."""

from __future__ import annotations

import re
import unicodedata

from schemas.timeline import Measured, Timeline, TimelineEntry
from workflows.timeline.dates import before, span_of

_RUN = re.compile(r"[A-Za-z]+|\s+|.", re.DOTALL)
_YEAR = 365.2425 * 86_400 * 1_000_000


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
    words += [f"{part.text} {shown(part) or '-'};" for part in entry.components]
    if entry.interpretation:
        words.append(f"[{entry.interpretation}]")
    if entry.until and entry.until[:10] != (entry.when or "")[:10]:
        words.append(f"until {entry.until[:10]}")
    if entry.detail:
        words.append(f"({entry.detail})")
    return one_line(" ".join(word for word in words if word))


def shown(measured: Measured) -> str | None:
    """A value in the unit of our table where it has one, else as the source wrote it."""
    if measured.normal_value is not None:
        return f"{measured.comparator or ''}{measured.normal_value} {measured.normal_unit or ''}".strip()
    if measured.value is None:
        return None
    return f"{measured.value} {measured.unit or ''}".strip()


def one_line(text: str) -> str:
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") else c for c in text)
    return " ".join(printable.split())


def patient_line(timeline: Timeline) -> str:
    """Sex, and the age in years at the study or at the moment asked for; no name, no date of birth."""
    sex = timeline.patient.sex if timeline.patient.sex in ("male", "female", "other") else "sex unknown"
    age = _age(timeline)
    return f"Patient: {sex}, {f'{age} years' if age is not None else 'age unknown'}"


def _age(timeline: Timeline) -> int | None:
    born = span_of(timeline.patient.birth_date or "")
    moment = (timeline.study.span if timeline.study else None) or span_of(timeline.as_of or "")
    if born is None or moment is None or before(born, moment) is not True:
        return None
    return int((moment[0] - born[0]) / _YEAR)
