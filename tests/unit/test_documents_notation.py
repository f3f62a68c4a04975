"""Numbers, ranges, dates and units as laboratories write them: what has one meaning is read, what has two is not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.documents.notation import (
    Ambiguous,
    Mark,
    against_range,
    decimal_mark,
    flag_of,
    moment_of,
    number_of,
    range_of,
    written_value,
)
from workflows.documents.units import ucum_of

MARKS: dict[Mark, tuple[str, str]] = {"point": (".", ","), "comma": (",", ".")}


@given(st.sampled_from(["point", "comma"]), st.integers(0, 10**9), st.integers(0, 6), st.booleans())
def test_a_number_written_in_a_documents_own_way_is_read_back(
    mark: Mark, digits: int, places: int, grouped: bool
) -> None:
    """Never another number: it is the one that was written, or it is refused."""
    number = Decimal(digits).scaleb(-places)
    decimal, thousands = MARKS[mark]
    text = f"{number:,f}" if grouped else f"{number:f}"
    written = text.replace(",", "_").replace(".", decimal).replace("_", thousands)
    assert Decimal(number_of(written, mark)) == number
    for unsure in ("unknown", "mixed"):
        try:
            assert Decimal(number_of(written, unsure)) == number
        except Ambiguous:
            continue


@given(
    st.from_regex(r"\d{1,4}([.,']\d{1,4}){0,3}", fullmatch=True),
    st.sampled_from(["point", "comma", "unknown", "mixed"]),
)
def test_no_digit_is_lost_or_added(text: str, mark: Mark) -> None:
    try:
        found = number_of(text, mark)
    except Ambiguous:
        return
    assert [c for c in found if c.isdigit()] == [c for c in text if c.isdigit()]


@pytest.mark.parametrize(
    ("numbers", "mark"),
    [
        (["140", "1.234"], "unknown"),
        (["0,9"], "comma"),
        (["1,000.5"], "point"),
        (["1.234.567"], "comma"),
        (["0.9", "0,9"], "mixed"),
        (["0.123"], "point"),
    ],
)
def test_the_decimal_mark_is_told_by_numbers_of_one_meaning(numbers: list[str], mark: Mark) -> None:
    assert decimal_mark(numbers) == mark


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("3.5 - 5.1", "3.5", "5.1"),
        ("(3,5–5,1)", "3.5", "5.1"),
        ("[135-145]", "135", "145"),
        ("< 5.0", None, "5.0"),
        ("≥ 60", "60", None),
        ("bis 1,2", None, "1.2"),
        ("12,0 bis 16,0", "12.0", "16.0"),
    ],
)
def test_ranges_in_their_spellings(text: str, low: str | None, high: str | None) -> None:
    mark: Mark = "comma" if "," in text else "point"
    found = range_of(text, mark)
    assert found is not None
    assert (found.low, found.high) == (low, high)


def test_a_range_the_wrong_way_round_or_of_two_meanings_is_none() -> None:
    for text in ("5.1 - 3.5", "1.000 - 2.000"):
        with pytest.raises(Ambiguous):
            range_of(text, "unknown")
    assert range_of("negative", "point") is None


@pytest.mark.parametrize(
    ("value", "bounds", "said"),
    [
        ("5.1", "3.5 - 5.1", "normal"),
        ("5.2", "3.5 - 5.1", "high"),
        ("3.4", "3.5 - 5.1", "low"),
        ("5.0", "< 5.0", "high"),
        ("5.0", "<= 5.0", "normal"),
        ("60", "> 60", "low"),
        ("< 0.3", "< 5.0", "normal"),
        ("< 5.0", "< 5.0", "normal"),
        ("< 10", "< 5.0", None),
        ("< 3", "3.5 - 5.1", "low"),
        ("< 5", "3.5 - 5.1", None),
        ("> 90", "> 60", "normal"),
        ("> 90", "10 - 80", "high"),
        ("> 90", "10 - 100", None),
    ],
)
def test_a_value_against_its_range(value: str, bounds: str, said: str | None) -> None:
    written, limits = written_value(value), range_of(bounds, "point")
    assert written is not None
    assert limits is not None
    assert against_range(Decimal(written.digits), written.comparator, limits) == said


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20 08:10", "2026-11-20T08:10"),
        ("20.11.2026", "2026-11-20"),
        ("20.11.2026 um 08:10 Uhr", "2026-11-20T08:10"),
        ("20/11/2026", "2026-11-20"),
        ("11/20/2026", "2026-11-20"),
        ("20 Nov 2026 8:05", "2026-11-20T08:05"),
        ("20. März 2026", "2026-03-20"),
        ("05/05/2026", "2026-05-05"),
        ("03.04.2026", "2026-04-03"),
    ],
)
def test_dates_in_their_spellings(text: str, moment: str) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize("text", ["03/04/2026", "31.02.2026", "20-13-2026", "20 Foo 2026", "yesterday", "20.11.26"])
def test_dates_of_two_meanings_or_none(text: str) -> None:
    with pytest.raises(Ambiguous):
        moment_of(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mg/dl", "mg/dL"), ("MG/DL", "mg/dL"), ("µmol/l", "umol/L"), ("μmol/L", "umol/L"), ("mmol / l", "mmol/L"),
        ("G/l", "10*9/L"), ("x10^9/L", "10*9/L"), ("Tsd./µl", "10*3/uL"), ("mIU/L", "m[iU]/L"), ("IU/L", "[iU]/L"),
        ("U/l", "U/L"), ("%", "%"), ("ml/min/1,73m^2", "mL/min/{1.73_m2}"), ("mval/l", "meq/L"),
        ("G/L", None), ("MU/L", None), ("109/L", None), ("G/I", None), ("mg/", None), ("S", None), ("furlongs", None), ("", None),
    ],
)  # fmt: skip
def test_units_in_their_spellings(text: str, code: str | None) -> None:
    assert ucum_of(text) == code


def test_a_lone_dash_is_no_flag() -> None:
    assert [flag_of(text) for text in ("H", "(L)", "+", "-", "n", "↑")] == ["high", "low", "high", None, None, "high"]
