"""Tells one recipient after the other of an unread result, until somebody acknowledges or decides.

The timers are Temporal's: they outlive every process of ours.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from schemas.lifecycle import (
        AcknowledgeAct,
        EscalationExhausted,
        EscalationPolicy,
        NotifyStep,
        RecordAcknowledgement,
        StepNotified,
    )
    from schemas.report import Priority
    from schemas.runs import ResultWritten
    from schemas.telemetry.fields import fields
    from workflows.report_study.lifecycle import LifecycleActivities as Lifecycle
    from workflows.report_study.steps import StepFailed, StepRunner, workflow_time


class Escalation:
    """The escalation of one result under the site's policy; an empty policy tells nobody."""

    def __init__(
        self,
        steps: StepRunner,
        writing: asyncio.Lock,
        study_key: str,
        written: ResultWritten,
        policy: EscalationPolicy,
        priority: Priority,
    ) -> None:
        self._steps = steps
        self._writing = writing
        self._study_key = study_key
        self._written = written
        self._policy = policy
        self._priority = priority
        self._available_at = workflow_time()
        self._due_at = self._available_at
        self._step = 0
        self._over = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._policy.steps:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Nobody needs to be told any more; a notice that is being written is written first."""
        self._over = True
        if self._task is not None:
            await self._task

    @property
    def begun(self) -> bool:
        """Whether anybody was told yet."""
        return self._step > 0

    async def acknowledge(self, act: AcknowledgeAct) -> StepNotified:
        """A human has it: no further step. `StepFailed` if that cannot be written; then the clock goes on."""
        argument = RecordAcknowledgement(
            study_key=self._study_key,
            thread_id=self._written.thread_id,
            act=act,
            step=self._step,
            available_at=self._available_at,
            deadline=self._due_at,
            policy=self._policy.name,
        )
        async with self._writing:
            done = await self._steps.run(Lifecycle.record_acknowledgement, argument, shown=False)
        self._over = True
        return done

    async def _run(self) -> None:
        for step in self._policy.steps:
            wait = timedelta(minutes=step.wait_minutes)
            due_at = (workflow.now() + wait).isoformat(timespec="milliseconds")
            notice = NotifyStep(
                study_key=self._study_key,
                thread_id=self._written.thread_id,
                result_id=self._written.result_id,
                policy=self._policy.name,
                step=step,
                priority=self._priority,
                due_at=due_at,
                at=workflow_time(),
            )
            if not await self._write(Lifecycle.notify_step, notice):
                return
            self._step, self._due_at = step.number, due_at
            try:
                await workflow.wait_condition(lambda: self._over, timeout=wait)
                return
            except TimeoutError:
                continue
        exhausted = EscalationExhausted(
            study_key=self._study_key,
            thread_id=self._written.thread_id,
            result_id=self._written.result_id,
            policy=self._policy.name,
            step=self._step,
            due_at=self._due_at,
            at=workflow_time(),
        )
        await self._write(Lifecycle.exhaust_escalation, exhausted)

    async def _write(self, step: object, argument: object) -> bool:
        """False once the escalation is over. A notice that FHIR refuses does not stop the next one: somebody must be told."""
        async with self._writing:
            if self._over:
                return False
            try:
                await self._steps.run(step, argument, shown=False)  # type: ignore[arg-type]
            except StepFailed as failed:
                workflow.logger.warning("notice-not-written", extra=fields(code=failed.code))
        return not self._over
