"""The parts: start, stop, examine, configure."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, table

if TYPE_CHECKING:
    from services.parts.launcher import Outcome


@main.command()
@click.option("--only", "only", multiple=True, metavar="PART", help="This part and those it needs; may be given again.")
@named_failures
def up(only: tuple[str, ...]) -> None:
    """Start or find every part and wait until it is healthy."""
    from services.demo.data import adopt
    from services.parts.launcher import Launcher

    settings = read_settings()
    outcomes = Launcher(settings, report=_report).up(only)
    adopt(settings.state)
    if all(outcome.state in ("running", "done", "found") for outcome in outcomes):
        say("everything is running already")
    inbox = next((outcome.url for outcome in outcomes if outcome.name == "inbox"), "")
    if inbox:
        click.echo(inbox)


def _report(outcome: Outcome) -> None:
    took = f"{outcome.seconds:6.1f} s" if outcome.seconds else " " * 8
    say(f"  {outcome.name:<11} {outcome.state:<8} {took}  {outcome.url}")


@main.command()
@named_failures
def down() -> None:
    """Stop every part that was started here."""
    from services.parts.launcher import Launcher

    stopped = Launcher(read_settings()).down()
    say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@main.command()
@click.argument("part")
@named_failures
def restart(part: str) -> None:
    """Stop one part and start it again on the same port."""
    from services.parts.launcher import Launcher

    outcome = Launcher(read_settings(), report=_report).restart(part)
    if outcome.note:
        say(f"note: {outcome.note}")


@main.command("part")
@click.argument("name")
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address to listen on; no part asks who calls.")
@click.option("--port", type=int, required=True, help="Port to listen on.")
@click.option("--reached-as", default="127.0.0.1", show_default=True, help="Host by which others find it.")
@named_failures
def one_part(name: str, listen: str, port: int, reached_as: str) -> None:
    """Run one embedded part, by the command of 'longview up', until it is told to stop: for a trial with a container for each."""
    from services.parts.alone import run_alone

    sys.exit(run_alone(name, read_settings(), port, listens_on=listen, reached_as=reached_as))


@main.command()
@as_json
@named_failures
def status(as_json: bool) -> None:
    """Ask every part how it is; status 1 if one that should run does not."""
    from dataclasses import asdict

    from services.parts.status import part_states

    states = part_states(read_settings())
    if as_json:
        click.echo(json.dumps({"parts": [asdict(state) for state in states]}, indent=2))
    else:
        rows = [[s.name, s.state, str(s.pid or ""), s.url, s.version] for s in states]
        table("parts", ["part", "state", "pid", "address", "version"], rows)
    problems = [state.problem for state in states if state.problem]
    for problem in problems:
        say(problem)
    sys.exit(1 if problems else 0)


@main.command()
@click.option(
    "--deployed", is_flag=True, help="The system that the settings name, as one of its own processes sees it."
)
@as_json
@named_failures
def doctor(deployed: bool, as_json: bool) -> None:
    """Examine machine, versions and parts; one sentence of mending for each problem."""
    from dataclasses import asdict

    from services.deployed import examine_deployed
    from services.parts.doctor import examine
    from services.parts.launcher import connected_settings

    checks = examine_deployed(connected_settings(read_settings())) if deployed else examine(read_settings())
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) | {"ok": check.ok} for check in checks]}, indent=2))
    else:
        table("doctor", ["check", "", "seen"], [[c.name, "ok" if c.ok else "!!", c.seen] for c in checks])
        for check in checks:
            if not check.ok:
                say(f"{check.name}: {check.mend}")
    sys.exit(0 if all(check.ok for check in checks) else 1)


@main.command()
@as_json
@named_failures
def config(as_json: bool) -> None:
    """The settings in force, secrets hidden."""
    rows = read_settings().describe()
    if as_json:
        names = ("variable", "value", "source", "meaning")
        click.echo(json.dumps({"settings": [dict(zip(names, row, strict=True)) for row in rows]}, indent=2))
    else:
        table("settings", ["variable", "value", "source", "meaning"], [list(row) for row in rows])
