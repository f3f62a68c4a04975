"""What the pixels say about which prior to compare with: the study's own series and the archive's index know more than FHIR alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from schemas.imaging import SeriesSource, StudyInventory
from schemas.runs import EarlierPrior
from schemas.timeline import PriorChoice, StudyEntry, Timeline
from workflows.timeline.dates import span_of
from workflows.timeline.priors import Subject, examination_of
from workflows.timeline.regions import region_of, side_of
from workflows.timeline.studies import started_of


def subject_of_series(
    timeline: Timeline, series: SeriesSource, modalities: frozenset[str], study: StudyInventory, zone: tzinfo
) -> Subject:
    """The study being read: modality and region by its series and its order, its beginning by FHIR, else by DICOM."""
    codings = timeline.order.codings if timeline.order else []
    known = timeline.study
    words = [series.body_part, series.description, study.description, known.description if known else None]
    return Subject(
        study_instance_uid=series.study_instance_uid,
        span=(known.span if known else None) or span_of(started_of(study) or "", zone),
        modalities=modalities,
        region=region_of(codings, words) or (known.region if known else None),
        side=side_of([], words),
        examination=examination_of(known) if known else frozenset(),
    )


def chosen(choices: list[PriorChoice], priors: list[StudyEntry]) -> Iterator[tuple[PriorChoice, StudyEntry]]:
    """The studies that were taken, in the order in which they are tried."""
    known = {study.study_instance_uid: study for study in priors}
    return ((choice, known[choice.study_instance_uid]) for choice in choices if choice.taken)


def oldest_first(priors: list[EarlierPrior]) -> list[EarlierPrior]:
    """By when they began; `priors` stand newest first, and those of one moment keep that order turned round."""
    newest_last = priors[::-1]
    return sorted(newest_last, key=lambda prior: prior.study.span[0] if prior.study.span else 0)


def shows_region(choice: PriorChoice, prior: StudyInventory, subject: Subject) -> bool:
    """Whether a prior whose region FHIR does not tell shows the same region by the archive's words. Two unknown regions are never one."""
    if choice.reason != "region-unknown":
        return True
    words = [prior.description, *(series.description for series in prior.series)]
    return subject.region is not None and region_of([], words) == subject.region
