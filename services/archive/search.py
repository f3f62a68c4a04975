"""QIDO-RS (PS3.18 section 10.6, matching of PS3.4 C.2.2.2). A key that is not supported is refused: ignored, it would hand out every patient."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydicom.datadict import keyword_for_tag

from services.archive.index import INSTANCE_KEYS, SERIES_KEYS, STUDY_KEYS, TAGS, VRS, Archive, Json, Stored

Level = Literal["studies", "series", "instances"]
DEPTH: dict[Level, int] = {"studies": 1, "series": 2, "instances": 3}
ANSWERED: dict[Level, tuple[str, ...]] = {
    "studies": STUDY_KEYS,
    "series": (*STUDY_KEYS, *SERIES_KEYS),
    "instances": (*STUDY_KEYS, *SERIES_KEYS, *INSTANCE_KEYS),
}
MODALITIES = "ModalitiesInStudy"
MODALITIES_TAG = "00080061"
RANGES = ("DA", "TM", "DT")
MOST_CHARACTERS = 16_384
"""Of one value: a list of two hundred UIDs is shorter."""
KEYS_LEFT_ALONE = ("includefield", "fuzzymatching")
"""All that is known is always answered, and literal matching is a permitted answer to a wish for fuzzy matching (PS3.18 section 8.3.4)."""


class BadQuery(Exception):
    """The query cannot be answered as it was meant; the text names the key, never the value."""


@dataclass(frozen=True)
class Query:
    filters: list[tuple[str, str]]
    """(keyword, wanted value), the value not empty."""
    offset: int = 0
    limit: int | None = None


def parse_query(items: Iterable[tuple[str, str]]) -> Query:
    """The keys of a query string, as keywords or tags; `BadQuery` if one is not supported."""
    filters, page = [], dict[str, int]()
    for key, wanted in items:
        if key in ("offset", "limit"):
            if not wanted.isdecimal():
                raise BadQuery(f"{key} is not a number")
            page[key] = int(wanted)
        elif key not in KEYS_LEFT_ALONE:
            keyword = keyword_for_tag(key) if re.fullmatch(r"[0-9A-Fa-f]{8}", key) else key
            if keyword != MODALITIES and keyword not in TAGS:
                raise BadQuery("a key of the search is not supported")
            if len(wanted) > MOST_CHARACTERS:
                raise BadQuery("a value of the search is too long")
            if wanted:  # an empty one matches everything (PS3.4 C.2.2.2.3)
                filters.append((keyword, wanted))
    return Query(filters, page.get("offset", 0), page.get("limit"))


def search(
    archive: Archive, level: Level, query: Query, study: str | None, series: str | None, base_url: str
) -> list[Json]:
    """The matching studies, series or instances, as rows of DICOM JSON, in the order of their UIDs."""
    studies: dict[str, list[Stored]] = {}
    for row in archive.select(study):
        studies.setdefault(row.study, []).append(row)
    found: dict[tuple[str, ...], Json] = {}
    for rows in studies.values():
        modalities = sorted({str(m) for row in rows for m in row.values("Modality")})
        for row in rows:
            path = (row.study, row.series, row.instance)[: DEPTH[level]]
            if path not in found and series in (None, row.series) and _matches(row, modalities, query):
                found[path] = _answer(level, row, rows, modalities, base_url)
    ordered = [found[path] for path in sorted(found)]
    return ordered[query.offset :][: query.limit]


def _matches(row: Stored, modalities: list[str], query: Query) -> bool:
    for keyword, wanted in query.filters:
        have = modalities if keyword == MODALITIES else [_plain(value) for value in row.values(keyword)]
        if not _match(VRS.get(keyword, "CS"), wanted)(have):
            return False
    return True


def _plain(value: Any) -> str:
    """A value of DICOM JSON as the text that a query gives; a person's name by its first group of components."""
    return str(value.get("Alphabetic", "")) if isinstance(value, dict) else str(value)


@lru_cache(maxsize=256)
def _match(vr: str, wanted: str) -> Callable[[list[str]], bool]:
    """Single value, list of UIDs, range and wild card matching (PS3.4 C.2.2.2)."""
    if vr == "UI":
        uids = frozenset(re.split(r"[,\\]", wanted))
        return lambda have: not uids.isdisjoint(have)
    if vr in RANGES and "-" in wanted:
        low, high = wanted.split("-", 1)
        return lambda have: any(value >= low and (not high or value[: len(high)] <= high) for value in have)
    compiled = re.compile(_wild_card(wanted), re.DOTALL | (re.IGNORECASE if vr == "PN" else 0))
    return lambda have: any(compiled.fullmatch(value) for value in have or [""])


def _wild_card(wanted: str) -> str:
    """Each part between stars is found once, at its first place, and never given back: without that a name of many stars would be tried for ever."""
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", wanted))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last


def _answer(level: Level, row: Stored, study: list[Stored], modalities: list[str], base_url: str) -> Json:
    answer: Json = {TAGS[key]: row.attributes.get(TAGS[key], {"vr": VRS[key]}) for key in ANSWERED[level]}
    answer["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # the JSON is UTF-8, whatever the file was
    answer["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    answer[MODALITIES_TAG] = {"vr": "CS", "Value": modalities}
    answer["00201206"] = {"vr": "IS", "Value": [len({each.series for each in study})]}
    answer["00201208"] = {"vr": "IS", "Value": [len(study)]}
    if level != "studies":
        answer["00201209"] = {"vr": "IS", "Value": [sum(each.series == row.series for each in study)]}
    answer["00081190"] = {"vr": "UR", "Value": [location(base_url, row, DEPTH[level])]}
    return dict(sorted(answer.items()))


def location(base_url: str, row: Stored, depth: int = 3) -> str:
    """The URL of the study, series or instance."""
    steps = (("studies", row.study), ("series", row.series), ("instances", row.instance))
    return "/".join([base_url, *(part for step in steps[:depth] for part in step)])
