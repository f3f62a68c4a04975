"""The keys that encrypt Temporal's payloads: the newest one in use encrypts, every other one decrypts what it encrypts elsewhere or once encrypted.

A file holds either one key of 32 bytes in base64 (the form that `longview up` makes), or a keyring as JSON::

    {"version": 1, "keys": [{"id": "3f6c...", "created": "2026-11-25T08:00:00Z", "key": "<base64>"}, ...]}

with the newest key last. An id is derived from its key, so that a key has the same id wherever it lies; it travels in each payload's metadata.
A key with `use_from` decrypts at once and encrypts from then on: by that time every process must have the file (a mounted Secret takes a minute).
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.telemetry.fields import fields
from services.private_file import locked, replace_file
from services.secret_file import stamp

log = logging.getLogger(__name__)
KEY_BYTES = 32
ID_LENGTH = 16
LOOK_SECONDS = 5.0
"""How often a process that encrypts looks whether its key file has changed."""


@dataclass(frozen=True)
class PayloadKey:
    """One AES-256 key; times are RFC 3339 in UTC, and it encrypts from `use_from` on ("": since it was made). Its bytes are in no `repr`."""

    secret: bytes
    created: str
    use_from: str = ""

    @property
    def encrypts_from(self) -> datetime:
        return datetime.fromisoformat(self.use_from or self.created)

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

    def encrypting(self, now: datetime) -> PayloadKey:
        """The newest key that is in use by now; the oldest, where a clock says that none is."""
        # a key without `use_from` is in use whatever the clocks say of its making
        return next((key for key in reversed(self.keys) if not key.use_from or key.encrypts_from <= now), self.oldest)

    def find(self, key_id: str) -> PayloadKey | None:
        return next((key for key in self.keys if key.id == key_id), None)


class KeySource:
    """Keys that cannot change: for tests, and for one short command."""

    def __init__(self, ring: Keyring, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._ring, self._now = ring, now

    def current(self) -> Keyring:
        """All keys."""
        return self._ring

    def encrypting(self) -> PayloadKey:
        """The key to encrypt with now."""
        return self.current().encrypting(self._now())

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

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path, self._clock = path, clock
        self._stamp = stamp(path)
        self._looked = clock()
        super().__init__(read_keyring(path), now)

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
        seen = stamp(self._path)
        if seen == self._stamp:
            return
        try:
            self._ring = read_keyring(self._path)
        except PartUnavailable as error:
            log.warning("payload-keys-not-read", extra=fields(code=error.code))
            return
        self._stamp = seen


def fixed(secret: bytes) -> KeySource:
    """A ring of one key."""
    return KeySource(Keyring((PayloadKey(_checked(secret), rfc3339(datetime.fromtimestamp(0.0, UTC))),)))


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
        return Keyring((PayloadKey(_checked(_decoded(data)), rfc3339(datetime.fromtimestamp(made, UTC))),))
    try:
        ring = Keyring(tuple(_entry(entry) for entry in orjson.loads(data)["keys"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PartUnavailable("payload-key", "the keyring cannot be read: restore it from its backup.") from error
    if not ring.keys or len({key.id for key in ring.keys}) != len(ring.keys):
        raise PartUnavailable("payload-key", "the keyring is empty or names a key twice: restore it from its backup.")
    return ring


def rotated(ring: Keyring, now: datetime, use_in: timedelta = timedelta()) -> Keyring:
    """The ring with one more key, which encrypts after `use_in`."""
    use_from = rfc3339(now + use_in) if use_in else ""
    return Keyring((*ring.keys, PayloadKey(os.urandom(KEY_BYTES), rfc3339(now), use_from)))


def without(ring: Keyring, key_id: str, now: datetime) -> Keyring:
    """The ring without one key; what that key has encrypted cannot be read any more. The key that encrypts stays."""
    if ring.find(key_id) is None:
        raise PermanentFailure("payload-key-unknown", "no key of this id is on the keyring: see 'longview keys list'.")
    if ring.encrypting(now).id == key_id:
        raise PermanentFailure("payload-key-in-use", "this key encrypts: rotate first, then remove it.")
    return Keyring(tuple(key for key in ring.keys if key.id != key_id))


def rotate(path: Path, now: datetime, use_in: timedelta = timedelta()) -> PayloadKey:
    """Add a key to the file. Atomic; two rotations at once are one after the other."""
    with _changing(path):
        ring = rotated(read_keyring(path), now, use_in)
        replace_file(path, ring_bytes(ring))
        return ring.newest


def remove(path: Path, key_id: str, now: datetime | None = None) -> None:
    """Take a key away from the file."""
    with _changing(path):
        replace_file(path, ring_bytes(without(read_keyring(path), key_id, now or datetime.now(UTC))))


def ring_bytes(ring: Keyring) -> bytes:
    """The file's content: every key in the clear."""
    keys = [
        {"id": k.id, "created": k.created, "key": base64.b64encode(k.secret).decode()}
        | ({"use_from": k.use_from} if k.use_from else {})
        for k in ring.keys
    ]
    return orjson.dumps({"version": 1, "keys": keys}, option=orjson.OPT_INDENT_2) + b"\n"


def _entry(entry: dict[str, Any]) -> PayloadKey:
    key = PayloadKey(_checked(_decoded(entry["key"].encode())), str(entry["created"]), str(entry.get("use_from", "")))
    if key.encrypts_from.tzinfo is None:
        raise ValueError("a time without its zone")
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
    elsewhere = PartUnavailable(
        "payload-key-read-only",
        "the key file cannot be changed here: write the new ring with --print or --output, and put it where the file comes from "
        "(docs/security.md).",
    )
    if (path.parent / "..data").is_symlink():  # a mounted Secret: what is written here would be gone with the next one
        raise elsewhere
    with ExitStack() as held:
        try:
            held.enter_context(locked(path))
        except OSError as error:
            raise elsewhere from error
        yield


def rfc3339(moment: datetime) -> str:
    """In UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
