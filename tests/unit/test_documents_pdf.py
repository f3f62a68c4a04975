"""PDFs from outside: what of them counts as text, and what hostile ones do to us."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from schemas.errors import PermanentFailure
from services.clients.pdf_process import PdfInItsOwnProcess
from tests.unit.lab_reports import (
    CHEMISTRY,
    by_name,
    checked,
    honest,
    lines_pdf,
    pdf,
    picture_of,
    rows_of,
    scanned_pdf,
    table_pdf,
)
from workflows.documents.pdf import MAX_PAGES, SCALE, decode_pdf

TABLE = table_pdf(CHEMISTRY)


def words_of(document: bytes) -> list[str] | None:
    words = decode_pdf(document)[0].words
    return None if words is None else [word.text for word in words]


def outcome_of(document: bytes) -> str:
    """Its number of pages, or the name of what is wrong with it."""
    try:
        return f"pages {len(decode_pdf(document))}"
    except PermanentFailure as failure:
        return failure.code


def failure_of(document: bytes, decode: Any = decode_pdf) -> str:
    with pytest.raises(PermanentFailure) as failed:
        decode(document)
    return failed.value.code


def test_words_lie_where_the_page_shows_them() -> None:
    page = decode_pdf(TABLE)[0]
    word = next(word for word in page.words or [] if word.text == "Potassium")
    x0, y0, x1, y1 = (round(side * SCALE) for side in word.place)
    inside = page.picture[y0:y1, x0:x1]
    assert (inside < 128).mean() > 0.05
    assert page.picture.shape == pytest.approx((A4[1] * SCALE, A4[0] * SCALE), abs=1)
    around = page.picture[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20].copy()
    around[20:-20, 20:-20] = 255
    assert (around > 200).mean() > 0.95


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_is_turned_has_its_words_where_they_are_displayed(turn: int) -> None:
    def draw(canvas: Canvas) -> None:
        shift = {90: (A4[0], 0), 180: A4, 270: (0, A4[1])}[turn]
        canvas.translate(*shift)
        canvas.rotate(turn)
        canvas.drawString(60, 500, "Potassium 4.1 mmol/L")

    document = pypdfium2.PdfDocument(pdf(draw))
    document[0].set_rotation(turn)
    turned = io.BytesIO()
    document.save(turned)
    document.close()
    page = decode_pdf(turned.getvalue())[0]
    assert [word.text for word in page.words or []] == ["Potassium", "4.1", "mmol/L"]
    x0, y0, x1, y1 = (round(side * SCALE) for side in (page.words or [])[0].place)
    assert (page.picture[y0:y1, x0:x1] < 128).mean() > 0.05
    assert (page.width > page.height) == (turn != 180)


def test_text_that_the_page_does_not_show_is_no_text_of_it() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(60, 780, "Potassium 4.1 mmol/L")
        canvas.setFillColorRGB(1, 1, 1)
        canvas.drawString(60, 760, "Potassium 7.9 mmol/L")

    page = decode_pdf(pdf(draw))[0]
    assert [word.text for word in page.words or []] == ["Potassium", "4.1", "mmol/L"]
    assert page.hidden
    assert not decode_pdf(TABLE)[0].hidden


def test_a_scanners_invisible_layer_and_a_page_that_is_a_picture_go_to_ocr() -> None:
    def draw(canvas: Canvas) -> None:
        text = canvas.beginText(60, 780)
        text.setTextRenderMode(3)
        text.textLine("Potassium 4.1 mmol/L and more")
        canvas.drawText(text)

    assert words_of(pdf(draw)) is None
    assert words_of(scanned_pdf(picture_of(TABLE))) is None
    assert words_of(pdf(lambda canvas: None)) is None


def test_what_cannot_be_read_has_a_name() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    secret = lines_pdf("Potassium 4.1 mmol/L", encrypt=StandardEncryption("patient", ownerPassword="owner"))
    assert failure_of(secret) == "document-encrypted"
    assert failure_of(b"") == "document-unreadable"
    assert failure_of(b"%PDF-1.7 and nothing else") == "document-unreadable"
    assert failure_of(TABLE[:400]) == "document-unreadable"
    assert failure_of(_pages(MAX_PAGES + 1)) == "document-too-long"
    assert failure_of(_pages(1, size=(9000, 9000))) == "document-too-large"
    assert failure_of(lines_pdf(*["x" * 12_000] * 2, size=1)) == "document-too-large"


def _pages(count: int, size: tuple[float, float] = A4) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=size)
    for number in range(count):
        canvas.drawString(60, 60, f"Page {number + 1} of a long report")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def test_a_process_of_its_own_gives_the_same_pages_and_the_same_names() -> None:
    decode = PdfInItsOwnProcess()
    mine, theirs = decode_pdf(TABLE)[0], decode(TABLE)[0]
    assert [(w.text, w.place) for w in mine.words or []] == [(w.text, w.place) for w in theirs.words or []]
    assert np.array_equal(mine.picture, theirs.picture)
    assert failure_of(b"no PDF", decode) == "document-unreadable"


def test_a_file_that_wants_more_than_it_is_given_is_stopped() -> None:
    swollen = _pages(30, size=(1900, 1900))  # 700 MB of pictures
    assert failure_of(swollen, PdfInItsOwnProcess(memory=400 << 20)) == "document-unreadable"
    assert failure_of(swollen, PdfInItsOwnProcess(seconds=1)) in ("document-unreadable", "document-too-slow")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(TABLE) - 1), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, len(TABLE)),
)
def test_a_damaged_file_is_read_or_refused_by_name(damage: list[tuple[int, int]], cut: int) -> None:
    broken = bytearray(TABLE)
    for place, byte in damage:
        broken[place] = byte
    for candidate in (bytes(broken), bytes(broken[:cut])):
        assert outcome_of(candidate).startswith(("pages", "document-"))


def test_running_text_is_read_as_well_as_a_table() -> None:
    rows = rows_of(lines_pdf("Plasma", "Potassium 4.1 mmol/L (3.5 - 5.1), not haemolysed", "Sodium: 140 mmol/L"))
    values = by_name(checked(rows, honest(rows)))
    assert {name: value.number for name, value in values.items()} == {"Potassium": "4.1", "Sodium": "140"}
