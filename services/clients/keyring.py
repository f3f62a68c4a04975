"""The keys that encrypt Temporal's payloads: the newest one encrypts, every older one still decrypts what it once encrypted.

A file holds either one key of 32 bytes in base64 (the form that `longview up` makes), or a keyring as JSON::

    {"version": 1, "keys": [{"id": "3f6c...", "created": "2026-11-25T08:00:00Z", "key": "<base64>"}, ...]}

with the newest key last. An id is derived from its key, so that a key has the same id wherever it lies; it travels in each payload's metadata.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.telemetry.fields import fields
from services.private_file import locked, replace_file

log = logging.getLogger(__name__)
KEY_BYTES = 32
ID_LENGTH = 16
LOOK_SECONDS = 5.0
"""How often a process that encrypts looks whether its key file has changed."""


@dataclass(frozen=True)
class PayloadKey:
    """One AES-256 key; `created` is RFC 3339 in UTC. Its bytes are in no `repr`."""

    secret: bytes
    created: str

    @property
    def id(self) -> str:
        return hashlib.sha256(b"longview payload key\n" + self.secret).hexdigest()[:ID_LENGTH]

    def __repr__(self) -> str:
        return f"PayloadKey({self.id})"


@dataclass(frozen=True)
class Keyring:
    """One key or more, oldest first."""

    keys: tuple[PayloadKey, ...]

    @property
    def newest(self) -> PayloadKey:
        return self.keys[-1]

    @property
    def oldest(self) -> PayloadKey:
        return self.keys[0]

    def find(self, key_id: str) -> PayloadKey | None:
        return next((key for key in self.keys if key.id == key_id), None)


class KeySource:
    """Keys that cannot change: for tests, and for one short command."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def current(self) -> Keyring:
        """The ring to encrypt with."""
        return self._ring

    def find(self, key_id: str) -> PayloadKey:
        """The key of this id; `PermanentFailure` (`payload-key-unknown`) if it is not on the ring."""
        key = self._ring.find(key_id)
        if key is None:
            raise PermanentFailure(
                "payload-key-unknown",
                "a Temporal payload was encrypted with another key, which is not on the keyring: bring that key back",
            )
        return key


class KeyFile(KeySource):
    """Keys of a file, read again when it has changed: every few seconds before encrypting, and at once for an id that is not known yet."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._stamp = _stamp(path)
        self._looked = clock()
        super().__init__(read_keyring(path))

    def current(self) -> Keyring:
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._read_again()
        return self._ring

    def find(self, key_id: str) -> PayloadKey:
        if self._ring.find(key_id) is None:
            self._read_again()
        return super().find(key_id)

    def _read_again(self) -> None:
        """A file that is gone or broken for the moment changes nothing: the keys that are known go on working."""
        self._looked = self._clock()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            self._ring = read_keyring(self._path)
        except PartUnavailable as error:
            log.warning("payload-keys-not-read", extra=fields(code=error.code))
            return
        self._stamp = stamp


def fixed(secret: bytes) -> KeySource:
    """A ring of one key."""
    return KeySource(Keyring((PayloadKey(_checked(secret), _rfc3339(0.0)),)))


# -- the file ------------------------------------------------------------------------------------------------------------------


def read_keyring(path: Path) -> Keyring:
    """The keys of the file; `PartUnavailable` (`payload-key`) says what is wrong with it."""
    try:
        data, made = path.read_bytes().strip(), path.stat().st_mtime
    except OSError as error:
        raise PartUnavailable(
            "payload-key", "LONGVIEW_PAYLOAD_KEY_FILE cannot be read: point it at 32 bytes in base64, or at a keyring."
        ) from error
    if not data.startswith(b"{"):
        return Keyring((PayloadKey(_checked(_decoded(data)), _rfc3339(made)),))
    try:
        ring = Keyring(tuple(_entry(entry) for entry in orjson.loads(data)["keys"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PartUnavailable("payload-key", "the keyring cannot be read: restore it from its backup.") from error
    if not ring.keys or len({key.id for key in ring.keys}) != len(ring.keys):
        raise PartUnavailable("payload-key", "the keyring is empty or names a key twice: restore it from its backup.")
    return ring


def rotate(path: Path, now: datetime) -> PayloadKey:
    """Add a key, which encrypts from now on. Atomic; two rotations at once are one after the other."""
    with _changing(path):
        ring, key = read_keyring(path), PayloadKey(os.urandom(KEY_BYTES), _rfc3339(now.timestamp()))
        _write(path, Keyring((*ring.keys, key)))
        return key


def remove(path: Path, key_id: str) -> None:
    """Take an old key away; the newest one stays. What it has encrypted cannot be read any more."""
    with _changing(path):
        ring = read_keyring(path)
        if ring.find(key_id) is None:
            raise PermanentFailure(
                "payload-key-unknown", "no key of this id is on the keyring: see 'longview keys list'."
            )
        if ring.newest.id == key_id:
            raise PermanentFailure("payload-key-in-use", "the newest key encrypts: rotate first, then remove it.")
        _write(path, Keyring(tuple(key for key in ring.keys if key.id != key_id)))


def _entry(entry: dict[str, Any]) -> PayloadKey:
    key = PayloadKey(_checked(_decoded(entry["key"].encode())), str(entry["created"]))
    datetime.fromisoformat(key.created)
    if entry["id"] != key.id:
        raise ValueError("the id is not this key's")
    return key


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PartUnavailable(
            "payload-key", "a payload key is not base64: make one with 'openssl rand -base64 32'."
        ) from error


def _checked(secret: bytes) -> bytes:
    if len(secret) != KEY_BYTES:
        raise PartUnavailable(
            "payload-key", "the payload key is not 32 bytes long: make one with 'openssl rand -base64 32'."
        )
    return secret


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(path))
        except OSError as error:
            raise PartUnavailable(
                "payload-key", "the key file's folder cannot be written: rotate where the file is kept."
            ) from error
        yield


def _write(path: Path, ring: Keyring) -> None:
    keys = [{"id": k.id, "created": k.created, "key": base64.b64encode(k.secret).decode()} for k in ring.keys]
    replace_file(path, orjson.dumps({"version": 1, "keys": keys}, option=orjson.OPT_INDENT_2) + b"\n")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
