"""What is written down about runs and decisions: FHIR first where a human has decided, then the tables and the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from schemas.codes import Canonical
from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.identifiers import canonical_json
from schemas.inbox import ReviewRecorded
from schemas.lifecycle import EscalationPolicy
from schemas.runs import (
    CloseRun,
    PolicyQuery,
    RecordReview,
    ReindexPatient,
    ReviewWritten,
    RunFailure,
    SkipRun,
    WriteReview,
)
from workflows.ports import BuildRecords, FhirServer, Inbox, RunRecords
from workflows.report import build_review
from workflows.report_study import events
from workflows.report_study.assembly import Site
from workflows.report_study.fhir_results import find_review, read_posted
from workflows.timeline import patient_banner
from workflows.timeline.fields import unversioned


class RecordActivities:
    """Holds the ports; one method per step."""

    def __init__(self, site: Site, *, fhir: FhirServer, runs: RunRecords, inbox: Inbox, builds: BuildRecords) -> None:
        self._site = site
        self._canonical = Canonical(site.namespace.base)
        self._fhir = fhir
        self._runs = runs
        self._inbox = inbox
        self._builds = builds

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [
            self.write_review,
            self.record_review,
            self.record_failure,
            self.close_run,
            self.skip_run,
            self.escalation_policy,
            self.reindex_patient,
        ]

    @activity.defn
    def write_review(self, args: WriteReview) -> ReviewWritten:
        """A human's decision to FHIR, conditional on what was on the screen; an act that stands there already is success."""
        canonical, act = self._canonical, args.act
        done = find_review(self._fhir, canonical, act.act_id, act.result_id, act.outcome)
        if done is None:
            report = self._fhir.read(unversioned(act.report_version))
            posted = read_posted(self._fhir, canonical, report)
            try:
                self._fhir.transaction(canonical_json(build_review(self._site.namespace, posted, act)))
            except StaleWrite as stale:
                raise PermanentFailure("review-stale", "the result has changed since it was opened") from stale
            done = find_review(self._fhir, canonical, act.act_id, act.result_id, act.outcome)
        if done is None:
            raise TransientFailure("fhir-unavailable", "the decision is not to be seen in FHIR yet")
        return done

    @activity.defn
    def record_review(self, args: RecordReview) -> None:
        """The inbox's row and the event `ai.result.reviewed`, after FHIR has accepted."""
        act = args.review.act
        recorded = ReviewRecorded(
            result_id=act.result_id,
            act_id=act.act_id,
            outcome=act.outcome,
            reviewer=act.reviewer,
            at=act.at,
            reason_code=act.reason_code,
            reason_text=act.reason_text,
            report=args.reviewed.report,
            taken_back=act.taken_back,
        )
        event = events.result_reviewed(
            self._site.namespace,
            self._site.event_source,
            args.review.study_key,
            args.review.thread_id,
            recorded,
            args.reviewed,
        )
        self._inbox.record_review(recorded, event)
        if act.amendments:
            self._builds.keep_amended(act.result_id, {amended.label: amended.presence for amended in act.amendments})

    @activity.defn
    def record_failure(self, args: RunFailure) -> None:
        """The table of runs and the event `ai.run.failed`."""
        self._runs.fail_run(args, events.run_failed(self._site.namespace, self._site.event_source, args))

    @activity.defn
    def close_run(self, args: CloseRun) -> None:
        self._runs.close_run(args.run_id, args.state, args.result_id)

    @activity.defn
    def skip_run(self, args: SkipRun) -> None:
        """A study that is not read leaves a run that says why."""
        self._runs.skip_run(args)

    @activity.defn
    def escalation_policy(self, args: PolicyQuery) -> EscalationPolicy:
        """Whom the site wants told of an unread result of this priority."""
        return self._site.policy(args.priority)

    @activity.defn
    def reindex_patient(self, args: ReindexPatient) -> None:
        """The inbox shows the study's entries under the patient that FHIR now names."""
        patient = unversioned(args.patient)
        self._inbox.reindex(args.thread_id, patient_banner(patient, [self._fhir.read(patient)]))
