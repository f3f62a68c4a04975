"""The object store: an address is a promise about the bytes."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path

import pytest

from schemas.errors import PermanentFailure, TransientFailure
from services.store import FolderObjectStore


def test_equal_bytes_are_one_object(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path / "store")
    first, second = store.put(b"abc"), store.put([b"a", memoryview(b"bc")])
    assert first == second == hashlib.sha256(b"abc").hexdigest()
    assert store.get(first) == b"abc"
    assert sum(p.is_file() for p in (tmp_path / "store").rglob("*")) == 1


def test_the_folder_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    FolderObjectStore(tmp_path / "store")
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


def test_a_damaged_object_is_not_handed_out(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    address = store.put(b"abc")
    store.path(address).write_bytes(b"abd")
    with pytest.raises(PermanentFailure, match="object-corrupt"):
        store.get(address)


@pytest.mark.parametrize("address", ["../../etc/passwd", "", "A" * 64, "0" * 63])
def test_an_address_is_never_a_path(tmp_path: Path, address: str) -> None:
    with pytest.raises(PermanentFailure, match="object-address"):
        FolderObjectStore(tmp_path).path(address)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield b"half"
        raise OSError("disk")

    with pytest.raises(TransientFailure, match="store-unavailable"):
        FolderObjectStore(tmp_path).put(broken())  # type: ignore[arg-type]
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_full_volume_is_named_and_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = FolderObjectStore(tmp_path)
    with monkeypatch.context() as volume:
        volume.setattr("os.fsync", full)
        with pytest.raises(TransientFailure, match="store-full"):
            store.put(b"object")
    assert store.get(store.put(b"object")) == b"object"


def test_a_folder_that_is_away_for_a_moment_has_lost_nothing(tmp_path: Path) -> None:
    """A volume that is mounted anew: the object is not missing, the store is."""
    store = FolderObjectStore(tmp_path / "store")
    address = store.put(b"object")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    for asked in (lambda: store.get(address), lambda: store.put(b"other")):
        with pytest.raises(TransientFailure, match="store-unavailable"):
            asked()
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert store.get(address) == b"object"
