"""A backup of a system with results, decisions and dead letters: taken, read back, damaged, restored, from either kind of database into either."""

from __future__ import annotations

import stat
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import text

from schemas.errors import InvalidEvent, PermanentFailure
from schemas.events import INBOUND_TOPICS
from schemas.volume import Volume, encode_volume
from services.backup import Fault, create_backup, restore_backup, verify_backup
from services.backup.rows import TABLES
from services.backup.sealing import PIECE, Damaged, Plain, Sealed
from services.cli import main
from services.clients.keyring import read_keyring
from services.db import DeadLetterRecords, InboxRecords, RunRecords, migrate, open_database
from services.parts.state import payload_key_file
from services.settings import Settings
from services.store import FolderObjectStore
from tests.inbox_samples import available, result, review, reviewed

PASSPHRASE = b"correct horse battery staple"
QUICK = 2**4
"""scrypt's N where a key is made again and again; the other tests make theirs as a hospital does."""
PIXELS = bytes(range(256)) * (PIECE // 128)
"""More than one piece of a sealed file."""


class Site:
    """Database, store and key of one deployment."""

    def __init__(self, folder: Path, database: str = "") -> None:
        key = str(folder / "payload.key")
        self.settings = Settings(state_dir=str(folder), database_url=database, payload_key_file=key)

    def live(self) -> Site:
        """Three results of which one is decided about, a dead letter, and what they name in the store."""
        self.settings.state.mkdir(parents=True, exist_ok=True)
        payload_key_file(self.settings.state)
        migrate(self.settings.database)
        database, store = open_database(self.settings.database), FolderObjectStore(self.settings.store)
        for name in ("first", "second", "third"):
            self.add(name)
        told = result("first", "study-first")
        act = review(told)
        InboxRecords(database).record_review(act, reviewed(told, act))
        invalid = InvalidEvent("schema-invalid", "event-not-json", "the value is not JSON")
        kept = store.put(b"\x00no event\xff")
        place = (INBOUND_TOPICS[0], 3, 2**40, invalid, kept, b"\xff\x00key", [("ce_type", b"\xfe")])
        DeadLetterRecords(database).add("letter-1", *place)
        store.put(PIXELS)
        store.put(b"")
        database.close()
        return self

    def add(self, name: str) -> None:
        database = open_database(self.settings.database)
        told = result(name, f"study-{name}")
        RunRecords(database).open_run(f"run-{name}", told.study_key, told.thread_id, f"ni:///{name}", told.release_id)
        InboxRecords(database).add(f"run-{name}", told, available(told))
        database.close()

    def rows(self) -> dict[str, list[Any]]:
        database = open_database(self.settings.database)
        with database.engine.connect() as connection:
            ordered = [(t.name, t.select().order_by(*t.primary_key.columns)) for t in TABLES]
            found = {name: [tuple(row) for row in connection.execute(query)] for name, query in ordered}
        database.close()
        return found

    def objects(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.settings.store.glob("??/??/*")}

    def same_as(self, other: Site) -> bool:
        return self.rows() == other.rows() and self.objects() == other.objects()


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "sealed"])
def test_what_is_restored_is_what_was_there(url: str, tmp_path: Path, passphrase: bytes | None) -> None:
    before = Site(tmp_path / "a", url).live()
    made = create_backup(before.settings, tmp_path / "backup", passphrase)
    assert (made.rows["inbox_entry"], made.objects, made.damaged_objects) == (3, 3, 0)
    assert verify_backup(tmp_path / "backup", passphrase) == (made, [])
    after = Site(tmp_path / "b")
    restored = restore_backup(after.settings, tmp_path / "backup", passphrase)
    assert restored.objects == 3
    assert after.same_as(before)
    if passphrase:
        keys = [read_keyring(Path(site.settings.payload_key_file)).keys for site in (before, after)]
        assert [key.secret for key in keys[0]] == [key.secret for key in keys[1]]
    else:
        assert not Path(after.settings.payload_key_file).exists()


def test_a_file_of_sqlite_becomes_a_database_of_postgresql_and_goes_on(tmp_path: Path, second_postgres: str) -> None:
    before = Site(tmp_path / "a").live()
    create_backup(before.settings, tmp_path / "backup")
    after = Site(tmp_path / "b", second_postgres)
    restore_backup(after.settings, tmp_path / "backup")
    assert after.same_as(before)
    after.add("fourth")
    assert [row[0] for row in after.rows()["inbox_change"]][-2:] == [
        before.rows()["inbox_change"][-1][0],
        before.rows()["inbox_change"][-1][0] + 1,
    ]


def test_a_second_snapshot_copies_only_what_is_new_and_the_first_can_still_be_had(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    first = create_backup(site.settings, folder)
    copied = {path: path.stat().st_mtime_ns for path in folder.glob("objects/??/??/*")}
    site.add("fourth")
    FolderObjectStore(site.settings.store).put(b"a fourth study")
    second = create_backup(site.settings, folder)
    assert (first.rows["inbox_entry"], second.rows["inbox_entry"]) == (3, 4)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("objects/??/??/*") if path in copied} == copied
    older = Site(tmp_path / "b")
    assert restore_backup(older.settings, folder, snapshot=first.id).objects == 3
    assert len(older.rows()["inbox_entry"]) == 3


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "sealed"])
def test_every_file_with_one_other_byte_is_named_and_nothing_is_restored(
    tmp_path: Path, passphrase: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back some forty times: with a passphrase that is quick to try."""
    monkeypatch.setattr("services.backup.sealing._COST", QUICK)
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    made = create_backup(site.settings, folder, passphrase)
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and path.name[0] != "."]
    assert len(files) >= 6
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            named = str(path.relative_to(folder))
            if path.suffix == ".json":
                with pytest.raises(PermanentFailure, match=r"backup-(damaged|unknown|passphrase)"):
                    verify_backup(folder, passphrase)
            else:
                assert verify_backup(folder, passphrase)[1] == [Fault(named, "damaged")]
            target = Site(tmp_path / "never")
            with pytest.raises(PermanentFailure):
                restore_backup(target.settings, folder, passphrase)
            assert not target.settings.state.exists()
        path.write_bytes(whole)
    (path := folder / "objects").rename(folder / "gone")
    assert {fault.what for fault in verify_backup(folder, passphrase)[1]} == {"missing"}
    (folder / "gone").rename(path)
    assert verify_backup(folder, passphrase) == (made, [])


def test_files_are_their_owners_alone_and_a_sealed_backup_says_nothing_of_a_patient(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    create_backup(site.settings, folder, PASSPHRASE)
    for path in filter(Path.is_file, folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert b"Lindqvist" not in path.read_bytes()
        assert PIXELS[:64] not in path.read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(PermanentFailure, match="not that of the backup"):
        verify_backup(folder, b"another passphrase")
    with pytest.raises(PermanentFailure, match="needs its passphrase"):
        verify_backup(folder)


def refused(site: Site, folder: Path, **how: Any) -> str:
    with pytest.raises(PermanentFailure) as failed:
        restore_backup(site.settings, folder, **how)
    return failed.value.code


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    create_backup(site.settings, folder, PASSPHRASE)
    assert refused(site, folder, passphrase=PASSPHRASE) == "restore-not-empty"
    assert refused(site, folder, passphrase=PASSPHRASE, parts=("database",)) == "restore-not-empty"
    other = Site(tmp_path / "b")
    other.settings.state.mkdir()
    payload_key_file(other.settings.state)
    assert refused(other, folder, passphrase=PASSPHRASE) == "restore-not-empty"
    assert restore_backup(other.settings, folder, PASSPHRASE, parts=("database", "objects")).rows > 0


def test_a_store_that_lost_some_objects_is_filled_up(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    before = site.objects()
    create_backup(site.settings, folder)
    lost, broken, *_ = sorted(site.settings.store.glob("??/??/*"))
    lost.unlink()
    broken.write_bytes(b"?" * broken.stat().st_size)
    assert refused(site, folder, parts=("objects",)) == "restore-not-empty"
    assert restore_backup(site.settings, folder, parts=("objects",), fill=True).objects == 2
    assert site.objects() == before


def test_a_backup_of_another_hospital_or_of_a_newer_schema_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    create_backup(site.settings, folder)
    other = Settings(state_dir=str(tmp_path / "b"), tenant="another")
    with pytest.raises(PermanentFailure, match="LONGVIEW_TENANT"):
        restore_backup(other, folder)
    monkeypatch.setattr("services.backup.restore.newest_revision", lambda: "0001")
    assert refused(Site(tmp_path / "c"), folder) == "backup-newer"


def test_volumes_may_be_left_to_the_archive(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    volume = Volume(np.zeros((2, 4, 4), np.int16), (1.0, 1.0, 1.0), "HU", "CT")
    address = FolderObjectStore(site.settings.store).put(encode_volume(volume))
    made = create_backup(site.settings, folder, pixels=False)
    assert (made.objects, made.volumes_left_out) == (3, 1)
    after = Site(tmp_path / "b")
    restore_backup(after.settings, folder)
    assert site.objects().keys() - after.objects().keys() == {address}
    assert create_backup(site.settings, folder).objects == 4


def test_an_object_that_the_store_has_damaged_is_counted_and_left_out(tmp_path: Path) -> None:
    site, folder = Site(tmp_path / "a").live(), tmp_path / "backup"
    broken = min(site.settings.store.glob("??/??/*"))
    broken.write_bytes(b"no longer what it was")
    made = create_backup(site.settings, folder)
    assert (made.objects, made.damaged_objects) == (2, 1)
    assert verify_backup(folder)[1] == []


def test_a_backup_taken_while_results_arrive_holds_a_whole_one_or_none(tmp_path: Path, url: str) -> None:
    """The rows are one transaction's view: an entry without its outbox event would be a torn one."""
    site, stop = Site(tmp_path / "a", url).live(), threading.Event()

    def arrive() -> None:
        number = 0
        while not stop.is_set():
            site.add(f"more-{number}")
            number += 1

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        taken = [create_backup(site.settings, tmp_path / "backup") for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for made in taken:
        assert made.rows["outbox"] == made.rows["inbox_entry"] + 1, "one event more: the decision's"
    restore_backup(Site(tmp_path / "b").settings, tmp_path / "backup")


def test_a_schema_of_another_version_is_backed_up_by_that_version(tmp_path: Path) -> None:
    site = Site(tmp_path / "a").live()
    database = open_database(site.settings.database)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()
    with pytest.raises(PermanentFailure, match="backup-schema"):
        create_backup(site.settings, tmp_path / "backup")


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, folder, secret = Site(tmp_path / "a").live(), str(tmp_path / "backup"), tmp_path / "passphrase"
    secret.write_text(PASSPHRASE.decode() + "\n")
    monkeypatch.setenv("LONGVIEW_STATE_DIR", str(tmp_path / "a"))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["backup", *arguments])
        return done.exit_code, done.output

    assert run("create", folder, "--passphrase-file", str(secret))[0] == 0
    status, said = run("create", str(tmp_path / "plain"))
    assert (status, "NO payload keys" in said) == (0, True)
    assert run("verify", folder, "--passphrase-file", str(secret))[1].endswith(": whole\n")
    assert '"revision"' in run("list", folder, "--passphrase-file", str(secret), "--json")[1]
    status, said = run("restore", folder, "--passphrase-file", str(secret), "--into", str(tmp_path / "b"))
    assert status == 0, said
    assert Site(tmp_path / "b").same_as(site)
    assert run("verify", str(tmp_path / "nothing"))[0] == 1


@given(st.lists(st.binary(max_size=PIECE * 2), max_size=4), st.integers(min_value=0), st.booleans())
@effort(max_examples=25, deadline=None)
def test_what_is_sealed_opens_whole_or_not_at_all(pieces: list[bytes], place: int, cut: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.backup.sealing._COST", QUICK)
        form = Sealed(PASSPHRASE, b"0123456789abcdef")
    sealed, plain = b"".join(form.write(pieces)), b"".join(pieces)
    assert len(sealed) == form.size(len(plain))
    assert b"".join(form.read(BytesIO(sealed))) == plain
    place %= len(sealed)
    other = sealed[:place] if cut else sealed[:place] + bytes([sealed[place] ^ 0x40]) + sealed[place + 1 :]
    with pytest.raises(Damaged):
        list(form.read(BytesIO(other)))
    assert b"".join(Plain().write(pieces)) == plain
