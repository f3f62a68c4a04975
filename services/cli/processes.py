"""Our processes, one each, for a scheduler of your own; and the keys of what they exchange."""

from __future__ import annotations

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, show_rows


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


@main.group()
def keys() -> None:
    """The keys that encrypt Temporal's payloads."""


@keys.command("list")
@as_json
@named_failures
def keys_list(as_json: bool) -> None:
    """Ids and ages, newest first; never a key."""
    from services.operate import list_keys
    from services.parts.launcher import connected_settings

    show_rows("keys", list_keys(connected_settings(read_settings())), as_json, ("id", "created_at", "days", "use"))


@keys.command("rotate")
@named_failures
def keys_rotate() -> None:
    """Add a key, which encrypts from now on; the older ones still decrypt."""
    from services.operate import rotate_keys
    from services.parts.launcher import connected_settings

    click.echo(rotate_keys(connected_settings(read_settings())))


@keys.command("remove")
@click.argument("key_id")
@named_failures
def keys_remove(key_id: str) -> None:
    """Take an old key away: only when every workflow that used it has closed."""
    from services.operate import remove_key
    from services.parts.launcher import connected_settings

    remove_key(connected_settings(read_settings()), key_id)
    say("removed")
