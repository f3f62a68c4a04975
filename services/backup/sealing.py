"""Files of a backup as they lie on the disk: as they are, or sealed with a key from a passphrase.

A sealed file is a salt of 16 bytes and pieces of 1 MiB, each AES-256-GCM with a key of the file's own (HKDF over the salt). A piece's nonce is its
number and whether it is the last, so pieces can be neither changed, moved, left out nor cut off (the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizar, 2015).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

PIECE = 1024 * 1024
SALT_BYTES = 16
_TAG_BYTES = 16
_COST = 2**15
"""scrypt's N with r=8 and p=1: 32 MiB and a tenth of a second."""


class Damaged(Exception):
    """A file is not what was written."""


class Form(Protocol):
    """How files lie in the backup."""

    def write(self, data: Iterable[bytes]) -> Iterator[bytes]: ...
    def read(self, file: BinaryIO) -> Iterator[bytes]: ...
    def size(self, plain: int) -> int: ...
    def authenticate(self, data: bytes) -> str: ...


class Plain:
    """As they are."""

    def write(self, data: Iterable[bytes]) -> Iterator[bytes]:
        yield from data

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        while piece := file.read(PIECE):
            yield piece

    def size(self, plain: int) -> int:
        return plain

    def authenticate(self, data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()


class Sealed:
    """With a key that only the passphrase gives."""

    def __init__(self, passphrase: bytes, salt: bytes) -> None:
        self._key = Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase)

    def write(self, data: Iterable[bytes]) -> Iterator[bytes]:
        salt, number, pending = os.urandom(SALT_BYTES), 0, bytearray()
        cipher = self._cipher(salt)
        yield salt
        for part in data:
            pending += part
            while len(pending) > PIECE:
                yield cipher.encrypt(_nonce(number, last=False), bytes(pending[:PIECE]), None)
                del pending[:PIECE]
                number += 1
        yield cipher.encrypt(_nonce(number, last=True), bytes(pending), None)

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """The plain bytes; `Damaged` at the first piece that is not what was sealed."""
        salt, number = file.read(SALT_BYTES), 0
        cipher, piece = self._cipher(salt), file.read(PIECE + _TAG_BYTES)
        while True:
            following = file.read(PIECE + _TAG_BYTES)
            try:
                yield cipher.decrypt(_nonce(number, last=not following), piece, None)
            except (InvalidTag, ValueError) as error:
                raise Damaged from error
            if not following:
                return
            piece, number = following, number + 1

    def size(self, plain: int) -> int:
        return SALT_BYTES + plain + _TAG_BYTES * max(-(-plain // PIECE), 1)

    def authenticate(self, data: bytes) -> str:
        return hmac.digest(self._key, b"manifest\n" + data, "sha256").hex()

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"longview backup file").derive(self._key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
