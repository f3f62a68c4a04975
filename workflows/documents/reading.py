"""Pages -> a read document: the text layer where a page has one, OCR where it has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.documents import DocumentLine, DocumentPage, ReadDocument
from schemas.errors import PermanentFailure
from workflows.documents.candidates import starts_of
from workflows.documents.lines import lines_of
from workflows.documents.pdf import MAX_PAGES, PdfPage
from workflows.documents.printed import Piece, PrintedText, straightened, upright

Picture = npt.NDArray[np.uint8]
Read = Callable[[Picture], list[PrintedText]]


@dataclass(frozen=True)
class Page:
    """A page to be read: `picture` uint8 [H, W], `scale` of its pixels to one unit of the page; `words` None where OCR must read it."""

    width: float
    height: float
    scale: float
    picture: Picture
    words: list[Piece] | None
    hidden: bool = False


def page_of_pdf(page: PdfPage) -> Page:
    return Page(page.width, page.height, page.picture.shape[1] / page.width, page.picture, page.words, page.hidden)


def page_of_scan(picture: Picture, columns: int, rows: int) -> Page:
    """`picture` is a frame of so many `columns` and `rows`, reduced or not: places are in the frame's own pixels."""
    return Page(float(columns), float(rows), picture.shape[1] / columns, picture, None)


def read_pages(pages: list[Page], read: Read, keep: Callable[[Picture], str], before: int = 0) -> ReadDocument:
    """Every page's lines; page numbers count on from those `before`; `keep` stores a page's picture and gives its address.

    `PermanentFailure`: `document-empty`, `document-too-long`.
    """
    if not pages:
        raise PermanentFailure("document-empty", "the document has no page")
    if before + len(pages) > MAX_PAGES:
        raise PermanentFailure(
            "document-too-long", f"the document has more than {MAX_PAGES} pages: send the report alone"
        )
    told: list[DocumentPage] = []
    lines: list[DocumentLine] = []
    for number, page in enumerate(pages, start=before + 1):
        pieces = (
            upright(page.words) if page.words is not None else straightened(_in_units(read(page.picture), page.scale))
        )
        lines += lines_of(number, pieces, starts_of)
        told.append(
            DocumentPage(
                number=number,
                width=page.width,
                height=page.height,
                source="ocr" if page.words is None else "text-layer",
                picture=keep(page.picture),
                hidden=page.hidden,
            )
        )
    return ReadDocument(pages=told, lines=lines)


def read_text(texts: list[str]) -> ReadDocument:
    """Plain text as documents of one page each, as a typewriter sets it: 6 points a letter, 12 a line; there are no pictures.

    `PermanentFailure`: `document-empty`, `document-too-long`.
    """
    if not any(text.strip() for text in texts):
        raise PermanentFailure("document-empty", "the document has no text")
    pages: list[DocumentPage] = []
    lines: list[DocumentLine] = []
    for number, text in enumerate(texts, start=1):
        rows = text.expandtabs(8).splitlines()
        words = [_typed(word, row) for row, line in enumerate(rows) for word in re.finditer(r"\S+", line)]
        lines += lines_of(number, upright(words), starts_of)
        width = 6.0 * max(map(len, rows), default=1)
        page = DocumentPage(number=number, width=width, height=12.0 * len(rows), source="text-layer", picture="")
        pages.append(page)
    return ReadDocument(pages=pages, lines=lines)


def _typed(word: re.Match[str], row: int) -> Piece:
    return Piece(word[0], (6.0 * word.start(), 12.0 * row + 1, 6.0 * word.end(), 12.0 * row + 11))


def _in_units(printed: list[PrintedText], scale: float) -> list[PrintedText]:
    return [
        PrintedText(text.text, tuple((x / scale, y / scale) for x, y in text.corners), text.confidence)  # type: ignore[arg-type]
        for text in printed
    ]
