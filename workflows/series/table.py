"""The decision table by which the series of a study are ranked: rules from the top, the first that fits a series decides. Pure.

A rule fits where all that it names fits: `modality`, `image_type` (any of these values of Image Type), `no_image_type` (none of them),
`rescale_type_other_than` (the CT's values are none of Hounsfield: any but these), `phrases` (any of these as whole words of the description, in the
sense they have together), `most_images`, `planes` (at least so many planes). Words are asked only where the attributes do not speak against them: a
rule with `phrases` does not fit a series whose Image Type says ORIGINAL\\PRIMARY, unless its own `planes` or `most_images` fit as well. A site may
put a file of the same form in the place of this table (`LONGVIEW_SERIES_TABLE_FILE`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from schemas.imaging import SeriesInventory
from schemas.model import Record
from workflows.series.header import SeriesHeader

HOUNSFIELD = ("HU", "HU_MOD")


class Rule(Record):
    """One row. `rank`: 0 is read first; `never`: not read at all."""

    code: str
    says: str
    """Why a series of this kind is left out, in words."""
    rank: int | Literal["never"]
    modality: list[str] = []
    image_type: list[str] = []
    no_image_type: list[str] = []
    rescale_type_other_than: list[str] = []
    phrases: list[str] = []
    most_images: int | None = None
    planes: int | None = None


class SeriesTable(Record):
    """The table, with the version that a result names."""

    version: str
    rules: list[Rule]


_LOCALIZER_PHRASES = [
    "localizer", "localiser", "localisation", "localization", "locator", "3 plane loc", "three plane loc", "loc", "scout",
    "topogram", "topo", "surview", "scanogram", "scano", "survey", "plan scan", "smartprep", "smart prep", "premonitoring", "monitoring",
    "bolus tracking", "bolus tracker", "bolus track", "care bolus", "carebolus", "test bolus", "timing bolus", "calibration", "übersicht",
    "lokalizer", "lokalisator", "topogramm", "repérage", "reperage", "localisateur", "localizador", "topograma", "localizzatore", "verkenner",
]  # fmt: skip
_REPORT_PHRASES = [
    "dose report",
    "patient protocol",
    "exam protocol",
    "screen save",
    "screensave",
    "dosisbericht",
    "rapport de dose",
]
_REFORMAT_PHRASES = [
    "mip", "minip", "mpr", "mpvr", "reformat", "reformats", "reformatted", "vrt", "volume rendering", "vr", "reconst", "fused", "fusion",
    "subtraction", "average",
]  # fmt: skip
_MAP_PHRASES = [
    "adc", "eadc", "fa", "cbf", "cbv", "mtt", "ttp", "tmax", "rcbf", "rcbv", "perfusion map", "parameter map", "color map", "colour map", "t1 map",
    "t2 map", "t2star map", "ecv map",
]  # fmt: skip
_MAP_TYPES = [
    "CBF", "CBV", "MTT", "TTP", "TMAX", "RCBF", "RCBV", "PERFUSION_MAP", "ADC", "EADC", "FA", "T1_MAP", "T2_MAP", "T2_STAR_MAP", "ECV", "PHASE MAP",
    "VELOCITY", "DIFFUSION_ADC", "QUANTIFIED", "PARAMETRIC",
]  # fmt: skip
_REFORMAT_TYPES = [
    "MPR", "CSA MPR", "MIP", "MINIP", "MIN IP", "AVERAGE", "VRT", "VOLREN", "VOLUME RENDERING", "REFORMATTED", "PROJECTION IMAGE", "PROJECTION",
    "SUBTRACTION", "SUB", "CSA MIP", "MPVR", "REFORMAT", "3D",
]  # fmt: skip

DEFAULT_TABLE = SeriesTable(
    version="default-1",
    rules=[
        Rule(code="localizer", says="a localizer, made to plan the others", rank="never", image_type=["LOCALIZER", "SCOUT"]),
        Rule(
            code="quantitative-map",
            says="a computed map, whose values are no image of the body",
            rank="never",
            image_type=_MAP_TYPES,
        ),
        Rule(
            code="quantitative-map",
            says="its values are no Hounsfield units: a computed map",
            rank="never",
            modality=["CT"],
            rescale_type_other_than=list(HOUNSFIELD),
        ),
        Rule(code="screen-capture", says="a picture of a screen", rank="never", image_type=["SCREEN SAVE", "SCREENSHOT", "DOSE_INFO", "PROTOCOL"]),
        Rule(
            code="localizer", says="a localizer", rank="never", phrases=_LOCALIZER_PHRASES, most_images=40
        ),
        Rule(code="localizer", says="a localizer in three planes", rank="never", modality=["MR"], planes=3, most_images=60),
        Rule(code="localizer", says="a localizer", rank="never", phrases=_LOCALIZER_PHRASES),
        Rule(code="screen-capture", says="a report of dose or protocol", rank="never", phrases=_REPORT_PHRASES),
        Rule(code="quantitative-map", says="a computed map", rank="never", phrases=_MAP_PHRASES),
        Rule(code="derived", says="computed from another series", rank=2, image_type=_REFORMAT_TYPES),
        Rule(code="derived", says="computed from another series", rank=2, image_type=["DERIVED"], phrases=_REFORMAT_PHRASES),
        Rule(code="derived", says="computed from another series", rank=2, phrases=_REFORMAT_PHRASES),
        Rule(code="few-images", says="a few images only", rank=1, most_images=7),
        Rule(code="acquired", says="acquired", rank=0),
    ],
)  # fmt: skip


def rule_of(table: SeriesTable, series: SeriesInventory, header: SeriesHeader | None) -> Rule:
    """The first rule that fits."""
    for rule in table.rules:
        if _fits(rule, series, header):
            return rule
    return Rule(code="acquired", says="acquired", rank=0)


def _fits(rule: Rule, series: SeriesInventory, header: SeriesHeader | None) -> bool:
    if rule.modality and series.modality not in rule.modality:
        return False
    types = header.image_types if header is not None else frozenset[str]()
    if rule.image_type and not types.intersection(rule.image_type):
        return False
    if rule.no_image_type and types.intersection(rule.no_image_type):
        return False
    if rule.rescale_type_other_than:
        told = (header.rescale_type or "").upper() if header is not None else ""
        if not told or told in rule.rescale_type_other_than:
            return False
    if rule.most_images is not None and images_of(series, header) > rule.most_images:
        return False
    if rule.planes is not None and (header is None or header.planes < rule.planes):
        return False
    return not rule.phrases or _named(rule, series.description, types)


def _named(rule: Rule, description: str | None, types: frozenset[str]) -> bool:
    acquired = {"ORIGINAL", "PRIMARY"} <= types
    if acquired and rule.most_images is None and rule.planes is None:
        return False
    return bool(_phrases(tuple(rule.phrases)).search(words_of(description)))


def words_of(description: str | None) -> str:
    """The words of a description, in small letters and parted by single spaces: `AxT2_FLAIR` is `ax t2 flair`, `iDose` is `idose`."""
    parted = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z][A-Za-z0-9])",
        " ",
        re.sub(r"\b[a-z](?=[A-Z])", lambda m: m[0].upper(), description or ""),
    )
    return " ".join(re.findall(r"\w+", parted.replace("_", " ").lower()))


@lru_cache(maxsize=64)
def _phrases(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(re.escape(phrase) for phrase in phrases) + r")\b")


def images_of(series: SeriesInventory, header: SeriesHeader | None) -> int:
    return max(series.images, header.images if header is not None else 0)
