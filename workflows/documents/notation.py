"""How laboratories write numbers, ranges, flags and dates. Pure; what can be read in two ways is not read at all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from schemas.documents import Abnormality, WrittenRange

Mark = Literal["point", "comma", "unknown", "mixed"]
"""The decimal mark that a document uses, by those of its numbers that can be read in one way only."""
Comparator = Literal["<", "<=", ">=", ">"]

DIGITS = r"\d+(?:['’.,]\d+)*"
COMPARATOR = r"(?:<=|>=|=<|=>|[<>≤≥])"
NUMBER = re.compile(rf"(?<![\w.,'’/^*])({COMPARATOR}\s*)?({DIGITS})(?![\d'’/^]|[.,]\d)")
"""A number that begins a word; what follows it is judged by the caller."""
_DASH = r"\s*(?:-|–|—|−|to|bis)\s*"
RANGE = re.compile(
    rf"(?<![\w.,/^-])[(\[]?\s*(?:({DIGITS}){_DASH}({DIGITS})|({COMPARATOR}|bis|up to|unter|über|ab|below|above)\s*({DIGITS}))\s*[)\]]?"
    r"(?![\w^/]|[.,]\d)",
    re.IGNORECASE,
)
_COMPARATORS: dict[str, Comparator] = {
    "<": "<",
    ">": ">",
    "≤": "<=",
    "<=": "<=",
    "=<": "<=",
    "≥": ">=",
    ">=": ">=",
    "=>": ">=",
}
_BELOW = frozenset({"<", "<=", "=<", "≤", "bis", "up to", "unter", "below"})

_FLAGS: dict[Abnormality, tuple[str, ...]] = {
    "high": ("H", "HH", "HI", "HIGH", "+", "++", "+++", "↑", "↑↑", "HOCH", "ERHÖHT"),
    "low": ("L", "LL", "LO", "LOW", "↓", "↓↓", "NIEDRIG", "ERNIEDRIGT", "TIEF"),
    "abnormal": ("*", "**", "!", "!!", "ABNORMAL", "PATHOLOGISCH"),
    "normal": ("NORMAL",),
}
FLAG = {word: meaning for meaning, words in _FLAGS.items() for word in words}
"""A lone dash is no flag: it stands for nothing as often as for low."""

_MONTHS = (
    ("jan", "januar"), ("feb", "februar"), ("mar", "mär", "maer", "mrz"), ("apr",), ("may", "mai"), ("jun", "juni"),
    ("jul", "juli"), ("aug",), ("sep",), ("oct", "okt"), ("nov",), ("dec", "dez"),
)  # fmt: skip
_TIME = r"(?:,?\s*(?:T|at|um)?\s*(?P<h>[01]?\d|2[0-3])[:.](?P<m>[0-5]\d)(?::(?P<s>[0-5]\d))?(?:\s*(?:Uhr|h))?)?"
DATE = re.compile(
    rf"(?<![\d.,/])(?:(?P<y>(?:19|20)\d\d)-(?P<mo>\d\d)-(?P<d>\d\d)|(?P<dd>\d{{1,2}})(?P<sep>[./-])(?P<mm>\d{{1,2}})(?P=sep)(?P<yy>(?:19|20)\d\d)"
    rf"|(?P<dw>\d{{1,2}})\.?[ -](?P<mw>[A-Za-zä]{{3,9}})\.?[ -](?P<yw>(?:19|20)\d\d)){_TIME}(?![\d/]|[.:]\d)"
)
CLOCK = re.compile(r"(?<![\d.,:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:])")


class Ambiguous(Exception):
    """Can be read in two ways."""


@dataclass(frozen=True)
class Written:
    """A value as it is written: `text` with its comparator."""

    text: str
    comparator: Comparator | None
    digits: str


def decimal_mark(numbers: Iterable[str]) -> Mark:
    """By numbers that can be read in one way only: `0,9` and `12,25` prove a comma, `1,000.5` a point."""
    seen = {mark for number in numbers for mark in [_proved(number)] if mark}
    if len(seen) == 2:
        return "mixed"
    return "comma" if "comma" in seen else "point" if "point" in seen else "unknown"


def _proved(digits: str) -> Literal["point", "comma"] | None:
    marks = re.findall(r"[.,]", digits)
    if not marks or "'" in digits or "’" in digits:
        return None
    last, after = marks[-1], re.split(r"[.,]", digits)[-1]
    name: Literal["point", "comma"] = "comma" if last == "," else "point"
    if len(set(marks)) == 2:
        return name if marks.count(last) == 1 else None
    if len(marks) > 1:  # 1.234.567: the mark groups thousands, so the other one is the decimal mark
        return "point" if last == "," else "comma"
    return name if len(after) != 3 or digits.startswith("0") else None


def number_of(digits: str, mark: Mark) -> str:
    """The digits as a decimal number with a point; `Ambiguous` where thousands and decimals cannot be told apart."""
    body = re.sub(r"(?<=\d)['’](?=\d{3}(?!\d))", "", digits)
    if "'" in body or "’" in body:
        raise Ambiguous
    marks = re.findall(r"[.,]", body)
    if not marks:
        return _plain(body)
    last = marks[-1]
    whole, _, fraction = body.rpartition(last)
    if len(marks) == 1:
        own: Mark = "comma" if last == "," else "point"
        if len(fraction) != 3 or body.startswith("0"):
            return _plain(f"{whole}.{fraction}")
        if mark in ("unknown", "mixed"):
            raise Ambiguous
        return _plain(f"{whole}.{fraction}") if mark == own else _plain(_grouped(body, last))
    if len(set(marks)) == 1:
        return _plain(_grouped(body, last))
    if marks.count(last) != 1:
        raise Ambiguous
    return _plain(f"{_grouped(whole, marks[0])}.{fraction}")


def _grouped(text: str, mark: str) -> str:
    """Without the marks between groups of three; `Ambiguous` where the groups are none."""
    first, *rest = text.split(mark)
    if not 1 <= len(first) <= 3 or first.startswith("0") or any(len(group) != 3 for group in rest):
        raise Ambiguous
    return "".join([first, *rest])


def _plain(text: str) -> str:
    """Digits as they are: `007` is no number of a laboratory."""
    if (len(text) > 1 and text[0] == "0" and text[1] != ".") or len(text) > 18:
        raise Ambiguous
    return text


def written_value(text: str) -> Written | None:
    """A value with its comparator; None for all else."""
    match = NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    comparator = _COMPARATORS[match[1].strip()] if match[1] else None
    return Written(text.strip(), comparator, match[2])


def range_of(text: str, mark: Mark) -> WrittenRange | None:
    """Bounds of a range, in the value's unit; None for what is no range. `Ambiguous` for numbers that can be read in two ways, or bounds the
    wrong way round."""
    match = RANGE.fullmatch(text.strip())
    if match is None:
        return None
    if match[1]:
        low, high = number_of(match[1], mark), number_of(match[2], mark)
        if Decimal(low) > Decimal(high):
            raise Ambiguous
        return WrittenRange(text=text, low=low, high=high)
    bound = number_of(match[4], mark)
    return WrittenRange(text=text, high=bound) if match[3].lower() in _BELOW else WrittenRange(text=text, low=bound)


def excludes_bound(text: str) -> bool:
    """`< 5` and `> 60`: the bound itself lies outside."""
    match = RANGE.fullmatch(text.strip())
    return bool(match and match[3] and match[3].lower() in ("<", ">", "unter", "über", "below", "above"))


def flag_of(text: str) -> Abnormality | None:
    return FLAG.get(text.strip().strip("()[]").upper())


def against_range(value: Decimal, comparator: Comparator | None, bounds: WrittenRange) -> Abnormality | None:
    """Low, high or normal; None where a comparator leaves it open."""
    low = Decimal(bounds.low) if bounds.low is not None else None
    high = Decimal(bounds.high) if bounds.high is not None else None
    strict = excludes_bound(bounds.text)
    if comparator in ("<", "<="):
        below = low is not None and (value < low or (value == low and (comparator == "<" or strict)))
        if below:
            return "low"
        inside = high is not None and (value < high or (value == high and (comparator == "<" or not strict)))
        return "normal" if inside and (low is None or low == 0) else None
    if comparator in (">", ">="):
        if high is not None and (value > high or (value == high and (comparator == ">" or strict))):
            return "high"
        inside = low is not None and (value > low or (value == low and (comparator == ">" or not strict)))
        return "normal" if inside and high is None else None
    if low is not None and (value < low or (strict and value == low)):
        return "low"
    if high is not None and (value > high or (strict and value == high)):
        return "high"
    return "normal"


def moment_of(text: str) -> str:
    """A written date as a FHIR date, with its time to the minute as `YYYY-MM-DDThh:mm`; `Ambiguous` where day and month cannot be told apart."""
    match = DATE.fullmatch(text.strip())
    if match is None:
        raise Ambiguous
    day = _day(match)
    return f"{day}T{int(match['h']):02d}:{match['m']}" if match["h"] else day


def _day(match: re.Match[str]) -> str:
    try:
        if match["y"]:
            return date(int(match["y"]), int(match["mo"]), int(match["d"])).isoformat()
        if match["mw"]:
            return date(int(match["yw"]), _month(match["mw"]), int(match["dw"])).isoformat()
        first, second, year = int(match["dd"]), int(match["mm"]), int(match["yy"])
        if match["sep"] == "." or first > 12 or first == second:  # points are written day first everywhere
            return date(year, second, first).isoformat()
        if second > 12:
            return date(year, first, second).isoformat()
    except ValueError as error:
        raise Ambiguous from error
    raise Ambiguous


def _month(word: str) -> int:
    low = word.lower()
    for number, starts in enumerate(_MONTHS, start=1):
        if any(low.startswith(start) for start in starts):
            return number
    raise Ambiguous
