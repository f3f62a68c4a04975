"""Temporal: its namespace, who serves our task queues, which version is current, the schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import PartUnavailable
from schemas.identifiers import background_queue
from services.parts.doctor import Check
from services.settings import Settings
from services.worker.schedule import SCHEDULE
from services.worker.versions import Version, list_versions, pollers_of

SECONDS = 20.0
LEAST_RETENTION = timedelta(days=1)
"""Closed workflows are kept for so long at least, so that an event that comes twice within the bus's own patience finds what it began."""


def look(settings: Settings) -> Iterator[Check]:
    try:
        yield from asyncio.run(asyncio.wait_for(_look(settings), SECONDS))
    except TimeoutError:
        raise PartUnavailable(
            "temporal-unavailable", "Temporal did not answer in time: check LONGVIEW_TEMPORAL_ADDRESS."
        ) from None
    except RPCError as error:
        raise PartUnavailable(
            "temporal-refused",
            f"Temporal refuses us ({error.status.name}): check LONGVIEW_TEMPORAL_NAMESPACE and our key or certificate.",
        ) from error


async def _look(settings: Settings) -> list[Check]:
    from services.adapters import temporal

    client = await temporal(settings)
    checks = [await _namespace(client)]
    checks += await (_versions(client, settings) if settings.worker_deployment else _queues(client, settings))
    return [*checks, await _schedule(client, settings)]


async def _namespace(client: Client) -> Check:
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    short = "the namespace keeps closed workflows for less than a day: raise its retention."
    return Check("temporal namespace", f"{client.namespace}, keeps {kept}", short if kept < LEAST_RETENTION else "")


async def _queues(client: Client, settings: Settings) -> list[Check]:
    """Without a deployment: whoever polls."""
    found = []
    for queue in (settings.task_queue, background_queue(settings.task_queue)):
        count = await pollers_of(client, queue)
        mend = "" if count else f"no worker serves {queue}: start one, and look at its log."
        found.append(Check(f"workers of {queue}", f"{count} pollers", mend))
    return found


async def _versions(client: Client, settings: Settings) -> list[Check]:
    versions = await list_versions(client, settings.worker_deployment, settings.task_queue)
    current = next((version for version in versions if version.state == "current"), None)
    if current is None:
        mend = "no version of the workers is current, so no study begins: run 'longview workers promote --wait'."
        return [Check("current workers", f"{len(versions)} versions", mend)]
    return [
        _current(current),
        *map(_left_behind, (each for each in versions if each is not current and not each.may_go)),
    ]


def _current(version: Version) -> Check:
    seen = f"{version.build_id}: {version.reading_pollers} reading, {version.background_pollers} background"
    served = version.reading_pollers and version.background_pollers
    mend = "no worker of the current version serves one of the task queues: start its workers, or promote another."
    return Check("current workers", seen, "" if served else mend)


def _left_behind(version: Version) -> Check:
    """A version with studies pinned to it and no worker is where studies stand still for ever."""
    seen = f"{version.build_id}: {version.state}, {version.open_workflows} open, {version.reading_pollers} workers"
    stuck = version.open_workflows and not version.reading_pollers
    mend = f"studies are pinned to {version.build_id}, which no worker serves: start its workers again until it is drained."
    return Check("older workers", seen, mend if stuck else "")


async def _schedule(client: Client, settings: Settings) -> Check:
    wanted = int(settings.reconcile_minutes) > 0
    try:
        described = await client.get_schedule_handle(SCHEDULE).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        mend = (
            "reconciliation is not scheduled, so what is lost is not found: run 'longview schedules'." if wanted else ""
        )
        return Check("schedule", "none", mend)
    paused = described.schedule.state.paused
    mend = "reconciliation is paused, so what is lost is not found: 'longview reconcile --schedule' ends the pause."
    return Check("schedule", f"{SCHEDULE}{', paused' if paused else ''}", mend if paused and wanted else "")
