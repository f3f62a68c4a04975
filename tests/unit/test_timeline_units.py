"""Quantities of a chart in the units of our table: what is converted, what is not, and why."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import LOINC, UCUM
from workflows.timeline.analytes import ANALYTES, BY_LOINC, BY_UNIT, molar_mass
from workflows.timeline.dates import Dates
from workflows.timeline.entries import EntryReader
from workflows.timeline.units import conversion, put_quantity, written


def normalised(value: float, unit: str, loinc: str | None = None, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    quantity = {"value": value, "unit": unit, "code": unit, "system": UCUM, **more}
    put_quantity(quantity, BY_LOINC[loinc] if loinc else None, fields)
    return fields


@pytest.mark.parametrize(
    ("value", "unit", "loinc", "expected"),
    [
        (88.4, "umol/L", "14682-9", "1.000 mg/dL"),
        (1.1, "mg/dL", "2160-0", "1.1 mg/dL"),
        (5.5, "mmol/L", "14749-6", "99.1 mg/dL"),
        (142, "g/L", "718-7", "14.2 g/dL"),
        (0.5, "mg/dL", "1988-5", "5 mg/L"),
        (250, "10*3/uL", "777-3", "250 10*9/L"),
        (4.5, "10*6/uL", "789-8", "4.5 10*12/L"),
        (140, "meq/L", "2951-2", "140 mmol/L"),
        (2.35, "mmol/L", "2000-8", "9.418 mg/dL"),
        (72, "{beats}/min", "8867-4", "72 /min"),
        (150, "[lb_av]", "29463-7", "68.04 kg"),
        (98.6, "[degF]", "8310-5", "37 Cel"),
        (1.75, "m", "8302-2", "175 cm"),
        (3, "cm", None, "30 mm"),
        (0, "[degF]", None, "-17.8 Cel"),
        (16, "kPa", None, "120 mm[Hg]"),
        (40, "g/L", None, "40 g/L"),
        (7.4, "[pH]", None, "7.4 [pH]"),
    ],
)
def test_a_value_is_given_in_the_unit_of_the_table(value: float, unit: str, loinc: str | None, expected: str) -> None:
    fields = normalised(value, unit, loinc)
    number, _, target = expected.partition(" ")
    assert fields["normal_unit"] == target
    assert Decimal(fields["normal_value"]) == Decimal(number)
    assert (fields["value"], fields["unit"]) == (str(value), unit), "what the source wrote stands beside it"


@pytest.mark.parametrize(
    ("unit", "loinc", "why"),
    [
        ("mmol/L", "718-7", "no-molar-mass"),  # haemoglobin: monomer or tetramer?
        ("mmol/L", "3094-0", "no-molar-mass"),  # urea nitrogen: of urea or of nitrogen?
        ("meq/L", "17861-6", "incompatible-unit"),  # calcium is no ion of charge 1
        ("[iU]/L", "777-3", "incompatible-unit"),  # UCUM's dimension of it is that of a count
        ("mg/dL", "8867-4", "incompatible-unit"),
        ("U/L", "2160-0", "incompatible-unit"),
        ("Torr", None, "not-ucum"),
        ("mg/dl", None, None),  # UCUM knows `l` and `L`
    ],
)
def test_what_cannot_be_converted_is_kept_and_marked(unit: str, loinc: str | None, why: str | None) -> None:
    fields = normalised(5, unit, loinc)
    assert fields["value"] == "5"
    assert fields.get("not_normalised") == why
    assert ("normal_value" in fields) is (why is None)


def test_a_unit_in_words_is_never_taken_for_a_code() -> None:
    fields: dict[str, Any] = {}
    put_quantity({"value": 1.1, "unit": "mg/dL"}, BY_LOINC["2160-0"], fields)
    assert fields == {"value": "1.1", "unit": "mg/dL", "analyte": "creatinine-serum", "not_normalised": "no-ucum-code"}


def test_a_comparator_stays_in_the_value_and_beside_the_normal_one() -> None:
    fields = normalised(44.2, "umol/L", "14682-9", comparator="<")
    assert (fields["value"], fields["comparator"], fields["normal_value"]) == ("<44.2", "<", "0.5")


def test_the_digits_of_the_source_are_kept() -> None:
    class AsWritten(float):
        def __str__(self) -> str:
            return "1.10"

    assert normalised(AsWritten(1.1), "mg/dL", "2160-0")["normal_value"] == "1.10"


def test_molar_masses_follow_from_formulas() -> None:
    assert molar_mass("C6H12O6") == Decimal("180.156")
    assert molar_mass("C4H7N3O") == Decimal("113.120")


def test_every_unit_of_the_tables_is_ucum_and_reaches_its_target() -> None:
    assert all(conversion(analyte.unit, analyte).refused is None for analyte in ANALYTES)
    assert all(conversion(unit, None).unit == target for unit, target in BY_UNIT.items())
    assert len(BY_LOINC) == sum(len(analyte.loinc) for analyte in ANALYTES), "a code stands in one row only"


@given(st.decimals("0.01", "9999", places=2))
def test_mass_and_amount_of_substance_are_inverse(value: Decimal) -> None:
    there = Decimal(normalised(float(value), "mmol/L", "14749-6")["normal_value"])
    assert abs(there / (value * Decimal("18.0156")) - 1) < Decimal("0.005")


@given(st.text(max_size=12))
def test_no_text_in_place_of_a_unit_stops_the_reading(code: str) -> None:
    fields = normalised(1.5, code or "x")
    assert fields["value"] == "1.5"
    assert ("normal_value" in fields) != ("not_normalised" in fields)


def test_blood_pressure_is_one_entry_with_two_values() -> None:
    parts = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}], "text": words},
            "valueQuantity": {"value": value, "unit": "kPa", "system": UCUM, "code": "kPa"},
        }
        for code, words, value in (("8480-6", "Systolic", 16), ("8462-4", "Diastolic", 10.7))
    ]
    pressure = {
        "resourceType": "Observation",
        "id": "bp",
        "status": "final",
        "code": {"text": "BP"},
        "component": parts,
    }
    entry = EntryReader(Dates()).read(pressure, "Observation/bp")
    assert [(c.text, c.normal_value, c.normal_unit) for c in entry.components] == [
        ("Systolic", "120", "mm[Hg]"),
        ("Diastolic", "80.26", "mm[Hg]"),
    ]


@given(st.one_of(st.floats(allow_nan=False), st.floats(1e-5, 1e17), st.integers(), st.booleans(), st.text(max_size=8)))
def test_a_number_is_written_as_its_source_wrote_it(number: Any) -> None:
    assert written(number) == str(number)
