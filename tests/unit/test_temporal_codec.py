"""Temporal's server must never hold a readable identifier."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.runs import ObservationAvailable
from services.clients.temporal import EncryptionCodec, data_converter, read_key

KEY = bytes(range(32))
EVENT = ObservationAvailable(event_id="e-1", observation="Observation/creat-9", patient="Patient/pat-1", status="final")


async def test_a_payload_comes_back_and_cannot_be_read_on_the_way() -> None:
    converter = data_converter(KEY)
    [payload] = await converter.encode([EVENT])
    assert b"pat-1" not in payload.SerializeToString()
    assert await converter.decode([payload], [ObservationAvailable]) == [EVENT]


async def test_equal_payloads_do_not_look_equal() -> None:
    codec = EncryptionCodec(KEY)
    plain = Payload(data=b"same")
    [first], [second] = await codec.encode([plain]), await codec.encode([plain])
    assert first.data != second.data


async def test_another_key_and_plain_payloads_are_refused() -> None:
    [payload] = await EncryptionCodec(KEY).encode([Payload(data=b"x")])
    with pytest.raises(PermanentFailure, match="payload-key"):
        await EncryptionCodec(bytes(32)).decode([payload])
    with pytest.raises(PermanentFailure, match="payload-not-encrypted"):
        await EncryptionCodec(KEY).decode([Payload(data=b"plain")])


async def test_an_error_text_is_encrypted_as_well() -> None:
    from temporalio.api.failure.v1 import Failure

    failure = Failure()
    await data_converter(KEY).encode_failure(ValueError("Patient/pat-1 was here"), failure)
    assert b"pat-1" not in failure.SerializeToString()


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"short")])
def test_a_bad_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(PartUnavailable, match="payload-key"):
        read_key(file)
