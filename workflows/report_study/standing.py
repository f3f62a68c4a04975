"""The results of one study that people can see: its newest reading, and the addenda to it. What is up for review, escalated, decided, closed.

One lock orders everything that is written about them, so that a decision, a superseding reading and a notice never cross.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from schemas.facts import HistoryChanged, ReportStudyInput
    from schemas.identifiers import act_id
    from schemas.lifecycle import (
        AcknowledgeAct,
        AssessHistory,
        CloseReason,
        CloseResult,
        Reprioritise,
        ResultClosed,
        StandingQuery,
        StepNotified,
        WriteAddendum,
    )
    from schemas.report import URGENCY, Priority, RaisedPriority, ReviewAct, resulting_priority
    from schemas.runs import (
        BuildResult,
        CreateInboxEntry,
        PolicyQuery,
        RecordReview,
        ReindexPatient,
        ResultBuilt,
        ResultWritten,
        ReviewWritten,
        RunState,
        WriteReview,
    )
    from workflows.report_study import policies
    from workflows.report_study.activities import ReportStudyActivities as Steps
    from workflows.report_study.escalation import Escalation
    from workflows.report_study.lifecycle import LifecycleActivities as Lifecycle
    from workflows.report_study.records import RecordActivities as Records
    from workflows.report_study.steps import StepFailed, StepRunner, workflow_time


class Standing:
    """Holds no content: references to what stands in FHIR."""

    def __init__(self, args: ReportStudyInput, steps: StepRunner) -> None:
        self._args = args
        self._steps = steps
        self.writing = asyncio.Lock()
        self.reading: ResultWritten | None = None
        self._up: dict[str, ResultWritten] = {}
        self._decided: set[str] = set()
        self._acts: dict[str, ReviewWritten] = {}
        self._deciding: dict[str, str] = {}
        """Result -> act, while the decision may be taken back."""
        self._escalations: dict[str, Escalation] = {}
        self._priority: Priority = "routine"
        self._critical: RaisedPriority | None = None
        """Of the newest reading while it is up: it is not told as less urgent than this."""

    @property
    def unread(self) -> bool:
        """Whether the newest reading waits for a human."""
        return self.reading is not None and self.reading.result_id in self._up

    @property
    def anything_up(self) -> bool:
        return bool(self._up)

    async def load(self) -> RunState | None:
        """Find the newest reading again, for a run that began after it; its state, or None if there is none."""
        query = StandingQuery(thread_id=self._args.thread_id)
        found = await self._steps.run(Lifecycle.standing_result, query, shown=False)
        self.reading, self._critical = found.written, found.raised
        if found.written is None:
            return None
        if found.state == "awaiting-review":
            self._up[found.written.result_id] = found.written
        elif found.state == "reviewed":
            self._decided.add(found.written.result_id)
        return found.state

    # -- posting ---------------------------------------------------------------------------------------------------------

    async def post(self, result: BuildResult, run_id: str, posted: Callable[[], None]) -> ResultWritten:
        """Post a reading in the place of the unread one before it, and enter it into the inbox; `posted` is called in between."""
        async with self.writing:
            built, written = await self._write(result)
            if self.reading is not None:
                self._up.pop(self.reading.result_id, None)
            self.reading = self._up[written.result_id] = written
            self._critical = result.checked.critical
            posted()
            await self._create_inbox_entry(result, run_id, built, written)
        return written

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

    async def _create_inbox_entry(
        self, result: BuildResult, run_id: str, built: ResultBuilt, written: ResultWritten
    ) -> None:
        entry = CreateInboxEntry(
            run_id=run_id,
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

    # -- escalation ------------------------------------------------------------------------------------------------------

    async def escalate(self, written: ResultWritten, priority: Priority) -> None:
        """Begin to tell people of a result, as soon as its order or its critical finding asks; of the reading before it nobody is told any more."""
        if not workflow.patched("escalation"):
            return
        self._priority = resulting_priority(priority, self._critical)
        if self.reading is not None and written.result_id == self.reading.result_id:
            priority = self._priority
        for result_id in [known for known in self._escalations if known not in self._up or known == written.result_id]:
            await self._escalations.pop(result_id).stop()
        policy = await self._steps.run(Records.escalation_policy, PolicyQuery(priority=priority), shown=False)
        if written.result_id in self._up:
            escalation = Escalation(self._steps, self.writing, self._args.study_key, written, policy, priority)
            self._escalations[written.result_id] = escalation
            escalation.start()

    async def resume(self, priority: Priority) -> None:
        """Go on telling people of an unread reading that an earlier run has posted; what was told or acknowledged already is not told again."""
        if self.reading is not None and self.unread:
            await self.escalate(self.reading, priority)

    async def acknowledge(self, act: AcknowledgeAct) -> StepNotified:
        escalation = self._escalations.get(act.result_id)
        if escalation is None or not escalation.begun or act.result_id not in self._up:
            raise _refused("acknowledgement-stale")
        try:
            return await escalation.acknowledge(act)
        except StepFailed as failed:
            raise _refused(failed.code) from None

    async def settle(self) -> None:
        """No escalation outlives the run."""
        for escalation in self._escalations.values():
            await escalation.stop()
        self._escalations.clear()

    async def raise_priority(self, priority: Priority) -> None:
        """The order became more urgent: Task, inbox and escalation of the unread reading follow; never downwards, nor below a critical finding."""
        higher = URGENCY[priority] < URGENCY[self._priority]
        # below what a finding has raised, only what is said of the order changes
        beneath = self._critical is not None
        if not (self.unread and (higher or beneath)) or self.reading is None:
            return
        argument = Reprioritise(
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            result_id=self.reading.result_id,
            priority=priority,
            at=workflow_time(),
        )
        async with self.writing:
            await self._steps.run(Lifecycle.reprioritise, argument, shown=False)
        if higher:
            await self.escalate(self.reading, priority)

    # -- a human's decision ----------------------------------------------------------------------------------------------

    def refuse_stale(self, act: ReviewAct) -> None:
        """The act is bound to what was on the screen; while one decision may still be taken back there is no other."""
        if act.act_id in self._acts:
            return
        if self._deciding.get(act.result_id, act.act_id) != act.act_id:
            raise _refused("review-under-way")
        if act.result_id in self._decided:
            raise _refused("already-reviewed")
        shown = self._up.get(act.result_id)
        if shown is None or act.report_version != shown.report:
            raise _refused("review-stale")

    async def decide(self, act: ReviewAct) -> ReviewWritten:
        """Written to FHIR first, then to the inbox; the same act again gives the same answer."""
        if act.undo_seconds and act.act_id not in self._acts:
            await self._let_it_be_taken_back(act)
        async with self.writing:
            if act.act_id in self._acts:
                return self._acts[act.act_id]
            self.refuse_stale(act)
            argument = WriteReview(
                study_key=self._args.study_key,
                thread_id=self._args.thread_id,
                act=act,
                written=self._up[act.result_id],
            )
            try:
                reviewed = await self._steps.run(Records.write_review, argument)
                await self._steps.run(Records.record_review, RecordReview(review=argument, reviewed=reviewed))
            except StepFailed as failed:
                raise _refused(failed.code) from None
            self._acts[act.act_id] = reviewed
            self._decided.add(act.result_id)
            self._up.pop(act.result_id, None)
        if act.result_id in self._escalations:
            await self._escalations.pop(act.result_id).stop()
        return reviewed

    async def _let_it_be_taken_back(self, act: ReviewAct) -> None:
        """A timer of Temporal's: whoever closes the page has decided all the same."""
        self._deciding[act.result_id] = act.act_id
        with suppress(TimeoutError):
            patience = timedelta(seconds=act.undo_seconds)
            await workflow.wait_condition(lambda: not self._is_deciding(act), timeout=patience)
        if not self._is_deciding(act):
            raise _refused("review-undone")
        del self._deciding[act.result_id]

    def _is_deciding(self, act: ReviewAct) -> bool:
        return self._deciding.get(act.result_id) == act.act_id

    def take_back(self, act_id: str) -> bool:
        """False once the decision is being written, or where there is none of this id."""
        kept = {result_id: act for result_id, act in self._deciding.items() if act != act_id}
        found, self._deciding = len(kept) < len(self._deciding), kept
        return found

    # -- what comes after ---------------------------------------------------------------------------------------------------------

    async def close(self, reason: CloseReason, final_report: str | None = None) -> ResultClosed | None:
        """Close the newest reading: an unread one is withdrawn from the inbox, a reviewed one keeps its content."""
        if self.reading is None:
            return None
        result_id = self.reading.result_id
        async with self.writing:
            closed = await self._steps.run(
                Lifecycle.close_result,
                CloseResult(
                    act_id=act_id(result_id, reason, final_report or ""),
                    study_key=self._args.study_key,
                    thread_id=self._args.thread_id,
                    result_id=result_id,
                    reason=reason,
                    final_report=final_report,
                    at=workflow_time(),
                ),
                shown=False,
            )
            self._up.clear()  # an unread addendum is closed with what it adds to
        await self.settle()
        return closed

    async def follow(self, event: HistoryChanged, priority: Priority) -> None:
        """An addendum to the newest reading, where a rule says that one of these observations concerns it."""
        if self.reading is None:
            return
        question = AssessHistory(
            thread_id=self._args.thread_id,
            result_id=self.reading.result_id,
            patient=event.patient,
            observations=event.observations,
        )
        assessed = await self._steps.run(Lifecycle.assess_history, question, shown=False)
        if not assessed.relevant:
            return
        argument = WriteAddendum(
            study_key=self._args.study_key,
            thread_id=self._args.thread_id,
            result_id=self.reading.result_id,
            workflow_id=workflow.info().workflow_id,
            event_id=event.event_id,
            patient=event.patient,
            assessed=assessed,
            priority=priority,
            issued=workflow_time(),
        )
        async with self.writing:
            addendum = await self._steps.run(Lifecycle.write_addendum, argument, shown=False)
            names = {"result_id": addendum.addendum_id, "report": addendum.report, "task": addendum.task}
            written = self.reading.model_copy(update=names)
            if written.result_id not in self._decided:
                self._up[written.result_id] = written
        await self.escalate(written, priority)

    async def reindex(self, patient: str) -> None:
        """A reviewed result stays as it is; the inbox shows it under the patient who survived a merge."""
        if self.reading is not None:
            argument = ReindexPatient(thread_id=self._args.thread_id, patient=patient)
            await self._steps.run(Records.reindex_patient, argument, shown=False)


def _refused(code: str) -> ApplicationError:
    return ApplicationError(code, type=code, non_retryable=True)
