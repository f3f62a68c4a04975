"""The steps of a run, from the chart to the inbox.

Each takes one record and gives one record of references; pixels, charts and Bundles stay in the object store.

Every activity may run more than once: what it writes is keyed by content (store), by result id (FHIR, inbox) or by event id (outbox).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from temporalio import activity

from schemas.codes import Canonical
from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.events import now_rfc3339
from schemas.families import family_of
from schemas.identifiers import canonical_json, instance_set_digest, ni_from_hex
from schemas.imaging import StoredStack
from schemas.inference import ModelAnswer, ModelRequest
from schemas.model import Record
from schemas.oversight import KeptBuild, ShownReading
from schemas.report import InputManifest, Reading
from schemas.runs import (
    AskModel,
    BuildResult,
    CheckAnswer,
    CreateInboxEntry,
    EarlierPrior,
    FetchPrior,
    FetchStudy,
    GatherTimeline,
    IntegrateHistory,
    InventoryTaken,
    ModelAnswered,
    PriorFetched,
    ReadingChecked,
    ResultBuilt,
    ResultWritten,
    StudyFetched,
    TakeInventory,
    TimelineGathered,
)
from schemas.telemetry.fields import fields
from schemas.timeline import Timeline
from workflows.documents.pdf import decode_pdf
from workflows.ports import (
    BuildRecords,
    FhirServer,
    ImageArchive,
    Inbox,
    Model,
    ObjectStore,
    PatientMemory,
    PdfDecoder,
    Resource,
    RunRecords,
    TextInPixels,
)
from workflows.reading.caution import without_instructions
from workflows.reading.release import release_id
from workflows.report import ResultContext, build_result, supersede
from workflows.report_study import events, policies
from workflows.report_study.assembly import Site, inbox_result, reading_checked, result_context
from workflows.report_study.fhir_results import (
    addenda_to,
    decided_result,
    find_result,
    free_revision,
    standing_result,
    written_result,
)
from workflows.report_study.history import integrate
from workflows.report_study.imaging import check_patient, fetch_stacks, is_earlier, load_account
from workflows.report_study.priors import chosen, oldest_first, shows_region, subject_of_series
from workflows.report_study.unread import close_notices
from workflows.series.table import DEFAULT_TABLE, SeriesTable
from workflows.stacks import kind_named
from workflows.stacks.kind import Shown, Sources
from workflows.timeline import PriorPolicy, build_timeline, check_subject, choose_priors
from workflows.timeline.fields import unversioned

SPARE_PRIORS = 2
"""Tried beyond those that are shown: an archive may have lost some."""
AnyRecord = TypeVar("AnyRecord", bound=Record)


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
        builds: BuildRecords,
        text_in_pixels: TextInPixels,
        history_model: Model | None = None,
        decode_pdf: PdfDecoder = decode_pdf,
        series_table: SeriesTable = DEFAULT_TABLE,
    ) -> None:
        self._site = site
        self._fhir = fhir
        self._archive = archive
        self._model = model
        self._history_model = history_model or model
        self._store = store
        self._memory = memory
        self._runs = runs
        self._inbox = inbox
        self._builds = builds
        self._sources = Sources(archive, store, text_in_pixels, decode_pdf, series_table)

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [
            self.gather_timeline,
            self.take_inventory,
            self.fetch_study,
            self.fetch_prior,
            self.ask_model,
            self.check_answer,
            self.integrate_history,
            self.build_result,
            self.write_result,
            self.create_inbox_entry,
        ]

    @activity.defn
    def gather_timeline(self, args: GatherTimeline) -> TimelineGathered:
        """The patient's history from FHIR, with the observations that the patient's entity knows of."""
        event = args.event
        resources = self._fhir.patient_record(event.patient)
        resources += self._announced(args, {f"{r['resourceType']}/{r.get('id')}" for r in resources})
        timeline = build_timeline(
            event.patient,
            resources,
            study_instance_uid=event.study_instance_uid,
            imaging_study=event.imaging_study,
            service_request=event.service_request,
            accession=event.accession,
            as_of=args.as_of,
            site_zone=self._site.time_zone,
        )
        return TimelineGathered(
            timeline=self._keep(timeline),
            entry_count=len(timeline.entries),
            priority=timeline.order.priority if timeline.order else "routine",
        )

    def _announced(self, args: GatherTimeline, known: set[str]) -> list[Resource]:
        """Observations that were announced on the bus and that the search did not find (yet).

        One that is gone, or that turns out to be another patient's, is left out: an event is a hint, and cannot stop a study.
        """
        announced = dict.fromkeys(unversioned(o.observation) for o in self._memory.observations(args.patient_key))
        found = []
        for reference in announced:
            if reference in known:
                continue
            try:
                resource = self._fhir.read_exact(reference)
                check_subject(resource, args.event.patient)
            except PermanentFailure as failure:
                activity.logger.warning("observation-left-out", extra=fields(code=failure.code))
                continue
            found.append(resource)
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
        unchanged = None if args.reread else self._runs.find_read(args.study_key, digest, release)
        if not args.reread and unchanged is None and not self._runs.has_posted(args.study_key):
            unchanged = decided_result(self._fhir, self._canonical, args.thread_id)
        self._runs.open_run(args.run_id, args.study_key, args.thread_id, digest, release)
        return InventoryTaken(inventory_digest=digest, unchanged_result_id=unchanged)

    @activity.defn
    def fetch_study(self, args: FetchStudy) -> StudyFetched:
        """The study's pixels over DICOMweb, as stacks of its kind."""
        study = self._archive.find_study(args.study_instance_uid)
        timeline = self._load(Timeline, args.timeline)
        check_patient(study, timeline.patient)
        order = without_instructions(timeline).order
        return fetch_stacks(self._sources, study, self._model.release(), order=order.codings if order else [])

    @activity.defn
    def fetch_prior(self, args: FetchPrior) -> PriorFetched:
        """The newest priors of the same kind and region that can be read, or the reason why there is none."""
        timeline = self._load(Timeline, args.timeline)
        current = self._load(StoredStack, args.current.volume)
        kind = kind_named(current.kind)
        most = min(kind.most_priors, family_of(self._model.release().family).most_stacks - 1)
        if not timeline.priors or most < 1:
            reason = "model-one-study" if timeline.priors and kind.most_priors else "no-prior"
            return PriorFetched(fetched=None, study=None, reason=reason)
        began = self._archive.find_study(current.series.study_instance_uid)
        modalities = kind.alike(current.series.modality)
        subject = subject_of_series(timeline, current.series, modalities, began, self._site.time_zone)
        choices = choose_priors(timeline.priors, subject, PriorPolicy(limit=most + SPARE_PRIORS))
        kept = self._store.put(canonical_json([choice.model_dump(mode="json") for choice in choices]))
        reason = "no-prior"
        found: list[EarlierPrior] = []
        for choice, prior in chosen(choices, timeline.priors):
            if len(found) == most:
                break
            try:
                study = self._archive.find_study(prior.study_instance_uid)
                check_patient(study, timeline.patient)
                if not is_earlier(study, began, known_to_fhir=timeline.study is not None):
                    continue
                if not any(series.modality in modalities for series in study.series):
                    continue
                if not shows_region(choice, study, subject):
                    reason = "prior-region-unknown"
                    continue
                fetched = fetch_stacks(self._sources, study, self._model.release(), current)
                found.append(EarlierPrior(fetched=fetched, study=prior))
            except PermanentFailure as failure:
                reason = f"prior-{failure.code}"
        if not found:
            return PriorFetched(fetched=None, study=None, reason=reason, choices=kept)
        *earlier, named = oldest_first(found)
        return PriorFetched(fetched=named.fetched, study=named.study, reason=None, choices=kept, earlier=earlier)

    @activity.defn
    def ask_model(self, args: AskModel) -> ModelAnswered:
        """One question to the model about the current study, beside its priors where there are any."""
        started = now_rfc3339()
        shown = self._shown(args.current, args.prior)
        timeline = self._load(Timeline, args.timeline)
        request = kind_named(shown.current[0].kind).ask(timeline, shown, args.priority)
        answer = self._model.ask(request)
        kept = self._store.put(request.as_asked())
        return ModelAnswered(answer=self._keep(answer), request=kept, started=started, ended=now_rfc3339())

    @activity.defn
    def check_answer(self, args: CheckAnswer) -> ReadingChecked:
        """What the checks leave of the answer, with the pictures that show it and what text around the study tries to instruct."""
        shown = self._shown(args.current, args.prior)
        reading = kind_named(shown.current[0].kind).read(
            self._sources,
            self._load(Timeline, args.timeline),
            shown,
            self._load(ModelRequest, args.answered.request),
            self._load(ModelAnswer, args.answered.answer),
        )
        account = load_account(self._store, args.current.account)
        return self._checked(reading.model_copy(update={"series": account}))

    def _shown(self, current: StudyFetched, prior: PriorFetched) -> Shown:
        return Shown(
            current=[self._load(StoredStack, digest) for digest in current.stacks],
            priors=[[self._load(StoredStack, digest) for digest in fetched.stacks] for fetched in prior.shown],
            not_compared_reason=prior.reason,
        )

    @activity.defn
    def integrate_history(self, args: IntegrateHistory) -> ReadingChecked:
        """The second pass: what the history says about the findings, by text alone. It cannot lose or change what the images said."""
        waited = datetime.now(UTC) - activity.info().scheduled_time
        return self._checked(
            integrate(
                self._history_model,
                self._keep,
                self._store.put,
                self._load(Timeline, args.timeline),
                self._load(Reading, args.checked.reading),
                args.priority,
                late=waited > policies.HISTORY_PATIENCE,
            )
        )

    @activity.defn
    def build_result(self, args: BuildResult) -> ResultBuilt:
        """The transaction Bundle, built once and kept; posting it again is posting the same bytes."""
        context = self._context(args)
        canonical = context.canonical
        bundle = build_result(context)
        old = standing_result(self._fhir, canonical, args.thread_id, context.result_id)
        if old is not None:
            addenda = addenda_to(self._fhir, canonical, args.thread_id, old.report) if old.unread else []
            bundle = supersede(canonical, bundle, old, args.issued, [a for a in addenda if a.unread])
        built = ResultBuilt(
            result_id=context.result_id,
            thread_id=args.thread_id,
            bundle=self._store.put(canonical_json(bundle)),
            supersedes=old.result_id(canonical) if old is not None and old.unread else None,
        )
        self._keep_build(context, args, built)
        return built

    def _keep_build(self, context: ResultContext, args: BuildResult, built: ResultBuilt) -> None:
        """How the result was built, before it is posted: what stands in FHIR can always be shown again."""
        study_key = self._site.namespace.study_key(args.event.study_instance_uid)
        kept = KeptBuild(study_key=study_key, release_id=context.release, build=args, built=built)
        self._builds.keep_build(
            ShownReading(
                result_id=built.result_id,
                study_key=study_key,
                thread_id=built.thread_id,
                release_id=context.release,
                build=self._keep(kept),
                reading=context.reading,
            )
        )

    def _context(self, args: BuildResult) -> ResultContext:
        timeline, model = self._load(Timeline, args.timeline), self._model.release()
        manifest = self._manifest(args, timeline)
        return result_context(
            self._site,
            model,
            timeline,
            self._load(StoredStack, args.current.volume).series,
            self._load(Reading, args.checked.reading),
            manifest,
            free_revision(self._fhir, self._site.namespace, args.thread_id, manifest, release_id(model)),
            args,
        )

    def _manifest(self, args: BuildResult, timeline: Timeline) -> str:
        """The digest of every input; the manifest itself stays in the store."""
        prior = [uid for fetched in args.prior.shown for uid in self._uids(fetched.sop_instance_uids)]
        manifest = InputManifest(
            sop_instance_uids=self._uids(args.current.sop_instance_uids),
            prior_sop_instance_uids=prior,
            fhir=timeline.sources(),
        )
        return ni_from_hex(self._keep(manifest))

    def _uids(self, digest: str) -> list[str]:
        uids: list[str] = orjson.loads(self._store.get(digest))
        return uids

    @activity.defn
    def write_result(self, args: ResultBuilt) -> ResultWritten:
        """Post the Bundle. A result that stands already is success; a lost race heals by the same bytes; a stale update must be built anew."""
        canonical = self._canonical
        standing = find_result(self._fhir, canonical, args.thread_id, args.result_id)
        if standing is not None:
            return standing
        bundle = self._store.get(args.bundle)
        try:
            references = self._fhir.transaction(bundle)
        except StaleWrite as stale:
            return self._after_stale(args, bundle, stale)
        return written_result(args, bundle, references)

    def _after_stale(self, args: ResultBuilt, bundle: bytes, stale: StaleWrite) -> ResultWritten:
        standing = find_result(self._fhir, self._canonical, args.thread_id, args.result_id)
        if standing is not None:
            return standing
        if b'"ifMatch"' in bundle:
            raise PermanentFailure("result-stale", "the result to be replaced has changed: build anew") from stale
        raise TransientFailure("fhir-race", "another write came first; the same bytes are posted again") from stale

    @activity.defn
    def create_inbox_entry(self, args: CreateInboxEntry) -> None:
        """The row that the inbox shows and the event `ai.result.available`, in one database transaction."""
        result = inbox_result(
            self._site,
            self._model.release(),
            self._load(Timeline, args.timeline),
            self._load(StoredStack, args.current.volume).series,
            self._load(Reading, args.checked.reading),
            self._fhir.read(unversioned(args.written.report)).get("conclusion", ""),
            args,
        )
        event = events.result_available(self._site.namespace, self._site.event_source, args.event.event_id, result)
        self._inbox.add(args.run_id, result, event)
        close_notices(self._fhir, self._inbox, self._canonical, args.written.thread_id, result.result_id, args.issued)

    @property
    def _canonical(self) -> Canonical:
        return Canonical(self._site.namespace.base)

    def _checked(self, reading: Reading) -> ReadingChecked:
        return reading_checked(self._site, self._model.release(), reading, self._keep(reading))

    def _keep(self, record: Record) -> str:
        return self._store.put(canonical_json(record.model_dump(mode="json")))

    def _load(self, kind: type[AnyRecord], digest: str) -> AnyRecord:
        return kind.model_validate_json(self._store.get(digest))
