"""What was lost, and whether the models still say what they said."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, show_rows, table


@main.command()
@click.option("--now", is_flag=True, help="Run one pass and wait for it.")
@click.option("--schedule", is_flag=True, help="Let passes begin by themselves (LONGVIEW_RECONCILE_MINUTES).")
@click.option("--pause", is_flag=True, help="Let no pass begin by itself.")
@as_json
@named_failures
def reconcile(now: bool, schedule: bool, pause: bool, as_json: bool) -> None:
    """What was lost between archive, FHIR and inbox, and what became of it: the newest passes; status 1 if a person has to look."""
    from services import oversight
    from services.parts.launcher import connected_settings

    if now + schedule + pause > 1:
        raise click.UsageError("give one of --now, --schedule and --pause")
    settings = connected_settings(read_settings())
    if schedule or pause:
        (oversight.schedule_reconciliation if schedule else oversight.pause_reconciliation)(settings)
        say("scheduled" if schedule else "paused")
        return
    if now:
        oversight.reconcile_now(settings)
    found = oversight.list_passes(settings)
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    else:
        show_rows("passes", found["passes"], False, _PASS_SHOWN)
        if found["items"]:
            show_rows("items", found["items"], False, ("state", "kind", "code", "key", "at"))
    sys.exit(1 if found["passes"] and found["passes"][0]["flagged"] else 0)


_PASS_SHOWN = ("started_at", "ended_at", "trigger", "studies", "results", "healed", "waiting", "flagged", "left_over")


@main.group()
def report() -> None:
    """Reports on what the models have said: agreement and drift."""


@report.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC (default: 90 days ago).")
@as_json
@named_failures
def agreement(since: datetime | None, as_json: bool) -> None:
    """A shadow release against the shown one, and both against what humans decided."""
    from services import oversight
    from services.parts.launcher import connected_settings

    reports = oversight.agreement_reports(connected_settings(read_settings()), _first_day(since, 90))
    if as_json:
        click.echo(json.dumps({"agreement": [oversight.agreement_json(each) for each in reports]}, indent=2))
    elif not reports:
        say("no results in this time")
    for each in [] if as_json else reports:
        say(f"shown: {each.shown_release}  shadow: {each.shadow_release or 'none'}  studies: {each.studies}")
        table("agreement", oversight.AGREEMENT_COLUMNS, oversight.agreement_rows(each))
        table("decisions of humans", oversight.DECISION_COLUMNS, oversight.decision_rows(each))


@report.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day of looks to show, UTC (default: today).")
@as_json
@named_failures
def drift(since: datetime | None, as_json: bool) -> None:
    """Whether what a release says has changed: the last 7 days against the 28 before; status 1 on an alarm."""
    from services import oversight
    from services.parts.launcher import connected_settings

    looks = oversight.drift_looks(connected_settings(read_settings()), _first_day(since, 0))
    shown = ("day", "release_id", "metric", "recent_k", "recent_n", "reference_k", "reference_n", "p", "verdict")
    show_rows("looks", looks, as_json, shown)
    sys.exit(1 if any(look["verdict"] == "alarm" for look in looks) else 0)


def _first_day(given: datetime | None, days_ago: int) -> date:
    return given.date() if given else datetime.now(UTC).date() - timedelta(days=days_ago)
