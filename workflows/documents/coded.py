"""Written names of analytes -> LOINC, by the codes of `workflows.timeline.analytes` alone. Pure.

A LOINC code says in what and as what a substance is measured, so that a name alone is never coded: the document must name the specimen, and the
unit must be of the code's kind. All else keeps its name as text.
"""

from __future__ import annotations

from typing import Literal

from workflows.documents.rows import Specimen

Kind = Literal["mass", "substance", "count", "activity"]
_NAMES: dict[str, tuple[str, ...]] = {
    "glucose": ("glucose", "glukose"),
    "creatinine": ("creatinine", "creatinin", "kreatinin", "krea"),
    "urea-nitrogen": ("urea nitrogen", "bun", "blood urea nitrogen"),
    "cholesterol": ("cholesterol", "total cholesterol", "cholesterin", "gesamtcholesterin", "cholesterin gesamt"),
    "cholesterol-hdl": ("hdl cholesterol", "cholesterol hdl", "hdl cholesterin", "hdl"),
    "cholesterol-ldl": ("ldl cholesterol", "cholesterol ldl", "ldl cholesterin", "ldl"),
    "triglycerides": ("triglycerides", "triglyceride", "triglyzeride"),
    "bilirubin-total": ("total bilirubin", "bilirubin total", "bilirubin gesamt", "gesamtbilirubin"),
    "urate": ("uric acid", "urate", "harnsäure"),
    "calcium": ("calcium", "kalzium"),
    "sodium": ("sodium", "natrium"),
    "potassium": ("potassium", "kalium"),
    "chloride": ("chloride", "chlorid"),
    "haemoglobin": ("haemoglobin", "hemoglobin", "hämoglobin", "hb", "hgb"),
    "leukocytes": ("leukocytes", "leucocytes", "white blood cells", "wbc", "leukozyten"),
    "platelets": ("platelets", "plt", "thrombocytes", "thrombozyten"),
    "erythrocytes": ("erythrocytes", "red blood cells", "rbc", "erythrozyten"),
    "c-reactive-protein": ("c reactive protein", "crp", "c reaktives protein"),
    "albumin": ("albumin",),
    "alanine-aminotransferase": ("alanine aminotransferase", "alt", "alat", "gpt", "alt gpt", "gpt alat", "alat gpt"),
    "aspartate-aminotransferase": ("aspartate aminotransferase", "ast", "asat", "got", "ast got", "got asat", "asat got"),
}  # fmt: skip
_LOINC: dict[tuple[str, Specimen, Kind], str] = {
    ("glucose", "serum", "mass"): "2345-7",
    ("glucose", "serum", "substance"): "14749-6",
    ("glucose", "blood", "mass"): "2339-0",
    ("glucose", "blood", "substance"): "15074-8",
    ("creatinine", "serum", "mass"): "2160-0",
    ("creatinine", "serum", "substance"): "14682-9",
    ("creatinine", "blood", "mass"): "38483-4",
    ("urea-nitrogen", "serum", "mass"): "3094-0",
    ("urea-nitrogen", "blood", "mass"): "6299-2",
    ("cholesterol", "serum", "mass"): "2093-3",
    ("cholesterol", "serum", "substance"): "14647-2",
    ("cholesterol-hdl", "serum", "mass"): "2085-9",
    ("cholesterol-hdl", "serum", "substance"): "14646-4",
    ("cholesterol-ldl", "serum", "mass"): "2089-1",
    ("cholesterol-ldl", "serum", "substance"): "22748-8",
    ("triglycerides", "serum", "mass"): "2571-8",
    ("bilirubin-total", "serum", "mass"): "1975-2",
    ("bilirubin-total", "serum", "substance"): "14631-6",
    ("urate", "serum", "mass"): "3084-1",
    ("urate", "serum", "substance"): "14933-6",
    ("calcium", "serum", "mass"): "17861-6",
    ("calcium", "serum", "substance"): "2000-8",
    ("calcium", "blood", "mass"): "49765-1",
    ("sodium", "serum", "substance"): "2951-2",
    ("sodium", "blood", "substance"): "2947-0",
    ("potassium", "serum", "substance"): "2823-3",
    ("potassium", "blood", "substance"): "6298-4",
    ("chloride", "serum", "substance"): "2075-0",
    ("chloride", "blood", "substance"): "2069-3",
    ("haemoglobin", "blood", "mass"): "718-7",
    ("leukocytes", "blood", "count"): "26464-8",
    ("platelets", "blood", "count"): "26515-7",
    ("erythrocytes", "blood", "count"): "26453-1",
    ("c-reactive-protein", "serum", "mass"): "1988-5",
    ("albumin", "serum", "mass"): "1751-7",
    ("alanine-aminotransferase", "serum", "activity"): "1742-6",
    ("aspartate-aminotransferase", "serum", "activity"): "1920-8",
}
"""Every code stands in `workflows.timeline.analytes`; which of an analyte's codes is mass and which substance is from memory of LOINC."""
_BY_NAME = {name: analyte for analyte, names in _NAMES.items() for name in names}
_BESIDE = frozenset({"serum", "plasma", "s"})
LOINC_CODES = frozenset(_LOINC.values())


def loinc_of(name: str, specimen: Specimen | None, ucum: str) -> str | None:
    """The code of a written name, where specimen and unit leave one alone; None for all else."""
    analyte = _BY_NAME.get(_plain(name))
    kind = kind_of(ucum)
    if analyte is None or specimen is None or kind is None:
        return None
    return _LOINC.get((analyte, specimen, kind))


def kind_of(ucum: str) -> Kind | None:
    numerator, _, per = ucum.partition("/")
    if not per or "/" in per:
        return None
    if ucum.startswith(("10*", "/")):
        return "count"
    if numerator.endswith(("mol", "eq")):
        return "substance"
    if numerator.endswith(("U", "kat")):
        return "activity"
    return "mass" if numerator.endswith("g") and per.endswith("L") else None


def _plain(name: str) -> str:
    words = "".join(mark if mark.isalnum() else " " for mark in name.lower()).split()
    kept = [word for word in words if word not in _BESIDE]
    return " ".join(kept)
