"""Runs the activities of a study under their policies and keeps the progress that people see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

with workflow.unsafe.imports_passed_through():
    from schemas.errors import Stage
    from schemas.report import Priority, more_urgent
    from schemas.runs import StepProgress
    from workflows.report_study import policies

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class StepFailed(Exception):
    """An activity failed for good: what `ai.run.failed` says of it."""

    def __init__(
        self, code: str, stage: Stage, hint: str, retryable: bool, attempts: int, account: str | None = None
    ) -> None:
        super().__init__(code)
        self.account = account
        self.code, self.stage, self.hint = code, stage, hint
        self.retryable, self.attempts = retryable, attempts


class StepRunner:
    """One activity after the other; `progress` lists those of the newest run."""

    def __init__(self) -> None:
        self.progress: list[StepProgress] = []
        self.priority: Priority = "routine"
        """The order's."""
        self.raised: Priority | None = None
        """What a critical finding asks for: what is left of the run goes first too."""

    def restart(self) -> None:
        self.progress = []
        self.priority = "routine"
        self.raised = None

    async def run(self, step: Callable[[Any, Argument], Result], argument: Argument, *, shown: bool = True) -> Result:
        """The activity's result; `StepFailed` when it cannot heal or its time is over. `shown`: it is part of a run's progress."""
        name = step.__name__
        policy = policies.STEPS[name]
        position = len(self.progress)
        if shown:
            self.progress.append(StepProgress(step=name, started=workflow_time(), ended=None, state="running"))
        try:
            result = await workflow.execute_activity_method(
                step,
                argument,
                start_to_close_timeout=policy.attempt,
                schedule_to_close_timeout=policy.total,
                heartbeat_timeout=policies.HEARTBEAT,
                retry_policy=policies.RETRY,
                priority=policies.temporal_priority(more_urgent(self.priority, self.raised or self.priority)),
            )
        except ActivityError as error:
            self._end(shown, position, "failed")
            raise _failure(name, policy, error) from None
        self._end(shown, position, "done")
        return result

    def _end(self, shown: bool, position: int, state: Any) -> None:
        if shown and position < len(self.progress):
            self.progress[position] = self.progress[position].model_copy(
                update={"ended": workflow_time(), "state": state}
            )


def _failure(name: str, policy: policies.StepPolicy, error: ActivityError) -> StepFailed:
    cause = error.cause
    if isinstance(cause, TimeoutError) and isinstance(cause.cause, ApplicationError):
        cause = cause.cause
    if isinstance(cause, ApplicationError) and cause.type:
        hint, attempts, account = [*cause.details, *("", 1, None)[len(cause.details) :]][:3]
        return StepFailed(cause.type, policy.stage, str(hint), not cause.non_retryable, int(attempts), account)
    return StepFailed(f"{name.replace('_', '-')}-timed-out", policy.stage, "the step did not end in its time", True, 1)


def workflow_time() -> str:
    """RFC 3339, by the workflow's own clock."""
    return workflow.now().isoformat(timespec="milliseconds")
