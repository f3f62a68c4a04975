"""The steps of a run. Each takes one record and gives one record of references; pixels, charts and Bundles stay in the object store.

Every activity may run more than once: what it writes is keyed by content (store), by result id (FHIR, inbox) or by event id (outbox).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
from temporalio import activity

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.events import now_rfc3339
from schemas.identifiers import Namespace, canonical_json, instance_set_digest
from schemas.imaging import StoredVolume
from schemas.inbox import ReviewRecorded
from schemas.inference import ModelAnswer, ModelRequest, VolumeItem
from schemas.model import Record
from schemas.report import Reading
from schemas.runs import (
    AskModel,
    BuildResult,
    CheckAnswer,
    CloseRun,
    CreateInboxEntry,
    FetchPrior,
    FetchStudy,
    GatherTimeline,
    InventoryTaken,
    ModelAnswered,
    PriorFetched,
    ReadingChecked,
    RecordReview,
    ResultBuilt,
    ResultWritten,
    ReviewWritten,
    RunFailure,
    StudyFetched,
    TakeInventory,
    TimelineGathered,
    WriteReview,
)
from schemas.timeline import Timeline
from workflows.ports import FhirServer, ImageArchive, Inbox, Model, ObjectStore, PatientMemory, RunRecords
from workflows.reading.check import check_findings, read_answer
from workflows.reading.prompt import build_request
from workflows.reading.release import release_id
from workflows.report_study import events
from workflows.report_study.imaging import check_patient, fetch_volume

MAX_PRIORS_TRIED = 3

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class Site:
    """What is fixed for a deployment."""

    namespace: Namespace
    event_source: str
    accession_system: str
    organization: str
    review_role: str
    acknowledge_within: timedelta
    dicomweb_public_url: str


class ReportStudyActivities:
    """Holds the ports; one method per step."""

    def __init__(
        self,
        site: Site,
        *,
        fhir: FhirServer,
        archive: ImageArchive,
        model: Model,
        store: ObjectStore,
        memory: PatientMemory,
        runs: RunRecords,
        inbox: Inbox,
    ) -> None:
        self._site = site
        self._fhir = fhir
        self._archive = archive
        self._model = model
        self._store = store
        self._memory = memory
        self._runs = runs
        self._inbox = inbox

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [
            self.gather_timeline,
            self.take_inventory,
            self.fetch_study,
            self.fetch_prior,
            self.ask_model,
            self.check_answer,
            self.build_result,
            self.write_result,
            self.create_inbox_entry,
            self.write_review,
            self.record_review,
            self.record_failure,
            self.close_run,
        ]

    @activity.defn
    def gather_timeline(self, args: GatherTimeline) -> TimelineGathered:
        """The patient's history from FHIR, with the observations that the patient's entity knows of."""
        event = args.event
        resources = self._fhir.patient_record(event.patient)
        resources += self._announced(args, {f"{r['resourceType']}/{r['id']}" for r in resources})
        timeline = build_timeline(
            event.patient,
            resources,
            study_instance_uid=event.study_instance_uid,
            imaging_study=event.imaging_study,
            service_request=event.service_request,
            accession=event.accession,
        )
        return TimelineGathered(
            timeline=self._keep(timeline),
            entry_count=len(timeline.entries),
            priority=timeline.order.priority if timeline.order else "routine",
        )

    def _announced(self, args: GatherTimeline, known: set[str]) -> list[Resource]:
        """Observations that were announced on the bus and that the search did not find (yet)."""
        announced = {o.observation.split("/_history/")[0]: o for o in self._memory.observations(args.patient_key)}
        found = [self._fhir.read(reference) for reference in announced if reference not in known]
        for resource in found:
            check_subject(resource, args.event.patient)
        return found

    @activity.defn
    def take_inventory(self, args: TakeInventory) -> InventoryTaken:
        """What the study holds now, whose it is, and whether exactly that has been read already."""
        study = self._archive.find_study(args.event.study_instance_uid)
        check_patient(study, self._load(Timeline, args.timeline).patient)
        if len(study.sop_instance_uids) < args.event.instance_count:
            raise TransientFailure("study-incomplete", "the archive has fewer instances than the event announced")
        digest = instance_set_digest(study.sop_instance_uids)
        release = release_id(self._model.release())
        unchanged = self._runs.find_read(args.study_key, digest, release)
        self._runs.open_run(args.run_id, args.study_key, args.thread_id, digest, release)
        return InventoryTaken(inventory_digest=digest, unchanged_result_id=unchanged)

    @activity.defn
    def fetch_study(self, args: FetchStudy) -> StudyFetched:
        """The study's pixels over DICOMweb, as a volume on a checked grid."""
        study = self._archive.find_study(args.study_instance_uid)
        check_patient(study, self._load(Timeline, args.timeline).patient)
        return fetch_volume(self._archive, self._store, study, self._model.release().max_slices)

    @activity.defn
    def fetch_prior(self, args: FetchPrior) -> PriorFetched:
        """The newest prior of the same modality that can be read, or the reason why there is none."""
        timeline = self._load(Timeline, args.timeline)
        current = self._load(StoredVolume, args.current.volume).series
        candidates = [p for p in timeline.priors if not p.modalities or current.modality in p.modalities]
        reason = "no-prior"
        for prior in candidates[:MAX_PRIORS_TRIED]:
            try:
                study = self._archive.find_study(prior.study_instance_uid)
                check_patient(study, timeline.patient)
                if not any(series.modality == current.modality for series in study.series):
                    continue
                fetched = fetch_volume(self._archive, self._store, study, self._model.release().max_slices, current)
                return PriorFetched(fetched=fetched, study=prior, reason=None)
            except PermanentFailure as failure:
                reason = f"prior-{failure.code}"
        return PriorFetched(fetched=None, study=None, reason=reason)

    @activity.defn
    def ask_model(self, args: AskModel) -> ModelAnswered:
        """One question to the model about the current study, beside its prior where there is one."""
        started = now_rfc3339()
        current = self._load(StoredVolume, args.current.volume)
        volumes = [VolumeItem(digest=current.model_volume_digest, slices=len(current.model_slices), role="current")]
        if args.prior.fetched is not None:
            prior = self._load(StoredVolume, args.prior.fetched.volume)
            volumes.insert(0, VolumeItem(digest=prior.model_volume_digest, slices=len(prior.model_slices), role="prior"))
        labels = [(label.code, label.text) for label in self._labels(self._load(Timeline, args.timeline), current)]
        request = build_request(current.series.modality, labels, volumes, args.priority)
        answer = self._model.ask(request)
        return ModelAnswered(
            answer=self._keep(answer), request=self._keep(request), started=started, ended=now_rfc3339()
        )

    @activity.defn
    def check_answer(self, args: CheckAnswer) -> ReadingChecked:
        """What the checks leave of the answer, with the slices that show it."""
        answer = read_answer(self._load(ModelAnswer, args.answered.answer), self._load(ModelRequest, args.answered.request))
        current = self._load(StoredVolume, args.current.volume)
        prior = self._load(StoredVolume, args.prior.fetched.volume) if args.prior.fetched else None
        checked = check_findings(answer, current)
        reading = Reading(
            findings=checked.findings,
            dropped=checked.dropped,
            prior_study_instance_uid=prior.series.study_instance_uid if prior else None,
            not_compared_reason=args.prior.reason,
            evidence=render_evidence(self._store, checked.findings, current, prior),
        )
        return ReadingChecked(
            reading=self._keep(reading), finding_count=len(reading.findings), dropped_count=len(reading.dropped)
        )

    def _labels(self, timeline: Timeline, current: StoredVolume) -> list[FindingLabel]:
        codings = timeline.order.codings if timeline.order else []
        return labels_for(current.series.modality, current.series.body_part, current.series.description, codings)

    def _keep(self, record: Record) -> str:
        return self._store.put(canonical_json(record.model_dump(mode="json")))

    def _load(self, kind: type[AnyRecord], digest: str) -> AnyRecord:
        return kind.model_validate_json(self._store.get(digest))
