"""CT, MR and PET: stacks of sections on a checked grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from schemas.caution import Caution
from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_OF, SeriesSource, SeriesVolume, StackKind, StoredStack, StudyInventory
from schemas.inference import BOX_SCALE, Location, ModelAnswer, ModelRelease, ModelRequest
from schemas.outcomes import SeriesOutcome
from schemas.report import AbstentionReason, ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from schemas.volume import Volume, decode_volume, encode_volume, model_slices
from workflows.ports import ObjectStore
from workflows.reading.caution import BURNED_IN, tag_cautions
from workflows.reading.places import Dropped, Place, Places, Side, box_of, region_on, stack_of
from workflows.reading.plausible import body_on, implausible
from workflows.series import (
    SeriesChoice,
    choose_series,
    contrast_of,
    free_texts,
    may_stand_in,
    nearest_slice,
    read_series,
    render_slice,
    sequences_of,
    shares,
    side_of,
)
from workflows.stacks.account import Fetched, NothingRead, read, refused
from workflows.stacks.findings import ask_findings, read_findings
from workflows.stacks.kind import Picture, Shown, Sources

AnySeries = TypeVar("AnySeries", bound=SeriesSource)
NEXT_SERIES = ("geometry-", "pixels-", "dicom-")
"""Codes of failures that lie in one series: another series of the study may still be readable."""


class VolumeKind:
    """Stacks of sections; the model is shown at most 85 slices of each."""

    name: StackKind = "volume"
    modalities = MODALITIES_OF["volume"]
    most_priors = 3

    def alike(self, modality: str) -> frozenset[str]:
        return frozenset({modality})

    def fetch(
        self, sources: Sources, study: StudyInventory, release: ModelRelease, like: StoredStack | None
    ) -> Fetched:
        """The first preferred series that is a plain grid, of an MR study one of each contrast; what the first was refused for if none is."""
        choices = choose_series(study, grid_of(like) if like else None)
        reader = _Reader(sources, study.study_instance_uid)
        found = [one for candidates in sequences_of(choices, _contrast(like)) if (one := reader.first(candidates))]
        found = found or [one for one in [reader.first(choices)] if one]
        if not found:
            why = reader.why_none()
            raise NothingRead(why.code, why.hint, reader.rows())
        shown = shares([len(one.series.frames) for one in found], release.max_slices)
        stacks = [_stored(sources.store, one, most) for one, most in zip(found, shown, strict=True)]
        return Fetched(stacks, reader.rows())

    def ask(self, timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
        return ask_findings(timeline, shown, priority)

    def read(
        self, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
    ) -> Reading:
        return read_findings(self, sources, timeline, shown, request, answer)

    def places(self, stacks: list[StoredStack], store: ObjectStore | None) -> Places:
        volumes = [decode_volume(store.get(stack.volume_digest)) for stack in stacks] if store else None
        return VolumePlaces(stacks, volumes)

    def picture(self, store: ObjectStore, shown: Shown, region: ImageRegion | None) -> Picture:
        """The slice; beside it the one of the newest prior that is nearest in space. The middle slice where nothing is located."""
        place = VolumePlaces(shown.current, None).find(region) if region else None
        stack = place.stack if place else shown.current[0]
        series = grid_of(stack)
        k = place.index if place else len(series.frames) // 2
        beside = None
        if shown.priors:
            prior = _alike(shown.priors[-1], stack)
            before = decode_volume(store.get(prior.volume_digest))
            beside = render_slice(before, grid_of(prior), nearest_slice(series, k, grid_of(prior)))
        return Picture(
            png=render_slice(decode_volume(store.get(stack.volume_digest)), series, k),
            width=series.columns,
            height=series.rows,
            number=k + 1,
            count=len(series.frames),
            prior_png=beside,
        )

    def unit(self) -> str:
        return "slice"


class VolumePlaces:
    """Places on volumes; `volumes` beside `stacks` where the body counts as well."""

    def __init__(self, stacks: list[StoredStack], volumes: list[Volume] | None) -> None:
        self._stacks = stacks
        self._volumes = volumes

    def place(self, location: Location) -> Place:
        """The model sees slices resized as a whole to its own square, without padding or cropping, so thousandths scale back by columns and rows."""
        stack, k = stack_of(location, self._stacks)
        series = grid_of(stack)
        frame = series.frames[k]
        x0, y0, x1, y1 = box_of(location)
        across, down = series.columns, series.rows
        box = (x0 * across / BOX_SCALE, y0 * down / BOX_SCALE, x1 * across / BOX_SCALE, y1 * down / BOX_SCALE)
        place = Place(stack, k, region_on(series, frame, frame.frame, (across, down), box))
        self._require_body(place)
        return place

    def find(self, region: ImageRegion) -> Place | None:
        for stack in self._stacks:
            for k, frame in enumerate(grid_of(stack).frames):
                if (frame.sop_instance_uid, frame.frame) == (region.sop_instance_uid, region.frame):
                    return Place(stack, k, region)
        return None

    def side(self, place: Place) -> Side | None:
        region = place.region
        return side_of(grid_of(place.stack), place.index, (region.y0 + region.y1) / 2, (region.x0 + region.x1) / 2)

    def diagonal_mm(self, place: Place) -> float:
        region, series = place.region, grid_of(place.stack)
        return math.hypot((region.x1 - region.x0) * series.column_spacing, (region.y1 - region.y0) * series.row_spacing)

    def body_mm(self, place: Place) -> float | None:
        volume = self._volume(place)
        body = body_on(volume, place.index) if volume is not None else None
        return body.diagonal_mm if body is not None else None

    def implausible(self) -> AbstentionReason | None:
        return next((reason for volume in self._volumes or [] if (reason := implausible(volume))), None)

    def _require_body(self, place: Place) -> None:
        """A box must lie on the body."""
        volume = self._volume(place)
        if volume is None:
            return
        body = body_on(volume, place.index)
        if body is None or not body.holds(place.region):
            raise Dropped("box-outside-body")

    def _volume(self, place: Place) -> Volume | None:
        return self._volumes[self._stacks.index(place.stack)] if self._volumes is not None else None


def grid_of(stack: StoredStack) -> SeriesVolume:
    """The grid of a stack of this kind."""
    if not isinstance(stack.series, SeriesVolume):
        raise TypeError("the stack is not a volume")
    return stack.series


def _contrast(stack: StoredStack | None) -> str | None:
    return contrast_of(stack.series.description) if stack is not None else None


def _alike(stacks: list[StoredStack], stack: StoredStack) -> StoredStack:
    """The stack of a prior with the contrast of this one; its first where there is none."""
    return next((each for each in stacks if _contrast(each) == _contrast(stack)), stacks[0])


def calm(series: AnySeries, cautions: list[Caution]) -> AnySeries:
    """Without descriptions that read like instructions: they choose neither what is asked nor how the report is coded."""
    flagged = {caution.where for caution in cautions if caution.code != BURNED_IN}
    used = {"SeriesDescription": "description", "BodyPartExamined": "body_part"}
    return series.model_copy(update={field: None for keyword, field in used.items() if keyword in flagged})


@dataclass(frozen=True)
class _Read:
    """A series that is a plain grid."""

    series: SeriesVolume
    volume: Volume
    reason: str
    cautions: list[Caution]


class _Reader:
    """Reads series of one study until one is a plain grid, each once."""

    def __init__(self, sources: Sources, study_instance_uid: str) -> None:
        self._sources = sources
        self._study = study_instance_uid
        self._refused: dict[str, PermanentFailure] = {}
        """By series, the first to be refused first."""
        self._rows: list[SeriesOutcome] = []

    def first(self, candidates: list[SeriesChoice]) -> _Read | None:
        """Where a series was refused, only one that may stand in for it is read: a scout beside a refused stack is not the study."""
        for position, choice in enumerate(candidates):
            if position and not may_stand_in(choice.series):
                continue
            if choice.series.series_instance_uid in self._refused:
                continue
            try:
                return self._read(choice)
            except PermanentFailure as failure:
                if not failure.code.startswith(NEXT_SERIES):
                    raise
                self._refused[choice.series.series_instance_uid] = failure
                self._rows.append(refused(choice.series, failure))
        return None

    def why_none(self) -> PermanentFailure:
        """What the most wanted series was refused for."""
        nothing = PermanentFailure(
            "no-volume-series", "the study has no series of slices that could be read as a volume"
        )
        return next(iter(self._refused.values()), nothing)

    def rows(self) -> list[SeriesOutcome]:
        """One for each series that was looked at."""
        return self._rows

    def _read(self, choice: SeriesChoice) -> _Read:
        parts = list(self._sources.archive.retrieve_series(self._study, choice.series.series_instance_uid))
        series, volume = read_series(parts)
        cautions = tag_cautions(sorted(free_texts(parts)))
        self._rows.append(read(choice.series, choice.reason))
        return _Read(calm(series, cautions), volume, choice.reason, cautions)


def _stored(store: ObjectStore, read: _Read, most: int) -> StoredStack:
    """Both containers of a stack of which the model is shown at most so many slices."""
    series, volume = read.series, read.volume
    shown = model_slices(len(series.frames), most)
    whole = store.put(encode_volume(volume))
    spacing = (volume.spacing[0] * (len(series.frames) - 1) / max(len(shown) - 1, 1), *volume.spacing[1:])
    for_model = whole
    if len(shown) < len(series.frames):
        for_model = store.put(encode_volume(Volume(volume.voxels[shown], spacing, volume.units, volume.modality)))
    return StoredStack(
        series=series,
        volume_digest=whole,
        model_volume_digest=for_model,
        model_slices=shown,
        reason=read.reason,
        cautions=read.cautions,
    )
