"""Checks between the model's answer about a document and anything that is written. Pure: what fails is dropped by name, nothing is repaired.

A value is believed only where it is the one number of its line that can be the result, with the unit behind it, in digits that can be read in one
way, and in agreement with the line's own range and flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import orjson
from pydantic import ValidationError

from schemas.documents import (
    Abnormality,
    AnsweredRow,
    Citation,
    DocumentAnswer,
    DocumentLine,
    LabValue,
    SecondReading,
    WrittenRange,
)
from schemas.errors import PermanentFailure
from schemas.inference import ModelAnswer
from schemas.report import AbstentionReason, DroppedFinding
from workflows.documents import notation
from workflows.documents.coded import loinc_of
from workflows.documents.notation import Ambiguous, Written
from workflows.documents.printed import printed_text
from workflows.documents.prompt import may_hold_result, sure
from workflows.documents.rows import Rows
from workflows.documents.units import AMBIGUOUS, plain_unit, ucum_of, unitless

MOST_INVENTED = 0.5
"""If more than this share of the results that the model names does not stand in the text, the rest is not believed either."""
INVENTED = frozenset({"line-unknown", "value-not-in-line", "name-not-in-line", "unit-not-in-line"})
"""Codes of what cannot come from the document."""


@dataclass(frozen=True)
class CheckedDocument:
    """Values that passed; what was dropped, by line; lines that look like results and of which no value is reported."""

    values: list[LabValue]
    dropped: list[DroppedFinding]
    unreported: list[str]
    abstained: AbstentionReason | None = None


class _Dropped(Exception):
    """The result failed a check; the argument names it."""


def read_document_answer(answer: ModelAnswer) -> DocumentAnswer:
    """`PermanentFailure` (`model-output-cut`, `model-output-invalid`).

    What the schema of the request forbids beyond the record is left to the checks: one line that is answered wrongly is dropped alone.
    """
    if answer.finish_reason != "stop":
        raise PermanentFailure("model-output-cut", "the answer ended before it was complete")
    try:
        return DocumentAnswer.model_validate(orjson.loads(answer.text), strict=False)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise PermanentFailure("model-output-invalid", "the answer is not the JSON that was asked for") from error


def check_document(answer: DocumentAnswer, rows: Rows) -> CheckedDocument:
    """Each result against its line, then the results against each other."""
    values: list[LabValue] = []
    dropped: list[DroppedFinding] = []
    claimed = {name: row for name, row in answer.lines.items() if row is not None}
    for name, row in claimed.items():
        try:
            values.append(_LineCheck(rows, name, row, dropped).value())
        except _Dropped as failed:
            dropped.append(DroppedFinding(label=_known(name, rows), code=str(failed)))
    invented = sum(item.code in INVENTED for item in dropped)
    if claimed and invented > MOST_INVENTED * len(claimed):
        return CheckedDocument([], dropped, unreported([], rows), "most-answers-dropped")
    values = _without_conflicts(values, dropped)
    return CheckedDocument(values, dropped, unreported(values, rows))


def unreported(values: Iterable[LabValue], rows: Rows) -> list[str]:
    """Lines that look like results, by the second reader or by their form, and that no value was taken from: a list is not to be thought complete."""
    told = {line for value in values for line in value.citation.lines}
    return [name for name in rows.lines if name not in told and looks_like_result(rows, name)]


def looks_like_result(rows: Rows, name: str) -> bool:
    found = rows.candidates[name]
    if may_hold_result(rows, name):
        return True
    return bool(found.names) and bool(found.units) and bool(found.ranges)


def _known(name: str, rows: Rows) -> str:
    """A line's id, never a text of the model's own."""
    return name if name in rows.lines else "P0L0"


class _LineCheck:
    """One answered line."""

    def __init__(self, rows: Rows, name: str, row: AnsweredRow, dropped: list[DroppedFinding]) -> None:
        self._rows = rows
        self._name = name
        self._row = row
        self._dropped = dropped

    def value(self) -> LabValue:
        """`_Dropped` with the name of the first check that fails."""
        line = self._line()
        written = self._written()
        name, name_line = self._named()
        unit, ucum = self._unit(name)
        number = _or_drop(lambda: notation.number_of(written.digits, self._rows.mark), "value-ambiguous")
        flag = self._cited(self._row.flag, [span.text for span in self._rows.candidates[self._name].flags], "flag")
        interpretation = self._interpretation(Decimal(number), written)
        moment, said = self._collected()
        cited = [line] if name_line == self._name else [self._rows.lines[name_line], line]
        return LabValue(
            label=self._name,
            name=name,
            value=written.text,
            number=number,
            comparator=written.comparator,
            unit=unit,
            ucum=ucum,
            range=self._range(),
            flag=flag,
            interpretation=interpretation,
            collected=moment,
            collected_text=said,
            loinc=loinc_of(name, self._rows.contexts[self._name].specimen, ucum),
            citation=citation_of(cited, self._rows),
            second_reading=self._second_reading(name, written, unit),
        )

    def _line(self) -> DocumentLine:
        line = self._rows.lines.get(self._name)
        if line is None:
            raise _Dropped("line-unknown")
        if not sure(line):
            raise _Dropped("text-uncertain")
        if self._name in self._rows.instructing:
            raise _Dropped("text-instructs")
        return line

    def _written(self) -> Written:
        said = printed_text(self._row.value)
        every = [span.text for span in self._rows.candidates[self._name].values]
        results = [span.text for span in self._rows.results(self._name)]
        if said not in every:
            raise _Dropped("value-not-in-line")
        if said not in results:
            raise _Dropped("value-previous")
        if len(results) != 1:
            raise _Dropped("value-ambiguous")
        written = notation.written_value(said)
        if written is None:
            raise _Dropped("value-not-number")
        return written

    def _named(self) -> tuple[str, str]:
        """The name and the line it stands in: the one nearest before the value."""
        said = printed_text(self._row.name)
        for text, line in self._rows.names(self._name):
            if text == said:
                if line in self._rows.instructing:
                    raise _Dropped("text-instructs")
                return text, line
        raise _Dropped("name-not-in-line")

    def _unit(self, name: str) -> tuple[str | None, str]:
        right = self._rows.unit(self._name)
        if self._row.unit is None:
            bare = unitless(name) if right is None else None
            if bare is None:
                raise _Dropped("unit-missing")
            return None, bare
        said = printed_text(self._row.unit)
        found = self._rows.candidates[self._name]
        if said not in {span.text for span in (*found.units, *found.unknown_units)}:
            raise _Dropped("unit-not-in-line")
        code = ucum_of(said)
        if code is None:
            raise _Dropped("unit-ambiguous" if plain_unit(said) in AMBIGUOUS else "unit-unknown")
        if right is None or right.text != said:
            raise _Dropped("unit-not-of-value")
        return said, code

    def _range(self) -> WrittenRange | None:
        texts = [span.text for span in self._rows.candidates[self._name].ranges]
        said = self._cited(self._row.range, texts, "range")
        if said is None:
            return None
        parsed = self._parsed(said) if len(texts) == 1 else None
        if parsed is None:
            self._drop("range-ambiguous")
        return parsed

    def _parsed(self, text: str) -> WrittenRange | None:
        try:
            return notation.range_of(text, self._rows.mark)
        except Ambiguous:
            return None

    def _interpretation(self, number: Decimal, written: Written) -> Abnormality | None:
        """By the line's own range and flag, whether the model named them or not: a line that contradicts itself was not read rightly."""
        found = self._rows.candidates[self._name]
        bounds = self._parsed(found.ranges[0].text) if len(found.ranges) == 1 else None
        computed = notation.against_range(number, written.comparator, bounds) if bounds else None
        flags = {meaning for span in found.flags if (meaning := notation.flag_of(span.text))}
        if computed is None:
            return next(iter(flags)) if len(flags) == 1 else None
        if any(_contradicts(computed, flag) for flag in flags):
            raise _Dropped("flag-conflict")
        return computed

    def _collected(self) -> tuple[str | None, str | None]:
        said = self._cited(self._row.collected, list(self._rows.contexts[self._name].collected), "time")
        if said is None:
            return None, None
        try:
            return notation.moment_of(said), said
        except Ambiguous:
            self._drop("time-ambiguous")
            return None, said

    def _cited(self, said: str | None, texts: list[str], what: str) -> str | None:
        """A part that is not needed: it stands in the line, or it is dropped and the value kept."""
        if said is None:
            return None
        text = printed_text(said)
        if text in texts:
            return text
        self._drop(f"{what}-not-in-line")
        return None

    def _drop(self, code: str) -> None:
        self._dropped.append(DroppedFinding(label=self._name, code=code))

    def _second_reading(self, name: str, written: Written, unit: str | None) -> SecondReading:
        row = self._rows.row(self._name)
        if row is None:
            return "silent"
        return "agrees" if (row.name, row.value, row.unit) == (name, written.text, unit) else "differs"


def _contradicts(computed: Abnormality, flag: Abnormality) -> bool:
    if flag == "abnormal":
        return computed == "normal"
    return computed != flag


def _or_drop(parse: Callable[[], str], code: str) -> str:
    try:
        return parse()
    except Ambiguous as error:
        raise _Dropped(code) from error


def citation_of(lines: list[DocumentLine], rows: Rows) -> Citation:
    x0, y0, x1, y1 = zip(*(line.place for line in lines), strict=True)
    page = lines[-1].page
    source = next(p.source for p in rows.document.pages if p.number == page)
    text = " / ".join(line.text for line in lines)
    return Citation(
        lines=[line.id for line in lines],
        page=page,
        place=(min(x0), min(y0), max(x1), max(y1)),
        text=text,
        source=source,
    )


def _without_conflicts(values: list[LabValue], dropped: list[DroppedFinding]) -> list[LabValue]:
    """One analyte twice: the same value is told once, different ones with the times that tell them apart, or not at all."""
    groups: dict[tuple[str, str | None, str], list[LabValue]] = {}
    for value in values:
        groups.setdefault((value.name.casefold(), value.loinc, value.ucum), []).append(value)
    kept: list[LabValue] = []
    for group in groups.values():
        alone: dict[tuple[str | None, str, str | None], LabValue] = {}
        for value in group:
            alone.setdefault((value.collected, value.number, value.comparator), value)
        times = [value.collected for value in alone.values()]
        if len(alone) > 1 and (None in times or len(set(times)) < len(times)):
            dropped += [DroppedFinding(label=value.label, code="value-conflict") for value in group]
        else:
            kept += alone.values()
    return sorted(kept, key=values.index)
