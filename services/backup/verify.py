"""Reading a backup back, byte by byte: what is damaged or missing is named by its file."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from schemas.errors import PermanentFailure
from services.backup.manifest import DATABASE, GZIP, OBJECTS, BackupFolder, Manifest
from services.backup.rows import lines_of
from services.backup.sealing import Damaged


@dataclass(frozen=True)
class Fault:
    """One file of the backup, by its path within the folder."""

    file: str
    what: Literal["missing", "damaged"]


def verify_backup(folder: Path, passphrase: bytes | None = None, snapshot: str = "") -> tuple[Manifest, list[Fault]]:
    """One snapshot, by default the newest. `PermanentFailure` where its manifest cannot be believed."""
    backup = BackupFolder(folder, passphrase)
    backup.open()
    manifest = backup.read_manifest(snapshot or backup.newest())
    return manifest, list(faults(backup, manifest))


def faults(backup: BackupFolder, manifest: Manifest) -> Iterator[Fault]:
    whole = set()
    for name, stored in manifest.files.items():
        path = backup.snapshot(manifest.id) / name
        found = _digest_of(path)
        if found == stored.sha256:
            whole.add(name)
        else:
            yield Fault(str(path.relative_to(backup.root)), "missing" if found is None else "damaged")
    if DATABASE in whole and not _rows_agree(backup, manifest):
        yield Fault(str((backup.snapshot(manifest.id) / DATABASE).relative_to(backup.root)), "damaged")
    if OBJECTS in whole:
        for digest, _size in listed(backup, manifest):
            if (what := object_fault(backup, digest)) is not None:
                yield Fault(str(backup.object(digest).relative_to(backup.root)), what)


def object_fault(backup: BackupFolder, digest: str) -> Literal["missing", "damaged"] | None:
    try:
        for _ in read_object(backup, digest):
            pass
    except FileNotFoundError:
        return "missing"
    except (Damaged, OSError):
        return "damaged"
    return None


def read_object(backup: BackupFolder, digest: str) -> Iterator[bytes]:
    """Its bytes; `Damaged` at the end at the latest if they are others."""
    seen = hashlib.sha256()
    with backup.object(digest).open("rb") as file:
        for piece in backup.form.read(file):
            seen.update(piece)
            yield piece
    if seen.hexdigest() != digest:
        raise Damaged


def listed(backup: BackupFolder, manifest: Manifest) -> Iterator[tuple[str, int]]:
    """Address and size of every object of the snapshot."""
    for line in read_lines(backup, manifest, OBJECTS):
        digest, _, size = line.decode("ascii").partition(" ")
        yield digest, int(size)


def read_lines(backup: BackupFolder, manifest: Manifest, file: str) -> Iterator[bytes]:
    """The lines of a compressed file; `PermanentFailure` (`backup-damaged`) where they cannot be had."""
    path = backup.snapshot(manifest.id) / file
    try:
        with path.open("rb") as stored:
            yield from lines_of(_unpacked(backup.form.read(stored)))
    except (OSError, Damaged, zlib.error) as error:
        raise PermanentFailure("backup-damaged", f"snapshots/{manifest.id}/{file} is damaged.") from error


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packed = zlib.decompressobj(GZIP)
    for piece in pieces:
        yield packed.decompress(piece)
    yield packed.flush()
    if not packed.eof:
        raise Damaged


def _rows_agree(backup: BackupFolder, manifest: Manifest) -> bool:
    """Every line is one of a dump, and there are as many as were written."""
    counted, table = Counter[str](), ""
    with suppress(PermanentFailure, ValueError, KeyError, TypeError):
        for line in read_lines(backup, manifest, DATABASE):
            item = orjson.loads(line)
            if isinstance(item, list):
                counted[table] += 1
            else:
                table = item.get("table", "")
        return {**dict.fromkeys(manifest.rows, 0), **counted} == manifest.rows
    return False


def _digest_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
