"""Bringing a snapshot back into an empty place: keys first, then objects, the rows last, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import PartUnavailable, PermanentFailure
from services.backup.manifest import DATABASE, KEYS, BackupFolder, Manifest, write_file
from services.backup.rows import is_empty, load
from services.backup.verify import faults, listed, read_lines, read_object
from services.clients.keyring import read_keyring
from services.db import migrate, newest_revision, open_database, present_revision
from services.private_file import replace_file
from services.settings import Settings
from services.store import objects_in, place_of

Part = Literal["database", "objects", "keys"]
NAMED = 3
"""How many damaged files a refusal names; `longview backup verify` names all."""


@dataclass(frozen=True)
class Restored:
    """What came back."""

    snapshot: str
    created: str
    rows: int
    objects: int
    """Objects that were copied; those that were there already are not counted."""
    keys: int


def restore_backup(
    settings: Settings,
    folder: Path,
    passphrase: bytes | None = None,
    snapshot: str = "",
    parts: Collection[Part] = ("database", "objects", "keys"),
    *,
    fill: bool = False,
) -> Restored:
    """Restore into what the settings name; nothing is touched before the whole backup was read and the targets are known to be empty.

    `fill`: an object store that holds some objects gets those that are missing or damaged. `PermanentFailure` says what is in the way:
    `backup-damaged`, `backup-newer`, `backup-tenant`, `restore-not-empty`, `backup-keys`.
    """
    backup = BackupFolder(folder, passphrase)
    backup.open()
    manifest = backup.read_manifest(snapshot or backup.newest())
    _refuse_unfit(settings, manifest)
    _refuse_damaged(backup, manifest)
    _refuse_full(settings, manifest, parts, fill=fill)
    try:
        keys = _keys(settings, backup, manifest) if "keys" in parts and manifest.key_ids else 0
        objects = _objects(settings.store, backup, manifest) if "objects" in parts else 0
        rows = _rows(settings, backup, manifest) if "database" in parts else 0
    except OSError as error:
        raise PartUnavailable(
            "restore-target", f"the target cannot be written ({error.strerror}): check its folder and the free space."
        ) from error
    return Restored(manifest.id, manifest.created, rows, objects, keys)


# -- what is in the way --------------------------------------------------------------------------------------------------------


def _refuse_unfit(settings: Settings, manifest: Manifest) -> None:
    if manifest.revision > newest_revision():
        raise PermanentFailure(
            "backup-newer",
            f"the backup has schema {manifest.revision}, this version knows {newest_revision()}: restore it with Longview {manifest.longview}.",
        )
    if (manifest.canonical_base, manifest.tenant) != (settings.canonical_base, settings.tenant):
        raise PermanentFailure(
            "backup-tenant",
            "the backup is of another LONGVIEW_CANONICAL_BASE or LONGVIEW_TENANT, which enter every identifier: set those.",
        )


def _refuse_damaged(backup: BackupFolder, manifest: Manifest) -> None:
    found = list(faults(backup, manifest))
    if found:
        named = ", ".join(f"{fault.file} ({fault.what})" for fault in found[:NAMED])
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise PermanentFailure("backup-damaged", f"{named}{more}: restore another snapshot.")


def _refuse_full(settings: Settings, manifest: Manifest, parts: Collection[Part], *, fill: bool) -> None:
    if "keys" in parts and manifest.key_ids and not _keys_fit(Path(settings.require("payload_key_file")), manifest):
        raise PermanentFailure(
            "restore-not-empty", "the key file is there and holds other keys: move it away, or leave keys out."
        )
    if "objects" in parts and not fill and next(objects_in(settings.store), None) is not None:
        raise PermanentFailure(
            "restore-not-empty", "the object store holds objects: empty it, or give --fill to put back what is missing."
        )
    if "database" in parts and present_revision(settings.database) is not None:
        _refuse_rows(settings, manifest)


def _keys_fit(path: Path, manifest: Manifest) -> bool:
    """No file, or one with every key of the backup (and perhaps newer ones)."""
    return not path.exists() or set(manifest.key_ids) <= {key.id for key in read_keyring(path).keys}


def _refuse_rows(settings: Settings, manifest: Manifest) -> None:
    if present_revision(settings.database) != manifest.revision:
        raise PermanentFailure(
            "restore-not-empty",
            f"the database has a schema already, and another one than the backup's ({manifest.revision}): give an empty database.",
        )
    database = open_database(settings.database)
    try:
        with database.engine.begin() as connection:
            empty = is_empty(connection)
    finally:
        database.close()
    if not empty:
        raise PermanentFailure("restore-not-empty", "the database holds rows: give an empty database.")


# -- bringing back -------------------------------------------------------------------------------------------------------------


def _keys(settings: Settings, backup: BackupFolder, manifest: Manifest) -> int:
    path = Path(settings.payload_key_file)
    if path.exists():
        return 0
    with (backup.snapshot(manifest.id) / KEYS).open("rb") as stored:
        ring = b"".join(backup.form.read(stored))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, ring)
    return len(manifest.key_ids)


def _objects(store: Path, backup: BackupFolder, manifest: Manifest) -> int:
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = 0
    for digest, size in listed(backup, manifest):
        target = place_of(store, digest)
        if not _whole(target, size):
            write_file(target, read_object(backup, digest))
            copied += 1
    return copied


def _whole(path: Path, size: int) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == path.name


def _rows(settings: Settings, backup: BackupFolder, manifest: Manifest) -> int:
    """In the schema that the backup has; what came after it is migrated with the rows."""
    migrate(settings.database, to=manifest.revision)
    database = open_database(settings.database)
    try:
        with database.engine.execution_options(longview_write=True).begin() as connection:
            if not is_empty(connection):
                raise PermanentFailure(
                    "restore-not-empty", "the database was written to meanwhile: stop Longview first."
                )
            rows = load(connection, read_lines(backup, manifest, DATABASE))
            if rows != {**dict.fromkeys(rows, 0), **manifest.rows}:
                raise PermanentFailure("backup-damaged", "the rows of the database are fewer than were written.")
    finally:
        database.close()
    migrate(settings.database)
    return sum(rows.values())
