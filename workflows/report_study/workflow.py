"""One study from its event to a reviewed result, and what happens to the result after.

    study_available --> gather_timeline -> take_inventory -> fetch_study -> fetch_prior -> ask_model -> check_answer
                    --> integrate_history -> build_result -> write_result -> create_inbox_entry --> [review] -> write_review
                    -> record_review
    after it        --> escalation until somebody acknowledges; observations -> addendum; order cancelled or radiologist's
                        report final -> closed; order corrected or patient merged -> read anew if nobody has decided

The workflow id is derived from the study, so there is one writer per study. Events of the same study arrive as signals and wait their turn;
a changed instance set is read anew and supersedes the unread result; an unchanged one is not read twice.
"""

from __future__ import annotations

from collections import deque

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from schemas.facts import (
        HistoryChanged,
        OrderChanged,
        PatientChanged,
        ReportFinalised,
        ReportStudyInput,
        StudyAvailable,
        StudyEvent,
    )
    from schemas.lifecycle import AcknowledgeAct, StepNotified
    from schemas.report import Priority, ReviewAct, UndoReview, more_urgent
    from schemas.runs import (
        AskModel,
        BuildResult,
        CheckAnswer,
        CloseRun,
        FetchPrior,
        FetchStudy,
        GatherTimeline,
        IntegrateHistory,
        ReviewWritten,
        RunFailure,
        RunState,
        SkipRun,
        StudyOutcome,
        StudyProgress,
        TakeInventory,
        TellUnread,
    )
    from workflows.report_study import policies
    from workflows.report_study.activities import ReportStudyActivities as Steps
    from workflows.report_study.policies import FINAL_FIRST, ORDER_CANCELLED, SkipReason
    from workflows.report_study.records import RecordActivities as Records
    from workflows.report_study.standing import Standing
    from workflows.report_study.steps import StepFailed, StepRunner, workflow_time
    from workflows.report_study.unread import UnreadActivities as Unread
    from workflows.shadow.workflow import start_shadow
    from workflows.tracing import following

NOT_OURS = "no-readable-series"
CLOSED: tuple[RunState, ...] = ("reviewed", "superseded", "withdrawn", "held", "failed", "unchanged")
"""States in which a run waits for nothing more, unless an addendum is up."""


@workflow.defn(failure_exception_types=[StepFailed])
class ReportStudyWorkflow:
    """Reads a study, posts the result, waits for a human, answers what comes after."""

    @workflow.init
    def __init__(self, args: ReportStudyInput) -> None:
        self._args = args
        self._patient_key = args.patient_key
        self._pending: deque[StudyEvent] = deque(args.pending)
        self._seen = dict.fromkeys(args.seen_event_ids)
        self._steps = StepRunner()
        self._standing = Standing(args, self._steps)
        self._state: RunState = "running"
        self._run_id = ""
        self._failure: StepFailed | None = None
        self._partial: StudyAvailable | None = None
        self._announced: StudyAvailable | None = None
        self._order_priority: Priority = "routine"
        self._unwanted: SkipReason | None = None
        self._known_timeline: str | None = None
        """Of the run, once the study is known to be the patient's."""

    @workflow.run
    async def run(self, args: ReportStudyInput) -> StudyOutcome:
        while True:
            while await self._next_event():
                event = self._pending.popleft()
                with following(event.event_id, "study-event"):
                    await self._take(event)
            await self._standing.settle()
            await workflow.wait_condition(workflow.all_handlers_finished)
            if not self._pending:
                break
            if not workflow.patched("stay-open"):  # what is known of the study would not be carried over
                workflow.continue_as_new(
                    args.model_copy(update={"pending": list(self._pending), "seen_event_ids": list(self._seen)})
                )
        written = self._standing.reading
        if self._failure is not None and written is None and self._state == "failed":
            raise ApplicationError(self._failure.code, type=self._failure.code, non_retryable=True)
        return StudyOutcome(state=self._state, result_id=written.result_id if written else None)

    # -- messages --------------------------------------------------------------------------------------------------------

    @workflow.signal
    def study_event(self, event: StudyEvent) -> None:
        """Takes an event once; a redelivered one is dropped by its id."""
        if event.event_id in self._seen:
            return
        self._seen[event.event_id] = None
        while len(self._seen) > policies.REMEMBERED_EVENTS:
            self._seen.pop(next(iter(self._seen)))
        self._pending.append(event)
        if isinstance(event, OrderChanged):  # a study that is being read moves up at once
            self._steps.priority = more_urgent(event.priority, self._steps.priority)

    @workflow.signal
    def study_available(self, event: StudyAvailable) -> None:
        """As gateways before the patient's entity tell it."""
        self.study_event(event)

    @workflow.query
    def progress(self) -> StudyProgress:
        """Where the newest run stands."""
        failure = self._failure
        return StudyProgress(
            state=self._state,
            steps=self._steps.progress,
            written=self._standing.reading,
            failure_code=failure.code if failure else None,
            failure_stage=failure.stage if failure else None,
            failure_hint=failure.hint if failure else None,
            failure_account=failure.account if failure else None,
        )

    @workflow.update
    async def review(self, act: ReviewAct) -> ReviewWritten:
        """A human's decision about a result that is up for review."""
        reviewed = await self._standing.decide(act)
        reading = self._standing.reading
        if reading is not None and act.result_id == reading.result_id:
            self._state = "reviewed"
        return reviewed

    @review.validator
    def _validate_review(self, act: ReviewAct) -> None:
        self._standing.refuse_stale(act)

    @workflow.update
    async def undo_review(self, undo: UndoReview) -> bool:
        """Whether the decision was still to be taken back."""
        return self._standing.take_back(undo.act_id)

    @workflow.update
    async def acknowledge(self, act: AcknowledgeAct) -> StepNotified:
        """A human has taken notice; the decision may come later."""
        return await self._standing.acknowledge(act)

    # -- what to do next -------------------------------------------------------------------------------------------------

    async def _next_event(self) -> bool:
        """Wait for something to do; False when there is nothing left to wait for."""
        while True:
            self._drop_partial()
            if self._pending:
                return True
            if self._waits_for_review():
                await workflow.wait_condition(lambda: bool(self._pending) or not self._waits_for_review())
            elif self._state in CLOSED or not await self._wait_for_completeness():
                return False

    def _waits_for_review(self) -> bool:
        return self._standing.anything_up or self._state == "awaiting-review"

    def _drop_partial(self) -> None:
        """`completeness=partial` never starts a read (contract 4, rule 7)."""
        whole: deque[StudyEvent] = deque()
        for event in self._pending:
            if isinstance(event, StudyAvailable) and event.completeness == "partial":
                self._partial = event
            else:
                whole.append(event)
        self._pending = whole

    async def _wait_for_completeness(self) -> bool:
        """One timer from the first partial announcement on, however many follow (see `PatientWorkflow._window`)."""
        awaited = self._more_than_partial if workflow.patched("one-wait") else lambda: bool(self._pending)
        try:
            await workflow.wait_condition(awaited, timeout=policies.COMPLETENESS_PATIENCE)
        except TimeoutError:
            self._drop_partial()
            hint = "the study was never announced as complete"
            self._failure = StepFailed("study-never-complete", "ingest", hint, False, 1)
            self._state = "failed"
            if self._partial is not None:
                self._run_id = str(workflow.uuid4())
                await self._record_failure(self._partial, self._failure)
            return False
        return True

    def _more_than_partial(self) -> bool:
        return any(getattr(event, "completeness", "") != "partial" for event in self._pending)

    async def _take(self, event: StudyEvent) -> None:
        """A failure is recorded, and the next event is taken: one that cannot be answered does not stop those behind it."""
        if isinstance(event, StudyAvailable):
            await self._study_available(event)
            return
        try:
            if self._standing.reading is None:
                self._state = await self._standing.load() or self._state
            if isinstance(event, ReportFinalised):
                await self._report_finalised(event)
            elif isinstance(event, OrderChanged):
                await self._order_changed(event)
            elif isinstance(event, HistoryChanged):
                await self._history_changed(event)
            else:
                await self._patient_changed(event)
        except StepFailed as failed:
            self._run_id = str(workflow.uuid4())
            await self._record_failure(event, failed)
        if self._state == "running" and self._announced is None and self._partial is None:
            self._state = "unchanged"

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def _study_available(self, event: StudyAvailable) -> None:
        self._run_id, self._failure = str(workflow.uuid4()), None
        if self._unwanted is not None:
            await self._skip(event, self._unwanted)
            return
        self._announced = event
        await self._read_one(event)

    async def _read_one(self, event: StudyAvailable, *, reread: bool = False) -> None:
        """A result that stands can still be reviewed, whatever becomes of this attempt."""
        self._steps.restart()
        if self._standing.reading is None:
            self._state = "running"
        try:
            await self._read(event, reread=reread)
        except StepFailed as failed:
            self._failure = failed
            await self._record_failure(event, failed)
            await self._tell_unread(event, failed)
            if self._state == "running":
                self._state = "failed" if self._standing.reading is None else "awaiting-review"

    async def _read(self, event: StudyAvailable, *, reread: bool) -> None:
        """The main path."""
        args, step = self._args, self._steps.run
        self._known_timeline = None
        gathered = await step(Steps.gather_timeline, GatherTimeline(patient_key=self._patient_key, event=event))
        priority = self._steps.priority = more_urgent(gathered.priority, self._order_priority)
        inventory = await step(
            Steps.take_inventory,
            TakeInventory(
                run_id=self._run_id,
                study_key=args.study_key,
                thread_id=args.thread_id,
                event=event,
                timeline=gathered.timeline,
                reread=reread,
            ),
        )
        self._known_timeline = gathered.timeline
        if inventory.unchanged_result_id is not None:
            await self._close(inventory.unchanged_result_id)
            return
        current = await step(
            Steps.fetch_study, FetchStudy(study_instance_uid=event.study_instance_uid, timeline=gathered.timeline)
        )
        prior = await step(Steps.fetch_prior, FetchPrior(timeline=gathered.timeline, current=current))
        answered = await step(
            Steps.ask_model,
            AskModel(timeline=gathered.timeline, current=current, prior=prior, priority=priority),
        )
        checked = await step(
            Steps.check_answer,
            CheckAnswer(timeline=gathered.timeline, current=current, prior=prior, answered=answered),
        )
        if workflow.patched("history-pass"):
            checked = await step(
                Steps.integrate_history,
                IntegrateHistory(timeline=gathered.timeline, checked=checked, priority=priority),
            )
        self._steps.raised = checked.critical.priority if checked.critical else None
        result = BuildResult(
            thread_id=args.thread_id,
            issued=workflow_time(),
            event=event,
            timeline=gathered.timeline,
            current=current,
            prior=prior,
            answered=answered,
            checked=checked,
            priority=priority,
        )
        if (overtaken := self._overtaken()) is not None:
            await self._skip(event, overtaken)
            return
        written = await self._standing.post(result, self._run_id, self._posted)
        await self._standing.escalate(written, priority)
        await start_shadow(args.study_key, written.result_id, result)

    async def _tell_unread(self, event: StudyAvailable, failed: StepFailed) -> None:
        """People look at a study of theirs that could not be read, where no reading of it stands. One of a kind that is not read is not theirs."""
        if self._known_timeline is None or self._standing.reading is not None or failed.code == NOT_OURS:
            return
        if not workflow.patched("unread-notice"):
            return
        notice = TellUnread(
            run_id=self._run_id,
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            issued=workflow_time(),
            event=event,
            timeline=self._known_timeline,
            account=failed.account,
            code=failed.code,
            hint=failed.hint,
            priority=self._steps.priority,
        )
        try:
            await self._steps.run(Unread.tell_unread, notice, shown=False)
        except StepFailed as untold:
            await self._record_failure(event, untold)

    def _posted(self) -> None:
        self._state = "awaiting-review"

    async def _close(self, unchanged_result_id: str) -> None:
        await self._steps.run(
            Records.close_run, CloseRun(run_id=self._run_id, state="unchanged", result_id=unchanged_result_id)
        )
        if self._standing.reading is None:
            again = await self._standing.load() if workflow.patched("reload") else None
            self._state = "awaiting-review" if again == "awaiting-review" else "unchanged"
            if again == "awaiting-review" and workflow.patched("resume-escalation"):
                await self._standing.resume(self._steps.priority)

    async def _skip(self, event: StudyAvailable, reason: SkipReason) -> None:
        """Nothing is posted, and the table of runs says why."""
        skipped = SkipRun(
            run_id=self._run_id,
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            inventory_digest=event.inventory_digest,
            state=reason.state,
            code=reason.code,
        )
        await self._steps.run(Records.skip_run, skipped)
        if self._standing.reading is None:
            self._state = reason.state

    def _overtaken(self) -> SkipReason | None:
        """What came in while the study was read and makes its result unwanted (contract 4, rule 5)."""
        for event in self._pending:
            if isinstance(event, ReportFinalised):
                return FINAL_FIRST
            if isinstance(event, OrderChanged) and event.change in policies.STOPS_READING:
                return ORDER_CANCELLED
        return None

    # -- after the result ------------------------------------------------------------------------------------------------

    async def _report_finalised(self, event: ReportFinalised) -> None:
        """The radiologist's report is the legal one: ours is closed, or never posted."""
        self._unwanted = FINAL_FIRST
        closed = await self._standing.close("superseded-by-final-report", event.diagnostic_report)
        if closed is None or closed.changed:
            self._state = "superseded"

    async def _order_changed(self, event: OrderChanged) -> None:
        if event.change in policies.STOPS_READING:
            self._unwanted = ORDER_CANCELLED
            closed = await self._standing.close("order-cancelled")
            if closed is None or closed.changed:
                self._state = "withdrawn"
            return
        if self._unwanted is ORDER_CANCELLED:
            self._unwanted = None
        self._order_priority = event.priority
        await self._standing.raise_priority(event.priority)
        if event.change == "placed" and self._standing.unread and self._announced is not None:
            corrected = self._announced.model_copy(update={"service_request": event.service_request})
            await self._read_again(corrected)

    async def _history_changed(self, event: HistoryChanged) -> None:
        """A relevant observation after the result: an addendum beside it, never a silent change."""
        if self._state in ("awaiting-review", "reviewed"):
            await self._standing.follow(event, self._steps.priority)

    async def _patient_changed(self, event: PatientChanged) -> None:
        """Merged: an unread result is read anew, a reviewed one re-indexed. Un-merged: nothing more until a person announces the study again."""
        self._patient_key = event.patient_key
        if event.change == "unmerged":
            closed = await self._standing.close("patient-unmerged")
            if closed is None or closed.changed:
                self._state = "held"
            return
        if self._announced is not None:
            self._announced = self._announced.model_copy(update={"patient": event.patient})
        announced = self._announced or event.announced
        if announced is not None and (self._standing.unread or self._never_read()):
            await self._read_again(announced)
        else:
            await self._standing.reindex(event.patient)

    def _never_read(self) -> bool:
        """FHIR knows of a merge before the bus tells it: a reading in between fails as `patient-replaced`, and nothing stands."""
        nothing = self._standing.reading is None and self._unwanted is None
        return nothing and workflow.patched("read-under-survivor")

    async def _read_again(self, event: StudyAvailable) -> None:
        """The images are the same, what belongs to them is not."""
        self._run_id, self._failure, self._announced = str(workflow.uuid4()), None, event
        await self._read_one(event, reread=True)

    async def _record_failure(self, event: StudyEvent, failed: StepFailed) -> None:
        announced = event if isinstance(event, StudyAvailable) else self._announced
        failure = RunFailure(
            run_id=self._run_id,
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            study_instance_uid=announced.study_instance_uid if announced else self._args.study_instance_uid,
            event_id=event.event_id,
            inventory_digest=announced.inventory_digest if announced else "",
            stage=failed.stage,
            code=failed.code,
            hint=failed.hint,
            retryable=failed.retryable,
            attempts=failed.attempts,
            account=failed.account,
        )
        await self._steps.run(Records.record_failure, failure)
