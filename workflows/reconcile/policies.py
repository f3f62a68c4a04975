"""How much one pass does, and how long its steps may take."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import Priority, RetryPolicy

MOST_ANNOUNCEMENTS = 3
"""How often one study is announced again in one state before a person has to look."""

LOOKED_INTO = 200
"""How many suspects one pass asks the archive about; the next pass takes the others."""

STEP_TIME = timedelta(minutes=30)
STEPS_TIME = timedelta(hours=6)
HEARTBEAT = timedelta(seconds=15)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=2))
ITEM_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=2), maximum_interval=timedelta(seconds=20), maximum_attempts=4
)
"""One item that cannot be healed now is found again by the next pass: it must not hold up the others."""

PRIORITY = Priority(priority_key=5)
"""Behind every study that waits to be read."""
