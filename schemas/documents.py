"""A document as lines of text with their places, and the values that were read from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.model import Record
from schemas.region import ImageRegion

Place = tuple[float, float, float, float]
"""x0, y0, x1, y1 on the page as it is displayed, origin at its top left corner: points (1/72 inch) of a PDF, pixels of a scan."""

TextSource = Literal["text-layer", "ocr"]
Abnormality = Literal["low", "high", "abnormal", "normal"]
SecondReading = Literal["agrees", "differs", "silent"]
"""What the reader that works by geometry alone says of a line whose value the model claims."""


class DocumentCell(Record):
    """Text that stands together: one cell of a table's row, or a line of running text."""

    text: str
    place: Place


class DocumentLine(Record):
    """One row. `id` is `P<page>L<line>`, both counted from 1 in reading order; `confidence` is the OCR engine's least, None for a text layer."""

    id: str
    page: int
    cells: list[DocumentCell]
    place: Place
    confidence: float | None = None

    @property
    def text(self) -> str:
        """The row as the model is shown it: its cells between bars."""
        return " | ".join(cell.text for cell in self.cells)


class DocumentPage(Record):
    """A page: its size in the units of `Place`, the rendered picture, and where its text comes from."""

    number: int
    width: float
    height: float
    source: TextSource
    picture: str
    """Address of the rendered page (PNG) in the object store."""
    hidden: bool = False
    """The file holds text for this page that the page does not show: that text was left out."""


class ReadDocument(Record):
    """All that later steps need of a document."""

    pages: list[DocumentPage]
    lines: list[DocumentLine]

    def line(self, name: str) -> DocumentLine | None:
        return next((line for line in self.lines if line.id == name), None)


class AnsweredRow(Record):
    """The model's answer about one line: texts as they are written there."""

    name: Annotated[str, Field(max_length=200)]
    value: Annotated[str, Field(max_length=80)]
    unit: Annotated[str, Field(max_length=80)] | None
    range: Annotated[str, Field(max_length=80)] | None
    flag: Annotated[str, Field(max_length=80)] | None
    collected: Annotated[str, Field(max_length=80)] | None


class DocumentAnswer(Record):
    """The model's whole answer: for each line that was asked about, a result or None where it holds none."""

    lines: dict[str, AnsweredRow | None]


class WrittenRange(Record):
    """A reference range; bounds are decimal numbers in the value's unit, both included unless the text says otherwise."""

    text: str
    low: str | None = None
    high: str | None = None


class Citation(Record):
    """Where a value stands: the lines, the row as written, and the rows' box on the page."""

    lines: list[str]
    page: int
    place: Place
    text: str
    source: TextSource
    region: ImageRegion | None = None


class LabValue(Record):
    """One value that passed every check. All texts stand verbatim in the cited lines; `number` and the range's bounds are what they mean."""

    label: str
    """The line's id: the key of the value within its document."""
    name: str
    value: str
    number: str
    """A decimal number with the digits that are written."""
    comparator: Literal["<", "<=", ">=", ">"] | None = None
    unit: str | None
    """As written; None for what is counted by no unit (pH, INR)."""
    ucum: str
    range: WrittenRange | None = None
    flag: str | None = None
    interpretation: Abnormality | None = None
    """By the document's own range, or its own flag where the range decides nothing."""
    collected: str | None = None
    """FHIR date or dateTime without offset; None where the document does not say, or not unambiguously."""
    collected_text: str | None = None
    loinc: str | None = None
    citation: Citation
    second_reading: SecondReading = "silent"
