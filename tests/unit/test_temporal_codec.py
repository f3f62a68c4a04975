"""Temporal's server must never hold a readable identifier; keys rotate while workflows run; large payloads lie encrypted in the store."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.facts import ObservationAvailable
from services import private_file
from services.clients import keyring
from services.clients.keyring import KeyFile, Keyring, KeySource, PayloadKey, read_keyring, remove, rotate
from services.clients.payloads import KEY_ID, ObjectStoreDriver, fetched
from services.clients.temporal import ENCODING, EncryptionCodec, data_converter
from services.store import FolderObjectStore

KEY = bytes(range(32))
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
EVENT = ObservationAvailable(event_id="e-1", observation="Observation/creat-9", patient="Patient/pat-1", status="final")
secrets = st.binary(min_size=32, max_size=32)
payloads = st.builds(
    lambda data, metadata: Payload(data=data, metadata=metadata),
    st.binary(max_size=300),
    st.dictionaries(st.text(max_size=8), st.binary(max_size=8), max_size=3),
)


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


async def test_an_error_text_is_encrypted_as_well() -> None:
    from temporalio.api.failure.v1 import Failure

    failure = Failure()
    await data_converter(KEY).encode_failure(ValueError("Patient/pat-1 was here"), failure)
    assert b"pat-1" not in failure.SerializeToString()


# -- properties ----------------------------------------------------------------------------------------------------------------


def ring(*keys: bytes) -> KeySource:
    return KeySource(Keyring(tuple(PayloadKey(key, "2026-01-01T00:00:00Z") for key in keys)))


@given(
    payload=payloads, keys=st.lists(secrets, min_size=1, max_size=4, unique=True), later=st.lists(secrets, max_size=2)
)
async def test_what_a_key_encrypted_is_read_after_any_number_of_rotations(
    payload: Payload, keys: list[bytes], later: list[bytes]
) -> None:
    [encrypted] = await EncryptionCodec(ring(*keys)).encode([payload])
    assert encrypted.metadata[KEY_ID].decode() == ring(*keys).current().newest.id
    assert await EncryptionCodec(ring(*keys, *later)).decode([encrypted]) == [payload]


@given(payload=payloads, position=st.integers(min_value=0), bit=st.integers(0, 7))
async def test_one_changed_bit_is_noticed(payload: Payload, position: int, bit: int) -> None:
    [encrypted] = await EncryptionCodec(KEY).encode([payload])
    data = bytearray(encrypted.data)
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(PermanentFailure, match="payload-altered"):
        await EncryptionCodec(KEY).decode([Payload(metadata=encrypted.metadata, data=bytes(data))])


@given(payload=payloads, kept=st.integers(min_value=0))
async def test_a_cut_payload_is_noticed(payload: Payload, kept: int) -> None:
    [encrypted] = await EncryptionCodec(KEY).encode([payload])
    cut = Payload(metadata=encrypted.metadata, data=encrypted.data[: kept % len(encrypted.data)])
    with pytest.raises(PermanentFailure, match=r"payload-(truncated|altered)"):
        await EncryptionCodec(KEY).decode([cut])


@given(payload=payloads, other=secrets.filter(lambda secret: secret != KEY))
async def test_a_key_that_was_taken_away_is_named(payload: Payload, other: bytes) -> None:
    [encrypted] = await EncryptionCodec(ring(KEY, other)).encode([payload])
    with pytest.raises(PermanentFailure, match="payload-key-unknown"):
        await EncryptionCodec(ring(KEY)).decode([encrypted])


async def test_the_id_of_the_key_is_bound_to_what_it_encrypted() -> None:
    """Neither another id of the ring nor none at all opens a payload."""
    other = bytes(32)
    [encrypted] = await EncryptionCodec(ring(KEY)).encode([Payload(data=b"x")])
    moved = Payload(
        metadata={"encoding": ENCODING, KEY_ID: ring(other).current().newest.id.encode()}, data=encrypted.data
    )
    with pytest.raises(PermanentFailure, match="payload-altered"):
        await EncryptionCodec(ring(KEY, other)).decode([moved])
    with pytest.raises(PermanentFailure, match="payload-key:"):
        await EncryptionCodec(ring(KEY)).decode([Payload(metadata={"encoding": ENCODING}, data=encrypted.data)])
    with pytest.raises(PermanentFailure, match="payload-not-encrypted"):
        await EncryptionCodec(KEY).decode([Payload(data=b"plain")])


async def test_payloads_of_the_first_version_have_no_key_id_and_are_still_read() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce, plain = bytes(12), Payload(data=b"a study that waits")
    data = nonce + AESGCM(KEY).encrypt(nonce, plain.SerializeToString(), ENCODING)
    old = Payload(metadata={"encoding": ENCODING}, data=data)
    assert await EncryptionCodec(ring(KEY, bytes(32))).decode([old]) == [plain]
    with pytest.raises(PermanentFailure, match="payload-key:"):
        await EncryptionCodec(ring(bytes(32))).decode([old])


# -- the key file --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """As `longview up` makes it: one key, no keyring yet."""
    file = tmp_path / "payload.key"
    file.write_bytes(base64.b64encode(KEY) + b"\n")
    return file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not base64!",
        base64.b64encode(b"short"),
        b"{",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{"id": "x"}]}',
        b'{"keys": 3}',
    ],
)
def test_a_bad_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(PartUnavailable, match="payload-key"):
        read_keyring(file)


def test_an_entry_that_bears_the_id_of_another_key_is_refused(key_file: Path) -> None:
    rotate(key_file, NOW)
    first, second = read_keyring(key_file).keys
    key_file.write_text(key_file.read_text().replace(first.id, second.id[::-1]))
    with pytest.raises(PartUnavailable, match="payload-key"):
        read_keyring(key_file)


def test_rotation_adds_a_key_and_keeps_the_old_one_for_its_owner_alone(key_file: Path) -> None:
    added = rotate(key_file, NOW)
    keys = read_keyring(key_file)
    assert [key.secret for key in keys.keys] == [KEY, added.secret]
    assert keys.newest.created == "2026-11-25T08:00:00Z"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert "secret" not in repr(keys)
    assert repr(added.secret) not in repr(keys)


def test_rotations_at_the_same_time_lose_no_key(key_file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: rotate(key_file, NOW).id, range(8)))
    assert {key.id for key in read_keyring(key_file).keys} == {*added, ring(KEY).current().newest.id}


def test_a_rotation_that_is_cut_off_leaves_the_old_file(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        rotate(key_file, NOW)
    assert [key.secret for key in read_keyring(key_file).keys] == [KEY]
    assert [p.name for p in key_file.parent.iterdir() if not p.name.endswith(".lock")] == ["payload.key"]


def test_only_an_old_key_can_be_taken_away(key_file: Path) -> None:
    old, added = read_keyring(key_file).newest, rotate(key_file, NOW)
    with pytest.raises(PermanentFailure, match="payload-key-in-use"):
        remove(key_file, added.id)
    with pytest.raises(PermanentFailure, match="payload-key-unknown"):
        remove(key_file, "0" * 16)
    remove(key_file, old.id)
    assert read_keyring(key_file).keys == (added,)


async def test_a_running_process_reads_a_new_key_when_it_meets_its_id(key_file: Path) -> None:
    """The worker has run for weeks; the gateway was restarted after the rotation and encrypts with the new key."""
    worker = EncryptionCodec(KeyFile(key_file, clock=lambda: 0.0))
    added = rotate(key_file, NOW)
    [encrypted] = await EncryptionCodec(KeyFile(key_file)).encode([Payload(data=b"x")])
    assert encrypted.metadata[KEY_ID] == added.id.encode()
    assert await worker.decode([encrypted]) == [Payload(data=b"x")]
    [answer] = await worker.encode([Payload(data=b"y")])
    assert answer.metadata[KEY_ID] == added.id.encode()


async def test_without_any_such_payload_the_new_key_is_taken_up_within_seconds(key_file: Path) -> None:
    now = [0.0]
    codec = EncryptionCodec(KeyFile(key_file, clock=lambda: now[0]))
    added = rotate(key_file, NOW)
    [before] = await codec.encode([Payload(data=b"x")])
    now[0] = keyring.LOOK_SECONDS
    [after] = await codec.encode([Payload(data=b"x")])
    assert before.metadata[KEY_ID] != added.id.encode()
    assert after.metadata[KEY_ID] == added.id.encode()


async def test_a_key_file_that_breaks_stops_no_running_process(key_file: Path) -> None:
    now = [0.0]
    codec = EncryptionCodec(KeyFile(key_file, clock=lambda: now[0]))
    overwrite(key_file, b"{ half a keyr")
    now[0] = 100.0
    assert await codec.decode(await codec.encode([Payload(data=b"x")])) == [Payload(data=b"x")]
    take_away(key_file)
    now[0] = 200.0
    assert await codec.decode(await codec.encode([Payload(data=b"x")])) == [Payload(data=b"x")]


def overwrite(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def take_away(file: Path) -> None:
    file.unlink()


# -- large payloads ------------------------------------------------------------------------------------------------------------

LARGE = ObservationAvailable(event_id="e" * 5000, observation="Observation/o", patient="Patient/pat-1", status="final")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_large_payload_travels_as_a_reference_and_lies_encrypted(tmp_path: Path) -> None:
    converter = data_converter(KEY, FolderObjectStore(tmp_path), 4096)
    small, large = await converter.encode([EVENT, LARGE])
    assert large.ByteSize() < 400 < small.ByteSize() + 400
    [object_file] = files(tmp_path)
    assert b"pat-1" not in object_file.read_bytes()
    assert b"eeee" not in object_file.read_bytes()
    assert await converter.decode([small, large], [ObservationAvailable] * 2) == [EVENT, LARGE]


async def test_an_object_that_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    converter = data_converter(KEY, FolderObjectStore(tmp_path), 4096)
    [large] = await converter.encode([LARGE])
    [object_file] = files(tmp_path)
    object_file.write_bytes(b"other bytes")
    with pytest.raises(PermanentFailure, match="payload-object-corrupt"):
        await converter.decode([large])
    object_file.unlink()
    with pytest.raises(PermanentFailure, match="payload-object-missing"):
        await converter.decode([large])


async def test_a_payload_in_the_clear_is_never_stored(tmp_path: Path) -> None:
    from temporalio.converter import StorageDriverStoreContext

    driver = ObjectStoreDriver(FolderObjectStore(tmp_path))
    with pytest.raises(PermanentFailure, match="payload-not-encrypted"):
        await driver.store(StorageDriverStoreContext(), [Payload(data=b"Patient/pat-1")])
    assert files(tmp_path) == []


async def test_a_reference_is_followed_and_anything_else_left_alone(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    small, large = await data_converter(KEY, store, 4096).encode([EVENT, LARGE])
    driver = ObjectStoreDriver(store)
    assert await fetched(driver, small) == small
    assert await EncryptionCodec(KEY).decode([await fetched(driver, large)])
