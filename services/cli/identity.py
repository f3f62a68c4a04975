"""Who we are to others: the keys of payloads, and the key pair and scopes at the FHIR server's authorization server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from services.cli.base import as_json, fail, main, named_failures, read_settings, say, show_rows
from services.cli.definitions import fhir

KEYRING = {
    "output": click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the ring to this file instead (mode 0600).",
    ),
    "shown": click.option(
        "--print", "shown", is_flag=True, help="Write the ring to standard output instead, for a pipe."
    ),
}
SECRET_MINUTES = 10
"""Time enough for every kubelet to bring a Secret to its pods."""


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

    shown = ("id", "created_at", "days", "use", "from_at")
    show_rows("keys", list_keys(connected_settings(read_settings())), as_json, shown)


@keys.command("rotate")
@click.option("--use-in", "minutes", type=click.IntRange(min=0), help="Minutes until the new key encrypts.")
@KEYRING["output"]
@KEYRING["shown"]
@named_failures
def keys_rotate(minutes: int | None, output: Path | None, shown: bool) -> None:
    """Add a key, which decrypts at once and encrypts when its time has come; the older ones still decrypt.

    In the file itself it encrypts at once. With --output or --print the file stays as it is, and the key waits ten minutes, in which every process
    must have got the new ring.
    """
    from services.operate import rotate_keys
    from services.parts.launcher import connected_settings

    _refuse_terminal(shown)
    away = shown or output is not None
    wait = minutes if minutes is not None else SECRET_MINUTES if away else 0
    key_id, ring = rotate_keys(connected_settings(read_settings()), wait, in_place=not away)
    _hand_over(ring, output, shown)
    click.echo(key_id, err=shown)


@keys.command("remove")
@click.argument("key_id")
@KEYRING["output"]
@KEYRING["shown"]
@named_failures
def keys_remove(key_id: str, output: Path | None, shown: bool) -> None:
    """Take an old key away: only when 'longview keys check' says that nothing needs it."""
    from services.operate import remove_key
    from services.parts.launcher import connected_settings

    _refuse_terminal(shown)
    ring = remove_key(connected_settings(read_settings()), key_id, in_place=not (shown or output))
    _hand_over(ring, output, shown)
    say("removed")


@keys.command("check")
@as_json
@named_failures
def keys_check(as_json: bool) -> None:
    """Which keys runs and schedules in Temporal may still need. Status 1 while an old key cannot go yet."""
    from services.operate import check_keys
    from services.parts.launcher import connected_settings

    rows = check_keys(connected_settings(read_settings()))
    show_rows("keys", rows, as_json, ("id", "use", "open", "closed", "schedules", "verdict"))
    if any(row["use"] == "decrypts" and not row["removable"] for row in rows):
        sys.exit(1)


def _refuse_terminal(shown: bool) -> None:
    if shown and sys.stdout.isatty():
        fail("--print writes keys in the clear: send it into a pipe, or use --output.")


def _hand_over(ring: bytes, output: Path | None, shown: bool) -> None:
    from services.private_file import replace_file

    if output is not None:
        try:
            replace_file(output, ring)
        except OSError:
            fail("the file of --output cannot be written: name another.")
    if shown:
        click.echo(ring, nl=False)


# -- the FHIR server's authorization server --------------------------------------------------------------------------------------


@fhir.command("key")
@click.option("--kind", type=click.Choice(["ES384", "RS384"]), default="ES384", show_default=True, help="Of a new key.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: LONGVIEW_FHIR_KEY_FILE.")
@click.option("--public", is_flag=True, help="Make no key; only print what is registered.")
@named_failures
def fhir_key(kind: str, output: Path | None, public: bool) -> None:
    """Add a key pair that signs our requests for access tokens, and print the public keys (JWKS) to register."""
    from services.clients.smart_keys import add_key, read_keys

    path = output or Path(_key_file())
    found = read_keys(path) if public else add_key(path, kind)
    click.echo(json.dumps(found.public(), indent=2))


def _key_file() -> str:
    """Read without the other settings: the key is made before there is a client id to go with it."""
    return os.environ.get("LONGVIEW_FHIR_KEY_FILE") or fail(
        "LONGVIEW_FHIR_KEY_FILE is not set: set it, or give --output."
    )


@fhir.command("scopes")
@named_failures
def fhir_scopes() -> None:
    """The scopes that Longview asks for, one a line: what the authorization server is to grant our client id."""
    from services.clients.smart_scopes import needed

    for scope in os.environ.get("LONGVIEW_FHIR_SCOPES", "").split() or needed():
        click.echo(scope)
