"""The second reader: rows by their geometry alone, without a model. It also says which line is a heading, and what a heading governs. Pure.

It reports nothing by itself: it is asked which of a row's numbers can be its result, and its own reading of a row is held beside the model's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from schemas.documents import DocumentLine, ReadDocument
from workflows.documents import notation
from workflows.documents.candidates import (
    COLLECTED,
    PREVIOUS,
    RANGE_HEADING,
    RESULT,
    Candidates,
    Span,
    candidates_of,
)
from workflows.reading.caution import instruction_in

Specimen = Literal["serum", "blood", "other"]
_SPECIMENS: tuple[tuple[Specimen, re.Pattern[str]], ...] = (
    ("other", re.compile(r"\b(urine?|urinary|csf|liquor|cerebrospinal|pleural|ascites|stool|stuhl|u-)(?:\b|(?<=-))", re.IGNORECASE)),
    ("blood", re.compile(r"\b(whole blood|blood count|cbc|fbc|blutbild|vollblut|h[a]?ematolog\w*|hämatolog\w*|edta)\b", re.IGNORECASE)),
    ("serum", re.compile(r"\b(serum|plasma)\b|\bs[-/](?=[a-z])|\(s\)", re.IGNORECASE)),
)  # fmt: skip
_OF_UNITS = re.compile(r"[\d/^*]")
"""Signs that a word behind a unit belongs to it; so does one of up to three letters (`pg mL`, whose bar was lost)."""


@dataclass(frozen=True)
class Row:
    """What the row says by its geometry; every text as written."""

    name: str
    value: str
    unit: str | None
    range: str | None
    flag: str | None


@dataclass(frozen=True)
class Context:
    """What governs a line: the heading of its table, the line above it, the collection last named, the specimen last named."""

    heading: DocumentLine | None
    above: DocumentLine | None
    collected: tuple[str, ...]
    """Dates, as written, that may be the collection of this line's specimen."""
    specimen: Specimen | None


class Rows:
    """A document's lines with all that the checks ask about them."""

    def __init__(self, document: ReadDocument) -> None:
        self.document = document
        self.lines = {line.id: line for line in document.lines}

    @cached_property
    def candidates(self) -> dict[str, Candidates]:
        return {name: candidates_of(line) for name, line in self.lines.items()}

    @cached_property
    def instructing(self) -> dict[str, str]:
        """Lines that read like instructions, and of which kind; one that is broken over two lines counts for both."""
        found = {name: code for name, line in self.lines.items() if (code := instruction_in(line.text))}
        for one, other in pairwise(self.lines.values()):
            if one.id not in found and other.id not in found:
                code = instruction_in(f"{one.text} {other.text}")
                found |= dict.fromkeys((one.id, other.id), code) if code else {}
        return found

    @cached_property
    def mark(self) -> notation.Mark:
        """The document's decimal mark, by its values and ranges."""
        digits: list[str] = []
        for found in self.candidates.values():
            spans = [*found.values, *found.ranges]
            digits += [number[0].strip("'’") for span in spans for number in re.finditer(notation.DIGITS, span.text)]
        return notation.decimal_mark(digits)

    @cached_property
    def contexts(self) -> dict[str, Context]:
        found: dict[str, Context] = {}
        heading = above = None
        collected: tuple[str, ...] = ()
        specimen: Specimen | None = None
        page = 0
        for name, line in self.lines.items():
            if line.page != page:
                page, heading, above = line.page, None, None
            values = self.candidates[name].values
            said = _collected(line, self.candidates[name])
            collected = said or collected
            if not values:
                specimen = specimen_in(line.text) or specimen
                heading = line if is_heading(line) else heading
            own = self._own_dates(name, line, heading)
            found[name] = Context(heading, above, own or collected, specimen_in(line.text) or specimen)
            above = line
        return found

    def _own_dates(self, name: str, line: DocumentLine, heading: DocumentLine | None) -> tuple[str, ...]:
        """Dates in the line itself that stand under a heading which says that they are the collection's."""
        if heading is None:
            return ()
        dates = self.candidates[name].dates
        return tuple(d.text for d in dates if (over := _over(heading, d, line)) and COLLECTED.search(over))

    def results(self, name: str) -> list[Span]:
        """Numbers of the line that can be its result: none that stands under the heading of an earlier result."""
        line, heading = self.lines[name], self.contexts[name].heading
        values = list(self.candidates[name].values)
        if heading is None:
            return values
        over = [(value, _over(heading, value, line) or "") for value in values]
        kept = [(value, text) for value, text in over if not PREVIOUS.search(text) and not notation.DATE.search(text)]
        named = [value for value, text in kept if RESULT.search(text)]
        return named if len(named) == 1 else [value for value, _ in kept]

    def previous(self, name: str) -> list[Span]:
        """Numbers of the line that stand under the heading of an earlier result."""
        results = self.results(name)
        return [value for value in self.candidates[name].values if value not in results]

    def names(self, name: str) -> list[tuple[str, str]]:
        """(text, id of its line): names before the line's result; those of the line above where the line has none of its own."""
        own = [span.text for span in self.candidates[name].names]
        if own:
            return [(text, name) for text in own]
        above = self.contexts[name].above
        if above is None or self.candidates[above.id].values or is_heading(above):
            return []
        return [(span.text, above.id) for span in self.candidates[above.id].names]

    def unit(self, name: str) -> Span | None:
        """The unit of the line's result: the first one behind it, else the only one; None where other words belong to it.

        `ml U/L` (what OCR makes of `mIU/L`) and `mmol/L /24h` are not read as `U/L` and `mmol/L`.
        """
        results, found = self.results(name), self.candidates[name]
        if not results:
            return None
        behind = [unit for unit in found.units if unit.after(results[0])]
        if not behind:
            return found.units[0] if len(found.units) == 1 else None
        unit = behind[0]
        if any(word.after(results[0]) and unit.after(word) for word in found.unknown_units):
            return None
        rest = next((word for word in found.unknown_units if word.after(unit) and word.cell == unit.cell), None)
        torn = rest is not None and (len(rest.text) <= 3 or _OF_UNITS.search(rest.text)) and rest.start - unit.end <= 1
        return None if torn else unit

    def row(self, name: str) -> Row | None:
        """The line as a row; None where it has no result, or more than one."""
        results, names = self.results(name), self.names(name)
        if len(results) != 1 or not names:
            return None
        unit = self.unit(name) or next(iter(self.candidates[name].unknown_units), None)
        ranges, flags = self.candidates[name].ranges, self.candidates[name].flags
        return Row(
            name=names[0][0],
            value=results[0].text,
            unit=unit.text if unit else None,
            range=ranges[0].text if len(ranges) == 1 else None,
            flag=flags[0].text if len(flags) == 1 else None,
        )


def is_heading(line: DocumentLine) -> bool:
    """A table's heading: cells that name columns, and no value."""
    kinds = [any(word.search(cell.text) for word in (RESULT, PREVIOUS, RANGE_HEADING)) for cell in line.cells]
    return len(line.cells) > 1 and any(kinds) and not candidates_of(line).values


def specimen_in(text: str) -> Specimen | None:
    return next((specimen for specimen, pattern in _SPECIMENS if pattern.search(text)), None)


def _collected(line: DocumentLine, found: Candidates) -> tuple[str, ...]:
    """The date behind a word that says when the specimen was taken."""
    for index, cell in enumerate(line.cells):
        said = COLLECTED.search(cell.text)
        if said:
            behind = [d for d in found.dates if (d.cell, d.start) > (index, said.start())]
            return (behind[0].text,) if behind else ()
    return ()


def _over(heading: DocumentLine, span: Span, line: DocumentLine) -> str | None:
    """The heading's cell over a place: the one that it overlaps, else the nearest within reach."""
    x0, x1 = span.place[0], span.place[2]
    reach = 2.5 * (line.place[3] - line.place[1])
    best: tuple[float, str] | None = None
    for cell in heading.cells:
        gap = max(cell.place[0] - x1, x0 - cell.place[2], 0.0)
        if gap <= reach and (best is None or gap < best[0]):
            best = (gap, cell.text)
    return best[1] if best else None
