"""Workflows whose arguments are larger than what Temporal's history should hold."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

CHART = "DOE^JANE has a long history. " * 20_000
"""580 kB: more than goes inline, less than Temporal's limit, so that the clear text would show in the server's database if it came there."""
PATIENCE = timedelta(seconds=20)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def gather() -> str:
    return CHART


@activity.defn
async def measure(chart: str) -> int:
    return len(chart)


@workflow.defn
class ReadsChart:
    """An activity's large result is another activity's large argument."""

    @workflow.run
    async def run(self, measuring_queue: str) -> int:
        chart = await workflow.execute_activity(gather, start_to_close_timeout=PATIENCE, retry_policy=ONCE)
        return await workflow.execute_activity(
            measure, chart, start_to_close_timeout=PATIENCE, retry_policy=ONCE, task_queue=measuring_queue
        )
