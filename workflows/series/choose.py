"""Which series of a study to read, in order of preference, each with the reason in words. The caller takes the first that is a stack.

What a series is, is told by its attributes where its headers are known (`header`), by the table's phrases where they are not (`table`). Among series
of one rank: the modality most wanted; for soft tissue a soft kernel; the plane of a CT in which it was acquired; then the most images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from schemas.imaging import MODALITIES_OF, SeriesInventory, SeriesVolume, StudyInventory
from workflows.series.contrast import contrast_of
from workflows.series.header import SeriesHeader, is_sharp
from workflows.series.place import main_plane
from workflows.series.table import DEFAULT_TABLE, Rule, SeriesTable, images_of, rule_of, words_of

MODALITIES = MODALITIES_OF["volume"]
SOFT_TISSUE = frozenset({"head", "abdomen"})
"""Regions whose questions are of soft tissue alone."""
LAST = 9
"""The rank of what is never read."""

_PLANES = {
    "axial": frozenset({"ax", "axial", "axi", "tra", "trans", "transverse", "transversal"}),
    "sagittal": frozenset({"sag", "sagittal"}),
    "coronal": frozenset({"cor", "coronal"}),
}
Headers = Mapping[str, SeriesHeader]
"""By Series Instance UID."""


class SeriesChoice(NamedTuple):
    """A series to try, and why it stands where it stands."""

    series: SeriesInventory
    reason: str
    code: str
    """Of the rule that decided."""
    says: str
    """Why it is left out, in words."""
    never: bool = False
    """It is not read at all."""
    contrast: str | None = None
    """Of an MR series, where it is known."""
    sharp: bool = False
    """Reconstructed for bone or lung although soft tissue is asked about."""


def choose_series(
    study: StudyInventory,
    like: SeriesVolume | None = None,
    headers: Headers | None = None,
    region: str = "other",
    table: SeriesTable = DEFAULT_TABLE,
) -> list[SeriesChoice]:
    """Series that may be stacks of sections, best first, those that are never read at the end; empty if there are none.

    With `like` (the current study's series, for a prior): only its modality, then the plane and the words it shares. `region`: what is asked about
    (`schemas.codes.body_region`).
    """
    known = headers or {}
    wanted = (like.modality,) if like is not None else MODALITIES
    usable = [series for series in study.series if series.modality in wanted and series.instance_count > 0]
    rated = [_Rated(series, known.get(series.series_instance_uid), region, table) for series in usable]
    rated.sort(key=lambda one: one.order() if like is None else one.order_like(like))
    return [one.choice(like) for one in rated]


class _Rated:
    """A series beside what is known of it."""

    def __init__(self, series: SeriesInventory, header: SeriesHeader | None, region: str, table: SeriesTable) -> None:
        self.series, self.header = series, header
        self.rule: Rule = rule_of(table, series, header)
        sharp = is_sharp(header.kernel if header else None, series.description) if series.modality == "CT" else False
        self.sharp = bool(sharp) and region in SOFT_TISSUE
        timing = header.timing if header is not None else None
        self.contrast = contrast_of(series.description, timing) if series.modality == "MR" else None
        self.rank = LAST if self.rule.rank == "never" else self.rule.rank

    def order(self) -> tuple[object, ...]:
        plane = self.header.plane if self.header else None
        aside = self.series.modality == "CT" and plane is not None and plane != "axial"
        images = images_of(self.series, self.header)
        return self.rank, MODALITIES.index(self.series.modality), self.sharp, aside, -images, *_stable(self.series)

    def order_like(self, like: SeriesVolume) -> tuple[object, ...]:
        return self.rank, *_unlike(self.series, self.header, like), *_stable(self.series)

    def choice(self, like: SeriesVolume | None) -> SeriesChoice:
        rule = self.rule
        return SeriesChoice(
            self.series, self._reason(like), rule.code, rule.says, rule.rank == "never", self.contrast, self.sharp
        )

    def _reason(self, like: SeriesVolume | None) -> str:
        told = "by its attributes" if self.header is not None else "by its description"
        parts = [self.series.modality, f"{self.rule.says} {told}", f"{images_of(self.series, self.header)} images"]
        if self.sharp:
            parts.append("a kernel for bone or lung")
        if like is not None:
            parts.append("compared with the current series by plane, description and number of slices")
        return ", ".join(parts)


def _stable(series: SeriesInventory) -> tuple[int, str]:
    number = series.series_number
    return (1 << 31 if number is None else number), series.series_instance_uid


def _words(description: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", words_of(description)))


def _plane_named(words: frozenset[str]) -> str | None:
    return next((plane for plane, names in _PLANES.items() if words & names), None)


def _unlike(series: SeriesInventory, header: SeriesHeader | None, like: SeriesVolume) -> tuple[bool, int, float]:
    """Another plane; fewer words in common; another number of slices."""
    words, theirs = _words(series.description), _words(like.description)
    plane = header.plane if header is not None and header.plane else _plane_named(words)
    return (
        plane is not None and plane != main_plane(like),
        -len(words & theirs),
        abs(math.log(images_of(series, header) / len(like.frames))),
    )
