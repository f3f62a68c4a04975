"""The second task queue of a worker: reconciliation and shadow readings, in threads of their own, so that no reading ever waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from schemas.identifiers import background_queue
from services.worker.deployment import pinned
from services.worker.interceptor import ActivityGuard
from workflows.reconcile.activities import ReconcileActivities
from workflows.reconcile.workflow import ReconcileWorkflow
from workflows.shadow.activities import ShadowActivities
from workflows.shadow.workflow import ShadowReadWorkflow

BACKGROUND_THREADS = 2


@asynccontextmanager
async def run_background(
    client: Client,
    task_queue: str,
    reconcile: ReconcileActivities,
    shadow: ShadowActivities,
    create_inbox_entry: Callable[..., Any],
    version: WorkerDeploymentVersion | None = None,
    grace: timedelta = timedelta(seconds=5),
) -> AsyncIterator[None]:
    """Serve `<task queue>-background` inside the block; with a `version` a pass or a shadow reading is pinned to it, as a study is."""
    with ThreadPoolExecutor(BACKGROUND_THREADS, thread_name_prefix="background") as executor:
        async with Worker(
            client,
            task_queue=background_queue(task_queue),
            workflows=[ReconcileWorkflow, ShadowReadWorkflow],
            activities=[*reconcile.all(), *shadow.all(), create_inbox_entry],
            activity_executor=executor,
            max_concurrent_activities=BACKGROUND_THREADS,
            graceful_shutdown_timeout=grace,
            interceptors=[ActivityGuard()],
            deployment_config=pinned(version) if version else None,
        ):
            yield
