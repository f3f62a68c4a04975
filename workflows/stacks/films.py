"""The films of a radiograph study: each read, left out or refused by itself, with its row in the study's account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pydicom import Dataset

from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_OF, SeriesInventory, StudyInventory
from schemas.outcomes import SeriesOutcome
from workflows.pictures import MOST_PICTURES, Exposure, PictureChoice, Sorted, Unshown, read_exposure
from workflows.ports import ImageArchive
from workflows.series import free_texts
from workflows.series.attributes import DatasetAttributes, read_dataset
from workflows.series.plane import whole_number
from workflows.stacks.account import left_out, read, refused
from workflows.stacks.faults import raise_if_of_study

RADIOGRAPHS = frozenset({
    "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1",
})  # fmt: skip
"""Computed radiography and digital X-ray, for presentation and for processing (PS3.4 B.5): a broken one is a film that nobody has seen."""


class Odd(NamedTuple):
    """Why an instance among films is none of them: a presentation state, a report, a screen capture."""

    code: str
    reason: str


@dataclass
class Films:
    """What a study holds of films. `rows` are of those that are not among `exposures`; `texts` the free text of the tags of each series."""

    exposures: list[Exposure] = field(default_factory=list)
    rows: list[SeriesOutcome] = field(default_factory=list)
    texts: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    failures: list[PermanentFailure] = field(default_factory=list)
    """Of radiographs that cannot be read, the first first."""
    places: dict[str, int] = field(default_factory=dict)
    """Of each film by its SOP Instance UID, counted from 1 in its series: it names a film without a number."""

    def refuse(self, series: SeriesInventory, failure: PermanentFailure, image: int | None, at: int | None) -> None:
        """`at`: the file's place in its series."""
        self.failures.append(failure)
        self.rows.append(_of_one(refused(series, failure, image=image), at))

    def drop(self, exposure: Exposure, series: SeriesInventory, failure: PermanentFailure) -> None:
        """A film whose pixels cannot be decoded: it is as if it had not been readable from the start."""
        self.exposures.remove(exposure)
        self.refuse(series, failure, exposure.image, self.places.get(exposure.uid))


def read_films(archive: ImageArchive, study: StudyInventory) -> Films:
    """Every film of the study by its tags; its pixels are not decoded yet."""
    films = Films()
    for series in study.series:
        if series.modality not in MODALITIES_OF["pictures"] or not series.instance_count:
            continue
        films.texts[series.series_instance_uid] = set()
        try:
            parts = archive.retrieve_series(study.study_instance_uid, series.series_instance_uid)
            _read_series(films, series, parts)
        except PermanentFailure as failure:
            raise_if_of_study(failure)
            films.failures.append(failure)
            films.rows.append(refused(series, failure))
    return films


def _read_series(films: Films, series: SeriesInventory, parts: Iterator[bytes]) -> None:
    for at, part in enumerate(parts, start=1):
        image = None
        try:
            films.texts[series.series_instance_uid] |= free_texts([part])
            dataset = read_dataset(part)
            image = whole_number(DatasetAttributes(dataset), "InstanceNumber")
            odd = odd_among_films(dataset)
            if odd is None:
                exposure = read_exposure(dataset)
                films.exposures.append(exposure)
                films.places[exposure.uid] = at
            else:
                films.rows.append(_of_one(left_out(series, odd.code, odd.reason, image=image), at))
        except PermanentFailure as failure:
            films.refuse(series, failure, image, at)


def odd_among_films(dataset: Dataset) -> Odd | None:
    """None for a radiograph, and for a grey picture of one (a film that was digitized)."""
    tags = DatasetAttributes(dataset)
    if tags.text("SOPClassUID") in RADIOGRAPHS:
        if not (tags.text("PhotometricInterpretation") or "MONOCHROME").startswith("MONOCHROME"):
            raise PermanentFailure(
                "pixels-photometric", "a radiograph has one grey value for each pixel: this one is in colour"
            )
        return None
    if not whole_number(tags, "Rows") or not whole_number(tags, "Columns"):
        return Odd("film-without-pixels", "it is no image: a presentation state, a report or notes")
    if tags.text("Modality") not in MODALITIES_OF["pictures"]:
        return Odd("film-other-kind", f"it is no radiograph but {tags.text('Modality') or 'of no modality'}")
    if not (tags.text("PhotometricInterpretation") or "").startswith("MONOCHROME"):
        return Odd("film-in-colour", "a picture in colour is no radiograph but a capture of a screen or of paper")
    return None


def film_rows(study: StudyInventory, films: Films, found: Sorted, shown: list[PictureChoice]) -> list[SeriesOutcome]:
    """One row for each film. `shown`: all choices, or of a prior the one that is compared."""
    series = {each.series_instance_uid: each for each in study.series}
    compared = {choice.exposure.uid for choice in shown}
    rows = list(films.rows)
    for exposure, reason in found.choices:
        of = series[exposure.series_instance_uid]
        if exposure.uid in compared:
            row = read(of, reason, image=exposure.image)
        else:
            why = "it shows another view than the film that it would be compared with"
            row = left_out(of, "film-not-compared", why, image=exposure.image)
        rows.append(_of_one(row, films.places.get(exposure.uid)))
    for each in found.unshown:
        of = series[each.exposure.series_instance_uid]
        row = left_out(of, each.why, _sentence(each, series, found), image=each.exposure.image)
        rows.append(_of_one(row, films.places.get(each.exposure.uid)))
    return rows


def _sentence(each: Unshown, series: dict[str, SeriesInventory], found: Sorted) -> str:
    stands = _named(each, series)
    return {
        "film-for-processing": "raw values of the detector, which are for processing and not for reading",
        "film-several-frames": f"a film of {each.exposure.frames} frames is no radiograph",
        "film-version": f"another version of the exposure of {stands}",
        "film-repeat": f"{stands} is of the same view and was taken later: it stands in its place",
        "film-beyond-most": f"the study has {len(found.distinct())} different films, of which {MOST_PICTURES} can be shown",
    }[each.why]


def _named(each: Unshown, series: dict[str, SeriesInventory]) -> str:
    """`image 2`, and of which series where it is another one."""
    if each.instead is None:
        return ""
    named = "a film without number" if each.instead.image is None else f"image {each.instead.image}"
    if each.instead.series_instance_uid == each.exposure.series_instance_uid:
        return named
    number = series[each.instead.series_instance_uid].series_number
    return f"{named} of {'another series' if number is None else f'series {number}'}"


def _of_one(row: SeriesOutcome, at: int | None) -> SeriesOutcome:
    """The row of one film, also where it has no number of its own."""
    if row.image is not None or at is None:
        return row
    return row.model_copy(update={"instances": 1, "reason": f"file {at} of the series: {row.reason}"})
