"""One workflow that stays on its version and one that moves on, shaped like a study and a patient."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import VersioningBehavior


class _Waits:
    def __init__(self) -> None:
        self._told = 0

    async def _wait(self) -> int:
        await workflow.wait_condition(lambda: self._told == 2)
        return self._told


@workflow.defn
class Study(_Waits):
    """Says nothing of versions: the worker's default, pinned, holds."""

    @workflow.run
    async def run(self) -> int:
        return await self._wait()

    @workflow.signal
    async def told(self) -> None:
        self._told += 1


@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class Patient(_Waits):
    @workflow.run
    async def run(self) -> int:
        return await self._wait()

    @workflow.signal
    async def told(self) -> None:
        self._told += 1
