"""What is practised and planned before it is needed: the disaster drill."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from services.cli.base import as_json, main, named_failures, say, table

if TYPE_CHECKING:
    from services.drill.command import Scenario


@main.command()
@click.option("--studies", default=30, show_default=True, help="Studies before each disaster, half before the backup.")
@click.option(
    "--scenario", "chosen", multiple=True, type=click.Choice(["temporal", "database", "store", "all"]),
    help="Only this disaster; may be given again.",
)  # fmt: skip
@as_json
@named_failures
def drill(studies: int, chosen: tuple[Scenario, ...], as_json: bool) -> None:
    """Lose things on purpose in a hospital of its own, restore and reconcile; status 1 if anything was lost or doubled."""
    from services.drill.command import SCENARIOS, run_drill
    from services.drill.command import as_json as document

    findings = run_drill(studies, chosen or SCENARIOS, say)
    if as_json:
        click.echo(json.dumps(document(findings), indent=2))
    else:
        columns = [
            "lost",
            "studies",
            "since backup",
            "restore s",
            "start s",
            "reconcile s",
            "healed",
            "flagged",
            "no pictures",
        ]
        rows = [
            [
                found.scenario,
                str(found.studies),
                f"{found.since_backup} ({found.decided_since_backup} decided)",
                f"{found.restore_seconds:.1f}",
                f"{found.start_seconds:.1f}",
                f"{found.reconcile_seconds:.1f}",
                f"{found.healed} in {found.passes}",
                str(found.flagged),
                str(found.without_pictures),
            ]
            for found in findings
        ]
        table("drill", columns, rows)
    for found in findings:
        for breach in found.breaches:
            say(f"{found.scenario}: {breach}")
    sys.exit(1 if any(found.breaches for found in findings) else 0)
