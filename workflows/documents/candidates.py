"""What in a line could be a name, a value, a unit, a range, a flag or a time. Pure; the same for the question, the checks and the second reader.

A number is a value only where it stands by itself: not in the name (`Vitamin B12`, `CA 19-9`), not in a range, a unit (`10^9/L`) or a date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from schemas.documents import DocumentCell, DocumentLine, Place
from workflows.documents import notation
from workflows.documents.units import ucum_of

LONGEST_NAME = 80
_WORD = re.compile(r"\S+")
_NUMBERED = re.compile(
    r"\b(?:CA \d{2,3}(?:-\d{1,2})?|Vit(?:amin|\.) ?[A-K] ?\d{1,2}|IGF[ -]1|Fa[ck]tor (?:1[0-3]|[2-9])|Apo(?:lipoprotein)? B ?100)\b(?! *[.,]?\d)",
    re.IGNORECASE,
)
"""Names that hold a number of their own; in any other name a number that stands by itself makes the row ambiguous."""
_NAME = re.compile(r"(?:\d{1,2}[-'](?=[A-Za-z]))?[^\W\d_][\w .,/()+'’αβγ%#:*-]*")
_GLUED = re.compile(r"(?P<unit>[A-Za-z%µμ/][\w/%µμ^*.]*)|(?P<flag>[HL*!+]{1,3})")
PREVIOUS = re.compile(r"\b(previous|prior|last|former|vorwert|vorbefund|vorher|letzter)", re.IGNORECASE)
RESULT = re.compile(r"\b(results?|values?|ergebnis\w*|wert|messwert|resultat|befund)\b", re.IGNORECASE)
RANGE_HEADING = re.compile(r"\b(reference|ref\.?|normal|range|referenz\w*|normbereich|interval)\b", re.IGNORECASE)
COLLECTED = re.compile(
    r"\b(collect(?:ed|ion)|drawn|sampl(?:ed|e taken|ing)|specimen date|entnahme\w*|abnahme\w*|probenentnahme)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Span:
    """Text of a cell, and where on the page it is."""

    text: str
    cell: int
    start: int
    end: int
    place: Place

    def after(self, other: Span) -> bool:
        return (self.cell, self.start) > (other.cell, other.start)

    def meets(self, other: Span) -> bool:
        return self.cell == other.cell and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Candidates:
    """What the line holds, each from left to right."""

    names: tuple[Span, ...]
    values: tuple[Span, ...]
    """Numbers with their comparators."""
    units: tuple[Span, ...]
    unknown_units: tuple[Span, ...]
    """Words after a number that might be a unit and are none that we know."""
    ranges: tuple[Span, ...]
    flags: tuple[Span, ...]
    dates: tuple[Span, ...]


def candidates_of(line: DocumentLine) -> Candidates:
    return _candidates(tuple((cell.text, cell.place) for cell in line.cells))


def starts_of(cells: list[DocumentCell]) -> list[int]:
    """At which cells another result begins: a name to the right of a value, with a number of its own behind it."""
    told = tuple((cell.text, cell.place) for cell in cells)
    whole = _candidates(told)
    numbers = [span.cell for span in (*whole.values, *whole.ranges)]
    found: list[int] = []
    for name in _texts(told, [*whole.values, *whole.ranges, *whole.units, *whole.dates]):
        begun = found[-1] if found else 0
        before = any(begun <= value.cell < name.cell for value in whole.values)
        if before and any(number > name.cell for number in numbers):
            found.append(name.cell)
    return found


@cache
def _units_in(text: str) -> tuple[tuple[int, int], ...]:
    """Where units stand: runs of one to three words that are one, the longest first."""
    words = [match.span() for match in _WORD.finditer(text)]
    found: list[tuple[int, int]] = []
    taken = -1
    for index, (start, _) in enumerate(words):
        if start < taken:
            continue
        for length in (3, 2, 1):
            if index + length > len(words):
                continue
            end = words[index + length - 1][1]
            inner = text[start:end]
            if ucum_of(inner) is not None:
                found.append((start, end))
                taken = end
                break
    return tuple(found)


@cache
def _candidates(cells: tuple[tuple[str, Place], ...]) -> Candidates:
    dates = _matches(cells, notation.DATE)
    clocks = [clock for clock in _matches(cells, notation.CLOCK) if not _meets(clock, dates)]
    units = [_span(cells, i, start, end) for i, (text, _) in enumerate(cells) for start, end in _units_in(text)]
    ranges = [span for span in _ranges(cells) if not _meets(span, [*dates, *clocks, *units])]
    taken = [*dates, *clocks, *units, *ranges]
    numbered = [span for span in _matches(cells, _NUMBERED) if not _meets(span, taken)]
    numbers, glued_units, glued_flags = _numbers(cells, [*taken, *numbered])
    names = _names(cells, numbers, taken)
    values = numbers
    units = sorted([*units, *glued_units], key=_order)
    flags = sorted([*_flags(cells, [*taken, *names]), *glued_flags], key=_order)
    unknown = _unknown_units(cells, values, [*taken, *units, *names, *flags, *values])
    parts = (names, values, units, unknown, ranges, flags, dates)
    return Candidates(*(tuple(part) for part in parts))


Cells = tuple[tuple[str, Place], ...]


def _order(span: Span) -> tuple[int, int]:
    return span.cell, span.start


def _meets(span: Span, others: Sequence[Span]) -> bool:
    return any(span.meets(other) for other in others)


def _span(cells: Cells, index: int, start: int, end: int) -> Span:
    text, (x0, y0, x1, y1) = cells[index]
    step = (x1 - x0) / max(len(text), 1)
    return Span(text[start:end], index, start, end, (x0 + start * step, y0, x0 + end * step, y1))


def _matches(cells: Cells, pattern: re.Pattern[str]) -> list[Span]:
    return [_span(cells, i, *match.span()) for i, (text, _) in enumerate(cells) for match in pattern.finditer(text)]


def _ranges(cells: Cells) -> list[Span]:
    """Two bounds, or one bound behind a value; a lone `< 0.3` may be the value itself."""
    found: list[Span] = []
    for i, (text, _) in enumerate(cells):
        for match in notation.RANGE.finditer(text):
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            span = _span(cells, i, start, start + len(match[0].strip()))
            two = match[1] is not None
            if (two and not _wrong_way(match)) or (not two and _behind_number(cells, span)) or _bracketed(span):
                found.append(span)
    return found


def _wrong_way(match: re.Match[str]) -> bool:
    """`CA 19-9` is a name, not a range."""
    try:
        return notation.range_of(match[0], "point") is None
    except notation.Ambiguous:
        return "." not in match[0] and "," not in match[0]


def _bracketed(span: Span) -> bool:
    return span.text[0] in "([" and span.text[-1] in ")]"


def _behind_number(cells: Cells, span: Span) -> bool:
    """Whether a number stands to the left that is no part of the first cell's name."""
    for index in range(span.cell + 1):
        text = cells[index][0]
        before = text[: span.start] if index == span.cell else text
        for number in notation.NUMBER.finditer(before):
            if index or number.start():
                return True
    return False


def _numbers(cells: Cells, taken: list[Span]) -> tuple[list[Span], list[Span], list[Span]]:
    """Numbers that stand by themselves, with units and flags that are printed without a blank behind them."""
    numbers, units, flags = [], [], []
    for i, (text, _) in enumerate(cells):
        for match in notation.NUMBER.finditer(text):
            span = _span(cells, i, *match.span())
            if _meets(span, taken):
                continue
            tail = _tail(text, match.end())
            if tail:
                glued = _GLUED.fullmatch(tail)
                if glued is None:
                    continue
                behind = _span(cells, i, match.end(), match.end() + len(tail))
                if notation.flag_of(tail):
                    flags.append(behind)
                elif ucum_of(tail) is not None:
                    units.append(behind)
                else:
                    continue
            numbers.append(span)
    return numbers, units, flags


def _tail(text: str, end: int) -> str:
    """What follows without a blank, but for closing marks."""
    rest = text[end:]
    word = rest[: len(rest) - len(rest.lstrip("".join(rest.split())))] if not rest[:1].isspace() else ""
    return word.split()[0].rstrip(",;:)]") if word.split() else ""


def _names(cells: Cells, numbers: list[Span], taken: list[Span]) -> list[Span]:
    """Texts that begin with a letter and stand before a value: a whole cell, or what stands before the first number in it."""
    found = _texts(cells, [*numbers, *taken])
    last = max((number.cell for number in numbers), default=len(cells))
    return [name for name in found if name.cell <= last]


def _texts(cells: Cells, taken: list[Span]) -> list[Span]:
    """For each cell what it begins with, up to the first thing that is no name."""
    found: list[Span] = []
    for i, (text, _) in enumerate(cells):
        end = min((n.start for n in taken if n.cell == i), default=len(text))
        told = text[:end].rstrip(" .,:;-=*(")
        if not (2 <= len(told) <= LONGEST_NAME and _NAME.fullmatch(told)):
            continue
        if notation.flag_of(told) is None and ucum_of(told) is None and not RANGE_HEADING.match(told):
            found.append(_span(cells, i, 0, len(told)))
    return found


def _flags(cells: Cells, taken: list[Span]) -> list[Span]:
    words = _matches(cells, _WORD)
    return [word for word in words if notation.flag_of(word.text) and not _meets(word, taken)]


def _unknown_units(cells: Cells, values: list[Span], taken: list[Span]) -> list[Span]:
    if not values:
        return []
    words = [word for word in _matches(cells, _WORD) if _order(word) > _order(values[0])]
    return [word for word in words if not _meets(word, taken) and re.search(r"[\w%/]", word.text)]
