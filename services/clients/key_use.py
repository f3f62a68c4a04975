"""Which payload keys Temporal's histories may still need, so that nobody removes one too early.

Counted by times, not by opening histories: a payload of a key was written before the next key took over, so it stands in a run that began before.
Schedules are looked at themselves: each start by one copies an argument that may be as old as the schedule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeScheduleRequest
from temporalio.client import Client
from temporalio.service import RPCError

from schemas.errors import PartUnavailable
from services.clients.keyring import Keyring, rfc3339
from services.clients.payloads import KEY_ID

LATE = timedelta(hours=1)
"""A process that got the file late went on with the old key for no longer than this."""


@dataclass(frozen=True)
class KeyUse:
    """Runs that may hold payloads of the key, open ones and closed ones (kept for `retention_days`), and schedules whose argument it encrypts."""

    id: str
    use: str
    open: int
    closed: int
    schedules: int
    retention_days: float

    @property
    def removable(self) -> bool:
        return self.use == "decrypts" and not (self.open or self.closed or self.schedules)


async def key_use(client: Client, ring: Keyring, now: datetime) -> list[KeyUse]:
    """For each key, newest first; `PartUnavailable` if Temporal cannot be asked."""
    try:
        scheduled = await _of_schedules(client)
        days = await _retention_days(client)
        uses = []
        for place, key in reversed(list(enumerate(ring.keys))):
            opened, closed = await _runs(client, ring, place)
            uses.append(KeyUse(key.id, use_of(ring, key.id, now), opened, closed, scheduled[key.id], days))
    except RPCError as error:
        raise PartUnavailable(
            "temporal-unavailable", "Temporal does not answer the question: check LONGVIEW_TEMPORAL_ADDRESS."
        ) from error
    return uses


def use_of(ring: Keyring, key_id: str, now: datetime) -> str:
    """`encrypts`, `decrypts`, or `waits` until its time has come."""
    key = ring.find(key_id)
    if key_id == ring.encrypting(now).id:
        return "encrypts"
    return "waits" if key and key.use_from and key.encrypts_from > now else "decrypts"


async def _runs(client: Client, ring: Keyring, place: int) -> tuple[int, int]:
    """Open and closed runs between the key's beginning and its successor's; the oldest key's beginning is not known for sure."""
    before = f'StartTime < "{rfc3339(ring.keys[place + 1].encrypts_from + LATE)}"' if place + 1 < len(ring.keys) else ""
    since = f'CloseTime >= "{rfc3339(ring.keys[place].encrypts_from)}"' if place else ""
    opened = await client.count_workflows(_all('ExecutionStatus = "Running"', before))
    closed = await client.count_workflows(_all('ExecutionStatus != "Running"', before, since))
    return opened.count, closed.count


async def _of_schedules(client: Client) -> Counter[str]:
    found: Counter[str] = Counter()
    async for listed in await client.list_schedules():
        asked = DescribeScheduleRequest(namespace=client.namespace, schedule_id=listed.id)
        described = await client.workflow_service.describe_schedule(asked)
        payloads = described.schedule.action.start_workflow.input.payloads
        found.update(
            {payload.metadata[KEY_ID].decode("ascii", "replace") for payload in payloads if KEY_ID in payload.metadata}
        )
    return found


async def _retention_days(client: Client) -> float:
    told = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return told.config.workflow_execution_retention_ttl.ToTimedelta() / timedelta(days=1)


def _all(*conditions: str) -> str:
    return " AND ".join(condition for condition in conditions if condition)
