"""From a bus record to Temporal: validate, signal-with-start, dead-letter what can never be handled.

The order of effects is what keeps every event: first Temporal accepts (or the dead letter is stored and published), then the offset is
committed. A crash in between makes the record come again, and the workflow drops it by its event id.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import InvalidEvent, LongviewError, PermanentFailure, TransientFailure, code_of
from schemas.events import DEAD_LETTER, CloudEvent, dataschema, now_rfc3339, parse_event
from schemas.facts import PatientEvent, PatientInput
from schemas.identifiers import Namespace, patient_workflow_id
from schemas.telemetry import traces
from schemas.telemetry.fields import Fields, fields
from services.clients.kafka import Record
from services.gateway.blocking import BlockingCalls
from services.gateway.cap import DeadLetterCap, Limits
from services.gateway.routing import patient_of, routed
from services.operations.meter import count, timed
from workflows.patient.workflow import PatientWorkflow

log = logging.getLogger(__name__)
RPC_TIMEOUT = timedelta(seconds=20)
KEEPING = 4
"""Dead letters that are kept at a time."""


@contextmanager
def _traced(event: CloudEvent, record: Record) -> Iterator[None]:
    """The event's own trace goes on here, or a new one begins."""
    told = Fields(event_type=event.type, event_id=event.id)
    told |= {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    with traces.within(traces.parse(event.traceparent)), traces.span("take-event", "consumer", **told):
        yield


class DeadLetters(Protocol):
    """Keeps a dead record so that it can be replayed, and tells the bus; safe to repeat."""

    def keep(self, record: Record, invalid: InvalidEvent, event: CloudEvent) -> None: ...


class Intake:
    """Handles one record; when `handle` returns, the record may be committed."""

    def __init__(
        self,
        client: Client,
        namespace: Namespace,
        task_queue: str,
        source: str,
        dead_letters: DeadLetters,
        cap: DeadLetterCap | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._task_queue = task_queue
        self._source = source
        self._dead_letters = dead_letters
        self._keeping = BlockingCalls(KEEPING)
        self._cap = cap or DeadLetterCap(Limits())

    def paused_topics(self) -> frozenset[str]:
        """Of which nothing is to be polled, since too much of it is dead."""
        return self._cap.paused()

    async def handle(self, record: Record) -> None:
        """`TransientFailure` if Temporal or the dead-letter topic is away, or there are too many dead letters: do not commit, try again."""
        with timed("longview_gateway_record_seconds"):
            outcome = await self._handle(record)
        self._cap.add(record.topic, (record.partition, record.offset), dead=outcome == "dead-letter")
        count("longview_gateway_records_total", topic=record.topic, outcome=outcome)

    async def _handle(self, record: Record) -> str:
        """What became of it."""
        try:
            if record.undecodable:
                raise InvalidEvent("permanent-error", record.undecodable, "the record cannot be decoded")
            event = parse_event(record.headers, record.value)
            with _traced(event, record):
                await self._deliver(event)
                log.info("event-taken", extra=fields(event_type=event.type, event_id=event.id))
            return "accepted"
        except InvalidEvent as invalid:
            return await self._keep(record, invalid)
        except LongviewError:
            raise
        except Exception as fault:  # a defect of ours must not stop every record behind this one
            kind = f"event-{code_of(fault)}"
            return await self._keep(
                record, InvalidEvent("permanent-error", kind, "a fault of the gateway met this record")
            )

    async def _keep(self, record: Record, invalid: InvalidEvent) -> str:
        if self._cap.is_reached(record.topic):
            raise TransientFailure("dead-letter-cap", "too many records of this topic are dead letters")
        place = fields(topic=record.topic, partition=record.partition, offset=record.offset, code=invalid.code)
        log.warning("dead-letter", extra=place)
        try:
            event = self._dead_letter(record, invalid)
            await self._keeping.run(lambda: self._dead_letters.keep(record, invalid, event))
        except PermanentFailure as failure:
            raise TransientFailure(
                "dead-letter-not-kept", f"a dead letter could not be kept ({failure.code})"
            ) from failure
        count("longview_gateway_dead_letters_total", topic=record.topic, reason=invalid.reason)
        return "dead-letter"

    async def _deliver(self, event: CloudEvent) -> None:
        if event.tenant != self._namespace.tenant:
            raise InvalidEvent("permanent-error", "event-other-tenant", "the event belongs to another tenant")
        try:
            await self._signal(routed(event, self._namespace))
        except ValidationError as error:
            raise InvalidEvent("schema-invalid", "event-schema-invalid", "the data cannot be read") from error
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise InvalidEvent("permanent-error", "temporal-refused", "Temporal refused the event") from error
            raise TransientFailure("temporal-unavailable", "Temporal did not accept the event") from error

    async def _signal(self, event: PatientEvent) -> None:
        """To the patient's entity, which is started if it does not run: it puts the events of one patient in order and fans them out."""
        patient_key = self._namespace.patient_key(patient_of(event))
        await self._client.start_workflow(
            PatientWorkflow.run,
            PatientInput(patient_key=patient_key),
            id=patient_workflow_id(patient_key),
            task_queue=self._task_queue,
            start_signal="event_available",
            start_signal_args=[event],
            rpc_timeout=RPC_TIMEOUT,
        )

    def _dead_letter(self, record: Record, invalid: InvalidEvent) -> CloudEvent:
        """The event for `<topic>.dlq`: where the record is and why it is there; its bytes stay in the object store."""
        value_sha = hashlib.sha256(record.value or b"").hexdigest()
        now = now_rfc3339()
        fact = f"{record.topic}|{record.partition}|{record.offset}|{value_sha}"
        key = self._namespace.key(self._namespace.tenant, "dead-letter", fact)
        return CloudEvent(
            id=self._namespace.event_id(DEAD_LETTER, fact),
            source=self._source,
            type=DEAD_LETTER,
            subject=f"dead-letter/{key}",
            time=now,
            dataschema=dataschema(self._namespace.base, DEAD_LETTER),
            partitionkey=key,
            tenant=self._namespace.tenant,
            data={
                "reason": invalid.reason,
                "stage": "ingest",
                "attempts": 1,
                "firstFailedAt": now,
                "lastFailedAt": now,
                "errorCode": invalid.code,
                "original": {
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "valueSha256": value_sha,
                    "valueLocation": "object-store",
                    "objectKey": value_sha,
                },
            },
        )
