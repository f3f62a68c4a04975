"""CR and DX: projection radiographs, each a stack of one picture in its square."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_OF, PictureFrame, SeriesPictures, StackKind, StoredStack, StudyInventory
from schemas.inference import Location, ModelAnswer, ModelRelease, ModelRequest
from schemas.pictures import Pictures, decode_pictures, encode_pictures
from schemas.report import AbstentionReason, ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from workflows.pictures import (
    Exposure,
    OutsideImage,
    PictureChoice,
    Sorted,
    from_square,
    like_first,
    render,
    side_of,
    sort_pictures,
    to_square,
)
from workflows.ports import ObjectStore
from workflows.reading.caution import tag_cautions
from workflows.reading.picture_prompt import picture_headings
from workflows.reading.places import Dropped, Place, Places, Side, region_on, stack_of
from workflows.reading.plausible import implausible
from workflows.reading.prompt import build_picture_request
from workflows.series import png_of
from workflows.series.attributes import side_told
from workflows.series.plane import whole_number
from workflows.stacks.account import Fetched, NothingRead
from workflows.stacks.cautions import calm, grey
from workflows.stacks.films import Films, film_rows, read_films
from workflows.stacks.findings import items_of, labels_of, read_findings
from workflows.stacks.kind import Picture, Shown, Sources

NO_PICTURE = "the study has no radiograph that can be shown: send it for presentation"
MOST_SHOWN = 1024
"""Pixels along the longer side of a picture on the page."""


class _Digests(NamedTuple):
    """Of a film's containers: as it was taken, and in its square."""

    whole: str
    square: str


class PicturesKind:
    """Radiographs, each a stack of its own: films of one study differ in size, and each is padded to its own square."""

    name: StackKind = "pictures"
    modalities = MODALITIES_OF["pictures"]
    most_priors = 1
    """As published: one earlier picture beside the current one."""

    def alike(self, modality: str) -> frozenset[str]:
        return frozenset(self.modalities)

    def fetch(
        self,
        sources: Sources,
        study: StudyInventory,
        release: ModelRelease,
        like: StoredStack | None,
        region: str = "other",
    ) -> Fetched:
        """The study's views, frontal first; of a prior the one that shows what `like` shows.

        Each film is read by itself: one that cannot be is refused in the account, and another version or repeat of it may stand in. No failure
        but of all films ends the study.
        """
        films = read_films(sources.archive, study)
        found, shown, kept = _kept(sources.store, study, films, like)
        rows = film_rows(study, films, found, shown)
        if not shown:
            why = next(iter(films.failures), None) or PermanentFailure("no-picture", NO_PICTURE)
            raise NothingRead(why.code, why.hint, rows)
        views, bedside = views_of(found, len(films.failures)), all(choice.exposure.bedside for choice in shown)
        return Fetched([_stored(study, c, kept[c.exposure.uid], views, bedside, films.texts) for c in shown], rows)

    def ask(self, timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
        """A pair as published, earlier picture, current picture, text; where there are more, each is named."""
        labels = [(label.code, label.text) for label in labels_of(timeline, shown)]
        told = picture_headings([len(stacks) for stacks in [*shown.priors, shown.current]])
        return build_picture_request(labels, items_of(shown, told), priority)

    def read(
        self, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
    ) -> Reading:
        return read_findings(self, sources, timeline, shown, request, answer)

    def places(self, stacks: list[StoredStack], store: ObjectStore | None) -> Places:
        pictures = [decode_pictures(store.get(stack.volume_digest)) for stack in stacks] if store else []
        return PicturePlaces(stacks, pictures)

    def picture(self, store: ObjectStore, shown: Shown, region: ImageRegion | None) -> Picture:
        """The film, made small enough for a page; beside it that of the prior, where this is the film it was compared with."""
        place = PicturePlaces(shown.current, []).find(region) if region else None
        stack = place.stack if place else shown.current[0]
        png, width, height, scale = _png(store, stack)
        beside = _png(store, shown.priors[-1][0])[0] if shown.priors and stack is shown.current[0] else None
        return Picture(
            png=png,
            width=width,
            height=height,
            number=shown.current.index(stack) + 1,
            count=len(shown.current),
            prior_png=beside,
            scale=scale,
        )

    def unit(self) -> str:
        return "image"


class PicturePlaces:
    """Places on pictures; `pictures` as they were rendered, unpadded, where what they hold counts as well."""

    def __init__(self, stacks: list[StoredStack], pictures: list[Pictures]) -> None:
        self._stacks = stacks
        self._pictures = pictures

    def place(self, location: Location) -> Place:
        """Thousandths of the padded square back to pixels of the source frame, exactly."""
        stack, k = stack_of(location, self._stacks)
        series, frame = pictures_of(stack), frame_of(stack)
        y0, x0, y1, x1 = location.box_2d
        if not (x0 < x1 and y0 < y1):
            raise Dropped("box-not-a-box")
        try:
            left, top, right, bottom = from_square(location.box_2d, frame.square)
        except OutsideImage:
            raise Dropped("box-outside-image") from None
        size = frame.square.columns, frame.square.rows
        region = region_on(series, frame, frame.frame, size, (left, top, right, bottom))
        projected = frame.pixel_size is not None and frame.pixel_size.projected
        return Place(stack, k, region, projected=projected)

    def find(self, region: ImageRegion) -> Place | None:
        found = (stack for stack in self._stacks if frame_of(stack).sop_instance_uid == region.sop_instance_uid)
        return next((Place(stack, 0, region) for stack in found), None)

    def side(self, place: Place) -> Side | None:
        middle = (place.region.x0 + place.region.x1) / 2
        return side_of(frame_of(place.stack), place.stack.series.body_part, middle)

    def diagonal_mm(self, place: Place) -> float | None:
        size, region = frame_of(place.stack).pixel_size, place.region
        if size is None:
            return None
        return math.hypot((region.x1 - region.x0) * size.column, (region.y1 - region.y0) * size.row)

    def body_mm(self, place: Place) -> float | None:
        return None

    def implausible(self) -> AbstentionReason | None:
        return next((reason for one in self._pictures if (reason := implausible(grey(one)))), None)


def pictures_of(stack: StoredStack) -> SeriesPictures:
    """The series of a stack of this kind."""
    if not isinstance(stack.series, SeriesPictures):
        raise TypeError("the stack is not a picture")
    return stack.series


def frame_of(stack: StoredStack) -> PictureFrame:
    return pictures_of(stack).frames[0]


def views_of(found: Sorted, unread: int) -> int | None:
    """How many films the study has of its one part of the body, those that could not be read among them; None where it shows several parts."""
    there = found.distinct()
    parts = {(exposure.body_part or "").upper() for exposure in there} - {""}
    return len(there) + unread if len(parts) < 2 else None


def _kept(
    store: ObjectStore, study: StudyInventory, films: Films, like: StoredStack | None
) -> tuple[Sorted, list[PictureChoice], dict[str, _Digests]]:
    """What is shown, each film rendered and stored, by SOP Instance UID. A film that cannot be decoded is refused, and the others are chosen anew.

    `like`: what a prior is compared with.
    """
    series = {each.series_instance_uid: each for each in study.series}
    kept: dict[str, _Digests] = {}
    while True:
        found = sort_pictures(films.exposures)
        shown = found.choices if like is None else like_first(found.choices, frame_of(like).view)
        waiting = next((choice.exposure for choice in shown if choice.exposure.uid not in kept), None)
        if waiting is None:
            return found, shown, kept
        try:
            kept[waiting.uid] = _put(store, waiting)
        except PermanentFailure as failure:
            films.drop(waiting, series[waiting.series_instance_uid], failure)


def _put(store: ObjectStore, exposure: Exposure) -> _Digests:
    """The picture as it was taken, and in its square."""
    levels = render(exposure)
    padded = to_square(levels, exposure.frame.square)
    whole, square = (store.put(encode_pictures(Pictures(one[None], exposure.modality))) for one in (levels, padded))
    return _Digests(whole, square)


def _stored(
    study: StudyInventory,
    choice: PictureChoice,
    kept: _Digests,
    views: int | None,
    bedside: bool,
    texts: dict[str, set[tuple[str, str]]],
) -> StoredStack:
    exposure, tags = choice.exposure, choice.exposure.tags
    series = SeriesPictures(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=exposure.series_instance_uid,
        series_number=whole_number(tags, "SeriesNumber"),
        modality=exposure.modality,
        description=tags.text("SeriesDescription"),
        body_part=exposure.body_part,
        side=side_told(tags),
        frames=[exposure.frame],
        views=views,
        portable=bedside and views is not None,
    )
    cautions = tag_cautions(sorted(texts[exposure.series_instance_uid]))
    return StoredStack(
        kind="pictures",
        series=calm(series, cautions),
        volume_digest=kept.whole,
        model_volume_digest=kept.square,
        model_slices=[0],
        reason=choice.reason,
        cautions=cautions,
    )


def _png(store: ObjectStore, stack: StoredStack) -> tuple[bytes, int, int, float]:
    """The picture as PNG, its width and height, and how many source pixels one of its pixels is: a whole number, so that boxes stay in place."""
    levels = decode_pictures(store.get(stack.volume_digest)).pixels[0]
    scale = max(1, math.ceil(max(levels.shape[:2]) / MOST_SHOWN))
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[-1] == 1 else levels)).reduce(scale)
    return png_of(image), image.width, image.height, float(scale)
