"""Laboratory reports as they arrive, made up: in several layouts, as PDF with text and as a scan of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from schemas.documents import DocumentAnswer, LabValue, ReadDocument
from workflows.documents.check import CheckedDocument, check_document
from workflows.documents.pdf import decode_pdf
from workflows.documents.printed import PrintedText
from workflows.documents.prompt import asked_lines
from workflows.documents.reading import page_of_pdf, read_pages
from workflows.documents.rows import Rows

rl_config.useA85 = 0  # a scanned page as ASCII, in Python, takes longer than reading it
Picture = npt.NDArray[np.uint8]
Cells = Sequence[str]

CHEMISTRY: list[Cells] = [
    ("Sodium", "140", "mmol/L", "135 - 145", ""),
    ("Potassium", "5.9", "mmol/L", "3.5 - 5.1", "H"),
    ("Creatinine", "1.24", "mg/dL", "0.60 - 1.10", "H"),
    ("C-reactive protein", "< 0.3", "mg/L", "< 5.0", ""),
    ("Vitamin B12", "450", "pg/mL", "200 - 900", ""),
    ("CA 19-9", "35.5", "U/mL", "< 37", ""),
]
GERMAN: list[Cells] = [
    ("Natrium", "141", "mmol/l", "135 - 145", ""),
    ("Kalium", "3,9", "mmol/l", "3,5 - 5,1", ""),
    ("Kreatinin", "1,24", "mg/dl", "0,60 - 1,10", "+"),
    ("Hämoglobin", "11,2", "g/dl", "12,0 - 16,0", "↓"),
    ("Leukozyten", "6,2", "G/l", "4,0 - 10,0", ""),
    ("Bilirubin gesamt", "0,7", "mg/dl", "bis 1,2", ""),
    ("Cholesterin", "1.240", "mg/l", "bis 2.000", ""),
]
COLUMNS = (60, 210, 270, 350, 450)


def pdf(draw: Callable[[Canvas], None], **options: Any) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=True, **options)
    canvas.setFont("Helvetica", 10)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def lines_pdf(*texts: str, size: float = 10, **options: Any) -> bytes:
    """One text a line, as a typewriter would."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", size)
        for number, text in enumerate(texts):
            canvas.drawString(60, 780 - 20 * number, text)

    return pdf(draw, **options)


def table_pdf(
    rows: Sequence[Cells],
    *,
    title: str = "Clinical chemistry, serum",
    heading: Cells = ("Test", "Result", "Unit", "Reference", "Flag"),
    collected: str = "Collected: 2026-11-20 08:10",
    columns: Sequence[float] = COLUMNS,
    more: Sequence[str] = (),
) -> bytes:
    """A table under a heading; `more` are lines of running text below it."""

    def draw(canvas: Canvas) -> None:
        y = 790.0
        for text in filter(None, ["St. Elsewhere Laboratory", collected, title]):
            canvas.drawString(60, y, text)
            y -= 22
        for cells in [heading, *rows]:
            for x, text in zip(columns, cells, strict=False):
                canvas.drawString(x, y, text)
            y -= 20
        for text in more:
            canvas.drawString(60, y, text)
            y -= 20

    return pdf(draw)


def dotted_pdf(rows: Sequence[Cells]) -> bytes:
    """Name, dots, value with its unit, range in brackets."""
    width = 200.0

    def draw(canvas: Canvas) -> None:
        canvas.drawString(60, 800, "Serum")
        for number, (name, value, unit, bounds, flag) in enumerate(rows):
            dots = "." * int((width - stringWidth(name, "Helvetica", 10)) / stringWidth(".", "Helvetica", 10))
            canvas.drawString(60, 780 - 20 * number, f"{name} {dots} {value} {unit} ({bounds}) {flag}")

    return pdf(draw)


def two_column_pdf(left: Sequence[Cells], right: Sequence[Cells]) -> bytes:
    """Two panels side by side."""
    places = (40, 130, 165, 215, 275)

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 9)
        canvas.drawString(40, 800, "Collected: 20.11.2026 08:10")
        for shift, panel in ((0, left), (270, right)):
            for number, cells in enumerate(panel):
                for x, text in zip(places, cells, strict=True):
                    canvas.drawString(x + shift, 770 - 18 * number, text)

    return pdf(draw)


def picture_of(document: bytes, page: int = 0) -> Picture:
    return decode_pdf(document)[page].picture


def scanned(document: bytes, *, degrees: float = 0.7, noise: float = 12.0, seed: int = 1) -> Picture:
    """The page as a scanner gives it: a little askew, grey paper, grain."""
    from PIL import Image

    page = Image.fromarray(picture_of(document)).rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=255)
    grain = np.random.default_rng(seed).normal(-8, noise, (page.height, page.width))
    return np.clip(np.asarray(page, dtype=np.float64) + grain, 0, 255).astype(np.uint8)


def scanned_pdf(picture: Picture) -> bytes:
    """A PDF that holds the picture alone, as multifunction printers send it."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    size = A4[0], A4[0] * picture.shape[0] / picture.shape[1]

    def draw(canvas: Canvas) -> None:
        canvas.setPageSize(size)
        canvas.drawImage(ImageReader(Image.fromarray(picture)), 0, 0, *size)

    return pdf(draw)


def document_of(content: bytes) -> ReadDocument:
    """A PDF with a text layer, read."""
    return read_pages([page_of_pdf(page) for page in decode_pdf(content)], _no_reader, lambda picture: "picture")


def _no_reader(picture: Picture) -> list[PrintedText]:
    raise AssertionError("no page of this document is a scan")


def rows_of(content: bytes) -> Rows:
    return Rows(document_of(content))


def honest(rows: Rows) -> dict[str, dict[str, Any] | None]:
    """The answer of a model that reads every row as it is written."""
    told: dict[str, dict[str, Any] | None] = {}
    for name in asked_lines(rows):
        row, when = rows.row(name), rows.contexts[name].collected
        told[name] = vars(row) | {"collected": when[0] if when else None} if row else None
    return told


def checked(rows: Rows, lines: dict[str, Any]) -> CheckedDocument:
    return check_document(DocumentAnswer.model_validate({"lines": lines}), rows)


def by_name(found: CheckedDocument) -> dict[str, LabValue]:
    return {value.name: value for value in found.values}


def codes(found: CheckedDocument) -> set[str]:
    return {dropped.code for dropped in found.dropped}
