"""Asks a patient's entity workflow what it has recorded, from an activity's thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import TransientFailure
from schemas.facts import ObservationAvailable
from schemas.identifiers import patient_workflow_id
from workflows.patient.workflow import PatientWorkflow

QUERY_SECONDS = 30


class TemporalPatientMemory:
    """`loop` is the worker's event loop, on which the client lives."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def observations(self, patient_key: str) -> list[ObservationAvailable]:
        """Announced observations, oldest first; none if the patient has no entity yet."""
        asked = asyncio.run_coroutine_threadsafe(self._ask(patient_key), self._loop)
        try:
            return asked.result(timeout=QUERY_SECONDS + 5)
        except FutureTimeoutError as error:
            raise TransientFailure("patient-memory-unavailable", "the patient's workflow does not answer") from error

    async def _ask(self, patient_key: str) -> list[ObservationAvailable]:
        handle = self._client.get_workflow_handle_for(PatientWorkflow.run, patient_workflow_id(patient_key))
        try:
            return await handle.query(PatientWorkflow.observations, rpc_timeout=timedelta(seconds=QUERY_SECONDS))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []
            raise TransientFailure("patient-memory-unavailable", "the patient's workflow does not answer") from error
