"""CR and DX: projection radiographs, each a stack of one picture in its square."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_OF, PictureFrame, SeriesPictures, StackKind, StoredStack, StudyInventory
from schemas.inference import Location, ModelAnswer, ModelRelease, ModelRequest
from schemas.outcomes import SeriesOutcome
from schemas.pictures import Pictures, decode_pictures, encode_pictures
from schemas.report import AbstentionReason, ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from workflows.pictures import (
    Exposure,
    OutsideImage,
    PictureChoice,
    choose_pictures,
    from_square,
    like_first,
    read_exposure,
    render,
    side_of,
    to_square,
)
from workflows.ports import ObjectStore
from workflows.reading.caution import tag_cautions
from workflows.reading.picture_prompt import picture_headings
from workflows.reading.places import Dropped, Place, Places, Side, region_on, stack_of
from workflows.reading.plausible import implausible
from workflows.reading.prompt import build_picture_request
from workflows.series import free_texts, png_of
from workflows.stacks.account import Fetched, NothingRead, left_out, read
from workflows.stacks.cautions import grey
from workflows.stacks.findings import items_of, labels_of, read_findings
from workflows.stacks.kind import Picture, Shown, Sources
from workflows.stacks.series_reader import calm

NOT_A_PICTURE = "pixels-missing"
MOST_SHOWN = 1024
"""Pixels along the longer side of a picture on the page."""


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

        A film that cannot be read stops the study: nobody knows what it shows, and the rest may not be what was asked about.
        """
        exposures, texts = _exposures(sources, study)
        choices = choose_pictures(exposures)
        views = len(choices)
        if like is not None:
            choices = like_first(choices, frame_of(like).view)
        rows = _rows(study, exposures, choices)
        if not choices:
            raise NothingRead(
                "no-picture", "the study has no radiograph that can be shown: send it for presentation", rows
            )
        return Fetched([_stored(sources.store, study, choice, views, texts) for choice in choices], rows)

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


def _exposures(sources: Sources, study: StudyInventory) -> tuple[list[Exposure], dict[str, set[tuple[str, str]]]]:
    """Every picture of the study, and the free text of the tags of each series."""
    exposures: list[Exposure] = []
    texts: dict[str, set[tuple[str, str]]] = {}
    for series in study.series:
        if series.modality not in MODALITIES_OF["pictures"] or not series.instance_count:
            continue
        for part in sources.archive.retrieve_series(study.study_instance_uid, series.series_instance_uid):
            texts.setdefault(series.series_instance_uid, set()).update(free_texts([part]))
            try:
                exposures.append(read_exposure(part))
            except PermanentFailure as failure:
                if failure.code != NOT_A_PICTURE:
                    raise
    return exposures, texts


def _rows(study: StudyInventory, exposures: list[Exposure], choices: list[PictureChoice]) -> list[SeriesOutcome]:
    """One row for each film."""
    series = {each.series_instance_uid: each for each in study.series}
    shown = {choice.exposure.frame.sop_instance_uid: choice.reason for choice in choices}
    rows = []
    for exposure in exposures:
        of, image = series[exposure.series_instance_uid], exposure.frame.instance_number
        reason = shown.get(exposure.frame.sop_instance_uid)
        rows.append(
            read(of, reason, image=image)
            if reason is not None
            else left_out(of, "film-not-shown", "another film of the study is shown in its place", image=image)
        )
    return rows


def _stored(
    store: ObjectStore,
    study: StudyInventory,
    choice: PictureChoice,
    views: int,
    texts: dict[str, set[tuple[str, str]]],
) -> StoredStack:
    """Both containers: the picture as it was taken, and in its square."""
    exposure, tags = choice.exposure, choice.exposure.tags
    levels = render(exposure)
    numbers = tags.numbers("SeriesNumber")
    series = SeriesPictures(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=exposure.series_instance_uid,
        series_number=int(numbers[0]) if numbers else None,
        modality=exposure.modality,
        description=tags.text("SeriesDescription"),
        body_part=exposure.body_part,
        frames=[exposure.frame],
        views=views,
        portable=exposure.bedside,
    )
    cautions = tag_cautions(sorted(texts[exposure.series_instance_uid]))
    padded = to_square(levels, exposure.frame.square)
    return StoredStack(
        kind="pictures",
        series=calm(series, cautions),
        volume_digest=store.put(encode_pictures(Pictures(levels[None], exposure.modality))),
        model_volume_digest=store.put(encode_pictures(Pictures(padded[None], exposure.modality))),
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
