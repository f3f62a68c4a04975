"""The content-addressed object store on a folder: an object's address is the SHA-256 of its bytes.

Objects are PHI (pixels, charts): the folder is created for its owner alone. Writing is atomic (temporary file, fsync, rename), so a
killed process leaves either a whole object or none, and writing the same bytes twice is writing them once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.errors import PermanentFailure, TransientFailure

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderObjectStore:
    """Objects as files `root/ab/cd/<sha256>`."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ask(self) -> None:
        """`TransientFailure` if nothing can be written now; whoever asks notices by itself that no answer comes."""
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise TransientFailure("store-unavailable", "the object store's folder is gone, or may not be written")

    def put(self, data: bytes | Iterable[bytes | memoryview]) -> str:
        """Store the bytes (or buffers, one after the other) and return their address.

        `TransientFailure`: `store-full`, `store-unavailable`.
        """
        try:
            return self._put([data] if isinstance(data, bytes) else data)
        except OSError as error:
            raise _away(error) from error

    def _put(self, buffers: Iterable[bytes | memoryview]) -> str:
        digest = hashlib.sha256()
        handle, temporary = tempfile.mkstemp(prefix=".put-", dir=self._root)
        try:
            with os.fdopen(handle, "wb") as file:
                for buffer in buffers:
                    digest.update(buffer)
                    file.write(buffer)
                file.flush()
                os.fsync(file.fileno())
            address = digest.hexdigest()
            target = self.path(address)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return address

    def get(self, digest: str) -> bytes:
        """The bytes, checked against their address."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise _away(error) from error
            raise PermanentFailure("object-missing", "an object of this run is no longer in the store") from error
        except OSError as error:
            raise _away(error) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise PermanentFailure("object-corrupt", "an object of this run does not match its address")
        return data

    def path(self, digest: str) -> Path:
        """Where the object lies (or would lie); a digest is never taken for a path."""
        if not _DIGEST.fullmatch(digest):
            raise PermanentFailure("object-address", "an address is not a SHA-256")
        return place_of(self._root, digest)


def _away(error: OSError) -> TransientFailure:
    """A volume that is full, gone or remounted comes back; the operator is told which it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TransientFailure("store-full", "the object store's volume is full: make room")
    return TransientFailure("store-unavailable", "the object store's folder cannot be read or written now")


def place_of(root: Path, digest: str) -> Path:
    """Where an object of this address lies below `root`."""
    return root / digest[:2] / digest[2:4] / digest


def objects_in(root: Path) -> Iterator[Path]:
    """Every object below `root`."""
    return (path for path in root.glob("??/??/*") if _DIGEST.fullmatch(path.name))
