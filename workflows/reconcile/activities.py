"""The steps of a pass: look at archive, FHIR and our own tables, compare, and heal one thing at a time.

Every heal is keyed by what it mends, so a pass that is killed midway goes on, and a pass that finds the same again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from temporalio import activity

from schemas.codes import Canonical, Json
from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.facts import StudyAvailable
from schemas.identifiers import canonical_json, instance_set_digest, study_workflow_id
from schemas.imaging import StudyInventory
from schemas.inbox import ReviewRecorded
from schemas.oversight import (
    ClosePass,
    DriftWatched,
    EntryPlan,
    GapReason,
    HealResult,
    HealStudy,
    ItemState,
    KeptBuild,
    OpenPass,
    PassOutcome,
    ReconcileItem,
    ResultGap,
    ResultsSurveyed,
    RunSeen,
    StudiesSurveyed,
    StudyGap,
    WatchDrift,
)
from schemas.runs import CreateInboxEntry, ResultWritten
from schemas.telemetry.fields import fields
from workflows.ports import DriftRecords, FhirServer, ImageArchive, Model, ObjectStore, ReconcileRecords, StudyAnnouncer
from workflows.reading.release import release_id
from workflows.reconcile import policies
from workflows.reconcile.duplicates import answers_all, supersede_older
from workflows.reconcile.findings import DECIDED, MODALITIES, WITHDRAWN, compare_results, confirmed, suspicion
from workflows.reconcile.seen import decision_of, report_seen
from workflows.report import PostedResult
from workflows.report_study.assembly import Site
from workflows.report_study.fhir_results import find_result, one, read_posted
from workflows.shadow.drift import watch

_FLAGGED: ItemState = "flagged"


class ReconcileActivities:
    """Holds the ports; one method per step."""

    def __init__(
        self,
        site: Site,
        *,
        fhir: FhirServer,
        archive: ImageArchive,
        model: Model,
        store: ObjectStore,
        records: ReconcileRecords,
        drift: DriftRecords,
        announcer: StudyAnnouncer,
    ) -> None:
        self._site = site
        self._fhir = fhir
        self._archive = archive
        self._model = model
        self._store = store
        self._records = records
        self._drift = drift
        self._announcer = announcer

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [
            self.open_pass,
            self.survey_studies,
            self.heal_study,
            self.survey_results,
            self.plan_entry,
            self.heal_result,
            self.record_item,
            self.watch_drift,
            self.close_pass,
        ]

    @activity.defn
    def open_pass(self, args: OpenPass) -> None:
        self._records.open_pass(args)

    # -- studies -------------------------------------------------------------------------------------------------------

    @activity.defn
    def survey_studies(self, args: OpenPass) -> StudiesSurveyed:
        """Studies of the window that ought to have a result and have none; the archive is asked about the suspects alone."""
        now = datetime.fromisoformat(args.at)
        last = now.date() + timedelta(days=1)  # StudyDate is local time: the window is a day wider at either end
        listed = self._archive.list_studies(date.fromisoformat(args.since) - timedelta(days=1), last)
        readable = [study for study in listed if MODALITIES.intersection(study.modalities)]
        keys = {self._site.namespace.study_key(s.study_instance_uid): s.study_instance_uid for s in readable}
        runs = self._records.newest_runs(list(keys))
        lost = self._unattended(runs)
        suspected = {key: suspicion(runs.get(key), now, unattended=key in lost) for key in keys}
        suspects = [(reason, key, runs.get(key)) for key, reason in suspected.items() if reason is not None]
        looked_into = suspects[: policies.LOOKED_INTO]
        gaps = [gap for reason, key, run in looked_into if (gap := self._gap(reason, key, keys[key], run)) is not None]
        beyond = max(len(suspects) - policies.LOOKED_INTO, 0) + max(len(gaps) - args.cap, 0)
        return StudiesSurveyed(looked=len(readable), gaps=gaps[: args.cap], left=beyond)

    def _unattended(self, runs: Mapping[str, RunSeen]) -> set[str]:
        """Studies that are being read, or whose result waits for a human, without a workflow that would go on."""
        waiting = self._records.waiting_studies(list(runs))
        return self._announcer.unattended(
            [key for key, run in runs.items() if run.state == "running" or key in waiting]
        )

    def _gap(self, reason: GapReason, key: str, uid: str, run: RunSeen | None) -> StudyGap | None:
        """None where the suspicion falls, or while the archive cannot tell the study's instances: the next pass asks again."""
        try:
            digest = instance_set_digest(self._archive.find_study(uid).sop_instance_uids)
        except (PermanentFailure, TransientFailure) as failure:
            activity.logger.warning("study-not-looked-into", extra=fields(study_key=key, code=failure.code))
            return None
        if not confirmed(reason, run, digest):
            return None
        return StudyGap(
            study_key=key,
            study_instance_uid=uid,
            inventory_digest=digest,
            reason=reason,
            run_id=run.run_id if run else None,
        )

    @activity.defn
    def heal_study(self, args: HealStudy) -> None:
        """Announce the study as complete, if it has kept quiet for the grace period and one patient in FHIR is certain to be its own."""
        gap = args.gap
        state, code = self._announce(args)
        self._items(args.pass_id, "study-without-result", gap.study_key, gap.inventory_digest, state, code)

    def _announce(self, args: HealStudy) -> tuple[ItemState, str]:
        gap, run = args.gap, self._records.newest_runs([args.gap.study_key]).get(args.gap.study_key)
        if (run.run_id if run else None) != gap.run_id:
            return "healed", "read-meanwhile"
        if gap.reason == "workflow-lost" and not self._announcer.unattended([gap.study_key]):
            return "healed", "taken-up-meanwhile"
        study = self._archive.find_study(gap.study_instance_uid)
        if instance_set_digest(study.sop_instance_uids) != gap.inventory_digest:
            return "waiting", "still-arriving"
        patient = self._patient(study)
        if patient is None:
            return "flagged", "patient-unresolved"
        if not args.heal:
            return "flagged", gap.reason
        before = self._records.announced_before(gap.study_key, gap.inventory_digest, args.pass_id)
        if before >= policies.MOST_ANNOUNCEMENTS:
            return "flagged", "announced-in-vain"
        self._announcer.announce(self._event(gap, study, patient))
        return "healed", gap.reason

    def _patient(self, study: StudyInventory) -> str | None:
        """The one patient in use whose identifier is the study's PatientID; none or several is nobody."""
        found = self._fhir.find_by_value("Patient", study.patient_id)
        in_use = [p for p in found if p.get("active") is not False and not _replaced(p)]
        return f"Patient/{in_use[0]['id']}" if len(in_use) == 1 else None

    def _event(self, gap: StudyGap, study: StudyInventory, patient: str) -> StudyAvailable:
        """Its id comes from the study, its instances and the run that failed: announced twice in one state, it is taken once."""
        space = self._site.namespace
        fact = f"{gap.study_key}|{gap.inventory_digest}|{gap.run_id or 'no-run'}"
        return StudyAvailable(
            event_id=space.key("reconcile", space.tenant, fact),
            study_instance_uid=study.study_instance_uid,
            patient=patient,
            inventory_digest=gap.inventory_digest,
            completeness="quiescent",
            instance_count=len(set(study.sop_instance_uids)),
            accession=study.accession_number,
        )

    # -- results -------------------------------------------------------------------------------------------------------

    @activity.defn
    def survey_results(self, args: OpenPass) -> ResultsSurveyed:
        """Reports of ours in FHIR against the entries of the inbox, both of the window."""
        since, canonical = date.fromisoformat(args.since), self._canonical
        found = self._fhir.find_issued("DiagnosticReport", canonical.sid("ai-result"), since)
        reports = {seen.report: seen for r in found if (seen := report_seen(canonical, r)) is not None}
        began = datetime.combine(since, datetime.min.time(), UTC)
        entries = self._records.entries(began, [seen.result_id for seen in reports.values()])
        known = {seen.result_id for seen in reports.values()}
        for entry in entries:  # one whose report was issued before the window, or is gone
            if entry.result_id not in known:
                named = self._fhir.find("DiagnosticReport", canonical.sid("ai-result"), entry.result_id)
                reports |= {seen.report: seen for r in named if (seen := report_seen(canonical, r)) is not None}
        grace = timedelta(minutes=args.grace_minutes)
        gaps = compare_results(list(reports.values()), entries, datetime.fromisoformat(args.at), grace)
        looked = len({*known, *(entry.result_id for entry in entries)})
        return ResultsSurveyed(looked=looked, gaps=gaps[: args.cap], left=max(len(gaps) - args.cap, 0))

    @activity.defn
    def plan_entry(self, args: HealResult) -> EntryPlan:
        """What the inbox lacks for a result that stands in FHIR, from how it was built; or the reason why a person has to look."""
        gap = args.gap
        if gap.code != "entry-missing":
            return EntryPlan(entry=None, code=gap.code)
        address = self._records.build_of(gap.result_id)
        if address is None:
            return EntryPlan(entry=None, code="build-unknown")
        try:
            kept = KeptBuild.model_validate_json(self._store.get(address))
            for digest in (kept.build.timeline, kept.build.current.volume, kept.build.checked.reading):
                self._store.get(digest)
        except PermanentFailure as failure:
            return EntryPlan(entry=None, code=failure.code)
        except ValueError:
            return EntryPlan(entry=None, code="build-unreadable")
        if kept.release_id != release_id(self._model.release()):
            return EntryPlan(entry=None, code="release-changed")
        written = find_result(self._fhir, self._canonical, gap.thread_id, gap.result_id)
        if written is None:
            return EntryPlan(entry=None, code="report-gone")
        return EntryPlan(entry=self._entry(kept, written), code="entry-missing")

    def _entry(self, kept: KeptBuild, written: ResultWritten) -> CreateInboxEntry:
        build = kept.build
        run_id = self._records.run_of(
            self._site.namespace.key("reconcile-run", kept.built.result_id),
            kept.study_key,
            kept.built.thread_id,
            build.current.inventory_digest,
            kept.release_id,
        )
        return CreateInboxEntry(
            run_id=run_id,
            study_key=kept.study_key,
            workflow_id=study_workflow_id(kept.study_key),
            issued=build.issued,
            event=build.event,
            timeline=build.timeline,
            current=build.current,
            prior=build.prior,
            checked=build.checked,
            built=kept.built,
            written=written,
            priority=build.priority,
        )

    @activity.defn
    def heal_result(self, args: HealResult) -> None:
        """What can be mended by the contract's own means is; everything else is flagged for a person. Nothing is ever deleted."""
        gap, state, code = args.gap, _FLAGGED, args.gap.code
        if args.heal and gap.kind == "thread-doubled":
            state, code = self._supersede(gap, args.at)
        elif args.heal and gap.code in (WITHDRAWN, DECIDED) and (decided := self._decision(gap)) is not None:
            state, code = ("healed", code) if self._records.decide_entry(decided) else ("waiting", "decided-meanwhile")
        elif args.heal and gap.code == WITHDRAWN:
            done = self._records.supersede_entry(gap.result_id, gap.newer)
            state, code = ("healed", code) if done else ("waiting", "decided-meanwhile")
        self._items(args.pass_id, gap.kind, gap.result_id, gap.newer or "", state, code)

    def _supersede(self, gap: ResultGap, at: str) -> tuple[ItemState, str]:
        older, newer = self._posted(gap.result_id), self._posted(gap.newer or "")
        if older is None or newer is None or not newer.unread:
            return "waiting", "changed-meanwhile"
        if older.unread:
            if not answers_all(older, newer):
                return "flagged", "newer-answers-less"
            try:
                bundle = supersede_older(self._site.namespace, older, newer, at)
                self._fhir.transaction(canonical_json(bundle))
            except StaleWrite:
                return "waiting", "changed-meanwhile"
        elif older.report["status"] != "cancelled":
            return "waiting", "changed-meanwhile"
        self._records.supersede_entry(gap.result_id, gap.newer)
        return "healed", gap.code

    def _decision(self, gap: ResultGap) -> ReviewRecorded | None:
        """The decision as our inbox has written it into FHIR; None where another system has changed the report."""
        posted = self._posted(gap.result_id)
        return decision_of(self._canonical, posted, gap.result_id) if posted is not None else None

    def _posted(self, result_id: str) -> PostedResult | None:
        report = one(self._fhir.find("DiagnosticReport", self._canonical.sid("ai-result"), result_id), "result-doubled")
        return read_posted(self._fhir, self._canonical, report) if report is not None else None

    # -- the pass itself -----------------------------------------------------------------------------------------------

    @activity.defn
    def record_item(self, args: ReconcileItem) -> None:
        self._records.record_item(args)

    @activity.defn
    def watch_drift(self, args: WatchDrift) -> DriftWatched:
        """One look a day at the rates of each release; an alarm is a row, a line of the log, and the status of `longview report drift`."""
        day = date.fromisoformat(args.day)
        for release in self._drift.shown_releases(day):
            self._drift.keep_look(day, release, watch(*self._drift.rates(release, day)))
        alarms = self._drift.alarms(day)
        for alarm in alarms:
            activity.logger.warning("drift-alarm", extra=fields(release=alarm["release_id"], metric=alarm["metric"]))
        return DriftWatched(alarms=len(alarms))

    @activity.defn
    def close_pass(self, args: ClosePass) -> PassOutcome:
        states = self._records.close_pass(args)
        return PassOutcome(
            pass_id=args.pass_id,
            studies=args.studies,
            results=args.results,
            healed=states.get("healed", 0),
            waiting=states.get("waiting", 0),
            flagged=states.get("flagged", 0),
            left=args.left,
            drift_alarms=0,
        )

    @property
    def _canonical(self) -> Canonical:
        return Canonical(self._site.namespace.base)

    def _items(self, pass_id: str, kind: str, key: str, fact: str, state: ItemState, code: str) -> None:
        self._records.record_item(
            ReconcileItem.model_validate(
                {"pass_id": pass_id, "kind": kind, "key": key, "fact": fact, "state": state, "code": code}
            )
        )


def _replaced(patient: Json) -> bool:
    return any(link.get("type") == "replaced-by" for link in patient.get("link", []))
