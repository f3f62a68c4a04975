"""Follows a run step by step, by asking its workflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from schemas.errors import PermanentFailure, TransientFailure
from schemas.runs import StepProgress, StudyProgress
from services.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client

QUERY_SECONDS = 10.0
POLL_SECONDS = 0.25
START_SECONDS = 90.0
"""How long a published event may take to become a workflow."""
SETTLE_SECONDS = 6.0
"""How long a workflow that has read this study before may take to begin again."""
LAST_STEP = "create_inbox_entry"


class ProgressSource(Protocol):
    """Where a run stands; None while there is no such workflow."""

    def progress(self) -> StudyProgress | None: ...


class RunFailed(PermanentFailure):
    """The run ended with a named failure; `stage` is the contract's, `account` the address of what became of each series, where that is known."""

    def __init__(self, code: str, hint: str = "", stage: str = "", account: str | None = None) -> None:
        super().__init__(code, hint)
        self.stage, self.account = stage, account

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint, self.stage, self.account)


class TemporalProgress:
    """Asks the query `progress` of one `ReportStudyWorkflow`."""

    def __init__(self, settings: Settings, workflow_id: str) -> None:
        self._settings = settings
        self._workflow_id = workflow_id
        self._runner = asyncio.Runner()
        self._client: Client | None = None

    def progress(self) -> StudyProgress | None:
        return self._runner.run(self._ask())

    def close(self) -> None:
        self._runner.close()

    async def _ask(self) -> StudyProgress | None:
        from temporalio.service import RPCError, RPCStatusCode

        try:
            return await asyncio.wait_for(self._query(), QUERY_SECONDS)
        except TimeoutError:
            return None
        except RPCError as error:
            if error.status in (
                RPCStatusCode.NOT_FOUND,
                RPCStatusCode.FAILED_PRECONDITION,
                RPCStatusCode.DEADLINE_EXCEEDED,
            ):
                return None
            raise TransientFailure(
                "temporal-unavailable", "Temporal does not answer: see 'longview status'."
            ) from error

    async def _query(self) -> StudyProgress:
        from services.adapters import temporal

        if self._client is None:
            self._client = await temporal(self._settings)
        handle = self._client.get_workflow_handle(self._workflow_id)
        answer: StudyProgress = await handle.query("progress", result_type=StudyProgress)
        return answer


def follow(
    source: ProgressSource, show: Callable[[StepProgress], None], seconds: float, before: StudyProgress | None = None
) -> StudyProgress:
    """Show every step once when it has ended, until the result stands in the inbox. `RunFailed` on a named failure or when time is up."""
    began = time.monotonic()
    shown = 0
    while True:
        now, elapsed = source.progress(), time.monotonic() - began
        if now is not None and (now != before or elapsed > SETTLE_SECONDS):
            shown = _show_ended(now, shown, show)
            if _is_over(now):
                return now
        if now is None and elapsed > START_SECONDS:
            raise RunFailed(
                "run-not-started",
                "no workflow has taken the study up: see 'longview dead-letters' and 'longview status'.",
                "ingest",
            )
        if elapsed > seconds:
            raise RunFailed(
                "run-too-slow",
                f"the run did not end within {seconds:.0f} s: see 'longview status'.",
                _running_step(now),
            )
        time.sleep(POLL_SECONDS)


def _show_ended(now: StudyProgress, shown: int, show: Callable[[StepProgress], None]) -> int:
    ended = [step for step in now.steps if step.ended is not None]
    for step in ended[shown:]:
        show(step)
    return len(ended)


def _is_over(now: StudyProgress) -> bool:
    """Whether nothing more will happen without a human; `RunFailed` if that is because of a failure."""
    if now.failure_code is not None:
        why = now.failure_hint or "see 'longview runs --failed'"
        raise RunFailed(now.failure_code, f"the run failed: {why}.", now.failure_stage or "", now.failure_account)
    if now.state in ("unchanged", "reviewed", "superseded"):
        return True
    return now.state == "awaiting-review" and all(step.ended is not None for step in now.steps)


def _running_step(now: StudyProgress | None) -> str:
    return next((step.step for step in reversed(now.steps) if step.ended is None), "") if now else ""


def step_seconds(step: StepProgress) -> float:
    """How long a step took; 0 while it runs."""
    if step.ended is None:
        return 0.0
    return round((datetime.fromisoformat(step.ended) - datetime.fromisoformat(step.started)).total_seconds(), 3)
