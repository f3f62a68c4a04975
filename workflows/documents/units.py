"""Units as laboratories write them -> UCUM. A spelling that could be two units is none; that a code is UCUM is checked by `ucumvert`. Pure."""

from __future__ import annotations

from functools import cache

from workflows.timeline.units import conversion

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "%": ("%", "vol%", "Vol.-%"),
    "mg/dL": ("mg/dl", "mg/100ml", "mg%"),
    "g/dL": ("g/dl", "gm/dl", "g%"),
    "g/L": ("g/l",),
    "mg/L": ("mg/l",),
    "ug/L": ("ug/l", "mcg/l"),
    "ug/dL": ("ug/dl", "mcg/dl"),
    "ug/mL": ("ug/ml", "mcg/ml"),
    "ng/mL": ("ng/ml",),
    "ng/dL": ("ng/dl",),
    "ng/L": ("ng/l",),
    "pg/mL": ("pg/ml",),
    "pg/dL": ("pg/dl",),
    "pg": ("pg",),
    "fL": ("fl",),
    "mg/g": ("mg/g",),
    "mg/mmol": ("mg/mmol",),
    "mol/L": ("mol/l",),
    "mmol/L": ("mmol/l",),
    "umol/L": ("umol/l", "mcmol/l"),
    "nmol/L": ("nmol/l",),
    "pmol/L": ("pmol/l",),
    "mmol/mol": ("mmol/mol",),
    "meq/L": ("meq/l", "mval/l"),
    "U/L": ("u/l",),
    "U/mL": ("u/ml",),
    "[iU]/L": ("iu/l", "ie/l"),
    "[iU]/mL": ("iu/ml", "ie/ml"),
    "k[iU]/L": ("kiu/l", "kie/l"),
    "ukat/L": ("ukat/l",),
    "nkat/L": ("nkat/l",),
    "10*9/L": ("10^9/l", "x10^9/l", "10e9/l", "10*9/l", "x10*9/l", "10**9/l"),
    "10*12/L": ("10^12/l", "x10^12/l", "10e12/l", "10*12/l", "x10*12/l"),
    "10*3/uL": ("10^3/ul", "x10^3/ul", "10*3/ul", "tsd/ul", "tsd./ul", "k/ul", "thou/ul"),
    "10*6/uL": ("10^6/ul", "x10^6/ul", "10*6/ul", "mio/ul", "mio./ul"),
    "/uL": ("/ul",),
    "/nL": ("/nl",),
    "/pL": ("/pl",),
    "/min": ("/min",),
    "mL/min": ("ml/min",),
    "mL/min/{1.73_m2}": ("ml/min/1.73m2", "ml/min/1,73m2", "ml/min/1.73m^2", "ml/min/1,73m^2"),
    "mm/h": ("mm/h", "mm/hr"),
    "mm[Hg]": ("mmhg",),
    "kPa": ("kpa",),
    "mosm/kg": ("mosm/kg", "mosmol/kg"),
}  # fmt: skip
_EXACT: dict[str, str] = {
    "s": "s", "sec": "s", "sec.": "s", "sek": "s", "Sek.": "s",
    "mU/L": "mU/L", "mU/l": "mU/L", "mIU/L": "m[iU]/L", "mIU/l": "m[iU]/L", "mIU/mL": "m[iU]/mL", "mIU/ml": "m[iU]/mL",
    "uIU/mL": "u[iU]/mL", "uIU/ml": "u[iU]/mL", "uU/mL": "uU/mL", "mIE/l": "m[iU]/L", "mIE/L": "m[iU]/L", "uIE/ml": "u[iU]/mL",
    "G/l": "10*9/L", "T/l": "10*12/L", "T/L": "10*12/L", "Gpt/l": "10*9/L", "Gpt/L": "10*9/L", "Tpt/l": "10*12/L", "Tpt/L": "10*12/L",
}  # fmt: skip
"""Where the case of a letter decides what is meant: `m` is milli and `M` mega, `G/l` is 10^9 a litre and `g/l` is gram."""
AMBIGUOUS = frozenset({"G/L", "M/L", "M/uL", "MU/L", "MIU/L", "MIU/ML"})
"""In a report in capitals `G/L` is gram a litre, in others 10^9 a litre; `MU/L` is milli or mega."""
UNITLESS: dict[str, str] = {"ph": "[pH]", "inr": "{INR}"}
"""Quantities whose values stand without a unit: the first word of the name."""
_FOLDED = {spelling: code for code, spellings in _SPELLINGS.items() for spelling in spellings}
_SIGNS = str.maketrans({"µ": "u", "μ": "u", "×": "x", "∙": "*", "·": "*", "’": "'"})


def plain_unit(text: str) -> str:
    """Without blanks, the micro sign as `u`."""
    return "".join(text.translate(_SIGNS).split())


@cache
def ucum_of(text: str) -> str | None:
    """The UCUM code of a written unit; None for what is unknown or could be two units."""
    plain = plain_unit(text)
    if plain in AMBIGUOUS:
        return None
    code = _EXACT.get(plain) or _FOLDED.get(plain.lower())
    return code if code is not None and conversion(code, None).refused != "not-ucum" else None


def unitless(name: str) -> str | None:
    """The UCUM code of what is counted by no unit, by its name."""
    words = name.lower().replace("-", " ").split()
    return UNITLESS.get(words[0].strip(".:")) if words else None
