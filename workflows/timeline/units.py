"""Quantities in the units of our table: UCUM by `ucumvert` on `pint`, in decimal arithmetic.

What a unit becomes is worked out once a process for each pair of analyte and unit, so that a value costs a look-up in a dict, and nothing more where
its unit is ours already. Only a code that the source itself declares as UCUM is one: a unit in words is kept and marked, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache
from threading import Lock
from typing import Any

import orjson

from schemas.codes import UCUM
from schemas.timeline import NotNormalised
from workflows.timeline.analytes import BY_UNIT, Analyte

COMPARATORS = ("<", "<=", ">=", ">")
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_EQUIVALENT = re.compile(r"(?<![A-Za-z])[munpk]?eq(?![A-Za-z])")
_EXACT = Context(prec=28)
_lock = Lock()  # pint's registry is one a process, and activities are threads


@dataclass(frozen=True, slots=True)
class Conversion:
    """`unit` is what the value is given in: value * `factor` + `offset`; None: the value stands as it is. `refused`: it cannot be given at all."""

    unit: str
    factor: Decimal | None = None
    offset: Decimal = Decimal(0)
    refused: NotNormalised | None = None


_conversions: dict[tuple[Analyte | None, str], Conversion] = {}


def put_quantity(quantity: dict[str, Any], analyte: Analyte | None, fields: dict[str, Any]) -> None:
    """Add the fields of `Measured` for a FHIR Quantity of `analyte`, None for what our table does not name."""
    number = quantity.get("value")
    if number is None:
        return
    unit = quantity.get("unit")
    code = quantity.get("code")
    fields["value"] = text = written(number)
    fields["unit"] = unit or code
    if analyte is not None:
        fields["analyte"] = analyte.name
    if "comparator" in quantity:
        _put_comparator(quantity["comparator"], text, fields)
    if not code or quantity.get("system") != UCUM:
        fields["not_normalised"] = "no-ucum-code"
        return
    key = (analyte, code)
    conversion = _conversions.get(key) or _learn(key)
    if type(number) is str or type(number) is bool:
        fields["not_normalised"] = "not-a-number"
    elif conversion.refused:
        fields["not_normalised"] = conversion.refused
    else:
        fields["normal_unit"] = conversion.unit
        fields["normal_value"] = text if conversion.factor is None else _convert(text, conversion)


def written(number: Any) -> str:
    """`str(number)`: the shortest digits that give the same float. orjson finds them in a third of the time, and writes them alike in this range."""
    return orjson.dumps(number).decode() if type(number) is float and 1e-4 <= number < 1e16 else str(number)


def _put_comparator(comparator: str, text: str, fields: dict[str, Any]) -> None:
    fields["value"] = f"{comparator}{text}"
    fields["comparator"] = comparator if comparator in COMPARATORS else None


def _convert(text: str, conversion: Conversion) -> str:
    number = Decimal(text)
    assert conversion.factor is not None
    return _rounded(_EXACT.add(_EXACT.multiply(number, conversion.factor), conversion.offset), number)


def _rounded(result: Decimal, source: Decimal) -> str:
    """One significant digit more than the source has, and at least three: a converted value claims no precision of its own."""
    if not result:
        return "0"
    digits = max(len(source.as_tuple().digits) + 1, 3)
    return f"{Context(prec=min(digits, 28)).plus(result).normalize():f}"


def _learn(key: tuple[Analyte | None, str]) -> Conversion:
    with _lock:
        found = _conversions[key] = conversion(key[1], key[0])
    return found


def conversion(code: str, analyte: Analyte | None) -> Conversion:
    """What a UCUM code becomes: the analyte's unit, the unit of the table of dimensions, or itself."""
    source = _unit(code)
    if source is None:
        return Conversion(code, refused="not-ucum")
    target = analyte.unit if analyte else BY_UNIT.get(code)
    if target is None or target == code or source == _UNCONVERTED:
        return Conversion(code, refused="incompatible-unit" if source == _UNCONVERTED and analyte else None)
    return _between(code, target, analyte)


def _between(code: str, target: str, analyte: Analyte | None) -> Conversion:
    source, goal = _unit(code), _unit(target)
    if _is_equivalent(code) and not (analyte and analyte.monovalent):
        return Conversion(code, refused="incompatible-unit")
    if "[" in code and code not in BY_UNIT:  # `[iU]` is a unit of its own for each substance (UCUM 24)
        return Conversion(code, refused="incompatible-unit")
    if _same_dimension(source, goal):
        offset = _magnitude(Decimal(0), source, goal)
        return Conversion(target, _magnitude(Decimal(1), source, goal) - offset, offset)
    return _by_molar_mass(code, target, analyte)


def _by_molar_mass(code: str, target: str, analyte: Analyte | None) -> Conversion:
    """Between mass and amount of substance; `no-molar-mass` where only the molar mass is missing."""
    source, goal, gram_per_mole = _unit(code), _unit(target), _unit("g/mol")
    to_mass = _same_dimension(source * gram_per_mole, goal)
    if not to_mass and not _same_dimension(source / gram_per_mole, goal):
        return Conversion(code, refused="incompatible-unit")
    mass = analyte.molar_mass if analyte else None
    if mass is None:
        return Conversion(code, refused="no-molar-mass")
    if to_mass:
        return Conversion(target, _magnitude(mass, source * gram_per_mole, goal))
    return Conversion(target, _magnitude(1 / mass, source / gram_per_mole, goal))


def _same_dimension(one: Any, other: Any) -> bool:
    return bool(one.dimensionality == other.dimensionality)


def _is_equivalent(code: str) -> bool:
    return _EQUIVALENT.search(_ANNOTATION.sub("", code)) is not None


def _magnitude(number: Decimal, source: Any, goal: Any) -> Decimal:
    magnitude = _registry().Quantity(number, source).to(goal).magnitude
    return magnitude if isinstance(magnitude, Decimal) else Decimal(str(magnitude))


_UNCONVERTED = "unconverted"
"""A UCUM code that pint has no unit for (`[pH]`): valid, and left as it is."""


@cache
def _unit(code: str) -> Any:
    """pint's unit; `_UNCONVERTED` for a UCUM code without one; None for what is no UCUM code."""
    from lark.exceptions import LarkError
    from ucumvert.parser import InvalidUcumError

    if _ANNOTATION.fullmatch(code):  # an annotation alone is the unit 1, of something: never set equal to another
        return _UNCONVERTED
    try:
        return _registry().from_ucum(code).units
    except InvalidUcumError:
        return None
    except (LarkError, AttributeError, ValueError, TypeError, ArithmeticError):
        return _UNCONVERTED


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry(non_int_type=Decimal)
