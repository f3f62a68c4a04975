"""How long each step may take, what is tried again, and who goes first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from temporalio.common import Priority as TemporalPriority
from temporalio.common import RetryPolicy

from schemas.errors import Stage
from schemas.report import URGENCY, Priority

HEARTBEAT = timedelta(seconds=15)
"""A worker that was killed is noticed after this long; live activities beat every third of it."""

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=20),
)
"""Only what can heal reaches it: permanent failures are raised as non-retryable (services.worker.interceptor)."""

REPLANS = 3
"""How often a result is built anew because the chart changed between building and posting."""

COMPLETENESS_PATIENCE = timedelta(days=7)
"""A study that is announced as partial and never completed ends as `study-never-complete` after this long."""

HISTORY_PATIENCE = timedelta(minutes=5)
"""How long the second pass waits for a model that is away; then the reading of the images goes on without it."""

REMEMBERED_EVENTS = 500
"""Event ids kept in workflow state to drop redelivered events (contract 4, rule 3)."""

STOPS_READING = ("cancelled", "discontinued")
"""Changes of an order after which its study is not read, and an unread result is withdrawn."""


@dataclass(frozen=True)
class SkipReason:
    """Why a study is not read, or its reading not posted: the run's state, and the code that the table of runs shows."""

    state: Literal["superseded", "withdrawn"]
    code: str


FINAL_FIRST = SkipReason("superseded", "final-report-first")
ORDER_CANCELLED = SkipReason("withdrawn", "order-cancelled")


@dataclass(frozen=True)
class StepPolicy:
    """`attempt` bounds one try, `total` all of them with the waits between."""

    stage: Stage
    attempt: timedelta
    total: timedelta


STEPS: dict[str, StepPolicy] = {
    "gather_timeline": StepPolicy("fetch-history", timedelta(minutes=5), timedelta(hours=2)),
    "take_inventory": StepPolicy("fetch-images", timedelta(minutes=2), timedelta(hours=2)),
    "fetch_study": StepPolicy("fetch-images", timedelta(minutes=30), timedelta(hours=4)),
    "fetch_prior": StepPolicy("fetch-images", timedelta(minutes=30), timedelta(hours=4)),
    "ask_model": StepPolicy("inference", timedelta(minutes=15), timedelta(hours=6)),
    "check_answer": StepPolicy("validate", timedelta(minutes=5), timedelta(hours=1)),
    "integrate_history": StepPolicy("inference", timedelta(minutes=15), timedelta(hours=6)),
    "build_result": StepPolicy("validate", timedelta(minutes=5), timedelta(hours=1)),
    "write_result": StepPolicy("write-fhir", timedelta(minutes=2), timedelta(hours=24)),
    "create_inbox_entry": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "write_review": StepPolicy("write-fhir", timedelta(minutes=2), timedelta(minutes=10)),
    "record_review": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "record_failure": StepPolicy("notify", timedelta(minutes=2), timedelta(days=7)),
    "close_run": StepPolicy("notify", timedelta(minutes=2), timedelta(days=7)),
    "skip_run": StepPolicy("notify", timedelta(minutes=2), timedelta(days=7)),
    "escalation_policy": StepPolicy("notify", timedelta(minutes=1), timedelta(hours=24)),
    "reindex_patient": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "standing_result": StepPolicy("fetch-history", timedelta(minutes=2), timedelta(hours=24)),
    "close_result": StepPolicy("write-fhir", timedelta(minutes=2), timedelta(hours=24)),
    "notify_step": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "record_acknowledgement": StepPolicy("notify", timedelta(minutes=2), timedelta(minutes=10)),
    "exhaust_escalation": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "reprioritise": StepPolicy("write-fhir", timedelta(minutes=2), timedelta(hours=24)),
    "assess_history": StepPolicy("fetch-history", timedelta(minutes=5), timedelta(hours=24)),
    "tell_unread": StepPolicy("notify", timedelta(minutes=2), timedelta(hours=24)),
    "attend_study": StepPolicy("notify", timedelta(minutes=2), timedelta(minutes=10)),
    "write_addendum": StepPolicy("write-fhir", timedelta(minutes=2), timedelta(hours=24)),
}


def temporal_priority(priority: Priority) -> TemporalPriority:
    """Temporal counts from 1, the most urgent first."""
    return TemporalPriority(priority_key=URGENCY[priority] + 1)
