"""Tells a patient's entity that a study is complete, from an activity's thread: what the gateway does with an event of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import TransientFailure
from schemas.facts import PatientEvent, PatientInput, StudyAddress, StudyAvailable
from schemas.identifiers import Namespace, patient_workflow_id, study_workflow_id
from workflows.patient.workflow import PatientWorkflow

RPC_SECONDS = 20
LOOK_SECONDS = 600
PARALLEL = 16


class TemporalAnnouncer:
    """`loop` is the worker's event loop, on which the client lives."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop, namespace: Namespace, task_queue: str) -> None:
        self._client = client
        self._loop = loop
        self._namespace = namespace
        self._task_queue = task_queue

    def announce(self, event: StudyAvailable) -> None:
        """Returns when Temporal has taken the event; the same event id twice is one event. `TransientFailure` while it is away."""
        told = asyncio.run_coroutine_threadsafe(self._signal(event), self._loop)
        try:
            told.result(timeout=RPC_SECONDS + 5)
        except FutureTimeoutError as error:
            raise TransientFailure("temporal-unavailable", "Temporal did not accept the event") from error

    def unattended(self, study_keys: Sequence[str]) -> set[str]:
        """Those of the studies whose workflow is not open; `TransientFailure` while Temporal is away."""
        asked = asyncio.run_coroutine_threadsafe(self._look(study_keys), self._loop)
        try:
            return asked.result(timeout=LOOK_SECONDS)
        except FutureTimeoutError as error:
            raise TransientFailure("temporal-unavailable", "Temporal did not tell of the studies' workflows") from error

    async def _look(self, study_keys: Sequence[str]) -> set[str]:
        limit = asyncio.Semaphore(PARALLEL)

        async def is_open(key: str) -> bool:
            async with limit:
                try:
                    handle = self._client.get_workflow_handle(study_workflow_id(key))
                    return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
                except RPCError as error:
                    if error.status is RPCStatusCode.NOT_FOUND:
                        return False
                    raise TransientFailure("temporal-unavailable", "Temporal did not tell of a workflow") from error

        found = await asyncio.gather(*map(is_open, study_keys))
        return {key for key, is_there in zip(study_keys, found, strict=True) if not is_there}

    async def _signal(self, event: StudyAvailable) -> None:
        patient_key, uid = self._namespace.patient_key(event.patient), event.study_instance_uid
        address = StudyAddress(
            study_key=self._namespace.study_key(uid), thread_id=self._namespace.thread_id(uid), study_instance_uid=uid
        )
        try:
            await self._client.start_workflow(
                PatientWorkflow.run,
                PatientInput(patient_key=patient_key),
                id=patient_workflow_id(patient_key),
                task_queue=self._task_queue,
                start_signal="event_available",
                start_signal_args=[PatientEvent(event=event, address=address)],
                rpc_timeout=timedelta(seconds=RPC_SECONDS),
            )
        except RPCError as error:
            raise TransientFailure("temporal-unavailable", "Temporal did not accept the event") from error
