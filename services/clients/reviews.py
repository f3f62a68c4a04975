"""A reviewer's decision to the study's workflow, as a Temporal Workflow Update whose id is the act's: sent twice, it is taken once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import LongviewError, PermanentFailure, StaleWrite, TransientFailure
from schemas.lifecycle import AcknowledgeAct
from schemas.report import ReviewAct, UndoReview
from schemas.runs import AttendStudy, ReviewWritten
from schemas.telemetry import traces
from workflows.report_study.unread import AttendStudyWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

UPDATE_TIMEOUT = timedelta(seconds=60)
STALE = ("review-stale", "already-reviewed", "acknowledgement-stale", "review-under-way")


class TemporalReviewer:
    """Waits until the workflow has written the decision into FHIR and recorded it."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def submit(self, workflow_id: str, act: ReviewAct) -> ReviewWritten:
        """`StaleWrite` if the result was decided or superseded meanwhile, `TransientFailure` while Temporal is away, `PermanentFailure` otherwise."""
        written: ReviewWritten = await self._update(workflow_id, ReportStudyWorkflow.review, act)
        return written

    async def undo(self, workflow_id: str, act_id: str) -> bool:
        """Whether the decision was still to be taken back; `TransientFailure` if nobody knows."""
        handle = self._client.get_workflow_handle_for(ReportStudyWorkflow.run, workflow_id)
        try:
            undo = UndoReview(act_id=act_id)
            return await handle.execute_update(ReportStudyWorkflow.undo_review, undo, rpc_timeout=UPDATE_TIMEOUT)
        except (WorkflowUpdateFailedError, RPCError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                return False  # the decision was the last thing that the study waited for
            raise TransientFailure("temporal-unavailable", "Temporal does not answer") from error

    async def acknowledge(self, workflow_id: str, act: AcknowledgeAct) -> None:
        """Somebody has taken notice of the result: the same errors as `submit`."""
        await self._update(workflow_id, ReportStudyWorkflow.acknowledge, act)

    async def attend(self, act: AttendStudy) -> None:
        """Somebody has looked at a study that could not be read. Once for each notice: who comes second adds nothing."""
        try:
            with traces.span("review", "client", result_id=act.result_id):
                handle = await self._client.start_workflow(
                    AttendStudyWorkflow.run,
                    act,
                    id=f"attend-{act.result_id}",
                    task_queue=self._task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    rpc_timeout=UPDATE_TIMEOUT,
                )
                await handle.result(rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowFailureError as failed:
            raise PermanentFailure("review-failed", "the answer was not written") from failed
        except RPCError as error:
            raise TransientFailure("temporal-unavailable", "Temporal does not answer") from error

    async def _update(self, workflow_id: str, update: Any, act: ReviewAct | AcknowledgeAct) -> Any:
        handle = self._client.get_workflow_handle_for(ReportStudyWorkflow.run, workflow_id)
        try:
            with traces.span("review", "client", workflow_id=workflow_id, result_id=act.result_id):
                return await handle.execute_update(update, act, id=act.act_id, rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowUpdateFailedError as failed:
            raise _refusal(failed.cause) from failed
        except WorkflowUpdateRPCTimeoutOrCancelledError as timeout:
            raise TransientFailure("review-pending", "the workflow has not answered yet") from timeout
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise PermanentFailure("review-closed", "the study's workflow takes no more decisions") from error
            raise TransientFailure("temporal-unavailable", "Temporal does not answer") from error


def _refusal(cause: BaseException | None) -> LongviewError:
    code = cause.type if isinstance(cause, ApplicationError) and cause.type else "review-failed"
    if code in STALE:
        return StaleWrite(code, "the result was decided or replaced since it was opened")
    return PermanentFailure(code, "the decision was not written")
