"""Which version of the workflows this worker runs, as Temporal's worker deployments know it.

A study's workflow stays on the version it began with (pinned); the patient's entity lives for years and moves on (auto upgrade). The build id is
derived from the code, so that two workers with the same workflows are one version wherever they were built.
"""

from __future__ import annotations

import asyncio
import re

from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from schemas.errors import PartUnavailable
from services.operations.build import build_id

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BUILD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
REGISTERED_SECONDS = 20.0
"""How long Temporal may take to learn of a version from its worker's first poll."""


def deployment_version(name: str, build: str = "") -> WorkerDeploymentVersion:
    """The version of this worker; `PartUnavailable` for a name or a build id that Temporal would not take."""
    chosen = build or build_id()
    if not _NAME.fullmatch(name) or not _BUILD.fullmatch(chosen):
        raise PartUnavailable(
            "worker-deployment",
            "LONGVIEW_WORKER_DEPLOYMENT or LONGVIEW_WORKER_BUILD_ID holds other than letters, digits, '-' and '_': change it.",
        )
    return WorkerDeploymentVersion(name, chosen)


def pinned(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    """Workflows that say nothing else stay on the version they began with."""
    return WorkerDeploymentConfig(version, True, VersioningBehavior.PINNED)


async def make_current(client: Client, version: WorkerDeploymentVersion) -> None:
    """Route new workflows to this version, once Temporal has heard of it; `PartUnavailable` if it does not in time."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace,
        deployment_name=version.deployment_name,
        build_id=version.build_id,
        identity=client.identity,
        ignore_missing_task_queues=True,
    )
    deadline = asyncio.get_running_loop().time() + REGISTERED_SECONDS
    while True:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
            return
        except RPCError as error:
            healing = error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
            if not healing or asyncio.get_running_loop().time() > deadline:
                raise PartUnavailable(
                    "worker-deployment",
                    f"Temporal does not make this worker's version the current one ({error.status.name}): "
                    "do it with 'temporal worker deployment set-current-version'.",
                ) from error
        await asyncio.sleep(0.2)
