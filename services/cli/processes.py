"""Our processes, one each, for a scheduler of your own."""

from __future__ import annotations

import click

from services.cli.base import main, named_failures, read_settings


@main.command()
@named_failures
def gateway() -> None:
    """Run the gateway until it is told to stop: events from the bus to Temporal, and results to the bus."""
    from services.bootstrap import gateway, run_process

    run_process(gateway, read_settings())


@main.command()
@named_failures
def worker() -> None:
    """Run a worker until it is told to stop: workflows and their activities."""
    from services.bootstrap import run_process, worker

    run_process(worker, read_settings())


@main.command()
@click.option("--port", type=int, help="Port to listen on (default: LONGVIEW_INBOX_PORT).")
@named_failures
def inbox(port: int | None) -> None:
    """Run the clinicians' inbox until it is told to stop."""
    from dataclasses import replace

    from services.bootstrap import inbox, run_process

    settings = read_settings()
    run_process(inbox, settings if port is None else replace(settings, inbox_port=str(port)))


@main.command()
@click.option("--add-user", "add", metavar="NAME", help="Give NAME a token, shown once; an older one of NAME ends.")
@click.option("--remove-user", "remove", metavar="NAME", help="NAME may no longer log in.")
@named_failures
def codec(add: str | None, remove: str | None) -> None:
    """Run the codec server, where operators see what Temporal's payloads say, until it is told to stop."""
    from services.bootstrap import codec, run_process
    from services.operate import change_operators
    from services.parts.launcher import connected_settings

    settings = connected_settings(read_settings())
    if not add and not remove:
        run_process(codec, settings)
    elif token := change_operators(settings, add=add or "", remove=remove or ""):
        click.echo(token)


@main.command()
def metrics() -> None:
    """Every metric that is scraped from our processes, as Markdown (docs/metrics.md)."""
    from services.operations.reference import reference

    click.echo(reference(), nl=False)
