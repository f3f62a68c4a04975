"""Which pictures of a radiograph study are shown, and in which order, each with the reason in words.

Never: raw detector values (for processing), films of several frames, a second version of an exposure (bone suppression, edge enhancement) where the
first is there. Of repeats of one view the newest: a view is repeated because the first was not good enough. Frontal views come first, PA before
AP, then lateral ones, then the rest: what the published pairs compare is the frontal view, and the first picture names the study.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from workflows.pictures.picture import Exposure
from workflows.pictures.views import AP, FRONTAL, ORDER, PA

MOST_PICTURES = 4
"""Two views are a chest, three or four a joint; beyond that a study is several examinations."""

_FRONTAL = frozenset({PA, AP, FRONTAL})


class PictureChoice(NamedTuple):
    """A picture to show, and why."""

    exposure: Exposure
    reason: str


def choose_pictures(exposures: Iterable[Exposure], most: int = MOST_PICTURES) -> list[PictureChoice]:
    """At most `most` pictures, the first the most telling; empty where none is one that can be shown."""
    shown = [e for e in exposures if not e.for_processing and e.frames == 1]
    versions: dict[tuple[object, ...], list[Exposure]] = {}
    for exposure in shown:
        versions.setdefault((exposure.view, exposure.laterality, exposure.shot), []).append(exposure)
    originals = [min(same, key=_version) for same in versions.values()]
    repeats: dict[tuple[object, ...], list[Exposure]] = {}
    for exposure in originals:
        repeats.setdefault(_examination(exposure), []).append(exposure)
    newest = [max(same, key=_newest) for same in repeats.values()]
    return [
        PictureChoice(exposure, _reason(exposure, len(repeats[_examination(exposure)])))
        for exposure in sorted(newest, key=_order)[:most]
    ]


def like_first(choices: list[PictureChoice], view: str | None) -> list[PictureChoice]:
    """The one picture of a prior that shows what `view` shows: the same view, else another frontal one; none beside a view that is not there."""
    for wanted in ({view}, _FRONTAL if view in _FRONTAL else set()):
        found = [choice for choice in choices if choice.exposure.view in wanted]
        if found:
            return found[:1]
    return []


def _version(exposure: Exposure) -> tuple[bool, int, str]:
    return exposure.processed, exposure.frame.instance_number or 0, exposure.frame.sop_instance_uid


def _examination(exposure: Exposure) -> tuple[object, ...]:
    """What a repeat repeats. A view that no tag names is not known to be a repeat of any other."""
    what = exposure.view or exposure.frame.sop_instance_uid
    return what, exposure.laterality, (exposure.body_part or "").upper()


def _newest(exposure: Exposure) -> tuple[str, int, str]:
    return exposure.taken, exposure.frame.instance_number or 0, exposure.frame.sop_instance_uid


def _order(exposure: Exposure) -> tuple[int, int, str]:
    rank = ORDER.index(exposure.view) if exposure.view in ORDER else len(ORDER)
    return rank, exposure.frame.instance_number or 0, exposure.frame.sop_instance_uid


def _reason(exposure: Exposure, repeats: int) -> str:
    parts = [exposure.modality, f"{exposure.view} view" if exposure.view else "view not told"]
    if exposure.bedside:
        parts.append("at the bedside")
    if repeats > 1:
        parts.append(f"the newest of {repeats} of this view")
    return ", ".join(parts)
