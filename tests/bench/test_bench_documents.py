"""How well scans are read: made-up reports in three layouts, clean, with grain, at a fax's resolution. A wrong value is worse than none."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from services.clients.pixel_text import OcrTextInPixels
from tests.unit.lab_reports import Cells, Picture, checked, dotted_pdf, honest, scanned, table_pdf, two_column_pdf
from workflows.documents.reading import page_of_scan, read_pages
from workflows.documents.rows import Rows

pytestmark = pytest.mark.bench
NAMES = (
    "Sodium", "Potassium", "Creatinine", "Glucose", "Calcium", "Albumin", "Bilirubin total", "Chloride", "Uric acid", "Haemoglobin", "Leukocytes",
    "Platelets", "C-reactive protein", "ALT", "AST", "TSH", "Ferritin", "Magnesium", "Phosphate", "Urea",
)  # fmt: skip
UNITS = ("mmol/L", "mg/dL", "g/dL", "U/L", "umol/L", "ng/mL", "10^9/L", "mIU/L", "%", "pg/mL")
LAYOUTS: tuple[Callable[[list[Cells]], bytes], ...] = (
    lambda rows: table_pdf(rows, collected=""),
    dotted_pdf,
    lambda rows: two_column_pdf(rows[:6], rows[6:]),
)
REPORTS = 9


@pytest.mark.parametrize(
    ("noise", "fax", "least"),
    [(6.0, False, 0.9), (25.0, False, 0.6), (12.0, True, 0.85)],
    ids=["clean", "grain", "fax"],
)
def test_scans_give_no_wrong_value(noise: float, fax: bool, least: float) -> None:
    reader, right, rows_in_all = OcrTextInPixels(), 0, 0
    for seed in range(REPORTS):
        made = random.Random(seed)
        rows = report(made)
        page = scanned(LAYOUTS[seed % 3](rows), degrees=made.uniform(-1.5, 1.5), noise=noise, seed=seed)
        page = faxed(page) if fax else page
        read = Rows(read_pages([page_of_scan(page, page.shape[1], page.shape[0])], reader.printed, lambda picture: ""))
        written = {cells[0]: (cells[1], cells[2]) for cells in rows}
        found = {value.name: (value.value, value.unit) for value in checked(read, honest(read)).values}
        assert found == {name: written.get(name) for name in found}
        right, rows_in_all = right + len(found), rows_in_all + len(rows)
    print(f"{right} of {rows_in_all} values read, none wrong")
    assert right >= least * rows_in_all


def report(made: random.Random) -> list[Cells]:
    rows: list[Cells] = []
    for name in made.sample(NAMES, 12):
        places, top = made.choice([0, 1, 1, 2]), made.choice([9, 99, 999])
        value = made.uniform(0.1, top)
        low = value * made.uniform(0.5, 1.1)
        told = [f"{number:.{places}f}" for number in (value, low, low + value * made.uniform(0.2, 1))]
        number, least, most = map(float, told)
        flag = "L" if number < least else "H" if number > most else ""
        rows.append((name, told[0], made.choice(UNITS), f"{told[1]} - {told[2]}", flag))
    return rows


def faxed(page: Picture) -> Picture:
    """At 120 dpi, and enlarged again."""
    image = Image.fromarray(page)
    small = image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
