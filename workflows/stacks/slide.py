"""SM: whole slides of pathology, shown as patches of tissue at 10x. Every slide of a study is shown; they share the patches that a model takes."""

from __future__ import annotations

import hashlib

from schemas.codes import slide_labels
from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_OF, SeriesInventory, SeriesSlide, StackKind, StoredStack, StudyInventory
from schemas.inference import (
    ModelAnswer,
    ModelRelease,
    ModelRequest,
)
from schemas.outcomes import SeriesOutcome
from schemas.pictures import MAX_PICTURES, decode_pictures, encode_one_by_one
from schemas.report import ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from workflows.ports import ObjectStore
from workflows.reading.places import Place, Places
from workflows.reading.prompt import findings_request, named
from workflows.reading.slide_prompt import (
    ONE_SLIDE,
    SERIES_OF_SLIDES,
    SEVERAL_SLIDES,
    SLIDE,
    SLIDE_INSTRUCTION,
    SLIDE_QUERY,
)
from workflows.slides import (
    SIDE,
    ArchivedSlide,
    choose_patches,
    grid,
    outlined_png,
    patch_size,
    picture_png,
    read_overview,
    read_patch,
    tissue_mask,
    tissue_shares,
)
from workflows.stacks.account import Fetched, NothingRead, left_out, read, refused
from workflows.stacks.cautions import calm
from workflows.stacks.faults import raise_if_of_study
from workflows.stacks.findings import evidence_image, items_of, read_findings
from workflows.stacks.kind import Picture, Shown, Sources
from workflows.stacks.slide_places import SlidePlaces, slide_of

NOTHING_TO_READ = ("slide-without-levels", "slide-no-tissue")
"""Codes of series that a study may hold beside its slides: pictures of labels, glass with nothing on it."""
LEAST_PATCHES = 5
"""Of each slide. With more slides than share the patches at so many each, the first are read and the others named."""
BEYOND = "the {count} slides before it took all the patches that can be shown at once: split the study"


class SlideKind:
    """Whole slides. Nothing is compared: two slides are never of the same place."""

    name: StackKind = "slide"
    modalities = MODALITIES_OF["slide"]
    most_priors = 0

    def alike(self, modality: str) -> frozenset[str]:
        return frozenset()

    def fetch(
        self,
        sources: Sources,
        study: StudyInventory,
        release: ModelRelease,
        like: StoredStack | None,
        region: str = "other",
    ) -> Fetched:
        """Every slide with tissue, in the order of their series, as many as can share the patches. One that cannot be read is refused by itself."""
        series = sorted(
            (each for each in study.series if each.modality in self.modalities and each.instance_count > 0),
            key=lambda each: (each.series_number is None, each.series_number or 0, each.series_instance_uid),
        )
        most = max(MAX_PICTURES // max(len(series), 1), LEAST_PATCHES)
        stacks: list[StoredStack] = []
        rows: list[SeriesOutcome] = []
        failures: list[PermanentFailure] = []
        for each in series:
            left = MAX_PICTURES - sum(len(stack.model_slices) for stack in stacks)
            if left < LEAST_PATCHES:
                rows.append(left_out(each, "slide-beyond-most", BEYOND.format(count=len(stacks))))
                continue
            try:
                with sources.archive.open_slide(study.study_instance_uid, each.series_instance_uid) as slide:
                    stacks.append(_stored(sources.store, study, each, slide, min(most, left)))
                    rows.append(read(each, stacks[-1].reason))
            except PermanentFailure as failure:
                raise_if_of_study(failure)
                nothing = failure.code in NOTHING_TO_READ
                rows.append(left_out(each, failure.code, failure.hint) if nothing else refused(each, failure))
                failures.append(failure)
        if not stacks:
            why = _why_none(failures)
            raise NothingRead(why.code, why.hint, rows)
        return Fetched(stacks, rows)

    def ask(self, timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
        labels = [(label.code, label.text) for label in slide_labels()]
        slides = [slide_of(stack) for stack in shown.current]
        several = len(slides) > 1
        told = [
            SLIDE.format(number=number, specimen=_words(slide)) if several else ""
            for number, slide in enumerate(slides, start=1)
        ]
        return findings_request(
            SLIDE_INSTRUCTION.format(
                specimen="" if several else _words(slides[0]), within=SEVERAL_SLIDES if several else ONE_SLIDE
            ),
            SLIDE_QUERY.format(labels=named(labels), series=SERIES_OF_SLIDES if several else ""),
            labels,
            items_of(shown, [told]),
            priority,
            measured=False,
            sides=("not-applicable",),
        )

    def read(
        self, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
    ) -> Reading:
        """As every reading; after the patches an overview of each slide, which shows what of the tissue the model has seen."""
        reading = read_findings(self, sources, timeline, shown, request, answer)
        located = [image for image in reading.evidence if image.region is not None]
        overviews = [
            evidence_image(sources.store, self, _overview(sources.store, stack), None) for stack in shown.current
        ]
        return reading.model_copy(update={"evidence": [*located, *overviews]})

    def places(self, stacks: list[StoredStack], store: ObjectStore | None) -> Places:
        return SlidePlaces(stacks)

    def picture(self, store: ObjectStore, shown: Shown, region: ImageRegion | None) -> Picture:
        """The patch; the overview of the first slide, its patches outlined, where nothing is located."""
        place = SlidePlaces(shown.current).find(region) if region else None
        return _overview(store, shown.current[0]) if place is None else _patch(store, place)

    def unit(self) -> str:
        return "patch"


def _why_none(failures: list[PermanentFailure]) -> PermanentFailure:
    """What the first slide was refused for; else that there is no tissue, and last that nothing is a slide."""
    nothing = PermanentFailure("slide-without-levels", "the study holds no whole slide")
    return min(failures, key=_rank, default=nothing)


def _rank(failure: PermanentFailure) -> int:
    return {"slide-no-tissue": 1, "slide-without-levels": 2}.get(failure.code, 0)


def _words(slide: SeriesSlide) -> str:
    return f": {slide.specimen}" if slide.specimen else ""


def _stored(
    store: ObjectStore, study: StudyInventory, series: SeriesInventory, slide: ArchivedSlide, most: int
) -> StoredStack:
    """The patches, read and written one after the other."""
    overview, scale = read_overview(slide)
    size, matrix, source = patch_size(slide.micrometres), slide.sizes[0], slide.source
    seed = hashlib.sha256(f"{series.series_instance_uid}|{source.sop_instance_uid}".encode()).hexdigest()
    patches = grid(matrix, size)
    enough, chosen = choose_patches(patches, tissue_shares(tissue_mask(overview), scale, patches, size), most, seed)
    shape = (len(chosen), SIDE, SIDE, 3)
    digest = store.put(encode_one_by_one(shape, series.modality, (read_patch(slide, each, size) for each in chosen)))
    described = SeriesSlide(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        series_number=series.series_number,
        modality=series.modality,
        description=series.description,
        body_part=None,
        sop_instance_uid=source.sop_instance_uid,
        sop_class_uid=source.sop_class_uid,
        instance_number=source.instance_number,
        columns=matrix[0],
        rows=matrix[1],
        micrometres=slide.micrometres,
        patch_columns=size[0],
        patch_rows=size[1],
        patches=chosen,
        tissue_patches=enough,
        seed=seed,
        specimen=source.specimen,
        overview_digest=store.put(picture_png(overview)),
        overview_columns=overview.shape[1],
        overview_rows=overview.shape[0],
        overview_scale=scale,
    )
    return StoredStack(
        kind="slide",
        series=calm(described, source.cautions),
        volume_digest=digest,
        model_volume_digest=digest,
        model_slices=list(range(len(chosen))),
        reason=f"a whole slide, {len(chosen)} of {enough} patches with tissue",
        cautions=source.cautions,
    )


def _overview(store: ObjectStore, stack: StoredStack) -> Picture:
    slide = slide_of(stack)
    return Picture(
        png=outlined_png(store.get(slide.overview_digest), slide.patches, slide.overview_scale),
        width=slide.overview_columns,
        height=slide.overview_rows,
        number=1,
        count=len(slide.patches),
        scale=slide.overview_scale[0],
        caption=_overview_caption(stack),
    )


def _overview_caption(stack: StoredStack) -> str:
    slide = slide_of(stack)
    return f"Overview: outlined the {len(slide.patches)} of {slide.tissue_patches} patches of tissue that were read"


def _patch(store: ObjectStore, place: Place) -> Picture:
    slide, k = slide_of(place.stack), place.index
    patch = slide.patches[k]
    return Picture(
        png=picture_png(decode_pictures(store.get(place.stack.volume_digest)).pixels[k]),
        width=SIDE,
        height=SIDE,
        number=k + 1,
        count=len(slide.patches),
        left=patch.x,
        top=patch.y,
        scale=slide.patch_columns / SIDE,
    )
