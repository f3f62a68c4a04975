"""When reconciliation begins by itself: a Temporal Schedule as the settings say."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from schemas.identifiers import background_queue
from schemas.oversight import ReconcileInput
from services.settings import Settings
from workflows.reconcile.workflow import ReconcileWorkflow

SCHEDULE = "longview-reconcile"
CATCH_UP = timedelta(minutes=10)
"""A pass that was due while nothing ran is not made up for later than this: the next one finds the same."""


def reconcile_input(settings: Settings, trigger: str) -> ReconcileInput:
    return ReconcileInput.model_validate(
        {
            "window_days": int(settings.reconcile_days),
            "grace_minutes": int(settings.reconcile_grace_minutes),
            "cap": int(settings.reconcile_cap),
            "heal": settings.reconcile_heal == "on",
            "trigger": trigger,
        }
    )


async def ensure_schedule(client: Client, settings: Settings) -> None:
    """The schedule as the settings say, made or brought up to date; a pause that an operator has ordered stays.

    With an interval of 0 an existing schedule is removed. Passes never overlap: one that is due while another runs is skipped.
    """
    minutes = int(settings.reconcile_minutes)
    handle = client.get_schedule_handle(SCHEDULE)
    if not minutes:
        try:
            await handle.delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return
    wanted = _schedule(settings, minutes)
    try:
        await client.create_schedule(SCHEDULE, wanted)
    except ScheduleAlreadyRunningError:
        await handle.update(lambda seen: _updated(seen, wanted))


def _schedule(settings: Settings, minutes: int) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ReconcileWorkflow.run,
            reconcile_input(settings, "schedule"),
            id=SCHEDULE,
            task_queue=background_queue(settings.task_queue),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(minutes=minutes))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(),
    )


def _updated(seen: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    wanted.state = seen.description.schedule.state
    return ScheduleUpdate(schedule=wanted)
