"""Laboratory reports and other documents: encapsulated PDF and scans, read line by line."""

from __future__ import annotations

import math
from functools import partial
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.caution import Caution
from schemas.documents import DocumentLine, DocumentPage, LabValue, Place, ReadDocument
from schemas.errors import PermanentFailure
from schemas.families import family_of
from schemas.imaging import MODALITIES_OF, SeriesDocument, SeriesInventory, StackKind, StoredStack, StudyInventory
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.outcomes import SeriesOutcome
from schemas.pictures import Pictures, encode_pictures
from schemas.report import AbstentionReason, EvidenceImage, ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from workflows.documents.check import CheckedDocument, check_document, read_document_answer
from workflows.documents.dicom import documents_of
from workflows.documents.identity import names_patient
from workflows.documents.prompt import document_request
from workflows.documents.reading import read_pages
from workflows.documents.rows import Rows
from workflows.ports import ObjectStore
from workflows.reading.caution import BURNED_IN, HIDDEN, chart_cautions, instruction_in, tag_cautions
from workflows.reading.document_prompt import SCANNED_PAGES
from workflows.reading.places import Places, region_on
from workflows.series import free_texts, png_of
from workflows.stacks.account import Fetched, NothingRead, read, refused
from workflows.stacks.faults import raise_if_of_study
from workflows.stacks.findings import items_of
from workflows.stacks.kind import Picture, Shown, Sources

STRIP_LINES = 3.0
"""Heights of the cited line that a strip of the page shows above and below it."""
NOT_NAMED = "patient-not-named"
Grey = npt.NDArray[np.uint8]


class DocumentKind:
    """One stack for each series; the model is asked about the lines of all, and shown the pages that were scanned."""

    name: StackKind = "document"
    modalities = MODALITIES_OF["document"]
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
        """Every series of documents, in the order of their numbers: a report that is left out is a result that nobody sees. One that cannot be
        read is refused by itself."""
        chosen = [series for series in study.series if series.modality in self.modalities and series.instance_count]
        stacks: list[StoredStack] = []
        rows: list[SeriesOutcome] = []
        failures: list[PermanentFailure] = []
        pages = 0
        for series in sorted(chosen, key=lambda s: (s.series_number or 0, s.series_instance_uid)):
            try:
                stack = _fetch_series(sources, study, series, release, pages)
            except PermanentFailure as failure:
                raise_if_of_study(failure)
                rows.append(refused(series, failure))
                failures.append(failure)
                continue
            stacks.append(stack)
            pages += len(source_of(stack).frames)
            rows.append(read(series, _pages(len(source_of(stack).frames))))
        if not stacks:
            why = next(iter(failures), None) or PermanentFailure("document-empty", "the study holds no document")
            raise NothingRead(why.code, why.hint, rows)
        return Fetched(stacks, rows)

    def ask(self, timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
        """About every line that may hold a result; scanned pages are shown beside their OCR."""
        rows = Rows(document_of(shown.current))
        scans = [stack for stack in shown.current if stack.model_slices]
        items = items_of(Shown(current=scans, priors=[]), [[SCANNED_PAGES] * len(scans)])
        return document_request(rows, items, priority)

    def read(
        self, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
    ) -> Reading:
        """Values that passed the checks, each with a strip of its page."""
        rows = Rows(document_of(shown.current))
        checked = check_document(read_document_answer(answer), rows)
        values = [_placed(value, shown.current, rows.document) for value in checked.values]
        return Reading(
            kind="values",
            findings=[],
            values=values,
            unreported=checked.unreported,
            dropped=checked.dropped,
            prior_study_instance_uid=None,
            not_compared_reason=shown.not_compared_reason,
            evidence=_evidence(sources.store, rows.document, values),
            abstained=_abstained(checked),
            cautions=_cautions(timeline, shown.current, rows),
        )

    def places(self, stacks: list[StoredStack], store: ObjectStore | None) -> Places:
        raise PermanentFailure("document-no-findings", "a document has values, and no findings with boxes")

    def picture(self, store: ObjectStore, shown: Shown, region: ImageRegion | None) -> Picture:
        raise PermanentFailure("document-no-findings", "a document has values, and no findings with boxes")

    def unit(self) -> str:
        return "page"


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count} pages"


def source_of(stack: StoredStack) -> SeriesDocument:
    """The series of a stack of this kind."""
    if not isinstance(stack.series, SeriesDocument):
        raise TypeError("the stack is not a document")
    return stack.series


def document_of(stacks: list[StoredStack]) -> ReadDocument:
    """All pages and lines of the study, as one."""
    held = [source_of(stack).document for stack in stacks]
    return ReadDocument(
        pages=[p for one in held for p in one.pages], lines=[line for one in held for line in one.lines]
    )


def _fetch_series(
    sources: Sources, study: StudyInventory, series: SeriesInventory, release: ModelRelease, before: int
) -> StoredStack:
    parts = list(sources.archive.retrieve_series(study.study_instance_uid, series.series_instance_uid))
    held = documents_of(parts, sources.decode_pdf)
    document = read_pages(held.pages, sources.text_in_pixels.printed, partial(_keep, sources.store), before)
    cautions = tag_cautions(sorted(free_texts(parts)))
    described = held.title or series.description
    source = SeriesDocument(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        series_number=series.series_number,
        modality=series.modality,
        description=described if described and instruction_in(described) is None else None,
        body_part=None,
        frames=held.frames,
        document=document,
        code=held.code if held.code and instruction_in(held.code[1]) is None else None,
    )
    pictures = [page.picture for page in held.pages]
    calm = {page.number for page in document.pages} - _instructing(document)
    scanned = [k for k, p in enumerate(document.pages) if p.source == "ocr" and p.number in calm]
    scanned = scanned if takes_pictures(release) else []
    whole = sources.store.put(encode_pictures(_stacked(pictures)))
    shown = sources.store.put(encode_pictures(_stacked([pictures[k] for k in scanned]))) if scanned else whole
    return StoredStack(
        kind="document",
        series=source,
        volume_digest=whole,
        model_volume_digest=shown,
        model_slices=scanned,
        reason="document",
        cautions=[caution for caution in cautions if caution.code != BURNED_IN],
    )


def _instructing(document: ReadDocument) -> set[int]:
    """Pages with text that reads like an instruction: the model is not shown them."""
    rows = Rows(document)
    return {rows.lines[name].page for name in rows.instructing}


def takes_pictures(release: ModelRelease) -> bool:
    """Whether the released model can be shown a page."""
    return "picture" in family_of(release.family).takes


def _keep(store: ObjectStore, picture: Grey) -> str:
    return store.put(_png(picture))


def _png(picture: Grey) -> bytes:
    return png_of(Image.fromarray(picture))


def _stacked(pictures: list[Grey]) -> Pictures:
    """Pages of any size, each padded with paper to one square, so that none is stretched when the model reduces it."""
    side = max(max(picture.shape) for picture in pictures)
    square = np.full((len(pictures), side, side, 1), 255, np.uint8)
    for page, picture in zip(square, pictures, strict=True):
        page[: picture.shape[0], : picture.shape[1], 0] = picture
    return Pictures(square, "DOC")


def _placed(value: LabValue, stacks: list[StoredStack], document: ReadDocument) -> LabValue:
    """With the box of its lines on the instance's page."""
    page = next(page for page in document.pages if page.number == value.citation.page)
    region = _region(value.citation.place, page, stacks)
    return value.model_copy(update={"citation": value.citation.model_copy(update={"region": region})})


def _region(place: Place, page: DocumentPage, stacks: list[StoredStack]) -> ImageRegion:
    """Of a PDF in points, of a scan in the pixels of the frame as it is kept; never outside the page."""
    number = page.number
    for stack in stacks:
        series = source_of(stack)
        if number <= len(series.frames):
            break
        number -= len(series.frames)
    frame = series.frames[number - 1]
    columns, rows = math.ceil(page.width), math.ceil(page.height)
    x0, y0, x1, y1 = place
    box = max(x0, 0.0), max(y0, 0.0), min(x1, columns), min(y1, rows)
    return region_on(series, frame, frame.frame, (columns, rows), box)


def _evidence(store: ObjectStore, document: ReadDocument, values: list[LabValue]) -> list[EvidenceImage]:
    """For each value the part of the page that holds its line; the first page where nothing is reported."""
    pages = {page.number: page for page in document.pages}
    pictures = {n: np.asarray(Image.open(BytesIO(store.get(p.picture)))) for n, p in pages.items()}
    if not values:
        first = document.pages[0]
        return [_strip(store, first, pictures[first.number], (0.0, 0.0, first.width, first.height), None, document)]
    return [
        _strip(store, pages[v.citation.page], pictures[v.citation.page], v.citation.place, v, document) for v in values
    ]


def _strip(
    store: ObjectStore, page: DocumentPage, picture: Grey, place: Place, value: LabValue | None, document: ReadDocument
) -> EvidenceImage:
    scale = page.width / picture.shape[1]
    around = STRIP_LINES * (place[3] - place[1])
    top = max(int((place[1] - around) / scale), 0)
    bottom = min(math.ceil((place[3] + around) / scale), picture.shape[0])
    cut = np.ascontiguousarray(picture[top:bottom])
    said = f"{value.label} {value.name}" if value else "No value reported"
    return EvidenceImage(
        png_digest=store.put(_png(cut)),
        width=cut.shape[1],
        height=cut.shape[0],
        slice_number=page.number,
        slice_count=len(document.pages),
        region=value.citation.region if value else None,
        caption=f"{said.replace(':', ' ')}: page {page.number} of {len(document.pages)}",
        unit="page",
        top=top * scale,
        scale=scale,
    )


def _abstained(checked: CheckedDocument) -> AbstentionReason | None:
    return checked.abstained or (None if checked.values else "no-results-found")


def _cautions(timeline: Timeline, stacks: list[StoredStack], rows: Rows) -> list[Caution]:
    """Of the chart, of tags, of the document's own lines; and a document that does not say whose it is."""
    found = chart_cautions(timeline) + [caution for stack in stacks for caution in stack.cautions]
    found += [Caution(route="document", code=code, where=_where(rows.lines[n])) for n, code in rows.instructing.items()]
    found += [
        Caution(route="document", code=HIDDEN, where=f"page {page.number}")
        for page in rows.document.pages
        if page.hidden
    ]
    if names_patient(rows.document, timeline.patient) is False:
        found.append(Caution(route="document", code=NOT_NAMED, where="document"))
    return found


def _where(line: DocumentLine) -> str:
    page, _, number = line.id[1:].partition("L")
    return f"page {page} line {number}"
