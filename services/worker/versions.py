"""The versions of a worker deployment as Temporal knows them: which one takes new work, who serves them, what still runs on them.

A release is one version that serves both task queues under one deployment name and build id (ADR-0014): a pass of reconciliation and a shadow
reading stay on the code they began with, as a study does, and a version is drained only when none of them is open on it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.identifiers import background_queue
from services.worker.deployment import make_current

POLL_AGE = timedelta(seconds=90)
"""A long poll lasts a minute; Temporal names a poller for five more minutes after it was last heard of."""
LOOK_SECONDS = 1.0
State = Literal["current", "ramping", "draining", "drained", "inactive"]
_STATES: dict[int, State] = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: "current",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: "ramping",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: "draining",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: "drained",
}


@dataclass(frozen=True)
class Version:
    """One build of the deployment."""

    build_id: str
    state: State
    created_at: datetime
    """When its first worker was heard of."""
    reading_pollers: int
    background_pollers: int
    open_workflows: int
    """Workflows that are pinned to it and have not closed."""

    @property
    def may_go(self) -> bool:
        """Its workers may be stopped for good: nothing is pinned to it and nothing new comes to it."""
        return self.state in ("drained", "inactive") and not self.open_workflows


async def list_versions(client: Client, deployment: str, task_queue: str) -> list[Version]:
    """Every version, newest first; none where Temporal does not know the deployment. `PartUnavailable` while Temporal is away."""
    try:
        request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
        described = await client.workflow_service.describe_worker_deployment(request)
        reading = await _pollers(client, deployment, task_queue)
        background = await _pollers(client, deployment, background_queue(task_queue))
        found = [
            Version(
                build_id=(build := each.deployment_version.build_id),
                state=_STATES.get(each.status, "inactive"),
                created_at=_instant(each.create_time),
                reading_pollers=reading.get(build, 0),
                background_pollers=background.get(build, 0),
                open_workflows=await _open_workflows(client, deployment, build),
            )
            for each in described.worker_deployment_info.version_summaries
        ]
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise PartUnavailable(
            "temporal-unavailable", f"Temporal did not tell of its worker versions ({error.status.name}): try again."
        ) from error
    return sorted(found, key=lambda version: version.created_at, reverse=True)


async def promote(
    client: Client, version: WorkerDeploymentVersion, task_queue: str, *, wait: float = 0.0, force: bool = False
) -> bool:
    """Send new workflows to this version once both of its task queues are served; False if that was so already.

    Waits at most `wait` seconds for its workers. `PartUnavailable` if they do not come; `PermanentFailure` (`worker-version-older`) where the current
    version is a later one, unless `force`: a release's job that comes late must not undo the next release, a rollback must.
    """
    ours, others = await _served(client, version, task_queue, wait)
    if ours.state == "current":
        return False
    current = next((other for other in others if other.state == "current"), None)
    if current and current.created_at > ours.created_at and not force:
        raise PermanentFailure(
            "worker-version-older",
            f"version {current.build_id} is current and came after {ours.build_id}: give --force to roll back to the older one.",
        )
    await make_current(client, version)
    return True


async def _served(
    client: Client, version: WorkerDeploymentVersion, task_queue: str, wait: float
) -> tuple[Version, list[Version]]:
    """The version, once workers of both queues have polled, and the other ones."""
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        versions = await list_versions(client, version.deployment_name, task_queue)
        ours = next((each for each in versions if each.build_id == version.build_id), None)
        if ours and ours.reading_pollers and ours.background_pollers:
            return ours, [each for each in versions if each is not ours]
        if asyncio.get_running_loop().time() >= deadline:
            raise PartUnavailable("worker-version-unserved", _unserved(version, ours, task_queue))
        await asyncio.sleep(LOOK_SECONDS)


def _unserved(version: WorkerDeploymentVersion, ours: Version | None, task_queue: str) -> str:
    queues = [] if ours and ours.reading_pollers else [task_queue]
    queues += [] if ours and ours.background_pollers else [background_queue(task_queue)]
    return f"no worker of version {version.build_id} serves {' and '.join(queues)}: start its workers, then promote it."


async def pollers_of(client: Client, queue: str) -> int:
    """Whoever asks for workflow tasks of the queue, versioned or not."""
    return sum((await _lately(client, queue)).values())


async def _pollers(client: Client, deployment: str, queue: str) -> dict[str, int]:
    """Pollers of one deployment by build id."""
    found = await _lately(client, queue)
    return {build: count for (name, build), count in found.items() if name == deployment}


async def _lately(client: Client, queue: str) -> Counter[tuple[str, str]]:
    """Pollers of workflow tasks by deployment and build id, as far as they were heard of lately."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request)
    since = datetime.now(UTC) - POLL_AGE
    heard = [p.deployment_options for p in described.pollers if _instant(p.last_access_time) > since]
    return Counter((options.deployment_name, options.build_id) for options in heard)


async def _open_workflows(client: Client, deployment: str, build: str) -> int:
    counted = await client.count_workflows(
        f'TemporalWorkerDeploymentVersion = "{deployment}:{build}"'
        ' AND TemporalWorkflowVersioningBehavior = "Pinned" AND ExecutionStatus = "Running"'
    )
    return counted.count


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
