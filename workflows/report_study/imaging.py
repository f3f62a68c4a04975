"""From a study in the archive to stored stacks: whose it is, of which kind, and what of it the model is shown."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter

from schemas.codes import body_region
from schemas.errors import PermanentFailure, StudyUnread
from schemas.identifiers import canonical_json, instance_set_digest
from schemas.imaging import StoredStack, StudyInventory
from schemas.inference import ModelRelease
from schemas.outcomes import SeriesOutcome
from schemas.runs import StudyFetched
from schemas.timeline import Coding, PatientBanner
from workflows.ports import ObjectStore
from workflows.reading.caution import instruction_in
from workflows.stacks import kind_named, kind_of
from workflows.stacks.account import NothingRead, whole_account
from workflows.stacks.kind import Sources

ACCOUNT = TypeAdapter(list[SeriesOutcome])


def check_patient(study: StudyInventory, patient: PatientBanner) -> None:
    """The study's PatientID must be one of the identifiers of the event's patient: otherwise this is the wrong patient's study."""
    if not study.patient_id or study.patient_id not in {identifier.value for identifier in patient.identifiers}:
        raise PermanentFailure("patient-mismatch", "the study's PatientID is not an identifier of the event's patient")


def fetch_stacks(
    sources: Sources,
    study: StudyInventory,
    release: ModelRelease,
    like: StoredStack | None = None,
    order: Sequence[Coding] = (),
) -> StudyFetched:
    """The study's stacks, stored; of a prior (`like`: the current study's first stack) those that can be compared with it. `order`: its codes."""
    calm = _calm_inventory(study)
    kind = kind_named(like.kind) if like is not None else kind_of(calm)
    try:
        fetched = kind.fetch(sources, calm, release, like, body_region(None, calm.description, list(order)))
    except NothingRead as nothing:
        account = whole_account(calm, kind.modalities, nothing.rows)
        raise StudyUnread(nothing.code, nothing.hint, keep_account(sources.store, account)) from nothing
    account = whole_account(calm, kind.modalities, fetched.rows)
    stored = fetched.stacks
    first, *more = [sources.store.put(canonical_json(stack.model_dump(mode="json"))) for stack in stored]
    return StudyFetched(
        volume=first,
        more=more,
        sop_instance_uids=sources.store.put(canonical_json(sorted(set(study.sop_instance_uids)))),
        inventory_digest=instance_set_digest(study.sop_instance_uids),
        slices=sum(len(stack.model_slices) for stack in stored),
        account=keep_account(sources.store, account),
    )


def keep_account(store: ObjectStore, account: list[SeriesOutcome]) -> str:
    return store.put(canonical_json([row.model_dump(mode="json") for row in account]))


def load_account(store: ObjectStore, digest: str | None) -> list[SeriesOutcome]:
    """Empty for what was fetched before accounts were kept."""
    return ACCOUNT.validate_json(store.get(digest)) if digest else []


def _calm_inventory(study: StudyInventory) -> StudyInventory:
    described = None if instruction_in(study.description or "") else study.description
    series = [
        s.model_copy(update={"description": None}) if instruction_in(s.description or "") else s for s in study.series
    ]
    return study.model_copy(update={"series": series, "description": described})


def is_earlier(prior: StudyInventory, current: StudyInventory, *, known_to_fhir: bool) -> bool:
    """Whether the prior began before the current study, by DICOM's own dates; FHIR's order counts only where they do not tell."""
    if not prior.study_date or not current.study_date:
        return known_to_fhir
    if prior.study_date != current.study_date:
        return prior.study_date < current.study_date
    if prior.study_time and current.study_time:
        return prior.study_time < current.study_time
    return known_to_fhir
