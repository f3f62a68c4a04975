"""What operators ask of oversight: passes of reconciliation, the schedule, agreement, drift."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
)
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.identifiers import background_queue
from schemas.oversight import PassOutcome
from services.db import Database, ReconcileRecords, ShadowRecords, open_migrated
from services.worker.schedule import SCHEDULE, ensure_schedule, reconcile_input
from workflows.reconcile.workflow import ReconcileWorkflow
from workflows.shadow.agreement import VERDICTS, Agreement
from workflows.shadow.drift import watch
from workflows.shadow.report import AgreementReport, agreement_report

if TYPE_CHECKING:
    from services.settings import Settings


# -- reconciliation --------------------------------------------------------------------------------------------------------


def schedule_reconciliation(settings: Settings) -> None:
    """Make the schedule, bring it up to date and end a pause; for `longview reconcile --schedule`."""

    async def ensure() -> None:
        client = await _client(settings)
        await ensure_schedule(client, settings)
        if int(settings.reconcile_minutes):
            await client.get_schedule_handle(SCHEDULE).unpause()

    asyncio.run(ensure())


def pause_reconciliation(settings: Settings) -> None:
    """No pass begins by itself until `--schedule`; `PermanentFailure` where there is no schedule."""

    async def pause() -> None:
        try:
            await (await _client(settings)).get_schedule_handle(SCHEDULE).pause()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise PermanentFailure(
                    "schedule-unknown", "there is no schedule: 'longview reconcile --schedule' makes one."
                ) from None
            raise PartUnavailable("temporal-unavailable", "Temporal does not answer.") from None

    asyncio.run(pause())


def reconcile_now(settings: Settings) -> PassOutcome:
    """One pass, waited for. It takes the grace period at least where a study was never announced."""

    async def run() -> PassOutcome:
        client = await _client(settings)
        try:
            return await client.execute_workflow(
                ReconcileWorkflow.run,
                reconcile_input(settings, "now"),
                id=f"{SCHEDULE}-now-{uuid.uuid4()}",
                task_queue=background_queue(settings.task_queue),
            )
        except WorkflowFailureError:
            raise PermanentFailure(
                "reconcile-failed", "the pass failed: the worker's log says at which step."
            ) from None

    return asyncio.run(run())


async def _client(settings: Settings) -> Client:
    from services.adapters import temporal

    return await temporal(settings)


def list_passes(settings: Settings) -> dict[str, Any]:
    """The newest passes, and the items of the newest of them that has any."""
    with _database(settings) as database:
        records = ReconcileRecords(database)
        passes = records.list_passes()
        shown = next((p for p in passes if p.healed or p.waiting or p.flagged), None)
        items = records.list_items(shown.pass_id) if shown else []
    return {"passes": [asdict(row) for row in passes], "items": [asdict(row) for row in items]}


# -- agreement and drift ---------------------------------------------------------------------------------------------------


def agreement_reports(settings: Settings, since: date) -> list[AgreementReport]:
    """One report for each pair of a shown and a shadow release with results issued since that day (UTC)."""
    began = datetime.combine(since, time(), UTC)
    with _database(settings) as database:
        records = ShadowRecords(database)
        return [
            agreement_report(shown, shadow, records.comparisons(began, shown, shadow))
            for shown, shadow in records.releases(began)
        ]


def agreement_json(report: AgreementReport) -> dict[str, Any]:
    """All figures, with each verdict in words beside its code."""
    body = asdict(report)
    for name in ("shadow_and_shown", "shown_and_human", "shadow_and_human"):
        for row in body[name]:
            row["verdict_text"] = VERDICTS[row["verdict"]]
    return body


AGREEMENT_COLUMNS = ["readers", "finding", "n", "raw [95%]", "kappa [95%]", "positive", "negative", "IoU", "caution"]
DECISION_COLUMNS = ["finding", "n", "accepted [95%]", "amended", "rejected", "shown as detected", "of these accepted"]


def agreement_rows(report: AgreementReport) -> list[list[str]]:
    """The table of agreement."""
    groups = {
        "shadow, shown": report.shadow_and_shown,
        "shown, human": report.shown_and_human,
        "shadow, human": report.shadow_and_human,
    }
    return [_agreement_row(name, row) for name, rows in groups.items() for row in rows]


def decision_rows(report: AgreementReport) -> list[list[str]]:
    return [
        [
            row.label,
            str(row.n),
            f"{row.accepted}: {_figure(row.acceptance)} {_interval(row.acceptance_interval)}",
            str(row.amended),
            str(row.rejected),
            str(row.detected),
            str(row.detected_accepted),
        ]
        for row in report.decisions
    ]


def _agreement_row(comparison: str, row: Agreement) -> list[str]:
    kappa = "undefined" if row.kappa is None else f"{row.kappa:.2f} {_interval(row.kappa_interval)}"
    located = f"{_figure(row.iou)} ({row.same_slice}/{row.both_located})" if row.both_located else "-"
    return [
        comparison,
        row.label,
        str(row.n),
        f"{_figure(row.raw)} {_interval(row.raw_interval)}",
        kappa,
        _figure(row.positive),
        _figure(row.negative),
        located,
        VERDICTS[row.verdict],
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""


def drift_looks(settings: Settings, since: date) -> list[dict[str, Any]]:
    """Today's look, taken now if no pass has taken it yet, and those since that day."""
    today = datetime.now(UTC).date()
    with _database(settings) as database:
        records = ShadowRecords(database)
        for release in records.shown_releases(today):
            records.keep_look(today, release, watch(*records.rates(release, today)))
        return records.looks(since)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = open_migrated(settings.database)
    try:
        yield database
    finally:
        database.close()
