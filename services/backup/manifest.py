"""The folder of a backup: its form, its snapshots, its manifests, and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from pydantic import ValidationError

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.identifiers import canonical_json
from schemas.model import Record
from services.backup.sealing import SALT_BYTES, Form, Plain, Sealed
from services.private_file import locked, replace_file
from services.store import place_of

FORMAT = 1
GZIP = 31
"""zlib's `wbits` for the format of gzip, in which rows and lists are kept."""
DATABASE, OBJECTS, KEYS = "database", "objects", "keys"
_SNAPSHOT = re.compile(r"\d{8}T\d{6}Z(-\d+)?")


class StoredFile(Record):
    """What lies on the disk: the digest and length of its bytes, sealed or not."""

    sha256: str
    size: int


class Manifest(Record):
    """One snapshot."""

    id: str
    created: str
    longview: str
    """Version of the package that made it."""
    revision: str
    """Schema revision of the database."""
    canonical_base: str
    tenant: str
    """They enter every identifier: a backup is restored under the same names alone."""
    files: dict[str, StoredFile]
    rows: dict[str, int]
    """Rows by table."""
    objects: int
    object_bytes: int
    damaged_objects: int
    """Objects that the store held and that did not match their address: they are in no backup."""
    volumes_left_out: int = 0
    """Volumes that the archive has: they were not asked for."""
    key_ids: list[str]
    """The payload keys in it; none without a passphrase."""


class BackupFolder:
    """An existing or new backup; with a `passphrase` (bytes) its files are sealed."""

    def __init__(self, root: Path, passphrase: bytes | None) -> None:
        self.root = root.resolve()
        self._passphrase = passphrase
        self.form: Form = Plain()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Made if it is not there, and written by one process at a time; `PartUnavailable` where the disk refuses."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.root / "backup.json"):
                if not (self.root / "backup.json").exists():
                    self._begin()
                self.open()
                yield
        except OSError as error:
            raise PartUnavailable(
                "backup-folder",
                f"the backup cannot be written ({error.strerror}): check its folder and the free space.",
            ) from error

    def open(self) -> None:
        """`PermanentFailure` (`backup-passphrase`, `backup-unknown`) where the passphrase or the folder is the wrong one."""
        try:
            head = orjson.loads((self.root / "backup.json").read_bytes())
            version, salt, check = int(head["version"]), bytes.fromhex(head["salt"]), str(head["check"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentFailure("backup-unknown", "there is no backup in this folder: name another one.") from error
        if version != FORMAT:
            raise PermanentFailure("backup-unknown", "the backup has a newer format: use a newer version of Longview.")
        if bool(salt) != (self._passphrase is not None):
            want = "needs its passphrase: give --passphrase-file" if salt else "has no passphrase: leave it away"
            raise PermanentFailure("backup-passphrase", f"the backup {want}.")
        self.form = Sealed(self._passphrase, salt) if self._passphrase is not None else Plain()
        if not secrets.compare_digest(self.form.authenticate(salt), check):
            raise PermanentFailure("backup-passphrase", "the passphrase is not that of the backup.")

    def _begin(self) -> None:
        salt = os.urandom(SALT_BYTES) if self._passphrase is not None else b""
        form = Sealed(self._passphrase, salt) if self._passphrase is not None else Plain()
        head = {"version": FORMAT, "salt": salt.hex(), "check": form.authenticate(salt)}
        replace_file(self.root / "backup.json", orjson.dumps(head))

    # -- snapshots

    def snapshots(self) -> list[str]:
        """Ids of the snapshots that are whole, oldest first."""
        found = (path.parent.name for path in self.root.glob("snapshots/*/manifest.json"))
        return sorted(name for name in found if _SNAPSHOT.fullmatch(name))

    def newest(self) -> str:
        if not (found := self.snapshots()):
            raise PermanentFailure("backup-empty", "there is no snapshot in this backup: make one, or name another.")
        return found[-1]

    def snapshot(self, name: str) -> Path:
        return self.root / "snapshots" / name

    def object(self, digest: str) -> Path:
        return place_of(self.root / "objects", digest)

    def write_manifest(self, manifest: Manifest) -> None:
        body = canonical_json(manifest.model_dump(mode="json"))
        whole = {"manifest": orjson.loads(body), "authentication": self.form.authenticate(body)}
        replace_file(self.snapshot(manifest.id) / "manifest.json", orjson.dumps(whole, option=orjson.OPT_INDENT_2))

    def read_manifest(self, name: str) -> Manifest:
        """`PermanentFailure` (`backup-damaged`) if it is not what was written."""
        try:
            whole = orjson.loads((self.snapshot(name) / "manifest.json").read_bytes())
            expected = self.form.authenticate(canonical_json(whole["manifest"]))
            if not secrets.compare_digest(expected, str(whole["authentication"])):
                raise ValueError("another manifest was written")
            return Manifest.model_validate(whole["manifest"])
        except FileNotFoundError:
            raise PermanentFailure(
                "backup-snapshot", "there is no such snapshot: see 'longview backup list'."
            ) from None
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise PermanentFailure(
                "backup-damaged", f"snapshots/{name}/manifest.json is damaged: take another snapshot."
            ) from error


def write_file(path: Path, data: Iterable[bytes]) -> StoredFile:
    """On the disk under its name only when it is whole; mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in data:
                digest.update(piece)
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return StoredFile(sha256=digest.hexdigest(), size=size)
