"""Backups: make, list, verify, restore."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, show_rows

if TYPE_CHECKING:
    from services.backup import Part
    from services.settings import Settings

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
_PASSPHRASE = click.option(
    "--passphrase-file", "secret", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="File with the passphrase that seals the backup.",
)  # fmt: skip
_SNAPSHOT = click.option("--snapshot", default="", metavar="ID", help="Another one than the newest.")
NO_KEYS = (
    "the backup holds NO payload keys and is not encrypted: keep LONGVIEW_PAYLOAD_KEY_FILE elsewhere, since without it "
    "whatever Temporal's own backup holds cannot be read; or give --passphrase-file."
)


@main.group()
def backup() -> None:
    """Database, object store and payload keys: make a backup, read it back, restore it."""


@backup.command("create")
@_FOLDER
@_PASSPHRASE
@click.option("--without-pixels", is_flag=True, help="Leave the volumes out: the archive has them.")
@as_json
@named_failures
def backup_create(folder: Path, secret: Path | None, without_pixels: bool, as_json: bool) -> None:
    """Add a snapshot to DIR while the system runs; objects that DIR holds already are not copied again."""
    from services.backup import create_backup

    manifest = create_backup(_settings(), folder, _passphrase(secret), pixels=not without_pixels)
    if as_json:
        click.echo(manifest.model_dump_json(indent=2))
    else:
        click.echo(f"{manifest.id}: {sum(manifest.rows.values())} rows, {manifest.objects} objects")
    if not manifest.key_ids:
        say(NO_KEYS)
    if manifest.damaged_objects:
        say(f"{manifest.damaged_objects} objects of the store are damaged and are in no backup: 'longview doctor'.")
    sys.exit(1 if manifest.damaged_objects else 0)


@backup.command("list")
@_FOLDER
@_PASSPHRASE
@as_json
@named_failures
def backup_list(folder: Path, secret: Path | None, as_json: bool) -> None:
    """The snapshots in DIR, oldest first."""
    from services.backup.manifest import BackupFolder

    there = BackupFolder(folder, _passphrase(secret))
    there.open()
    found = [there.read_manifest(name) for name in there.snapshots()]
    rows = [m.model_dump(include={"id", "created", "longview", "revision", "objects", "object_bytes"}) for m in found]
    show_rows("snapshots", rows, as_json, ("id", "created", "longview", "revision", "objects", "object_bytes"))


@backup.command("verify")
@_FOLDER
@_PASSPHRASE
@_SNAPSHOT
@as_json
@named_failures
def backup_verify(folder: Path, secret: Path | None, snapshot: str, as_json: bool) -> None:
    """Read a snapshot back byte by byte; names each file that is damaged or missing, with status 1."""
    from services.backup import verify_backup

    manifest, faults = verify_backup(folder, _passphrase(secret), snapshot)
    if as_json:
        click.echo(json.dumps({"snapshot": manifest.id, "faults": [asdict(fault) for fault in faults]}, indent=2))
    else:
        for fault in faults:
            say(f"{fault.file}: {fault.what}")
        click.echo(f"{manifest.id}: {'whole' if not faults else f'{len(faults)} files are damaged or missing'}")
    if faults:
        say("objects: delete the damaged files and make a new snapshot, which copies them again from the store.")
    sys.exit(1 if faults else 0)


@backup.command("restore")
@_FOLDER
@_PASSPHRASE
@_SNAPSHOT
@click.option(
    "--into",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="A state folder, in place of what the settings name.",
)
@click.option(
    "--only", "parts", multiple=True, type=click.Choice(["database", "objects", "keys"]), help="May be given again."
)
@click.option("--fill", is_flag=True, help="Put back what a store lacks that is not empty.")
@named_failures
def backup_restore(
    folder: Path, secret: Path | None, snapshot: str, into: Path | None, parts: tuple[Part, ...], fill: bool
) -> None:
    """Restore a snapshot into an empty database, store and key file. Stop Longview first; start it and reconcile afterwards."""
    from services.backup import restore_backup

    settings = read_settings() if into else _settings()
    if into:
        key_file = str(into / "payload.key")
        settings = replace(settings, state_dir=str(into), store_dir="", database_url="", payload_key_file=key_file)
    wanted: tuple[Part, ...] = parts or ("database", "objects", "keys")
    done = restore_backup(settings, folder, _passphrase(secret), snapshot, wanted, fill=fill)
    click.echo(f"{done.snapshot} of {done.created}: {done.rows} rows, {done.objects} objects, {done.keys} keys")
    say("start Longview, then 'longview reconcile --now' finds what happened after the backup (docs/recovery.md).")


def _settings() -> Settings:
    """Those in force, with the key file that `longview up` has made."""
    from services.parts.launcher import connected_settings

    return connected_settings(read_settings())


def _passphrase(file: Path | None) -> bytes | None:
    from schemas.errors import PartUnavailable

    if file is None:
        return None
    try:
        found = file.read_bytes().strip()
    except OSError as error:
        raise PartUnavailable("backup-passphrase", "the passphrase file cannot be read: check its name.") from error
    if len(found) < LEAST_PASSPHRASE:
        raise PartUnavailable(
            "backup-passphrase",
            f"the passphrase has fewer than {LEAST_PASSPHRASE} characters: make one with 'openssl rand -base64 32'.",
        )
    return found


LEAST_PASSPHRASE = 16
