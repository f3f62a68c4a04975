"""Which pictures of a radiograph study are shown, and in which order, each with the reason in words; and why each of the others is not.

Never: raw detector values (for processing), films of several frames. Two films are one only on proof. A second version of an exposure (bone
suppression, edge enhancement) has its Irradiation Event UID, or its own acquisition time and the same view, side, part of the body and size; the
first is shown. A repeat has the same view, side and part by their tags, and a later acquisition time of its own; the newest is shown, since a view is
repeated because the first was not good enough. Whatever is not proved is another film, and shown. Frontal views come first, PA before AP, then
lateral ones, then the rest: what the published pairs compare is the frontal view, and the first picture names the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from workflows.pictures.picture import Exposure
from workflows.pictures.views import AP, FRONTAL, ORDER, PA

MOST_PICTURES = 4
"""Two views are a chest, three or four a joint; beyond that a study is several examinations."""
WITHOUT_SIDE = frozenset({"CHEST", "THORAX", "LUNG"})
"""Parts that are filmed once for both sides. Elsewhere a film that names no side may be of the other one, or of another level."""

_FRONTAL = frozenset({PA, AP, FRONTAL})

Why = Literal["film-for-processing", "film-several-frames", "film-version", "film-repeat", "film-beyond-most"]


class PictureChoice(NamedTuple):
    """A picture to show, and why."""

    exposure: Exposure
    reason: str


class Unshown(NamedTuple):
    """A film that is not shown, and why; of a version and of a repeat which film stands for it."""

    exposure: Exposure
    why: Why
    instead: Exposure | None = None


@dataclass(frozen=True)
class Sorted:
    """Every film of a study once."""

    choices: list[PictureChoice]
    unshown: list[Unshown]

    def distinct(self) -> list[Exposure]:
        """The films that are there, whether shown or beyond the most."""
        beyond = [each.exposure for each in self.unshown if each.why == "film-beyond-most"]
        return [*(choice.exposure for choice in self.choices), *beyond]


def choose_pictures(exposures: Iterable[Exposure], most: int = MOST_PICTURES) -> list[PictureChoice]:
    """At most `most` pictures, the first the most telling; empty where none is one that can be shown."""
    return sort_pictures(exposures, most).choices


def sort_pictures(exposures: Iterable[Exposure], most: int = MOST_PICTURES) -> Sorted:
    """What is shown of these films, at most `most`, and what is not."""
    films: list[Exposure] = []
    unshown: list[Unshown] = []
    for exposure in exposures:
        if exposure.for_processing:
            unshown.append(Unshown(exposure, "film-for-processing"))
        elif exposure.frames != 1:
            unshown.append(Unshown(exposure, "film-several-frames"))
        else:
            films.append(exposure)
    versions = _grouped(sorted(films, key=_version), is_version)
    originals = [leader for leader, _ in versions]
    repeats = _grouped(sorted(originals, key=_newest, reverse=True), is_repeat)
    shown = sorted(repeats, key=lambda group: _order(group[0]))
    unshown += [Unshown(other, "film-version", leader) for leader, others in versions for other in others]
    unshown += [Unshown(other, "film-repeat", leader) for leader, others in repeats for other in others]
    unshown += [Unshown(leader, "film-beyond-most") for leader, _ in shown[most:]]
    return Sorted([PictureChoice(leader, _reason(leader, len(rest) + 1)) for leader, rest in shown[:most]], unshown)


def is_version(first: Exposure, other: Exposure) -> bool:
    """Whether both are one exposure: the tube fired once."""
    if (first.view_told, first.laterality, _part(first)) != (other.view_told, other.laterality, _part(other)):
        return False
    if first.event and other.event:
        return first.event == other.event
    same_time = first.taken is not None and first.taken == other.taken
    return same_time and _is_named(first) and _size(first) == _size(other)


def is_repeat(newer: Exposure, older: Exposure) -> bool:
    """Whether `newer` was taken in place of `older`."""
    if newer.taken is None or older.taken is None or newer.taken <= older.taken:
        return False
    if newer.said and older.said and newer.said != older.said:
        return False
    named = (newer.view_told, newer.laterality, _part(newer))
    return _is_named(newer) and named == (older.view_told, older.laterality, _part(older))


def like_first(choices: list[PictureChoice], view: str | None) -> list[PictureChoice]:
    """The one picture of a prior that shows what `view` shows: the same view, else another frontal one; none beside a view that is not there."""
    for wanted in ({view}, _FRONTAL if view in _FRONTAL else set()):
        found = [choice for choice in choices if choice.exposure.view in wanted]
        if found:
            return found[:1]
    return []


def _grouped(
    exposures: list[Exposure], same: Callable[[Exposure, Exposure], bool]
) -> list[tuple[Exposure, list[Exposure]]]:
    """Each film under the first one before it that is the same."""
    groups: list[tuple[Exposure, list[Exposure]]] = []
    for exposure in exposures:
        found = next((others for leader, others in groups if same(leader, exposure)), None)
        if found is None:
            groups.append((exposure, []))
        else:
            found.append(exposure)
    return groups


def _part(exposure: Exposure) -> str:
    return (exposure.body_part or "").upper()


def _size(exposure: Exposure) -> tuple[int, int]:
    return exposure.frame.square.rows, exposure.frame.square.columns


def _is_named(exposure: Exposure) -> bool:
    """Whether the tags name view, part of the body, and side where there are two."""
    part = _part(exposure)
    return bool(exposure.view_told and part and (exposure.laterality or part in WITHOUT_SIDE))


def _version(exposure: Exposure) -> tuple[bool, int, str]:
    return exposure.processed, exposure.image or 0, exposure.uid


def _newest(exposure: Exposure) -> tuple[str, int, str]:
    return exposure.taken or "", exposure.image or 0, exposure.uid


def _order(exposure: Exposure) -> tuple[int, int, str]:
    rank = ORDER.index(exposure.view) if exposure.view in ORDER else len(ORDER)
    return rank, exposure.image or 0, exposure.uid


def _reason(exposure: Exposure, repeats: int) -> str:
    parts = [exposure.modality, f"{exposure.view} view" if exposure.view else "view not told"]
    if exposure.bedside:
        parts.append("at the bedside")
    if repeats > 1:
        parts.append(f"the newest of {repeats} of this view")
    return ", ".join(parts)
