"""CT, MR and PET: stacks of sections on a checked grid."""

from __future__ import annotations

import math

from schemas.imaging import MODALITIES_OF, SeriesVolume, StackKind, StoredStack, StudyInventory
from schemas.inference import BOX_SCALE, Location, ModelAnswer, ModelRelease, ModelRequest
from schemas.report import AbstentionReason, ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from schemas.volume import Volume, decode_volume
from workflows.ports import ObjectStore
from workflows.reading.places import Dropped, Place, Places, Side, box_of, region_on, stack_of
from workflows.reading.plausible import body_on, implausible
from workflows.series import (
    SeriesHeader,
    choose_series,
    named_contrast,
    nearest_slice,
    render_slice,
    side_of,
)
from workflows.stacks.account import Fetched
from workflows.stacks.findings import ask_findings, read_findings
from workflows.stacks.kind import Picture, Shown, Sources
from workflows.stacks.series_reader import SeriesReader

MODALITIES = MODALITIES_OF["volume"]


class VolumeKind:
    """Stacks of sections; the model is shown at most 85 slices of each."""

    name: StackKind = "volume"
    modalities = MODALITIES_OF["volume"]
    most_priors = 3

    def alike(self, modality: str) -> frozenset[str]:
        return frozenset({modality})

    def fetch(
        self,
        sources: Sources,
        study: StudyInventory,
        release: ModelRelease,
        like: StoredStack | None,
        region: str = "other",
    ) -> Fetched:
        """The first preferred series that is a stack, of an MR study one of each contrast; `NothingRead` if none is."""
        grid = grid_of(like) if like else None
        headers = _headers(sources, study, MODALITIES if grid is None else (grid.modality,))
        choices = choose_series(study, grid, headers, region, sources.series_table)
        return SeriesReader(sources, study.study_instance_uid, choices, headers).fetch(
            _contrast(like), release.max_slices
        )

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
    return stack.contrast or named_contrast(stack.series.description) if stack is not None else None


def _alike(stacks: list[StoredStack], stack: StoredStack) -> StoredStack:
    """The stack of a prior with the contrast of this one; its first where there is none."""
    return next((each for each in stacks if _contrast(each) == _contrast(stack)), stacks[0])


def _headers(sources: Sources, study: StudyInventory, modalities: tuple[str, ...]) -> dict[str, SeriesHeader]:
    """Of every series that may be read: one request each."""
    found = {
        series.series_instance_uid: sources.archive.series_header(study.study_instance_uid, series.series_instance_uid)
        for series in study.series
        if series.modality in modalities and series.instance_count > 0
    }
    return {uid: header for uid, header in found.items() if header is not None}
