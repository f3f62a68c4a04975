"""The Temporal worker: workflows on its event loop, activities in a bounded thread pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from services.worker.deployment import make_current, pinned
from services.worker.interceptor import ActivityGuard
from workflows.patient.versioned import UpgradingPatientWorkflow
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.unread import AttendStudyWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

ACTIVITY_THREADS = 4
"""A volume in flight takes about 0.4 GiB: this bounds the worker's memory."""


async def run_worker(
    client: Client,
    task_queue: str,
    activities: Sequence[Callable[..., Any]],
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
    version: WorkerDeploymentVersion | None = None,
    *,
    current: bool = False,
    grace: timedelta = timedelta(seconds=5),
) -> None:
    """Serve the task queue until `stop` is set; `ready` is called once it is served.

    With a `version` its workflows are pinned to it; `current` makes it the one that new workflows begin with.
    Activities that are under way when `stop` is set have `grace` to end; what takes longer is cancelled, and done again by another worker.
    """
    with ThreadPoolExecutor(ACTIVITY_THREADS, thread_name_prefix="activity") as executor:
        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=[
                ReportStudyWorkflow,
                AttendStudyWorkflow,
                UpgradingPatientWorkflow if version else PatientWorkflow,
            ],
            activities=activities,
            activity_executor=executor,
            max_concurrent_activities=ACTIVITY_THREADS,
            graceful_shutdown_timeout=grace,
            interceptors=[ActivityGuard()],
            deployment_config=pinned(version) if version else None,
        )
        async with worker:
            if version and current:
                await make_current(client, version)
            ready()
            await stop.wait()
