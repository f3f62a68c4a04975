"""What becomes of a payload before it leaves the process: encrypted with AES-256-GCM, and kept in our object store if it is large.

Encryption comes first, so Temporal's server and the object store alike hold cipher text. The id of the key stands in the payload's metadata and
is bound to the cipher text as associated data. A payload above the threshold travels as a reference: the digest of an object.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1.external_storage_pb2 import ExternalStorageReference
from temporalio.converter import (
    ExternalStorage,
    JSONProtoPayloadConverter,
    PayloadCodec,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from schemas.errors import PermanentFailure
from services.clients.keyring import KeySource, PayloadKey, fixed

ENCODING = b"binary/aes-256-gcm"
KEY_ID = "encryption-key-id"
STORE_ABOVE = 256 * 1024
"""Bytes from which a payload goes to the object store; Temporal refuses payloads of 2 MB."""
_NONCE_BYTES = 12
_TAG_BYTES = 16


class EncryptionCodec(PayloadCodec):
    """Each payload becomes nonce + AES-GCM of its serialised form; a payload that is not ours is refused."""

    def __init__(self, keys: KeySource | bytes) -> None:
        self._keys = fixed(keys) if isinstance(keys, bytes) else keys

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        key, nonce = self._keys.encrypting(), os.urandom(_NONCE_BYTES)
        data = nonce + AESGCM(key.secret).encrypt(nonce, payload.SerializeToString(), _bound(key.id))
        return Payload(metadata={"encoding": ENCODING, KEY_ID: key.id.encode()}, data=data)

    def _decrypt(self, payload: Payload) -> Payload:
        """Errors, all `PermanentFailure`: `payload-not-encrypted`, `payload-truncated`, `payload-key-unknown`, `payload-altered`, `payload-key`."""
        if payload.metadata.get("encoding") != ENCODING:
            raise PermanentFailure("payload-not-encrypted", "a Temporal payload is not encrypted with our codec")
        if len(payload.data) < _NONCE_BYTES + _TAG_BYTES:
            raise PermanentFailure("payload-truncated", "a Temporal payload is shorter than any that we encrypt")
        if KEY_ID not in payload.metadata:
            return self._decrypt_without_id(payload)
        key = self._keys.find(payload.metadata[KEY_ID].decode("ascii", "replace"))
        plain = _opened(key, payload.data, _bound(key.id))
        if plain is None:
            raise PermanentFailure("payload-altered", "a Temporal payload is not what its key encrypted")
        return plain

    def _decrypt_without_id(self, payload: Payload) -> Payload:
        """Version 0.1.0 wrote no key id: the key is one of the ring's, most likely the oldest."""
        for key in self._keys.current().keys:
            plain = _opened(key, payload.data, ENCODING)
            if plain is not None:
                return plain
        raise PermanentFailure("payload-key", "a Temporal payload was encrypted with another key, or was altered")


def _bound(key_id: str) -> bytes:
    return ENCODING + b"\n" + key_id.encode()


def _opened(key: PayloadKey, data: bytes, bound: bytes) -> Payload | None:
    try:
        return Payload.FromString(AESGCM(key.secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound))
    except InvalidTag:
        return None


# -- large payloads ------------------------------------------------------------------------------------------------------------


class Objects(Protocol):
    """The content-addressed store (`services.store.FolderObjectStore`)."""

    def put(self, data: bytes) -> str: ...
    def get(self, digest: str) -> bytes: ...


class ObjectStoreDriver(StorageDriver):
    """Temporal's external storage on our object store. Takes cipher text alone, whatever the converter in front of it does."""

    NAME = "longview-objects"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def name(self) -> str:
        return self.NAME

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        return [StorageDriverClaim({"sha256": await asyncio.to_thread(self._put, payload)}) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [await asyncio.to_thread(self._get, claim.claim_data.get("sha256", "")) for claim in claims]

    def _put(self, payload: Payload) -> str:
        if payload.metadata.get("encoding") != ENCODING:
            raise PermanentFailure("payload-not-encrypted", "a payload in the clear is never stored")
        return self._objects.put(payload.SerializeToString())

    def _get(self, digest: str) -> Payload:
        """`PermanentFailure`: `payload-object-missing`, `payload-object-corrupt`, `payload-object-address`."""
        try:
            return Payload.FromString(self._objects.get(digest))
        except PermanentFailure as failure:
            raise PermanentFailure(
                f"payload-{failure.code}", "a large Temporal payload cannot be had from the object store: restore it"
            ) from failure
        except DecodeError as error:
            raise PermanentFailure("payload-object-corrupt", "an object of the store is no Temporal payload") from error


def external_storage(objects: Objects, above: int = STORE_ABOVE) -> ExternalStorage:
    """Payloads of `above` bytes and more become references."""
    return ExternalStorage([ObjectStoreDriver(objects)], payload_size_threshold=above)


async def fetched(driver: StorageDriver, payload: Payload) -> Payload:
    """The payload that a reference stands for; any other payload as it is."""
    described = ExternalStorageReference.DESCRIPTOR.full_name.encode()
    if payload.metadata.get("encoding") != b"json/protobuf" or payload.metadata.get("messageType") != described:
        return payload
    reference = JSONProtoPayloadConverter().from_payload(payload, ExternalStorageReference)
    if reference.driver_name != driver.name():
        raise PermanentFailure("payload-storage-unknown", "a payload lies in a storage that is not ours")
    claim = StorageDriverClaim(dict(reference.claim_data))
    [stored] = await driver.retrieve(StorageDriverRetrieveContext(), [claim])
    return stored
