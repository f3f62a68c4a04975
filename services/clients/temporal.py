"""The connection to Temporal: pydantic payloads, encrypted with AES-256-GCM, failures included.

Temporal's server and its web UI see cipher text alone; workflow ids hold no identifier (schemas.identifiers).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec
from temporalio.service import RPCError

from schemas.errors import PartUnavailable, PermanentFailure

ENCODING = b"binary/aes-256-gcm"
_NONCE_BYTES = 12


class EncryptionCodec(PayloadCodec):
    """Each payload becomes nonce + AES-GCM of its serialised form; a payload that is not ours is refused."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), ENCODING)
        return Payload(metadata={"encoding": ENCODING}, data=data)

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            raise PermanentFailure("payload-not-encrypted", "a Temporal payload is not encrypted with our codec")
        try:
            plain = self._cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], ENCODING)
        except InvalidTag as error:
            raise PermanentFailure("payload-key", "a Temporal payload was encrypted with another key") from error
        return Payload.FromString(plain)


def read_key(path: Path) -> bytes:
    """The 32 bytes of the key file (base64); `PartUnavailable` says what is wrong with it."""
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error) as error:
        raise PartUnavailable(
            "payload-key", "LONGVIEW_PAYLOAD_KEY_FILE cannot be read: point it at 32 bytes in base64."
        ) from error
    if len(key) != 32:
        raise PartUnavailable(
            "payload-key", "the payload key is not 32 bytes long: make one with 'openssl rand -base64 32'."
        )
    return key


def data_converter(key: bytes) -> DataConverter:
    return replace(
        pydantic_data_converter,
        payload_codec=EncryptionCodec(key),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def connect(address: str, namespace: str, key: bytes) -> Client:
    """A client; `PartUnavailable` if no Temporal frontend answers there."""
    try:
        return await Client.connect(address, namespace=namespace, data_converter=data_converter(key))
    except (RPCError, RuntimeError) as error:
        raise PartUnavailable(
            "temporal-unavailable", "Temporal does not answer: check LONGVIEW_TEMPORAL_ADDRESS."
        ) from error
