"""Which series of a study to read, in order of preference, each with the reason in words. The caller takes the first that is a plain grid."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from schemas.imaging import MODALITIES_OF, SeriesInventory, SeriesVolume, StudyInventory
from workflows.series.place import main_plane

MODALITIES = MODALITIES_OF["volume"]

STAND_IN_SLICES = 8

_NO_STACK = frozenset({
    "localizer", "localiser", "locator", "localisation", "localization", "loc", "scout", "topo", "topogram",
    "surview", "survey", "scanogram", "scano", "plane", "smartprep", "premonitoring", "monitoring", "bolus",
    "tracker", "timing", "calibration", "cal", "screen", "screensave", "dose", "report", "protocol",
})  # fmt: skip
_MADE_LATER = frozenset({
    "derived", "mip", "minip", "mpr", "mpvr", "reformat", "reformatted", "reformats", "reconst", "vrt", "3d", "vr",
    "fused", "fusion", "subtraction", "sub", "adc", "fa", "trace", "perfusion", "cbf", "cbv", "mtt", "ttp", "tmax",
    "map", "maps", "color", "colour", "average",
})  # fmt: skip
_PLANES = {
    "axial": frozenset({"ax", "axial", "axi", "tra", "trans", "transverse", "transversal"}),
    "sagittal": frozenset({"sag", "sagittal"}),
    "coronal": frozenset({"cor", "coronal"}),
}


class SeriesChoice(NamedTuple):
    """A series to try, and why it stands where it stands."""

    series: SeriesInventory
    reason: str


def choose_series(study: StudyInventory, like: SeriesVolume | None = None) -> list[SeriesChoice]:
    """Series that may be stacks of sections, best first; empty if there are none.

    Acquired series come before those made from others, and those before localizers, as far as their descriptions tell. Within each: by modality,
    then the most images. With `like` (the current study's series, for a prior): only its modality, then the plane and the words it shares.
    """
    wanted = (like.modality,) if like is not None else MODALITIES
    usable = [series for series in study.series if series.modality in wanted and series.instance_count > 0]
    if like is None:
        usable.sort(key=lambda s: (_kind(s), MODALITIES.index(s.modality), -s.images, *_stable(s)))
        return [SeriesChoice(s, _reason(s, None)) for s in usable]
    usable.sort(key=lambda s: (_kind(s), *_unlike(s, like), *_stable(s)))
    return [SeriesChoice(s, _reason(s, like)) for s in usable]


def _stable(series: SeriesInventory) -> tuple[int, str]:
    number = series.series_number
    return (1 << 31 if number is None else number), series.series_instance_uid


def _words(description: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", description or "").lower()))


def _kind(series: SeriesInventory) -> int:
    """0: acquired; 1: made from another series; 2: no stack of sections."""
    words = _words(series.description)
    if words & _NO_STACK:
        return 2
    return 1 if words & _MADE_LATER else 0


def is_stack(series: SeriesInventory) -> bool:
    """Whether its description names no localizer or the like."""
    return _kind(series) < 2


def may_stand_in(series: SeriesInventory) -> bool:
    """Whether this series may be read in place of a preferred one that was refused: a localizer or a few slices must not pass for the study."""
    return is_stack(series) and series.images >= STAND_IN_SLICES


def _plane_named(words: frozenset[str]) -> str | None:
    return next((plane for plane, names in _PLANES.items() if words & names), None)


def _unlike(series: SeriesInventory, like: SeriesVolume) -> tuple[bool, int, float]:
    """Another plane by its name; fewer words in common; another number of slices."""
    words, theirs = _words(series.description), _words(like.description)
    named = _plane_named(words)
    return (
        named is not None and named != main_plane(like),
        -len(words & theirs),
        abs(math.log(series.images / len(like.frames))),
    )


def _reason(series: SeriesInventory, like: SeriesVolume | None) -> str:
    kind = ("acquired", "made from another series", "named as a localizer or the like")[_kind(series)]
    order = (
        "images"
        if like is None
        else "images, compared with the current series by plane, description and number of slices"
    )
    return f"{series.modality}, {kind} by its description, {series.images} {order}"
