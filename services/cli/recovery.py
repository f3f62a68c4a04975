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


@main.command()
@click.option(
    "--studies-per-day", "studies", required=True, type=click.IntRange(min=1), help="Studies to be read a day."
)
@click.option("--peak-factor", type=click.FloatRange(min=1), help="Busiest hour over the day's mean.")
@click.option("--headroom", type=click.FloatRange(0.05, 1), help="Part of what a process could do that is used.")
@click.option("--gpu-seconds", type=click.FloatRange(min=0.01), help="GPU seconds a study: measure them on your cards.")
@click.option("--answer-seconds", type=click.FloatRange(min=0), help="How long a worker waits for the model's answers.")
@click.option("--study-megabytes", type=click.FloatRange(min=0.01), help="Pixels of one study, uncompressed.")
@click.option("--priors", type=click.FloatRange(min=0), help="Prior studies fetched for each.")
@click.option("--fhir-connections", type=click.FloatRange(min=1), help="What the FHIR server works on at a time.")
@click.option("--archive-gigabits", type=click.FloatRange(min=0.01), help="Network between workers and archive.")
@as_json
@named_failures
def plan(studies: int, as_json: bool, **given: float | None) -> None:
    """What so many studies a day need, and which part gives way first; status 1 if one cannot carry them."""
    from dataclasses import asdict

    from services.plan import CONSTANTS, Demand
    from services.plan import plan as planned

    found = planned(Demand(studies, **{name: value for name, value in given.items() if value is not None}))
    if as_json:
        constants = {name: asdict(constant) for name, constant in CONSTANTS.items()}
        click.echo(json.dumps(asdict(found) | {"constants": constants}, indent=2))
    else:
        rows = [[line.kind, line.name, f"{_figure(line.amount)} {line.unit}".strip(), line.why] for line in found.lines]
        table(
            f"{studies:,} studies a day, {found.demand.peak:.2f} a second at the peak",
            ["", "what", "amount", "why"],
            rows,
        )
        limits = [[each.name, f"{each.studies_per_day:,}", each.mend] for each in found.ceilings]
        table("where it breaks first", ["part", "studies a day", "then"], limits)
    if not found.carried:
        say(f"{found.ceilings[0].name} does not carry this: {found.ceilings[0].mend}.")
    sys.exit(0 if found.carried else 1)


def _figure(amount: float) -> str:
    """Three digits that count, or the whole number."""
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:.3g}"
