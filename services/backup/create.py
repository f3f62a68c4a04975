"""Taking a snapshot while the system runs: the rows of one transaction first, then every object they can name.

Objects are written before the rows that name them and never deleted, so a copy of the objects that is younger than the rows holds all of theirs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.volume import MAGIC as VOLUME_MAGIC
from services.backup.manifest import DATABASE, GZIP, KEYS, OBJECTS, BackupFolder, Manifest, StoredFile, write_file
from services.backup.rows import batches, dump, one_view
from services.backup.sealing import PIECE
from services.clients.keyring import read_keyring
from services.db import newest_revision, open_database, present_revision
from services.settings import Settings
from services.store import objects_in


def create_backup(
    settings: Settings, folder: Path, passphrase: bytes | None = None, *, pixels: bool = True
) -> Manifest:
    """One more snapshot in `folder`; without `pixels` the volumes are left out, which the archive has and a reading fetches anew.

    Errors: `PartUnavailable` where database, store or folder refuse, `PermanentFailure` for another schema.
    """
    revision = _revision(settings)
    backup = BackupFolder(folder, passphrase)
    with backup.changing():
        name = _name(backup)
        rows: dict[str, int] = {}
        files = {DATABASE: _database(settings, backup, name, revision, rows)}
        kept, damaged, left_out = _objects(settings.store, backup, pixels=pixels)
        listing = (f"{digest} {size}\n".encode() for digest, size in sorted(kept.items()))
        files[OBJECTS] = _write(backup, name, OBJECTS, listing)
        keys = _keys(settings, backup, name, files) if passphrase is not None else []
        manifest = Manifest(
            id=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            longview=importlib.metadata.version("longview"),
            revision=revision,
            canonical_base=settings.canonical_base,
            tenant=settings.tenant,
            files=files,
            rows=rows,
            objects=len(kept),
            object_bytes=sum(kept.values()),
            damaged_objects=damaged,
            volumes_left_out=left_out,
            key_ids=keys,
        )
        backup.write_manifest(manifest)
    return manifest


def _revision(settings: Settings) -> str:
    found = present_revision(settings.database)
    if found != newest_revision():
        raise PermanentFailure(
            "backup-schema",
            f"the database is at revision {found or 'none'} and this version knows {newest_revision()}: "
            "take the backup with the version that wrote it.",
        )
    return found


def _name(backup: BackupFolder) -> str:
    """The moment in UTC; a second one within a second gets a number."""
    moment, taken = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", set(backup.snapshots())
    return next(n for i in range(len(taken) + 1) if (n := f"{moment}-{i}" if i else moment) not in taken)


def _database(settings: Settings, backup: BackupFolder, name: str, revision: str, rows: dict[str, int]) -> StoredFile:
    database = open_database(settings.database)
    try:
        with one_view(database) as connection:
            return _write(backup, name, DATABASE, dump(connection, revision, rows))
    finally:
        database.close()


def _write(backup: BackupFolder, name: str, file: str, lines: Iterable[bytes]) -> StoredFile:
    return write_file(backup.snapshot(name) / file, backup.form.write(_compressed(batches(lines))))


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


# -- objects -------------------------------------------------------------------------------------------------------------------


def _objects(store: Path, backup: BackupFolder, *, pixels: bool) -> tuple[dict[str, int], int, int]:
    """Copy what the backup lacks; the sizes of all by address, how many are not what their address says, and how many volumes were left out."""
    kept, damaged, left_out = dict[str, int](), 0, 0
    for path in objects_in(store):
        if not pixels and _is_volume(path):
            left_out += 1
            continue
        size, target = path.stat().st_size, backup.object(path.name)
        if not (target.exists() and target.stat().st_size == backup.form.size(size)):
            try:
                write_file(target, backup.form.write(_checked(path)))
            except PermanentFailure:
                damaged += 1
                continue
        kept[path.name] = size
    return kept, damaged, left_out


def _is_volume(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(VOLUME_MAGIC)) == VOLUME_MAGIC


def _checked(path: Path) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != path.name:
        raise PermanentFailure("object-corrupt", "an object of the store does not match its address")


# -- keys ----------------------------------------------------------------------------------------------------------------------


def _keys(settings: Settings, backup: BackupFolder, name: str, files: dict[str, StoredFile]) -> list[str]:
    if not settings.payload_key_file:
        raise PartUnavailable(
            "backup-keys",
            "LONGVIEW_PAYLOAD_KEY_FILE is not set: the payload keys belong into a backup with passphrase.",
        )
    path = Path(settings.payload_key_file)
    ring = read_keyring(path)
    files[KEYS] = write_file(backup.snapshot(name) / KEYS, backup.form.write([path.read_bytes()]))
    return [key.id for key in ring.keys]
