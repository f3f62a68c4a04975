"""What the jobs of a deployment run once: schema, schedules, worker versions."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, show_rows


@main.command()
@named_failures
def migrate() -> None:
    """Bring the database to the schema of this version; safe when several run at once."""
    from services.deploy import migrate_database
    from services.parts.launcher import connected_settings

    done = migrate_database(connected_settings(read_settings()))
    if done.before == done.after:
        click.echo(f"the database is at revision {done.after} already")
    else:
        click.echo(f"migrated from {done.before or 'nothing'} to {done.after}")


@main.command()
@named_failures
def schedules() -> None:
    """Make Temporal's schedules as the settings say; a pause that an operator has ordered stays."""
    from services.deploy import ensure_schedules
    from services.parts.launcher import connected_settings

    for name, what in ensure_schedules(connected_settings(read_settings())).items():
        click.echo(f"{name}: {what}")


@main.group()
def workers() -> None:
    """The versions of the workers, as Temporal's worker deployments know them."""


@workers.command("promote")
@click.option("--wait", is_flag=True, help="Wait until workers of this version serve both task queues.")
@click.option("--timeout", default=600, show_default=True, help="With --wait: for so many seconds at most.")
@click.option("--force", is_flag=True, help="Also where the current version came later: a rollback.")
@named_failures
def workers_promote(wait: bool, timeout: int, force: bool) -> None:
    """New studies begin on this version (LONGVIEW_WORKER_BUILD_ID, or that of this code) from now on."""
    from services.deploy import promote_workers
    from services.parts.launcher import connected_settings

    settings = connected_settings(read_settings())
    build, changed = promote_workers(settings, wait=float(timeout) if wait else 0.0, force=force)
    click.echo(f"{build} is current now" if changed else f"{build} is current already")


@workers.command("list")
@as_json
@named_failures
def workers_list(as_json: bool) -> None:
    """Every version: its state, who serves it, how many workflows are pinned to it."""
    from services.deploy import list_worker_versions
    from services.parts.launcher import connected_settings

    versions = [asdict(version) for version in list_worker_versions(connected_settings(read_settings()))]
    show_rows("versions", versions, as_json, _SHOWN)


_SHOWN = ("build_id", "state", "created_at", "reading_pollers", "background_pollers", "open_workflows")


@workers.command("drained")
@click.option("--version", "build", metavar="BUILD", help="Only this build; status 1 while its workers are needed.")
@as_json
@named_failures
def workers_drained(build: str | None, as_json: bool) -> None:
    """Versions whose workers may be stopped for good: nothing is pinned to them and nothing new comes to them."""
    from services.deploy import list_worker_versions
    from services.parts.launcher import connected_settings

    versions = list_worker_versions(connected_settings(read_settings()))
    drained = [version.build_id for version in versions if version.may_go]
    needed = [version for version in versions if version.build_id == build and not version.may_go]
    if as_json:
        click.echo(json.dumps({"drained": drained, "needed": [asdict(version) for version in needed]}, default=str))
    elif build is None:
        click.echo("\n".join(drained)) if drained else say("no version is drained")
    for version in needed:
        say(f"{version.build_id} is {version.state} with {version.open_workflows} open workflows: leave its workers.")
    sys.exit(1 if needed else 0)
