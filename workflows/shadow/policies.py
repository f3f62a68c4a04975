"""A shadow reading waits for everybody else, and gives up before it becomes a burden."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import Priority, RetryPolicy

PRIORITY = Priority(priority_key=5)
"""Behind every study that waits to be read."""

VLLM_PRIORITY = 1000
"""vLLM runs lower numbers first: behind every question of a shown reading."""

HEARTBEAT = timedelta(seconds=15)
ASK_ATTEMPT, ASK_TOTAL = timedelta(minutes=15), timedelta(hours=12)
KEEP_ATTEMPT, KEEP_TOTAL = timedelta(minutes=5), timedelta(hours=24)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(minutes=10))

PLAN_TOTAL = timedelta(seconds=30)
PLAN_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
"""Whether to ask at all is decided while the result waits for its reviewer: it may cost a moment, never the result."""
