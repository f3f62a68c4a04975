"""One study from its event to a reviewed result.

    study_available --> gather_timeline -> take_inventory -> fetch_study -> fetch_prior -> ask_model -> check_answer
                    --> integrate_history -> build_result -> write_result -> create_inbox_entry --> [review] -> write_review -> record_review

The workflow id is derived from the study, so there is one writer per study. Events of the same study arrive as signals and wait their turn;
a changed instance set is read anew and supersedes the unread result; an unchanged one is not read twice.
"""

from __future__ import annotations

import asyncio
from collections import deque

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from schemas.report import ReviewAct
    from schemas.runs import (
        AskModel,
        BuildResult,
        CheckAnswer,
        CloseRun,
        CreateInboxEntry,
        FetchPrior,
        FetchStudy,
        GatherTimeline,
        IntegrateHistory,
        RecordReview,
        ReportStudyInput,
        ResultBuilt,
        ResultWritten,
        ReviewWritten,
        RunFailure,
        RunState,
        StudyAvailable,
        StudyOutcome,
        StudyProgress,
        TakeInventory,
        WriteReview,
    )
    from workflows.report_study import policies
    from workflows.report_study.activities import ReportStudyActivities as Steps
    from workflows.report_study.steps import StepFailed, StepRunner


@workflow.defn
class ReportStudyWorkflow:
    """Reads a study, posts the result, waits for a human."""

    @workflow.init
    def __init__(self, args: ReportStudyInput) -> None:
        self._args = args
        self._pending = deque(args.pending)
        self._seen = dict.fromkeys(args.seen_event_ids)
        self._steps = StepRunner()
        self._writing = asyncio.Lock()
        self._state: RunState = "running"
        self._run_id = ""
        self._written: ResultWritten | None = None
        self._reviews: dict[str, ReviewWritten] = {}
        self._failure: StepFailed | None = None
        self._partial: StudyAvailable | None = None

    @workflow.run
    async def run(self, args: ReportStudyInput) -> StudyOutcome:
        while await self._next_event():
            await self._read_one(self._pending.popleft())
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._pending:
            workflow.continue_as_new(
                args.model_copy(update={"pending": list(self._pending), "seen_event_ids": list(self._seen)})
            )
        if self._failure is not None and self._written is None:
            raise ApplicationError(self._failure.code, type=self._failure.code, non_retryable=True)
        return StudyOutcome(state=self._state, result_id=self._written.result_id if self._written else None)

    @workflow.signal
    def study_available(self, event: StudyAvailable) -> None:
        """Takes an event once; a redelivered one is dropped by its id."""
        if event.event_id in self._seen:
            return
        self._seen[event.event_id] = None
        while len(self._seen) > policies.REMEMBERED_EVENTS:
            self._seen.pop(next(iter(self._seen)))
        self._pending.append(event)

    @workflow.query
    def progress(self) -> StudyProgress:
        """Where the newest run stands."""
        failure = self._failure
        return StudyProgress(
            state=self._state,
            steps=self._steps.progress,
            written=self._written,
            failure_code=failure.code if failure else None,
            failure_stage=failure.stage if failure else None,
            failure_hint=failure.hint if failure else None,
        )

    @workflow.update
    async def review(self, act: ReviewAct) -> ReviewWritten:
        """A human's decision about the result that is up for review: written to FHIR first, then to the inbox."""
        async with self._writing:
            if act.act_id in self._reviews:
                return self._reviews[act.act_id]
            self._refuse_stale(act)
            written = self._written
            assert written is not None
            argument = WriteReview(
                study_key=self._args.study_key, thread_id=self._args.thread_id, act=act, written=written
            )
            try:
                reviewed = await self._steps.run(Steps.write_review, argument)
                await self._steps.run(Steps.record_review, RecordReview(review=argument, reviewed=reviewed))
            except StepFailed as failed:
                raise ApplicationError(failed.code, type=failed.code, non_retryable=True) from None
            self._reviews[act.act_id] = reviewed
            self._state = "reviewed"
            return reviewed

    @review.validator
    def _validate_review(self, act: ReviewAct) -> None:
        if act.act_id not in self._reviews:
            self._refuse_stale(act)

    def _refuse_stale(self, act: ReviewAct) -> None:
        """The act is bound to what was on the screen."""
        if self._state == "reviewed":
            raise ApplicationError("already-reviewed", type="already-reviewed", non_retryable=True)
        shown = self._written
        if shown is None or (act.result_id, act.report_version) != (shown.result_id, shown.report):
            raise ApplicationError("review-stale", type="review-stale", non_retryable=True)

    async def _next_event(self) -> bool:
        """Wait for something to read; False when there is nothing left to wait for."""
        while True:
            self._drop_partial()
            if self._pending:
                return True
            if self._state in ("reviewed", "failed", "unchanged"):
                return False
            if self._state == "awaiting-review":
                await workflow.wait_condition(lambda: bool(self._pending) or self._state == "reviewed")
            elif not await self._wait_for_completeness():
                return False

    def _drop_partial(self) -> None:
        """`completeness=partial` never starts a read (contract 4, rule 7)."""
        for event in self._pending:
            if event.completeness == "partial":
                self._partial = event
        self._pending = deque(event for event in self._pending if event.completeness != "partial")

    async def _wait_for_completeness(self) -> bool:
        try:
            await workflow.wait_condition(lambda: bool(self._pending), timeout=policies.COMPLETENESS_PATIENCE)
        except TimeoutError:
            hint = "the study was never announced as complete"
            self._failure = StepFailed("study-never-complete", "ingest", hint, False, 1)
            self._state = "failed"
            if self._partial is not None:
                self._run_id = str(workflow.uuid4())
                await self._record_failure(self._partial, self._failure)
            return False
        return True

    async def _read_one(self, event: StudyAvailable) -> None:
        """A result that stands can still be reviewed, whatever becomes of this attempt."""
        self._run_id, self._failure = str(workflow.uuid4()), None
        self._steps.restart()
        if self._written is None:
            self._state = "running"
        try:
            await self._read(event)
        except StepFailed as failed:
            self._failure = failed
            await self._record_failure(event, failed)
            if self._state == "running":
                self._state = "failed" if self._written is None else "awaiting-review"

    async def _read(self, event: StudyAvailable) -> None:
        """The main path."""
        args, step = self._args, self._steps.run
        gathered = await step(Steps.gather_timeline, GatherTimeline(patient_key=args.patient_key, event=event))
        self._steps.priority = gathered.priority
        inventory = await step(
            Steps.take_inventory,
            TakeInventory(
                run_id=self._run_id,
                study_key=args.study_key,
                thread_id=args.thread_id,
                event=event,
                timeline=gathered.timeline,
            ),
        )
        if inventory.unchanged_result_id is not None:
            await self._close(inventory.unchanged_result_id)
            return
        current = await step(
            Steps.fetch_study, FetchStudy(study_instance_uid=event.study_instance_uid, timeline=gathered.timeline)
        )
        prior = await step(Steps.fetch_prior, FetchPrior(timeline=gathered.timeline, current=current))
        answered = await step(
            Steps.ask_model,
            AskModel(timeline=gathered.timeline, current=current, prior=prior, priority=gathered.priority),
        )
        checked = await step(
            Steps.check_answer,
            CheckAnswer(timeline=gathered.timeline, current=current, prior=prior, answered=answered),
        )
        if workflow.patched("history-pass"):
            checked = await step(
                Steps.integrate_history,
                IntegrateHistory(timeline=gathered.timeline, checked=checked, priority=gathered.priority),
            )
        result = BuildResult(
            thread_id=args.thread_id,
            issued=workflow.now().isoformat(timespec="milliseconds"),
            event=event,
            timeline=gathered.timeline,
            current=current,
            prior=prior,
            answered=answered,
            checked=checked,
            priority=gathered.priority,
        )
        async with self._writing:
            built, self._written = await self._write(result)
            self._state = "awaiting-review"
            await self._create_inbox_entry(result, built, self._written)

    async def _write(self, result: BuildResult) -> tuple[ResultBuilt, ResultWritten]:
        """Build once and post as often as it takes; build anew only if the old result changed underneath."""
        for attempt in range(policies.REPLANS):
            built = await self._steps.run(Steps.build_result, result)
            try:
                return built, await self._steps.run(Steps.write_result, built)
            except StepFailed as failed:
                if failed.code != "result-stale" or attempt + 1 == policies.REPLANS:
                    raise
        raise AssertionError("unreachable")

    async def _create_inbox_entry(self, result: BuildResult, built: ResultBuilt, written: ResultWritten) -> None:
        entry = CreateInboxEntry(
            run_id=self._run_id,
            study_key=self._args.study_key,
            workflow_id=workflow.info().workflow_id,
            event=result.event,
            issued=result.issued,
            timeline=result.timeline,
            current=result.current,
            prior=result.prior,
            checked=result.checked,
            built=built,
            written=written,
            priority=result.priority,
        )
        await self._steps.run(Steps.create_inbox_entry, entry)

    async def _close(self, unchanged_result_id: str) -> None:
        await self._steps.run(
            Steps.close_run, CloseRun(run_id=self._run_id, state="unchanged", result_id=unchanged_result_id)
        )
        if self._written is None:
            self._state = "unchanged"

    async def _record_failure(self, event: StudyAvailable, failed: StepFailed) -> None:
        failure = RunFailure(
            run_id=self._run_id,
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            event=event,
            stage=failed.stage,
            code=failed.code,
            hint=failed.hint,
            retryable=failed.retryable,
            attempts=failed.attempts,
        )
        await self._steps.run(Steps.record_failure, failure)
