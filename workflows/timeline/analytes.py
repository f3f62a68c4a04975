"""The table of units: what is measured by which LOINC code, and the UCUM unit that all its values are given in.

Mass and amount of substance are converted into each other only where this table holds the molecule's formula. Molar masses follow from the formula
and the abridged standard atomic weights of IUPAC (2021). Left without a formula on purpose: haemoglobin (its mmol/L counts the monomer or the
tetramer), urea nitrogen (its mmol/L counts urea or nitrogen) and triglycerides (a mixture). An equivalent is a mole only for ions of charge 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

ATOMIC_WEIGHT = {
    "H": Decimal("1.0080"),
    "C": Decimal("12.011"),
    "N": Decimal("14.007"),
    "O": Decimal("15.999"),
    "Ca": Decimal("40.078"),
    "Mg": Decimal("24.305"),
}
"""g/mol; IUPAC, Standard atomic weights 2021, abridged to five digits."""


@dataclass(frozen=True, eq=False)
class Analyte:
    """One row, the same only as itself.

    `unit` is a UCUM code; `formula` a molecule whose mass may be used; `monovalent` an ion whose equivalent is a mole.
    """

    name: str
    unit: str
    loinc: tuple[str, ...]
    formula: str | None = None
    monovalent: bool = False

    @property
    def molar_mass(self) -> Decimal | None:
        """g/mol."""
        return molar_mass(self.formula) if self.formula else None


def molar_mass(formula: str) -> Decimal:
    """g/mol of a formula such as `C6H12O6`; `KeyError` for an element that the table lacks."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    return sum((ATOMIC_WEIGHT[element] * int(count or 1) for element, count in parts), Decimal(0))


ANALYTES = (
    Analyte("glucose-serum", "mg/dL", ("2345-7", "14749-6", "1558-6", "14771-0"), "C6H12O6"),
    Analyte("glucose-blood", "mg/dL", ("2339-0", "15074-8"), "C6H12O6"),
    Analyte("creatinine-serum", "mg/dL", ("2160-0", "14682-9"), "C4H7N3O"),
    Analyte("creatinine-blood", "mg/dL", ("38483-4",), "C4H7N3O"),
    Analyte("urea-nitrogen-serum", "mg/dL", ("3094-0",)),
    Analyte("urea-nitrogen-blood", "mg/dL", ("6299-2",)),
    Analyte("cholesterol-serum", "mg/dL", ("2093-3", "14647-2"), "C27H46O"),
    Analyte("cholesterol-hdl-serum", "mg/dL", ("2085-9", "14646-4"), "C27H46O"),
    Analyte("cholesterol-ldl-serum", "mg/dL", ("2089-1", "18262-6", "13457-7", "22748-8"), "C27H46O"),
    Analyte("triglycerides-serum", "mg/dL", ("2571-8",)),
    Analyte("bilirubin-total-serum", "mg/dL", ("1975-2", "14631-6"), "C33H36N4O6"),
    Analyte("urate-serum", "mg/dL", ("3084-1", "14933-6"), "C5H4N4O3"),
    Analyte("calcium-serum", "mg/dL", ("17861-6", "2000-8"), "Ca"),
    Analyte("calcium-blood", "mg/dL", ("49765-1",), "Ca"),
    Analyte("sodium-serum", "mmol/L", ("2951-2",), monovalent=True),
    Analyte("sodium-blood", "mmol/L", ("2947-0",), monovalent=True),
    Analyte("potassium-serum", "mmol/L", ("2823-3",), monovalent=True),
    Analyte("potassium-blood", "mmol/L", ("6298-4",), monovalent=True),
    Analyte("chloride-serum", "mmol/L", ("2075-0",), monovalent=True),
    Analyte("chloride-blood", "mmol/L", ("2069-3",), monovalent=True),
    Analyte("carbon-dioxide-blood", "mmol/L", ("20565-8",), monovalent=True),
    Analyte("carbon-dioxide-serum", "mmol/L", ("2028-9",), monovalent=True),
    Analyte("haemoglobin-blood", "g/dL", ("718-7",)),
    Analyte("leukocytes-blood", "10*9/L", ("6690-2", "26464-8")),
    Analyte("platelets-blood", "10*9/L", ("777-3", "26515-7")),
    Analyte("erythrocytes-blood", "10*12/L", ("789-8", "26453-1")),
    Analyte("c-reactive-protein-serum", "mg/L", ("1988-5", "30522-7")),
    Analyte("albumin-serum", "g/dL", ("1751-7",)),
    Analyte("alanine-aminotransferase-serum", "U/L", ("1742-6",)),
    Analyte("aspartate-aminotransferase-serum", "U/L", ("1920-8",)),
    Analyte("body-height", "cm", ("8302-2", "3137-7", "3138-5")),
    Analyte("body-weight", "kg", ("29463-7", "3141-9", "3142-7")),
    Analyte("body-mass-index", "kg/m2", ("39156-5",)),
    Analyte("body-temperature", "Cel", ("8310-5", "8331-1")),
    Analyte("heart-rate", "/min", ("8867-4",)),
    Analyte("respiratory-rate", "/min", ("9279-1",)),
    Analyte("blood-pressure-systolic", "mm[Hg]", ("8480-6",)),
    Analyte("blood-pressure-diastolic", "mm[Hg]", ("8462-4",)),
)

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "mm": ("m", "dm", "cm", "um", "[in_i]", "[ft_i]"),
    "kg": ("g", "[lb_av]", "[oz_av]"),
    "Cel": ("K", "[degF]"),
    "mm[Hg]": ("kPa", "Pa"),
    "10*9/L": ("10*3/uL", "10*6/mL", "10*6/L", "/uL", "{cells}/uL"),
}
"""For what no LOINC code above names: the unit, and the units that are given in it. All others are left as they are.

A list and not a dimension of UCUM: `[iU]/L` counts no cells, `Bq` is no heart rate, and micrograms of a dose are no body weight.
"""

BY_LOINC = {code: analyte for analyte in ANALYTES for code in analyte.loinc}
BY_UNIT = {unit: target for target, units in DIMENSIONS.items() for unit in (target, *units)}
