"""A second release reads the study that was shown, without being shown itself: `ask_shadow -> keep_shadow`.

`start_shadow` is what the study's workflow calls once its result is in the inbox. It never raises: a shadow reading cannot touch a result.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from schemas.identifiers import background_queue
    from schemas.oversight import CheckShadow, PlanShadow, ShadowFailed, ShadowOutcome, ShadowRead
    from schemas.runs import BuildResult
    from schemas.telemetry.fields import fields
    from workflows.shadow import policies
    from workflows.shadow.activities import ShadowActivities as Steps

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@workflow.defn
class ShadowReadWorkflow:
    """One study, one shadow release."""

    @workflow.run
    async def run(self, args: ShadowRead) -> ShadowOutcome:
        try:
            answered = await _step(Steps.ask_shadow, args, policies.ASK_ATTEMPT, policies.ASK_TOTAL)
            check = CheckShadow(read=args, answered=answered)
            await _step(Steps.keep_shadow, check, policies.KEEP_ATTEMPT, policies.KEEP_TOTAL)
        except ActivityError as error:
            failed = ShadowFailed(read=args, code=_code(error))
            await _step(Steps.fail_shadow, failed, policies.KEEP_ATTEMPT, policies.KEEP_TOTAL)
            return ShadowOutcome(state="failed", code=failed.code)
        return ShadowOutcome(state="read", code=None)


def shadow_workflow_id(study_key: str, release_id: str) -> str:
    return f"shadow-{study_key}-{release_id}"


async def start_shadow(study_key: str, result_id: str, result: BuildResult) -> None:
    """Start the shadow reading of a result that was posted, as a child that outlives the study's workflow; a moment at most, and no error."""
    if not workflow.patched("shadow-read"):
        return
    try:
        plan = await workflow.execute_activity_method(
            Steps.plan_shadow,
            PlanShadow(result_id=result_id),
            start_to_close_timeout=policies.PLAN_TOTAL,
            schedule_to_close_timeout=policies.PLAN_TOTAL,
            retry_policy=policies.PLAN_RETRY,
        )
        if plan.release_id is None:
            return
        child = await workflow.start_child_workflow(
            ShadowReadWorkflow.run,
            ShadowRead(
                study_key=study_key,
                result_id=result_id,
                release_id=plan.release_id,
                request=result.answered.request,
                volume=result.current.volume,
                more=result.current.more,
                shown=result.checked.reading,
            ),
            id=shadow_workflow_id(study_key, plan.release_id),
            task_queue=background_queue(workflow.info().task_queue),
            parent_close_policy=ParentClosePolicy.ABANDON,
            priority=policies.PRIORITY,
        )
        child.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    except (ActivityError, WorkflowAlreadyStartedError):
        workflow.logger.warning("shadow-not-started", extra=fields(study_key=study_key))


async def _step(
    step: Callable[[Any, Argument], Result], argument: Argument, attempt: timedelta, total: timedelta
) -> Result:
    return await workflow.execute_activity_method(
        step,
        argument,
        start_to_close_timeout=attempt,
        schedule_to_close_timeout=total,
        heartbeat_timeout=policies.HEARTBEAT,
        retry_policy=policies.RETRY,
        priority=policies.PRIORITY,
    )


def _code(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type:
        return cause.type
    return "shadow-timed-out"
