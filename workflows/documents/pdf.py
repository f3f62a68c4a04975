"""Bytes of a PDF -> pages: words with their places, and the page as a picture. Pure decoding by pdfium.

pdfium is C++ and not safe to call from two threads, so that hostile files are decoded in a process of their own, whose time and memory are
bounded (`workflows.ports.PdfDecoder`); here the numbers of bytes, pages, characters and pixels are.

Only what the page shows counts as its text: words without ink are left out, and a page whose text is invisible (the layer that scanners put over
their pictures) or that is mostly a picture is read by OCR like any scan.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.documents import Place
from schemas.errors import PermanentFailure
from workflows.documents.printed import Piece

MAX_BYTES = 64 * 1024 * 1024
MAX_PAGES = 40
MAX_CHARACTERS = 20_000
"""Of one page; a dense page of print has a third of it."""
MAX_SIDE = 2000.0
"""Points; A2 has 1684."""
SCALE = 2.5
"""Pixels a point: 180 dpi, at which nine-point print is 22 pixels high."""
FEWEST_CHARACTERS = 12
"""A page with fewer has no text layer worth the name."""
MOST_PICTURE = 0.3
"""A page that pictures cover by more than this share may hold text in them: it is read by OCR."""
LEAST_INK = 40
"""Grey levels between the darkest and the brightest pixel of a word that shows."""
WORD_GAP = 0.6
"""Of the letters' height: a wider gap ends a word even where no space stands."""
PASSWORD, SECURITY = 4, 5
"""FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY of fpdfview.h."""
INVISIBLE = 3
"""FPDF_TEXTRENDERMODE_INVISIBLE (ISO 32000-1, 9.3.6, mode 3)."""

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PdfPage:
    """Size in points; `picture` is uint8 [H, W], grey, `SCALE` pixels a point; `words` is None where the page must be read by OCR."""

    number: int
    width: float
    height: float
    picture: Picture
    words: list[Piece] | None
    hidden: bool


def decode_pdf(pdf: bytes) -> list[PdfPage]:
    """Every page. `PermanentFailure`: `document-encrypted`, `document-unreadable`, `document-empty`, `document-too-long`, `document-too-large`."""
    import pypdfium2

    if len(pdf) > MAX_BYTES:
        raise PermanentFailure("document-too-large", f"the document is larger than {MAX_BYTES >> 20} MB")
    try:
        document = pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (PASSWORD, SECURITY):
            raise PermanentFailure("document-encrypted", "the PDF asks for a password: send it without one") from error
        raise PermanentFailure("document-unreadable", "the bytes are no PDF that can be opened") from error
    try:
        return list(_pages(document))
    except (pypdfium2.PdfiumError, MemoryError) as error:
        raise PermanentFailure("document-unreadable", "a page of the PDF cannot be decoded") from error
    finally:
        document.close()


def _pages(document: Any) -> Iterator[PdfPage]:
    count = len(document)
    if count == 0:
        raise PermanentFailure("document-empty", "the PDF has no page")
    if count > MAX_PAGES:
        raise PermanentFailure("document-too-long", f"the PDF has more than {MAX_PAGES} pages: send the report alone")
    for index in range(count):
        page = document[index]
        width, height = page.get_size()
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise PermanentFailure("document-too-large", "a page of the PDF is larger than paper")
        picture = np.ascontiguousarray(
            page.render(scale=SCALE, grayscale=True, fill_color=(255, 255, 255, 255)).to_numpy()
        )
        words, hidden = _words(page, picture.reshape(picture.shape[:2]), width, height)
        yield PdfPage(index + 1, width, height, picture.reshape(picture.shape[:2]), words, hidden)
        page.close()


@dataclass(slots=True)
class _Letter:
    text: str
    place: Place


def _words(page: Any, picture: Picture, width: float, height: float) -> tuple[list[Piece] | None, bool]:
    """Words of the text layer that the page shows, and whether others were left out; None where OCR must read the page."""
    letters, unseen, unmapped = _letters(page, width, height)
    if unseen or unmapped or len(letters) < FEWEST_CHARACTERS or _pictured(page, width, height) > MOST_PICTURE:
        return None, False
    words = list(_joined(letters))
    shown = [word for word in words if _has_ink(word, picture)]
    if sum(len(word.text) for word in shown) < FEWEST_CHARACTERS:
        return None, bool(words)
    return shown, len(shown) < len(words)


def _letters(page: Any, width: float, height: float) -> tuple[list[_Letter | None], bool, bool]:
    """Letters in the order of the content, None between words; whether some are drawn invisibly, and whether some have no Unicode."""
    from pypdfium2 import raw

    text = page.get_textpage()
    count = text.count_chars()
    if count > MAX_CHARACTERS:
        raise PermanentFailure("document-too-large", "a page of the PDF holds more text than a page can show")
    to_page = _Display(page, width, height)
    letters: list[_Letter | None] = []
    unseen = unmapped = False
    for index in range(count):
        mark = chr(raw.FPDFText_GetUnicode(text, index))
        if mark.isspace() or raw.FPDFText_IsGenerated(text, index) == 1:
            letters.append(None)
            continue
        unmapped = unmapped or mark in "\x00\ufffd\ufffe" or raw.FPDFText_HasUnicodeMapError(text, index) == 1
        unseen = unseen or _render_mode(raw, text, index) == INVISIBLE
        letters.append(_Letter(mark, to_page.place(text.get_charbox(index, loose=True))))
    text.close()
    return letters, unseen, unmapped


def _render_mode(raw: Any, text: Any, index: int) -> int:
    drawn = raw.FPDFText_GetTextObject(text, index)
    return int(raw.FPDFTextObj_GetTextRenderMode(drawn)) if drawn else 0


class _Display:
    """From the PDF's own coordinates to points of the page as it is displayed: cropped, turned, origin at the top left."""

    GRID = 64

    def __init__(self, page: Any, width: float, height: float) -> None:
        self._page = page
        self._size = round(width * self.GRID), round(height * self.GRID)

    def place(self, box: tuple[float, float, float, float]) -> Place:
        left, bottom, right, top = box
        (x0, y0), (x1, y1) = self._point(left, bottom), self._point(right, top)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        from pypdfium2 import raw

        column, row = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(self._page, 0, 0, *self._size, 0, x, y, ctypes.byref(column), ctypes.byref(row))
        return column.value / self.GRID, row.value / self.GRID


def _joined(letters: list[_Letter | None]) -> Iterator[Piece]:
    run: list[_Letter] = []
    for letter in letters:
        if run and (letter is None or not _follows(run[-1], letter)):
            yield _word(run)
            run = []
        if letter is not None:
            run.append(letter)
    if run:
        yield _word(run)


def _follows(one: _Letter, other: _Letter) -> bool:
    height = max(one.place[3] - one.place[1], 1.0)
    level = abs((one.place[1] + one.place[3]) - (other.place[1] + other.place[3])) / 2 < 0.5 * height
    return level and -height < other.place[0] - one.place[2] < WORD_GAP * height


def _word(run: list[_Letter]) -> Piece:
    x0, y0, x1, y1 = zip(*(letter.place for letter in run), strict=True)
    return Piece("".join(letter.text for letter in run), (min(x0), min(y0), max(x1), max(y1)))


def _has_ink(word: Piece, picture: Picture) -> bool:
    x0, y0, x1, y1 = (side * SCALE for side in word.place)
    inside = picture[max(int(y0), 0) : int(y1) + 1, max(int(x0), 0) : int(x1) + 1]
    return bool(inside.size and int(inside.max()) - int(inside.min()) >= LEAST_INK)


def _pictured(page: Any, width: float, height: float) -> float:
    """The share of the page that its largest picture covers."""
    from pypdfium2 import raw

    largest = 0.0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = item.get_bounds()
        largest = max(largest, (right - left) * (top - bottom) / (width * height))
    return largest
