"""One pass of reconciliation, on a schedule or when an operator asks for it.

    open_pass -> survey_studies -> (grace) -> heal_study ...
              -> survey_results -> plan_entry -> create_inbox_entry, or heal_result ... -> watch_drift -> close_pass

The grace period is a durable timer: a study that nobody has announced is announced as quiescent only if its instances are the same at its end.
A killed worker goes on where it was. What one item cannot do now is left to the next pass.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from schemas.oversight import (
        ClosePass,
        HealResult,
        HealStudy,
        ItemKind,
        OpenPass,
        PassOutcome,
        ReconcileInput,
        ReconcileItem,
        ResultGap,
        ResultsSurveyed,
        StudiesSurveyed,
        WatchDrift,
    )
    from workflows.reconcile import policies
    from workflows.reconcile.activities import ReconcileActivities as Steps
    from workflows.report_study.activities import ReportStudyActivities

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@workflow.defn
class ReconcileWorkflow:
    """Finds what was lost between the parts, and heals what it may."""

    @workflow.run
    async def run(self, args: ReconcileInput) -> PassOutcome:
        now = workflow.now()
        opened = OpenPass(
            pass_id=str(workflow.uuid4()),
            trigger=args.trigger,
            since=(now - timedelta(days=args.window_days)).date().isoformat(),
            grace_minutes=args.grace_minutes,
            cap=args.cap,
            at=now.isoformat(timespec="milliseconds"),
        )
        await _step(Steps.open_pass, opened)
        studies = await self._reconcile_studies(args, opened)
        results = await self._reconcile_results(args, opened)
        drift = await _step(Steps.watch_drift, WatchDrift(day=workflow.now().date().isoformat()))
        closing = ClosePass(
            pass_id=opened.pass_id,
            at=workflow.now().isoformat(timespec="milliseconds"),
            studies=studies.looked,
            results=results.looked,
            left=studies.left + results.left,
        )
        outcome = await _step(Steps.close_pass, closing)
        return outcome.model_copy(update={"drift_alarms": drift.alarms})

    async def _reconcile_studies(self, args: ReconcileInput, opened: OpenPass) -> StudiesSurveyed:
        surveyed = await _step(Steps.survey_studies, opened)
        if surveyed.gaps:
            await workflow.sleep(timedelta(minutes=args.grace_minutes))
        for gap in surveyed.gaps:
            try:
                await _item(Steps.heal_study, HealStudy(pass_id=opened.pass_id, gap=gap, heal=args.heal))
            except ActivityError as error:
                await self._leave(opened, "study-without-result", gap.study_key, gap.inventory_digest, error)
        return surveyed

    async def _reconcile_results(self, args: ReconcileInput, opened: OpenPass) -> ResultsSurveyed:
        at = workflow.now().isoformat(timespec="milliseconds")
        surveyed = await _step(Steps.survey_results, opened.model_copy(update={"at": at}))
        for gap in surveyed.gaps:
            try:
                await self._heal_result(HealResult(pass_id=opened.pass_id, gap=gap, heal=args.heal, at=at))
            except ActivityError as error:
                await self._leave(opened, gap.kind, gap.result_id, gap.newer or "", error)
        return surveyed

    async def _heal_result(self, heal: HealResult) -> None:
        """An entry that is missing is made by the step that makes every entry; all else by steps of our own."""
        gap = heal.gap
        if gap.kind != "result-without-entry" or not heal.heal:
            await _item(Steps.heal_result, heal)
            return
        plan = await _item(Steps.plan_entry, heal)
        if plan.entry is not None:
            await _item(ReportStudyActivities.create_inbox_entry, plan.entry)
        await _item(Steps.record_item, _of(heal, gap, "healed" if plan.entry else "flagged", plan.code))

    async def _leave(self, opened: OpenPass, kind: ItemKind, key: str, fact: str, error: ActivityError) -> None:
        """What cannot be done now: `waiting` if it may heal by itself, `flagged` if not."""
        cause = error.cause
        code = cause.type if isinstance(cause, ApplicationError) and cause.type else "step-timed-out"
        final = isinstance(cause, ApplicationError) and cause.non_retryable
        item = ReconcileItem(
            pass_id=opened.pass_id, kind=kind, key=key, fact=fact, state="flagged" if final else "waiting", code=code
        )
        await _step(Steps.record_item, item)


def _of(heal: HealResult, gap: ResultGap, state: Any, code: str) -> ReconcileItem:
    return ReconcileItem(
        pass_id=heal.pass_id, kind=gap.kind, key=gap.result_id, fact=gap.newer or "", state=state, code=code
    )


async def _step(step: Callable[[Any, Argument], Result], argument: Argument) -> Result:
    """A step of the pass itself: without it the pass fails, and the next one begins anew."""
    return await workflow.execute_activity_method(
        step,
        argument,
        start_to_close_timeout=policies.STEP_TIME,
        schedule_to_close_timeout=policies.STEPS_TIME,
        heartbeat_timeout=policies.HEARTBEAT,
        retry_policy=policies.RETRY,
        priority=policies.PRIORITY,
    )


async def _item(step: Callable[[Any, Argument], Result], argument: Argument) -> Result:
    """A step about one item: after a few attempts it is the next pass's."""
    return await workflow.execute_activity_method(
        step,
        argument,
        start_to_close_timeout=policies.STEP_TIME,
        heartbeat_timeout=policies.HEARTBEAT,
        retry_policy=policies.ITEM_RETRY,
        priority=policies.PRIORITY,
    )
