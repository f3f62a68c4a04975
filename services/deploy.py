"""What the jobs of a deployment do once: the database's schema, Temporal's schedules, the versions of the workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from schemas.errors import PartUnavailable
from services.settings import Settings

if TYPE_CHECKING:
    from services.db import Migrated
    from services.worker.versions import Version


def migrate_database(settings: Settings) -> Migrated:
    from services.db import migrate

    return migrate(settings.database)


def ensure_schedules(settings: Settings) -> dict[str, str]:
    """Every Temporal schedule as the settings say; its name -> what it does now."""
    from services.adapters import temporal
    from services.worker.schedule import SCHEDULE, ensure_schedule

    async def ensure() -> None:
        await ensure_schedule(await temporal(settings), settings)

    asyncio.run(ensure())
    minutes = int(settings.reconcile_minutes)
    return {SCHEDULE: f"every {minutes} minutes" if minutes else "none: LONGVIEW_RECONCILE_MINUTES is 0"}


def list_worker_versions(settings: Settings) -> list[Version]:
    from services.adapters import temporal
    from services.worker.versions import list_versions

    async def look() -> list[Version]:
        return await list_versions(await temporal(settings), _deployment(settings), settings.task_queue)

    return asyncio.run(look())


def promote_workers(settings: Settings, *, wait: float, force: bool) -> tuple[str, bool]:
    """The build id, and whether it was not the current one before."""
    from services.adapters import temporal
    from services.worker.deployment import deployment_version
    from services.worker.versions import promote

    version = deployment_version(_deployment(settings), settings.worker_build_id)

    async def make_it_current() -> bool:
        return await promote(await temporal(settings), version, settings.task_queue, wait=wait, force=force)

    return version.build_id, asyncio.run(make_it_current())


def _deployment(settings: Settings) -> str:
    if not settings.worker_deployment:
        raise PartUnavailable(
            "worker-deployment", "LONGVIEW_WORKER_DEPLOYMENT is not set: workers have no versions without it."
        )
    return settings.worker_deployment
