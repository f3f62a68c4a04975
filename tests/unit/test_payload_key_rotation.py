"""Payload keys in a cluster: the ring is a mounted Secret, which no process may change and each process sees at another time."""

from __future__ import annotations

import itertools
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from schemas.errors import PartUnavailable, PermanentFailure
from services.cli import main
from services.clients.key_use import KeyUse, use_of
from services.clients.keyring import (
    KeyFile,
    Keyring,
    KeySource,
    PayloadKey,
    read_keyring,
    remove,
    ring_bytes,
    rotate,
    rotated,
    without,
)
from services.clients.payloads import KEY_ID, EncryptionCodec
from tests.secret_mount import mount

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
FIRST = Keyring((PayloadKey(bytes(range(32)), "2026-01-01T00:00:00Z"),))
WAIT = timedelta(minutes=10)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def source(ring: Keyring, minutes: float) -> KeySource:
    return KeySource(ring, now=lambda: at(minutes))


async def test_a_new_key_decrypts_at_once_and_encrypts_when_its_time_has_come() -> None:
    ring = rotated(FIRST, NOW, WAIT)
    old, new = (key.id.encode() for key in ring.keys)
    used = {}
    for minutes in (0, 9.9, 10, 60):
        [sealed] = await EncryptionCodec(source(ring, minutes)).encode([Payload(data=b"x")])
        used[minutes] = sealed.metadata[KEY_ID]
    assert used == {0: old, 9.9: old, 10: new, 60: new}
    assert await EncryptionCodec(source(ring, 0)).decode([sealed]) == [Payload(data=b"x")]
    assert [use_of(ring, key.id, NOW) for key in ring.keys] == ["encrypts", "waits"]
    assert [use_of(ring, key.id, at(11)) for key in ring.keys] == ["decrypts", "encrypts"]


def test_the_time_of_a_key_is_kept_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_bytes(ring_bytes(rotated(FIRST, NOW, WAIT)))
    assert read_keyring(file).newest.encrypts_from == at(10)
    file.write_text(file.read_text().replace('"2026-11-25T08:10:00Z"', '"2026-11-25T08:10:00"'))
    with pytest.raises(PartUnavailable, match="payload-key"):
        read_keyring(file)


def test_a_key_that_waits_may_be_taken_back_and_one_that_encrypts_may_not() -> None:
    ring = rotated(FIRST, NOW, WAIT)
    assert without(ring, ring.newest.id, at(5)) == FIRST
    with pytest.raises(PermanentFailure, match="payload-key-in-use"):
        without(ring, ring.newest.id, at(15))
    with pytest.raises(PermanentFailure, match="payload-key-in-use"):
        without(ring, ring.oldest.id, at(5))


Rotation = tuple[int, int, int, int]


@given(
    rotations=st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(0, 19), st.integers(0, 19)), max_size=5
    ),
    asked=st.integers(0, 200),
)
def test_no_process_meets_a_key_that_it_does_not_know_if_the_wait_is_longer_than_the_way(
    rotations: list[Rotation], asked: int
) -> None:
    """Each rotation: minutes since the last one, its wait, and how late it reaches either process (less than the wait)."""
    ring, made, rings = FIRST, 0, [(0, 0, FIRST)]
    for pause, wait, late, later in rotations:
        made += pause
        ring = rotated(ring, at(made), timedelta(minutes=wait))
        rings.append((made + min(late, wait - 1), made + min(later, wait - 1), ring))
    encrypts = [held for seen, _, held in rings if seen <= asked][-1].encrypting(at(asked))
    decrypts = [held for _, seen, held in rings if seen <= asked][-1]
    assert decrypts.find(encrypts.id) is not None


# -- a mounted Secret --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    mount(folder, {"keyring": ring_bytes(FIRST)})
    return folder


def test_a_process_notices_that_the_secret_was_swapped(secret: Path) -> None:
    ticks = itertools.count(0, 10)
    keys = KeyFile(secret / "keyring", clock=lambda: float(next(ticks)))
    ring = rotated(FIRST, NOW)
    mount(secret, {"keyring": ring_bytes(ring)})
    assert keys.encrypting() == ring.newest


def test_a_new_key_is_found_at_once_by_its_id(secret: Path) -> None:
    keys = KeyFile(secret / "keyring", clock=lambda: 0.0)
    ring = rotated(FIRST, NOW)
    mount(secret, {"keyring": ring_bytes(ring)})
    assert keys.find(ring.newest.id) == ring.newest


def test_a_mounted_ring_is_never_written_where_it_lies(secret: Path) -> None:
    before = (secret / "keyring").read_bytes()
    for change in (lambda: rotate(secret / "keyring", NOW), lambda: remove(secret / "keyring", FIRST.oldest.id)):
        with pytest.raises(PartUnavailable, match=r"payload-key-read-only.*--print or --output"):
            change()
    assert (secret / "keyring").read_bytes() == before


def run(secret: Path, *arguments: str) -> Result:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIEW_")}
    environment = {"LONGVIEW_STATE_DIR": str(secret.parent), "LONGVIEW_PAYLOAD_KEY_FILE": str(secret / "keyring")}
    return CliRunner(env=kept).invoke(main, ["keys", *arguments], env=environment)


def test_an_operator_rotates_a_mounted_ring_through_a_pipe(secret: Path) -> None:
    """kubectl exec .. longview keys rotate --print | kubectl create secret .. | kubectl apply, and the kubelet brings it."""
    refused = run(secret, "rotate")
    assert refused.exit_code == 1
    assert "--print or --output" in refused.stderr
    printed = run(secret, "rotate", "--print")
    assert printed.exit_code == 0
    mount(secret, {"keyring": printed.stdout_bytes})
    first, second = read_keyring(secret / "keyring").keys
    assert first == FIRST.oldest
    assert second.id == printed.stderr.strip()
    waits = second.encrypts_from - datetime.now(UTC)
    assert timedelta(minutes=9) < waits <= WAIT
    rows = json.loads(run(secret, "list", "--json").stdout)["keys"]
    assert [(row["id"], row["use"]) for row in rows] == [(second.id, "waits"), (first.id, "encrypts")]


def test_the_new_ring_is_its_owners_alone(secret: Path, tmp_path: Path) -> None:
    file = tmp_path / "new-ring"
    assert run(secret, "rotate", "--output", str(file), "--use-in", "0").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    mount(secret, {"keyring": file.read_bytes()})
    smaller = run(secret, "remove", FIRST.oldest.id, "--print")
    assert [entry["id"] for entry in json.loads(smaller.stdout)["keys"]] == [read_keyring(file).newest.id]


@pytest.mark.parametrize(
    ("use", "removable"),
    [
        (KeyUse("k", "decrypts", 0, 0, 0, 3), True),
        (KeyUse("k", "decrypts", 1, 0, 0, 3), False),
        (KeyUse("k", "decrypts", 0, 1, 0, 3), False),
        (KeyUse("k", "decrypts", 0, 0, 1, 3), False),
        (KeyUse("k", "encrypts", 0, 0, 0, 3), False),
        (KeyUse("k", "waits", 0, 0, 0, 3), False),
    ],
)
def test_only_an_old_key_that_nothing_needs_may_go(use: KeyUse, removable: bool) -> None:
    assert use.removable is removable
