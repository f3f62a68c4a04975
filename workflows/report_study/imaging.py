"""From a study in the archive to a stored volume: which series, why, and the slices that the model is shown."""

from __future__ import annotations

from schemas.caution import Caution
from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json, instance_set_digest
from schemas.imaging import SeriesVolume, StoredVolume, StudyInventory
from schemas.runs import StudyFetched
from schemas.timeline import PatientBanner
from schemas.volume import Volume, encode_volume, model_slices
from workflows.ports import ImageArchive, ObjectStore
from workflows.reading.caution import BURNED_IN, instruction_in, tag_cautions
from workflows.series import choose_series, free_texts, may_stand_in, read_series


def check_patient(study: StudyInventory, patient: PatientBanner) -> None:
    """The study's PatientID must be one of the identifiers of the event's patient: otherwise this is the wrong patient's study."""
    if not study.patient_id or study.patient_id not in {identifier.value for identifier in patient.identifiers}:
        raise PermanentFailure("patient-mismatch", "the study's PatientID is not an identifier of the event's patient")


NEXT_SERIES = ("geometry-", "pixels-", "dicom-")
"""Codes of failures that lie in one series: another series of the study may still be readable."""


def fetch_volume(
    archive: ImageArchive, store: ObjectStore, study: StudyInventory, max_slices: int, like: SeriesVolume | None = None
) -> StudyFetched:
    """The first preferred series that is a plain grid, stored; what the first one was refused for if none is.

    Where a series was refused, only one that may stand in for it is read: a scout beside a refused stack is not the study.
    """
    refused: PermanentFailure | None = None
    for choice in choose_series(_calm_inventory(study), like):
        if refused is not None and not may_stand_in(choice.series):
            continue
        try:
            parts = list(archive.retrieve_series(study.study_instance_uid, choice.series.series_instance_uid))
            series, volume = read_series(parts)
        except PermanentFailure as failure:
            if not failure.code.startswith(NEXT_SERIES):
                raise
            refused = refused or failure
            continue
        cautions = tag_cautions(sorted(free_texts(parts)))
        return _store(store, study, calm(series, cautions), volume, choice.reason, max_slices, cautions)
    raise refused or PermanentFailure(
        "no-volume-series", "the study has no series of slices that could be read as a volume"
    )


def calm(series: SeriesVolume, cautions: list[Caution]) -> SeriesVolume:
    """Without descriptions that read like instructions: they choose neither what is asked nor how the report is coded."""
    flagged = {caution.where for caution in cautions if caution.code != BURNED_IN}
    used = {"SeriesDescription": "description", "BodyPartExamined": "body_part"}
    return series.model_copy(update={field: None for keyword, field in used.items() if keyword in flagged})


def _calm_inventory(study: StudyInventory) -> StudyInventory:
    series = [
        s.model_copy(update={"description": None}) if instruction_in(s.description or "") else s for s in study.series
    ]
    return study.model_copy(update={"series": series})


def is_earlier(prior: StudyInventory, current: StudyInventory, *, known_to_fhir: bool) -> bool:
    """Whether the prior began before the current study, by DICOM's own dates; FHIR's order counts only where they do not tell."""
    if not prior.study_date or not current.study_date:
        return known_to_fhir
    if prior.study_date != current.study_date:
        return prior.study_date < current.study_date
    if prior.study_time and current.study_time:
        return prior.study_time < current.study_time
    return known_to_fhir


def _store(
    store: ObjectStore,
    study: StudyInventory,
    series: SeriesVolume,
    volume: Volume,
    reason: str,
    max_slices: int,
    cautions: list[Caution],
) -> StudyFetched:
    shown = model_slices(len(series.frames), max_slices)
    whole = store.put(encode_volume(volume))
    for_model = whole
    if len(shown) < len(series.frames):
        step = (shown[-1] - shown[0]) / max(len(shown) - 1, 1) or 1.0
        spacing = (volume.spacing[0] * step, *volume.spacing[1:])
        for_model = store.put(encode_volume(Volume(volume.voxels[shown], spacing, volume.units, volume.modality)))
    stored = StoredVolume(
        series=series,
        volume_digest=whole,
        model_volume_digest=for_model,
        model_slices=shown,
        reason=reason,
        cautions=cautions,
    )
    return StudyFetched(
        volume=store.put(canonical_json(stored.model_dump())),
        sop_instance_uids=store.put(canonical_json(sorted(set(study.sop_instance_uids)))),
        inventory_digest=instance_set_digest(study.sop_instance_uids),
        slices=len(shown),
    )
